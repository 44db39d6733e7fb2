"""A run accounts for every sample: the same counts and the same alarms, however often it is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from jayul.core.types import Decision, Event
from jayul.project.run import Options, Result, execute
from jayul.record.files import OsFiles
from jayul.record.history import Reader
from jayul.record.journal import Scan

CONTRACT = """
[contract]
least = {least}

[contract.tag."TIC1.PV"]
rate = "30 s"
low = 0.0
high = 150.0

[contract.tag."FI2.PV"]
rate = "10 s"              # the plant is read every 30 s: two of three are missing, and nobody says why
missing = 0.5
"""


@pytest.fixture
def with_contract(small_project: Path) -> Path:
    path = small_project / "jayul.toml"
    path.write_text(path.read_text(encoding="utf-8") + CONTRACT.format(least=0.9), encoding="utf-8")
    return small_project


def notes(out: Path) -> list[tuple[int, Event]]:
    return [
        (entry.tick, heard.event)
        for _, entry in Scan(OsFiles(out / "journal", create=False))
        if isinstance(entry, Decision)
        for heard in entry.events
        if heard.event.by == "ledger"
    ]


def test_what_is_missing_has_an_owner_and_rings(with_contract: Path, tmp_path: Path) -> None:
    done: Result = execute(with_contract, tmp_path / "out", Options(seed=3))
    kept = done.summary.kept
    assert kept is not None
    assert kept.unexplained == 0
    assert kept.received == kept.stored == Reader(tmp_path / "out" / "history").samples().num_rows
    assert kept.missing == {"silent": kept.expected // 2}
    assert kept.expected == 4 * (done.summary.ticks - 1), "the slots of the last tick are not over"
    assert kept.coverage == pytest.approx(1 / 3, abs=0.01)
    told = notes(tmp_path / "out")
    assert told, "an hour was over"
    tick, event = told[0]
    assert tick == 128, "told at the first look after the hour, 120 ticks, was over and nothing late was awaited"
    assert event.body["worst"] == [
        {"tag": "FI2.PV", "hour": event.body["worst"][0]["hour"], "coverage": 1 / 3, "owner": "silent"}
    ]


def test_interruptions_change_neither_counts_nor_alarms(with_contract: Path, tmp_path: Path) -> None:
    whole = execute(with_contract, tmp_path / "whole", Options(seed=3)).summary
    for ticks in (1, 63, 64, 100, 125, 130, 191):
        execute(with_contract, tmp_path / "parts", Options(seed=3, ticks=ticks))
    parts = execute(with_contract, tmp_path / "parts", Options(seed=3)).summary
    assert (parts.head, parts.kept) == (whole.head, whole.kept)
    assert notes(tmp_path / "parts") == notes(tmp_path / "whole")
    one, other = (Reader(tmp_path / name / "history") for name in ("whole", "parts"))
    assert one.samples().equals(other.samples())
    assert one.counts().equals(other.counts())


def test_a_kpi_below_the_least_coverage_is_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"2026-01-01T00:{i:02d}:00,{'' if i % 5 == 0 else i}" for i in range(60)]
    (tmp_path / "a.csv").write_text("time,x\n" + "\n".join(rows) + "\n", encoding="utf-8")
    head = '[project]\nname = "k"\n[run]\nperiod = "1 min"\n[plant]\nkind = "files"\npath = "a.csv"\n'
    head += '[kpi]\nname = "x"\nunit = "1"\nformula = "x"\n'
    (tmp_path / "jayul.toml").write_text(head, encoding="utf-8")
    kpi = execute(tmp_path, tmp_path / "free", Options()).summary.kpi
    assert (kpi["coverage"], kpi["mean"]) == (0.8, pytest.approx(30.0, abs=1))
    (tmp_path / "jayul.toml").write_text(head + "[contract]\nleast = 0.9\n", encoding="utf-8")
    kpi = execute(tmp_path, tmp_path / "held", Options()).summary.kpi
    assert (kpi["coverage"], kpi["mean"]) == (0.8, None)
