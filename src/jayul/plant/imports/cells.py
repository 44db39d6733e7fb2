"""Cells -> value and status: numbers in either notation, words for bad data as OPC UA codes, states, units within the cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul.core.types import BAD, BAD_NO_DATA, GOOD
from jayul.plant.imports.units import is_unit

UNCERTAIN = 0x4000_0000
COMMUNICATION, NOT_CONNECTED, SENSOR, OUT_OF_SERVICE = 0x8005_0000, 0x808A_0000, 0x808C_0000, 0x808D_0000
CONFIGURATION, WAITING, OUT_OF_RANGE, TYPE_MISMATCH, TIMEOUT = 0x8089_0000, 0x8032_0000, 0x803C_0000, 0x8074_0000, 0x800A_0000
Array = np.ndarray[Any, Any]

_WORDS = {
    BAD_NO_DATA: (
        "no data|nodata|no value|no sample|no good data|-|--|---|n/a|na|#n/a|#n/a n/a|nan|#nan|null|none|(null)|nil|"
        "<no data>|없음|결측|자료없음|데이터없음"
    ),
    BAD: (
        "bad|bad data|bad value|bad quality|불량|에러|오류|error|err|calc failed|bad calc|calc fail|#div/0!|#value!|"
        "#ref!|#name?|#num!|#null!|?|??|????"
    ),
    SENSOR: (
        "bad input|sensor failure|sensor fail|bad pv|bad sensor|open circuit|open wire|센서불량|센서고장|센서이상|고장|단선"
    ),
    COMMUNICATION: (
        "comm fail|comm error|comm err|comm loss|communication error|communication failure|bad comm|no comm|통신불량|"
        "통신이상|통신두절|통신장애|통신오류|통신에러|통신단절"
    ),
    TIMEOUT: "i/o timeout|io timeout|timeout|timed out|time out",
    NOT_CONNECTED: "not connect|not connected|disconnected|no connection|미연결|연결안됨",
    WAITING: "pt created|pt. created|waiting for initial data|initial|no initial data",
    CONFIGURATION: "configure|config error|configuration error|access denied|no access|bad tag|pt_not_found|tag not found",
    OUT_OF_SERVICE: (
        "shutdown|scan off|out of serv|out of service|scan timeout|intf shut|interface shutdown|off scan|maintenance|"
        "calibration|점검|점검중|교정|교정중|미사용|비활성"
    ),
    OUT_OF_RANGE: (
        "over range|under range|overrange|underrange|over|under|inf|-inf|+inf|infinity|-infinity|범위초과|range error"
    ),
}
WORDS = {word: code for code, words in _WORDS.items() for word in words.split("|")}
STATES = {
    word: float(code)
    for pair in (
        "off|on", "false|true", "no|yes", "closed|open", "close|open", "stop|run", "stop|start", "stopped|running",
        "stopped|started", "inactive|active", "disabled|enabled", "정지|운전", "정지|가동", "정지|기동", "꺼짐|켜짐", "닫힘|열림",
        "거짓|참", "차단|투입",
    )
    for code, word in enumerate(pair.split("|"))
}  # fmt: skip
_GOOD = "good|ok|g|valid|192|양호|정상|좋음|good, non-specific|good [non-specific]|non-specific|true"
_DOUBT = "uncertain|questionable|doubtful|suspect|substituted|annotated|s|q|u|의심|불확실|추정"
QUALITIES = {
    **WORDS, **dict.fromkeys(_GOOD.split("|"), GOOD), **dict.fromkeys(_DOUBT.split("|"), UNCERTAIN),
    **dict.fromkeys(("b", "invalid", "bad, non-specific", "bad [non-specific]", "false", "이상", "무효"), BAD),
}  # fmt: skip

POINT = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_COMMA = r"^[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?$"
_GROUPED = {  # thousands
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[+-]?[1-9]\d{0,2}(?:[ '’]\d{3})+(?:\.\d+)?"),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?|[+-]?[1-9]\d{0,2}(?:[ '’]\d{3})+(?:,\d+)?"),
}
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")
_NUMERIC = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?")
_WITH_UNIT = re.compile(r"([+-]?[\d.,]+(?:[eE][+-]?\d+)?) ?([^\d\s.,+\-:/][^\s:]{0,11})")


class Evidence:
    """What cells say of the decimal sign: `point` and `comma` hold an example, `either` cells that may be read both ways."""

    def __init__(self) -> None:
        self.point, self.comma, self.either = "", "", {"": "", ".": "", ",": ""}

    def add(self, cells: Iterable[str]) -> None:
        """Look at more cells (each different one once is enough)."""
        for cell in cells:
            text = cell.strip()
            if (found := _WITH_UNIT.fullmatch(text)) and is_unit(found[2]):
                text = found[1]
            if not _NUMERIC.fullmatch(text) or not set(text) & {".", ","}:
                continue
            if found := _EITHER.fullmatch(text):
                self.either[found[1]] = self.either[found[1]] or text
            elif re.fullmatch(POINT, text) or _GROUPED["."].fullmatch(text):
                self.point = self.point or text
            elif re.fullmatch(_COMMA, text) or _GROUPED[","].fullmatch(text):
                self.comma = self.comma or text


class Numbers(NamedTuple):
    """Columns: `value` float64, `status` uint32, `there` (a sample at all), `word` (position in `Words.names`, 0: a number)."""

    value: Array
    status: Array
    there: Array
    word: Array


class Words:
    """Reads cells that are no plain number; remembers what each one came to."""

    def __init__(self, decimal: str) -> None:
        self.decimal = decimal or "."
        self.names, self._codes = [""], dict[str, int]()
        self._memo = dict[str, tuple[float, int, str]]()
        self.units = dict[str, int]()

    def code(self, word: str) -> int:
        """Return the position of a word in `names`."""
        if word not in self._codes:
            self._codes[word] = len(self.names)
            self.names.append(word)
        return self._codes[word]

    def read(self, cell: str, states: Mapping[str, float] | None = None) -> tuple[float, int, str]:
        """Return value, status, and the word if it was none of the numbers; `word:unit` for a number with its unit."""
        text = _tidy(cell)
        folded = text.casefold()
        if states and folded in states:
            return states[folded], GOOD, text
        if text not in self._memo:
            if len(self._memo) > 200_000:
                self._memo.clear()
            self._memo[text] = self._read(text, folded)
        return self._memo[text]

    def _read(self, text: str, folded: str) -> tuple[float, int, str]:
        if (value := self._number(text)) is not None:
            return value, GOOD, ""
        if folded in WORDS or folded.replace(" ", "") in WORDS:
            return math.nan, WORDS.get(folded, WORDS.get(folded.replace(" ", ""), BAD)), text
        if folded in STATES:
            return STATES[folded], GOOD, text
        if (found := _WITH_UNIT.fullmatch(text)) and is_unit(found[2]):
            value = self._number(found[1])
            if value is not None:
                return value, GOOD, "\0" + found[2]
        return math.nan, TYPE_MISMATCH, text

    def _number(self, text: str) -> float | None:
        if self.decimal == ",":
            plain = text.replace(",", ".") if re.fullmatch(_COMMA, text) else ""
        else:
            plain = text if re.fullmatch(POINT, text) else ""
        if not plain and _GROUPED[self.decimal].fullmatch(text):
            plain = re.sub(r"[ '’]", "", text).replace("." if self.decimal == "," else ",", "").replace(",", ".")
        value = float(plain) if plain else math.nan
        return value if math.isfinite(value) else None

    def column(self, cells: pa.Array, states: Mapping[str, float] | None = None, *, keep_blank: bool = False) -> Numbers:
        """Read a column. Blank cells are no samples, unless `keep_blank`: then they are Bad_NoData."""
        n = len(cells)
        if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
            return self._typed(cells, keep_blank=keep_blank)
        value, status, word = np.full(n, np.nan), np.zeros(n, np.uint32), np.zeros(n, np.int32)
        cells = pc.utf8_trim_whitespace(pc.fill_null(cells, ""))
        there = pc.not_equal(cells, "").to_numpy(zero_copy_only=False)
        plain = there & pc.match_substring_regex(cells, POINT if self.decimal == "." else _COMMA).to_numpy(zero_copy_only=False)
        if plain.any():
            text = cells.filter(pa.array(plain)) if not plain.all() else cells
            text = pc.replace_substring(text, ",", ".") if self.decimal == "," else text
            text = pc.replace_substring_regex(text, r"^\+", "")
            value[plain] = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
            plain &= np.isfinite(value)  # 1e999 is no number
        rest = np.flatnonzero(there & ~plain)
        if len(rest):
            coded = pc.dictionary_encode(cells.take(pa.array(rest)))
            read = [self.read(text, states) for text in coded.dictionary.to_pylist()]
            pick = coded.indices.to_numpy()
            value[rest] = np.array([one[0] for one in read])[pick]
            status[rest] = np.array([one[1] for one in read], np.uint32)[pick]
            word[rest] = np.array([self.code(one[2]) if one[2] else 0 for one in read], np.int32)[pick]
        if keep_blank:
            status[~there], there = BAD_NO_DATA, np.ones(n, bool)
        return Numbers(value, status, there, word)

    def _typed(self, cells: pa.Array, *, keep_blank: bool) -> Numbers:
        """Read a column that holds numbers or truth values by its type."""
        if pa.types.is_boolean(cells.type):
            cells = cells.cast(pa.int8())
        there = pc.is_valid(cells).to_numpy(zero_copy_only=False).copy()
        value = cells.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False).copy()
        finite = np.isfinite(value)
        status = np.where(finite, GOOD, np.where(np.isinf(value), OUT_OF_RANGE, BAD_NO_DATA)).astype(np.uint32)
        value[~finite] = np.nan
        there = np.ones(len(value), bool) if keep_blank else there
        return Numbers(value, status, there, np.zeros(len(value), np.int32))


class Quality:
    """Reads a status column: words, or numbers of one of the schemes `opcua`, `opcda`, `aveva`, `validity`."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.unknown = set[str]()

    def column(self, cells: pa.Array) -> Array:
        """Return OPC UA status codes, uint32. What is empty or unknown is uncertain."""
        coded = pc.dictionary_encode(pc.utf8_trim_whitespace(pc.fill_null(as_text(cells), "")))
        codes = np.array([self.code(text) for text in coded.dictionary.to_pylist()] or [0], np.uint32)
        return codes[coded.indices.to_numpy()] if len(cells) else codes[:0]

    def code(self, text: str) -> int:
        """Return the OPC UA status code of one cell."""
        folded = _tidy(text).casefold()
        if (number := whole(folded)) is not None:
            return _of_scheme(self.scheme, number)
        if folded in QUALITIES:
            return QUALITIES[folded]
        if folded:
            self.unknown.add(text)
        return UNCERTAIN


