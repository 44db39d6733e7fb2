"""The journal: what is durable when, rotation, recovery, a full disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jayul.conform.power import LossyFiles
from jayul.conform.tamper import flip, places
from jayul.core.types import Decision, Outcome, Tag
from jayul.record.files import OsFiles
from jayul.record.journal import FORMAT, Corrupt, Header, Scan, Segment, Writer, segments
from jayul.record.sign import Signer
from jayul.record.verify import Checked, parse_head, verify

SIGNER = Signer(bytes(range(32)))
HEADER = Header(FORMAT, "0", "test", 0, 0, "{}", (Tag(name="A"),), ("p",), True)


def decision(tick: int) -> Decision:
    return Decision(tick, tick * 10, bytes(32), (b"", b"", b"", b""), (), (), (), (), (), (), (), ())


def writer(files, **options) -> Writer:
    scan = Checked(files, SIGNER.public)
    for _ in scan:
        pass
    return Writer(files, HEADER, SIGNER, scan=scan.scan, **options)


def fill(journal: Writer, ticks: range) -> None:
    for tick in ticks:
        journal.append(decision(tick))
        journal.append(Outcome(tick, ()))


def entries(files) -> list:
    return [entry for _, entry in Scan(files)]


def lossy() -> LossyFiles:
    return LossyFiles(np.random.default_rng(1))


def test_commit_tick_has_the_decision_on_disk_when_append_returns() -> None:
    files, acknowledged = lossy(), []
    journal = writer(files, commit="tick", acknowledge=acknowledged.append)
    journal.append(decision(0))
    assert acknowledged == [0]
    assert entries(files.survivor())[1:] == [decision(0)]


def test_an_outcome_becomes_durable_with_the_next_decision() -> None:
    files = LossyFiles(np.random.default_rng(3))
    journal = writer(files, commit="tick")
    fill(journal, range(1))
    assert entries(files.survivor())[1:] == [decision(0)]
    journal.append(decision(1))
    assert entries(files.survivor())[1:] == [decision(0), Outcome(0, ()), decision(1)]


@pytest.mark.parametrize("commit", ["tick", "group"])
def test_flush_shows_the_outcome_to_readers_and_promises_nothing(commit: str, tmp_path: Path) -> None:
    now, acknowledged = [0.0], []
    journal = writer(OsFiles(tmp_path), commit=commit, acknowledge=acknowledged.append, now=lambda: now[0])
    fill(journal, range(1))
    journal.flush()
    assert entries(OsFiles(tmp_path))[1:] == [decision(0), Outcome(0, ())]
    assert acknowledged == ([0] if commit == "tick" else [])
    now[0] = 0.051
    journal.append(decision(1))
    assert acknowledged[-1] == 1


def test_what_was_only_flushed_is_synced_by_the_next_commit() -> None:
    files = lossy()
    journal = writer(files, commit="tick")
    fill(journal, range(1))
    journal.flush()
    journal.commit()
    assert entries(files.survivor())[1:] == [decision(0), Outcome(0, ())]


def test_commit_group_waits_at_most_fifty_milliseconds() -> None:
    now, files, acknowledged = [0.0], lossy(), []
    journal = writer(files, commit="group", acknowledge=acknowledged.append, now=lambda: now[0])
    fill(journal, range(3))
    assert acknowledged == []
    now[0] = 0.051
    journal.append(decision(3))
    assert acknowledged == [3]
    assert len(entries(files.survivor())) == 8


def test_head_is_signed_every_minute_at_rotation_and_at_the_end() -> None:
    now, files = [0.0], lossy()
    journal = writer(files, commit="tick", now=lambda: now[0])
    fill(journal, range(2))
    assert "heads" not in files.names()
    now[0] = 61.0
    journal.append(decision(2))
    assert files.read("heads").count(b"\n") == 1
    journal.append(Outcome(2, ()))
    journal.close()
    assert files.read("heads").count(b"\n") == 2
    assert verify(files, SIGNER.public, pinned=True).vouched_tick == 2


def test_rotation_chains_segments_and_resume_goes_on_in_the_last() -> None:
    files = lossy()
    journal = writer(files, commit="group", segment_bytes=2000)
    fill(journal, range(40))
    journal.close()
    assert len(segments(files)) > 2
    assert sum(isinstance(entry, Segment) for entry in entries(files)) == len(segments(files)) - 1
    again = writer(files, commit="group", segment_bytes=2000)
    fill(again, range(40, 80))
    broken = again.close()
    whole = lossy()
    unbroken = writer(whole, commit="group", segment_bytes=2000)
    fill(unbroken, range(80))
    assert unbroken.close().digest == broken.digest


def test_a_torn_tail_is_cut_off_and_the_run_goes_on(tmp_path: Path) -> None:
    files = OsFiles(tmp_path / "j")
    journal = writer(files, commit="tick")
    fill(journal, range(3))
    journal.append(decision(3))
    path = tmp_path / "j" / "000001.jnl"
    whole = path.read_bytes()
    for lost in (1, 20, 60):
        path.write_bytes(whole[:-lost])
        scan = Scan(files)
        assert [e.tick for _, e in scan if isinstance(e, Decision)] == [0, 1, 2]
        assert scan.torn is not None
    again = writer(files, commit="tick")
    again.append(decision(3))
    assert verify(files, SIGNER.public, pinned=True).ok


def test_a_tail_that_a_signed_head_vouches_for_is_never_torn_but_corrupt(tmp_path: Path) -> None:
    files = OsFiles(tmp_path / "j")
    journal = writer(files, commit="tick")
    fill(journal, range(3))
    journal.close()
    path = tmp_path / "j" / "000001.jnl"
    path.write_bytes(path.read_bytes()[:-5])
    assert not verify(files, SIGNER.public, pinned=True).ok
    with pytest.raises(Corrupt, match="tail cut"):
        writer(files, commit="tick")


def test_a_damaged_length_is_corruption_not_a_torn_tail(tmp_path: Path) -> None:
    files = OsFiles(tmp_path / "j")
    journal = writer(files, commit="tick")
    fill(journal, range(3))
    journal.append(decision(3))
    flip(tmp_path / "j" / "000001.jnl", places(tmp_path / "j")[-1].start + 1, 6)
    assert "length is damaged" in verify(files, SIGNER.public, pinned=True).what


def test_a_signature_of_another_key_is_found() -> None:
    files = lossy()
    journal = writer(files, commit="tick")
    fill(journal, range(2))
    journal.close()
    assert not verify(files, Signer(bytes(32)).public, pinned=True).ok


class Full(LossyFiles):
    """A disk that is full after some bytes."""

    room = 4000

    def _write(self, file, data: bytes) -> None:
        part = data[: self.room]
        self.room -= len(part)
        super()._write(file, part)
        if len(part) < len(data):
            raise OSError(28, "No space left on device")


def test_a_full_disk_stops_the_journal_and_loses_nothing_that_was_acknowledged() -> None:
    files, acknowledged = Full(np.random.default_rng(1)), []
    journal = writer(files, commit="tick", acknowledge=acknowledged.append)
    with pytest.raises(OSError, match="No space left"):
        fill(journal, range(1000))
    assert acknowledged
    with pytest.raises(OSError, match="start again"):
        journal.append(decision(999))
    journal.close()
    files.room = 1 << 20
    ticks = [e.tick for e in entries(files) if isinstance(e, Decision)]
    assert ticks[: len(acknowledged)] == acknowledged
    again = writer(files, commit="tick")
    assert again.head.tick >= acknowledged[-1]
    tick = again.head.tick
    if isinstance(entries(files)[-1], Decision):
        again.append(Outcome(tick, ()))
    again.append(decision(tick + 1))
    assert verify(files, SIGNER.public, pinned=True).ok


def test_heads_are_read_in_both_forms_and_nothing_else() -> None:
    head = parse_head("12:" + "ab" * 32)
    assert (head.seq, head.digest) == (12, "ab" * 32)
    assert str(head) == "12:" + "ab" * 32
    for wrong in ("", "12", "x:" + "ab" * 32, "12:zz", "12:abcd", "-1:" + "ab" * 32):
        with pytest.raises(ValueError, match="is not a head"):
            parse_head(wrong)


def test_a_head_that_was_half_signed_when_the_power_went_is_signed_anew(tmp_path: Path) -> None:
    files = OsFiles(tmp_path)
    journal = writer(files)
    fill(journal, range(3))
    journal.close()
    with (tmp_path / "heads").open("ab") as heads:
        heads.write(b'{"seq":9,"ti')
    assert verify(files, SIGNER.public, pinned=True).ok
    journal = writer(files)
    fill(journal, range(3, 5))
    journal.close()
    report = verify(files, SIGNER.public, pinned=True)
    assert (report.ok, report.vouched_tick, report.what) == (True, 4, "")
