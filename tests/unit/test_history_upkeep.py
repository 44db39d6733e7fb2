"""The upkeep of a history: full disks, what is shed, retention, verification, the last group without a further tick."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jayul.conform.power import LossyFiles
from jayul.conform.tamper import flip
from jayul.core.types import Decision, Frame, Outcome, Tag, TagTable
from jayul.project import keep
from jayul.project.keep import Keeper
from jayul.project.said import template_of
from jayul.record.batch import Batch, Count
from jayul.record.chain import Broken
from jayul.record.contract import Contract
from jayul.record.files import OsFiles
from jayul.record.history import History, Policy, Reader, store, verify_history
from jayul.record.history.catalogue import NAME, Catalogue, listed
from jayul.record.history.upkeep import compact, rebuild
from jayul.record.sign import Signer

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
START = 1_700_000_000 * SECOND
NAMES = ("a", "b")
SIGNER = Signer(bytes(range(32)))


def batch(n: int, at: int = START) -> Batch:
    """Return n samples a second apart, from `at` on."""
    step = np.arange(n) * SECOND
    return Batch.of(np.arange(n) % 2, at + step, np.arange(n) / 8, np.zeros(n), np.zeros(n))


def fill(history: History, files: int, *, apart: int = DAY, rows: int = 40, first: int = 0) -> None:
    """Make so many Parquet files, a day apart each."""
    for i in range(first, first + files):
        at = START + i * apart
        history.append(batch(rows, at), [Count(0, at, "stored", rows)], known_at=at + 60 * SECOND, cursor=i)
        history.commit()
        history.seal()


def parquets(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.parquet"))


class Full(LossyFiles):
    """A disk with so much room: what does not fit is refused, after a part of it was written."""

    room = 1 << 30

    def _write(self, file, data: bytes) -> None:
        part = data[: self.room]
        super()._write(file, part)
        self.room -= len(part)
        if len(part) < len(data):
            raise OSError(28, "No space left on device")

    def remove(self, name: str) -> None:
        self.room += len(self._cache[name].data) if name in self._cache else 0
        super().remove(name)


def full_disk() -> Full:
    return Full(np.random.default_rng(1))


def steady(files: Full, acknowledged: list[int], **options) -> History:
    """Open a history that commits with every append."""
    ticks = iter(range(10**9))
    return History(files, NAMES, now=lambda: float(next(ticks)), acknowledge=acknowledged.append, **options)


def test_a_full_disk_on_append_acknowledges_nothing_and_goes_on_when_there_is_room() -> None:
    files, acknowledged = full_disk(), list[int]()
    history = steady(files, acknowledged)
    history.append(batch(4), known_at=START, cursor=0)
    for room in (0, 10, 100):
        files.room = room
        with pytest.raises(OSError, match="No space"):
            history.append(batch(4, START + 100 * SECOND), known_at=START, cursor=1)
        assert "No space" in history.trouble
        assert acknowledged == [0]
    assert Reader(files).samples().num_rows == 4
    files.room = 1 << 20
    history.append(batch(4, START + 200 * SECOND), known_at=START, cursor=4)
    assert acknowledged == [0, 4]
    assert history.trouble == ""
    assert Reader(files).samples(versions=True).num_rows == 20
    history.close()
    assert verify_history(files).faults == []


def test_a_full_disk_at_the_first_record_of_a_segment_leaves_nothing_behind() -> None:
    files, acknowledged = full_disk(), list[int]()
    history = steady(files, acknowledged)
    for room in (0, 30):
        files.room = room
        with pytest.raises(OSError, match="No space"):
            history.append(batch(4), known_at=START, cursor=0)
    files.room = 1 << 20
    history.commit()
    assert acknowledged == [0]
    assert Reader(files).samples(versions=True).num_rows == 8


@pytest.mark.parametrize("room", [0, 100, 900, 2500])
def test_a_full_disk_at_sealing_keeps_the_segments(room: int) -> None:
    files, acknowledged = full_disk(), list[int]()
    history = steady(files, acknowledged, values=10**9)
    history.append(batch(200), known_at=START, cursor=0)
    before = files.names()
    files.room = room
    history.seal()
    assert "No space" in history.trouble
    assert [name for name in files.names() if name != NAME] == before, "what was half written takes no room"
    assert Reader(files).samples().num_rows == 200
    files.room = 1 << 20
    history.append(batch(10, START + 1000 * SECOND), known_at=START, cursor=1)
    history.close()
    assert history.trouble == ""
    assert acknowledged == [0, 1]
    assert Reader(files).samples().num_rows == 210
    assert verify_history(files).faults == []


@pytest.mark.parametrize("room", [0, 500, 3000])
def test_a_full_disk_at_merging_keeps_the_small_files(room: int) -> None:
    files = full_disk()
    history = steady(files, [], policy=Policy(compact=False))
    fill(history, 4, rows=200)
    catalogue, before = Catalogue(files), files.names()
    files.room = room
    with pytest.raises(OSError, match="No space"):
        compact(files, catalogue, Policy())
    assert files.names() == before
    files.room = 1 << 20
    assert compact(files, catalogue, Policy()) == ["000001-000004"]
    assert Reader(files).samples().num_rows == 800
    assert verify_history(files).faults == []


def test_close_says_how_many_samples_are_lost_when_the_disk_stays_full() -> None:
    files = full_disk()
    history = steady(files, [])
    files.room = 0
    with pytest.raises(OSError, match="No space"):
        history.append(batch(4), known_at=START, cursor=0)
    with pytest.raises(OSError, match="4 samples could not be written and are lost"):
        history.close()


def test_sealing_that_lags_behind_is_waited_for_and_done_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits does not grow without bound, and no piece that is sealed holds much more than the most."""
    monkeypatch.setattr(store, "MOST_VALUES", 300)
    monkeypatch.setattr(store, "WAITING", 600)
    ready, held = threading.Event(), list[int]()
    with ThreadPoolExecutor(1) as aside:
        aside.submit(ready.wait)  # somebody else works: sealing begins late
        threading.Timer(0.5, ready.set).start()
        history = History(tmp_path, NAMES, aside=aside, segment_bytes=1, policy=Policy(compact=False))
        for i in range(100):
            history.append(batch(40, START + i * DAY), known_at=START + i * DAY, cursor=i)
            history.commit()
            held.append(sum(each.values for each in history._full))
        history.close()
    assert max(held) < 600 + 40
    assert Reader(tmp_path).samples().num_rows == 100 * 40
    rows = [pq.ParquetFile(tmp_path / name).metadata.num_rows for name in parquets(tmp_path)]
    assert max(rows) <= 320
    assert sum(rows) == 100 * 40
    assert len(rows) > 10
    assert verify_history(OsFiles(tmp_path)).faults == []


