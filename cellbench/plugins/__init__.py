"""Other people's code: found (`discovery`), read as text (`sources`), called (`containment`), blamed (`places`)."""

from cellbench.plugins.containment import Timeout, contained
from cellbench.plugins.discovery import Broken, Clash, Entry, Registry, discover, load_factory, registry
from cellbench.plugins.places import Place, place_of, theirs

__all__ = [
    "Broken",
    "Clash",
    "Entry",
    "Place",
    "Registry",
    "Timeout",
    "contained",
    "discover",
    "load_factory",
    "place_of",
    "registry",
    "theirs",
]
