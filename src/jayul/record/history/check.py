"""Verify a history: is every file what was written, is none missing, does the chain of segments hold from end to end?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul.core.types import SECOND
from jayul.record.batch import falls
from jayul.record.chain import ZERO, Broken
from jayul.record.files import Files, OsFiles
from jayul.record.history import catalogue, cold, hot, pyramid, seal
from jayul.record.history.catalogue import Listed, Mark, Sealed, Signed
from jayul.record.history.upkeep import read_parquet
from jayul.record.sign import genuine

TRIES = 5


class Fault(msgspec.Struct, frozen=True):
    """A file that is not what was written, and in which way."""

    file: str
    what: str


class HistoryReport(msgspec.Struct, frozen=True):
    """What was found: files and samples that were read, segments not yet in Parquet, samples retired, faults.

    `signed`: the run's key vouches for everything up to the last segment that is in Parquet.
    """

    files: int
    values: int
    hot_segments: int
    retired_values: int
    signed: bool
    faults: list[Fault]

    @property
    def ok(self) -> bool:
        return not self.faults


def verify_history(files: Files | Path, public: str = "") -> HistoryReport:
    """Read a history through, digests, checksums, order and chain. `public`: the run's key (hexadecimal), if it is known.

    It may be written at the same time: what looks wrong while files change is looked at again.
    """
    files = OsFiles(files, create=False) if isinstance(files, Path) else files
    for _ in range(TRIES):
        before = files.names()
        found = _verify(files, public)
        if found.ok or files.names() == before:
            break
    return found


def _verify(files: Files, public: str) -> HistoryReport:
    names, faults = files.names(), list[Fault]()
    try:
        data = files.read(catalogue.NAME) if catalogue.NAME in names else b""
        entries, _ = catalogue.scan(data)
    except Broken as error:
        return HistoryReport(0, 0, 0, 0, signed=False, faults=[Fault(catalogue.NAME, str(error))])
    listed = Listed({}, {}, [])
    for entry, before in entries:
        listed.add(entry)
        if isinstance(entry, Signed):
            faults.extend(_signature(entry, before, public))
    try:
        stems = [cold.named(*span) for span in seal.sealed(names)]
    except Broken as error:
        return HistoryReport(0, 0, 0, 0, signed=False, faults=[*faults, Fault(catalogue.NAME, str(error))])
    values = 0
    for stem in stems:
        found = list(_file(files, listed, stem, stem == stems[-1]))
        faults.extend(found)
        values += listed.sealed[stem].values if stem in listed.sealed else 0
    faults.extend(_foreign(names))
    faults.extend(_retired(files, listed, names, stems))
    segments = [name for name in names if hot.OWN.fullmatch(name) and hot.number_of(name) > _last(stems)]
    faults.extend(_chain(files, listed, stems, segments))
    gone = sum(entry.values for entry in listed.retired if entry.what == "samples")
    signed = listed.signed is not None and listed.signed.segment >= listed.last and not faults
    return HistoryReport(len(stems), values, len(segments), gone, signed, faults)


def _last(stems: list[str]) -> int:
    return cold.span_of(stems[-1])[1] if stems else 0


def _signature(entry: Signed, before: bytes, public: str) -> Iterator[Fault]:
    if public and entry.key != public:
        yield Fault(catalogue.NAME, "is signed with another key than the run's")
    elif not genuine(entry.key, catalogue.message(before, entry.segment, entry.digest), entry.signature):
        yield Fault(catalogue.NAME, "its signature is not good")


def _file(files: Files, listed: Listed, stem: str, last: bool) -> Iterator[Fault]:
    """Yield what is wrong with a Parquet file and what stands beside it."""
    entry = listed.sealed.get(stem)
    if entry is None:
        yield Fault(f"{stem}.parquet", "is not in the catalogue")
        return
    wrong = False
    for name in (f"{stem}.parquet", f"_{stem}.ledger", f"_{stem}.pyramid", *([f"_{stem}.newest"] if last else [])):
        for fault in _marked(files, listed, name):
            wrong = True
            yield fault
    if not wrong:
        yield from _content(files, entry)


def _marked(files: Files, listed: Listed, name: str) -> Iterator[Fault]:
    """Yield a fault if a file is not there, or not the one that was entered. Summaries may be missing: they can be made anew."""
    try:
        data = files.read(name)
    except FileNotFoundError:
        if not name.endswith(".pyramid"):
            yield Fault(name, "is missing")
        return
    mark = listed.marks.get(name)
    if mark is None:
        yield Fault(name, "is not in the catalogue")
    elif mark != Mark.of(name, data):
        yield Fault(name, f"is not what was written: {len(data)} bytes, SHA-256 differs ({mark.size} bytes were written)")


def _content(files: Files, entry: Sealed) -> Iterator[Fault]:
    """Yield what is wrong with the rows of a file whose bytes are those that were written."""
    name = f"{entry.stem}.parquet"
    try:
        (batch, names), about = read_parquet(files, entry.stem)
        counts = seal.load(files, f"_{entry.stem}.ledger")
    except Broken as error:
        yield Fault(name, error.what)
        return
    if len(batch.tag) != entry.values:
        yield Fault(name, f"holds {len(batch.tag)} samples, {entry.values} were written")
    rank = np.argsort(np.argsort(names)).astype(np.int32)
    tag = rank[batch.tag] if len(batch.tag) else batch.tag
    if falls(tag, batch.source_at):
        yield Fault(name, "is not sorted by tag and time")
    if (bytes.fromhex(about.get("before", "")), bytes.fromhex(about.get("after", ""))) != (entry.before, entry.after):
        yield Fault(name, "says another place in the chain of segments than the catalogue")
    stored = counts.filter(pc.equal(counts["what"], "stored"))
    if stored.num_rows and (n := pc.sum(stored["n"]).as_py()) != entry.values:
        yield Fault(f"_{entry.stem}.ledger", f"counts {n} samples as stored, {entry.values} are there")
    if f"_{entry.stem}.pyramid" in files.names():
        yield from _summary(files, entry.stem, seal.Sorted(batch, names))


def _summary(files: Files, stem: str, samples: seal.Sorted) -> Iterator[Fault]:
    """Yield a fault if the day summaries of a file are not those of its samples."""
    try:
        buckets, _ = pyramid.Opened(pa.BufferReader(files.read(f"_{stem}.pyramid"))).level(pyramid.LEVELS[-1])
    except (pa.ArrowException, OSError) as error:
        yield Fault(f"_{stem}.pyramid", f"cannot be read: {error}")
        return
    found = pyramid.of_samples(pyramid.newest_versions(samples.batch), pyramid.LEVELS[-1] * SECOND)
    if int(found.n.sum()) != int(buckets.n.sum()) or int(found.bad.sum()) != int(buckets.bad.sum()):
        yield Fault(f"_{stem}.pyramid", "does not sum up the samples beside it")


def _foreign(names: list[str]) -> Iterator[Fault]:
    for name in names:
        if name.endswith(".parquet") and not cold.OWN.fullmatch(name):
            yield Fault(name, "was not put here by the history; tools that read *.parquet would take it in")


def _retired(files: Files, listed: Listed, names: list[str], stems: list[str]) -> Iterator[Fault]:
    """Yield what is wrong with the summaries of retired samples."""
    gone = listed.gone("summaries")
    for stem in sorted(listed.gone() - gone - set(stems)):
        if f"_{stem}.ledger" in names:
            for name in (f"_{stem}.ledger", f"_{stem}.pyramid"):
                yield from _marked(files, listed, name)
        elif stem not in {replaced for entry in listed.sealed.values() for replaced in entry.replaces}:
            yield Fault(f"_{stem}.ledger", "is missing")


def _chain(files: Files, listed: Listed, stems: list[str], segments: list[str]) -> Iterator[Fault]:
    """Yield where the chain of segments has a hole."""
    retired = [listed.sealed[stem] for stem in listed.gone() if stem in listed.sealed]
    before = max(retired, key=lambda entry: entry.last, default=None)
    number, digest = (before.last, before.after) if before else (0, ZERO)
    ends = {number: digest}
    for stem in stems:
        if (entry := listed.sealed.get(stem)) is None:
            return
        if entry.first != number + 1 or entry.before != digest:
            yield Fault(f"{stem}.parquet", f"does not follow segment {number}: what lay between is missing")
        number, digest = entry.last, entry.after
        ends[number] = digest
    for name in segments:
        try:
            data = files.read(name)
            segment = seal.read_segment(name, data)
        except (Broken, FileNotFoundError) as error:
            yield Fault(name, str(error))
            return
        if segment is None or segment.end < len(data):
            if name != segments[-1]:
                yield Fault(name, "ends inside a record")
            if segment is None:
                break
        if hot.number_of(name) != number + 1 or segment.before != digest:
            yield Fault(name, f"does not follow segment {number}: what lay between is missing")
        number, digest = hot.number_of(name), segment.digest
        ends[number] = digest
    if number < listed.last:
        yield Fault(catalogue.NAME, f"segments {number + 1} to {listed.last} are missing")
    signed = listed.signed
    if signed and signed.segment in ends and ends[signed.segment] != signed.digest:
        yield Fault(catalogue.NAME, f"segment {signed.segment} is not the one that was signed")
    if signed and signed.segment > number:
        yield Fault(catalogue.NAME, f"segments {number + 1} to {signed.segment} were signed and are missing")
