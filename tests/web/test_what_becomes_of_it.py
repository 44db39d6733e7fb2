"""What a person did: what becomes of it is said; where it did not arrive, too; and nobody loses the place where they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from desk_kit import csrf, sign_in
from records_kit import Line
from starlette.testclient import TestClient
from ui_kit import browser, enter, ui, until

from jayul.app.web.accounts import Accounts
from jayul.app.web.server import Config, create


@pytest.fixture
def line(tmp_path: Path, accounts: Accounts) -> Line:
    """A line whose policy waits at confirm for the approval of a move."""
    made = Line(tmp_path, accounts)
    made.climb()
    return made


def test_an_answer_becomes_a_result(line: Line) -> None:
    app = create(Config((line.root,), hosts=frozenset(("testserver",)), accounts=line.accounts.path))
    with TestClient(app, follow_redirects=False) as here:
        sign_in(here, "lee")
        here.headers["x-csrf"] = csrf(here)
        here.get("/r/line/now")
        answer = here.post("/r/line/act/demote", data={"policy": "preheat", "reason": "smoke"})
        assert "no process works on this run" in answer.text
        where = answer.text.partition('hx-get="')[2].partition('"')[0].replace("&amp;", "&")
        decision = line.on(1)[0]
        until(lambda: "hx-get" not in here.get(where).text)
        assert f"The loop has taken it (tick {decision.tick})." in here.get(where).text
        late = here.post("/r/line/act/demote", data={"policy": "preheat", "reason": "again"})
        assert "hx-get" in late.text
        assert here.get("/r/line/told?ids=,,x&since=99999999999").status_code == 200


def test_in_a_browser_what_did_not_arrive_is_said(line: Line) -> None:
    with browser() as (page, _), ui(line.root) as (process, url):
        enter(page, url, "lee")
        page.goto(f"{url}/r/line/now")
        page.wait_for_selector("#hand-back")
        process.kill()
        process.wait()
        page.click("#hand-back")
        said = page.wait_for_selector("#back-said .said.trouble")
        assert "NOT handed back" in said.inner_text()
        assert f"jayul hand-back {line.out}" in said.inner_text()


@pytest.mark.parametrize(("path", "form"), [
    ("act/demote", {"policy": "preheat"}), ("act/hand-back", {}), ("moves/order", {"tag": "TIC1.SP", "order": "lock"}),
])  # fmt: skip
def test_an_act_that_the_disk_does_not_take_costs_one_line(line: Line, path: str, form: dict[str, str]) -> None:
    app = create(Config((line.root,), hosts=frozenset(("testserver",)), accounts=line.accounts.path))
    with TestClient(app, follow_redirects=False) as here:
        sign_in(here, "lee")
        here.headers["x-csrf"] = csrf(here)
        here.get("/r/line/now")
        for inbox in line.out.glob("state.db*"):
            inbox.unlink()
        (line.out / "state.db").mkdir()
        answer = here.post(f"/r/line/{path}", data=form, headers={"hx-request": "true"})
        assert answer.status_code == 503
        assert "The act could not be written: " in answer.text
        said = here.post("/api/v1/runs/line/acts", json={"act": "demote", "policy": "preheat"})
        assert said.status_code == 503
        assert said.json()["error"].startswith("The disk did not do it: ")


def test_in_a_browser_a_refusal_of_the_disk_is_shown_as_it_is(line: Line) -> None:
    with ui(line.root) as (_, url), browser() as (page, _):
        enter(page, url, "lee")
        page.goto(f"{url}/r/line/now")
        page.wait_for_selector("#hand-back")
        for inbox in line.out.glob("state.db*"):
            inbox.unlink()
        (line.out / "state.db").mkdir()
        page.click("#hand-back")
        assert "The act could not be written" in page.wait_for_selector("#back-said .said").inner_text()


@pytest.mark.parametrize("link", [".tools a[hreflang=ko]", ".tools a.to-dark", ".tools a[href^='/signin']"])
def test_in_a_browser_language_looks_and_signing_in_lead_back_to_where_one_was(line: Line, link: str) -> None:
    with ui(line.root) as (_, url), browser() as (page, said):
        page.goto(f"{url}/r/line/now?tick=3")
        page.click("#replay-on")
        page.wait_for_url("**tick=4")
        page.click(link)
        if "signin" in link:
            _enter(page)
        page.wait_for_url("**/r/line/now?tick=4*")
        assert said == []


def _enter(page: Any) -> None:
    page.fill("[name=name]", "lee")
    page.fill("[name=password]", "correct horse battery")
    page.click("main button")
