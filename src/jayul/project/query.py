"""SQL over a run folder, by DuckDB: it reads the Parquet files itself, sees views of the run, and can do nothing else.

Of a sample with several versions `history` shows the one known last. Where no file holds a late row that costs nothing: a row is
late if it is not newer than all of its tag before it. Else the few keys that stand more than once are found first, and taken from
the rest by a hash join; a window function over all rows would be some ten times as slow.

A statement must be one SELECT: its syntax tree may hold queries only (DuckDB's WITH may also write), and no function that runs
other SQL. Besides, DuckDB is locked: no other file, no network, no extension, no setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.project.api import Run
from jayul.project.journalled import tables
from jayul.project.problem import N_, ManifestError
from jayul.project.run import refuse, ticks_of
from jayul.project.times import Time, instant
from jayul.record.files import OsFiles

MEMORY = "1GB"
THREADS = 2
TRIES = 3
ROWS = 122_880  # at a time
MOST = 50_000_000  # rows of an answer
COLUMNS = "tag, source_at, value, status, known_at"
VALUE = "coalesce(value, mantissa / 10 ^ decimals) AS value"
JOURNAL = ("ticks", "receipts", "events")
QUERIES = ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE")
FUNCTIONS = ("range", "generate_series", "unnest")  # that may stand where a table stands
VIEWS = {
    "history": N_("samples; of one tag and time the version known last"),
    "history_versions": N_("samples, every version"),
    "ledger": N_("what was counted, by tag and hour of source time"),
    "tags": N_("what the tags are"),
    "ticks": N_("the level of each policy at each tick, and what it asked for"),
    "receipts": N_("what the plant did with what was allowed"),
    "events": N_("acts of people, and evidence"),
}
EXAMPLES = (
    "SELECT tag, count(*) AS n, min(value), avg(value), max(value) FROM history WHERE status < 1073741824 GROUP BY tag",
    "SELECT tag, time_bucket(INTERVAL 1 HOUR, source_at::TIMESTAMPTZ) AS hour, avg(value) FROM history GROUP BY ALL ORDER BY ALL",
    "SELECT what, sum(n) AS n FROM ledger GROUP BY what ORDER BY what",
)


def query(run: Run, sql: str, known_at: Time | None = None) -> pa.Table:
    """Return what one SELECT finds in a run, as it was known at `known_at`. Raises ManifestError for anything else, Corrupt."""
    for _ in range(TRIES):
        try:
            with opened(run, sql, known_at) as connection:
                return _answer(connection, sql)
        except (duckdb.IOException, FileNotFoundError) as error:  # a file was compacted away in the middle of it
            failed: Exception = error
        except duckdb.OutOfMemoryException:
            raise refuse("SQL", N_("needs more than {memory} of memory; ask for less at a time"), memory=MEMORY) from None
        except duckdb.Error as error:
            raise refuse("SQL", "{text}", text=_line(error)) from None
    raise refuse("SQL", "{text}", text=_line(failed))


def columns(run: Run) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of each view, with their types."""
    with opened(run, " ".join(JOURNAL)) as connection:
        return {view: [row[:2] for row in connection.execute(f"DESCRIBE {view}").fetchall()] for view in VIEWS}


