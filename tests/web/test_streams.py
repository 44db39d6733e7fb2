"""A stream that goes dead without a word, and a page that nobody looks at: what is missing is said, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stream_kit import away, cable
from trends_kit import playing, serving
from ui_kit import browser, until

from jayul.record.history import Reader

READY = (
    "() => document.querySelector('#trends:not(.loading) #panes canvas') && document.querySelector('#follows:not([hidden])')"
)
POINTS = "() => Number(document.querySelector('#charts').dataset.points)"
TICK = "() => Number(document.querySelector('#now .strip p + p').innerText.match(/\\d+/)[0])"
MORE = "([more, than]) => Number(document.querySelector('#charts').dataset.points) >= than + more"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A run that goes on, and its page server."""
    folder = tmp_path_factory.mktemp("streams")
    with playing(folder / "keys", folder, 60) as out, serving(folder / "runs") as url:
        until(lambda: (out / "history").is_dir() and Reader(out / "history").tags())
        yield out, url


def seamless(page: Any, out: Path) -> None:
    """Hold what the page drew against the history: every sample of that time, once."""
    got = [(float(at), value) for at, value in page.evaluate("() => window.jayulTrends.samples('TIC1.PV')")]
    table = Reader(out / "history").samples(["TIC1.PV"])
    at = [float(x) for x in table["source_at"].cast("int64").to_pylist()]
    expected = dict(zip(at, table["value"].to_pylist(), strict=True))
    assert got == [(x, expected[x]) for x in sorted(expected) if got[0][0] <= x <= got[-1][0]]


def test_trends_over_a_dead_connection_say_so_and_go_on(live: tuple[Path, str]) -> None:
    out, url = live
    with cable(url) as wire, browser() as (page, said):
        page.clock.install()
        page.goto(f"{wire.url}/r/live/trends?tags=TIC1.PV&last=8h")
        page.wait_for_function(READY)
        before = page.evaluate(POINTS)
        page.wait_for_function(MORE, arg=[2, before])
        wire.cut()
        page.clock.fast_forward(31_000)
        page.wait_for_selector("#lost:not([hidden])")
        page.wait_for_selector("#lost", state="hidden")
        before = page.evaluate(POINTS)
        page.wait_for_function(MORE, arg=[2, before])
        seamless(page, out)
        assert [text for text in said if "ERR_" not in text] == []


def test_now_over_a_dead_connection_says_so_and_goes_on(live: tuple[Path, str]) -> None:
    _, url = live
    with cable(url) as wire, browser() as (page, _):
        page.clock.install()
        page.goto(f"{wire.url}/r/live/now")
        page.evaluate("() => { window.never = 'loaded again'; }")
        page.wait_for_function(f"tick => ({TICK})() > tick", arg=page.evaluate(TICK))
        wire.cut()
        page.clock.fast_forward(31_000)
        page.wait_for_selector("#lost:not([hidden])")
        page.clock.run_for(2_000)  # until it is asked for again
        page.wait_for_selector("#lost", state="hidden")
        tick = page.evaluate(TICK)
        page.wait_for_function(f"tick => ({TICK})() > tick", arg=tick)
        assert page.evaluate("() => window.never") == "loaded again"


@pytest.mark.parametrize("path", ["now", "trends?tags=TIC1.PV&last=8h"])
def test_a_page_that_nobody_looks_at_gives_its_connection_back_and_misses_nothing(live: tuple[Path, str], path: str) -> None:
    out, url = live
    with browser() as (page, said):
        page.clock.install()
        with page.expect_request("**/stream*"):
            page.goto(f"{url}/r/live/{path}")
        page.evaluate("() => { window.never = 'loaded again'; }")
        if path != "now":
            page.wait_for_function(READY)
        asked = list[str]()
        page.on("request", lambda one: asked.append(one.url) if "/stream" in one.url else None)
        away(page, hidden=True)
        page.clock.fast_forward(61_000)
        newest = Reader(out / "history").samples(["TIC1.PV"]).num_rows
        until(lambda: Reader(out / "history").samples(["TIC1.PV"]).num_rows > newest + 5)
        assert asked == [], "nothing is asked for while nobody looks"
        away(page, hidden=False)
        page.clock.run_for(2_000)
        until(lambda: page.evaluate("1") and asked)
        if path == "now":
            tick = page.evaluate(TICK)
            page.wait_for_function(f"tick => ({TICK})() > tick", arg=tick)
        else:
            page.wait_for_function(READY)
            page.wait_for_function(MORE, arg=[2, page.evaluate(POINTS)])
            seamless(page, out)
        assert page.is_hidden("#lost")
        assert page.evaluate("() => window.never") == "loaded again"
        assert said == []
