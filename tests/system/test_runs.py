"""Whole runs from the command line, in processes of their own: replay, resume, seeds, people, the demo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jayul.conform.breakage import killed_between
from jayul.conform.crash import make_project
from jayul.core.types import Event
from jayul.plant.sim.people import NAME
from jayul.project.look import replay
from jayul.project.people import new_key
from jayul.project.run import Options, execute, ticks_of
from jayul.record.files import OsFiles
from jayul.record.history import Reader
from jayul.record.inbox import SqliteInbox
from jayul.record.sign import Signer, new_id, signed


def jayul(*arguments: object, check: int = 0, **options) -> dict:
    """Run the command in a process of its own; return the object on its last line."""
    command = [sys.executable, "-W", "error", "-m", "jayul", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == check, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def test_init_run_replay_verify_status(tmp_path: Path) -> None:
    jayul("init", "tank", tmp_path / "my-line")
    out = tmp_path / "out"
    done = jayul("run", tmp_path / "my-line", "--out", out)
    assert done["complete"]
    assert done["ticks"] == 2880
    assert done["signatures_simulated"]
    assert done["breaches"] == 0
    assert [step["after"] for step in done["levels"]] == ["shadow", "advise", "confirm"]
    assert done["tags"]["TIC1.SP"]["applied"] > 100
    for full in ([], ["--full"]):
        found = jayul("replay", out, *full)
        assert found["differing"] == 0
        assert found["ticks"] == 2880
    assert jayul("verify", out)["ok"]
    assert jayul("status", out)["levels"] == {"preheat": "confirm"}
    again = jayul("run", tmp_path / "my-line", "--out", out)
    assert again["head"] == done["head"]
    table = pq.read_table(out / "history")
    assert table.num_rows == 2880 * 28
    assert ["tag", "source_at", "value", "mantissa", "decimals", "status", "known_at"] == table.column_names


def test_same_seed_same_head_other_seed_other_head(small_project: Path, tmp_path: Path) -> None:
    heads = [
        execute(small_project, tmp_path / str(i), Options(seed=seed, history=False)).summary.head
        for i, seed in enumerate((4, 4, 5))
    ]
    assert heads[0] == heads[1] != heads[2]


def test_interrupted_runs_end_at_the_same_head(small_project: Path, tmp_path: Path) -> None:
    whole = execute(small_project, tmp_path / "whole", Options(seed=4)).summary
    for ticks in (1, 7, 50, 51, 120, 239):
        execute(small_project, tmp_path / "parts", Options(seed=4, ticks=ticks))
    parts = execute(small_project, tmp_path / "parts", Options(seed=4)).summary
    assert parts.head == whole.head
    assert parts.tags == whole.tags
    histories = [Reader(tmp_path / name / "history") for name in ("parts", "whole")]
    assert histories[0].samples().equals(histories[1].samples())


def test_several_targets_replay_whatever_their_order_in_the_manifest(small_project: Path, tmp_path: Path) -> None:
    path = small_project / "jayul.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in (
        ('writes = ["TIC1.SP"]', 'writes = ["TIC1.SP", "LIC1.SP"]'),
        ('target = { "TIC1.SP" = 62.0 }', 'target = { "TIC1.SP" = 62.0, "LIC1.SP" = 55.0 }'),
        ('per_hour = { "TIC1.SP" = 30.0 }', 'per_hour = { "TIC1.SP" = 30.0, "LIC1.SP" = 20.0 }'),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    done = execute(small_project, tmp_path / "out", Options(history=False)).summary
    assert done.tags["LIC1.SP"].applied > 10
    assert replay(tmp_path / "out", full=True).differing == 0


def test_a_run_in_which_a_model_failed_replays_without_a_difference(small_project: Path, tmp_path: Path) -> None:
    path = small_project / "jayul.toml"
    more = '[[model]]\nkind = "formula"\nname = "high"\nformula = { high = "mean(JI1.PV * 3e305 + JI1.PV * 3e305, 2 min)" }\n'
    path.write_text(path.read_text(encoding="utf-8").replace("[guard]", more + "[guard]", 1), encoding="utf-8")
    execute(small_project, tmp_path / "out", Options(history=False))
    assert any("high" in tick.decision.failed for tick in ticks_of(OsFiles(tmp_path / "out" / "journal")))
    for full in (False, True):
        assert replay(tmp_path / "out", full=full).differing == 0


def test_ctrl_c_stops_at_the_end_of_a_tick_and_the_same_command_goes_on(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 40.0, "tick")
    read, write = os.pipe()
    command = [
        sys.executable,
        "-m",
        "jayul",
        "run",
        str(project),
        "--out",
        str(tmp_path / "out"),
        "--ack-fd",
        str(write),
        "--json",
    ]
    process = subprocess.Popen(command, pass_fds=(write,), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(write)
    os.read(read, 16)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    os.close(read)
    assert process.returncode == 0, stderr
    stopped = json.loads(stdout.splitlines()[-1])
    assert not stopped["complete"]
    assert jayul("verify", tmp_path / "out")["vouched_tick"] == stopped["ticks"] - 1
    done = jayul("run", project, "--out", tmp_path / "out")
    assert done["complete"]
    assert replay(tmp_path / "out", full=True).differing == 0


def test_verify_on_a_copied_folder_with_the_public_key_alone(small_project: Path, tmp_path: Path) -> None:
    done = execute(small_project, tmp_path / "out", Options(history=False)).summary
    copy = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "out" / "journal", copy / "journal")
    shutil.copy(tmp_path / "out" / "keys" / "run.pub", tmp_path / "pinned.pub")
    environment = {**os.environ, "JAYUL_KEYS": str(tmp_path / "no-keys")}
    found = jayul("verify", copy, "--key", tmp_path / "pinned.pub", "--head", done.head, env=environment)
    assert found["ok"]
    assert found["key_pinned"]
    assert not (tmp_path / "no-keys").exists()
    segment = copy / "journal" / "000001.jnl"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(bytes(data))
    assert jayul("verify", copy, "--key", tmp_path / "pinned.pub", check=1, env=environment)["bad_tick"] is not None


@pytest.mark.parametrize("how", ["apply", "drop", "blind"])
def test_an_open_decision_is_closed_by_reading_the_plant_back(how: str, tmp_path: Path) -> None:
    found = killed_between(tmp_path, how, 3)
    assert found.found, found.what.format(**found.params)


def test_the_demo_finds_everything(tmp_path: Path) -> None:
    found = jayul("demo", "tank", "--out", tmp_path / "demo", "--seed", 1)["found"]
    assert len(found) == 7
    assert all(row["found"] for row in found)
    jayul("demo", "tank", "--out", tmp_path, check=2)


def with_people(project: Path, *, key: str) -> None:
    """Replace simulated people by Kim, who is engineer and operator."""
    path = project / "jayul.toml"
    text = path.read_text(encoding="utf-8")
    person = f'[[people.person]]\nname = "Kim"\nroles = ["engineer", "operator"]\nkey = "{key}"\n'
    lines = [line for line in text.splitlines() if not line.startswith("simulated")]
    path.write_text("\n".join(lines).replace("[people]", person), encoding="utf-8")


def forge(out: Path, level: str, since: int, *, by: str, key: str) -> None:
    """Put a signature into the inbox past the command line, in somebody's name, with somebody's key."""
    event = Event("signature", by, 0, {"policy": "preheat", "level": level, "since": since}, new_id())
    inbox = SqliteInbox(out / "state.db")
    inbox.put(signed(event, Signer.open(f"person-{key}")))
    inbox.close()


def test_a_person_signs_and_approves_and_nobody_else_can(small_project: Path, tmp_path: Path) -> None:
    with_people(small_project, key=new_key("Kim"))
    new_key("Lee")
    out, ticks = tmp_path / "out", 10

    def on(more: int) -> dict:
        nonlocal ticks
        ticks += more
        return jayul("run", small_project, "--out", out, "--ticks", ticks)

    assert on(0)["level_now"] == {"preheat": "record"}
    for level in ("shadow", "advise", "confirm"):
        jayul("sign", out, f"preheat:{level}", "--by", "Lee", check=2)
        since = jayul("status", out)["asks"][0]["since"]
        forge(out, level, since, by="Lee", key="Lee")
        forge(out, level, since, by="Kim", key="Lee")
        before = on(2)
        assert before["level_now"] != {"preheat": level}
        jayul("sign", out, f"preheat:{level}", "--by", "Kim")
        assert on(10)["level_now"] == {"preheat": level}
    waiting = jayul("status", out)["asks"]
    assert [ask["kind"] for ask in waiting] == ["approval"]
    plan = waiting[0]["subject"]
    assert on(5)["tags"]["TIC1.SP"]["applied"] == 0
    jayul("sign", out, f"preheat:{plan}", "--by", "Kim")
    done = on(5)
    assert done["tags"]["TIC1.SP"]["applied"] == 5
    assert not done["signatures_simulated"]
    assert done["events_refused"] == {"not-authorised": 3, "signature-invalid": 3}
    jayul("sign", out, "--demote", "preheat", "--by", "Kim", "--reason", "maintenance")
    assert on(2)["level_now"] == {"preheat": "record"}
    assert {h.event.by for t in ticks_of(OsFiles(out / "journal")) for h in t.decision.events} == {"Kim", "Lee"}
    assert jayul("replay", out, "--full")["differing"] == 0


def test_evidence_takes_a_policy_to_auto_and_evidence_against_takes_it_down(small_project: Path, tmp_path: Path) -> None:
    def evidence(passed: bool, name: str) -> Event:
        body = {"policy": "preheat", "name": "proven", "passed": passed, "test": True}
        return Event("evidence", NAME, 0, body, name)

    out = tmp_path / "out"
    execute(small_project, out, Options(ticks=60))
    inbox = SqliteInbox(out / "state.db")
    inbox.put(evidence(passed=True, name="e1"))
    inbox.close()
    assert execute(small_project, out, Options(ticks=120)).summary.level_now == {"preheat": "auto"}
    inbox = SqliteInbox(out / "state.db")
    inbox.put(evidence(passed=False, name="e2"))
    inbox.close()
    done = execute(small_project, out, Options(ticks=122)).summary
    assert done.level_now == {"preheat": "shadow"}
    assert done.levels[-1].reason == "evidence-against"
    assert replay(out).differing == 0
