"""Models: formulas as derived tags, and the watch for frozen transmitters."""

from __future__ import annotations

import math
from typing import Any

import pytest

from jayul.core.expr import ExprError
from jayul.core.types import BAD, BAD_NO_DATA, GOOD, SECOND, Frame, Reading, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.formula import Formula, FormulaConfig, formula
from jayul.learn.frozen import Frozen, FrozenConfig, frozen
from jayul.testing import START, make_frame

MINUTE = 60 * SECOND
TABLE = TagTable(
    [Tag(name="JI1.PV", unit="kW"), Tag(name="JI-2", unit="kW"), Tag(name="PRICE", unit="USD/kW/h"), Tag(name="LV", unit="%")]
)
VALUES = {"JI1.PV": 200.0, "JI-2": 100.0, "PRICE": 0.05, "LV": 50.0}


def frame(minute: float = 0, *, bad: str = "", age: int = 0, **values: float) -> Frame:
    """Make a frame; `bad` names a tag whose status is bad."""
    at = START + round(minute * MINUTE)
    made = make_frame(TABLE, VALUES | {name.replace("JI1", "JI1.PV"): value for name, value in values.items()}, at, age=age)
    if not bad:
        return made
    status = made.status.copy()
    status[TABLE.index[bad]] = BAD
    return Frame(at, TABLE, made.value.copy(), made.source_at.copy(), made.seen_at.copy(), status)


def make(**texts: str) -> Formula:
    return formula(FormulaConfig(texts), Setting("f", TABLE))


def infer(model: Any, *frames: Frame) -> list[dict[str, Reading]]:
    state, found = model.learn(()), []
    for each in frames:
        state, readings = model.infer(state, each)
        found.append({reading.tag: reading for reading in readings})
    return found


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("JI1.PV * PRICE", 10.0, "USD/h"),
        ('JI1.PV + "JI-2"', 300.0, "kW"),
        ('"JI-2" / JI1.PV', 0.5, "1"),
        ("JI1.PV - 50", 150.0, "kW"),
        ("abs(-JI1.PV)", 200.0, "kW"),
        ("2 * 3", 6.0, "1"),
        ("LV > 20 [%] and LV < 80 [%]", 1.0, "1"),
        ("not LV > 20", 0.0, "1"),
        ('JI1.PV == "JI-2"', 0.0, "1"),
    ],
)
def test_a_formula_reads_its_value_in_its_unit(text: str, value: float, unit: str):
    model = make(x=text)
    assert infer(model, frame())[0]["x"] == Reading("x", value, GOOD)
    assert [(tag.name, tag.unit, tag.kind, tag.description) for tag in model.tags] == [("x", unit, "derived", text)]


def test_a_formula_names_what_it_needs_once_and_in_order():
    model = make(a="JI1.PV * PRICE", b="PRICE + PRICE", c='"JI-2" > JI1.PV')
    assert model.needs == ("JI1.PV", "PRICE", "JI-2")
    assert [tag.name for tag in model.tags] == ["a", "b", "c"]
    assert list(infer(model, frame())[0]) == ["a", "b", "c"]


@pytest.mark.parametrize("unknown", [{"bad": "JI1.PV"}, {"age": 2 * MINUTE}, {"JI1": math.nan}, {"JI1": math.inf}])
@pytest.mark.parametrize("text", ["JI1.PV", "JI1.PV > 3", "mean(JI1.PV, 1 min)", "JI1.PV > 3 or JI1.PV < 1"])
def test_what_is_unknown_has_no_data(text: str, unknown: dict[str, Any]):
    reading = infer(make(x=text), frame(**unknown))[0]["x"]
    assert math.isnan(reading.value)
    assert reading.status == BAD_NO_DATA


def test_a_condition_that_no_unknown_can_change_is_known():
    found = infer(make(no="JI1.PV > 3 and LV > 90", yes="JI1.PV > 3 or LV > 40"), frame(bad="JI1.PV"))[0]
    assert (found["no"], found["yes"]) == (Reading("no", 0.0), Reading("yes", 1.0))


def test_one_unknown_formula_leaves_the_others_alone():
    found = infer(make(x="JI1.PV", y="LV"), frame(bad="JI1.PV"))[0]
    assert [found[name].status for name in "xy"] == [BAD_NO_DATA, GOOD]
    assert infer(make(x="LV / (LV - LV)"), frame())[0]["x"].status == BAD_NO_DATA


def test_a_window_is_unknown_until_it_is_full_and_goes_on_from_its_state():
    frames = [frame(minute, LV=10.0 * minute) for minute in range(6)]
    model = make(mean="mean(LV, 3 min)", change="change(LV, 3 min)", most="max(LV, 3 min) > 35")
    found = infer(model, *frames)
    assert [reading["mean"].status == GOOD for reading in found] == [False] * 3 + [True] * 3
    assert [found[i]["mean"].value for i in (3, 4, 5)] == [20.0, 30.0, 40.0]
    assert [found[i]["change"].value for i in (3, 4, 5)] == [30.0] * 3
    assert [found[i]["most"].value for i in (3, 4, 5)] == [0.0, 1.0, 1.0]


