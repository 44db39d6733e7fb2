"""A small typed expression language over tags, with units; for guard conditions, KPI formulas and playbooks.

Nothing is evaluated as Python: the text is read into a syntax tree (`ast`) of which only the forms below are accepted.

    JI1.PV * 0.05 [USD/kW/h] + "JI-2" * PRICE2.PV            mean(TIC1.PV, 10 min) > 58 [degC] and not LIC1.PV < 20

Tags stand by name, in double quotes where the name has other characters than letters, digits, `_` and `.`.
Sums and comparisons need equal units (a bare number takes the other side's); products multiply them; nothing is converted.
Windows `mean min max std change` over a duration are unknown until full, and while anything in them is unknown.
An unknown number is NaN, an unknown truth None (Kleene logic): it never counts as true.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from jayul.core.types import SECOND, Frame, TagTable

Unit: TypeAlias = Mapping[str, int]  # symbol -> exponent
Value: TypeAlias = Callable[[Frame, tuple[float, ...]], Any]  # of a frame and of the windows that stand before
Fold: TypeAlias = Callable[[float, list[float]], float]
Samples: TypeAlias = tuple[tuple[int, float], ...]

_PERIODS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
_LONGEST = 3e18  # ns: most of a century
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_SPAN: Mapping[str, Fold] = {  # of the value when the window began, and of those inside
    "mean": lambda b, v: statistics.fmean(v), "min": lambda b, v: min(v), "max": lambda b, v: max(v),
    "std": lambda b, v: statistics.pstdev(v), "change": lambda b, v: v[-1] - b,
}  # fmt: skip


class ExprError(Exception):
    """What is wrong with an expression, in one line."""


class _Node(NamedTuple):
    unit: Unit | None  # None: a truth value
    value: Value
    bare: bool = False  # a number without unit, which takes that of the other side


def parse_unit(text: str) -> Unit:
    """Read a UCUM-like unit (`USD/h`, `kW.h`, `m3/h`, `%`, `1`) as exponents by symbol. Raises ExprError."""
    powers: dict[str, int] = {}
    for sign, part in re.findall(r"(^|[./])([^./]*)", re.sub(r"\{[^}]*\}", "1", text.strip()) or "1"):
        if not (found := re.fullmatch(r"1|([^\W\d]+|[%°'\"$€₩][^\W\d]*)(-?\d+)?", part)):
            raise ExprError(f"unit '{text}' cannot be read; write it like 'USD/h', 'm3/h' or '1'")
        if found[1]:
            powers[found[1]] = powers.get(found[1], 0) + int(found[2] or 1) * (-1 if sign == "/" else 1)
    return _tidy(powers)


def show_unit(unit: Unit) -> str:
    """Write a unit as text, `1` if it has none."""
    over = ".".join(f"{s}{n if n > 1 else ''}" for s, n in unit.items() if n > 0)
    return (over or "1") + "".join(f"/{s}{-n if n < -1 else ''}" for s, n in unit.items() if n < 0)


def duration(text: str) -> int:
    """Read `30 s`, `10 min`, `1.5 h` or `2 d` as ns. Raises ExprError."""
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*(\w+)\s*", text)
    if not found or not 1 <= (ns := float(found[1]) * _PERIODS.get(found[2], 0) * SECOND) <= _LONGEST:
        raise ExprError(f"duration '{text}' cannot be read; write it like '30 s', '10 min' or '1.5 h'")
    return round(ns)


def _tidy(powers: Unit) -> Unit:
    return {symbol: n for symbol, n in sorted(powers.items()) if n}


class Expr:
    """A parsed expression over the tags of a table. Raises ExprError with one line that says what is wrong.

    `unit` is None for a condition; `tags` are the names used, in order of appearance.
    """

    def __init__(self, text: str, tags: TagTable) -> None:
        self.text, self._table = " ".join(text.split()), tags
        self._windows, self._used = list[tuple[Value, int, Fold]](), list[str]()
        source = re.sub(r"(\d\s*)\[([^\]\"]*)\]", r'\1["\2"]', self.text)  # units, then durations, into strings
        source = re.sub(r",\s*(\d[\d.]*\s*[^\W\d]+)\s*\)", r', "\1")', source)
        try:
            tree = ast.parse(source, mode="eval").body
            self.unit, self._value, _ = self._read(tree)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise ExprError(f"not an expression: {self.text}") from error
        self.tags = tuple(dict.fromkeys(self._used))

    def start(self) -> tuple[Samples, ...]:
        """Return the state before the first frame: an empty record for each window."""
        return tuple(() for _ in self._windows)

    def evaluate(self, state: tuple[Samples, ...], frame: Frame) -> tuple[tuple[Samples, ...], Any]:
        """Return the next state and the value: a float (NaN if unknown), or True, False, None (unknown)."""
        records: tuple[Samples, ...] = ()
        known: tuple[float, ...] = ()
        for (inner, span, fold), old in zip(self._windows, state, strict=True):
            begin = frame.at - span
            first = next((i for i in range(len(old) - 1, -1, -1) if old[i][0] <= begin), 0)  # one sample at or before begin
            record = (*old[first:], (frame.at, inner(frame, known)))
            inside = [v for at, v in record if at > begin]
            full = record[0][0] <= begin and all(map(math.isfinite, inside))
            records, known = (*records, record), (*known, fold(record[0][1], inside) if full else math.nan)
        return records, self._value(frame, known)

    def _fail(self, what: str) -> ExprError:
        return ExprError(f"{what}: {self.text}")

    def _read(self, tree: ast.expr) -> _Node:
        match tree:
            case ast.Constant(value=str(name)):
                return self._tag(name)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return _Node({}, lambda f, w: float(number), bare=True)
            case ast.Subscript(value=ast.Constant(value=int() | float() as number), slice=ast.Constant(value=str(unit))):
                return _Node(parse_unit(unit), lambda f, w: float(number))
            case ast.Name() | ast.Attribute():
                return self._tag(ast.unparse(tree))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                node = self._read(inner)
                return _Node(self._number(node), lambda f, w: -node.value(f, w), node.bare)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                truth = self._truth(inner)
                return _Node(None, lambda f, w: None if (t := truth(f, w)) is None else not t)
            case ast.BoolOp(op=op, values=parts):
                truths = [self._truth(part) for part in parts]
                return _Node(None, lambda f, w: _kleene([truth(f, w) for truth in truths], isinstance(op, ast.Or)))
            case ast.Compare(left=first, ops=[op], comparators=[second]) if type(op) in _COMPARE:
                a, b, test = self._read(first), self._read(second), _COMPARE[type(op)]
                self._same(a, b)
                return _Node(None, lambda f, w: _compare(test, a.value(f, w), b.value(f, w)))
            case ast.Compare():
                raise self._fail("compare two numbers at a time, and join with 'and'")
            case ast.BinOp(left=first, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, right=second):
                return self._arithmetic(op, self._read(first), self._read(second))
            case ast.Call(func=ast.Name(id=name), args=[inner, *span], keywords=[]):
                return self._call(name, self._read(inner), span)
        raise self._fail(f"'{ast.unparse(tree)}' is not allowed here")

    def _tag(self, name: str) -> _Node:
        if (tag := self._table.get(name)) is None:
            raise self._fail(f"unknown tag '{name}'")
        self._used.append(name)
        return _Node(parse_unit(tag.unit), lambda f, w: f[name] if f.fresh(name) else math.nan)

    def _call(self, name: str, node: _Node, span: list[ast.expr]) -> _Node:
        unit = self._number(node)
        match name, span:
            case "abs", []:
                return _Node(unit, lambda f, w: abs(node.value(f, w)), node.bare)
            case _, [ast.Constant(value=str(text))] if name in _SPAN:
                i = len(self._windows)
                self._windows.append((node.value, duration(text), _SPAN[name]))
                return _Node(unit, lambda f, w: w[i], node.bare)
        raise self._fail(f"'{name}' is not understood; there are abs(x) and, as in mean(x, 10 min), {', '.join(_SPAN)}")

    def _arithmetic(self, op: ast.operator, a: _Node, b: _Node) -> _Node:
        if isinstance(op, ast.Add | ast.Sub):
            unit, join = self._same(a, b), operator.add if isinstance(op, ast.Add) else operator.sub
        else:
            over, join = isinstance(op, ast.Div), _divide if isinstance(op, ast.Div) else operator.mul
            ua, ub = self._number(a), self._number(b)
            unit = _tidy({s: ua.get(s, 0) + (-1 if over else 1) * ub.get(s, 0) for s in {**ua, **ub}})
        return _Node(unit, lambda f, w: join(a.value(f, w), b.value(f, w)), a.bare and b.bare)

    def _number(self, node: _Node) -> Unit:
        if node.unit is None:
            raise self._fail("a number is needed where a condition stands")
        return node.unit

    def _truth(self, tree: ast.expr) -> Value:
        node = self._read(tree)
        if node.unit is not None:
            raise self._fail("a condition is needed where a number stands; compare it with something")
        return node.value

    def _same(self, a: _Node, b: _Node) -> Unit:
        ua, ub = self._number(a), self._number(b)
        if ua != ub and not (a.bare or b.bare):
            raise self._fail(f"units '{show_unit(ua)}' and '{show_unit(ub)}' do not fit together; nothing is converted")
        return ub if a.bare else ua


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan


def _compare(test: Callable[[Any, Any], bool], a: float, b: float) -> bool | None:
    return None if math.isnan(a) or math.isnan(b) else test(a, b)


def _kleene(truths: list[bool | None], decisive: bool) -> bool | None:
    return decisive if decisive in truths else None if None in truths else not decisive
