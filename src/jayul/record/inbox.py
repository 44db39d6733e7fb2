"""The inbox: the only way in for people and other processes. A SQLite file; writers append, the loop alone drains.

What was drained stands in the journal, which therefore also says where to go on after a restart.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from jayul.core.clock import monotonic
from jayul.core.types import Decision, Event, Inbox

POLL_SECONDS = 0.05
NAME = "inbox"  # who speaks when the file was damaged
_TABLE = (
    "CREATE TABLE IF NOT EXISTS inbox (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, event BLOB NOT NULL) STRICT"
)


class SqliteInbox:
    """An inbox in the run folder. `taken` counts the rows that the journal already holds.

    A damaged file is put aside (`state.db.damaged-N`) and made anew, going on with the row that comes next. What stood in it
    unread may be lost, and people cannot have been heard: every policy in `policies` is demoted. That is for the loop alone: who
    only writes (`renew` False) gets sqlite3.DatabaseError, or rows would begin anew behind the loop's back.
    """

    def __init__(self, path: Path, taken: int = 0, policies: Sequence[str] = (), *, renew: bool = True) -> None:
        self._path, self._policies, self._row, self._looked, self.damaged = path, policies, taken, -POLL_SECONDS, 0
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            if not renew:
                raise
            self._db = self._renew()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(_TABLE)
            db.execute("SELECT row, id, event FROM inbox WHERE row > ? LIMIT 1", (self._row,)).fetchall()
        except sqlite3.OperationalError as error:  # a full disk, no right to write: not the file's fault
            db.close()
            raise OSError(0, str(error), str(self._path)) from error
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _renew(self) -> sqlite3.Connection:
        """Put the damaged file aside and make a new one whose rows go on."""
        number = next(n for n in itertools.count(1) if not self._path.with_name(f"{self._path.name}.damaged-{n}").exists())
        for ending in ("", "-wal", "-shm"):
            part = self._path.with_name(self._path.name + ending)
            if part.exists():
                part.rename(self._path.with_name(f"{self._path.name}.damaged-{number}{ending}"))
        db = self._open()
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('inbox', ?)", (self._row,))
        self.damaged += 1
        return db

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:  # noqa: ARG002 - time and table are for simulated people
        """Return what came in since the last call, in order of arrival; looks at most every 50 ms."""
        if monotonic() - self._looked < POLL_SECONDS:
            return ()
        self._looked = monotonic()
        try:
            rows = self._db.execute("SELECT row, event FROM inbox WHERE row > ? ORDER BY row", (self._row,)).fetchall()
            events = [_own(msgspec.msgpack.decode(blob, type=Event)) for _, blob in rows]
        except sqlite3.OperationalError as error:
            raise OSError(0, str(error), str(self._path)) from error
        except (sqlite3.DatabaseError, msgspec.MsgspecError):
            self._db.close()
            self._db = self._renew()
            rows, events = [], []
        self._row = rows[-1][0] if rows else self._row
        if self.damaged:
            events += [self._lost(at, policy) for policy in self._policies]
            self.damaged = 0
        return events

    def _lost(self, at: int, policy: str) -> Event:
        return Event("demotion", NAME, at, {"policy": policy, "reason": "the inbox was damaged"}, f"mon-inbox-{at}-{policy}")

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
