"""The wiring: train what is missing, or train again and compare (`verify`)."""

from cellbench.running.ahead import build
from cellbench.running.events import Event, Notice, OnEvent, Stage
from cellbench.running.runner import plan, run

__all__ = ["Event", "Notice", "OnEvent", "Stage", "build", "plan", "run"]
