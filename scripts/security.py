"""What a scanner, an advisory database and a fuzzer say: `make security`. Fails for a finding that is not explained here.

    bandit         what it finds of medium or high severity in src/ is explained below, or a fault
    pip-audit      known weaknesses of the versions in constraints.txt; "unknown" for what the database does not answer
    schemathesis   the control room's API by its own OpenAPI description, as each role: no 500, nothing undescribed

The tools stand in an environment of their own (`.security`): none is needed to run Jayul.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, Request, build_opener

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".security" / "bin"
JAYUL = ROOT / ".venv" / "bin" / "jayul"
EXPLAINED = {
    ("src/jayul/app/report.py", "B704"): "charts that we drew ourselves, from numbers",
    ("src/jayul/app/uis.py", "B104"): "an address that is shown, not one that is listened to",
    ("src/jayul/packs/__init__.py", "B506"): "a subclass of the safe loader that also refuses keys that stand twice",
    ("src/jayul/project/query.py", "B608"): "SQL of our own words and quoted file names; the user's SQL reads no other file",
}
ROLES = ("", "viewer", "operator", "engineer")
PASSWORD = "correct horse battery"  # of accounts that live as long as this script
LEFT_OUT = ("/api/v1/runs/{run}/events", "/api/v1/session")  # a stream without end; signing out would end the rest
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"


def bandit() -> list[str]:
    """Return findings that are not explained."""
    done = subprocess.run(
        [TOOLS / "bandit", "-q", "-r", "src", "-ll", "-f", "json"], cwd=ROOT, capture_output=True, check=False
    )
    found = [(each["filename"], each["test_id"], each["line_number"]) for each in json.loads(done.stdout)["results"]]
    for (path, test), n in sorted(Counter((path, test) for path, test, _ in found).items()):
        print(f"bandit: {path} {test} x {n}: {EXPLAINED.get((path, test), 'NOT EXPLAINED')}")
    gone = set(EXPLAINED) - {(path, test) for path, test, _ in found}
    return [
        *(f"bandit: {path}:{line} {test}" for path, test, line in found if (path, test) not in EXPLAINED),
        *(f"bandit: {path} {test} is explained, but not found any more" for path, test in sorted(gone)),
    ]


def audit() -> list[str]:
    """Return known weaknesses of the versions that are tested."""
    command = [
        TOOLS / "pip-audit",
        "-r",
        "constraints.txt",
        "--no-deps",
        "--disable-pip",
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        rows: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except json.JSONDecodeError:
        print(f"pip-audit: unknown: {done.stderr.strip().splitlines()[-1][:160] if done.stderr.strip() else 'no answer'}")
        return []
    unknown = [row["name"] for row in rows if "skip_reason" in row]
    print(f"pip-audit: {len(rows) - len(unknown)} of {len(rows)} versions looked up, {len(unknown)} unknown")
    return [f"pip-audit: {row['name']} {row['version']}: {weak['id']}" for row in rows for weak in row.get("vulns", ())]


def fuzz(seconds: int, seed: int) -> list[str]:
    """Return what the fuzzer found, as each role."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = os.environ | {"JAYUL_KEYS": str(folder / "keys")}

        def jayul(*words: object, feed: str = "") -> None:
            subprocess.run(
                [JAYUL, *map(str, words)], cwd=folder, env=env, input=feed, check=True, capture_output=True, text=True
            )

        jayul("init", "tank", "line")
        jayul("run", "line", "--out", "runs/line")
        for role in filter(None, ROLES):
            jayul("ui", "add", role, "--role", role, "--password-stdin", feed=f"{PASSWORD}\n")
        serving = subprocess.Popen([JAYUL, "ui", "runs", "--port", "0"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        try:
            assert serving.stdout is not None
            url = re.search(r"http://\S+", serving.stdout.readline())
            assert url
            for role in ROLES:
                found += _fuzzed(url[0], role, seconds // len(ROLES), seed)
            if serving.poll() is not None:
                found.append("schemathesis: the server has gone")
        finally:
            serving.kill()
            serving.communicate()
    return found


def _fuzzed(url: str, role: str, seconds: int, seed: int) -> list[str]:
    command = [
        TOOLS / "schemathesis",
        "run",
        f"{url}/api/v1/openapi.json",
        "--max-time",
        seconds,
        "--seed",
        seed,
        "--checks",
        CHECKS,
    ]
    for path in LEFT_OUT:
        command += ["--exclude-path", path]
    if role:
        jar = CookieJar()
        body = json.dumps({"name": role, "password": PASSWORD}).encode()
        asked = Request(f"{url}/api/v1/session", body, {"Content-Type": "application/json"})
        with build_opener(HTTPCookieProcessor(jar)).open(asked) as answer:
            token = json.load(answer)["csrf"]
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
        command += ["-H", f"Cookie: {cookies}", "-H", f"X-CSRF: {token}"]
    done = subprocess.run([*map(str, command)], cwd=tempfile.gettempdir(), capture_output=True, text=True, check=False)
    cases = re.search(r"([\d,]+) generated", done.stdout)
    print(f"schemathesis: {role or 'nobody'}: {cases[1] if cases else 'unknown'} cases, exit {done.returncode}")
    if not done.returncode:
        return []
    return [f"schemathesis: as {role or 'nobody'}:\n{done.stdout[-3000:]}{done.stderr[-500:]}"]


def main() -> None:
    """Run all; exit 1 if anything is not explained."""
    faults = [*bandit(), *audit(), *fuzz(int(os.environ.get("SECONDS_OF_FUZZ", "240")), int(os.environ.get("SEED", "0")))]
    for fault in faults:
        print(fault)
    print(json.dumps({"unexplained": len(faults)}))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