def whole(text: str) -> int | None:
    """Return a status number as it is written: 192, 192.0, 0x80000000."""
    if re.fullmatch(r"\d{1,10}(\.0+)?", text):
        return int(text.partition(".")[0])
    return int(text, 16) if re.fullmatch(r"0x[0-9a-f]{1,8}", text) else None


def scheme_of(numbers: set[int], header: str) -> str:
    """Return what numbers in a status column mean, if they or the column's name tell; else nothing."""
    if not numbers or header.casefold() in ("validity", "varvalid"):
        return "validity" if numbers else "opcua"
    if max(numbers) >= UNCERTAIN or "statuscode" in header.casefold().replace(" ", "").replace("_", ""):
        return "opcua"
    return "opcda" if max(numbers) < 0x10000 and any(number & 0xFF >= 64 for number in numbers) else ""


def _of_scheme(scheme: str, number: int) -> int:
    if scheme == "opcua":
        return number & 0xFFFF_FFFF
    if scheme == "opcda":
        return (BAD, UNCERTAIN, BAD, GOOD)[(number >> 6) & 3]
    if scheme == "validity":
        return GOOD if number == 1 else BAD
    return {0: GOOD, 1: BAD, 16: UNCERTAIN}.get(number, UNCERTAIN)


def as_text(cells: pa.Array) -> pa.Array:
    """Return a column as text."""
    return cells if pa.types.is_string(cells.type) else pc.cast(cells, pa.string())


def _tidy(cell: str) -> str:
    """Take out what only looks different: odd blanks, the long minus, a spreadsheet's apostrophe."""
    text = cell.strip().replace("\u00a0", " ").replace("\u202f", " ")
    return re.sub(r"^[\u2212\u2013](?=[\d.,])", "-", text)
