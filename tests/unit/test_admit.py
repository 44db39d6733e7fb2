"""Who may say what: roles, competence, orders about tags; how long a signature is good; gates of a policy's own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from jayul.core.loop import Line, State, start, step
from jayul.core.types import SECOND, Decision, Event, Level
from jayul.plant.sim.people import NAME as SIMULATED
from jayul.project.look import ladder, replay
from jayul.project.manifest import load
from jayul.project.people import new_key
from jayul.project.run import Options, Result, execute, ticks_of
from jayul.project.wire import wire
from jayul.record.files import OsFiles
from jayul.record.sign import Signer, new_id, signed
from jayul.rules.basic import BASIC
from jayul.rules.orders import orders
from jayul.testing import DEMO_TAGS, START, make_frame

PERSON = '[[people.person]]\nname = "{}"\nroles = {}\nkey = "{}"\n{}\n'
TAG = "TIC1.SP"


def change(project: Path, *pairs: tuple[str, str]) -> Path:
    path = project / "jayul.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return project


def staffed(project: Path, kim: str = "") -> Path:
    """Name Kim an engineer, Lee an operator and Ann neither, instead of simulated people."""
    roles = {"Kim": '["engineer"]', "Lee": '["operator"]', "Ann": "[]"}
    people = [PERSON.format(name, given, new_key(name), kim if name == "Kim" else "") for name, given in roles.items()]
    lines = (project / "jayul.toml").read_text(encoding="utf-8").splitlines()
    (project / "jayul.toml").write_text("\n".join(line for line in lines if not line.startswith("simulated")), encoding="utf-8")
    return change(project, ("[people]", "".join(people)))


def limit(by: str = "Kim", *, key: str = "", tag: Any = TAG, at: int = START, **body: Any) -> Event:
    return signed(Event("limit", by, at, {"tag": tag, **body}, new_id()), Signer.open(f"person-{key or by}"))


def admitted(project: Path, event: Event, at: int = START) -> str:
    return wire(load(project), project, 0).line.admit(event, at)


def noon(day: str, clock: str = "12:00:00") -> int:
    return int(dt.datetime.fromisoformat(f"{day}T{clock}+00:00").timestamp()) * SECOND


@pytest.mark.parametrize(
    ("at", "refused"),
    [
        (noon("2026-01-01"), ""),
        (noon("2026-03-31", "00:00:00"), ""),
        (noon("2026-03-31"), ""),
        (noon("2026-03-31", "23:59:59"), ""),
        (noon("2026-04-01", "00:00:00"), "competence-expired"),
        (noon("2027-01-01"), "competence-expired"),
    ],
)
def test_competence_lasts_to_the_end_of_its_last_day(small_project: Path, at: int, refused: str) -> None:
    project = staffed(small_project, "until = 2026-03-31")
    assert admitted(project, limit(lock=True), at) == refused
    assert admitted(project, limit("Lee", lock=True), at) == ""


@pytest.mark.parametrize("kind", ["signature", "approval", "rejection", "evidence", "limit", "override", "stop"])
def test_without_competence_nothing_that_needs_a_signature_is_taken(small_project: Path, kind: Any) -> None:
    project = change(staffed(small_project, "until = 2026-03-31"), ('roles = ["engineer"]', 'roles = ["engineer", "operator"]'))
    event = signed(Event(kind, "Kim", START, {"tag": TAG, "lock": True}, "x"), Signer.open("person-Kim"))
    assert admitted(project, event) == ""
    assert admitted(project, event, noon("2026-04-01")) == "competence-expired"


@pytest.mark.parametrize("kind", ["demotion", "note"])
def test_the_safe_way_is_open_without_competence_too(small_project: Path, kind: Any) -> None:
    project = staffed(small_project, "until = 2026-03-31")
    assert admitted(project, Event(kind, "Kim", 0, {"policy": "preheat"}, "x"), noon("2026-04-01")) == ""


ORDERS: list[tuple[dict[str, Any], str]] = [
    ({"low": 50.0}, ""),
    ({"low": 50, "high": 60.0, "reason": "cleaning"}, ""),
    ({"lock": True}, ""),
    ({"clear": True}, ""),
    ({"by": "Lee", "lock": True}, ""),
    ({"by": "Ann", "lock": True}, "not-authorised"),
    ({"by": "Bob", "lock": True}, "not-authorised"),
    ({"by": SIMULATED, "lock": True}, "not-authorised"),
    ({"key": "Lee", "lock": True}, "signature-invalid"),
    ({"by": "Lee", "key": "Kim", "lock": True}, "signature-invalid"),
    ({}, "order-malformed"),
    ({"low": 60.0, "high": 50.0}, "order-malformed"),
    ({"low": float("nan")}, "order-malformed"),
    ({"low": "50"}, "order-malformed"),
    ({"lock": True, "low": 50.0}, "order-malformed"),
    ({"lock": True, "clear": True}, "order-malformed"),
    ({"lock": 1}, "order-malformed"),
    ({"clear": True, "of": 3}, "order-malformed"),
    ({"tag": "GHOST", "lock": True}, "order-malformed"),
    ({"tag": None, "lock": True}, "order-malformed"),
    ({"tag": [TAG], "lock": True}, "order-malformed"),
    ({"clear": True, "of": "Lee"}, ""),
    ({"by": "Lee", "clear": True, "of": "Lee"}, ""),
    ({"by": "Lee", "clear": True, "of": "Kim"}, "not-authorised"),
]


@pytest.mark.parametrize(("given", "refused"), ORDERS, ids=str)
def test_an_order_is_admitted_or_refused_with_its_reason(small_project: Path, given: dict[str, Any], refused: str) -> None:
    assert admitted(staffed(small_project), limit(**given)) == refused


def test_an_order_that_was_changed_on_its_way_is_refused(small_project: Path) -> None:
    event = limit(high=60.0)
    project = staffed(small_project)
    for changed in ({"body": {"tag": TAG, "high": 66.0}}, {"at": START + 1}, {"id": "y"}, {"by": "Lee"}, {"kind": "evidence"}):
        assert admitted(project, replace(event, **changed)) == "signature-invalid"


# what is in force: one order for each tag and person, the newest

HERE = np.arange(len(DEMO_TAGS.tags))
LINE = Line(DEMO_TAGS, HERE, HERE, HERE, 30 * SECOND, rules=(*BASIC, orders), admit=lambda event, at: "")


def hear(*events: Event, state: State | None = None) -> tuple[State, list[str]]:
    """Give the events to the loop, one a tick."""
    state, refused = state or start(LINE), []
    for event in events:
        state, decision, _ = step(LINE, state, make_frame(DEMO_TAGS, {"SP": 50.0}), [event])
        refused += [heard.refused for heard in decision.events]
    return state, refused


def said(by: str = "Kim", at: int = START, **body: Any) -> Event:
    return Event("limit", by, at, {"tag": "SP", **body}, new_id())


def in_force(state: State) -> dict[str, dict[str, Any]]:
    return {who: {k: v for k, v in e.body.items() if k not in ("tag", "of")} for (_, who), e in state.orders.items()}


def test_a_newer_order_takes_the_place_of_an_older_one() -> None:
    state, refused = hear(said(high=60.0), said(at=START + 1, low=45.0))
    assert refused == ["", ""]
    assert in_force(state) == {"Kim": {"low": 45.0}}


def test_an_older_order_is_refused() -> None:
    state, refused = hear(said(at=START + 1, lock=True), said(high=60.0))
    assert refused == ["", "order-out-of-date"]
    assert in_force(state) == {"Kim": {"lock": True}}


def test_a_replayed_order_is_refused() -> None:
    lock, clear = said(lock=True), said(at=START + 1, clear=True)
    again = replace(lock, id=lock.id)
    state, refused = hear(lock, again, clear, again)
    assert refused == ["", "order-out-of-date", "", "order-out-of-date"]
    assert in_force(state) == {"Kim": {"clear": True}}


def test_orders_of_one_tick_are_taken_in_order_of_arrival() -> None:
    events = [said(lock=True), said(at=START + 2, clear=True), said(at=START + 1, high=60.0)]
    state, decision, _ = step(LINE, start(LINE), make_frame(DEMO_TAGS, {}), events)
    assert [heard.refused for heard in decision.events] == ["", "", "order-out-of-date"]
    assert in_force(state) == {"Kim": {"clear": True}}


def test_everybody_and_every_tag_has_an_order_of_its_own() -> None:
    other = Event("limit", "Kim", START - 9, {"tag": "BARE", "lock": True}, "x")
    state, refused = hear(said(high=60.0), said("Lee", START - 5, lock=True), other)
    assert refused == ["", "", ""]
    assert set(state.orders) == {("SP", "Kim"), ("SP", "Lee"), ("BARE", "Kim")}


def test_an_engineer_ends_the_order_of_another_and_it_stays_ended() -> None:
    lock, end = said("Lee", lock=True), said("Kim", START + 1, clear=True, of="Lee")
    state, refused = hear(lock, end, replace(lock, id="again"))
    assert refused == ["", "", "order-out-of-date"]
    assert in_force(state) == {"Lee": {"clear": True}}
    assert hear(said("Lee", START + 2, lock=True), state=state)[1] == [""]


def test_what_is_not_admitted_is_not_in_force() -> None:
    closed = replace(LINE, admit=lambda event, at: "not-authorised")
    state, decision, _ = step(closed, start(closed), make_frame(DEMO_TAGS, {}), [said(lock=True)])
    assert [heard.refused for heard in decision.events] == ["not-authorised"]
    assert state.orders == {}


# how long a signature is good


def run(project: Path, out: Path, ticks: int) -> tuple[Result, list[Decision]]:
    result = execute(project, out, Options(ticks=ticks, history=False))
    return result, [tick.decision for tick in ticks_of(OsFiles(out / "journal"))]


def steps(decisions: list[Decision]) -> list[tuple[int, Level, str]]:
    return [(d.tick, c.after, c.reason) for d in decisions for c in d.changes]


def test_a_signature_for_confirm_expires_after_its_time_and_not_before(small_project: Path, tmp_path: Path) -> None:
    change(small_project, ("[ladder.shadow]", '[ladder]\nsigned_for = "5 min"\n\n[ladder.shadow]'))
    _, decisions = run(small_project, tmp_path / "out", 60)
    reached = next(tick for tick, level, _ in steps(decisions) if level == Level.CONFIRM)
    fell = next(step for step in steps(decisions) if step[2] == "signature-expired")
    assert fell == (reached + 11, Level.ADVISE, "signature-expired")  # good for the 10 ticks after the one it was given at
    assert any(decision.writes for decision in decisions[: reached + 11])
    assert replay(tmp_path / "out", full=True).differing == 0


def test_a_signature_for_shadow_or_advise_does_not_expire(small_project: Path, tmp_path: Path) -> None:
    change(
        small_project,
        ("[ladder.shadow]", '[ladder]\nsigned_for = "1 min"\n\n[ladder.shadow]'),
        ("[ladder.confirm]\nticks = 5", "[ladder.confirm]\nticks = 5000"),
    )
    _, decisions = run(small_project, tmp_path / "out", 60)
    assert [reason for _, _, reason in steps(decisions)] == ["signed", "signed"]


def test_after_it_expired_a_new_signature_leads_up_again(small_project: Path, tmp_path: Path) -> None:
    change(small_project, ("[ladder.shadow]", '[ladder]\nsigned_for = "5 min"\n\n[ladder.shadow]'))
    _, decisions = run(small_project, tmp_path / "out", 100)
    last = [(level, reason) for _, level, reason in steps(decisions)][2:5]
    assert last == [(Level.CONFIRM, "signed"), (Level.ADVISE, "signature-expired"), (Level.CONFIRM, "signed")]


def test_without_signed_for_a_signature_is_good_for_ever(small_project: Path, tmp_path: Path) -> None:
    _, decisions = run(small_project, tmp_path / "out", 240)
    assert "signature-expired" not in [reason for _, _, reason in steps(decisions)]


# gates of a policy's own

SECOND_POLICY = """
[[policy]]
kind = "setpoint"
name = "level"
writes = ["LIC1.SP"]
target = { "LIC1.SP" = 55.0 }
per_hour = { "LIC1.SP" = 20.0 }
[policy.ladder.shadow]
ticks = 20
[policy.ladder]
signed_for = "1 h"

[guard]"""


def test_a_policy_with_gates_of_its_own_climbs_by_them_alone(small_project: Path, tmp_path: Path) -> None:
    change(small_project, ("[guard]", SECOND_POLICY))
    result, decisions = run(small_project, tmp_path / "out", 60)
    assert result.summary.level_now == {"preheat": "confirm", "level": "shadow"}
    first = next(d.tick for d in decisions for c in d.changes if c.policy == "level")
    assert first == 20
    standing = {found.policy: found for found in ladder(tmp_path / "out").standings}
    assert standing["level"].lacks == {"gate": (0.0, 1.0)}
    assert replay(tmp_path / "out", full=True).differing == 0
