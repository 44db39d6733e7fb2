"""Evidence: coverage against the journal and the ledger, the chain, claims, the report and its policy, exports."""

from __future__ import annotations

import csv
import io
import re
import shutil
import zipfile
from importlib.resources import files as resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from records_kit import EVIL, GOLDEN, NAMES, Line, browser, read, served
from test_alarms import fold_of
from ui_kit import axe

from jayul.app.web.pages import heat
from jayul.app.web.pages.evidence import figure
from jayul.app.web.pages.papers import packed, policy_of
from jayul.core.guard import HOUR
from jayul.core.types import Event
from jayul.project.audit import Filter, audit
from jayul.project.claims import verify
from jayul.record.batch import Batch, Count
from jayul.record.history import History, Reader


@pytest.fixture
def line(tmp_path: Path, accounts: Any) -> Line:
    return Line(tmp_path, accounts)


@pytest.fixture
def shown(line: Line, proven: Path) -> Line:
    """The proven run, to be looked at and broken."""
    shutil.rmtree(line.root)
    shutil.copytree(proven, line.root)
    return line


@pytest.mark.parametrize("name", NAMES)
def test_inputs_by_hour_are_counted_from_the_journal(name: str) -> None:
    fold, ticks = fold_of(GOLDEN / name), read(GOLDEN / name)
    for tag in fold.needs:
        for hour in {frame.at // HOUR * HOUR for _, frame in ticks}:
            inside = [frame.fresh(tag) for _, frame in ticks if hour <= frame.at < hour + HOUR]
            assert fold.fresh[tag, hour] == (sum(inside), len(inside))


def test_the_ledgers_counts_are_drawn_as_they_are(line: Line) -> None:
    """Counts that stand in a history come out on the page; where nothing was expected it says unknown."""
    line.on(3)
    shutil.rmtree(line.out / "history")
    hour = read(line.out)[0][1].at // HOUR * HOUR
    history = History(line.out / "history", ["TIC1.PV", EVIL])
    said = [("expected", 0, 0, 120), ("good", 0, 0, 90), ("present", 0, 0, 100), ("missing:link", 0, 0, 20),
            ("expected", 0, 1, 0), ("expected", 1, 0, 10), ("good", 1, 0, 10), ("present", 1, 0, 10)]  # fmt: skip
    counts = [Count(tag, hour + n * HOUR, what, count) for what, tag, n, count in said]
    batch = Batch.of([0], [hour], [1.0], [0], [hour])
    history.append(batch, known_at=hour, cursor=2, counts=counts)
    history.close()
    cells = heat.cells_of(Reader(line.out / "history").counts())
    grid = heat.grid(cells, ["TIC1.PV", EVIL])
    assert grid is not None
    first, second = grid.lines
    assert (first.share, first.expected, first.good, first.missing) == (0.75, 120, 90, {"link": 20, "bad": 10})
    assert [(cell.share, cell.band) for cell in first.cells] == [(0.75, "little"), (None, "unknown")]
    assert [cell.band for cell in second.cells] == ["full", "unknown"]
    text = line.page("evidence?source=ledger")
    assert "75.00 %" in text
    assert "link 20, bad 10" in text
    assert EVIL not in text
    assert "nothing was expected" in text
    assert "The contract expects nothing" not in text
    for end in ("-1", "x", "9" * 40, "²"):
        line.page(f"evidence?source=ledger&end={quote(end)}")
    text = line.page("evidence/tag/TIC1.PV?source=ledger")
    assert re.search(r"75\.00 %.*unknown", text, re.DOTALL)
    assert EVIL not in line.page(f"evidence/tag/{quote(EVIL, safe='')}?source=ledger")


def test_where_nothing_was_expected_of_any_tag_it_says_why(line: Line) -> None:
    line.on(3)
    shutil.rmtree(line.out / "history")
    hour = read(line.out)[0][1].at // HOUR * HOUR
    history = History(line.out / "history", ["TIC1.PV"])
    history.append(
        Batch.of([0], [hour], [1.0], [0], [hour]), known_at=hour, cursor=2, counts=[Count(0, hour, "received", 1201)]
    )
    history.close()
    assert "The contract expects nothing of these tags: see [contract] in the manifest." in line.page("evidence?source=ledger")
    assert "1,201" in line.page("evidence/tag/TIC1.PV?source=ledger")


@pytest.mark.parametrize(
    ("value", "text"), [(1201.0, "1,201"), (0.0125, "0.012500"), (float("nan"), "–"), (3.0, "3"), (1e300, "1.00000e+300")]
)
def test_a_figure_of_a_model_card(value: float, text: str) -> None:
    assert figure(value) == text


def test_without_any_count_coverage_is_unknown(line: Line) -> None:
    line.on(3)
    for _ in range(2):
        text = line.page("evidence?source=ledger")
        assert "unknown" in text
        assert "100.00 %" not in text
        shutil.rmtree(line.out / "history", ignore_errors=True)


def test_a_grid_is_cut_into_windows_that_lose_no_hour() -> None:
    cells = {("a", n * HOUR): {"expected": 1, "good": 1} for n in range(200)}
    seen, end = set(), 0
    while True:
        grid = heat.grid(cells, ["a"], end)
        assert grid is not None
        seen |= {cell.hour for cell in grid.lines[0].cells}
        assert grid.hours <= heat.WIDE
        if grid.begin == grid.first:
            break
        end = grid.begin - HOUR
    assert seen == {n * HOUR for n in range(200)}
    for odd in (1, 10**18, 2**62):
        assert heat.grid(cells, ["a"], odd) is not None


def test_the_steps_of_the_ladder_and_who_signed(line: Line) -> None:
    line.climb()
    text = line.page("evidence")
    for tick, _ in read(line.out):
        if tick.decision.changes:
            assert f'now?tick={tick.decision.tick}">{tick.decision.tick}</a>' in text
    assert text.count("<td>kim</td>") == 3


def test_verify_now_says_what_is_so_and_finds_a_flipped_byte(line: Line) -> None:
    line.on(20)
    with line.web() as here:
        token = re.search(r'name="csrf" content="([^"]+)"', here.get("/signin").text)
        assert token
        assert here.post("/r/line/verify", data={"csrf": token[1]}).status_code == 401
    with line.web("park") as here:
        assert "20 ticks: lengths" in here.post("/r/line/verify", headers={"hx-request": "true"}).text
        assert "20 ticks: lengths" in here.get("/r/line/audit").text
        del here.headers["x-csrf"]
        assert here.post("/r/line/verify").status_code == 403
    journal = line.out / "journal" / "000001.jnl"
    with line.web("park") as here:
        here.get("/r/line/audit")
        data = bytearray(journal.read_bytes())
        data[len(data) // 2] ^= 1
        journal.write_bytes(bytes(data))
        assert "Not what was written" in here.post("/r/line/verify", headers={"hx-request": "true"}).text


def test_the_audit_page_and_its_csv_are_the_audit(line: Line) -> None:
    line.climb()
    found = audit(line.out, Filter())
    text = line.page("audit")
    assert text.count('<th scope="row" class="time">') == len(found) <= 100
    with line.web() as here:
        answer = here.get("/r/line/audit.csv?kind=signature")
        assert "attachment" in answer.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
        assert [int(row["tick"]) for row in rows] == [e.tick for e in found if e.kind == "signature"]
        assert here.get("/r/line/head.txt").text.strip() == fold_of(line.out).timeline.head
        assert here.get("/r/line/audit.csv?since=x&until=²&tick=3").status_code == 200


def test_an_act_that_does_not_count_keeps_the_reason_of_its_person(line: Line) -> None:
    line.climb()
    for name in ("lee", "kim"):
        line.put(Event("demotion", name, 0, {"policy": "nothing", "reason": f"{name} wants it"}, name))
    line.on(1)
    text = line.page("audit?kind=demotion")
    for name in ("lee", "kim"):
        assert f'<td>{name} wants it<br><span class="flag">does not count: no such policy</span></td>' in text
    with line.web() as here:
        rows = list(csv.DictReader(io.StringIO(here.get("/r/line/audit.csv?kind=demotion").content.decode("utf-8-sig"))))
    assert sorted((row["who"], row["why"], row["refused"]) for row in rows) == [
        ("kim", "kim wants it", "unknown-policy"),
        ("lee", "lee wants it", "unknown-policy"),
    ]


def test_a_claim_is_verified_when_it_is_looked_at(shown: Line) -> None:
    path = next((shown.out / "claims").iterdir())
    found = verify(path)
    assert found.ok
    text = shown.page(f"claims/{path.name}")
    assert f"{found.recomputed} figures, each the same bit for bit" in text
    assert EVIL not in text
    assert "&lt;img src=x" in text
    assert path.name in shown.page("evidence")
    rows = path / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-1] + b"\\0")
    text = shown.page(f"claims/{path.name}")
    assert "rows.parquet: not the data of the claim" in text
    assert 'class="good"' not in text


