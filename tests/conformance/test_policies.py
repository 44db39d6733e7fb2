"""Every policy passes `check_policy`; every line of that check is shown to fail on a policy that is bad in one way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from jayul.core.clock import Sim
from jayul.core.types import SECOND, Frame, MovePlan, Proposal, Verdict
from jayul.decide import Limit, Setting
from jayul.decide.baseline import BaselineConfig, baseline
from jayul.decide.hold import HoldConfig, hold
from jayul.decide.setpoint import SetpointConfig, setpoint
from jayul.decide.switchback import SwitchbackConfig, switchback
from jayul.plant.sim.tank import Fault, TankConfig, tank
from jayul.testing import START, check_policy

MINUTE = 60 * SECOND
SETTING = Setting("p", ("TIC1.SP", "LIC1.SP"), ("TIC1.PV",), MINUTE, START, Sim(START, 7).rng)
MOVE: dict[str, Any] = {"target": {"TIC1.SP": 60.0, "LIC1.SP": 55.0}, "per_hour": {"TIC1.SP": 30.0, "LIC1.SP": 60.0}}
ABORT = (Limit("TIC2.PV", 60.0, 75.0),)
MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "hold": lambda: hold(HoldConfig(), SETTING),
    "baseline": lambda: baseline(BaselineConfig(MOVE["per_hour"], within="3 min", abort=ABORT), SETTING),
    "baseline with targets": lambda: baseline(BaselineConfig(MOVE["per_hour"], MOVE["target"]), SETTING),
    "setpoint": lambda: setpoint(SetpointConfig(**MOVE, abort=ABORT, effect="warmer", within="7 min"), SETTING),
    "switchback": lambda: switchback(SwitchbackConfig(**MOVE, begin="3 min", block="5 min", pairs=3), SETTING),
    "switchback with arms": lambda: switchback(SwitchbackConfig(**MOVE, block="9 min", arms=("on", "off", "on")), SETTING),
}
ILL = TankConfig(fault=(Fault("TIC1.SP", "nan", "5 min", "5 min"), Fault("TIC1.SP", "override", "20 min", "1 h", 57.0)))


def driven(make: Callable[[], tuple[Any, Any]], config: TankConfig, minutes: int = 40) -> list[Frame]:
    """Return the frames of a tank that a policy drives, unguarded."""

    async def live() -> list[Frame]:
        clock, found, state = Sim(START, 7), [], None
        plant, (policy, plan) = tank(config, clock), make()
        for minute in range(minutes):
            await clock.until(START + minute * MINUTE)
            found.append(frame := await plant.read())
            state, wishes = policy(state, frame, plan)
            await plant.write([Verdict(wish, wish.value, "") for wish in wishes if isinstance(wish, Proposal)])
        return found

    return asyncio.run(live())


@pytest.mark.parametrize("config", [TankConfig(), ILL], ids=["well", "ill"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_policy(name: str, config: TankConfig):
    frames = driven(MAKERS[name], config)
    check_policy(MAKERS[name], "p", frames, seconds=60.0)
    if name == "setpoint" and config is not ILL:
        assert (frames[-1]["TIC1.SP"], frames[-1]["LIC1.SP"]) == (60.0, 55.0)


# policies that are bad in one way


def ask(**more: Any) -> Proposal:
    return Proposal(**{"tag": "TIC1.SP", "value": 55.5, "why": "a test", "by": "p"} | more)


def move(**more: Any) -> MovePlan:
    whole = {"targets": {"TIC1.SP": 56.0}, "ramp": {"TIC1.SP": 1.0}, "reason": "a test", "start": START, "expires": START + 1}
    return MovePlan(**{"id": "", "by": "p"} | whole | more)


def always(*wishes: Any) -> Callable[[Any, Frame, Any], tuple[Any, Sequence[Any]]]:
    return lambda state, frame, plan: (None, wishes)


def meddler(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Any]]:
    frame.value.setflags(write=True)
    frame.value[1] += 1
    return None, ()


CALLS = count()


def moody(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Any]]:
    return None, [ask(value=float(next(CALLS)))]


def blind(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Any]]:
    return None, [ask(value=float(math.floor(frame["TIC1.PV"])))]


def deaf(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Any]]:
    if not frame.fresh("PRICE2"):
        raise LookupError("no price")
    return None, ()


def keeper(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Any]]:
    state = [] if state is None else state
    state.append(frame.at)
    return state, [ask()]


def careful(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Any]]:
    return [*(state or ()), frame.at], [ask()]


BAD_POLICIES = [
    (meddler, "the frame was changed"),
    (moody, "give different wishes"),
    (always(ask(by="q")), "own name"),
    (always(move(by="q").sealed()), "own name"),
    (always(move()), "not the digest"),
    (always(ask(), move(id="0" * 16)), "not the digest"),
    (always(move(reason="").sealed()), "plan does not say why"),
    (always(ask(tag="TIC9.SP")), r"unknown tag TIC9\.SP"),
    (always(ask(why="")), "proposal does not say why"),
    (always(ask(value=56)), "not a.* float"),
    (always(ask(value=math.nan)), "not a? ?finite"),
    (always(ask(value=math.inf)), "not a? ?finite"),
    (blind, r"without TIC1\.PV it raises ValueError\('cannot convert float NaN"),
    (deaf, r"without PRICE2 it raises LookupError\('no price'\)"),
    (keeper, "the state that it was given was changed"),
]


@pytest.mark.parametrize(("policy", "what"), BAD_POLICIES)
def test_the_check_finds_what_is_bad(policy: Any, what: str):
    with pytest.raises(AssertionError, match=what):
        check_policy(lambda: (policy, None), "p", driven(MAKERS["hold"], TankConfig(), 6), seconds=60.0)


def test_the_check_finds_a_policy_that_takes_longer_than_it_may():
    frames = driven(MAKERS["hold"], TankConfig(), 6)
    with pytest.raises(AssertionError, match="takes too long"):
        check_policy(lambda: (always(ask()), None), "p", frames, seconds=0.0)


def test_the_plain_wishes_are_not_what_is_found():
    for policy in (always(ask(), move().sealed()), careful):
        check_policy(lambda policy=policy: (policy, None), "p", driven(MAKERS["hold"], TankConfig(), 6), seconds=60.0)
