"""The examples from the command line: on data made here with the columns of the real files, and on the real ones where they are."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jayul.core.types import TagTable
from jayul.project.look import header_of, replay
from jayul.project.run import Options, execute
from jayul.record.files import OsFiles

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHARED = Path(os.environ.get("JAYUL_SHARED", ROOT.parent / "shared")) / "data"
SKAB = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)


def jayul(*arguments: object, check: int = 0, data: Path | None = None) -> tuple[dict, str]:
    """Run the command without JAYUL_DATA, or with it; return the object on its last line, and what it said."""
    environment = {key: value for key, value in os.environ.items() if key != "JAYUL_DATA"}
    environment |= {"JAYUL_DATA": str(data)} if data else {}
    command = [sys.executable, "-W", "error", "-m", "jayul", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == check, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiments of 700 s with the columns of SKAB; in each the flow falls at 550 s, as the label says."""
    folder, chance = tmp_path_factory.mktemp("skab"), np.random.default_rng(3)
    (folder / "data" / "valve1").mkdir(parents=True)
    for number in (0, 1):
        begin = dt.datetime.fromisoformat("2020-03-09 10:00:00") + number * dt.timedelta(seconds=700)
        with (folder / "data" / "valve1" / f"{number}.csv").open("w", newline="") as file:
            out = csv.writer(file, delimiter=";")
            out.writerow(["datetime", *SKAB, "anomaly", "changepoint"])
            for second in range(700):
                values = 10 + chance.standard_normal(len(SKAB))
                closing = second >= 550
                values[-1] -= 8 * closing
                out.writerow([begin + dt.timedelta(seconds=second), *values.round(4), float(closing), float(second == 550)])
    return folder


def test_without_its_data_an_example_says_so_in_one_line() -> None:
    for name in ("skab", "steel"):
        said, text = jayul("run", EXAMPLES / name, check=2)
        assert "--data" in said["error"]
        assert "JAYUL_DATA" in said["error"]
        assert len(text.splitlines()) == 2  # the line, and the object
        said, _ = jayul("run", EXAMPLES / name, "--data", "/nowhere", check=2)
        assert "no such folder" in said["error"]


def test_a_recording_leads_to_advice_and_no_further(rig: Path, tmp_path: Path) -> None:
    done, text = jayul("run", EXAMPLES / "skab", "--data", rig, "--out", tmp_path / "out")
    assert done["recorded"]
    assert done["signatures_simulated"]
    assert "may only advise" in text
    assert done["level_now"] == {"stop and look": "advise"}
    assert [step["after"] for step in done["levels"]] == ["shadow", "advise"]
    row = done["tags"]["PUMP.RUN"]
    assert row["asked"] == row["allowed"] > 100
    assert row["sent"] == row["applied"] == 0
    (found,) = done["findings"]
    assert found["episodes"] >= 2
    assert all(
        episode["top"][0] == "Volume Flow RateRMS" for episode in sorted(found["longest"], key=lambda e: -e["minutes"])[:2]
    )
    assert len(done["models"]["pca"]["fits"]) == 2
    assert all((tmp_path / "out" / "reports" / f"report.{language}.html").stat().st_size > 4000 for language in ("en", "ko"))
    for full in (False, True):
        assert replay(tmp_path / "out", full=full).differing == 0


def test_labels_are_nowhere_in_the_run(rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAYUL_DATA", str(rig))
    execute(EXAMPLES / "skab", tmp_path / "out", Options(ticks=20))
    names = TagTable(header_of(tmp_path / "out", OsFiles(tmp_path / "out" / "journal")).tags).names
    assert not {"anomaly", "changepoint"} & set(names)
    history = pq.read_table(tmp_path / "out" / "history")
    assert set(history["tag"].to_pylist()) >= {"Pressure", "EXPERIMENT"}
    assert not {"anomaly", "changepoint"} & set(history["tag"].to_pylist())


def test_an_interrupted_recording_finds_the_same(rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAYUL_DATA", str(rig))
    whole = execute(EXAMPLES / "skab", tmp_path / "whole", Options(history=False)).summary
    for ticks in (300, 580, 1000):
        execute(EXAMPLES / "skab", tmp_path / "parts", Options(history=False, ticks=ticks))
    parts = execute(EXAMPLES / "skab", tmp_path / "parts", Options(history=False)).summary
    assert parts.head == whole.head
    assert parts.findings == whole.findings
    assert parts.models == whole.models
    assert parts.kpi == whole.kpi


@pytest.mark.skipif(not (SHARED / "skab").is_dir(), reason="the SKAB data is not here")
def test_skab_on_the_real_data(tmp_path: Path) -> None:
    done, _ = jayul("run", EXAMPLES / "skab", "--out", tmp_path / "out", data=SHARED / "skab")
    assert done["complete"]
    assert len(done["models"]["pca"]["fits"]) == 16
    assert done["level_now"] == {"stop and look": "advise"}
    assert done["tags"]["PUMP.RUN"]["sent"] == 0
    leak, _ = jayul("run", EXAMPLES / "skab" / "leak.toml", "--out", tmp_path / "leak", data=SHARED / "skab")
    assert leak["complete"]
    assert len(leak["models"]["pca"]["fits"]) == 4


@pytest.mark.skipif(not (SHARED / "steel-energy").is_dir(), reason="the steel data is not here")
def test_steel_on_the_real_data(tmp_path: Path) -> None:
    arguments = ("--out", tmp_path / "out", "--data", SHARED / "steel-energy", "--ticks", 9000)
    done, text = jayul("run", EXAMPLES / "steel", *arguments)
    assert done["ticks"] == 9000
    assert {found["tag"] for found in done["findings"]} >= {"peak.alarm", "low power factor.alarm"}
    for name in ("day", "hour"):
        measured = done["models"][name]["measured"]
        assert measured["rows"] > 3000
        assert measured["ratio"] < 1
    assert "seasonal naive" in text


def test_one_percent_shows_beside_a_twin_and_not_without(tmp_path: Path) -> None:
    said, text = jayul("run", EXAMPLES / "tank" / "twin.toml", "--out", tmp_path / "twin")
    assert said["proof"]["conclusion"] == "proven", text
    assert said["benefit"]["low"] < 1.0 < said["benefit"]["high"]
    assert said["breaches"] == 0
    plain = tmp_path / "jayul.toml"
    plain.write_text(
        (EXAMPLES / "tank" / "twin.toml").read_text(encoding="utf-8").replace('twin = "twin"', ""), encoding="utf-8"
    )
    said, _ = jayul("run", plain, "--out", tmp_path / "plain")
    assert said["proof"]["conclusion"] == "not proven"
    assert said["proof"]["more_hours"] is None or said["proof"]["more_hours"] > 100
