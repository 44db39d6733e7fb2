"""Properties of the expression language: windows over random series, any text at all, units shown and read back."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from jayul.core.expr import Expr, ExprError, parse_unit, show_unit
from jayul.core.types import SECOND, Tag, TagTable
from jayul.testing import START, make_frame

MINUTE = 60 * SECOND
TABLE = TagTable([Tag(name="PV", unit="degC"), Tag(name="SP", unit="degC"), Tag(name="온도", unit="degC"), Tag(name="P")])
SAMPLE = {"PV": 20.0, "SP": 25.0, "온도": 58.0, "P": 3.0}


@profile(derandomize=True, max_examples=50, deadline=None, database=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=12, max_size=20), st.integers(1, 10))
def test_a_full_window_is_what_statistics_say(values, span):
    frames = [make_frame(TABLE, {"PV": v}, START + i * MINUTE) for i, v in enumerate(values)]
    for name, fold in (("mean", statistics.fmean), ("min", min), ("max", max), ("std", statistics.pstdev)):
        expr = Expr(f"{name}(PV, {span} min)", TABLE)
        state = expr.start()
        for i, frame in enumerate(frames):
            state, result = expr.evaluate(state, frame)
            assert (result == fold(values[i + 1 - span : i + 1])) if i >= span else math.isnan(result)


@profile(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.text(alphabet="PVSP.1 5+-*/()<>=[]\"',not andmin온도%\\", max_size=30))
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_is_an_expression_or_an_expr_error(text):
    try:
        expr = Expr(text, TABLE)
    except ExprError:
        return
    expr.evaluate(expr.start(), make_frame(TABLE, SAMPLE))


symbols = st.sampled_from(["m", "h", "kW", "USD", "degC", "s", "kg", "원", "mol", "Pa_g"])
powers = st.dictionaries(symbols, st.integers(-4, 4).filter(bool))


@profile(derandomize=True, max_examples=200, deadline=None, database=None)
@given(powers)
def test_a_unit_that_was_shown_is_read_back(unit):
    assert parse_unit(show_unit(unit)) == unit


@profile(derandomize=True, max_examples=100, deadline=None, database=None)
@given(powers, st.sampled_from(["%", "°C", "$", "€", "₩"]), st.sampled_from([1, -1]))
def test_a_unit_with_a_sign_in_it_is_read_back(unit, sign, power):
    assert parse_unit(show_unit({**unit, sign: power})) == {**unit, sign: power}
