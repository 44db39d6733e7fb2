"""Situations to judge in: tags, frames, contexts, wishes, orders. Rules are made anew in each test, never while tests are collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jayul.core.guard import Applied, Context, Rule, Writer
from jayul.core.types import BAD, GOOD, SECOND, Event, Frame, MovePlan, Proposal, Tag, TagTable, Verdict
from jayul.rules import Setting
from jayul.testing import DEMO_TAGS, START, make_frame

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
PERIOD = 30 * SECOND
FIGURES = [Tag(name=f"r.SP.{what}", kind="derived") for what in ("count", "travel", "low", "high")]
TABLE = TagTable(
    [
        Tag(name="SP", unit="degC", low=0.0, high=100.0, max_step=100.0, writable=True),
        Tag(name="SP2", unit="degC", low=0.0, high=100.0, max_step=100.0, writable=True),
        Tag(name="LOW", unit="degC"),
        Tag(name="HIGH", unit="degC"),
        Tag(name="LEVEL", unit="%"),
        Tag(name="MODE", kind="mode", states={0: "MAN", 1: "AUTO", 2: "RCAS"}),
        Tag(name="CODE", kind="mode"),
        Tag(name="LAB", kind="laboratory", stale_after=86400.0),
        *FIGURES,
    ]
)
STANDS = {"SP": 50.0, "SP2": 20.0, "LOW": 45.0, "HIGH": 60.0, "MODE": 2.0, "CODE": 7.0}
QUIET = {"r.SP.count": 0.0, "r.SP.travel": 0.0, "r.SP.low": 50.0, "r.SP.high": 50.0}
BOUNDED = Tag(name="SP", unit="degC", low=40.0, high=70.0, max_step=2.0, writable=True)
PLAN = MovePlan("", "p", {"SP": 60.0}, {"SP": 120.0}, "test", START, START + HOUR).sealed()
ALL = frozenset(DEMO_TAGS.names)
Said = tuple[float | None, str] | None
Order = tuple[tuple[str, str], Event]


def frame_of(values: Mapping[str, float] = {}, *, at: int = START, ages: Mapping[str, int] = {}, bad: str = "") -> Frame:
    """Make a frame of the wide table, in which one tag may be old or bad."""
    known = {**STANDS, **QUIET, **values}
    value = np.array([known.get(name, 0.0) for name in TABLE.names])
    source = np.array([at - ages.get(name, 0) for name in TABLE.names], dtype=np.int64)
    status = np.array([BAD if name == bad else GOOD for name in TABLE.names], dtype=np.uint32)
    return Frame(at, TABLE, value, source, np.full(len(value), at, dtype=np.int64), status)


def wide(frame: Frame | None = None, **more: Any) -> Context:
    """Make a context over the wide table, with two writers."""
    writers = {"p": Writer(TABLE.names, True), "q": Writer(TABLE.names, True)}
    return Context(frame or frame_of(), writers, {}, PERIOD, **more)


def small(
    now: float = 50.0, *, writers: Any = None, last: Any = None, table: TagTable = DEMO_TAGS, asked: Any = None, **frame: Any
):
    """Make a context over the demonstration's tags, with one writer."""
    held = {"SP": Applied(last, START, "p")} if last is not None else {}
    every = writers or {"p": Writer(ALL, may_write=True)}
    return Context(make_frame(table, {"SP": now, "PV": 50.0}, **frame), every, held, PERIOD, asked or {})


def ask(value: Any = 51.0, tag: str = "SP", by: str = "p", **more: Any) -> Proposal:
    """Make a wish."""
    return Proposal(tag, value, "test", by, **more)


def said(verdict: Verdict | None) -> Said:
    """Return what a verdict allows and its code; None if there was no objection."""
    return verdict and (verdict.allowed, verdict.rule)


def reason(verdict: Verdict | None) -> str:
    """Return what an operator reads."""
    assert verdict is not None
    return verdict.reason


def made(make: Callable[[Any, Setting], Rule], config: Any, table: TagTable = TABLE) -> Rule:
    """Make a rule as the wiring does."""
    return make(config, Setting("r", table))


def order(by: str = "Kim", tag: str = "SP", at: int = START, **body: Any) -> Order:
    """Make an order about a tag, as it stands in the context."""
    return (tag, body.get("of", by)), Event("limit", by, at, {"tag": tag, **body}, "id")


def ordered(*given: Order) -> Context:
    """Make a context in which these orders are in force."""
    return wide(orders=dict(given))
