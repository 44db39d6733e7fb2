"""Alarms as ISA-18.2 has them, folded from the journal alone: what rang, when, why it matters, and what people did about it.

Kinds: `finding` (a derived tag that rings), `input` (an input of a policy is not fresh), `failed` (a model or policy raised an
error), `write` (a write was not taken as sent), `demotion`, `override`, `event` (an event was refused). Acts of people are events
of kind `note` whose body holds `alarm`, `act` (acknowledge, shelve, unshelve, note), `text`; for shelve `until` (plant time, ns).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from jayul.core.expr import Expr, ExprError
from jayul.core.guard import HOUR
from jayul.core.loop import Seat
from jayul.core.types import SECOND, Change, Decision, Event, Frame, Level, Outcome, TagTable
from jayul.plant.journal import Tick
from jayul.project.manifest import Manifest
from jayul.project.summary import rings, tops
from jayul.record.sign import genuine

ACTS = ("acknowledge", "shelve", "unshelve", "note")
SHELF = 8 * HOUR  # longest
TOGETHER = 60 * SECOND  # alarms that begin within this of the first are one group
FLOOD, CALM, WINDOW = 10, 5, 600 * SECOND  # ISA-18.2: more than 10 within 10 min begin a flood, fewer than 5 end it
STANDING = 24 * HOUR  # an alarm that is active for longer stands
PRIORITIES = ("high", "medium", "low")
STATES = ("active-unacknowledged", "active-acknowledged", "returned-unacknowledged", "shelved", "closed")


class Act(msgspec.Struct, frozen=True):
    """What a person did about an alarm. `refused` says why it does not count; `vouched`: with a signature that is good."""

    tick: int
    at: int
    by: str
    act: str
    text: str
    until: int = 0
    vouched: bool = False
    refused: str = ""


class Alarm(msgspec.Struct):
    """One episode. `code` is a reason code; `until` (ns) and `until_tick` are 0 and -1 while it is active.

    `relied`: policies that rely on it; `top`: the largest contributions; `stopped`: (policy, code) -> refused proposals or falls.
    """

    kind: str
    subject: str
    code: str
    tick: int
    at: int
    priority: str = "low"
    relied: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    until_tick: int = -1
    until: int = 0
    stopped: dict[tuple[str, str], int] = {}
    first_out: bool = False
    silent: bool = False  # it was shelved when it began
    back: Level = Level.RECORD  # of a demotion: the level at which it is over

    @property
    def key(self) -> str:
        """The alarm of which this is an episode."""
        return ":".join(part for part in (self.kind, self.code, self.subject) if part)

    @property
    def id(self) -> str:
        """The episode."""
        return f"{self.key}@{self.tick}"


class Row(msgspec.Struct, frozen=True):
    """An alarm as it stands: its newest episode (or one that was asked for), how often it came, what people did."""

    alarm: Alarm
    state: str
    seconds: float
    times: int
    acknowledged: Act | None
    shelved: Act | None
    acts: tuple[Act, ...]
    standing: bool


class Spell(msgspec.Struct, frozen=True):
    """A flood: from, to (ns; 0: it goes on), how many alarms came."""

    begin: int
    end: int
    alarms: int


class Alarms:
    """The fold. `add` takes finished ticks in order; `rows` says how it stands after the last."""

    def __init__(self, manifest: Manifest, table: TagTable, seats: Sequence[Seat], policies: Sequence[str]) -> None:
        self._table, self._seats, self._policies = table, {seat.name: seat for seat in seats}, tuple(policies)
        self._rings = [tag.name for tag in table.tags if tag.kind == "derived" and rings(tag)]
        self._tops = {name: tops(table, name) for name in self._rings}
        self._needed = list(dict.fromkeys(tag for seat in seats for tag in seat.needs))
        self._conditions = list(_conditions(manifest, table))
        self._keys = {person.name: person.key for person in manifest.people.person if person.key}
        self._simulated = manifest.people.simulated
        self._levels: dict[str, Level] = dict.fromkeys(self._policies, Level.RECORD)
        self._open: dict[str, Alarm] = {}
        self.episodes: list[Alarm] = []
        self.by_key: dict[str, list[Alarm]] = {}
        self.acts: dict[str, list[Act]] = {}  # by key; those of one episode name it in `_of`
        self._of: dict[str, list[tuple[int, Act]]] = {}  # by key: tick of the episode that an act names
        self._group: list[Alarm] = []
        self.at, self.tick = 0, -1

    def copy(self) -> Alarms:
        """Return another that goes its own way from here; what cannot change any more is shared."""
        made = copy.copy(self)
        own = {id(alarm): replace(alarm, stopped=dict(alarm.stopped)) for alarm in (*self._open.values(), *self._group)}
        made._open = {key: own[id(alarm)] for key, alarm in self._open.items()}
        made._group = [own[id(alarm)] for alarm in self._group]
        made.episodes = [own.get(id(alarm), alarm) for alarm in self.episodes]
        made.by_key = {key: [own.get(id(alarm), alarm) for alarm in alarms] for key, alarms in self.by_key.items()}
        made.acts = {key: list(acts) for key, acts in self.acts.items()}
        made._of = {key: list(acts) for key, acts in self._of.items()}
        return made

    def add(self, tick: Tick, frame: Frame) -> None:
        """Take one finished tick; the frame is complete, on the run's table."""
        decision, outcome = tick
        self.at, self.tick = decision.at, decision.tick
        for heard in decision.events:
            if heard.event.kind == "note" and "alarm" in heard.event.body and not heard.refused:
                self._hear(heard.event, decision)
        now = self._conditions_now(decision, outcome, frame)
        for key in [key for key, alarm in self._open.items() if alarm.kind not in _FALLS and key not in now]:
            self._end(key)
        for alarm in now.values():
            if alarm.key not in self._open:
                self._begin(alarm)
        for change in decision.changes:
            self._fall(change)
        self._levels = dict(zip(self._policies, decision.levels, strict=True))
        for key, alarm in list(self._open.items()):
            if alarm.kind in _FALLS and alarm.tick < self.tick and self._levels.get(alarm.subject, Level.RECORD) >= alarm.back:
                self._end(key)
        self._events(decision)
        self._consequences(decision, frame)

    def _conditions_now(self, decision: Decision, outcome: Outcome | None, frame: Frame) -> dict[str, Alarm]:
        """Return what rings at this tick, by key."""
        found = [self._make("finding", name, "", self._relying(name)) for name in self._rings if frame[name] == 1.0]
        for alarm in found:
            alarm.top = tuple(tag.states[int(c)] for tag in self._tops[alarm.subject] if (c := frame[tag.name]) in tag.states)
        seats = self._seats.values()
        stale = [tag for tag in self._needed if not frame.fresh(tag)]
        found += [self._make("input", tag, "", [s.name for s in seats if tag in s.needs]) for tag in stale]
        for name in decision.failed:
            relied = [name] if name in self._seats else self._relying(f"{name}.")
            found.append(self._make("failed", name, "", relied))
        for tag, state in odd_writes(decision, outcome):
            found.append(self._make("write", tag, state, [s.name for s in seats if tag in s.tags]))
        return {alarm.key: alarm for alarm in found}

    def _make(self, kind: str, subject: str, code: str, relied: Iterable[str]) -> Alarm:
        names = tuple(relied)
        level = max((self._levels[name] for name in names), default=Level.RECORD)
        return Alarm(kind, subject, code, self.tick, self.at, _priority(level), names, stopped={})

    def _relying(self, name: str) -> list[str]:
        """Return the policies that rely on a tag (or, with a dot at the end, on any of a model): by inputs, or by the guard."""

        def among(tags: Iterable[str]) -> bool:
            return any(tag == name or (name.endswith(".") and tag.startswith(name)) for tag in tags)

        guarded = any(among(tags) for _, tags in self._conditions)
        return [seat.name for seat in self._seats.values() if guarded or among(seat.needs)]

    def _begin(self, alarm: Alarm) -> None:
        alarm.silent = self.shelf(alarm.key) is not None
        if alarm.until == 0:
            self._open[alarm.key] = alarm
        self.episodes.append(alarm)
        self.by_key.setdefault(alarm.key, []).append(alarm)
        if alarm.kind == "event" or alarm.silent:
            return
        if not self._group or alarm.at - self._group[0].at > TOGETHER:
            self._group = []
        self._group.append(alarm)
        if alarm.at > self._group[0].at:
            for first in self._group:
                first.first_out = first.at == self._group[0].at

    def _end(self, key: str) -> None:
        alarm = self._open.pop(key)
        alarm.until, alarm.until_tick = self.at, self.tick

    def _fall(self, change: Change) -> None:
        if change.after >= change.before:
            return
        kind = "override" if change.reason == "override" else "demotion"
        alarm = self._make(kind, change.policy, "" if kind == "override" else change.reason, [change.policy])
        alarm.priority, alarm.back = "low" if change.reason == "person" else _priority(change.before), change.before
        if before := self._open.get(alarm.key):
            alarm.back = max(alarm.back, before.back)
            self._end(alarm.key)
        alarm.stopped = {(change.policy, change.reason): 1}
        self._begin(alarm)

    def _events(self, decision: Decision) -> None:
        """An event that was refused rings for this one tick."""
        for heard in decision.events:
            if heard.refused:
                alarm = self._make("event", f"{heard.event.kind} {heard.event.by}", heard.refused, ())
                alarm.until, alarm.until_tick = self.at, self.tick
                if not any(e.id == alarm.id for e in self.by_key.get(alarm.key, [])[-1:]):
                    self._begin(alarm)

    def _consequences(self, decision: Decision, frame: Frame) -> None:
        """Count what each active alarm stopped at this tick."""
        active = [alarm for alarm in self._open.values() if alarm.kind in ("finding", "input")]
        if not active:
            return
        failing = {tag for name, tags in self._conditions if frame[name] != 1.0 for tag in tags}
        for alarm in active:
            for v in decision.verdicts:
                if v.allowed is None and (
                    (v.rule == "require" and alarm.subject in failing)
                    or (v.rule == "inputs" and alarm.kind == "input" and alarm.subject in v.proposal.needs)
                ):
                    key = v.proposal.by, v.rule
                    alarm.stopped[key] = alarm.stopped.get(key, 0) + 1
            for change in decision.changes:
                if change.reason == "inputs-stale" and alarm.kind == "input" and change.policy in alarm.relied:
                    alarm.stopped[change.policy, change.reason] = 1

    def _hear(self, event: Event, decision: Decision) -> None:
        body = event.body
        name, what, text = str(body.get("alarm")), str(body.get("act")), str(body.get("text") or "")
        key, _, number = name.rpartition("@")
        until = body.get("until", 0)
        until = min(until, decision.at + SHELF) if isinstance(until, int) else 0
        vouched = genuine(self._keys.get(event.by, ""), event.message(), event.signature)
        refused = "" if vouched or (self._simulated and event.by not in self._keys) else "signature-invalid"
        wordless = what in ("shelve", "note") and not text.strip()
        over = what == "shelve" and until <= decision.at
        if what not in ACTS or not number.isdecimal() or key not in self.by_key or wordless or over:
            refused = "act-malformed"
        act = Act(decision.tick, decision.at, event.by, what, text, until if what == "shelve" else 0, vouched, refused)
        if key in self.by_key:
            self.acts.setdefault(key, []).append(act)
            self._of.setdefault(key, []).append((int(number) if number.isdecimal() else -1, act))

    def shelf(self, key: str) -> Act | None:
        """Return the act by which an alarm is shelved now, or None."""
        found = [act for act in self.acts.get(key, ()) if act.act in ("shelve", "unshelve") and not act.refused]
        last = found[-1] if found else None
        return last if last is not None and last.act == "shelve" and last.until > self.at else None

    def row(self, alarm: Alarm) -> Row:
        """Return how an episode stands. Who acknowledges one acknowledges those of the same alarm before it, too."""
        acts = self._of.get(alarm.key, [])
        acknowledged = next(
            (act for tick, act in acts if act.act == "acknowledge" and not act.refused and tick >= alarm.tick), None
        )
        shelved, active = self.shelf(alarm.key), not alarm.until
        word = "active" if active else "returned"
        state = f"{word}-acknowledged" if acknowledged else f"{word}-unacknowledged"
        if shelved:
            state = "shelved"
        elif not active and (acknowledged or alarm.silent):
            state = "closed"
        seconds = ((alarm.until or self.at) - alarm.at) / SECOND
        mine = tuple(act for tick, act in acts if tick == alarm.tick or act.act in ("shelve", "unshelve"))
        standing = active and self.at - alarm.at > STANDING
        return Row(alarm, state, seconds, len(self.by_key[alarm.key]), acknowledged, shelved, mine, standing)

    def rows(self, *, every: bool = False) -> list[Row]:
        """Return the newest episode of each alarm (`every`: each episode), the newest first."""
        chosen = self.episodes if every else [episodes[-1] for episodes in self.by_key.values()]
        return [self.row(alarm) for alarm in sorted(chosen, key=lambda alarm: (-alarm.at, alarm.key))]

    def find(self, name: str) -> Alarm | None:
        """Return the episode of an id, or None."""
        key, _, number = name.rpartition("@")
        return next((alarm for alarm in self.by_key.get(key, ()) if str(alarm.tick) == number), None)

    def floods(self) -> list[Spell]:
        """Return the alarm floods, in order of time."""
        return floods([alarm.at for alarm in self.episodes if not alarm.silent], self.at)


