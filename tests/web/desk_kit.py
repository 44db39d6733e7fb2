"""Accounts of three roles, a project with named people, and how a browser signs in."""

from __future__ import annotations

from importlib.resources import files as resources
from pathlib import Path

from httpx2 import Response
from starlette.testclient import TestClient

from jayul.app.web.accounts import Accounts

PASSWORD = "correct horse battery"
PEOPLE = {"kim": "engineer", "lee": "operator", "park": "viewer"}
BAD_NAME = "<img src=x onerror=alert(1)>"


def project(folder: Path, accounts: Accounts, name: str = "line", **changes: str) -> Path:
    """Write a tank project with named people instead of simulated ones."""
    text = (resources("jayul.project") / "templates" / "tank" / "jayul.toml").read_text(encoding="utf-8").format(name=name)
    people = "".join(
        f'[[people.person]]\nname = "{a.name}"\nroles = ["engineer", "operator"]\nkey = "{a.public}"\n'
        for a in accounts.all().values()
    )
    assert "[people]\nsimulated = true" in text
    text = text.replace("simulated = true ", "simulated = false ", 1).replace("[kpi]", people + "\n[kpi]", 1)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jayul.toml").write_text(text, encoding="utf-8")
    return folder


def csrf(here: TestClient) -> str:
    """Return the token of a client's page."""
    return here.get("/signin").text.partition('name="csrf" content="')[2].partition('"')[0]


def sign_in(here: TestClient, name: str, password: str = PASSWORD, **more: str) -> Response:
    """Sign in as a browser does."""
    return here.post("/signin", data={"name": name, "password": password, "csrf": csrf(here), "then": "/"} | more)
