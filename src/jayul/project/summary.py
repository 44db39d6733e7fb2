"""What a run amounts to, counted tick by tick from what was recorded: asked, allowed, applied; levels; breaches."""

from __future__ import annotations

import copy
import math
from typing import Any

import msgspec
from msgspec.structs import replace

from jayul.core.types import SECOND, Decision, Frame, Level, Outcome, Tag, TagTable
from jayul.learn import Card
from jayul.learn.formula import CONDITION
from jayul.prove.claim import Money
from jayul.prove.watch import Watched

KPI = "kpi"  # the derived tag
EPISODES = 50  # that are kept of each alarm
HASTE = 2  # s
CLAMPS = ("range", "limit", "between", "halfspace")  # rules by which a limit holds a move back


class Asked(msgspec.Struct):
    """For one tag: how often a value was asked for, allowed as asked, narrowed, refused (by rule), sent, applied."""

    asked: int = 0
    allowed: int = 0
    narrowed: int = 0
    refused: int = 0
    sent: int = 0
    applied: int = 0
    rules: dict[str, int] = {}
    last_asked: float | None = None
    last_allowed: float | None = None
    last_applied: float | None = None


class Step(msgspec.Struct, frozen=True):
    """One step on the ladder."""

    tick: int
    hours: float
    policy: str
    before: str
    after: str
    reason: str
    by: str


class Episode(msgspec.Struct, frozen=True):
    """One alarm: when it began (UTC ns), for how many minutes it rang, the largest contributions at its first tick."""

    at: int
    minutes: float
    top: list[str]


class Finding(msgspec.Struct, frozen=True):
    """What one alarm found: how often it rang, for how long, in which share of ticks; the `EPISODES` longest, in order of time."""

    tag: str
    episodes: int
    minutes: float
    share: float
    longest: list[Episode]


class Effort(msgspec.Struct):
    """What the run cost its people: acts by kind, overrides, minutes in which a limit held a move back (`clamped`), alarms that
    Jayul rang, and approvals given less than `HASTE` seconds after the plan was laid (null where signatures are simulated).
    """

    acts: dict[str, int] = {}
    overrides: int = 0
    clamped_minutes: float = 0.0
    alarms: int = 0
    hasty_approvals: int | None = None


class Arms(msgspec.Struct, frozen=True):
    """One figure in both arms; null where nothing of an arm counts."""

    on: float | None
    off: float | None


class Proof(msgspec.Struct, frozen=True):
    """How the conclusion came about: reasons, benefit in the KPI's unit with its interval, exact test, blocks left out, plan.

    `e_value`: largest so far for a benefit; `more_hours`: plant hours until an effect like this one would be shown.
    """

    conclusion: str
    reasons: tuple[str, ...]
    absolute: tuple[float, float | None, float | None] | None
    p_exact: float | None
    left_out: dict[str, int]
    plan: str
    e_value: float | None = None
    more_hours: float | None = None


class Fault(msgspec.Struct, frozen=True):
    """A disturbance of a simulated plant, which is known, and how it was found. `found_after_min` is null if it was not."""

    tag: str
    found_after_min: float | None
    top: list[str]


class Kept(msgspec.Struct, frozen=True):
    """What became of the samples: `expected` ones of tags with a rate, `missing` of them by owner, `coverage` of the tag that has
    least (null: nothing was expected), hours that fell short, `unexplained` (0, or the ledger is wrong), trouble with the disk.
    """

    received: int
    stored: int
    duplicate: int
    expected: int
    missing: dict[str, int]
    coverage: float | None
    shortfalls: int
    unexplained: int
    trouble: str = ""


class Summary(msgspec.Struct, frozen=True):
    """`summary.json`. Unknown is null: nothing here is estimated.

    `production`, `quality` and `kpi` are means over the blocks that count, `limit_minutes` over all blocks after commissioning;
    `benefit` has value, unit (percent of off), low, high, confidence, design, conclusion.
    """

    project: str
    plant: str
    seed: int
    complete: bool
    ticks: int
    plant_hours: float
    wall_seconds: float
    coverage: float | None
    levels: list[Step]
    level_now: dict[str, str]
    missing: dict[str, dict[str, tuple[float, float]]]
    verdicts: dict[str, int]
    tags: dict[str, Asked]
    breaches: int
    events_refused: dict[str, int]
    kpi: dict[str, Any] | None
    production: Arms | None
    quality: Arms | None
    limit_minutes: Arms | None
    blocks: Arms | None
    benefit: dict[str, Any] | None
    proof: Proof | None
    fault: Fault | None
    findings: list[Finding]
    effort: Effort
    models: dict[str, Card]
    signatures_simulated: bool
    recorded: bool  # a recording: it cannot be written to
    timezone: str  # of the plant; times themselves are UTC
    head: str
    signed_head: str
    asks: list[str]
    money: Money | None = None  # what the benefit is worth in a year
    link: dict[str, Any] | None = None  # how the link of a plant on a wire fared, and its gateway's newest chain head
    watched: Watched | None = None  # how the benefit stands in the pairs after the proof
    kept: Kept | None = None  # what the ledger counted; null: no history was kept


