"""Run what a page shows: its code blocks, in order, in one shell; and hold what they print against what the page says.

```bash      every line is run
```console   lines that begin with `$ ` are run; the others must come in the output, in order; `...` stands for anything
<!-- file: PATH -->     above a block: the block is written there
<!-- not run: WHY -->   above a block: it is left out
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_MARK = "\x1e"


class Block(NamedTuple):
    """A code block: its language, its text, and the note above it."""

    kind: str
    text: str
    note: str


class Step(NamedTuple):
    """A command and the lines that it must print."""

    command: str
    expected: list[str]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    return [Block(m["kind"], m["text"], m["note"] or "") for m in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def code(page: Path) -> list[Block]:
    """Return the blocks that are code: all but plain text and drawings."""
    return [block for block in blocks(page) if block.kind not in ("", "text")]


def steps(page: Path) -> list[Step]:
    """Return what is to be run of a page."""
    found: list[Step] = []
    for kind, text, note in blocks(page):
        if note.startswith("not run:"):
            continue
        if note.startswith("file: "):
            path = note.removeprefix("file: ")
            found.append(Step(f"mkdir -p '{Path(path).parent}'; cat > '{path}' <<'JAYUL_END'\n{text}JAYUL_END", []))
        elif kind == "bash":
            found.append(Step(text.strip(), []))
        elif kind == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    found.append(Step(line[2:], []))
                elif line.strip():
                    found[-1].expected.append(line)
    return [Step(step.command.replace("make demo", "python -m jayul demo tank"), step.expected) for step in found]


def _install(page: Path, folder: Path) -> str:
    """Make the packages that a page defines known, as `pip install -e` does. Returns where they are found."""
    site = folder / ".site"
    found = [str(site)]
    for block in blocks(page):
        if not block.note.endswith("pyproject.toml"):
            continue
        project = tomllib.loads(block.text)["project"]
        info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
        points = project.get("entry-points", {})
        lines = [line for group, named in points.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in named.items()))]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        found.append(str(folder / Path(block.note.removeprefix("file: ")).parent / "src"))
    return os.pathsep.join(filter(None, [*found, os.environ.get("PYTHONPATH")]))


def run(page: Path, folder: Path) -> str:
    """Run a page in a folder. Returns what is wrong, or nothing."""
    todo = steps(page)
    script = "set -euo pipefail\n" + "".join(f"printf '{_MARK}'\n{step.command}\n" for step in todo)
    here = str(Path(sys.executable).parent)
    environment = {
        "PATH": here + os.pathsep + os.environ["PATH"],
        "HOME": str(folder),
        "JAYUL_KEYS": str(folder / ".keys"),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": _install(page, folder),
    }
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    outputs = done.stdout.split(_MARK)[1:]
    if done.returncode:
        return f"exit code {done.returncode} at: {todo[len(outputs) - 1].command}\n{outputs[-1]}\n{done.stderr}"
    return "\n".join(filter(None, map(_compare, todo, outputs)))


def _compare(step: Step, output: str) -> str:
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    for expected in step.expected:
        pattern = re.escape(" ".join(expected.split())).replace(re.escape("..."), ".*")
        if not any(re.fullmatch(pattern, line) for line in lines):
            return f"{step.command}\ndoes not print: {expected}\nbut:\n{output}"
    return ""
