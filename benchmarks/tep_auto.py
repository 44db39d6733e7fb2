"""Every disturbance of the Tennessee Eastman plant while the policy stands at `auto`, beside the same seed at base set-points.

    python benchmarks/tep_auto.py --seed 0 --json

For each of IDV 1 to 20: the policy climbs, moves to the supplied optimum, stands there at `auto`; at a drawn hour the
disturbance comes and stays for 24 h. The peer is the same plant, seed and disturbance with no policy at all. Counted from its
beginning: minutes outside the operating limits, the hour of a shutdown, the steps on the ladder.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files as resources
from pathlib import Path

import numpy as np

from jayul.core.types import Frame, TagTable
from jayul.project.look import header_of
from jayul.project.manifest import load
from jayul.project.run import Options, execute, ticks_of
from jayul.record.files import OsFiles

HOURS = 96


def manifest(idv: int, hour: int, *, auto: bool) -> str:
    """Return the demo's manifest, one disturbance in it; at auto, or with no policy that may do anything."""
    text = (resources("jayul.project") / "templates" / "tennessee-eastman" / "jayul.toml").read_text(encoding="utf-8")
    text = text.format(name="tep-auto")
    begin, end = text.index("[plant.draw]"), text.index("[people]")
    text = text[:begin] + f'[[plant.disturbance]]\nidv = {idv}\nafter = "{hour} h"\nlasts = "24 h"\n\n' + text[end:]
    text = text.replace('duration = "1092 h"', f'duration = "{HOURS} h"')
    text = text.replace('kind = "switchback"', 'kind = "setpoint"').replace(
        'begin = "8 h"\nblock = "60 h"\ncommissioning = 2\npairs = 8\n', ""
    )
    text = text[: text.index("[proof]")] + text[text.index("[ladder.shadow]") :]
    text = text.replace('evidence = ["proven"]', "")  # the ladder's last gate is not what is tested here
    text = text.replace('settle = "18 h"\ntrain = "16 h"\ntest = "7 h"', 'settle = "6 h"\ntrain = "10 h"\ntest = "5 h"')
    return text if auto else text[: text.index("[ladder.shadow]")]


def one(job: tuple[int, int, bool, int]) -> dict:
    """Run once and count."""
    idv, seed, auto, hour = job
    with tempfile.TemporaryDirectory() as folder:
        project, out = Path(folder) / "project", Path(folder) / "run"
        project.mkdir()
        (project / "jayul.toml").write_text(manifest(idv, hour, auto=auto), encoding="utf-8")
        summary = execute(project, out, Options(seed, history=False)).summary
        files = OsFiles(out / "journal", create=False)
        table = TagTable(header_of(out, files).tags)
        limits = _limits()
        minutes, shutdown, first = 0.0, None, None
        for decision, _ in ticks_of(files):
            frame = Frame.from_columns(decision.at, table, decision.columns)
            first = first or decision.at
            since = (decision.at - first) / 3.6e12
            if since < hour:
                continue
            known = {tag: frame[tag] for tag in limits if frame.fresh(tag)}
            if not known and shutdown is None:
                shutdown = since - hour
            outside = any(not low <= known[tag] <= high for tag, (low, high) in limits.items() if tag in known)
            minutes += 3.0 * outside
        steps = [
            (round(step.hours - hour, 1), f"{step.before} to {step.after}", step.reason)
            for step in summary.levels
            if step.hours >= hour
        ]
        level = next((step.after for step in reversed(summary.levels) if step.hours < hour), "record")
        return {
            "idv": idv,
            "auto": auto,
            "minutes": minutes,
            "shutdown": shutdown,
            "steps": steps,
            "level": level,
            "breaches": summary.breaches,
        }


def _limits() -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        text = (resources("jayul.project") / "templates" / "tennessee-eastman" / "jayul.toml").read_text(encoding="utf-8")
        (Path(folder) / "jayul.toml").write_text(text.format(name="limits"), encoding="utf-8")
        proof = load(Path(folder)).proof
    assert proof is not None
    return {
        limit.tag: (-np.inf if limit.low is None else limit.low, np.inf if limit.high is None else limit.high)
        for limit in proof.limits
    }


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--idv", type=int, nargs="*", default=list(range(1, 21)))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    hours = {idv: int(rng.integers(56, 70)) for idv in range(1, 21)}
    jobs = [(idv, args.seed, auto, hours[idv]) for idv in args.idv for auto in (True, False)]
    with tempfile.TemporaryDirectory() as keys:
        os.environ["JAYUL_KEYS"] = keys
        with ProcessPoolExecutor(args.jobs) as pool:
            found = {(row["idv"], row["auto"]): row for row in pool.map(one, jobs)}
    print(f"{'':>10}{'':>8}{'minutes outside':>18}{'shutdown after':>18}")
    print(f"{'IDV':>4}{'hour':>6}{'level':>8}{'auto':>9}{'base':>9}{'auto':>9}{'base':>9}  steps after it")
    worse = []
    for idv in args.idv:
        a, b = found[idv, True], found[idv, False]
        steps = "; ".join(f"{hour} h {move} ({reason})" for hour, move, reason in a["steps"]) or "none"
        down = [f"{row['shutdown']:.1f} h" if row["shutdown"] is not None else "-" for row in (a, b)]
        print(
            f"{idv:>4}{hours[idv]:>6}{a['level']:>8}{a['minutes']:>23.0f}{b['minutes']:>7.0f}{down[0]:>22}{down[1]:>7}  {steps}"
        )
        if a["minutes"] > b["minutes"] or (a["shutdown"] is not None and b["shutdown"] is None):
            worse.append(idv)
    total = {"seed": args.seed, "worse_than_base": worse, "breaches": sum(row["breaches"] for row in found.values())}
    print(f"worse than at base set-points: {', '.join(map(str, worse)) or 'none'}")
    if args.json:
        print(json.dumps(total))


if __name__ == "__main__":
    main()
