"""A real run whose history was made for these tests: noise, a stretch of bad samples, silence, a late correction; and a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jayul.conform.crash import make_project
from jayul.core.types import SECOND
from jayul.record.batch import Batch
from jayul.record.history import History, Reader

BEGIN = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z, when simulated runs start
HOUR = 3600 * SECOND
NAMES = ("TIC1.PV", "TIC1.SP", "JI1.PV", "=cmd|'/C calc'!A0")
BAD_FROM, BAD_TO = BEGIN + 1200 * SECOND, BEGIN + 1260 * SECOND
SILENT_FROM, SILENT_TO = BEGIN + 3000 * SECOND, BEGIN + 3600 * SECOND
SERVE = """
import sys, socket, pathlib, uvicorn
from jayul.app.web.server import Config, create
listening = socket.socket(); listening.bind(("127.0.0.1", 0)); listening.listen(128)
print("http://127.0.0.1:%d" % listening.getsockname()[1], flush=True)
app = create(Config((pathlib.Path(sys.argv[1]),)))
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
"""


def jayul(keys: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    line = [sys.executable, "-m", "jayul", *map(str, arguments)]
    return subprocess.run(line, env=os.environ | {"JAYUL_KEYS": str(keys)}, capture_output=True, text=True, check=True)


def make_run(folder: Path) -> Path:
    """Run a small project for two hours of plant, then put the made history in place of its own."""
    project = make_project(folder / "small", 2.0, "group")
    jayul(folder / "keys", "run", project, "--out", folder / "runs" / "small")
    out = folder / "runs" / "small"
    shutil.rmtree(out / "history")
    history = History(out / "history", NAMES, values=10_000, span=SECOND)
    rng = np.random.default_rng(5)
    for start in range(0, 7200, 600):
        history.append(_piece(start, rng), known_at=BEGIN + (start + 600) * SECOND)
    late = Batch.of([0], [BEGIN + 601 * SECOND], [99.5], [0], [0])
    history.append(late, known_at=BEGIN + 7260 * SECOND)
    history.close()
    return out


def _piece(start: int, rng: np.random.Generator) -> Batch:
    """Return ten minutes: two tags every second, a set-point and a tag with a strange name every minute."""
    second = np.arange(start, start + 600)
    second = second[(second < 3000) | (second >= 3600)]
    at, sparse = BEGIN + second * SECOND, BEGIN + second[::60] * SECOND
    status = np.where((at >= BAD_FROM) & (at < BAD_TO), 0x80000000, 0)
    level = 55 + rng.normal(size=len(at))
    power = np.where(second % 997 == 5, np.nan, 280 + np.cumsum(rng.normal(size=len(at))))
    columns = [
        (0, at, level, status),
        (1, sparse, np.full(len(sparse), 55.0), 0),
        (2, at, power, 0),
        (3, sparse, sparse * 0.1, 0),
    ]
    parts = [
        Batch.of(np.full(len(t), tag), t, value, np.broadcast_to(state, len(t)), np.zeros(len(t)))
        for tag, t, value, state in columns
    ]
    return Batch(*(np.concatenate(c) for c in zip(*parts, strict=True)))


def rows(out: Path, tag: str, low: int, high: int) -> tuple[list[int], list[float], list[int]]:
    """Return what the history's reader says of a tag: times, values, statuses."""
    table = Reader(out / "history").samples([tag], low, high)
    return table["source_at"].cast("int64").to_pylist(), table["value"].to_pylist(), table["status"].to_pylist()


@contextmanager
def serving(roots: Path) -> Iterator[str]:
    """Serve run folders in a process of its own; yield the address."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(roots)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def playing(keys: Path, folder: Path, speed: float) -> Iterator[Path]:
    """Let a run go on in another process, against a plant in a third; yield its folder."""
    project, out, env = (
        make_project(folder / "line", 200.0, "group"),
        folder / "runs" / "live",
        os.environ | {"JAYUL_KEYS": str(keys)},
    )
    jayul(keys, "simulate", project, "--tags", project)
    base = [sys.executable, "-m", "jayul"]
    plant = subprocess.Popen(
        [*base, "simulate", project, "--opcua", "0", "--speed", str(speed)], stdout=subprocess.PIPE, text=True, env=env
    )
    try:
        assert plant.stdout is not None
        found = re.search(r"opcua://[^\s]+", plant.stdout.readline())
        assert found
        line = [*base, "run", project, "--plant", found[0], "--speed", str(speed), "--out", out]
        run = subprocess.Popen([str(word) for word in line], stdout=subprocess.DEVNULL, env=env)
        try:
            yield out
        finally:
            run.terminate()
            run.wait(30)
    finally:
        plant.kill()
        plant.communicate()
