"""Every page, in both languages, light and dark, at the smallest and the largest screen: no complaint of axe or of the console."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from records_kit import Line, served
from starlette.routing import Route
from ui_kit import ROOT, axe, browser, enter

from jayul.app.web.server import Config, create

LOOKS = [
    ("en-US", "light", (1366, 768)), ("ko-KR", "dark", (1366, 768)),
    ("en-US", "dark", (2560, 1440)), ("ko-KR", "light", (2560, 1440)),
    ("en-US", "dark", (320, 640)), ("ko-KR", "light", (320, 640)),  # 1280 px at 400 % (WCAG 1.4.10)
]  # fmt: skip
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
NO_PAGE = (
    "/told",
    "stream",
    "data",
    "tags",
    "export",
    ".csv",
    ".txt",
    ".zip",
    "/language/",
    "/theme/",
    "/api/",
)  # of addresses
PLACES: dict[str, str | tuple[str, str]] = {  # an address for each page, by its route; or a page, and what a link on it holds
    "/": "/",
    "/new": "/new",
    "/signin": "/signin",
    "/r/{run}/now": "/r/line/now",
    "/r/{run}/trends": "/r/line/trends",
    "/r/{run}/alarms": "/r/line/alarms?view=all",
    "/r/{run}/alarms/one/{alarm:path}": ("/r/line/alarms?view=all", "/alarms/one/"),
    "/r/{run}/moves": "/r/line/moves",
    "/r/{run}/moves/{first:int}-{last:int}": ("/r/line/moves", "?policy="),
    "/r/{run}/evidence": "/r/proven/evidence",
    "/r/{run}/evidence/tag/{tag:path}": ("/r/line/evidence", "/evidence/tag/"),
    "/r/{run}/audit": "/r/line/audit",
    "/r/{run}/report": "/r/proven/report",
    "/r/{run}/claims/{claim}": ("/r/proven/evidence", "/claims/"),
    "now, replayed": "/r/line/now?tick=12",
    "trends, replayed": "/r/line/trends?tick=12",
    "alarms, replayed": "/r/line/alarms?tick=12",
    "moves, replayed": "/r/line/moves?tick=12",
    "evidence, replayed": "/r/line/evidence?tick=12",
    "no such run": "/r/nothing/now",
    "no such page": "/nothing",
}
STEPS = "/new/{draft}/{step}"
APART = {"/r/{run}", "/projects/log/{run}"}  # leads on; stands there only while a run is started from the page


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, accounts: Any, proven: Path) -> Path:
    """A folder with a run that waits for a person and has alarms, a complete one with a claim, and a project."""
    line = Line(tmp_path_factory.mktemp("every"), accounts)
    line.climb()
    line.on(20)
    shutil.copytree(proven / "line", line.root / "proven")
    shutil.copytree(line.project, line.root / "project")
    return line.root


def find(page: Any, url: str, place: str | tuple[str, str]) -> str:
    """Return an address: as it stands, or that of the first link on a page that holds a text."""
    if isinstance(place, str):
        return place
    page.goto(url + place[0])
    return str(page.locator(f"main a[href*='{place[1]}']").first.get_attribute("href"))


def wizard(page: Any, url: str, look: Any) -> None:
    """Go through the set-up from a file; look at each step."""
    rows = "\n".join(f"2026-03-02 06:{i:02d},{180 + i / 10},{42 - i / 100}" for i in range(60))
    page.goto(url + "/new")
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": f"at,TIC1.PV,FIC1.PV\n{rows}\n".encode()}
    page.set_input_files("input[type=file][name=file]", file)
    page.click("form[action='/new/file'] button")
    for step in ("understood", "tags", "name"):
        look(f"{STEPS} {step}")
        page.locator("main form button[value=next]").click()
    look(f"{STEPS} check")


@pytest.mark.parametrize(("language", "scheme", "size"), LOOKS, ids=[f"{a}-{b}-{c[0]}" for a, b, c in LOOKS])
def test_no_page_has_a_serious_finding(runs: Path, accounts: Any, language: str, scheme: Any, size: tuple[int, int]) -> None:
    found: dict[str, list[str]] = {}
    with served(runs, accounts=accounts) as url, browser(*size, locale=language, color_scheme=scheme) as (page, said):
        enter(page, url, "kim")

        def look(name: str) -> None:
            page.wait_for_timeout(300)
            wide = ["wider than the screen"] if page.evaluate(SIDEWAYS) else []
            gone = [text for text in said if "404" not in text or not name.startswith("no such")]
            found[name] = [*axe(page), *wide, *gone]
            said.clear()

        for name, place in PLACES.items():
            address = find(page, url, place)
            page.goto(url + address)
            look(name)
        wizard(page, url, look)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_every_route_of_a_page_is_looked_at(runs: Path) -> None:
    app = create(Config((runs,)))
    routes = {r.path for r in app.routes if isinstance(r, Route) and r.methods and "GET" in r.methods}
    pages = {path for path in routes if not any(part in path for part in NO_PAGE)}
    assert pages == (PLACES.keys() & routes) | {STEPS} | APART
    spec = importlib.util.spec_from_file_location("screens", ROOT / "scripts" / "screens.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(screens := importlib.util.module_from_spec(spec))
    assert {route for route, _address, _link in screens.PAGES.values()} >= pages - APART  # and photographed
