"""Before and after: what is found, what the gates catch, and that it is never called proven."""

from __future__ import annotations

import csv
import datetime as dt
import math
from pathlib import Path

import numpy as np
import pytest

from jayul.app import report, texts
from jayul.project.baseline import measure_baseline
from jayul.project.manifest import load
from jayul.project.problem import ManifestError
from jayul.project.run import Options, execute
from jayul.project.wire import wire
from jayul.prove.baseline import Baseline, BaselinePlan, Exclusion, judge_baseline
from jayul.prove.effect import Row

HOUR = 3_600_000_000_000
DAY = 24 * HOUR


def plan(change: int = 300, **more) -> BaselinePlan:
    return BaselinePlan("kpi", "kW", change * DAY, DAY, ("made", "warm"), **more)


def year(
    days: int = 365, change: int = 300, saves: float = 0.0, *, seed: int = 0, noise: float = 3.0, jump: float = 0.0
) -> list[Row]:
    """Rows every six hours: the KPI follows what is made and the weather; `jump`: production rises by so much at the change."""
    chance, rows, drift = np.random.default_rng(seed), [], 0.0
    for i in range(days * 4):
        day = i / 4
        drift = 0.9 * drift + chance.standard_normal()
        made = 50 + 10 * math.sin(day / 7 * 2 * math.pi) + 3 * chance.standard_normal() + jump * (day >= change)
        warm = 12 + 10 * math.sin(day / 365 * 2 * math.pi) + 2 * chance.standard_normal()
        kpi = (100 + 2.0 * made - 1.5 * warm + noise * drift) * (1 - saves * (day >= change))
        rows.append(Row(int(day * 24) * HOUR, {"kpi": kpi, "made": made, "warm": warm}))
    return rows


def found(rows: list[Row], **more) -> Baseline:
    return judge_baseline(plan(**more), rows)


def test_a_saving_is_found_and_its_interval_holds_it() -> None:
    b = found(year(saves=0.08))
    assert b.supported, b.reasons
    assert b.percent[1] < 8.0 < b.percent[2]
    assert b.r2 > 0.8
    assert (b.conclusion, b.reasons) == ("not proven", ("without a coin it is not known what else changed",))
    assert b.weights["made"] > 0 > b.weights["warm"]


def test_without_a_saving_it_is_hardly_ever_supported() -> None:
    assert sum(found(year(seed=seed)).supported for seed in range(40)) <= 6


def test_more_production_is_no_waste_and_less_is_no_saving() -> None:
    for jump in (-6.0, 6.0):
        assert abs(found(year(jump=jump)).percent[0]) < 3.0


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (year(jump=60.0), "of the time after lies within the drivers seen before"),
        (year(noise=60.0, saves=0.08), "CV RMSE"),
        (year(saves=-0.05), "nothing was saved"),
        (year(change=80, days=180, saves=0.08), "too short to try placebos"),
    ],
)
def test_a_gate_that_is_not_passed_is_named(rows: list[Row], reason: str) -> None:
    b = found(rows, change=80 if "short" in reason else 300)
    assert not b.supported
    assert any(reason in text for text in b.reasons), b.reasons


def test_too_little_data_is_void() -> None:
    assert found(year(days=310, change=300), change=20).conclusion == "void"
    assert found(year(days=300)).conclusion == "void"


def test_a_shutdown_that_a_person_took_out_does_no_harm() -> None:
    rows = [Row(r.at, r.values | ({"kpi": 400.0} if 320 <= r.at / DAY < 330 else {})) for r in year(saves=0.08)]
    assert abs(found(rows).percent[0] - 8.0) > 5.0
    out = (Exclusion(320 * DAY, 330 * DAY, "Kim", "line stood still"),)
    assert found(rows, exclude=out).percent[0] == pytest.approx(8.0, abs=2.0)


def test_holes_are_left_out_and_not_filled() -> None:
    rows = [Row(r.at, r.values | ({"warm": math.nan} if 100 <= r.at / DAY < 140 else {})) for r in year(saves=0.08)]
    assert found(rows).before == 260


MANIFEST = """
[project]
name = "boiler"
[run]
period = "6 h"
duration = "400 d"
[plant]
kind = "files"
path = "year.csv"
time = "time"
tag = [{{ name = "gas", unit = "kW", stale_after = 30000 }}, {{ name = "made", unit = "t", stale_after = 30000 }},
       {{ name = "warm", unit = "degC", stale_after = 30000 }}]
[kpi]
name = "gas"
unit = "kW"
formula = "gas"
[baseline]
change = 2018-10-28T00:00:00Z
drivers = [{drivers}]
{more}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    begin = dt.datetime(2018, 1, 1, tzinfo=dt.UTC)
    with (tmp_path / "year.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["time", "gas", "made", "warm"])
        for row in year(saves=0.08):
            stamp = (begin + dt.timedelta(hours=row.at / HOUR)).strftime("%Y-%m-%d %H:%M:%S")
            out.writerow([stamp, *(round(row.values[key], 3) for key in ("kpi", "made", "warm"))])
    (tmp_path / "jayul.toml").write_text(MANIFEST.format(drivers='"made", "warm"', more=""), encoding="utf-8")
    return tmp_path


def test_a_recording_is_compared_from_its_journal(project: Path) -> None:
    execute(project, project / "out", Options(history=False))
    b = measure_baseline(project / "out")
    assert b.supported, b.reasons
    assert b.percent[0] == pytest.approx(8.0, abs=2.0)
    assert (b.before, b.after) == (300, 65)


@pytest.mark.parametrize(
    ("drivers", "more", "text"),
    [
        ("", "", "names no tag"),
        ('"made", "wind"', "", "unknown tag 'wind'"),
        ('"made"', "confidence = 2.0", "must lie between 0.5 and 1"),
        ('"made"', 'mean = "often"', "duration 'often'"),
        (
            '"made"',
            '[[baseline.exclude]]\nfrom = 2018-02-02T00:00:00Z\nto = 2018-02-01T00:00:00Z\nby = "Kim"\nwhy = "x"',
            "must lie after",
        ),
        (
            '"made"',
            '[[baseline.exclude]]\nfrom = 2018-02-01T00:00:00Z\nto = 2018-02-02T00:00:00Z\nby = ""\nwhy = "x"',
            "who took it out",
        ),
    ],
)
def test_a_baseline_that_makes_no_sense_gets_one_line(drivers: str, more: str, text: str, project: Path) -> None:
    (project / "jayul.toml").write_text(MANIFEST.format(drivers=drivers, more=more), encoding="utf-8")
    with pytest.raises(ManifestError, match=text):
        wire(load(project), project, 0)


@pytest.mark.parametrize(("language", "words"), [("en", "Before and after the change"), ("ko", "변경 전과 후")])
def test_the_report_shows_it(language: str, words: str, project: Path) -> None:
    execute(project, project / "out", Options(history=False))
    texts.setup(language)
    page = report.render(project / "out", language)
    texts.setup("en")
    assert words in page
    assert f"{measure_baseline(project / 'out').percent[0]:.2f} %" in page
