"""The gateway's own journal: a chain of records like that of a run, each on disk before what follows from it is done.

The first record is a Start: it pins the envelope. Heads are signed with the gateway's key once a minute, at the end of a session
and at the stop. A tail is torn only if the last segment ends inside its last record, beyond the last signed head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from jayul.core.clock import monotonic
from jayul.core.types import Receipt, Verdict
from jayul.record.chain import PREFIX, ZERO, Broken, pack, unpack
from jayul.record.files import Files, Handle
from jayul.record.journal import (
    HEAD_SECONDS,
    HEADS,
    SEGMENT_BYTES,
    Corrupt,
    Head,
    Segment,
    read_heads,
    segment_name,
    segments,
    trim_heads,
)
from jayul.record.sign import Signer, genuine


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """The process began. `envelope` is its canonical JSON, `change` the signed change that led to it (JSON), if it is a new one."""

    version: str
    at: int  # plant time, ns
    pid: int
    digest: str
    envelope: str
    change: str = ""


class Session(msgspec.Struct, frozen=True, array_like=True, tag="session"):
    """A brain proved its key."""

    at: int
    run: str
    uid: int
    pid: int
    nonce: bytes


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    """The session is over; `beats` messages were taken in it."""

    at: int
    reason: str
    beats: int


class Judged(msgspec.Struct, frozen=True, array_like=True, tag="judged"):
    """What a brain asked for and what we say. On disk before anything is written. `origin`: what stood there before."""

    at: int
    tick: int
    frame: bytes
    asked: tuple[Verdict, ...]
    own: tuple[Verdict, ...]
    code: str = ""
    detail: str = ""
    origin: dict[str, float] = {}


class Wrote(msgspec.Struct, frozen=True, array_like=True, tag="wrote"):
    """What the plant did with it."""

    at: int
    receipts: tuple[Receipt, ...]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Something was refused before it was judged; `times` of this code since the last record of it."""

    at: int
    code: str
    detail: str
    uid: int = -1
    pid: int = -1
    times: int = 1


class Released(msgspec.Struct, frozen=True, array_like=True, tag="released"):
    """A tag is no longer ours: another hand moved it, or took its loop out of remote."""

    at: int
    tag: str
    reason: str


class Handback(msgspec.Struct, frozen=True, array_like=True, tag="handback"):
    """Loops were given back: values written, mode tags put to local, what the plant said. `done`: nothing is left to do.

    `left` says why values were not written back, if they were not.
    """

    at: int
    reason: str
    tags: tuple[str, ...]
    values: dict[str, float]
    receipts: tuple[Receipt, ...]
    done: bool
    left: str = ""


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """The process ends in order."""

    at: int
    reason: str


Entry: TypeAlias = Start | Session | Ended | Judged | Wrote | Refused | Released | Handback | Stop | Segment
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Damaged(Exception):
    """The journal is not what was written. `record` is the first that cannot be trusted."""

    def __init__(self, record: int, where: str, what: str) -> None:
        super().__init__(f"record {record}: {where}: {what}")
        self.record = record


