"""Every model passes `check_model`; every line of that check is shown to fail on a model that is bad in one way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from jayul.core.clock import Sim
from jayul.core.types import BAD, GOOD, SECOND, Frame, Reading, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.forecast import ForecastConfig, forecast
from jayul.learn.formula import FormulaConfig, formula
from jayul.learn.frozen import FrozenConfig, frozen
from jayul.learn.movement import MovementConfig, movement
from jayul.learn.pca import PcaConfig, pca
from jayul.learn.softsensor import SoftsensorConfig, softsensor
from jayul.plant.sim.tank import TAGS, Fault, TankConfig, tank
from jayul.testing import START, check_model, make_frame

FORMULAS = {
    "cost": "JI1.PV * PRICE1 + JI2.PV * PRICE2",
    "calm": "std(TIC1.PV, 5 min) < 1 [degC] and not abs(LIC1.PV - 50 [%]) > 30 [%]",
    "trend": "change(TI3.PV, 10 min)",
    "smooth": "mean(JI1.PV, 2 min) / max(JI1.PV, 2 min)",
}


def recorded(config: TankConfig = TankConfig(), minutes: int = 40) -> list[Frame]:  # noqa: B008 - frozen
    async def watch() -> list[Frame]:
        clock, found = Sim(START, 7), []
        plant = tank(config, clock)
        for minute in range(minutes):
            await clock.until(START + minute * 60 * SECOND)
            found.append(await plant.read())
        return found

    return asyncio.run(watch())


ILL = TankConfig(
    fault=(Fault("TIC1.PV", "nan", "5 min", "5 min"), Fault("JI1.PV", "bad", "8 min", "9 min"), Fault("FI2.PV", "frozen", "9 min", "1 h"))
)  # fmt: skip


@pytest.mark.parametrize("config", [TankConfig(), ILL], ids=["well", "ill"])
def test_formula(config: TankConfig):
    check_model(lambda: formula(FormulaConfig(FORMULAS), Setting("f", TAGS)), recorded(config))


@pytest.mark.parametrize("config", [TankConfig(), ILL], ids=["well", "ill"])
def test_frozen(config: TankConfig):
    check_model(lambda: frozen(FrozenConfig(("TIC1.PV", "FI2.PV"), "5 min"), Setting("dead", TAGS)), recorded(config))


@pytest.mark.parametrize("config", [TankConfig(), ILL], ids=["well", "ill"])
def test_movement(config: TankConfig):
    check_model(
        lambda: movement(MovementConfig(("TIC1.PV", "JI1.PV", "TIC1.SP"), "10 min"), Setting("m", TAGS)), recorded(config)
    )


TABLE = TagTable([Tag(name=name, unit="kW") for name in ("a", "b", "c", "SP")])


def drifting(n: int, *, empty: range = range(0), ill: range = range(0), step: int = 10**9) -> list[Frame]:
    """Make an hourly cycle with noise; `SP` moves at `step`, is empty in `empty`, and all is bad in `ill`."""
    chance, found = np.random.default_rng(7), []
    for i in range(n):
        a, b = 5 * math.sin(i / 4) + chance.standard_normal(), chance.standard_normal()
        values = {
            "a": a,
            "b": b,
            "c": a - b + 0.1 * chance.standard_normal(),
            "SP": math.nan if i in empty else float(i >= step),
        }
        found.append(make_frame(TABLE, values, START + i * 3600 * SECOND, status=BAD if i in ill else GOOD))
    return found


@pytest.mark.parametrize("ill", [range(0), range(150, 155)], ids=["well", "ill"])
def test_softsensor(ill: range):
    config = SoftsensorConfig("c", ("a", "b"), train="80 h", test="40 h")
    check_model(lambda: softsensor(config, Setting("s", TABLE)), drifting(180, ill=ill))


@pytest.mark.parametrize("ill", [range(0), range(150, 155)], ids=["well", "ill"])
@pytest.mark.parametrize("seasons", [("2 h",), ("4 h", "6 h")])
def test_forecast(seasons: tuple[str, ...], ill: range):
    config = ForecastConfig("a", "1 h", "3 h", seasons, first="135 h", window="200 h", refit="10 h", calibrate="100 h")
    check_model(lambda: forecast(config, Setting("f", TABLE)), drifting(280, ill=ill))


@pytest.mark.parametrize("empty", [range(0), range(90, 110), range(95, 96)], ids=["known", "empty", "empty once"])
def test_pca(empty: range):
    config = PcaConfig(("a", "b", "c"), regime=("SP",), settle="5 h", train="40 h", test="20 h")
    check_model(lambda: pca(config, Setting("m", TABLE)), drifting(190, step=100, empty=empty))


# models that are bad in one way


class Bad:
    """A model that tells the temperature again; each subclass spoils one thing."""

    tags: tuple[Tag, ...] = (Tag(name="again", unit="degC", kind="derived"),)
    needs: tuple[str, ...] = ("TIC1.PV",)

    def learn(self, frames: Sequence[Frame]) -> Any:
        return ()

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        return state, [Reading("again", frame["TIC1.PV"])]


class Twice(Bad):
    tags = (Tag(name="again"), Tag(name="again"))


class Meddler(Bad):
    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        frame.value.setflags(write=True)
        frame.value[0] += 1
        return state, []


class Moody(Bad):
    calls = count()

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        return state, [Reading("again", float(next(self.calls)))]


class Foreign(Bad):
    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        return state, [Reading("TIC1.PV", 50.0)]


class ForeignWhenBlind(Bad):
    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        return state, [Reading("again" if frame.fresh("TIC1.PV") else "error", 0.0)]


class FallsWhenBlind(Bad):
    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        return state, [Reading("again", float(math.floor(frame["TIC1.PV"])))]


class Keeper(Bad):
    """A model whose state, a list, grows where it stands; what it says does not depend on it."""

    def learn(self, frames: Sequence[Frame]) -> Any:
        return []

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        state.append(frame.at)
        return state, [Reading("again", frame["TIC1.PV"])]


class Deep(Keeper):
    def learn(self, frames: Sequence[Frame]) -> Any:
        return {"seen": {"times": 0}}

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        state["seen"]["times"] += 1
        return {"seen": dict(state["seen"])}, [Reading("again", frame["TIC1.PV"])]


class Filler(Keeper):
    def learn(self, frames: Sequence[Frame]) -> Any:
        return np.zeros(3)

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        state[1] = frame["TIC1.PV"]
        return state, [Reading("again", frame["TIC1.PV"])]


class Careful(Keeper):
    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        return [*state, frame.at], [Reading("again", frame["TIC1.PV"])]


BAD_MODELS = [
    (Twice, "stands twice"),
    (Meddler, "the frame was changed"),
    (Moody, "give different readings"),
    (Foreign, "does not derive"),
    (ForeignWhenBlind, r"without TIC1\.PV a reading is for a foreign tag"),
    (FallsWhenBlind, r"without TIC1\.PV it raises ValueError\('cannot convert float NaN"),
    (Keeper, "the state that it was given was changed"),
    (Deep, "the state that it was given was changed"),
    (Filler, "the state that it was given was changed"),
]


@pytest.mark.parametrize(("model", "what"), BAD_MODELS)
def test_the_check_finds_what_is_bad(model: type[Bad], what: str):
    with pytest.raises(AssertionError, match=what):
        check_model(model, recorded(minutes=6))


@pytest.mark.parametrize("model", [Bad, Careful])
def test_the_plain_model_is_not_what_is_found(model: type[Bad]):
    check_model(model, recorded(minutes=6))
