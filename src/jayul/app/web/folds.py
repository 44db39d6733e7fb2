"""What a run's journal amounts to, kept up tick by tick for the pages of the record: alarms, moves, levels, effort, inputs."""

from __future__ import annotations

import copy
import threading
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
from jayul.record.journal import Corrupt

LAG = 500  # ticks that a page folds itself; more are folded in a thread, in stretches of so many
ASKED = 10.0  # s after which nothing is folded on for somebody who did not come back
FAR, SPACING = 8, 1_024  # folds of the past that are kept over the whole run: how many, and how far apart at first
TRAIL = (16, 128, 1_024, 8_192)  # ticks before the one that is replayed at which a fold is kept, for steps back
IDLE, MOST = 4, 24  # players that are kept for whoever comes back, and at most so many while they are used
GRACE = 60.0  # s after its last use in which a player is none of the few; ASKED if somebody went on elsewhere from it
WORKERS = 2  # threads that fold the past of one run
WAITING = 16  # folds of the past that may wait for those; who asks for a further one asks again later
TRIES = 5  # times that one who asks waits for a fold, before making it himself
# Memory: at most FAR + MOST * (1 + len(TRAIL)) = 128 folds of a run, and those in use. They share what they hold of an alarm, a
# move, or a tag in an hour; each has a reference of some 10 to 100 bytes to it.
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
        """Take the ticks before number `end` that are finished and were not taken yet. Raises Corrupt if they are gone."""
        finished = min(end, len(self.timeline) - 1)  # the newest may not be
        for tick in self.timeline.ticks(self.ticks, end):
            if tick.outcome is None:
                break
            frame = Frame.from_columns(tick.decision.at, self.timeline.table, tick.decision.columns)
            self.alarms.add(tick, frame)
            self.moves.add(tick)
            self.tally.add(frame, tick.decision, tick.outcome)
            self._hour(frame)
            self.ticks += 1
        if self.ticks < finished:
            raise Corrupt(self.ticks, "journal", 0, "is no longer what it was")

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
    """A fold that is brought up to tick number `end` in a thread, as long as somebody asks for it."""

    def __init__(self, end: int, ticks: int) -> None:
        self.end, self.ticks = end, ticks  # where to, and how far it is
        self.asked, self.told = monotonic(), False  # told: somebody was told to come back for it
        self.over = threading.Event()
        self.error: Exception | None = None

    @property
    def wanted(self) -> bool:
        """Say whether somebody asked for it lately."""
        return monotonic() - self.asked < ASKED

    def wait(self) -> None:
        """Wait for the end. Raises NotYet if that takes longer than the page that asks can wait, and what the work raised."""
        self.asked = monotonic()
        longest = patience.get()
        while not self.over.wait(1.0 if longest is None else longest):
            self.asked = monotonic()
            if longest is not None:
                self.told = True
                raise NotYet(self.ticks, self.end)
        if self.error is not None:
            raise self.error


class _Player:
    """Where somebody replays: a fold, and copies of it at ticks before, by tick, for steps back."""

    def __init__(self, fold: Fold, trail: dict[int, Fold]) -> None:
        self.fold, self.trail = fold, trail
        self.held, self.left = True, False  # in use; left: somebody went on elsewhere from here, perhaps who used it
        self.used = self.until = 0.0  # `until` then it is kept for somebody who was told to come back

    def prune(self) -> None:
        """Keep one copy of the trail in each stretch between its distances: the farthest."""
        at = self.fold.ticks
        stretches = [[n for n in self.trail if near < at - n <= far] for near, far in zip((0, *TRAIL), TRAIL, strict=False)]
        self.trail = {min(stretch): self.trail[min(stretch)] for stretch in stretches if stretch}


