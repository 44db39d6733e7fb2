"""The ledger: what is planted in a stream of samples is counted, one by one, however the stream is cut and whenever the run restarts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jayul.record.batch import Batch, Count, join
from jayul.record.contract import Contract, TagContract
from jayul.record.coverage import coverage, summary, table_of
from jayul.record.ledger import Ledger

S = 10**9
HOUR = 3600 * S
START = 1_700_000_000 * S // HOUR * HOUR + 3000 * S  # the hour turns 600 s later
SECONDS = 1500
DOWN = (900, 1000)  # s after the start, in which the link is down
STANDS = 1300  # from here on FROZEN stands still
APART = 12  # slots between two things that are planted
TAGS = {
    "A": TagContract(rate="1 s", low=0.0, high=100.0, late="5 s"),
    "B": TagContract(rate="2 s", low=0.0, high=100.0, late="5 s"),
    "C": TagContract(rate="5 s", low=0.0, high=100.0, late="3 s"),
    "COUNTER": TagContract(rate="1 s", late="5 s", monotone="rising"),
    "FROZEN": TagContract(rate="1 s", late="5 s", frozen="30 s"),
    "CHANGE": TagContract(low=0.0, high=100.0, late="5 s"),  # on change: nothing is expected of it
}
NAMES = ("FROZEN", "A", "CHANGE", "COUNTER", "C", "B")
RATES = {"A": 1, "B": 2, "C": 5, "COUNTER": 1, "FROZEN": 1, "CHANGE": 3}
FATES = (
    "silent", "shed", "overflowed", "duplicate", "corrected", "late", "bad", "nan", "out_of_range", "monotone", "ahead", "back",
)  # fmt: skip


class Stream:
    """Rows (known_at, tag, source_at, value, status) as they come, losses that are reported, and what was planted."""

    def __init__(self, chance: np.random.Generator, fates: dict[str, list[str]]) -> None:
        self.rows: list[tuple[int, int, int, float, int]] = []
        self.shed: list[tuple[int, int]] = []
        self.overflowed: list[tuple[int, int]] = []
        self.planted: dict[str, dict[str, int]] = {name: {} for name in NAMES}
        for name in NAMES:
            self._tag(name, chance, fates.get(name, []))
        self.rows.sort(key=lambda row: row[0])

    def count(self, name: str, what: str, n: int = 1) -> None:
        if TAGS[name].rate or not what.startswith(("expected", "present", "good", "missing")):
            self.planted[name][what] = self.planted[name].get(what, 0) + n

    def send(self, name: str, source: int, value: float, status: int = 0, delay: int = S // 10) -> None:
        self.rows.append((source + delay, NAMES.index(name), source, value, status))
        self.count(name, "received")

    def _tag(self, name: str, chance: np.random.Generator, fates: list[str]) -> None:
        rate, tag = RATES[name], NAMES.index(name)
        slots = SECONDS // rate
        free = [
            k for k in range(APART, slots - APART, APART) if all(abs(k * rate - edge) > 100 for edge in (*DOWN, STANDS + 100))
        ]
        what = dict(zip(chance.permutation(free).tolist(), fates, strict=False))
        gap, flagged = 0, 0
        for k in range(slots):
            source = START + k * rate * S + S // 2 + int(chance.integers(-200, 200)) * 1_000_000
            stands = name == "FROZEN" and k * rate >= STANDS
            value = 50.0 if stands else (k if name == "COUNTER" else float(20 + k % 50)) + float(chance.integers(1, 900)) / 1000
            self.count(name, "expected")
            if DOWN[0] <= k * rate < DOWN[1]:
                self.count(name, "missing:link")
                continue
            if gap:
                gap -= 1
                self.count(name, "missing:overflowed")
                flagged = 0 if gap else 0x480  # the server says so with the sample that comes next
                continue
            fate = what.get(k, "")
            if fate == "overflowed":
                gap = int(chance.integers(1, 6))
            if flagged:
                self.count(name, "overflowed")
                self.overflowed.append((source + S // 10, tag))
            self._sample(name, fate, source, value, flagged, chance)
            flagged = 0
            if stands and k * rate >= STANDS:
                self._stood(name, source)
        self.planted[name] = {what: n for what, n in self.planted[name].items() if n}

    def _stood(self, name: str, source: int) -> None:
        self._since = getattr(self, "_since", source)
        if source - self._since >= 30 * S:
            self.count(name, "frozen")

    def _sample(self, name: str, fate: str, source: int, value: float, status: int, chance: np.random.Generator) -> None:
        if fate in ("silent", "shed"):
            self.count(name, f"missing:{fate}")
            if fate == "shed":
                self.count(name, "shed")
                self.shed.append((source + S // 10, NAMES.index(name)))
            return
        if fate in ("ahead", "back"):
            slots = 18 if RATES[name] == 1 else 6  # back to where one came that nothing happened to
            away = 1800 * S if fate == "ahead" else -slots * RATES[name] * S
            self.count(name, "missing:silent")
            self.count(name, "clock_jump")
            self.count(name, "stored")
            if fate == "back":
                self.count(name, "late")
            self.rows.append((source + S // 10, NAMES.index(name), source + away + 1, value, status))
            self.count(name, "received")
            return
        self.count(name, "present")
        self.count(name, "stored")
        if fate in ("bad", "nan"):
            self.count(name, "bad")
            self.send(name, source, math.nan if fate == "nan" else value, 0x8031_0000 if fate == "bad" else status)
            return
        self.count(name, "good")
        if fate == "out_of_range" and TAGS[name].high is not None:
            value += 200.0
            self.count(name, "out_of_range")
        if fate == "monotone" and name == "COUNTER":
            value -= 10.0
            self.count(name, "monotone")
        if fate == "late":
            self.count(name, "late")
            self.count(name, "clock_jump")  # by then newer ones had come
        self.send(name, source, value, status, delay=8 * S if fate == "late" else S // 10)
        if fate == "duplicate":
            for _ in range(int(chance.integers(1, 4))):
                self.send(name, source, value, status, delay=int(chance.integers(S // 10, 400 * S)))
                self.count(name, "duplicate")
        if fate == "corrected":
            self.count(name, "stored")
            self.count(name, "corrected")
            self.send(name, source, value + 0.25, status, delay=2 * S)


class Store:
    """What a history keeps of it all, read back as the reader does."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.counts: list[Count] = []

    def samples(self) -> pa.Table:
        batch = join(self.batches)
        batch = batch.take(np.lexsort((batch.source_at, batch.tag)))
        batch = batch.take((np.diff(batch.tag, append=-1) != 0) | (np.diff(batch.source_at, append=0) != 0))
        stamp = pa.timestamp("ns", "UTC")
        columns = [pa.array([NAMES[i] for i in batch.tag], pa.string()), pa.array(batch.source_at).cast(stamp)]
        columns += [pa.array(batch.value), pa.array(batch.status), pa.array(batch.known_at).cast(stamp)]
        return pa.Table.from_arrays(columns, names=["tag", "source_at", "value", "status", "known_at"])

    def newest(self) -> pa.Table:
        table = self.samples()
        last = [i for i in range(table.num_rows) if i + 1 == table.num_rows or table["tag"][i + 1] != table["tag"][i]]
        return table.take(pa.array(last, pa.int64())).drop_columns(["known_at"])

    def lookup(self, tag: int, source_at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        known = {}
        for batch in self.batches:
            for i in np.flatnonzero(batch.tag == tag).tolist():
                known[int(batch.source_at[i])] = (float(batch.value[i]), int(batch.status[i]))
        rows = [known.get(at, (0.0, -1)) for at in source_at.tolist()]
        found = np.array([status >= 0 for _, status in rows], dtype=np.bool_)
        return found, np.array([value for value, _ in rows]), np.array([max(status, 0) for _, status in rows], dtype=np.uint32)


def begin(store: Store, contract: Contract, until: int, downs: list[tuple[int, int]], recent: int) -> Ledger:
    """Start a ledger on what is stored, as a run does."""
    if not store.batches:
        ledger = Ledger(contract, lookup=store.lookup, recent=recent)
        ledger.watch(START)
        return ledger
    counts = table_of(store.counts, NAMES)
    ledger = Ledger(contract, newest=store.newest(), counts=counts, lookup=store.lookup, recent=recent)
    stamp = pa.array(store.samples()["source_at"].cast(pa.int64()).to_numpy() >= ledger.reach(until))
    ledger.recall(store.samples().filter(stamp))
    ledger.watch(START)
    ledger.pause(until)
    for down in downs:
        ledger.lost_link(*down)
    ledger.watch(until)
    return ledger


def play(stream: Stream, cuts: list[int], restarts: set[int], recent: int = 200_000) -> Store:
    """Hand the stream over cut by cut (ns), with a restart after some of the cuts."""
    contract, store, downs = Contract(TAGS, NAMES), Store(), list[tuple[int, int]]()
    down = tuple(START + edge * S for edge in DOWN)
    cuts = sorted({*cuts, *down, down[1] + 10 * S, START + (SECONDS + 500) * S})
    ledger, last = begin(store, contract, START, downs, recent), START
    for i, cut in enumerate(cuts):
        rows = [row for row in stream.rows if last < row[0] <= cut]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        batch = Batch.of(columns[1], columns[2], columns[3], columns[4], columns[0])
        losses: list[dict[int, int]] = [{}, {}]
        for found, told in zip(losses, (stream.shed, stream.overflowed), strict=True):
            for _, tag in (loss for loss in told if last < loss[0] <= cut):
                found[tag] = found.get(tag, 0) + 1
        up = not down[0] < cut <= down[1]
        if cut > START + SECONDS * S:
            ledger.pause(START + SECONDS * S)
        stored, counts = ledger.take(batch, now=cut, shed=losses[0], overflowed=losses[1], link_up=up)
        if not up:
            downs.append((last, cut))
        store.batches.append(stored)
        store.counts += [*counts, *ledger.close_hours(cut)]
        last = cut
        if i in restarts and cut < START + SECONDS * S:
            ledger = begin(store, contract, cut, downs, recent)
    store.counts += ledger.close(last)
    return store


fates = st.lists(st.sampled_from(FATES), max_size=40)
GENEROUS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@GENEROUS
@given(
    seed=st.integers(0, 2**32),
    planted=st.fixed_dictionaries(dict.fromkeys(NAMES, fates)),
    cuts=st.lists(st.integers(1, SECONDS * 1000), max_size=40),
    restarts=st.sets(st.integers(0, 40), max_size=4),
    recent=st.sampled_from([50, 200_000]),
)
def test_everything_planted_is_counted_exactly(
    seed: int, planted: dict[str, list[str]], cuts: list[int], restarts: set[int], recent: int
) -> None:
    stream = Stream(np.random.default_rng(seed), planted)
    store = play(stream, [START + ms * 1_000_000 for ms in cuts], restarts, recent)
    by_tag, whole = summary(table_of(store.counts, NAMES))
    for name in NAMES:
        found: dict[str, Any] = {what: n for what, n in by_tag[name].counts.items() if what != "closed"}
        assert found == stream.planted[name], name
        assert by_tag[name].unexplained == 0
    assert whole.unexplained == 0
    assert sum(len(batch.tag) for batch in store.batches) == whole.counts["stored"]


def test_every_kind_can_be_planted() -> None:
    """The property above is worth something only if each kind of loss occurs in it."""
    stream = Stream(np.random.default_rng(1), {name: [*FATES, *FATES] for name in NAMES})
    assert {what for name in NAMES for what in stream.planted[name]} >= {
        "duplicate", "corrected", "late", "bad", "out_of_range", "monotone", "frozen", "clock_jump", "shed", "overflowed",
        "missing:shed", "missing:overflowed", "missing:link", "missing:silent",
    }  # fmt: skip
    store = play(stream, [START + k * 7 * S for k in range(200)], {20, 90, 160})
    found = summary(table_of(store.counts, NAMES))[1].counts
    assert all(found[what] == sum(stream.planted[name].get(what, 0) for name in NAMES) for what in found if what != "closed")
    assert coverage(table_of(store.counts, NAMES), ["CHANGE"]) is None


CHAOS = {
    "A": TagContract(rate="1 s", low=0.0, high=10.0, late="5 s", frozen="4 s", monotone="rising"),
    "B": TagContract(late="3 s", discard=("bad", "late"), frozen="2 s"),
    "C": TagContract(low=0.0, high=10.0, discard=("out_of_range", "ahead")),
}
Row = tuple[int, int, int, float, int]  # known_at, tag, source_at, value, status
row = st.tuples(
    st.sampled_from([0, 0, 0, 1000, 4000, 7000, 20_000, -3000, -6000, -90_000]),  # ms from source time to when it was known
    st.integers(0, 2), st.sampled_from([-1.0, 0.0, 1.0, 1.0, 5.0, 50.0, math.nan]), st.sampled_from([0, 0, 0, 0x8000_0000, 0x4000_0000]),
)  # fmt: skip


class Plainly:
    """What the docstring of the ledger says, sample by sample, and nothing else."""

    def __init__(self) -> None:
        self.stored: dict[tuple[int, int], tuple[float, int]] = {}
        self.newest: dict[int, int] = {}
        self.last: dict[int, tuple[float, int]] = {}
        self.counts: dict[tuple[int, int, str], int] = {}

    def count(self, one: Row, what: str) -> None:
        key = (one[1], one[2] // HOUR * HOUR, what)
        self.counts[key] = self.counts.get(key, 0) + 1

    def take(self, one: Row) -> None:
        known_at, tag, source, value, status = one
        rules = list(CHAOS.values())[tag]
        bad = status >= 0x4000_0000 or not math.isfinite(value)
        limit = {0: 5 * S, 1: 3 * S, 2: 0}[tag]
        found = {
            "bad": bad, "out_of_range": rules.low is not None and not bad and not 0.0 <= value <= 10.0,
            "late": limit > 0 and known_at - source > limit, "ahead": source - known_at > 5 * S,
        }  # fmt: skip
        self.count(one, "received")
        for kind in ("bad", "out_of_range", "late", "ahead"):
            if found[kind] and kind in rules.discard:
                self.count(one, f"discarded:{kind}")
                return
        before = self.stored.get((tag, source))
        if before and before[1] == status and (before[0] == value or (math.isnan(before[0]) and math.isnan(value))):
            self.count(one, "duplicate")
            return
        self.stored[tag, source] = (value, status)
        self.count(one, "stored")
        for what in ("bad", "out_of_range", "late"):
            if found[what]:
                self.count(one, what)
        if before:
            self.count(one, "corrected")
        newest = self.newest.get(tag)
        if found["ahead"] or (not before and newest is not None and newest - source > (limit or 5 * S)):
            self.count(one, "clock_jump")
        if found["ahead"] or (newest is not None and source <= newest):
            return
        self.newest[tag] = source
        if not bad:
            self._value(one, rules)

    def _value(self, one: Row, rules: TagContract) -> None:
        _, tag, source, value, _ = one
        last = self.last.get(tag)
        since = last[1] if last and last[0] == value else source
        self.last[tag] = (value, since)
        if (span := {"A": 4 * S, "B": 2 * S, "C": 0}[list(CHAOS)[tag]]) and source - since >= span:
            self.count(one, "frozen")
        if rules.monotone and last and value < last[0]:
            self.count(one, "monotone")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(row, max_size=12), max_size=12), st.sampled_from([3, 200_000]))