def opened(run: Run, sql: str, known_at: Time | None = None) -> duckdb.DuckDBPyConnection:
    """Return a connection that sees the views of a run that `sql` names, and can do nothing but look at them."""
    until = None if known_at is None else instant(known_at, "--known-at") // 1000
    connection = duckdb.connect(
        config={
            "threads": THREADS, "memory_limit": MEMORY, "temp_directory": "", "python_enable_replacements": False,
            "autoinstall_known_extensions": False, "autoload_known_extensions": False, "allow_community_extensions": False,
        }
    )  # fmt: skip
    try:
        connection.execute("SET TimeZone = 'UTC'")
        files, hot = run.reader.parts()
        paths = [str((run.folder / "history" / name).resolve()) for name in files]
        _samples(connection, paths, hot, until)
        _put(connection, "ledger", run.ledger())
        _put(connection, "tags", _tags(run))
        if any(re.search(rf"\b{name}\b", sql, re.IGNORECASE) for name in JOURNAL):
            policies = run.header.policies if run.header else ()
            for name, table in tables(ticks_of(OsFiles(run.folder / "journal", create=False)), policies).items():
                _put(connection, name, table)
        allowed = dict.fromkeys([*paths, *map(_literal, paths)])
        connection.execute(f"SET allowed_paths = [{', '.join(map(_text, allowed))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _samples(connection: duckdb.DuckDBPyConnection, paths: list[str], hot: pa.Table, until: int | None) -> None:
    """Make `history_versions` and `history`. `until`: known by then, UTC us."""
    _put(connection, "hot", hot.cast(pa.schema([hot.field(i).with_type(kind) for i, kind in enumerate(_plain(hot))])))
    known = "" if until is None else f" WHERE known_at <= make_timestamptz({until})"
    parts = [f"SELECT {COLUMNS}, NULL AS file, rowid AS row FROM hot"]
    if paths:
        files = ", ".join(_text(_literal(path)) for path in paths)
        columns = COLUMNS.replace("value", VALUE)
        parts.insert(0, f"SELECT {columns}, filename AS file, file_row_number AS row FROM read_parquet([{files}])")
    versions = f"SELECT * FROM ({' UNION ALL '.join(parts if hot.num_rows else parts[:1])}){known}"
    connection.execute(f"CREATE VIEW history_versions AS SELECT {COLUMNS} FROM ({versions})")
    late = _late(paths, hot)
    if late is None:
        connection.execute("CREATE VIEW history AS FROM history_versions")
        return
    connection.register("late", late)
    connection.execute(
        "CREATE TABLE doubled AS SELECT tag, source_at FROM history_versions SEMI JOIN late USING (tag, source_at) "
        "GROUP BY ALL HAVING count(*) > 1"
    )
    connection.unregister("late")
    came = "known_at DESC, file IS NULL DESC, length(file) DESC, file DESC, row DESC"  # the last of them first
    connection.execute(
        f"CREATE TABLE latest AS SELECT {COLUMNS} FROM (FROM ({versions}) SEMI JOIN doubled USING (tag, source_at)) "
        f"QUALIFY row_number() OVER (PARTITION BY tag, source_at ORDER BY {came}) = 1"
    )
    connection.execute(
        f"CREATE VIEW history AS SELECT {COLUMNS} FROM history_versions ANTI JOIN doubled USING (tag, source_at) "
        "UNION ALL FROM latest"
    )


def _late(paths: list[str], hot: pa.Table) -> pa.Table | None:
    """Return tag and time of rows that may stand more than once: all that are, and some more. None: there are none."""
    found, newest = list[pa.Table](), -(2**63)
    for path in paths:
        with pq.ParquetFile(path) as file:
            meta, about = file.metadata, file.schema_arrow.metadata or {}
            if about.get(b"jayul.late") != b"0":
                found.append(_suspect(file.read(columns=["tag", "source_at"]), newest))
            newest = max(newest, *(meta.row_group(i).column(1).statistics.max_raw for i in range(meta.num_row_groups)), newest)
    found.append(_suspect(hot.select(["tag", "source_at"]), newest))
    keys = pa.concat_tables([table.cast(pa.schema([("tag", pa.string()), table.field(1)])) for table in found])
    return keys if keys.num_rows else None


def _suspect(rows: pa.Table, newest: int) -> pa.Table:
    """Return rows (sorted by tag and time) that are not newer than `newest`, or stand there twice."""
    rows = rows.unify_dictionaries().combine_chunks()
    at, tag = rows["source_at"].cast(pa.int64()).to_numpy(), rows["tag"].combine_chunks()
    codes = (tag.chunk(0) if isinstance(tag, pa.ChunkedArray) else tag).indices.to_numpy()
    again = np.zeros(len(at), dtype=bool)
    again[1:] = (at[1:] == at[:-1]) & (codes[1:] == codes[:-1])
    return rows.filter(pa.array(again | (at <= newest)))


def _plain(table: pa.Table) -> Iterator[pa.DataType]:
    for field in table.schema:
        yield pa.string() if pa.types.is_dictionary(field.type) else field.type


def _tags(run: Run) -> pa.Table:
    kinds = {"name": pa.string(), "unit": pa.string(), "kind": pa.string(), "low": pa.float64(), "high": pa.float64()}
    kinds |= {"stale_after": pa.float64(), "description": pa.string()}
    rows = [[getattr(tag, name) for tag in run.tags.values()] for name in kinds]
    return pa.Table.from_arrays([pa.array(row, kind) for row, kind in zip(rows, kinds.values(), strict=True)], list(kinds))


def _put(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("given", table)
    connection.execute(f"CREATE TABLE {name} AS FROM given")
    connection.unregister("given")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _literal(path: str) -> str:
    """Return a path in which no character stands for others."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run a statement that only looks. Raises ManifestError for one that does more."""
    found = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = msgspec.json.decode(found[0][0])
    if tree.get("error"):
        if tree.get("error_type") == "parser":
            raise refuse("SQL", "{text}", text=" ".join(str(tree["error_message"]).split()))
        raise _only_looking(sql.split(None, 1)[0] if sql.strip() else "''")
    if len(tree["statements"]) != 1:
        raise refuse("SQL", N_("holds {count} statements; give one"), count=len(tree["statements"]))
    for what in _doing(tree):
        raise _only_looking(what)
    reader = connection.sql(sql).to_arrow_reader(ROWS)
    batches, count = [], 0
    for batch in reader:
        batches.append(batch)
        count += batch.num_rows
        if count > MOST:
            raise refuse("SQL", N_("finds more than {count} rows; say LIMIT, or ask for less"), count=MOST)
    return pa.Table.from_batches(batches, reader.schema)


def _only_looking(what: str) -> ManifestError:
    return refuse("SQL", N_("'{what}' is not understood here: a run is only looked at; write one SELECT"), what=what)


def _doing(tree: Any) -> Iterator[str]:
    """Yield what a syntax tree does besides looking: other nodes than queries, functions that could run SQL or read elsewhere."""
    if isinstance(tree, list):
        for part in tree:
            yield from _doing(part)
    elif isinstance(tree, dict):
        kind = tree.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in QUERIES:
            yield kind.split("_", maxsplit=1)[0]
        if kind == "TABLE_FUNCTION" and (name := tree.get("function", {}).get("function_name")) not in FUNCTIONS:
            yield str(name)
        for part in tree.values():
            yield from _doing(part)


def _line(error: Exception) -> str:
    """Return what DuckDB says in one line."""
    text = str(error).split("\n\nLINE ", 1)[0]
    return " ".join(text.split())
