"""Tools that a machine may lack."""

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
