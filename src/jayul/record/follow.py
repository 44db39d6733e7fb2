"""Follow a journal that is being written: what is new since the last look, and where each record lies, to be read again."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from jayul.core.types import Decision
from jayul.record.chain import PREFIX, Broken, unpack
from jayul.record.files import OsFiles
from jayul.record.journal import Corrupt, Entry, Scan, segment_name, segments

CHUNK = 1 << 20  # bytes that are read at once, at most; a longer record is read in several goes


class Place(NamedTuple):
    """Where a record lies: segment, first byte, and the digest of the record before it."""

    segment: str
    start: int
    before: bytes


class Replaced(Corrupt):
    """Another journal lies where the one that was followed lay."""


class Follow:
    """Reads a journal as it grows; chain and order are checked as by `Scan`. Raises Corrupt, OSError."""

    def __init__(self, files: OsFiles) -> None:
        self._files, self._scan = files, Scan(files)
        self._end = "", 0  # segment and byte up to which was read
        self._first, self._file = b"", ("", 0)  # digest of the first record; segment that was last read from, and its inode

    @property
    def head(self) -> str:
        """The chain as far as it was read: `seq:digest`."""
        return str(self._scan.head)

    @property
    def done(self) -> tuple[int, int]:
        """How many bytes were read, and how many there are."""
        (segment, byte), read, there = self._end, 0, 0
        for name in segments(self._files):
            with contextlib.suppress(FileNotFoundError):
                size = (self._files.folder / name).stat().st_size
                there += size
                read += size if name < segment else byte if name == segment else 0
        return read, there

    def new(self, most: int = 10_000) -> list[tuple[Entry, Place]]:
        """Return what came since the last call, at most so many records; a record that is being written waits for the next call.

        An error is raised once all before it was returned; the next call goes on there. Raises Replaced, Corrupt, OSError.
        """
        if self.replaced():
            raise Replaced(-1, self._end[0], 0, "is no longer what it was")
        found: list[tuple[Entry, Place]] = []
        try:
            self._read_on(found, most)
        except Exception:
            if not found:
                raise
        return found

    def _read_on(self, found: list[tuple[Entry, Place]], most: int) -> None:
        names = segments(self._files)
        for name in names[names.index(self._end[0]) if self._end[0] else 0 :]:
            if name != self._end[0]:
                self._end = name, 0
            before = bytes.fromhex(self._scan.head.digest)
            try:
                for start, payload, digest in self._records(name, self._end[1], before):
                    found.append((self._scan.take(name, start, payload, digest), Place(name, start, before)))
                    before, self._end, self._first = digest, (name, start + PREFIX.size + len(payload)), self._first or digest
                    if len(found) >= most:
                        break
            except Broken as error:
                kind = Replaced if self._file[0] and self._file[1] != self._inode(self._file[0]) else Corrupt
                raise kind(self._scan.next_tick, name, error.offset, error.what) from None
            self._file = name, self._inode(name)
            if len(found) >= most:
                return

    def _inode(self, name: str) -> int:
        return (self._files.folder / name).stat().st_ino

    def replaced(self) -> bool:
        """Say whether another journal lies there now: one begun anew, or shorter than what was read. Raises OSError."""
        if not self._first:
            return False
        names, (name, byte) = segments(self._files), self._end
        if not names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._files.folder))
        if name not in names or (self._files.folder / name).stat().st_size < byte:
            return True
        with (self._files.folder / segment_name(1)).open("rb") as file:
            return not file.read(PREFIX.size).endswith(self._first)  # which ends with its digest

    def again(self, place: Place) -> Iterator[Entry]:
        """Yield the records from a place on once more, as far as they were read before. Raises Corrupt."""
        before, upto = place.before, self._end
        for name in segments(self._files):
            if not place.segment <= name <= upto[0]:
                continue
            start = place.start if name == place.segment else 0
            try:
                for at, payload, digest in self._records(name, start, before):
                    if (name, at) >= upto:
                        return
                    yield Scan.decode(payload)
                    before = digest
            except Broken as error:
                raise Corrupt(-1, name, error.offset, "is no longer what it was") from None

    def _records(self, name: str, start: int, before: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (first byte, payload, digest) of the records of a segment from a byte on. Raises Broken."""
        with (self._files.folder / name).open("rb") as file:
            file.seek(start)
            data, size = b"", CHUNK >> 5
            while more := file.read(size):
                data, end, size = data + more, 0, min(2 * size, CHUNK)
                try:
                    for offset, payload, digest in unpack(data, before):
                        yield start + offset, payload, digest
                        before, end = digest, offset + PREFIX.size + len(payload)
                except Broken as error:
                    raise Broken(start + error.offset, error.what) from None
                data, start = data[end:], start + end


class Newest:
    """Finds the newest Decision of a journal by the lengths of its records alone: quick, and nothing is verified."""

    def __init__(self, files: OsFiles) -> None:
        self._files, self._segment, self._at = files, "", 0
        self._decision: Decision | None = None

    def get(self) -> Decision | None:
        """Return the newest Decision, or None before the first. Raises OSError."""
        names = segments(self._files)
        if self._segment and self._segment not in names:  # another journal lies there now
            self._segment, self._at, self._decision = "", 0, None
        for name in names[-2:]:  # the newest may hold none yet
            if name < self._segment:
                continue
            if name != self._segment:
                self._segment, self._at = name, 0
            self._walk(name)
        return self._decision

    def _walk(self, name: str) -> None:
        found: list[tuple[int, int]] = []
        with (self._files.folder / name).open("rb") as file:
            end = file.seek(0, 2)
            if end < self._at:
                self._at, self._decision = 0, None
            while self._at + PREFIX.size <= end:
                file.seek(self._at)
                head = file.read(PREFIX.size)
                length, crc, _, _ = PREFIX.unpack(head)
                if zlib.crc32(head[:4]) != crc or self._at + PREFIX.size + length > end:
                    break
                found = [*found[-2:], (self._at + PREFIX.size, length)]
                self._at += PREFIX.size + length
            for start, length in reversed(found):
                file.seek(start)
                entry = Scan.decode(file.read(length))
                if isinstance(entry, Decision):
                    self._decision = entry
                    return
