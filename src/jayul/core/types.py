"""The nouns: frozen, without I/O, every unit stated.

Times are integer nanoseconds since 1970-01-01 UTC. Values are float64 in the unit of their tag (UCUM; money ISO 4217).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

Columns: TypeAlias = tuple[bytes, bytes, bytes, bytes]  # value f8, source_at i8, seen_at i8, status u4; little-endian
Array: TypeAlias = np.ndarray
Kind = Literal["measured", "manipulated", "set-point", "mode", "laboratory", "derived"]

SECOND = 1_000_000_000  # ns
SKEW = 5 * SECOND  # a source clock may run this far ahead of ours before its data is no longer trusted
GOOD = 0  # OPC UA status codes: the two highest bits are the severity, 00 is good
BAD = 0x8000_0000
BAD_NO_DATA = 0x809B_0000  # OPC UA Bad_NoData
_NOT_GOOD = 0x4000_0000  # any status at or above this has severity uncertain or bad


class Level(IntEnum):
    """How far a policy may go; earned, never set."""

    RECORD, SHADOW, ADVISE, CONFIRM, AUTO = range(5)


class _Line(msgspec.Struct, frozen=True, array_like=True):
    """Base of what the journal holds: immutable, encoded by position."""


class Tag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signal, and the envelope that a write to it must stay in.

    `low`, `high` and `max_step` (largest change per write) are in `unit`; `stale_after` is in seconds.
    """

    name: str
    unit: str = "1"
    kind: Kind = "measured"
    low: float | None = None
    high: float | None = None
    max_step: float | None = None
    stale_after: float = 60.0
    writable: bool = False
    safety: bool = False  # belongs to a safety instrumented system: never written
    states: dict[int, str] = {}  # code -> text, for modes and operating states
    address: str = ""
    description: str = ""


class TagTable:
    """Tags in a fixed order, by name and by position. Raises ValueError if a name stands twice."""

    __slots__ = ("digest", "index", "names", "stale_ns", "tags")

    def __init__(self, tags: Iterable[Tag]) -> None:
        self.tags = tuple(tags)
        self.names = tuple(tag.name for tag in self.tags)
        self.index: Mapping[str, int] = {name: i for i, name in enumerate(self.names)}
        if len(self.index) != len(self.names):
            raise ValueError(f"tag named twice: {max(self.names, key=self.names.count)}")
        self.stale_ns = np.array([tag.stale_after * SECOND for tag in self.tags], dtype=np.int64)
        self.digest = hashlib.sha256(msgspec.msgpack.encode(self.tags)).digest()

    def __getitem__(self, name: str) -> Tag:
        return self.tags[self.index[name]]

    def get(self, name: str) -> Tag | None:
        """Return the tag of that name, or None."""
        return self.tags[i] if (i := self.index.get(name)) is not None else None


def same(a: float, b: float) -> bool:
    """Say whether a value read back is the one that was written, within what a 32-bit float keeps."""
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


class Reading(_Line, frozen=True):
    """One derived value: what a model says about one tag at the instant of the frame it was given."""

    tag: str
    value: float
    status: int = GOOD


