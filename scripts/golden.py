"""Record the golden journals again: short scenarios of a tank line, each with a transcript that a person reads.

Do it only when behaviour was changed on purpose; the commit says why.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec.structs import replace

from jayul.conform.breakage import write_project
from jayul.conform.faults import Drawn, Faulty
from jayul.core.loop import run
from jayul.core.types import Decision, Event, Frame, Outcome
from jayul.plant.sim.people import NAME, SimulatedPeople
from jayul.project.audit import transcript
from jayul.project.manifest import load
from jayul.project.run import ticks_of
from jayul.project.wire import wire
from jayul.record.files import OsFiles
from jayul.record.journal import Scan, Writer
from jayul.record.sign import Signer

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
SHORT = {
    'duration = "24 h"': 'duration = "30 min"', "ticks = 60": "ticks = 4", "proposals = 10": "proposals = 2",
    'begin = "3 h"': 'begin = "1 ms"', 'block = "2 h"': 'block = "10 min"', "pairs = 5": 'arms = ["on", "off", "on"]',
}  # fmt: skip
LONG = SHORT | {'duration = "24 h"': 'duration = "1.5 h"', 'block = "2 h"': 'block = "20 min"'}
Say = Callable[[int, list[Event]], list[Event]]  # tick, what the simulated engineer would say


def fault(kind: str, tag: str, after: str, lasts: str, value: float = 0.0) -> str:
    """Return a fault of the tank, as TOML."""
    return f'\n[[plant.fault]]\ntag = "{tag}"\nkind = "{kind}"\nafter = "{after}"\nlasts = "{lasts}"\nvalue = {value}\n'


def rule(kind: str, more: str) -> str:
    """Return a rule of the guard, as TOML."""
    return f'\n[[guard.rule]]\nkind = "{kind}"\n{more}\n'


def says(at: int, kind: Any, **body: Any) -> Say:
    """Let a person say something at a tick, beside what the simulated engineer answers."""

    def say(tick: int, answers: list[Event]) -> list[Event]:
        return [*answers, Event(kind, NAME, 1000 + tick, body, f"sim-said-{tick}")] if tick == at else answers

    return say


def slow(ticks: int) -> Say:
    """Let approvals come so many ticks late; signatures come at once."""
    waiting: list[tuple[int, Event]] = []

    def say(tick: int, answers: list[Event]) -> list[Event]:
        for event in answers:
            if event.kind == "approval" and event.body not in [other.body for _, other in waiting]:
                waiting.append((tick + ticks, event))
        return [event for event in answers if event.kind != "approval"] + [event for due, event in waiting if due == tick]

    return say


def twice() -> Say:
    """Hand every approval in again, five ticks later."""
    past: list[tuple[int, Event]] = []

    def say(tick: int, answers: list[Event]) -> list[Event]:
        past.extend((tick + 5, replace(event, id=f"{event.id}-again")) for event in answers if event.kind == "approval")
        return [*answers, *(event for due, event in past if due == tick)]

    return say


BOTH = {
    'writes = ["TIC1.SP"]': 'writes = ["TIC1.SP", "LIC1.SP"]',
    'target = { "TIC1.SP" = 62.0 }': 'target = { "TIC1.SP" = 62.0, "LIC1.SP" = 55.0 }',
    'per_hour = { "TIC1.SP" = 30.0 }': 'per_hour = { "TIC1.SP" = 30.0, "LIC1.SP" = 30.0 }',
}
AFTER_AN_HOUR = {
    'block = "2 h"': 'block = "20 min"',
    'duration = "24 h"': 'duration = "100 min"',
    'begin = "3 h"': 'begin = "65 min"',
}
EXPIRES = {"[ladder.shadow]": '[ladder]\nsigned_for = "6 min"\n[ladder.shadow]'}
HAND = fault("override", "TIC1.SP", "8 min", "10 s", 57.3)
MANUAL = fault("manual", "TIC1.MODE", "8 min", "4 min")
REMOTE_ONLY = rule("mode", 'mode = "TIC1.MODE"\ntakes = ["RCAS"]')
RATE = rule("rate", 'tags = ["TIC1.SP"]\nwindow = "10 min"\nmost = 3.0')
HALF = rule("halfspace", 'weights = { "TIC1.SP" = 1.0 }\nmost = 56.5')


class Scenario(NamedTuple):
    """What is changed in the template and added to it, what people say, what befalls the plant."""

    changes: Mapping[str, str] = MappingProxyType({})
    more: str = ""
    say: Say = lambda tick, answers: answers
    befall: Drawn | None = None


SCENARIOS = {
    "tank": Scenario(LONG, fault("frozen", "TIC2.PV", "35 min", "12 min") + fault("bad", "TIC1.PV", "13 min", "3 min")),
    "approval-late": Scenario(say=slow(30)),
    "approval-twice": Scenario(say=twice()),
    "situation-changed": Scenario(AFTER_AN_HOUR, say=slow(16)),
    "override": Scenario(more=HAND),
    "second-writer-again": Scenario(more=HAND + fault("override", "TIC1.SP", "16 min", "10 s", 56.1)),
    "signature-expired": Scenario(EXPIRES),
    "partial-write": Scenario(BOTH, befall=Drawn("partial write", "TIC1.PV", 18, 1)),
    "demoted-by-a-person": Scenario(say=says(20, "demotion", policy="preheat", reason="maintenance")),
    "mode-taken": Scenario(more=MANUAL),
    "mode-waited-for": Scenario(more=MANUAL + REMOTE_ONLY),
    "limit-ordered": Scenario(say=says(16, "limit", tag="TIC1.SP", low=50.0, high=56.5, reason="grade change")),
    "locked": Scenario(say=says(16, "limit", tag="TIC1.SP", lock=True)),
    "plan-aborted": Scenario({"low = 60.0, high = 75.0": "low = 67.99, high = 75.0"}),
    "rules-narrow": Scenario(more=RATE + HALF),
}


class Scripted:
    """The inbox of a scenario."""

    def __init__(self, say: Say) -> None:
        self._people, self._say, self._tick = SimulatedPeople(), say, -1

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Return what people say at this tick."""
        self._tick += 1
        return self._say(self._tick, list(self._people.drain(at, last)))


def record(name: str, scenario: Scenario, folder: Path) -> None:
    """Run a scenario and put its journal and transcript into a folder."""
    with tempfile.TemporaryDirectory() as work:
        project = write_project(Path(work) / "project", name, {**SHORT, **scenario.changes}, scenario.more)
        wired = wire(load(project), project, 11)
        plant: Any = Faulty(wired.plant, scenario.befall) if scenario.befall else wired.plant  # type: ignore[arg-type]
        files, steady = OsFiles(Path(work) / "journal"), itertools.count(0.0, 0.002).__next__
        writer = Writer(files, wired.header, Signer(bytes(32)), commit="group", scan=Scan(files), now=steady)

        def watch(frame: Frame, decision: Decision, outcome: Outcome) -> None:  # noqa: ARG001 - the shape of a watcher
            plant.tick = decision.tick + 1

        asyncio.run(run(wired.line, plant, wired.clock, writer, Scripted(scenario.say), ticks=wired.ticks, watch=watch))
        writer.close()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(Path(work) / "journal", folder / "journal")
    lines = transcript(ticks_of(OsFiles(folder / "journal", create=False)))
    (folder / "transcript.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Record them all."""
    for name, scenario in SCENARIOS.items():
        record(name, scenario, GOLDEN / name)
        size = sum(path.stat().st_size for path in (GOLDEN / name / "journal").iterdir())
        print(f"{name}: {size // 1000} kB")


if __name__ == "__main__":
    main()
