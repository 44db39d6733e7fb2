"""What tests of the control room share: the real `jayul ui` process, accounts, a signed-in client, a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jayul.app.web.accounts import Accounts
from jayul.app.web.server import Config, create

CHROMIUM = "/usr/bin/chromium"
ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"


def command(*arguments: object) -> list[str]:
    """Return the command line of `jayul`."""
    return [sys.executable, "-m", "jayul", *map(str, arguments)]


def account(name: str, role: Any) -> None:
    """Make an account in the key folder of this test."""
    Accounts().add(name, role, PASSWORD)


@contextmanager
def ui(*folders: object, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve in a process of its own; give the process and its address."""
    process = subprocess.Popen(
        command("ui", *folders, "--port", port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, line
    try:
        yield process, found[0]
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def client(*folders: Path, private: bool = False) -> TestClient:
    """Return a client of the app in this process, not signed in."""
    return TestClient(create(Config(folders, frozenset(("testserver",)), private=private)), follow_redirects=False)


def token(page: str) -> str:
    """Return the token that stands in a page."""
    found = re.search(r'name="csrf" content="([^"]+)"', page)
    assert found
    return found[1]


def sign_in(web: TestClient, name: str) -> None:
    """Sign in, and keep the token for what follows."""
    form = {"csrf": token(web.get("/signin").text), "name": name, "password": PASSWORD, "then": "/"}
    assert web.post("/signin", data=form).status_code == 303
    web.headers["x-csrf"] = token(web.get("/").text)


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return found


def no_browser() -> str:
    """Return why there is no browser, or nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "needs playwright: pip install playwright"
    return "" if Path(CHROMIUM).exists() else f"needs {CHROMIUM}: apt-get install chromium"


def missing(reason: str) -> None:
    """Skip the test, or fail it where nothing may be skipped."""
    (pytest.fail if os.environ.get("JAYUL_NO_SKIP") else pytest.skip)(reason)


@contextmanager
def browser(width: int = 1366, height: int = 768, **more: Any) -> Iterator[tuple[Any, list[str]]]:
    """Open a page in Chromium; give it with the list of what its console complains of."""
    if reason := no_browser():
        missing(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_context(viewport={"width": width, "height": height}, **more).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page, said
        chromium.close()


def enter(page: Any, url: str, name: str) -> None:
    """Sign in with the browser."""
    page.goto(url + "/signin")
    page.fill("[name=name]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url(url + "/")


def axe(page: Any) -> list[str]:
    """Return what axe-core finds on a page that is serious or critical."""
    script = Path(os.environ.get("JAYUL_PEERS", ROOT / ".peers")) / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        missing(f"needs {script}: make peers")
    page.evaluate(f"() => {{ {script.read_text(encoding='utf-8')} }}")
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
