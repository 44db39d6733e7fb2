"""Record the golden journal again: a short tank run with moves, a refused move, a demotion and a return.

Do it only when behaviour was changed on purpose; the commit says why.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from jayul.conform.breakage import write_project
from jayul.project.run import Options, execute

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "tank"
CHANGES = {
    'duration = "24 h"': 'duration = "1.5 h"', "ticks = 60": "ticks = 5", "proposals = 10": "proposals = 3",
    'begin = "3 h"': 'begin = "1 ms"', 'block = "2 h"': 'block = "20 min"', "pairs = 5": 'arms = ["on", "off", "on", "off", "on"]',
}  # fmt: skip
FAULTS = """
[[plant.fault]]
tag = "TIC2.PV"
kind = "frozen"
after = "35 min"
lasts = "12 min"
[[plant.fault]]
tag = "TIC1.PV"
kind = "bad"
after = "13 min"
lasts = "3 min"
"""


def main() -> None:
    """Run it and put its journal in place."""
    with tempfile.TemporaryDirectory() as name:
        project = write_project(Path(name) / "project", "golden", CHANGES, FAULTS)
        done = execute(project, Path(name) / "run", Options(seed=11, history=False))
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(Path(name) / "run" / "journal", GOLDEN / "journal")
    print(f"{GOLDEN}: {done.summary.ticks} ticks, {[step.reason for step in done.summary.levels]}, {done.summary.verdicts}")


if __name__ == "__main__":
    main()
