"""Units: what a policy asks in another unit is converted to that of the tag before anybody judges it, and says so.

Converted is what `UNITS` names, by pint; everything else goes on as it was asked, and the guard refuses it.
Money is never converted: its rate is no constant.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from jayul.core.expr import ExprError, parse_unit
from jayul.core.loop import Policy, Wish
from jayul.core.types import Frame, Proposal

if TYPE_CHECKING:
    import pint

UNITS: Mapping[str, str] = {  # UCUM symbol (brackets left out) -> pint's name
    **{symbol: symbol for symbol in ("m", "cm", "mm", "um", "km", "g", "kg", "mg", "s", "ms", "K", "degC", "degF", "mol", "kmol")},
    **{symbol: symbol for symbol in ("Pa", "kPa", "MPa", "hPa", "bar", "mbar", "psi", "atm", "N", "kN", "J", "kJ", "MJ", "GJ")},
    **{symbol: symbol for symbol in ("W", "kW", "MW", "GW", "Hz", "kHz", "A", "mA", "V", "mV", "kV", "min", "h", "d", "rad")},
    "wk": "week",
    "Cel": "degC", "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "t": "metric_ton", "%": "percent",
    "ppm": "ppm", "deg": "degree", "Wh": "watt_hour", "kWh": "kilowatt_hour", "MWh": "megawatt_hour", "cal": "calorie",
    "kcal": "kilocalorie", "rpm": "revolutions_per_minute", "ft": "foot", "in": "inch", "lb": "pound", "gal": "gallon",
}  # fmt: skip


@functools.cache
def _registry() -> pint.UnitRegistry[Any]:
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=False)


@functools.lru_cache(1024)
def convert(value: float, unit: str, into: str) -> float | None:
    """Return the value in the other unit; None if the two measure different things, or one of them is not known here."""
    try:
        quantity = _registry().Quantity(value, _named(unit)).to(_named(into))
    except (ExprError, KeyError, ValueError, TypeError, ArithmeticError):  # what pint raises are TypeErrors
        return None
    return float(quantity.magnitude) if math.isfinite(quantity.magnitude) else None


def _named(unit: str) -> Any:
    """Return pint's unit. Raises KeyError for a symbol that is not known here, ExprError for a text that is no unit."""
    found = _registry().Unit("dimensionless")
    for symbol, power in parse_unit(unit).items():
        found *= _registry().Unit(UNITS[symbol]) ** power
    return found


def converting(policy: Policy, units: Mapping[str, str]) -> Policy:
    """Return the policy with its proposals in the units of the tags (`units`, by tag)."""

    def asks(state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Wish]]:
        state, wishes = policy(state, frame, plan)
        return state, [_in(wish, units) if isinstance(wish, Proposal) and wish.unit else wish for wish in wishes]

    return asks


def _in(wish: Proposal, units: Mapping[str, str]) -> Proposal:
    unit = units.get(wish.tag, wish.unit)
    if wish.unit == unit or (value := convert(wish.value, wish.unit, unit)) is None:
        return wish
    return replace(wish, value=value, unit=unit, why=f"{wish.why} ({wish.value:g} {wish.unit})")
