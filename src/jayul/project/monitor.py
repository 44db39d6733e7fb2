"""The proof's monitor: after each pair of blocks it hands in what came of the plan so far, as evidence where it is news.

"proven" and "worse" are evidence as soon as a pair shows them, and so is a "proven" that no longer holds (a constraint was broken);
whatever else the last pair leaves is a note. After the proof the pairs that go on are watched: a benefit that decayed, or turned
into harm, is evidence against.

It is an inbox that sees every finished tick. What it says depends on the journalled ticks alone, so a run comes out the same
however often it is interrupted. Where plant time does not wait, it judges beside the ticks and speaks when it is done. It speaks
from within this process only: its ids cannot come by the inbox file.
"""

from __future__ import annotations

import copy
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from jayul.core.types import Decision, Event, Frame, TagTable
from jayul.prove.effect import Effect, Row, blocks_of, judge
from jayul.prove.plan import Plan
from jayul.prove.watch import Watched, watch

NAME = "proof monitor"
ID = "mon-proof"
EVIDENCE = "proven"  # the name that a gate asks for


def tags_of(plan: Plan) -> tuple[str, ...]:
    """Return the tags that a plan needs, sorted."""
    names = {plan.kpi, *plan.targets, *plan.drivers, *(h.tag for h in plan.held), *(limit.tag for limit in plan.limits)}
    return tuple(sorted(names | set(filter(None, (plan.alarm, plan.twin)))))


class Rows:
    """The tags of a plan, tick by tick, NaN where a value was not good; 8 bytes a value."""

    def __init__(self, plan: Plan, kept: TagTable) -> None:
        self._names, self._kept = tags_of(plan), kept
        self._take = np.array([kept.index[name] for name in self._names])
        self._at, self._values = array("q"), array("d")

    def add(self, decision: Decision) -> None:
        """Take one tick."""
        frame = Frame.from_columns(decision.at, self._kept, decision.columns)
        self._at.append(decision.at)
        self._values.extend(np.where(frame.status < 0x4000_0000, frame.value, np.nan)[self._take].tolist())

    def copy(self) -> Rows:
        """Return the ticks so far, which no longer grow."""
        other = copy.copy(self)
        other._at, other._values = self._at[:], self._values[:]
        return other

    def __iter__(self) -> Iterator[Row]:
        n = len(self._names)
        for i, at in enumerate(self._at):
            yield Row(at, dict(zip(self._names, self._values[i * n : (i + 1) * n], strict=True)))


class ProofMonitor:
    """The inbox; `add` gets every finished tick, also those that are folded or done again after a restart. `period` in ns.

    `aside`: judge there, and hand in what came of it at the first tick after that; None: within the tick.
    """

    def __init__(self, plan: Plan, kept: TagTable, period: int, aside: Executor | None = None) -> None:
        self._aside = aside
        self._job: Future[tuple[int, dict[str, Any]]] | None = None
        self._plan, self._period, self._rows = plan, period, Rows(plan, kept)
        self._said, self._judged, self._pairs = "", 0, (len(plan.arms) - plan.commissioning) // 2
        later = (*plan.watch_starts, plan.watch_end)
        pairs = [i for i in range(0, len(plan.watch_arms), 2) if set(plan.watch_arms[i : i + 2]) == {"on", "off"}]
        self._ends = (*plan.starts[plan.commissioning + 2 :: 2], plan.end, *(later[i + 2] for i in pairs))

    def add(self, decision: Decision) -> None:
        """Take one finished tick."""
        for heard in decision.events:
            if heard.event.by == NAME and heard.event.id.startswith(ID) and not heard.refused:  # nobody else speaks for it
                self._said = str(heard.event.body.get("conclusion", ""))
        if decision.at < max(self._plan.end, self._plan.watch_end):
            self._rows.add(decision)

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Return an event in the tick after a pair, if its conclusion is news; after the last pair of the proof in any case."""
        if self._job is not None:
            if not self._job.done():
                return ()
            found, self._job = self._job.result(), None
            return self._news(at, *found)
        over = bisect_right(self._ends, last.at) if last is not None else 0
        if over == self._judged:
            return ()
        self._judged = over
        if self._aside is None:
            return self._news(at, *self._judge(over, self._rows))
        self._job = self._aside.submit(self._judge, over, self._rows.copy())
        return ()

    def _judge(self, over: int, rows: Rows) -> tuple[int, dict[str, Any]]:
        """Judge after so many pairs; return their number again, and what there is to say."""
        effect = judge(self._plan, blocks_of(self._plan, rows, self._period))
        body = self._body(effect)
        if over > self._pairs and effect.conclusion == "proven":
            seen = watched(self._plan, effect, rows, self._period)
            if seen.standing in ("worse", "decayed"):
                faded = {"conclusion": seen.standing, "reasons": ["the benefit did not last"], "watched": seen.pairs}
                body |= {"passed": False, **faded}
        return over, body

    def _news(self, at: int, over: int, body: dict[str, Any]) -> Sequence[Event]:
        conclusion = body["conclusion"]
        if conclusion == self._said or not (over == self._pairs or {conclusion, self._said} & {"proven", "worse", "decayed"}):
            return ()
        evidence = bool({conclusion, self._said} & {"proven", "worse", "decayed"})
        return [Event("evidence" if evidence else "note", NAME, at, body, f"{ID}-{over}")]

    def _body(self, effect: Effect) -> dict[str, Any]:
        value, low, high = effect.benefit or (None, None, None)
        return {
            "policy": self._plan.policy, "name": EVIDENCE, "passed": effect.conclusion == "proven", "value": value, "low": low,
            "high": high, "unit": "%", "conclusion": effect.conclusion, "reasons": list(effect.reasons), "plan": effect.plan,
            "pairs": effect.pairs,
        }  # fmt: skip


def watched(plan: Plan, effect: Effect, rows: Rows, period: int) -> Watched:
    """Return how a benefit stands that was proven, from the pairs after the proof."""
    proven = effect.absolute[0] if effect.absolute else 0.0
    return watch(plan, rows, period, proven, round(effect.wash_out * 3.6e12))