class _Past:
    """Folds of the past of one run: some over the whole of it, and the players. The lock is held for moments only."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline, self._lock = timeline, threading.Lock()
        self._far, self._spacing = dict[int, Fold](), SPACING
        self._players: list[_Player] = []
        self._works: dict[int, _Work] = {}  # by end: those that are under way, and
        self._waiting: list[_Work] = []  # those that are not yet
        self._threads = 0

    @contextmanager
    def before(self, end: int) -> Iterator[Fold]:
        """Hold a fold of the ticks before number `end`, for oneself alone."""
        player = self._claim(end)
        self._bring(player, end, end)
        try:
            yield player.fold
        finally:
            self._put(player)

    def _claim(self, end: int) -> _Player:
        """Return a player that is nearly there, once one was brought near. Raises NotYet."""
        for _ in range(TRIES):  # others may take it first
            with self._lock:
                work = self._works.get(end)
                if work is None:
                    near = self._best(end)[0]
                    if end - (ticks := near.ticks if near else 0) < LAG:
                        return self._take(end)
                    work = self._ask(end, ticks)
            work.wait()
        with self._lock:
            return self._take(end)

    def _ask(self, end: int, ticks: int) -> _Work:
        """Have a fold made. Raises NotYet if too many wait already and who asks can come back."""
        self._waiting = [work for work in self._waiting if work.wanted or self._forget(work)]
        if len(self._waiting) >= WAITING and patience.get() is not None:
            raise NotYet(ticks, end)
        if self._threads < WORKERS:
            threading.Thread(target=self._labour, daemon=True).start()
            self._threads += 1
        work = self._works[end] = _Work(end, ticks)
        self._waiting.append(work)
        return work

    def _forget(self, work: _Work) -> bool:
        del self._works[work.end]
        work.over.set()
        return False

    def _labour(self) -> None:
        """Do what waits, what was asked for last first, until nothing does."""
        while True:
            with self._lock:
                self._waiting = [work for work in self._waiting if work.wanted or self._forget(work)]
                if not self._waiting:
                    self._threads -= 1
                    return
                work = max(self._waiting, key=lambda work: work.asked)
                self._waiting.remove(work)
            try:
                self._fold(work)
            except Exception as error:  # noqa: BLE001 - who waits for it is told
                work.error = error
            with self._lock:
                self._forget(work)

    def _fold(self, work: _Work) -> None:
        with self._lock:
            player = self._take(work.end)
        while (ticks := player.fold.ticks) < work.end and work.wanted:
            self._bring(player, min(ticks + LAG, work.end), work.end)
            work.ticks = player.fold.ticks
        self._put(player, until=work.asked + ASKED if work.told else 0.0)

    def _best(self, end: int) -> tuple[Fold | None, _Player | None]:
        """Return the fold that has come nearest to a tick, and whose it is; one that need not be copied before others."""
        found: list[tuple[Fold, _Player | None]] = [(fold, None) for fold in self._far.values()]
        for player in self._players:
            found += [(fold, player) for fold in player.trail.values()]
            if not player.held:
                found.append((player.fold, player))
        there = [(fold, player) for fold, player in found if fold.ticks <= end]
        return max(there, key=lambda one: (one[0].ticks, one[1] is not None and one[0] is one[1].fold), default=(None, None))

    def _take(self, end: int) -> _Player:
        """Return the player that is nearly there, or a new one that begins with a copy of the fold that has come nearest."""
        fold, player = self._best(end)
        if fold is not None and player is not None:
            waits = player.until > monotonic() and fold.ticks != end  # for somebody else
            if fold is player.fold and end - fold.ticks < LAG and not waits:
                player.held, player.until = True, 0.0
                return player
            player.left = not waits  # somebody may go on from there
        trail = {n: kept for n, kept in player.trail.items() if n < end} if player is not None else {}
        made = _Player(Fold(self._timeline) if fold is None else fold.copy(), trail)
        self._players.append(made)
        return made

    def _put(self, player: _Player, until: float = 0.0) -> None:
        """Keep a player for whoever goes on from there, and let go of those that were not used for longest."""
        with self._lock:
            player.held, player.left, player.used, player.until = False, False, monotonic(), until
            player.prune()
            now = player.used
            idle = [one for one in self._players if not one.held]
            few = sum(one.until > now or now - one.used < (ASKED if one.left else GRACE) for one in idle)
            idle.sort(key=lambda one: (one.until > now, not one.left, one.used))
            for gone in idle[: max(0, len(idle) - min(max(few, IDLE), MOST))]:
                self._players.remove(gone)

    def _bring(self, player: _Player, upto: int, end: int) -> None:
        """Bring a player on its way to `end` up to a tick. One that fails is not used any more."""
        try:
            self.bring(player.fold, upto, {end - back for back in TRAIL}, player.trail)
        except BaseException:
            with self._lock:
                self._players.remove(player)
            raise

    def bring(self, fold: Fold, end: int, near: Collection[int] = (), trail: dict[int, Fold] | None = None) -> None:
        """Bring a fold up to a tick, and keep copies on the way: over the whole run, and at the ticks `near` in a trail."""
        first, spacing = fold.ticks, self._spacing
        far = range((first // spacing + 1) * spacing, end, spacing)
        for stop in sorted({stop for stop in (*near, *far) if first < stop < end}):
            if stop not in self._far:
                fold.upto(stop)
                self._keep(fold.copy(), trail if stop in near else None)
        fold.upto(end)

    def _keep(self, fold: Fold, trail: dict[int, Fold] | None) -> None:
        with self._lock:
            if trail is not None:
                trail[fold.ticks] = fold
                return
            self._far[fold.ticks] = fold
            if len(self._far) > FAR:
                self._spacing *= 2
                self._far = {n: kept for n, kept in self._far.items() if n % self._spacing == 0}


class _Folds:
    """The folds of one run: the one that goes with the journal, under a lock of its own, and those of the past."""

    def __init__(self, screen: Screen) -> None:
        self._again, self._timeline = WeakMethod(screen.again), screen.timeline
        self._newest, self._lock = Fold(screen.timeline), threading.Lock()
        self._catching_up: _Work | None = None
        self._begin = threading.Lock()
        self.past = _Past(screen.timeline)

    def behind(self) -> bool:
        """Say whether a page would have to wait for the newest."""
        return len(self._timeline) - self._newest.ticks >= LAG

    def catch_up(self) -> _Work:
        """Begin to fold up to the newest tick, if that is not under way."""
        with self._begin:
            work = self._catching_up
            if work is None:
                work = _Work(len(self._timeline), self._newest.ticks)
                threading.Thread(target=self._catch_up, args=(work,), daemon=True).start()
                self._catching_up = work
            return work

    def _catch_up(self, work: _Work) -> None:
        try:
            while (ticks := self._newest.ticks) < work.end - 1 and work.wanted:  # the last may not be finished
                with self._lock:
                    self.past.bring(self._newest, min(ticks + LAG, work.end))
                work.ticks = self._newest.ticks
        except Exception as error:  # noqa: BLE001 - who waits for it is told
            work.error = error
        with self._begin:
            self._catching_up = None
        work.over.set()
        if work.error is None and (again := self._again()) is not None:  # pages that did not wait for it
            again()

    @contextmanager
    def newest(self) -> Iterator[Fold]:
        """Hold the fold up to the newest finished tick. Raises NotYet."""
        for _ in range(TRIES):  # more may come meanwhile
            if self.behind():
                self.catch_up().wait()
        with self._lock:
            self.past.bring(self._newest, len(self._timeline))
            yield self._newest


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
    with folds.past.before(end) if end < there else folds.newest() as fold:
        yield fold
