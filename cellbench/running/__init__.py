"""The wiring: train what is missing, or train again and compare (`verify`)."""

from cellbench.running.runner import Event, OnEvent, build, run

__all__ = ["Event", "OnEvent", "build", "run"]
