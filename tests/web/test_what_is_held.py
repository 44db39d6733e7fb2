"""A page that is renewed while somebody works on it: focus, text and place stay, and no click reaches what it was not meant for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from records_kit import Line, browser, read
from ui_kit import ui, until

from jayul.core.types import Event
from jayul.record.sign import new_id

FOCUS = "document.activeElement.id"
FIRST = "main tr button[id^='ack-']"


@pytest.fixture
def line(tmp_path: Path, accounts: Any) -> Line:
    """A run at confirm, with alarms that nobody has acknowledged."""
    made = Line(tmp_path, accounts)
    made.climb()
    return made


def on(line: Line, ticks: int) -> None:
    """Go on, beside the loop of the browser."""
    with ThreadPoolExecutor(1) as beside:
        beside.submit(line.on, ticks).result()


def refuse(line: Line, *who: str) -> None:
    """Bring alarms to the top of the list: acts of strangers, which are refused."""
    for name in who:
        line.put(Event("signature", name, 1, {"policy": "preheat", "level": "auto"}, new_id()))
    on(line, 2)


def acknowledged(line: Line) -> list[str]:
    """Return the alarms that somebody acknowledged, as the journal has them."""
    on(line, 1)
    heard = [h.event for t, _ in read(line.out) for h in t.decision.events if h.event.kind == "note"]
    return [str(e.body["alarm"]) for e in heard if e.body.get("act") == "acknowledge"]


def test_the_focus_stays_on_its_alarm_while_others_come_and_go(line: Line) -> None:
    with ui(line.root) as (_, url), browser(url, name="lee") as page:
        refuse(line, "zero")
        page.goto(f"{url}/r/line/alarms")
        row = page.locator("tr", has_text="by zero")
        alarm = row.locator("input[name=alarm]").get_attribute("value")
        row.locator("button").focus()
        button = page.evaluate(FOCUS)
        before = page.locator("main tbody tr").all_inner_texts().index(row.inner_text())
        refuse(line, "one", "two", "three")
        page.locator("tr", has_text="by three").wait_for()
        assert page.locator("main tbody tr").all_inner_texts().index(row.inner_text()) > before, "others came above it"
        assert page.evaluate(FOCUS) == button
        page.keyboard.press("Enter")
        page.locator("#alarm-said .said").wait_for()
        assert acknowledged(line) == [alarm]
        row.wait_for(state="detached")
        assert page.evaluate("document.activeElement.className") == "scroll", "its line is gone: the focus is on the list"


@pytest.mark.parametrize(("path", "link"), [
    ("alarms", "a[href*='watch.always']"), ("moves", "main tbody th a"), ("now", "main tr a[href*='JI1']"),
])  # fmt: skip
def test_a_link_keeps_the_focus_and_a_list_its_place(line: Line, path: str, link: str) -> None:
    with ui(line.root) as (_, url), browser(url, name="lee") as page:
        page.set_viewport_size({"width": 640, "height": 700})
        page.goto(f"{url}/r/line/{path}")
        page.locator(link).first.focus()
        here = page.evaluate("document.activeElement.href")
        page.evaluate("document.querySelectorAll('main .scroll').forEach(one => one.scrollTo(40, 0))")
        page.evaluate("document.activeElement.old = true")
        refuse(line, "somebody")
        page.wait_for_function("() => !document.activeElement.old")
        assert page.evaluate("document.activeElement.href") == here
        assert set(page.evaluate("[...document.querySelectorAll('main .scroll')].map(one => one.scrollLeft)")) <= {40}


def test_a_button_that_came_under_the_pointer_takes_no_click(line: Line) -> None:
    with ui(line.root) as (_, url), browser(url, name="lee") as page:
        refuse(line, "zero")
        page.goto(f"{url}/r/line/alarms?kind=event")
        meant = page.locator(FIRST).first.get_attribute("id")
        box = until(page.locator(FIRST).first.bounding_box)  # not between two lists
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.clock.set_fixed_time(
            page.evaluate("new Date().toISOString()")
        )  # the click comes at once, however slow this machine is
        refuse(line, "one")
        page.locator("tr", has_text="by one").wait_for()
        came = page.evaluate(f'document.querySelector("{FIRST}").id')
        assert came != meant, "another alarm stands there now"
        page.mouse.down()
        page.mouse.up()
        page.locator("#alarm-said .trouble").wait_for()
        assert acknowledged(line) == []
        page.clock.set_fixed_time(page.evaluate("new Date(Date.now() + 1000).toISOString()"))
        page.mouse.down()
        page.mouse.up()
        page.locator("#alarm-said .said:not(.trouble)").wait_for()
        assert [f"ack-{alarm}" for alarm in acknowledged(line)] == [page.evaluate("decodeURIComponent", came)]


def test_a_note_that_is_typed_goes_to_its_alarm_whatever_comes(line: Line) -> None:
    with ui(line.root) as (_, url), browser(url, name="lee") as page:
        page.goto(f"{url}/r/line/alarms")
        page.locator("tr", has_text="watch.always").locator("th a").click()
        note = page.locator("main input[name=reason]").first
        note.focus()
        page.keyboard.type("seen at ")
        page.evaluate("document.querySelector('main h1').old = true")
        on(line, 6)  # its duration is another
        page.wait_for_function("() => !document.querySelector('main h1').old")
        page.keyboard.type("the tank")
        assert note.input_value() == "seen at the tank"
        page.keyboard.press("Enter")
        page.locator("#act-said .said").wait_for()
        on(line, 1)
        until(lambda: page.locator("td", has_text="seen at the tank").count())
        assert [alarm.partition("@")[0] for alarm in acknowledged(line)] == ["finding:watch.always"]
