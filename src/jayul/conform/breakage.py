"""The demonstrations: break something on purpose, and see whether it is found, and where. Each returns one `Finding`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files as resources
from pathlib import Path
from typing import Literal

import msgspec

from jayul.conform import tamper
from jayul.core.types import Event
from jayul.project.look import check, replay
from jayul.project.manifest import NAME
from jayul.project.problem import N_
from jayul.project.run import Options, Result, execute, ticks_of
from jayul.record.files import OsFiles
from jayul.record.inbox import SqliteInbox
from jayul.record.sign import new_id

How = Literal["apply", "drop", "blind"]
BECAME: dict[How, str] = {"apply": "settled", "drop": "missed", "blind": "unknown"}


class Finding(msgspec.Struct, frozen=True):
    """What was broken (a template), whether it was found, and what was found where (templates with their parameters)."""

    broken: str
    found: bool
    what: str
    params: dict[str, str]


def write_project(folder: Path, name: str, changes: dict[str, str], more: str = "") -> Path:
    """Write the tank template with some texts changed and some added."""
    text = (resources("jayul.project") / "templates" / "tank" / NAME).read_text(encoding="utf-8").format(name=name)
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"the template has no {old}")
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(text + more, encoding="utf-8")
    return folder


def frozen_line(work: Path) -> tuple[Path, Path]:
    """Write the demo's line: the transmitter of TIC1 freezes shortly before a move begins. Returns project and run folder."""
    fault = '\n[[plant.fault]]\ntag = "TIC1.PV"\nkind = "frozen"\nafter = "6.8 h"\nlasts = "0.6 h"\n'
    arms = 'arms = ["on", "off", "on", "off"]'
    return write_project(
        work / "line", "demo-tank", {'duration = "24 h"': 'duration = "12 h"', "pairs = 5": arms}, fault
    ), work / "run"


def frozen_sensor(out: Path) -> Finding:
    """See in a finished run of `frozen_line` what was found, what was refused, and what came after."""
    alarm, refused, fell, rose = None, 0, None, None
    began = int(6.8 * 3600 / 30)
    for decision, _ in ticks_of(OsFiles(out / "journal", create=False)):
        refused += sum(v.rule == "require" for v in decision.verdicts)
        if alarm is None and any(v.rule == "require" and "frozen" in v.reason for v in decision.verdicts):
            alarm = decision.tick
        for change in decision.changes:
            if alarm is not None and change.after < change.before and fell is None:
                fell = change
            if fell is not None and change.after > change.before:
                rose = change
    what = N_(
        "moves refused: {refused}, the first {minutes} min after it froze; demoted to {level} ({reason}); then up again to {up}"
    )
    params = {
        "refused": str(refused),
        "minutes": f"{((alarm or 0) - began) / 2:.0f}",
        "level": fell.after.name.lower() if fell else "-",
        "reason": fell.reason if fell else "-",
        "up": rose.after.name.lower() if rose else "-",
    }
    found = alarm is not None and refused > 0 and fell is not None
    return Finding(N_("a transmitter freezes: its value repeats, its time goes on"), found, what, params)


def replayed_approval(project: Path, out: Path, seed: int) -> tuple[Finding, Result]:
    """Stop the run after an approval, hand the same approval in again, go on, and see what became of it."""
    execute(project, out, Options(seed=seed, ticks=620))
    used = _last_approval(out)
    inbox = SqliteInbox(out / "state.db")
    inbox.put(used)
    inbox.put(Event("approval", used.by, used.at, {**used.body}, new_id()))
    inbox.close()
    result = execute(project, out, Options(seed=seed))
    heard = [h for tick in ticks_of(OsFiles(out / "journal", create=False)) for h in tick.decision.events]
    again = [h for h in heard if h.event.kind == "approval" and h.event.body == used.body and h.refused]
    accepted = [h for h in heard if h.event.kind == "approval" and h.event.body == used.body and not h.refused]
    found = len(again) == 2 and len(accepted) == 1
    what = N_("refused {n} times, and recorded: {reason}")
    return Finding(
        N_("an approval is handed in again"), found, what, {"n": str(len(again)), "reason": again[0].refused if again else "-"}
    ), result


def _last_approval(out: Path) -> Event:
    heard = [heard for tick in ticks_of(OsFiles(out / "journal", create=False)) for heard in tick.decision.events]
    return [h.event for h in heard if h.event.kind == "approval" and not h.refused][-1]


