"""Simulated plants as twins: pure functions of a state, set-points and drivers that somebody else measured (see `learn.Twin`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jayul.plant.sim import tank_physics as tank


class TankTwin:
    """The heated tanks. Inputs: product flow (m3/h), feed and ambient temperature (degC), product temperature wanted (degC)."""

    inputs: tuple[str, ...] = ("FI2.PV", "TI3.PV", "TI4.PV", "TIC2.SP")
    settings: Mapping[str, float] = {"TIC1.SP": tank.BASE, "LIC1.SP": 50.0}

    def start(self) -> Any:
        """Return the settled state."""
        return tank.settled()

    def advance(
        self, state: Any, inputs: Mapping[str, float], settings: Mapping[str, float], seconds: float
    ) -> tuple[Any, dict[str, float]]:
        """Scan as often as there is time for; the readings are means over it."""
        drivers = tank.Drivers(*(inputs[name] for name in self.inputs))
        count = max(1, round(seconds / tank.DT))
        power = [0.0, 0.0]
        for _ in range(count):
            done = tank.scan(state, settings["TIC1.SP"], settings["LIC1.SP"], drivers, tank.ONE)
            state = done.state
            power = [power[0] + done.power[0], power[1] + done.power[1]]
        said = {"JI1.PV": power[0] / count, "JI2.PV": power[1] / count, "FI2.PV": inputs["FI2.PV"]}
        said |= {"TIC1.PV": state.h1 / (tank.C * state.v1), "TIC2.PV": state.h2 / (tank.C * state.v2)}
        return state, said


TWINS: Mapping[str, Callable[[], TankTwin]] = {"tank": TankTwin}
