"""What `cellbench check` proves of a cell, as named checks that plugin authors use as pytest parameters.

    import pytest
    from cellbench.conformance import Subject, checks
    from mypackage.cell import MyCell

    @pytest.mark.parametrize("check", checks, ids=str)
    def test_keeps_the_contract(check):
        result = check(Subject(MyCell))
        assert result.ok, result.message

Laws must hold; a check that is no law reports what it found and fails only where that cannot be found at all.
"""

from __future__ import annotations

from cellbench.conformance.laws import LAWS
from cellbench.conformance.observations import OBSERVATIONS
from cellbench.conformance.report import checks
from cellbench.conformance.subject import Check, Result, Subject

__all__ = ["LAWS", "OBSERVATIONS", "Check", "Result", "Subject", "checks"]
