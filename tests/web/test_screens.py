"""Screens: read while somebody looks and let go afterwards, said how far the reading is, and nobody holds up anybody else."""

from __future__ import annotations

import gc
import http.client
import re
import shutil
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
import uvicorn
from desk_kit import PASSWORD, csrf, sign_in
from records_kit import Line
from starlette.testclient import TestClient
from ui_kit import browser, until

from jayul.app.web import desk as desks
from jayul.app.web import folds, server
from jayul.app.web.accounts import Accounts
from jayul.app.web.desk import Desk, Screen
from jayul.app.web.server import Config, create
from jayul.app.web.stream import Rendered
from jayul.conform.crash import make_project
from jayul.core.types import Event
from jayul.project import overview
from jayul.project.look import status
from jayul.project.run import Options, execute
from jayul.record.sign import new_id, signed

BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """Two complete runs of 1200 ticks."""
    folder = tmp_path_factory.mktemp("screens")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(keys))
        for name in ("a", "b"):
            execute(make_project(folder / f"of-{name}", 10.0, "group"), folder / "runs" / name, Options())
    return folder / "runs"


@contextmanager
def looking(*roots: Path) -> Iterator[tuple[TestClient, Desk]]:
    app = create(Config(roots, hosts=frozenset(("testserver",))))
    with TestClient(app, follow_redirects=False) as here:
        yield here, app.state.desk


def opened(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(folder))]


def test_what_nobody_looks_at_is_let_go_with_its_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "LINGER", 0.3)
    monkeypatch.setattr(desks, "KEPT", 0.6)
    with looking(root) as (here, desk):
        for page in (
            "now",
            "now?tick=500",
            "alarms",
            "moves?tick=700",
            "evidence?source=ledger",
            "trends",
            "trends/data?tags=TIC1.PV",
        ):
            assert here.get(f"/r/a/{page}").status_code == 200
        assert opened(root / "a")  # the history's files
        screen = weakref.ref(desk._screens["a"])
        until(lambda: "a" not in desk._screens)
        until(lambda: gc.collect() >= 0 and screen() is None)
        assert opened(root / "a") == []
        assert "Tick 1199 " in here.get("/r/a/now").text  # and it comes back


@contextmanager
def serving(root: Path) -> Iterator[tuple[http.client.HTTPConnection, Desk]]:
    app = create(Config((root,)))
    one = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        until(lambda: one.started)
        port = one.servers[0].sockets[0].getsockname()[1]
        yield http.client.HTTPConnection(urlsplit(f"http://127.0.0.1:{port}").netloc, timeout=60), app.state.desk
    finally:
        one.should_exit = one.force_exit = True
        thread.join()


def test_a_stream_holds_its_screen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "LINGER", 1.0)
    monkeypatch.setattr(desks, "KEPT", 2.0)
    monkeypatch.setattr(Screen.changes, "__defaults__", (0.2,))  # s between two signs of life
    with serving(root) as (host, desk):
        host.request("GET", "/r/a/now/stream", headers={"accept": "text/event-stream"})
        answer = host.getresponse()
        beats, first, idle = 0, None, list[float]()
        while beats < 8:
            beats += answer.fp.readline().startswith(b"event: beat")
            first = first or desk._screens.get("a")
            idle.append(first.idle if first else 0.0)
        assert first is not None
        assert desk._screens["a"] is first
        assert max(idle) < desks.KEPT
        answer.close()
        host.close()
        until(lambda: "a" not in desk._screens)


def test_a_page_says_how_far_the_reading_is_and_then_comes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.0)
    with looking(root) as (here, _):
        answer = here.get("/r/a/now", headers=BROWSER)
        assert answer.status_code == 202
        assert re.search(r"This run is being read: [\d,]+ of [\d,]+ ticks", answer.text)
        assert here.get("/r/a/trends/data?tags=TIC1.PV").status_code == 503  # no page, so no answer
        again = {"hx-request": "true", "hx-target": "reading"}
        asked = until(lambda: "hx-refresh" in (found := here.get("/r/a/now", headers=again)).headers and found)
        assert asked.text == ""
        assert "Tick 1199 " in here.get("/r/a/now", headers=BROWSER).text


@pytest.mark.parametrize(("language", "says"), [("en-US", "This run is being read"), ("ko-KR", "실행 기록을 읽는 중입니다")])
def test_in_a_browser_the_page_gives_way_by_itself(
    root: Path, monkeypatch: pytest.MonkeyPatch, language: str, says: str
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.0)
    with serving(root) as (host, _), browser(locale=language) as (page, said):
        page.goto(f"http://{host.host}:{host.port}/r/a/now", wait_until="commit")
        assert says in page.locator("main").inner_text()
        page.wait_for_selector("#now .strip")
        assert "1199" in page.locator("#now .strip").inner_text()
    assert said == []


