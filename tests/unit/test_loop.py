"""The one flow on a small hand-made line: who may write, what failures leave, the way back, and the driver."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from jayul.core.clock import Sim
from jayul.core.guard import HOUR
from jayul.core.ladder import Gate, Offer, Rung, Terms
from jayul.core.loop import Fallback, Line, Seat, run, start, step
from jayul.core.types import BAD_NO_DATA, SECOND, Decision, Event, Level, MovePlan, Proposal, Reading, Receipt, Tag, TagTable
from jayul.rules.basic import BASIC
from jayul.rules.plan import within_plan
from jayul.testing import START, make_frame

PERIOD = 30 * SECOND
MADE = TagTable(
    [
        Tag(name="SP", unit="degC", kind="set-point", low=40.0, high=70.0, max_step=2.0, writable=True),
        Tag(name="SP2", unit="%", kind="set-point", low=0.0, high=100.0, max_step=5.0, writable=True),
        Tag(name="PV", unit="degC"),
    ]
)
TABLE = TagTable([*MADE.tags, Tag(name="twice.PV", unit="degC", kind="derived")])
OPEN = Terms({level: Gate() for level in Level if level > Level.RECORD})


class Tray:
    """A plant in memory: it keeps what it is told, unless `receipts` says otherwise for a tag; `by_hand` changes values at a tick."""

    tags = MADE

    def __init__(self, clock, **script):
        self.values = {"SP": 50.0, "SP2": 20.0, "PV": 50.0}
        self.clock, self.calls, self.diary, self.reads = clock, [], script.get("diary", []), 0
        self.by_hand, self.receipts, self.age = script.get("by_hand", {}), script.get("receipts", {}), script.get("age", 0)

    async def read(self):
        self.values |= self.by_hand.get(self.reads, {})
        self.reads += 1
        return make_frame(MADE, self.values, self.clock.now(), age=self.age)

    async def write(self, verdicts):
        self.calls.append({v.proposal.tag: v.allowed for v in verdicts})
        self.diary.append("write")
        return [receipt for v in verdicts if (receipt := self._receipt(v.proposal.tag, v.allowed))]

    def _receipt(self, tag, value):
        state = self.receipts.get(tag, "settled")
        if state in ("settled", "pending"):
            self.values[tag] = value
        applied = self.values[tag] if state != "unknown" else None
        return Receipt(tag, value, applied, self.clock.now(), state) if state else None


class Book:
    """A journal in memory."""

    def __init__(self, diary):
        self.records, self.diary = [], diary

    def append(self, record):
        self.records.append(record)
        self.diary.append(type(record).__name__)


class Post:
    """An inbox that hands out its events at given ticks."""

    def __init__(self, events):
        self.events = events

    def drain(self, at, last):
        return self.events.get(last.tick + 1 if last else 0, ())


def wants(value=52.0, tag="SP", by="p", **more):
    return lambda state, frame, plan: (state, [Proposal(tag, value, "test", by, **more)])


def both(**more):
    return lambda state, frame, plan: (state, [Proposal("SP", 51.0, "test", "p"), Proposal("SP2", 21.0, "test", "p", **more)])


def raises(state, frame, plan):
    raise RuntimeError("a bug")


def seat(policy, name="p", tags=("SP", "SP2"), terms=OPEN, needs=("PV",)):
    return Seat(name, policy, None, frozenset(tags), needs, terms)


def line_of(*seats, admit=lambda event, at: "", **more):
    places = np.arange(3)
    return Line(TABLE, places, places, np.arange(4), PERIOD, seats=seats, rules=(*BASIC, within_plan), admit=admit, **more)


def standing(line, level, **rung):
    return replace(start(line), rungs={s.name: Rung(level, **rung) for s in line.seats})


def drive(line, *, ticks=3, level=None, state=None, events=None, clock=None, **script):
    """Run the line and return what plant, journal and state look like afterwards."""
    clock, diary, frames = clock or Sim(START), [], []
    plant, journal = Tray(clock, diary=diary, **script), Book(diary)
    state = state or (standing(line, level) if level is not None else None)
    inbox = Post(events or {})
    state = asyncio.run(
        run(line, plant, clock, journal, inbox, ticks=ticks, state=state, watch=lambda f, d, o: frames.append(f))
    )
    decisions = [record for record in journal.records if isinstance(record, Decision)]
    changes = [(d.tick, c.policy, c.reason, c.after) for d in decisions for c in d.changes]
    heard = [(d.tick, h.event.kind, h.refused) for d in decisions for h in d.events]
    seen = {"decisions": decisions, "changes": changes, "heard": heard, "diary": diary, "frames": frames}
    return SimpleNamespace(state=state, plant=plant, **seen)


def event(kind, policy="p", **body):
    return Event(kind, "kim", START, {"policy": policy, **body}, "id")


def plan_for(targets, *, expires=START + HOUR, abort=()):
    return MovePlan("", "p", targets, dict.fromkeys(targets, 120.0), "test", START, expires, abort).sealed()


def mover(plan):
    """Lay a plan of one degree a tick on the table once; go on asking for more than that under it."""

    def policy(state, frame, standing):
        wish = Proposal("SP", frame["SP"] + 1.5, "test", "p", plan=plan.id)
        return True, [wish] if state else [plan, wish]

    return policy


@pytest.mark.parametrize("level", list(Level))
def test_without_a_plan_values_are_written_at_auto_only(level):
    done = drive(line_of(seat(wants())), ticks=1, level=level)
    assert done.plant.calls == ([{"SP": 52.0}] if level == Level.AUTO else [])


@pytest.mark.parametrize("level", [Level.SHADOW, Level.ADVISE, Level.CONFIRM])
def test_below_its_level_a_proposal_is_judged_but_never_written(level):
    done = drive(line_of(seat(wants(60.0))), level=level)
    assert [[v.allowed for v in d.verdicts] for d in done.decisions] == [[52.0]] * 3
    assert [d.writes for d in done.decisions] == [()] * 3
    assert done.plant.values["SP"] == 50.0


def test_at_auto_the_narrowed_value_is_written_not_the_asked_one():
    done = drive(line_of(seat(wants(60.0))), level=Level.AUTO)
    assert done.plant.calls == [{"SP": 52.0}, {"SP": 54.0}, {"SP": 56.0}]
    assert done.state.origin == {"SP": 50.0}  # what stood before the first move


def test_one_writes_at_auto_while_another_shadows_the_same_tag():
    line = line_of(seat(wants(51.0)), seat(wants(49.0, by="q"), "q"))
    state = replace(start(line), rungs={"p": Rung(Level.AUTO), "q": Rung(Level.SHADOW)})
    assert drive(line, state=state).plant.calls == [{"SP": 51.0}] * 3


def test_two_writers_of_one_tag_get_nothing():
    line = line_of(seat(wants(51.0)), seat(wants(49.0, by="q"), "q"))
    assert drive(line, level=Level.AUTO, ticks=1).plant.calls == []


def test_at_confirm_a_plan_is_carried_out_from_the_tick_of_its_approval():
    plan = plan_for({"SP": 55.0})
    done = drive(line_of(seat(mover(plan))), ticks=4, level=Level.CONFIRM, events={2: [event("approval", plan=plan.id)]})
    assert done.plant.calls == [{"SP": 51.0}, {"SP": 52.0}]
    assert [[ask.kind for ask in d.asks if ask.kind == "approval"] for d in done.decisions] == [["approval"]] * 2 + [[]] * 2


def test_a_plan_ends_where_it_was_to_end():
    plan = plan_for({"SP": 52.0})
    done = drive(line_of(seat(mover(plan))), ticks=5, level=Level.CONFIRM, events={1: [event("approval", plan=plan.id)]})
    assert [call for call in done.plant.calls if call] == [{"SP": 51.0}, {"SP": 52.0}]
    assert done.state.rungs["p"].offer.closed == "done"


def test_an_abort_limit_ends_plan_and_level():
    plan = plan_for({"SP": 60.0}, abort=(("PV", 0.0, 60.0),))
    events = {1: [event("approval", plan=plan.id)]}
    done = drive(line_of(seat(mover(plan))), ticks=4, level=Level.CONFIRM, events=events, by_hand={2: {"PV": 61.0}})
    assert done.changes == [(2, "p", "plan-aborted", Level.ADVISE)]
    assert [call for call in done.plant.calls if call] == [{"SP": 51.0}]


def test_a_new_plan_needs_an_approval_of_its_own():
    plans = [plan_for({"SP": target}) for target in (55.0, 56.0)]

    def policy(state, frame, standing):
        plan = plans[min(state or 0, 1)]
        return 1, [plan, Proposal("SP", frame["SP"] + 1.0, "test", "p", plan=plan.id)]

    events = {1: [event("approval", plan=plans[0].id)]}
    done = drive(line_of(seat(policy)), ticks=3, level=Level.CONFIRM, events=events)
    assert done.plant.calls == []


def test_a_policy_climbs_by_signatures_alone():
    names = ("shadow", "advise", "confirm", "auto")
    events = {tick: [event("signature", level=name, since=max(tick - 1, 0))] for tick, name in enumerate(names)}
    done = drive(line_of(seat(wants())), ticks=5, events=events)
    assert [d.levels for d in done.decisions] == [(1,), (2,), (3,), (4,), (4,)]
    assert done.plant.calls == [{"SP": 52.0}] * 2


@pytest.mark.parametrize(
    "policy",
    [
        raises,
        wants(by="q"),
        wants(by="fallback"),
        wants(tag=7),
        wants(tag=["SP"]),
        lambda state, frame, plan: None,
        lambda state, frame, plan: (state, None),
        lambda state, frame, plan: (state, ["SP"]),
        lambda state, frame, plan: (state, [replace(plan_for({"SP": 60.0}), id="mine")]),
        lambda state, frame, plan: (state, [replace(plan_for({"SP": 60.0}), by="q")]),
    ],
)
def test_a_policy_that_raises_or_speaks_for_another_falls_to_record_and_the_line_goes_on(policy):
    done = drive(line_of(seat(policy), seat(wants(51.0, by="q"), "q")), level=Level.AUTO)
    assert done.decisions[0].failed == ("p",)
    assert done.changes == [(0, "p", "policy-failed", Level.RECORD)]
    assert done.plant.calls == [{"SP": 51.0}] * 3


def test_a_policy_that_failed_starts_afresh():
    seen = []

    def policy(state, frame, plan):
        seen.append(state)
        if len(seen) == 2:
            raise RuntimeError("a bug")
        return len(seen), []

    drive(line_of(seat(policy)), level=Level.AUTO, ticks=6, events={3: [event("signature", level="shadow", since=1)]})
    assert seen[:3] == [None, 1, None]


class Doubles:
    """A model that counts its frames and can be told to fail at some of them."""

    tags, needs = (TABLE["twice.PV"],), ("PV",)

    def __init__(self, fails=(), tag="twice.PV"):
        self.fails, self.tag, self.states = fails, tag, []

    def learn(self, frames):
        return 0

    def infer(self, state, frame):
        self.states.append(state)
        if len(self.states) - 1 in self.fails:
            raise RuntimeError("a bug")
        return state + 1, [Reading(self.tag, 2 * frame["PV"])]


def test_a_models_readings_stand_in_the_frame():
    done = drive(line_of(seat(wants(needs=("twice.PV",))), models={"twice": (Doubles(), 0)}), ticks=1, level=Level.AUTO)
    assert (done.frames[0]["twice.PV"], done.frames[0].fresh("twice.PV")) == (100.0, True)
    assert done.plant.calls == [{"SP": 52.0}]


def test_a_model_that_raises_leaves_its_tags_without_data_and_starts_afresh():
    model = Doubles(fails={1})
    done = drive(line_of(seat(wants(51.0, needs=("twice.PV",))), models={"twice": (model, 0)}), level=Level.AUTO)
    assert [d.failed for d in done.decisions] == [(), ("twice",), ()]
    assert [frame.status[3] for frame in done.frames] == [0, BAD_NO_DATA, 0]
    assert [d.verdicts[0].rule for d in done.decisions] == ["", "inputs", ""]
    assert model.states == [0, 1, 0]
    assert done.changes == []


def test_another_hand_on_a_tag_demotes_and_is_not_fought():
    line = line_of(seat(wants(51.0)), fallback={"SP": Fallback("ramp", 120.0)})
    done = drive(line, ticks=5, level=Level.AUTO, by_hand={2: {"SP": 55.0}})
    assert done.changes == [(2, "p", "override", Level.ADVISE)]
    assert done.plant.calls == [{"SP": 51.0}, {"SP": 51.0}]
    assert done.plant.values["SP"] == 55.0


def test_a_value_kept_in_32_bits_is_not_another_hand():
    done = drive(line_of(seat(wants(50.1))), ticks=3, level=Level.AUTO, by_hand={1: {"SP": float(np.float32(50.1))}})
    assert done.changes == []


def moved_then_demoted(action, *, ticks=8, per_hour=120.0):
    """Write 52 at ticks 0 and 1; a person demotes at tick 2."""
    line = line_of(seat(wants(52.0)), fallback={"SP": Fallback(action, per_hour)})
    return drive(line, ticks=ticks, level=Level.AUTO, events={2: [event("demotion")]})


@pytest.mark.parametrize(("action", "rest", "held"), [("hold", [{}, {}, {}], {"SP": 52.0}), ("release", [], {})])
def test_fallback_hold_goes_on_with_empty_writes_and_release_lets_go_at_once(action, rest, held):
    done = moved_then_demoted(action, ticks=5)
    assert done.plant.calls == [{"SP": 52.0}, {"SP": 52.0}, *rest]
    assert {tag: applied.value for tag, applied in done.state.last.items()} == held


def test_fallback_ramp_goes_back_to_the_origin_and_ends_there():
    done = moved_then_demoted("ramp", per_hour=90.0)  # 0.75 a period
    assert done.plant.calls == [{"SP": 52.0}] * 2 + [{"SP": 51.25}, {"SP": 50.5}, {"SP": 50.0}]
    assert done.state.last == {}
    assert {v.proposal.by for d in done.decisions[3:5] for v in d.verdicts} == {"fallback"}


def test_a_ramp_faster_than_a_step_is_narrowed_by_the_guard():
    line = line_of(seat(wants(60.0)), fallback={"SP": Fallback("ramp", 1e6)})
    done = drive(line, ticks=7, level=Level.AUTO, events={3: [event("demotion")]})
    assert [call["SP"] for call in done.plant.calls] == [52.0, 54.0, 56.0, 54.0, 52.0, 50.0]


def test_a_value_is_held_while_its_policy_may_still_move_it():
    plan = plan_for({"SP": 51.0})
    line = line_of(seat(mover(plan)), fallback={"SP": Fallback("ramp", 120.0)})
    done = drive(line, ticks=4, level=Level.CONFIRM, events={1: [event("approval", plan=plan.id)]})
    assert done.plant.calls == [{"SP": 51.0}, {}, {}]


def test_a_tag_goes_back_though_another_policy_goes_on_with_its_own():
    line = line_of(
        seat(wants(51.0), tags=("SP",)), seat(wants(21.0, "SP2", "q"), "q", ("SP2",)), fallback={"SP": Fallback("ramp", 120.0)}
    )
    done = drive(line, ticks=4, level=Level.AUTO, events={2: [event("demotion")]})
    assert done.plant.calls == [{"SP": 51.0, "SP2": 21.0}, {"SP": 51.0, "SP2": 21.0}, {"SP2": 21.0, "SP": 50.0}, {"SP2": 21.0}]


def test_the_way_back_waits_while_the_tag_is_stale():
    line = line_of(seat(wants(52.0)), fallback={"SP": Fallback("ramp", 120.0)})
    state = drive(line, ticks=1, level=Level.AUTO).state
    state = replace(state, rungs={"p": Rung()})
    assert drive(line, ticks=3, state=state, age=61 * SECOND).plant.calls == [{}, {}]


@pytest.mark.parametrize(
    ("receipts", "reason"),
    [
        ({}, None),
        ({"SP": "pending"}, None),
        ({"SP": "rejected"}, "write-partial"),
        ({"SP": "rejected", "SP2": "rejected"}, "write-rejected"),
        ({"SP": ""}, "outcome-unknown"),
        ({"SP": "", "SP2": ""}, "outcome-unknown"),
        ({"SP2": "unknown"}, "outcome-unknown"),
        ({"SP2": "overridden"}, "override"),
    ],
)
def test_what_the_plant_did_not_do_demotes_at_the_next_tick(receipts, reason):
    done = drive(line_of(seat(both())), ticks=3, level=Level.AUTO, receipts=receipts)
    assert done.changes == ([(1, "p", reason, Level.ADVISE)] if reason else [])


def test_what_was_not_applied_is_not_held_and_is_not_anothers_trouble():
    line = line_of(seat(wants(51.0)), seat(wants(21.0, "SP2", "q"), "q"))
    done = drive(line, ticks=2, level=Level.AUTO, receipts={"SP": "rejected"})
    assert done.changes == [(1, "p", "write-rejected", Level.ADVISE)]
    assert set(done.state.last) == {"SP2"}


def test_stale_inputs_demote_after_some_ticks():
    line = line_of(seat(wants(), terms=replace(OPEN, stale_ticks=2)))
    done = drive(line, level=Level.AUTO, age=61 * SECOND)
    assert (done.changes, done.plant.calls) == ([(1, "p", "inputs-stale", Level.ADVISE)], [])


def test_every_need_and_every_proposal_of_the_stay_is_counted():
    rung = drive(
        line_of(seat(both(needs=("GHOST",), plan="another"), needs=("PV", "GHOST"))), level=Level.SHADOW, ticks=3
    ).state.rungs["p"]
    assert (rung.ticks, rung.fresh, rung.asked, rung.vetoed) == (3, 0, 4, 2)


def test_a_streak_of_refusals_demotes():
    line = line_of(seat(wants(52.0, needs=("GHOST",)), terms=replace(OPEN, veto_ticks=2)))
    assert drive(line, level=Level.AUTO).changes == [(2, "p", "veto-streak", Level.SHADOW)]


ROLES = {"kim": "engineer"}


def admit(what, at):
    if what.signature != b"good":
        return "signature-invalid"
    return "" if ROLES.get(what.by) == "engineer" or what.kind == "note" else "not-authorised"


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        (event("signature", level="shadow", since=0), "signature-invalid"),
        (replace(event("signature", level="shadow", since=0), signature=b"good", by="lee"), "not-authorised"),
        (replace(event("signature", level="shadow", since=0), signature=b"good"), ""),
        (replace(event("signature", "another", level="shadow", since=0), signature=b"good"), "unknown-policy"),
        (Event("signature", "kim", START, {}, "id", b"good"), "unknown-policy"),
        (Event("note", "lee", START, {"text": "shift change"}, "id", b"good"), ""),
        (replace(event("note"), signature=b"good"), ""),
        (Event("stop", "kim", START, {}, "id", b"good"), "unknown-policy"),
    ],
)
def test_an_event_is_heard_with_the_reason_for_its_refusal(what, refused):
    done = drive(line_of(seat(wants()), admit=admit), ticks=1, events={0: [what]})
    assert done.heard == [(0, what.kind, refused)]
    assert done.decisions[0].levels == ((1,) if what.kind == "signature" and not refused else (0,))


def test_a_line_that_was_not_told_whom_to_admit_admits_nobody():
    places = np.arange(3)
    line = Line(TABLE, places, places, places, PERIOD, seats=(seat(wants()),))
    done = drive(line, ticks=1, events={0: [event("signature", level="shadow", since=0)]})
    assert (done.heard, done.changes) == ([(0, "signature", "not-authorised")], [])


def test_the_decision_is_kept_before_and_the_outcome_after_the_write():
    assert drive(line_of(seat(wants())), ticks=2, level=Level.AUTO).diary == ["Decision", "write", "Outcome"] * 2


def test_nothing_is_written_if_the_decision_could_not_be_kept():
    class Full:
        def append(self, record):
            raise OSError("disk full")

    plant, line = Tray(Sim(START)), line_of(seat(wants()))
    with pytest.raises(OSError, match="disk full"):
        asyncio.run(run(line, plant, Sim(START), Full(), Post({}), ticks=1, state=standing(line, Level.AUTO)))
    assert plant.calls == []


def test_a_decision_holds_digest_and_named_columns_of_the_whole_frame():
    done = drive(line_of(seat(wants())), ticks=1)
    frame, decision = done.frames[0], done.decisions[0]
    assert (decision.at, decision.frame, decision.columns) == (frame.at, frame.digest(), frame.columns(np.arange(4)))


def test_step_leaves_its_state_alone_and_repeats_itself():
    line = line_of(seat(mover(plan_for({"SP": 60.0}))), models={"twice": (Doubles(), 0)})
    state, frame = (
        standing(line, Level.AUTO, offer=Offer(plan_for({"SP": 55.0}), 0)),
        make_frame(MADE, {"SP": 50.0, "PV": 50.0}),
    )
    before = repr(state)
    first, second = (step(line, state, frame, [event("note")]) for _ in range(2))
    assert repr(state) == before
    assert first[:2] == second[:2]
    assert first[2].digest() == second[2].digest()


def test_run_stops_when_told_and_finishes_the_tick():
    clock, diary, line = Sim(START), [], line_of(seat(wants()))
    plant, journal = Tray(clock), Book(diary)
    state = asyncio.run(run(line, plant, clock, journal, Post({}), ticks=9, stop=lambda: len(diary) >= 3))
    assert (state.tick, diary) == (2, ["Decision", "Outcome"] * 2)


class Sleepy(Sim):
    """A clock on which the wait for the second tick takes three and a half periods too long."""

    async def until(self, at):
        await super().until(at + (7 * PERIOD // 2 if at == START + PERIOD else 0))


def test_run_does_not_make_up_for_periods_that_were_slept_through():
    at = [(d.at - START) / PERIOD for d in drive(line_of(), ticks=4, clock=Sleepy(START)).decisions]
    assert at == [0, 4.5, 5, 6]


def test_run_goes_on_one_period_after_the_last_decision():
    line = line_of(seat(wants()))
    first = drive(line, ticks=2, level=Level.AUTO)
    clock, journal = Sim(START), Book([])
    asyncio.run(run(line, Tray(clock), clock, journal, Post({}), ticks=3, state=first.state, last=first.decisions[-1]))
    assert [(r.tick, r.at - START) for r in journal.records if isinstance(r, Decision)] == [(2, 2 * PERIOD)]
