"""Import records into a run folder's history: once each, judged by the ledger, known from now on and never earlier.

`imports.jsonl` in the run folder says what was imported, by whom and how far: before each batch one line with the time from
which it is known. A batch whose time the history has reached is on disk, so that an interrupted import goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from jayul.core.guard import HOUR
from jayul.core.types import Tag
from jayul.plant.errors import Refused
from jayul.plant.imports.options import Known, Options, states_of
from jayul.plant.imports.read import Import, Said, as_table, batches, understand
from jayul.plant.imports.reading import Samples
from jayul.project.contracts import contract_of
from jayul.project.manifest import parse_canonical
from jayul.project.problem import N_
from jayul.project.run import locked, read_header, refuse
from jayul.project.tags import read_tags, write_tags
from jayul.record.batch import Batch, Count
from jayul.record.contract import Contract
from jayul.record.files import OsFiles
from jayul.record.history import History, Reader
from jayul.record.ledger import Ledger, compressed_at_source

NAME = "imports.jsonl"
MS = 1_000_000
GLANCE = 20_000  # samples of a tag that are looked at for traces of compression
ENOUGH = 2_000_000  # of all tags
PARTIAL = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")
COUNTED = ("received", "stored", "duplicate", "corrected", "late", "bad", "out_of_range")


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `imports.jsonl`. `state`: batch (about to be stored, known from `known_at`), void (the batch before it was not
    stored after all), done, or refused (`why`).

    `digest`: SHA-256 of the file; `how`: of the options and tags, since the same file read otherwise is another import.
    """

    state: str
    digest: str
    how: str
    path: str
    at: int
    by: str = ""
    batch: int = -1
    known_at: int = 0
    counts: dict[str, int] = {}
    why: str = ""


class Done(msgspec.Struct, frozen=True):
    """What an import did. `began`: fresh, resumed, or complete (imported before: `at`). `counts` by what, `bad` by word."""

    path: str
    began: str
    at: int
    counts: dict[str, int]
    complete: bool = True
    compressed: dict[str, str] = {}


class Found(msgspec.Struct, frozen=True):
    """A file that was understood; its digest; series that a historian seems to have compressed, with the figure it rests on."""

    file: Import
    digest: str
    compressed: dict[str, str]


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return the files, those of folders in order of their names; hidden and unfinished ones are passed over."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise refuse(path, N_("no such file"))
        if path.is_dir():
            every = sorted(each for each in path.rglob("*") if each.is_file())
            found += [each for each in every if not each.name.startswith((".", "~$")) and not each.name.endswith(PARTIAL)]
        else:
            found.append(path)
    return found


def for_run(out: Path, options: Options) -> Options:
    """Return options with what the run knows: its manifest's time zone, units and states of its tags."""
    header = read_header(OsFiles(out / "journal", create=False)) if (out / "journal").is_dir() else None
    if header is None:
        return options
    plant: dict[str, Any] = msgspec.json.decode(header.manifest).get("plant", {})
    described = [msgspec.convert(tag, Tag, strict=False) for tag in plant.get("tag", []) if isinstance(tag, dict)]
    known = {tag.name: Known(tag.unit, states_of(tag.states)) for tag in (*described, *header.tags)}
    zone = str(plant.get("timezone", "")) if not options.timezone else ""
    return replace(options, timezone=options.timezone or zone, known=known)


def examine(path: Path, options: Options, said: Said = lambda n: None) -> Found:
    """Say what a file holds. Raises Refused, OSError."""
    digest = digest_of(path)
    glance = _Glance()
    file = understand(path, options, said, glance.add)
    return Found(file, digest, glance.compressed())


