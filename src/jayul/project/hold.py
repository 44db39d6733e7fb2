"""Which process drives a run folder: the run writes itself into its lock, and is believed only while that very process lives."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec

LOCK = "lock"


class Holder(msgspec.Struct, frozen=True):
    """A process: its number, and when the system says that it began (empty where the system does not say)."""

    pid: int
    began: str


def write_self(fd: int) -> None:
    """Write this process into its lock, which is open and held."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, msgspec.json.encode(Holder(os.getpid(), _began(os.getpid()) or "")), 0)


def holder(out: Path) -> int | None:
    """Return the process that drives a run folder, or None if none does."""
    try:
        found = msgspec.json.decode((out / LOCK).read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
    return found.pid if _began(found.pid) == found.began else None


def ask_to_stop(out: Path) -> bool:
    """Ask the process that drives a run folder to stop at the end of its tick; False if there is none. Raises PermissionError."""
    pid = holder(out)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return False
    return True


def _began(pid: int) -> str | None:
    """Return when a process began (ticks since the system did); None if it is not there, or over and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _alive(pid)
    return None if fields[0] in "ZX" else fields[19]


def _alive(pid: int) -> str | None:
    """Say the same where there is no /proc: a process that is there has no known beginning."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
