"""Print the lowest versions that pyproject.toml promises, as requirements for pip; torch is left out.

python .ci/lowest.py [EXTRA ...] adds those extras.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][extra] for extra in sys.argv[1:]]
wanted = sum(extras, project["dependencies"])
for line in wanted:
    if not line.startswith("torch>"):
        name, at_least, version = line.partition(">=")
        assert at_least, f"{line} has no lower bound"
        assert "," not in version, f"{line} is no simple bound"
        print(f"{name}=={version}")
