"""The trends page's data: numbers are those of the history, what is not known is not drawn, an address always shows the same."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest
from records_kit import Line, read, served
from starlette.testclient import TestClient
from trends_kit import BAD_FROM, BAD_TO, BEGIN, HOUR, NAMES, SILENT_FROM, SILENT_TO, make_run, rows, serving

from jayul.app.web.pages import trends
from jayul.app.web.server import Config, create
from jayul.core.types import SECOND, Level
from jayul.project.marks import Mark, Marks
from jayul.project.run import read_summary
from jayul.project.tail import MS
from jayul.project.timeline import Timeline
from jayul.record.batch import Batch
from jayul.record.history import History, Reader


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("trends"))


@pytest.fixture(scope="module")
def here(out: Path) -> Iterator[TestClient]:
    with TestClient(create(Config((out.parent,), hosts=frozenset()))) as client:
        yield client


def ask(here: TestClient, *tags: str, **query: object) -> Any:
    answer = here.get("/r/small/trends/data", params=[*(("tags", tag) for tag in tags), *query.items()])  # type: ignore[arg-type]
    return answer.json()


def plain(value: float, status: int) -> float | None:
    return value if status < 0x40000000 and math.isfinite(value) else None


def test_few_samples_are_those_of_the_history_to_the_last_bit(here: TestClient, out: Path) -> None:
    low, high = BEGIN + 900 * SECOND, BEGIN + 1500 * SECOND
    curve = ask(here, "TIC1.PV", **{"from": low, "to": high, "width": 600})["curves"][0]
    at, value, status = rows(out, "TIC1.PV", low - SECOND, high + SECOND)
    assert curve["at"] == at  # one beyond either end, so that the line reaches the edge
    assert curve["value"] == [plain(v, s) for v, s in zip(value, status, strict=True)]
    assert "step" not in curve
    assert curve["bad"] == [[BAD_FROM, BAD_TO]]


def test_many_samples_become_columns_of_their_least_and_greatest(here: TestClient, out: Path) -> None:
    for width in (100, 400, 1200):
        curve = ask(here, "JI1.PV", **{"from": BEGIN, "to": BEGIN + 2 * HOUR, "width": width})["curves"][0]
        step = curve["step"]
        at, value, status = (np.array(c) for c in rows(out, "JI1.PV", BEGIN, BEGIN + 2 * HOUR))
        good = (status < 0x40000000) & np.isfinite(value)
        starts = np.unique(at // step * step)
        assert curve["at"] == starts.tolist()
        assert len(curve["min"]) + len(curve["max"]) <= 2 * width
        for column, of in (("min", np.min), ("max", np.max)):
            there = [value[good & (at // step * step == start)] for start in starts]
            assert curve[column] == [float(of(part)) if len(part) else None for part in there]
        assert len(curve["bad"]) > 0  # samples that are no number


def test_the_newest_word_about_a_sample_is_drawn(here: TestClient) -> None:
    at = BEGIN + 601 * SECOND
    curve = ask(here, "TIC1.PV", **{"from": at - SECOND, "to": at + SECOND})["curves"][0]
    assert curve["value"][curve["at"].index(at)] == 99.5


@pytest.mark.parametrize("width", [8000, 300])
def test_silence_is_a_gap_and_a_set_point_holds_while_the_run_ticks(here: TestClient, width: int) -> None:
    found = ask(here, "TIC1.PV", "TIC1.SP", **{"from": BEGIN, "to": BEGIN + 2 * HOUR, "width": width})
    measured, held = found["curves"]
    step = measured.get("step", SECOND)
    assert measured["gaps"] == [[SILENT_FROM - SECOND if "step" not in measured else SILENT_FROM, SILENT_TO]], step
    assert held["holds"]
    assert "gaps" not in held


def test_tags_may_stand_in_one_parameter_or_in_several(here: TestClient) -> None:
    both = here.get("/r/small/trends/data?tags=TIC1.PV,JI1.PV&last=1h").json()
    assert [curve["tag"] for curve in both["curves"]] == ["TIC1.PV", "JI1.PV"]
    strange = ask(here, NAMES[3], last="all")
    assert [curve["tag"] for curve in strange["curves"]] == [NAMES[3]]
    assert ask(here, last="8h")["curves"] == []


def test_an_address_asks_for_what_it_says(here: TestClient) -> None:
    found = ask(here, "TIC1.PV", **{"from": "2026-01-01T00:30:00Z", "to": "2026-01-01T09:45:00.250+09:00"})
    assert (found["low"], found["high"]) == (BEGIN + HOUR // 2, BEGIN + 2700 * SECOND + 250_000_000)
    newest = ask(here, "TIC1.PV", last="1h")
    assert newest["high"] == newest["newest"] + 1
    assert newest["low"] == newest["newest"] - HOUR
    whole = ask(here, "TIC1.PV", last="all")
    assert whole["low"] == BEGIN


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("tags=NO.SUCH", "no tag 'NO.SUCH'"),
        ("tags=" + ",".join(f"A{i}" for i in range(13)), "12 tags"),
        ("tags=TIC1.PV&from=yesterday&to=2026-01-01", "'yesterday' is not a time"),
        ("tags=TIC1.PV&from=2026-01-02&to=2026-01-01", "'to' must be later"),
        ("tags=TIC1.PV&from=1&to=99999999999999999999", "'to' must be later"),
        ("tags=TIC1.PV&last=soon", "'soon' is not a duration"),
        ("tags=TIC1.PV&width=wide", "'width'"),
    ],
)
def test_wrong_questions_get_one_line(here: TestClient, query: str, says: str) -> None:
    answer = here.get(f"/r/small/trends/data?{query}")
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_what_happened_is_marked(here: TestClient, out: Path) -> None:
    marks = ask(here, "TIC1.PV", last="all")["marks"]
    summary = read_summary(out)
    assert summary is not None
    levels = [(mark["at"], mark["text"]) for mark in marks if mark["kind"] == "level"]
    assert len(levels) == len(summary.levels) > 0
    assert all(word in text for (_, text), word in zip(levels, ("shadow", "advise", "confirm"), strict=False))
    blocks = [mark for mark in marks if mark["kind"] == "block"]
    assert {mark["at"] for mark in blocks} > {BEGIN + 1_000_000 + i * HOUR // 2 for i in range(4)}
    assert {mark["what"] for mark in blocks} == {"on", "off", "planned"}
    moves = [mark for mark in marks if mark["kind"] == "move"]
    timeline = Timeline(out)
    while timeline.refresh() < summary.ticks:
        pass
    receipts = sum(len(tick.outcome.receipts) for n in range(summary.ticks) if (tick := timeline[n]).outcome)
    found = Marks(timeline)
    found.refresh()
    assert (
        sum(mark.count for mark in found.between(BEGIN, BEGIN + 2 * HOUR) if mark.kind == "move") == receipts > len(moves) > 0
    )


def blocks_of(out: Path) -> list[Mark]:
    """Return the blocks of a run, cut where its policy began to drive and where it was stopped."""
    timeline = Timeline(out)
    while timeline.refresh() < len(read(out)):
        pass
    marks = Marks(timeline)
    marks.refresh()
    return [mark for mark in marks.between(0, 2**62) if mark.kind == "block"]


def test_a_block_is_on_only_from_the_first_write_of_its_policy_on(out: Path) -> None:
    blocks, ticks = blocks_of(out), [tick for tick, _ in read(out)]
    assert {mark.what for mark in blocks} == {"on", "off", "planned"}
    for before, after in pairwise(blocks):
        assert before.until == after.at, "the parts follow each other"
    for mark in blocks:
        inside = [tick for tick in ticks if mark.at <= tick.decision.at < mark.until]
        wrote = [bool(tick.outcome and any(receipt.tag == "TIC1.SP" for receipt in tick.outcome.receipts)) for tick in inside]
        if mark.what == "on":
            assert wrote[0]
            assert all(tick.decision.levels[0] >= Level.CONFIRM for tick in inside)
        elif mark.what == "planned":
            assert inside
            assert not any(wrote)


def test_a_policy_that_may_not_drive_is_never_said_to_be_on(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.climb()
    line.on(1)
    assert "on" not in {mark.what for mark in blocks_of(line.out)}, "nothing was written yet"
    assert "planned" in {mark.what for mark in blocks_of(line.out)}
    plan = re.search(r'name="ask" value="(preheat:[0-9a-f]{16})"', line.page("now", "kim"))
    assert plan
    line.act("kim", "act/approve", ask=plan[1])
    driving = line.on(3)
    (on,) = [mark for mark in blocks_of(line.out) if mark.what == "on"]
    assert (on.at, on.until, on.open) == (driving[0].at, driving[-1].at, True)
    line.act("lee", "act/demote", policy="preheat", reason="off")
    back = line.on(3)
    on, after = blocks_of(line.out)[-2:]
    assert (on.what, on.until, on.open) == ("on", back[0].at, False)
    assert (after.what, after.at, after.open) == ("planned", back[0].at, True)
    with line.web() as here:
        marks = here.get("/r/line/trends/data?last=all").json()["marks"]
    assert [mark["short"] for mark in marks if mark["kind"] == "block"][-2:] == ["on", "planned, not driven"]


def test_a_move_says_which_tag_it_moves(here: TestClient) -> None:
    moves = [mark for mark in ask(here, "TIC1.PV", last="all")["marks"] if mark["kind"] == "move"]
    assert moves
    assert all(mark["short"].startswith("TIC1.SP → ") for mark in moves)
    assert all(f": {mark['short']} in " in mark["text"] for mark in moves)


def test_an_outage_that_goes_on_is_a_gap_up_to_the_newest_tick(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.climb()
    ticks = [tick.decision.at for tick, _ in read(line.out)]
    begin, middle, newest = ticks[0], ticks[len(ticks) // 2], ticks[-1]
    assert newest - middle > 120 * SECOND < middle - begin
    history = History(line.out / "history", ["TIC1.SP", "GONE"])
    history.append(Batch.of([1, 1], [middle, middle + SECOND], [5.0, 6.0], [0, 0], [0, 0]), known_at=newest)
    history.close()
    with line.web() as here:
        query = "tags=GONE&tags=TIC1.SP&tags=TIC1.PV"
        for width in (16, 4000):
            gone, held, measured = here.get(f"/r/line/trends/data?{query}&last=all&width={width}").json()["curves"]
            end = gone["at"][-1] + gone.get("step", 0)
            assert gone["gaps"] == [[begin, gone["at"][0]], [end, newest]]
            assert "gaps" not in held, "a set-point stands while the run ticks"
            assert "gaps" not in measured
        wide = f"from={begin - HOUR}&to={newest + HOUR}"
        gone, *_ = here.get(f"/r/line/trends/data?{query}&{wide}&width=4000").json()["curves"]
        assert (gone["gaps"][0][0], gone["gaps"][-1][1]) == (begin, newest), "before and after the run is no outage"
        empty = here.get(f"/r/line/trends/data?tags=GONE&from={begin}&to={middle - SECOND}&width=4000").json()["curves"]
        assert empty[0]["gaps"] == [[begin, middle - SECOND]]


def test_marks_outside_the_range_are_left_out(here: TestClient) -> None:
    marks = ask(here, "TIC1.PV", **{"from": BEGIN + HOUR, "to": BEGIN + HOUR + 60 * SECOND})["marks"]
    assert all(mark["at"] <= BEGIN + HOUR + 60 * SECOND and mark["until"] >= BEGIN + HOUR for mark in marks)
    assert any(mark["kind"] == "block" for mark in marks)


def test_exports_hold_every_sample_to_the_last_bit(here: TestClient, out: Path) -> None:
    query = {"tags": "TIC1.PV,JI1.PV", "from": str(BEGIN), "to": str(BEGIN + HOUR)}
    expected = []
    for tag in ("TIC1.PV", "JI1.PV"):
        expected += [(tag, *row) for row in zip(*rows(out, tag, BEGIN, BEGIN + HOUR), strict=True)]
    text = here.get("/r/small/trends/export", params=query | {"format": "csv"}).text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(r["tag"], float(r["value"]).hex(), int(r["status"])) for r in lines] == [
        (t, v.hex(), s) for t, _, v, s in expected
    ]
    times = [np.datetime64(row["source_at"].rstrip("Z"), "ns").astype(np.int64) for row in lines]
    assert times == [at for _, at, _, _ in expected]
    assert {row["unit"] for row in lines} == {"degC", "kW"}
    answer = here.get("/r/small/trends/export", params=query | {"format": "parquet"})
    assert "attachment" in answer.headers["content-disposition"]
    table = pq.read_table(io.BytesIO(answer.content))
    assert table["source_at"].cast("int64").to_pylist() == times
    assert [v.hex() for v in table["value"].to_pylist()] == [v.hex() for _, _, v, _ in expected]


def test_an_export_brings_no_formula_into_a_spreadsheet(here: TestClient) -> None:
    text = here.get("/r/small/trends/export", params={"tags": NAMES[3], "last": "all", "format": "csv"}).text
    names = {row["tag"] for row in csv.DictReader(io.StringIO(text))}
    assert names == {f"'{NAMES[3]}"}
    wrong = here.get("/r/small/trends/export", params={"tags": "TIC1.PV", "format": "exe"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "'format' is csv or parquet")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_is_read_in_parts_and_no_further_than_there_is_something(
    here: TestClient, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    ends = {"from": str(BEGIN), "to": str(BEGIN + 3 * HOUR), "format": form}
    whole = here.get("/r/small/trends/export", params={"tags": "TIC1.PV,JI1.PV", **ends})
    monkeypatch.setattr(trends, "AT_ONCE", 500)
    read, asked, samples, downsample = list[int](), list[int](), Reader.samples, Reader.downsample

    def counted(self: Reader, *given: Any, **named: Any) -> Any:
        rows = samples(self, *given, **named)
        read.append(rows.num_rows)
        return rows

    def summed(self: Reader, *given: Any, **named: Any) -> Any:
        asked.append(1)
        return downsample(self, *given, **named)

    monkeypatch.setattr(Reader, "samples", counted)
    monkeypatch.setattr(Reader, "downsample", summed)
    query = {"tags": "TIC1.PV,JI1.PV", "from": str(-(2**62)), "to": str(2**62), "format": form}
    answer = here.get("/r/small/trends/export", params=query)
    assert max(read) <= 500
    assert len(read) + len(asked) < 100, "the days before and after are not walked"
    if form == "csv":
        assert answer.text == whole.text
    else:
        tables = [pq.read_table(io.BytesIO(content)) for content in (answer.content, whole.content)]
        assert repr(tables[0].to_pylist()) == repr(tables[1].to_pylist())


def opened(folder: Path, ending: str) -> int:
    """Count the files of a folder that this process holds open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()).startswith(f"{folder}/") and str(entry.readlink()).endswith(ending)
    return found


