"""Crash on purpose: kill the process, cut the power, start again, and hold what is there against what was acknowledged.

python -m jayul.conform.crash --kills 200 --cuts 200 --seed 0
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import msgspec

from jayul.conform.power import LossyFiles, PowerCut
from jayul.core.clock import Sim, monotonic
from jayul.core.loop import run
from jayul.core.types import Decision
from jayul.plant.journal import JournalInbox, Rejoin, Tape
from jayul.plant.sim.people import SimulatedPeople
from jayul.project.manifest import NAME, load
from jayul.project.run import Options, execute, ticks_of
from jayul.project.wire import Wired, wire
from jayul.record.files import Files, OsFiles
from jayul.record.inbox import NAME as INBOX
from jayul.record.journal import Commit, Scan, Writer
from jayul.record.sign import Signer
from jayul.record.verify import Checked, verify


class Tested(msgspec.Struct):
    """What came of many crashes. A failure is a sentence that says what was lost or wrong."""

    crashes: int = 0
    acknowledged: int = 0
    torn: int = 0
    open: int = 0
    failures: list[str] = []


def make_project(folder: Path, hours: float, commit: Commit) -> Path:
    """Write a small tank project whose policy climbs within minutes and then moves in every block."""
    text = (resources("jayul.project") / "templates" / "tank" / NAME).read_text(encoding="utf-8").format(name="crash")
    for old, new in (
        ('duration = "24 h"', f'duration = "{hours} h"'), ('commit = "group"', f'commit = "{commit}"'),
        ("ticks = 60", "ticks = 5"), ("proposals = 10", "proposals = 3"), ('begin = "3 h"', 'begin = "1 ms"'),
        ('block = "2 h"', 'block = "0.5 h"'), ("pairs = 5", "pairs = 50"),
    ):  # fmt: skip
        if old not in text:
            raise ValueError(f"the template has no {old}")
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(text, encoding="utf-8")
    return folder


def drive(wired: Wired, files: Files, signer: Signer, acknowledged: list[int], *, segment_bytes: int = 60_000) -> str:
    """Run a simulated project on any file layer, going on from what is there. Returns the head."""
    checked = Checked(files, signer.public)
    for _ in checked:
        pass
    writer = Writer(
        files, wired.header, signer, commit=wired.manifest.run.commit, scan=checked.scan, acknowledge=acknowledged.append,
        now=itertools.count(0.0, 0.002).__next__, segment_bytes=segment_bytes,
    )  # fmt: skip # a clock of its own: 2 ms a look, so that groups, signed heads and rotations all come often
    tape = Tape(ticks_of(files))
    wired.plant.rewind()  # type: ignore[attr-defined]
    inbox = JournalInbox(tape, SimulatedPeople())
    paced = wired.manifest.run.commit == "tick"

    def watch(*_: object) -> None:
        if paced and tape.tick is None:
            writer.flush()

    asyncio.run(run(wired.line, wired.plant, wired.clock, Rejoin(tape, writer), inbox, ticks=wired.ticks, watch=watch))
    return str(writer.close())


def cut_power(project: Path, cuts: int, seed: int, *, sync: bool = True) -> Tested:
    """Cut the power `cuts` times, each at a random disk operation; check, and finish the run with the same head."""
    found, signer = Tested(failures=[]), Signer(bytes(32))
    chance = Sim(0, seed).rng("crash/power")

    def fresh() -> Wired:
        return wire(load(project), project, seed)

    counting = _Counting(chance)
    head = drive(fresh(), counting, signer, [])
    for i in range(cuts):
        files, acknowledged = LossyFiles(chance, int(chance.integers(1, counting.calls)), sync=sync), list[int]()
        with contextlib.suppress(PowerCut):
            drive(fresh(), files, signer, acknowledged)
        found.crashes += 1
        found.acknowledged += max(acknowledged, default=-1) + 1
        after = files.survivor()
        if failure := _check(after, signer.public, max(acknowledged, default=-1), found):
            found.failures.append(f"cut {i}: {failure}")
            continue
        resumed = drive(fresh(), after, signer, [])
        if resumed != head:
            found.failures.append(f"cut {i}: the resumed run ends at another head")
    return found


class _Counting(LossyFiles):
    """Counts the calls that touch the disk."""

    calls = 0

    def _touch(self) -> None:
        self.calls += 1


def _check(files: Files, public: str, acknowledged: int, found: Tested) -> str:
    """Say what is wrong with a journal after a crash, or nothing."""
    report = verify(files, public, pinned=True)
    if not report.ok and not (report.bad_tick == 0 and acknowledged < 0 and "no journal" in report.what):
        return f"does not verify: tick {report.bad_tick}: {report.what}"
    if report.ticks - 1 < acknowledged:
        return f"tick {acknowledged} was acknowledged, but the journal ends at tick {report.ticks - 1}"
    found.torn += report.torn_bytes > 0
    last = None
    for _, entry in Scan(files):
        last = entry
    found.open += isinstance(last, Decision)
    return ""


def kill(project: Path, kills: int, seed: int, progress: Any = lambda i: None) -> Tested:
    """Kill `jayul run` (kill -9) at `kills` random moments, check, go on, and compare the final head with an unbroken run."""
    found, chance = Tested(failures=[]), Sim(0, seed).rng("crash/kill")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        unbroken = execute(project, work / "unbroken", Options(seed=seed, history=False))
        seconds = max(unbroken.summary.wall_seconds, 0.05)
        public = (work / "unbroken" / "keys" / "run.pub").read_text().strip()
        out = work / "run"
        for i in range(kills):
            acknowledged = _run_and_kill(project, out, seed, float(chance.uniform(0, seconds)))
            found.crashes += 1
            found.acknowledged += max(acknowledged, default=-1) + 1
            files = OsFiles(out / "journal", create=False)
            if failure := _check(files, public, max(acknowledged, default=-1), found):
                found.failures.append(f"kill {i}: {failure}")
                shutil.rmtree(out)
                continue
            ended = (out / "summary.json").exists()
            if ended or i == kills - 1 or chance.random() < 0.3:
                done = execute(project, out, Options(seed=seed, history=False))
                if done.summary.head != unbroken.summary.head:
                    found.failures.append(f"kill {i}: the resumed run ends at another head")
                shutil.rmtree(out)
            progress(i)
    return found


def _run_and_kill(project: Path, out: Path, seed: int, after: float) -> list[int]:
    """Start `jayul run` in its own process, kill it some time after its first acknowledgement, return what was acknowledged."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "jayul", "run", str(project), "--out", str(out), "--seed", str(seed), "--no-history"]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--ack-fd", str(write)], pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(write)
    data, deadline = b"", float("inf")
    try:
        while True:
            left = deadline - monotonic()
            if left <= 0:
                process.send_signal(signal.SIGKILL)
                deadline = float("inf")
            ready, _, _ = select.select([read], [], [], None if deadline == float("inf") else left)
            if ready:
                part = os.read(read, 65536)
                if not part:
                    break
                if not data:
                    deadline = monotonic() + after
                data += part
    finally:
        os.close(read)
        process.kill()
        process.wait()
    whole = data[: data.rfind(b"\n") + 1]
    return [int(line) for line in whole.split()]


