"""Bytes -> rows of text: unpacked, decoded, cut at the delimiter. Encoding by strict trial over the whole file, never by chance."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from jayul.plant.errors import Refused

PIECE = 1 << 20
LONGEST_CELL = 1 << 20
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
DELIMITERS = (",", ";", "\t", "|")
UNIT_SIGNS = b"\xb0\xb5\xb2\xb3"  # degree, micro, square, cube in cp1252
_LONE_ZERO = re.compile(rb"(?<!\0)\0(?!\0)")
_LEAD = re.compile(rb"[\x80-\xff]+")


class Row(NamedTuple):
    """A row of a text file, and its number (from 1, in lines of the file: that of its last line)."""

    line: int
    cells: list[str]


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file, through gzip or zip if it is packed. Raises Refused."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(file) as inside:
                yield cast("BinaryIO", inside)
        elif head == b"PK\x03\x04":
            try:
                packed = zipfile.ZipFile(file)
            except zipfile.BadZipFile as error:
                raise Refused(f"{path}: cannot be unpacked: {error}") from None
            with packed:
                names = [n for n in packed.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
                if len(names) != 1:
                    raise Refused(f"{path}: holds {len(names)} files; unpack it, and import the folder")
                if packed.getinfo(names[0]).flag_bits & 1:
                    raise Refused(f"{path}: is encrypted; unpack it first")
                with packed.open(names[0]) as member:
                    yield cast("BinaryIO", member)
        else:
            yield file


def encoding_of(path: Path, said: str = "") -> tuple[str, str]:
    """Return the encoding and how it was decided. Raises Refused."""
    if said:
        _decodes(path, said, strict=True)
        return said, "said"
    head = next(_pieces(path), b"")
    for mark, name in BOMS:
        if head.startswith(mark):
            _decodes(path, name, strict=True)
            return name, "byte order mark"
    if wide := _utf_16(path, head):
        _decodes(path, wide, strict=True)
        return wide, "every other byte is 0"
    _is_text(path, head)
    if _decodes(path, "utf-8"):
        return "utf-8", "strict trial"
    if _decodes(path, "euc_kr"):
        return "cp949", "strict trial"
    if _only_unit_signs(path):
        return "cp1252", "only signs of units lie outside ASCII"
    western, korean = _decodes(path, "cp1252"), _decodes(path, "cp949")
    if korean and not western:
        return "cp949", "strict trial"
    if western and not korean:
        return "cp1252", "strict trial"
    raise Refused(
        f"{path}: its encoding cannot be told for sure; say --encoding, for Korean often cp949, else cp1252 or utf-16"
    )


def _utf_16(path: Path, head: bytes) -> str:
    """Return UTF-16 without its mark by where single zero bytes stand; runs of them are a file that was never filled."""
    places = [found.start() % 2 for found in _LONE_ZERO.finditer(head)]
    if len(places) <= 0.05 * len(head):
        return ""
    high = sum(places)
    if high > 0.9 * len(places):
        return "utf-16-le"
    if high < 0.1 * len(places):
        return "utf-16-be"
    raise Refused(
        f"{path}: its encoding cannot be told for sure; say --encoding, for Korean often cp949, else cp1252 or utf-16"
    )


def _is_text(path: Path, head: bytes) -> None:
    if not head.strip(b"\0\r\n\t "):
        raise Refused(f"{path}: is empty")
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t")[:400].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<meta", b"<head")):
        raise Refused(f"{path}: is a web page or XML, no table; open it in Excel and save it as .xlsx or CSV")
    if start.startswith((b"%pdf", b"\x89png", b"\x7felf", b"mz\x90", b"\xff\xd8\xff", b"sqlite format", b"{\\rtf")):
        raise Refused(f"{path}: is no table; give a CSV, Excel, Parquet or Arrow file")
    control = sum(head.count(bytes([code])) for code in (*range(1, 9), *range(14, 27), 28, 29, 30, 31, 127))
    if control > 0.01 * len(head):
        raise Refused(f"{path}: is no table; give a CSV, Excel, Parquet or Arrow file")


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with unpacked(path) as file:
            while piece := file.read(PIECE):
                yield piece
    except (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, OSError) as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
            raise
        raise Refused(f"{path}: cannot be unpacked: {error}") from None


def _decodes(path: Path, name: str, *, strict: bool = False) -> bool:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for piece in _pieces(path):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        if strict:
            raise Refused(
                f"{path}: is not '{name}' throughout: {error.reason}; say --encoding, or have it exported again"
            ) from None
        return False
    return True


def _only_unit_signs(path: Path) -> bool:
    runs = set[bytes]()
    for piece in _pieces(path):
        runs.update(_LEAD.findall(piece))
        if any(len(run) > 1 or run not in UNIT_SIGNS for run in runs):
            return False
    return True


class Text:
    """The rows of a text file. `nul`: characters that were taken out; `cut`: the last line has no end, and did not count."""

    kind = "text"

    def __init__(self, path: Path, encoding: str, delimiter: str, *, whole: bool = False) -> None:
        self.path, self.encoding, self.delimiter, self.whole = path, encoding, delimiter, whole
        self.nul, self.cut = 0, False

    def _lines(self) -> Iterator[str]:
        self.nul, self.cut, line = 0, False, ""
        with unpacked(self.path) as raw, io.TextIOWrapper(raw, self.encoding, newline="") as text:
            for line in text:
                if "\0" in line:
                    self.nul += line.count("\0")
                    line = line.replace("\0", "")
                if line == "\x1a":  # the end of a file in DOS
                    continue
                self.cut = not line.endswith(("\n", "\r"))
                yield line

    def rows(self) -> Iterator[Row]:
        """Yield the rows, blank ones too. Raises Refused."""
        csv.field_size_limit(LONGEST_CELL)
        reader = csv.reader(self._lines(), delimiter=self.delimiter)
        waiting: Row | None = None
        try:
            for cells in reader:
                if waiting is not None:
                    yield waiting
                waiting = Row(reader.line_num, cells)
        except csv.Error as error:
            raise Refused(f"{self.path}, line {reader.line_num}: {error}; is a quote left open?") from None
        except (EOFError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            raise Refused(f"{self.path}: cannot be unpacked: {error}") from None
        if self.whole:
            self.cut = False
        if waiting is not None and not self.cut:
            yield waiting
