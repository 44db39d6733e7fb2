"""A recorded plant: CSV, Parquet or Excel files with one column of time and one per tag. Read-only.

At clock time t each tag shows the newest row whose time is not later. An empty or non-numeric cell is marked bad.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jayul.core.clock import Clock
from jayul.core.types import BAD_NO_DATA, GOOD, Frame, Receipt, Tag, TagTable, Verdict
from jayul.plant.errors import Refused

GAP = 3
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class FilesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`path` is relative to the project folder; `time` names the column of time, in `timezone` unless it says itself.

    `path` may hold wildcards (`*`, `[1-4]`): the files are joined in order of time, each up to where the next begins; `file_tag` is
    then a tag that counts them. `time_format` (as strptime) where the time is not ISO 8601; `midnight_ends_day`: 00:00 belongs to
    the end of the day that it names. `exclude` are columns that nothing may see (labels). `constant` are tags that the recording
    lacks because nobody moved them. CSV: `delimiter`, `encoding`. Excel: `sheet` (the first if empty).
    """

    path: str
    time: str = "time"
    time_format: str = ""
    midnight_ends_day: bool = False
    timezone: str = "UTC"
    file_tag: str = ""
    constant: dict[str, float] = {}
    exclude: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: str = ""
    tag: tuple[Tag, ...] = ()

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ValueError("'delimiter' must be one character")
        for i, tag in enumerate(self.tag):
            if tag.name in [other.name for other in self.tag[:i]]:
                raise ValueError(f"tag '{tag.name}' is described twice")
            if not 0 < tag.stale_after <= 1e9:
                raise ValueError(f"tag '{tag.name}': stale_after must lie between 0 and 1e9 s")
            if tag.low is not None and tag.high is not None and not tag.low < tag.high:
                raise ValueError(f"tag '{tag.name}': low must lie below high")


class Survey(msgspec.Struct, frozen=True):
    """What there is in a recording: rows, first and last (ns), median interval (ns), stretches without rows that are longer than
    `GAP` intervals and the longest of them (ns), columns taken in without a description, tags that hold no number anywhere.
    """

    rows: int
    first: int
    last: int
    interval: int
    gaps: int
    longest: int
    bare: tuple[str, ...]
    empty: tuple[str, ...]


def files(config: FilesConfig, clock: Clock) -> Files:
    """Open the recording. Raises Refused with what to change."""
    return Files(config, clock)


class Files:
    """The plant; tags come from the columns, described by `[[plant.tag]]` where the manifest has it. `start`, `end` in UTC ns."""

    def __init__(self, config: FilesConfig, clock: Clock) -> None:
        self._clock = clock
        tables = {path: load(path, config) for path in _paths(config)}
        columns = next(iter(tables.values())).column_names
        for path, table in tables.items():
            _check_columns(path, table, config, columns)
        names = [name for name in columns if name != config.time and name not in config.exclude]
        own = [*config.constant, *([config.file_tag] if config.file_tag else [])]
        for name in own:
            if name in columns or own.count(name) > 1:
                raise Refused(f"{config.path}: '{name}' is there already; give the constant or file_tag another name")
        unknown = sorted({tag.name for tag in config.tag} - {*columns, *own})
        if unknown:
            raise Refused(f"{config.path}: no column '{unknown[0]}' for [[plant.tag]]; there are {', '.join(columns)}")
        parts = sorted((_read(path, table, names, config) for path, table in tables.items()), key=lambda part: int(part[1][0]))
        described = {tag.name: tag for tag in config.tag}
        if config.file_tag and config.file_tag not in described:
            states = {i: path.stem for i, (path, _, _) in enumerate(parts)}
            described[config.file_tag] = Tag(name=config.file_tag, kind="mode", states=states, description="which file")
        self.tags = TagTable(described.get(name, Tag(name=name)) for name in [*names, *own])
        self._at, self._values = _join(parts, config)
        self.start, self.end = int(self._at[0]), int(self._at[-1])
        self._bare = tuple(name for name in names if name not in {tag.name for tag in config.tag})

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all times (int64 ns [n]) and values (float64 [n, tags])."""
        return self._at, self._values

    def survey(self) -> Survey:
        """Return what there is in the recording."""
        steps = np.diff(self._at)
        interval = int(np.median(steps)) if len(steps) else 0
        long = steps[steps > GAP * interval] if interval else steps[:0]
        empty = tuple(name for i, name in enumerate(self.tags.names) if np.isnan(self._values[:, i]).all())
        return Survey(len(self._at), self.start, self.end, interval, len(long), int(long.max(initial=0)), self._bare, empty)

    def numbers(self) -> np.ndarray:
        """Return all values [rows, tags] in order of time; NaN where there is no number."""
        return self._values

    async def read(self) -> Frame:
        """Return the newest row that is not later than now; nothing is known before the first."""
        now, n = self._clock.now(), len(self.tags.tags)
        row = int(np.searchsorted(self._at, now, side="right")) - 1
        value = self._values[row].copy() if row >= 0 else np.full(n, np.nan)
        status = np.where(np.isfinite(value), GOOD, BAD_NO_DATA).astype(np.uint32)
        source = np.full(n, self._at[row] if row >= 0 else 0, dtype=np.int64)
        return Frame(now, self.tags, value, source, np.full(n, now, dtype=np.int64), status)

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Refuse: a recording cannot be changed."""
        return [
            Receipt(v.proposal.tag, v.allowed, None, self._clock.now(), "rejected") for v in verdicts if v.allowed is not None
        ]


