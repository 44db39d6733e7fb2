"""Which runs there are under the folders that were named, and a screen for each: followed while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

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
from jayul.record.history import Reader
from jayul.record.journal import Corrupt

LOOK = 0.25  # s between two looks at a journal that is being followed
LINGER = 30.0  # s for which a journal is followed after the last who looked has gone
LIST = 0.9  # s between two looks at the list
SLACK = 10 * SECOND  # on three periods without a tick, before that is said
DEEPEST = 3  # folders below a named one in which runs are looked for


class Card(msgspec.Struct, frozen=True):
    """A run in the list: its name in addresses, its folder, where it stands; None while that cannot be read (`trouble`)."""

    id: str
    out: Path
    seen: Overview | None
    trouble: str = ""


class Screen:
    """One run that is looked at. `version` rises whenever there is more in its journal."""

    def __init__(self, id: str, out: Path) -> None:  # noqa: A002 - the name in addresses
        self.id, self.out = id, out
        self.timeline, self.history = Timeline(out), Reader(out / "history")
        self.version, self.trouble = 0, ""
        self.standing = self._stands()
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._looked = monotonic()

    @property
    def complete(self) -> bool:
        """Say whether the run is over: nobody takes an act any more."""
        done = read_summary(self.out)
        return bool(done and done.complete)

    async def ready(self) -> None:
        """Read the journal up to its end, and follow it from now on."""
        self._looked = monotonic()
        if self._task is None or self._task.done():
            while await anyio.to_thread.run_sync(self._read):
                pass
            if self._task is None or self._task.done():  # another request may have been quicker
                self._task = asyncio.create_task(self._keep_up())

    def _read(self) -> bool:
        before = len(self.timeline), self.timeline.head
        self.timeline.refresh()
        return (len(self.timeline), self.timeline.head) != before

    def _stands(self) -> str:
        """Say whether the loop lives: "" (it does), "stopped" (no process works on the run), "late" (it does not tick)."""
        if holder(self.out) is None:
            return "stopped"
        segments = [path.stat().st_mtime_ns for path in (self.out / "journal").glob("*")]
        late = today() - max(segments, default=0) > 3 * self.timeline.line.period + SLACK
        return "late" if late else ""

    async def _keep_up(self) -> None:
        while monotonic() - self._looked < LINGER:
            try:
                changed = await anyio.to_thread.run_sync(self._read)
                before, self.standing = self.standing, await anyio.to_thread.run_sync(self._stands)
                changed = changed or before != self.standing
                self.trouble = ""
            except Exception as error:  # noqa: BLE001 - a damaged journal must be seen on the page, not end the following
                changed, self.trouble = str(error) != self.trouble, str(error)
            if changed:
                async with self._changed:
                    self.version += 1
                    self._changed.notify_all()
            await anyio.sleep(LOOK)

    async def changes(self, beat: float = 10.0) -> AsyncIterator[bool]:
        """Yield at once, then True whenever there is more, and False after `beat` seconds without anything new."""
        seen = -1
        while True:
            await self.ready()
            if self.version == seen:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(beat), self._changed:
                        await self._changed.wait()
            yield self.version != seen
            seen = self.version

    def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()


class Desk:
    """All runs and projects under `roots`. A run's id is its path below its root, with `/` as `~`; so is a project's."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(root.resolve() for root in roots)
        self._screens: dict[str, Screen] = {}
        self._watched: dict[Path, Watched] = {}
        self._cards: tuple[float, list[Card]] = (-1e9, [])
        self._lock = threading.Lock()

    @property
    def home(self) -> Path:
        """The folder that new projects and runs go to: the first that is no project itself."""
        return next((root for root in self.roots if not (root / NAME).exists()), self.roots[0].parent)

    def runs(self) -> list[Card]:
        """Return the runs that are there, the newest first. They are looked at once a second at most."""
        with self._lock:
            if monotonic() - self._cards[0] > LIST:
                found = self._find("journal")
                newest = sorted(found.items(), key=lambda item: -(item[1] / "journal").stat().st_mtime)
                self._cards = monotonic(), [self._card(name, out) for name, out in newest]
            return self._cards[1]

    def projects(self) -> dict[str, Project]:
        """Return the projects by id, in order of name."""
        found = {name: read_project(folder) for name, folder in self._find(NAME).items()}
        return dict(sorted(found.items(), key=lambda item: (item[1].name, item[0])))

    def anew(self) -> None:
        """Look again at the next call: something was started or stopped."""
        self._cards = (-1e9, self._cards[1])

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
        if name not in self._screens:
            out = self._find("journal").get(name)
            if out is None:
                return None
            self._screens.setdefault(name, Screen(name, out))  # requests that come at once share one
        return self._screens[name]

    def close(self) -> None:
        """Stop following everything."""
        for screen in self._screens.values():
            screen.close()
