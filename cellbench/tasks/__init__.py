"""The built-in tasks, registered through the hook that every plugin uses."""

from __future__ import annotations

from cellbench.hookspecs import RegisterTask, hookimpl


@hookimpl
def register_tasks(register: RegisterTask) -> None:
    """Register binary_addition."""
    register(
        name="binary_addition",
        factory="cellbench.tasks.binary_addition:BinaryAddition",
        description="add two numbers bit by bit, least significant bit first: learn to carry",
    )
