"""Which runs there are under the folders that were named, and a screen for each: followed while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec

from jayul.core.clock import monotonic, today
from jayul.core.types import SECOND
from jayul.project.hold import holder
from jayul.project.manifest import NAME
from jayul.project.overview import Overview, Project, Watched, read_project
from jayul.project.problem import ManifestError
from jayul.project.run import read_summary
from jayul.project.timeline import Timeline
from jayul.record.follow import Replaced
from jayul.record.history import Reader
from jayul.record.journal import Corrupt

LOOK = 0.25  # s between two looks at a journal that is being followed
LINGER = 30.0  # s for which a journal is read and followed after the last who looked has gone
KEPT = 300.0  # s for which what was read is kept after the last who looked has gone
LIST = 0.9  # s between two looks at the list
SLACK = 10 * SECOND  # on three periods without a tick, before that is said
DEEPEST = 3  # folders below a named one in which runs are looked for


T = TypeVar("T")


class NotYet(Exception):
    """What was asked for is still being made from the ticks of a run: so many are `done` of (about) so many."""

    def __init__(self, done: int, ticks: int) -> None:
        super().__init__(f"{done} of {ticks} ticks")
        self.done, self.ticks = done, ticks


class NoTick(NotYet):
    """A run that has no tick yet."""

    def __init__(self) -> None:
        super().__init__(0, 0)


# s for which who asks waits before NotYet; None: for ever
patience: ContextVar[float | None] = ContextVar("patience", default=None)


class Card(msgspec.Struct, frozen=True):
    """A run in the list: its name in addresses, its folder, where it stands; None while that cannot be read (`trouble`)."""

    id: str
    out: Path
    seen: Overview | None
    trouble: str = ""


class Screen:
    """One run that is looked at. `version` rises whenever there is more in its journal."""

    def __init__(self, id: str, out: Path, unused: Callable[[Screen], None] = lambda screen: None) -> None:  # noqa: A002 - in addresses
        """`unused` is called once nobody has looked for `KEPT` seconds."""
        self.id, self.out, self._unused = id, out, unused
        self.timeline, self.history = Timeline(out), Reader(out / "history")
        self.version, self.trouble, self.gone = 0, "", False  # gone: another run lies in the folder now
        self._anew, self._lock = 0, threading.Lock()
        self.standing = self._stands()
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None  # done once the journal was read up to its end
        self._timer: asyncio.TimerHandle | None = None
        self._looked = monotonic()

    @property
    def complete(self) -> bool:
        """Say whether the run is over: nobody takes an act any more."""
        done = read_summary(self.out)
        return bool(done and done.complete)

    @property
    def idle(self) -> float:
        """For how many seconds nobody has looked."""
        return monotonic() - self._looked

    async def ready(self) -> None:
        """Read the journal up to its end, and follow it from now on. Raises Corrupt, and NotYet after `patience`."""
        self._looked = monotonic()
        if self.gone:
            return
        if self._opened is None or self._task is None or self._task.done():
            self._opened = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._live(self._opened))
        opened, longest = self._opened, patience.get()
        while not opened.done():
            await asyncio.wait((opened,), timeout=LINGER / 3 if longest is None else longest)
            self._looked = monotonic()
            if longest is not None and not opened.done():
                raise NotYet(len(self.timeline), self.timeline.about())
        opened.result()

    async def _live(self, opened: asyncio.Future[None]) -> None:
        """Read up to the end, then follow; go on with it only while somebody looks."""
        try:
            while await anyio.to_thread.run_sync(self._read):
                if self.idle > LINGER:
                    return
            opened.set_result(None)
            await self._keep_up()
        except Replaced:
            await self._go()
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            if not opened.done():
                opened.set_exception(error)
        finally:
            if not opened.done():
                opened.set_exception(NotYet(len(self.timeline), self.timeline.about()))
            opened.exception()  # looked at: it is no fault if nobody waits any more
            if not self.gone:
                self._wait_unused()

    async def _go(self) -> None:
        """Give way to the run that lies in the folder now: streams end, and who comes back gets a new screen."""
        self._unused(self)
        async with self._changed:
            self.gone = True
            self._changed.notify_all()

    def _wait_unused(self) -> None:
        """Say so once nobody has looked for long."""
        if self._timer is not None:
            self._timer.cancel()
        if self.idle > KEPT:
            self._unused(self)
        else:
            self._timer = asyncio.get_running_loop().call_later(KEPT - self.idle + 0.1, self._wait_unused)

    def _read(self) -> bool:
        before = len(self.timeline), self.timeline.head
        self.timeline.refresh()
        return (len(self.timeline), self.timeline.head) != before

    def again(self) -> None:
        """Have what is followed made again, although the journal says nothing new. Any thread may call it."""
        with self._lock:
            self._anew += 1

    def _stands(self) -> str:
        """Say whether the loop lives: "" (it does), "stopped" (no process works on the run), "late" (it does not tick)."""
        if holder(self.out) is None:
            return "stopped"
        segments = [path.stat().st_mtime_ns for path in (self.out / "journal").glob("*")]
        late = today() - max(segments, default=0) > 3 * self.timeline.line.period + SLACK
        return "late" if late else ""

    def replaced(self) -> bool:
        """Say whether another run lies in the folder now."""
        try:
            return self.gone or self.timeline.replaced()
        except OSError:  # nothing lies there, or it cannot be read: who follows says so
            return False

    async def _keep_up(self) -> None:
        shown = 0
        while self.idle < LINGER:
            anew = self._anew
            try:
                changed = await anyio.to_thread.run_sync(self._read)
                before, self.standing = self.standing, await anyio.to_thread.run_sync(self._stands)
                changed = changed or before != self.standing or bool(self.trouble)
                self.trouble = ""
            except Replaced:
                raise
            except Exception as error:  # noqa: BLE001 - a damaged journal must be seen on the page, not end the following
                changed, self.trouble = str(error) != self.trouble, str(error)
            if changed or anew != shown:
                shown = anew
                async with self._changed:
                    self.version += 1
                    self._changed.notify_all()
            await anyio.sleep(LOOK)

    async def changes(self, beat: float = 10.0) -> AsyncIterator[bool]:
        """Yield at once, then True whenever there is more, and False after `beat` seconds without anything new.

        Ends once another run lies in the folder.
        """
        seen = -1
        while True:
            try:
                await self.ready()
            except NotYet:
                yield False
                continue
            if self.version == seen and not self.gone:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(beat), self._changed:
                        await self._changed.wait()
            if self.gone:
                return
            before, seen = seen, self.version  # what comes while the caller is busy with this is not lost
            yield seen != before

    def close(self) -> None:
        """Stop following."""
        for what in (self._task, self._timer):
            if what is not None:
                what.cancel()


class _Shared:
    """What is made once a second at most, by the first who asks; others wait for it."""

    def __init__(self) -> None:
        self._made: Any = None
        self._at, self._number, self._lock = -1e9, 0, threading.Lock()

    def get(self, make: Callable[[], Any]) -> Any:
        with self._lock:
            if monotonic() - self._at > LIST:
                number = self._number
                self._made = make()
                self._at = monotonic() if number == self._number else -1e9
            return self._made

    def anew(self) -> None:
        self._at, self._number = -1e9, self._number + 1


class Desk:
    """All runs and projects under `roots`. A run's id is its path below its root, with `/` as `~`; so is a project's."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(root.resolve() for root in roots)
        self._screens: dict[str, Screen] = {}
        self._lock = threading.Lock()
        self._watched: dict[Path, Watched] = {}
        self._shared: dict[str, _Shared] = {}

    @property
    def home(self) -> Path:
        """The folder that new projects and runs go to: the first that is no project itself."""
        return next((root for root in self.roots if not (root / NAME).exists()), self.roots[0].parent)

    def runs(self) -> list[Card]:
        """Return the runs that are there, the newest first. They are looked at once a second at most."""

        def make() -> list[Card]:
            found = self._find("journal")
            newest = sorted(found.items(), key=lambda item: -(item[1] / "journal").stat().st_mtime)
            return [self._card(name, out) for name, out in newest]

        return self.shared("runs", make)

    def projects(self) -> dict[str, Project]:
        """Return the projects by id, in order of name. They are looked at once a second at most."""

        def make() -> dict[str, Project]:
            found = {name: read_project(folder) for name, folder in self._find(NAME).items()}
            return dict(sorted(found.items(), key=lambda item: (item[1].name, item[0])))

        return self.shared("projects", make)

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, made once a second at most for all who ask."""
        found: T = self._shared.setdefault(name, _Shared()).get(make)
        return found

    def anew(self) -> None:
        """Look again at the next call: something was started or stopped."""
        for one in list(self._shared.values()):
            one.anew()

    def _find(self, what: str) -> dict[str, Path]:
        """Return the folders that hold something of this name, by id."""
        found: dict[str, Path] = {}
        for root in self.roots:
            for depth in range(DEEPEST):
                for path in root.glob("*/" * depth + what):
                    if what == "journal" and (path.parent.parent / what).exists():
                        continue  # that of a run's own gateway
                    name = self._id(root, path.parent)
                    if found.get(name, path.parent) != path.parent:  # two roots, one name
                        name = "~".join((root.name, *path.parent.relative_to(root).parts))
                    found.setdefault(name, path.parent)
        return found

    def _card(self, name: str, out: Path) -> Card:
        watched = self._watched.setdefault(out, Watched(out))
        try:
            return Card(name, out, watched.look())
        except ManifestError as error:
            return Card(name, out, None, str(error))
        except Corrupt as error:
            return Card(name, out, None, error.what)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            return Card(name, out, None, str(error))

    @staticmethod
    def _id(root: Path, out: Path) -> str:
        return "~".join(out.relative_to(root).parts) or root.name

    def screen(self, name: str) -> Screen | None:
        """Return the screen of a run, or None if there is no run of that name."""
        for other in list(self._screens.values()):
            if other.idle > KEPT:
                self._drop(other)
        if (found := self._screens.get(name)) is not None:
            if not found.replaced():
                return found
            self._drop(found)
        out = self._find("journal").get(name)
        if out is None:
            return None
        made = Screen(name, out, self._drop)
        with self._lock:
            return self._screens.setdefault(name, made)  # requests that come at once share one

    def _drop(self, screen: Screen) -> None:
        """Let go of a screen, and with it of all that was read and folded of its run."""
        with self._lock:
            if self._screens.get(screen.id) is screen:
                del self._screens[screen.id]

    def close(self) -> None:
        """Stop following everything."""
        for screen in list(self._screens.values()):
            screen.close()
