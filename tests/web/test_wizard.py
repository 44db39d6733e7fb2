"""Set-up: from a file or a plant's address to a project that records, with what was understood shown and correctable."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from ui_kit import account, browser, client, command, enter, sign_in, ui, until

from jayul.conform.crash import make_project
from jayul.core.clock import Sim
from jayul.plant.errors import Refused
from jayul.plant.files import Files
from jayul.plant.recognise import recognise, unit_in
from jayul.project import draft as drafting
from jayul.project.draft import Draft, Row
from jayul.project.hold import holder
from jayul.project.manifest import load
from jayul.project.overview import Watched
from jayul.project.problem import ManifestError
from jayul.project.run import read_summary
from jayul.record.history import Reader

BEGAN = dt.datetime(2026, 3, 2, 6, 0)  # noqa: DTZ001 - as exporters write it, without a zone
ROWS = 120


@pytest.fixture(autouse=True)
def apart(own_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the accounts of these tests apart from those of others."""
    monkeypatch.setenv("JAYUL_KEYS", str(own_keys / "ui"))


def written(form: str, delimiter: str, encoding: str, *, gap: bool = False) -> bytes:
    """Return a recording of two tags and a note, one row a minute, as bytes."""
    head = delimiter.join(("일시", "온도 [℃]", "Flow (m3/h)", "NOTE"))
    lines = [head]
    for i in range(ROWS):
        if gap and 50 <= i < 70:
            continue
        at = BEGAN + dt.timedelta(minutes=i)
        stamp = at.isoformat() if form == "iso" else at.strftime(form)
        lines.append(delimiter.join((stamp, f"{180 + math.sin(i / 9):.3f}", "" if i == 3 else f"{42 + i / 100:.2f}", "A")))
    return ("\n".join(lines) + "\n").encode(encoding)


@pytest.fixture
def web(tmp_path: Path) -> TestClient:
    """A client of an engineer."""
    account("An engineer", "engineer")
    made = client(tmp_path / "home")
    sign_in(made, "An engineer")
    return made


def upload(web: TestClient, name: str, data: bytes) -> Any:
    return web.post("/new/file", files={"file": (name, data)}, data={"csrf": web.headers["x-csrf"]})


