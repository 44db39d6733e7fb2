"""Verify a journal: is it what was written, and how far can that be vouched for?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from jayul.record.files import Files
from jayul.record.journal import HEADS, Corrupt, Entry, Head, Scan, read_heads
from jayul.record.sign import genuine


class Report(msgspec.Struct, frozen=True):
    """What was found. `bad_tick` is the first tick that cannot be trusted (None: none found), `what` says why.

    `vouched_tick` is the last tick that a signed or given head vouches for (-1: none); nothing can be vouched for after it.
    `torn_bytes` are those of a last record that was being written when the process ended.
    """

    ticks: int
    head: Head
    vouched_tick: int
    key_pinned: bool
    bad_tick: int | None = None
    what: str = ""
    torn_bytes: int = 0

    @property
    def ok(self) -> bool:
        return self.bad_tick is None


class Checked:
    """A scan that also holds every record against the heads known for it. Iterate, then ask `torn`. Raises Corrupt."""

    def __init__(self, files: Files, public: str, known: Sequence[Head] = ()) -> None:
        self.scan = Scan(files)
        self._heads = [*read_heads(files)]
        for head in self._heads:
            if not genuine(public, head.message(), _bytes(head.signature)):
                raise Corrupt(max(head.tick, 0), HEADS, 0, f"signature of head {head.seq} is not good")
        self._heads = sorted([*self._heads, *known], key=lambda head: head.seq)
        self.vouched = Head(-1, -1, "")

    def __iter__(self) -> Iterator[tuple[Head, Entry]]:
        waiting = list(self._heads)
        for head, entry in self.scan:
            trusted = self.vouched.tick
            while waiting and waiting[0].seq == head.seq:
                if waiting[0].digest != head.digest:
                    raise Corrupt(trusted + 1, "journal", 0, f"record {head.seq} is not the one that the head vouches for")
                self.vouched = head
                waiting.pop(0)
            yield head, entry
        if waiting:
            tail = f"journal ends at record {self.scan.head.seq}, but a head vouches for record {waiting[-1].seq}: tail cut"
            raise Corrupt(self.scan.next_tick, self.scan.last_segment or "journal", 0, tail)


def verify(files: Files, public: str, *, pinned: bool, known: Sequence[Head] = ()) -> Report:
    """Check length, checksum, chain, order, signatures and known heads of a journal.

    `public`: the run's public key (hexadecimal); `pinned`: it came from outside the run folder; `known`: heads from elsewhere.
    """
    checked: Checked | None = None
    try:
        checked = Checked(files, public, known)
        for _ in checked:
            pass
        if checked.scan.head.seq < 0:
            raise Corrupt(-1, "journal", 0, "there is no journal here")
    except Corrupt as found:
        scan = checked.scan if checked else Scan(files)
        vouched = checked.vouched.tick if checked else -1
        return Report(scan.head.tick + 1, scan.head, vouched, pinned, max(found.tick, 0), f"{found.segment}: {found.what}")
    torn = checked.scan.torn[2] if checked.scan.torn else 0
    head = checked.scan.head
    return Report(head.tick + 1, head, checked.vouched.tick, pinned, torn_bytes=torn)


def parse_head(text: str) -> Head:
    """Read a head written `seq:digest`, or the JSON line of a signed head. Raises ValueError."""
    if text.lstrip().startswith("{"):
        return msgspec.json.decode(text, type=Head)
    seq, _, digest = text.strip().partition(":")
    if not seq.isdigit() or len(_bytes(digest)) != 32:
        raise ValueError(f"'{text}' is not a head; it is written like 1234:9f86...")
    return Head(int(seq), -1, digest)


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
