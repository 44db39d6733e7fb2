"""Projects and runs on the first page: what it says of them, who may start and stop them, and what outlives the page server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from ui_kit import account, browser, client, command, enter, sign_in, ui, until

from jayul.app.web.desk import Desk
from jayul.conform.crash import make_project
from jayul.project.hold import Holder, ask_to_stop, holder
from jayul.project.overview import Watched, arguments_to_go_on, read_project
from jayul.project.run import Options, execute, read_summary, ticks_of
from jayul.record.files import OsFiles


@pytest.fixture(autouse=True)
def apart(own_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the accounts of these tests apart from those of others."""
    monkeypatch.setenv("JAYUL_KEYS", str(own_keys / "ui"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project, a complete run of it, and one that was stopped after 40 ticks."""
    folder = tmp_path_factory.mktemp("root")
    make_project(folder / "line", 2.0, "group")
    return folder


@pytest.fixture
def runs(root: Path) -> Path:
    if not (root / "done").exists():
        execute(root / "line", root / "done", Options())
        execute(root / "line", root / "half", Options(ticks=40))
    return root


def test_the_gateway_of_a_run_is_no_run(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "half", tmp_path / "half")
    shutil.copytree(runs / "half" / "journal", tmp_path / "half" / "gateway" / "journal")
    shutil.copytree(runs / "line", tmp_path / "half" / "project")
    desk = Desk((tmp_path,))
    assert [card.id for card in desk.runs()] == ["half"]
    assert list(desk.projects()) == ["half~project"]


def test_the_list_says_where_each_run_stands(runs: Path) -> None:
    page = client(runs).get("/").text
    done, half = Watched(runs / "done").look(), Watched(runs / "half").look()
    assert done is not None
    assert half is not None
    summary = read_summary(runs / "done")
    assert summary is not None
    assert (done.state, half.state) == ("complete", "interrupted")
    assert (done.tick, half.tick) == (summary.ticks - 1, 39)
    assert done.levels == summary.level_now
    assert done.kpi == summary.kpi["mean"]  # type: ignore[index]
    assert 0 < done.fresh <= done.tags
    rows = dict(re.findall(r'<a id="run-(\w+)".*?<span class="state (\w+)"', page, re.DOTALL))
    assert rows == {"done": "complete", "half": "interrupted"}
    assert "<form" not in page.split("<main")[1]  # nobody signed in: nothing to press


def test_what_is_new_in_a_run_is_seen_and_nothing_is_read_twice(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "grows"
    watched = None
    for ticks in (5, 6, 30, 100):
        execute(runs / "line", out, Options(ticks=ticks))
        watched = watched or Watched(out)
        seen = watched.look()
        assert seen is not None
        assert seen.tick == ticks - 1


def test_a_damaged_journal_is_said_and_hides_no_other_run(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken" / "journal").mkdir(parents=True)
    (tmp_path / "broken" / "journal" / "00000000.jnl").write_bytes(b"\0" * 200)
    page = client(runs, tmp_path).get("/")
    assert page.status_code == 200
    assert "cannot be read" in page.text
    assert "run-done" in page.text


def test_a_project_whose_manifest_is_wrong_is_shown_with_the_line_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "jayul.toml").write_text('[project]\nname = "bad"\ncolour = "red"\n[plant]\nkind = "tank"\n')
    page = client(tmp_path).get("/").text
    assert "unknown key &#39;colour&#39;" in page


@pytest.mark.parametrize("role", ["", "viewer", "operator"])
@pytest.mark.parametrize("what", ["start", "pause", "go-on"])
def test_only_an_engineer_starts_and_stops(runs: Path, role: str, what: str) -> None:
    web = client(runs)
    if role:
        account(f"A {role}", role)
        sign_in(web, f"A {role}")
    before = sorted(path.name for path in runs.iterdir())
    answer = web.post(f"/projects/{what}", data={"name": "half"})
    assert answer.status_code in (401, 403)
    assert "/projects/" not in web.get("/").text.replace("/projects/stream", "")
    assert sorted(path.name for path in runs.iterdir()) == before


def test_without_its_token_nothing_starts(runs: Path) -> None:
    account("An engineer", "engineer")
    web = client(runs)
    sign_in(web, "An engineer")
    del web.headers["x-csrf"]
    assert web.post("/projects/start", data={"name": "line"}).status_code == 403


@pytest.mark.parametrize("name", ["../line", "/etc", "line/../..", "nothing", ""])
def test_a_name_reaches_no_other_folder(runs: Path, name: str) -> None:
    account("An engineer", "engineer")
    web = client(runs)
    sign_in(web, "An engineer")
    for what in ("start", "pause", "go-on"):
        assert web.post(f"/projects/{what}", data={"name": name}).status_code == 409
    assert web.get("/projects/log/" + name).status_code in (307, 404, 405, 409)


def test_private_pages_ask_for_a_name_first(runs: Path) -> None:
    web = client(runs, private=True)
    for path in ("/", "/projects/stream", "/r/done/now"):
        answer = web.get(path)
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/signin")


def test_a_project_goes_on_with_its_own_runs_alone(runs: Path, tmp_path: Path) -> None:
    seen = Watched(runs / "half").look()
    assert seen is not None
    assert arguments_to_go_on(read_project(runs / "line"), seen.header) == ["--seed", "0"]
    other = make_project(tmp_path / "other", 3.0, "group")
    assert arguments_to_go_on(read_project(other), seen.header) is None


def test_a_lock_is_believed_only_while_its_process_lives(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"")
    assert holder(tmp_path) is None
    process = subprocess.Popen(["sleep", "60"])
    began = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    import msgspec

    (tmp_path / "lock").write_bytes(msgspec.json.encode(Holder(process.pid, began)))
    assert holder(tmp_path) == process.pid
    (tmp_path / "lock").write_bytes(msgspec.json.encode(Holder(process.pid, "1")))  # the number was given to another since
    assert holder(tmp_path) is None
    assert not ask_to_stop(tmp_path)
    assert process.poll() is None
    (tmp_path / "lock").write_bytes(msgspec.json.encode(Holder(process.pid, began)))
    process.kill()
    until(lambda: holder(tmp_path) is None)  # over, though nobody has waited for it
    process.wait()


def test_a_run_is_started_paused_and_goes_on_and_outlives_the_page_server(tmp_path: Path) -> None:
    project = make_project(tmp_path / "line", 2_000.0, "tick")
    account("An engineer", "engineer")
    out = tmp_path / f"{read_project(project).name}-run-1"
    try:
        with ui(tmp_path) as (server, url), browser() as (page, said):
            enter(page, url, "An engineer")
            page.click("#start-line")
            page.wait_for_selector(".state.running")
            pid = until(lambda: holder(out))
            server.kill()
            server.wait()
            before = _size(out)
            until(lambda: _size(out) > before)
            assert holder(out) == pid
            said.clear()  # the console tells of the lost stream
        with ui(tmp_path) as (_, url), browser() as (page, said):
            enter(page, url, "An engineer")
            page.click(f"#pause-{out.name}")
            page.wait_for_selector(".state.interrupted")
            assert holder(out) is None
            ticks = Watched(out).look()
            page.mouse.move(5, 5)  # the button came under the pointer: a click at once would not be taken
            page.click(f"#go-on-{out.name}")
            page.wait_for_selector(".state.running")
            until(lambda: Watched(out).look().tick > ticks.tick)  # type: ignore[union-attr]
            page.mouse.move(5, 5)
            page.click(f"#pause-{out.name}")
            page.wait_for_selector(".state.interrupted")
            assert said == []
    finally:
        if (left := holder(out)) is not None:
            os.kill(left, signal.SIGKILL)
    checked = subprocess.run(command("verify", out), capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    heard = [heard.event for tick in ticks_of(OsFiles(out / "journal")) for heard in tick.decision.events]
    notes = [(event.by, event.body["act"]) for event in heard if event.kind == "note" and "act" in event.body]
    assert {("An engineer", "pause"), ("An engineer", "go on")} <= set(notes), "the record says who did it"


def _size(out: Path) -> int:
    return sum(path.stat().st_size for path in (out / "journal").iterdir())


def test_a_start_that_comes_to_nothing_says_why(tmp_path: Path) -> None:
    project = make_project(tmp_path / "line", 2.0, "group")
    text = (project / "jayul.toml").read_text()
    (project / "jayul.toml").write_text(text.replace('kind = "tank"', 'kind = "tnk"', 1))
    account("An engineer", "engineer")
    web = client(tmp_path)
    sign_in(web, "An engineer")
    assert web.post("/projects/start", data={"name": "line"}, headers={"hx-request": "true"}).status_code == 200
    until(lambda: "came to nothing" in web.get("/").text)
    page = web.get("/").text
    assert "unknown kind &#39;tnk&#39;" in page
    assert [path.name for path in tmp_path.iterdir()] == ["line"]


def test_a_lost_page_server_is_said_and_the_page_recovers_by_itself(runs: Path) -> None:
    with browser() as (page, _):
        with ui(runs) as (_, url):
            page.goto(url + "/r/done/now")
            page.wait_for_selector("#now .strip")
            assert page.locator("#lost").is_hidden()
        page.wait_for_selector("#lost:not([hidden])")
        assert "The loop and the guard go on" in page.inner_text("#lost")
        with ui(runs, port=int(url.rpartition(":")[2])):
            page.wait_for_selector("#lost", state="hidden", timeout=30_000)
            page.wait_for_selector("#now .strip")