def killed_between(work: Path, how: How, seed: int) -> Finding:
    """Kill the loop (kill -9) between Decision and answer, start it again, and see how it closes the open Decision."""
    broken = {
        "apply": N_("kill -9 between Decision and answer; the plant had taken the write"),
        "drop": N_("kill -9 between Decision and answer; the write never arrived"),
        "blind": N_("kill -9 between Decision and answer; afterwards the tag cannot be read"),
    }[how]
    folder = work / how
    quick = {
        'duration = "24 h"': 'duration = "1 h"', "ticks = 60": "ticks = 5", "proposals = 10": "proposals = 3",
        'begin = "3 h"': 'begin = "1 ms"', "pairs = 5": 'arms = ["on"]', 'commit = "group"': 'commit = "tick"',
    }  # fmt: skip
    plant_project = write_project(folder / "plant", "demo-plant", quick | {'commit = "tick"': 'commit = "group"'})
    with tempfile.TemporaryDirectory() as short:  # a Unix socket's path is short
        socket = Path(short) / "plant"
        remote = {'kind = "tank"\neffect = 0.05  ': f'kind = "remote"\nsocket = "{socket}"  '}
        project, out = write_project(folder / "line", f"demo-{how}", quick | remote), folder / "run"
        with _plant(plant_project, socket, how, seed) as plant:
            command = [sys.executable, "-m", "jayul", "run", str(project), "--out", str(out), "--seed", str(seed)]
            loop = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - our own command
            held = _wait_for(plant, "held")
            loop.send_signal(signal.SIGKILL)
            loop.communicate()
            if not held:
                return Finding(broken, False, N_("the plant was never asked to write"), {})
            result = execute(project, out, Options(seed=seed))
    receipts = [r for outcome in result.closed for r in outcome.receipts]
    sound = replay(out, full=True).differing == 0 and check(out, (), None).ok
    fell = next((s for s in result.summary.levels if s.reason == "outcome-unknown"), None)
    found = sound and [r.state for r in receipts] == [BECAME[how]] and (fell is not None) == (how == "blind")
    what = N_("the next start read back tick {tick}: {state}")
    params = {"tick": str(result.closed[0].tick) if result.closed else "-", "state": receipts[0].state if receipts else "-"}
    if fell:
        what = N_("the next start read back tick {tick}: {state}; demoted to {level}")
        params["level"] = fell.after
    return Finding(broken, found, what, params)


@contextmanager
def _plant(project: Path, socket: Path, how: How, seed: int) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "jayul.conform.plant",
        "--project",
        str(project),
        "--socket",
        str(socket),
        "--seed",
        str(seed),
    ]
    process = subprocess.Popen([*command, "--hold", "5", "--how", how], stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        _wait_for(process, "ready")
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_for(process: subprocess.Popen[str], word: str) -> bool:
    assert process.stdout is not None
    return any(line.strip() == word for line in iter(process.stdout.readline, ""))


def flipped_byte(out: Path, work: Path) -> Finding:
    """Flip one bit in the middle of a copy of the journal."""
    copy = _copy(out, work / "flipped")
    place = tamper.places(copy / "journal")[1000]
    tamper.flip(copy / "journal" / place.segment, (place.start + place.end) // 2, 3)
    report = check(copy, (), None)
    what = N_("verify names tick {tick}, where it was")
    return Finding(N_("one bit of the journal is flipped"), report.bad_tick == place.tick, what, {"tick": str(report.bad_tick)})


def cut_tail(out: Path, work: Path, head: str) -> Finding:
    """Cut the last records off a copy, signed heads and summary included, and hold it against the head that was printed."""
    copy = _copy(out, work / "cut")
    keep = tamper.places(copy / "journal")[-101]
    tamper.cut_tail(copy / "journal" / keep.segment, keep.end)
    (copy / "journal" / "heads").unlink()
    (copy / "summary.json").unlink()
    with_head, without = check(copy, (head,), None), check(copy, (), None)
    found = not with_head.ok and without.ok and without.vouched_tick < without.ticks - 1
    what = N_(
        "found with the head that the run printed: {what} is the first that is gone; without any head, vouched for: nothing"
    )
    return Finding(N_("the tail is cut off, signed heads and summary too"), found, what, {"what": f"tick {with_head.bad_tick}"})


def _copy(out: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(out, to, ignore=shutil.ignore_patterns("history", "lock"))
    return to


def tank(work: Path, seed: int, show: Callable[[Finding], None] = lambda finding: None) -> tuple[Result, list[Finding]]:
    """Run every demonstration in a folder. Returns the unbroken part's result and the findings."""
    found: list[Finding] = []

    def note(finding: Finding) -> Finding:
        found.append(finding)
        show(finding)
        return finding

    project, out = frozen_line(work)
    approval, result = replayed_approval(project, out, seed)
    note(frozen_sensor(out))
    note(approval)
    for how in BECAME:
        note(killed_between(work / "kill", how, seed))
    note(flipped_byte(out, work))
    note(cut_tail(out, work, result.summary.head))
    return result, found
