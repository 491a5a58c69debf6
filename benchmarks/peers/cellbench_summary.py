"""Print of cellbench's results what the other programs print, and its verdict."""

import csv
from pathlib import Path

folder = Path("results/peers")
with open(folder / "summary.csv", newline="") as file:
    for row in csv.DictReader(file):
        if row["at"] == "rate":
            solved, seeds = round(float(row["solved"]) * int(row["seeds"])), row["seeds"]
            median = float(row["median_steps"])
            print(f"{row['cell']} at rate {row['learning_rate']}: solved {solved} of {seeds}, median step {median:.0f}")
for line in (folder / "summary.md").read_text().splitlines():
    if line.startswith("- **gru"):
        print(line.removeprefix("- "))
