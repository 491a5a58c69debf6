"""Lay the summary out in each format, and compute nothing.

`report` writes every file; `rows` turns numbers and tables into text, the same in each format; then there is one module
per format: `csv`, `tables`, `screen`, `latex`, `page`, `charts`.
"""

from cellbench.report.report import FILES, Report, publish

__all__ = ["FILES", "Report", "publish"]
