"""From rows to a layout: the header's rows put together, every column given its part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jayul.plant.errors import Refused
from jayul.plant.imports import grid, units
from jayul.plant.imports.grid import Column, Layout
from jayul.plant.imports.options import Mapped, Options

OWN = ("tag", "source_at", "value", "status")
_GENERIC = re.compile(r"^(?P<name>.+?)[\s._-]*(?:value ?y|value|값)$", re.I)


class _Heads:
    """The header's rows by what they hold, and for each column its name, unit and description."""

    def __init__(self, rows: Sequence[Sequence[str]], headers: Sequence[int], width: int, at: int) -> None:
        self._at, self._width = at, width
        self._cells = {r: [units.tidy(rows[r][c]) if c < len(rows[r]) else "" for c in range(width)] for r in headers}
        self.groups: list[list[str]] = []
        kinds = self._kinds_row()
        names = self._names_row()
        self.name = list(self._cells[names]) if names >= 0 else [""] * width
        self.name[0:1] = [self.name[0].lstrip("#").strip()] if self.name else []
        if kinds:
            filled = _filled(self.name, at)
            self.name = [
                f"{n} status" if grid.is_word(k, "status") else n if k else "" for n, k in zip(filled, kinds, strict=True)
            ]
        self.unit, self.about = [""] * width, [""] * width
        for row, cells in self._cells.items():
            if row == names:
                continue
            if grid.is_word(cells[at], "unit") or grid.is_word(cells[0], "unit") or (row > names and self._all_units(row)):
                self.unit = [units.unit_of(cell) for cell in cells]
            elif row > names or grid.is_word(cells[at], "about") or grid.is_word(cells[0], "about"):
                self.about = cells
            else:
                self.groups.append(_filled(cells, at))

    def _kinds_row(self) -> list[str]:
        """Take out a row that says `Value`, `Status`, `Value`, `Status` under the names, and return it."""
        for row in list(self._cells)[1:]:
            cells = [cell for c, cell in enumerate(self._cells[row]) if c != self._at and cell]
            if cells and all(grid.is_word(cell, "value") or grid.is_word(cell, "status") for cell in cells):
                return self._cells.pop(row)
        return []

    def _names_row(self) -> int:
        rows = list(self._cells)
        said = [r for r in rows if grid.is_word(self._cells[r][self._at], "name")]
        timed = [r for r in rows if grid.is_word(self._cells[r][self._at], "time") and not self._all_units(r)]
        other = [r for r in rows if not self._all_units(r)]
        return said[0] if said else timed[-1] if timed else other[-1] if other else rows[0] if rows else -1

    def _all_units(self, row: int) -> bool:
        cells = [cell for c, cell in enumerate(self._cells[row]) if c != self._at and cell and not grid.is_word(cell, "time")]
        return bool(cells) and all(units.is_unit(cell) for cell in cells)

    def names(self, only: Sequence[int]) -> dict[int, tuple[str, str, str]]:
        """Return name, unit and description of these columns; names that come twice are told apart by the group above them."""
        found: dict[int, tuple[str, str, str]] = {}
        split = {c: grid.split_unit(self.name[c]) for c in only}
        base = [name for name, _ in split.values() if name]
        twice = len(set(base)) < len(base)
        for c in only:
            name, unit = split[c]
            group = ".".join(dict.fromkeys(cells[c] for cells in self.groups if cells[c] and cells[c] != name))
            if twice and group and name:
                name, group = f"{group}.{name}", ""
            found[c] = (name or group, self.unit[c] or unit, self.about[c] or group)
        return found


def _filled(cells: Sequence[str], at: int) -> list[str]:
    """Fill a group's name to the right, as a merged cell stands in CSV."""
    filled, last = [], ""
    for c, cell in enumerate(cells):
        last = cell or ("" if c <= at else last)
        filled.append("" if c == at else last)
    return filled


def lay_out(
    path: object,
    rows: Sequence[Sequence[str]],
    first: int,
    times: list[tuple[int, ...]],
    headers: Sequence[int],
    options: Options,
) -> Layout:
    """Return the layout of a table whose data begin at row `first`. Raises Refused."""
    width = max((len(row) for row in rows[min([*headers, first]) :]), default=0)
    heads = _Heads(rows, headers, width, times[0][0])
    times = _chosen(path, heads.name, times, options.time)
    raw = tuple(heads.name)
    busy = {c for pair in times for c in pair}
    tag = [c for c in range(width) if grid.is_word(raw[c], "tag") and c not in busy]
    value = [c for c in range(width) if grid.is_word(raw[c], "value") and c not in busy]
    if len(tag) == 1 and len(value) == 1:
        return _long(path, raw, first, headers, tag[0], value[0], times, options)
    if not headers and not any(f"#{c + 1}" in options.tag_map for c in range(width)):
        raise Refused(f"{path}: no header names the columns; name them in --tag-map as #1, #2 and so on")
    if len(times) > 1:
        times = _pairs(path, raw, times, width)
    return _wide(path, rows, heads, first, headers, times, options)


def _chosen(path: object, names: Sequence[str], times: list[tuple[int, ...]], said: str) -> list[tuple[int, ...]]:
    if not said:
        return times
    chosen = [pair for pair in times if names[pair[0]] == said or said == f"#{pair[0] + 1}"]
    if not chosen:
        known = ", ".join(name for name in names if name)[:200]
        raise Refused(f"{path}: no column '{said}' holds times; there are {known}")
    return chosen[:1]