def test_the_zip_of_a_claim_verifies_and_is_the_same_each_time(shown: Line, tmp_path: Path) -> None:
    path = next((shown.out / "claims").iterdir())
    with shown.web() as here:
        data = here.get(f"/r/line/claims/{path.name}.zip").content
        for name in ("..", "%2e%2e", "../journal", "..%2fjournal", "nothing", "%00"):
            assert here.get(f"/r/line/claims/{name}").status_code in (404, 307), name
            assert here.get(f"/r/line/claims/{name}.zip").status_code == 404, name
    assert data == packed(path)
    zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path / "there")
    assert verify(tmp_path / "there" / path.name).ok


def test_the_report_is_served_with_its_own_style_and_nothing_else(shown: Line, line: Line) -> None:
    with shown.web() as here:
        answer = here.get("/r/line/report")
        policy = answer.headers["content-security-policy"]
    assert policy == policy_of(answer.text)
    assert "default-src 'none'" in policy
    assert "sha256-" in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert " style=" not in answer.text
    assert "<script" not in answer.text
    shutil.rmtree(shown.root)
    shown.root.mkdir()
    line.on(3)
    with line.web() as here:
        assert here.get("/r/line/report").status_code == 409, "not complete"


def test_every_page_of_evidence_comes_in_both_languages(shown: Line) -> None:
    path = next((shown.out / "claims").iterdir())
    with shown.web() as here:
        for page in ("evidence", "evidence?source=ledger", "audit", "report", f"claims/{path.name}", "alarms", "moves"):
            for language in ("en", "ko"):
                answer = here.get(f"/r/line/{page}", headers={"cookie": f"jayul_lang={language}"})
                assert answer.status_code == 200, page
                assert f'<html lang="{language}"' in answer.text


