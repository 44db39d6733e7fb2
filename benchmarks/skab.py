"""How well `examples/skab` finds the closing valve: its alarms, read from the journal, held against labels that it never saw.

    python benchmarks/skab.py --data PATH/TO/SKAB --json

found: experiments in which it rang while the anomaly lasted. FAR: share of ticks labelled normal that rang; MAR: share labelled
anomalous that did not; F1 beside them, though an alarm that always rings scores about 0.7 on this set. Judged are the ticks at
which the detector watches (after its 400 s of learning in each experiment). Peers in the same
run: an alarm that always rings, and T2+Q with limits at the 99th percentile of the held-out rows and no count of ticks in a row,
which is close to the "T-squared+Q" that SKAB publishes.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from jayul.core.types import Frame, TagTable
from jayul.project.look import header_of
from jayul.project.run import Options, execute, ticks_of
from jayul.record.files import OsFiles

EXAMPLE = Path(__file__).parents[1] / "examples" / "skab"


def labels(folder: Path) -> dict[int, bool]:
    """Return second (UTC) -> anomalous, from every file of the experiments."""
    found = {}
    for path in sorted(folder.glob("data/valve1/*.csv")):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter=";"):
                at = dt.datetime.fromisoformat(row["datetime"]).replace(tzinfo=dt.UTC)
                found[int(at.timestamp())] = float(row["anomaly"]) == 1.0
    return found


def score(alarm: np.ndarray, truth: np.ndarray, experiment: np.ndarray) -> dict[str, float]:
    """Return FAR, MAR (percent), F1, and in how many experiments it rang while the anomaly lasted."""
    found = sum(bool((alarm & truth)[experiment == number].any()) for number in np.unique(experiment))
    hits, misses, false = (alarm & truth).sum(), (~alarm & truth).sum(), (alarm & ~truth).sum()
    return {
        "far": round(100 * float(false / (~truth).sum()), 1), "mar": round(100 * float(misses / truth.sum()), 1),
        "found": found, "f1": round(float(2 * hits / (2 * hits + misses + false)), 3),
    }  # fmt: skip


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAYUL_DATA"), help="the folder of SKAB")
    parser.add_argument("--seed", type=int, default=0, help="without effect: nothing here is random")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    if args.data is None or not (Path(args.data) / "data" / "valve1").is_dir():
        parser.error("say where SKAB lies: --data DIR or JAYUL_DATA")
    os.environ["JAYUL_DATA"] = str(args.data)
    known = labels(Path(args.data))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAYUL_KEYS"] = folder
        out = Path(folder) / "run"
        execute(EXAMPLE, out, Options(args.seed, history=False))
        files = OsFiles(out / "journal", create=False)
        table = TagTable(header_of(out, files).tags)
        rows = []
        for decision, _ in ticks_of(files):
            frame = Frame.from_columns(decision.at, table, decision.columns)
            second = decision.at // 1_000_000_000
            if frame["pca.regime"] == 2 and second in known:
                rows.append(
                    (frame["pca.alarm"] == 1, max(frame["pca.t2"], frame["pca.spe"]), known[second], frame["EXPERIMENT"])
                )
    alarm, ratio, truth, number = (np.array(column) for column in zip(*rows, strict=True))
    alarm, truth = alarm.astype(bool), truth.astype(bool)
    margin = 1.0  # of the example's detector: undone for the peer
    table = {"jayul": score(alarm, truth, number), "T2+Q, every tick": score(ratio * margin > 1, truth, number)}
    table["always"] = score(np.ones_like(truth), truth, number)
    print(f"{len(truth)} ticks judged, {100 * truth.mean():.1f} % of them anomalous")
    print(f"{'':20}{'FAR %':>8}{'MAR %':>8}{'F1':>8}{'found':>8}")
    for name, found in table.items():
        print(f"{name:20}{found['far']:8}{found['mar']:8}{found['f1']:8}{found['found']:8}")
    if args.json:
        print(json.dumps({"ticks": len(truth), "experiments": len(np.unique(number)), **table}))


if __name__ == "__main__":
    main()
