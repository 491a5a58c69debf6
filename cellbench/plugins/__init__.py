"""Other people's code: found (`discovery`), read as text (`sources`), called (`containment`)."""

from cellbench.plugins.containment import Timeout, contained
from cellbench.plugins.discovery import Broken, Clash, Entry, Registry, discover, load_factory, registry

__all__ = ["Broken", "Clash", "Entry", "Registry", "Timeout", "contained", "discover", "load_factory", "registry"]
