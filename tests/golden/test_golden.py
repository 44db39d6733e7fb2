"""The golden journal comes out as recorded: a change of behaviour shows here first."""

from __future__ import annotations

from pathlib import Path

import pytest

from jayul.project.look import replay
from jayul.project.run import ticks_of
from jayul.record.files import OsFiles

GOLDEN = Path(__file__).parent / "tank"


@pytest.mark.parametrize("full", [False, True])
def test_the_golden_journal_replays_without_a_difference(full: bool) -> None:
    found = replay(GOLDEN, full=full)
    assert found.ticks == 180
    assert found.differing == 0, f"{found.first}; if this was meant: make golden"


def test_the_golden_journal_holds_what_it_is_for() -> None:
    ticks = list(ticks_of(OsFiles(GOLDEN / "journal", create=False)))
    reasons = {change.reason for tick in ticks for change in tick.decision.changes}
    assert {"signed", "veto-streak", "inputs-stale"} <= reasons
    assert {"", "require"} <= {verdict.rule for tick in ticks for verdict in tick.decision.verdicts}
    assert sum(len(tick.outcome.receipts) for tick in ticks) > 20
