"""Properties of any set of rules in any order over random frames and batches; what each rule means is computed here anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jayul.core.guard import FALLBACK, Context, Rule, Writer, judge
from jayul.core.types import BAD, SECOND, Event, Frame, Proposal, Tag, TagTable, Verdict
from jayul.rules import Setting
from jayul.rules.age import AgeConfig, age
from jayul.rules.basic import BASIC, PORTABLE
from jayul.rules.between import BetweenConfig, between
from jayul.rules.dwell import DwellConfig, dwell
from jayul.rules.halfspace import HalfspaceConfig, halfspace
from jayul.rules.hours import HoursConfig, hours
from jayul.rules.mode import ModeConfig, mode
from jayul.rules.moves import MovesConfig, moves
from jayul.rules.orders import orders
from jayul.rules.rate import RateConfig, rate
from jayul.rules.seen import BoxConfig, seen
from jayul.rules.travel import TravelConfig, travel

PROFILE = settings(derandomize=True, max_examples=200, deadline=None, database=None)
NINE = 1_767_258_000 * SECOND  # Thursday 2026-01-01, 09:00 UTC
HOUR = 3600 * SECOND
NAMES = ("T0", "T1", "T2", "T3")
WRITERS = ("a", "b", FALLBACK)
WINDOWED = ("rate", "travel", "moves", "dwell", "seen")
FIGURES = ("count", "travel", "low", "high")
TABLE = TagTable(
    [
        *(Tag(name=name, unit="degC", low=-200.0, high=200.0, max_step=100.0, writable=True) for name in NAMES),
        *(Tag(name=name, unit="degC") for name in ("LOW", "HIGH")),
        Tag(name="MODE", kind="mode", states={0: "MAN", 1: "AUTO"}),
        Tag(name="LAB", stale_after=86400.0),
        *(Tag(name=f"{kind}.{name}.{what}") for kind in WINDOWED for name in NAMES for what in FIGURES),
    ]
)
MAKERS: dict[str, Any] = {
    "rate": rate, "travel": travel, "moves": moves, "dwell": dwell, "mode": mode, "between": between, "hours": hours, "age": age,
    "seen": seen, "halfspace": halfspace,
}  # fmt: skip

tenths = st.integers(-900, 900).map(lambda n: n / 10)
small = st.integers(1, 300).map(lambda n: n / 10)
some = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)
seldom = st.integers(0, 11).map(lambda n: n == 0)
CONFIGS: dict[str, st.SearchStrategy[Any]] = {
    "rate": st.builds(RateConfig, tags=some, window=st.just("1 h"), most=small),
    "travel": st.builds(TravelConfig, tags=some, window=st.just("1 h"), most=small),
    "moves": st.builds(MovesConfig, tags=some, window=st.just("1 h"), most=st.integers(1, 3)),
    "dwell": st.builds(DwellConfig, tags=some, window=st.just("1 h")),
    "mode": st.builds(ModeConfig, tags=some, mode=st.just("MODE"), takes=st.just(("AUTO",))),
    "between": st.builds(BetweenConfig, tags=some, low=st.just("LOW"), high=st.sampled_from(["HIGH", ""])),
    "hours": st.builds(HoursConfig, tags=some, timezone=st.just("UTC"), begin=st.just("08:00"), end=st.just("16:00")),
    "age": st.builds(AgeConfig, tags=some, of=st.just(("LAB",)), most=st.just("8 h")),
    "seen": st.builds(
        BoxConfig,
        tags=some,
        watch=st.sampled_from([(), ("T0",), ("T3",)]),
        state=st.sampled_from(["", "MODE"]),
        margin=st.sampled_from([0.0, 0.5]),
    ),
    "halfspace": st.builds(
        HalfspaceConfig,
        st.dictionaries(st.sampled_from(NAMES), tenths.filter(bool), min_size=1),
        st.integers(-9000, 30000).map(float),
    ),
}
HISTORY = st.tuples(small, small, st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]))
Set = list[tuple[str, Any]]


@st.composite
def rule_sets(draw: st.DrawFn) -> Set:
    kinds = draw(st.lists(st.sampled_from([*MAKERS, "orders"]), min_size=1, max_size=5, unique=True))
    return [(kind, draw(CONFIGS[kind]) if kind in CONFIGS else None) for kind in kinds]


def rules_of(kinds: Set) -> list[Rule]:
    made = [orders if kind == "orders" else MAKERS[kind](config, Setting(kind, TABLE)) for kind, config in kinds]
    return [*BASIC, *made]


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    values = {name: draw(tenths) for name in NAMES}
    values |= {"LOW": -draw(small) * 3, "HIGH": draw(small) * 3, "MODE": float(not draw(seldom)), "LAB": 1.0}
    for name in NAMES:
        below, above, moved = draw(HISTORY)
        past = {
            "low": values[name] - below / 10,
            "high": values[name] + above / 10,
            "count": moved,
            "travel": moved * below / 10,
        }
        values |= {f"{kind}.{name}.{what}": value for kind in WINDOWED for what, value in past.items()}
    at = NINE + (12 * HOUR if draw(seldom) else 0)
    n = len(TABLE.tags)
    value, status = np.array([values[name] for name in TABLE.names]), np.zeros(n, dtype=np.uint32)
    source, seen = np.full(n, at, dtype=np.int64), np.full(n, at, dtype=np.int64)
    source[TABLE.index["LAB"]] -= 9 * HOUR if draw(seldom) else 7 * HOUR
    if draw(seldom):
        i = draw(st.integers(0, n - 1))
        how = draw(st.sampled_from(["bad", "nan", "old"]))
        status[i] = BAD if how == "bad" else 0
        value[i] = math.nan if how == "nan" else value[i]
        source[i] -= 48 * HOUR if how == "old" else 0
    return Frame(at, TABLE, value, source, seen, status)


@st.composite
def situations(draw: st.DrawFn, *, single: bool = False) -> tuple[Context, list[Proposal]]:
    frame, given = draw(frames()), {}
    for person in ("Kim", "Lee"):
        if draw(seldom):
            limits = st.builds(lambda low, high: {"low": -low, "high": high * 3}, small, small)
            body = draw(st.one_of(limits, limits, st.just({"lock": True}), st.just({"clear": True})))
            tag = draw(st.sampled_from(NAMES))
            given[tag, person] = Event("limit", person, 0, {"tag": tag, **body}, person)
    context = Context(frame, {by: Writer(NAMES, may_write=True) for by in WRITERS}, {}, 30 * SECOND, orders=given)
    one, asked = draw(st.sampled_from(WRITERS)), []
    for tag in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        away = draw(st.sampled_from([0.0, 0.001, 0.1, 0.5, 1.0])) * draw(tenths)
        asked.append(Proposal(tag, frame[tag] + away, "test", one if single else draw(st.sampled_from(WRITERS))))
    return context, asked


def is_fresh(frame: Frame, name: str) -> bool:
    i = frame.table.names.index(name)
    old = frame.at - int(frame.source_at[i]) > frame.table.tags[i].stale_after * SECOND
    return not old and frame.status[i] == 0 and math.isfinite(frame.value[i])


def room(*values: float) -> float:
    """Return the rounding of the last place."""
    return 4 * math.ulp(max(map(abs, values)))


def breaks(kind: str, config: Any, context: Context, verdict: Verdict) -> str:
    """Say, independently of the rules, what is wrong with a value that was let out; half-spaces are held against all at once."""
    frame, tag, by, value = context.frame, verdict.proposal.tag, verdict.proposal.by, verdict.allowed
    assert value is not None
    if kind == "orders":
        return broken_order(context, tag, value)
    spared = by == FALLBACK and kind in ("travel", "moves", "dwell", "hours", "seen")
    if kind == "halfspace" or spared or tag not in config.tags:
        return ""
    now = frame[tag]
    if kind == "seen":
        return outside_the_box(config, frame, tag, value)
    if kind in WINDOWED:
        needed = {"rate": ("low", "high"), "travel": ("travel",), "moves": ("count",), "dwell": ("count",)}[kind]
        if value == now and kind in ("moves", "dwell"):
            return ""
        if not all(is_fresh(frame, f"{kind}.{tag}.{what}") for what in needed):
            return "unknown history"
        figure = {what: frame[f"{kind}.{tag}.{what}"] for what in FIGURES}
        if kind == "rate":
            wide = max(figure["high"] - value, value - figure["low"])
            return "spread" if wide > config.most + room(figure["high"], figure["low"], config.most) else ""
        if kind == "travel":
            far = abs(value - now)
            return "travel" if far > max(0.0, config.most - figure["travel"]) + room(value, now, config.most) else ""
        return kind if figure["count"] >= (config.most if kind == "moves" else 1) else ""
    if kind == "mode":
        return "" if is_fresh(frame, "MODE") and frame["MODE"] == 1.0 else "mode"
    if kind == "between":
        limits = [name for name in (config.low, config.high) if name]
        low, high = frame["LOW"], frame["HIGH"] if config.high else math.inf
        return "" if all(is_fresh(frame, name) for name in limits) and low <= value <= high else "between"
    if kind == "age":
        late = frame.at - int(frame.source_at[TABLE.index["LAB"]])
        return "" if is_fresh(frame, "LAB") and late <= 8 * HOUR else "age"
    return "" if 8 <= frame.at // HOUR % 24 < 16 else "hours"


def outside_the_box(config: BoxConfig, frame: Frame, tag: str, value: float) -> str:
    for name in (tag, *config.watch):
        figures = [f"seen.{name}.{what}" for what in ("low", "high")]
        if not all(is_fresh(frame, figure) for figure in figures):
            return "box unknown"
        low, high = (frame[figure] for figure in figures)
        at, more = value if name == tag else frame[name], config.margin * (high - low)
        if not (low - more <= at <= high + more and is_fresh(frame, name)):
            return "outside the box"
    return "state" if config.state and not is_fresh(frame, config.state) else ""


def broken_order(context: Context, tag: str, value: float) -> str:
    for (about, _), event in context.orders.items():
        body = event.body
        if about == tag and (body.get("lock") or not body.get("low", -math.inf) <= value <= body.get("high", math.inf)):
            return "order"
    return ""


def crosses(config: HalfspaceConfig, context: Context, verdicts: tuple[Verdict, ...]) -> bool:
    """Say whether what was let out, all together, crosses the half-space, or goes further out."""
    frame, sent = context.frame, {v.proposal.tag: v.allowed for v in verdicts if v.allowed is not None}
    if not sent.keys() & config.weights.keys():
        return False
    if not all(is_fresh(frame, name) for name in config.weights):
        return True
    before = math.fsum(weight * frame[name] for name, weight in config.weights.items())
    after = math.fsum(weight * sent.get(name, frame[name]) for name, weight in config.weights.items())
    return after > max(before, config.most) + room(config.most, *(w * frame[name] for name, w in config.weights.items()))


def wrong(kinds: Set, context: Context, verdicts: tuple[Verdict, ...]) -> list[str]:
    let = [v for v in verdicts if v.allowed is not None]
    found = [what for kind, config in kinds for v in let if (what := breaks(kind, config, context, v))]
    found += ["half-space" for kind, config in kinds if kind == "halfspace" and crosses(config, context, verdicts)]
    return found + ["range" for v in let if not is_fresh(context.frame, v.proposal.tag) or not -200.0 <= v.allowed <= 200.0]


@settings(PROFILE, max_examples=400)
@given(rule_sets(), situations())
def test_no_allowed_value_breaks_a_rule_of_the_set(kinds: Set, situation: tuple[Context, list[Proposal]]) -> None:
    context, asked = situation
    assert wrong(kinds, context, judge(context, asked, rules_of(kinds))) == []


@PROFILE
@given(rule_sets(), situations(), st.randoms(use_true_random=False))
def test_the_order_of_the_rules_changes_no_allowed_value(
    kinds: Set, situation: tuple[Context, list[Proposal]], chance: Any
) -> None:
    context, asked = situation
    rules = rules_of(kinds)
    turned = rules[:]
    chance.shuffle(turned)
    first, second = judge(context, asked, rules), judge(context, asked, turned)
    assert [v.allowed for v in first] == [v.allowed for v in second]
    assert wrong(kinds, context, second) == []


@settings(PROFILE, max_examples=400)
@given(rule_sets(), situations())
def test_a_portable_rule_says_the_same_where_nothing_is_derived(kinds: Set, situation: tuple[Context, list[Proposal]]) -> None:
    context, asked = situation
    plain = TagTable(tag for tag in TABLE.tags if "." not in tag.name)
    here, n = context.frame, len(plain.tags)
    there = Frame(
        here.at, plain, here.value[:n].copy(), here.source_at[:n].copy(), here.seen_at[:n].copy(), here.status[:n].copy()
    )
    bare = replace(context, frame=there)
    pairs = [(rule, rule) for rule in PORTABLE]
    for kind, config in kinds:
        if getattr(config, "portable", False):
            pairs.append((MAKERS[kind](config, Setting(kind, TABLE)), MAKERS[kind](config, Setting(kind, plain))))
    for proposal in asked:
        for batch in ({}, {p.tag: p.value for p in asked}):
            first, second = replace(context, batch=batch), replace(bare, batch=batch)
            assert [one(first, proposal) for one, _ in pairs] == [other(second, proposal) for _, other in pairs]


@PROFILE
@given(rule_sets(), situations())
def test_an_allowed_value_lies_between_the_current_and_the_asked_one(
    kinds: Set, situation: tuple[Context, list[Proposal]]
) -> None:
    context, asked = situation
    for verdict in judge(context, asked, rules_of(kinds)):
        low, high = sorted((context.frame[verdict.proposal.tag], verdict.proposal.value))
        assert verdict.allowed is None or low <= verdict.allowed <= high


@PROFILE
@given(rule_sets(), situations(single=True))
def test_judging_again_what_was_allowed_of_one_batch_changes_nothing(
    kinds: Set, situation: tuple[Context, list[Proposal]]
) -> None:
    context, asked = situation
    rules = rules_of(kinds)
    let = [replace(v.proposal, value=v.allowed) for v in judge(context, asked, rules) if v.allowed is not None]
    assert [(v.allowed, v.rule) for v in judge(context, let, rules)] == [(p.value, "") for p in let]


@PROFILE
@given(rule_sets(), situations(single=True), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_not_finite_refuses_its_batch(kinds: Set, situation: tuple[Context, list[Proposal]], value: float) -> None:
    context, asked = situation
    asked[0] = replace(asked[0], value=value)
    assert [v.allowed for v in judge(context, asked, rules_of(kinds))] == [None] * len(asked)


@PROFILE
@given(rule_sets(), rule_sets(), situations(single=True))
def test_a_further_rule_never_lets_a_single_tag_go_further(
    kinds: Set, more: Set, situation: tuple[Context, list[Proposal]]
) -> None:
    context, asked = situation
    fewer, further = rules_of(kinds), [*rules_of(kinds), *rules_of(more)]
    now = context.frame[asked[0].tag]
    before, after = (judge(context, asked[:1], rules)[0].allowed for rules in (fewer, further))
    assert after is None or (before is not None and abs(after - now) <= abs(before - now))


def test_the_situations_are_worth_something() -> None:
    count = {"as asked": 0, "narrowed": 0, "refused": 0}

    @PROFILE
    @given(rule_sets(), situations())
    def look(kinds: Set, situation: tuple[Context, list[Proposal]]) -> None:
        context, asked = situation
        for v in judge(context, asked, rules_of(kinds)):
            count["refused" if v.allowed is None else "narrowed" if v.rule else "as asked"] += 1

    look()
    assert min(count.values()) > 20, count
