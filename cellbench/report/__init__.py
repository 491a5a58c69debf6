"""Lays the summary out in each format; computes nothing.

`report` is the whole and writes every file; `rows` holds numbers and tables as text, the same in each format; one
file per format: `csv`, `tables`, `latex`, `page`, `charts`.
"""

from cellbench.report.report import FILES, Report, publish

__all__ = ["FILES", "Report", "publish"]
