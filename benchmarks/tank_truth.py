"""Is a conclusion true? Runs `examples/tank` with known effects, many seeds each, and counts what the proof concluded.

    python benchmarks/tank_truth.py --seeds 100 --json

Beside it, in the same runs, what a naive analysis says: Welch's t-test on single ticks of on and off, as if they were independent.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy import stats

from jayul.core.types import TagTable
from jayul.project.look import header_of
from jayul.project.proof import conclude, plan_of, rows_of
from jayul.project.run import Options, execute
from jayul.record.files import OsFiles

EXAMPLE = Path(__file__).parents[1] / "examples" / "tank" / "jayul.toml"
SCENARIOS = {  # name -> (true effect, confounded)
    "saves 5 %": (0.05, False), "no effect": (0.0, False), "costs 5 %": (-0.05, False), "no effect, confounded": (0.0, True),
}  # fmt: skip
CONCLUSIONS = ("proven", "not proven", "worse", "confounded", "void")


def one(job: tuple[str, int]) -> dict:
    """Run one scenario with one seed and return what was concluded."""
    name, seed = job
    effect, confounded = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as folder:
        project, out = Path(folder) / "project", Path(folder) / "run"
        project.mkdir()
        text = EXAMPLE.read_text(encoding="utf-8")
        changed = text.replace("effect = 0.05 ", f"effect = {effect}\nconfounded = {str(confounded).lower()} ", 1)
        assert changed != text
        (project / "jayul.toml").write_text(changed, encoding="utf-8")
        summary = conclude(execute(project, out, Options(seed, history=False)), project).summary
        reasons = [step.reason for step in summary.levels]
        interval = summary.benefit
        return {
            "scenario": name, "seed": seed, "conclusion": summary.proof.conclusion, "benefit": interval["value"],
            "covered": interval["value"] is not None and interval["low"] <= 100 * effect <= interval["high"],
            "demoted": "evidence-against" in reasons, "level": summary.level_now["preheat"], "breaches": summary.breaches,
            "naive": _naive(out),
        }  # fmt: skip


def _naive(out: Path) -> str:
    files, plan = OsFiles(out / "journal", create=False), plan_of(out)
    arms = {"on": [], "off": []}
    for row in rows_of(files, TagTable(header_of(out, files).tags), plan):
        number = int(np.searchsorted(plan.starts, row.at, side="right")) - 1
        if number >= plan.commissioning and row.at < plan.end:
            arms[plan.arms[number]].append(row.values[plan.kpi])
    found = stats.ttest_ind(arms["on"], arms["off"], equal_var=False, nan_policy="omit")
    if found.pvalue > 0.05:
        return "not proven"
    return "proven" if found.statistic < 0 else "worse"


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="runs of each scenario")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    jobs = [(name, args.seed + i) for name in SCENARIOS for i in range(args.seeds)]
    with tempfile.TemporaryDirectory() as keys:
        os.environ["JAYUL_KEYS"] = keys
        one(jobs[0])  # makes the key, once
        with ProcessPoolExecutor(args.jobs) as pool:
            found = list(pool.map(one, jobs, chunksize=4))
    head = ("truth", *CONCLUSIONS, "demoted", "covered", "breaches", "mean %", "naive: proven", "naive: worse")
    print(f"{args.seeds} seeds each, from {args.seed}; 'covered': the interval holds the truth\n")
    print(f"{head[0]:24}" + "".join(f"{name:>14}" for name in head[1:]))
    table = {}
    for name in SCENARIOS:
        rows = [row for row in found if row["scenario"] == name]
        counts = {c: sum(row["conclusion"] == c for row in rows) for c in CONCLUSIONS}
        benefits = [row["benefit"] for row in rows if row["benefit"] is not None]
        table[name] = counts | {
            "demoted": sum(row["demoted"] for row in rows),
            "covered": sum(row["covered"] for row in rows),
            "breaches": sum(row["breaches"] for row in rows),
            "mean %": round(float(np.mean(benefits)), 2) if benefits else None,
            "naive: proven": sum(row["naive"] == "proven" for row in rows),
            "naive: worse": sum(row["naive"] == "worse" for row in rows),
        }
        print(f"{name:24}" + "".join(f"{value!s:>14}" for value in table[name].values()))
    if args.json:
        print(json.dumps({"seeds": args.seeds, "seed": args.seed, "table": table}))


if __name__ == "__main__":
    main()
