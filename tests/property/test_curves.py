"""Curves against the plain definition, and a history's end followed while it is written: nothing lost, nothing twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jayul.core.types import SECOND, Tag
from jayul.project.curves import draw, round_step
from jayul.project.tail import Tail
from jayul.record.batch import Batch
from jayul.record.history import History, Reader

MS = 1_000_000
SAMPLE = st.tuples(
    st.integers(0, 1),
    st.integers(0, 400).map(lambda s: s * SECOND // 2 - 3600 * SECOND * (s % 7 == 0)),
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf"), -0.0])),
    st.sampled_from([0, 0, 0, 0x40000000, 0x80000000]),
)
BATCHES = st.lists(st.lists(SAMPLE, max_size=40), min_size=1, max_size=6)
TAGS = (Tag(name="a", stale_after=3.0), Tag(name="b", stale_after=20.0))


def write(history: History, batch: list[tuple[int, int, float, int]], known: int) -> None:
    columns = zip(*batch, strict=True) if batch else ((), (), (), ())
    history.append(Batch.of(*columns, np.zeros(len(batch))), known_at=known)


@settings(deadline=None, max_examples=60)
@given(batches=BATCHES, width=st.integers(16, 300), low=st.integers(0, 100), span=st.integers(1, 120))
def test_curves_are_what_the_samples_say(batches: list, width: int, low: int, span: int) -> None:
    begin, end = low * SECOND, (low + span) * SECOND
    with TemporaryDirectory() as folder:
        history = History(Path(folder), ["a", "b"], values=50, span=SECOND)
        for i, batch in enumerate(batches):
            write(history, batch, (500 + i) * SECOND)
        history.close()
        reader = Reader(Path(folder))
        for tag, curve in zip(TAGS, draw(reader, TAGS, begin, end, width), strict=True):
            step = curve.step or round_step(end - begin, width)
            low_edge, high_edge = begin // step * step, -(-end // step) * step
            table = reader.samples([tag.name], low_edge, high_edge)
            at, value = np.array(table["source_at"].cast("int64")), np.array(table["value"])
            good = (np.array(table["status"]) < 0x40000000) & np.isfinite(value)
            if not curve.step:
                inside = [(t, v) for t, v in zip(curve.at, curve.value, strict=True) if begin <= t < end]
                keep = (at >= begin) & (at < end)
                assert inside == [(t, v if ok else None) for t, v, ok in zip(at[keep], value[keep], good[keep], strict=True)]
                assert len(curve.at) <= 2 * width + 2
                for a, b in zip(curve.at, curve.at[1:], strict=False):
                    assert ((a, b) in curve.gaps) == (b - a > tag.stale_after * SECOND)
            else:
                starts = np.unique(at // step * step)
                parts = [value[good & (at // step * step == start)] for start in starts]
                assert curve.at == starts.tolist()
                assert curve.min == [part.min() if len(part) else None for part in parts]
                assert curve.max == [part.max() if len(part) else None for part in parts]
                assert len(curve.at) <= width + 1
            for t, ok in zip(at, good, strict=True):
                if not ok and begin <= t < end:
                    assert any(a <= t <= b for a, b in curve.bad), "what is not good is shown"


@settings(deadline=None, max_examples=60)
@given(batches=BATCHES, looks=st.lists(st.booleans(), min_size=6, max_size=6), back=st.integers(-1, 6))
def test_who_follows_gets_every_sample_once_also_after_being_away(batches: list, looks: list[bool], back: int) -> None:
    with TemporaryDirectory() as folder:
        history = History(Path(folder), ["a", "b"], values=50, span=SECOND, now=iter(range(10**6)).__next__)
        tail = Tail(Path(folder), 0)
        for i, (batch, look) in enumerate(zip(batches, looks, strict=False)):
            write(history, batch, (100 + i) * SECOND)
            if look:
                tail.read()
        history.close()
        tail.read()
        for since in (0, (100 + back) * 1000):
            told, known = [], since
            for news in tail.since(since) or ():
                for name, columns in news.of({"a", "b"}, known).items():
                    told += [(name, *row) for row in zip(*columns, strict=True)]
                known = news.known
            table = Reader(Path(folder)).samples(versions=True)
            known_at = np.array(table["known_at"].cast("int64"))
            rows = zip(
                table["tag"].to_pylist(), np.array(table["source_at"].cast("int64")).tolist(),
                table["value"].to_pylist(), table["status"].to_pylist(), known_at.tolist(), strict=True,
            )  # fmt: skip
            rows = list(rows)
            newest = {(name, at): (value, status, known) for name, at, value, status, known in rows}
            heard = {(name, at): (value, status) for name, at, value, status in told}
            versions = Counter((name, at) for name, at, *_ in rows)
            assert all(n <= versions[key] for key, n in Counter((name, at) for name, at, *_ in told).items()), "nothing twice"
            for (name, at), (value, status, known_of) in newest.items():
                if known_of > since:
                    assert repr(heard[name, at]) == repr((value, status)), "the newest word is heard"
                else:
                    assert (name, at) not in heard
