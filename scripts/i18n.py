"""Extract, merge and compile the texts of the catalogue; `--check` fails if it is stale, incomplete, or breaks a placeholder.

Texts are the constant arguments of `_` and `N_` in src/jayul, and of `_` in its HTML templates. Python is read as a syntax tree,
so that every version finds the same texts, inside f-strings too. The files hold no date, no line number and no path of a machine.
"""

from __future__ import annotations

import ast
import io
import string
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import extract_from_ast

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "jayul"
LOCALE = SOURCE / "app" / "locale"
LANGUAGES = ("ko",)


class Plain(Catalog):
    """A catalogue whose header says what is needed to read it, and nothing that changes from day to day."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """The header: language, type and encoding."""
        language = [("Language", str(self.locale_identifier))] if self.locale_identifier else []
        kind = ("Content-Type", "text/plain; charset=utf-8")
        return [
            ("Project-Id-Version", "jayul"),
            *language,
            ("MIME-Version", "1.0"),
            kind,
            ("Content-Transfer-Encoding", "8bit"),
        ]

    @mime_headers.setter
    def mime_headers(self, headers: object) -> None:
        """Leave the header as it is, whatever a file says."""


def texts(path: Path) -> Iterator[str]:
    """Yield the constant texts that a source file or a template marks for translation, in order."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        found = extract_from_ast(jinja2.Environment(autoescape=True).parse(source), ("_",))
        yield from (text for _, _, text in found if isinstance(text, str))
        return
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        if isinstance(call.func, ast.Name) and call.func.id in ("_", "N_") and call.args:
            argument = call.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value:
                yield argument.value


def template() -> Plain:
    """Return the catalogue of all texts, untranslated."""
    catalog = Plain(header_comment="# Texts of Jayul.", fuzzy=False)
    for path in sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.html")]):
        for text in texts(path):
            catalog.add(text, locations=[(path.relative_to(ROOT).as_posix(), 0)])
    return catalog


def merged(language: str) -> Plain:
    """Return the template with the translations that there are; a text that was changed a little comes as fuzzy.

    Translations of texts that are gone are kept, as obsolete, and used again if their text comes back.
    """
    path = po_path(language)
    catalog = read_po(io.BytesIO(path.read_bytes()), locale=language) if path.exists() else Catalog(locale=language)
    for message in catalog.obsolete.values():
        catalog.add(message.id, message.string)
    catalog.obsolete.clear()
    catalog.update(template())
    found = Plain(locale=language, header_comment=f"# Texts of Jayul: {language}.", fuzzy=False)
    for message in catalog:
        if message.id:
            flags = message.flags & {"fuzzy"}
            found.add(message.id, message.string, message.locations, flags, user_comments=message.user_comments)
    gone = sorted(catalog.obsolete.values(), key=lambda message: str(message.id))
    found.obsolete = {str(m.id): Message(m.id, m.string) for m in gone if m.string and not m.fuzzy}
    return found


def po_path(language: str) -> Path:
    """Return where the texts of a language stand; the compiled ones stand beside, as `.mo`."""
    return LOCALE / language / "LC_MESSAGES" / "jayul.po"


def as_po(catalog: Plain) -> bytes:
    """Return a catalogue as text."""
    out = io.BytesIO()
    write_po(out, catalog, width=0, include_lineno=False)
    return out.getvalue()


def as_mo(catalog: Plain) -> bytes:
    """Return a catalogue compiled."""
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def placeholders(text: str) -> set[str]:
    """Return the {placeholders} of a text, with their formats. Raises ValueError if a brace stands alone."""
    return {f"{name}:{spec}" for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


def wrong(message: Message) -> str:
    """Say what is wrong with a translation, or nothing."""
    if not message.string:
        return "not translated"
    if message.fuzzy:
        return "fuzzy: look at it again and take the mark away"
    try:
        same = placeholders(str(message.id)) == placeholders(str(message.string))
    except ValueError as error:
        return str(error)
    return "" if same else "placeholders differ"


def files() -> Iterator[tuple[Path, bytes]]:
    """Yield every file of the catalogue with what belongs into it."""
    yield LOCALE / "jayul.pot", as_po(template())
    for language in LANGUAGES:
        catalog = merged(language)
        yield po_path(language), as_po(catalog)
        yield po_path(language).with_suffix(".mo"), as_mo(catalog)


def main() -> int:
    """Write the catalogue, or compare; say what is wrong with it."""
    found = 0
    for path, data in files():
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        elif not path.exists() or path.read_bytes() != data:
            print(f"{path.relative_to(ROOT)} is not current; run: make i18n")
            found = 1
    for language in LANGUAGES:
        for message in merged(language):
            if message.id and (what := wrong(message)):
                print(f"{language}: {what}: {message.id!r}")
                found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())
