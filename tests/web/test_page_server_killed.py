"""The page server is killed at random moments: the run of another process goes on, and an open page says so and recovers by itself."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from plant_kit import Line, People, chromium, going
from ui_kit import PASSWORD, ui, until

from jayul.core.types import SECOND
from jayul.record.history import Reader

KILLS, SEED = 3, 8
SPEED = 30.0  # a period is a second: a tick is missed only if something holds the loop up for as long
PERIOD = 30 * SECOND
FOLLOW = """path => {
  window.ticks = [];
  window.source = new EventSource(path);
  window.source.addEventListener("tick", (event) => window.ticks.push(Number(event.lastEventId)));
}"""
TICK = "() => Number(document.querySelector('#now .strip p + p').innerText.match(/\\d+/)[0])"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, accounts: Any) -> Iterator[Line]:
    with going(tmp_path_factory.mktemp("killed"), accounts, SPEED) as made:
        yield made


def newest(line: Line) -> int:
    """Return the newest tick of the journal that is over."""
    return line.ticks()[-1].decision.tick


def test_loop_and_guard_go_on_and_the_page_says_so_and_recovers(line: Line) -> None:
    chance = random.Random(SEED)
    with ExitStack() as stack:
        serving = stack.enter_context(ExitStack())
        process, url = serving.enter_context(ui(line.root))
        port = urlsplit(url).port
        people = People(stack.enter_context(chromium()), url)
        now, trends = people.window("/r/line/now", language="ko-KR"), people.window("/r/line/trends?tags=TIC1.PV&last=1h")
        engineer = people.window("/r/line/now", "kim")
        engineer.click("#yes-signature-preheat")  # so that the guard has something to judge
        until(lambda: line.ticks()[-1].decision.verdicts)
        judged = newest(line)
        trends.wait_for_function("() => document.querySelector('#follows')?.checkVisibility()")
        now.evaluate(FOLLOW, "/api/v1/runs/line/events")
        now.wait_for_function("() => window.ticks.length > 1")
        for kill in range(KILLS):
            time.sleep(chance.uniform(0.0, 1.5))  # wherever in a tick, a page or an event it is then
            process.kill()
            process.wait()
            at = newest(line)
            for page in (now, trends, engineer):
                page.wait_for_selector("#lost:visible")
            until(lambda at=at: newest(line) > at + 2)
            serving.close()
            process, _ = serving.enter_context(ui(line.root, port=port))
            back = newest(line)
            for page in (now, trends):
                page.wait_for_selector("#lost", state="hidden")
            now.wait_for_function(f"() => ({TICK})() >= {back}")
            now.wait_for_function(f"() => window.ticks.at(-1) >= {back}")
            engineer.wait_for_selector("#gone:visible")
            assert now.locator("#gone:visible").count() == 0, "who was not signed in is not signed out"
            assert engineer.locator("#yes-signature-preheat").count() == 0, f"kill {kill}: nobody is signed in"
        seen = now.evaluate("window.ticks")
        assert seen == list(range(seen[0], seen[-1] + 1)), "no tick is lost or told twice (Last-Event-ID)"
        assert all(page.evaluate("window.never") == "loaded again" for page in (now, trends, engineer)), "nobody loaded it"
        drawn = [float(found[0]) for found in trends.evaluate("() => window.jayulTrends.samples('TIC1.PV')")]
        kept = [
            float(found) for found in Reader(line.out / "history").samples(["TIC1.PV"])["source_at"].cast("int64").to_pylist()
        ]
        assert drawn == [found for found in sorted(kept) if drawn[0] <= found <= drawn[-1]], "nor any sample"
        engineer.click("#gone a")
        engineer.fill("[name=name]", "kim")
        engineer.fill("[name=password]", PASSWORD)
        engineer.keyboard.press("Enter")
        engineer.wait_for_selector("#yes-signature-preheat")
        assert people.said, "the console told of each connection that was refused, and of nothing else"
        assert {text for text in people.said if "ERR_" not in text} <= {"[object Event]"}, "which is how htmx tells of it"
    decisions = [tick.decision for tick in line.ticks()]
    assert [d.tick for d in decisions] == list(range(len(decisions)))
    beats = [(d.at - decisions[0].at + PERIOD // 4) // PERIOD for d in decisions]
    missed = [n for n in range(judged + 1, len(beats)) if beats[n] - beats[n - 1] != 1]
    print(f"{KILLS} kills, {len(decisions)} ticks, {len(seen)} told to the page, missed: {missed}")
    assert missed == [], "every period has its tick"
    assert all(d.verdicts for d in decisions[judged:]), "the guard judged at every tick"
