"""Start, pause and go on with runs: processes of their own, which live on when the page server is gone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from jayul.app.texts import current
from jayul.core.clock import monotonic
from jayul.project.hold import ask_to_stop, holder
from jayul.project.problem import ManifestError

SHOWN = 8_000  # bytes of a log, from its end


class Works:
    """The runs that this server started, and what they said. `folder`: where their output is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: dict[Path, subprocess.Popen[bytes]] = {}
        self._asked: dict[Path, int] = {}
        self._lock, self._pause = threading.Lock(), threading.Event()

    def start(self, project: Path, out: Path, arguments: Sequence[str] = ()) -> bool:
        """Start a run, or go on with it; False if one is under way there."""
        with self._lock:
            if holder(out) is not None or self.starting(out):
                return False
            path = self._log(out)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            words = [sys.executable, "-m", "jayul", "run", str(project), "--out", str(out), *arguments]
            with path.open("wb") as log:
                self._begun[out] = subprocess.Popen(  # noqa: S603 - our own command; every word is a path of ours or a number
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, "JAYUL_LANG": current()},
                )  # fmt: skip
            return True

    def when_there(self, out: Path, then: Callable[[], object], most: float = 60.0) -> None:
        """Call `then` once the inbox of a run that was started here is there; not at all if the run ends before."""

        def wait() -> None:
            began = monotonic()
            while self.starting(out) and monotonic() - began < most:
                if (out / "state.db").exists():
                    with contextlib.suppress(OSError, ManifestError):
                        then()
                    return
                self._pause.wait(0.1)

        threading.Thread(target=wait, daemon=True).start()

    def starting(self, out: Path) -> bool:
        """Say whether a process that was started here for a run folder still lives."""
        begun = self._begun.get(out)
        return begun is not None and begun.poll() is None

    def failed(self, out: Path) -> int:
        """Return the exit code of the last start of a run here; 0 if it went well, still runs, or was not started here."""
        begun = self._begun.get(out)
        return (begun.poll() or 0) if begun is not None else 0

    def begun(self) -> list[Path]:
        """Return the run folders of the processes that were started here."""
        return list(self._begun)

    def pause(self, out: Path) -> bool:
        """Ask a run to stop at the end of its tick, once: a second request would end it at once. False if none is under way."""
        with self._lock:
            pid = holder(out)
            if pid is not None and self._asked.get(out) == pid:
                return True
            if pid is not None:
                self._asked[out] = pid
            return ask_to_stop(out)

    def stopping(self, out: Path) -> bool:
        """Say whether a run was asked to stop and has not yet done so."""
        asked = self._asked.get(out)
        return asked is not None and asked == holder(out)

    def said(self, out: Path) -> str:
        """Return the end of what a run said that was started here, as text."""
        try:
            with self._log(out).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - SHOWN))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _log(self, out: Path) -> Path:
        return self._folder / (hashlib.sha256(str(out).encode()).hexdigest()[:24] + ".log")
