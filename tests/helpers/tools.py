"""The machine that tests run on: tools that it may lack, and where its processes find modules."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Tell whether a missing tool is a failure rather than a skip."""
    return os.environ.get("CI") == "true"


def missing(what: str) -> NoReturn:
    """Skip a test whose tool is not on this machine, but fail in CI."""
    if in_ci():
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed")


def paths_with(*folders: object) -> str:
    """Join a PYTHONPATH: these folders, then what this process was given, so that a clone's tests run its own code."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
