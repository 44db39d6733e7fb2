"""A data contract: what it refuses, what is proposed from records, and what is read from the counts."""

from __future__ import annotations

import tomllib

import numpy as np
import pyarrow as pa
import pytest

from jayul.record.batch import Batch, Count
from jayul.record.contract import Contract, TagContract
from jayul.record.coverage import coverage, shortfalls, summary, table_of
from jayul.record.ledger import Ledger
from jayul.record.propose import propose, toml

S = 10**9
HOUR = 3600 * S
START = 1_700_000_000 * S // HOUR * HOUR
STAMP = pa.timestamp("ns", "UTC")


def samples(**columns: tuple[np.ndarray, np.ndarray, int]) -> pa.Table:
    """Return samples of tags: times (s after the start), values, delay (ms)."""
    parts = []
    for name, (at, value, delay) in columns.items():
        source = START + (at * S).astype(np.int64)
        rows = [pa.array([name] * len(at)), pa.array(source).cast(STAMP), pa.array(value, pa.float64())]
        rows += [pa.array(np.zeros(len(at), np.uint32)), pa.array(source + delay * 1_000_000).cast(STAMP)]
        parts.append(pa.Table.from_arrays(rows, names=["tag", "source_at", "value", "status", "known_at"]))
    return pa.concat_tables(parts)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rate": "1"}, "duration '1' cannot be read"),
        ({"rate": "0.1 ms"}, "'rate' must be at least 1 ms"),
        ({"late": "soon"}, "duration 'soon'"),
        ({"low": 3.0, "high": 3.0}, "'low' must lie below 'high'"),
        ({"high": float("inf")}, "'high' is not a number"),
        ({"low": float("nan")}, "'low' is not a number"),
        ({"missing": 1.5}, "'missing' must lie between 0 and 1"),
    ],
)
def test_a_wrong_contract_is_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TagContract(**wrong)


def test_a_contract_for_a_tag_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown tag 'B'"):
        Contract({"B": TagContract()}, ["A"])


def test_a_laboratory_is_late_only_after_its_delay() -> None:
    ledger = Ledger(Contract({"LAB": TagContract(late="1 h", delay="8 h")}, ["LAB"]))
    at, delays = START + np.arange(3) * 10 * HOUR, np.array([7 * HOUR, 9 * HOUR, 9 * HOUR + 1])
    _, counts = ledger.take(Batch.of([0] * 3, at, [1.0, 2.0, 3.0], [0] * 3, at + delays), now=START + 40 * HOUR)
    assert [count.hour for count in counts if count.what == "late"] == [START + 20 * HOUR]


def test_what_is_proposed_fits_what_was_recorded() -> None:
    chance, at = np.random.default_rng(0), np.arange(7200.0)
    keep = chance.random(7200) > 0.03
    odd = np.arange(0, 7200, 1.37)
    table = samples(
        FAST=(at[keep] + chance.normal(0, 0.05, keep.sum()), np.round(50 + chance.normal(0, 2, keep.sum()), 2), 300),
        ODD=(odd, chance.normal(0, 1, len(odd)), 300),
        SETPOINT=(at, np.where(at < 4000, 60.0, 62.0), 300),
        COUNTER=(at, np.cumsum(chance.integers(1, 5, 7200)).astype(float), 300),
        CHANGE=(np.sort(chance.choice(7200, 500, replace=False)).astype(float), chance.normal(0, 1, 500), 300),
        FEW=(at[:5], at[:5], 300),
    )
    found = {name: contract for name, (contract, _) in propose(table, {"FAST": "degC"}).items()}
    fast = found["FAST"]
    assert (fast.unit, fast.rate, fast.late, fast.monotone) == ("degC", "1 s", "1 s", "")
    assert fast.frozen
    assert fast.low is not None
    assert fast.high is not None
    assert 20 < fast.low < 42
    assert 58 < fast.high < 80
    assert found["ODD"].rate == "1.37 s"
    assert (found["SETPOINT"].rate, found["SETPOINT"].frozen) == ("1 s", "")
    assert (found["COUNTER"].monotone, found["COUNTER"].high) == ("rising", None)
    assert found["CHANGE"].rate == ""
    assert found["FEW"] == TagContract()
    written = tomllib.loads(toml(found))["contract"]["tag"]
    assert {name: TagContract(**entry) for name, entry in written.items()} == found

    names = tuple(found)  # the records that it was made from raise nothing but what they lack
    ledger = Ledger(Contract(found, names))
    ledger.watch(START)
    rows = table.sort_by("known_at")
    batch = Batch.of(
        [names.index(tag) for tag in rows["tag"].to_pylist()], rows["source_at"].cast(pa.int64()).to_numpy(), rows["value"].to_numpy(),
        rows["status"].to_numpy(), rows["known_at"].cast(pa.int64()).to_numpy(),
    )  # fmt: skip
    _, counts = ledger.take(batch, now=START + 7201 * S)
    counts += ledger.close(START + 7200 * S)
    by_tag, whole = summary(table_of(counts, names))
    assert not {"late", "frozen", "out_of_range", "monotone", "clock_jump", "duplicate"} & set(whole.counts)
    assert shortfalls(table_of(counts, names), ledger.contract) == []
    assert by_tag["SETPOINT"].coverage == 1.0