class Scan:
    """Read and check the journal from its first record on: iterate for entries, then ask `head`, `torn`, `vouched`.

    Length, checksum, chain, order, signatures and signed heads are checked. Raises Damaged.
    """

    def __init__(self, files: Files, public: str) -> None:
        self._files, self._public = files, public
        self.seq, self.digest, self.vouched = -1, ZERO, -1
        self.segment, self.torn = "", 0  # the last one; bytes at its end that are half a record
        self.size = 0  # of the last segment, without those

    def __iter__(self) -> Iterator[Entry]:
        heads = {head.seq: head.digest for head in self._heads()}
        names = segments(self._files)
        for number, name in enumerate(names, 1):
            if name != segment_name(number):
                raise Damaged(self.seq + 1, segment_name(number), "segment is missing")
            data, self.segment, self.size = self._files.read(name), name, 0
            try:
                for offset, payload, digest in unpack(data, self.digest):
                    entry = self._entry(name, offset, payload)
                    self.seq, self.digest, self.size = self.seq + 1, digest, offset + PREFIX.size + len(payload)
                    self._hold(heads)
                    yield entry
            except Broken as found:
                raise Damaged(self.seq + 1, f"{name} at byte {found.offset}", found.what) from None
            self.torn = len(data) - self.size
            if self.torn and number < len(names):
                raise Damaged(self.seq + 1, name, "segment ends inside a record")
        if beyond := [seq for seq in heads if seq > self.seq]:
            raise Damaged(self.seq + 1, self.segment or HEADS, f"a head vouches for record {max(beyond)}: tail cut")

    def _heads(self) -> list[Head]:
        try:
            heads = read_heads(self._files)
            bad = [head for head in heads if not genuine(self._public, head.message(), bytes.fromhex(head.signature))]
        except (Corrupt, ValueError) as error:
            raise Damaged(0, HEADS, str(error)) from None
        if bad:
            raise Damaged(self.seq + 1, HEADS, f"signature of head {bad[0].seq} is not good")
        return heads

    def _hold(self, heads: dict[int, str]) -> None:
        if self.seq in heads:
            if heads[self.seq] != self.digest.hex():
                raise Damaged(self.vouched + 1, self.segment, f"record {self.seq} is not the one that the head vouches for")
            self.vouched = self.seq

    def _entry(self, name: str, offset: int, payload: bytes) -> Entry:
        where = f"{name} at byte {offset}"
        try:
            entry: Entry = _decode(payload)
        except msgspec.MsgspecError as error:
            raise Damaged(self.seq + 1, where, f"record cannot be read: {error}") from None
        first = isinstance(entry, Start) if self.seq < 0 else True
        follows = isinstance(entry, Segment) == (offset == 0 and self.seq >= 0)
        if not first or not follows or (isinstance(entry, Segment) and entry.previous != self.digest):
            raise Damaged(self.seq + 1, where, "record is out of order")
        return entry


class Chain:
    """The one hand that writes the gateway's journal. Raises OSError if the disk is full or fails; then it is to be left alone."""

    def __init__(
        self,
        files: Files,
        signer: Signer,
        scan: Scan,
        *,
        now: Callable[[], float] = monotonic,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._files, self._signer, self._now, self._largest = files, signer, now, segment_bytes
        self._seq, self._digest, self._signed, self._signed_at = scan.seq, scan.digest, scan.vouched, now()
        trim_heads(files)
        self._number, self._size = max(1, len(segments(files))), scan.size
        self._file: Handle = files.append(segment_name(self._number))
        if self._file.size() > scan.size:
            self._file.truncate(scan.size)
        self.failed = False
        if not self._size and self._number > 1:  # the power went between making a segment and writing its first record
            self._add(Segment(self._number, self._digest))
        files.sync_folder()

    @property
    def head(self) -> str:
        """The chain as it stands, `seq:digest`."""
        return f"{self._seq}:{self._digest.hex()}"

    def append(self, entry: Entry) -> None:
        """Keep an entry; it is on disk on return."""
        if self._size >= self._largest:
            self._rotate()
        self._add(entry)
        if self._now() - self._signed_at >= HEAD_SECONDS:
            self.sign()

    def _add(self, entry: Entry) -> None:
        if self.failed:
            raise OSError("the gateway's journal could not be written before; start again to go on")
        record, digest = pack(self._digest, _encode(entry))
        self.failed = True  # until the disk has said yes: what a failed write or sync left behind is unknown
        self._file.write(record)
        self._file.sync()
        self.failed = False
        self._seq, self._digest, self._size = self._seq + 1, digest, self._size + len(record)

    def _rotate(self) -> None:
        self.sign()
        self._file.close()
        self._number += 1
        self._file, self._size = self._files.append(segment_name(self._number)), 0
        self._file.truncate(0)
        self._files.sync_folder()
        self._add(Segment(self._number, self._digest))

    def sign(self) -> None:
        """Sign the chain as it stands, if there is anything new in it."""
        self._signed_at = self._now()
        if self.failed or self._seq <= self._signed:
            return
        head = Head(self._seq, -1, self._digest.hex())
        heads = self._files.append(HEADS)
        heads.write(
            msgspec.json.encode(msgspec.structs.replace(head, signature=self._signer.sign(head.message()).hex())) + b"\n"
        )
        heads.sync()
        heads.close()
        self._files.sync_folder()
        self._signed = self._seq

    def close(self) -> None:
        """Sign the head and let go of the file."""
        self.sign()
        self._file.close()
