"""A project that is being set up: what a person has said so far, and the manifest that comes of it. It only records."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jayul.core.clock import Wall
from jayul.core.expr import ExprError, duration, parse_unit
from jayul.core.types import Tag
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.table import Table, read_table, write_table
from jayul.project import invariance, kinds, links
from jayul.project.manifest import NAME, load
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.project.wire import Wired, wire

TABLE = "tags.csv"
MOST = 2_000  # tags that a form can show
PATIENCE = 60.0  # s for a plant to be looked at
PORTS = {"opcua": 4840, "modbus": 502, "mqtt": 1883}


class Row(msgspec.Struct):
    """A tag as it stands in the form, as text. `seen`: what is known of its values."""

    source: str
    name: str
    unit: str = ""
    kind: str = "measured"
    low: str = ""
    high: str = ""
    use: bool = True
    seen: str = ""
    good: bool = True


class Draft(msgspec.Struct):
    """All that was said and found.

    `file`: of a recording, in the project's folder; `original`: what it was put in order from; `options`: of its plant.
    `url`: of a plant. `facts`: what was understood, for people.
    """

    id: str
    by: str
    file: str = ""
    original: str = ""
    options: dict[str, Any] = {}
    url: str = ""
    speed: float = 1.0
    name: str = ""
    description: str = ""
    period: str = ""
    stale: float = 60.0
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    times: list[str] = []


def slug(name: str) -> str:
    """Return a name as a folder may be called: letters, digits, - and _; never a path."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name.strip()).strip("-_")[:60]


def address(text: str) -> tuple[str, str]:
    """Return the kind of plant and the URL that a person means. Raises ManifestError."""
    url = text.strip()
    url = "opcua" + url[7:] if url.startswith("opc.tcp://") else url
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refuse("URL", N_("'{url}' is no address; write it like opc.tcp://HOST:4840"), url=text) from None
    if parts.scheme not in links.SCHEMES or not parts.hostname:
        message = N_("'{url}' is no plant; write it like opc.tcp://HOST:4840, modbus://HOST:502 or mqtt://HOST:1883")
        raise refuse("URL", message, url=text)
    if parts.username or parts.password or parts.query or parts.fragment or set(url) & set(" \t\r\n\"'\\"):
        raise refuse("URL", N_("an address holds no user, password, blank or quotation mark; write HOST:PORT alone"))
    kind = links.SCHEMES[parts.scheme]
    return kind, url if port else f"{parts.scheme}://{parts.netloc}:{PORTS[kind]}{parts.path}"


class Reached(msgspec.Struct, frozen=True):
    """What a plant showed: its tags, the speed that it declares (0: none), and by tag the newest value, if it is good."""

    table: Table
    speed: float
    values: dict[str, float]
    left_out: int


def reach(kind: str, url: str, folder: Path) -> Reached:
    """Look at a plant: its tags (of the table in `folder`, else what the server shows) and one reading of each.

    Raises Refused, Unreachable.
    """
    path = folder / TABLE
    return asyncio.run(_reach(kind, url, path, there=path.exists()))


async def _reach(kind: str, url: str, path: Path, *, there: bool) -> Reached:
    try:
        async with asyncio.timeout(PATIENCE):
            if not there:
                await _browse(kind, url, path)
            table = read_table(path)
            left_out = max(0, len(table.tags) - MOST)
            factory = kinds.load(kinds.known("plants")[kind])
            config = factory.config(url=url, tags=str(path))
            found = await factory.make(config, Wall()).declared()
            clock = found.clock(0) if found else Wall()
            plant = factory.make(msgspec.structs.replace(config, speed=found.speed if found else 1.0), clock)
            try:
                frame = await plant.read()
            finally:
                await plant.close()
            values = {name: float(frame[name]) for name in frame.table.names if frame.fresh(name)}
            return Reached(table, found.speed if found else 0.0, values, left_out)
    except TimeoutError:
        raise Unreachable(f"{url} does not answer within {PATIENCE:g} s") from None


async def _browse(kind: str, url: str, path: Path) -> None:
    if kind != "opcua":
        raise Refused(f"{url}: a {kind} plant does not say what it has; give its tag table, too")
    try:
        from jayul.plant.opcua.browse import browse
    except ImportError:
        raise Refused("OPC UA needs the extra 'opcua': pip install 'jayul[opcua]'") from None
    table = await browse(url, limit=MOST)
    if not table.tags:
        raise Refused(f"{url}: this server shows no number and no switch")
    write_table(path, table)


def wrong(draft: Draft) -> list[tuple[str, str, dict[str, str]]]:
    """Return what is wrong with the tags, the name and the period: where, and a template with its parameters."""
    found: list[tuple[str, str, dict[str, str]]] = []
    used = [row for row in draft.rows if row.use]
    if not used:
        found.append(("", N_("choose at least one tag"), {}))
    names = [row.name.strip() for row in used]
    for row, name in zip(used, names, strict=True):
        if not name or any(ord(c) < 32 for c in name):
            found.append((row.source, N_("give it a name"), {}))
        elif names.count(name) > 1:
            found.append((row.source, N_("the name '{name}' stands there twice; give each its own"), {"name": name}))
        found += _wrong_numbers(row)
    return found


