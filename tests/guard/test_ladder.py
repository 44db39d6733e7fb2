"""Every step on the ladder: gates, signatures, approvals, falls, evidence, the watch over a plan, the right to write."""

from __future__ import annotations

import math

import msgspec
import pytest
from msgspec.structs import replace

from jayul.core import ladder
from jayul.core.ladder import FALLS, Gate, Offer, Rung, Terms
from jayul.core.types import BAD, SECOND, Ask, Change, Event, Level, MovePlan
from jayul.testing import DEMO_TAGS, START, make_frame

HOUR = 3600 * SECOND
PLAN = MovePlan("", "p", {"SP": 60.0}, {"SP": 120.0}, "test", START, START + HOUR, abort=(("PV", 20.0, 80.0),)).sealed()
OPEN = Terms({level: Gate() for level in Level if level > Level.RECORD})
CLOSED = Terms({})


def terms(level=Level.SHADOW, **gate):
    return Terms({level: Gate(**gate)})


def event(kind, at=START, **body):
    return Event(kind, "kim", at, {"policy": "p", **body}, "id")


def signature(level="shadow", since=0):
    return event("signature", level=level, since=since)


def hear(rung, what, among=OPEN, at=START, tick=9, pv=50.0):
    return ladder.hear(rung, among, what, make_frame(DEMO_TAGS, {"SP": 50.0, "PV": pv}, at), tick, "p")


def offered(level=Level.CONFIRM, plan=PLAN, **more):
    return Rung(level, since=5, ticks=3, offer=Offer(plan, 6, **more))


@pytest.mark.parametrize(
    ("rung", "gate", "lacks"),
    [
        (Rung(ticks=10), {"ticks": 10}, {}),
        (Rung(ticks=9), {"ticks": 10}, {"ticks": (9, 10)}),
        (Rung(ticks=1, asked=5), {"proposals": 5}, {}),
        (Rung(ticks=1, asked=4), {"proposals": 5}, {"proposals": (4, 5)}),
        (Rung(ticks=10, fresh=9), {"coverage": 0.9}, {}),
        (Rung(ticks=10, fresh=8), {"coverage": 0.9}, {"coverage": (0.8, 0.9)}),
        (Rung(ticks=1, fresh=1), {"coverage": 1.0}, {}),
        (Rung(ticks=1, asked=1, vetoed=1), {"max_veto_rate": 0.5}, {"veto-rate": (1.0, 0.5)}),
        (Rung(), {"ticks": 0, "coverage": 0.5}, {"coverage": (0.0, 0.5)}),
        (Rung(ticks=1, asked=10, vetoed=1), {"max_veto_rate": 0.1}, {}),
        (Rung(ticks=1, asked=10, vetoed=2), {"max_veto_rate": 0.1}, {"veto-rate": (0.2, 0.1)}),
        (Rung(ticks=1), {"max_veto_rate": 0.0}, {}),
        (Rung(ticks=1, evidence={"loop check": True}), {"evidence": ("loop check",)}, {}),
        (Rung(ticks=1), {"evidence": ("loop check",)}, {"evidence loop check": (0.0, 1.0)}),
        (Rung(ticks=1, evidence={"loop check": False}), {"evidence": ("loop check",)}, {"evidence loop check": (0.0, 1.0)}),
        (Rung(ticks=1, evidence={"proven": False, "loop check": True}), {}, {"evidence proven": (0.0, 1.0)}),
        (Rung(), {"proposals": 1}, {"ticks": (0, 1), "proposals": (0, 1)}),
    ],
)
def test_missing_says_what_the_gate_lacks(rung, gate, lacks):
    assert ladder.missing(rung, terms(**gate)) == lacks


@pytest.mark.parametrize("rung", [Rung(ticks=9), Rung(Level.SHADOW, ticks=9), Rung(Level.AUTO, ticks=9)])
def test_without_a_gate_nothing_leads_on(rung):
    assert ladder.missing(rung, terms(Level.CONFIRM)) == {"gate": (0.0, 1.0)}


