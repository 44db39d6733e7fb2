"""Nobody waits for anybody else's work: what people do gets through however much is being read, and whoever reads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from desk_kit import PASSWORD, csrf, sign_in
from records_kit import Line
from starlette.testclient import TestClient

from jayul.app.web import folds
from jayul.app.web.accounts import Accounts
from jayul.app.web.folds import Fold
from jayul.app.web.server import Config, create

READERS = 45  # more than there are worker threads


@pytest.fixture
def line(tmp_path: Path, accounts: Accounts) -> Line:
    """A line whose policy waits at confirm for the approval of a move."""
    made = Line(tmp_path, accounts)
    made.climb()
    return made


@pytest.mark.parametrize("page", ["/api/v1/runs/line/effort", "/r/line/alarms", "/r/line/moves?tick=20"])
def test_the_plant_gets_its_loops_back_while_many_wait_for_a_long_run(
    line: Line, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    gate, upto, through = threading.Event(), Fold.upto, list[int]()

    def slow(fold: Fold, end: int) -> None:  # as that of a run of a million ticks
        gate.wait(20)
        through.append(end)
        upto(fold, end)

    monkeypatch.setattr(folds, "LAG", 5)
    app = create(Config((line.root,), hosts=frozenset(("testserver",)), accounts=line.accounts.path))
    with TestClient(app, follow_redirects=False) as here, ThreadPoolExecutor(READERS) as readers:
        assert sign_in(here, "lee").status_code == 303
        here.headers["x-csrf"] = csrf(here)
        assert here.get("/api/v1/runs/line").status_code == 200
        monkeypatch.setattr(Fold, "upto", slow)
        waiting = [readers.submit(here.get, page) for _ in range(READERS)]
        time.sleep(2.0)  # longer than a page waits
        if "api" in page:
            assert not any(one.done() for one in waiting)
        answer = here.post("/r/line/act/hand-back", data={"reason": "smoke"})
        assert answer.status_code == 200
        assert through == [], "it waited for nobody"
        gate.set()
        assert {one.result().status_code for one in waiting} <= {200, 503}
        if "api" in page:
            assert {one.result().status_code for one in waiting} == {200}
    decision = line.on(1)[0]
    assert [(heard.event.kind, heard.event.by) for heard in decision.events] == [("demotion", "lee")]


def test_a_program_hands_back_without_the_run_being_read(line: Line) -> None:
    app = create(Config((line.root,), hosts=frozenset(("testserver",)), accounts=line.accounts.path))
    with TestClient(app) as here:
        token = here.post("/api/v1/session", json={"name": "lee", "password": PASSWORD}).json()["csrf"]
        acts = "/api/v1/runs/line/acts"
        assert here.post(acts, json={"act": "hand-back"}).status_code == 403, "not without the token"
        assert here.post(acts, json={"act": "hand-back", "reason": "smoke"}, headers={"x-csrf": token}).status_code == 200
        assert len(app.state.desk._screens["line"].timeline) == 0
    decision = line.on(1)[0]
    assert [(heard.event.kind, heard.event.by) for heard in decision.events] == [("demotion", "lee")]
