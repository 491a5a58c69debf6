"""Lay the summary out in each format, and compute nothing.

The door is `report`, which writes every file. `rows` turns numbers and tables into text, the same in each format; then
there is one module per format: `csv`, `tables`, `screen`, `latex`, `page`, `charts`. Nothing is imported here: the
processes that draw need neither pandas nor altair, which take longer to import than a picture takes to draw.
"""
