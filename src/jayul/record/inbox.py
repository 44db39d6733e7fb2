"""The inbox: the only way in for people and other processes. A SQLite file; writers append, the loop alone drains.

What was drained stands in the journal, which therefore also says where to go on after a restart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from jayul.core.clock import monotonic
from jayul.core.types import Decision, Event, Inbox

POLL_SECONDS = 0.05
_TABLE = (
    "CREATE TABLE IF NOT EXISTS inbox (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, event BLOB NOT NULL) STRICT"
)


class SqliteInbox:
    """An inbox in the run folder. `taken` counts the rows that the journal already holds."""

    def __init__(self, path: Path, taken: int = 0) -> None:
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_TABLE)
        self._row, self._looked = taken, -POLL_SECONDS

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:  # noqa: ARG002 - time and table are for simulated people
        """Return what came in since the last call, in order of arrival; looks at most every 50 ms."""
        if monotonic() - self._looked < POLL_SECONDS:
            return ()
        self._looked = monotonic()
        rows = self._db.execute("SELECT row, event FROM inbox WHERE row > ? ORDER BY row", (self._row,)).fetchall()
        self._row = rows[-1][0] if rows else self._row
        return [_own(msgspec.msgpack.decode(blob, type=Event)) for _, blob in rows]

    def put(self, event: Event) -> None:
        """Hand an event in; it is on disk when this returns."""
        self._db.execute("INSERT INTO inbox (id, event) VALUES (?, ?)", (event.id, msgspec.msgpack.encode(event)))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def by_inbox(event: Event) -> bool:
    """Say whether an event came by the file: simulated people (`sim-`) and monitors (`mon-`) speak within the process."""
    return not event.id.startswith(("sim-", "mon-"))


def _own(event: Event) -> Event:
    """Keep apart what came by the file, whatever it calls itself: the journal counts by it, and monitors need no signature."""
    return event if by_inbox(event) else replace(event, id=f"inbox-{event.id}")


class Several:
    """Several inboxes as one."""

    def __init__(self, inboxes: Iterable[Inbox]) -> None:
        self._inboxes = tuple(inboxes)

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Return what came in anywhere."""
        return [event for inbox in self._inboxes for event in inbox.drain(at, last)]