def _wrong_numbers(row: Row) -> list[tuple[str, str, dict[str, str]]]:
    ends, found = [], []
    for text in (row.low, row.high):
        try:
            ends.append(float(text) if text.strip() else None)
        except ValueError:
            found.append((row.source, N_("'{text}' is no number"), {"text": text}))
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None and not ends[0] < ends[1]:
        found.append((row.source, N_("the low end must lie below the high end"), {}))
    try:
        parse_unit(row.unit.strip() or "1")
    except ExprError:
        found.append((row.source, N_("'{text}' is no unit; write it like degC, m3/h, kW, % or 1"), {"text": row.unit}))
    return found


def wrong_name(draft: Draft, home: Path) -> str:
    """Return what is wrong with name and period, as a template; empty if nothing is."""
    if not slug(draft.name):
        return N_("give it a name of letters and digits")
    if (home / slug(draft.name)).exists():
        return N_("a folder of that name is there already; choose another name")
    try:
        return "" if duration(draft.period) > 0 else N_("write the period like 1 s, 30 s or 5 min")
    except ExprError:
        return N_("write the period like 1 s, 30 s or 5 min")


def write(draft: Draft, folder: Path, say: Callable[[str], str]) -> None:
    """Write manifest and tag table into a folder (the recording lies there already)."""
    if draft.url:
        write_table(folder / TABLE, _table(draft, folder))
    (folder / NAME).write_text(manifest_text(draft, say), encoding="utf-8")


def _table(draft: Draft, folder: Path) -> Table:
    full = folder.parent / "full.csv"
    if not full.exists():
        shutil.copyfile(folder / TABLE, full)
    table = read_table(full)
    chosen, tags, loops, renamed = {row.source: row for row in draft.rows if row.use}, list[Tag](), {}, dict[str, str]()
    for tag in table.tags:
        if (row := chosen.get(tag.name)) is not None:
            renamed[tag.name] = row.name.strip()
            tags.append(
                msgspec.structs.replace(
                    tag,
                    name=row.name.strip(),
                    unit=row.unit.strip() or "1",
                    kind=row.kind,
                    low=_end(row.low),
                    high=_end(row.high),
                    writable=False,
                )
            )
    for name, loop in table.loops.items():
        if name in renamed and loop.mode in renamed:
            loops[renamed[name]] = msgspec.structs.replace(loop, mode=renamed[loop.mode])
    return Table(tuple(tags), loops)


def _end(text: str) -> float | None:
    return float(text) if text.strip() else None


def manifest_text(draft: Draft, say: Callable[[str], str]) -> str:
    """Return the manifest as a person reads it. `say` translates its comments."""
    lines = [
        f"# {say(N_('Everything about this project stands in this folder; put it under version control.'))}",
        f"# {say(N_('It only records: there is no policy, and no tag is writable. Check it with: jayul check FOLDER'))}",
        "", "[project]", f"name = {_quoted(draft.name.strip())}", f"description = {_quoted(draft.description.strip())}",
        "", "[run]", f"period = {_quoted(draft.period.strip())}  # {say(N_('how often a tick is taken'))}",
        f'duration = "3650 d"  # {say(N_("at most; a recording ends by itself"))}', "", "[plant]",
    ]  # fmt: skip
    return "\n".join([*lines, *(_wire(draft, say) if draft.url else _file(draft, say))]) + "\n"


def _wire(draft: Draft, say: Callable[[str], str]) -> list[str]:
    kind, url = address(draft.url)
    lines = [f"kind = {_quoted(kind)}", f"url = {_quoted(url)}"]
    lines.append(f"tags = {_quoted(TABLE)}  # {say(N_('a spreadsheet opens it: names, units, limits'))}")
    if draft.speed not in (0.0, 1.0):
        lines.append(f"speed = {draft.speed:g}  # {say(N_('the plant says that it is simulated, and plays so fast'))}")
    return lines


def _file(draft: Draft, say: Callable[[str], str]) -> list[str]:
    options = {key: value for key, value in draft.options.items() if value not in ("", None)}
    lines = [f"# {say(N_('put in order from:'))} {draft.original}"] if draft.original else []
    lines += ['kind = "files"', f"path = {_quoted(draft.file)}  # {say(N_('the recording, in this folder'))}"]
    lines += [f"{key} = {_quoted(str(value))}" for key, value in sorted(options.items())]
    if left := [row.source for row in draft.rows if not row.use]:
        lines.append(f"exclude = [{', '.join(map(_quoted, left))}]  # {say(N_('columns that were left out'))}")
    lines.append("tag = [")
    for row in draft.rows:
        if row.use:
            ends = "".join(f", {key} = {_end(text)!r}" for key, text in (("low", row.low), ("high", row.high)) if text.strip())
            head = f"name = {_quoted(row.source)}, unit = {_quoted(row.unit.strip() or '1')}, kind = {_quoted(row.kind)}"
            lines.append(f"  {{ {head}{ends}, stale_after = {draft.stale:g} }},")
    return [*lines, "]"]


def _quoted(text: str) -> str:
    """Write text as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def check(folder: Path) -> Wired:
    """Do what `jayul check` does. Raises ManifestError."""
    wired = wire(load(folder), folder, 0)
    invariance.check(wired, 0)
    return wired


def put_in_place(draft: Draft, folder: Path, home: Path) -> Path:
    """Copy the finished folder to where projects are, all or nothing. Raises ManifestError if one of that name is there."""
    home.mkdir(parents=True, exist_ok=True)
    target, half = home / slug(draft.name), home / f".new-{draft.id}"
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(folder, half)
    try:
        half.rename(target)  # refuses a folder that is there and not empty
    except OSError:
        shutil.rmtree(half, ignore_errors=True)
        raise refuse(target, N_("exists already; choose another folder")) from None
    return target