def test_a_tick_waits_for_a_sealing_that_lags_no_longer_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who must tick goes on; what is not sealed stays on disk, is read from there, and is sealed later."""
    monkeypatch.setattr(store, "MOST_VALUES", 300)
    monkeypatch.setattr(store, "WAITING", 600)
    ready = threading.Event()
    with ThreadPoolExecutor(1) as aside:
        aside.submit(ready.wait)  # sealing does not begin before all is taken in: who waited for it would wait for ever
        try:
            history = History(tmp_path, NAMES, aside=aside, segment_bytes=1, policy=Policy(compact=False), patience=0.01)
            for i in range(40):
                history.append(batch(40, START + i * DAY), known_at=START + i * DAY, cursor=i)
                history.commit()
            assert (parquets(tmp_path), history.cursor, history.trouble) == ([], 39, "")
            assert Reader(tmp_path).samples().num_rows == 40 * 40
        finally:
            ready.set()
        history.close()
    assert Reader(tmp_path).samples().num_rows == 40 * 40
    assert len(parquets(tmp_path)) > 1
    assert verify_history(OsFiles(tmp_path)).faults == []


class Short(LossyFiles):
    """A machine that is out of memory, or worse, while files with such an ending are read."""

    ending, error = "none", Exception()

    def read(self, name: str) -> bytes:
        if name.endswith(self.ending):
            raise self.error
        return super().read(name)


@pytest.mark.parametrize("aside", [False, True])
@pytest.mark.parametrize("error", [MemoryError(), pa.ArrowInvalid("a stream ends early"), pa.lib.ArrowMemoryError("realloc")])
def test_whatever_goes_wrong_at_sealing_it_is_said_and_tried_again(error: Exception, aside: bool) -> None:
    files, clock = Short(np.random.default_rng(1)), [0.0]
    with ThreadPoolExecutor(1) as pool:
        history = History(files, NAMES, now=lambda: clock[0], values=30, span=SECOND, aside=pool if aside else None)

        def take_in(n: int) -> None:
            clock[0] += 40  # longer than a sealing that failed is waited with
            history.append(batch(40, START + n * DAY), known_at=START + n * DAY, cursor=n)
            if history._job is not None:
                wait([history._job], 20)

        files.ending, files.error = ".hot", error
        for n in range(4):
            take_in(n)
        assert history.cursor == 3, "what comes is taken in all the same"
        assert history.trouble == (str(error) or "MemoryError")
        files.ending = "none"
        for n in range(4, 8):
            take_in(n)
        assert history.trouble == ""
        assert [name for name in files.names() if name.endswith(".parquet")], "it is sealed again"
        history.close()
    assert Reader(files).samples().num_rows == 8 * 40
    assert not [name for name in files.names() if name.endswith(".hot")]
    assert verify_history(files).faults == []


def test_whatever_goes_wrong_at_merging_what_was_sealed_stays_sealed() -> None:
    files = Short(np.random.default_rng(1))
    history = History(files, NAMES, policy=Policy(few=2))
    fill(history, 2)
    files.ending, files.error = ".ledger", MemoryError()
    fill(history, 3, first=2)
    assert history.trouble == "MemoryError"
    assert len([name for name in files.names() if name.endswith(".parquet")]) == 5
    files.ending = "none"
    fill(history, 1, first=5)
    assert history.trouble == ""
    assert [name for name in files.names() if name.endswith(".parquet")] == ["000001-000006.parquet"]
    assert verify_history(files).faults == []


def test_sealing_aside_that_is_refused_keeps_the_segments(tmp_path: Path) -> None:
    aside = ThreadPoolExecutor(1)
    history = History(tmp_path, NAMES, aside=aside)
    history.append(batch(40), known_at=START, cursor=0)
    history.commit()
    aside.shutdown()
    history.seal()
    assert "shutdown" in history.trouble
    assert (history._job, len(history._full)) == (None, 1)
    assert Reader(tmp_path).samples().num_rows == 40


def open_here(folder: Path) -> list[str]:
    """Return the files of a folder that this process holds open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            found += [target] if target.startswith(f"{folder}/") else []
    return found