def test_a_client_that_goes_away_ends_the_reading_of_its_export(
    tmp_path: Path, accounts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(tmp_path, accounts)
    line.on(2)
    n, begin = 2_000_000, BEGIN + HOUR
    history = History(line.out / "history", ["TIC1.PV"])
    at = begin + np.arange(n) * SECOND
    history.append(Batch.of(np.zeros(n), at, np.sin(np.arange(n)), np.zeros(n), np.zeros(n)), known_at=begin)
    history.close()
    monkeypatch.setattr(trends, "AT_ONCE", 20_000)
    read, over, whole = list[int](), threading.Event(), trends._rows

    def watched(*given: Any) -> Iterator[Any]:
        rows = whole(*given)
        try:
            for table in rows:
                read.append(table.num_rows)
                yield table
        finally:
            rows.close()
            over.set()

    monkeypatch.setattr(trends, "_rows", watched)
    with served(line.root, accounts=accounts) as url:
        httpx2.get(f"{url}/r/line/trends/data?tags=TIC1.PV&last=all").raise_for_status()
        before = opened(line.out / "history", ".parquet")
        query = f"tags=TIC1.PV&from={begin}&to={begin + n * SECOND}&format=csv"
        with socket.create_connection(urlsplit(url).netloc.split(":"), timeout=30) as wire:
            wire.sendall(f"GET /r/line/trends/export?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert wire.recv(4096).startswith(b"HTTP/1.1 200")
        assert over.wait(60)
        assert opened(line.out / "history", ".parquet") <= before, "its files are let go"
    assert 0 < sum(read) < n // 2


def test_the_page_escapes_what_it_shows_and_lists_all_tags(here: TestClient) -> None:
    page = here.get("/r/small/trends")
    assert page.status_code == 200
    assert "style=" not in page.text
    assert "<script>" not in page.text
    tags = {tag["name"]: tag for tag in here.get("/r/small/trends/tags").json()}
    assert tags.keys() > set(NAMES)
    assert tags["TIC1.SP"]["holds"]
    assert tags["TIC1.PV"]["unit"] == "degC"


def events(address: str, seconds: float, last: str = "") -> list[dict[str, Any]]:
    """Follow a stream for a while; return name, number and data of its events."""
    request = urllib.request.Request(address, headers={"Last-Event-ID": last} if last else {})
    found, end = [], time.monotonic() + seconds
    with contextlib.suppress(TimeoutError), urllib.request.urlopen(request, timeout=seconds) as stream:
        text = ""
        while time.monotonic() < end:
            text += stream.readline().decode()
            if text.endswith("\n\n"):
                fields = dict(line.partition(": ")[::2] for line in text.strip().split("\n"))
                found += [fields | {"data": json.loads(fields["data"])}] if "data" in fields else []
                text = ""
    return found


def test_who_comes_back_gets_what_became_known_meanwhile_and_nothing_else(out: Path) -> None:
    with serving(out.parent) as url:
        stream = f"{url}/r/small/trends/stream?tags=TIC1.PV"
        before = BEGIN // MS + 7_190_000  # ms; after it ten minutes of samples became known, then a late correction
        whole = events(f"{stream}&since={before}", 3)
        at, value, _ = whole[0]["data"]["tags"]["TIC1.PV"]
        expected = rows(out, "TIC1.PV", BEGIN + 6600 * SECOND, BEGIN + 7200 * SECOND)
        assert (at, value) == ([BEGIN + 601 * SECOND, *expected[0]], [99.5, *expected[1]])
        known = BEGIN // MS + 7_260_000
        assert whole[-1]["id"].split(".")[:2] == [str(known), "1"]
        late = events(stream, 3, last=str(BEGIN // MS + 7_200_001))
        assert [event["data"]["tags"] for event in late] == [{"TIC1.PV": [[BEGIN + 601 * SECOND], [99.5], [0]]}]
        assert events(stream, 3, last=whole[-1]["id"]) == []
        restarted = events(stream, 3, last=f"{known}.7.of-another-server")
        assert [event["data"]["tags"] for event in restarted] == [late[0]["data"]["tags"]], "told again rather than lost"
        away = events(stream, 3, last=str(BEGIN // MS))
        assert [event["event"] for event in away] == ["again"], "too long away: the page reads the range anew"


def test_what_becomes_known_in_the_same_millisecond_is_streamed_too(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.climb()
    names, at = ["TIC1.PV", "JI1.PV"], Reader(line.out / "history").bounds()[1] + SECOND  # type: ignore[index]
    history = History(line.out / "history", names)
    known = -(-at // MS) * MS

    def add(tag: int, value: float) -> None:
        history.append(Batch.of([tag], [at], [value], [0], [0]), known_at=known)
        history.commit()

    with serving(line.root) as url:
        query = "tags=TIC1.PV&tags=JI1.PV"
        begun = httpx2.get(f"{url}/r/line/trends/data?{query}&last=all").json()
        add(0, 1.5)
        first = events(f"{url}/r/line/trends/stream?{query}&since={begun['known']}", 4)
        add(1, 2.5)
        add(0, 3.5)
        then = events(f"{url}/r/line/trends/stream?{query}", 4, last=first[-1]["id"])
        again = events(f"{url}/r/line/trends/stream?{query}", 4, last=then[-1]["id"])
    history.close()
    assert [event["data"]["tags"] for event in first] == [{"TIC1.PV": [[at], [1.5], [0]]}]
    assert [event["data"]["tags"] for event in then] == [{"TIC1.PV": [[at], [3.5], [0]], "JI1.PV": [[at], [2.5], [0]]}]
    assert again == []


def test_a_replay_knows_nothing_that_became_known_later(tmp_path: Path, accounts: Any) -> None:
    """A value of the laboratory, say, that came an hour after its sample was taken."""
    line = Line(tmp_path, accounts)
    line.climb()
    ticks = [tick.decision.at for tick, _ in read(line.out)]
    history = History(line.out / "history", ["TIC1.PV"])
    taken, last = ticks[5] + 1, len(ticks) - 1
    history.append(Batch.of([0], [taken], [-7.0], [0], [0]), known_at=ticks[last] + 60 * SECOND)
    history.close()
    line.on(3)
    ticks = [tick.decision.at for tick, _ in read(line.out)]
    with line.web() as here:

        def seen(tick: int) -> tuple[bool, bool]:
            curve = here.get(f"/r/line/trends/data?tags=TIC1.PV&last=all&tick={tick}&width=4000").json()["curves"][0]
            rows = here.get(f"/r/line/trends/export?tags=TIC1.PV&last=all&tick={tick}").text
            assert ticks[tick] in curve["at"], "what came with the tick is known"
            return taken in curve["at"], ",-7," in rows

        assert seen(last) == (False, False)
        assert seen(last + 3) == (True, True)


def test_a_set_point_stands_from_the_left_edge_however_long_ago_it_was_set(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.climb()
    begin = read(line.out)[0][0].decision.at
    history = History(line.out / "history", ["TIC1.PV", "TIC1.SP"])
    history.append(Batch.of([1], [begin - 40 * 86_400 * SECOND], [51.25], [0], [0]), known_at=begin)
    history.close()
    with line.web() as here:
        low = begin - 3 * 86_400 * SECOND
        query = {"tags": "TIC1.SP", "from": str(low), "to": str(low + 600 * SECOND)}
        curve = here.get("/r/line/trends/data", params=query).json()["curves"][0]
        by_api = here.get(
            "/api/v1/runs/line/curves", params={"tags": "TIC1.SP", "start": low, "end": low + 600 * SECOND}
        ).json()
    assert (curve["at"], curve["value"]) == ([begin - 40 * 86_400 * SECOND], [51.25])
    assert by_api == [curve]


def test_a_replay_shows_nothing_that_came_later(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.climb()
    at = read(line.out)[9][0].decision.at
    with line.web() as here:
        whole = here.get("/r/line/trends/data?tags=TIC1.PV&last=all").json()
        then = here.get("/r/line/trends/data?tags=TIC1.PV&last=all&tick=9").json()
        wide = here.get(f"/r/line/trends/data?tags=TIC1.PV&from={whole['low']}&to={whole['high']}&tick=9").json()
        rows = here.get("/r/line/trends/export?tags=TIC1.PV&last=all&tick=9").text
    assert max(whole["curves"][0]["at"]) > at
    for found in (then, wide):
        assert max(found["curves"][0]["at"]) <= at
        assert max(mark["at"] for mark in found["marks"]) <= at
        assert max(mark["until"] for mark in found["marks"]) <= at
        assert found["newest"] <= at + 1
    assert (wide["low"], wide["high"]) == (whole["low"], whole["high"])
    assert len(rows.splitlines()) == 1 + len(then["curves"][0]["at"])