def fill_disk(project: Path, times: int, seed: int) -> Tested:
    """Let the disk be full (no file may grow further) at `times` random sizes; check, make room, and finish with the same head."""
    found, chance = Tested(failures=[]), Sim(0, seed).rng("crash/full")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        unbroken = execute(project, work / "unbroken", Options(seed=seed, history=False))
        public = (work / "unbroken" / "keys" / "run.pub").read_text().strip()
        largest = max(path.stat().st_size for path in (work / "unbroken" / "journal").iterdir())
        for i in range(times):
            out, size = work / f"run-{i}", int(chance.integers(1024, largest))
            code, said, acknowledged = _run(project, out, seed, functools.partial(_no_larger, size))
            found.crashes += 1
            found.acknowledged += max(acknowledged, default=-1) + 1
            if code == 0 or "Traceback" in said or not said.startswith("jayul: "):
                found.failures.append(f"full {i}: exit {code}: {said[-200:]}")
                continue
            if failure := _check(OsFiles(out / "journal", create=False), public, max(acknowledged, default=-1), found):
                found.failures.append(f"full {i}: {failure}")
                continue
            if execute(project, out, Options(seed=seed, history=False)).summary.head != unbroken.summary.head:
                found.failures.append(f"full {i}: the resumed run ends at another head")
            shutil.rmtree(out)
    return found


