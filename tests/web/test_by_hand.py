"""By hand: any number is three clicks from Now, and every page can be walked with the Tab key, seeing where one is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records_kit import Line, browser
from ui_kit import ui

RING = """() => {
  const here = document.activeElement, look = getComputedStyle(here), box = here.getBoundingClientRect();
  const seen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return [here.tagName, here.id || here.textContent.trim().slice(0, 40), look.outlineStyle !== "none", seen];
}"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, accounts: Any, proven: Path) -> Iterator[str]:
    """A page server over a run with alarms and acts of a person, and one with a claim."""
    line = Line(tmp_path_factory.mktemp("hand"), accounts)
    line.climb()
    line.act("kim", "act/demote", policy="preheat", reason="cleaning of the tank")
    line.on(20)
    shutil.copytree(proven / "line", line.root / "proven")
    with ui(line.root) as (_, address):
        yield address


def clicked(page: Any, start: str, *links: str) -> str:
    """Click through at most three links; return what the last page says."""
    assert len(links) <= 3
    page.goto(start)
    for link in links:
        page.locator(link).first.click()
        page.wait_for_load_state()
    return str(page.inner_text("main"))


def test_any_number_is_three_clicks_from_now(url: str) -> None:
    with browser(url, name="park") as page:
        now, over = f"{url}/r/line/now", f"{url}/r/proven/now"
        clicked(page, now, "main tr a:text-is('TIC1.PV')")
        page.wait_for_selector("#trends:not(.loading) #panes canvas")
        assert page.locator("#legend tr[data-tag='TIC1.PV'] .value").inner_text(), "the history of a tag"
        why = clicked(page, over, ".seat-foot a", "main table.moves a[href*='/moves/']")
        assert "block" in why, "why a policy asked, at every tick"
        figures = clicked(page, over, "nav a[data-page=evidence]", "main a[href*='/claims/']")
        assert "Pairs that count" in figures
        assert "Recomputed from rows" in figures, "the figures of a claim"
        alarm = clicked(page, now, "nav a[data-page=alarms]", "main a:has-text('watch.always')")
        assert "Largest contributions" in alarm, "what an alarm comes from"
        audit = clicked(page, now, "nav a[data-page=evidence]", "main a[href$='/audit']")
        assert "cleaning of the tank" in audit
        assert "kim" in audit, "who it was"


@pytest.mark.parametrize("path", ["now", "trends", "alarms", "moves", "evidence", "audit"])
def test_a_page_is_walked_with_the_tab_key(url: str, path: str) -> None:
    with browser(url, name="kim") as page:
        page.goto(f"{url}/r/line/{path}")
        if path == "trends":
            page.wait_for_selector("#trends:not(.loading) #panes canvas")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate(RING)[3], "it is seen as soon as it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("Boolean(document.activeElement.closest('main'))"), "the pages of the run are passed over"
        page.goto(f"{url}/r/line/{path}")
        walked = []
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement === document.body"):
                break
            walked.append(page.evaluate(RING))
        assert len(walked) > 15
        assert [one for one in walked if not (one[2] and one[3])] == []