def _several(path: object, names: Sequence[str], times: list[tuple[int, ...]]) -> Refused:
    known = ", ".join(names[pair[0]] or f"#{pair[0] + 1}" for pair in times)
    return Refused(f"{path}: more than one column holds times ({known}); name the one that counts with --time")


def _pairs(path: object, names: Sequence[str], times: list[tuple[int, ...]], width: int) -> list[tuple[int, ...]]:
    """Allow several columns of time only where each has its own values to the right: time, value, time, value."""
    starts = [pair[0] for pair in times] + [width]
    if times[0][0] > 1 or any(following - pair[-1] < 2 for pair, following in zip(times, starts[1:], strict=True)):
        raise _several(path, names, times)
    return times


def _long(
    path: object, raw: tuple[str, ...], first: int, headers: Sequence[int], tag: int, value: int,
    times: list[tuple[int, ...]], options: Options,
) -> Layout:  # fmt: skip
    exact = all(name in raw for name in OWN)
    if exact:
        times = [pair for pair in times if raw[pair[0]] == "source_at"] or times
    if len(times) > 1:
        named = [pair for pair in times if grid.is_word(raw[pair[0]], "time")]
        if len(named) != 1:
            raise _several(path, raw, times)
        times = named

    def place(role: str) -> int:
        found = [c for c, name in enumerate(raw) if grid.is_word(name, role) and c not in (tag, value, *times[0])]
        return found[0] if found else -1

    unit, status = place("unit"), place("status")
    used = {tag, value, unit, status, *times[0]}
    left = tuple(name for c, name in enumerate(raw) if c not in used and name)
    del options
    return Layout("long", first, len(raw), raw, tuple(headers), (), tag, value, unit, status, times[0], exact, left)


def _wide(
    path: object, rows: Sequence[Sequence[str]], heads: _Heads, first: int, headers: Sequence[int],
    times: list[tuple[int, ...]], options: Options,
) -> Layout:  # fmt: skip
    raw, width = heads.name, len(heads.name)
    busy = {c for pair in times for c in pair}
    left_out = [c for c in range(width) if c not in busy and raw[c] and grid.is_word(raw[c], "skip")]
    rest = [c for c in range(width) if c not in busy and c not in left_out]
    named = heads.names(rest)
    status = _statuses(rows[first:], raw, {c: named[c][0] for c in rest})
    if len(times) > 1:
        _name_pairs(raw, times, named)
    columns, dropped = [], [raw[c] for c in left_out]
    for c in rest:
        if c in status.values():
            continue
        name, unit, about = named[c]
        mapped = _mapped(options.tag_map, c, raw[c], name)
        if mapped is not None and not mapped.name:
            dropped.append(raw[c] or f"#{c + 1}")
            continue
        if mapped is not None:
            name, unit = mapped.name, mapped.unit or unit
        own = next(pair for pair in reversed(times) if pair[0] < c) if c > times[0][0] else times[0]
        columns.append(Column(c, name, unit, status.get(c, -1), own, about))
    seen = dict[str, int]()
    for column in columns:
        if column.name and column.name in seen:
            a, b = seen[column.name] + 1, column.index + 1
            raise Refused(
                f"{path}: columns {a} and {b} are both called '{column.name}'; tell them apart in --tag-map as #{a} and #{b}"
            )
        seen[column.name] = column.index
    return Layout("wide", first, width, tuple(raw), tuple(headers), tuple(columns), times=times[0], left_out=tuple(dropped))


def _mapped(tag_map: Mapping[str, Mapped], c: int, raw: str, name: str) -> Mapped | None:
    return next((tag_map[key] for key in (f"#{c + 1}", raw, name) if key in tag_map), None)


def _statuses(data: Sequence[Sequence[str]], raw: Sequence[str], names: Mapping[int, str]) -> dict[int, int]:
    """Return for each column of values the one that holds its status."""
    found = dict[int, int]()
    for c in names:
        if not grid.looks_like_status([row[c] for row in data if c < len(row)]):
            continue
        if grid.is_word(raw[c], "status") and c - 1 in names and c - 1 not in found.values():
            found[c - 1] = c
        elif base := grid.status_base(raw[c]):
            owner = [v for v in names if v != c and base in (raw[v], names[v], grid.split_unit(raw[v])[0])]
            if len(owner) == 1:
                found[owner[0]] = c
    return found


def _name_pairs(raw: Sequence[str], times: list[tuple[int, ...]], named: dict[int, tuple[str, str, str]]) -> None:
    """Name values after the column of time on their left, where the name stands there."""
    for pair in times:
        c = pair[-1] + 1
        if c not in named:
            continue
        name, unit, about = named[c]
        over, over_unit = grid.split_unit(raw[pair[0]])
        over = re.sub(r"[\s._-]*(?:time|timestamp|시간)$", "", over, flags=re.I)
        generic = _GENERIC.match(name)
        if (not name or grid.is_word(name, "value")) and over:
            named[c] = (over, unit or over_unit, about)
        elif generic and over == generic["name"]:
            named[c] = (over, unit, about)