class Frame:
    """All that was known at one instant: a tag table and aligned columns; never changed once made.

    `value` float64 [n], `source_at` and `seen_at` int64 ns [n], `status` uint32 OPC UA code [n], `at` int ns.
    """

    __slots__ = ("_fresh", "_values", "at", "seen_at", "source_at", "status", "table", "value")

    def __init__(self, at: int, table: TagTable, value: Array, source_at: Array, seen_at: Array, status: Array) -> None:
        if not len(value) == len(source_at) == len(seen_at) == len(status) == len(table.tags):
            raise ValueError("columns of a frame must be as long as its tag table")
        self.at, self.table = at, table
        self.value, self.source_at, self.seen_at, self.status = value, source_at, seen_at, status
        for column in (value, source_at, seen_at, status):
            column.setflags(write=False)
        self._fresh: list[bool] | None = None
        self._values: list[float] = value.tolist()

    def __getitem__(self, name: str) -> float:
        return self._values[self.table.index[name]]

    def fresh(self, name: str) -> bool:
        """Say whether a tag is known, good, finite, young enough and not from the future."""
        if self._fresh is None:
            limit = self.table.stale_ns
            young = (self.at - self.source_at <= limit) & (self.at - self.seen_at <= limit)
            sane = (self.source_at - self.seen_at <= SKEW) & (self.seen_at - self.at <= SKEW)
            self._fresh = ((self.status < _NOT_GOOD) & young & sane & np.isfinite(self.value)).tolist()
        i = self.table.index.get(name)
        return i is not None and self._fresh[i]

    def join(self, readings: Sequence[Reading]) -> Frame:
        """Return a frame with these derived tags filled in, as old as the frame itself. Raises KeyError for an unknown tag."""
        value, source_at, seen_at, status = (c.copy() for c in (self.value, self.source_at, self.seen_at, self.status))
        for reading in readings:
            i = self.table.index[reading.tag]
            value[i], status[i] = reading.value, reading.status
            source_at[i] = seen_at[i] = self.at
        return Frame(self.at, self.table, value, source_at, seen_at, status)

    def spread(self, table: TagTable, take: np.ndarray, put: np.ndarray) -> Frame:
        """Return these columns laid out on another table: position `put[i]` takes `take[i]`; the rest is Bad_NoData."""
        n = len(table.tags)
        value, status, (source_at, seen_at) = np.full(n, np.nan), np.full(n, BAD_NO_DATA, np.uint32), np.zeros((2, n), np.int64)
        value[put], status[put] = self.value[take], self.status[take]
        source_at[put], seen_at[put] = self.source_at[take], self.seen_at[take]
        return Frame(self.at, table, value, source_at, seen_at, status)

    def columns(self, at: np.ndarray | slice = slice(None)) -> Columns:
        """Return the columns at these positions (all of them) as bytes."""
        return self.value[at].tobytes(), self.source_at[at].tobytes(), self.seen_at[at].tobytes(), self.status[at].tobytes()

    def digest(self) -> bytes:
        """Return the SHA-256 of instant, tag table and columns."""
        head = self.at.to_bytes(8, "little", signed=True) + self.table.digest
        return hashlib.sha256(b"".join((head, *self.columns()))).digest()

    @staticmethod
    def from_columns(at: int, table: TagTable, columns: Columns) -> Frame:
        """Rebuild a frame from `columns()`. Raises ValueError if a column has the wrong length."""
        kinds = ("<f8", "<i8", "<i8", "<u4")
        return Frame(at, table, *(np.frombuffer(column, kind) for column, kind in zip(columns, kinds, strict=True)))


class Proposal(_Line, frozen=True, tag="proposal"):
    """A wish to set one tag to one value (in the tag's unit); it has no power of its own."""

    tag: str
    value: float
    why: str
    by: str  # the policy
    needs: tuple[str, ...] = ()  # every input that was relied on
    effect: str = ""  # what the policy expects of it
    expires: int = 0  # ns; 0: with the tick
    plan: str = ""  # id of the MovePlan that it carries out, if any
    unit: str = ""  # of the value; empty: the tag's


class MovePlan(_Line, frozen=True, tag="plan"):
    """What a person approves: a whole move, not every tick of it."""

    id: str  # see `sealed`
    by: str  # the policy
    targets: dict[str, float]  # tag -> final value, in the tag's unit
    ramp: dict[str, float]  # tag -> largest change per hour
    reason: str
    start: int  # ns
    expires: int  # ns; after this nothing of it may be written
    abort: tuple[tuple[str, float, float], ...] = ()  # (tag, low, high): outside, or not fresh, the plan ends
    band: tuple[tuple[str, float, float], ...] = ()  # (tag, low, high): outside, or not fresh, it can no longer be approved

    def sealed(self) -> MovePlan:
        """Return the plan with the digest of everything else in it as its id: an approval of it is bound to all of that."""
        return replace(self, id=hashlib.sha256(msgspec.msgpack.encode(replace(self, id=""), order="sorted")).hexdigest()[:16])


