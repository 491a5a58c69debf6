"""The checks of `cellbench check`; plugin authors use them as pytest parameters in their own tests.

    import pytest
    from cellbench.conformance import Subject, checks
    from mypackage.cell import MyCell

    @pytest.mark.parametrize("check", checks, ids=str)
    def test_keeps_the_contract(check):
        result = check(Subject(MyCell))
        assert result.ok, result.message

A law must hold. Any other check only reports a finding, and fails only if there is none to report.
"""

from __future__ import annotations

from cellbench.conformance.laws import LAWS
from cellbench.conformance.observations import OBSERVATIONS
from cellbench.conformance.report import Findings, check, checks
from cellbench.conformance.subject import Check, Result, Subject

__all__ = ["LAWS", "OBSERVATIONS", "Check", "Findings", "Result", "Subject", "check", "checks"]
