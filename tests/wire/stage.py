"""Processes of a test on the wire: the plant that is played, the run that acts on it, and what both of them say."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROTOCOLS = ("opcua", "modbus", "mqtt")


def command(*arguments: object) -> list[str]:
    """Return the command line of `jayul` in an interpreter where warnings count."""
    return [sys.executable, "-m", "jayul", *map(str, arguments)]


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a mosquitto on a port of its own; give HOST:PORT."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n")
    process = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            with_timeout(process, 0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def with_timeout(process: subprocess.Popen[Any], seconds: float) -> None:
    """Wait for a process, but no longer than this."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


@contextmanager
def played(
    project: Path, protocol: str, speed: float, *more: object, at: object = 0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Play a project's plant in a process of its own; give the process and the plant's URL."""
    process = subprocess.Popen(
        command("simulate", project, f"--{protocol}", at, "--speed", speed, *more), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = ""
    for line in process.stdout:
        if found := re.search(rf"{protocol}://\S+", line):
            url = found[0]
            break
    assert url, "the plant did not begin to answer"
    try:
        yield process, url
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        with_timeout(process, 10)
        process.kill()
        process.communicate()


def jayul(*arguments: object, check: int = 0, timeout: float = 600) -> dict[str, Any]:
    """Run a command to its end; return the object on its last line."""
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == check, f"{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a project in a process of its own; give it and a file descriptor on which each tick that is on disk is told."""
    told, tell = os.pipe()
    process = subprocess.Popen(
        command("run", *arguments, "--ack-fd", tell),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=(tell,),
    )
    os.close(tell)
    try:
        yield process, told
    finally:
        process.kill()
        process.communicate()
        os.close(told)


def ticks(told: int) -> Iterator[int]:
    """Yield each tick that the run says is on disk, until it ends."""
    rest = b""
    while part := os.read(told, 65536):
        *lines, rest = (rest + part).split(b"\n")
        yield from map(int, lines)


def tables(project: Path, speeds: Sequence[object] = ()) -> None:
    """Write the tag tables of a project's simulated plant beside its manifest."""
    jayul("simulate", project, "--tags", project, *speeds)
