"""Change a journal as an accident or an attacker would: one byte, one record, one segment, the middle, the tail."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jayul.core.types import Decision, Outcome
from jayul.record.files import OsFiles
from jayul.record.journal import Scan, Segment, segments


class Place(NamedTuple):
    """A record of a journal: where it stands, and the first tick that falls with it (-1: header)."""

    segment: str
    start: int
    end: int
    tick: int


def places(journal: Path) -> list[Place]:
    """Return every record of a sound journal, in order."""
    files, found = OsFiles(journal, create=False), list[Place]()
    lengths = {name: len(files.read(name)) for name in segments(files)}
    offsets: list[tuple[str, int, int]] = []
    for name in segments(files):
        data, at = files.read(name), 0
        while at < lengths[name]:
            offsets.append((name, at, at := at + 44 + int.from_bytes(data[at : at + 4], "little")))
    tick = -1
    for (_, entry), (name, start, end) in zip(Scan(files), offsets, strict=True):
        tick = entry.tick if isinstance(entry, Decision | Outcome) else tick
        found.append(Place(name, start, end, tick + isinstance(entry, Segment)))
    return found


def flip(path: Path, offset: int, bit: int) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def cut_out(path: Path, start: int, end: int) -> None:
    """Take a stretch of bytes out of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:start] + data[end:])


def swap(a: Path, b: Path) -> None:
    """Exchange the contents of two files."""
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


def cut_tail(path: Path, start: int) -> None:
    """Drop everything from an offset on."""
    path.write_bytes(path.read_bytes()[:start])
