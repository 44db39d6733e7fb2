"""Coverage by tag and hour: from what the history's ledger counted, and from the ticks at which an input was fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa

from jayul.core.guard import HOUR

WIDE = 72  # hours that are drawn
BANDS = ((0.99, "full"), (0.95, "most"), (0.8, "some"), (0.0, "little"))  # from this share on
Cells = Mapping[tuple[str, int], Mapping[str, int]]  # (tag, hour in ns) -> what was counted


class Cell(msgspec.Struct, frozen=True):
    """An hour of a tag: place in the drawing, share (None: nothing was expected), band."""

    x: int
    hour: int
    share: float | None
    band: str


class Line(msgspec.Struct, frozen=True):
    """A tag: its cells, and what was counted over all hours. `missing` is by who owns it."""

    tag: str
    cells: tuple[Cell, ...]
    expected: int
    good: int
    share: float | None
    missing: dict[str, int]
    least: Cell | None


class Grid(msgspec.Struct, frozen=True):
    """What is drawn: tags by hours from `begin` (ns), of hours from `first` to `last`."""

    lines: tuple[Line, ...]
    begin: int
    hours: int
    first: int
    last: int


def share_of(counts: Mapping[str, int]) -> float | None:
    """Return the share of what was expected that was good; None if nothing was."""
    expected = counts.get("expected", 0)
    return counts.get("good", 0) / expected if expected else None


def band_of(share: float | None) -> str:
    """Return the band of a share."""
    return "unknown" if share is None else next(name for least, name in BANDS if share >= least)


def cells_of(counts: pa.Table) -> dict[tuple[str, int], dict[str, int]]:
    """Return the ledger's counts (`Reader.counts`) by tag and hour."""
    found: dict[tuple[str, int], dict[str, int]] = {}
    hours = counts["hour"].cast(pa.int64()).to_pylist()
    columns = (counts[name].to_pylist() for name in ("tag", "what", "n"))
    for hour, tag, what, n in zip(hours, *columns, strict=True):
        cell = found.setdefault((tag, hour), {})
        cell[what] = cell.get(what, 0) + n
    return found


def grid(cells: Cells, tags: Sequence[str], end: int = 0) -> Grid | None:
    """Return the grid of these tags over the `WIDE` hours up to `end` (ns; 0: the last); None if nothing was counted."""
    if not cells:
        return None
    first, last = min(hour for _, hour in cells), max(hour for _, hour in cells)
    stop = min(max(end // HOUR * HOUR, first), last) if end else last
    begin = max(first, stop - (WIDE - 1) * HOUR)
    hours = (stop - begin) // HOUR + 1
    lines = tuple(_line(cells, tag, begin, hours) for tag in tags)
    return Grid(lines, begin, hours, first, last)


def _line(cells: Cells, tag: str, begin: int, hours: int) -> Line:
    row, whole = [], dict[str, int]()
    for x in range(hours):
        counts = cells.get((tag, begin + x * HOUR), {})
        share = share_of(counts)
        row.append(Cell(x, begin + x * HOUR, share, band_of(share)))
        for what, n in counts.items():
            whole[what] = whole.get(what, 0) + n
    known = [cell for cell in row if cell.share is not None]
    least = min(known, key=lambda cell: (cell.share, cell.hour), default=None)
    missing = {what.removeprefix("missing:"): n for what, n in sorted(whole.items()) if what.startswith("missing:") and n}
    if bad := whole.get("present", whole.get("good", 0)) - whole.get("good", 0):
        missing["bad"] = bad
    return Line(tag, tuple(row), whole.get("expected", 0), whole.get("good", 0), share_of(whole), missing, least)
