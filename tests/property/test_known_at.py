"""What was known at a time stays what it was: late samples and corrections never leak into an earlier view, by SQL or export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from jayul import Run
from jayul.project.export import Wanted, export
from jayul.project.query import query
from jayul.record.batch import Batch
from jayul.record.history import History
from jayul.record.history.upkeep import Policy

NAMES = ("a", "유량", "z")
MS, SECOND = 1_000_000, 1_000_000_000
START = 1_700_000_000 * SECOND
Row = tuple[str, int, bytes, int, int]

values = st.one_of(st.integers(-99, 99).map(lambda n: n / 10), st.floats(), st.just(-0.0))
samples = st.tuples(st.integers(0, 2), st.integers(0, 6), values, st.sampled_from([0, 0x80000000]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(samples, min_size=1, max_size=6), st.integers(0, 2000)), st.just(("seal",)),
        st.just(("look",)),
    ),
    min_size=2, max_size=12,
)  # fmt: skip


def rows(table: pa.Table) -> list[Row]:
    """Return tag, source time, value bit for bit (every NaN alike), status, known-at (ms)."""
    at = table["source_at"].cast(pa.int64()).to_pylist()
    value = np.where(np.isnan(v := table["value"].to_numpy()), np.nan, v)
    known = table["known_at"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_pylist()
    return list(
        zip(table["tag"].to_pylist(), at, [one.tobytes() for one in value], table["status"].to_pylist(), known, strict=True)
    )


def seen(run: Run, at: int) -> list[Row]:
    return rows(query(run, "SELECT * FROM history ORDER BY tag, source_at", at))


def text(at: int) -> str:
    return str(np.datetime64(at, "ns")) + "Z"


@settings(max_examples=25, deadline=None)
@given(steps=steps)
def test_a_view_of_an_earlier_time_is_the_view_that_was_taken_then(steps, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("known")
    history, now = History(folder / "history", NAMES, policy=Policy(few=2)), START  # merged soon
    taken = list[tuple[int, list[Row], str]]()
    kept: list[tuple[int, str, int, bytes, int]] = []
    for what, *rest in [*steps, ("look",)]:
        if what == "append":
            now += rest[1] * MS + MS  # an instant of its own, so that what was known before it is well said
            tag, source, value, status = zip(*rest[0], strict=True)
            at = START + np.array(source) * SECOND
            history.append(Batch.of(tag, at, value, status, at), known_at=now)
            one = [float("nan") if v != v else v for v in value]
            rows_of = zip(tag, at.tolist(), one, status, strict=True)
            kept += [(now // MS, NAMES[t], s, np.float64(v).tobytes(), c) for t, s, v, c in rows_of]
        elif what == "seal":
            history.commit()
            history.seal()
        else:
            history.commit()
            run = Run(folder)
            found = seen(run, now)
            out = folder / f"export{len(taken)}"
            taken.append((now, found, export(run, out, Wanted(known_at=text(now))).digest))
            assert rows(pq.read_table(out / "samples.parquet").select(run.history().column_names)) == found
    history.close()
    run = Run(folder)
    for i, (at, before, digest) in enumerate(taken):
        last = {(tag, source): (value, status, known) for known, tag, source, value, status in kept if known * MS <= at}
        assert before == [(*key, *found) for key, found in sorted(last.items())]
        assert seen(run, at) == before
        assert rows(run.history(known_at=at)) == before
        assert export(run, folder / f"again{i}", Wanted(known_at=text(at))).digest == digest
    assert query(run, "SELECT count(*) AS n FROM history_versions")["n"].to_pylist() == [len(kept)]
