"""The trends page in Chromium: zoom by mouse, wheel and keys, the address, what is live, both languages; against real processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from trends_kit import make_run, playing, serving
from ui_kit import axe, browser

from jayul.record.history import Reader

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
