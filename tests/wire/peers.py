"""Find counterparts that nobody here wrote: npm packages and programs. A test skips without them, unless JAYUL_NO_SKIP is set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _missing(what: str) -> None:
    if os.environ.get("JAYUL_NO_SKIP"):
        pytest.fail(what)
    pytest.skip(what)


def node_modules(package: str) -> Path:
    """Return the node_modules that hold a package, in the folder JAYUL_PEERS (default: .peers)."""
    found = Path(os.environ.get("JAYUL_PEERS", ROOT / ".peers")) / "node_modules"
    if not (found / package).exists() or not shutil.which("node"):
        _missing(f"the npm package {package} is not installed in {found}, or node is missing")
    return found


def program(name: str) -> str:
    """Return the path of a program."""
    found = shutil.which(name)
    if found is None:
        _missing(f"{name} is not installed")
    return str(found)
