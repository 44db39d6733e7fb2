"""`jayul ui`: what it serves, whom it lets in, and one line for each mistake."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ui_kit import PASSWORD, account, command, ui, until

from jayul.app.web.accounts import Accounts


@pytest.fixture(autouse=True)
def no_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test without accounts."""
    monkeypatch.setenv("JAYUL_KEYS", str(tmp_path / "keys"))


def said(*arguments: object, stdin: str = "", code: int = 0) -> tuple[str, str]:
    """Run `jayul ui` to its end; return what it said on stdout and stderr."""
    done = subprocess.run(command("ui", *arguments), input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_an_account_is_made_listed_and_removed() -> None:
    assert "no account yet" in said("list")[0]
    out, _ = said("add", "Kim Minji", "--role", "engineer", "--password-stdin", "--json", stdin=PASSWORD + "\n")
    made = json.loads(out.splitlines()[-1])
    assert made["key"] == Accounts().all()["Kim Minji"].public
    assert f'key = "{made["key"]}"' in out
    assert PASSWORD not in out
    assert said("list")[0] == "Kim Minji: engineer\n"
    opened = Accounts().enter("Kim Minji", PASSWORD)
    assert opened is not None
    assert opened[1].public == made["key"]
    said("remove", "Kim Minji")
    assert Accounts().all() == {}


@pytest.mark.parametrize(
    ("arguments", "stdin", "line"),
    [
        (["add", "Kim"], PASSWORD, "--role: say which: operator, engineer or viewer"),
        (["add", "Kim", "--role", "boss"], PASSWORD, "--role boss: say which: operator, engineer or viewer"),
        (["add", "--role", "viewer"], PASSWORD, "ui add: write: ui add NAME --role ROLE, ui remove NAME, or ui list"),
        (["add", "Kim", "--role", "viewer", "--password-stdin"], "short\n", "ui add: a password has at least 10 characters"),
        (["add", "<b>", "--role", "viewer", "--password-stdin"], PASSWORD, "ui add: a name has letters, digits, spaces, '.', '-' and '_'"),
        (["remove", "Kim"], "", "Kim: has no account; there are: -"),
        (["--role", "viewer"], "", "--role: goes with ui add NAME only"),
        (["nowhere"], "", "nowhere: no such folder"),
        (["--host", "0.0.0.0"], "", "--host 0.0.0.0: is open to the network: make an account first with: jayul ui add NAME --role ROLE"),
        (["--certificate", "x.pem"], "", "--certificate: '--certificate' and '--key' go together"),
    ],
)  # fmt: skip
def test_a_mistake_costs_one_line(arguments: list[str], stdin: str, line: str) -> None:
    _, error = said(*arguments, stdin=stdin, code=2)
    assert error == f"jayul: {line}\n"
    assert Accounts().all() == {}


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        _, error = said(tmp_path, "--port", port, code=2)
    assert error.startswith(f"jayul: 127.0.0.1:{port}: nobody can listen here (")


def test_it_serves_this_machine_alone_and_ends_with_one_signal(tmp_path: Path) -> None:
    with ui(tmp_path) as (process, url):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert "Projects" in answer.read().decode()
        assert url.startswith("http://127.0.0.1:")
        other = urllib.request.Request(url, headers={"host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(other, timeout=10)
        process.send_signal(2)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_the_network_must_sign_in(tmp_path: Path) -> None:
    account("Op", "operator")
    with ui(tmp_path, "--host", "0.0.0.0") as (_, url), urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.url == f"{url}/signin"


def test_with_a_certificate_it_speaks_https_and_marks_its_cookie(tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]  # fmt: skip
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    _, error = said(tmp_path, "--certificate", tmp_path / "key.pem", "--key", tmp_path / "key.pem", code=2)
    assert "cannot be used with its key" in error
    line = command("ui", tmp_path, "--port", 0, "--certificate", tmp_path / "cert.pem", "--key", tmp_path / "key.pem")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split(" ")[0]
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            assert "Secure" in answer.headers["set-cookie"]
    finally:
        process.kill()
        process.communicate()


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['starlette'] = None; from jayul.app.cli import main; main(['ui', '--port', '0'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "jayul: ui: the control room needs: pip install 'jayul[web]'\n")


def test_the_demo_offers_the_page_and_opens_it(tmp_path: Path) -> None:
    line = [*command("demo", "tank", "--out", tmp_path / "demo", "--open")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=_with_browser(tmp_path))
    try:
        assert process.stdout is not None
        found = next(text for text in process.stdout if "control room" in text)
        url = found.split(" at ")[1].split(" ")[0]
        assert until(lambda: (tmp_path / "opened").exists() and (tmp_path / "opened").read_text()) == url + "\n"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert "/r/" in answer.read().decode()
    finally:
        process.kill()
        process.communicate()


def _with_browser(folder: Path) -> dict[str, str]:
    """Return an environment whose browser is a program that writes down what it was to open."""
    import os

    program = folder / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {folder}/opened\n')
    program.chmod(0o755)
    return {**os.environ, "BROWSER": f"{program} %s"}
