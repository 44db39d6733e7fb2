"""What a run's journal amounts to, kept up tick by tick for the pages of the record: alarms, moves, levels, effort, inputs."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakMethod

from jayul.app.web.desk import NotYet, Screen, patience
from jayul.core.clock import monotonic
from jayul.core.guard import HOUR
from jayul.core.types import Frame
from jayul.project.alarms import Alarms
from jayul.project.manifest import parse_canonical
from jayul.project.moves import Moves
from jayul.project.summary import Effort, Tally
from jayul.project.timeline import Timeline

LAG = 500  # ticks that a page folds itself; more are folded in a thread, in stretches of so many
ASKED = 10.0  # s after which nothing is folded on for somebody who did not come back
FAR, SPACING = 8, 1_024  # folds of the past that are kept over the whole run: how many, and how far apart at first
TRAIL = (16, 128, 1_024, 8_192)  # ticks before the one that is replayed at which a fold is kept, for steps back
NEAR = 2 * len(TRAIL)  # of those, for all who replay
IDLE = 4  # folds that stand where somebody replays
WORKERS = 2  # threads that fold the past of one run
T = TypeVar("T")


class Fold:
    """Takes the finished ticks of a timeline in order. `fresh` is (tag, hour in ns) -> (fresh ticks, ticks) of policies' inputs."""

    def __init__(self, timeline: Timeline) -> None:
        header, line = timeline.header, timeline.line
        self.timeline, self.ticks = timeline, 0
        self.manifest = parse_canonical(header.manifest)
        self.needs = tuple(sorted({name for seat in line.seats for name in seat.needs}))
        self.alarms = Alarms(self.manifest, timeline.table, line.seats, header.policies)
        self.moves = Moves()
        self.tally = Tally(timeline.table, header.policies, self.needs, line.period)
        self.fresh: dict[tuple[str, int], tuple[int, int]] = {}

    def copy(self) -> Fold:
        """Return another that goes its own way from here."""
        made = copy.copy(self)
        made.alarms, made.moves, made.tally = self.alarms.copy(), self.moves.copy(), self.tally.copy()
        made.fresh = dict(self.fresh)
        return made

    def upto(self, end: int) -> None:
        """Take the ticks before number `end` that are finished and were not taken yet."""
        for tick in self.timeline.ticks(self.ticks, end):
            if tick.outcome is None:
                return
            frame = Frame.from_columns(tick.decision.at, self.timeline.table, tick.decision.columns)
            self.alarms.add(tick, frame)
            self.moves.add(tick)
            self.tally.add(frame, tick.decision, tick.outcome)
            self._hour(frame)
            self.ticks += 1

    def _hour(self, frame: Frame) -> None:
        hour = frame.at // HOUR * HOUR
        for tag in self.needs:
            fresh, ticks = self.fresh.get((tag, hour), (0, 0))
            self.fresh[tag, hour] = fresh + frame.fresh(tag), ticks + 1

    def effort(self) -> Effort:
        """Return what the run cost its people so far."""
        found = self.tally.effort
        found.alarms = sum(alarm.kind == "finding" for alarm in self.alarms.episodes)
        return found


class _Work:
    """Brings a fold up to a tick in a thread of its own, as long as somebody asks for it."""

    def __init__(self, fold: Fold, end: int, on: Callable[[int], None], over: Callable[[], None]) -> None:
        """`on` brings the fold to a tick; `over` is called at the end, whatever came of it."""
        self._fold, self._end, self._on, self._over = fold, end, on, over
        self._done, self._asked = threading.Event(), monotonic()
        self._error: Exception | None = None
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            while (before := self._fold.ticks) < self._end and monotonic() - self._asked < ASKED:
                self._on(min(before + LAG, self._end))
                if self._fold.ticks == before:
                    break
        except Exception as error:  # noqa: BLE001 - who waits for it is told
            self._error = error
        finally:
            self._over()
            self._done.set()

    def wait(self) -> None:
        """Wait for the end. Raises NotYet if that takes longer than the page that asks can wait, and what the work raised."""
        self._asked = monotonic()
        longest = patience.get()
        while not self._done.wait(1.0 if longest is None else longest):
            self._asked = monotonic()
            if longest is not None:
                raise NotYet(self._fold.ticks, self._end)
        if self._error is not None:
            raise self._error