@pytest.mark.parametrize("level", [level for level in Level if level < Level.AUTO])
def test_a_signature_lifts_by_one_rung_and_starts_a_new_stay(level):
    rung = Rung(
        level, since=5, ticks=3, fresh=3, asked=2, vetoed=1, stale_run=1, veto_run=1, evidence={"e": True}, offer=Offer(PLAN, 6)
    )
    after = Level(level + 1)
    new, changes, refused = hear(rung, signature(after.name.lower(), since=5))
    assert new == Rung(after, 9, "signed", evidence={"e": True}, offer=Offer(PLAN, 6))
    assert (changes, refused) == ((Change("p", level, after, "signed", "kim"),), "")


@pytest.mark.parametrize(
    ("rung", "body", "reason"),
    [
        (Rung(ticks=1), {"level": "shadow", "since": 0}, ""),
        (Rung(ticks=1), {"level": "shadow", "since": 1}, "signature-for-another-stay"),
        (Rung(ticks=1, since=4), {"level": "shadow", "since": 0}, "signature-for-another-stay"),
        (Rung(ticks=1), {"level": "shadow"}, "signature-for-another-stay"),
        (Rung(ticks=1), {"level": "record", "since": 0}, "signature-for-another-stay"),
        (Rung(ticks=1), {"level": "advise", "since": 0}, "signature-for-another-stay"),
        (Rung(ticks=1), {"level": "auto", "since": 0}, "signature-for-another-stay"),
        (Rung(ticks=1), {"level": "SHADOW", "since": 0}, "signature-for-another-stay"),
        (Rung(ticks=1), {"level": 1, "since": 0}, "signature-for-another-stay"),
        (Rung(ticks=1), {"since": 0}, "signature-for-another-stay"),
        (Rung(), {"level": "shadow", "since": 0}, "gate-not-passed"),
        (Rung(Level.AUTO, ticks=1), {"level": "auto", "since": 0}, "gate-not-passed"),
        (Rung(Level.CONFIRM, ticks=1), {"level": "confirm", "since": 0}, "signature-for-another-stay"),
    ],
)
def test_signature(rung, body, reason):
    new, changes, refused = hear(rung, event("signature", **body))
    assert refused == reason
    assert bool(changes) == (not reason)
    assert (new == rung) == bool(reason)


def test_a_signature_without_a_gate_is_refused():
    assert hear(Rung(ticks=99), signature(), among=CLOSED)[1:] == ((), "gate-not-passed")


def test_a_signature_counts_once():
    rung, _, _ = hear(Rung(ticks=5), signature(), tick=9)
    assert hear(rung, signature(), tick=9)[2] == "signature-for-another-stay"


APPROVAL = {"plan": PLAN.id}


@pytest.mark.parametrize(
    ("rung", "body", "at", "reason"),
    [
        (offered(), APPROVAL, START, ""),
        (offered(), APPROVAL, START + HOUR, ""),
        (offered(), APPROVAL, START + HOUR + 1, "plan-closed"),
        (offered(closed="done"), APPROVAL, START, "plan-closed"),
        (offered(approved_by="lee"), APPROVAL, START, "approval-used"),
        (offered(approved_by="lee", closed="done"), APPROVAL, START, "approval-used"),
        (offered(), {"plan": "another"}, START, "plan-not-on-the-table"),
        (offered(), {}, START, "plan-not-on-the-table"),
        (Rung(Level.CONFIRM), APPROVAL, START, "plan-not-on-the-table"),
        *((offered(level), APPROVAL, START, "level-too-low") for level in (Level.RECORD, Level.SHADOW, Level.ADVISE)),
    ],
)
def test_approval(rung, body, at, reason):
    new, changes, refused = hear(rung, event("approval", **body), at=at)
    assert (changes, refused) == ((), reason)
    assert new == (rung if reason else replace(rung, offer=replace(rung.offer, approved_by="kim")))


