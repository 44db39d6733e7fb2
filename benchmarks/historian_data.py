"""What `historian.py` feeds: synthetic tags and the files of TEP, and their encodings for us and for the peers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
ROUND, ODD = 120, 100  # s, widths of buckets: one of which summaries are kept, and one that must be made of samples
FIELDS = 50  # of a line of line protocol
VALUES = 100_000  # of a batch, about


class Feed(NamedTuple):
    """Values (times x tags) and their source times: ns UTC, one for each row, or one for each value."""

    values: np.ndarray
    at: np.ndarray
    text: str = "%r"  # how a value is written where a peer takes text; reads back bit for bit

    @property
    def tags(self) -> int:
        return int(self.values.shape[1])

    @property
    def names(self) -> list[str]:
        return [f"T{i:04d}.PV" for i in range(self.tags)]

    def batches(self, values: int = VALUES) -> list[Feed]:
        """Return the feed in the batches in which it is sent."""
        rows = max(1, values // self.tags)
        return [Feed(self.values[a : a + rows], self.at[a : a + rows], self.text) for a in range(0, len(self.values), rows)]


def synthetic(tags: int, seconds: int, seed: int) -> Feed:
    """Return one value a second: AR(1) and noise, 3 decimals."""
    rng = np.random.default_rng([seed, tags, seconds])
    values, state = np.empty((seconds, tags)), np.zeros(tags)
    for k in range(seconds):
        state = 0.995 * state + rng.normal(0, 0.05, tags)
        values[k] = state
    values += rng.uniform(10, 100, tags) + rng.normal(0, 0.02, values.shape)
    return Feed(np.round(values, 3), BEGIN + np.arange(seconds) * SECOND, "%.3f")


def jittered(feed: Feed, seed: int) -> Feed:
    """Return the same with source times of its own for each value, up to 100 ms late, in whole ms."""
    late = np.random.default_rng([seed, 1]).integers(0, 101, feed.values.shape) * 1_000_000
    return feed._replace(at=feed.at[:, None] + late)


def tep(folder: Path | None) -> Feed | None:
    """Return all files of TEP (Braatz), one after another, as 52 tags at 3 minutes; None where they are not."""
    paths = sorted(folder.glob("tep-braatz/d*.dat")) if folder else []
    if not paths:
        return None
    parts = [np.loadtxt(path) for path in paths]
    values = np.vstack([part if part.shape[1] == 52 else part.T for part in parts])
    return Feed(values, BEGIN + np.arange(len(values)) * 180 * SECOND)


def data_folder() -> Path | None:
    """Return where data sets lie: JAYUL_DATA, or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    found = Path(os.environ.get("JAYUL_DATA", beside))
    return found if found.is_dir() else None


SCHEMA = pa.schema([("tag", pa.int32()), ("source_at", pa.int64()), ("value", pa.float64()), ("status", pa.uint32())])


def arrow(feed: Feed) -> bytes:
    """Return a batch as an Arrow stream: tag, source_at, value, status."""
    rows, tags = feed.values.shape
    at = feed.at if feed.at.ndim == 2 else np.repeat(feed.at, tags)
    columns = [
        np.tile(np.arange(tags, dtype=np.int32), rows),
        at.ravel(),
        feed.values.ravel(),
        np.zeros(rows * tags, np.uint32),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=SCHEMA))
    return bytes(sink.getvalue())


def series(tag: int) -> tuple[int, str]:
    """Return group and field of a tag in the databases of the peers."""
    return tag // FIELDS, f"f{tag % FIELDS:02d}"


def lines(feed: Feed) -> bytes:
    """Return a batch as line protocol, 50 fields a line; a line for each value where each has a source time of its own."""
    spans = [(a, min(a + FIELDS, feed.tags)) for a in range(0, feed.tags, FIELDS)]
    if feed.at.ndim == 2:
        spans = [(i, i + 1) for i in range(feed.tags)]
    heads = [f"m,g={a // FIELDS} " + ",".join(f"{series(i)[1]}={feed.text}" for i in range(a, b)) for a, b in spans]
    at = feed.at if feed.at.ndim == 2 else np.broadcast_to(feed.at[:, None], feed.values.shape)
    found = []
    for row, when in zip(feed.values.tolist(), at[:, [a for a, _ in spans]].tolist(), strict=True):
        found += [f"{head % tuple(row[a:b])} {t}" for head, (a, b), t in zip(heads, spans, when, strict=True)]
    return "\n".join(found).encode()


def rows(feed: Feed) -> bytes:
    """Return a batch as the JSON lines of VictoriaMetrics: a line for each tag, with all its values."""
    times = ",".join(map(str, (feed.at // 1_000_000).tolist())) if feed.at.ndim == 1 else ""
    text, found = ",".join([feed.text] * len(feed.values)), []
    for tag in range(feed.tags):
        group, field = series(tag)
        if feed.at.ndim == 2:
            times = ",".join(map(str, (feed.at[:, tag] // 1_000_000).tolist()))
        metric = json.dumps({"__name__": f"m_{field}", "g": str(group)})
        found.append(f'{{"metric":{metric},"values":[{text % tuple(feed.values[:, tag].tolist())}],"timestamps":[{times}]}}')
    return "\n".join(found).encode()


def grid(seconds: int, width: int) -> tuple[int, int]:
    """Return where the first bucket of `width` s begins (s, a multiple of it), and how many cover `seconds` from BEGIN."""
    first = BEGIN // SECOND // width * width
    return first, -(-(BEGIN // SECOND + seconds - first) // width)


def buckets(at: np.ndarray, values: np.ndarray, seconds: int, width: int) -> np.ndarray:
    """Return min, max and mean of buckets of `width` s (rows: buckets); no bucket may be empty."""
    first, count = grid(seconds, width)
    edges = np.searchsorted(at, (first + width * np.arange(count)) * SECOND)
    ends = np.append(edges[1:], len(at))
    mean = np.add.reduceat(values, edges) / (ends - edges)
    return np.column_stack([np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges), mean])


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99."""
    return {"p50": round(float(np.percentile(milliseconds, 50)), 3), "p99": round(float(np.percentile(milliseconds, 99)), 3)}


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