def _no_larger(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def spoil_inbox(project: Path, times: int, seed: int) -> Tested:
    """Overwrite the inbox file at `times` random moments of a run: the run goes on, every policy demoted, nothing else is lost."""
    found, chance = Tested(failures=[]), Sim(0, seed).rng("crash/inbox")
    with tempfile.TemporaryDirectory() as name:
        for i in range(times):
            out = Path(name) / f"run-{i}"
            half = int(chance.integers(20, 200))
            execute(project, out, Options(seed=seed, history=False, ticks=half))
            with (out / "state.db").open("r+b") as file:  # between two starts, or (odd) truncated
                file.write(chance.bytes(int(chance.integers(100, 4096))))
                file.truncate(int(chance.integers(1, 4096)) if i % 2 else 8192)
            code, said, acknowledged = _run(project, out, seed, lambda: None)
            found.crashes += 1
            found.acknowledged += max(acknowledged, default=-1) + 1
            files = OsFiles(out / "journal", create=False)
            public = (out / "keys" / "run.pub").read_text().strip()
            failure = _check(files, public, max(acknowledged, default=-1), found)
            heard = [h for tick in ticks_of(files) for h in tick.decision.events if h.event.by == INBOX]
            if code or failure:
                found.failures.append(f"inbox {i}: exit {code}: {failure or said[-200:]}")
            elif not heard or heard[0].refused:
                found.failures.append(f"inbox {i}: the damage was not heard of")
            elif not list(out.glob("state.db.damaged-*")):
                found.failures.append(f"inbox {i}: the damaged file was not kept")
            shutil.rmtree(out)
    return found


def _run(project: Path, out: Path, seed: int, limit: Callable[[], None]) -> tuple[int, str, list[int]]:
    """Run in a process of its own, under a limit; return exit code, what it said, and what it acknowledged."""
    with tempfile.TemporaryFile() as told:
        command = [sys.executable, "-m", "jayul", "run", str(project), "--out", str(out), "--seed", str(seed), "--no-history"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, "--ack-fd", str(told.fileno())],
            pass_fds=(told.fileno(),), preexec_fn=limit, capture_output=True, check=False,
        )  # fmt: skip
        told.seek(0)
        return done.returncode, done.stderr.decode(), [int(line) for line in told.read().split()]


def main() -> int:
    """Run the crashes and print a table; exit 1 if anything was lost, or if leaving out the sync went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--others", type=int, default=100, help="full disks, and spoilt inboxes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows: dict[str, Tested] = {}
        for commit in ("tick", "group"):
            project = make_project(Path(name) / commit, 2.0, commit)
            rows[f"power cuts, commit {commit}"] = cut_power(project, arguments.cuts // 2, arguments.seed)
            killed = make_project(Path(name) / f"kill-{commit}", 12.0, commit)
            rows[f"kill -9, commit {commit}"] = kill(killed, arguments.kills // 2, arguments.seed)
        small = make_project(Path(name) / "others", 2.0, "tick")
        rows["disk full"] = fill_disk(small, arguments.others, arguments.seed)
        rows["inbox spoilt"] = spoil_inbox(small, arguments.others, arguments.seed)
        blind = cut_power(make_project(Path(name) / "blind", 2.0, "tick"), 20, arguments.seed, sync=False)
    for what, row in rows.items():
        line = f"{what}: {row.crashes} crashes, {row.acknowledged} ticks acknowledged before them, {row.torn} torn tails"
        print(f"{line}, {row.open} open Decisions, {len(row.failures)} failures")
        for failure in row.failures[:5]:
            print(f"  {failure}")
    print(f"with every sync left out, 20 power cuts: {len(blind.failures)} failures (must be above 0)")
    failures = sum(len(row.failures) for row in rows.values())
    print(json.dumps({"failures": failures, "failures_without_sync": len(blind.failures)}))
    return 1 if failures or not blind.failures else 0


if __name__ == "__main__":
    sys.exit(main())
