"""Other people's code: found (`discovery`), read as text (`sources`), called (`containment`), blamed (`places`).

Tasks of the user's own are read and made by `own_tasks`, those of arrays by `arrays`.
What a factory calls is found out by `factories`; what code changes of the whole process is put back by `surroundings`;
`strays` finds imports that no key can hold.
"""

from cellbench.plugins.containment import Timeout, contained
from cellbench.plugins.discovery import Broken, Clash, Entry, Registry, discover, load_factory, registry
from cellbench.plugins.places import Place, place_of, theirs
from cellbench.plugins.strays import find_strays
from cellbench.plugins.surroundings import changed_by, kept

__all__ = [
    "Broken",
    "Clash",
    "Entry",
    "Place",
    "Registry",
    "Timeout",
    "changed_by",
    "contained",
    "discover",
    "find_strays",
    "kept",
    "load_factory",
    "place_of",
    "registry",
    "theirs",
]
