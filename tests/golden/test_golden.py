"""Recorded journals come out as recorded: a change of behaviour shows here first, as lines that a person reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jayul.core.clock import Sim
from jayul.core.loop import run
from jayul.core.types import Decision, Outcome
from jayul.plant.journal import JournalInbox, JournalPlant, Tape, Tick
from jayul.project.audit import transcript
from jayul.project.look import replay
from jayul.project.run import read_header, ticks_of
from jayul.project.wire import replay_line
from jayul.record.files import OsFiles

HERE = Path(__file__).parent
NAMES = sorted(path.name for path in HERE.iterdir() if (path / "journal").is_dir())
WHAT = {  # what each scenario is for: (kind or reason code) that its transcript must show
    "approval-late": "plan-not-on-the-table", "approval-twice": "approval-used", "demoted-by-a-person": "person", "limit-ordered": "limits set by",
    "locked": "is locked by", "mode-taken": "write-rejected", "mode-waited-for": "is MAN", "override": "override",
    "partial-write": "outcome-unknown", "plan-aborted": "plan-aborted", "rules-narrow": "halfspace",
    "second-writer-again": "override", "signature-expired": "signature-expired", "situation-changed": "situation-changed",
    "tank": "veto-streak",
}  # fmt: skip


def test_there_are_a_dozen_and_more_and_each_is_for_something() -> None:
    assert sorted(WHAT) == NAMES
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_shows_what_its_scenario_is_for(name: str) -> None:
    assert WHAT[name] in (HERE / name / "transcript.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("full", [False, True])
def test_a_golden_journal_replays_without_a_difference(name: str, full: bool) -> None:
    found = replay(HERE / name, full=full)
    assert found.ticks >= 60
    assert found.differing == 0, f"{found.first}; if this was meant: make golden"


class Keeping:
    """A journal that keeps what comes out of a replay."""

    def __init__(self, tape: Tape) -> None:
        self._tape, self.ticks = tape, list[Tick]()

    def append(self, record: Decision | Outcome) -> None:
        if isinstance(record, Decision):
            self.ticks.append(Tick(record, None))
        else:
            self.ticks[-1] = Tick(self.ticks[-1].decision, record)
            self._tape.advance()


def anew(name: str) -> Iterator[Tick]:
    """Run models, policies, ladder and guard again on the recorded frames and events; return what comes out."""
    files = OsFiles(HERE / name / "journal", create=False)
    header = read_header(files)
    assert header is not None
    line, kept = replay_line(header, full=True)
    tape, count = Tape(ticks_of(files)), sum(1 for _ in ticks_of(files))
    journal: Any = Keeping(tape)
    asyncio.run(run(line, JournalPlant(kept, tape), Sim(0, header.seed), journal, JournalInbox(tape), ticks=count))
    return iter(journal.ticks)


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_a_verdict_shows_as_lines_that_differ(name: str) -> None:
    recorded = (HERE / name / "transcript.txt").read_text(encoding="utf-8").splitlines()
    assert transcript(anew(name)) == recorded, "if this was meant: make golden"
