"""The pictures of the control room: every page, in every look, small, and shown."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from blocks import ROOT


def script() -> ModuleType:
    """Return `scripts/screens.py`."""
    spec = importlib.util.spec_from_file_location("screens", ROOT / "scripts" / "screens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCREENS = script()
FILES = {f"{name}.{language}.{scheme}.{size}.webp" for name in SCREENS.PAGES for language, scheme, size in SCREENS.LOOKS}


def test_every_page_is_there_in_every_look_and_nothing_else() -> None:
    assert {path.name for path in SCREENS.SCREENS.iterdir()} == FILES | {"index.md"}


def test_every_picture_is_small() -> None:
    sizes = {path.name: path.stat().st_size for path in SCREENS.SCREENS.glob("*.webp")}
    assert {name: size for name, size in sizes.items() if size > SCREENS.MOST} == {}
    assert sum(sizes.values()) < 9_000_000


@pytest.mark.parametrize("page", ["docs/screens/index.md", "docs/ko/screens/index.md"])
def test_every_picture_is_shown(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [name for name in sorted(FILES) if name not in text] == []
