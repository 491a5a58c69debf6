"""States that hold something else than single precision."""

from __future__ import annotations

from typing import Any

import pytest

from cellbench.conformance import Check, Result, Subject, checks
from tests.helpers import awkward, odd_cells

BY_NAME: dict[str, Check] = {check.name: check for check in checks}


def asked(name: str, factory: Any) -> Result:
    return BY_NAME[name](Subject(factory))


@pytest.mark.parametrize("factory", [odd_cells.Counts, odd_cells.Begins, awkward.NoneBeside], ids=lambda f: f.__name__)
def test_a_state_that_cannot_be_learnt(factory: Any) -> None:
    result = asked("initial-state-can-be-learnt", factory)
    assert (result.status, result.ok) == ("skip", True)
    assert "which cannot be learnt" in result.message
