"""Time and chance: simulated time stands still, wall time runs at its speed, random numbers depend on seed and key alone."""

from __future__ import annotations

import asyncio

import pytest

from jayul.core.clock import Sim, Wall, monotonic, today
from jayul.core.types import SECOND

START = 1_767_225_600 * SECOND
HOUR = 3600 * SECOND


def test_simulated_time_stands_still_until_somebody_waits():
    clock = Sim(START)
    assert [clock.now(), clock.now()] == [START, START]
    asyncio.run(clock.until(START + 365 * 24 * HOUR))
    assert clock.now() == START + 365 * 24 * HOUR


@pytest.mark.parametrize("at", [START, START - 1, 0, -START])
def test_simulated_time_never_goes_back(at):
    clock = Sim(START)
    asyncio.run(clock.until(at))
    assert clock.now() == START


def test_wall_time_begins_at_the_time_of_day():
    before, now, after = today(), Wall().now(), today()
    assert before - SECOND <= now <= after + SECOND


def test_wall_time_never_goes_back():
    clock = Wall(speed=1000.0)
    seen = [clock.now() for _ in range(1000)]
    assert seen == sorted(seen)


def test_a_wait_ends_no_earlier_than_asked():
    clock = Wall(speed=1000.0)
    at = clock.now() + 20 * SECOND
    asyncio.run(clock.until(at))
    assert clock.now() >= at


@pytest.mark.parametrize("ago", [0, 1, HOUR])
def test_a_wait_for_the_past_returns_at_once(ago):
    asyncio.run(asyncio.wait_for(Wall(speed=1e-6).until(START - ago), timeout=30))


def test_stopped_ends_a_wait_early():
    calls = []

    def stopped():
        calls.append(1)
        return len(calls) > 2

    clock = Wall(speed=1000.0, stopped=stopped)
    at = clock.now() + 365 * 24 * HOUR
    asyncio.run(asyncio.wait_for(clock.until(at), timeout=30))
    assert clock.now() < at
    assert len(calls) == 3


def test_stopped_before_the_wait_does_not_wait_at_all():
    clock = Wall(stopped=lambda: True)
    asyncio.run(asyncio.wait_for(clock.until(clock.now() + 24 * HOUR), timeout=30))


def test_others_run_while_somebody_waits():
    clock, done = Wall(speed=1000.0), []

    async def both():
        async with asyncio.TaskGroup() as group:
            group.create_task(clock.until(clock.now() + 20 * SECOND)).add_done_callback(lambda task: done.append("waited"))
            group.create_task(asyncio.sleep(0)).add_done_callback(lambda task: done.append("ran"))

    asyncio.run(both())
    assert done == ["ran", "waited"]


def draws(clock, key="noise"):
    return clock.rng(key).random(8).tolist()


@pytest.mark.parametrize(
    "make", [lambda seed: Sim(START, seed), lambda seed: Wall(seed), lambda seed: Wall(seed, speed=1000.0)]
)
def test_the_same_seed_and_key_give_the_same_numbers(make):
    assert draws(make(7)) == draws(make(7))
    assert draws(make(7)) != draws(make(8))
    assert draws(make(7)) != draws(make(7), "another")


def test_chance_does_not_depend_on_the_kind_of_clock_its_time_or_what_was_drawn_before():
    clock = Sim(START, 7)
    first = draws(clock)
    draws(clock, "another")
    asyncio.run(clock.until(START + HOUR))
    assert first == draws(clock) == draws(Sim(0, 7)) == draws(Wall(7))


@pytest.mark.parametrize(
    ("a", "b"), [((1, "1/x"), (11, "/x")), ((0, ""), (0, "0")), ((1, "a"), (-1, "a")), ((0, "가"), (0, "나"))]
)
def test_different_seeds_and_keys_do_not_run_into_each_other(a, b):
    assert draws(Sim(START, a[0]), a[1]) != draws(Sim(START, b[0]), b[1])


def test_the_numbers_are_the_same_for_ever():
    assert draws(Sim(START, 0), "golden")[:2] == [0.14734618420475332, 0.026667854652460243]


def test_monotonic_time_does_not_go_back():
    seen = [monotonic() for _ in range(1000)]
    assert seen == sorted(seen)
