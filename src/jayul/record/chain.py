"""How records lie on disk: `length u32 | crc32 of the length u32 | crc32 of digest and payload u32 | digest 32 | payload`.

digest = SHA-256(digest before, payload). The length has a checksum of its own, so that a damaged one is not taken for a torn tail.
Whose records they are does not matter here: the journal of a run and that of the gateway are written like this.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator

PREFIX = struct.Struct("<III32s")
ZERO = bytes(32)  # the digest before the first record


class Broken(Exception):
    """What lies at `offset` is not what was written; `what` says in which way."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"at byte {offset}: {what}")
        self.offset, self.what = offset, what


def pack(before: bytes, payload: bytes) -> tuple[bytes, bytes]:
    """Return a record as it lies on disk, and its digest. `before`: the digest of the record before it."""
    digest = hashlib.sha256(before + payload).digest()
    length = len(payload).to_bytes(4, "little")
    return PREFIX.pack(len(payload), zlib.crc32(length), zlib.crc32(payload, zlib.crc32(digest)), digest) + payload, digest


def unpack(data: bytes, before: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (offset, payload, digest) of each record; ends before one that is not there to its end. Raises Broken."""
    offset = 0
    while offset + PREFIX.size <= len(data):
        length, length_crc, crc, digest = PREFIX.unpack_from(data, offset)
        if zlib.crc32(data[offset : offset + 4]) != length_crc:
            raise Broken(offset, "length is damaged")
        end = offset + PREFIX.size + length
        if end > len(data):
            return
        payload = data[offset + PREFIX.size : end]
        if zlib.crc32(payload, zlib.crc32(digest)) != crc:
            raise Broken(offset, "record is damaged")
        if hashlib.sha256(before + payload).digest() != digest:
            raise Broken(offset, "chain is broken: a record before this one was changed, moved or taken out")
        yield offset, payload, digest
        before, offset = digest, end
