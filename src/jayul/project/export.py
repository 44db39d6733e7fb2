"""Hand a run's samples to others: one file of data, and cards that say what they are (`project/cards.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul import __version__
from jayul.core.types import Tag
from jayul.plant.imports.units import guarded
from jayul.project import cards, tabular
from jayul.project.api import Run, digest
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.project.times import HIGH, LOW, Time, instant
from jayul.record.coverage import summary
from jayul.record.files import write_whole

Format = Literal["parquet", "csv", "arrow"]
HOUR = 3_600_000_000_000  # ns
FORMATS: tuple[Format, ...] = ("parquet", "csv", "arrow")


class Wanted(msgspec.Struct, frozen=True):
    """What to export: tags (none: all), times, as known when; `every`: on a grid, a column for each tag, else sample by sample."""

    tags: tuple[str, ...] = ()
    start: str = ""
    end: str = ""
    known_at: str = ""
    every: str = ""
    format: Format = "parquet"
    licence: str = ""


class Exported(msgspec.Struct, frozen=True):
    """What was written: files, rows, bytes of the data, its SHA-256, and the digest of the values (whatever the format)."""

    files: list[str]
    rows: int
    bytes: int
    sha256: str
    digest: str


def export(run: Run, out: Path, wanted: Wanted) -> Exported:
    """Write data and cards into a new folder. Raises ManifestError, OSError; then there is no card."""
    if wanted.format not in FORMATS:
        raise refuse(f"--format {wanted.format}", N_("unknown format; there is: {known}"), known=", ".join(FORMATS))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise refuse(out, N_("exists already and is not empty; choose another folder"))
    table, names = _table(run, wanted)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"samples.{wanted.format}"
    tabular.write(table, path)
    about = _about(run, wanted, table, names, path)
    for name, card in (("croissant.json", cards.croissant(about)), ("datapackage.json", cards.datapackage(about))):
        write_whole(out / name, msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    files = [path.name, "croissant.json", "datapackage.json"]
    return Exported(files, table.num_rows, about.size, about.sha256, about.digest)


def _time(text: str, option: str) -> Time | None:
    return instant(text, option) if text else None


def _table(run: Run, wanted: Wanted) -> tuple[pa.Table, list[str]]:
    """Return the rows of an export, and the tags that they are about."""
    names = run.names(wanted.tags or None)
    times = (_time(wanted.start, "--from"), _time(wanted.end, "--to"), _time(wanted.known_at, "--known-at"))
    if wanted.every:
        wide = run.wide(names, wanted.every, *times)
        for i, name in enumerate(names, 1):  # null says better than NaN that it is not known
            wide = wide.set_column(i, name, pc.if_else(pc.is_nan(wide[name]), None, wide[name]))
        return wide, names
    table = run.history(names, *times)
    units = run.units()
    tag = table["tag"].combine_chunks()
    tag = tag.chunk(0) if isinstance(tag, pa.ChunkedArray) else tag
    unit = pa.array([units.get(name) for name in tag.dictionary.to_pylist()], pa.string())
    return table.append_column("unit", unit.take(tag.indices) if len(tag) else pa.array([], pa.string())), names


def _about(run: Run, wanted: Wanted, table: pa.Table, names: Sequence[str], path: Path) -> cards.About:
    tags = [run.tags.get(name) or Tag(name=name, description="unit not known") for name in names]
    low = LOW + HOUR if not wanted.start else instant(wanted.start, "--from")
    counts, coverage = counted(run.ledger(), names, low, instant(wanted.end, "--to") if wanted.end else HIGH)
    manifest = msgspec.json.decode(run.header.manifest) if run.header else {}
    contract = manifest.get("contract", {}).get("tag", {})
    data = path.read_bytes()
    how = f"jayul export --format {wanted.format}" + (f" --wide '{wanted.every}'" if wanted.every else "")
    return cards.About(
        name=str(manifest.get("project", {}).get("name", run.folder.resolve().name)),
        description=_description(wanted, table.num_rows, len(names)),
        file=path.name, format=wanted.format, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=table.num_rows,
        digest=digest(table), fields=_fields(wanted, tags), tags=tags, contract=contract, coverage=coverage, counts=counts,
        run=_run(run), known_at=wanted.known_at, begin=wanted.start, end=wanted.end, every=wanted.every, made=how,
        licence=wanted.licence,
    )  # fmt: skip


def _description(wanted: Wanted, rows: int, tags: int) -> str:
    what = f"values of {tags} tags every {wanted.every}, the last known" if wanted.every else f"samples of {tags} tags"
    known = f", as they were known at {wanted.known_at}" if wanted.known_at else ""
    return (
        f"{rows} rows: {what}{known}. Values in the unit of their tag; status is an OPC UA code, good where below 0x40000000."
    )


def _run(run: Run) -> dict[str, Any]:
    """Return where the samples come from: the run, and the head that its journal can be verified by."""
    header, done = run.header, run.summary
    found: dict[str, Any] = {"made_by": f"Jayul {__version__}"}
    if header is not None:
        manifest = hashlib.sha256(header.manifest.encode()).hexdigest()
        found |= {"project": header.project, "seed": header.seed, "version": header.version, "manifest_sha256": manifest}
        found["signatures_simulated"] = header.signatures_simulated
    if done is not None:
        found |= {"plant": done.plant, "head": done.head, "complete": done.complete, "ticks": done.ticks}
    return found


def _fields(wanted: Wanted, tags: Sequence[Tag]) -> list[cards.Field]:
    if wanted.every:
        grid = cards.Field("at", "time", "instant of the grid, UTC")
        named = guarded if wanted.format == "csv" else str
        return [grid, *(cards.Field(named(tag.name), "number", tag.description or tag.name, tag.unit) for tag in tags)]
    return [
        cards.Field("tag", "text", "name of the signal"),
        cards.Field("source_at", "time", "when the source says that it was so, UTC"),
        cards.Field("value", "number", "in the unit of the tag"),
        cards.Field("status", "integer", "OPC UA status code; good where below 0x40000000"),
        cards.Field("known_at", "time", "when it was known here, UTC"),
        cards.Field("unit", "text", "of the value (UCUM; money ISO 4217)"),
    ]


def counted(ledger: pa.Table, names: Sequence[str], low: int, high: int) -> tuple[dict[str, int], dict[str, float | None]]:
    """Return what the ledger counted of these tags, summed, and the coverage of each: None where nothing was expected.

    Of hours of source time that meet low <= time < high (ns).
    """
    hour = ledger["hour"].cast(pa.int64()).to_numpy()
    tag = np.isin(np.array(ledger["tag"].to_pylist(), dtype=object), list(names)) if len(hour) else np.zeros(0, dtype=bool)
    of_tag, whole = summary(ledger.filter(pa.array(tag & (hour > low - HOUR) & (hour < high))))
    return whole.counts, {name: of_tag[name].coverage if name in of_tag else None for name in names}
