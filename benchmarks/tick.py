"""How many ticks a second: simulated tank with guard and journal, on one core, beside the same plant driven by a bare loop.

    python benchmarks/tick.py --json --seed 0

ticks_s_group, ticks_s_tick: whole runs (plant, ladder, policy, guard, journal on disk) by commit mode.
ticks_s_moving: commit group, with a policy that moves the plant at every tick.
replay_ticks_s: `jayul replay` (guard and ladder) of the group run. ratio_bare_loop: bare-loop ticks/s over ticks_s_group, where
the bare loop reads the same plant, computes the same set-point, writes it, and keeps nothing.
Rounds are interleaved; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jayul.core.types import Proposal, Verdict
from jayul.project.look import replay
from jayul.project.manifest import load
from jayul.project.run import Options, execute
from jayul.project.wire import wire

MANIFEST = """
[project]
name = "bench"
[run]
period = "10 s"
duration = "{hours} h"
commit = "{commit}"
[plant]
kind = "tank"
[people]
simulated = true
[[policy]]
kind = "{kind}"
name = "preheat"
writes = ["TIC1.SP"]
needs = ["TIC1.PV", "TIC2.PV", "LIC1.PV"]
target = {{ "TIC1.SP" = {target} }}
per_hour = {{ "TIC1.SP" = {rate} }}
{more}
[ladder.shadow]
ticks = 10
[ladder.advise]
ticks = 10
[ladder.confirm]
ticks = 10
"""


def project(folder: Path, name: str, hours: float, commit: str, *, moving: bool = False) -> Path:
    """Write a manifest; `moving` makes blocks so long and slow that every tick has a proposal that is applied."""
    more = 'begin = "10 s"\nblock = "500 h"\narms = ["on"]' if moving else 'begin = "10 min"\nblock = "2 h"\npairs = 400'
    rate = 7.0 / hours * 0.9 if moving else 30.0
    path = folder / name
    path.mkdir()
    text = MANIFEST.format(hours=hours, commit=commit, kind="switchback", target=62.0, rate=f"{rate:.6f}", more=more)
    (path / "jayul.toml").write_text(text)
    return path


def bare(path: Path, seed: int) -> float:
    """Drive the plant without Jayul: read, move the set-point towards the target, write. Returns ticks a second."""
    wired = wire(load(path), path, seed)

    async def drive() -> None:
        for _ in range(wired.ticks):
            await wired.clock.until(wired.clock.now() + wired.line.period)
            frame = await wired.plant.read()
            value = min(62.0, frame["TIC1.SP"] + 0.08)
            await wired.plant.write([Verdict(Proposal("TIC1.SP", value, "", ""), value, "")])

    begun = time.perf_counter()
    asyncio.run(drive())
    return wired.ticks / (time.perf_counter() - begun)


def timed(run: Callable[[], int]) -> float:
    """Return ticks a second of a function that returns how many ticks it did."""
    begun = time.perf_counter()
    ticks = run()
    return ticks / (time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=100.0, help="of plant, at 360 ticks an hour")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    rows: dict[str, list[float]] = {
        key: [] for key in ("ticks_s_group", "ticks_s_moving", "ticks_s_tick", "replay_ticks_s", "bare")
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        group = project(work, "group", arguments.hours, "group")
        moving = project(work, "moving", arguments.hours, "group", moving=True)
        tick = project(work, "tick", arguments.hours / 20, "tick")
        for i in range(arguments.rounds):
            options = Options(seed=arguments.seed, history=False)
            rows["ticks_s_group"].append(timed(lambda i=i, o=options: execute(group, work / f"group-{i}", o).summary.ticks))
            rows["bare"].append(bare(group, arguments.seed))
            rows["ticks_s_moving"].append(timed(lambda i=i, o=options: execute(moving, work / f"moving-{i}", o).summary.ticks))
            rows["ticks_s_tick"].append(timed(lambda i=i, o=options: execute(tick, work / f"tick-{i}", o).summary.ticks))
            rows["replay_ticks_s"].append(timed(lambda i=i: replay(work / f"group-{i}").ticks))
    found = {key: round(statistics.median(values)) for key, values in rows.items()}
    ratios = [b / g for b, g in zip(rows["bare"], rows["ticks_s_group"], strict=True)]
    found["ratio_bare_loop"] = round(statistics.median(ratios), 2)
    for key, value in found.items():
        spread = f"  (rounds {min(rows[key]):.0f} to {max(rows[key]):.0f})" if key in rows else f"  (worst {max(ratios):.2f})"
        print(f"{key:16s} {value}{spread}")
    if arguments.json:
        print(json.dumps(found | {"seed": arguments.seed, "rounds": arguments.rounds}))


if __name__ == "__main__":
    main()