def drafts(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    found = re.fullmatch(r"/new/([0-9a-f]{24})/understood", answer.headers["location"])
    assert found
    return f"/new/{found[1]}"


def fields(page: str) -> dict[str, str]:
    """Return what a form would send as it stands."""
    found = dict(re.findall(r'<input (?!type="checkbox"|type="hidden")[^>]*?name="([^"]+)" value="([^"]*)"', page))
    found |= dict.fromkeys(re.findall(r'type="checkbox" name="([^"]+)"[^>]*checked', page), "on")
    for name, body in re.findall(r'<select name="([^"]+)".*?>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', body) or re.search(
            r'<option(?: value="([^"]*)")?>([^<]*)', body
        )
        assert chosen
        found[name] = chosen[1] if chosen[1] is not None else chosen[2]
    return found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("form", ["iso", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M:%S"])
def test_a_text_is_recognised(tmp_path: Path, form: str, delimiter: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(written(form, delimiter, encoding, gap=True))
    found = recognise(path)
    assert [column.name for column in found.columns] == ["온도 [℃]", "Flow (m3/h)", "NOTE"]
    assert [column.unit for column in found.columns] == ["degC", "m3/h", ""]
    assert found.survey.rows == ROWS - 20
    assert found.survey.first == int(BEGAN.replace(tzinfo=dt.UTC).timestamp()) * 10**9
    assert (found.survey.interval, found.survey.gaps, found.survey.longest) == (60 * 10**9, 1, 21 * 60 * 10**9)
    assert found.survey.empty == ("NOTE",)
    assert found.columns[0].low == pytest.approx(179, abs=0.1)
    assert Files(found.config, Sim(0)).survey() == found.survey  # the manifest's plant reads the same


def test_parquet_needs_nothing_said(tmp_path: Path) -> None:
    at = pa.array([BEGAN + dt.timedelta(seconds=i) for i in range(50)], pa.timestamp("us"))
    pq.write_table(pa.table({"T1": list(map(float, range(50))), "when": at}), tmp_path / "a.parquet")
    found = recognise(tmp_path / "a.parquet")
    assert (found.config.time, [c.name for c in found.columns], found.survey.rows) == ("when", ["T1"], 50)


@pytest.mark.parametrize("name", ["a.exe", "a", "a.csv"])
def test_what_holds_no_time_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(Refused):
        recognise(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("T [degC]", "degC"),
        ("F (m3/h)", "m3/h"),
        ("X [가나]", ""),
        ("plain", ""),
        ("T (spare)", ""),
        ("P [kJ/kg]", "kJ/kg"),
        ("A [%]", "%"),
        ("A[]", ""),
    ],
)
def test_a_unit_is_taken_only_if_it_is_one(name: str, unit: str) -> None:
    assert unit_in(name) == unit


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("opc.tcp://10.1.2.3:4840", "opcua://10.1.2.3:4840"),
        (" opcua://plc ", "opcua://plc:4840"),
        ("opc.tcp://plc/UA/Server", "opcua://plc:4840/UA/Server"),
        ("modbus://10.1.2.3", "modbus://10.1.2.3:502"),
        ("mqtts://broker:8883", "mqtts://broker:8883"),
    ],
)
def test_an_address_is_understood(said: str, url: str) -> None:
    assert drafting.address(said)[1] == url


@pytest.mark.parametrize(
    "said",
    ["", "plc", "http://plc", "file:///etc/passwd", "opcua://", "opcua://user:pw@plc", "opcua://plc:99999", "mqtt://a b", "gopher://x",
     "opcua://plc?x=1", "opcua://plc#x", 'opcua://plc"\nkind = "x', "javascript://x"],
)  # fmt: skip
def test_any_other_address_is_refused_before_anything_is_connected(web: TestClient, said: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        drafting.address(said)
    answer = web.post("/new/address", files={"table": ("", b"")}, data={"url": said, "csrf": web.headers["x-csrf"]})
    assert answer.status_code == 409
    assert 'role="alert"' in answer.text
    assert not (tmp_path / "home").exists()


@given(st.text(max_size=80))
@settings(deadline=None)
def test_a_name_is_never_a_path(name: str) -> None:
    found = drafting.slug(name)
    assert "/" not in found
    assert "." not in found
    assert "\\" not in found
    assert len(Path(found).parts) <= 1


@given(
    st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5, unique=True), st.text(max_size=60), st.text(max_size=60)
)
@settings(deadline=None, max_examples=60)
def test_whatever_people_write_the_manifest_says_it(names: list[str], title: str, about: str) -> None:
    import tomllib

    rows = [Row(name, name, use=i == 0) for i, name in enumerate(names)]
    made = Draft("a", "b", "data.csv", {"time": "t"}, name=title, description=about, period="1 s", rows=rows)
    raw = tomllib.loads(drafting.manifest_text(made, lambda text: text))
    assert raw["project"]["name"] == title.strip()
    assert raw["project"]["description"] == about.strip()
    assert raw["plant"]["tag"][0]["name"] == names[0]
    assert raw["plant"].get("exclude", []) == names[1:]
    assert not {"policy", "ladder"} & set(raw)


def test_from_a_file_to_a_run_that_is_complete(web: TestClient, tmp_path: Path) -> None:
    at = drafts(upload(web, "../../건조기 3월.csv", written("%Y/%m/%d %H:%M", ";", "cp949", gap=True)))
    page = web.get(at + "/understood").text
    assert "without any number: NOTE" in page
    said = {**fields(page), "timezone": "Asia/Seoul", "go": "same"}
    assert web.post(at + "/understood", data=said).headers["location"] == at + "/understood"
    assert "2026-03-02 06:00:00 KST" in web.get(at + "/understood").text
    assert web.post(at + "/understood", data={**fields(web.get(at + "/understood").text)}).headers["location"] == at + "/tags"
    page = web.get(at + "/tags").text
    said = fields(page)
    assert [key for key in said if key.startswith("use-")] == ["use-0", "use-1"]  # what holds no number is not taken
    wrong = web.post(at + "/tags", data={**said, "low-0": "200", "high-0": "100", "unit-1": "m3//h"})
    assert wrong.status_code == 409
    assert "the low end must lie below the high end" in wrong.text
    assert "&#39;m3//h&#39; is no unit" in wrong.text
    assert 'value="200"' in wrong.text  # what was typed is still there
    assert web.get(at + "/check").headers["location"] == at + "/tags"  # nobody goes past a mistake
    assert web.post(at + "/tags", data={**said, "low-0": "150", "high-0": "200"}).headers["location"] == at + "/name"
    assert web.post(at + "/name", data={"name": "../..", "period": "1 min"}).status_code == 409
    assert web.post(at + "/name", data={"name": "건조기", "period": "often"}).status_code == 409
    assert web.post(at + "/name", data={"name": "건조기", "period": "1 min", "description": 'a "dryer"'}).status_code == 303
    page = web.get(at + "/check").text
    assert "Sound." in page
    home = tmp_path / "home"
    assert not home.exists()  # nothing is there before a person says so
    assert web.post(at + "/create", data={"go": "start"}).headers["location"] == "/"
    assert sorted(path.name for path in (home / "건조기").iterdir()) == ["jayul.toml", "건조기-3월.csv"]
    manifest = load(home / "건조기")
    assert (manifest.project.description, manifest.policies) == ('a "dryer"', ())
    summary = until(lambda: read_summary(home / "건조기-run-1"))
    assert summary.complete
    assert summary.ticks == ROWS
    assert web.get(at + "/check").status_code == 404  # the draft is gone
    until(lambda: not web.app.state.works.starting(home / "건조기-run-1"))  # type: ignore[attr-defined]


LONG = "tag;time;value;quality\n" + "".join(
    f"{tag};2026-03-02 06:{i:02d}:00;{base + i / 10:.1f}".replace(f"{base}.", f"{base},") + f";{'Bad' if i == 7 else 'Good'}\n"
    for i in range(10)
    for tag, base in (("TIC1.PV", 54), ("FI1.PV", 6))
)


def test_a_row_for_each_sample_and_a_decimal_comma_are_put_in_order(web: TestClient, tmp_path: Path) -> None:
    at = drafts(upload(web, "export.csv", LONG.encode()))
    page = web.get(at + "/understood").text
    assert "records.parquet" in page
    said = {**fields(page), "timezone": "Asia/Seoul", "go": "same"}
    assert web.post(at + "/understood", data=said).status_code == 303
    assert "2026-03-02 06:00:00 KST" in web.get(at + "/understood").text
    assert web.post(at + "/tags", data=fields(web.get(at + "/tags").text)).status_code == 303
    assert web.post(at + "/name", data={"name": "export", "period": "1 min"}).status_code == 303
    assert "Sound." in web.get(at + "/check").text
    web.post(at + "/create", data={"go": "make"})
    folder = tmp_path / "home" / "export"
    assert sorted(path.name for path in folder.iterdir()) == ["export.csv", "jayul.toml", "records.parquet"]
    table = pq.read_table(folder / "records.parquet").to_pydict()
    assert [round(value, 1) if i != 7 else math.isnan(value) for i, value in enumerate(table["TIC1.PV"])] == [
        round(54 + i / 10, 1) if i != 7 else True for i in range(10)
    ]
    assert table["time"][0].astimezone(dt.UTC) == dt.datetime(2026, 3, 1, 21, 0, tzinfo=dt.UTC)


def test_a_name_that_is_taken_is_not_overwritten(web: TestClient, tmp_path: Path) -> None:
    (tmp_path / "home" / "line").mkdir(parents=True)
    (tmp_path / "home" / "line" / "mine").write_text("x")
    at = drafts(upload(web, "line.csv", written("iso", ",", "utf-8")))
    answer = web.post(at + "/name", data={"name": "line", "period": "1 min"})
    assert "a folder of that name is there already" in answer.text
    web.post(at + "/create", data={"go": "make"})
    assert [path.name for path in (tmp_path / "home" / "line").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.csv", b""), ("a.csv", b"\xff\xfe\x00"), ("a.csv", b"time\n"), ("a.parquet", b"PAR1"), ("a.xlsx", b"PK\x03\x04"), ("a.sh", b"x"),
     ("a.csv", b"\x00" * 100), ("a.csv", b"time,a,a\n2026-01-01,1,2\n"), ("", b"x")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_costs_one_line(web: TestClient, name: str, data: bytes, tmp_path: Path) -> None:
    answer = upload(web, name, data)
    assert answer.status_code in (400, 409)
    assert "Traceback" not in answer.text
    if answer.status_code == 409:
        assert 'role="alert"' in answer.text
        assert str(tmp_path) not in answer.text
    assert not (tmp_path / "home").exists()


def test_a_file_that_is_too_large_is_refused_before_it_is_read(web: TestClient) -> None:
    answer = web.post(
        "/new/file", content=b"x", headers={"content-length": str(300 << 20), "content-type": "multipart/form-data"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("role", ["", "viewer", "operator"])
def test_only_an_engineer_sets_up(tmp_path: Path, role: str, web: TestClient) -> None:
    at = drafts(upload(web, "a.csv", written("iso", ",", "utf-8")))
    other = client(tmp_path / "home")
    if role:
        account(f"A {role}", role)
        sign_in(other, f"A {role}")
    for path in ("/new", at + "/understood", at + "/check"):
        assert other.get(path).status_code in (401, 403)
    for path in ("/new/file", "/new/address", at + "/tags", at + "/create"):
        assert other.post(path, data={"go": "start"}).status_code in (401, 403)


def test_a_draft_belongs_to_the_person_who_began_it(web: TestClient, tmp_path: Path) -> None:
    at = drafts(upload(web, "a.csv", written("iso", ",", "utf-8")))
    account("Another engineer", "engineer")
    other = client(tmp_path / "home")
    sign_in(other, "Another engineer")
    assert other.get(at + "/tags").status_code == 404
    assert web.get(at + "/tags").status_code == 200
    for path in ("/new/../tags", "/new/" + "0" * 24 + "/tags", "/new/%2e%2e/tags"):
        assert web.get(path).status_code in (404, 405)


def test_what_stands_in_a_file_is_text_and_nothing_else(web: TestClient) -> None:
    data = b'time,<img src=x onerror=alert(1)>,"a""],evil"\n2026-01-01T00:00:00,1,2\n2026-01-01T00:01:00,2,3\n'
    at = drafts(upload(web, "<script>.csv", data))
    for step in ("understood", "tags"):
        page = web.get(f"{at}/{step}").text
        assert "<img" not in page
        assert "<script>." not in page
    web.post(at + "/tags", data=fields(web.get(at + "/tags").text))
    web.post(at + "/name", data={"name": "x", "period": "1 min"})
    page = web.get(at + "/check").text
    assert "Sound." in page
    assert "<img" not in page


@contextmanager
def played(project: Path, *more: object) -> Iterator[str]:
    """Play a plant over OPC UA in a process of its own; give its address."""
    process = subprocess.Popen(command("simulate", project, "--opcua", 0, *more), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = next(match[0] for line in process.stdout if (match := re.search(r"opcua://\S+", line)))
    try:
        yield found.replace("opcua://", "opc.tcp://")
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
def test_from_a_recording_to_a_run_that_is_complete_in_the_browser(tmp_path: Path, language: str) -> None:
    account("An engineer", "engineer")
    home = tmp_path / "home"
    home.mkdir()
    data = written("%Y/%m/%d %H:%M", ";", "cp949", gap=True) if language == "ko-KR" else written("iso", ",", "utf-8")
    with ui(home) as (_, url), browser(locale=language) as (page, said):
        enter(page, url, "An engineer")
        assert page.get_attribute("html", "lang") == language[:2]
        page.click("#next-new")
        page.set_input_files("input[name=file]", {"name": "dryer.csv", "mimeType": "text/csv", "buffer": data})
        page.click("[action='/new/file'] button")
        page.wait_for_selector("[name=timezone]")
        page.fill("[name=timezone]", "Asia/Seoul")
        page.click("button[value=next]")
        page.wait_for_selector("table.tags")
        row = page.locator("table.tags tbody tr").first
        assert row.locator("th").inner_text() == "온도 [℃]"
        row.locator("[name=low-0]").fill("200")
        row.locator("[name=high-0]").fill("100")
        page.click("button[value=next]")
        page.wait_for_selector(".trouble-box")
        assert row.locator("[name=low-0]").input_value() == "200", "what was typed is still there"
        row.locator("[name=low-0]").fill("50")
        row.locator("[name=high-0]").fill("250")
        page.click("button[value=next]")
        page.fill("[name=name]", "dryer")
        page.fill("[name=period]", "1 min")
        page.click("button[value=next]")
        page.wait_for_selector(".sound")
        assert "온도 [℃]" in page.inner_text("pre.panel")
        page.click("button[value=start]")
        page.wait_for_selector(".state.complete", timeout=90_000)
        page.click("#run-dryer-run-1")
        page.wait_for_selector("#now .strip")
        assert "온도 [℃]" in page.inner_text("#now")
        assert page.locator("#hand-back").count() == 0, "it writes nothing, so there is nothing to hand back"
        assert [text for text in said if "409" not in text] == []
    summary = read_summary(home / "dryer-run-1")
    assert summary is not None
    assert (summary.complete, summary.ticks) == (True, ROWS)
    kept = Reader(home / "dryer-run-1" / "history").samples(["온도 [℃]"])["value"].to_pylist()
    assert kept == [float(f"{180 + math.sin(i / 9):.3f}") for i in range(ROWS) if language == "en-US" or not 50 <= i < 70]


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
def test_from_a_plant_to_a_run_that_records(tmp_path: Path, language: str) -> None:
    account("An engineer", "engineer")
    home, line = tmp_path / "home", make_project(tmp_path / "line", 2.0, "tick")
    out = home / "my-plant-run-1"
    home.mkdir()
    try:
        with played(line) as address, ui(home) as (_, url), browser(locale=language) as (page, said):
            enter(page, url, "An engineer")
            assert page.get_attribute("html", "lang") == language[:2]
            page.click("#next-new")
            page.fill("[name=url]", address)
            page.keyboard.press("Enter")
            page.wait_for_selector("dl.facts", timeout=90_000)
            assert "opcua://" in page.inner_text("dl.facts")
            page.click("button[value=next]")
            page.wait_for_selector("table.tags")
            names = page.eval_on_selector_all("table.tags tbody th input", "all => all.map(one => one.value)")
            assert {"TIC1.PV", "TIC1.SP"} <= set(names)
            row = page.locator("table.tags tbody tr", has=page.locator('input[value="TIC1.PV"]'))
            assert 0 < float(row.locator(".seen").inner_text()) < 100
            row.locator("th input").fill("tank 1 temperature")
            page.click("button[value=next]")
            page.fill("[name=name]", "my plant")
            page.fill("[name=period]", "1 s")
            page.click("button[value=next]")
            page.wait_for_selector(".sound")
            page.click("button[value=start]")
            page.wait_for_selector(".state.running", timeout=60_000)
            until(lambda: (seen := Watched(out).look()) is not None and seen.tick >= 3 and seen.fresh == seen.tags)
            page.click(f"#pause-{out.name}")
            page.wait_for_selector(".state.interrupted")
            assert said == []
    finally:
        if (left := holder(out)) is not None:
            os.kill(left, signal.SIGKILL)
    names = [row.split(",")[0] for row in (home / "my-plant" / "tags.csv").read_text().splitlines()[1:]]
    assert "tank 1 temperature" in names
    assert ",true," not in (home / "my-plant" / "tags.csv").read_text()  # nothing is writable
    seen = Watched(out).look()
    assert seen is not None
    assert "tank 1 temperature" in [tag.name for tag in seen.header.tags]
    assert seen.header.policies == ()


def test_a_plant_that_does_not_answer_costs_one_line(web: TestClient, tmp_path: Path) -> None:
    answer = web.post(
        "/new/address", files={"table": ("", b"")}, data={"url": "opc.tcp://127.0.0.1:1", "csrf": web.headers["x-csrf"]}
    )
    assert answer.status_code == 409
    assert "opcua://127.0.0.1:1" in answer.text
    assert 'value="opc.tcp://127.0.0.1:1"' in answer.text  # what was typed is still there
    answer = web.post(
        "/new/address", files={"table": ("", b"")}, data={"url": "modbus://127.0.0.1:1", "csrf": web.headers["x-csrf"]}
    )
    assert "give its tag table, too" in answer.text
    assert not (tmp_path / "home").exists()
