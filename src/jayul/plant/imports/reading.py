"""Pieces of a file -> samples: the one way in which both the survey and the import read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul.core.types import BAD, BAD_NO_DATA
from jayul.plant.errors import Refused
from jayul.plant.imports import times, units
from jayul.plant.imports.cells import TYPE_MISMATCH, UNCERTAIN, Numbers, Quality, Words, as_text
from jayul.plant.imports.evidence import Settled
from jayul.plant.imports.options import Options
from jayul.plant.imports.source import Chunk, Source
from jayul.plant.imports.zones import Zone

FOOTER = re.compile(
    r"^\W*((total|sum|average|avg|mean|min|max|minimum|maximum|count|std|stdev|end|eof|rows?|\d+ rows?)(?![A-Za-z])|"
    r"합계|총계|평균|최소|최대|최솟값|최댓값|소계|표준편차|끝|이하 ?여백|자료 ?끝)",
    re.I,
)
COMMENT = ("#", "//", "--", "$RT", "'", "*")
TRAILING = 20  # rows after the data that may be passed over
Array = np.ndarray[Any, Any]


class Samples(NamedTuple):
    """Columns in the order of the rows: tag (position in `Reading.names`), source_at, value, status, word (of `Reading.words`)."""

    tag: Array
    source_at: Array
    value: Array
    status: Array
    word: Array


class Reading:
    """Reads one file once. `names` grows as tags are met; the counters say what was passed over."""

    def __init__(self, source: Source, settled: Settled, options: Options) -> None:
        self.source, self.layout, self._settled, self._options = source, source.layout, settled, options
        self.path = source.rows.path
        self.words, self.quality = Words(settled.decimal), Quality(settled.quality)
        self.zone = Zone(self.path, options.timezone, options.repeated)
        self.names = [column.name for column in self.layout.columns]
        self._place = {name: i for i, name in enumerate(self.names)}
        self.units: dict[int, set[str]] = {i: {c.unit} for i, c in enumerate(self.layout.columns) if c.unit}
        self.shapes = set[str]()
        self.passed = dict[str, int]()  # rows that are no samples, by reason
        self._hint = list(times.SHAPES)
        self._waiting: list[tuple[int, str]] = []  # rows without a time: fine at the end, wrong in the middle

    def samples(self, chunk: Chunk) -> Samples:
        """Return the samples of a piece. Raises Refused."""
        if self.layout.kind == "long":
            return self._long(chunk)
        parts, known = [], dict[tuple[int, ...], tuple[Array, Array]]()
        for place, column in enumerate(self.layout.columns):
            if column.times not in known:
                known[column.times] = self._times(chunk, column.times, np.full(len(chunk.lines), column.times[0]))
            at, ok = known[column.times]
            cells = self._whole_cells(chunk, column.index)
            numbers = self.words.column(cells, self._states(column.name), keep_blank=False)
            if column.status >= 0:
                numbers = self._judged(numbers, chunk.columns[column.status])
            there = numbers.there & ok
            if there.any() and not column.name:
                index = column.index + 1
                raise Refused(f"{self.path}: column {index} has values but no name; name it in --tag-map as #{index}")
            if (orphan := numbers.there & ~ok & self._timeless(chunk, column.times)).any():
                line = int(chunk.lines[np.flatnonzero(orphan)[0]])
                if len(known) > 1 or len({c.times for c in self.layout.columns}) > 1:
                    raise Refused(f"{self.path}, line {line}: '{column.name}' has a value but no time")
            rows = np.flatnonzero(there)
            parts.append((rows, place, at, numbers))
        return _interleave(parts)

    def _timeless(self, chunk: Chunk, places: tuple[int, ...]) -> Array:
        cells = chunk.columns[places[0]]
        if not pa.types.is_string(cells.type):
            return np.asarray(pc.is_null(cells).to_numpy(zero_copy_only=False))
        return np.asarray(pc.equal(pc.utf8_trim_whitespace(pc.fill_null(cells, "")), "").to_numpy(zero_copy_only=False))

    def _whole_cells(self, chunk: Chunk, place: int) -> pa.Array:
        """Return a column. Raises Refused if a cell swallowed a line: a quote was left open before it."""
        cells = chunk.columns[place]
        if pa.types.is_string(cells.type) and pc.any(pc.match_substring(cells, "\n")).as_py():
            line = int(chunk.lines[pc.index(pc.match_substring(cells, "\n"), True).as_py()])
            raise Refused(f"{self.path}, line {line}: a cell reaches over a line break; is a quote left open?")
        return cells

    def _states(self, name: str) -> dict[str, float]:
        mapped = next((m for m in self._options.tag_map.values() if m.name == name and m.states), None)
        known = self._options.known.get(name)
        return mapped.states if mapped else known.states if known else {}

    def _judged(self, numbers: Numbers, cells: pa.Array) -> Numbers:
        """Put the status of its own column to a value; the worse of the two counts."""
        codes = self.quality.column(cells)
        blank = pc.equal(pc.fill_null(as_text(cells), ""), "").to_numpy(zero_copy_only=False)
        cell = np.where(numbers.there, numbers.status, BAD_NO_DATA).astype(np.uint32)
        vague = (codes == BAD) | (codes == UNCERTAIN)
        keep = (cell >= UNCERTAIN) & ((codes < UNCERTAIN) | (vague & (numbers.word > 0)))
        status = np.where(keep, cell, codes).astype(np.uint32)
        there = numbers.there | (~blank & (codes >= UNCERTAIN))
        word = np.where(keep | (codes < UNCERTAIN), numbers.word, self.words.code("(status)")).astype(np.int32)
        return Numbers(numbers.value, status, there, word)

    def _times(self, chunk: Chunk, places: tuple[int, ...], key: Array) -> tuple[Array, Array]:
        """Return UTC ns and which rows have a time; notes those that have none. Raises Refused."""
        parsed = self._parse(chunk, places)
        self.shapes |= parsed.shapes
        if not parsed.ok.all():
            self._without_time(chunk, places, parsed.ok)
        elif self._waiting:
            self._in_the_middle(int(chunk.lines[0]))
        return self.zone.utc(parsed, key), parsed.ok

    def _parse(self, chunk: Chunk, places: tuple[int, ...]) -> times.Parsed:
        cells = chunk.columns[places[0]]
        if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
            return times.parse_typed(cells)
        if not pa.types.is_string(cells.type):
            cells = pa.array(
                [None if v is None else f"{v:.9f}" if isinstance(v, float) else str(v) for v in cells.to_pylist()], pa.string()
            )
        cells = pc.utf8_trim_whitespace(pc.fill_null(cells, ""))
        cells = pc.replace_substring_regex(cells, r"[\s\x{00a0}\x{202f}]+", " ")
        cells = pc.replace_substring_regex(cells, "^'", "")
        if len(places) > 1:
            beside = pc.utf8_trim_whitespace(pc.fill_null(as_text(chunk.columns[places[1]]), ""))
            beside = pc.replace_substring_regex(beside, r"^(1899-12-3[01]|1900-01-0[01]) ", "")
            cells = pc.utf8_trim_whitespace(pc.binary_join_element_wise(cells, beside, " "))
        if self._options.time_format:
            return times.parse_format(cells, self._options.time_format)
        if self.source.counted:
            return times.parse_numbers(cells, self.source.counted)
        return times.parse(cells, self._settled.orders, self._hint)

    def _without_time(self, chunk: Chunk, places: tuple[int, ...], ok: Array) -> None:
        first = int(places[0])
        several = len({column.times for column in self.layout.columns}) > 1
        blanks = self._timeless(chunk, places)
        good = np.flatnonzero(ok)
        last = int(good[-1]) if len(good) else -1
        for row in np.flatnonzero(~ok).tolist():
            if several and blanks[row]:
                continue  # a shorter series beside a longer one
            cells = [str(column[row].as_py() or "").strip() for column in chunk.columns]
            shown = next((cell for cell in (cells[first], *cells) if cell), "")
            header = [units.tidy(cell) for cell in cells] == [units.tidy(name) for name in self.layout.names] or (
                units.tidy(cells[first]) == self.layout.names[first] and bool(cells[first])
            )
            if not shown:
                continue
            line = int(chunk.lines[row])
            if header:
                self._pass("header again")
            elif FOOTER.match(shown):
                self._pass("totals")
            elif shown.startswith(COMMENT):
                self._pass("comment")
            else:
                self._waiting.append((line, shown))
                if row < last or len(self._waiting) > TRAILING:
                    self._in_the_middle(line)

    def _in_the_middle(self, line: int) -> None:
        number, text = self._waiting[0]
        del line
        raise Refused(f"{self.path}, line {number}: '{text[:60]}' is no time; mend the row, or give --time-format")

    def _pass(self, reason: str) -> None:
        self.passed[reason] = self.passed.get(reason, 0) + 1

    def finish(self) -> None:
        """Judge the rows after the last sample: words are passed over, what begins like a time is not. Raises Refused."""
        for _, text in self._waiting:
            if text[0].isdigit():
                self._in_the_middle(0)
            self._pass("after the data")
        self._waiting = []

    def _long(self, chunk: Chunk) -> Samples:
        layout = self.layout
        coded = pc.dictionary_encode(pc.fill_null(as_text(chunk.columns[layout.tag]), ""))
        names = coded.dictionary.to_pylist()
        if layout.exact and pa.types.is_string(chunk.columns[layout.value].type):  # CSV
            names = [units.unguarded(name) for name in names]
        places = np.array([self._tag(name) for name in names] or [-1], np.int64)
        tag = places[coded.indices.to_numpy()] if len(chunk.lines) else places[:0]
        at, ok = self._times(chunk, layout.times, tag)
        rows = np.flatnonzero(ok & (tag >= 0))
        nameless = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(as_text(chunk.columns[layout.tag]), "")), "").to_numpy(
            zero_copy_only=False
        )
        if (nameless & ok).any():
            line = int(chunk.lines[np.flatnonzero(nameless & ok)[0]])
            raise Refused(f"{self.path}, line {line}: the row names no tag")
        cells = self._whole_cells(chunk, layout.value)
        if layout.exact:
            return self._exact(chunk, cells, tag, at, rows)
        numbers = self._by_states(cells, tag, self.words.column(cells, keep_blank=True))
        if layout.status >= 0:
            numbers = self._judged(numbers, chunk.columns[layout.status])
        if layout.unit >= 0:
            self._note_units(tag, chunk.columns[layout.unit], rows)
        return Samples(tag[rows], at[rows], numbers.value[rows], numbers.status[rows], numbers.word[rows])

    def _by_states(self, cells: pa.Array, tag: Array, numbers: Numbers) -> Numbers:
        """Read the words of tags whose states are known by those."""
        if not pa.types.is_string(cells.type):
            return numbers
        for place in np.unique(tag[numbers.word > 0]).tolist():
            if place < 0 or not (states := self._states(self.names[place])):
                continue
            mine = np.flatnonzero((tag == place) & (numbers.word > 0))
            own = self.words.column(cells.take(pa.array(mine)), states)
            numbers.value[mine], numbers.status[mine], numbers.word[mine] = own.value, own.status, own.word
        return numbers

    def _exact(self, chunk: Chunk, cells: pa.Array, tag: Array, at: Array, rows: Array) -> Samples:
        """Read an export of our own: value and status as they stand."""
        if pa.types.is_string(cells.type):
            texts = pc.utf8_trim_whitespace(pc.fill_null(cells, ""))
            texts = pc.if_else(pc.equal(texts, ""), "nan", texts)
            try:
                cells = pc.cast(texts, pa.float64())
            except pa.ArrowInvalid as error:
                raise Refused(f"{self.path}: a value is no number: {error}") from None
        value = cells.cast(pa.float64()).fill_null(math.nan).to_numpy(zero_copy_only=False)
        status = self.quality.column(chunk.columns[self.layout.status])
        if self.quality.unknown:
            raise Refused(f"{self.path}: '{sorted(self.quality.unknown)[0]}' is no OPC UA status code")
        if self.layout.unit >= 0:
            self._note_units(tag, chunk.columns[self.layout.unit], rows)
        word = np.where(status >= UNCERTAIN, self.words.code("(status)"), 0).astype(np.int32)
        return Samples(tag[rows], at[rows], value[rows], status[rows], word[rows])

    def _tag(self, raw: str) -> int:
        """Return the place of a tag, -1 for a row that is left out."""
        name = units.tidy(raw)
        if not name or name.startswith("$RT_"):
            if name:
                self._pass("marker of the exporter")
            return -1
        mapped = self._options.tag_map.get(name)
        if mapped is not None:
            if not mapped.name:
                return -1
            name = mapped.name
        if name not in self._place:
            self._place[name] = len(self.names)
            self.names.append(name)
            if mapped is not None and mapped.unit:
                self.units[self._place[name]] = {mapped.unit}
        return self._place[name]

    def _note_units(self, tag: Array, cells: pa.Array, rows: Array) -> None:
        coded = pc.dictionary_encode(pc.fill_null(as_text(cells), ""))
        told = [units.unit_of(text) for text in coded.dictionary.to_pylist()]
        pairs = np.unique(tag[rows] * (len(told) + 1) + coded.indices.to_numpy()[rows])
        for pair in pairs.tolist():
            place, unit = divmod(pair, len(told) + 1)
            mapped = any(m.name == self.names[place] and m.unit for m in self._options.tag_map.values())
            if told[unit] and not mapped:
                self.units.setdefault(place, set()).add(told[unit])


def _interleave(parts: Sequence[tuple[Array, int, Array, Numbers]]) -> Samples:
    """Put columns one after another, then in the order of the rows."""
    if not parts:
        empty = np.zeros(0, np.int64)
        return Samples(empty, empty, empty.astype(float), empty.astype(np.uint32), empty.astype(np.int32))
    rows = np.concatenate([rows for rows, *_ in parts])
    tag = np.concatenate([np.full(len(rows), place, np.int64) for rows, place, *_ in parts])
    order = np.argsort(rows, kind="stable")
    columns = (
        np.concatenate([at[rows] for rows, _, at, _ in parts]),
        *(
            np.concatenate([getattr(numbers, name)[rows] for rows, *_, numbers in parts])
            for name in ("value", "status", "word")
        ),
    )
    return Samples(tag[order], *(column[order] for column in columns))


UNREADABLE = TYPE_MISMATCH  # the status of a cell that is neither number nor any word that is known
