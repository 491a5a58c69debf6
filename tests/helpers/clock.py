"""A clock that moves only when somebody moves it."""

from __future__ import annotations

now = 0.0
"""Seconds."""