def test_a_reader_that_lives_long_holds_no_file_that_was_merged_or_removed(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(keep=40 * DAY, small=1000, most=400, few=3))
    reader, held = Reader(tmp_path), []
    for i in range(60):
        fill(history, 1, first=i)
        assert reader.samples().num_rows == reader.samples(versions=True).num_rows > 0
        assert reader.news(START + i * DAY)["tag"].unique().to_pylist() == ["a", "b"]
        there = open_here(tmp_path)
        assert not [name for name in there if name.endswith("(deleted)")]
        assert len(there) == len(parquets(tmp_path)), "each file that counts is open once"
        held.append(len(there))
    assert max(held[20:]) <= max(held[:20]) + 6
    assert not (tmp_path / "000001-000001.parquet").exists()
    history.close()


TABLE = TagTable((Tag(name="a"), Tag(name="b")))


def tick(keeper: Keeper, n: int) -> None:
    at = START + n * SECOND
    times = np.full(2, at, dtype=np.int64)
    frame = Frame(at, TABLE, np.array([n, -n], dtype=float), times, times, np.zeros(2, dtype=np.uint32))
    decision = Decision(n, at, bytes(32), (b"",) * 4, (), (), (), (), (), (), (), ())
    keeper.add(frame, decision, Outcome(n, ()))


def test_what_waits_is_written_although_no_further_tick_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "TICKS", 1)

    async def go() -> None:
        keeper, done = Keeper(tmp_path, TABLE, None, Contract({}, NAMES)), asyncio.Event()
        keeper.history._acknowledge = lambda cursor: done.set() if cursor == 2 else None
        keeper.history._committed_at = float("inf")  # no append finds its group old enough
        for n in range(3):
            tick(keeper, n)
        assert keeper.history.waits
        await asyncio.wait_for(done.wait(), 20)
        assert not keeper.history.waits
        keeper.close(START + 2 * SECOND, 2)

    asyncio.run(go())
    assert Reader(tmp_path).samples().num_rows == 6