def size_of(path: Path) -> tuple[int, int] | None:
    """Return size and time of change (ns) of a file, None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Glance:
    """Keeps the first samples of each tag, to look for traces of compression."""

    def __init__(self) -> None:
        self._parts, self._seen, self._kept = list[Samples](), np.zeros(0, np.int64), 0
        self._names: Sequence[str] = ()

    def add(self, samples: Samples, names: Sequence[str]) -> None:
        self._names = names
        if not len(samples.tag) or self._kept >= ENOUGH:
            return
        tags = max(int(samples.tag.max()) + 1, len(self._seen))
        self._seen = np.r_[self._seen, np.zeros(tags - len(self._seen), np.int64)]
        room = self._seen[samples.tag] < GLANCE
        self._seen += np.bincount(samples.tag, minlength=tags)
        if room.any():
            self._parts.append(Samples(*(column[room] for column in samples)))
            self._kept += int(room.sum())

    def compressed(self) -> dict[str, str]:
        """Return the tags that look compressed, each with the kind and the figure it rests on."""
        if not self._parts:
            return {}
        every = Samples(*(np.concatenate(columns) for columns in zip(*self._parts, strict=True)))
        found = compressed_at_source(as_table(every, self._names))
        return {name: f"{one.kind}: {one.figure:.3g}, limit {one.limit:.3g}" for name, one in found.items() if one.suspected}


class Importer:
    """Writes imports into a run folder; it holds the folder's lock. `now`: the time of day, ns. Use `importer`."""

    def __init__(self, out: Path, by: str, now: Callable[[], int]) -> None:
        self._out, self._by, self._now = out, by, now
        self._entries = read_entries(out)
        self.reader = Reader(out / "history")

    def seen(self, digest: str, how: str) -> Entry | None:
        """Return how a file stands: done or refused, or None."""
        return next((e for e in self._entries if (e.digest, e.how) == (digest, how) and e.state in ("done", "refused")), None)

    def note(self, entry: Entry) -> None:
        """Write a line, durably."""
        self._entries.append(entry)
        fd = os.open(self._out / NAME, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, msgspec.json.encode(entry) + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)

    def refused(self, path: Path, digest: str, how: str, why: str) -> None:
        """Remember that a file cannot be imported, so that it is said once."""
        self.note(Entry("refused", digest, how, str(path), self._now(), self._by, why=why))

    def take(self, found: Found, how: str, said: Said = lambda n: None, stop: Callable[[], bool] = bool) -> Done:
        """Import a file, or go on with it. Raises Refused, OSError; what was stored before stays and counts."""
        path = found.file.understood.path
        entry = Entry("batch", found.digest, how, path, self._now(), self._by)
        if before := self.seen(found.digest, how):
            return Done(path, "complete", before.at, before.counts)
        there = read_tags(self._out)
        fresh = [Tag(name=tag.name, unit=tag.unit) for tag in found.file.understood.tags if tag.unit]
        write_tags(
            self._out, [tag for tag in fresh if tag.name not in there]
        )  # what a manifest says of a tag is not written over
        history = History(self._out / "history", found.file.names)
        try:
            skip, counts = self._stored(found.digest, how, history.known_at)
            ledger = Ledger(self._contract(found.file.names), newest=history.newest, lookup=self._lookup(found.file.names))
            done, stopped = 0, False
            for number, batch in enumerate(batches(found.file, 0)):
                done += len(batch.tag)
                if number < skip:
                    continue
                if stopped := stop():
                    break
                counts = self._batch(history, ledger, batch, replace(entry, batch=number, counts=counts), found)
                said(done)
        finally:
            history.close()
        if not stopped:
            self.note(replace(entry, state="done", at=self._now(), counts=counts))
        return Done(path, "resumed" if skip else "fresh", entry.at, counts, not stopped, found.compressed)

    def _stored(self, digest: str, how: str, known_at: int) -> tuple[int, dict[str, int]]:
        """Return how many batches of a file are on disk, and what was counted. In doubt is the last line alone: was it stored?"""
        if self._entries and (last := self._entries[-1]).state == "batch" and last.known_at > known_at:
            self.note(replace(last, state="void", at=self._now()))
        skip, counts = 0, dict[str, int]()
        before = (skip, counts)
        for e in self._entries:
            if (e.digest, e.how, e.state) == (digest, how, "batch"):
                skip, counts, before = e.batch + 1, e.counts, (skip, counts)
            elif (e.digest, e.how, e.state) == (digest, how, "void"):
                skip, counts = before
        return skip, dict(counts)

    def _batch(self, history: History, ledger: Ledger, batch: Batch, entry: Entry, found: Found) -> dict[str, int]:
        """Judge and store one batch; return what was counted so far."""
        known_at = -(-max(self._now(), history.known_at + 1) // MS) * MS
        batch = batch._replace(known_at=np.full(len(batch.tag), known_at, dtype=np.int64))
        store, rows = ledger.take(batch, now=known_at)
        rows += _suspected(store, [found.file.names.index(name) for name in found.compressed])
        counts = dict(entry.counts)
        for row in rows:
            counts[row.what] = counts.get(row.what, 0) + row.n
        self.note(replace(entry, known_at=known_at, counts=counts))
        history.append(store, rows, known_at=known_at)
        history.commit()
        return counts

    def _contract(self, names: Sequence[str]) -> Contract:
        """Return what the run's manifest expects of these tags."""
        header = read_header(OsFiles(self._out / "journal", create=False)) if (self._out / "journal").is_dir() else None
        return contract_of(parse_canonical(header.manifest), names) if header else Contract({}, names)

    def _lookup(self, names: Sequence[str]) -> Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return what finds stored samples of a tag at given source times."""

        def look(tag: int, source_at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            n = len(source_at)
            table = self.reader.samples([names[tag]], int(source_at.min()), int(source_at.max()) + 1)
            if not table.num_rows:
                return np.zeros(n, dtype=np.bool_), np.zeros(n), np.zeros(n, dtype=np.uint32)
            at = table["source_at"].cast(pa.int64()).to_numpy()
            place = np.minimum(np.searchsorted(at, source_at), len(at) - 1)
            return at[place] == source_at, table["value"].to_numpy()[place], table["status"].to_numpy()[place]

        return look


def _suspected(store: Batch, tags: Sequence[int]) -> list[Count]:
    """Count the samples of series that a historian seems to have compressed."""
    mine = store.take(np.isin(store.tag, tags))
    cells, n = np.unique(np.stack([mine.tag.astype(np.int64), mine.source_at // HOUR]), axis=1, return_counts=True)
    return [Count(int(tag), int(hour) * HOUR, "compressed", int(k)) for (tag, hour), k in zip(cells.T, n, strict=True)]


@contextmanager
def importer(out: Path, by: str, now: Callable[[], int]) -> Iterator[Importer]:
    """Open a run folder for imports; it is made if it is not there. Raises ManifestError."""
    inside = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (out.exists() and not out.is_dir()) or (inside - {"lock"} and not inside & {"journal", "history", NAME}):
        raise refuse(out, N_("is no run folder; name one, or a new folder"))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        yield Importer(out, by, now)


def read_entries(out: Path) -> list[Entry]:
    """Return the lines of `imports.jsonl`; a last one that was cut off by a crash does not count. Raises ManifestError."""
    path = out / NAME
    if not path.exists():
        return []
    *lines, tail = path.read_bytes().split(b"\n")
    if tail:  # cut off: the batch that it announced was not stored
        with path.open("rb+") as file:
            file.truncate(path.stat().st_size - len(tail))
    try:
        return [msgspec.json.decode(line, type=Entry) for line in lines]
    except msgspec.MsgspecError as error:
        raise refuse(path, N_("cannot be read: {error}"), error=error) from None


def how_of(options: Options) -> str:
    """Return a digest of the options that decide what is read."""
    return hashlib.sha256(msgspec.json.encode(replace(options, known={}), order="deterministic")).hexdigest()[:16]


def said_by(error: Refused | OSError) -> str:
    """Return one line for a file that cannot be imported."""
    return str(error) if isinstance(error, Refused) else f"{error.filename}: {error.strerror}"
