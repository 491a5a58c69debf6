"""Checks of the values of grid parameters."""

from __future__ import annotations


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Check that a value is a whole number within bounds.

    Raises:
        ValueError: it is not.
    """
    fits = isinstance(value, int) and not isinstance(value, bool)
    if not fits or value < least or (most is not None and value > most):  # type: ignore[operator]
        bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bounds}")
