"""What happens at the edges: a full disk, two at once, a foreign key, Korean names, an installed wheel."""

from __future__ import annotations

import csv
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from jayul.app.cli import main
from jayul.conform.crash import make_project
from jayul.project.claims import write
from jayul.project.look import check, replay
from jayul.project.proof import conclude
from jayul.project.run import Options, execute

COMMAND = [sys.executable, "-m", "jayul"]


def small_disk() -> None:
    """Let no file grow beyond 200 kB in this process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_a_disk_that_takes_no_more_is_one_line_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    project, out = make_project(tmp_path / "p", 12.0, "tick"), tmp_path / "out"
    read, write = os.pipe()
    command = [*COMMAND, "run", str(project), "--out", str(out), "--ack-fd", str(write)]
    process = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.PIPE, text=True, preexec_fn=small_disk)
    os.close(write)
    data = b""
    while part := os.read(read, 65536):
        data += part
    os.close(read)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert len(stderr.strip().splitlines()) == 1
    assert "nothing that was acknowledged is lost" in stderr
    acknowledged = int(data.split()[-1])
    assert acknowledged > 50
    report = check(out, (), None)
    assert report.ok
    assert report.ticks - 1 >= acknowledged
    done = execute(project, out, Options()).summary
    assert done.complete
    assert done.head == execute(project, tmp_path / "unbroken", Options()).summary.head


def test_two_at_once_is_refused_in_one_line(small_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jayul.project.run import locked

    out = tmp_path / "out"
    out.mkdir()
    with locked(out), pytest.raises(SystemExit) as ended:
        main(["run", str(small_project), "--out", str(out)])
    assert ended.value.code == 2
    assert "another process is running here" in capsys.readouterr().err


def test_a_run_of_another_key_is_refused(small_project: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    execute(small_project, tmp_path / "out", Options(ticks=10))
    monkeypatch.setenv("JAYUL_KEYS", str(tmp_path / "other-keys"))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(small_project), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "another key" in capsys.readouterr().err


KOREAN = """
[project]
name = "라인 1"
[run]
period = "1 min"
[plant]
kind = "files"
path = "기록.csv"
time = "시각"
timezone = "Asia/Seoul"
encoding = "cp949"
[[model]]
kind = "formula"
name = "평균"
formula = { "온도 평균" = "mean(온도, 10 min)" }
[[policy]]
kind = "hold"
name = "관찰"
writes = []
needs = ["온도"]
[ladder.shadow]
ticks = 10
"""


def test_korean_names_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, out = tmp_path / "한글 라인", tmp_path / "실행 결과"
    project.mkdir()
    (project / "jayul.toml").write_text(KOREAN, encoding="utf-8")
    with (project / "기록.csv").open("w", encoding="cp949", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["시각", "온도", "밸브"])
        rows.writerows([f"2026-03-01 {9 + i // 60:02d}:{i % 60:02d}:00", 50 + math.sin(i), 30] for i in range(300))
    for ticks in (50, 51, 200):
        execute(project, out, Options(ticks=ticks))
    parts = execute(project, out, Options()).summary
    assert parts.complete
    assert parts.head == execute(project, tmp_path / "whole", Options()).summary.head
    assert replay(out, full=True).differing == 0
    for arguments in (["status", str(out)], ["verify", str(out)], ["check", str(project)]):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--json"])
        assert ended.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert isinstance(json.loads(lines[-1]), dict)
        assert "'" in next(line for line in lines if line.startswith("Next:")), "a path with a blank is quoted"


class Installed(NamedTuple):
    """A wheel of this tree, installed beside the libraries that are here: its Python, environment and package folder."""

    python: Path
    environment: dict[str, str]
    package: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root, folder = Path(__file__).parents[2], tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*build, str(root)], check=True, capture_output=True)
    wheel = next(folder.glob("jayul-*.whl"))
    venv.create(folder / "venv", with_pip=False)
    home = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(home), str(wheel)],
        check=True,
    )
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    python = folder / "venv" / "bin" / "python"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(home), libraries]),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    code = "import jayul, sys; sys.exit(0 if 'venv' in jayul.__file__ else 3)"
    subprocess.run([str(python), "-c", code], check=True, env=environment, cwd=folder)
    return Installed(python, environment, home / "jayul")


def test_the_wheel_demos_and_verifies_by_itself(installed: Installed, tmp_path: Path) -> None:
    python, environment = str(installed.python), {**installed.environment, "JAYUL_KEYS": os.environ["JAYUL_KEYS"]}
    demo = [python, "-m", "jayul", "demo", "tank", "--json"]
    done = subprocess.run(demo, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["found"]
    assert all(row["found"] for row in found)
    verify = [python, "-m", "jayul", "verify", "runs/demo-tank/run"]
    assert subprocess.run(verify, env=environment, cwd=tmp_path, check=False, capture_output=True).returncode == 0


def test_the_wheel_verifies_a_claim_without_project_run_and_keys(installed: Installed, tmp_path: Path) -> None:
    root, project = Path(__file__).parents[2], tmp_path / "line"
    project.mkdir()
    text = (root / "examples" / "tank" / "jayul.toml").read_text(encoding="utf-8")
    (project / "jayul.toml").write_text(text.replace("pairs = 12", "pairs = 6").replace('"84 h"', '"47 h"'), encoding="utf-8")
    conclude(execute(project, tmp_path / "run", Options(history=False)), project)
    _, bundle = write(tmp_path / "run", tmp_path / "sent")
    _, sealed = write(tmp_path / "run", tmp_path / "sent", seal=True)
    shutil.rmtree(project)
    shutil.rmtree(tmp_path / "run")
    environment = {**installed.environment, "JAYUL_KEYS": str(tmp_path / "none")}

    def verify(path: Path) -> tuple[int, list[str]]:
        command = [str(installed.python), "-m", "jayul", "verify", str(path)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    for path in (bundle, sealed):
        code, lines = verify(path)
        assert code == 0, lines
    assert not (tmp_path / "none").exists()
    judging = installed.package / "prove" / "sequential.py"
    before = judging.read_bytes()
    try:
        judging.write_bytes(before + b"#")
        code, lines = verify(bundle)
        assert (code, len(lines)) == (1, 1)
        assert lines[0].startswith("code: claimed by 0.1.0 with digest ")
        assert lines[0].endswith("; every figure comes out the same")
        judging.write_bytes(before.replace(b"RATES = np.array([0.2,", b"RATES = np.array([0.3,"))
        code, lines = verify(bundle)
        assert (code, len(lines)) == (1, 1)
        assert lines[0].startswith("code: ")
        assert "every figure" not in lines[0]
    finally:
        judging.write_bytes(before)
    assert verify(bundle)[0] == 0
