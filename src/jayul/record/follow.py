"""Follow a journal that is being written: what is new since the last look, and where each record lies, to be read again."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from jayul.core.types import Decision
from jayul.record.chain import PREFIX, Broken, unpack
from jayul.record.files import OsFiles
from jayul.record.journal import Corrupt, Entry, Scan, segments


class Place(NamedTuple):
    """Where a record lies: segment, first byte, number of bytes, and the digest of the record before it."""

    segment: str
    start: int
    size: int
    before: bytes


class Follow:
    """Reads a journal as it grows; chain and order are checked as by `Scan`. Raises Corrupt."""

    def __init__(self, files: OsFiles) -> None:
        self._files, self._scan = files, Scan(files)
        self._segment, self._done = "", 0

    @property
    def head(self) -> str:
        """The chain as far as it was read: `seq:digest`."""
        return str(self._scan.head)

    def new(self, most: int = 10_000) -> list[tuple[Entry, Place]]:
        """Return what came since the last call, at most so many records; a record that is being written waits for the next call."""
        found: list[tuple[Entry, Place]] = []
        names = segments(self._files)
        for name in names[names.index(self._segment) if self._segment else 0 :]:
            if name != self._segment:
                self._segment, self._done = name, 0
            with (self._files.folder / name).open("rb") as file:
                file.seek(self._done)
                data = file.read()
            before, base = bytes.fromhex(self._scan.head.digest), self._done
            try:
                for start, payload, digest in unpack(data, before):
                    entry = self._scan.take(name, base + start, payload, digest)
                    size = PREFIX.size + len(payload)
                    found.append((entry, Place(name, base + start, size, before)))
                    before, self._done = digest, base + start + size
                    if len(found) >= most:
                        return found
            except Broken as error:
                raise Corrupt(self._scan.next_tick, name, base + error.offset, error.what) from None
        return found

    def read(self, place: Place) -> Entry:
        """Read a record again. Raises Corrupt."""
        with (self._files.folder / place.segment).open("rb") as file:
            file.seek(place.start)
            data = file.read(place.size)
        try:
            _, payload, _ = next(unpack(data, place.before))
        except (Broken, StopIteration):
            raise Corrupt(-1, place.segment, place.start, "is no longer what it was") from None
        return Scan.decode(payload)


class Newest:
    """Finds the newest Decision of a journal by the lengths of its records alone: quick, and nothing is verified."""

    def __init__(self, files: OsFiles) -> None:
        self._files, self._segment, self._at = files, "", 0
        self._decision: Decision | None = None

    def get(self) -> Decision | None:
        """Return the newest Decision, or None before the first. Raises OSError."""
        names = segments(self._files)
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
