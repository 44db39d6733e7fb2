"""Whole runs over real protocols: plant, gateway and brain in three processes; journals that replay without a difference.

JAYUL_LONG=1 runs the projects to the end of their proof: about ten minutes for each protocol.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from stage import PROTOCOLS, broker, command, jayul, played, running, tables, ticks

from jayul.conform.crash import make_project
from jayul.core.types import SECOND, Frame, Level, TagTable
from jayul.plant.link import Simulated
from jayul.project.run import read_header, ticks_of
from jayul.record.files import OsFiles

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = bool(os.environ.get("JAYUL_LONG"))


def show(stack: ExitStack, project: Path, protocol: str, speed: float, folder: Path) -> str:
    """Play a project on a protocol, with a broker where it takes one; return the plant's URL."""
    at: object = 0
    if protocol == "mqtt":
        if not shutil.which("mosquitto"):
            if os.environ.get("JAYUL_NO_SKIP"):
                pytest.fail("mosquitto is not installed")
            pytest.skip("mosquitto is not installed")
        at = stack.enter_context(broker(folder))
    return stack.enter_context(played(project, protocol, speed, at=at))[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_policy_climbs_and_moves_set_points_through_the_gateway(tmp_path: Path, protocol: str) -> None:
    project = make_project(tmp_path / "line", 2.0, "group")
    tables(project)
    with ExitStack() as stack:
        url = show(stack, project, protocol, 300, tmp_path)
        done = jayul("run", project, "--plant", url, "--speed", 300, "--out", tmp_path / "run")
    assert done["complete"]
    assert done["plant"] == protocol
    assert done["breaches"] == 0
    assert [step["after"] for step in done["levels"]][:3] == ["shadow", "advise", "confirm"], done["levels"]
    assert done["tags"]["TIC1.SP"]["applied"] > 10
    assert done["link"]["received"] > 1000
    assert done["link"]["missing"] == []
    assert done["link"]["gateway_head"]
    chain = [sys.executable, "-m", "jayul.gateway.process", "--verify", tmp_path / "run" / "gateway"]
    assert "vouched for" in subprocess.run(chain, capture_output=True, text=True, check=True).stdout
    for full in ([], ["--full"]):
        assert jayul("replay", tmp_path / "run", *full)["differing"] == 0
    assert jayul("verify", tmp_path / "run")["ok"]
    again = jayul("run", project, "--plant", url, "--speed", 300, "--out", tmp_path / "run")
    assert again["head"] == done["head"], "what is over needs no plant"


@pytest.mark.skipif(not LONG, reason="ten minutes for each protocol: JAYUL_LONG=1")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_tank_is_proven_and_climbs_to_auto(tmp_path: Path, protocol: str) -> None:
    with ExitStack() as stack:
        url = show(stack, EXAMPLES / "tank", protocol, 600, tmp_path)
        done = jayul("run", EXAMPLES / "tank", "--plant", url, "--speed", 600, "--out", tmp_path / "run", timeout=1200)
    print(protocol, {key: done[key] for key in ("ticks", "levels", "level_now", "benefit", "coverage", "wall_seconds")})
    assert done["benefit"]["conclusion"] == "proven"
    assert set(done["level_now"].values()) == {"auto"}
    for full in ([], ["--full"]):
        assert jayul("replay", tmp_path / "run", *full)["differing"] == 0


@pytest.mark.skipif(not LONG, reason="some minutes: JAYUL_LONG=1")
def test_a_day_of_tennessee_eastman_over_opc_ua(tmp_path: Path) -> None:
    pytest.importorskip("tep_studio")
    jayul("init", "tennessee-eastman", project := tmp_path / "te")
    text = (project / "jayul.toml").read_text()
    with ExitStack() as stack:
        url = show(stack, project, "opcua", 600, tmp_path)
        jayul("browse", url, "--out", tmp_path / "browsed.csv")
        tables(project)
        done = jayul("run", project, "--plant", url, "--speed", 600, "--out", tmp_path / "run", "--ticks", 480, timeout=600)
    assert "tennessee_eastman" in text
    assert done["plant_hours"] >= 23.9
    assert done["coverage"] > 0.99
    for full in ([], ["--full"]):
        assert jayul("replay", tmp_path / "run", *full)["differing"] == 0


def test_the_server_is_killed_and_comes_back_and_the_run_goes_on(tmp_path: Path) -> None:
    """Kill -9 of plant and server at random moments; JAYUL_LONG: twenty times."""
    project, out, chance = make_project(tmp_path / "line", 2000.0, "group"), tmp_path / "run", random.Random(7)
    tables(project)
    keep = ("--clock", tmp_path / "clock", "--operator", "1 min")
    kills, back = 20 if LONG else 2, []
    with ExitStack() as stack:
        process, url = stack.enter_context(played(project, "opcua", 60, *keep))
        port, declared = url.rpartition(":")[2], Simulated.decode((tmp_path / "clock").read_bytes())
        assert declared is not None
        run, told = stack.enter_context(running(project, "--plant", url, "--speed", 60, "--out", out))
        seen = ticks(told)
        for _ in range(30):
            next(seen)
        for _ in range(kills):
            process.kill()
            process.wait()
            for _ in range(chance.randrange(4, 20)):  # ticks go on without a plant: half a second each
                last = next(seen)
            process, _ = stack.enter_context(played(project, "opcua", 60, *keep, at=port))
            back.append((last, declared.clock(0).now()))
            for _ in range(chance.randrange(20, 40)):
                next(seen)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 0, run.stdout.read() if run.stdout else ""
    decisions = {tick.decision.tick: tick.decision for tick in ticks_of(OsFiles(out / "journal", create=False))}
    header = read_header(OsFiles(out / "journal", create=False))
    assert header is not None
    table = TagTable(header.tags)
    frames = {n: Frame.from_columns(d.at, table, d.columns) for n, d in decisions.items()}
    for last, returned in back:
        assert not frames[last].fresh("TIC1.PV"), f"tick {last}: fresh, though nobody was there"
        again = next(n for n in sorted(frames) if n > last and frames[n].fresh("TIC1.PV"))
        late = (frames[again].at - returned) / 60 / SECOND - 0.5  # of the wall clock, without the tick's own half second
        assert late <= 5.0, f"data came back {late:.1f} s after the server"
        assert decisions[last].levels[0] <= Level.ADVISE, "without inputs nothing stays above advise"
        assert not decisions[last].writes
    for full in ([], ["--full"]):
        assert jayul("replay", out, *full)["differing"] == 0


def test_a_broker_that_is_not_there_is_told(tmp_path: Path) -> None:
    project = make_project(tmp_path / "line", 2.0, "group")
    process = subprocess.Popen(command("simulate", project, "--mqtt", "127.0.0.1:1"), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "no broker answers at 127.0.0.1:1 yet" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
