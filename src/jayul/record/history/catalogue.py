"""The catalogue of a history: which files were made of which segments, with their digests; what replaced them, what was retired.

`_catalogue.jnl` holds chained records (`record/chain.py`). A file is entered, durably, before it takes its name: one that is there
and not entered was put there by another hand. An entry whose file is not there is no loss as long as its segments, or the files
that it would have replaced, are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from jayul.record.chain import PREFIX, ZERO, Broken, pack, unpack
from jayul.record.files import Files
from jayul.record.sign import Signer

NAME = "_catalogue.jnl"


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What a file is known by: its name, its size in bytes, SHA-256 of its content."""

    name: str
    size: int
    digest: bytes

    @staticmethod
    def of(name: str, data: bytes) -> Mark:
        """Return the mark of a content."""
        return Mark(name, len(data), hashlib.sha256(data).digest())


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag="sealed"):
    """Files were made of the segments `first` to `last`; `replaces`: of files of these names. Times are ns UTC.

    `before`, `after`: digest of the chain of segments before the first and after the last.
    """

    stem: str
    first: int
    last: int
    files: tuple[Mark, ...]
    values: int
    begin: int
    end: int  # source time of the newest sample
    known_first: int
    known_last: int
    before: bytes
    after: bytes
    replaces: tuple[str, ...] = ()


class Rebuilt(msgspec.Struct, frozen=True, array_like=True, tag="rebuilt"):
    """A file that can be made again from samples was."""

    file: Mark


class Retired(msgspec.Struct, frozen=True, array_like=True, tag="retired"):
    """`what` (samples, summaries) of these stems was removed because it was older than is kept; `at`: when, on the run's clock."""

    stems: tuple[str, ...]
    what: str
    at: int
    end: int
    values: int


class Signed(msgspec.Struct, frozen=True, array_like=True, tag="signed"):
    """The run's key vouches for the catalogue up to here, and for the chain of segments up to there."""

    key: str
    segment: int
    digest: bytes
    signature: bytes


Entry: TypeAlias = Sealed | Rebuilt | Retired | Signed
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Listed(msgspec.Struct):
    """What a catalogue says in all: each file's latest mark, each stem's latest entry, what was retired, how many records."""

    marks: dict[str, Mark] = {}
    sealed: dict[str, Sealed] = {}
    retired: list[Retired] = []
    entries: int = 0
    last: int = 0  # the last segment that was sealed
    signed: Signed | None = None
    signed_entries: int = 0  # so many records lie under the last signature

    def add(self, entry: Entry) -> None:
        """Take in one more entry."""
        self.entries += 1
        if isinstance(entry, Sealed):
            self.marks |= {mark.name: mark for mark in entry.files}
            self.sealed[entry.stem], self.last = entry, max(self.last, entry.last)
        elif isinstance(entry, Rebuilt):
            self.marks[entry.file.name] = entry.file
        elif isinstance(entry, Retired):
            self.retired.append(entry)
        else:
            self.signed, self.signed_entries = entry, self.entries - 1

    def gone(self, what: str = "samples") -> set[str]:
        """Return the stems of which this was retired."""
        return {stem for entry in self.retired if entry.what == what for stem in entry.stems}


def message(head: bytes, segment: int, digest: bytes) -> bytes:
    """Return what is signed: the catalogue's head, and the chain of segments up to one."""
    return b"jayul history\n" + head + segment.to_bytes(8, "big") + digest


def scan(data: bytes) -> tuple[list[tuple[Entry, bytes]], int]:
    """Return each whole entry with the digest before it, and the bytes up to the last one. Raises Broken."""
    found, before, end = list[tuple[Entry, bytes]](), ZERO, 0
    for offset, payload, digest in unpack(data, ZERO):
        try:
            found.append((_decode(payload), before))
        except msgspec.MsgspecError as error:
            raise Broken(offset, f"entry cannot be read: {error}") from error
        before, end = digest, offset + PREFIX.size + len(payload)
    return found, end


def listed(files: Files) -> Listed:
    """Read the catalogue of a history; empty if there is none. Raises Broken."""
    found = Listed({}, {}, [])
    for entry, _ in scan(_read(files))[0]:
        found.add(entry)
    return found


def _read(files: Files) -> bytes:
    try:
        return files.read(NAME)
    except FileNotFoundError:
        return b""


class Catalogue:
    """The writing side. A tail that a crash left torn is cut off with the next entry. Raises Broken, OSError."""

    def __init__(self, files: Files) -> None:
        self.files, self.listed = files, Listed({}, {}, [])
        data = _read(files)
        self._head, self._made = ZERO, bool(data)
        entries, self._size = scan(data)
        for entry, _ in entries:
            self.listed.add(entry)
        for _, _, digest in unpack(data[: self._size], ZERO):
            self._head = digest

    def add(self, entry: Entry) -> None:
        """Return when an entry is on disk. Raises OSError; then it does not count."""
        record, digest = pack(self._head, _encode(entry))
        handle = self.files.append(NAME)
        try:
            if handle.size() != self._size:  # what a crash or a failure left
                handle.truncate(self._size)
            handle.write(record)
            handle.sync()
        finally:
            handle.close()
        if not self._made:
            self.files.sync_folder()
        self._head, self._size, self._made = digest, self._size + len(record), True
        self.listed.add(entry)

    def sign(self, signer: Signer, segment: int, digest: bytes) -> None:
        """Have the run's key vouch for everything up to here, unless it did already. Raises OSError."""
        last = self.listed.signed
        if last and (last.segment, last.digest) == (segment, digest) and self.listed.signed_entries == self.listed.entries - 1:
            return
        self.add(Signed(signer.public, segment, digest, signer.sign(message(self._head, segment, digest))))

    def stale(self, names: Sequence[str]) -> list[str]:
        """Return the names whose samples were retired, or whose summaries were."""
        samples, summaries = self.listed.gone(), self.listed.gone("summaries")
        found = []
        for name in names:
            stem, _, ending = name.lstrip("_").partition(".")
            if (ending == "parquet" and stem in samples) or (ending in ("ledger", "pyramid") and stem in summaries):
                found.append(name)
        return found
