"""The history against a plain list: whatever is taken in, in whatever pieces, comes back bit for bit, as it was known at any time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from jayul.record.batch import Batch, Count
from jayul.record.history import History, Reader

NAMES = ("유량", "TIC1.PV", "a", "z")
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND

values = st.one_of(
    st.integers(-(10**6), 10**6).map(lambda n: n / 1000),
    st.floats(),
    st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 5e-324]),
)
samples = st.tuples(st.integers(0, 3), st.integers(-5, 40), values, st.sampled_from([0, 0x80000000]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(samples, max_size=6), st.integers(0, 2 * SECOND)),
        st.just(("commit",)), st.just(("seal",)), st.just(("close",)),
    ),
    max_size=25,
)  # fmt: skip


def rows(table: pa.Table) -> list[tuple[str, int, bytes, int]]:
    return list(
        zip(
            table["tag"].to_pylist(), table["source_at"].cast(pa.int64()).to_pylist(),
            [np.float64(value).tobytes() for value in table["value"].to_numpy()], table["status"].to_pylist(), strict=True,
        )
    )  # fmt: skip


def as_known(kept: list[tuple[int, str, int, float, int]], at: int) -> list[tuple[str, int, bytes, int]]:
    last = {(tag, source): (value, status) for known, tag, source, value, status in kept if known <= at}
    return [(*key, np.float64(value).tobytes(), status) for key, (value, status) in sorted(last.items())]


@settings(max_examples=150, deadline=None)
@given(steps=steps, data=st.data())
def test_what_was_taken_in_comes_back_as_it_was_known(steps, data, tmp_path_factory):
    folder = Path(tmp_path_factory.mktemp("history"))
    history, kept, now, cursor, n = History(folder, NAMES, values=10, span=0, segment_bytes=900), [], START, 0, 0
    for what, *rest in steps:
        if what == "append":
            now += rest[1]
            known = -(-now // 1_000_000) * 1_000_000
            columns = list(zip(*rest[0], strict=True)) if rest[0] else [(), (), (), ()]
            at = np.array(columns[1], dtype=np.int64) * SECOND + START
            batch = Batch.of(columns[0], at, columns[2], columns[3], np.zeros(len(at), dtype=np.int64))
            cursor, n = cursor + 1, n + len(rest[0])
            history.append(batch, [Count(1, START, "received", len(rest[0]))], known_at=now, cursor=cursor)
            kept += [(known, NAMES[t], START + s * SECOND, v, c) for t, s, v, c in rest[0]]
        elif what == "close":
            history.close()
            history = History(folder, NAMES[::-1] if len(kept) % 2 else NAMES, values=10, span=0)
            assert history.cursor == (cursor or -1)
            history.close()
            history = History(folder, NAMES, values=10, span=0)
        else:
            getattr(history, what)()
    history.commit()
    reader = Reader(folder)
    assert rows(reader.samples()) == as_known(kept, now + SECOND)
    assert sum(reader.counts()["n"].to_pylist()) == n
    at = data.draw(st.integers(START - 1, now + 1))
    assert rows(reader.samples(known_at=at)) == as_known(kept, at)
    some = data.draw(st.lists(st.sampled_from(NAMES), max_size=3))
    start, end = START + data.draw(st.integers(-6, 41)) * SECOND, START + data.draw(st.integers(-6, 41)) * SECOND
    assert rows(reader.samples(some, start, end)) == [
        row for row in as_known(kept, now + SECOND) if row[0] in some and start <= row[1] < end
    ]
    versions = reader.samples(versions=True)
    assert versions.num_rows == len(kept)
    newest = {tag: max(s for _, t, s, _, _ in kept if t == tag) for tag in {row[1] for row in kept}}
    history.close()
    again = History(folder, NAMES)
    found = zip(again.newest["tag"].to_pylist(), again.newest["source_at"].cast(pa.int64()).to_pylist(), strict=True)
    assert dict(found) == newest
    again.close()
