"""Faults in simulated time: the line stops and goes back within one period, and the check would have seen it if it did not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from jayul.conform import faults


def test_every_fault_is_answered_as_it_must_be() -> None:
    told = faults.run(600, 5)
    assert told.failures == []
    assert set(told.faults) == set(faults.KINDS)
    assert all(count > 10 for count in told.faults.values())


@pytest.mark.parametrize(
    ("missing", "kinds"), [(("inputs", "require"), {"stale", "late", "NaN"}), (("require",), {"frozen", "swapped unit"})]
)
def test_a_line_without_these_rules_fails(missing: tuple[str, ...], kinds: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = faults.moment()
    kept = tuple(rule for rule in now.line.rules if not any(name in rule.__qualname__ for name in missing))
    assert len(kept) < len(now.line.rules)
    slow = tuple(replace(seat, terms=replace(seat.terms, stale_ticks=10)) for seat in now.line.seats)
    weak = faults.Moment(replace(now.line, rules=kept, seats=slow), now.plant, now.clock, now.state, now.last, now.approval)
    monkeypatch.setattr(faults, "moment", lambda: weak)
    failed = {failure.split("'")[1] for failure in faults.run(400, 5).failures}
    assert failed >= kinds


def test_a_line_that_lets_overrides_pass_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from jayul.core import loop

    monkeypatch.setattr(loop, "same", lambda a, b: True)
    assert any("second writer" in failure for failure in faults.run(300, 5).failures)