def test_any_stream_is_counted_as_the_definitions_say(batches: list[list[tuple[int, int, float, int]]], recent: int) -> None:
    plain, names = Plainly(), tuple(CHAOS)
    store = Store()
    ledger = Ledger(Contract(CHAOS, names), lookup=store.lookup, recent=recent)
    now, edge = START // HOUR * HOUR + HOUR - 8 * S, 0
    for batch in batches:
        rows = []
        for delay, tag, value, status in batch:
            now += S // 2
            rows.append((now, tag, (now - delay * 1_000_000) // S * S, value, status))
        for one in rows:
            plain.take(one)
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        stored, counts = ledger.take(Batch.of(columns[1], columns[2], columns[3], columns[4], columns[0]), now=now)
        store.batches.append(stored)
        store.counts += counts
        edge += len(rows)
    found: dict[tuple[int, int, str], int] = {}
    for count in store.counts:
        found[count.tag, count.hour, count.what] = found.get((count.tag, count.hour, count.what), 0) + count.n
    assert found == plain.counts
    assert summary(table_of(store.counts, names))[1].unexplained_samples == 0
    if edge:
        kept = join(store.batches)
        assert {(int(t), int(at)) for t, at in zip(kept.tag, kept.source_at, strict=True)} == set(plain.stored)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(row, min_size=1, max_size=12), min_size=2, max_size=8), st.integers(1, 6))