def _paths(config: FilesConfig) -> list[Path]:
    path = Path(config.path)
    if path.exists() or not set(config.path) & set("*?["):
        return [path]
    fixed = next(parent for parent in path.parents if parent.exists())
    found = sorted(found for found in fixed.glob(str(path.relative_to(fixed))) if found.is_file())
    if not found:
        raise Refused(f"{config.path}: no such file")
    return found


def _check_columns(path: Path, table: pa.Table, config: FilesConfig, columns: list[str]) -> None:
    there = table.column_names
    if config.time not in there:
        raise Refused(f"{path}: no column '{config.time}'; there are {', '.join(there)}")
    if twice := [name for name in there if there.count(name) > 1]:
        raise Refused(f"{path}: more than one column is called '{twice[0]}'; give each its own name")
    if hidden := [name for name in config.exclude if name not in there]:
        raise Refused(f"{path}: no column '{hidden[0]}' to exclude; there are {', '.join(there)}")
    if there != columns:
        raise Refused(f"{path}: its columns are not those of the first file: {', '.join(columns)}")
    if not table.num_rows:
        raise Refused(f"{path}: no rows")


def _read(path: Path, table: pa.Table, names: list[str], config: FilesConfig) -> tuple[Path, np.ndarray, np.ndarray]:
    """Return times (ns) and values [rows, tags] in order of time."""
    at = _times(path, table[config.time], config)
    values = np.column_stack([_numbers(table[name]) for name in names]) if names else np.empty((len(at), 0))
    order = np.argsort(at, kind="stable")
    return path, at[order], values[order]


def _join(parts: list[tuple[Path, np.ndarray, np.ndarray]], config: FilesConfig) -> tuple[np.ndarray, np.ndarray]:
    """Put files one after another, each up to where the next begins; add the constants and the number of the file."""
    times, rows = [], []
    for i, (_, at, values) in enumerate(parts):
        count = int(np.searchsorted(at, parts[i + 1][1][0])) if i + 1 < len(parts) else len(at)
        more = [*config.constant.values(), *([float(i)] if config.file_tag else [])]
        times.append(at[:count])
        rows.append(np.column_stack([values[:count], *(np.full(count, value) for value in more)]))
    return np.concatenate(times), np.concatenate(rows)


