"""What a stranger tried: paths that change, clocks that went back, gateways that are still there, links that would write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_kit import Site
from msgspec.structs import replace
from stage import command, jayul, played, running, tables, ticks

from jayul.conform.crash import make_project
from jayul.core.clock import today
from jayul.core.types import SECOND, Tag
from jayul.gateway.envelope import Envelope
from jayul.plant.errors import Refused
from jayul.project import gates, links
from jayul.project.manifest import load
from jayul.project.problem import ManifestError
from jayul.project.wire import wire

HOLD = (
    "import fcntl,sys,time; f=open(sys.argv[1],'ab'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); time.sleep(1.5)"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "line", 2000.0, "tick")
    tables(folder)
    return folder


def put_plant(project: Path, section: str) -> None:
    """Write another [plant] into a manifest."""
    head, _, rest = (project / "jayul.toml").read_text().partition("[plant]")
    (project / "jayul.toml").write_text(f"{head}[plant]\n{section}\n\n[{rest.partition(chr(10) + '[')[2]}")


def gateways(folder: Path) -> list[int]:
    """Return the processes whose command line names this folder as that of a gateway."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "jayul.gateway.process" in text and f"--dir {folder}/" in text:
            found.append(int(path.parent.name))
    return found


def sockets_of(log: Path) -> list[Path]:
    """Return the folders in which the gateways of a run had their sockets."""
    return [Path(line.split()[1]).parent for line in log.read_text().splitlines() if line.startswith("ready")]


def test_a_link_that_could_write_by_itself_is_refused(project: Path):
    put_plant(project, 'kind = "modbus"\nurl = "modbus://127.0.0.1:1"\ntags = "tags.modbus.csv"\nwrite = ["TIC1.SP"]')
    with pytest.raises(ManifestError, match="the gateway alone may write"):
        wire(load(project), project, 0)


def test_a_connector_that_is_half_a_link_is_refused(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = tmp_path / "site"
    (info := site / "half-0.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[jayul.plants]\nhalf = half_a_link:half\n")
    (site / "half_a_link.py").write_text(
        "from jayul.plant.link import LinkConfig\nfrom jayul.plant.sim.tank import TankConfig, tank\n"
        "class HalfConfig(LinkConfig, frozen=True, kw_only=True):\n    pass\n"
        "def half(config: HalfConfig, clock):\n    return tank(TankConfig(), clock)\n"
    )
    monkeypatch.syspath_prepend(str(site))
    put_plant(project, 'kind = "half"\nurl = "half://x"\ntags = "tags.modbus.csv"')
    with pytest.raises(ManifestError, match="half a link"):
        wire(load(project), project, 0)


def test_a_run_goes_on_wherever_it_is_called_from_and_not_at_an_earlier_time(project: Path):
    out = project.parent / "run"
    with played(project, "modbus", 60) as (_, url):
        same = ("--plant", url, "--speed", 60, "--out", out, "--ticks")
        here = os.path.relpath(project)
        assert jayul("run", here, *same, 6)["ticks"] == 6
        assert jayul("run", project, *same, 16)["ticks"] == 16
        assert not gateways(out)
        assert not [place for place in sockets_of(out / "gateway" / "log") if place.exists()]
    assert (out / "gateway").stat().st_mode & 0o077 == 0, "its own state is nobody else's"
    envelope = (out / "gateway" / "envelope.json").read_text()
    assert "tags.modbus.csv" not in envelope
    with played(project, "modbus", 60, at=url.rpartition(":")[2]):  # plant time begins anew, eight minutes earlier
        said = jayul("run", project, *same, 20, check=2, timeout=30)
    assert "before the last tick here" in said["error"]


def test_a_table_that_was_changed_where_no_policy_looks_is_told_and_the_first_envelope_kept(project: Path):
    out, table = project.parent / "run", project / "tags.modbus.csv"
    with played(project, "modbus", 60) as (_, url):
        same = ("--plant", url, "--speed", 60, "--out", out, "--ticks")
        jayul("run", project, *same, 2)
        pinned = (out / "gateway" / "envelope.json").read_bytes()
        rows = table.read_text().splitlines()
        table.write_text("\n".join([*rows, rows[1].replace("TIC1.PV", "ANOTHER")]) + "\n")
        said = jayul("run", project, *same, 4, check=2)
    assert "not the one that this run began with" in said["error"]
    assert (out / "gateway" / "envelope.json").read_bytes() == pinned, "it is what a change is signed from"


def test_after_a_kill_the_next_run_waits_until_its_old_gateway_has_let_go(project: Path):
    out = project.parent / "run"
    with played(project, "modbus", 1) as (_, url):  # a period is 30 s: the gateway looks every 4
        same = (project, "--plant", url, "--speed", 1, "--out", out)
        with running(*same) as (process, told):
            next(ticks(told))
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert gateways(out), "this is what it has to wait for"
        assert jayul("run", *same, "--ticks", 1, timeout=60)["ticks"] == 1
    assert not gateways(out)
    left = [place for place in sockets_of(out / "gateway" / "log") if place.exists()]
    assert not left, "folders of sockets are left behind"


def test_a_folder_that_is_held_is_waited_for(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    gates._let_go(tmp_path)
    assert holder.wait(1) == 0, "it came back before the other one was gone"
    holder.stdout.close()


def test_a_gateway_whose_brain_died_while_it_began_ends(tmp_path: Path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    site = Site(tmp_path)
    try:
        site.plant()
        (tmp_path / "short").mkdir()
        site.socket = tmp_path / "short" / "gw"
        process = site.gateway("--once", str(gone.pid))
        assert process.wait(20) == 0
    finally:
        site.close()
    assert not site.socket.parent.exists()


def test_credentials_are_those_of_each_side(project: Path):
    """The manifest's are the brain's; an envelope that held them could not be given others."""
    (project / "secret").write_text("word")
    link = links.with_plant(load(project), project, links.Link("mqtt://127.0.0.1:1883"))
    options = {**link.plant.options, "user": "reader", "password_file": "secret", "client_id": "brain"}
    manifest = replace(link, plant=replace(link.plant, options=options), people=replace(link.people, simulated=False))
    wired = wire(manifest, project, 0)
    envelope = gates.envelope_of(wired, project, "00" * 32)
    assert envelope.options == {key: envelope.options[key] for key in ("url", "speed", "watchdog")}
    for word in (b"reader", b"secret", b"brain", str(project).encode()):
        assert word not in envelope.canonical()


def test_a_taken_port_is_told(project: Path):
    with played(project, "modbus", 60) as (_, url):
        taken = command("simulate", project, "--modbus", url.rpartition(":")[2])
        done = subprocess.run(taken, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plant_that_is_played_as_fast_as_the_time_of_day_shows_the_time_of_day(project: Path):
    _, clock, declared = links.on_show(load(project), 0, 1.0)
    assert abs(clock.now() - today()) < 10 * SECOND
    assert declared.plant_ns == declared.wall_ns
    assert links.on_show(load(project), 0, 60.0)[2].plant_ns < declared.plant_ns, "faster, it begins where the manifest says"


def test_a_watchdog_that_would_move_the_plant_is_refused():
    tags = (Tag(name="SP", kind="set-point", address="a"), Tag(name="WATCHDOG", address="b"))
    good = Envelope(
        project="p", run="", plant="modbus", options={}, tags=tags, loops={}, writers={}, rules=(), fallback={}, period=1,
        watchdog="WATCHDOG",
    )  # fmt: skip
    good.check()
    with pytest.raises(Refused, match="'SP' moves the plant"):
        replace(good, watchdog="SP").check()
