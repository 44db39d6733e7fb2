"""The expression language: precedence, units, windows, what is unknown, and what is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jayul.core.expr import Expr, ExprError, show_unit
from jayul.core.types import BAD, SECOND, Frame, Tag, TagTable
from jayul.testing import START, make_frame

MINUTE = 60 * SECOND
TABLE = TagTable(
    [
        Tag(name="PV", unit="degC"),
        Tag(name="SP", unit="degC"),
        Tag(name="TIC1.PV", unit="degC"),
        Tag(name="JI1.PV", unit="kW"),
        Tag(name="JI-2", unit="kW"),
        Tag(name="FI1", unit="m3/h"),
        Tag(name="PRICE", unit="USD/kW/h"),
        Tag(name="LEVEL", unit="%"),
        Tag(name="N"),
        Tag(name="온도", unit="degC"),
        Tag(name="반응기 온도", unit="degC"),
        Tag(name="A"),
        Tag(name="B"),
        Tag(name="C"),
    ]
)
SAMPLE = {"PV": 20.0, "SP": 25.0, "TIC1.PV": 60.0, "JI1.PV": 100.0, "JI-2": 7.0, "FI1": 12.0, "PRICE": 0.1, "LEVEL": 40.0}
SAMPLE |= {"N": 3.0, "온도": 58.0, "반응기 온도": 61.0, "A": 1.0}


def value(text, frame=None):
    expr = Expr(text, TABLE)
    return expr.evaluate(expr.start(), frame or make_frame(TABLE, SAMPLE))[1]


def series(text, values, every=MINUTE):
    """Evaluate over frames in which PV takes these values; None is a bad sample."""
    expr, found = Expr(text, TABLE), []
    state = expr.start()
    for i, pv in enumerate(values):
        frame = make_frame(TABLE, {"PV": pv or 0.0}, START + i * every, status=BAD if pv is None else 0)
        state, result = expr.evaluate(state, frame)
        found.append(result)
    return found


def unit_of(text):
    return show_unit(Expr(text, TABLE).unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("N", 3.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("10 - 4 - 3", 3.0),
        ("24 / 4 / 2", 3.0),
        ("2 * -3", -6.0),
        ("--3", 3.0),
        ("-N + 5", 2.0),
        ("-(N + 5)", -8.0),
        ("abs(-3)", 3.0),
        ("abs(PV - SP)", 5.0),
        ("1.5e1", 15.0),
        (" N ", 3.0),
        ("JI1.PV * PRICE", 10.0),
        ('"JI-2" + JI1.PV', 107.0),
        ("JI1.PV-7", 93.0),
        ("PV + 5 [degC]", 25.0),
        ("PV * 2 + 5", 45.0),
        ("PV + -5", 15.0),
        ("-5 + PV", 15.0),
        ("PV + abs(-5)", 25.0),
        ("PV + (2 * 3 - 1)", 25.0),
        ("-JI1.PV * 2", -200.0),
    ],
)
def test_a_number(text, expected):
    assert value(text) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PV < SP", True),
        ("PV > SP", False),
        ("PV <= 20", True),
        ("PV >= 20.1", False),
        ("PV == 20", True),
        ("PV != 20", False),
        ("PV < 20", False),
        ("PV <= 19.9", False),
        ("PV > 20", False),
        ("PV > 19.9", True),
        ("PV >= 20", True),
        ("PV == 20.1", False),
        ("PV != 20.1", True),
        ("PV > -5", True),
        ("PV < abs(-50)", True),
        ("PV > 2 * 9", True),
        ("PV + 5 == SP", True),
        ("not PV > 5", False),
        ("PV > 5 and SP > 5 or PV > 99", True),
        ("PV > 99 and PV > 99 or PV > 5", True),
        ("PV > 99 and (PV > 99 or PV > 5)", False),
        ("not PV > 99 and PV > 5", True),
        ("not (PV > 99 and PV > 5)", True),
        ("TIC1.PV > 58 [degC] and not LEVEL < 20", True),
        ("TIC1.PV > 58 [degC] and not LEVEL < 20 [%]", True),
    ],
)
def test_a_condition(text, expected):
    assert value(text) is expected
    assert Expr(text, TABLE).unit is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("온도", 58.0),
        ("온도 + 2", 60.0),
        ('"반응기 온도"', 61.0),
        ('"반응기 온도" - 온도', 3.0),
        ('"JI-2"', 7.0),
        ('"PV"', 20.0),
        ("TIC1.PV", 60.0),
        ('"TIC1.PV"', 60.0),
    ],
)
def test_names_of_tags(text, expected):
    assert value(text) == expected


def test_tags_are_named_once_in_order_of_appearance():
    assert Expr('mean("JI-2", 5 min) + JI1.PV > "JI-2"', TABLE).tags == ("JI-2", "JI1.PV")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("PV + SP", "degC"),
        ("PV - 5", "degC"),
        ("5 - PV", "degC"),
        ("PV * 2", "degC"),
        ("PV * N", "degC"),
        ("PV / SP", "1"),
        ("1 / FI1", "h/m3"),
        ("JI1.PV * PRICE", "USD/h"),
        ("JI1.PV * 0.05 [USD/kW/h] + 3", "USD/h"),
        ('JI1.PV * 0.05 [USD/kW/h] + "JI-2" * PRICE', "USD/h"),
        ("PRICE / PRICE", "1"),
        ("FI1 * 2 [h]", "m3"),
        ("FI1 * FI1", "m6/h2"),
        ("LEVEL / 100", "%"),
        ("-PV", "degC"),
        ("abs(PV)", "degC"),
        ("mean(FI1, 10 min)", "m3/h"),
        ("change(PV, 1 h) / 1 [h]", "degC/h"),
        ("2 * 3", "1"),
        ("5 [kW.h]", "h.kW"),
        ("5 [%] + LEVEL", "%"),
    ],
)
def test_units_follow_the_arithmetic(text, unit):
    assert unit_of(text) == unit


@pytest.mark.parametrize(
    ("text", "culprits"),
    [
        ("PV + JI1.PV", ("'degC'", "'kW'")),
        ("PV > JI1.PV", ("'degC'", "'kW'")),
        ("PV - N", ("'degC'", "'1'")),
        ("PV > 5 [K]", ("'degC'", "'K'")),
        ("FI1 > 5 [m3]", ("'m3/h'", "'m3'")),
        ("JI1.PV * PRICE > 5 [USD]", ("'USD/h'", "'USD'")),
        ("PV > 5 [1]", ("'degC'", "'1'")),
        ("PV > 2 * N", ("'degC'", "'1'")),
        ("PV > -N", ("'degC'", "'1'")),
        ("PV > abs(N)", ("'degC'", "'1'")),
        ("PV > max(N, 1 min)", ("'degC'", "'1'")),
    ],
)
def test_units_that_do_not_fit_are_named_and_nothing_is_converted(text, culprits):
    with pytest.raises(ExprError) as error:
        Expr(text, TABLE)
    assert all(culprit in str(error.value) for culprit in culprits)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("mean(PV, 3 min)", [1, 2, 3, 4, 8], [None, None, None, 3.0, 5.0]),
        ("min(PV, 3 min)", [1, 5, 3, 4, 8], [None, None, None, 3.0, 3.0]),
        ("max(PV, 3 min)", [9, 5, 3, 4, 2], [None, None, None, 5.0, 4.0]),
        ("std(PV, 2 min)", [1, 2, 4, 10], [None, None, 1.0, 3.0]),
        ("mean(PV, 2 min)", [1, 2, None, 4, 6], [None, None, None, None, 5.0]),
        ("mean(PV, 2 min)", [None, 2, 4], [None, None, 3.0]),  # what lies before the window does not count
        ("mean(PV * 2, 2 min) + 1", [1, 2, 3], [None, None, 6.0]),
        ("max(PV, 120 s) - min(PV, 0.03333333333333333 h)", [1, 2, 5], [None, None, 3.0]),
        ("mean(max(PV, 2 min), 2 min)", [1, 2, 3, 2, 9], [None, None, None, 3.0, 6.0]),
        ("mean(3, 1 min)", [1, 1], [None, 3.0]),
        ("mean(PV, 1 min) + mean(3, 1 min)", [1, 1], [None, 4.0]),
        ("change(PV, 1 min)", [1, 2, 5, 4], [None, 1.0, 3.0, -1.0]),
        ("change(PV, 2 min)", [1, 2, 5, 4, 9], [None, None, 4.0, 2.0, 4.0]),
        ("change(PV, 90 s)", [1, 2, 5, 4], [None, None, 4.0, 2.0]),  # from the last sample before the window
        ("change(PV, 10 s)", [1, 2, 5, 4], [None, 1.0, 3.0, -1.0]),  # also where nothing lies inside but the newest
        ("-max(PV, 1 min)", [1, 2, 5], [None, -2.0, -5.0]),
        ("abs(change(PV, 1 min))", [5, 2, 6], [None, 3.0, 4.0]),
        ("PV - max(PV, 2 min)", [1, 5, 3, 2], [None, None, -2.0, -1.0]),
        ("max(PV, 2 min) - PV", [1, 5, 3, 2], [None, None, 2.0, 1.0]),
    ],
)
def test_windows(text, values, expected):
    found = series(text, values)
    assert [None if math.isnan(v) else v for v in found] == expected


def test_a_condition_on_a_window_is_unknown_until_it_is_full():
    assert series("mean(PV, 2 min) > 1 [degC]", [1, 2, 3]) == [None, None, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean(PV, 1 min) > 1", [None, True, True, False]),
        ("PV > mean(PV, 1 min) + 1", [None, False, False, False]),
        ("5 > max(PV, 2 min)", [None, None, True, True]),
        ("not mean(PV, 1 min) > 1", [None, False, False, True]),
        ("PV > 2 and max(PV, 1 min) > 2", [False, False, True, False]),
        ("PV > 2 or max(PV, 1 min) > 1", [None, True, True, False]),
    ],
)
def test_conditions_on_windows(text, expected):
    assert series(text, [1, 2, 3, 1]) == expected


def test_the_state_of_another_expression_is_a_mistake():
    one, two = Expr("mean(PV, 1 min)", TABLE), Expr("mean(PV, 1 min) + max(PV, 1 min)", TABLE)
    for expr, state in ((one, two.start()), (two, one.start())):
        with pytest.raises(ValueError, match="zip"):
            expr.evaluate(state, make_frame(TABLE, SAMPLE))


def test_a_window_keeps_no_more_than_it_needs():
    expr = Expr("mean(PV, 5 min)", TABLE)
    state = expr.start()
    for i in range(50):
        state, _ = expr.evaluate(state, make_frame(TABLE, {"PV": 1.0}, START + i * MINUTE))
    assert len(state[0]) == 6


def test_a_window_is_no_state_of_the_expression():
    expr = Expr("mean(PV, 1 min)", TABLE)
    first, _ = expr.evaluate(expr.start(), make_frame(TABLE, {"PV": 1.0}))
    later = make_frame(TABLE, {"PV": 3.0}, START + MINUTE)
    assert expr.evaluate(first, later) == expr.evaluate(first, later)
    assert math.isnan(expr.evaluate(expr.start(), later)[1])


TRUTHS = {"T": ("A > 0", True), "F": ("A < 0", False), "?": ("B > 0", None)}
AND = {"TT": True, "TF": False, "T?": None, "FT": False, "FF": False, "F?": False, "?T": None, "?F": False, "??": None}
OR = {"TT": True, "TF": True, "T?": True, "FT": True, "FF": False, "F?": None, "?T": True, "?F": None, "??": None}


def half_known():
    """A is 1, B is NaN, C is bad."""
    frame = make_frame(TABLE, SAMPLE | {"B": math.nan})
    status = frame.status.copy()
    status[TABLE.index["C"]] = BAD
    stamps = np.full(len(status), START, dtype=np.int64)
    return Frame(START, TABLE, frame.value.copy(), stamps, stamps.copy(), status)


@pytest.mark.parametrize(("word", "table"), [("and", AND), ("or", OR)])
@pytest.mark.parametrize("pair", list(AND))
def test_and_and_or_with_what_is_unknown(word, table, pair):
    left, right = (TRUTHS[letter][0] for letter in pair)
    assert value(f"{left} {word} {right}", half_known()) is table[pair]


@pytest.mark.parametrize("truth", list(TRUTHS))
def test_not_with_what_is_unknown(truth):
    text, known = TRUTHS[truth]
    assert value(f"not {text}", half_known()) is (None if known is None else not known)


@pytest.mark.parametrize(
    "text", ["B == B", "B != B", "B < 1", "C >= 0", "A + B > 0", "A / 0 > 0", "A / 0 == A / 0", "A > 0 and C > 0"]
)
def test_a_comparison_with_something_unknown_is_unknown(text):
    assert value(text, half_known()) is None


@pytest.mark.parametrize("text", ["A / 0", "0 / 0", "A / (A - A)", "-(A / 0)", "A / 0 * 0", "B * 0", "abs(B)", "C", "C - C"])
def test_division_by_zero_and_what_comes_of_something_unknown_is_unknown(text):
    assert math.isnan(value(text, half_known()))


@pytest.mark.parametrize("age", [61 * SECOND, -6 * SECOND])
def test_a_tag_that_is_not_fresh_is_unknown(age):
    assert math.isnan(value("PV", make_frame(TABLE, SAMPLE, age=age)))


WRONG = [  # text, culprit
    ("", "not an expression"),
    ("PV +", "PV +"),
    ("PV SP", "PV SP"),
    ("(PV", "(PV"),
    ('"PV', '"PV'),
    ("PV = 3", "PV = 3"),
    ("PVX > 1", "'PVX'"),
    ("PV.x > 1", "'PV.x'"),
    ('"no such" > 1', "'no such'"),
    ("'압력' > 1", "'압력'"),
    ("PV ** 2", "'PV ** 2'"),
    ("PV // 2", "'PV // 2'"),
    ("PV % 2", "'PV % 2'"),
    ("+PV", "'+PV'"),
    ("~PV", "'~PV'"),
    ("PV & SP", "'PV & SP'"),
    ("1 < PV < 3", "join with 'and'"),
    ("PV in SP", "compare two numbers"),
    ("PV is SP", "compare two numbers"),
    ("True", "'True'"),
    ("None", "'None'"),
    ("1j", "'1j'"),
    ('b"PV"', "b'PV'"),
    ("...", "..."),
    ("not PV", "condition is needed"),
    ("PV and SP > 1", "condition is needed"),
    ("(PV > 1) + 1", "number is needed"),
    ("-(PV > 1)", "number is needed"),
    ("(PV > 1) > (SP > 1)", "number is needed"),
    ("mean(PV > 1, 5 min)", "number is needed"),
    ("abs(PV > 1)", "number is needed"),
    ("sqrt(PV)", "'sqrt'"),
    ("median(PV, 5 min)", "'median'"),
    ("mean(PV)", "'mean'"),
    ("mean(PV, 5)", "'mean'"),
    ("mean(PV, SP)", "'mean'"),
    ("mean(PV, 5 min, 6 min)", "not an expression"),
    ("mean()", "'mean()'"),
    ("mean(PV, 5 weeks)", "'5 weeks'"),
    ("mean(PV, 0 min)", "'0 min'"),
    ("mean(PV, 1.2.3 h)", "'1.2.3 h'"),
    ("abs(x=PV)", "'abs(x=PV)'"),
    ("abs(PV, 5 min)", "'abs'"),
    ("5 [m^2]", "'m^2'"),
    ("5 [/]", "'/'"),
    ("PV [degC]", "PV["),
    ("PV if PV > 1 else SP", "if"),
    ("PV; SP", "PV; SP"),
]  # fmt: skip
PYTHON = [
    '__import__("os").system("touch {}")',
    '__import__("os")',
    'open("{}", "w")',
    'abs(open("{}", "w"))',
    'exec("open(\'{}\', \'w\')")',
    "PV.__class__.__bases__",
    "().__class__",
    "lambda: PV",
    '(lambda: open("{}", "w"))()',
    'f"{{open(\'{}\', \'w\')}}"',
    'f"PV"',
    '[open("{}", "w") for x in (1, 2)]',
    '{{x for x in open("{}", "w")}}',
    "sum(x for x in (1, 2))",
    "(PV := 3)",
    "[PV][0]",
    "{{}}",
    "(PV, SP)",
    "abs(*PV)",
    "abs(**PV)",
    "await PV",
    "yield PV",
    'PV["x"]',
    "globals()",
    "print",
    "5 [__import__('os')]",
    "5 [']+open('{}')+[']",
]  # fmt: skip


@pytest.mark.parametrize(("text", "culprit"), WRONG)
def test_a_wrong_expression_gets_one_line_that_names_the_culprit(text, culprit):
    with pytest.raises(ExprError) as error:
        Expr(text, TABLE)
    assert culprit in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", PYTHON)
def test_python_is_never_executed(text, tmp_path):
    text = text.format(tmp_path / "made")
    with pytest.raises(ExprError) as error:
        Expr(text, TABLE)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "PV" + ")" * 5000,
        "-" * 5000 + "PV",
        "not " * 5000 + "PV > 1",
        "PV" + "+PV" * 20_000,
        "abs(" * 5000 + "PV",
        "PV" + ".x" * 5000,
    ],
)
def test_nesting_without_end_is_an_error_like_any_other(text):
    with pytest.raises(ExprError):
        Expr(text, TABLE)


WORDS = [
    ("PV +", "not an expression: PV +"),
    ("PVX  > 1", "unknown tag 'PVX': PVX > 1"),
    ("1 < PV < 3", "compare two numbers at a time, and join with 'and': 1 < PV < 3"),
    ("-(PV > 1)", "a number is needed where a condition stands: -(PV > 1)"),
    ("not PV", "a condition is needed where a number stands; compare it with something: not PV"),
    ("PV ** 2", "'PV ** 2' is not allowed here: PV ** 2"),
    ("PV > FI1", "units 'degC' and 'm3/h' do not fit together; nothing is converted: PV > FI1"),
    (
        "sqrt(PV)",
        "'sqrt' is not understood; there are abs(x) and, as in mean(x, 10 min), mean, min, max, std, change: sqrt(PV)",
    ),
    ("mean(PV, 5 weeks)", "duration '5 weeks' cannot be read; write it like '30 s', '10 min' or '1.5 h'"),
    ("5 [m^2]", "unit 'm^2' cannot be read; write it like 'USD/h', 'm3/h' or '1'"),
]


@pytest.mark.parametrize(("text", "says"), WORDS)
def test_what_is_wrong_is_said_word_by_word(text, says):
    with pytest.raises(ExprError) as error:
        Expr(text, TABLE)
    assert str(error.value) == says
