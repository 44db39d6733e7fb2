"""Alarms: the fold against the journal, what people do about them, the page, who may act, what a name or a note cannot do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_kit import EVIL, GOLDEN, NAMES, Line, browser, live, read, served
from ui_kit import axe

from jayul.app.web.desk import Screen
from jayul.app.web.folds import Fold, folded
from jayul.core.guard import HOUR
from jayul.core.types import SECOND, Event
from jayul.project.alarms import CALM, FLOOD, TOGETHER, WINDOW, Alarm, body_of, floods
from jayul.project.manifest import parse_canonical
from jayul.project.summary import Tally
from jayul.project.timeline import Timeline
from jayul.record.sign import Signer, new_id, signed

FALLS = ("demotion", "override")


def fold_of(out: Path, end: int | None = None) -> Fold:
    timeline = Timeline(out)
    while timeline.refresh() < len(read(out)):
        pass
    fold = Fold(timeline)
    fold.upto(len(timeline) if end is None else end)
    return fold


def spells(truth: list[bool]) -> list[tuple[int, int]]:
    """Return the runs of True: first position, and the first after it that is False (-1: none)."""
    begins = [i for i, on in enumerate(truth) if on and (i == 0 or not truth[i - 1])]
    return [(i, next((j for j in range(i, len(truth)) if not truth[j]), -1)) for i in begins]


@pytest.mark.parametrize("name", NAMES)
def test_every_alarm_is_in_the_journal_and_the_other_way_round(name: str) -> None:
    fold, ticks = fold_of(GOLDEN / name), read(GOLDEN / name)
    assert fold.ticks == len(ticks)
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for alarm in fold.alarms.episodes:
        found.setdefault((alarm.kind, alarm.subject), []).append((alarm.tick, alarm.until_tick))
    for tag in fold.needs:
        assert found.get(("input", tag), []) == spells([not frame.fresh(tag) for _, frame in ticks])
    for tag in (tag.name for tag in fold.timeline.table.tags if tag.name.endswith(".alarm")):
        assert found.get(("finding", tag), []) == spells([frame[tag] == 1.0 for _, frame in ticks])
    falls = [(t.decision.tick, c.policy, c.reason) for t, _ in ticks for c in t.decision.changes if c.after < c.before]
    assert [(a.tick, a.subject, a.code or "override") for a in fold.alarms.episodes if a.kind in FALLS] == falls
    refused = {(t.decision.tick, h.refused, h.event.by) for t, _ in ticks for h in t.decision.events if h.refused}
    events = [a for a in fold.alarms.episodes if a.kind == "event"]
    assert {(a.tick, a.code, a.subject.split(" ", 1)[1]) for a in events} == refused
    odd: dict[tuple[str, str], list[bool]] = {}
    for n, (t, _) in enumerate(ticks):
        assert t.outcome is not None
        receipts = {r.tag: r.state for r in t.outcome.receipts}
        sent = {t.decision.verdicts[i].proposal.tag for i in t.decision.writes}
        for tag in sent | set(receipts):
            if (state := receipts.get(tag, "unknown")) not in ("settled", "pending"):
                odd.setdefault((tag, state), [False] * len(ticks))[n] = True
    assert {(a.subject, a.code) for a in fold.alarms.episodes if a.kind == "write"} == set(odd)
    by_code = {
        key: [(a.tick, a.until_tick) for a in fold.alarms.episodes if a.kind == "write" and (a.subject, a.code) == key]
        for key in odd
    }
    assert by_code == {key: spells(truth) for key, truth in odd.items()}


@pytest.mark.parametrize("name", NAMES)
def test_findings_and_effort_are_those_of_the_summary(name: str) -> None:
    fold, ticks = fold_of(GOLDEN / name), read(GOLDEN / name)
    tally = Tally(fold.timeline.table, fold.timeline.header.policies, fold.needs, fold.timeline.line.period)
    for tick, frame in ticks:
        assert tick.outcome is not None
        tally.add(frame, tick.decision, tick.outcome)
    for finding in tally.findings():
        mine = [a for a in fold.alarms.episodes if a.kind == "finding" and a.subject == finding.tag]
        assert len(mine) == finding.episodes
        assert sum(((a.until or fold.alarms.at) - a.at) / 60 / SECOND for a in mine) == pytest.approx(finding.minutes)
    assert fold.effort() == tally.effort


@pytest.mark.parametrize("name", ["override", "tank", "second-writer-again"])
def test_a_demotion_is_over_when_the_level_is_there_again(name: str) -> None:
    fold, ticks = fold_of(GOLDEN / name), read(GOLDEN / name)
    position = fold.timeline.header.policies.index
    seen = 0
    for alarm in (a for a in fold.alarms.episodes if a.kind in FALLS):
        levels = [t.decision.levels[position(alarm.subject)] for t, _ in ticks]
        back = next((n for n in range(alarm.tick + 1, len(levels)) if levels[n] >= alarm.back), -1)
        again = [a.tick for a in fold.alarms.by_key[alarm.key] if a.tick > alarm.tick]
        assert alarm.until_tick == min((n for n in (back, *again) if n >= 0), default=-1)
        assert alarm.stopped == {(alarm.subject, alarm.code or "override"): 1}
        seen += 1
    assert seen


def test_what_an_alarm_stopped_and_how_heavy_it_is() -> None:
    fold = fold_of(GOLDEN / "tank")
    stale = next(a for a in fold.alarms.episodes if a.kind == "input")
    ticks = [t for t, _ in read(GOLDEN / "tank") if stale.tick <= t.decision.tick < stale.until_tick]
    refused = [v for t in ticks for v in t.decision.verdicts if v.rule == "inputs" and stale.subject in v.proposal.needs]
    assert stale.stopped == {("preheat", "inputs"): len(refused), ("preheat", "inputs-stale"): 1}
    assert (stale.priority, stale.relied, stale.first_out) == ("high", ("preheat",), True)
    rings = next(a for a in fold.alarms.episodes if a.kind == "finding")
    assert rings.priority == "medium"
    assert rings.stopped["preheat", "require"] > 0
    later = next(a for a in fold.alarms.episodes if a.kind == "demotion" and 0 < a.at - stale.at <= TOGETHER)
    assert not later.first_out


@pytest.mark.parametrize("name", ["tank", "override"])
def test_a_replay_shows_what_was_known_at_each_tick(name: str, tmp_path: Path) -> None:
    """The fold at tick n is the fold of a journal that ends there, forwards and backwards."""
    shutil.copytree(GOLDEN / name, tmp_path / "run")
    screen = Screen("run", tmp_path / "run")
    while screen._read():
        pass
    for number in (20, 30, 50, 10, len(screen.timeline) - 1):
        with folded(screen, number) as fold:
            fresh = fold_of(GOLDEN / name, number + 1)
            assert fold.ticks == number + 1
            assert [(a.id, a.until, a.stopped) for a in fold.alarms.episodes] == [
                (a.id, a.until, a.stopped) for a in fresh.alarms.episodes
            ]
            assert fold.moves.lines == fresh.moves.lines


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=80), st.integers(0, 6000))
def test_floods_are_as_isa_18_2_counts_them(seconds: list[int], now: int) -> None:
    """Against a count made second by second."""
    onsets = sorted(at for at in seconds if at <= now)
    found, begun = [], None
    for at in range(now + 1):
        count = sum(at - WINDOW // SECOND < onset <= at for onset in onsets)
        if begun is None and count > FLOOD:
            begun = at
        elif begun is not None and count < CALM:
            found.append((begun, at))
            begun = None
    expected = [*found, (begun, 0)] if begun is not None else found
    assert [(f.begin // SECOND, f.end // SECOND) for f in floods([at * SECOND for at in onsets], now * SECOND)] == expected


@pytest.fixture
def line(tmp_path: Path, accounts: Any) -> Line:
    return Line(tmp_path, accounts)


def standing(line: Line) -> Alarm:
    """Return the alarm that rings all the time."""
    return next(a for a in fold_of(line.out).alarms.episodes if a.subject == "watch.always")


def state(line: Line, alarm: Alarm) -> str:
    fold = fold_of(line.out)
    found = fold.alarms.find(alarm.id)
    assert found is not None
    return fold.alarms.row(found).state


def test_an_operator_acknowledges_shelves_and_notes(line: Line) -> None:
    line.on(3)
    alarm = standing(line)
    assert state(line, alarm) == "active-unacknowledged"
    line.act("lee", "alarms/act", alarm=alarm.id, act="acknowledge", reason="seen")
    line.on(1)
    assert state(line, alarm) == "active-acknowledged"
    line.act("lee", "alarms/act", alarm=alarm.id, act="shelve", hours="0.5", reason="sensor is being changed")
    decisions = line.on(1)
    assert state(line, alarm) == "shelved"
    heard = decisions[-1].events[0].event
    assert (heard.kind, heard.by, heard.body["act"], heard.body["text"]) == ("note", "lee", "shelve", "sensor is being changed")
    assert heard.body["alarm"] == alarm.id
    fold = fold_of(line.out)
    shelved = fold.alarms.acts[alarm.key][-1]
    assert shelved.vouched, "signed with the key of the account"
    assert shelved.until == heard.body["until"] <= decisions[-1].at + HOUR // 2
    line.act("lee", "alarms/act", alarm=alarm.id, act="unshelve")
    line.on(1)
    assert state(line, alarm) == "active-acknowledged"
    line.act("lee", "alarms/act", alarm=alarm.id, act="shelve", hours="0.5", reason="again")
    line.on(61)
    assert state(line, alarm) == "active-acknowledged", "half an hour is over"
    line.act("kim", "alarms/act", alarm=alarm.id, act="note", reason="was the wrong range")
    line.on(1)
    assert "was the wrong range" in line.page(f"alarms/one/{quote(alarm.id)}")


def test_what_an_act_must_be(line: Line) -> None:
    line.on(3)
    alarm = standing(line)
    for hours in ("", "0", "-1", "8.01", "nan", "inf", "many"):
        assert "8 hours" in line.act("lee", "alarms/act", 409, alarm=alarm.id, act="shelve", hours=hours, reason="x")
    line.act("lee", "alarms/act", 409, alarm=alarm.id, act="shelve", hours=1, reason=" ")
    line.act("lee", "alarms/act", 409, alarm=alarm.id, act="note")
    line.act("lee", "alarms/act", 404, alarm=alarm.id, act="erase")
    for name in ("", "nothing@3", alarm.key, f"{alarm.key}@99", f"{alarm.key}@²"):
        line.act("lee", "alarms/act", 404, alarm=name, act="acknowledge")
    assert line.on(1)[0].events == ()


@pytest.mark.parametrize(("who", "code"), [("", 401), ("park", 403), ("lee", 200), ("kim", 200)])
def test_who_may(line: Line, who: str, code: int) -> None:
    line.on(3)
    line.act(who, "alarms/act", 403, alarm=standing(line).id, act="acknowledge", csrf="x") if not who else None
    with line.web(who) as here:
        token = re.search(r'name="csrf" content="([^"]+)"', here.get("/signin").text)
        assert token
        form = {"alarm": standing(line).id, "act": "acknowledge"}
        here.headers.pop("x-csrf", None)
        assert here.post("/r/line/alarms/act", data=form).status_code == 403, "without its token"
        assert here.post("/r/line/alarms/act", data={**form, "csrf": token[1]}).status_code == code
        there = "What you can do" in here.get(f"/r/line/alarms/one/{quote(standing(line).id)}").text
        assert there == (code == 200)
    assert len(line.on(1)[0].events) == (code == 200)


def test_an_act_that_somebody_else_wrote_does_not_count(line: Line) -> None:
    line.on(3)
    alarm = standing(line)
    body = dict(body_of(alarm.id, "acknowledge", ""))
    stranger = Signer(bytes(32))
    line.put(Event("note", "lee", 1, body, new_id()))
    line.put(signed(Event("note", "lee", 1, body, new_id()), stranger))
    line.put(signed(Event("note", "nobody", 1, body, new_id()), stranger))
    line.put(Event("note", "lee", 1, {**body, "alarm": ["x"], "act": {}, "until": "soon"}, new_id()))
    line.on(1)
    assert state(line, alarm) == "active-unacknowledged"
    fold = fold_of(line.out)
    assert [act.refused for act in fold.alarms.acts[alarm.key]] == ["signature-invalid"] * 3
    assert "does not count" in line.page(f"alarms/one/{quote(alarm.id)}")


def test_somebody_whose_key_is_not_that_of_the_run_is_told_so(line: Line) -> None:
    path = line.project / "jayul.toml"
    keys = {person.name: person.key for person in parse_canonical(fold_of_first(line)).people.person}
    path.write_text(path.read_text().replace(keys["lee"], keys["kim"]))
    shutil.rmtree(line.out)
    line.ticks = 0
    line.on(3)
    said = line.act("lee", "alarms/act", 409, alarm=standing(line).id, act="acknowledge")
    assert "not the one in [people]" in said


def fold_of_first(line: Line) -> str:
    line.on(1)
    return str(Timeline(line.out).header.manifest)


def test_neither_a_note_nor_a_name_becomes_markup(line: Line) -> None:
    line.on(3)
    alarm = standing(line)
    line.act("lee", "alarms/act", alarm=alarm.id, act="note", reason=EVIL)
    line.put(Event("signature", EVIL, 1, {"policy": EVIL, "level": EVIL}, new_id()))
    line.put(Event("note", EVIL, 1, {"alarm": alarm.id, "act": EVIL, "text": EVIL}, new_id()))
    line.on(2)
    refused = next(a for a in fold_of(line.out).alarms.episodes if a.kind == "event")
    for path in (
        "alarms?view=all",
        f"alarms?text={quote(EVIL)}",
        f"alarms/one/{quote(alarm.id)}",
        f"alarms/one/{quote(refused.id)}",
        "audit",
    ):
        text = line.page(path, "lee")
        assert EVIL not in text
        assert "&lt;img" in text, path


def test_filters_and_permanent_links(line: Line) -> None:
    line.climb()
    line.act("lee", "act/demote", policy="preheat", reason="cleaning")
    line.on(2)
    fold = fold_of(line.out)
    for kind in ("finding", "demotion"):
        text = line.page(f"alarms?view=episodes&kind={kind}")
        ids = {quote(a.id, safe="/") for a in fold.alarms.episodes if a.kind == kind}
        assert {found.replace("%3A", ":").replace("%40", "@") for found in re.findall(r'alarms/one/([^"?]+)"', text)} == {
            i.replace("%3A", ":").replace("%40", "@") for i in ids
        }
    assert "No alarm is to be shown" in line.page("alarms?kind=override")
    assert "No alarm is to be shown" in line.page("alarms?day=1999-01-01")
    assert "watch.always" not in line.page("alarms?priority=high")
    assert "watch.always" in line.page("alarms?text=ALWAYS")
    line.page("alarms?page=999999999999&tick=99999999999")
    with line.web() as here:
        assert here.get("/r/line/alarms/one/nothing@1").status_code == 404
        assert here.get(f"/r/line/alarms/one/{quote(standing(line).id)}?tick=2").status_code == 200


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
def test_in_a_browser_an_alarm_is_acknowledged_and_the_list_follows(tmp_path: Path, accounts: Any, language: str) -> None:
    with live(tmp_path, accounts) as out, served(out.parent, accounts=accounts) as url, browser(url, language, "lee") as page:
        page.goto(f"{url}/r/line/alarms")
        row = page.locator("tr", has_text="watch.always")
        row.wait_for()
        assert axe(page) == []
        assert "active-unacknowledged" in row.get_attribute("class")
        button = row.locator("button")
        button.focus()
        page.keyboard.press("Enter")
        page.locator("#alarm-said .said").wait_for()
        page.locator("tr.active-acknowledged", has_text="watch.always").wait_for()
        page.locator("tr.active-acknowledged a", has_text="watch.always").click()
        page.wait_for_url("**/alarms/one/**")
        assert axe(page) == []
        page.locator(".forms form").nth(1).locator("input[name=reason]").fill(EVIL)
        page.locator("button[value=shelve]").click()
        page.locator("p.state.shelved").wait_for()
        page.locator("td", has_text=EVIL).first.wait_for()
    heard = [h.event for t, _ in read(out) for h in t.decision.events if h.event.kind == "note"]
    assert [(e.by, e.body["act"]) for e in heard] == [("lee", "acknowledge"), ("lee", "shelve")]
