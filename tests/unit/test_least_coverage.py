"""No model is fitted to data of which too little was there; it goes on collecting, and its card says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jayul.app.show import learned
from jayul.core.types import BAD, GOOD, SECOND, Tag, TagTable
from jayul.learn import Card, Setting
from jayul.learn.forecast import ForecastConfig, forecast
from jayul.learn.pca import PcaConfig, pca
from jayul.learn.softsensor import SoftsensorConfig, softsensor
from jayul.testing import START, make_frame

MIN = 60 * SECOND
TABLE = TagTable([Tag(name="x"), Tag(name="y", unit="kW")])
GAPS, END = 400, 1200  # minutes: while samples are bad, and of all
EVERY = {
    "pca": 5,
    "softsensor": 5,
    "forecast": 100,
}  # one of so many; a forecast looks back from each row, and loses many to one gap
FORECAST = ForecastConfig(
    target="y", step="1 min", horizon="3 min", seasons=("10 min",), first="100 min", window="200 min", refit="20 min",
    calibrate="100 min",
)  # fmt: skip
MODELS: dict[str, Callable[[Setting], Any]] = {
    "pca": lambda setting: pca(PcaConfig(("x", "y"), settle="10 min", train="100 min", test="50 min"), setting),
    "softsensor": lambda setting: softsensor(SoftsensorConfig("y", ("x",), train="100 min", test="50 min"), setting),
    "forecast": lambda setting: forecast(FORECAST, setting),
}


def run(name: str, least: float) -> list[Card]:
    """Return the card after each minute."""
    model, chance, cards = MODELS[name](Setting("m", TABLE, {}, least)), np.random.default_rng(3), []
    state = model.learn(())
    for i in range(END):
        x = float(chance.standard_normal())
        values = {"x": x, "y": 2 * x + np.sin(2 * np.pi * i / 10) + 0.1 * float(chance.standard_normal())}
        status = BAD if i < GAPS and i % EVERY[name] == 4 else GOOD
        state, _ = model.infer(state, make_frame(TABLE, values, START + i * MIN, status=status))
        cards.append(model.card(state))
    return cards


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_fitted_below_the_least(name: str) -> None:
    cards = run(name, 0.9)
    assert cards[GAPS - 1].fits == ()
    assert cards[GAPS - 1].refused >= 1
    assert "fits refused" in learned(cards[GAPS - 1])
    assert cards[-1].fits, "it learns once the data are there"
    assert all((fit.coverage or 0) >= 0.9 for card in cards for fit in card.fits)


@pytest.mark.parametrize("name", MODELS)
def test_without_a_least_the_same_data_are_learned_from(name: str) -> None:
    first = run(name, 0.0)[GAPS - 1]
    assert first.fits
    assert (first.fits[0].coverage or 1) < 0.9
    assert first.refused == 0
