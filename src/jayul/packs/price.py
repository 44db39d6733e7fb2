"""The price pack: what one unit of a KPI is worth in money an hour.

Entries read `{ of: USD/m3, worth: 6.0, unit: m3/h }` (one USD/m3 less is 6 USD/h where 6 m3/h are made) and, for an exchange rate,
`{ of: USD, worth: 1380.0, unit: KRW/USD }`.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

from jayul.core.expr import ExprError, Unit, parse_unit, show_unit
from jayul.packs import Pack, PackError


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `of` (a unit) is worth `worth` in `unit`: their product is what is meant, as in kW x USD/kW/h = USD/h."""

    of: str
    worth: float
    unit: str
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.worth < math.inf:
            raise PackError("'worth' must be above 0")
        for unit in (self.of, self.unit):
            _read(unit)


class Price(Pack, frozen=True, kw_only=True):
    """Prices and exchange rates; `currency` (ISO 4217) is that of the result."""

    kind: Literal["price"]
    currency: str
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _is_money(self.currency):
            raise PackError(f"'{self.currency}' is no currency; write its three letters, as in ISO 4217: KRW, USD, EUR")
        units = [show_unit(_read(entry.of)) for entry in self.entries]
        if twice := [unit for unit in units if units.count(unit) > 1]:
            raise PackError(f"'{twice[0]}' stands there twice")

    def rate(self, unit: str) -> float:
        """Return what one `unit` is worth in the pack's currency an hour. Raises PackError if no entry leads there."""
        have, factor = _read(unit), 1.0
        if not (currency := per_hour(unit)):
            entry = self._entry(have, f"no entry says what one '{unit}' is worth; add one whose 'of' is '{unit}'")
            have, factor = _product(have, _read(entry.unit)), entry.worth
            if not (currency := per_hour(show_unit(have))):
                raise PackError(f"one '{unit}' comes out in '{show_unit(have)}', which is not money an hour")
        if currency == self.currency:
            return factor
        entry = self._entry({currency: 1}, f"no entry exchanges '{currency}' for '{self.currency}'; add one")
        if _product({currency: 1}, _read(entry.unit)) != {self.currency: 1}:
            raise PackError(f"the exchange rate of '{currency}' must be in '{self.currency}/{currency}'")
        return factor * entry.worth

    def _entry(self, unit: Unit, otherwise: str) -> Entry:
        found = next((entry for entry in self.entries if _read(entry.of) == unit), None)
        if found is None:
            raise PackError(otherwise)
        return found


def per_hour(unit: str) -> str:
    """Return the currency of a unit that is money an hour; empty if it is anything else."""
    match sorted(_read(unit).items(), key=lambda item: item[1]):
        case [("h", -1), (currency, 1)] if _is_money(currency):
            return currency
    return ""


def _is_money(symbol: str) -> bool:
    return re.fullmatch("[A-Z]{3}", symbol) is not None


def _read(unit: str) -> Unit:
    try:
        return parse_unit(unit)
    except ExprError as error:
        raise PackError(str(error)) from None


def _product(a: Unit, b: Unit) -> Unit:
    return {s: n for s in sorted({*a, *b}) if (n := a.get(s, 0) + b.get(s, 0))}
