"""Crash a history on purpose: cut its power, kill its process, start again, and hold what is there against what was acknowledged.

python -m jayul.conform.historian --kills 200 --cuts 200 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jayul.conform.crash import Tested
from jayul.conform.power import LossyFiles, PowerCut
from jayul.core.clock import Sim, monotonic
from jayul.core.types import SECOND
from jayul.record.batch import Batch, Count, join
from jayul.record.chain import Broken
from jayul.record.files import Files, OsFiles
from jayul.record.history import History, Policy, Reader, verify_history

NAMES = ("유량", "TIC1.PV", "level", "mode")
START = 1_700_000_000 * SECOND
HOUR = 3600 * SECOND
MS = 1_000_000


class Script(NamedTuple):
    """What is fed: batch n is known at START + n s; late samples and corrections among it. `size`: samples of a batch, at most."""

    seed: int
    batches: int
    size: int = 12

    def batch(self, n: int) -> tuple[Batch, list[Count], int]:
        """Return batch n, its ledger rows, and when it is known (ns)."""
        chance = Sim(0, self.seed).rng(f"historian/{n}")
        size = int(chance.integers(0, self.size + 1))
        known = START + n * SECOND
        late = chance.random(size) < 0.2  # some correct what was there: whole seconds meet again
        at = known - np.where(late, chance.integers(0, 40, size) * SECOND, chance.integers(0, 3, size) * SECOND // 2)
        tag = chance.integers(0, len(NAMES), size)
        value = np.where(chance.random(size) < 0.8, np.round(chance.normal(50, 9, size), 2), chance.normal(0, 1, size))
        status = np.where(chance.random(size) < 0.1, 0x80000000, 0)
        batch = Batch.of(tag, at, value, status, np.full(size, known))
        hours, n_of = np.unique(tag, return_counts=True)
        return batch, [Count(int(t), known // HOUR * HOUR, "stored", int(k)) for t, k in zip(hours, n_of, strict=True)], known


class Sizes(NamedTuple):
    """How small everything is, so that each path is taken often."""

    segment_bytes: int = 1500
    values: int = 60
    few: int = 2


def opened(files: Files | Path, sizes: Sizes, **options: Any) -> History:
    """Open a history whose segments and files are small."""
    policy = Policy(small=4 * sizes.values, most=12 * sizes.values, few=sizes.few)
    return History(
        files, NAMES, segment_bytes=sizes.segment_bytes, values=sizes.values, span=0, policy=policy, **options
    )  # fmt: skip


def feed(history: History, script: Script, until: int | None = None) -> None:
    """Feed what the history does not have yet, from its cursor on."""
    for n in range(history.cursor + 1, script.batches if until is None else until):
        batch, counts, known = script.batch(n)
        history.append(batch, counts, known_at=known, cursor=n)


class Expected(NamedTuple):
    """What batches 0 to n hold: rows with every version in the order in which they came, and ledger counts."""

    batch: Batch
    stored: int


def expected(script: Script, cursor: int) -> Expected:
    """Return what a history holds whose cursor stands there."""
    made = [script.batch(n)[0] for n in range(cursor + 1)]
    batch = join(made)
    order = np.lexsort((batch.source_at, np.array([sorted(NAMES).index(name) for name in NAMES])[batch.tag]))
    return Expected(batch.take(order), len(batch.tag))


def compare(files: Files | Path, script: Script, cursor: int) -> str:
    """Say in which way a history is not what was fed up to a cursor, or nothing."""
    report = verify_history(files)
    if not report.ok:
        return f"does not verify: {report.faults[0].file}: {report.faults[0].what}"
    reader, wanted = Reader(files), expected(script, cursor)
    found = reader.samples(versions=True)
    if found.num_rows != wanted.stored:
        return f"holds {found.num_rows} samples, {wanted.stored} were fed up to batch {cursor}"
    rows = wanted.batch
    tags = np.array(NAMES, dtype=object)[rows.tag].tolist()
    same = (
        found["tag"].to_pylist() == tags
        and found["source_at"].cast(pa.int64()).to_pylist() == rows.source_at.tolist()
        and found["value"].to_numpy().tobytes() == rows.value.tobytes()
        and found["status"].to_pylist() == rows.status.tolist()
        and (found["known_at"].cast(pa.int64()).to_numpy() * MS).tolist() == rows.known_at.tolist()
    )
    if not same:
        return "holds other samples than were fed"
    if (n := sum(reader.counts()["n"].to_pylist())) != wanted.stored:
        return f"the ledger counts {n} samples, {wanted.stored} were fed"
    minutes = reader.downsample(step=60 * SECOND)
    seen = int(np.sum(minutes["count"].to_numpy()) + np.sum(minutes["bad"].to_numpy()))
    if seen != reader.samples().num_rows:
        return f"the summaries count {seen} samples of {reader.samples().num_rows}"
    return ""


class _Counting(LossyFiles):
    """Counts the calls that touch the disk."""

    calls = 0

    def _touch(self) -> None:
        self.calls += 1


def cut_power(cuts: int, seed: int, *, sync: bool = True, batches: int = 120) -> Tested:
    """Cut the power `cuts` times, each at a random disk operation of feeding, sealing or merging; check, go on, check again."""
    found, chance, sizes = Tested(failures=[]), Sim(0, seed).rng("historian/power"), Sizes()
    script = Script(seed, batches)

    def drive(files: Files, acknowledged: list[int]) -> None:
        ticking = itertools.count(0.0, 0.05).__next__  # a clock of its own: a group every few batches
        history = opened(files, sizes, acknowledge=acknowledged.append, now=ticking)
        feed(history, script)
        history.close()

    counting = _Counting(chance)
    drive(counting, [])
    for i in range(cuts):
        files, acknowledged = LossyFiles(chance, int(chance.integers(1, counting.calls)), sync=sync), list[int]()
        with contextlib.suppress(PowerCut):
            drive(files, acknowledged)
        found.crashes += 1
        found.acknowledged += max(acknowledged, default=-1) + 1
        if failure := _after_cut(files.survivor(), script, sizes, max(acknowledged, default=-1), drive):
            found.failures.append(f"cut {i}: {failure}")
    return found


def _after_cut(after: Files, script: Script, sizes: Sizes, acknowledged: int, drive: Callable[[Files, list[int]], None]) -> str:
    try:
        if not (report := verify_history(after)).ok:
            return f"does not verify before the start: {report.faults[0].file}: {report.faults[0].what}"
        history = opened(after, sizes)
        if history.cursor < acknowledged:
            return f"batch {acknowledged} was acknowledged, the history ends at {history.cursor}"
        if failure := compare(after, script, history.cursor):
            return failure
        drive(after, [])
        return compare(after, script, script.batches - 1)
    except (Broken, OSError, ValueError) as error:
        return f"cannot go on: {error}"


def kill(kills: int, seed: int, batches: int = 4000) -> Tested:
    """Kill a feeding process (kill -9) at `kills` random moments, sealing and merging in the background; check before going on."""
    found, chance = Tested(failures=[]), Sim(0, seed).rng("historian/kill")
    script = Script(seed, batches, 40)
    with tempfile.TemporaryDirectory() as name:
        folder, last = Path(name) / "history", -1
        for i in range(kills):
            acknowledged = _feed_and_kill(folder, script, float(chance.uniform(0, 0.4)))
            found.crashes += 1
            found.acknowledged += len(acknowledged)
            last = max([last, *acknowledged])
            failure = _after_kill(folder, script, last)
            if failure:
                found.failures.append(f"kill {i}: {failure}")
            if failure or last >= script.batches - 1:
                shutil.rmtree(folder)
                script, last = script._replace(seed=script.seed + 1000), -1
    return found


def _after_kill(folder: Path, script: Script, acknowledged: int) -> str:
    if not folder.is_dir():
        return "" if acknowledged < 0 else f"batch {acknowledged} was acknowledged, and there is no history"
    try:
        report = verify_history(folder)
        if not report.ok:
            return f"does not verify: {report.faults[0].file}: {report.faults[0].what}"
        history = opened(OsFiles(folder), KILLED)
        if history.cursor < acknowledged:
            return f"batch {acknowledged} was acknowledged, the history ends at {history.cursor}"
        return compare(folder, script, history.cursor)
    except (Broken, OSError, ValueError) as error:
        return f"cannot go on: {error}"


KILLED = Sizes(segment_bytes=4000, values=600)


def _feed_and_kill(folder: Path, script: Script, after: float) -> list[int]:
    """Feed in a process of its own, kill it some time after its first word, return what it acknowledged."""
    read, write = os.pipe()
    words = ["--feed", str(folder), "--seed", str(script.seed), "--batches", str(script.batches), "--size", str(script.size)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "jayul.conform.historian", *words, "--ack-fd", str(write)],
        pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    data, deadline = b"", float("inf")
    try:
        while True:
            left = deadline - monotonic()
            if left <= 0:
                process.send_signal(signal.SIGKILL)
                deadline = float("inf")
            ready, _, _ = select.select([read], [], [], None if deadline == float("inf") else max(left, 0))
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
    return [int(line) for line in data[: data.rfind(b"\n") + 1].split()]


def fill_disk(times: int, seed: int, batches: int = 600) -> Tested:
    """Let no file grow beyond `times` random sizes while a process feeds; then lift the limit: nothing may be lost."""
    found, chance = Tested(failures=[]), Sim(0, seed).rng("historian/full")
    script = Script(seed, batches, 40)
    with tempfile.TemporaryDirectory() as name:
        for i in range(times):
            folder, size = Path(name) / f"{i}", int(chance.integers(500, 10_000))
            words = ["--feed", str(folder), "--seed", str(seed), "--batches", str(batches), "--size", "40", "--full", str(size)]
            done = subprocess.run(  # noqa: S603 - our own command
                [sys.executable, "-m", "jayul.conform.historian", *words], capture_output=True, check=False, text=True
            )
            found.crashes += 1
            failure = done.stderr[-300:] if done.returncode else compare(folder, script, batches - 1)
            told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"refused": 0}
            found.acknowledged += told["refused"]
            if failure or not told["refused"]:
                found.failures.append(f"full {i} at {size} bytes: {failure or 'nothing was refused'}")
    return found


def _feeder(folder: Path, script: Script, ack_fd: int | None, full: int) -> None:
    """Feed a folder from where it stands, sealing in the background; `full`: no file may be larger, until the middle."""

    def acknowledge(cursor: int) -> None:
        if ack_fd is not None:
            os.write(ack_fd, b"%d\n" % cursor)

    refused, ticking = 0, itertools.count(0.0, 0.05).__next__
    with ThreadPoolExecutor(1) as aside:
        history = opened(folder, KILLED, acknowledge=acknowledge, aside=aside, now=ticking)
        acknowledge(history.cursor)
        if full:
            _limit(full)
        for n in range(history.cursor + 1, script.batches):
            if full and n == script.batches // 2:
                _limit(resource.RLIM_INFINITY)
            batch, counts, known = script.batch(n)
            try:
                history.append(batch, counts, known_at=known, cursor=n)
            except OSError:
                refused += 1
            refused += bool(history.trouble)
        history.close()
    print(json.dumps({"refused": refused}))


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def main() -> int:
    """Run the crashes and print a table; exit 1 if anything was lost, or if leaving out the sync went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--full", type=int, default=20, help="full disks; with --feed: no file may be larger, in bytes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--feed", type=Path, help="only feed this folder, as the one to be killed does")
    parser.add_argument("--batches", type=int, default=4000)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--ack-fd", type=int)
    given = parser.parse_args()
    if given.feed:
        full = given.full if "--full" in sys.argv else 0
        _feeder(given.feed, Script(given.seed, given.batches, given.size), given.ack_fd, full)
        return 0
    kinds: dict[str, Callable[[], Tested]] = {
        "history, power cut": lambda: cut_power(given.cuts, given.seed),
        "history, kill -9": lambda: kill(given.kills, given.seed),
        "history, full disk": lambda: fill_disk(given.full, given.seed),
    }
    failed, results = False, dict[str, object]()
    for what, crash in kinds.items():
        found = crash()
        print(f"{what}: {found.crashes} crashes, {found.acknowledged} acknowledged, {len(found.failures)} failures", flush=True)
        for line in found.failures[:5]:
            print(f"  {line}")
        results[what] = {"crashes": found.crashes, "failures": len(found.failures)}
        failed |= bool(found.failures) or not found.crashes
    caught = len(cut_power(min(given.cuts, 50), given.seed, sync=False).failures)
    print(f"history without sync, power cut: {caught} of {min(given.cuts, 50)} noticed")
    results["without sync"] = {"noticed": caught}
    print(json.dumps({"ok": not failed and caught > 0, **results}))
    return 1 if failed or not caught else 0


if __name__ == "__main__":
    sys.exit(main())
