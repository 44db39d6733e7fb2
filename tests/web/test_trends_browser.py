"""The trends page in Chromium: zoom by mouse, wheel and keys, the address, what is live, both languages; against real processes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from records_kit import Line, read
from trends_kit import make_run, playing, serving
from ui_kit import axe, browser

from jayul.record.batch import Batch
from jayul.record.history import History, Reader

READY = "() => performance.getEntriesByName('jayul-curve-drawn').length >= %d && !document.querySelector('.loading')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trends")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    make_run(folder)
    with serving(folder / "runs") as url:
        yield f"{url}/r/small/trends"


def drawn(opened: Any, times: int = 1) -> None:
    """Wait until the curves were drawn so many times."""
    opened.wait_for_function(READY % times)


def again(opened: Any, act: Callable[[], object]) -> None:
    """Do something, and wait until the curves were drawn anew."""
    before = opened.evaluate("() => performance.getEntriesByName('jayul-curve-drawn').length")
    act()
    drawn(opened, before + 1)


def asked(opened: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(opened.url).query)


def span(opened: Any) -> float:
    """Return the range of the address, s."""
    ends = [opened.evaluate("text => Date.parse(text)", asked(opened)[key][0]) for key in ("from", "to")]
    return float(ends[1] - ends[0]) / 1000


def test_zoom_by_mouse_wheel_and_keys_stands_in_the_address_and_can_be_gone_back(address: str) -> None:
    with browser() as (opened, said):
        opened.goto(f"{address}?tags=TIC1.PV&tags=TIC1.SP&tags=JI1.PV&last=all")
        drawn(opened)
        assert opened.locator(".pane").count() == 2  # one scale for each unit
        box = opened.locator(".u-over").first.bounding_box()
        opened.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
        opened.mouse.down()
        opened.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 40, steps=5)
        again(opened, opened.mouse.up)
        assert span(opened) == pytest.approx(3600, rel=0.02)
        again(opened, lambda: opened.mouse.wheel(0, -120))
        assert span(opened) == pytest.approx(0.8 * 3600, rel=0.02)
        again(opened, opened.go_back)
        assert span(opened) == pytest.approx(3600, rel=0.02)
        again(opened, opened.go_back)
        assert asked(opened)["last"] == ["all"]
        opened.focus("#charts")
        again(opened, lambda: opened.keyboard.press("+"))
        assert span(opened) == pytest.approx(3600, rel=0.02)
        begin = asked(opened)["from"]
        again(opened, lambda: opened.keyboard.press("ArrowRight"))
        assert asked(opened)["from"] > begin
        again(opened, lambda: opened.keyboard.press("Home"))
        assert asked(opened)["last"] == ["all"]
        again(opened, lambda: opened.mouse.wheel(0, -120))
        again(opened, lambda: opened.mouse.dblclick(box["x"] + 200, box["y"] + 40))
        assert asked(opened)["last"] == ["all"]
        assert said == []


def test_an_address_shows_the_same_again(address: str) -> None:
    query = "tags=JI1.PV&from=2026-01-01T00:10:00.000Z&to=2026-01-01T00:20:00.000Z"
    seen = []
    for _ in range(2):
        with browser() as (opened, said):
            opened.goto(f"{address}?{query}")
            drawn(opened)
            seen.append(
                (opened.inner_text("#shown"), opened.inner_text("#legend"), opened.get_attribute("#charts", "data-points"))
            )
            assert "from=2026-01-01T00%3A10" in opened.get_attribute("#csv", "href")
            assert said == []
    assert seen[0] == seen[1]
    assert int(seen[0][2]) == 602  # every second, and one beyond either end


def test_the_legend_says_the_value_at_the_cursor_and_what_is_not_known(address: str) -> None:
    with browser() as (opened, said):
        opened.goto(f"{address}?tags=TIC1.PV&from=2026-01-01T00:19:00Z&to=2026-01-01T00:22:00Z")
        drawn(opened)
        value = opened.locator("#legend .value")
        box = opened.locator(".u-over").first.bounding_box()
        opened.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)  # 00:20:30, in the bad stretch
        opened.wait_for_function("() => document.querySelector('#legend .value').innerText.includes('bad')")
        opened.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 40)
        opened.wait_for_function("() => !document.querySelector('#legend .value').innerText.includes('bad')")
        assert 45 < float(value.inner_text().split()[0]) < 65
        opened.goto(f"{address}?tags=TIC1.PV&from=2026-01-01T00:40:00Z&to=2026-01-01T01:10:00Z")
        drawn(opened)
        opened.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)  # 00:55, silence
        opened.wait_for_function("() => document.querySelector('#legend .value').innerText.includes('no data')")
        assert said == []


def test_tags_are_found_and_chosen_without_a_mouse(address: str) -> None:
    with browser() as (opened, said):
        opened.goto(f"{address}?tags=TIC1.PV&last=all")
        drawn(opened)
        opened.focus("#picker summary")
        opened.keyboard.press("Enter")
        opened.keyboard.press("Tab")
        opened.keyboard.type("power heater")
        opened.wait_for_function("() => document.querySelectorAll('#choices input').length === 2")  # JI1.PV, JI2.PV
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.id") == "choices":  # Chromium lets a list that scrolls be focused
            opened.keyboard.press("Tab")
        again(opened, lambda: opened.keyboard.press("Space"))
        assert asked(opened)["tags"] == ["TIC1.PV", "JI1.PV"]
        assert opened.locator(".pane").count() == 2
        opened.locator("#legend button").last.focus()
        again(opened, lambda: opened.keyboard.press("Enter"))
        assert asked(opened)["tags"] == ["TIC1.PV"]
        assert said == []


@pytest.mark.parametrize(("language", "scheme"), [("en-US", "light"), ("ko-KR", "dark")])
@pytest.mark.parametrize("size", [(1366, 768), (2560, 1440)])
def test_no_serious_finding_of_axe(address: str, language: str, scheme: Any, size: tuple[int, int]) -> None:
    with browser(*size, locale=language, color_scheme=scheme, bypass_csp=True) as (opened, said):
        opened.goto(f"{address}?tags=TIC1.PV&tags=TIC1.SP&tags=JI1.PV&last=all")
        drawn(opened)
        opened.click("#picker summary")
        assert axe(opened) == []
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        assert said == []


def test_a_replay_that_plays_before_the_page_is_ready_makes_no_error(address: str) -> None:
    with browser() as (opened, said):
        held: list[Any] = []
        opened.route("**/trends/tags", lambda route: held.append(route))
        opened.goto(f"{address}?tags=TIC1.PV&last=all&tick=9")
        opened.wait_for_function("() => true")
        opened.evaluate("() => document.dispatchEvent(new CustomEvent('jayul:tick', { detail: '20' }))")
        opened.keyboard.press("Home")
        opened.click("[data-do=reset]")
        opened.wait_for_timeout(100)
        with opened.expect_request("**/trends/data?*") as asking:
            held[0].continue_()
        assert parse_qs(urlsplit(asking.value.url).query)["tick"] == ["20"], "the newest tick is asked for"
        drawn(opened)
        assert said == []


def test_trends_open_while_a_replay_plays(address: str) -> None:
    with browser() as (opened, said):
        opened.goto(f"{address}?tags=TIC1.PV&last=all&tick=9&speed=3600")
        drawn(opened, 2)
        assert said == []


WRITTEN = """
window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) { window.written.push(text); return write.call(this, text, ...rest); };
"""


def test_a_move_of_several_tags_has_one_label_that_names_the_first(address: str) -> None:
    def several(route: Any) -> None:
        answer = route.fetch()
        found = answer.json()
        first = next(mark for mark in found["marks"] if mark["kind"] == "move")
        others = [first | {"tag": tag, "short": f"{tag} → 1"} for tag in ("B.SP", "C.SP")]
        found["marks"] = [first, *others]
        route.fulfill(response=answer, json=found)

    with browser() as (opened, said):
        opened.add_init_script(WRITTEN)
        opened.goto(f"{address}?tags=TIC1.PV&last=all")
        drawn(opened)
        assert any(str(text).startswith("TIC1.SP → ") for text in opened.evaluate("() => window.written"))
        opened.route("**/trends/data?*", several)
        opened.reload()
        drawn(opened)
        labels = [text for text in opened.evaluate("() => window.written") if "→" in str(text)]
        assert len(set(labels)) == 1
        assert labels[0].startswith("TIC1.SP → ")
        assert labels[0].endswith(" and 2 more")
        assert said == []


APART = """() => {
  const boxes = [...document.querySelectorAll('#legend tr')].map((row) => [...row.cells].slice(1).map((cell) => {
    const range = document.createRange(); range.selectNodeContents(cell); return range.getBoundingClientRect();
  }));
  return boxes.every((row) => row.every((box, i) => !i || box.left >= row[i - 1].right));
}"""


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
@pytest.mark.parametrize("size", [(1366, 768), (2560, 1440)])
def test_numbers_of_the_legend_stand_apart_and_whole(address: str, language: str, size: tuple[int, int]) -> None:
    with browser(*size, locale=language) as (opened, said):
        opened.goto(f"{address}?tags=TIC1.PV&tags=JI1.PV&from=2026-01-01T00:00:00Z&to=2026-01-01T02:00:00Z")
        drawn(opened)
        opened.wait_for_selector("#legend .value .greatest")
        assert opened.evaluate(APART)
        for text in ("-0.00012345", "-1.234e+10", "9,999,999"):
            opened.evaluate(
                """text => { for (const of of document.querySelectorAll('#legend .least, #legend .greatest, #legend .end'))
                    of.textContent = of.className === 'least' ? `${text} –` : text; }""",
                text[:10],
            )
            assert opened.evaluate(APART), text
            lines = "() => [...document.querySelectorAll('#legend .least, #legend .greatest')].map((of) => of.clientHeight)"
            assert max(opened.evaluate(lines)) < 40, "a number stands on one line"
        assert said == []


def test_an_outage_grows_while_the_run_ticks_and_ends_with_the_next_sample(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.on(3)
    at = read(line.out)[-1][0].decision.at

    def put(at: int) -> None:
        history = History(line.out / "history", ["GONE"])
        history.append(Batch.of([0], [at], [5.0], [0], [0]), known_at=at)
        history.close()

    put(at)
    with serving(line.root) as url, browser() as (opened, said), ThreadPoolExecutor(1) as other:
        opened.goto(f"{url}/r/line/trends?tags=GONE&tags=TIC1.SP&last=all")
        drawn(opened)
        for _ in range(2):
            newest = other.submit(line.on, 5).result()[-1].at
            opened.wait_for_function(f"() => window.jayulTrends.newest() >= {newest}")
            opened.wait_for_function(f"() => window.jayulTrends.gaps('GONE').some(([a, b]) => a === {at} && b >= {newest})")
            assert len(opened.evaluate("() => window.jayulTrends.gaps('GONE')")) <= 2  # and one before its first
        assert opened.evaluate("() => window.jayulTrends.gaps('TIC1.SP')") == []
        put(newest)
        opened.wait_for_function("() => window.jayulTrends.samples('GONE').length === 2")
        assert opened.evaluate("() => window.jayulTrends.gaps('GONE').at(-1)") == [at, newest]
        assert said == []


def test_an_outage_of_the_whole_history_is_seen_while_the_run_ticks(tmp_path: Path, accounts: Any) -> None:
    line = Line(tmp_path, accounts)
    line.on(3)
    seen = tmp_path / "seen" / "line"  # its journal goes on, its history does not
    shutil.copytree(line.out, seen, ignore=shutil.ignore_patterns("journal"))
    (seen / "journal").symlink_to(line.out / "journal")
    last = Reader(seen / "history").samples(["TIC1.PV"])["source_at"].cast("int64").to_pylist()[-1]
    with serving(seen.parent) as url, browser() as (opened, said), ThreadPoolExecutor(1) as other:
        opened.goto(f"{url}/r/line/trends?tags=TIC1.PV&last=all")
        drawn(opened)
        newest = other.submit(line.on, 30).result()[-1].at
        opened.wait_for_function(f"() => JSON.stringify(window.jayulTrends.gaps('TIC1.PV').at(-1)) === '[{last},{newest}]'")
        assert said == []


def late(route: Any) -> None:
    """Hold an answer back, so that the stream has said more by the time it comes."""
    answer = route.fetch()
    time.sleep(2)
    route.fulfill(response=answer)


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
def test_what_a_run_records_appears_without_a_seam(own_keys: Path, tmp_path: Path, language: str) -> None:
    with playing(own_keys, tmp_path, 60) as out, serving(tmp_path / "runs") as url, browser(locale=language) as (opened, said):
        for _ in range(240):
            if (out / "history").is_dir() and Reader(out / "history").tags():
                break
            time.sleep(0.25)
        opened.goto(f"{url}/r/live/trends?tags=TIC1.PV&last=1h")
        drawn(opened)
        opened.route("**/trends/data?*", late)
        again(opened, lambda: opened.click("[data-last='8h']"))
        first = int(opened.get_attribute("#charts", "data-points"))
        opened.wait_for_function(f"() => Number(document.querySelector('#charts').dataset.points) >= {first} + 20")
        got = [(float(at), x) for at, x in opened.evaluate("() => window.jayulTrends.samples('TIC1.PV')")]
        table = Reader(out / "history").samples(["TIC1.PV"])
        expected = dict(
            zip((float(at) for at in table["source_at"].cast("int64").to_pylist()), table["value"].to_pylist(), strict=True)
        )
        inside = [at for at in sorted(expected) if got[0][0] <= at <= got[-1][0]]
        assert [at for at, _ in got] == inside, "nothing is missing between history and now"
        assert [value for _, value in got] == [expected[at] for at in inside]
        assert opened.is_visible("#follows")
        assert said == []
