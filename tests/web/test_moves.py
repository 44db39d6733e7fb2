"""Moves: the fold against the journal and the audit, filters, pages, orders and who may give them."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import ui_kit
from records_kit import EVIL, GOLDEN, NAMES, Line, live, read, served
from test_alarms import fold_of
from ui_kit import axe

from jayul.app import show
from jayul.app.web.pages.moves import lasted
from jayul.project.audit import Filter, audit
from jayul.project.moves import Move, answer_of, each


@pytest.mark.parametrize("name", NAMES)
def test_every_verdict_is_in_exactly_one_line(name: str) -> None:
    lines, ticks = fold_of(GOLDEN / name).moves.lines, [tick for tick, _ in read(GOLDEN / name)]
    verdicts = {}
    for t in ticks:
        for v in t.decision.verdicts:
            key = v.proposal.by, v.proposal.tag, answer_of(v), v.rule
            verdicts.setdefault((t.decision.tick, *key), v)
    covered = [(n, m.policy, m.tag, m.answer, m.rule) for m in lines for n in range(m.tick, m.until + 1)]
    assert sorted(covered) == sorted(verdicts)
    for m in lines:
        key = m.policy, m.tag, m.answer, m.rule
        first, last = verdicts[m.tick, *key], verdicts[m.until, *key]
        assert m.asked == (first.proposal.value, last.proposal.value)
        assert m.allowed == (first.allowed, last.allowed)
        assert (m.tick - 1, *key) not in verdicts
        assert (m.until + 1, *key) not in verdicts


@pytest.mark.parametrize("name", NAMES)
def test_lines_are_those_of_the_audit_and_applied_is_what_was_received(name: str) -> None:
    lines = fold_of(GOLDEN / name).moves.lines
    told = [(e.kind, e.who, e.subject, e.what, e.tick, e.until) for e in audit(GOLDEN / name, Filter(("refused", "narrowed")))]
    assert sorted(told) == sorted((m.answer, m.policy, m.tag, m.rule, m.tick, m.until) for m in lines if m.rule)
    ticks = [tick for tick, _ in read(GOLDEN / name)]
    assert sum(m.sent for m in lines) == sum(len(t.decision.writes) for t in ticks)
    for m in lines:
        inside = [t for t in ticks if m.tick <= t.decision.tick <= m.until]
        singles = [s for s in each(iter(inside), m.policy, m.tag) if (s.answer, s.rule) == (m.answer, m.rule)]
        assert sum(s.sent for s in singles) == m.sent
        sent = [s for s in singles if s.sent]
        assert m.applied == (sent[-1].applied if sent else None)


@pytest.fixture
def line(tmp_path: Path, accounts: Any) -> Line:
    return Line(tmp_path, accounts)


def rows(text: str) -> list[str]:
    return re.findall(r'<tr class="(allowed|narrowed|refused)"', text)


def test_orders_from_the_page_narrow_lock_and_end(line: Line) -> None:
    line.climb()
    line.on(1)
    plan = re.search(r'name="ask" value="(preheat:[0-9a-f]{16})"', line.page("now", "kim"))
    assert plan
    line.act("kim", "act/approve", ask=plan[1])
    free = line.on(3)[-1].verdicts[0]
    assert free.rule == ""
    line.act("lee", "moves/order", tag="TIC1.SP", order="limits", high=f"{free.allowed:.6f}", reason="=cleaning")
    assert line.on(2)[-1].verdicts[0].rule == "limit"
    text = line.page("moves")
    assert "narrowed" in rows(text)
    assert "=cleaning" in text
    line.act("lee", "moves/order", tag="TIC1.SP", order="lock", reason=EVIL)
    assert line.on(2)[-1].verdicts[0].rule == "lock"
    text = line.page("moves?answer=refused")
    assert set(rows(text)) == {"refused"}
    assert EVIL not in text
    line.act("kim", "moves/order", tag="TIC1.SP", order="clear", of="lee")
    assert line.on(2)[-1].verdicts[0].rule == ""
    line.act("lee", "act/demote", policy="preheat", reason="off")
    line.on(1)
    text = line.page("moves")
    assert "<strong>record</strong>" in text
    assert "<strong>off</strong>" not in text


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"order": "limits"}, "Give a low limit, a high limit, or both."),
        ({"order": "limits", "low": "much"}, "is no number"),
        ({"order": "limits", "low": "nan"}, "is no number"),
        ({"order": "limits", "high": "1e999"}, "is no number"),
        ({"order": "limits", "low": 58, "high": 50}, "The low limit is not below the high one."),
        ({"order": "limits", "low": -1000}, "The range of TIC1.SP is "),
        ({"order": "limits", "high": 1e6}, "The range of TIC1.SP is "),
        ({"order": "nothing"}, "Say what is ordered"),
        ({"order": "lock", "tag": "TIC1.PV"}, "is nothing that is written here"),
        ({"order": "lock", "tag": EVIL}, "is nothing that is written here"),
        ({"order": "clear"}, "No order of lee on TIC1.SP is in force"),
        ({"order": "clear", "of": "nobody"}, "No order of nobody on TIC1.SP is in force"),
    ],
)
def test_an_order_that_cannot_be_taken_is_refused_in_the_words_of_the_page(line: Line, form: dict[str, Any], text: str) -> None:
    line.on(3)
    said = line.act("lee", "moves/order", 409, **{"tag": "TIC1.SP", **form})
    assert text in said
    assert EVIL not in said
    main = said[said.index("<main") :]
    assert str(line.out) not in main
    assert "--" not in main
    assert line.on(1)[0].events == ()


def test_an_order_to_a_run_that_is_over_does_not_say_where_its_folder_is(line: Line, proven: Path) -> None:
    line.root = proven
    said = line.act("lee", "moves/order", 409, tag="TIC1.SP", order="lock")
    assert "this run is complete; nobody takes the act any more" in said
    assert str(proven) not in said


def test_the_end_of_a_line_has_its_date_if_that_is_another_day() -> None:
    begun = dt.datetime(2026, 2, 12, 20, tzinfo=dt.UTC)
    for hours, until, text in ((1, 5, "2026-02-12 20:00:00 – 21:00:00"), (17, 5, "2026-02-12 20:00:00 – 2026-02-13 13:00:00"),
                               (0, 3, "2026-02-12 20:00:00")):  # fmt: skip
        at, end = (int(time.timestamp()) * 10**9 for time in (begun, begun + dt.timedelta(hours=hours)))
        line = Move("preheat", "TIC1.SP", "allowed", "", "", "", "", 3, at, until, end, (1.0, 1.0), (1.0, 1.0))
        assert lasted(line, ZoneInfo("UTC")) == text


def test_what_a_gate_lacks_of_a_share_is_in_percent() -> None:
    assert show.lack("coverage", 0.847584, 0.95) == "coverage 84.76 % / 95 %"
    assert show.lack("veto-rate", float("nan"), 0.05) == "veto rate – / 5 %"
    assert show.lack("ticks", 6, 60) == "ticks 6 / 60"


@pytest.mark.parametrize(("who", "code"), [("", 401), ("park", 403), ("lee", 200), ("kim", 200)])
def test_who_may_order(line: Line, who: str, code: int) -> None:
    line.on(3)
    with line.web(who) as here:
        token = re.search(r'name="csrf" content="([^"]+)"', here.get("/signin").text)
        assert token
        here.headers.pop("x-csrf", None)
        form = {"tag": "TIC1.SP", "order": "lock"}
        assert here.post("/r/line/moves/order", data=form).status_code == 403
        assert here.post("/r/line/moves/order", data={**form, "csrf": token[1]}).status_code == code
        assert ("Give an order" in here.get("/r/line/moves").text) == (code == 200)
    assert len(line.on(1)[0].events) == (code == 200)


def test_filters_pages_and_the_ticks_of_a_line(tmp_path: Path, accounts: Any) -> None:
    import shutil

    line = Line(tmp_path, accounts)
    shutil.copytree(GOLDEN / "rules-narrow", line.out)
    assert len(rows(line.page("moves"))) == len(fold_of(line.out).moves.lines)
    assert set(rows(line.page("moves?answer=narrowed&rule=halfspace"))) == {"narrowed"}
    assert rows(line.page("moves?policy=nobody")) == []
    assert rows(line.page("moves?until=1999-01-01T00:00")) == []
    assert rows(line.page("moves?since=nonsense"))
    wide = next(m for m in fold_of(line.out).moves.lines if m.until > m.tick)
    text = line.page(f"moves/{wide.tick}-{wide.until}?policy={wide.policy}&tag={wide.tag}")
    assert len(rows(text)) == wide.until - wide.tick + 1
    with line.web() as here:
        assert here.get("/r/line/moves/9000-9001?policy=x&tag=y").status_code == 404
        assert here.get("/r/line/moves/0-999999999?policy=x&tag=y").status_code == 200


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
def test_in_a_browser_a_limit_is_set_and_stands_in_the_list(tmp_path: Path, accounts: Any, language: str) -> None:
    with (
        live(tmp_path, accounts) as out,
        served(out.parent, accounts=accounts) as url,
        ui_kit.browser(locale=language, color_scheme="dark") as (page, said),
    ):
        ui_kit.enter(page, url, "lee")
        page.goto(f"{url}/r/line/moves")
        assert axe(page) == []
        form = page.locator("form", has=page.locator("input[name=low]"))
        form.locator("input[name=low]").fill("50")
        form.locator("input[name=high]").fill("58")
        form.locator("input[name=reason]").fill(EVIL)
        page.keyboard.press("Enter")
        page.locator("#order-said .said").wait_for()
        page.locator(".mark", has_text="58").wait_for()
        page.locator("td", has_text=EVIL).wait_for()
        assert [form.locator(f"input[name={name}]").input_value() for name in ("low", "high", "reason")] == ["", "", ""]
        form.locator("input[name=low]").fill("60")
        form.locator("input[name=high]").fill("50")
        page.keyboard.press("Enter")
        page.locator("#order-said .said", has_text=re.compile("^(The low limit|하한)")).wait_for()
        assert form.locator("input[name=low]").input_value() == "60", "what was refused can be mended"
    assert [text for text in said if "409" not in text] == []
    found = [h for t, _ in read(out) for h in t.decision.events if h.event.kind == "limit"]
    assert [(h.event.by, h.event.body["low"], h.event.body["high"], h.refused) for h in found] == [("lee", 50, 58, "")]
