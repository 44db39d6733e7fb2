"""What the brain and the gateway say to each other over a Unix socket: length-prefixed MessagePack, every message signed.

brain:   Hello                                gateway: Answer with a nonce and its chain head, or with a code
brain:   Proof (nonce and head, signed)       gateway: Answer
brain:   Signed(Said), as often as it likes   gateway: Answer to each; one with seq 0 says that the session is over
"""

from __future__ import annotations

import asyncio
from typing import Literal, TypeVar

import msgspec

from jayul.core.types import Receipt, Verdict

LARGEST = 1 << 20  # bytes of a message
LIMIT = 5.0  # s, for a message that has begun, and for every step of the greeting
NONCE = 32  # bytes
Kind = Literal["beat", "write", "bye"]
T = TypeVar("T")


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello", forbid_unknown_fields=True):
    """Who speaks: the run's public key (hexadecimal), and the digest of the envelope that it has before it (hexadecimal)."""

    run: str
    envelope: str


class Proof(msgspec.Struct, frozen=True, array_like=True, tag="proof", forbid_unknown_fields=True):
    """The signature over `greeting(nonce, head)`: the key is really there, now."""

    signature: bytes


class Said(msgspec.Struct, frozen=True, array_like=True, tag="said", forbid_unknown_fields=True):
    """One message: `seq` rises strictly, `at` is plant time (ns). A write carries verdicts; `tick`, `frame`: for the record."""

    nonce: bytes
    seq: int
    at: int
    kind: Kind
    tick: int = -1
    frame: bytes = b""
    verdicts: tuple[Verdict, ...] = ()


class Signed(msgspec.Struct, frozen=True, array_like=True, tag="signed", forbid_unknown_fields=True):
    """`body` is an encoded Said; the signature covers `sealed(body)`."""

    body: bytes
    signature: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """`code` is empty if it was taken, else says why not. `head`: the gateway's chain, `seq:digest`, after what it did."""

    seq: int
    code: str = ""
    detail: str = ""
    receipts: tuple[Receipt, ...] = ()
    head: str = ""
    nonce: bytes = b""


class TooLarge(ValueError):
    """A message claims to be larger than any may be; it is not read."""


def greeting(nonce: bytes, head: str) -> bytes:
    """Return what a brain signs to begin a session."""
    return b"jayul gateway 1" + nonce + head.encode()


def sealed(body: bytes) -> bytes:
    """Return what the signature of a message covers; nonce and number stand in the body."""
    return b"jayul gateway 1 message" + body


def pack(message: msgspec.Struct) -> bytes:
    """Return a message as it goes over the wire."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(4, "little") + data


async def receive(reader: asyncio.StreamReader, kind: type[T], *, patience: float | None = LIMIT) -> T:
    """Return the next message of one kind. `patience`: seconds until it begins (None: for ever).

    Raises TimeoutError, TooLarge, msgspec.MsgspecError, OSError or asyncio.IncompleteReadError (an EOFError).
    """
    first = await asyncio.wait_for(reader.readexactly(1), patience)
    async with asyncio.timeout(LIMIT):
        length = int.from_bytes(first + await reader.readexactly(3), "little")
        if length > LARGEST:
            raise TooLarge(f"a message of {length} bytes; at most {LARGEST} are read")
        return msgspec.msgpack.decode(await reader.readexactly(length), type=kind)
