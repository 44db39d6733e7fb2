"""A proof inside a run: what the monitor hands in, what the ladder makes of it, and that nobody else can hand it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from jayul.core.types import Event, Level
from jayul.project import monitor
from jayul.project.look import replay
from jayul.project.proof import conclude, measure
from jayul.project.run import Options, Result, execute, ticks_of
from jayul.record.files import OsFiles
from jayul.record.inbox import SqliteInbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "tank" / "jayul.toml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example, its blocks cut down to eight pairs."""
    folder = tmp_path / "project"
    folder.mkdir()
    text = EXAMPLE.read_text(encoding="utf-8").replace("pairs = 12", "pairs = 8").replace('"84 h"', '"60 h"')
    (folder / "jayul.toml").write_text(text, encoding="utf-8")
    return folder


def run(project: Path, out: Path, **options) -> Result:
    return conclude(execute(project, out, Options(history=False, **options)), project)


def heard(out: Path) -> list:
    return [h for tick in ticks_of(OsFiles(out / "journal")) for h in tick.decision.events if h.event.by == monitor.NAME]


def test_a_saving_is_proven_handed_in_and_leads_to_auto_once_signed(project: Path, tmp_path: Path) -> None:
    done = run(project, tmp_path / "out").summary
    assert done.proof is not None
    assert done.benefit is not None
    assert (done.proof.conclusion, done.level_now, done.breaches) == ("proven", {"preheat": "auto"}, 0)
    (said,) = heard(tmp_path / "out")
    assert (said.event.kind, said.event.body["passed"], said.refused) == ("evidence", True, "")
    found = measure(tmp_path / "out")
    assert done.benefit["value"] == found.benefit[0]
    first = next(look.pairs for look in found.looks if look.e_benefit >= 40)
    assert said.event.body["pairs"] == first, "it is handed in as soon as a pair shows it"
    for full in (False, True):
        assert replay(tmp_path / "out", full=full).differing == 0


def test_what_was_handed_in_does_not_depend_on_interruptions(project: Path, tmp_path: Path) -> None:
    whole = run(project, tmp_path / "whole").summary
    over = 58 * 60  # the tick after the last block
    for ticks in (700, over - 1, over, over + 1, over + 2):
        run(project, tmp_path / "parts", ticks=ticks)
    assert run(project, tmp_path / "parts").summary.head == whole.head


def test_harm_is_called_worse_and_demotes_and_the_line_goes_back(project: Path, tmp_path: Path) -> None:
    path = project / "jayul.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("effect = 0.05 ", "effect = -0.08 "), encoding="utf-8")
    done = run(project, tmp_path / "out").summary
    assert done.proof is not None
    assert done.proof.conclusion == "worse"
    assert (done.levels[-1].reason, done.levels[-1].after) == ("evidence-against", "shadow")
    assert "evidence proven" in done.missing["preheat"]  # every gate is closed until it is shown otherwise
    *_, last = ticks_of(OsFiles(tmp_path / "out" / "journal"))
    assert last.decision.levels == (Level.SHADOW,)
    assert not last.decision.writes
    assert done.tags["TIC1.SP"].applied > 0
    assert replay(tmp_path / "out", full=True).differing == 0


def test_no_effect_is_a_note_that_leaves_the_level_alone(project: Path, tmp_path: Path) -> None:
    path = project / "jayul.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("effect = 0.05 ", "effect = 0.0 "), encoding="utf-8")
    done = run(project, tmp_path / "out").summary
    assert done.proof is not None
    assert done.proof.conclusion == "not proven"
    (said,) = heard(tmp_path / "out")
    assert (said.event.kind, said.event.body["conclusion"], said.refused) == ("note", "not proven", "")
    assert done.level_now == {"preheat": "confirm"}


def test_nobody_can_speak_for_the_monitor(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(project, out, ticks=300)
    inbox = SqliteInbox(out / "state.db")
    inbox.put(Event("evidence", monitor.NAME, 0, {"policy": "preheat", "name": "proven", "passed": True}, monitor.ID))
    inbox.close()
    done = run(project, out, ticks=400).summary
    assert done.events_refused == {"not-authorised": 1}
    assert "evidence proven" in done.missing["preheat"]


def test_a_forged_conclusion_does_not_silence_the_monitor(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(project, out, ticks=300)
    inbox = SqliteInbox(out / "state.db")
    inbox.put(Event("note", monitor.NAME, 0, {"policy": "preheat", "conclusion": "proven"}, f"{monitor.ID}-7"))
    inbox.close()
    run(project, out)
    assert [h.event.kind for h in heard(out)] == ["note", "evidence"]