def test_an_approval_is_used_only_once():
    rung, _, _ = hear(offered(), event("approval", **APPROVAL))
    assert hear(rung, event("approval", **APPROVAL))[1:] == ((), "approval-used")


@pytest.mark.parametrize("level", [Level.ADVISE, Level.CONFIRM, Level.AUTO])
def test_a_rejection_closes_the_plan_at_any_level(level):
    rung = offered(level)
    assert hear(rung, event("rejection", **APPROVAL)) == (replace(rung, offer=replace(rung.offer, closed="rejected")), (), "")


def test_a_rejected_plan_cannot_be_approved():
    rung, _, _ = hear(offered(), event("rejection", **APPROVAL))
    assert hear(rung, event("approval", **APPROVAL))[2] == "plan-closed"


@pytest.mark.parametrize("body", [{"plan": "another"}, {}])
def test_a_rejection_of_another_plan_is_refused(body):
    assert hear(offered(), event("rejection", **body)) == (offered(), (), "plan-not-on-the-table")


FALLEN = [(reason, before, FALLS[reason]) for reason in FALLS for before in Level]
EXPECTED_FALLS = {
    "inputs-stale": Level.ADVISE,
    "override": Level.ADVISE,
    "plan-aborted": Level.ADVISE,
    "write-partial": Level.ADVISE,
    "write-rejected": Level.ADVISE,
    "outcome-unknown": Level.ADVISE,
    "veto-streak": Level.SHADOW,
    "evidence-against": Level.SHADOW,
    "signature-expired": Level.ADVISE,
    "policy-failed": Level.RECORD,
    "person": Level.RECORD,
    "changed": Level.RECORD,
}


def test_every_reason_has_its_level():
    assert dict(FALLS) == EXPECTED_FALLS


@pytest.mark.parametrize(("reason", "before", "left"), [case for case in FALLEN if case[1] > case[2]])
def test_a_fall_leaves_the_level_of_its_reason_and_closes_the_plan(reason, before, left):
    rung = Rung(
        before,
        since=5,
        ticks=3,
        fresh=2,
        asked=4,
        vetoed=1,
        stale_run=2,
        veto_run=3,
        evidence={"e": True},
        offer=Offer(PLAN, 6),
    )
    new, changes = ladder.fall(rung, 9, reason, "p", "kim")
    assert new == Rung(left, 9, reason, evidence={"e": True}, offer=Offer(PLAN, 6, closed=reason))
    assert changes == (Change("p", before, left, reason, "kim"),)


@pytest.mark.parametrize(("reason", "before", "left"), [case for case in FALLEN if case[1] <= case[2]])
def test_a_fall_to_where_one_stands_has_no_effect(reason, before, left):
    rung = Rung(before, since=5, ticks=3, offer=Offer(PLAN, 6))
    assert ladder.fall(rung, 9, reason, "p") == (rung, ())


def test_a_fall_without_a_plan_leaves_none():
    assert ladder.fall(Rung(Level.AUTO), 9, "person", "p")[0].offer is None


def test_a_fall_of_itself_names_nobody():
    assert ladder.fall(Rung(Level.AUTO), 9, "inputs-stale", "p")[1] == (
        Change("p", Level.AUTO, Level.ADVISE, "inputs-stale", ""),
    )


def test_a_fall_keeps_why_a_plan_was_closed_before():
    assert ladder.fall(offered(closed="done"), 9, "person", "p")[0].offer.closed == "done"


def test_an_unknown_reason_is_a_mistake():
    with pytest.raises(KeyError):
        ladder.fall(Rung(Level.AUTO), 9, "no such reason", "p")


def test_a_demotion_by_a_person_leaves_record_only():
    new, changes, refused = hear(Rung(Level.AUTO), event("demotion"))
    assert (new.level, new.reason, refused) == (Level.RECORD, "person", "")
    assert changes == (Change("p", Level.AUTO, Level.RECORD, "person", "kim"),)