_FALLS = ("demotion", "override")


def odd_writes(decision: Decision, outcome: Outcome | None) -> list[tuple[str, str]]:
    """Return the tags that were written and did not take it as sent, with the receipt's state; without a receipt it is unknown."""
    states = {receipt.tag: str(receipt.state) for receipt in outcome.receipts} if outcome else {}
    written = [decision.verdicts[i].proposal.tag for i in decision.writes]
    found = {**dict.fromkeys(written, "unknown"), **states}
    return [(tag, state) for tag, state in found.items() if state not in ("settled", "pending")]


def floods(onsets: Sequence[int], now: int) -> list[Spell]:
    """Return the floods among times (ns, in order): begun by more than 10 within 10 min, over when fewer than 5 are."""
    found, window, begun, count = list[Spell](), list[int](), 0, 0
    for at, step in sorted([(at, 1) for at in onsets] + [(at + WINDOW, 0) for at in onsets]):
        if at > now:
            break
        window = [*window, at] if step else window[1:]
        count += step if begun else 0
        if not begun and len(window) > FLOOD:
            begun, count = at, len(window)
        elif begun and len(window) < CALM:
            found.append(Spell(begun, at, count))
            begun = 0
    return [*found, Spell(begun, 0, count)] if begun else found


def _priority(level: Level) -> str:
    """Return the priority of what touches a policy on a level: it writes, it speaks, or it does neither."""
    return "high" if level >= Level.CONFIRM else "medium" if level >= Level.SHADOW else "low"


def _conditions(manifest: Manifest, table: TagTable) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Yield the guard's conditions that the journal keeps, with the tags that they name."""
    for i, text in enumerate(manifest.guard.require):
        name = f"guard.require.{i}"
        if name in table.index:
            try:
                yield name, tuple(Expr(text, table).tags)
            except ExprError:  # it names tags that the journal does not keep
                yield name, ()


def body_of(alarm: str, act: str, text: str, until: int = 0) -> Mapping[str, Any]:
    """Return the body of the event by which a person acts on an alarm."""
    return {"alarm": alarm, "act": act, "text": text} | ({"until": until} if until else {})