@pytest.mark.parametrize("page", ["alarms", "moves", "evidence", "alarms?tick=1100", "moves?tick=900"])
def test_so_does_a_page_of_the_record(root: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.setattr(folds, "LAG", 100)
    with looking(root) as (here, _):
        assert here.get("/r/a/now").status_code == 200
        monkeypatch.setattr(server, "PATIENCE", 0.0)
        answer = here.get(f"/r/a/{page}", headers=BROWSER)
        assert answer.status_code == 202
        assert re.search(r"This run is being read: [\d,]+ of (1,200|1,101|901) ticks", answer.text)
        until(lambda: here.get(f"/r/a/{page}").status_code == 200)


def test_the_programs_interface_waits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.0)
    monkeypatch.setattr(folds, "LAG", 100)
    with looking(root) as (here, _):
        assert here.get("/api/v1/runs/a/alarms").status_code == 200


def test_a_damaged_journal_is_said_and_not_waited_for(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "a", tmp_path / "runs" / "bad")
    segment = tmp_path / "runs" / "bad" / "journal" / "000001.jnl"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with looking(tmp_path / "runs") as (here, _):
        for _ in range(2):
            answer = here.get("/r/bad/now")
            assert answer.status_code == 500
            assert "damaged" in answer.text


def test_one_slow_rendering_holds_up_no_other(root: Path) -> None:
    """The first is not over before all others are: of another run, of another view, in another role."""
    made, there, begun = Rendered(), threading.Event(), threading.Event()
    one, other = Screen("a", root / "a"), Screen("b", root / "b")

    def slow(_screen: Screen) -> str:
        begun.set()
        assert there.wait(60)
        return "slow"

    async def look() -> list[bytes]:
        found: list[bytes] = []
        async with anyio.create_task_group() as group:

            async def first() -> None:
                found.append(await made.get(one, "now", slow))

            group.start_soon(first)
            group.start_soon(first)  # the same view is rendered once, for both
            await anyio.to_thread.run_sync(begun.wait, 60)
            with anyio.fail_after(60):
                quick = [
                    await made.get(other, "now", lambda _: "quick"),
                    await made.get(one, "alarms", lambda _: "quick"),
                    await made.get(one, "now", lambda _: "quick", "operator"),
                ]
            there.set()
        return quick + found

    found = anyio.run(look)
    assert [b"quick" in text for text in found] == [True, True, True, False, False]
    assert found[-1] is found[-2]


def test_renderings_go_with_their_screen(root: Path) -> None:
    """A screen that is made anew begins with version 0 again, and must not get what was rendered before."""
    made = Rendered()
    before = anyio.run(made.get, Screen("a", root / "a"), "now", lambda _: "old")
    assert b"old" in before
    assert b"new" in anyio.run(made.get, Screen("a", root / "a"), "now", lambda _: "new")
    gc.collect()
    assert len(made._runs) == 0