def test_a_demotion_at_record_changes_nothing():
    assert hear(Rung(ticks=4), event("demotion")) == (Rung(ticks=4), (), "")


def test_evidence_that_passed_is_kept():
    rung = Rung(Level.CONFIRM, evidence={"a": True, "b": False})
    new, changes, refused = hear(rung, event("evidence", name="b", passed=True))
    assert (new, changes, refused) == (replace(rung, evidence={"a": True, "b": True}), (), "")


@pytest.mark.parametrize("passed", [False, None, 1, "yes"])
def test_evidence_that_did_not_clearly_pass_demotes(passed):
    new, changes, refused = hear(Rung(Level.AUTO, evidence={"a": True}), event("evidence", name="a", passed=passed))
    assert (new.level, new.reason, new.evidence, refused) == (Level.SHADOW, "evidence-against", {"a": False}, "")
    assert changes == (Change("p", Level.AUTO, Level.SHADOW, "evidence-against", "kim"),)


def test_evidence_without_a_word_of_passing_is_against():
    assert hear(Rung(Level.SHADOW), event("evidence"))[0].evidence == {"": False}


def test_evidence_against_low_on_the_ladder_is_kept_without_a_change():
    new, changes, refused = hear(Rung(Level.SHADOW), event("evidence", name="a", passed=False))
    assert (new, changes, refused) == (Rung(Level.SHADOW, evidence={"a": False}), (), "")


def test_evidence_survives_a_fall_and_a_rise():
    rung, _, _ = hear(Rung(Level.SHADOW, ticks=1), event("evidence", name="a", passed=True))
    rung, _, _ = hear(rung, event("demotion"))
    rung, _, _ = hear(replace(rung, ticks=1), signature(since=9))
    assert (rung.level, rung.evidence) == (Level.SHADOW, {"a": True})


@pytest.mark.parametrize("kind", ["override", "limit", "stop", "configuration", "note"])
def test_other_events_change_nothing(kind):
    assert hear(offered(), event(kind)) == (offered(), (), "")


@pytest.mark.parametrize(
    ("rung", "signal", "counted", "reason"),
    [
        (Rung(), (True, 0, 0), Rung(ticks=1, fresh=1), ""),
        (Rung(), (False, 0, 0), Rung(ticks=1, stale_run=1), ""),
        (Rung(), (True, 3, 0), Rung(ticks=1, fresh=1, asked=3), ""),
        (Rung(), (True, 3, 2), Rung(ticks=1, fresh=1, asked=3, vetoed=2, veto_run=1), ""),
        (Rung(stale_run=1), (False, 0, 0), Rung(ticks=1, stale_run=2), "inputs-stale"),
        (Rung(stale_run=1), (True, 0, 0), Rung(ticks=1, fresh=1), ""),
        (Rung(veto_run=1), (True, 1, 1), Rung(ticks=1, fresh=1, asked=1, vetoed=1, veto_run=2), ""),
        (Rung(veto_run=2), (True, 1, 1), Rung(ticks=1, fresh=1, asked=1, vetoed=1, veto_run=3), "veto-streak"),
        (Rung(veto_run=1), (True, 1, 0), Rung(ticks=1, fresh=1, asked=1), ""),
        (Rung(veto_run=1), (True, 0, 0), Rung(ticks=1, fresh=1, veto_run=1), ""),
        (
            Rung(stale_run=1, veto_run=2),
            (False, 1, 1),
            Rung(ticks=1, asked=1, vetoed=1, stale_run=2, veto_run=3),
            "veto-streak",  # which leaves less
        ),
    ],
)
def test_fold_counts_a_tick_and_says_when_it_is_too_much(rung, signal, counted, reason):
    assert ladder.fold(rung, Terms({}, stale_ticks=2, veto_ticks=3), *signal) == (counted, reason)