def test_what_no_longer_fits_into_memory_is_shed_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "TICKS", 1)

    async def go() -> None:
        keeper = Keeper(tmp_path, TABLE, None, Contract({}, NAMES), most=10)
        whole, keeper.history._write = keeper.history._write, _no_room
        for n in range(20):
            tick(keeper, n)
        assert keeper.history.pending == 10
        assert "No space" in keeper.trouble
        keeper.history._write = whole
        keeper.history.commit()
        for n in range(20, 23):
            tick(keeper, n)
        keeper.close(START + 22 * SECOND, 22)
        assert keeper.trouble == ""

    asyncio.run(go())
    reader = Reader(tmp_path)
    assert reader.samples().num_rows == 10 + 6
    assert {(row["tag"], row["what"]): row["n"] for row in reader.counts().to_pylist()} == {
        (tag, what): n for tag in NAMES for what, n in (("received", 8), ("stored", 8), ("shed", 15))
    }  # fmt: skip


def _no_room(batch: Batch) -> None:
    raise OSError(28, "No space left on device")


def test_many_small_files_are_merged_as_the_run_goes_on(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(small=1000, most=200, few=4))
    fill(history, 5)
    assert parquets(tmp_path) == ["000001-000005.parquet"]
    fill(history, 12, first=5)
    assert len(parquets(tmp_path)) <= 6
    history.close()
    assert Reader(tmp_path).samples().num_rows == 17 * 40
    assert verify_history(tmp_path).faults == []
    assert History(tmp_path, NAMES).cursor == 16


def test_samples_that_are_older_than_is_kept_are_removed_and_their_summaries_stay(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(keep=3 * DAY, compact=False))
    fill(history, 10)
    assert parquets(tmp_path) == [f"{n:06d}-{n:06d}.parquet" for n in (8, 9, 10)]
    history.close(SIGNER)
    reader = Reader(tmp_path)
    assert reader.samples().num_rows == 3 * 40
    assert sum(reader.counts()["n"].to_pylist()) == 400
    days = reader.downsample(["a"], START - DAY, START + 20 * DAY, step=DAY)
    assert days["count"].to_pylist() == [20] * 10
    report = verify_history(tmp_path, SIGNER.public)
    assert (report.faults, report.retired_values, report.signed) == ([], 280, True)
    again = History(tmp_path, NAMES, policy=Policy(keep=3 * DAY, compact=False))
    assert again.cursor == 9
    again.close()
    assert verify_history(tmp_path, SIGNER.public).faults == []


def test_summaries_go_when_their_own_time_is_over(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(keep=2 * DAY, keep_pyramid=5 * DAY, compact=False))
    fill(history, 10)
    history.close()
    assert sorted(p.name[1:7] for p in tmp_path.glob("*.pyramid")) == [f"{n:06d}" for n in (6, 7, 8, 9, 10)]
    assert verify_history(tmp_path).faults == []
    assert {entry.what for entry in listed(OsFiles(tmp_path)).retired} == {"samples", "summaries"}


def test_what_cannot_be_summarised_is_not_removed(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(compact=False))
    fill(history, 3)
    (tmp_path / "_000001-000001.ledger").unlink()
    history.policy = Policy(keep=DAY, compact=False)
    fill(history, 3, first=3)
    assert len(parquets(tmp_path)) == 6


def test_a_lost_summary_is_made_again_before_its_samples_go(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(compact=False))
    fill(history, 3)
    (tmp_path / "_000001-000001.pyramid").unlink()
    history.policy = Policy(keep=DAY, compact=False)
    fill(history, 3, first=3)
    assert "000001-000001.parquet" not in parquets(tmp_path)
    days = Reader(tmp_path).downsample(step=DAY)
    assert sum(days["count"].to_pylist()) == 240


