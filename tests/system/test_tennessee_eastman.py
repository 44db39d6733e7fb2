"""The Tennessee Eastman plant, which nobody here wrote: facts from the literature, conformance, resume."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jayul.conform.breakage import write_project
from jayul.core.clock import Sim
from jayul.core.types import SECOND
from jayul.plant.sim.tennessee_eastman import WRITABLE, Disturbance, EastmanConfig, tennessee_eastman
from jayul.project.look import check, replay
from jayul.project.proof import measure
from jayul.project.run import Options, execute
from jayul.testing import check_plant

if not os.environ.get("JAYUL_NO_SKIP"):
    pytest.importorskip("tep_studio", reason="the extra 'tep' is not installed (no C compiler at set-up)")

HOUR = 3600 * SECOND
START = 1_767_225_600 * SECOND


def hours(config: EastmanConfig, n: int, tag: str, seed: int = 0) -> np.ndarray:
    """Hourly values of a tag."""
    clock = Sim(START, seed)
    plant = tennessee_eastman(config, clock)

    async def drive() -> list[float]:
        found = []
        for hour in range(1, n + 1):
            await clock.until(START + hour * HOUR)
            found.append((await plant.read())[tag])
        return found

    return np.array(asyncio.run(drive()))


def test_the_base_case_costs_what_the_literature_says() -> None:
    cost = hours(EastmanConfig(), 30, "operating_cost")
    assert np.mean(cost[5:]) == pytest.approx(170, abs=4)


def test_it_conforms() -> None:
    check_plant(lambda clock: tennessee_eastman(EastmanConfig(), clock), period=180 * SECOND, ticks=10)


def test_a_disturbance_comes_when_it_is_asked_for() -> None:
    tag = "reactor_cooling_water_valve"
    calm = hours(EastmanConfig(), 8, tag)
    hit = hours(EastmanConfig(disturbance=(Disturbance(4, "4 h", "20 h"),)), 8, tag)
    assert calm[:4] == pytest.approx(hit[:4])
    assert np.mean(hit[4:] - calm[4:]) > 2


def test_after_a_shutdown_every_reading_is_bad_and_writes_are_rejected() -> None:
    clock = Sim(START, 0)
    plant = tennessee_eastman(EastmanConfig(disturbance=(Disturbance(6, "1 h", "30 h"),)), clock)

    async def drive():
        await clock.until(START + 20 * HOUR)
        return await plant.read()

    frame = asyncio.run(drive())
    assert frame["shutdown"] > 0
    assert not any(frame.fresh(tag) for tag in WRITABLE)


def test_an_interrupted_run_ends_at_the_same_head_and_replays(tmp_path: Path) -> None:
    tank = {'kind = "tank"\neffect = 0.05  ': 'kind = "tennessee_eastman"  ', 'duration = "24 h"': 'duration = "3 h"'}
    project = write_project(tmp_path / "p", "x", tank)
    text = (project / "jayul.toml").read_text(encoding="utf-8")
    head = text.split("[kpi]")[0] + '[kpi]\nname = "cost"\nunit = "USD/h"\nformula = "operating_cost"\n'
    (project / "jayul.toml").write_text(head, encoding="utf-8")
    whole = execute(project, tmp_path / "whole", Options(history=False)).summary
    execute(project, tmp_path / "parts", Options(history=False, ticks=100))
    assert execute(project, tmp_path / "parts", Options(history=False)).summary.head == whole.head
    assert replay(tmp_path / "parts", full=True).differing == 0


def test_the_whole_demo_ends_with_a_proof_that_a_sceptic_can_hold_against_its_journal(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "jayul", "demo", "tennessee-eastman", "--seed", "3", "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    s = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert s["breaches"] == 0
    assert s["benefit"]["conclusion"] == s["proof"]["conclusion"] == "proven"
    assert s["kpi"]["active"] <= 0.72 * s["kpi"]["baseline"]
    assert s["production"]["on"] >= 0.99 * s["production"]["off"]
    assert abs(s["quality"]["on"] - s["quality"]["off"]) <= 1
    assert s["limit_minutes"]["on"] <= s["limit_minutes"]["off"]
    assert min(s["blocks"].values()) >= 4
    assert s["fault"]["found_after_min"] is not None
    assert len(s["fault"]["top"]) == 3
    assert s["signatures_simulated"]
    assert [step["after"] for step in s["levels"]][-1] == "auto"
    assert s["models"]["cost"]["measured"]["ratio"] < 0.2
    assert measure(out).benefit == (s["benefit"]["value"], s["benefit"]["low"], s["benefit"]["high"])
    assert check(out, [s["head"]], None).ok
    assert replay(out).differing == 0
    for language in ("en", "ko"):
        page = (out / "reports" / f"report.{language}.html").read_text(encoding="utf-8")
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert page.count("<svg") == 3
