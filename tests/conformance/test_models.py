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
from jayul.core.types import SECOND, Frame, Reading, Tag
from jayul.learn import Setting
from jayul.learn.formula import FormulaConfig, formula
from jayul.learn.frozen import FrozenConfig, frozen
from jayul.plant.sim.tank import TAGS, Fault, TankConfig, tank
from jayul.testing import START, check_model

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
