"""Has a historian compressed a series before it came here? Then correlations, spectra and noise levels of it mean little.

Three traces, of good samples in the order of their source time; each verdict rests on one figure that is held against chance:

    deadband       uneven intervals, and hardly any change that is small beside the usual one (chance: about a tenth are)
    swinging door  uneven intervals, and corners that are all about as sharp (the lower tenth of the deviations from the line
                   through the neighbours is near their median; chance: a fifth of it), or that are sharper the closer the
    points lie interpolated   even intervals, and long stretches exactly on a straight line, each with a slope of its own

A door so wide that it leaves less than a third of a wandering signal cannot be told from samples taken at random times, and is
not found unless it is interpolated; nor is an interpolation between points that lie within a few intervals of each other.
Steps of a coarse converter are no trace: changes must span several of the smallest steps. Counters are left out.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa

Kind = Literal["", "deadband", "swinging door", "interpolated"]

LEAST = 100  # samples; with fewer there is no verdict
EVEN, UNEVEN = 0.02, 0.05  # share of the intervals that differ by a quarter from the usual one
STEPS = 5  # of the converter, in the usual change
RUN, RUNS = 4, 8  # points in a row on one line; such lines
MOST_DECIMALS = 9


class Compression(msgspec.Struct, frozen=True):
    """A verdict: `figure` is what it rests on, `limit` from where on it speaks of compression. `kind` is empty if none is
    suspected.

    deadband: share of small changes (at most). swinging door: 10 % quantile over median of the corners (at least), or the
    correlation of log corner and log interval (at most, below 0). interpolated: share of the points that lie on long straight
    lines (at least).
    """

    kind: Kind
    figure: float
    limit: float
    samples: int

    @property
    def suspected(self) -> bool:
        """Whether the series seems to have been compressed."""
        return bool(self.kind)


def compressed_at_source(samples: pa.Table) -> dict[str, Compression]:
    """Return a verdict for each tag of a table (tag, source_at, value, status)."""
    found: dict[str, Compression] = {}
    tags = samples["tag"].cast(pa.string())
    at, value = samples["source_at"].cast(pa.int64()).to_numpy(), samples["value"].to_numpy()
    good = (samples["status"].to_numpy() < 0x4000_0000) & np.isfinite(value)
    codes = tags.combine_chunks().dictionary_encode()
    codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
    index = codes.indices.to_numpy()
    for i, name in enumerate(codes.dictionary.to_pylist()):
        rows = np.flatnonzero((index == i) & good)
        times, first = np.unique(at[rows], return_index=True)
        found[name] = judge(times, value[rows][first])
    return found


def judge(at: np.ndarray, value: np.ndarray) -> Compression:
    """Judge one series: rising times (ns), finite values."""
    n = len(at)
    change = np.diff(value)
    rises, falls = float((change > 0).mean()) if n > 1 else 0.0, float((change < 0).mean()) if n > 1 else 0.0
    if n < LEAST or min(rises, falls) < 0.02:
        return Compression("", 0.0, 0.0, n)
    interval = np.diff(at).astype(np.float64)
    uneven = float((np.abs(interval - np.median(interval)) > 0.25 * np.median(interval)).mean())
    if uneven <= EVEN:
        return _interpolated(value, n)
    if uneven < UNEVEN or np.median(np.abs(change)) < STEPS * _step(value):
        return Compression("", uneven, UNEVEN, n)
    return _deadband(change, uneven, n) or _swinging_door(interval, change, n)


def _step(value: np.ndarray) -> float:
    """Return the smallest difference between two values that occur."""
    steps = np.diff(np.unique(value))
    return float(steps.min()) if len(steps) else np.inf


def _deadband(change: np.ndarray, uneven: float, n: int) -> Compression | None:
    size = np.abs(change)
    share = float((size < 0.2 * np.median(size)).mean())
    limit = 0.01
    return Compression("deadband", share, limit, n) if uneven >= 2 * UNEVEN and share <= limit else None


def _swinging_door(interval: np.ndarray, change: np.ndarray, n: int) -> Compression:
    slope = change / interval
    span = interval[:-1] * interval[1:] / (interval[:-1] + interval[1:])
    corner = np.abs(np.diff(slope)) * span  # how far a point lies off the line through its neighbours
    figure = float(np.quantile(corner, 0.1) / np.median(corner)) if np.median(corner) > 0 else 0.0
    limit = 0.33 + 1.2 / float(np.sqrt(n))
    if figure >= limit:
        return Compression("swinging door", figure, limit, n)
    some = corner > 0
    if some.sum() >= LEAST and np.std(span[some]) > 0:
        apart = float(np.corrcoef(np.log(corner[some]), np.log(span[some]))[0, 1])
        below = -0.15 - 3.0 / float(np.sqrt(n))
        if apart <= below:
            return Compression("swinging door", apart, below, n)
    return Compression("", figure, limit, n)


def _interpolated(value: np.ndarray, n: int) -> Compression:
    limit = 0.3
    decimals = next((d for d in range(MOST_DECIMALS + 1) if np.array_equal(np.round(value, d), value)), None)
    unit = 0.0 if decimals is None else 10.0**-decimals
    noise = max(unit * 1.01, 1e-9 * float(np.abs(value).max()))  # what rounding leaves of a straight line
    change = np.diff(value)
    steep = np.abs(change) > 10 * noise
    line = (np.abs(np.diff(change)) <= noise) & steep[:-1] & steep[1:]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(np.int8), [0]))))
    points, slopes = 0, set[float]()
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        piece = value[begin : end + 2]
        chord = np.linspace(piece[0], piece[-1], len(piece))
        if end - begin >= RUN and np.abs(piece - chord).max() <= 1.5 * noise:
            points += end - begin
            slopes.add(float(f"{(piece[-1] - piece[0]) / (len(piece) - 1):.3g}"))
    share = points / n
    suspected = share >= limit and len(slopes) >= RUNS
    return Compression("interpolated" if suspected else "", share, limit, n)
