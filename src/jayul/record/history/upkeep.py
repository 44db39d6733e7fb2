"""The upkeep of a history: merge small files, remove what is older than is kept, make summaries anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.record.batch import Batch, ends, join
from jayul.record.chain import Broken
from jayul.record.files import Files
from jayul.record.history import cold, pyramid
from jayul.record.history.catalogue import Catalogue, Mark, Rebuilt, Retired
from jayul.record.history.seal import (
    COUNTS,
    NEWEST,
    Made,
    Sorted,
    load,
    newest_of,
    part_of,
    place,
    retired,
    seal,
    sealed,
    summed,
    sweep,
    write_part,
)

SMALL = 2_000_000  # a file with fewer values is small
MOST = 3_500_000  # small files are merged up to so many
FEW = 8  # so many small files are left as they are


class Policy(msgspec.Struct, frozen=True):
    """How a history is kept. `keep`, `keep_pyramid`: ns, 0 for ever; `few`: so many small files are not merged yet."""

    keep: int = 0
    keep_pyramid: int = 0
    compact: bool = True
    small: int = SMALL
    most: int = MOST
    few: int = FEW


class Read(NamedTuple):
    """A Parquet file as it was read, and what it says about itself."""

    samples: Sorted
    about: dict[str, str]


def read_parquet(files: Files, stem: str) -> Read:
    """Read a file of samples. Raises Broken if it cannot be read."""
    data = files.read(f"{stem}.parquet")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read()
        about = {key.decode()[6:]: text.decode() for key, text in (file.schema_arrow.metadata or {}).items()}
        samples = Sorted(*cold.batch_of(table)) if table.num_rows else Sorted(Batch.empty(), [])
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise Broken(0, f"{stem}.parquet cannot be read: {error}") from error
    return Read(samples, about)


def runs(files: Files, catalogue: Catalogue, policy: Policy) -> list[list[tuple[int, int]]]:
    """Return which neighbours would be merged: each smaller than `small`, together at most `most`, two at least."""
    found, values = list[list[tuple[int, int]]](), 0
    before = False
    for span in sealed(files.names()):
        entry = catalogue.listed.sealed.get(cold.named(*span))
        n = entry.values if entry else policy.most
        if n >= policy.small:
            before = False
            continue
        if not before or values + n > policy.most:
            found.append([])
            values = 0
        found[-1].append(span)
        values, before = values + n, True
    return [run for run in found if len(run) > 1]


def compact(files: Files, catalogue: Catalogue, policy: Policy) -> list[str]:
    """Merge runs of small files; return the names of what was made. Raises Broken, OSError; then the small ones are kept."""
    made = []
    for run in runs(files, catalogue, policy):
        made.append(_merge(files, catalogue, run))
        sweep(files, catalogue)
    return made


def _merge(files: Files, catalogue: Catalogue, run: Sequence[tuple[int, int]]) -> str:
    stems = [cold.named(*span) for span in run]
    parts = [read_parquet(files, stem) for stem in stems]
    names = sorted({name for part in parts for name in part.samples.names})
    index = {name: i for i, name in enumerate(names)}
    batches, tardy = [], []
    for stem, part in zip(stems, parts, strict=True):
        move = np.array([index[name] for name in part.samples.names], dtype=np.int32)
        batch = part.samples.batch
        batches.append(batch._replace(tag=move[batch.tag]) if len(batch.tag) else batch)
        tardy.append(_late(files, stem, part.samples, index))
    samples = Sorted(*cold.order(join(batches), names))
    hours = [_hours(late) for late in tardy]
    late = pyramid.spans(*(np.concatenate([pair[i] for pair in hours]) for i in (0, 1)))
    counts = summed([_ledger(files, stem) for stem in stems])
    last = sealed(files.names())[-1] == run[-1]
    newest = newest_sealed(files) if last else None
    before, after = (bytes.fromhex(parts[i].about[key]) for i, key in ((0, "before"), (-1, "after")))
    span, cursor = (run[0][0], run[-1][1]), int(parts[-1].about["cursor"])
    place(files, catalogue, Made(span, samples, counts, late, before, after, cursor, newest, tuple(stems)))
    return cold.named(*span)


def _ledger(files: Files, stem: str) -> pa.Table:
    return load(files, f"_{stem}.ledger").cast(COUNTS)


def _late(files: Files, stem: str, samples: Sorted, index: dict[str, int]) -> pyramid.Late:
    """Return when samples of a file came late; without its summaries, that all may have."""
    try:
        late, places = pyramid.Opened(pa.BufferReader(files.read(f"_{stem}.pyramid"))).late()
        names = list(places)
    except (FileNotFoundError, pa.ArrowException, OSError):
        late = pyramid.spans(samples.batch.tag, samples.batch.source_at // pyramid.HOUR * pyramid.HOUR)
        names = samples.names
    move = np.array([index[name] for name in names], dtype=np.int32)
    return late._replace(tag=move[late.tag]) if len(late.tag) else late


def _hours(late: pyramid.Late) -> tuple[np.ndarray, np.ndarray]:
    """Return each hour of the spans by itself."""
    n = (late.end - late.begin) // pyramid.HOUR
    within = np.arange(int(n.sum()), dtype=np.int64) - np.repeat(np.cumsum(n) - n, n)
    return np.repeat(late.tag, n), np.repeat(late.begin, n) + within * pyramid.HOUR


def retire(files: Files, catalogue: Catalogue, policy: Policy, now: int) -> list[Retired]:
    """Remove files whose newest sample is older than `keep`, oldest first and never the newest file; then old summaries.

    What has no ledger or no summary is not removed. Raises Broken, OSError.
    """
    found = list[Retired]()
    if policy.keep:
        found += _retire(files, catalogue, _old(files, catalogue, now - policy.keep), "samples", now)
    if policy.keep_pyramid:
        names, limit = files.names(), now - policy.keep_pyramid
        stems = [stem for stem in retired(names, ".ledger") if _age(catalogue, stem) < limit]
        found += _retire(files, catalogue, stems, "summaries", now)
    return found


def _age(catalogue: Catalogue, stem: str) -> int:
    """Return how new a file is: its newest source time, but no later than when that was known."""
    entry = catalogue.listed.sealed.get(stem)
    return min(entry.end, entry.known_last) if entry else 2**63 - 1


def _old(files: Files, catalogue: Catalogue, limit: int) -> list[str]:
    stems = []
    for span in sealed(files.names())[:-1]:
        stem = cold.named(*span)
        if _age(catalogue, stem) >= limit or not _summarised(files, catalogue, stem):
            break
        stems.append(stem)
    return stems


def _summarised(files: Files, catalogue: Catalogue, stem: str) -> bool:
    """Say whether ledger and summary of a file are there, as they were made; a summary that is not is made again."""
    for name in (f"_{stem}.ledger", f"_{stem}.pyramid"):
        if not _as_entered(files, catalogue, name):
            if name.endswith(".ledger"):
                return False
            remake(files, catalogue, stem, read_parquet(files, stem).samples, {})
    return True


def _as_entered(files: Files, catalogue: Catalogue, name: str) -> bool:
    try:
        return Mark.of(name, files.read(name)) == catalogue.listed.marks.get(name)
    except FileNotFoundError:
        return False


def _retire(files: Files, catalogue: Catalogue, stems: Sequence[str], what: str, now: int) -> list[Retired]:
    if not stems:
        return []
    entries = [catalogue.listed.sealed[stem] for stem in stems]
    entry = Retired(tuple(stems), what, now, max(e.end for e in entries), sum(e.values for e in entries))
    catalogue.add(entry)
    for stem in stems:
        for name in [f"{stem}.parquet"] if what == "samples" else [f"_{stem}.ledger", f"_{stem}.pyramid"]:
            files.remove(name)
    files.sync_folder()
    return [entry]


def remake(files: Files, catalogue: Catalogue, stem: str, samples: Sorted, newest: dict[str, int]) -> None:
    """Make the summary of a file anew. `newest`: source time of the newest sample of each tag before it."""
    batch, names = samples
    late = pyramid.late_in(batch, names, newest)
    name = f"_{stem}.pyramid"
    data = pyramid.write(pyramid.tables(batch, names, late, cold.whole(batch.tag, batch.value)))
    write_part(files, name, data)
    catalogue.add(Rebuilt(Mark.of(name, data)))
    files.rename(part_of(name), name)
    files.sync_folder()


def rebuild(files: Files, catalogue: Catalogue, progress: Callable[[int, int], None] = lambda done, of: None) -> int:
    """Make all summaries anew from the samples; return of how many files. Raises Broken, OSError."""
    newest = dict[str, int]()
    spans = sealed(files.names())
    for i, span in enumerate(spans):
        samples = read_parquet(files, cold.named(*span)).samples
        remake(files, catalogue, cold.named(*span), samples, newest)
        batch, names = samples
        for row in np.flatnonzero(ends(batch.tag)).tolist():
            name, at = names[batch.tag[row]], int(batch.source_at[row])
            newest[name] = max(at, newest.get(name, at))
        progress(i + 1, len(spans))
    return len(spans)


def newest_sealed(files: Files) -> pa.Table:
    """Return the newest sample of each tag; from all samples, if the file that says so is lost. Raises Broken, OSError."""
    found, spans = NEWEST.empty_table(), sealed(files.names())
    if spans:
        with contextlib.suppress(Broken, FileNotFoundError):
            return load(files, f"_{cold.named(*spans[-1])}.newest").cast(NEWEST)
    for span in spans:
        found = newest_of([read_parquet(files, cold.named(*span)).samples], found)
    return found


def small_files(files: Files, catalogue: Catalogue, policy: Policy) -> int:
    """Return how many files are small and have a small neighbour."""
    return sum(len(run) for run in runs(files, catalogue, policy))


def work(files: Files, catalogue: Catalogue, numbers: Sequence[int], newest: pa.Table, policy: Policy, now: int) -> Done:
    """Seal, then merge and retire where that is due. What fails of the latter is said, and tried again after the next seal.

    Raises Broken, OSError, or what pyarrow raises, if the segments could not be sealed; then they are kept.
    """
    newest, trouble = seal(files, catalogue, numbers, newest), ""
    try:
        if policy.compact and small_files(files, catalogue, policy) > policy.few:
            compact(files, catalogue, policy)
        retire(files, catalogue, policy, now)
    except Exception as error:  # noqa: BLE001 - the segments are sealed and gone: that must not be undone by whatever came after
        trouble = words(error)
    return Done(newest, trouble)


def words(error: Exception) -> str:
    """Return what went wrong in words; some errors have none."""
    return str(error) or type(error).__name__


class Done(NamedTuple):
    """What came of a sealing: the newest of each tag, and what went wrong with the upkeep after it."""

    newest: pa.Table
    trouble: str
