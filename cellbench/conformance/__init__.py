"""The checks of `cellbench check`, of cells and of tasks; plugin authors use them as parameters in their own tests.

    import pytest
    from cellbench.conformance import Subject, checks
    from mypackage.cell import MyCell

    @pytest.mark.parametrize("check", checks, ids=str)
    def test_keeps_the_contract(check):
        result = check(Subject(MyCell))
        assert result.ok, result.message

Of a task it is `task_checks` and `TaskSubject` (`subject_of_task` finds the grid parameters to ask it at).

A law must hold. Any other check only reports a finding, and fails only if there is none to report.
"""

from __future__ import annotations

from cellbench.conformance.laws import LAWS
from cellbench.conformance.observations import OBSERVATIONS
from cellbench.conformance.report import Findings, check, checks, task_checks
from cellbench.conformance.subject import Check, Result, Subject
from cellbench.conformance.task_subject import TaskSubject
from cellbench.conformance.task_subject import subject_of as subject_of_task

__all__ = [
    "LAWS",
    "OBSERVATIONS",
    "Check",
    "Findings",
    "Result",
    "Subject",
    "TaskSubject",
    "check",
    "checks",
    "subject_of_task",
    "task_checks",
]
