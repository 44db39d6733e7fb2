"""Models: frames in, derived readings out. They never act.

The manifest names a factory `(config, setting) -> Model`; a model says which tags it derives (`tags`) and reads (`needs`).
A model that learns also has `card(state) -> Card`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from jayul.core.expr import ExprError, duration
from jayul.core.types import TagTable


class Twin(Protocol):
    """A simulated plant as a pure function of state, set-points (`settings`, by tag) and what comes from outside (`inputs`).

    `settings` holds what stands when nobody moves them. `advance` returns the new state and the tags that it says; all in the
    units of the plant's tags.
    """

    inputs: tuple[str, ...]
    settings: Mapping[str, float]

    def start(self) -> Any: ...
    def advance(
        self, state: Any, inputs: Mapping[str, float], settings: Mapping[str, float], seconds: float
    ) -> tuple[Any, dict[str, float]]: ...


class Setting(msgspec.Struct, frozen=True):
    """What a model's factory may know: its name, the tags that it can read, the twins of simulated plants by name.

    `least`: nothing is fitted to data whose coverage is below it.
    """

    name: str
    tags: TagTable
    twins: Mapping[str, Callable[[], Twin]] = {}
    least: float = 0.0


class Fitted(msgspec.Struct, frozen=True):
    """One fit: from and to (ns) of the data that it saw, rows, and the regime that it belongs to (values by tag; empty: any).

    `digest` is that of the rows (`digest_of`); `coverage` the share of the rows offered that could be used.
    """

    begin: int
    end: int
    rows: int
    regime: dict[str, float] = {}
    digest: str = ""
    coverage: float | None = None


class Card(msgspec.Struct, frozen=True):
    """What a model is, what it learned from, and how well it does on data that the fit had not seen.

    `measured` holds figures by name: `mae` (in `unit`, that of the target), `mae-naive` (of the peer that `peer` names), `ratio` of
    the two, `inside` (share of values within the interval), `nominal` (the share it aims at), `alarms` (share of ticks that rang),
    `rows` (how many were judged).
    A figure that was not measured is not there. `digest` and `coverage` are those of all fits (`together`). `refused`: fits that
    were due, but not made, as too little of their data was there.
    """

    kind: str
    reads: tuple[str, ...]
    derives: tuple[str, ...]
    fits: tuple[Fitted, ...]
    measured: dict[str, float] = {}
    peer: str = ""
    unit: str = "1"
    digest: str = ""
    coverage: float | None = None
    refused: int = 0


@runtime_checkable
class Carded(Protocol):
    """A model that can say what it learned."""

    def card(self, state: Any) -> Card: ...


def digest_of(names: Sequence[str], rows: np.ndarray) -> str:
    """Return the SHA-256 (hexadecimal) of a training matrix [rows, names]: names, shape, and values as little-endian float64."""
    values = np.ascontiguousarray(np.where(np.isnan(rows), np.nan, rows), dtype="<f8")
    return hashlib.sha256(msgspec.msgpack.encode((tuple(names), values.shape)) + values.tobytes()).hexdigest()


def together(fits: Sequence[Fitted]) -> tuple[str, float | None]:
    """Return digest and coverage of all fits together; of one fit its own."""
    if len(fits) < 2:
        return (fits[0].digest, fits[0].coverage) if fits else ("", None)
    offered = sum(fit.rows / (fit.coverage or 1.0) for fit in fits)
    digest = hashlib.sha256("".join(fit.digest for fit in fits).encode()).hexdigest()
    return digest, sum(fit.rows for fit in fits) / offered


def span(text: str) -> int:
    """Read a duration of a configuration. Raises ValueError, which the manifest's check turns into one line."""
    try:
        return duration(text)
    except ExprError as error:
        raise ValueError(str(error)) from error


def known(setting: Setting, names: tuple[str, ...]) -> None:
    """Raise ValueError for the first tag that is not there."""
    if unknown := [tag for tag in names if tag not in setting.tags.index]:
        raise ValueError(f"unknown tag '{unknown[0]}'")
