"""The simulated tanks: exact balances, the true effect, confounding, carry-over, disturbances, faults, watchdog, seeds."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from jayul.core.clock import Sim
from jayul.core.types import BAD, GOOD, SECOND, SKEW, Frame, Proposal, Receipt, Verdict
from jayul.plant.journal import Rewindable
from jayul.plant.sim.tank import BASE, TAGS, TARGET, Fault, Tank, TankConfig, price_2, tank
from jayul.testing import START

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
Plan = Callable[[int], dict[str, float]]  # time since the start (ns) -> set-points wanted


def verdicts(**values: float) -> list[Verdict]:
    tags = {name.replace("_", "."): value for name, value in values.items()}
    return [Verdict(Proposal(tag, value, "test", "test"), value, "") for tag, value in tags.items()]


def make(config: TankConfig = TankConfig(), seed: int = 7) -> tuple[Tank, Sim]:  # noqa: B008 - frozen
    clock = Sim(START, seed)
    return tank(config, clock), clock


def at(plant: Tank, clock: Sim, moment: int) -> Frame:
    """Wait until a time since the start, and read."""
    asyncio.run(clock.until(START + moment))
    return asyncio.run(plant.read())


def send(plant: Tank, **values: float) -> list[Receipt]:
    return list(asyncio.run(plant.write(verdicts(**values))))


async def _drive(plant: Tank, clock: Sim, hours: float, plan: Plan, every: int) -> list[Frame]:
    """Bring the set-points to what `plan` wants, in steps of at most 1 degC or 2 %, and hold them there."""
    frames: list[Frame] = []
    for moment in range(0, int(hours * HOUR), every):
        await clock.until(START + moment)
        frames.append(frame := await plant.read())
        steps = {"TIC1.SP": 1.0, "LIC1.SP": 2.0}
        wanted = {tag: min(max(v, frame[tag] - steps[tag]), frame[tag] + steps[tag]) for tag, v in plan(moment).items()}
        receipts = await plant.write(verdicts(**{tag.replace(".", "_"): value for tag, value in wanted.items()}))
        assert all(receipt.state == "settled" for receipt in receipts)
    return frames


def drive(plant: Tank, clock: Sim, hours: float, plan: Plan) -> np.ndarray:
    """Return the values of every tag, one row a minute."""
    return np.stack([frame.value for frame in asyncio.run(_drive(plant, clock, hours, plan, MINUTE))])


def column(rows: np.ndarray, name: str, skip: int = 0) -> np.ndarray:
    """Return the values of a tag, without the first `skip` hours."""
    return rows[60 * skip :, TAGS.index[name]]


def cost(rows: np.ndarray, skip: int = 0) -> np.ndarray:
    return sum(column(rows, f"JI{i}.PV", skip) * column(rows, f"PRICE{i}", skip) for i in (1, 2))


@cache
def settled(effect: float, on: bool, confounded: bool = False) -> np.ndarray:
    """Run for 200 h with TIC1.SP off (55) or on (62) from the start."""
    plant, clock = make(TankConfig(effect=effect, confounded=confounded))
    return drive(plant, clock, 200, lambda moment: {"TIC1.SP": TARGET if on else BASE})


def books(plant: Tank, ledger: dict[str, float], begun: list[float]) -> Iterator[tuple[float, float, float]]:
    """Yield, for mass and for energy: what the contents gained, what the ledger says, and how much went through."""
    now = plant.contents
    yield sum(now[:2]) - sum(begun[:2]), ledger["volume_in"] - ledger["volume_out"], ledger["volume_in"]
    gained = ledger["energy_in"] + ledger["electric"] - ledger["energy_out"] - ledger["lost"]
    yield sum(now[2:]) - sum(begun[2:]), gained, ledger["energy_in"] + ledger["electric"]


def balanced(plant: Tank, ledger: dict[str, float], begun: list[float]) -> bool:
    return all(abs(held - booked) <= 1e-6 * through for held, booked, through in books(plant, ledger, begun))


def wander(moment: int) -> dict[str, float]:
    """Move both set-points up and down."""
    hour = moment // HOUR
    return {"TIC1.SP": (55.0, 62.0, 46.0, 65.0)[hour // 3 % 4], "LIC1.SP": (50.0, 35.0, 68.0)[hour // 4 % 3]}


@pytest.mark.parametrize("config", [TankConfig(), TankConfig(confounded=True), TankConfig(effect=-0.2)])
def test_mass_and_energy_balance_over_48_hours(config: TankConfig):
    plant, clock = make(config)
    begun = list(plant.contents)
    rows = drive(plant, clock, 48, wander)
    assert np.ptp(column(rows, "TIC1.PV")) > 15
    assert np.ptp(column(rows, "LIC1.PV")) > 25
    assert plant.ledger["volume_in"] > 200
    assert all(value > 0 for value in plant.ledger.values())
    assert balanced(plant, plant.ledger, begun)


@pytest.mark.parametrize("entry", ["volume_in", "volume_out", "energy_in", "energy_out", "electric", "lost"])
@pytest.mark.parametrize("factor", [1 - 1e-3, 1 + 1e-3])
def test_the_balance_check_can_fail(entry: str, factor: float):
    plant, clock = make()
    begun = list(plant.contents)
    drive(plant, clock, 4, wander)
    assert balanced(plant, plant.ledger, begun)
    assert not balanced(plant, plant.ledger | {entry: plant.ledger[entry] * factor}, begun)


def test_the_contents_are_what_the_transmitters_show():
    plant, clock = make()
    frame = at(plant, clock, 6 * HOUR)
    v1, v2, h1, _, h2 = plant.contents
    assert frame["TIC1.PV"] == pytest.approx(h1 / 4180 / v1, abs=0.3)
    assert frame["TIC2.PV"] == pytest.approx(h2 / 4180 / v2, abs=0.3)
    assert frame["LIC1.PV"] == pytest.approx(50 * v1, abs=0.6)
    assert frame["LIC2.PV"] == pytest.approx(50 * v2, abs=0.6)


@pytest.mark.parametrize("effect", [0.05, 0.0, -0.05])
def test_the_true_effect_is_the_one_configured(effect: float):
    off, on = cost(settled(effect, False), 12).mean(), cost(settled(effect, True), 12).mean()
    assert 1 - on / off == pytest.approx(effect, abs=0.003)


def test_a_plant_of_another_effect_would_be_told_apart():
    off, on = cost(settled(0.05, False), 12).mean(), cost(settled(0.05, True), 12).mean()
    assert 1 - on / off != pytest.approx(0.044, abs=0.003)
    assert price_2(0.05) > price_2(0.0) > price_2(-0.05) > 0


def test_quality_and_production_are_held():
    off, on = settled(0.05, False), settled(0.05, True)
    for name, tolerance in (("TIC2.PV", 0.02), ("FI2.PV", 0.01), ("LIC2.PV", 0.05)):
        assert column(on, name, 12).mean() == pytest.approx(column(off, name, 12).mean(), abs=tolerance)
    assert column(on, "TIC2.PV", 12).mean() == pytest.approx(68.0, abs=0.02)
    assert column(on, "TIC1.PV", 12).mean() == pytest.approx(TARGET, abs=0.05)
    assert column(off, "TIC1.PV", 12).mean() == pytest.approx(BASE, abs=0.05)


def test_confounding_makes_the_cheap_grade_more_frequent_while_on():
    off, on = (column(settled(0.0, state, confounded=True), "GRADE", 12).mean() for state in (False, True))
    assert off < 0.35
    assert on > 0.65
    plain = settled(0.0, True)
    assert not column(plain, "GRADE").any()
    apparent = 1 - cost(settled(0.0, True, confounded=True), 12).mean() / cost(settled(0.0, False, confounded=True), 12).mean()
    assert apparent > 0.02  # although there is no effect at all


def test_carry_over_the_cost_after_a_switch_is_not_the_settled_one():
    off = settled(0.05, False)[: 36 * 60]

    def switch(moment: int) -> dict[str, float]:
        return {"TIC1.SP": TARGET if 12 * HOUR <= moment < 24 * HOUR else BASE}

    plant, clock = make()
    extra = cost(drive(plant, clock, 36, switch)) - cost(off)
    nominal = cost(off).mean()
    hour = [slice(60 * i, 60 * i + 60) for i in range(36)]
    assert abs(extra[hour[11]].mean()) < 0.003 * nominal
    assert extra[hour[12]].mean() > extra[18 * 60 : 24 * 60].mean() + 0.01 * nominal  # water and wall are heated up first
    assert extra[hour[24]].mean() < extra[30 * 60 :].mean() - 0.01 * nominal  # and give their heat back after
    assert extra[18 * 60 : 24 * 60].mean() == pytest.approx(-0.05 * nominal, abs=0.005 * nominal)


@pytest.mark.parametrize(("name", "least"), [("TI3.PV", 0.9), ("TI4.PV", 0.9), ("FI2.PV", 0.9)])
def test_disturbances_are_autocorrelated(name: str, least: float):
    values = column(settled(0.05, False), name)
    assert np.corrcoef(values[:-1], values[1:])[0, 1] > least
    assert abs(np.corrcoef(np.diff(values)[:-1:2], np.diff(values)[1::2])[0, 1]) < 0.6  # no trend, no saw
    assert values.std() > 0.2


def faulty(tag: str, kind: str, value: float = 0.0, lasts: str = "30 min") -> tuple[Tank, Sim]:
    return make(TankConfig(fault=(Fault(tag, kind, "1 h", lasts, value),)))  # type: ignore[arg-type]


def around(kind: str) -> tuple[list[Frame], list[Frame], list[Frame]]:
    """Return frames before, during and after a fault of TIC1.PV."""
    plant, clock = faulty("TIC1.PV", kind)
    frames = [at(plant, clock, moment) for moment in range(0, 2 * HOUR, MINUTE)]
    return frames[:60], frames[60:90], frames[90:]


@pytest.mark.parametrize("kind", ["frozen", "silent", "bad", "nan", "future"])
def test_a_sensor_fault_begins_ends_and_touches_its_tag_alone(kind: str):
    before, during, after = around(kind)
    plant, clock = make()
    clean = [at(plant, clock, moment) for moment in range(0, 2 * HOUR, MINUTE)]
    others = [i for i, name in enumerate(TAGS.names) if name != "TIC1.PV"]
    for frame, sound in zip([*before, *during, *after], clean, strict=True):
        assert frame.columns(np.array(others)) == sound.columns(np.array(others))
    assert [f.digest() for f in (*before, *after)] == [f.digest() for f in (*clean[:60], *clean[90:])]
    assert all(f.digest() != sound.digest() for f, sound in zip(during[1:], clean[61:90], strict=True))


def test_frozen_repeats_the_value_while_its_time_goes_on():
    _, during, after = around("frozen")
    assert len({frame["TIC1.PV"] for frame in during}) == 1
    assert all(frame.fresh("TIC1.PV") for frame in during)
    assert len({int(frame.source_at[0]) for frame in during}) == len(during)
    assert after[0]["TIC1.PV"] != during[0]["TIC1.PV"]


def test_silent_stops_value_and_time():
    _, during, _ = around("silent")
    assert len({(frame["TIC1.PV"], int(frame.source_at[0])) for frame in during}) == 1
    assert [frame.fresh("TIC1.PV") for frame in during[:3]] == [True, True, False]
    assert all(frame.status[0] == GOOD for frame in during)


def test_bad_nan_and_future_are_not_fresh():
    for kind in ("bad", "nan", "future"):
        before, during, after = around(kind)
        assert not any(frame.fresh("TIC1.PV") for frame in during)
        assert all(frame.fresh("TIC1.PV") for frame in (*before, *after))
    assert all(frame.status[0] == BAD for frame in around("bad")[1])
    assert all(np.isnan(frame["TIC1.PV"]) and frame.status[0] == GOOD for frame in around("nan")[1])
    ahead = [frame.source_at[0] - frame.seen_at[0] for frame in around("future")[1]]
    assert all(SKEW < value <= HOUR for value in ahead)


def test_manual_rejects_every_write_and_gives_the_mode_back():
    plant, clock = faulty("TIC1.MODE", "manual")
    assert at(plant, clock, HOUR - MINUTE)["TIC1.MODE"] == 2
    assert [r.state for r in send(plant, TIC1_SP=56.0)] == ["settled"]
    frame = at(plant, clock, HOUR)
    assert frame["TIC1.MODE"] == 0
    receipts = send(plant, TIC1_SP=57.0, LIC1_SP=51.0)
    assert [(r.tag, r.allowed, r.applied, r.state) for r in receipts] == [
        ("TIC1.SP", 57.0, None, "rejected"),
        ("LIC1.SP", 51.0, None, "rejected"),
    ]
    frame = at(plant, clock, HOUR + MINUTE)
    assert (frame["TIC1.SP"], frame["LIC1.SP"]) == (56.0, 50.0)
    assert at(plant, clock, HOUR + 30 * MINUTE)["TIC1.MODE"] == 2
    assert [r.state for r in send(plant, TIC1_SP=57.0)] == ["settled"]


def test_override_sets_a_value_once():
    plant, clock = faulty("TIC1.SP", "override", 58.5)
    assert at(plant, clock, HOUR - MINUTE)["TIC1.SP"] == BASE
    assert at(plant, clock, HOUR)["TIC1.SP"] == 58.5
    assert [r.state for r in send(plant, TIC1_SP=58.0)] == ["settled"]
    assert at(plant, clock, HOUR + MINUTE)["TIC1.SP"] == 58.0


def test_several_faults_at_once():
    config = TankConfig(fault=(Fault("TIC1.PV", "bad", "10 min", "1 h"), Fault("TIC2.PV", "nan", "20 min", "1 h")))
    plant, clock = make(config)
    states = [(f.fresh("TIC1.PV"), f.fresh("TIC2.PV")) for f in (at(plant, clock, m * MINUTE) for m in (5, 15, 25, 75, 85))]
    assert states == [(True, True), (False, True), (False, False), (True, False), (True, True)]


@pytest.mark.parametrize("values", [{"TIC1_PV": 60.0}, {"ESD1_RESET": 1.0}, {"TIC2_SP": 64.0}, {"NONE": 1.0}])
def test_a_write_is_taken_whole_or_not_at_all(values: dict[str, float]):
    plant, clock = make()
    at(plant, clock, MINUTE)
    receipts = send(plant, TIC1_SP=56.0, **values)
    assert [r.state for r in receipts] == ["rejected", "rejected"]
    assert at(plant, clock, 2 * MINUTE)["TIC1.SP"] == BASE
    assert [(r.tag, r.applied, r.state) for r in send(plant, TIC1_SP=56.0, LIC1_SP=51.0)] == [
        ("TIC1.SP", 56.0, "settled"),
        ("LIC1.SP", 51.0, "settled"),
    ]
    frame = asyncio.run(plant.read())
    assert (frame["TIC1.SP"], frame["LIC1.SP"]) == (56.0, 51.0)


def test_the_trip_reset_never_takes_a_value():
    plant, clock = make()
    for i, value in enumerate((1.0, 0.0, 1.0, 0.5)):
        assert [r.state for r in send(plant, ESD1_RESET=value)] == ["rejected"]
        assert at(plant, clock, (i + 1) * MINUTE)["ESD1.RESET"] == 0.0
    assert TAGS["ESD1.RESET"].safety


def test_a_refused_verdict_is_not_written():
    plant, clock = make()
    refused = Verdict(Proposal("TIC1.SP", 60.0, "test", "test"), None, "range")
    assert asyncio.run(plant.write([refused])) == []
    assert at(plant, clock, MINUTE)["TIC1.SP"] == BASE


def test_the_watchdog_sheds_five_minutes_after_the_last_write():
    plant, clock = make()
    at(plant, clock, MINUTE)
    send(plant, TIC1_SP=56.0, LIC1_SP=52.0)
    shown = [(f["TIC1.SP"], f["LIC1.SP"]) for f in (at(plant, clock, m * MINUTE) for m in range(2, 9))]
    assert shown == [(56.0, 52.0)] * 5 + [(55.0, 50.0)] * 2


@pytest.mark.parametrize(("watchdog", "kept"), [("5 min", True), ("2 min", False)])
def test_an_empty_write_feeds_the_watchdog(watchdog: str, kept: bool):
    plant, clock = make(TankConfig(watchdog=watchdog))
    send(plant, TIC1_SP=56.0)
    counts = []
    for minutes in range(4, 44, 4):
        counts.append(at(plant, clock, minutes * MINUTE)["WATCHDOG"])
        assert send(plant) == []
    assert (at(plant, clock, 44 * MINUTE)["TIC1.SP"] == 56.0) is kept
    assert counts == list(range(1, 11))


def test_nothing_is_shed_while_nobody_has_written():
    plant, clock = faulty("TIC1.SP", "override", 57.0)
    assert at(plant, clock, 3 * HOUR)["TIC1.SP"] == 57.0


def record(seed: int, moments: Iterator[int]) -> list[bytes]:
    plant, clock = make(seed=seed)
    return [at(plant, clock, moment).digest() for moment in moments]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = (record(seed, iter(range(0, 2 * HOUR, MINUTE))) for seed in (3, 3, 4))
    assert first == again
    assert not set(first[1:]) & set(other[1:])


def test_the_bytes_do_not_depend_on_how_often_it_is_read():
    often, seldom = record(3, iter(range(0, 2 * HOUR + 1, 10 * SECOND))), record(3, iter([2 * HOUR]))
    assert often[-1] == seldom[0]


def test_rewind_brings_the_first_instant_back():
    plant, clock = make(TankConfig(confounded=True, fault=(Fault("TIC1.PV", "frozen", "5 min", "5 min"),)))
    assert isinstance(plant, Rewindable)
    begun = (list(plant.contents), dict(plant.ledger))
    first = asyncio.run(_drive(plant, clock, 5, wander, MINUTE))
    fork, anew = make(TankConfig(confounded=True, fault=(Fault("TIC1.PV", "frozen", "5 min", "5 min"),)))
    asyncio.run(fork.write(verdicts(TIC1_SP=60.0)))  # leaves traces that rewind must remove
    asyncio.run(fork.read())
    fork.rewind()
    assert (fork.contents, fork.ledger) == begun
    second = asyncio.run(_drive(fork, anew, 5, wander, MINUTE))
    assert [frame.digest() for frame in second] == [frame.digest() for frame in first]


def test_rewind_after_hours_gives_the_same_values_again():
    plant, clock = make()
    values = [at(plant, clock, m * MINUTE).value.tobytes() for m in range(60)]
    asyncio.run(clock.until(START + 10 * HOUR))
    asyncio.run(plant.read())
    plant.rewind()
    assert [at(plant, clock, 10 * HOUR + m * MINUTE).value.tobytes() for m in range(60)] == values


@pytest.mark.parametrize(
    "options",
    [
        {"effect": 0.31},
        {"effect": -0.21},
        {"effect": float("nan")},
        {"watchdog": "never"},
        {"fault": (Fault("NONE", "bad", "1 h", "1 h"),)},
        {"fault": (Fault("TIC1.PV", "bad", "soon", "1 h"),)},
        {"fault": (Fault("TIC1.PV", "bad", "1 h", "0 h"),)},
    ],
)
def test_a_wrong_configuration_is_refused(options: dict):
    with pytest.raises(ValueError, match=r"effect|duration|unknown tag"):
        TankConfig(**options)


@pytest.mark.parametrize("effect", [-0.2, 0.3])
def test_the_largest_effects_still_have_a_price_and_are_the_true_ones(effect: float):
    assert 0 < price_2(TankConfig(effect=effect).effect) < 1
    off, on = (drive(*make(TankConfig(effect=effect)), 40, lambda moment, sp=sp: {"TIC1.SP": sp}) for sp in (BASE, TARGET))
    assert 1 - cost(on, 12).mean() / cost(off, 12).mean() == pytest.approx(effect, abs=0.003)


def test_the_dearer_the_second_heater_the_larger_the_effect():
    for effect, later in itertools.pairwise((-0.15, -0.1, 0.0, 0.1, 0.3)):
        assert 0 < price_2(effect) < price_2(later)