class Verdict(_Line, frozen=True):
    """What the guard permits: the allowed value or None, the rule that said so, and why."""

    proposal: Proposal
    allowed: float | None
    rule: str  # "" if nothing objected
    reason: str = ""


class Receipt(_Line, frozen=True):
    """What the plant did with one allowed value (one per tag and tick).

    `state`: settled (read back within tolerance), pending, overridden (another value stands there), rejected (the plant
    refused), missed (a later look found it not applied), unknown (it could not be read back).
    """

    tag: str
    allowed: float
    applied: float | None
    at: int
    state: Literal["settled", "pending", "overridden", "rejected", "missed", "unknown"]


class Event(_Line, frozen=True):
    """A human act or a piece of evidence. `id` is unique; `signature` is Ed25519 over `message()`, empty if simulated."""

    kind: Literal[
        "approval", "rejection", "signature", "demotion", "override", "limit", "stop", "configuration", "note", "evidence"
    ]
    by: str
    at: int
    body: dict[str, Any]
    id: str
    signature: bytes = b""

    def message(self) -> bytes:
        """Return the bytes that a signature covers: everything but the signature itself."""
        body = msgspec.json.encode(self.body, order="sorted")
        return msgspec.msgpack.encode(("jayul event 1", self.kind, self.by, self.at, body, self.id))


class Heard(_Line, frozen=True):
    """An event as the loop took it: `refused` is the reason code, empty if it was accepted."""

    event: Event
    refused: str = ""


class Change(_Line, frozen=True):
    """A policy's step on the ladder, with its one reason code and, for a promotion, the person who signed."""

    policy: str
    before: Level
    after: Level
    reason: str
    by: str = ""


class Ask(_Line, frozen=True):
    """What waits for a person: a signature for the next level, or the approval of a move plan."""

    kind: Literal["signature", "approval"]
    policy: str
    subject: str  # the level's name, or the plan's id
    since: int  # tick


class Decision(_Line, frozen=True, tag="decision"):
    """The first line of a tick: all that was known and decided. It is durable before anything is written."""

    tick: int
    at: int
    frame: bytes  # SHA-256 of the whole frame
    columns: Columns  # the named tags of the frame, as `Frame.columns()`
    events: tuple[Heard, ...]
    plans: tuple[MovePlan, ...]  # laid on the table at this tick
    verdicts: tuple[Verdict, ...]
    levels: tuple[Level, ...]  # in the order of the header's policies
    changes: tuple[Change, ...]
    asks: tuple[Ask, ...]
    writes: tuple[int, ...]  # positions, in `verdicts`, of what is sent to the plant
    failed: tuple[str, ...]  # models and policies that raised an error


class Outcome(_Line, frozen=True, tag="outcome"):
    """The second line of a tick: what the plant did. `closed` says how, if a later start had to find out."""

    tick: int
    receipts: tuple[Receipt, ...]
    closed: Literal["", "read-back"] = ""


class Journal(Protocol):
    """Where the two lines of a tick go."""

    def append(self, record: Decision | Outcome) -> None:
        """Keep a record. A Decision is durable on return (commit mode `tick`) or within 50 ms (`group`)."""


class Inbox(Protocol):
    """The only way in for people and other processes."""

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Return the events that came in since the last call. `last` is what the people have before them."""


class Plant(Protocol):
    """Where signals come from and go to."""

    @property
    def tags(self) -> TagTable: ...
    async def read(self) -> Frame:
        """Return the newest of each tag. A lost link marks readings bad; it does not raise."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Set the allowed values, all or none, and say what stands there now."""