def load(path: Path, config: FilesConfig) -> pa.Table:
    """Read a file as it is. Raises Refused."""
    try:
        match path.suffix.lower():
            case ".csv" | ".txt" | ".dat":
                table = pyarrow.csv.read_csv(
                    path,
                    read_options=pyarrow.csv.ReadOptions(encoding=config.encoding),
                    parse_options=pyarrow.csv.ParseOptions(delimiter=config.delimiter),
                    convert_options=pyarrow.csv.ConvertOptions(column_types=_as_text(config)),
                )
            case ".parquet":
                table = pq.read_table(path)
            case ".xlsx" | ".xls" | ".xlsb" | ".ods":
                table = _load_excel(path, config)
            case suffix:
                raise Refused(f"{path}: unknown kind of file '{suffix}'; use .csv, .parquet or .xlsx")
        table.column_names  # noqa: B018 - read here, where names of another encoding are caught
    except FileNotFoundError as error:
        raise Refused(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: is not '{config.encoding}'; give 'encoding', for Korean often cp949") from error
    except (pa.ArrowException, ValueError, TypeError, LookupError, OSError) as error:
        raise Refused(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    return table


def _as_text(config: FilesConfig) -> dict[str, pa.DataType]:
    """Keep the time as it stands in the file where the manifest says how to read it."""
    return {config.time: pa.string()} if config.time_format else {}


def _load_excel(path: Path, config: FilesConfig) -> pa.Table:
    try:
        import python_calamine
    except ImportError as error:
        raise Refused(f"{path}: Excel needs the extra: pip install 'jayul[excel]'") from error
    try:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        sheet = config.sheet or book.sheet_names[0]
        if sheet not in book.sheet_names:
            raise Refused(f"{path}: no sheet '{sheet}'; there are {', '.join(book.sheet_names)}")
        head, *rows = book.get_sheet_by_name(sheet).to_python()
    except (python_calamine.CalamineError, ValueError) as error:
        raise Refused(f"{path}: cannot be read: {error}") from error
    columns: dict[str, Any] = {}
    for i, name in enumerate(head):
        cells = [row[i] if row[i] != "" else None for row in rows]
        alike = len({type(cell) for cell in cells if cell is not None}) <= 1
        columns[str(name)] = cells if alike else [None if cell is None else str(cell) for cell in cells]
    return pa.table(columns)


FORMATS = (  # that a guess is made from: the first under which every cell that was looked at is a time
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M",
    "%Y.%m.%d %H:%M:%S", "%Y.%m.%d %H:%M", "%Y. %m. %d. %H:%M", "%Y%m%d%H%M%S", "%Y%m%d %H%M%S",
    "%Y%m%d %H:%M:%S", "%Y-%m-%d %p %I:%M", "%Y-%m-%d %p %I:%M:%S", "%Y. %m. %d. %p %I:%M", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p",
)  # fmt: skip
LOOKED_AT = 500  # cells


def _times(path: Path, column: pa.ChunkedArray, config: FilesConfig) -> np.ndarray:
    """Return UTC ns. Text is read as ISO 8601 or by `time_format`; a time without zone stands in the configured one."""
    try:
        zone = ZoneInfo(config.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Refused(f"timezone '{config.timezone}' is unknown; write it like 'Asia/Seoul'") from error
    if column.null_count:
        raise Refused(f"{path}: column '{config.time}' has {column.null_count} empty cells")
    if config.time_format or config.midnight_ends_day or not pa.types.is_timestamp(column.type):
        cells, found = column.to_pylist(), []
        for row, cell in enumerate(cells, 1):
            try:
                found.append(_ns(_stamp(cell, config, zone)))
            except (ValueError, OverflowError) as error:
                raise Refused(_no_time(path, config, row, cells)) from error
        return np.array(found, dtype=np.int64)
    if column.type.tz is None:
        column = pc.assume_timezone(column, config.timezone, ambiguous="earliest", nonexistent="earliest")
    try:
        stamps_ns: np.ndarray = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise Refused(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    return stamps_ns


def _no_time(path: Path, config: FilesConfig, row: int, cells: Sequence[object]) -> str:
    """Say which cell is no time, and which format it may have."""
    cell = cells[row - 1]
    if isinstance(cell, bytes):
        return f"{path}: is not '{config.encoding}'; give 'encoding', for Korean often cp949"
    head = f"{path}: column '{config.time}', row {row}: '{cell}' is"
    if config.time_format:
        return f"{head} not of the form \"{config.time_format}\" that 'time_format' says"
    for guess in FORMATS:
        try:
            for other in cells[:LOOKED_AT]:
                dt.datetime.strptime(western(str(other)), guess)  # noqa: DTZ007 - only whether it can be read
        except ValueError:
            continue
        return f"{head} no time; give 'time_format', it may be \"{guess}\""
    return f"{head} no time; give 'time_format', as in \"%d/%m/%Y %H:%M\""


def western(text: str) -> str:
    """Write the Korean words for morning and afternoon as AM and PM."""
    return text.strip().replace("오전", "AM").replace("오후", "PM")


def _stamp(cell: object, config: FilesConfig, zone: ZoneInfo) -> dt.datetime:
    if isinstance(cell, dt.datetime):
        stamp = cell
    elif config.time_format:
        stamp = dt.datetime.strptime(western(str(cell)), config.time_format)  # noqa: DTZ007 - its zone is added by `_ns`
    else:
        stamp = dt.datetime.fromisoformat(str(cell))
    stamp = stamp.astimezone(zone) if stamp.tzinfo else stamp.replace(tzinfo=zone)
    midnight = config.midnight_ends_day and (stamp.hour, stamp.minute, stamp.second, stamp.microsecond) == (0, 0, 0, 0)
    return stamp + dt.timedelta(days=1) if midnight else stamp


def _ns(stamp: dt.datetime) -> int:
    return (stamp - EPOCH) // dt.timedelta(microseconds=1) * 1000


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return float64; what is no number becomes NaN."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers: np.ndarray = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
        return numbers
    return np.array([_number(cell) for cell in column.to_pylist()], dtype=np.float64)


def _number(cell: object) -> float:
    try:
        return float(str(cell).strip())
    except ValueError:
        return float("nan")
