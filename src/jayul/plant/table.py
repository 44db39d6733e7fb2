"""A tag table: all that a machine which speaks a known protocol needs. TOML (`[[tag]]`) or CSV with the same names as columns.

    name,unit,kind,address,low,high,max_step,stale_after,writable,safety,states,description,mode,remote,local
    TIC1.SP,degC,set-point,nsu=urn:plant;s=TIC1.SP,45,66,1,60,true,,,set-point,TIC1.MODE,2,1

Only `name` and `address` are needed. `states` is `0=MAN;1=AUTO;2=RCAS` in CSV. `mode` names the tag that says who moves this
set-point: it takes ours while the mode reads `remote`, and is handed back by writing `local`.
"""

from __future__ import annotations

import csv
import io
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from jayul.core.types import Kind, Tag, TagTable
from jayul.plant.errors import Refused

OWN = ("mode", "remote", "local")
COLUMNS = (
    "name", "unit", "kind", "address", "low", "high", "max_step", "stale_after", "writable", "safety", "states", "description",
    *OWN,
)  # fmt: skip
_TRUE, _FALSE = ("true", "yes", "1", "x"), ("false", "no", "0", "")


class Loop(msgspec.Struct, frozen=True):
    """Who moves a set-point: the tag of the mode, its code while we may (`remote`), and the one that hands it back (`local`)."""

    mode: str
    remote: float
    local: float


class Table(msgspec.Struct, frozen=True):
    """Tags in the order of the file, and the loops of those set-points that have a mode."""

    tags: tuple[Tag, ...]
    loops: dict[str, Loop] = {}


def read_table(path: Path) -> Table:
    """Read a tag table. Raises Refused: one line that says what, where, and what to write instead."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: no tag table can be read here: {error}; write one with: jayul browse URL --out FILE") from None
    rows = _toml(path, text) if path.suffix == ".toml" else _csv(path, text)
    tags, loops = list[Tag](), dict[str, Loop]()
    for where, row in rows:
        tag, loop = _row(f"{path}, {where}", row)
        if tag.name in [other.name for other in tags]:
            raise Refused(f"{path}, {where}: the tag '{tag.name}' stands there twice; give each its own name")
        tags.append(tag)
        if loop is not None:
            loops[tag.name] = loop
    names = {tag.name for tag in tags}
    guarded = {tag.address: tag.name for tag in tags if tag.safety}
    for tag in tags:
        if not tag.safety and tag.address in guarded:
            raise Refused(f"{path}: '{tag.name}' has the address of the safety tag '{guarded[tag.address]}'; take it out")
    for name, loop in loops.items():
        if loop.mode not in names:
            raise Refused(f"{path}: the mode '{loop.mode}' of '{name}' is no tag of this table; add it")
    if not tags:
        raise Refused(f"{path}: holds no tag; write a table with: jayul browse URL --out FILE")
    return Table(tuple(tags), loops)


def write_table(path: Path, table: Table) -> None:
    """Write a tag table as CSV, which a spreadsheet opens."""
    out = io.StringIO()
    rows = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for tag in table.tags:
        row = {k: v for k, v in msgspec.structs.asdict(tag).items() if v is not None and v is not False and v not in ("", {})}
        row |= msgspec.structs.asdict(table.loops[tag.name]) if tag.name in table.loops else {}
        if tag.states:
            row["states"] = ";".join(f"{code}={text}" for code, text in tag.states.items())
        rows.writerow({k: f"{v:.15g}" if isinstance(v, float) else "true" if v is True else v for k, v in row.items()})
    path.write_text(out.getvalue(), encoding="utf-8")


def at_speed(tags: Sequence[Tag], speed: float) -> TagTable:
    """Return the tags for a peer that is played `speed` times as fast: links are not sped up, so none is stale within a second."""
    return TagTable(replace(tag, stale_after=max(tag.stale_after, speed if speed != 1 else 0.0)) for tag in tags)


def _toml(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: not TOML: {error}") from None
    entries = raw.get("tag")
    if set(raw) != {"tag"} or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Refused(f"{path}: a tag table holds [[tag]] entries and nothing else")
    return [(f"tag {number}", entry) for number, entry in enumerate(entries, 1)]


def _csv(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(
        io.StringIO(text), delimiter=";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    )
    header = [name.strip() for name in reader.fieldnames or ()]
    for name in header:
        if name not in COLUMNS:
            raise Refused(f"{path}, line 1: unknown column '{name}'; there is: {', '.join(COLUMNS)}")
    reader.fieldnames = header
    found = []
    for row in reader:
        where = f"line {reader.line_num}"
        if None in row:
            raise Refused(f"{path}, {where}: more cells than the first line has columns")
        if None in row.values():
            raise Refused(f"{path}, {where}: fewer cells than the first line has columns")
        cells = {name: cell.strip() for name, cell in row.items() if cell.strip()}
        if cells:
            found.append((where, _typed(f"{path}, {where}", cells)))
    return found


def _typed(where: str, cells: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        try:
            if name in ("low", "high", "max_step", "stale_after", "remote", "local"):
                row[name] = float(cell)
            elif name in ("writable", "safety"):
                row[name] = (_TRUE + _FALSE).index(cell.lower()) < len(_TRUE)
            elif name == "states":
                row[name] = {int(code): text.strip() for code, text in (part.split("=", 1) for part in cell.split(";"))}
            else:
                row[name] = cell
        except ValueError:
            what = {"states": "codes such as 0=MAN;1=AUTO", "writable": "true or false", "safety": "true or false"}
            raise Refused(f"{where}: '{name}' is '{cell}'; write {what.get(name, 'a number')}") from None
    return row


def _row(where: str, row: dict[str, Any]) -> tuple[Tag, Loop | None]:
    if unknown := set(row) - set(COLUMNS):
        raise Refused(f"{where}: unknown key '{min(unknown)}'; there is: {', '.join(COLUMNS)}")
    own = {key: row[key] for key in OWN if key in row}
    rest = {key: value for key, value in row.items() if key not in OWN}
    for name in ("name", "address"):
        if not rest.get(name):
            raise Refused(f"{where}: '{name}' is missing")
    if (kind := rest.get("kind", "measured")) not in (kinds := get_args(Kind)):
        raise Refused(f"{where}: 'kind' is '{kind}'; there is: {', '.join(kinds)}")
    if own and (missing := [name for name in OWN if name not in own]):
        raise Refused(f"{where}: 'mode', 'remote' and 'local' go together; '{missing[0]}' is missing")
    try:
        tag = msgspec.convert(rest, Tag, strict=True, str_keys=True)
        loop = msgspec.convert(own, Loop, strict=True) if own else None
    except msgspec.ValidationError as error:
        raise Refused(f"{where}: the row cannot be used: {error}") from None
    numbers = {name: rest.get(name) for name in ("low", "high", "max_step", "stale_after")} | own
    for name, number in numbers.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise Refused(f"{where}: '{name}' is '{number:g}'; write a number")
    if tag.low is not None and tag.high is not None and not tag.low < tag.high:
        raise Refused(f"{where}: 'low' {tag.low:g} does not lie below 'high' {tag.high:g}")
    if not tag.stale_after > 0 or (tag.max_step is not None and not tag.max_step > 0):
        raise Refused(f"{where}: 'stale_after' and 'max_step' must be above 0")
    return tag, loop
