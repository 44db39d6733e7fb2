"""An operator at the control room: what is done in the browser arrives at a plant in another process, or does not, as it should.

Plant, run, gateway and page server are processes of their own. What stands in the plant is read there, by OPC UA.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plant_kit import BASE, LOCAL, REMOTE, TARGET, Line, People, chromium, going
from ui_kit import ui, until

from jayul.core.types import Outcome
from jayul.record.files import OsFiles
from jayul.record.follow import Follow

LEVELS = ("record", "shadow", "advise", "confirm", "auto")
PAGES = ("now", "trends", "alarms", "moves", "evidence")
POSTS = (
    "act/approve", "act/reject", "act/sign", "act/demote", "act/hand-back", "moves/order", "alarms/act",
)  # fmt: skip
LEVEL = "n => document.querySelectorAll('.seat .ladder li')[n]?.classList.contains('on')"
TICK = "() => Number(document.querySelector('#now .strip p + p').innerText.match(/\\d+/)[0])"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, accounts: Any) -> Iterator[Line]:
    """A line whose controls engineer has proved what its controller does."""
    with going(tmp_path_factory.mktemp("operator"), accounts) as made:
        made.commission()
        yield made


@pytest.fixture(scope="module")
def everybody(line: Line) -> Iterator[People]:
    """A page server, and Chromium."""
    with ui(line.root) as (_, url), chromium() as started:
        yield People(started, url)


@pytest.fixture
def people(line: Line, everybody: People) -> Iterator[People]:
    """Whoever looks. Afterwards no console has complained, and the line begins anew: at record, its loop in remote."""
    yield everybody
    last = everybody.window("/r/line/now", "lee")
    last.click("#hand-back")
    at(last, "record")
    until(lambda: line.at_plant("TIC1.SP") == BASE)
    line.switch(REMOTE)
    everybody.close()
    said, everybody.said = everybody.said, []
    assert [text for text in said if "409" not in text] == []  # an approval that came when the time of its plan was over


def at(page: Any, level: str) -> None:
    """Wait until the page shows a level."""
    page.wait_for_function(LEVEL, arg=LEVELS.index(level))


def press(page: Any, button: str) -> None:
    """Press a button by keyboard: it is made anew with every tick, four times a second, and keeps the focus."""
    page.focus(button)
    page.keyboard.press("Enter")


def climb(page: Any, reason: str = "as tested") -> None:
    """Sign for each level up to confirm, as soon as the page asks for it."""
    for level in LEVELS[1:4]:
        page.wait_for_selector("#yes-signature-preheat")
        page.fill("#reason-signature-preheat", f"{reason}: {level}")
        press(page, "#yes-signature-preheat")
        at(page, level)


def approve(page: Any, reason: str, seen: Any) -> None:
    """Approve what lies on the table, by keyboard, until something is seen; a plan whose block ends is followed by another."""
    ask, field, button = "form:has(#yes-approval-preheat) [name=ask]", "#reason-approval-preheat", "#yes-approval-preheat"
    while until(lambda: (seen() and "seen") or (page.locator(button).is_visible() and "asked")) != "seen":
        plan = page.input_value(ask)
        page.fill(field, "")  # of a plan before it
        page.focus(field)
        page.keyboard.type(reason, delay=40)  # ticks come while it is typed
        typed = page.evaluate(f"() => [document.querySelector('{ask}')?.value, document.querySelector('{field}')?.value]")
        if typed[0] != plan:
            continue  # its time was over
        assert typed[1] == reason, "no tick took away what was typed"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == button[1:]
        page.keyboard.press("Enter")
        page.wait_for_function(f"plan => document.querySelector('{ask}')?.value !== plan", arg=plan)


def test_what_a_tick_did_can_be_read_before_the_next_tick_comes(line: Line) -> None:
    follow, last = Follow(OsFiles(line.out / "journal", create=False)), list[Any]()

    def over() -> bool:
        last[:] = [entry for entry, _ in follow.new(100_000)][-1:] or last
        return isinstance(last[0], Outcome)

    until(over)


def shown(page: Any, tag: str) -> str:
    """Return what the page shows of a tag."""
    return str(page.locator("#now tr", has=page.get_by_role("link", name=tag, exact=True)).locator(".num").inner_text())


@pytest.mark.parametrize(("language", "elsewhere"), [("en-US", "trends"), ("ko-KR", "evidence")])
def test_a_move_is_approved_arrives_at_the_plant_and_all_is_handed_back(
    line: Line, people: People, language: str, elsewhere: str
) -> None:
    engineer, operator = (people.window("/r/line/now", name, language) for name in ("kim", "lee"))
    assert operator.get_attribute("html", "lang") == language[:2]
    begun = len(line.ticks())
    engineer.wait_for_selector("#yes-signature-preheat")
    operator.wait_for_selector(".lacks")
    assert operator.locator("#yes-signature-preheat").count() == 0, "an operator does not sign for levels"
    climb(engineer, f"tested in {language}")
    operator.wait_for_selector("#yes-approval-preheat")
    plan = operator.inner_text(".seat")
    assert ": on" in plan, "the reason"
    assert "cheaper heater takes duty from the dearer one" in plan, "the expected effect"
    assert "55.25" in operator.inner_text(".verdict"), "the verdict"
    assert operator.locator(".applied").count() == 0, "nothing is applied"
    assert line.at_plant("TIC1.SP") == BASE, "nothing is written without a person"
    before = operator.evaluate(TICK)
    said = set[str]()

    def arrived() -> bool:
        said.update(operator.locator(".applied").all_inner_texts(), operator.locator(".answer").all_inner_texts())
        return line.at_plant("TIC1.SP") == TARGET

    approve(operator, f"품질 확인 {language}", arrived)
    until(lambda: shown(operator, "TIC1.SP") == f"{TARGET:.2f}")
    assert any(text.startswith("TIC1.SP") for text in said), "the page says what was applied while it is"
    assert any("lee" in text for text in said), "and who approved it"
    operator.wait_for_selector(".answer")
    assert shown(operator, "TIC1.MODE") == "RCAS"
    assert operator.evaluate(TICK) > before
    assert operator.evaluate("window.never") == "loaded again", "the page was never loaded again"
    operator.click(f"nav.pages a[data-page='{elsewhere}']")
    operator.wait_for_url(f"**/{elsewhere}")
    operator.click("#hand-back")
    operator.wait_for_selector("#back-said .said")
    until(lambda: line.at_plant("TIC1.MODE") == LOCAL)
    assert line.at_plant("TIC1.SP") == BASE
    at(engineer, "record")
    until(lambda: shown(engineer, "TIC1.MODE") == "AUTO")
    assert engineer.evaluate("window.never") == "loaded again"
    signed = [event.body["reason"] for event in line.taken("signature", "kim") if language in event.body["reason"]]
    assert signed == [f"tested in {language}: {level}" for level in LEVELS[1:4]]
    assert f"품질 확인 {language}" in {event.body["reason"] for event in line.taken("approval", "lee")}
    assert line.taken("demotion", "lee")[-1].body["hand_back"] is True
    after = [tick.decision for tick in line.ticks()[begun:]]
    assert all(d.levels[0] == 3 for d in after if any(d.verdicts[i].proposal.by == "preheat" for i in d.writes))
    told = line.audit()
    assert all(f"{who}" in told for who in ("kim", "lee", f"품질 확인 {language}", f"tested in {language}"))


def test_what_is_rejected_is_not_written_limits_narrow_and_a_policy_is_switched_off_and_on(line: Line, people: People) -> None:
    operator, engineer = people.window("/r/line/now", "lee"), people.window("/r/line/now", "kim")
    climb(engineer)
    operator.fill("#reason-approval-preheat", "the feed is changed")
    press(operator, "#no-approval-preheat")
    operator.wait_for_selector(".answer")
    rejected = until(lambda: line.taken("rejection", "lee"))[-1]
    assert rejected.body["reason"] == "the feed is changed"
    board = people.window("/r/line/moves", "lee")
    board.select_option("form:has([value=limits]) [name=tag]", "TIC1.SP")
    board.fill("[name=high]", "56.5")
    board.fill("form:has([value=limits]) [name=reason]", "product of today")
    board.click("[value=limits]")
    board.wait_for_selector("[aria-labelledby=orders-title] .mark")
    assert line.at_plant("TIC1.SP") == BASE, "what was rejected is not written"
    approve(operator, "with the limit", lambda: line.at_plant("TIC1.SP") == 56.5)
    operator.wait_for_function("() => document.querySelector('.verdict')?.innerText.includes('limits set by lee')")
    upto = len(line.ticks())
    until(lambda: len(line.ticks()) > upto + 4)
    assert line.at_plant("TIC1.SP") == 56.5
    narrowed = [v for tick in line.ticks()[upto:] for v in tick.decision.verdicts if v.proposal.by == "preheat"]
    assert {v.rule for v in narrowed} == {"limit"}
    assert all(v.proposal.value > 56.5 >= (v.allowed or 0.0) for v in narrowed)
    board.select_option("form:has([value=limits]) [name=tag]", "TIC1.SP")
    board.click("form:has([value=limits]) [value=clear]")
    board.wait_for_selector("[aria-labelledby=orders-title] .mark", state="detached")
    approve(operator, "with the limit", lambda: line.at_plant("TIC1.SP") > 56.5)
    press(operator, "#off-preheat")
    at(engineer, "record")
    until(lambda: line.at_plant("TIC1.SP") == BASE)
    assert line.at_plant("TIC1.MODE") == REMOTE, "switched off is not handed back: the policy alone is down"
    assert "hand_back" not in line.taken("demotion", "lee")[-1].body
    climb(engineer, "on again")
    press(engineer, "#off-preheat")
    until(lambda: line.taken("demotion", "kim"))
    assert len(line.taken("limit", "lee")) == 2
    told = line.audit()
    assert all(text in told for text in ("the feed is changed", "product of today", "with the limit", "on again"))


def test_a_viewer_looks_and_nothing_else(line: Line, people: People) -> None:
    viewer, operator = people.window("/r/line/now", "park"), people.window("/r/line/now", "lee")
    buttons = "main form[method=post]:not([action$=verify]) button:visible, .hand-back button:visible"
    for name in PAGES:
        viewer.goto(f"{people.url}/r/line/{name}")
        operator.goto(f"{people.url}/r/line/{name}")
        assert viewer.locator(buttons).count() == 0
        assert operator.locator("#hand-back").is_visible(), f"{name}: the way back is on every page"
    viewer.goto(f"{people.url}/r/line/now")
    viewer.wait_for_selector(".lacks")
    token = viewer.get_attribute("meta[name=csrf]", "content")
    before = len(line.ticks())
    form = {"ask": "preheat:shadow", "policy": "preheat", "tag": "TIC1.SP", "order": "lock", "act": "note", "reason": "x"}
    for path in POSTS:
        assert viewer.request.post(f"{people.url}/r/line/{path}", form={**form, "csrf": token}).status == 403, path
    for act in ("approve", "sign", "demote", "hand-back", "lock"):
        answer = viewer.request.post(
            f"{people.url}/api/v1/runs/line/acts", data={**form, "act": act}, headers={"X-CSRF": token}
        )
        assert answer.status == 403, answer.text()
    for path in ("start", "pause", "go-on"):
        assert viewer.request.post(f"{people.url}/projects/{path}", form={"name": "line", "csrf": token}).status == 403
    until(lambda: len(line.ticks()) > before + 2)
    assert not [h for tick in line.ticks() for h in tick.decision.events if h.event.by == "park"]
    assert "park" not in line.audit()
