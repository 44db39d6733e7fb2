"""The timeline: any tick and the state after it, in any order, in little memory, as the loop itself had it."""

from __future__ import annotations

import contextlib
import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from jayul.conform.crash import make_project
from jayul.core.loop import State, settle, start, step
from jayul.core.types import Decision, Frame, Outcome
from jayul.plant.journal import Tick
from jayul.project import timeline as timelines
from jayul.project.notable import KINDS, Notable
from jayul.project.run import Options, execute, ticks_of
from jayul.project.timeline import Timeline
from jayul.project.wire import replay_line
from jayul.record.chain import ZERO, unpack
from jayul.record.files import OsFiles
from jayul.record.follow import Follow, Newest, Replaced
from jayul.record.journal import Corrupt, Header, Scan, Writer, read_heads
from jayul.record.sign import Signer

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if (path / "journal").is_dir())


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
def run(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 2400 ticks, whose policy climbs and moves."""
    monkeypatch.setenv("JAYUL_KEYS", str(keys))
    if not (keys / "run").exists():
        execute(make_project(keys / "line", 20.0, "group"), keys / "run", Options())
    return keys / "run"


def whole(out: Path) -> Timeline:
    timeline = Timeline(out)
    while (before := len(timeline)) < timeline.refresh():
        assert before < len(timeline)
    return timeline


def journal(out: Path) -> list[Tick]:
    return list(ticks_of(OsFiles(out / "journal", create=False)))


def stepped(timeline: Timeline, ticks: list[Tick]) -> list[State]:
    """Return the state after each tick: the loop's own step, with the guard, on the recorded frames and wishes."""
    line, table = replay_line(timeline.header, full=False)
    now: list[Tick] = []

    class Said:
        """A model whose readings stand in the frame already."""

        def __init__(self, name: str, of: object) -> None:
            self.name, self.tags, self.needs = name, of.tags, of.needs  # type: ignore[attr-defined]

        def infer(self, state: None, frame: Frame) -> tuple[None, tuple[()]]:
            if self.name in now[0].decision.failed:
                raise RuntimeError
            return None, ()

    def said(name: str) -> object:
        def policy(state: None, frame: Frame, plan: object) -> object:
            decision = now[0].decision
            if name in decision.failed:
                raise RuntimeError
            mine = [v.proposal for v in decision.verdicts if v.proposal.by == name]
            return None, [*(plan for plan in decision.plans if plan.by == name), *mine]

        return policy

    models = {name: (Said(name, model), None) for name, (model, _) in line.models.items()}
    seats = tuple(replace(seat, policy=said(seat.name)) for seat in line.seats)
    line = replace(line, models=models, seats=seats)
    state, found = start(line), []
    for tick in ticks:
        now[:] = [tick]
        frame = Frame.from_columns(tick.decision.at, table, tick.decision.columns)
        state, decision, _ = step(line, state, frame, [heard.event for heard in tick.decision.events])
        assert decision.verdicts == tick.decision.verdicts
        state = settle(state, tick.decision, tick.outcome) if tick.outcome else state
        found.append(state)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_state_after_each_tick_is_the_one_of_the_loop(name: str) -> None:
    timeline, ticks = whole(GOLDEN / name), journal(GOLDEN / name)
    states = stepped(timeline, ticks)
    assert len(timeline) == len(ticks)
    for number in sorted(range(len(ticks)), key=lambda n: n * 7919 % 101):
        moment = timeline.moment(number)
        assert moment.tick == ticks[number]
        assert moment.state == states[number]


def test_any_tick_in_any_order_with_states_far_apart(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "STATES", 4)
    timeline, ticks = whole(run), journal(run)
    states = stepped(timeline, ticks)
    rng = random.Random(1)
    chosen = [0, 2399, *(rng.randrange(2400) for _ in range(60)), *range(1200, 1160, -1), *range(31, 66)]
    for number in chosen:
        assert timeline[number] == ticks[number]
        assert timeline.moment(number).state == states[number]
        assert timeline.time_of(number) == ticks[number].decision.at
    assert list(timeline.ticks(63, 130)) == ticks[63:130]
    assert timeline.span() == (ticks[0].decision.at, ticks[-1].decision.at)
    for number in (-1, 2400):
        with pytest.raises(IndexError):
            timeline[number]


def test_a_tick_costs_few_bytes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "STATES", 8)
    timeline = Timeline(run)
    tracemalloc.start()
    try:
        while len(timeline) < 400:
            timeline.refresh(100)
        first, before = tracemalloc.get_traced_memory()[0], len(timeline)
        while len(timeline) < 2400:
            timeline.refresh(100)
        assert (tracemalloc.get_traced_memory()[0] - first) / (len(timeline) - before) < 40
    finally:
        tracemalloc.stop()


