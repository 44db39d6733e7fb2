"""Curves against the plain definition, and a history's end followed while it is written: nothing lost, nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jayul.core.types import SECOND, Tag
from jayul.project.curves import draw, open_ends, round_step
from jayul.project.stretches import stretches
from jayul.project.tail import Cursor, Tail
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


@contextmanager
def recorded(batches: list) -> Iterator[Reader]:
    """Give the reader of a history of tags a and b; batch `i` became known at second 500 + i."""
    with TemporaryDirectory() as folder:
        history = History(Path(folder), ["a", "b"], values=50, span=SECOND)
        for i, batch in enumerate(batches):
            write(history, batch, (500 + i) * SECOND)
        history.close()
        yield Reader(Path(folder))


@settings(deadline=None, max_examples=60)
@given(batches=BATCHES, width=st.integers(16, 300), low=st.integers(0, 100), span=st.integers(1, 120))
def test_curves_are_what_the_samples_say(batches: list, width: int, low: int, span: int) -> None:
    begin, end = low * SECOND, (low + span) * SECOND
    with recorded(batches) as reader:
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
@given(batches=BATCHES, width=st.sampled_from([16, 300]), low=st.integers(0, 100), span=st.integers(1, 120))
def test_silence_at_both_ends_is_a_gap(batches: list, width: int, low: int, span: int) -> None:
    begin, end = low * SECOND, (low + span) * SECOND
    with recorded(batches) as reader:
        held = Tag(name="a", kind="set-point", stale_after=3.0)
        curves = [*draw(reader, TAGS, begin, end, width), *draw(reader, [held], begin, end, width)]
        for tag, drawn in zip((*TAGS, held), curves, strict=True):
            curve = open_ends(tag, drawn, begin, end)
            if tag is held:
                assert curve == drawn
                continue
            longer, step = tag.stale_after * SECOND, drawn.step
            last = max((at + step for at in drawn.at if at + step <= end), default=None)
            after = [at for at in drawn.at if at + step > end]
            ends = [gap for gap in curve.gaps if gap not in drawn.gaps]
            assert all(a < b <= end and b - a > longer and a in (begin, last) for a, b in ends)
            assert all(b <= at or at + step <= a for a, b in ends for at in drawn.at), "no sample lies in it"
            first = min(min(drawn.at, default=end), end)
            if first > begin:
                assert any(gap == (begin, first) for gap in ends) == (first - begin > longer)
            if last is not None and not after:
                assert any(gap == (last, end) for gap in ends) == (end - last > longer)


DAY = 86_400 * SECOND
OLD = st.tuples(
    st.integers(0, 1),
    st.one_of(st.integers(0, 300).map(lambda s: s * SECOND), st.integers(-400, 3).map(lambda n: n * DAY // 4)),
    st.one_of(st.integers(-9, 9).map(float), st.just(float("nan"))),
    st.sampled_from([0, 0, 0, 0x80000000]),
)
HELD = (Tag(name="a", kind="set-point", stale_after=3.0), Tag(name="b", kind="laboratory", stale_after=20.0))


@settings(deadline=None, max_examples=100)
@given(
    batches=st.lists(st.lists(OLD, max_size=30), min_size=1, max_size=6),
    low=st.one_of(st.integers(0, 300), st.sampled_from([-4_000_000, 86_400, 10**9])),
    span=st.sampled_from([60, 3000, 2_000_000]),
    known=st.one_of(st.none(), st.integers(499, 507)),
)
def test_a_value_that_holds_stands_from_the_left_edge_as_it_was_known(
    batches: list, low: int, span: int, known: int | None
) -> None:
    begin, end, at_most = low * SECOND, (low + span) * SECOND, None if known is None else known * SECOND
    with TemporaryDirectory() as folder:
        history = History(Path(folder), ["a", "b"], values=20, span=SECOND)
        for i, batch in enumerate(batches):
            write(history, batch, (500 + i) * SECOND)
        history.close()
        reader = Reader(Path(folder))
        last = reader.last_before(["b", "a", "nothing"], begin, at_most)
        found = {row["tag"]: row for row in last.to_pylist()}
        curves = {curve.tag: curve for curve in draw(reader, HELD, begin, end, 16, known_at=at_most)}
        for name in ("a", "b"):
            before = reader.samples([name], None, begin, at_most).to_pylist()
            assert repr(found.get(name)) == repr(before[-1] if before else None)
            curve = curves[name]
            column = reader.samples([name], begin // (curve.step or 1) * (curve.step or 1), begin + (curve.step or 1), at_most)
            if column.num_rows:
                assert curve.at[0] <= begin
            elif before:
                value = before[-1]["value"] if before[-1]["status"] < 0x40000000 else float("nan")
                shown = None if np.isnan(value) else value
                assert curve.at[0] <= begin
                assert [shown] == (curve.min[:1] if curve.step else curve.value[:1])
                assert (shown is None) == any(a <= begin < b for a, b in curve.bad)
            else:
                assert all(at > begin for at in curve.at)


@settings(deadline=None, max_examples=100)
@given(
    batches=st.lists(st.lists(OLD, max_size=40), min_size=1, max_size=6),
    ends=st.tuples(*[st.one_of(st.none(), st.sampled_from([-(2**62), 2**62]), st.integers(-9_000_000, 600))] * 2),
    tags=st.sampled_from([["a"], ["a", "b"], ["nothing"], []]),
    most=st.integers(1, 30),
    known=st.one_of(st.none(), st.integers(499, 507)),
)
def test_stretches_hold_every_sample_once_and_no_more_than_fits(
    batches: list, ends: tuple, tags: list, most: int, known: int | None
) -> None:
    low, high = (end if end is None or abs(end) == 2**62 else end * SECOND for end in ends)
    at_most = None if known is None else known * SECOND
    with TemporaryDirectory() as folder:
        history = History(Path(folder), ["a", "b"], values=20, span=SECOND)
        for i, batch in enumerate(batches):
            write(history, batch, (500 + i) * SECOND)
        history.close()
        reader = Reader(Path(folder))
        found = list(stretches(reader, tags, low, high, most, at_most))
        for a, b in pairwise(found):
            assert a.high <= b.low
        parts = [reader.samples(tags, part.low, part.high, at_most) for part in found]
        assert [part.n for part in found] == [part.num_rows for part in parts]
        assert all(part.n <= most or part.high - part.low <= 120 * SECOND for part in found)
        at = np.concatenate([np.sort(part["source_at"].cast("int64")) for part in parts]) if parts else []
        assert list(at) == sorted(reader.samples(tags, low, high, at_most)["source_at"].cast("int64").to_pylist())


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
            told = []
            for news, at in tail.since(Cursor.of(str(since))) or ():
                for name, columns in news.of({"a", "b"}, at).items():
                    told += [(name, *row) for row in zip(*columns, strict=True)]
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
                if known_of >= since:
                    assert repr(heard[name, at]) == repr((value, status)), "the newest word is heard"
                else:
                    assert (name, at) not in heard


STEP = st.one_of(
    st.tuples(st.just("write"), st.lists(SAMPLE, min_size=1, max_size=8), st.integers(0, 2)),  # ms later, often none
    st.tuples(st.just("look")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("client"), st.integers(0, 2)),
)


@settings(deadline=None, max_examples=200)
@given(steps=st.lists(STEP, min_size=2, max_size=25))
@example(steps=[("write", [(0, 1, 1.0, 0)], 0), ("look",), ("client", 0), ("write", [(1, 1, 2.0, 0)], 0), ("client", 0)])
@example(steps=[("write", [(0, 1, 1.0, 0)], 0), ("client", 0), ("write", [(1, 1, 2.0, 0)], 0), ("restart",), ("client", 0)])
def test_whoever_follows_ends_with_what_was_written(steps: list) -> None:
    """Commits within one millisecond, looks at any time, servers that start again, clients that come and go."""
    with TemporaryDirectory() as folder:
        history = History(Path(folder), ["a", "b"], values=30, span=SECOND, now=iter(range(10**6)).__next__)
        tail, known = Tail(Path(folder), 0), 100 * SECOND
        cursors, told = {n: Cursor(0, 0, "") for n in range(3)}, {n: dict[tuple[str, int], tuple]() for n in range(3)}
        heard = {n: Counter[tuple]() for n in range(3)}

        def follow(client: int) -> None:
            tail.read()
            found = tail.since(Cursor.of(str(cursors[client])))
            assert found is not None, "all of it is kept"
            for news, at in found:
                for name, columns in news.of({"a", "b"}, at).items():
                    for source_at, value, status in zip(*columns, strict=True):
                        told[client][name, source_at] = repr((value, status))
                        heard[client][name, source_at, repr((value, status)), tail] += 1
                cursors[client] = tail.after(news)

        for kind, *given_with in [*steps, *(("client", n) for n in range(3))]:
            if kind == "write":
                known += given_with[1] * MS
                write(history, given_with[0], known)
                history.commit()
            elif kind == "look":
                tail.read()
            elif kind == "restart":
                tail = Tail(Path(folder), 0)
            else:
                follow(given_with[0])
        history.close()
        tail.read()
        assert all(tail.since(cursor) == [] for cursor in cursors.values() if cursor.token), "a sealing is no news"
        rows = Reader(Path(folder)).samples().to_pydict()
        at = Reader(Path(folder)).samples()["source_at"].cast("int64").to_pylist()
        expected = {
            (name, t): repr((value, status))
            for name, t, value, status in zip(rows["tag"], at, rows["value"], rows["status"], strict=True)
        }
        versions = Counter[tuple]()
        for kind, *given_with in steps:
            if kind == "write":
                versions.update({("ab"[tag], t) for tag, t, _, _ in given_with[0]})
        for n in range(3):
            assert told[n] == expected
            for (name, t, _, _), times in heard[n].items():
                assert times <= versions[name, t], "nothing twice from one server"
