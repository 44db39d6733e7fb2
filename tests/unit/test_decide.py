"""Policies: hold, baseline, set-point and switchback, fed frame by frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from jayul.core.clock import Sim
from jayul.core.types import BAD, GOOD, SECOND, Frame, MovePlan, Proposal, Tag, TagTable
from jayul.decide import Limit, Move, Setting, lay, reached, span
from jayul.decide.baseline import BaselineConfig, baseline, first_seen
from jayul.decide.hold import HoldConfig, hold
from jayul.decide.setpoint import SetpointConfig, setpoint
from jayul.decide.switchback import SwitchbackConfig, schedule, switchback
from jayul.testing import START, make_frame

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
TABLE = TagTable(
    [Tag(name="SP", unit="degC", writable=True), Tag(name="LV", unit="%", writable=True), Tag(name="PV", unit="degC")]
)
RATE = {"SP": 60.0}  # one a minute


def setting(*tags: str, seed: int = 7, name: str = "p", start: int = START) -> Setting:
    return Setting(name, tags or ("SP",), ("PV",), MINUTE, start, Sim(start, seed).rng)


def frame(minutes: float, sp: float = 50.0, lv: float = 30.0, status: int = GOOD) -> Frame:
    return make_frame(TABLE, {"SP": sp, "LV": lv, "PV": 20.0}, START + round(minutes * MINUTE), status=status)


def split(wishes: Sequence[Any]) -> tuple[list[MovePlan], list[Proposal]]:
    plans = [wish for wish in wishes if isinstance(wish, MovePlan)]
    return plans, [wish for wish in wishes if isinstance(wish, Proposal)]


def obeyed(
    made: tuple[Any, Any], minutes: Sequence[float], sp: float = 50.0
) -> tuple[list[float], list[tuple[float, MovePlan]]]:
    """Run a policy whose every wish is done at once; return the set-point at each frame and the plans with their minute."""
    (policy, plan), state, track, laid = made, None, [], []
    for minute in minutes:
        track.append(sp)
        state, wishes = policy(state, frame(minute, sp), plan)
        plans, proposals = split(wishes)
        laid += [(minute, found) for found in plans]
        sp = proposals[-1].value if proposals else sp
    return track, laid


def test_hold_wishes_nothing():
    policy, plan = hold(HoldConfig(), setting())
    assert policy(None, frame(0), plan) == (None, ())
    assert plan is None


# the parts that all moves share


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"target": {"SP": 60.0}, "per_hour": {}}, "'per_hour' lacks 'SP'"),
        ({"target": {"SP": 60.0, "LV": 1.0}, "per_hour": RATE}, "'per_hour' lacks 'LV'"),
        ({"target": {"SP": 60.0}, "per_hour": {"SP": 0.0}}, "above 0"),
        ({"target": {"SP": 60.0}, "per_hour": {"SP": -1.0}}, "above 0"),
        ({"target": {"SP": 60.0}, "per_hour": {"SP": float("nan")}}, "above 0"),
        ({"target": {}, "per_hour": {}}, "names no tag"),
        ({"target": {"SP": 60.0}, "per_hour": RATE, "within": "soon"}, "'soon'"),
    ],
)
def test_a_move_that_cannot_be_made_is_refused(options: dict[str, Any], what: str):
    with pytest.raises(ValueError, match=what):
        SetpointConfig(**options)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"per_hour": {}}, "'per_hour' names no tag"),
        ({"per_hour": {"SP": 0.0}}, "'per_hour' must be above 0"),
        ({"per_hour": {"SP": -1.0}}, "'per_hour' must be above 0"),
        ({"per_hour": {"SP": float("nan")}}, "'per_hour' must be above 0"),
        ({"per_hour": RATE, "target": {"LV": 1.0}}, "'per_hour' lacks 'LV'"),
        ({"per_hour": RATE, "within": "0 h"}, "'0 h'"),
    ],
)
def test_a_way_back_that_cannot_be_gone_is_refused(options: dict[str, Any], what: str):
    with pytest.raises(ValueError, match=what):
        BaselineConfig(**options)


@pytest.mark.parametrize("bad", [{"begin": "now"}, {"block": "0 h"}, {"pairs": 0}, {"pairs": -1}, {"target": {}}])
def test_a_schedule_that_cannot_be_drawn_is_refused(bad: dict[str, Any]):
    with pytest.raises(ValueError, match=r"duration|pairs|target"):
        SwitchbackConfig(**{"target": {"SP": 60.0}, "per_hour": RATE} | bad)


def test_span_reads_a_duration_or_says_what_is_wrong():
    assert span("1.5 h") == 90 * MINUTE
    with pytest.raises(ValueError, match=r"'1\.5'"):
        span("1.5")


def test_reached_needs_every_target_known_to_stand():
    assert reached(frame(0), {})
    assert reached(frame(0), {"SP": 50.0, "LV": 30.0})
    assert not reached(frame(0), {"SP": 50.0, "LV": 31.0})
    assert not reached(frame(0, status=BAD), {"SP": 50.0})
    assert not reached(frame(0), {"NONE": 50.0})


@pytest.mark.parametrize("make", [setpoint, switchback, baseline])
def test_a_target_that_stands_as_a_32_bit_float_is_reached(make: Any):
    near = float(np.float32(53.3))
    assert near != 53.3
    options = {"target": {"SP": 53.3}, "per_hour": RATE} | ({"begin": "1 min", "arms": ("on",)} if make is switchback else {})
    kind = {setpoint: SetpointConfig, switchback: SwitchbackConfig, baseline: BaselineConfig}[make]
    policy, plan = make(kind(**options), setting())
    assert reached(frame(2, near), {"SP": 53.3})
    state, _ = policy(None, frame(0, 50.0), plan)
    state, wishes = policy(state, frame(2, near), plan)
    assert wishes == ()
    assert len(split(policy(state, frame(3, 53.2999), plan)[1])[1]) == 1


def test_a_tag_that_is_there_is_not_proposed_again_while_another_is_on_its_way():
    config = SetpointConfig({"SP": 53.3, "LV": 60.0}, {"SP": 60.0, "LV": 60.0})
    policy, plan = setpoint(config, setting("SP", "LV"))
    _, wishes = policy(None, frame(0, float(np.float32(53.3)), 30.0), plan)
    assert [p.tag for p in split(wishes)[1]] == ["LV"]


def test_a_plan_holds_all_that_is_approved_and_its_id_all_of_that():
    move = Move({"SP": 60.0, "LV": 40.0}, {"SP": 60.0, "LV": 6.0}, abort=(Limit("PV", 10.0, 30.0),))
    plan = lay(setting(), move, {"SP": 60.0}, "because", frame(0), START + HOUR)
    assert (plan.by, plan.targets, plan.ramp, plan.reason) == ("p", {"SP": 60.0}, {"SP": 60.0}, "because")
    assert (plan.start, plan.expires, plan.abort) == (START, START + HOUR, (("PV", 10.0, 30.0),))
    assert plan.sealed().id == plan.id
    for other in (
        lay(setting(), move, {"SP": 60.5}, "because", frame(0), START + HOUR),
        lay(setting(), move, {"SP": 60.0}, "because", frame(0), START + HOUR + 1),
        lay(setting(), msgspec.structs.replace(move, abort=()), {"SP": 60.0}, "because", frame(0), START + HOUR),
        lay(setting(name="q"), move, {"SP": 60.0}, "because", frame(0), START + HOUR),
    ):
        assert other.id != plan.id


# set-point


def test_setpoint_lays_one_plan_and_ramps_to_the_target():
    track, laid = obeyed(setpoint(SetpointConfig({"SP": 52.5}, RATE, source="trial 3"), setting()), range(6))
    assert track == [50.0, 51.0, 52.0, 52.5, 52.5, 52.5]
    assert [minute for minute, _ in laid] == [0]
    assert laid[0][1].reason == "move to the target (trial 3)"
    assert laid[0][1].expires == START + 8 * HOUR


@pytest.mark.parametrize(("sp", "steps"), [(50.0, [51.0]), (70.0, [69.0]), (59.5, [60.0]), (60.25, [60.0]), (60.0, [])])
def test_setpoint_goes_either_way_and_not_too_far(sp: float, steps: list[float]):
    policy, plan = setpoint(SetpointConfig({"SP": 60.0}, RATE, effect="cheaper"), setting())
    state, wishes = policy(None, frame(0, sp), plan)
    plans, proposals = split(wishes)
    assert [proposal.value for proposal in proposals] == steps
    assert len(plans) == len(steps)
    for proposal in proposals:
        assert (proposal.tag, proposal.by, proposal.needs, proposal.effect) == ("SP", "p", ("PV",), "cheaper")
        assert (proposal.plan, proposal.why) == (plans[0].id, "move to the target")
        assert state == plans[0]


def test_setpoint_waits_for_a_tag_that_is_not_known():
    policy, plan = setpoint(SetpointConfig({"SP": 60.0}, RATE), setting())
    state, wishes = policy(None, frame(0, status=BAD), plan)
    assert split(wishes) == ([state], [])
    state, wishes = policy(state, frame(1), plan)
    assert [p.value for p in split(wishes)[1]] == [51.0]


def test_setpoint_lays_its_plan_anew_when_its_time_is_over_or_it_was_done():
    made = setpoint(SetpointConfig({"SP": 60.0}, RATE, within="10 min"), setting())
    (policy, plan), state, laid = made, None, []
    for minute in range(23):  # nobody does what it says
        state, wishes = policy(state, frame(minute), plan)
        laid += [(minute, found.expires) for found in split(wishes)[0]]
    assert laid == [(minute, START + (minute + 10) * MINUTE) for minute in (0, 11, 22)]
    state, wishes = policy(state, frame(23, 60.0), plan)
    assert (state, wishes) == (None, ())
    _, wishes = policy(state, frame(24, 59.0), plan)
    assert len(split(wishes)[0]) == 1


def test_setpoint_moves_several_tags_each_at_its_own_pace():
    config = SetpointConfig({"SP": 51.0, "LV": 60.0}, {"SP": 60.0, "LV": 600.0})
    policy, plan = setpoint(config, setting("SP", "LV"))
    state, wishes = policy(None, frame(0), plan)
    assert [(p.tag, p.value) for p in split(wishes)[1]] == [("LV", 40.0), ("SP", 51.0)], "in the order of names"
    _, wishes = policy(state, frame(1, 51.0, 40.0), plan)
    assert [(p.tag, p.value) for p in split(wishes)[1]] == [("LV", 50.0)]


WATCHED = TagTable([*TABLE.tags, Tag(name="m.alarm", kind="derived")])


def rung(minutes: float, alarm: float, *, sp: float = 50.0, age: int = 0, status: int = GOOD) -> Frame:
    """Make a frame in which the alarm alone has this value, age and status."""
    made = make_frame(WATCHED, {"SP": sp, "LV": 30.0, "PV": 20.0, "m.alarm": alarm}, START + round(minutes * MINUTE))
    source, state, i = made.source_at.copy(), made.status.copy(), WATCHED.index["m.alarm"]
    source[i], state[i] = made.at - age, status
    return Frame(made.at, WATCHED, made.value, source, made.seen_at, state)


QUIET = [
    ("not 1", {"alarm": 0.0}), ("another state", {"alarm": 2.0}), ("not a number", {"alarm": float("nan")}),
    ("stale", {"alarm": 1.0, "age": 2 * MINUTE}), ("bad", {"alarm": 1.0, "status": BAD}),
]  # fmt: skip


@pytest.mark.parametrize("options", [options for _, options in QUIET], ids=[name for name, _ in QUIET])
def test_setpoint_with_a_condition_is_silent_unless_it_is_known_to_hold(options: dict[str, Any]):
    policy, plan = setpoint(SetpointConfig({"SP": 60.0}, RATE, when="m.alarm"), setting())
    assert policy(None, rung(0, **options), plan) == (None, ())
    state, wishes = policy(None, rung(0, 1.0), plan)
    assert len(wishes) == 2
    assert policy(state, rung(1, **options), plan) == (None, ()), "nor does it go on with a plan that it has laid"


def test_setpoint_with_a_condition_moves_while_it_holds_and_says_so():
    policy, plan = setpoint(SetpointConfig({"SP": 60.0}, RATE, when="m.alarm", source="trial 3"), setting())
    state, track, laid, sp = None, [], [], 50.0
    for minute in range(8):
        state, wishes = policy(state, rung(minute, float(minute in (2, 3, 6)), sp=sp), plan)
        plans, proposals = split(wishes)
        laid += [(minute, found.reason) for found in plans]
        sp = proposals[0].value if proposals else sp
        track.append(sp)
    assert track == [50.0, 50.0, 51.0, 52.0, 52.0, 52.0, 53.0, 53.0], "what has been moved is not moved back"
    assert laid == [(minute, "m.alarm: move to the target (trial 3)") for minute in (2, 6)]


def test_setpoint_whose_condition_is_not_in_the_frame_is_silent():
    policy, plan = setpoint(SetpointConfig({"SP": 60.0}, RATE, when="m.alarm"), setting())
    assert policy(None, frame(0), plan) == (None, ())


# baseline


def test_baseline_goes_back_to_what_stood_first():
    made = baseline(BaselineConfig(RATE), setting())
    policy, plan = made
    state, wishes = policy(None, frame(0, 50.0), plan)
    assert wishes == ()
    state, wishes = policy(state, frame(1, 51.5), plan)
    plans, proposals = split(wishes)
    assert (plans[0].targets, plans[0].reason) == ({"SP": 50.0}, "back to the baseline set-points")
    assert [p.value for p in proposals] == [50.5]
    state, wishes = policy(state, frame(2, 50.5), plan)
    assert ([p.value for p in split(wishes)[1]], split(wishes)[0]) == ([50.0], [])
    state, wishes = policy(state, frame(3, 50.0), plan)
    assert wishes == ()


def test_baseline_goes_to_targets_that_are_known_beforehand():
    track, laid = obeyed(baseline(BaselineConfig(RATE, {"SP": 48.0}), setting()), range(4), sp=50.0)
    assert track == [50.0, 49.0, 48.0, 48.0]
    assert len(laid) == 1


def test_baseline_learns_the_first_good_value_of_each_tag_and_waits_for_all():
    policy, plan = baseline(BaselineConfig({"SP": 60.0, "LV": 60.0}), setting("SP", "LV"))
    state, wishes = policy(None, frame(0, 10.0, 10.0, status=BAD), plan)
    assert wishes == ()
    state, wishes = policy(state, frame(1, 50.0, 30.0), plan)
    assert wishes == ()
    state, wishes = policy(state, frame(2, 50.0, 31.0), plan)
    assert split(wishes)[0][0].targets == {"SP": 50.0, "LV": 30.0}
    assert [(p.tag, p.value) for p in split(wishes)[1]] == [("LV", 30.0)]


def test_baseline_lays_its_plan_anew_when_its_time_is_over():
    (policy, plan), state, laid = baseline(BaselineConfig(RATE, {"SP": 40.0}, "5 min"), setting()), None, []
    for minute in range(14):
        state, wishes = policy(state, frame(minute), plan)
        laid += [minute for _ in split(wishes)[0]]
    assert laid == [0, 6, 12]


def test_first_seen_keeps_what_it_has():
    assert first_seen({"SP": 1.0}, frame(0), ("SP", "LV")) == {"SP": 1.0, "LV": 30.0}
    kept = {"SP": 1.0}
    assert first_seen(kept, frame(0), ("SP",)) is kept
    assert first_seen({}, frame(0, status=BAD), ("SP",)) == {}


# switchback


def config(**options: Any) -> SwitchbackConfig:
    return SwitchbackConfig(**{"target": {"SP": 53.0}, "per_hour": RATE, "begin": "5 min", "block": "10 min"} | options)


def test_the_schedule_is_drawn_by_the_seed_and_the_name():
    first, again = (schedule(config(pairs=20), setting()) for _ in range(2))
    assert first == again
    assert schedule(config(pairs=20), setting(seed=8)).arms != first.arms
    assert schedule(config(pairs=20), setting(name="q")).arms != first.arms


def test_the_schedule_is_drawn_in_pairs_of_one_on_and_one_off():
    for seed in range(20):
        arms = schedule(config(pairs=8), setting(seed=seed)).arms
        assert len(arms) == 16
        assert all({arms[i], arms[i + 1]} == {"on", "off"} for i in range(0, 16, 2))


def test_the_coin_is_fair():
    tossed = [arm for seed in range(20) for arm in schedule(config(pairs=100), setting(seed=seed)).arms[::2]]
    heads = tossed.count("on")
    assert abs(heads - 1000) < 4 * 500**0.5  # four standard deviations of 2000 tosses
    runs = sum(a != b for a, b in pairwise(tossed))
    assert abs(runs - 1000) < 4 * 500**0.5  # and no toss depends on the one before


def test_blocks_lie_end_to_end_from_begin():
    drawn = schedule(config(pairs=2), setting(start=START + 7))
    assert drawn.starts == tuple(START + 7 + minute * MINUTE for minute in (5, 15, 25, 35))
    assert drawn.end == START + 7 + 45 * MINUTE


def test_explicit_arms_are_followed_as_given():
    drawn = schedule(config(arms=("on", "on", "off")), setting())
    assert (drawn.arms, len(drawn.starts), drawn.end) == (("on", "on", "off"), 3, START + 35 * MINUTE)


ARMS = ("on", "off", "off", "on")


@pytest.mark.parametrize(
    ("moment", "arm", "block", "end"),
    [
        (0, "off", -1, 5 * MINUTE - 1), (5 * MINUTE - 1, "off", -1, 5 * MINUTE - 1), (5 * MINUTE, "on", 0, 15 * MINUTE - 1),
        (15 * MINUTE - 1, "on", 0, 15 * MINUTE - 1), (15 * MINUTE, "off", 1, 25 * MINUTE - 1),
        (25 * MINUTE, "off", 2, 35 * MINUTE - 1), (44 * MINUTE, "on", 3, 45 * MINUTE - 1), (45 * MINUTE, "off", 4, 55 * MINUTE),
    ],
)  # fmt: skip
def test_arm_number_and_end_of_the_block_at_a_time(moment: int, arm: str, block: int, end: int):
    assert schedule(config(arms=ARMS), setting()).at(START + moment) == (arm, block, START + end)


def test_switchback_follows_its_arms_and_goes_back_to_the_first_seen_value():
    track, laid = obeyed(switchback(config(arms=ARMS), setting()), range(60))
    wanted = {
        0: 50.0,
        5: 50.0,
        6: 51.0,
        8: 53.0,
        15: 53.0,
        16: 52.0,
        18: 50.0,
        35: 50.0,
        38: 53.0,
        45: 53.0,
        48: 50.0,
        59: 50.0,
    }
    assert {minute: track[minute] for minute in wanted} == wanted
    assert [(minute, plan.reason, plan.targets["SP"]) for minute, plan in laid] == [
        (5, "block 1: on", 53.0),
        (15, "block 2: off", 50.0),
        (35, "block 4: on", 53.0),
        (45, "block 5: off", 50.0),
    ]


def test_a_laid_plan_expires_with_its_block():
    _, laid = obeyed(switchback(config(arms=ARMS), setting()), range(60))
    assert [plan.expires for _, plan in laid] == [START + minute * MINUTE - 1 for minute in (15, 25, 45)] + [
        START + 55 * MINUTE
    ]
    assert all(plan.start == START + minute * MINUTE for minute, plan in laid)
    assert len({plan.id for _, plan in laid}) == 4


def test_every_block_lays_a_plan_of_its_own_even_if_nothing_was_done():
    (policy, plan), state, laid = switchback(config(arms=("on",) * 3), setting()), None, []
    for minute in range(35):
        state, wishes = policy(state, frame(minute), plan)
        plans, proposals = split(wishes)
        laid += [(minute, found.id) for found in plans]
        assert {p.plan for p in proposals} <= {laid[-1][1] if laid else ""}
        assert bool(proposals) is (minute >= 5)
    assert [minute for minute, _ in laid] == [5, 15, 25]
    assert len({plan_id for _, plan_id in laid}) == 3


def test_switchback_is_silent_while_the_first_value_is_not_known():
    policy, plan = switchback(config(arms=("on",)), setting())
    state, wishes = policy(None, frame(6, 99.0, status=BAD), plan)
    assert wishes == ()
    state, wishes = policy(state, frame(7, 51.0), plan)
    assert [p.value for p in split(wishes)[1]] == [52.0]
    state, wishes = policy(state, frame(16, 53.0), plan)
    assert split(wishes)[0][0].targets == {"SP": 51.0}


def test_a_value_that_another_hand_changed_before_the_first_block_is_brought_back():
    policy, plan = switchback(config(arms=("on",)), setting())
    state, wishes = policy(None, frame(0, 50.0), plan)
    assert wishes == ()
    _, wishes = policy(state, frame(2, 52.0), plan)
    plans, proposals = split(wishes)
    assert (plans[0].reason, plans[0].expires) == ("block 0: off", START + 5 * MINUTE - 1)
    assert [p.value for p in proposals] == [51.0]


def test_the_standing_data_of_each_policy_is_data():
    made = [
        setpoint(SetpointConfig({"SP": 60.0}, RATE), setting()),
        baseline(BaselineConfig(RATE), setting()),
        switchback(config(), setting()),
    ]
    for _, plan in made:
        assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan


def test_a_plan_holds_the_band_in_which_its_approval_is_good():
    table = TagTable([*TABLE.tags, Tag(name="spread.PV"), Tag(name="spread.LV")])
    values = {"SP": 50.0, "LV": 30.0, "PV": 20.0, "spread.PV": 0.5, "spread.LV": 0.0}
    move, inputs = Move({"SP": 60.0}, {"SP": 60.0}), msgspec.structs.replace(setting(), needs=("PV", "LV"))
    plan = lay(inputs, move, {"SP": 60.0}, "because", make_frame(table, values), START + HOUR)
    assert plan.band == (("PV", 18.5, 21.5),)
    unknown = make_frame(table, values | {"spread.PV": math.nan})
    assert lay(inputs, move, {"SP": 60.0}, "because", unknown, START + HOUR).band == ()
    without = msgspec.structs.replace(move, band=0.0)
    assert lay(inputs, without, {"SP": 60.0}, "because", make_frame(table, values), START + HOUR).band == ()
    assert lay(inputs, move, {"SP": 60.0}, "because", frame(0), START + HOUR).band == ()
