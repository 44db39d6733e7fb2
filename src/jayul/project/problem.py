"""What is wrong with a manifest, as a struct: the app turns it into one line in the reader's language."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec


def N_(text: str) -> str:  # noqa: N802 - the customary mark for texts that the catalogue translates
    """Mark a text for translation; it is translated where it is shown."""
    return text


class Problem(msgspec.Struct, frozen=True):
    """One mistake: where (file, key path, line or 0) and what, as a template with its parameters."""

    file: str
    key: str
    line: int
    message: str
    params: dict[str, str] = {}

    @property
    def where(self) -> str:
        """The place, as `file:line: key: ` with what is known of it."""
        return self.file + (f":{self.line}" if self.line else "") + (f": {self.key}" if self.key else "") + ": "

    def __str__(self) -> str:
        return self.where + self.message.format(**self.params)


class ManifestError(Exception):
    """A manifest that cannot be used; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, or all of them in a list."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return close[0] if close else ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def show_path(path: Sequence[str | int]) -> str:
    """Write a key path as `policy[0].writes`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def read_path(text: str) -> list[str | int]:
    """Read a key path as msgspec writes it, like `$.policy[0].writes`."""
    return [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|\.([^.\[\]]+)", text)]


def find_line(text: str, path: Sequence[str | int]) -> int:
    """Return the line (from 1) on which a key path stands in TOML text, or that of the nearest table around it, or 0."""
    header, counts, best, best_depth = list[Any](), dict[str, int](), 0, 0
    for number, line in _statements(text):
        here: list[Any] = []
        if table := _HEADER.match(line):
            header = _table_path(_keys(table[2]), table[1] == "[[", counts)
            here = header
        elif key := _KEY.match(line):
            here = [*header, *_keys(key[1])]
        depth = len(here)
        if here and list(path[:depth]) == here and depth > best_depth:
            best, best_depth = number, depth
    return best


_NAME = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)"""
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]\]?\s*(#.*)?$")
_CLOSE = {'"""': re.compile(r'(?:[^\\]|\\.)*?"{3,5}'), "'''": re.compile(r".*?'{3,5}")}
_MARK = re.compile(r"""\"{3}|'{3}|"(?:[^"\\]|\\.)*"|'[^']*'|[#=\[\]{}]""")


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines on which a statement begins, without those inside multi-line strings and lists."""
    depth, quote = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not quote and not depth:
            yield number, line.rstrip("\r")
        value = depth > 0
        at = 0
        while found := (_CLOSE[quote].match(line, at) if quote else _MARK.search(line, at)):
            at, mark = found.end(), found[0]
            if quote or mark in _CLOSE:
                quote = "" if quote else mark
            elif mark == "#":
                break
            elif mark == "=":
                value = True
            elif value:
                depth = max(0, depth + (mark in "[{") - (mark in "]}"))


def _keys(text: str) -> list[str]:
    found = re.findall(r"""\"((?:[^"\\]|\\.)*)\"|'([^']*)'|([^\s."']+)""", text)
    return [re.sub(r"\\(.)", r"\1", double) or single or bare for double, single, bare in found]


def _table_path(keys: list[str], array: bool, counts: dict[str, int]) -> list[Any]:
    """Return the path of a table, with the index of every array of tables on the way."""
    path: list[Any] = []
    for i, key in enumerate(keys):
        path.append(key)
        name = show_path(path)
        if array and i == len(keys) - 1:
            counts[name] = counts.get(name, -1) + 1
        if name in counts:
            path.append(counts[name])
    return path