def test_many_who_look_at_the_list_cost_one_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "LIST", 3600.0)
    looks, read, look = list[str](), desks.read_project, overview.Watched.look
    monkeypatch.setattr(desks, "read_project", lambda folder: (looks.append(str(folder)), read(folder))[1])
    monkeypatch.setattr(overview.Watched, "look", lambda self: (looks.append(str(self.out)), look(self))[1])
    with looking(root.parent) as (here, desk):
        threads = [threading.Thread(target=here.get, args=("/",)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(looks) == sorted(str(root.parent / name) for name in ("of-a", "of-b", "runs/a", "runs/b"))
        desk.anew()
        assert here.get("/").status_code == 200
        assert len(looks) == 8


def test_a_run_that_is_made_anew_gets_a_new_screen(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "a", tmp_path / "runs" / "a")
    segment = tmp_path / "runs" / "a" / "journal" / "000001.jnl"
    with serving(tmp_path / "runs") as (host, desk):
        host.request("GET", "/r/a/now/stream", headers={"accept": "text/event-stream"})
        answer = host.getresponse()
        while b"1199" not in answer.fp.readline():
            pass
        first, data = desk._screens["a"], (root / "b" / "journal" / "000001.jnl").read_bytes()
        segment.unlink()
        segment.write_bytes(data[: len(data) // 4])
        while answer.fp.readline():  # until the stream ends
            pass
        host.close()
        host.request("GET", "/r/a/now", headers=BROWSER)
        answer = host.getresponse()
        assert answer.status == 200
        assert b"Tick 1199 " not in answer.read()
        assert desk._screens["a"] is not first
        assert 0 < len(desk._screens["a"].timeline) < 600
        host.close()


def test_so_does_one_that_nobody_looks_at_now(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(root / "a", tmp_path / "runs" / "a")
    with looking(tmp_path / "runs") as (here, desk):
        assert "Tick 1199 " in here.get("/r/a/now").text
        task = desk._screens["a"]._task
        assert task is not None
        with monkeypatch.context() as patch:
            patch.setattr(desks, "LINGER", 0.1)
            until(task.done)
        data = (root / "b" / "journal" / "000001.jnl").read_bytes()
        (tmp_path / "runs" / "a" / "journal" / "000001.jnl").write_bytes(data[: len(data) // 4])
        answer = here.get("/r/a/now")
        assert answer.status_code == 200
        assert "Tick 1199 " not in answer.text


def test_trouble_with_the_journal_is_seen_and_so_is_its_end(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "a", tmp_path / "runs" / "a")
    segment = tmp_path / "runs" / "a" / "journal" / "000001.jnl"
    with looking(tmp_path / "runs") as (here, desk):
        assert here.get("/r/a/now").status_code == 200
        screen, good = desk._screens["a"], segment.stat().st_size
        with segment.open("ab") as file:
            file.write(bytes(60))
        until(lambda: "damaged" in screen.trouble)
        assert "is damaged" in here.get("/r/a/now").text
        version = screen.version
        with segment.open("r+b") as file:
            file.truncate(good)
        until(lambda: not screen.trouble)
        until(lambda: screen.version > version)


@pytest.fixture
def line(tmp_path: Path, accounts: Accounts) -> Line:
    """A line whose policy waits at confirm for the approval of a move."""
    made = Line(tmp_path, accounts)
    made.climb()
    return made


def test_the_plant_gets_its_loops_back_while_the_run_is_read(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.0)
    app = create(Config((line.root,), hosts=frozenset(("testserver",)), accounts=line.accounts.path))
    with TestClient(app, follow_redirects=False) as here:
        assert sign_in(here, "lee").status_code == 303
        here.headers["x-csrf"] = csrf(here)
        answer = here.post("/r/line/act/hand-back", data={"reason": "smoke"})
        assert answer.status_code == 200
        assert len(app.state.desk._screens["line"].timeline) == 0  # nothing was read for it
        answer = here.post("/r/line/act/demote", data={"policy": "preheat"})
        assert answer.status_code == 503
        assert "being read" in answer.text
        assert (
            'id="hand-back"' in here.get("/r/line/evidence", headers=BROWSER).text
        )  # on the page that says how far it is, too
    decision = line.on(1)[0]
    assert [(heard.event.kind, heard.event.by, heard.refused) for heard in decision.events] == [("demotion", "lee", "")]


def test_the_alarms_of_a_run_that_stands_still_come_once_they_are_counted(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "LAG", 5)
    with serving(line.root) as (host, _):
        host.request("GET", "/r/line/now/stream", headers={"accept": "text/event-stream"})
        answer, text = host.getresponse(), ""
        while "to acknowledge" not in text:
            text += answer.fp.readline().decode()
        assert text.count("event: now") == 2  # it was shown before they were counted
        answer.close()
        host.close()


def offered(line: Line) -> str:
    """Go on until a move waits for its approval; return the plan's id."""
    for _ in range(30):
        line.on(10)
        if asks := [ask.subject for ask in status(line.out).asks if ask.kind == "approval"]:
            return asks[0]
    raise AssertionError("no move was laid on the table")


def replaced(line: Line) -> tuple[str, str, str]:
    """Return the page with a plan that was on the table, its id, and the id of the one that has taken its place."""
    old = offered(line)
    page = line.page("now", "lee")
    for _ in range(20):
        new = offered(line)
        if new != old:
            return page, old, new
    raise AssertionError("the plan was not replaced")


def test_an_approval_of_a_plan_that_was_replaced_approves_nothing(line: Line) -> None:
    page, old, new = replaced(line)
    assert f'name="ask" value="preheat:{old}"' in page
    said = line.act("lee", "act/approve", 409, ask=f"preheat:{old}")
    assert "another" in said
    assert "table" in said
    decision = line.on(1)[0]
    assert [heard for heard in decision.events if heard.event.kind == "approval"] == []
    assert [ask.subject for ask in decision.asks] == [new]
    assert decision.writes == ()


def test_nor_does_one_that_was_on_its_way(line: Line) -> None:
    """The act lay in the inbox already when the plan was replaced: it names the plan, and the loop refuses it."""
    _page, old, new = replaced(line)
    entered = line.accounts.enter("lee", PASSWORD)
    assert entered is not None
    line.put(signed(Event("approval", "lee", 0, {"policy": "preheat", "plan": old}, new_id()), entered[1]))
    decision = line.on(1)[0]
    assert [heard.refused for heard in decision.events if heard.event.kind == "approval"] == ["plan-not-on-the-table"]
    assert [ask.subject for ask in decision.asks] == [new]
    assert decision.writes == ()
    line.on(1)
    assert "refused: approval by lee" in line.page("alarms", "lee")
