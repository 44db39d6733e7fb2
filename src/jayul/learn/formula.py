"""Formula: derived tags from expressions (KPIs, balances, conditions). A condition reads 1 or 0; unknown is Bad_NoData."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from jayul.core.expr import Expr, show_unit
from jayul.core.types import BAD_NO_DATA, GOOD, Frame, Reading, Tag
from jayul.learn import Setting

CONDITION = {0: "no", 1: "yes"}  # the states of a condition


class FormulaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`formula`: derived tag -> expression (core/expr)."""

    formula: dict[str, str]


def formula(config: FormulaConfig, setting: Setting) -> Formula:
    """Make the model. Raises ExprError."""
    return Formula(config.formula, setting)


class Formula:
    """The model; its state holds the windows of each expression."""

    def __init__(self, texts: Mapping[str, str], setting: Setting) -> None:
        self.parsed = {name: Expr(text, setting.tags) for name, text in texts.items()}
        self.tags = tuple(
            Tag(
                name=name,
                unit="1" if e.unit is None else show_unit(e.unit),
                kind="derived",
                states=CONDITION if e.unit is None else {},
                description=e.text,
            )
            for name, e in self.parsed.items()
        )
        self.needs = tuple(dict.fromkeys(tag for e in self.parsed.values() for tag in e.tags))

    def learn(self, frames: Sequence[Frame]) -> Any:  # noqa: ARG002 - there is nothing to learn
        """Return the empty state."""
        return {name: e.start() for name, e in self.parsed.items()}

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return one reading for each expression."""
        states, readings = {}, []
        for name, e in self.parsed.items():
            states[name], value = e.evaluate(state[name], frame)
            number = math.nan if value is None else float(value)
            readings.append(Reading(name, number, GOOD if math.isfinite(number) else BAD_NO_DATA))
        return states, readings