def test_asks_for_the_signature_of_a_gate_that_is_passed():
    assert ladder.asks(Rung(Level.SHADOW, since=7, ticks=1), OPEN, "p") == (Ask("signature", "p", "advise", 7),)


@pytest.mark.parametrize("rung", [Rung(), Rung(Level.AUTO, ticks=9)])
def test_asks_for_nothing_while_the_gate_is_shut_or_there_is_none(rung):
    assert ladder.asks(rung, OPEN, "p") == ()


@pytest.mark.parametrize(
    ("rung", "wanted"),
    [
        (offered(), True),
        (offered(approved_by="kim"), False),
        (offered(closed="done"), False),
        (offered(Level.ADVISE), False),
        (offered(Level.AUTO), False),
        (Rung(Level.CONFIRM), False),
    ],
)
def test_asks_for_the_approval_of_an_open_plan_at_confirm(rung, wanted):
    assert ladder.asks(rung, CLOSED, "p") == ((Ask("approval", "p", PLAN.id, 6),) if wanted else ())


def test_signature_and_approval_may_be_asked_for_together():
    assert [ask.kind for ask in ladder.asks(offered(), OPEN, "p")] == ["signature", "approval"]


APPROVED = offered(approved_by="kim")


@pytest.mark.parametrize(
    ("rung", "frame", "closed", "reason"),
    [
        (APPROVED, {}, "", ""),
        (APPROVED, {"at": START + HOUR}, "", ""),
        (APPROVED, {"at": START + HOUR + 1}, "expired", ""),
        (offered(), {"at": START + HOUR + 1}, "expired", ""),
        (offered(Level.SHADOW), {"at": START + HOUR + 1}, "expired", ""),
        (APPROVED, {"sp": 60.0}, "done", ""),
        (offered(Level.AUTO), {"sp": 60.0}, "done", ""),
        (offered(plan=replace(PLAN, targets={"SP": 60.0, "PV": 51.0}), approved_by="kim"), {"sp": 60.0}, "", ""),
        (offered(), {"sp": 60.0}, "", ""),  # nobody approved it: it has not been carried out
        (offered(Level.SHADOW), {"sp": 60.0}, "", ""),
        (APPROVED, {"pv": 80.0}, "", ""),
        (APPROVED, {"pv": 20.0}, "", ""),
        (APPROVED, {"pv": 80.1}, "", "plan-aborted"),
        (APPROVED, {"pv": 19.9}, "", "plan-aborted"),
        (APPROVED, {"pv": math.nan}, "", "plan-aborted"),
        (APPROVED, {"status": BAD}, "", "plan-aborted"),
        (APPROVED, {"age": 61 * SECOND}, "", "plan-aborted"),
        (APPROVED, {"sp": 60.0, "pv": 99.0}, "", "plan-aborted"),
        (offered(Level.AUTO), {"pv": 99.0}, "", "plan-aborted"),
        (offered(), {"pv": 99.0}, "", ""),  # it is not live
        (offered(plan=replace(PLAN, abort=(("GHOST", 0.0, 1.0),)), approved_by="kim"), {}, "", "plan-aborted"),
        (offered(plan=replace(PLAN, abort=()), approved_by="kim"), {"sp": 60.0, "status": BAD}, "", ""),
    ],
)
def test_watch(rung, frame, closed, reason):
    values = {"SP": frame.get("sp", 50.0), "PV": frame.get("pv", 50.0)}
    seen = make_frame(DEMO_TAGS, values, **{name: frame[name] for name in frame if name not in ("sp", "pv")})
    expected = replace(rung, offer=replace(rung.offer, closed=closed)) if closed else rung
    assert ladder.watch(rung, seen) == (expected, reason)