@pytest.mark.parametrize(("language", "scheme"), [("en-US", "light"), ("ko-KR", "dark")])
def test_in_a_browser_any_number_is_three_clicks_away(proven: Path, accounts: Any, language: str, scheme: str) -> None:
    with served(proven, accounts=accounts) as url, browser(url, language, "park", scheme) as page:
        page.goto(f"{url}/r/line/now")
        page.locator("nav.pages a[href$='/evidence']").click()
        page.wait_for_url("**/evidence")
        assert axe(page) == []
        page.locator("#coverage tbody a").first.click()
        page.wait_for_url("**/evidence/tag/**")
        assert page.locator("tbody tr").count() == 53
        page.go_back()
        page.locator("form[action$='/verify'] button").click()
        page.locator("#verified .good").wait_for()
        page.locator("a[href*='/claims/']").first.click()
        page.locator(".paper .good").wait_for()
        assert axe(page) == []
        page.emulate_media(media="print")
        assert not page.locator("header.top").is_visible()
        assert not page.locator(".no-print").is_visible()
        assert page.locator(".conclusion").is_visible()
        page.emulate_media(media="screen")
        page.goto(f"{url}/r/line/audit")
        assert axe(page) == []


def test_in_print_nothing_of_the_evidence_is_wider_than_the_sheet(proven: Path, accounts: Any) -> None:
    with served(proven, accounts=accounts) as url, browser(url) as page:
        page.set_viewport_size({"width": 680, "height": 960})  # A4 less its margins
        page.goto(f"{url}/r/line/evidence")
        page.emulate_media(media="print")
        wide = (
            "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 681).map(e => e.outerHTML)"
        )
        assert page.evaluate(wide) == []
        page.goto(f"{url}/r/line/report")
        assert page.evaluate("getComputedStyle(document.querySelector('.key span')).printColorAdjust") == "exact"


def test_in_a_browser_the_report_keeps_its_looks(proven: Path, accounts: Any) -> None:
    with served(proven, accounts=accounts) as url, browser(url) as page:
        page.goto(f"{url}/r/line/report")
        assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).display") == "flex"


def test_the_templates_switch_escaping_off_for_nothing_but_parts_that_were_rendered() -> None:
    folder = resources("jayul.app") / "templates" / "web"
    for file in folder.iterdir():
        for found in re.findall(r"\{\{([^}]*\|\s*safe[^}]*)\}\}", file.read_text(encoding="utf-8")):
            assert found.strip().startswith(("body|", '_("No connection')), (file.name, found)


def test_a_share_has_a_band() -> None:
    for share in np.linspace(0, 1, 101):
        least = {"full": 0.99, "most": 0.95, "some": 0.8, "little": 0.0}
        band = heat.band_of(float(share))
        assert share >= least[band]
        assert not any(share >= low > least[band] for low in least.values())