def test_a_record_that_was_changed_is_not_shown(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    timeline, segment = whole(out), out / "journal" / "000001.jnl"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with pytest.raises(Corrupt, match="no longer what it was"):
        list(timeline.ticks(0, 2400))
    assert timeline[2399] == journal(run)[-1]  # in memory


@pytest.fixture
def parted(run: Path, tmp_path: Path) -> Path:
    """The same journal, cut into many segments."""
    out = tmp_path / "parted"
    (out / "journal").mkdir(parents=True)
    entries = [entry for _, entry in Scan(OsFiles(run / "journal", create=False))]
    writer = Writer(OsFiles(out / "journal"), entries[0], Signer.open("x"), segment_bytes=20_000)  # type: ignore[arg-type]
    for entry in entries:
        if isinstance(entry, Decision | Outcome):
            writer.append(entry)
    writer.close()
    return out


def test_segments_do_not_matter(run: Path, parted: Path) -> None:
    assert len(list((parted / "journal").glob("*.jnl"))) > 50
    timeline, ticks = whole(parted), journal(run)
    assert [timeline[number] for number in range(2399, -1, -1)][::-1] == ticks
    assert timeline.moment(1234).state == whole(run).moment(1234).state
    assert timeline.head == str(read_heads(OsFiles(parted / "journal", create=False))[-1])


def test_a_journal_is_read_in_small_pieces_as_it_grows(parted: Path, tmp_path: Path) -> None:
    """Bytes arrive one piece at a time: records are cut anywhere."""
    rng, there = random.Random(2), tmp_path / "grows" / "journal"
    there.mkdir(parents=True)
    source = sorted((parted / "journal").glob("*.jnl"))[:3]
    (there / source[0].name).write_bytes(source[0].read_bytes()[:5_000])
    follow, found = Follow(OsFiles(there, create=False)), []
    for path in source:
        data, at = path.read_bytes(), 5_000 if path == source[0] else 0
        while at < len(data):
            found += [entry for entry, _ in follow.new(rng.randrange(1, 9))]
            size = rng.randrange(1, 3_000)
            with (there / path.name).open("ab") as file:
                file.write(data[at : at + size])
            at += size
            read, all_ = follow.done
            assert 0 <= read <= all_
        while new := follow.new(5):  # the next segment begins after all of this one
            found += [entry for entry, _ in new]
    assert follow.done[0] == follow.done[1] == sum(path.stat().st_size for path in source)
    decisions = [entry.tick for entry in found if isinstance(entry, Decision)]
    assert decisions == list(range(len(decisions)))


def test_how_far_the_reading_is(run: Path) -> None:
    timeline = Timeline(run)
    assert timeline.about() == 0
    timeline.refresh(200)
    assert len(timeline) < timeline.about()
    assert timeline.about() == pytest.approx(2400, rel=0.3)
    assert whole(run).about() == 2400


@pytest.mark.parametrize("last", [0, 1, 7, 999, 1000, 1001, 2399, 123_457])
@pytest.mark.parametrize("every", [1, 3, 1000])
def test_the_rail_has_each_place_once(run: Path, last: int, every: int) -> None:
    marks = Notable(whole(run).table)
    for kind in KINDS:
        marks.by_kind[kind].extend(range(0, last + 1, every))
        assert marks.rail(kind, last, 1000) == tuple(
            sorted({tick * 1000 // max(last, 1) for tick in range(0, last + 1, every)})
        )


def once(monkeypatch: pytest.MonkeyPatch, of: type, name: str, when: Callable[..., bool]) -> list[OSError]:
    """Have a method fail the first time that `when` says so of its arguments; return the list in which the error then is."""
    real, failed = getattr(of, name), list[OSError]()

    def fails(*args: object, **named: object) -> object:
        if not failed and when(*args):
            failed.append(OSError(24, "Too many open files"))
            raise failed[0]
        return real(*args, **named)

    monkeypatch.setattr(of, name, fails)
    return failed


def same(timeline: Timeline, other: Timeline) -> None:
    assert len(timeline) == len(other)
    last = len(other) - 1
    for number in (*range(0, last, 97), last):
        assert timeline[number] == other[number]
        assert timeline.moment(number).state == other.moment(number).state
    assert timeline.marks.by_kind == other.marks.by_kind


@pytest.mark.parametrize("segment", ["000002.jnl", "000017.jnl"])
def test_a_segment_that_cannot_be_opened_for_a_moment(parted: Path, monkeypatch: pytest.MonkeyPatch, segment: str) -> None:
    timeline = Timeline(parted)
    failed = once(monkeypatch, Path, "open", lambda path, *_: path.name == segment)
    until_whole(timeline)
    assert failed
    same(timeline, whole(parted))


@pytest.mark.parametrize(("of", "name"), [(Notable, "add"), (Timeline, "_after"), (timelines._States, "add")])
def test_a_tick_that_cannot_be_taken_for_a_moment(run: Path, monkeypatch: pytest.MonkeyPatch, of: type, name: str) -> None:
    timeline, calls = Timeline(run), list[int]()
    failed = once(monkeypatch, of, name, lambda *_: calls.append(1) or len(calls) == 777)
    with pytest.raises(OSError, match="Too many"):
        timeline.refresh()
    assert failed
    assert len(timeline) < 800
    until_whole(timeline)
    same(timeline, whole(run))


def until_whole(timeline: Timeline) -> None:
    """Read up to the end, whatever fails on the way once."""
    for _ in range(6):
        with contextlib.suppress(OSError):
            timeline.refresh()
    assert len(timeline) == 2400


def test_what_precedes_a_damaged_stretch_is_read_and_what_mends_it_too(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    segment = out / "journal" / "000001.jnl"
    data = segment.read_bytes()
    starts = [start for start, _, _ in unpack(data, ZERO)]
    segment.write_bytes(data[: starts[101]])
    timeline = whole(out)
    assert len(timeline) == 50
    segment.write_bytes(data[: starts[301]] + bytes(60))  # the last stretch is not on disk yet
    assert timeline.refresh() == 150
    for _ in range(2):
        with pytest.raises(Corrupt, match="damaged"):
            timeline.refresh()
    segment.write_bytes(data)
    until_whole(timeline)
    same(timeline, whole(run))


def test_a_run_that_was_made_anew_is_not_taken_for_the_one_before(run: Path, parted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(parted, out)
    folder, data = out / "journal", (run / "journal" / "000001.jnl").read_bytes()
    timeline, newest = whole(out), Newest(OsFiles(folder, create=False))
    assert newest.get() is not None
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        timeline.refresh()
    folder.mkdir()
    (folder / "000001.jnl").write_bytes(data[: len(data) // 3])  # fewer segments
    for _ in range(2):
        with pytest.raises(Replaced):
            timeline.refresh()
    first = newest.get()
    assert first is not None
    timeline = whole(out)
    assert first.tick == len(timeline) - 1
    (folder / "000001.jnl").write_bytes(data[: len(data) // 4])  # shorter
    with pytest.raises(Replaced):
        timeline.refresh()
    second = newest.get()
    assert second is not None
    assert second.tick < first.tick
    timeline = whole(out)
    (folder / "new").write_bytes(data)
    (folder / "new").replace(folder / "000001.jnl")  # the same again, as a copy makes it
    until_whole(timeline)
    same(timeline, whole(run))


def test_nor_is_a_longer_one(run: Path, tmp_path: Path) -> None:
    """It begins in the same way, or not."""
    folder = tmp_path / "run" / "journal"
    entries = [entry for _, entry in Scan(OsFiles(run / "journal", create=False))]

    def write(name: str, header: Header, skip: bool) -> None:
        files = OsFiles(tmp_path / name)
        writer = Writer(files, header, Signer.open("x"))
        for entry in entries[1:600]:
            if isinstance(entry, Decision):
                writer.append(replace(entry, at=entry.at + skip))
            elif isinstance(entry, Outcome):
                writer.append(entry)
        writer.close()
        shutil.copy(tmp_path / name / "000001.jnl", folder / "new")
        (folder / "new").replace(folder / "000001.jnl")

    header = entries[0]
    assert isinstance(header, Header)
    folder.mkdir(parents=True)
    write("one", header, skip=False)
    data = (folder / "000001.jnl").read_bytes()
    (folder / "000001.jnl").write_bytes(data[: len(data) // 2])
    timeline, other = whole(folder.parent), whole(folder.parent)
    write("two", header, skip=True)
    with pytest.raises(Replaced):
        timeline.refresh()
    write("three", replace(header, seed=header.seed + 1), skip=False)
    with pytest.raises(Replaced):
        other.refresh()
