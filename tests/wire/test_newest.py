"""What every link shares: the newest of each tag, samples on their way, a simulated peer's clock, the simulated controller."""

from __future__ import annotations

import asyncio
import math

from jayul.core.clock import Sim, Wall
from jayul.core.types import BAD_NO_DATA, SECOND, Frame, Tag, TagTable
from jayul.plant.link import Simulated
from jayul.plant.newest import NO_COMMUNICATION, OVERFLOW, TYPE_MISMATCH, Newest, Samples
from jayul.plant.sim.plc import BAD_STATE, GOOD, NOT_WRITABLE, OUT_OF_RANGE, WRONG_TYPE, Plc
from jayul.plant.sim.tank import TankConfig, tank
from jayul.testing import START

TAGS = TagTable([Tag(name="A"), Tag(name="B")])


def newest() -> Newest:
    return Newest(TAGS, lambda: START)


def test_before_the_first_sample_nothing_is_known():
    frame = newest().frame()
    assert frame.status.tolist() == [BAD_NO_DATA] * 2
    assert not frame.fresh("A")


def test_a_sample_counts_until_the_link_is_lost():
    cache = newest()
    assert cache.take(0, 5, 0, START - 1, START)
    assert cache.frame()["A"] == 5.0
    assert cache.frame().fresh("A")
    cache.lost()
    assert cache.frame().status.tolist() == [NO_COMMUNICATION, BAD_NO_DATA]
    cache.lost(0x8034_0000, only=[1])
    assert cache.frame().status[1] == 0x8034_0000


def test_what_is_not_a_number_is_marked():
    cache = newest()
    cache.take(0, "cold", 0, START, START)
    cache.take(1, None, 0x8034_0000, START, START)
    assert cache.frame().status.tolist() == [TYPE_MISMATCH, 0x8034_0000]
    assert math.isnan(cache.frame()["A"])


def test_a_sample_that_a_write_has_overtaken_does_not_count_but_a_clock_set_back_does():
    cache = newest()
    cache.wrote(0, 7.0, START, START)
    assert not cache.take(0, 6.0, 0, START - SECOND, START + SECOND)
    assert cache.frame()["A"] == 7.0
    assert cache.take(0, 6.5, 0, START - 3600 * SECOND, START + 9 * SECOND)
    assert cache.frame()["A"] == 6.5
    cache.wrote(0, 7.0, START, START)
    assert cache.take(0, 8.0, 0, START + 1, START + 2)


def test_samples_are_all_there_or_counted():
    samples = Samples(3, capacity=4, first=[2])
    for k in range(10):
        samples.add(k % 3, START + k, float(k), OVERFLOW if k == 9 else 0, START + k)
    batch = samples.drain()
    assert sum(samples.received) == 10
    assert len(batch.tag) + sum(samples.shed) == 10
    assert samples.shed[2] == 0, "what is first is shed last"
    assert samples.overflowed == [1, 0, 0]
    assert samples.losses() == ({0: samples.shed[0], 1: samples.shed[1]}, {0: 1})
    assert samples.losses() == ({}, {}), "each loss is told once"
    assert len(samples.drain().tag) == 0
    assert {column.dtype.name for column in batch} == {"int32", "int64", "float64", "uint32"}


def test_a_simulated_peer_and_we_see_the_same_time():
    there = Wall(speed=600.0)
    declared = Simulated(600.0, there.now(), Wall().now())
    here = Simulated.decode(declared.encode())
    assert here == declared
    assert abs(declared.clock(0).now() - there.now()) < 120 * SECOND  # a fifth of a second
    assert Simulated.decode("{}") is None


def test_the_controller_clamps_and_refuses():
    async def play() -> None:
        clock = Sim(START)
        plc = Plc(tank(TankConfig(), clock), clock, 300 * SECOND)
        assert await plc.set("TIC1.SP", 60.0) == GOOD
        assert (await plc.frame())["TIC1.SP"] == 60.0
        assert await plc.set("TIC1.SP", 90.0) == OUT_OF_RANGE
        assert await plc.set("TIC1.SP", "60") == WRONG_TYPE
        assert await plc.set("TIC1.SP", math.nan) == WRONG_TYPE
        assert await plc.set("TIC1.PV", 60.0) == NOT_WRITABLE
        assert await plc.set("ESD1.RESET", 1.0) == NOT_WRITABLE
        assert await plc.set("TIC1.MODE", 7) == OUT_OF_RANGE
        assert await plc.set("TIC1.MODE", 1) == GOOD
        assert await plc.set("TIC1.SP", 59.0) == BAD_STATE
        assert (await plc.frame())["TIC1.SP"] == 60.0

    asyncio.run(play())


def test_the_controller_sheds_when_the_supervisor_is_silent_and_only_then():
    async def play() -> None:
        clock = Sim(START)
        plc = Plc(tank(TankConfig(), clock), clock, 300 * SECOND)
        before = (await plc.frame())["TIC1.SP"]
        for minute in range(20):
            await clock.until(START + minute * 60 * SECOND)
            assert await plc.set("WATCHDOG", minute) == GOOD
            assert (await plc.frame())["WATCHDOG"] == minute, "what was written reads back"
            if minute == 3:
                await plc.set("TIC1.SP", 58.0)
        frame: Frame = await plc.frame()
        assert (frame["TIC1.SP"], frame["TIC1.MODE"], plc.shed) == (58.0, 2.0, 0)
        await clock.until(clock.now() + 301 * SECOND)
        frame = await plc.frame()
        assert (frame["TIC1.SP"], frame["TIC1.MODE"], plc.shed) == (before, 1.0, 1)

    asyncio.run(play())


def test_a_simulated_operator_puts_loops_to_remote_again_if_there_is_one():
    async def play(operator: int) -> list[float]:
        clock, seen = Sim(START), []
        plc = Plc(tank(TankConfig(), clock), clock, 300 * SECOND, operator)
        await plc.set("TIC1.MODE", 1)
        for minute in (10, 29, 31):
            await clock.until(START + minute * 60 * SECOND)
            seen.append((await plc.frame())["TIC1.MODE"])
        return seen

    assert asyncio.run(play(0)) == [1.0, 1.0, 1.0]
    assert asyncio.run(play(1800 * SECOND)) == [1.0, 1.0, 2.0]
