"""The catalogue is current and complete, and a run speaks one language."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from blocks import ROOT

LOCALE = ROOT / "src" / "jayul" / "app" / "locale"
TEMPLATE = ROOT / "src" / "jayul" / "project" / "templates" / "tank" / "jayul.toml"
KOREAN = LOCALE / "ko" / "LC_MESSAGES" / "jayul.po"


def i18n(*arguments: str, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/i18n.py", *arguments]
    return subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)


def test_the_catalogue_is_current_and_complete() -> None:
    done = i18n("--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of its own, with some texts and their Korean."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "i18n.py").write_bytes((ROOT / "scripts" / "i18n.py").read_bytes())
    room = folder / "src" / "jayul"
    room.mkdir(parents=True)
    (room / "a.py").write_text('_("see {name}")\nf"{_(\'in an f-string\')}"\nN_("three" " words here")\n')
    (room / "b.html").write_text('<p>{{ _("a page of {n}").format(n=1) }}</p>')
    i18n(at=folder)
    po(folder, 'msgid "a page of {n}"', "{n}쪽")
    po(folder, 'msgid "see {name}"', "{name} 참고")
    po(folder, 'msgid "in an f-string"', "f 문자열 안")
    po(folder, 'msgid "three words here"', "세 낱말")
    assert i18n(at=folder).returncode == 0
    return folder


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(small, tmp_path / "copy")


def po(folder: Path, entry: str, text: str) -> None:
    """Write a translation into the catalogue."""
    path = folder / KOREAN.relative_to(ROOT)
    before = path.read_text(encoding="utf-8")
    after = re.sub(re.escape(entry) + r'\nmsgstr ".*"', f'{entry}\nmsgstr "{text}"', before)
    assert after != before
    path.write_text(after, encoding="utf-8")


def test_a_complete_catalogue_passes(copy: Path) -> None:
    assert i18n("--check", at=copy).returncode == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda at: (at / "src" / "jayul" / "b.py").write_text('_("something new")\n'), "is not current"),
        (lambda at: (at / "src" / "jayul" / "a.py").write_text('_("see {name} now")\n'), "fuzzy"),
        (lambda at: po(at, 'msgid "three words here"', ""), "not translated"),
        (lambda at: po(at, 'msgid "see {name}"', "{person} 참고"), "placeholders differ"),
        (lambda at: po(at, 'msgid "see {name}"', "{name 참고"), "expected '}'"),
        (lambda at: (at / KOREAN.relative_to(ROOT)).with_suffix(".mo").unlink(), "is not current"),
    ],
)
def test_what_is_wrong_with_a_catalogue_is_said(change, says: str, copy: Path) -> None:
    change(copy)
    done = i18n("--check", at=copy)
    assert done.returncode == 1
    assert says in done.stdout


def test_the_files_hold_no_date_and_no_machine() -> None:
    for path in (LOCALE / "jayul.pot", KOREAN, KOREAN.with_suffix(".mo")):
        data = path.read_bytes()
        for word in (b"Date", b"Babel", str(ROOT).encode()):
            assert word not in data, f"{path.name} holds {word!r}"


def english() -> list[str]:
    """Return the stretches of English text in the catalogue, of two words or more, that the Korean does not hold as well."""
    found: set[str] = set()
    with KOREAN.open("rb") as file:
        catalog = read_po(file, locale="ko")
    for message in catalog:
        for literal, *_ in string.Formatter().parse(str(message.id or "")):
            words = " ".join(literal.split()).strip(" ,.;:()'")
            if " " in words and len(words) > 8 and words not in str(message.string):
                found.add(words)
    return sorted(found)


@pytest.mark.parametrize("arguments", ["run line", "demo tank", "check nowhere"])
def test_korean_output_holds_no_english_text(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "jayul.toml").write_text(TEMPLATE.read_text(encoding="utf-8").format(name="line"), encoding="utf-8")
    command = [sys.executable, "-m", "jayul", "--lang", "ko", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "nowhere" in arguments else 0), done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert len(re.findall("[가-힣]+", said)) >= 3
    texts = english()
    assert len(texts) > 100
    assert not (leaks := [text for text in texts if text in said]), leaks


def test_a_leak_would_be_found() -> None:
    said = "Journal head: 12:ab"
    assert [text for text in english() if text in said] == ["Journal head"]


def test_a_text_that_comes_back_brings_its_translation(copy: Path) -> None:
    source, catalogue = copy / "src" / "jayul" / "a.py", copy / KOREAN.relative_to(ROOT)
    text, before = source.read_text(), catalogue.read_bytes()
    source.write_text('_("see {name}")\n')
    assert i18n(at=copy).returncode == 0
    assert '#~ msgid "three words here"' in catalogue.read_text(encoding="utf-8")
    source.write_text(text)
    assert i18n(at=copy).returncode == 0
    assert catalogue.read_bytes() == before
