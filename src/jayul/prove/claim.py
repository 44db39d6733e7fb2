"""The claim: all that was concluded, with all that it takes to recompute it; and its sealed form, for an office.

A claim stands beside its rows (`rows.parquet`: time and the tags that the plan needs) and its price pack. Every figure in it comes
from those, the plan and this code; what people and machines attest (project, effort, lesson) is covered by the signatures alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from jayul.prove.effect import Conclusion, Effect, Interval, Row, blocks_of, judge
from jayul.prove.plan import Plan
from jayul.prove.watch import Watched, watch
from jayul.record.journal import Head

FORMAT: Literal[1] = 1
RUN = "run"  # who signs with the run's key
HOURS = 8784.0  # most that a year has
Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # UTC ns
JUDGED = ("proven", "not proven", "worse")  # conclusions whose benefit may be counted in money


class Kpi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number that the claim is about; the formula is in the manifest's language."""

    name: str
    unit: str
    formula: str


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The benefit in `currency` a year of `hours_per_year`: value and interval. Unknown is null, and `why` says why.

    `factor`: money an hour for one unit of the KPI; `pack`: id of the price pack it is from (empty: the KPI is money an hour).
    """

    per_year: Interval | None = None
    currency: str = ""
    factor: float | None = None
    hours_per_year: float | None = None
    pack: str = ""
    why: str = ""


class Digests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 of `rows.parquet`, of the plan, of the code that judges, and of the price pack (empty: there is none)."""

    data: str
    plan: str
    code: str
    price: str


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who (`run`, or a named person) signed, with which key (public half), when (UTC ns). All but `data` is hexadecimal."""

    by: str
    key: str
    at: int
    data: str


class Said(msgspec.Struct, frozen=True):
    """What every claim must say of its effect, so that it can be shown."""

    conclusion: Conclusion
    reasons: tuple[str, ...]
    benefit: Interval | None
    absolute: Interval | None
    pairs: int
    pairs_planned: int


class Figures(msgspec.Struct, frozen=True):
    """All that is recomputed. `effect` is an Effect as plain values: what is not a number is null. `coverage`: share of ticks
    in which a tag was good, by tag. `plant_hours`: from the first to the last row. `watched`: the pairs after the proof, if there
    were any and it was proven.
    """

    effect: dict[str, Any]
    coverage: dict[str, float]
    plant_hours: float
    ticks: int
    watched: Watched | None
    money: Money
    unmeasured: tuple[str, ...]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`claim.json`. `period` in ns; `end` is the time of the last row (UTC ns); `head` that of the journal that the rows are from;
    `people` are those who may sign, as in the manifest; `effort` is what the run cost its people (summary.json; null: unknown).
    """

    format: Literal[1]
    project: str
    plant: str
    policy: str
    policy_kind: str
    method: str
    jayul: str
    libraries: dict[str, str]
    seed: int
    signatures_simulated: bool
    kpi: Kpi
    period: int
    plan: Plan
    effect: dict[str, Any]
    coverage: dict[str, float]
    plant_hours: float
    ticks: int
    end: Time
    watched: Watched | None
    money: Money
    unmeasured: tuple[str, ...]
    effort: dict[str, Any] | None
    lesson: str
    digests: Digests
    head: Head
    key: str
    people: dict[str, str]
    signatures: tuple[Signature, ...] = ()


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`*.sealed.json`: the conclusion and its figures, attested; no rows and no tags. `claim` is the digest of the whole claim."""

    sealed: Literal[1]
    claim: str
    project: str
    plant: str
    policy: str
    policy_kind: str
    method: str
    jayul: str
    signatures_simulated: bool
    kpi: str
    unit: str
    conclusion: Conclusion
    confidence: float
    no_worse: float
    benefit: Interval | None
    absolute: Interval | None
    pairs: int
    pairs_planned: int
    plant_hours: float
    end: Time
    watched: Watched | None
    money: Money
    effort: dict[str, Any] | None
    lesson: str
    digests: Digests
    head: str
    key: str
    people: dict[str, str]
    signatures: tuple[Signature, ...] = ()


def digest(paper: Claim | Sealed) -> str:
    """Return the SHA-256 of a claim or its sealed form without the signatures: what they sign."""
    return hashlib.sha256(msgspec.json.encode(replace(paper, signatures=()), order="sorted")).hexdigest()


def message(paper: Claim | Sealed, by: str, at: int) -> bytes:
    """Return what the signature of a person (or `run`) at a time covers."""
    kind = "sealed" if isinstance(paper, Sealed) else "claim"
    return msgspec.msgpack.encode((f"jayul {kind} 1", digest(paper), by, at))


def as_bytes(paper: Claim | Sealed) -> bytes:
    """Return the file: JSON that a person can read, written in one way only."""
    return msgspec.json.format(msgspec.json.encode(paper), indent=1) + b"\n"


def figures(plan: Plan, rows: Sequence[Row], period: int, money: Money) -> Figures:
    """Compute every figure. `period` in ns; `money`: all of it that does not depend on the effect."""
    effect = judge(plan, blocks_of(plan, rows, period))
    names = sorted(rows[0].values) if rows else []
    coverage = {name: sum(row.values[name] == row.values[name] for row in rows) / len(rows) for name in names}
    hours = (rows[-1].at - rows[0].at) / 3.6e12 if rows else 0.0
    priced, since = priced_at(money, effect), None
    if plan.watch_arms and effect.conclusion == "proven":
        proven = effect.absolute[0] if effect.absolute else 0.0
        since = watch(plan, rows, period, proven, round(effect.wash_out * 3.6e12))
    return Figures(plain(effect), coverage, hours, len(rows), since, priced, tuple(unmeasured(plan, hours, priced)))


def priced_at(money: Money, effect: Effect) -> Money:
    """Return the money of a year of this effect; unknown if nothing was judged, or if no price leads to it."""
    if money.factor is None or money.hours_per_year is None:
        return money
    if effect.conclusion not in JUDGED or effect.absolute is None:
        return replace(money, why="no benefit could be judged")
    scale = money.factor * money.hours_per_year
    value, low, high = effect.absolute
    return replace(
        money, per_year=(value * scale, None if low is None else low * scale, None if high is None else high * scale)
    )


def unmeasured(plan: Plan, hours: float, money: Money) -> Iterator[str]:
    """Yield what this claim says nothing about."""
    yield f"seasons, products and operating states other than those of these {hours:.0f} hours"
    if not plan.watch_arms:
        yield "what comes after the last block: whether the benefit lasts"
    yield "whatever the KPI does not count: wear, maintenance, emissions, people's work"
    if not any(held.ratio is not None for held in plan.held):
        yield "production: no tag of it was held"
    if not any(held.within is not None for held in plan.held):
        yield "quality: no tag of it was held"
    if not plan.limits:
        yield "operating limits: none was watched"
    if not plan.drivers:
        yield "disturbances that follow the arms: no driver was compared"
    if money.per_year is None:
        yield f"money: {money.why}"


def sealed(claim: Claim) -> Sealed:
    """Return the sealed form of a claim, unsigned: no rows, no tags, no reasons (they name tags)."""
    effect = claim.effect
    return Sealed(
        sealed=1, claim=digest(claim), project=claim.project, plant=claim.plant, policy=claim.policy,
        policy_kind=claim.policy_kind, method=claim.method, jayul=claim.jayul, signatures_simulated=claim.signatures_simulated,
        kpi=claim.kpi.name, unit=claim.kpi.unit, conclusion=effect["conclusion"], confidence=claim.plan.confidence,
        no_worse=claim.plan.no_worse, watched=claim.watched,
        benefit=effect["benefit"], absolute=effect["absolute"], pairs=effect["pairs"], pairs_planned=effect["pairs_planned"],
        plant_hours=claim.plant_hours, end=claim.end, money=claim.money, effort=claim.effort, lesson=claim.lesson,
        digests=claim.digests, head=str(claim.head), key=claim.key, people=claim.people,
    )  # fmt: skip


def plain(value: Any) -> Any:
    """Return a struct as the plain values that its JSON holds."""
    return msgspec.json.decode(msgspec.json.encode(value))


def differs(claimed: Any, found: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Return the first place where two trees of plain values are not the same bit for bit: path, claimed, found."""
    if isinstance(claimed, dict) and isinstance(found, dict):
        for key in sorted(claimed.keys() | found.keys()):
            if first := differs(claimed.get(key), found.get(key), f"{path}.{key}".lstrip(".")):
                return first
        return None if claimed.keys() == found.keys() else (path, sorted(claimed), sorted(found))
    if isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        pairs = enumerate(zip(claimed, found, strict=True))
        return next((first for i, (a, b) in pairs if (first := differs(a, b, f"{path}[{i}]"))), None)
    return None if msgspec.json.encode(claimed) == msgspec.json.encode(found) else (path, claimed, found)
