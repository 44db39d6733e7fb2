"""Understand a file of records, then read it: `understand` says what it holds and how that was decided; `batches` gives samples.

The file is read twice, in pieces; memory does not grow with its length (but for Excel, whose sheets are read whole).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from jayul.plant.errors import Refused
from jayul.plant.imports.cells import STATES, TYPE_MISMATCH, UNCERTAIN
from jayul.plant.imports.evidence import Settled, settle
from jayul.plant.imports.options import Options
from jayul.plant.imports.reading import Reading, Samples
from jayul.plant.imports.sheet import Sheet
from jayul.plant.imports.source import Source, open_source
from jayul.plant.imports.text import Text
from jayul.plant.imports.units import unit_of
from jayul.record.batch import Batch

KEPT = 4096  # times of a tag from which its median interval is taken
SHOWN_WORDS = 20
Array = np.ndarray[Any, Any]
Said = Callable[[int], None]  # called with the number of samples read so far
Look = Callable[[Samples, Sequence[str]], None]  # called with each piece, and the names that its positions count


class Series(msgspec.Struct, frozen=True):
    """One tag of a file: samples in all, bad ones, bad ones by word, first and last (UTC ns), median interval (ns, 0: unknown),
    states met (word -> code), steps back in time, and repeated times in neighbouring rows.
    """

    name: str
    unit: str
    count: int
    bad: int
    words: dict[str, int]
    first: int
    last: int
    interval: int
    states: dict[str, float] = {}
    unsorted: int = 0
    repeated: int = 0
    about: str = ""


class Understood(msgspec.Struct, frozen=True):
    """What a file was understood to be. `layout`: wide or long. `why`: how what was open was decided. `refused`: why not, or empty.

    `left_out`: columns and tags that are not taken in, with the reason. `passed`: rows that are no samples, by reason. `warnings`
    are in English.
    """

    path: str
    encoding: str = ""
    delimiter: str = ""
    sheet: str = ""
    layout: str = ""
    headers: tuple[int, ...] = ()
    time: str = ""
    time_form: str = ""
    zone: str = ""
    decimal: str = ""
    quality: str = ""
    why: dict[str, str] = {}
    tags: tuple[Series, ...] = ()
    left_out: dict[str, str] = {}
    passed: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    refused: str = ""


class Import(msgspec.Struct, frozen=True):
    """A file that was understood, ready to be read."""

    understood: Understood
    source: Source
    settled: Settled
    options: Options

    @property
    def names(self) -> tuple[str, ...]:
        """The tags that are taken in; positions in batches count these."""
        return tuple(series.name for series in self.understood.tags)


class _Tally:
    """What the survey adds up, by tag."""

    def __init__(self) -> None:
        self.count, self.bad, self.numbers = (np.zeros(0, np.int64) for _ in range(3))
        self.first, self.last = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.unsorted, self.repeated = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.words = dict[tuple[int, int], int]()
        self.kept = dict[int, list[Array]]()
        self._end = np.zeros(0, np.int64)

    def add(self, samples: Samples, tags: int) -> None:
        """Count one piece."""
        self._grow(tags)
        if not len(samples.tag):
            return
        bad = samples.status >= UNCERTAIN
        self.count += np.bincount(samples.tag, minlength=tags)
        self.bad += np.bincount(samples.tag[bad], minlength=tags)
        self.numbers += np.bincount(samples.tag[samples.word == 0], minlength=tags)
        self._words(samples)
        order = np.argsort(samples.tag, kind="stable")
        tag, at = samples.tag[order], samples.source_at[order]
        starts = np.flatnonzero(np.r_[True, tag[1:] != tag[:-1]])
        present = tag[starts]
        before = np.r_[at[:1], at[:-1]]
        before[starts] = self._end[present]
        self._end[present] = at[np.r_[starts[1:] - 1, len(at) - 1]]
        self.unsorted += np.bincount(tag[at < before], minlength=tags)
        self.repeated += np.bincount(tag[at == before], minlength=tags)
        self.first[present] = np.minimum(self.first[present], np.minimum.reduceat(at, starts))
        self.last[present] = np.maximum(self.last[present], np.maximum.reduceat(at, starts))
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(at)], strict=True):
            kept = self.kept.setdefault(int(tag[start]), [])
            if (room := KEPT - sum(map(len, kept))) > 0:
                kept.append(at[start : min(end, start + room)])

    def _words(self, samples: Samples) -> None:
        worded = np.flatnonzero((samples.word > 0) | (samples.status >= UNCERTAIN))
        pairs = samples.tag[worded] * 1_000_000 + samples.word[worded]
        for pair, n in zip(*(column.tolist() for column in np.unique(pairs, return_counts=True)), strict=True):
            key = divmod(pair, 1_000_000)
            self.words[key] = self.words.get(key, 0) + n

    def _grow(self, tags: int) -> None:
        more = tags - len(self.count)
        if more > 0:
            for name in ("count", "bad", "numbers", "unsorted", "repeated"):
                setattr(self, name, np.r_[getattr(self, name), np.zeros(more, np.int64)])
            low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
            self.first, self.last = np.r_[self.first, np.full(more, high)], np.r_[self.last, np.full(more, low)]
            self._end = np.r_[self._end, np.full(more, low)]

    def interval(self, place: int) -> int:
        """Return the median time between neighbours, ns."""
        times = np.unique(np.concatenate(self.kept[place])) if place in self.kept else np.zeros(0, np.int64)
        return int(np.median(np.diff(times))) if len(times) > 1 else 0


def understand(path: Path, options: Options, said: Said = lambda n: None, look: Look = lambda s, n: None) -> Import:
    """Read a whole file once and say what it holds. `look` is handed every piece. Raises Refused with one line, OSError."""
    source = open_source(path, options)
    settled = settle(source, options)
    reading, tally, done = Reading(source, settled, options), _Tally(), 0
    for chunk in source.chunks():
        samples = reading.samples(chunk)
        _fits(reading, settled, options)
        tally.add(samples, len(reading.names))
        look(samples, reading.names)
        done += len(samples.tag)
        said(done)
    reading.finish()
    tally.add(Samples(*(np.zeros(0, np.int64),) * 5), len(reading.names))
    return Import(_report(path, source, settled, options, reading, tally), source, settled, options)


def batches(found: Import, known_at: int) -> Iterator[Batch]:
    """Read the file again, as samples known at `known_at` (ns); positions count `found.names`. Raises Refused, OSError."""
    wanted = {name: i for i, name in enumerate(found.names)}
    reading = Reading(found.source, found.settled, found.options)
    for chunk in found.source.chunks():
        samples = reading.samples(chunk)
        places = np.array([wanted.get(name, -1) for name in reading.names] or [-1], np.int64)
        tag = places[samples.tag]
        take = tag >= 0
        if take.any():
            columns = (samples.source_at[take], samples.value[take], samples.status[take], np.full(int(take.sum()), known_at))
            yield Batch.of(tag[take], *columns)


def _fits(reading: Reading, settled: Settled, options: Options) -> None:
    """Refuse what contradicts the decimal sign that was found earlier in the file."""
    if options.decimal or not isinstance(reading.source.rows, Text):
        return
    other = "." if settled.decimal == "," else ","
    for word in reading.words.names[1:]:
        if (
            word
            and word[0] in "+-.,0123456789"
            and other in word
            and set(word) <= set("+-.,0123456789eE")
            and word.count(other) < 4
        ):
            raise Refused(
                f"{reading.path}: '{word}' does not fit the decimal sign '{settled.decimal}' of the rest; say --decimal . or ,"
            )


def _report(path: Path, source: Source, settled: Settled, options: Options, reading: Reading, tally: _Tally) -> Understood:
    layout, rows = source.layout, source.rows
    names, left_out = reading.words.names, dict.fromkeys(layout.left_out, "not asked for")
    series = []
    for place, name in enumerate(reading.names):
        words = {names[word]: n for (tag, word), n in tally.words.items() if tag == place}
        unknown = [
            w
            for w in words
            if w
            and not w.startswith("\0")
            and reading.words.read(w, reading._states(name))[1] == TYPE_MISMATCH
            and w != "(status)"
        ]
        if (
            name
            and unknown
            and not tally.numbers[place]
            and not any(
                reading.words.read(w, reading._states(name))[1] < UNCERTAIN
                for w in words
                if w in names and w not in ("", "(status)")
            )
        ):
            left_out[name] = ", ".join(sorted(unknown)[:3])
        elif name:
            about = next((c.about for c in layout.columns if c.name == name), "")
            series.append(_series(reading, tally, place, words, options, about))
    if not series or not any(one.count for one in series):
        raise Refused(f"{path}: no values are found in it")
    return Understood(
        str(path), source.encoding, getattr(rows, "delimiter", ""), source.sheet, layout.kind, tuple(r + 1 for r in layout.headers),
        " + ".join(layout.names[c] or f"#{c + 1}" for c in layout.times), ", ".join(sorted(reading.shapes)),
        options.timezone if reading.zone.used else "UTC", settled.decimal, settled.quality if _has_status(source) else "",
        {**settled.why, **({"encoding": source.why} if source.why else {})}, tuple(series), left_out, reading.passed,
        tuple(_warnings(reading, series)),
    )  # fmt: skip


def _has_status(source: Source) -> bool:
    return source.layout.status >= 0 or any(column.status >= 0 for column in source.layout.columns)


def _series(reading: Reading, tally: _Tally, place: int, words: dict[str, int], options: Options, about: str) -> Series:
    name = reading.names[place]
    unit = _unit(reading, place, words, options)
    own = reading._states(name)
    states = {word: (own or STATES)[word.casefold()] for word in words if word.casefold() in (own or STATES)}
    count = int(tally.count[place])
    shown = {word or "(number)": n for word, n in words.items() if word not in states and not word.startswith("\0")}
    most = dict(sorted(shown.items(), key=lambda item: -item[1])[:SHOWN_WORDS])
    return Series(
        name, unit, count, int(tally.bad[place]), most, *((int(tally.first[place]), int(tally.last[place])) if count else (0, 0)),
        tally.interval(place), states, int(tally.unsorted[place]), int(tally.repeated[place]), about,
    )  # fmt: skip


def _unit(reading: Reading, place: int, words: dict[str, int], options: Options) -> str:
    name, found = reading.names[place], reading.units.get(place, set()) | set()
    mapped = next((m.unit for m in options.tag_map.values() if m.name == name and m.unit), "")
    found |= {unit_of(word[1:]) for word in words if word.startswith("\0")}
    if len(found) > 1 and not mapped:
        raise Refused(f"{reading.path}: '{name}' stands in {' and in '.join(sorted(found))}; have it exported in one unit")
    unit = mapped or next(iter(found), "")
    known = options.known[name].unit if name in options.known else ""
    if unit and known and unit_of(known) != unit:
        raise Refused(
            f"{reading.path}: '{name}' is in {unit}, the run's tag in {known}; "
            f"correct the unit in --tag-map, or export it in {known}"
        )
    return unit or known


def _warnings(reading: Reading, series: Sequence[Series]) -> Iterator[str]:
    rows = reading.source.rows
    if isinstance(rows, Text):
        if rows.cut:
            yield "the last line has no end and was not taken in: it may be cut off; --whole takes it"
        if rows.nul:
            yield f"{rows.nul} NUL characters were taken out"
    if isinstance(rows, Sheet) and rows.merged:
        yield "merged cells were filled"
    if back := sum(one.unsorted for one in series):
        yield f"{back} samples stand out of the order of time"
    if same := sum(one.repeated for one in series):
        yield f"{same} samples repeat the time of the one before"
    if reading.quality.unknown:
        yield f"words of status that are not known count as uncertain: {', '.join(sorted(reading.quality.unknown)[:5])}"
    if empty := [one.name for one in series if not one.count]:
        yield f"no value at all: {', '.join(empty[:10])}"


def as_table(samples: Samples, names: Sequence[str]) -> pa.Table:
    """Return samples as an Arrow table with tag, source_at, value, status."""
    codes = pa.DictionaryArray.from_arrays(pa.array(samples.tag.astype(np.int32)), pa.array(list(names)))
    at = pa.array(samples.source_at).cast(pa.timestamp("ns", "UTC"))
    return pa.table({"tag": codes, "source_at": at, "value": pa.array(samples.value), "status": pa.array(samples.status)})
