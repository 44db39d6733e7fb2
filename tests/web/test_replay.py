"""Replay: each tick is shown as it was, the address holds where one is, the server sets the pace, and nothing can be done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from ui_kit import account, browser, client, enter, sign_in, ui, until

from jayul.app.web.desk import Screen
from jayul.app.web.pages.now import look
from jayul.conform.crash import make_project
from jayul.core.types import Frame
from jayul.project.run import Options, execute, ticks_of
from jayul.project.summary import rings
from jayul.project.timeline import Timeline
from jayul.record.files import OsFiles


@pytest.fixture(autouse=True)
def apart(own_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the accounts of these tests apart from those of others."""
    monkeypatch.setenv("JAYUL_KEYS", str(own_keys / "ui"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replayed")


@pytest.fixture
def run(root: Path) -> Path:
    """A complete run of two hours, whose policy climbs and moves."""
    if not (root / "line").exists():
        execute(make_project(root / "line", 2.0, "group"), root / "past", Options())
    return root / "past"


@pytest.fixture
def web(run: Path, root: Path) -> TestClient:
    return client(root)


def whole(run: Path) -> Timeline:
    timeline = Timeline(run)
    while (before := len(timeline)) < timeline.refresh():
        assert before < len(timeline)
    return timeline


@pytest.mark.parametrize("tick", [0, 1, 57, 120, 239])
def test_a_tick_is_shown_with_the_numbers_of_the_journal(run: Path, web: TestClient, tick: int) -> None:
    timeline = whole(run)
    page = web.get(f"/r/past/now?tick={tick}").text
    decision = timeline[tick].decision
    frame = Frame.from_columns(decision.at, timeline.table, decision.columns)
    shown = dict(re.findall(r'title="[^"]*"><a href="[^"]*">([^<]+)</a></th>.*?<td class="num">([^<]*)</td>', page, re.DOTALL))
    assert f"Tick {tick} " in page
    for name in ("TIC1.PV", "LIC1.PV", "FI2.PV"):
        assert float(shown[name].replace(",", "")) == pytest.approx(frame[name], rel=1e-3)
    level = dict(zip(timeline.header.policies, decision.levels, strict=True))
    for name in level:
        assert re.search(rf"<h2>{name}</h2>.*?<li class=\"on\"[^>]*>{level[name].name.lower()}<", page, re.DOTALL)


def test_what_is_derived_for_the_guard_alone_stands_apart_by_what_it_means(web: TestClient) -> None:
    text = web.get("/r/past/now?tick=120").text
    plant, _, inner = text.partition('<details class="unit inner"')
    inner = inner.partition("</details>")[0]
    assert "frozen.alarm == 0" in inner
    assert "frozen.alarm" in plant, "a model of the manifest is the operator's own"
    for name in ("guard.require.0", "spread.TIC1.PV"):
        assert f'id="tag-{name}"' in inner
        assert f'id="tag-{name}"' not in plant


def test_the_marks_are_what_happened(run: Path) -> None:
    timeline, levels, moves, alarms, ringing = whole(run), [], [], [], set[str]()
    names = [tag.name for tag in timeline.table.tags if tag.kind == "derived" and rings(tag)]
    for tick in ticks_of(OsFiles(run / "journal", create=False)):
        decision = tick.decision
        frame = Frame.from_columns(decision.at, timeline.table, decision.columns)
        now = {name for name in names if frame[name] == 1}
        levels += [decision.tick] * bool(decision.changes)
        moves += [decision.tick] * bool(decision.plans)
        alarms += [decision.tick] * bool(now - ringing)
        ringing = now
    marks = timeline.marks
    assert {kind: list(ticks) for kind, ticks in marks.by_kind.items()} == {"level": levels, "alarm": alarms, "move": moves}
    assert levels
    assert moves
    every = sorted({*levels, *moves, *alarms})
    at, seen = -1, []
    while (at := marks.after(at)) is not None:  # type: ignore[assignment]
        seen.append(at)
    assert seen == every
    assert [marks.before(tick) for tick in every] == [None, *every[:-1]]


def test_the_address_leads_to_neighbours_and_events(run: Path, web: TestClient) -> None:
    marks = whole(run).marks
    page = web.get("/r/past/now?tick=100").text
    links = dict(re.findall(r'id="(replay-\w+)"[^>]*href="([^"]+)"', page))
    assert links["replay-back"] == "/r/past/now?tick=99"
    assert links["replay-on"] == "/r/past/now?tick=101"
    assert links["replay-after"] == f"/r/past/now?tick={marks.after(100)}"
    assert links["replay-before"] == f"/r/past/now?tick={marks.before(100)}"
    assert links["replay-live"] == "/r/past/now"
    assert 'data-page="moves"' in page
    assert "/r/past/moves?tick=100" in page
    assert "replay-back" not in re.findall(r'<a [^>]*id="([^"]+)"', web.get("/r/past/now?tick=0").text)


@pytest.mark.parametrize("tick", ["999999999999999", "239"])
def test_beyond_the_end_is_the_end(web: TestClient, tick: str) -> None:
    assert "Tick 239 " in web.get(f"/r/past/now?tick={tick}").text


@pytest.mark.parametrize("tick", ["-1", "x", "1e3", "", "٣", "0x10"])
def test_what_is_no_tick_shows_the_run_as_it_is_now(web: TestClient, tick: str) -> None:
    page = web.get("/r/past/now", params={"tick": tick})
    assert page.status_code == 200
    assert 'id="replay"' not in page.text


def test_the_past_cannot_be_acted_on(root: Path, web: TestClient) -> None:
    account("An operator", "operator")
    sign_in(web, "An operator")
    for tick in range(0, 240, 20):
        page = web.get(f"/r/past/now?tick={tick}").text.split("<main")[1]
        assert "<form" not in page
        assert "hand-back" not in page
    assert "hand-back" not in web.get("/r/past/now").text  # it is complete: there is nothing to hand back


def test_a_screen_of_the_past_equals_a_run_that_ended_there(run: Path, root: Path, tmp_path: Path) -> None:
    execute(root / "line", tmp_path / "short", Options(ticks=101))
    there, here = Screen("a", run), Screen("b", tmp_path / "short")
    for screen in (there, here):
        while screen._read():
            pass
    assert look(there, 100).units == look(here).units
    assert [seat.standing for seat in look(there, 100).seats] == [seat.standing for seat in look(here).seats]


def events(text: str) -> list[tuple[str, int]]:
    return [(name, int(data)) for name, data in re.findall(r"event: (\w+)\n(?:id: \d+\n)?data: (\d+)", text)]


def test_the_server_plays_to_the_end_and_says_so(web: TestClient) -> None:
    found = events(web.get("/r/past/replay/stream?tick=100&speed=10000").text)
    ticks = [tick for name, tick in found if name == "at"]
    assert ticks[0] == 100
    assert ticks == sorted(set(ticks))
    assert found[-2:] == [("at", 239), ("end", 239)]


def test_a_stream_that_was_cut_goes_on_where_it_was(web: TestClient) -> None:
    found = events(web.get("/r/past/replay/stream?tick=0&speed=10000", headers={"last-event-id": "200"}).text)
    assert found[0] == ("at", 200)


def where(page: Any) -> str:
    """Return the address as the page itself has it."""
    found: str = page.evaluate("location.href")
    return found


@pytest.mark.parametrize(("language", "word"), [("en-US", "Tick "), ("ko-KR", "틱 ")])
def test_a_person_replays_with_keys_and_mouse(root: Path, run: Path, language: str, word: str) -> None:
    with ui(root) as (_, url), browser(locale=language) as (page, said):
        page.goto(url + "/r/past/now")
        page.click("#to-replay")
        page.wait_for_selector("#replay")
        page.goto(url + "/r/past/now?tick=20")
        page.focus("#replay-on")
        page.keyboard.press("Enter")
        page.wait_for_url("**/now?tick=21")
        until(lambda: f"{word}21 " in page.inner_text("#now"))
        assert page.evaluate("document.activeElement.id") == "replay-on"  # the next press goes on from here
        page.keyboard.press("Enter")
        until(lambda: f"{word}22 " in page.inner_text("#now"))
        page.go_back()
        until(lambda: f"{word}21 " in page.inner_text("#now"))
        page.focus("#replay-slider")
        page.keyboard.press("End")
        until(lambda: f"{word}239 " in page.inner_text("#now"))
        assert where(page).endswith("tick=239")
        page.goto(url + "/r/past/now?tick=20")
        page.select_option("#replay-speed", "600")
        page.click("#replay-play")
        until(lambda: int(re.findall(r"tick=(\d+)", where(page))[0]) > 60)
        assert "speed=600" in where(page)
        page.click("#replay-play")
        until(lambda: "speed" not in where(page))
        stood = page.inner_text("#now .strip")
        page.wait_for_timeout(1500)
        assert page.inner_text("#now .strip") == stood
        page.click("#replay-after")
        after = whole(run).marks.after(int(re.findall(rf"{word}(\d+)", stood)[0]))
        until(lambda: f"{word}{after} " in page.inner_text("#now"))
        page.click("#replay-live")
        page.wait_for_selector("#replay", state="detached")
        page.wait_for_selector("#to-replay")
        assert said == []


def test_the_trends_are_replayed_with_what_was_chosen(root: Path, run: Path) -> None:
    at = [tick.decision.at / 1e6 for tick in ticks_of(OsFiles(run / "journal", create=False))]
    newest = "Math.max(...jayulTrends.samples('TIC1.PV').map((s) => s[0])) / 1e6"
    with ui(root) as (_, url), browser() as (page, said):
        page.goto(url + "/r/past/now?tick=20")
        page.click("nav.pages a[data-page=trends]")
        page.wait_for_selector("#replay")
        page.wait_for_selector("#charts[data-points]")
        page.click("[data-last=all]")
        page.click("[aria-label='Remove LIC1.PV']")
        for step, tick in (("#replay-on", 21), ("#replay-on", 22), ("#replay-back", 21)):
            page.click(step)
            page.wait_for_url(f"**tick={tick}*")
            until(lambda: at[tick - 1] < page.evaluate(newest) <= at[tick])  # noqa: B023 - called at once
            assert "LIC1.PV" not in where(page)
            assert "last=all" in where(page)
        page.select_option("#replay-speed", "600")
        page.click("#replay-play")
        until(lambda: page.evaluate(newest) > at[60])
        page.click("#replay-live")
        page.wait_for_selector("#replay", state="detached")
        page.wait_for_selector("#charts[data-points]")
        until(lambda: page.evaluate(newest) > at[-1] - 60_000)
        assert "LIC1.PV" not in where(page)
        assert said == []


def test_a_replay_goes_on_by_itself_when_the_page_server_was_gone(root: Path, run: Path) -> None:
    account("An operator", "operator")
    with browser() as (page, _):
        with ui(root) as (_, url):
            enter(page, url, "An operator")
            page.goto(url + "/r/past/now?tick=10&speed=60")
            until(lambda: "tick=12" in where(page))
        page.wait_for_selector("#lost:not([hidden])")
        with ui(root, port=int(url.rpartition(":")[2])):
            page.wait_for_selector("#lost", state="hidden", timeout=30_000)
            at = int(re.findall(r"tick=(\d+)", where(page))[0])
            until(lambda: int(re.findall(r"tick=(\d+)", where(page))[0]) > at)
