"""A year of 2,000 tags at 1 minute through our history, and what it takes to get a month of one tag back.

Values are made in chunks (each from seed and number alone) and taken in by one process; a second start goes on where the history
stopped. Queries run in a process of their own, whose memory is what counts: warm with one reader, cold with a new reader each time
and the files dropped from the page cache before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from historian_data import BEGIN, SECOND, Feed, percentiles, size_of
from jayul.record.batch import Batch, Count
from jayul.record.history import History, Reader

TAGS, MINUTE, DAY = 2_000, 60 * SECOND, 86_400 * SECOND
CHUNK = 60  # minutes
MONTH = 30 * DAY
NAMES = Feed(np.empty((0, TAGS)), np.empty(0)).names


def chunk(seed: int, number: int) -> np.ndarray:
    """Return the values of an hour (minutes x tags): a level of the tag's own, a day's swing, AR(1) and noise, 3 decimals."""
    rng = np.random.default_rng([seed, number])
    own = np.random.default_rng([seed, -1 % 2**32]).uniform(10, 100, TAGS)
    moved = lfilter([1.0], [1.0, -0.98], rng.standard_normal((CHUNK, TAGS)) * 0.05, axis=0)
    minutes = number * CHUNK + np.arange(CHUNK)
    swing = np.sin(2 * np.pi * minutes / 1440)[:, None] * (own / 50)
    return np.round(own + swing + moved + rng.standard_normal((CHUNK, TAGS)) * 0.02, 3)


def batch(seed: int, number: int) -> tuple[Batch, list[Count]]:
    """Return the samples of an hour, and what the ledger adds."""
    at = BEGIN + (number * CHUNK + np.arange(CHUNK)) * MINUTE
    tag = np.tile(np.arange(TAGS, dtype=np.int32), CHUNK)
    values = chunk(seed, number).ravel()
    source = np.repeat(at, TAGS)
    hour = int(at[0]) // (3600 * SECOND) * 3600 * SECOND
    return Batch(tag, source, values, np.zeros(len(tag), np.uint32), source), [
        Count(i, hour, "received", CHUNK) for i in range(TAGS)
    ]


def year(work: Path, days: int, seed: int) -> dict[str, Any]:
    """Build what is not there yet, then query; return the figures."""
    folder, chunks = work / f"year-{days}-{seed}", days * 24
    needed = chunks * CHUNK * TAGS * 2
    if shutil.disk_usage(work).free < needed:
        raise SystemExit(f"{work} has too little room: {needed / 1e9:.1f} GB are needed; say another place with --work")
    built = build(folder, chunks, seed)
    size, values = size_of(folder), chunks * CHUNK * TAGS
    command = [sys.executable, __file__, str(folder), str(chunks), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        "values": values, "tags": TAGS, "days": days, **built, "bytes": size, "bytes_per_value": round(size / values, 3),
        "files": len(list(folder.glob("*.parquet"))), **json.loads(done.stdout), "seed": seed,
    }  # fmt: skip


def build(folder: Path, chunks: int, seed: int) -> dict[str, Any]:
    """Take in what is missing; return the time it took, and of which making the values was a part."""
    begun, made = time.perf_counter(), 0.0
    history = History(folder, NAMES)  # seals as it goes: a year in minutes is to leave the files that a year leaves
    first = history.cursor + 1
    for number in range(first, chunks):
        start = time.perf_counter()
        samples, counts = batch(seed, number)
        made += time.perf_counter() - start
        history.append(samples, counts, known_at=int(samples.source_at[-1]) + SECOND, cursor=number)
        if number % 240 == 239:
            rate = (number + 1 - first) * CHUNK * TAGS / (time.perf_counter() - begun)
            print(f"  day {(number + 1) // 24} of {chunks // 24}, {rate / 1e6:.2f} M values/s", flush=True)
    history.close()
    seconds = time.perf_counter() - begun
    peak = memory()
    if first:
        return {"build_s": None, "build_resumed_at": first, "build_peak_mb": round(peak)}
    rate = chunks * CHUNK * TAGS / seconds
    return {
        "build_s": round(seconds, 1), "build_making_s": round(made, 1), "build_values_per_s": round(rate),
        "build_peak_mb": round(peak),
    }  # fmt: skip


def asked(chunks: int, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield tags and the begin of their months."""
    rng = np.random.default_rng([seed, 3])
    last = max(0, chunks * CHUNK * MINUTE - MONTH) // DAY
    for _ in range(count):
        yield int(rng.integers(TAGS)), BEGIN + int(rng.integers(last + 1)) * DAY


def query(folder: Path, chunks: int, seed: int) -> dict[str, Any]:
    """Return the times of months of one tag, warm and cold, and the memory of this process."""
    reader, warm, cold = Reader(folder), list[float](), list[float]()
    for k, (tag, start) in enumerate(asked(chunks, 60, seed)):
        begun = time.perf_counter()
        table = reader.samples([NAMES[tag]], start, start + MONTH)
        warm.append(1e3 * (time.perf_counter() - begun))
        if not k:
            expect(table, tag, start, chunks, seed)
    for tag, start in asked(chunks, 50, seed + 1):
        dropped(folder)
        begun = time.perf_counter()
        Reader(folder).samples([NAMES[tag]], start, start + MONTH)
        cold.append(1e3 * (time.perf_counter() - begun))
    peak = memory()
    return {
        "tag_month_ms": percentiles(warm[10:]), "tag_month_ms_cold": percentiles(cold), "first_ms": round(warm[0], 1),
        "query_peak_mb": round(peak),
    }  # fmt: skip


def expect(table: Any, tag: int, start: int, chunks: int, seed: int) -> None:
    """Stop if the values of a month are not those that were made."""
    first = (start - BEGIN) // MINUTE // CHUNK
    made = [chunk(seed, n)[:, tag].copy() for n in range(first, min(first + MONTH // MINUTE // CHUNK, chunks))]
    if not np.array_equal(table["value"].to_numpy(), np.concatenate(made)):
        raise SystemExit("the values of a month are not those that were taken in")


def memory() -> float:
    """Return the most memory that this process ever held, in MB (ru_maxrss would be that of the process before, too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def dropped(folder: Path) -> None:
    """Drop the files from the page cache."""
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


if __name__ == "__main__":
    print(json.dumps(query(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