def rings(tag: Tag) -> bool:
    """Say whether a derived tag is an alarm: by its name, or a condition that is not the guard's own."""
    return tag.name.endswith(".alarm") or (tag.states == CONDITION and not tag.name.startswith("guard."))


def tops(table: TagTable, name: str) -> list[Tag]:
    """Return the tags that name the largest contributions to an alarm, if its model does."""
    names = [f"{name.rsplit('.', 1)[0]}.top{i}" for i in (1, 2, 3)]
    return [table[top] for top in names if top in table.index]


class _Alarm:
    """Watches one alarm tag: `<model>.alarm`, with `<model>.top1` to `.top3` where the model names contributions."""

    def __init__(self, table: TagTable, name: str) -> None:
        self.name = name
        self._tops = tops(table, name)
        self.count, self.ticks, self._ns, self._began, self._top = 0, 0, 0, 0, list[str]()
        self._longest: list[Episode] = []

    def copy(self) -> _Alarm:
        """Return another that goes its own way from here."""
        made = copy.copy(self)
        made._longest = list(self._longest)
        return made

    def add(self, frame: Frame) -> None:
        """Take one tick."""
        rings = frame[self.name] == 1.0
        self.ticks += bool(rings)
        if rings and not self._began:
            self._began = frame.at
            found = [(tag.states, frame[tag.name]) for tag in self._tops]
            self._top = [states[int(code)] for states, code in found if not math.isnan(code) and int(code) in states]
        elif self._began and not rings:
            self.close(frame.at)

    def close(self, at: int) -> None:
        """End the episode that is open, if any."""
        if not self._began:
            return
        self.count, self._ns = self.count + 1, self._ns + at - self._began
        self._longest.append(Episode(self._began, (at - self._began) / (60 * SECOND), self._top))
        if len(self._longest) > EPISODES:
            self._longest.remove(min(self._longest, key=lambda episode: (episode.minutes, -episode.at)))
        self._began = 0

    def finding(self, ticks: int) -> Finding:
        """Return what it found."""
        return Finding(self.name, self.count, self._ns / (60 * SECOND), self.ticks / max(ticks, 1), self._longest)


