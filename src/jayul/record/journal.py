"""The journal: append-only segments of length-prefixed records, chained by SHA-256 (`record/chain.py` says how they lie on disk).

Payloads are MessagePack. Sequence number 0 is the Header; every further segment
begins with a Segment record that quotes the digest before it. Heads, signed from time to time, stand in `heads` beside the
segments, one JSON object a line; they vouch for everything up to their sequence number.

A tail is torn, and cut off at the next start, only if the last segment ends inside its last record, beyond the last signed
head. Any other mismatch is corruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import msgspec

from jayul.core.clock import monotonic
from jayul.core.types import Decision, Outcome, Tag
from jayul.record.chain import PREFIX, ZERO, Broken, pack, unpack
from jayul.record.files import Files, Handle
from jayul.record.sign import Signer

Commit = Literal["tick", "group"]
FORMAT = 1
GROUP_SECONDS = 0.05
HEAD_SECONDS = 60.0
SEGMENT_BYTES = 64 << 20
HEADS = "heads"


class Header(msgspec.Struct, frozen=True, array_like=True, tag="header"):
    """The first record: what this run is. `tags` are those that decisions keep, in order."""

    format: int
    version: str  # of Jayul
    project: str
    seed: int
    start: int  # plant time of the first tick, ns
    manifest: str  # canonical JSON
    tags: tuple[Tag, ...]
    policies: tuple[str, ...]
    signatures_simulated: bool
    proof: str = ""  # the proof plan, canonical JSON; fixed before the first tick
    change: str = ""  # the signed change that leads from an earlier run's manifest to this one, JSON; empty: none
    price: str = ""  # the price pack as it stood in its file before the first tick, YAML; empty: none


class Segment(msgspec.Struct, frozen=True, array_like=True, tag="segment"):
    """The first record of every further segment."""

    number: int
    previous: bytes


Entry: TypeAlias = Header | Segment | Decision | Outcome
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Head(msgspec.Struct, frozen=True):
    """The chain up to a sequence number. Written `seq:digest`."""

    seq: int
    tick: int
    digest: str
    signature: str = ""

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"

    def message(self) -> bytes:
        """Return what a signature covers."""
        return f"jayul head 1 {self.seq} {self.tick} {self.digest}".encode()


class Corrupt(Exception):
    """The journal is not what was written. `tick` is the first tick that cannot be trusted (-1: the header)."""

    def __init__(self, tick: int, segment: str, offset: int, what: str) -> None:
        super().__init__(f"tick {tick}: {segment} at byte {offset}: {what}")
        self.tick, self.segment, self.offset, self.what = tick, segment, offset, what


class Scan:
    """Read a journal from its first record on, checking length, checksum, chain and order.

    Iterate for `(head, entry)`. Afterwards `torn` is (segment, size to keep, bytes beyond) if the last segment ends inside its
    last record, else None. Raises Corrupt.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.head = Head(-1, -1, ZERO.hex())
        self.last_segment, self.torn = "", None  # type: tuple[str, tuple[str, int, int] | None]
        self._expect = "header"  # what may come next: header, decision, outcome

    def __iter__(self) -> Iterator[tuple[Head, Entry]]:
        names = segments(self._files)
        for number, name in enumerate(names, 1):
            if name != segment_name(number):
                raise self._corrupt(segment_name(number), 0, "segment is missing")
            yield from self._segment(name, last=number == len(names))
            self.last_segment = name

    @property
    def next_tick(self) -> int:
        """The tick to which the next record belongs (-1: the header)."""
        return self.head.tick + (self._expect == "decision") if self.head.seq >= 0 else -1

    def _corrupt(self, name: str, offset: int, what: str) -> Corrupt:
        return Corrupt(self.next_tick, name, offset, what)

    def _segment(self, name: str, *, last: bool) -> Iterator[tuple[Head, Entry]]:
        data, end = self._files.read(name), 0
        try:
            for start, payload, digest in unpack(data, bytes.fromhex(self.head.digest)):
                yield self._entry(name, start, payload, digest)
                end = start + PREFIX.size + len(payload)
        except Broken as found:
            raise self._corrupt(name, found.offset, found.what) from None
        if end < len(data):
            if not last:
                raise self._corrupt(name, end, "segment ends inside a record")
            self.torn = (name, end, len(data) - end)

    @staticmethod
    def decode(payload: bytes) -> Entry:
        """Return the entry of a record."""
        entry: Entry = _decode(payload)
        return entry

    def take(self, name: str, start: int, payload: bytes, digest: bytes) -> Entry:
        """Take in the next record, whose checksum and digest were found good. Raises Corrupt."""
        return self._entry(name, start, payload, digest)[1]

    def _entry(self, name: str, start: int, payload: bytes, digest: bytes) -> tuple[Head, Entry]:
        try:
            entry = _decode(payload)
        except msgspec.MsgspecError as error:
            raise self._corrupt(name, start, f"record cannot be read: {error}") from error
        tick, previous = self.head.tick, self.head.digest
        match entry:
            case Header() if self._expect == "header":
                self._expect = "decision"
            case Segment() if start == 0 and self._expect != "header" and entry.previous.hex() == previous:
                pass
            case Decision() if self._expect == "decision" and entry.tick == tick + 1:
                tick, self._expect = entry.tick, "outcome"
            case Outcome() if self._expect == "outcome" and entry.tick == tick:
                self._expect = "decision"
            case _:
                raise self._corrupt(name, start, "record is out of order")
        self.head = Head(self.head.seq + 1, tick, digest.hex())
        return self.head, entry


