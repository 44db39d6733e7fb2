"""Keys of test runs live in a folder of their own; a test that leaves an asyncio task behind fails by asyncio's own warning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jayul.conform.crash import make_project


@pytest.fixture(autouse=True)
def own_keys(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep private keys out of the user's configuration."""
    folder = tmp_path_factory.getbasetemp() / "keys"
    monkeypatch.setenv("JAYUL_KEYS", str(folder))
    monkeypatch.delenv("JAYUL_LANG", raising=False)
    return folder


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A tank project of two hours of plant whose policy climbs within minutes and then moves."""
    return make_project(tmp_path / "small", 2.0, "group")