class Tally:
    """Watches finished ticks. `kept` are tags and limits; breaches are applied values outside them, counted independently of
    the guard: outside the range, or a step from the value before that is larger than the tag allows.
    """

    def __init__(self, table: TagTable, policies: tuple[str, ...], needs: tuple[str, ...], period: int) -> None:
        self._period_min = period / (60 * SECOND)
        self._table, self._policies, self._needs = table, policies, needs
        self.ticks, self.breaches, self._fresh = 0, 0, 0
        self.first_at, self.last_at = 0, 0
        self.tags: dict[str, Asked] = {}
        self.steps: list[Step] = []
        self.levels: tuple[Level, ...] = (Level.RECORD,) * len(policies)
        self.events_refused: dict[str, int] = {}
        self.last: Decision | None = None
        names = [tag.name for tag in table.tags if tag.kind == "derived" and rings(tag)]
        self._alarms = [_Alarm(table, name) for name in names]
        self.effort, self._laid = Effort({}), dict[str, int]()
        self._has_kpi, self._kpi_sum, self._kpi_ticks = KPI in table.index, 0.0, 0

    def copy(self) -> Tally:
        """Return another that goes its own way from here."""
        made = copy.copy(self)
        made.tags = {name: replace(row, rules=dict(row.rules)) for name, row in self.tags.items()}
        made.steps, made.events_refused, made._laid = list(self.steps), dict(self.events_refused), dict(self._laid)
        made._alarms = [alarm.copy() for alarm in self._alarms]
        made.effort = replace(self.effort, acts=dict(self.effort.acts))
        return made

    def add(self, frame: Frame, decision: Decision, outcome: Outcome) -> None:
        """Take one finished tick."""
        if not self.ticks:
            self.first_at = decision.at
        self.ticks, self.last_at, self.last = decision.tick + 1, decision.at, decision
        self._fresh += all(map(frame.fresh, self._needs))
        for change in decision.changes:
            hours = (decision.at - self.first_at) / (3600 * SECOND)
            names = change.before.name.lower(), change.after.name.lower()
            self.steps.append(Step(decision.tick, hours, change.policy, *names, change.reason, change.by))
        self.levels = decision.levels
        for heard in decision.events:
            if heard.refused:
                self.events_refused[heard.refused] = self.events_refused.get(heard.refused, 0) + 1
        self._burden(decision)
        for alarm in self._alarms:
            alarm.add(frame)
        if self._has_kpi and not math.isnan(value := frame[KPI]):
            self._kpi_sum, self._kpi_ticks = self._kpi_sum + value, self._kpi_ticks + 1
        if decision.verdicts:
            self._count(frame, decision, outcome)

    def _burden(self, decision: Decision) -> None:
        """Count what the tick asked of people."""
        effort = self.effort
        self._laid |= {plan.id: decision.at for plan in decision.plans}
        for heard in decision.events:
            event = heard.event
            if event.id.startswith("mon-"):
                continue
            effort.acts[event.kind] = effort.acts.get(event.kind, 0) + 1
            if (
                event.kind == "approval"
                and event.signature
                and (laid := self._laid.get(str(event.body.get("plan")))) is not None
            ):
                effort.hasty_approvals = (effort.hasty_approvals or 0) + (0 <= event.at - laid < HASTE * SECOND)
        effort.overrides += sum(change.reason == "override" for change in decision.changes)
        effort.clamped_minutes += self._period_min * any(verdict.rule in CLAMPS for verdict in decision.verdicts)

    def _count(self, frame: Frame, decision: Decision, outcome: Outcome) -> None:
        for i, verdict in enumerate(decision.verdicts):
            row = self.tags.setdefault(verdict.proposal.tag, Asked(rules={}))
            row.asked += 1
            row.last_asked, row.last_allowed, row.last_applied = verdict.proposal.value, verdict.allowed, None
            if verdict.allowed is None:
                row.refused += 1
            elif verdict.rule:
                row.narrowed += 1
            else:
                row.allowed += 1
            if verdict.rule:
                row.rules[verdict.rule] = row.rules.get(verdict.rule, 0) + 1
            row.sent += i in decision.writes
        for receipt in outcome.receipts:
            if receipt.tag in self.tags and receipt.applied is not None and receipt.state in ("settled", "pending"):
                row = self.tags[receipt.tag]
                row.applied, row.last_applied = row.applied + 1, receipt.applied
                self.breaches += self._breach(frame, receipt.tag, receipt.applied)

    def _breach(self, frame: Frame, name: str, applied: float) -> bool:
        tag, before = self._table.get(name), frame[name]
        if tag is None or tag.low is None or tag.high is None or tag.max_step is None:
            return True
        return not (tag.low <= applied <= tag.high and abs(applied - before) <= tag.max_step * (1 + 1e-9))

    def findings(self) -> list[Finding]:
        """Return what each alarm found; call it once, after the last tick."""
        for alarm in self._alarms:
            alarm.close(self.last_at)
        found = [alarm.finding(self.ticks) for alarm in self._alarms]
        self.effort.alarms = sum(finding.episodes for finding in found)
        return found

    def kpi_coverage(self) -> float | None:
        """Return the share of ticks at which the KPI was known."""
        return self._kpi_ticks / self.ticks if self.ticks else None

    def kpi_mean(self, least: float = 0.0) -> float | None:
        """Return the mean of the KPI over the ticks at which it was known; None below the least coverage."""
        return self._kpi_sum / self._kpi_ticks if self._kpi_ticks and self._kpi_ticks >= least * self.ticks else None

    def verdicts(self) -> dict[str, int]:
        """Return allowed, narrowed, refused over all tags."""
        rows = self.tags.values()
        return {
            "allowed": sum(r.allowed for r in rows),
            "narrowed": sum(r.narrowed for r in rows),
            "refused": sum(r.refused for r in rows),
        }

    def coverage(self) -> float | None:
        """Return the share of ticks in which every input of every policy was fresh, or None if there was nothing to cover."""
        return self._fresh / self.ticks if self.ticks and self._needs else None

    @property
    def plant_hours(self) -> float:
        return (self.last_at - self.first_at) / (3600 * SECOND) if self.ticks else 0.0

    def level_now(self) -> dict[str, str]:
        """Return the level of each policy at the last tick."""
        return {name: level.name.lower() for name, level in zip(self._policies, self.levels, strict=True)}
