"""What the tests of alarms, moves and evidence share: a run that goes on a few ticks at a time, a live run, a browser."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ui_kit
import uvicorn
from desk_kit import csrf, project, sign_in
from starlette.testclient import TestClient
from ui_kit import command, until

from jayul.app.web.accounts import Accounts
from jayul.app.web.server import Config, create
from jayul.core.types import Decision, Event, Frame, TagTable
from jayul.plant.journal import Tick
from jayul.project.run import Options, execute, read_header, ticks_of
from jayul.record.files import OsFiles
from jayul.record.inbox import SqliteInbox

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if (path / "journal").is_dir())
EVIL = "<img src=x onerror=alert(1)>"
FAST = {
    "ticks = 60": "ticks = 5",
    "proposals = 10": "proposals = 3",
    'begin = "3 h"': 'begin = "1 ms"',
    'block = "2 h"': 'block = "0.5 h"',
}
RINGS = '[[model]]\nkind = "formula"\nname = "watch"\nformula = {{ "watch.hot" = "TIC1.PV > {hot} [degC]", "watch.always" = "TIC1.PV > 0 [degC]" }}\n\n'


def read(out: Path) -> list[tuple[Tick, Frame]]:
    """Return every finished tick of a run with its frame, read with nothing of the web app."""
    files = OsFiles(out / "journal", create=False)
    header = read_header(files)
    if header is None:
        return []
    table = TagTable(header.tags)
    return [(t, Frame.from_columns(t.decision.at, table, t.decision.columns)) for t in ticks_of(files) if t.outcome is not None]


class Line:
    """A run that is brought forward a few ticks at a time, with kim (engineer), lee (operator) and park (viewer)."""

    def __init__(self, folder: Path, accounts: Accounts, **changes: str) -> None:
        self.root, self.accounts, self.ticks = folder / "runs", accounts, 0
        self.project = project(folder / "line", accounts, **FAST, **changes)
        path = self.project / "jayul.toml"
        path.write_text(path.read_text().replace("[[model]]", RINGS.format(hot=55.5) + "[[model]]", 1))
        self.out = self.root / "line"
        self.root.mkdir()

    def on(self, more: int) -> list[Decision]:
        """Go on; return the decisions of these ticks."""
        self.ticks += more
        execute(self.project, self.out, Options(ticks=self.ticks))
        return [tick.decision for tick, _ in read(self.out)][-more:]

    def put(self, event: Event) -> None:
        """Lay an event into the inbox, as any process on this machine could."""
        box = SqliteInbox(self.out / "state.db")
        box.put(event)
        box.close()

    @contextmanager
    def web(self, name: str = "") -> Iterator[TestClient]:
        """Look at it, as somebody or as nobody."""
        app = create(Config((self.root,), hosts=frozenset(("testserver",)), accounts=self.accounts.path))
        with TestClient(app, follow_redirects=False) as here:
            if name:
                assert sign_in(here, name).status_code == 303
                here.headers["x-csrf"] = csrf(here)
            yield here

    def page(self, path: str, name: str = "") -> str:
        """Return a page."""
        with self.web(name) as here:
            answer = here.get(f"/r/line/{path}")
            assert answer.status_code == 200, answer.text
            return answer.text

    def act(self, name: str, path: str, code: int = 200, **form: object) -> str:
        """Hand in an act; return what is said."""
        with self.web(name) as here:
            answer = here.post(f"/r/line/{path}", data={key: str(value) for key, value in form.items()})
            assert answer.status_code == code, answer.text
            return answer.text

    def climb(self) -> None:
        """Climb to confirm."""
        self.on(6)
        for level in ("shadow", "advise", "confirm"):
            self.act("kim", "act/sign", ask=f"preheat:{level}")
            self.on(6)


@contextmanager
def served(*roots: Path, accounts: Accounts) -> Iterator[str]:
    """Serve runs on a port of its own; give the address."""
    server = uvicorn.Server(uvicorn.Config(create(Config(roots, accounts=accounts.path)), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@contextmanager
def live(folder: Path, accounts: Accounts, speed: float = 60) -> Iterator[Path]:
    """Run a project against a plant that is played, each in a process of its own; give the run folder."""
    line = Line(folder, accounts)
    subprocess.run(command("simulate", line.project, "--tags", line.project), check=True, capture_output=True)
    plant = subprocess.Popen(
        command("simulate", line.project, "--opcua", 0, "--speed", speed), stdout=subprocess.PIPE, text=True
    )
    assert plant.stdout is not None
    url = next(found[0] for text in plant.stdout if (found := re.search(r"opcua://\S+", text)))
    arguments = ("run", line.project, "--plant", url, "--speed", speed, "--out", line.out)
    run = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: run.poll() is not None or ((line.out / "journal").is_dir() and len(read(line.out)) > 2))
        assert run.poll() is None, run.communicate()[0]
        yield line.out
    finally:
        for process in (run, plant):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()


@contextmanager
def browser(url: str, language: str = "en-US", name: str = "", scheme: str = "light") -> Iterator[Any]:
    """Open a page of Chromium, signed in as somebody; a complaint of the console, an error or a dialogue fails the test."""
    with ui_kit.browser(locale=language, color_scheme=scheme) as (page, said):
        page.on("dialog", lambda dialog: said.append(f"a script ran: {dialog.message}"))
        if name:
            ui_kit.enter(page, url, name)
        yield page
        assert said == []
