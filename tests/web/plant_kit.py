"""A line as an operator meets it: a plant that is played over OPC UA, a run that acts on it, the control room; each a process.

What stands in the plant is read with asyncua, from the plant's own server; what was done, from the journal.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.sync import Client
from desk_kit import project
from ui_kit import CHROMIUM, command, enter, missing, no_browser, until

from jayul.app.web.accounts import Accounts
from jayul.core.expr import duration
from jayul.core.types import Decision, Event, Frame, TagTable
from jayul.plant.journal import Tick
from jayul.project.commission import commission
from jayul.project.people import new_key
from jayul.project.run import read_header, ticks_of
from jayul.record.files import OsFiles

SPEED = 120.0  # a period of half a minute is a quarter of a second
BASE, TARGET = 55.0, 58.0  # of TIC1.SP, degC: as the plant begins, and as the policy wants it
COMMISSIONER = "yun"  # the controls engineer who was at the plant
LOCAL, REMOTE = 1, 2  # of TIC1.MODE: AUTO, RCAS
ARMS = '["on"' + ', "on"' * 1499 + "]"
NEAR = {  # the ladder of the template, made short; blocks that are always on, each a plan of its own
    "ticks = 60": "ticks = 4", "proposals = 10": "proposals = 2", 'duration = "24 h"': 'duration = "2000 h"',
    'begin = "3 h"': 'begin = "1 ms"', 'block = "2 h"': 'block = "30 min"', "pairs = 5": f"arms = {ARMS}",
    "= 62.0": f"= {TARGET}",
}  # fmt: skip


RULE = '\n[[guard.rule]]\nkind = "mode"\nmode = "TIC1.MODE"\ntakes = ["RCAS"]\ntags = ["TIC1.SP"]\n'


class Sees:
    """A person at the plant who sees there what the machine measures."""

    def say(self, text: str, **params: object) -> None:
        """Hear."""

    def confirm(self, text: str, **params: object) -> bool:
        """Say yes."""
        return True


class Line:
    """Folders, addresses and processes of a line. `plant` speaks OPC UA to the plant, as its own operator's station does."""

    def __init__(self, folder: Path, accounts: Accounts, speed: float = SPEED) -> None:
        self.accounts, self.root, self.speed = accounts, folder / "runs", speed
        self._keys = folder / "commissioner"  # a controls engineer's own, on another machine
        self.project, self.out = project(folder / "line", accounts, **NEAR), self.root / "line"
        path = self.project / "jayul.toml"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAYUL_KEYS", str(self._keys))
            key = new_key(COMMISSIONER)
        at_plant = f'[[people.person]]\nname = "{COMMISSIONER}"\nroles = ["engineer"]\nkey = "{key}"\n'
        path.write_text(path.read_text().replace("[kpi]", f"{at_plant}\n[kpi]", 1) + RULE)

    def start(self, stack: ExitStack) -> None:
        """Begin to play the plant and to run."""
        subprocess.run(command("simulate", self.project, "--tags", self.project), check=True, capture_output=True)
        played = command("simulate", self.project, "--opcua", 0, "--speed", self.speed, "--operator", "")
        plant = stack.enter_context(ended(subprocess.Popen(played, stdout=subprocess.PIPE, text=True)))
        assert plant.stdout is not None
        at = next(found[0] for text in plant.stdout if (found := re.search(r"opcua://\S+", text)))
        ran = command("run", self.project, "--plant", at, "--speed", self.speed, "--out", self.out)
        self.run = stack.enter_context(
            ended(subprocess.Popen(ran, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        )
        self.plant = stack.enter_context(Client(at.replace("opcua", "opc.tcp"), timeout=20))
        self._index = self.plant.get_namespace_index("urn:jayul:simulated")
        until(lambda: self.run.poll() is not None or ((self.out / "journal").is_dir() and len(self.ticks()) > 2))
        assert self.run.poll() is None, self.run.communicate()[0]

    def commission(self) -> None:
        """Prove, as `jayul commission` does with a person, that the controller clamps, sheds and goes to local by itself."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAYUL_KEYS", str(self._keys))
            event = commission(self.project, self.out, by=COMMISSIONER, talk=Sees(), within=duration("30 min"))
        assert event.body["passed"], event.body["steps"]
        self.switch(REMOTE)

    def at_plant(self, tag: str) -> float:
        """Return what stands in the plant now."""
        return float(self.plant.get_node(f"ns={self._index};s={tag}").read_value())

    def switch(self, code: int) -> None:
        """Put the loop to a mode, at the plant."""
        node = self.plant.get_node(f"ns={self._index};s=TIC1.MODE")
        node.write_value(ua.DataValue(ua.Variant(code, node.read_data_type_as_variant_type())))

    def ticks(self) -> list[Tick]:
        """Return every tick of the journal that is over."""
        return [tick for tick in ticks_of(OsFiles(self.out / "journal", create=False)) if tick.outcome is not None]

    def frame(self, decision: Decision) -> Frame:
        """Return what a tick saw."""
        header = read_header(OsFiles(self.out / "journal", create=False))
        assert header is not None
        return Frame.from_columns(decision.at, TagTable(header.tags), decision.columns)

    def taken(self, kind: str, by: str) -> list[Event]:
        """Return what a person did of a kind and the loop took, oldest first."""
        heard = [heard for tick in self.ticks() for heard in tick.decision.events]
        return [h.event for h in heard if (h.event.kind, h.event.by, h.refused) == (kind, by, "")]

    def audit(self) -> str:
        """Return what `jayul audit` writes as CSV."""
        path = self.root.parent / "audit.csv"
        subprocess.run(command("audit", self.out, "--csv", path), check=True, capture_output=True)
        return path.read_text(encoding="utf-8-sig")


@contextmanager
def going(folder: Path, accounts: Accounts, speed: float = SPEED) -> Iterator[Line]:
    """Let a line go on while it is used; skip where there is no browser to look at it."""
    if reason := no_browser():
        missing(reason)
    with ExitStack() as stack:
        made = Line(folder, accounts, speed)
        made.start(stack)
        yield made


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a process, whatever comes."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.communicate(timeout=40)  # a run is given the time to hand back
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class People:
    """Chromium, and whoever looks through it, each signed in once. `said`: what the consoles complained of."""

    def __init__(self, chromium: Any, url: str) -> None:
        self._chromium, self.url, self.said = chromium, url, list[str]()
        self._signed: dict[tuple[str, str], Any] = {}
        self._open: list[Any] = []

    def window(self, path: str, name: str = "", language: str = "en-US") -> Any:
        """Open a page, signed in as somebody or as nobody."""
        if (name, language) not in self._signed:
            made = self._chromium.new_context(viewport={"width": 1366, "height": 768}, locale=language)
            made.set_default_timeout(60_000)  # on a machine where others work too
            self._signed[name, language] = made
            if name:
                enter(page := made.new_page(), self.url, name)
                page.close()
        page = self._signed[name, language].new_page()
        page.on("console", lambda told: self.said.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(self.url + path)
        page.evaluate("() => { window.never = 'loaded again'; }")
        self._open.append(page)
        return page

    def close(self) -> None:
        """Close all windows; who has signed in stays so."""
        while self._open:
            self._open.pop().close()


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium."""
    if reason := no_browser():
        missing(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
