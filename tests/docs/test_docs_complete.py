"""The reference says everything that the code has: commands, options, manifest keys, codes. Links resolve."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from blocks import ROOT

from jayul.app import commands, show
from jayul.core.ladder import FALLS
from jayul.project.schema import manifest_schema

REFERENCE = ROOT / "docs" / "reference"
KOREAN = ROOT / "docs" / "ko"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST = 140  # lines of a page; the READMEs have a limit of their own
# Words that no page may hold, written apart so that this file does not hold them either.
MACHINE = re.compile(r"(?:^|[\s`'\"(=])/(?:work|home|root|Users|mnt)/")
REGISTRY = re.compile("|".join(["py" + "pi", "npm" + "js", "conda" + r"\.anaconda", "files\\.python" + "hosted"]), re.I)
PROMISE = re.compile("compl" + "iant", re.I)


def name(page: Path) -> str:
    """Return a page's path within the project."""
    return page.relative_to(ROOT).as_posix()


def spoken() -> Iterator[tuple[str, str]]:
    """Yield each command with each of its options, and the options of `jayul` itself."""
    root: Any = typer.main.get_command(commands.app)
    for command, group in [("", root), *root.commands.items()]:
        yield command, f"jayul {command}".strip()
        for parameter in group.params:
            if parameter.param_type_name == "option":
                yield from ((command, option) for option in parameter.opts)


@pytest.mark.parametrize(("command", "word"), list(spoken()))
def test_every_command_and_option_stands_in_the_reference(command: str, word: str) -> None:
    text = "".join((REFERENCE / page).read_text(encoding="utf-8") for page in ("cli.md", "cli-records.md"))
    head, *parts = re.split(r"^## `jayul (?=\w+)", text, flags=re.M)
    sections = {re.match(r"[\w-]+", part)[0]: "jayul " + part for part in parts}  # type: ignore[index]
    assert re.search(re.escape(word) + r"\b", sections[command] if command else head), f"{command or 'jayul'} lacks {word}"


def keys(schema: dict[str, Any]) -> set[str]:
    """Return every section, key and kind of a manifest's schema."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        found |= {schema["const"]} if isinstance(schema.get("const"), str) else set()
        for part in schema.values():
            found |= keys(part)
    elif isinstance(schema, list):
        for part in schema:
            found |= keys(part)
    return found


def test_every_key_of_a_manifest_stands_in_the_reference() -> None:
    text = "".join((REFERENCE / page).read_text(encoding="utf-8") for page in ("manifest.md", "rules.md"))
    schema = manifest_schema()
    assert {"project", "tank", "max_step", "stale_ticks", "pairs"} <= keys(schema)
    said = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    assert not (missing := sorted(keys(schema) - said)), f"docs/reference/manifest.md and rules.md lack {missing}"


@pytest.mark.parametrize("page", [REFERENCE / "reason-codes.md", KOREAN / "reference" / "reason-codes.md"], ids=name)
def test_every_code_stands_in_the_reference_with_its_text(page: Path) -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]*) \|", page.read_text(encoding="utf-8"), re.M)
    codes = {code for code, _ in rows}
    wanted = {*FALLS, *show.REASONS, *show.RULES, *show.STATES}
    assert not (missing := sorted(wanted - codes)), f"{name(page)} lacks {missing}"
    if page.parent == REFERENCE:
        texts = {**show.REASONS, **show.RULES, **show.STATES}
        for code, text in rows:
            assert code not in texts or text.strip() in {texts[code], show.RULES.get(code), "its time is over"}, code


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_short_and_knows_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    longest = 2 * LONGEST if page.parent.name == "reference" else LONGEST  # a reference lists everything
    assert len(text.splitlines()) < longest or page.parent == ROOT, f"{name(page)} is too long"
    for pattern in (MACHINE, REGISTRY, PROMISE):
        assert not (found := pattern.search(text)), f"{name(page)} says {found}"


def test_every_page_is_reached_from_the_index() -> None:
    for index in (ROOT / "docs" / "index.md", KOREAN / "index.md"):
        linked = {(index.parent / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)]+)\)", index.read_text())}
        pages = set(index.parent.rglob("*.md")) - {index}
        if index.parent != KOREAN:
            pages = {page for page in pages if KOREAN not in page.parents}
        assert not (missing := sorted(map(name, pages - linked))), f"{name(index)} does not lead to {missing}"


def test_every_korean_page_has_an_english_one() -> None:
    for page in KOREAN.rglob("*.md"):
        assert (ROOT / "docs" / page.relative_to(KOREAN)).exists(), f"{name(page)} stands alone"


def test_decisions_are_numbered_without_a_gap() -> None:
    found = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [file[:4] for file in found] == [f"{i:04d}" for i in range(1, len(found) + 1)]
    for file in found:
        text = (ROOT / "docs" / "decisions" / file).read_text(encoding="utf-8")
        assert text.startswith(f"# {file[:4]} ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))
