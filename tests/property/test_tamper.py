"""Verify finds every tampering with a journal and names the first tick that cannot be trusted."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jayul.conform import tamper
from jayul.conform.crash import drive, make_project
from jayul.core.types import Decision
from jayul.project.manifest import load
from jayul.project.wire import wire
from jayul.record.files import OsFiles
from jayul.record.journal import HEADS, Head, Scan, read_heads
from jayul.record.sign import Signer
from jayul.record.verify import Report, verify

SIGNER = Signer(bytes(32))
KINDS = ("flip", "drop", "swap", "truncate")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished journal of several segments."""
    work = tmp_path_factory.mktemp("sound")
    project = make_project(work / "project", 2.0, "group")
    drive(wire(load(project), project, 3), OsFiles(work / "journal"), SIGNER, [], segment_bytes=40_000)
    return work / "journal"


@pytest.fixture(scope="module")
def places(sound: Path) -> list[tamper.Place]:
    return tamper.places(sound)


def check(folder: Path, *known: Head) -> Report:
    return verify(OsFiles(folder, create=False), SIGNER.public, pinned=True, known=known)


def copied(sound: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(sound, to)
    return to


def first_tick(places: list[tamper.Place], segment: str, start: int) -> int:
    """The tick of the record at a place: what must be named."""
    return max(next(p.tick for p in places if p.segment == segment and p.start <= start < p.end), 0)


def tampered(kind: str, folder: Path, places: list[tamper.Place], chance: np.random.Generator) -> int:
    """Tamper once; return the tick that verify has to name."""
    at = places[int(chance.integers(0, len(places)))]
    path = folder / at.segment
    match kind:
        case "flip":
            offset = int(chance.integers(at.start, at.end))
            tamper.flip(path, offset, int(chance.integers(0, 8)))
            return max(at.tick, 0)
        case "drop":
            tamper.cut_out(path, at.start, at.end)
            return max(at.tick, 0)
        case "swap":
            names = sorted({p.segment for p in places})
            a, b = sorted(chance.choice(len(names), 2, replace=False).tolist())
            tamper.swap(folder / names[a], folder / names[b])
            return first_tick(places, names[a], 0)
        case _:
            start = int(chance.integers(at.start, at.end))
            end = int(chance.integers(start + 1, path.stat().st_size)) if start + 1 < path.stat().st_size else start + 1
            tamper.cut_out(path, start, end)
            return max(at.tick, 0)


@pytest.mark.parametrize(("kind", "seed"), list(itertools.product(KINDS, range(5))))
def test_500_tampers_are_found_and_named(kind: str, seed: int, sound: Path, places: list[tamper.Place], tmp_path: Path) -> None:
    chance = np.random.default_rng([seed, KINDS.index(kind)])
    for _ in range(25):
        folder = copied(sound, tmp_path / "copy")
        expected = tampered(kind, folder, places, chance)
        report = check(folder)
        assert not report.ok, f"{kind}: not found"
        assert report.bad_tick == expected, f"{kind}: tick {report.bad_tick} named, {expected} tampered ({report.what})"


def test_untampered_journal_passes(sound: Path) -> None:
    report = check(sound)
    assert report.ok
    assert report.ticks == 240
    assert report.vouched_tick == 239


def test_a_flipped_byte_in_the_signed_heads_is_found(sound: Path, tmp_path: Path) -> None:
    size = (sound / HEADS).stat().st_size
    chance = np.random.default_rng(5)
    for offset in chance.choice(size - 1, 40, replace=False).tolist():
        folder = copied(sound, tmp_path / "copy")
        tamper.flip(folder / HEADS, offset, 1)
        assert not check(folder).ok, f"byte {offset} of the heads"


def test_a_missing_segment_is_found(sound: Path, tmp_path: Path, places: list[tamper.Place]) -> None:
    names = sorted({p.segment for p in places})
    for name in names[:-1]:
        folder = copied(sound, tmp_path / "copy")
        (folder / name).unlink()
        assert not check(folder).ok


def cuts(places: list[tamper.Place]) -> Iterator[tamper.Place]:
    chance = np.random.default_rng(9)
    for i in chance.choice(len(places) - 2, 30, replace=False).tolist():
        yield places[i]


def cut_after(folder: Path, place: tamper.Place, places: list[tamper.Place]) -> None:
    """Cut everything after a record, later segments and all signed heads too."""
    for name in sorted({p.segment for p in places}):
        if name > place.segment:
            (folder / name).unlink()
    tamper.cut_tail(folder / place.segment, place.end)
    (folder / HEADS).unlink()


def test_a_cut_tail_is_found_against_any_head_known_elsewhere(sound: Path, tmp_path: Path, places: list[tamper.Place]) -> None:
    printed = check(sound).head
    signed_copies = read_heads(OsFiles(sound, create=False))
    assert len(signed_copies) > 2
    for place in cuts(places):
        folder = copied(sound, tmp_path / "copy")
        cut_after(folder, place, places)
        assert not check(folder, printed).ok, "against the head that was printed"
        without = check(folder)
        assert without.ok, "a clean cut cannot be seen from inside"
        assert without.vouched_tick == -1, "but nothing may be vouched for"
        later = [head for head in signed_copies if head.tick > place.tick]
        assert all(not check(folder, head).ok for head in later), "against a signed head copied out"


def test_a_head_that_is_there_vouches_as_far_as_it_goes(sound: Path) -> None:
    heads = read_heads(OsFiles(sound, create=False))
    report = check(sound, heads[0])
    assert report.ok
    forged = Head(heads[0].seq, heads[0].tick, "00" * 32)
    assert check(sound, forged).bad_tick == 0


def test_places_agree_with_the_scan(sound: Path, places: list[tamper.Place]) -> None:
    ticks = [entry.tick for _, entry in Scan(OsFiles(sound, create=False)) if isinstance(entry, Decision)]
    assert ticks == sorted({p.tick for p in places if p.tick >= 0})
