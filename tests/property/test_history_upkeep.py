"""Merging, summaries, retirement: what a reader is told stays equal to a plain list, late samples and corrections included."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jayul.record.batch import Batch, Count
from jayul.record.history import History, Reader
from jayul.record.history.check import verify_history
from jayul.record.history.upkeep import Policy

NAMES = ("유량", "TIC1.PV", "a")
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
BAD = 0x80000000

values = st.one_of(
    st.integers(-(10**6), 10**6).map(lambda n: n / 1000),
    st.floats(-1e6, 1e6),
    st.sampled_from([float("nan"), float("inf"), -0.0]),
)
samples = st.tuples(st.integers(0, 2), st.integers(-30, 400), values, st.sampled_from([0, 0, 0, BAD]))
bursts = st.tuples(st.integers(0, 2), st.integers(-10, 200), st.integers(1, 90), values)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(samples, max_size=6)),
        st.tuples(st.just("burst"), bursts),
        st.just(("commit",)), st.just(("seal",)), st.just(("close",)),
    ),
    min_size=1, max_size=20,
)  # fmt: skip


def drawn(step: tuple) -> list[tuple[int, int, float, int]]:
    """Return the samples of a step: tag, source time, value, status."""
    if step[0] == "burst":
        tag, begin, n, value = step[1]
        return [(tag, START + (begin * 60 + 7 * i) * SECOND, value + i / 8, 0) for i in range(n)]
    return [(t, START + s * 37 * SECOND, v, c) for t, s, v, c in step[1]]


def play(folder: Path, script: list, policy: Policy) -> tuple[History, list]:
    """Take samples in as a script says; return the history and what it should hold: (known, tag, at, value, status)."""
    options = {"values": 40, "span": 0, "segment_bytes": 700, "policy": policy}
    history, kept, now, cursor = History(folder, NAMES, **options), [], START, 0
    for step in script:
        if step[0] in ("append", "burst"):
            rows, now, cursor = drawn(step), now + 13 * SECOND, cursor + 1
            columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
            history.append(
                Batch.of(*columns, np.zeros(len(rows))), [Count(0, START, "stored", len(rows))], known_at=now, cursor=cursor
            )
            kept += [(now, NAMES[t], at, v, c) for t, at, v, c in rows]
        elif step[0] == "close":
            history.close()
            history = History(folder, NAMES, **options)
        else:
            getattr(history, step[0])()
    history.commit()
    return history, kept


def as_known(kept: list, at: int) -> dict[tuple[str, int], tuple[float, int]]:
    return {(tag, source): (value, status) for known, tag, source, value, status in kept if known <= at}


def summaries(kept: list, known: int, tags: list[str], start: int, end: int, step: int) -> dict:
    """Return what `downsample` should say, one sample after another."""
    found: dict = {}
    for (tag, at), (value, status) in sorted(as_known(kept, known).items()):
        if tag in tags and start <= at < end:
            good, bad = found.setdefault((tag, at // step * step), ([], []))
            (good if status < 0x40000000 and np.isfinite(value) else bad).append(value)
    return found


def check(table: pa.Table, wanted: dict) -> None:
    rows = {(row["tag"], row["start"].value): row for row in table.to_pylist()}
    assert list(rows) == sorted(wanted)
    for key, (good, bad) in wanted.items():
        row = rows[key]
        assert (row["count"], row["bad"]) == (len(good), len(bad))
        if good:
            assert [row[name] for name in ("min", "max", "first", "last")] == [min(good), max(good), good[0], good[-1]]
            assert row["mean"] == pytest.approx(sum(good) / len(good), rel=1e-9, abs=1e-6)
        else:
            assert all(np.isnan(row[name]) for name in ("min", "max", "mean", "first", "last"))


@settings(max_examples=120, deadline=None)
@given(script=steps, few=st.sampled_from([1, 3, 99]), data=st.data())
def test_summaries_equal_those_from_the_samples_themselves(script, few, data, tmp_path_factory):
    folder = Path(tmp_path_factory.mktemp("history"))
    history, kept = play(folder, script, Policy(small=400, most=900, few=few))
    reader = Reader(folder)
    for _ in range(3):
        step = data.draw(st.sampled_from([7, 60, 120, 600, 1800, 3600, 86_400])) * SECOND
        tags = data.draw(st.lists(st.sampled_from(NAMES), max_size=3))
        start = START + data.draw(st.integers(-3000, 16_000)) * SECOND
        end = start + data.draw(st.integers(0, 30_000)) * SECOND
        known = data.draw(st.one_of(st.none(), st.integers(START, START + 300 * SECOND)))
        found = reader.downsample(tags, start, end, step=step, known_at=known)
        check(found, summaries(kept, 2**62 if known is None else known, tags, start, end, step))
    every = reader.downsample(step=60 * SECOND)
    check(every, summaries(kept, 2**62, list(NAMES), -(2**62), 2**62, 60 * SECOND))
    history.close()
    assert verify_history(folder).faults == []


@settings(max_examples=60, deadline=None)
@given(script=steps, few=st.sampled_from([1, 2]))
def test_merging_keeps_every_version_in_the_order_in_which_it_came(script, few, tmp_path_factory):
    folder = Path(tmp_path_factory.mktemp("history"))
    history, kept = play(folder, script, Policy(small=400, most=900, few=few))
    history.close()
    found = Reader(folder).samples(versions=True)
    at, value = found["source_at"].cast(pa.int64()).to_pylist(), found["value"].to_numpy()
    rows = list(zip(found["tag"].to_pylist(), at, [np.float64(v).tobytes() for v in value], strict=True))
    wanted = sorted(kept, key=lambda row: (row[1], row[2]))
    assert rows == [(tag, source, np.float64(v).tobytes()) for _, tag, source, v, _ in wanted]
    assert sum(Reader(folder).counts()["n"].to_pylist()) == len(kept)
    assert verify_history(folder).faults == []
