"""A twin: the simulated plant without the policy, driven by what the real one measures of the outside.

Derives `<name>`: what an expression (the KPI) would be if nobody had moved a set-point. What is left when it is taken from the KPI
is the policy's doing and the twin's error, so a benefit shows in far fewer hours. It is valid only if its drivers do not answer to
the policy, which is tried out on the simulated plant before the start. It never acts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from jayul.core.expr import Expr, show_unit
from jayul.core.types import BAD_NO_DATA, GOOD, SECOND, Frame, Reading, Tag
from jayul.learn import Card, Setting, known

HOLD = 900 * SECOND  # so long a driver that is not good keeps its last value; then the twin says nothing


class SimtwinConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`plant`: which simulated plant; `formula`: what to say, over its tags; `drivers`: its input -> the tag that tells it.

    Inputs that are not named are told by the tag of their own name.
    """

    plant: str
    formula: str
    drivers: dict[str, str] = {}


def simtwin(config: SimtwinConfig, setting: Setting) -> Simtwin:
    """Make the model. Raises ValueError for an unknown plant, input or tag, ExprError for a wrong formula."""
    if config.plant not in setting.twins:
        raise ValueError(f"there is no twin of '{config.plant}'; there are {', '.join(setting.twins) or 'none'}")
    inputs = setting.twins[config.plant]().inputs
    if wrong := sorted(config.drivers.keys() - {*inputs}):
        raise ValueError(f"'{wrong[0]}' is no input of the twin; there are {', '.join(inputs)}")
    return Simtwin(config, setting)


class _Memory(msgspec.Struct, frozen=True):
    """Where the twin stands, when it was moved last (ns), and each driver's last good value with its time."""

    twin: Any
    at: int
    drivers: dict[str, tuple[float, int]]
    expr: Any


class Simtwin:
    """The model; its state is the twin's."""

    def __init__(self, config: SimtwinConfig, setting: Setting) -> None:
        self._twin = setting.twins[config.plant]()
        self._drivers = {name: config.drivers.get(name, name) for name in self._twin.inputs}
        self.needs = tuple(self._drivers.values())
        known(setting, self.needs)
        self._expr = Expr(config.formula, setting.tags)
        if self._expr.unit is None:
            raise ValueError("'formula' is a condition, not a number")
        known(setting, self._expr.tags)
        self._name, self._table = setting.name, setting.tags
        self.tags = (
            Tag(
                name=setting.name, unit=show_unit(self._expr.unit), kind="derived",
                description=f"{config.formula}, if no set-point had been moved (twin of {config.plant})",
            ),
        )  # fmt: skip
        self._kind = config.plant

    def learn(self, frames: Sequence[Frame]) -> Any:  # noqa: ARG002 - there is nothing to learn
        """Return the settled state."""
        return _Memory(self._twin.start(), 0, {}, self._expr.start())

    def infer(self, state: _Memory, frame: Frame) -> tuple[_Memory, Sequence[Reading]]:
        """Move the twin to the frame's time and say what it would have shown; Bad_NoData while a driver is not known."""
        drivers = dict(state.drivers)
        for name, tag in self._drivers.items():
            if frame.fresh(tag):
                drivers[name] = (frame[tag], frame.at)
        values = {name: value for name, (value, at) in drivers.items() if frame.at - at <= HOLD}
        if len(values) < len(self._drivers):
            return _Memory(state.twin, frame.at, drivers, self._expr.start()), [Reading(self._name, math.nan, BAD_NO_DATA)]
        seconds = (frame.at - state.at) / SECOND if state.at else 0.0
        twin, said = self._twin.advance(state.twin, values, self._twin.settings, seconds)
        expr, number = self._expr.evaluate(state.expr, self._instead(frame, said))
        good = number is not None and math.isfinite(number)
        reading = Reading(self._name, float(number) if good and number is not None else math.nan, GOOD if good else BAD_NO_DATA)
        return _Memory(twin, frame.at, drivers, expr), [reading]

    def _instead(self, frame: Frame, said: Mapping[str, float]) -> Frame:
        """Return the frame with what the twin says in the place of what was measured."""
        value, status = frame.value.copy(), frame.status.copy()
        source_at, seen_at = frame.source_at.copy(), frame.seen_at.copy()
        for tag, number in said.items():
            if (i := frame.table.index.get(tag)) is not None:
                value[i], status[i], source_at[i], seen_at[i] = number, GOOD, frame.at, frame.at
        return Frame(frame.at, frame.table, value, source_at, seen_at, status)

    def card(self, state: _Memory) -> Card:  # noqa: ARG002 - there is nothing that was learned
        """Return what the model is; nothing is fitted, and how good it is shows in the proof's pair differences."""
        return Card("simtwin", self.needs, (self._name,), ())