def test_duplicates_are_known_again_after_a_restart(batches: list[list[tuple[int, int, float, int]]], cut: int) -> None:
    """Every sample comes once more after a restart: each that was stored last is a duplicate, and none is stored twice."""
    names, store = tuple(NAMES[:3]), Store()
    contract = Contract({}, NAMES)
    ledger, now, rows = Ledger(contract, lookup=store.lookup), START, list[Row]()
    for batch in batches:
        for delay, tag, value, status in batch:
            now += S // 2
            rows.append((now, tag, (now - delay * 1_000_000) // S * S, value, status))
    columns = [list(column) for column in zip(*rows, strict=True)]
    whole = Batch.of(columns[1], columns[2], columns[3], columns[4], columns[0])
    store.batches.append(ledger.take(whole, now=now)[0])
    again = Ledger(contract, newest=store.newest(), counts=table_of([], NAMES), lookup=store.lookup, recent=cut)
    again.recall(store.samples())
    last = store.samples()
    tags = [names.index(tag) for tag in last["tag"].to_pylist()]
    source = last["source_at"].cast(pa.int64()).to_numpy()
    stored, counts = again.take(
        Batch.of(tags, source, last["value"].to_numpy(), last["status"].to_numpy(), np.full(len(tags), now)), now=now
    )
    assert len(stored.tag) == 0
    assert sum(count.n for count in counts if count.what == "duplicate") == len(tags)


def test_jitter_of_almost_half_a_rate_misses_nothing() -> None:
    chance, k = np.random.default_rng(5), np.arange(4000)
    jitter = np.where(k == 0, 0.0, chance.uniform(-0.49, 0.49, len(k)))
    source = START + (k * S + jitter * S).astype(np.int64)
    ledger = Ledger(Contract({"A": TagContract(rate="1 s", late="5 s")}, ["A"]))
    ledger.watch(START - S // 2)
    for part in np.array_split(k, 37):
        batch = Batch.of(np.zeros(len(part)), source[part], part, np.zeros(len(part)), source[part])
        ledger.take(batch, now=int(source[part[-1]]))
    found = summary(table_of(ledger.close(START + 3999 * S + S // 2), ["A"]))[1].counts
    assert (found["expected"], found["present"], found["good"]) == (4000, 4000, 4000)


def test_time_that_nobody_watched_is_not_expected() -> None:
    ledger = Ledger(Contract({"A": TagContract(rate="1 s")}, ["A"]))
    ledger.watch(START)
    ledger.pause(START + 100 * S)
    ledger.watch(START + 5000 * S)
    counts = ledger.close_hours(START + 4 * HOUR)
    assert summary(table_of(counts, ["A"]))[1].counts["missing:silent"] == 100 + (
        START + 4 * HOUR - 5 * S
    ) // HOUR * HOUR // S - (START // S + 5000)
    assert ledger.close_hours(START + 4 * HOUR) == []


def test_what_has_left_the_memory_is_found_in_the_store() -> None:
    store = Store()
    ledger = Ledger(Contract({}, NAMES), lookup=store.lookup, recent=10)
    for k in range(100):
        store.batches.append(ledger.take(Batch.of([1], [START + k * S], [k], [0], [START + k * S]), now=START + k * S)[0])
    again = Batch.of([1, 1], [START, START + S], [0.0, 7.0], [0, 0], [START + 100 * S] * 2)
    stored, counts = ledger.take(again, now=START + 100 * S)
    assert stored.value.tolist() == [7.0]
    assert {count.what for count in counts} >= {"duplicate", "corrected"}
