"""The wiring: train what is missing, or train again and compare (`verify`)."""

from cellbench.running.runner import Event, Notice, OnEvent, build, run

__all__ = ["Event", "Notice", "OnEvent", "build", "run"]