@pytest.mark.parametrize("rung", [Rung(Level.AUTO), offered(Level.AUTO, closed="done")])
def test_watch_leaves_alone_what_is_closed_or_not_there(rung):
    assert ladder.watch(rung, make_frame(DEMO_TAGS, {"PV": 99.0}, START + 2 * HOUR)) == (rung, "")


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    ("offer", "writers"),
    [
        (None, [Level.AUTO]),
        (Offer(PLAN, 6), [Level.AUTO]),
        (Offer(PLAN, 6, approved_by="kim"), [Level.CONFIRM, Level.AUTO]),
        (Offer(PLAN, 6, closed="done"), []),
        (Offer(PLAN, 6, approved_by="kim", closed="done"), []),
    ],
)
def test_may_write(level, offer, writers):
    assert ladder.may_write(Rung(level, offer=offer)) is (level in writers)


def test_an_approval_is_worth_nothing_once_an_input_has_left_the_band_that_it_was_judged_in():
    plan = replace(PLAN, band=(("PV", 45.0, 55.0),)).sealed()
    for pv, refused in ((50.0, ""), (45.0, ""), (55.0, ""), (44.9, "situation-changed"), (math.nan, "situation-changed")):
        new, changes, said = hear(offered(plan=plan), event("approval", plan=plan.id), pv=pv)
        assert (said, changes) == (refused, ())
        assert new.offer.approved_by == ("" if refused else "kim")
        assert not new.offer.closed


@pytest.mark.parametrize("level", list(Level))
def test_a_signature_for_confirm_or_auto_runs_out(level):
    among = replace(OPEN, signed_ticks=4)
    for ticks, expired in ((3, False), (4, level >= Level.CONFIRM)):
        assert ladder.fold(Rung(level, ticks=ticks), among, True, 0, 0)[1] == ("signature-expired" if expired else "")
    assert ladder.fold(Rung(level, ticks=10**9), OPEN, True, 0, 0)[1] == ""


def test_a_signature_may_be_good_for_a_single_tick():
    among = replace(OPEN, signed_ticks=1)
    assert ladder.fold(Rung(Level.AUTO, ticks=0), among, True, 0, 0)[1] == ""
    assert ladder.fold(Rung(Level.AUTO, ticks=1), among, True, 0, 0)[1] == "signature-expired"


def test_a_fall_by_evidence_is_dated():
    assert hear(Rung(Level.AUTO), event("evidence", name="a", passed=False), tick=77)[0].since == 77


def test_a_plan_that_is_not_closed_is_left_as_it_is():
    rung = offered()
    assert ladder.watch(rung, make_frame(DEMO_TAGS, {"SP": 50.0, "PV": 50.0}))[0] is rung


def test_the_worse_reason_decides_over_an_expired_signature():
    _, reason = ladder.fold(Rung(Level.AUTO, ticks=10, veto_run=4), Terms({}, veto_ticks=5, signed_ticks=10), True, 1, 1)
    assert reason == "veto-streak"


def test_an_approved_plan_can_be_rejected_while_it_runs():
    rung, changes, refused = hear(offered(approved_by="lee"), event("rejection", plan=PLAN.id))
    assert (changes, refused) == ((), "")
    assert rung.offer.closed == "rejected"
    assert not ladder.may_write(rung)


def test_what_counts_where_nothing_is_said():
    assert Gate() == Gate(ticks=1, proposals=0, coverage=0.0, max_veto_rate=1.0, evidence=())
    assert Terms({}) == Terms({}, stale_ticks=3, veto_ticks=5, signed_ticks=0)
    assert Offer(PLAN, 6) == Offer(PLAN, 6, approved_by="", closed="")
    assert Rung() == Rung(Level.RECORD, 0, "start", 0, 0, 0, 0, 0, 0, {}, None)


def test_refusals_that_say_not_now():
    assert ladder.WAITS == {"hours", "dwell", "moves", "mode", "lock"}


@pytest.mark.parametrize(("config", "given"), [(Gate, {"tick": 1}), (Terms, {"gates": {}, "stale": 1})])
def test_a_key_that_does_not_exist_is_refused(config, given):
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert(given, config)
