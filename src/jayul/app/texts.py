"""Texts in the reader's language, by gettext. English is the source; Korean stands in `locale/ko`.

The language is `--lang`, else `JAYUL_LANG`, else that of the environment, else English.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "ko")
_default = "en"
_chosen: ContextVar[str] = ContextVar("language", default="")  # of one request of the web app; empty: the default


def choose(arguments: Sequence[str]) -> str:
    """Return the language that the command line or the environment asks for."""
    for i, argument in enumerate(arguments):
        if argument == "--lang" and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith("--lang="):
            return argument.partition("=")[2]
    for name in ("JAYUL_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if (value := os.environ.get(name, "")) and value[:2] in LANGUAGES:
            return value[:2]
    return "en"


def setup(language: str) -> None:
    """Use a language from now on."""
    global _default
    _default = language


def here(language: str) -> None:
    """Use a language in this context (one request) alone."""
    _chosen.set(language)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("jayul", Path(__file__).parent / "locale", [language], fallback=True)


def current() -> str:
    """Return the language that is in use."""
    return _chosen.get() or _default


def _(text: str) -> str:
    """Return a text in the reader's language."""
    return _catalogue(current()).gettext(text) if text else text