def test_summaries_that_are_lost_are_made_anew_with_the_same_bytes(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(compact=False))
    fill(history, 3, apart=20 * SECOND)
    history.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pyramid")}
    table = Reader(tmp_path).downsample(step=DAY)
    for path in tmp_path.glob("*.pyramid"):
        path.unlink()
    assert verify_history(tmp_path).faults == []
    assert Reader(tmp_path).downsample(step=DAY) == table
    files = OsFiles(tmp_path)
    assert rebuild(files, Catalogue(files)) == 3
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pyramid")} == before
    assert verify_history(tmp_path).faults == []


def sound(folder: Path) -> Path:
    """Make a history with three files and a segment."""
    history = History(folder, NAMES, policy=Policy(compact=False))
    fill(history, 3)
    history.append(batch(30, START + 9 * DAY), known_at=START + 9 * DAY, cursor=9)
    history.commit()
    assert verify_history(folder).ok
    return folder


def test_every_flipped_bit_is_found_and_its_file_named(tmp_path: Path) -> None:
    folder, chance = sound(tmp_path / "h"), np.random.default_rng(5)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for _ in range(12):
            path.write_bytes(data)
            flip(path, int(chance.integers(len(data))), int(chance.integers(8)))
            faults = verify_history(folder).faults
            assert path.name in {fault.file for fault in faults}
        path.write_bytes(data)
    assert verify_history(folder).ok


def test_a_file_that_is_gone_put_there_or_put_back_is_named(tmp_path: Path) -> None:
    folder = sound(tmp_path / "h")
    first = folder / "000001-000001.parquet"
    data = first.read_bytes()
    first.unlink()
    (fault,) = verify_history(folder).faults
    assert (fault.file, template_of(fault.what)[1]) == ("000002-000002.parquet", {"number": "0"})
    first.write_bytes((folder / "000002-000002.parquet").read_bytes())
    assert "000001-000001.parquet" in {fault.file for fault in verify_history(folder).faults}
    first.write_bytes(data)
    (folder / "export.parquet").write_bytes(data)
    assert [fault.file for fault in verify_history(folder).faults] == ["export.parquet"]
    (folder / "export.parquet").unlink()
    (folder / NAME).unlink()
    assert verify_history(folder).faults[0].what == "is not in the catalogue"


def test_a_signed_history_whose_end_was_cut_off_is_found(tmp_path: Path) -> None:
    history = History(tmp_path, NAMES, policy=Policy(compact=False))
    fill(history, 3)
    history.close(SIGNER)
    assert verify_history(tmp_path, SIGNER.public).signed
    assert verify_history(tmp_path, Signer(bytes(32)).public).faults[0].what == "is signed with another key than the run's"
    for path in tmp_path.glob("*000003*"):
        path.unlink()
    assert any("missing" in fault.what for fault in verify_history(tmp_path, SIGNER.public).faults)


def test_a_damaged_history_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = sound(tmp_path / "h")
    path = next(iter(folder.glob("*.hot")))
    flip(path, 800, 0)
    with pytest.raises(Broken):
        History(folder, NAMES)


def test_the_newest_are_found_again_when_their_file_is_lost(tmp_path: Path) -> None:
    folder = sound(tmp_path / "h")
    wanted = History(folder, NAMES).newest
    next(iter(folder.glob("*.newest"))).unlink()
    assert History(folder, NAMES).newest == wanted


def test_lookup_says_what_is_there(tmp_path: Path) -> None:
    reader = Reader(sound(tmp_path / "h"))
    known, value, status = reader.lookup("a", np.array([START, START + 1, START + 2 * SECOND]))
    assert known.tolist() == [True, False, True]
    assert (value[0], value[2], status[0]) == (0.0, 0.25, 0)
    assert reader.lookup("nobody", np.array([START]))[0].tolist() == [False]


def test_many_buckets_come_in_round_steps(tmp_path: Path) -> None:
    reader = Reader(sound(tmp_path / "h"))
    for buckets in (1, 2, 10, 500):
        found = reader.downsample(["a"], START, START + 10 * DAY, buckets=buckets)
        assert len(found) <= buckets + 1
        assert sum(found["count"].to_pylist()) == 75
    with pytest.raises(ValueError, match="either"):
        reader.downsample(["a"])
    assert isinstance(found, pa.Table)
