"""Conformance checks for plants, models, policies and rules: ours and those of extension authors.

Each check takes a way to make the thing and raises AssertionError with one line that says what is wrong. Nothing at run time
imports this module.

    from jayul.testing import check_rule
    def test_my_rule(): check_rule(my_rule)
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul.core.clock import Sim, monotonic
from jayul.core.guard import Applied, Context, Rule, Writer
from jayul.core.loop import Model, Policy
from jayul.core.types import BAD, GOOD, SECOND, Frame, MovePlan, Plant, Proposal, Tag, TagTable, Verdict

START = 1_767_225_600 * SECOND  # 2026-01-01 UTC
DEMO_TAGS = TagTable(
    [
        Tag(name="SP", unit="degC", kind="set-point", low=40.0, high=70.0, max_step=2.0, writable=True),
        Tag(name="PV", unit="degC", low=0.0, high=100.0),
        Tag(name="TRIP", kind="manipulated", low=0.0, high=1.0, max_step=1.0, writable=True, safety=True),
        Tag(name="BARE", unit="degC", writable=True),
    ]
)


def make_frame(table: TagTable, values: dict[str, float], at: int = START, *, age: int = 0, status: int = GOOD) -> Frame:
    """Make a frame in which the named tags have these values and all others 0; `age` in ns."""
    value = np.array([values.get(name, 0.0) for name in table.names])
    stamps = np.full(len(value), at - age, dtype=np.int64)
    return Frame(
        at, table, value, stamps, np.full(len(value), at, dtype=np.int64), np.full(len(value), status, dtype=np.uint32)
    )


def check_plant(make: Callable[[Sim], Plant], *, period: int = 30 * SECOND, ticks: int = 20, seeded: bool = True) -> None:
    """Check a plant: frames on its own tag table, of the clock's time, the same seed the same bytes, writes all or none,
    a read after a write that shows it, and no task left behind. `make` gets a clock that starts anew.
    """

    async def drive(plant: Plant, clock: Sim) -> list[bytes]:
        digests, before = [], len(asyncio.all_tasks())
        for i in range(ticks):
            await clock.until(START + i * period)
            frame = await plant.read()
            assert frame.table.names == plant.tags.names, "a frame is not on the plant's tag table"
            assert frame.at == clock.now(), "a frame is not of the clock's time"
            digests.append(frame.digest())
        await _check_writes(plant, await plant.read())
        if close := getattr(plant, "close", None):
            await close()
        assert len(asyncio.all_tasks()) <= before, "a task is left behind"
        return digests

    def once() -> list[bytes]:
        clock = Sim(START, 7)
        return asyncio.run(drive(make(clock), clock))

    first = once()
    if seeded:
        assert once() == first, "the same seed does not give the same bytes"


async def _check_writes(plant: Plant, frame: Frame) -> None:
    assert list(await plant.write([])) == [], "an empty write has receipts"
    await _check_all_or_none(plant, frame)
    for tag in plant.tags.tags:
        if not tag.writable or tag.safety or tag.low is None or tag.high is None or not frame.fresh(tag.name):
            continue
        value = (frame[tag.name] + tag.low + tag.high) / 3
        proposal = Proposal(tag.name, value, "check", "check")
        receipts = await plant.write([Verdict(proposal, value, "")])
        assert [r.tag for r in receipts] == [tag.name], f"a write to {tag.name} has no receipt of its own"
        if receipts[0].state == "settled":
            assert receipts[0].applied == value, f"{tag.name} is settled at another value than the one sent"
            assert math.isclose((await plant.read())[tag.name], value, rel_tol=1e-6), f"{tag.name} reads back otherwise"


async def _check_all_or_none(plant: Plant, frame: Frame) -> None:
    good = next((t for t in plant.tags.tags if t.writable and not t.safety and t.low is not None and frame.fresh(t.name)), None)
    if good is None:
        return
    before = frame[good.name]
    value = before + (good.max_step or 1.0) / 2 if before < (good.high or before) else before - (good.max_step or 1.0) / 2
    wishes = [Proposal(good.name, value, "check", "check"), Proposal("no such tag", 1.0, "check", "check")]
    receipts = await plant.write([Verdict(wish, wish.value, "") for wish in wishes])
    assert all(r.state != "settled" for r in receipts), "part of a write was taken, part was not"
    assert (await plant.read())[good.name] == before, "a write that was refused changed the plant"


def check_model(make: Callable[[], Model], frames: Sequence[Frame]) -> None:
    """Check a model: the frame is left alone, the same input gives the same output, readings are for its own tags, a state
    survives copying, and a tag without data is tolerated.
    """
    model = make()
    state = model.learn(frames[: len(frames) // 2])
    own = {tag.name for tag in model.tags}
    assert len(own) == len(model.tags), "a derived tag stands twice"
    for frame in frames:
        before = frame.digest()
        again = copy.deepcopy(state)
        given = state
        state, readings = model.infer(given, frame)
        assert repr(given) == repr(again), "the state that it was given was changed"
        _, repeated = model.infer(again, frame)
        assert frame.digest() == before, "the frame was changed"
        assert _same(readings, repeated), "the same state and frame give different readings"
        assert {r.tag for r in readings} <= own, "a reading is for a tag that the model does not derive"
    for name in model.needs:
        holed = _without(frames[-1], name)
        try:
            _, readings = model.infer(state, holed)
        except Exception as error:
            raise AssertionError(f"without {name} it raises {error!r}") from error
        assert {r.tag for r in readings} <= own, f"without {name} a reading is for a foreign tag"


def check_policy(make: Callable[[], tuple[Policy, Any]], name: str, frames: Sequence[Frame], *, seconds: float = 10.0) -> None:
    """Check a policy: pure, in its own name, says why, proposes finite floats for known tags, tolerates a tag without data,
    and takes no longer than `seconds` for all frames.
    """
    policy, plan = make()
    state: Any = None
    begun = monotonic()
    for frame in frames:
        before = frame.digest()
        again = copy.deepcopy(state)
        given = state
        state, wishes = policy(given, frame, plan)
        assert repr(given) == repr(again), "the state that it was given was changed"
        _, repeated = policy(again, frame, plan)
        assert frame.digest() == before, "the frame was changed"
        assert _same(wishes, repeated), "the same state and frame give different wishes"
        for wish in wishes:
            assert wish.by == name, "a wish is not in the policy's own name"
            if isinstance(wish, MovePlan):
                assert wish.sealed().id == wish.id, "a move plan's id is not the digest of what is in it"
                assert wish.reason, "a move plan does not say why"
            else:
                assert wish.tag in frame.table.index, f"unknown tag {wish.tag}"
                assert wish.why, "a proposal does not say why"
                assert type(wish.value) is float, "a proposal is not a float"
                assert math.isfinite(wish.value), "a proposal is not finite"
    assert monotonic() - begun < seconds, "the policy takes too long"
    for tag in frames[-1].table.names:
        try:
            policy(state, _without(frames[-1], tag), plan)
        except Exception as error:
            raise AssertionError(f"without {tag} it raises {error!r}") from error


def check_rule(rule: Rule) -> None:
    """Check a guard rule: it narrows or refuses and never widens, it is idempotent, pure, and safe against NaN, infinity,
    stale and unknown input.
    """
    for now in (40.0, 50.0, 70.0, 75.0):
        for age in (0, 3600 * SECOND):
            for status in (GOOD, BAD):
                frame = make_frame(DEMO_TAGS, {"SP": now, "PV": 50.0}, age=age, status=status)
                plan = MovePlan("", "p", {"SP": 60.0}, {"SP": 3600.0}, "check", START, START + 3600 * SECOND).sealed()
                for writer in (Writer(), Writer(("SP",)), Writer(("SP", "TRIP", "BARE"), True, plan)):
                    for last in ({}, {"SP": Applied(now, START, "p")}):
                        context = Context(frame, {"p": writer}, last, 30 * SECOND)
                        for tag in ("SP", "TRIP", "BARE", "NONE"):
                            for value in (now, now + 0.1, now - 0.1, now + 50, now - 50, math.nan, math.inf, -math.inf):
                                _check_verdict(rule, context, Proposal(tag, value, "check", "p", ("PV",), plan=plan.id))


def _check_verdict(rule: Rule, context: Context, proposal: Proposal) -> None:
    verdict = rule(context, proposal)
    assert _same([verdict], [rule(context, proposal)]), "the same input gives different verdicts"
    if verdict is None:
        return
    assert verdict.rule, "an objection has no code"
    assert verdict.reason, "an objection has no reason"
    assert verdict.proposal is proposal or _same([verdict.proposal], [proposal]), "the proposal was changed"
    if verdict.allowed is None:
        return
    assert math.isfinite(verdict.allowed), f"{proposal.value} was narrowed to {verdict.allowed}"
    assert verdict.allowed != proposal.value, "an objection that allows what was asked"
    now = context.now(proposal)
    move = proposal.value - now if rule(context, replace(proposal, value=now)) is None else 0.0  # from within its own limit
    assert not (verdict.allowed - proposal.value) * move > 0, f"{proposal.value} was widened to {verdict.allowed}"
    again = rule(context, replace(proposal, value=verdict.allowed))
    assert again is None, f"the value that the rule allows ({verdict.allowed}) is objected to by the rule itself"


def _without(frame: Frame, name: str) -> Frame:
    """Return the frame with one tag bad and NaN."""
    value, status = frame.value.copy(), frame.status.copy()
    value[frame.table.index[name]], status[frame.table.index[name]] = math.nan, BAD
    return Frame(frame.at, frame.table, value, frame.source_at.copy(), frame.seen_at.copy(), status)


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Compare by encoded bytes, so that NaN equals NaN."""
    return msgspec.msgpack.encode(a) == msgspec.msgpack.encode(b)