def test_a_state_can_be_kept_and_gone_on_from():
    model, frames = make(x="mean(LV, 2 min)"), [frame(minute, LV=float(minute**2)) for minute in range(8)]
    state = model.learn(())
    for each in frames[:5]:
        state, _ = model.infer(state, each)
    first = [model.infer(state, frames[5]) for _ in range(2)]
    assert first[0] == first[1]
    assert first[0][1] == list(infer(model, *frames[:6])[5].values())


@pytest.mark.parametrize(
    "text", ["NONE + 1", "JI1.PV + LV", "JI1.PV +", "", "mean(LV)", "open('x')", "LV if LV else LV", "LV.real"]
)
def test_a_wrong_formula_is_refused(text: str):
    with pytest.raises(ExprError):
        make(x=text)


# frozen


def watch(after: str = "5 min", tags: tuple[str, ...] = ("LV", "JI1.PV"), name: str = "dead") -> Frozen:
    return frozen(FrozenConfig(tags, after), Setting(name, TABLE))


def alarms(frames: list[Frame], model: Frozen | None = None) -> list[tuple[float, float]]:
    return [(found["dead.alarm"].value, found["dead.age"].value) for found in infer(model or watch(), *frames)]


def test_frozen_derives_alarm_and_age_under_its_own_name():
    model = watch(name="f2")
    assert [(tag.name, tag.unit, tag.kind) for tag in model.tags] == [("f2.alarm", "1", "derived"), ("f2.age", "s", "derived")]
    assert model.tags[0].states == {0: "well", 1: "frozen"}
    assert model.needs == ("LV", "JI1.PV")


def test_no_alarm_while_every_tag_changes():
    found = alarms([frame(minute, LV=minute, JI1=-minute) for minute in range(30)])
    assert found == [(0.0, 0.0)] * 30


def test_alarm_as_soon_as_one_tag_has_stood_for_long_enough():
    frames = [frame(minute, LV=min(minute, 10), JI1=minute) for minute in range(20)]
    found = alarms(frames)
    assert found[:15] == [(0.0, 60.0 * max(0, minute - 10)) for minute in range(15)]
    assert found[15:] == [(1.0, 60.0 * (minute - 10)) for minute in range(15, 20)]


def test_the_alarm_ends_with_the_first_change_however_small():
    values = [50.0] * 7 + [math.nextafter(50.0, 51.0)] * 3
    found = alarms([frame(minute, LV=value, JI1=minute) for minute, value in enumerate(values)])
    assert [alarm for alarm, _ in found] == [0.0] * 5 + [1.0] * 2 + [0.0] * 3
    assert [age for _, age in found[6:]] == [360.0, 0.0, 60.0, 120.0]


def test_the_first_value_is_no_change_but_the_begin_of_one():
    assert alarms([frame(0), frame(5)]) == [(0.0, 0.0), (1.0, 300.0)]
    assert alarms([frame(0), frame(4.99)]) == [(0.0, 0.0), (0.0, pytest.approx(299.4))]


def test_time_counts_and_not_the_number_of_frames():
    assert alarms([frame(second / 60, JI1=second) for second in range(0, 240, 5)])[-1][0] == 0.0
    assert alarms([frame(minute, JI1=minute) for minute in (0, 10)])[-1] == (1.0, 600.0)


def test_a_short_gap_does_not_count_as_a_change():
    frames = [frame(minute, JI1=minute, bad="LV" if minute in (2, 3) else "") for minute in range(6)]
    assert alarms(frames)[-1] == (1.0, 300.0)


@pytest.mark.parametrize("how", ["bad", "old"])
def test_a_stale_tag_is_not_judged_but_keeps_its_record(how: str):
    def seen(minute: int) -> Frame:
        lost = 2 <= minute < 20
        return frame(
            minute, JI1=minute, bad="LV" if lost and how == "bad" else "", age=2 * MINUTE if lost and how == "old" else 0
        )

    found = alarms([seen(minute) for minute in range(22)])
    assert found[:2] == [(0.0, 0.0), (0.0, 60.0)]
    assert {alarm for alarm, _ in found[2:20]} == {0.0}
    assert {age for _, age in found[2:20]} == {0.0}
    assert found[20:] == [(1.0, 1200.0), (1.0, 1260.0)]


def test_a_stale_tag_does_not_hide_another_that_is_frozen():
    found = alarms([frame(minute, LV=minute, bad="LV" if minute > 2 else "") for minute in range(8)])
    assert found == [(float(minute >= 5), 60.0 * minute) for minute in range(8)]


def test_values_that_are_not_fresh_are_not_taken_for_changes():
    frames = [
        frame(minute, LV=50.0 if minute % 2 else minute, JI1=minute, bad="" if minute % 2 else "LV") for minute in range(1, 7)
    ]
    assert [age for _, age in alarms(frames)][::2] == [0.0, 120.0, 240.0]


@pytest.mark.parametrize("after", ["soon", "0 s", "", "5"])
def test_a_wrong_duration_is_refused(after: str):
    with pytest.raises(ValueError, match="duration"):
        FrozenConfig(("LV",), after)


def test_to_watch_no_tag_is_refused():
    with pytest.raises(ValueError, match="'tags' names no tag"):
        FrozenConfig(())


def test_an_unknown_tag_is_refused():
    with pytest.raises(ValueError, match="'NONE'"):
        watch(tags=("LV", "NONE"))
