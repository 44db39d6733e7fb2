"""Findings: what each alarm of a run amounts to, counted tick by tick."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jayul.core.types import SECOND, Change, Decision, Event, Frame, Heard, Level, MovePlan, Outcome, Tag, TagTable
from jayul.project.summary import EPISODES, Episode, Finding, Tally
from jayul.testing import START, make_frame

MIN = 60 * SECOND
NAMES = {0: "a", 1: "b", 2: "c", 3: "d"}
TABLE = TagTable(
    [
        Tag(name="PV"),
        Tag(name="m.alarm", kind="derived"),
        *(Tag(name=f"m.top{i}", kind="derived", states=NAMES) for i in (1, 2, 3)),
        Tag(name="dead.alarm", kind="derived"),
        Tag(name="plant.alarm", kind="mode"),
    ]
)


def frame(tick: int, m: float = 0.0, dead: float = 0.0, tops: Sequence[float] = (0, 1, 2)) -> Frame:
    values = {"m.alarm": m, "dead.alarm": dead, "plant.alarm": 1.0}
    return make_frame(TABLE, values | {f"m.top{i + 1}": top for i, top in enumerate(tops)}, START + tick * MIN)


def tally(frames: Sequence[Frame]) -> Tally:
    made = Tally(TABLE, (), (), 60 * SECOND)
    for tick, found in enumerate(frames):
        decision = Decision(tick, found.at, bytes(32), (b"", b"", b"", b""), (), (), (), (), (), (), (), ())
        made.add(found, decision, Outcome(tick, ()))
    return made


def findings(frames: Sequence[Frame]) -> dict[str, Finding]:
    return {finding.tag: finding for finding in tally(frames).findings()}


def rings(text: str) -> list[Frame]:
    return [frame(tick, float(mark == "!")) for tick, mark in enumerate(text)]


def test_every_derived_alarm_is_found_and_no_other_tag():
    assert list(findings(rings(".."))) == ["m.alarm", "dead.alarm"]


@pytest.mark.parametrize(
    ("text", "episodes", "minutes", "share"),
    [
        ("..........", 0, 0.0, 0.0),
        ("..!.......", 1, 1.0, 0.1),
        (".!!!..!!..", 2, 5.0, 0.5),
        ("!.!.!.!.!.", 5, 5.0, 0.5),
        ("!!!!!!!!!.", 1, 9.0, 0.9),
    ],
)
def test_episodes_minutes_and_share_are_counted(text: str, episodes: int, minutes: float, share: float):
    found = findings(rings(text))["m.alarm"]
    assert (found.episodes, found.minutes, found.share) == (episodes, minutes, share)
    assert sum(episode.minutes for episode in found.longest) == minutes


def test_each_episode_says_when_and_for_how_long():
    found = findings(rings(".!!!..!!.."))["m.alarm"]
    assert [(episode.at, episode.minutes) for episode in found.longest] == [(START + MIN, 3.0), (START + 6 * MIN, 2.0)]


def test_the_contributions_are_those_of_the_first_tick():
    tops = [(0, 0, 0), (3, 1, 2), (2, 2, 2), (0, 1, 2), (1, 0, 3)]
    found = findings([frame(i, float(i in (1, 2, 4)), tops=top) for i, top in enumerate(tops)])["m.alarm"]
    assert [episode.top for episode in found.longest] == [["d", "b", "c"], ["b", "a", "d"]]


def test_a_contribution_without_a_name_is_left_out():
    found = findings([frame(0, 1.0, tops=(3, 9, 1)), frame(1)])["m.alarm"]
    assert found.longest[0].top == ["d", "b"]


def test_an_alarm_without_contributions_names_none():
    found = findings([frame(0, dead=1.0), frame(1, dead=1.0), frame(2)])
    assert found["dead.alarm"].longest == [Episode(START, 2.0, [])]
    assert found["m.alarm"].episodes == 0


def test_an_alarm_that_rings_at_the_last_tick_is_closed_there():
    found = findings(rings("...!!!"))["m.alarm"]
    assert (found.episodes, found.share) == (1, 0.5)
    assert [(episode.at, episode.minutes) for episode in found.longest] == [(START + 3 * MIN, 2.0)]


def test_an_alarm_that_is_not_known_does_not_ring():
    found = findings([frame(0, 1.0), frame(1, float("nan")), frame(2, 2.0), frame(3, 1.0), frame(4)])["m.alarm"]
    assert (found.episodes, found.minutes, found.share) == (2, 2.0, 0.4)


def test_minutes_are_of_the_clock_and_not_ticks():
    made = Tally(TABLE, (), (), 60 * SECOND)
    for tick, (minute, rung) in enumerate([(0, 0.0), (10, 1.0), (25, 1.0), (40, 0.0)]):
        found = frame(minute, rung)
        decision = Decision(tick, found.at, bytes(32), (b"", b"", b"", b""), (), (), (), (), (), (), (), ())
        made.add(found, decision, Outcome(tick, ()))
    found = made.findings()[0]
    assert (found.episodes, found.minutes, found.share) == (1, 30.0, 0.5)


def test_the_longest_are_kept_in_order_of_time_and_all_are_counted():
    text = "".join("!" * (2 if i < 3 or i % 2 else 1) + "." for i in range(2 * EPISODES))
    found = findings(rings(text))["m.alarm"]
    assert (found.episodes, found.minutes) == (2 * EPISODES, text.count("!"))
    assert len(found.longest) == EPISODES
    begins = [START + tick * MIN for tick in range(len(text)) if f".{text}"[tick : tick + 3] == ".!!"]
    assert len(begins) > EPISODES
    assert [(episode.at, episode.minutes) for episode in found.longest] == [(at, 2.0) for at in begins[:EPISODES]]


def test_a_run_without_ticks_finds_nothing():
    assert tally([]).findings() == [Finding(name, 0, 0.0, 0.0, []) for name in ("m.alarm", "dead.alarm")]


def test_effort_counts_acts_overrides_and_hasty_approvals() -> None:
    plan = MovePlan("", "p", {"SP": 60.0}, {"SP": 60.0}, "test", START, START + 3600 * SECOND).sealed()
    made = Tally(TABLE, ("p",), (), 60 * SECOND)

    def tick(number: int, **more) -> None:
        at = START + number * 60 * SECOND
        base = dict.fromkeys(("events", "plans", "verdicts", "changes", "asks", "writes", "failed"), ())
        decision = Decision(number, at, b"", (b"", b"", b"", b""), **(base | {"levels": (Level.CONFIRM,)} | more))
        made.add(frame(number), decision, Outcome(number, ()))

    def approval(at: int, name: str) -> Heard:
        return Heard(Event("approval", "kim", at, {"policy": "p", "plan": plan.id}, name, b"signed"))

    tick(0, plans=(plan,))
    tick(1, events=(approval(START + SECOND, "a"), approval(START + 40 * SECOND, "b")))
    fallen = (Change("p", Level.CONFIRM, Level.ADVISE, "override"),)
    tick(2, changes=fallen, events=(Heard(Event("note", "x", 0, {}, "mon-proof")),))
    assert made.effort.acts == {"approval": 2}
    assert (made.effort.overrides, made.effort.hasty_approvals, made.effort.clamped_minutes) == (1, 1, 0.0)
