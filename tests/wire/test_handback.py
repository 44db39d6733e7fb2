"""Brain and gateway killed, seen at the plant: a few kills here, a hundred in `make handback`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("protocol", "whom", "kills"), [("opcua", "brain", 2), ("modbus", "brain", 1), ("modbus", "gateway", 1)]
)
def test_what_a_killed_process_held_is_in_local_with_its_fallback_values(protocol: str, whom: str, kills: int) -> None:
    command = [sys.executable, "-m", "jayul.conform.handback", "--kills", str(kills), "--protocol", protocol, "--whom", whom]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["kills"], told["failures"]) == (kills, 0)
    assert told["held"] >= 1
