"""The API: it says what the journal says, to whom it may, as its description describes it."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from records_kit import Line, read, served
from starlette.testclient import TestClient

from jayul.app.web.api import calls
from jayul.app.web.api.table import ENDPOINTS
from jayul.project.audit import Filter, audit
from jayul.record.history import Reader


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, accounts: Any) -> Line:
    """A run at confirm, with an alarm."""
    made = Line(tmp_path_factory.mktemp("api"), accounts)
    made.climb()
    made.on(20)
    return made


def get(here: TestClient, path: str, **query: object) -> Any:
    answer = here.get(f"/api/v1{path}", params={key: str(value) for key, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_description_names_every_endpoint(line: Line) -> None:
    with line.web() as here:
        paths = get(here, "/openapi.json")["paths"]
    named = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert named == {(e.method, "/api/v1" + e.path) for e in ENDPOINTS}


def test_a_method_that_there_is_not_is_told_all_that_there_are(line: Line) -> None:
    with line.web() as here:
        answer = here.delete("/api/v1/projects")
        assert here.head("/api/v1/projects").status_code == 200
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


def test_alarms_are_those_of_the_journal(line: Line) -> None:
    with line.web() as here:
        found = get(here, "/runs/line/alarms")
        at_start = get(here, "/runs/line/alarms", tick=3)
        closed = get(here, "/runs/line/alarms", state="closed")
    ticks = read(line.out)
    assert [(a["kind"], a["subject"], a["at"], a["until"]) for a in found] == [
        ("finding", "watch.always", ticks[0][0].decision.at, None)
    ]
    assert found[0]["seconds"] > at_start[0]["seconds"]
    assert closed == []


def test_moves_are_what_was_asked_and_applied(line: Line) -> None:
    with line.web() as here:
        found = get(here, "/runs/line/moves")
        none = get(here, "/runs/line/moves", answer="refused")
    verdicts = [(t.decision.tick, v) for t, _ in read(line.out) for v in t.decision.verdicts]
    covered = [tick for m in found for tick in range(m["tick"], m["until"] + 1)]
    assert sorted(covered) == [tick for tick, _ in verdicts]
    assert {m["tag"] for m in found} == {v.proposal.tag for _, v in verdicts}
    assert none == []


def test_audit_coverage_and_effort(line: Line) -> None:
    with line.web() as here:
        lines = get(here, "/runs/line/audit", limit=1000)
        later = get(here, "/runs/line/audit", skip=2, limit=2)
        hours = get(here, "/runs/line/coverage")
        ledger = get(here, "/runs/line/coverage", source="ledger")
        effort = get(here, "/runs/line/effort")
    assert [(e["tick"], e["kind"], e["who"]) for e in lines] == [(e.tick, e.kind, e.who) for e in audit(line.out, Filter())]
    assert later == lines[2:4]
    assert {h["counts"]["expected"] for h in hours} == {len(read(line.out))}
    assert all(h["share"] == 1 for h in hours)
    assert {h["tag"] for h in ledger} <= set(Reader(line.out / "history").tags())
    assert effort["acts"] == {"signature": 3}


def test_curves_hold_every_sample_where_there_is_room(line: Line) -> None:
    with line.web() as here:
        (curve,) = get(here, "/runs/line/curves", tags="TIC1.PV")
        wrong = here.get("/api/v1/runs/line/curves", params={"tags": "no.such"})
    table = Reader(line.out / "history").samples(["TIC1.PV"], None, None)
    assert curve["at"] == table["source_at"].cast("int64").to_pylist()[: len(curve["at"])]
    assert len(curve["at"]) >= table.num_rows - 1
    assert wrong.status_code == 404
    assert "no.such" in wrong.json()["error"]


def test_what_one_answer_does_not_hold_is_counted_not_read_and_can_be_had_in_parts(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, tags = 16, "TIC1.PV,JI1.PV"
    monkeypatch.setattr(calls, "ROWS", most)
    table = Reader(line.out / "history").samples(tags.split(","), None, None)
    expected = zip(table["tag"].to_pylist(), table["source_at"].cast("int64").to_pylist(), strict=True)
    read_rows, whole, found = list[int](), Reader.samples, list[tuple[str, int]]()

    def counted(self: Reader, *given: Any, **named: Any) -> Any:
        rows = whole(self, *given, **named)
        read_rows.append(rows.num_rows)
        return rows

    monkeypatch.setattr(Reader, "samples", counted)
    with line.web() as here:
        query, refused = {"tags": tags}, 0
        while True:
            answer = here.get("/api/v1/runs/line/samples", params=query)
            if answer.status_code == 413:
                assert f"more than {most} samples" in answer.json()["error"]
                refused += 1
                query |= {"end": re.findall(r"end=(-?\d+)", answer.json()["error"])[0]}
                continue
            found += [(row["tag"], int(row["source_at_ns"])) for row in csv.DictReader(io.StringIO(answer.text))]
            if "end" not in query:
                break
            query = {"tags": tags, "start": query["end"]}
    assert sorted(found) == sorted(expected)
    assert refused > 1
    assert sum(read_rows) == len(found), "nothing is read that is not said"


@pytest.mark.parametrize("ends", [{"start": -(2**63)}, {"end": 2**63 - 1}, {"start": -(2**62), "end": 2**62}, {"start": 2**62}])
def test_a_range_without_end_costs_no_more_than_what_is_there(line: Line, ends: dict[str, int]) -> None:
    with line.web() as here:
        whole = here.get("/api/v1/runs/line/samples", params={"tags": "TIC1.PV"}).text
        found = here.get("/api/v1/runs/line/samples", params={"tags": "TIC1.PV", **ends})
    assert found.status_code == 200
    assert found.text == (whole if ends != {"start": 2**62} else whole.splitlines(keepends=True)[0])


def test_claims_and_projects(proven: Path, line: Line) -> None:
    with line.web() as here:
        assert get(here, "/runs/line/claims") == []
        found = get(here, "/projects")
    assert found == []  # no project lies under the served folder, only its run
    claims = list((proven / "line" / "claims").iterdir())
    assert len(claims) == 1


ACT = {"act": "note", "reason": "seen"}


def test_an_act_on_an_alarm_is_heard_by_the_loop(line: Line) -> None:
    with line.web("lee") as here:
        alarm = get(here, "/runs/line/alarms")[0]["id"]
        for act in ({"act": "acknowledge"}, {"act": "shelve", "reason": "tests", "hours": 2}, ACT):
            answer = here.post("/api/v1/runs/line/acts", json={"alarm": alarm, **act})
            assert answer.status_code == 200, answer.text
        long = here.post("/api/v1/runs/line/acts", json={"alarm": alarm, "act": "shelve", "reason": "x", "hours": 9})
        lost = here.post("/api/v1/runs/line/acts", json={"alarm": "nothing", **ACT})
        assert (long.status_code, lost.status_code) == (409, 404)
    line.on(2)
    with line.web() as here:
        found = get(here, "/runs/line/alarms")[0]
    assert found["state"] == "shelved"
    assert [(act["act"], act["by"]) for act in found["acts"]] == [("acknowledge", "lee"), ("shelve", "lee"), ("note", "lee")]


def test_limits_by_the_api_stand_in_the_journal(line: Line) -> None:
    with line.web("kim") as here:
        one_sided = {"act": "limit", "tag": "TIC1.SP", "high": 60.0, "reason": "tests"}
        assert here.post("/api/v1/runs/line/acts", json=one_sided).status_code == 200
    line.on(2)
    assert [e.what for e in audit(line.out, Filter(kinds=("limit",)))] == ["high 60.0"]


@pytest.mark.parametrize(("name", "code"), [("", 401), ("park", 403)])
def test_who_may_not_may_not(line: Line, name: str, code: int) -> None:
    with line.web(name) as here:
        assert here.post("/api/v1/runs/line/acts", json={"alarm": "x", **ACT}).status_code == code
        assert here.post("/api/v1/projects", json={"what": "start", "name": "x"}).status_code == code


def test_an_operator_starts_nothing_and_a_token_is_needed(line: Line) -> None:
    with line.web("lee") as here:
        assert here.post("/api/v1/projects", json={"what": "start", "name": "x"}).status_code == 403
    with line.web("kim") as here:
        assert here.post("/api/v1/projects", json={"what": "start", "name": "x"}).status_code == 409
        del here.headers["x-csrf"]
        assert here.post("/api/v1/projects", json={"what": "start", "name": "x"}).status_code == 403


def test_who_comes_back_misses_no_tick(line: Line, accounts: Any) -> None:
    last = len(read(line.out)) - 1
    with served(line.root, accounts=accounts) as url:
        asked = urllib.request.Request(f"{url}/api/v1/runs/line/events", headers={"Last-Event-ID": "3"})
        with urllib.request.urlopen(asked, timeout=20) as stream:
            found = []
            while not found or found[-1] < last:
                text = stream.readline().decode()
                if text.startswith("data: "):
                    found.append(json.loads(text[6:])["tick"])
    assert found == list(range(4, last + 1))