class _Folds:
    """The folds of one run: the one that goes with the journal, and those that replays drive, each under a lock of its own."""

    def __init__(self, screen: Screen) -> None:
        self._again, self._timeline = WeakMethod(screen.again), screen.timeline
        self._newest, self._lock = Fold(screen.timeline), threading.Lock()
        self._catching_up: _Work | None = None
        self._past, self._few = threading.Lock(), threading.Semaphore(WORKERS)  # the lock is held for moments only
        self._idle: list[Fold] = []
        self._far, self._spacing, self._near = dict[int, Fold](), SPACING, OrderedDict[int, Fold]()
        self._works: dict[int, _Work] = {}

    def behind(self) -> bool:
        """Say whether a page would have to wait for the newest."""
        return len(self._timeline) - self._newest.ticks >= LAG

    def catch_up(self) -> _Work:
        """Begin to fold up to the newest tick, if that is not under way."""
        with self._past:
            if self._catching_up is None:
                self._catching_up = _Work(self._newest, len(self._timeline), self._on_newest, self._caught_up)
            return self._catching_up

    def _on_newest(self, end: int) -> None:
        with self._lock:
            self._bring(self._newest, end)

    def _caught_up(self) -> None:
        with self._past:
            self._catching_up = None
        if (again := self._again()) is not None:  # pages that did not wait for it
            again()

    @contextmanager
    def newest(self) -> Iterator[Fold]:
        """Hold the fold up to the newest finished tick."""
        while self.behind():
            self.catch_up().wait()
        with self._lock:
            self._bring(self._newest, len(self._timeline))
            yield self._newest

    @contextmanager
    def before(self, end: int) -> Iterator[Fold]:
        """Hold a fold of the ticks before number `end`, for oneself alone."""
        while (fold := self._claim(end)) is None:
            pass
        self._bring(fold, end, _trail(end))
        try:
            yield fold
        finally:
            self._put(fold)

    def _claim(self, end: int) -> Fold | None:
        """Return a fold that is nearly there; None after it was brought near for whoever comes first."""
        with self._past:
            work = self._works.get(end)
            if work is None:
                fold = self._nearest(end)
                if end - fold.ticks < LAG:
                    return fold
                work = self._works[end] = self._begin(fold, end)
        work.wait()
        return None

    def _begin(self, fold: Fold, end: int) -> _Work:
        def on(upto: int) -> None:
            with self._few:
                self._bring(fold, upto, _trail(end))

        def over() -> None:
            self._put(fold)
            with self._past:
                self._works.pop(end, None)

        return _Work(fold, end, on, over)

    def _nearest(self, end: int) -> Fold:
        """Return the fold that has come nearest to a tick: one that stands idle there, or a copy of one that is kept."""
        idle = max((fold for fold in self._idle if fold.ticks <= end), key=lambda fold: fold.ticks, default=None)
        kept = [fold for group in (self._far, self._near) for n, fold in group.items() if n <= end]
        best = max(kept, key=lambda fold: fold.ticks, default=None)
        if idle is not None and (best is None or idle.ticks >= best.ticks):
            if end - idle.ticks >= LAG:  # somebody may go on from there
                return idle.copy()
            self._idle.remove(idle)
            return idle
        return best.copy() if best is not None else Fold(self._timeline)

    def _put(self, fold: Fold) -> None:
        with self._past:
            self._idle = [*self._idle, fold][-IDLE:]

    def _bring(self, fold: Fold, end: int, near: Collection[int] = ()) -> None:
        """Bring a fold to a tick, and keep copies on the way: over the whole run, and at the ticks `near`."""
        first, spacing = fold.ticks, self._spacing
        far = range((first // spacing + 1) * spacing, end, spacing)
        for stop in sorted({stop for stop in (*near, *far) if first < stop < end}):
            if stop not in self._near and stop not in self._far:
                fold.upto(stop)
                if fold.ticks == stop:
                    self._keep(fold.copy(), far=stop not in near)
        fold.upto(end)

    def _keep(self, fold: Fold, *, far: bool) -> None:
        with self._past:
            if not far:
                self._near[fold.ticks] = fold
                while len(self._near) > NEAR:
                    self._near.popitem(last=False)
                return
            self._far[fold.ticks] = fold
            if len(self._far) > FAR:
                self._spacing *= 2
                self._far = {n: kept for n, kept in self._far.items() if n % self._spacing == 0}


def _trail(end: int) -> set[int]:
    return {end - back for back in TRAIL}


_folds: WeakKeyDictionary[Screen, _Folds] = WeakKeyDictionary()
_making = threading.Lock()


def _of(screen: Screen) -> _Folds:
    with _making:
        if (found := _folds.get(screen)) is None:
            found = _folds[screen] = _Folds(screen)
        return found


def at_hand(screen: Screen, look: Callable[[Fold], T]) -> T | None:
    """Return what is to be seen in the fold of a run if it is up to date within moments; else begin to make it: None."""
    folds = _of(screen)
    if folds.behind():
        folds.catch_up()
        return None
    with folds.newest() as fold:
        return look(fold)


@contextmanager
def folded(screen: Screen, number: int | None = None) -> Iterator[Fold]:
    """Hold the fold of a run up to its newest finished tick, or up to tick `number`. Slow the first time: use it in a thread.

    Raises NotYet if it takes longer than `patience`; it is made meanwhile.
    """
    folds = _of(screen)
    there = len(screen.timeline)
    end = there if number is None else number + 1
    with folds.before(end) if end < there else folds.newest() as fold:
        yield fold
