"""Plugins made for tests, sound and broken: the texts of their modules."""

from __future__ import annotations

HOOK = "from cellbench import hookimpl\n\n\n@hookimpl\ndef register_cells(register):\n"
CELL = """\
from cellbench import TorchCell
from torch import nn


def cell(input_size, hidden_size, **options):
    return TorchCell(nn.GRUCell(input_size, hidden_size, **options))
"""
PLUGINS: dict[str, tuple[str, str]] = {
    # distribution: (module text, entry point name)
    "good": (
        HOOK + "    register(name='good', factory='cellbench_good_cell:cell', description='a gru',\n"
        "             reference='Nobody 2026', defaults={'bias': False})\n", "cells"),
    "unimportable": ("import a_module_that_is_not_there\n", "cells"),
    "raising": (HOOK + "    register(name='lost', factory='cellbench_good_cell:cell')\n"
                "    raise RuntimeError('oh no')\n", "cells"),
    "rival-a": (HOOK + "    register(name='twice', factory='cellbench_good_cell:cell')\n", "same"),
    "rival-b": (HOOK + "    register(name='twice', factory='cellbench_good_cell:cell')\n"
                "    register(name='also', factory='cellbench_good_cell:cell')\n", "same"),
    "nowhere": (HOOK + "    register(name='nowhere', factory='cellbench_nowhere_cell:cell')\n", "cells"),
    "badname": (HOOK + "    register(name='../etc', factory='x:y')\n", "cells"),
    "misfit": ("from cellbench import hookimpl\n\n\n@hookimpl\ndef register_cells(wrong):\n    pass\n", "cells"),
}  # fmt: skip