def segment_name(number: int) -> str:
    """Return the file name of a segment, counted from 1."""
    return f"{number:06d}.jnl"


def segments(files: Files) -> list[str]:
    """Return the names of the segments, in order."""
    return sorted(name for name in files.names() if name.endswith(".jnl"))


def read_heads(files: Files) -> list[Head]:
    """Return the signed heads. Raises Corrupt if the file holds anything else; a torn last line is left out."""
    if HEADS not in files.names():
        return []
    found: list[Head] = []
    for number, line in enumerate(files.read(HEADS).split(b"\n")[:-1], 1):
        try:
            found.append(msgspec.json.decode(line, type=Head, strict=True))
        except msgspec.MsgspecError as error:
            raise Corrupt(found[-1].tick if found else 0, HEADS, 0, f"line {number} cannot be read") from error
    return found


def trim_heads(files: Files) -> None:
    """Cut off a last line of the signed heads that was being written when the power went, so that the next one stands alone."""
    if HEADS in files.names():
        data = files.read(HEADS)
        if torn := len(data) - (data.rfind(b"\n") + 1):
            heads = files.append(HEADS)
            heads.truncate(len(data) - torn)
            heads.close()


class Writer:
    """The one hand that writes a journal.

    `commit="tick"`: a Decision is on disk when `append` returns. `commit="group"`: within 50 ms; for simulated plants alone.
    `acknowledge(tick)` is called when the Decision of that tick, and everything before, is on disk.
    Raises OSError if the disk is full or fails; nothing that was acknowledged is lost.
    """

    def __init__(
        self,
        files: Files,
        header: Header,
        signer: Signer,
        *,
        commit: Commit = "tick",
        scan: Scan | None = None,
        acknowledge: Callable[[int], None] = lambda tick: None,
        now: Callable[[], float] = monotonic,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._files, self._signer, self._group, self._acknowledge = files, signer, commit == "group", acknowledge
        self._now, self._segment_bytes = now, segment_bytes
        self._buffer: list[bytes] = []
        self._failed = self._unsynced = False
        self._first, self._acked, self._signed, self._signed_at = 0.0, -1, -1, now()
        trim_heads(files)
        if scan is not None and scan.head.seq >= 0:
            self._number = int(scan.last_segment.split(".")[0])
            self._file: Handle = files.append(scan.last_segment)
            self._seq, self._tick, self._digest = scan.head.seq, scan.head.tick, bytes.fromhex(scan.head.digest)
            self._acked = self._tick
            if scan.torn:
                self._file.truncate(scan.torn[1])
            self._size = self._file.size()
            if not self._size and self._number > 1:  # the power went between making a segment and writing its first record
                self._add(Segment(self._number, self._digest))
        else:
            self._number, self._seq, self._tick, self._digest, self._size = 1, -1, -1, ZERO, 0
            self._file = files.append(segment_name(1))
            self._file.truncate(0)
            self._add(header)
            self.commit()
            files.sync_folder()

    @property
    def head(self) -> Head:
        """The chain as it stands, signed or not."""
        return Head(self._seq, self._tick, self._digest.hex())

    def append(self, record: Decision | Outcome) -> None:
        """Keep a record; see the class for when it is durable."""
        if self._size >= self._segment_bytes and isinstance(record, Decision):
            self._rotate()
        if isinstance(record, Decision):
            self._tick = record.tick
        self._add(record)
        if not self._group:
            if isinstance(record, Decision):  # an Outcome becomes durable with the Decision that follows it
                self.commit()
        elif self._now() - self._first >= GROUP_SECONDS:
            self.commit()

    def _add(self, entry: Entry) -> None:
        payload = _encode(entry)
        record, digest = pack(self._digest, payload)
        if not self._buffer and not self._unsynced:
            self._first = self._now()
        self._buffer.append(record)
        self._digest, self._seq, self._size = digest, self._seq + 1, self._size + len(record)

    def flush(self) -> None:
        """Write what was appended, so that others can read it while the run waits; it is durable only after `commit`."""
        if self._failed:
            raise OSError("the journal could not be written before; start again to go on")
        if self._buffer:
            self._failed = True  # until the disk has said yes: what a failed write or sync left behind is unknown
            self._file.write(b"".join(self._buffer))
            self._failed, self._unsynced = False, True
            self._buffer.clear()

    def commit(self) -> None:
        """Return when everything appended is on disk."""
        self.flush()
        if self._unsynced:
            self._failed = True
            self._file.sync()
            self._failed = self._unsynced = False
        if self._tick > self._acked:
            self._acked = self._tick
            self._acknowledge(self._tick)
        if self._now() - self._signed_at >= HEAD_SECONDS:
            self.sign_head()

    def sign_head(self) -> Head:
        """Commit, and sign the chain as it stands."""
        self._signed_at = self._now()
        self.commit()
        head = msgspec.structs.replace(self.head, signature=self._signer.sign(self.head.message()).hex())
        if self._seq > self._signed:
            heads = self._files.append(HEADS)
            heads.write(msgspec.json.encode(head) + b"\n")
            heads.sync()
            heads.close()
            self._files.sync_folder()
            self._signed = self._seq
        return head

    def _rotate(self) -> None:
        self.sign_head()
        self._file.close()
        self._number += 1
        self._file, self._size = self._files.append(segment_name(self._number)), 0
        self._file.truncate(0)
        self._files.sync_folder()
        self._add(Segment(self._number, self._digest))

    def close(self) -> Head:
        """Commit, sign the head, and let go of the file. After a failed write, only let go."""
        head = self.head if self._failed else self.sign_head()
        self._file.close()
        return head