def test_no_delay_is_proposed_from_what_was_imported() -> None:
    at = np.arange(1000.0)
    table = samples(A=(at, at % 7, 0))
    known = pa.array(np.full(1000, START + 90 * 24 * HOUR)).cast(STAMP)
    contract, _ = propose(table.set_column(4, "known_at", known))["A"]
    assert contract.late == ""


def counts_of(*rows: tuple[str, int, str, int]) -> pa.Table:
    names = sorted({row[0] for row in rows})
    return table_of([Count(names.index(tag), START + hour * HOUR, what, n) for tag, hour, what, n in rows], names)


def test_coverage_is_that_of_the_tag_that_has_least_and_unknown_where_nothing_is_expected() -> None:
    table = counts_of(
        ("A", 0, "expected", 100), ("A", 0, "good", 90), ("A", 1, "expected", 100), ("A", 1, "good", 100),
        ("B", 0, "expected", 10), ("B", 0, "good", 5), ("C", 0, "received", 7), ("D", 0, "expected", 5),
    )  # fmt: skip
    assert coverage(table, ["A"]) == 0.95
    assert coverage(table, ["A"], START + HOUR) == 1.0
    assert coverage(table, ["A"], end=START + HOUR) == 0.9
    assert coverage(table, ["A", "B"]) == 0.5
    assert coverage(table, ["C"]) is None
    assert coverage(table, ["A", "C"]) == 0.95
    assert coverage(table, ["D"]) == 0.0
    assert coverage(table, ["A"], START + 5 * HOUR) is None
    assert coverage(table, []) is None
    assert coverage(table) == 0.0


def test_what_is_not_accounted_for_is_seen_and_does_not_cancel_out() -> None:
    table = counts_of(
        ("A", 0, "received", 10), ("A", 0, "stored", 8), ("A", 0, "duplicate", 1), ("B", 0, "received", 5), ("B", 0, "stored", 6),
        ("A", 0, "expected", 10), ("A", 0, "present", 7), ("A", 0, "missing:silent", 2),
    )  # fmt: skip
    by_tag, whole = summary(table)
    assert (by_tag["A"].unexplained_samples, by_tag["A"].unexplained_slots) == (1, 1)
    assert by_tag["B"].unexplained_samples == -1
    assert whole.unexplained == 3


def test_hours_that_fall_short_are_named_with_the_owner_of_most() -> None:
    contract = Contract({"A": TagContract(rate="1 s", missing=0.1), "B": TagContract(rate="1 s", missing=0.5)}, ["A", "B"])
    rows = [("A", 0, "expected", 100), ("A", 0, "present", 80), ("A", 0, "good", 80), ("A", 0, "missing:silent", 5)]
    rows += [("A", 0, "missing:link", 15), ("A", 1, "expected", 100), ("A", 1, "present", 100), ("A", 1, "good", 90)]
    rows += [("A", 2, "expected", 100), ("A", 2, "present", 95), ("A", 2, "good", 60), ("A", 2, "missing:silent", 5)]
    rows += [("B", 0, "expected", 100), ("B", 0, "present", 60), ("B", 0, "good", 60), ("B", 0, "missing:link", 40)]
    found = [(one.tag, one.hour, one.coverage, one.owner) for one in shortfalls(counts_of(*rows), contract)]
    assert found == [("A", START, 0.8, "link"), ("A", START + 2 * HOUR, 0.6, "bad")]
