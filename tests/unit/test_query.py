"""`jayul query` and `jayul.Run`: what they find, what they refuse, and that nothing is changed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jayul as package
from jayul import Run
from jayul.app.cli import main
from jayul.conform.crash import make_project
from jayul.core.types import BAD, Tag
from jayul.project import query as asking
from jayul.project.problem import ManifestError
from jayul.project.query import query
from jayul.project.run import Options, execute
from jayul.project.tags import read_tags, write_tags
from jayul.project.times import instant
from jayul.record.batch import Batch, Count
from jayul.record.history import History
from jayul.record.history.upkeep import Policy

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
NAMES = ("유량", "TIC1.PV", "late")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tank, in a folder whose name means something to DuckDB's patterns and to SQL."""
    folder = tmp_path_factory.mktemp("it's [1]* line?")
    execute(make_project(folder / "p", 1.0, "group"), folder / "out", Options(seed=1))
    return folder / "out"


def append(history: History, known: int, *rows: tuple[int, int, float, int], counts: tuple[Count, ...] = ()) -> None:
    """Take in rows of (tag, source second, value, status), known at a second."""
    tag, at, value, status = zip(*rows, strict=True)
    batch = Batch.of(tag, START + np.array(at) * SECOND, value, status, np.zeros(len(rows)))
    history.append(batch, counts, known_at=START + known * SECOND)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two Parquet files and a hot segment; one sample is corrected twice, one comes late, 1 ns lies between two."""
    history = History(tmp_path / "history", NAMES)
    append(history, 10, (0, 1, 1.5, 0), (0, 2, 2.5, 0), (1, 1, 10.0, 0), (1, 2, 0.1, 0), (1, 1, 11.0, 0))
    history.commit()
    history.seal()
    append(history, 20, (0, 3, 3.5, 0), (1, 2, 0.2, 0), (2, -5, 7.0, 0), counts=(Count(0, START, "received", 3),))
    history.commit()
    history.seal()
    append(history, 30, (1, 2, 0.3, BAD), (0, 4, 4.5, 0))
    batch = Batch.of([2], [START - 5 * SECOND + 1], [8.0], [0], [0])
    history.append(batch, known_at=START + 31 * SECOND)
    history.commit()
    write_tags(tmp_path, [Tag(name="유량", unit="m3/h", low=0.0, high=9.0), Tag(name="TIC1.PV", unit="degC", stale_after=2.0)])
    assert len(list((tmp_path / "history").glob("*.parquet"))) == 2
    return tmp_path


def rows(table: pa.Table) -> list[tuple[str, int, float, int]]:
    at = table["source_at"].cast(pa.int64()).to_pylist()
    columns = (table["tag"].to_pylist(), at, table["value"].to_pylist(), table["status"].to_pylist())
    return [(tag, (at - START) // SECOND, value, status) for tag, at, value, status in zip(*columns, strict=True)]


ALL = "SELECT * FROM history ORDER BY tag, source_at"


@pytest.mark.parametrize("known", [None, 5, 10, 15, 20, 25, 30, 31])
def test_sql_and_python_see_the_same_versions_at_any_time(folder: Path, known: int | None) -> None:
    run, at = Run(folder), None if known is None else START + known * SECOND
    expected = run.history(known_at=at)
    found = query(run, ALL, at)
    assert found["source_at"].cast(pa.int64()).to_pylist() == expected["source_at"].cast(pa.int64()).to_pylist()
    assert rows(found) == rows(expected)
    every = query(run, "SELECT count(*) AS n FROM history_versions", at)["n"].to_pylist()
    assert every == [run.history(known_at=at, versions=True).num_rows]


@pytest.mark.parametrize("late", [False, True])
def test_versions_cost_nothing_where_no_sample_came_late(tmp_path: Path, late: bool) -> None:
    history = History(tmp_path / "history", NAMES, policy=Policy(compact=False))
    for hour in range(3):
        append(history, 10 + hour, *((tag, 10 * hour + i, 1.0, 0) for i in range(10) for tag in (0, 1)))
        if late and hour == 2:
            append(history, 13, (0, 5, 2.0, 0), (2, 5, 3.0, 0))  # a correction, and a tag that was never seen
        history.commit()
        history.seal()
    files = sorted((tmp_path / "history").glob("*.parquet"))
    assert len(files) == 3
    said = [pq.ParquetFile(file).schema_arrow.metadata[b"jayul.late"] for file in files]
    assert said == [b"0", b"0", b"1" if late else b"0"]
    run = Run(tmp_path)
    with asking.opened(run, "") as connection:
        tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert ("doubled" in tables) is late
    assert rows(query(run, ALL)) == rows(run.history())
    assert run.history().num_rows == 60 + late


def test_the_version_known_last_stands_in_history(folder: Path) -> None:
    run = Run(folder)
    found = dict.fromkeys(rows(query(run, ALL)))
    assert ("TIC1.PV", 1, 11.0, 0) in found  # corrected within one append: the later row counts
    assert ("TIC1.PV", 2, 0.3, BAD) in found
    assert len(found) == 8
    assert ("TIC1.PV", 2, 0.2, 0) in rows(query(run, ALL, "2023-11-14T22:13:45Z"))


def test_decimals_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([np.round(rng.normal(size=20_000), n) for n in range(10)])
    history = History(tmp_path / "history", [str(i) for i in range(10)])
    at = START + np.arange(len(values)) * SECOND
    history.append(Batch.of(np.repeat(np.arange(10), 20_000), at, values, np.zeros(len(at)), at), known_at=START)
    history.close()
    found = query(Run(tmp_path), "SELECT value FROM history ORDER BY source_at")["value"].to_numpy()
    assert found.view(np.int64).tolist() == values.view(np.int64).tolist()
    whole = pq.ParquetFile(next((tmp_path / "history").glob("*.parquet"))).read()["mantissa"].null_count
    assert whole < len(values)  # some do stand there as whole numbers


def test_the_views_are_those_of_the_run(demo: Path) -> None:
    run = Run(demo)
    columns = asking.columns(run)
    assert list(columns) == list(asking.VIEWS)
    assert [name for name, _ in columns["history"]] == ["tag", "source_at", "value", "status", "known_at"]
    assert query(run, "SELECT count(*) AS n, max(tick) AS last FROM ticks").to_pylist() == [{"n": 120, "last": 119}]
    summary = run.summary
    assert summary is not None
    levels = query(run, "SELECT level FROM ticks ORDER BY tick DESC LIMIT 1")["level"].to_pylist()
    assert levels == list(summary.level_now.values())
    asked = query(run, "SELECT sum(asked) AS asked, sum(refused) AS refused FROM ticks").to_pylist()[0]
    assert asked["asked"] == sum(tag.asked for tag in summary.tags.values())
    assert asked["refused"] == summary.verdicts["refused"]
    applied = query(run, "SELECT count(*) AS n FROM receipts WHERE state IN ('settled', 'pending')")["n"].to_pylist()
    assert applied == [sum(tag.applied for tag in summary.tags.values())]
    kinds = query(run, "SELECT kind, count(*) AS n FROM events WHERE id NOT LIKE 'mon-%' GROUP BY kind").to_pylist()
    assert {row["kind"]: row["n"] for row in kinds} == summary.effort.acts
    units = query(run, "SELECT name, unit FROM tags ORDER BY name").to_pylist()
    assert {row["name"]: row["unit"] for row in units} == run.units()
    assert run.units()["TIC1.PV"] == "degC"
    for example in asking.EXAMPLES:
        query(run, example)


def test_the_ledger_is_a_view(folder: Path) -> None:
    found = query(Run(folder), "SELECT tag, what, n FROM ledger").to_pylist()
    assert found == [{"tag": "유량", "what": "received", "n": 3}]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY history TO '{folder}/x.csv'",
        "COPY (SELECT 1) TO '{file}'",
        "WITH a AS (COPY (SELECT 1) TO '{file}') SELECT * FROM a",
        "SELECT * FROM (WITH a AS (COPY (SELECT 1) TO '{file}' (FORMAT csv)) SELECT * FROM a)",
        "SELECT (WITH a AS (COPY (SELECT 1) TO '{file}') SELECT count(*) FROM a)",
        "SELECT 1 UNION ALL (WITH a AS (COPY (SELECT 1) TO '{file}') SELECT * FROM a)",
        "SELECT * FROM query('WITH a AS (COPY (SELECT 1) TO ''{file}'') SELECT * FROM a')",
        "SELECT * FROM json_execute_serialized_sql('{{}}')",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "EXPORT DATABASE '{folder}/x'",
        "ATTACH '{folder}/x.db'",
        "ATTACH '{folder}/x.db' AS other",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW history",
        "INSERT INTO tags SELECT * FROM tags",
        "WITH a AS (INSERT INTO tags SELECT * FROM tags RETURNING *) SELECT * FROM a",
        "UPDATE tags SET unit = 'K'",
        "DELETE FROM tags",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 64",
        "RESET lock_configuration",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CHECKPOINT",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM '/etc/passwd.csv'",
        "SELECT * FROM '{other}'",
        "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
        "SELECT * FROM 's3://bucket/x.parquet'",
        "SELECT * FROM duckdb_secrets()",
        "SELECT getenv('HOME')",
        "SELECT * FROM local_table",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{file}'",
        "",
        "SELEC 1",
        "SELECT nothing FROM history",
        "SELECT error('a\nb\n\nc')",
    ],
)
def test_what_is_more_than_looking_gets_one_line_and_changes_nothing(folder: Path, sql: str) -> None:
    local_table = pa.table({"a": [1]})
    assert local_table.num_rows == 1  # Python's own variables are not seen
    file = next((folder / "history").glob("000001*.parquet"))
    other = folder / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)

    def state() -> dict[str, str]:
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}

    before = state()
    with pytest.raises(ManifestError) as error:
        query(Run(folder), sql.format(folder=folder, file=file, other=other))
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith("SQL: ")
    assert state() == before


def test_the_connection_itself_is_locked_too(folder: Path) -> None:
    with asking.opened(Run(folder), "") as connection:
        for sql in ("SELECT * FROM read_text('/etc/passwd')", f"COPY (SELECT 1) TO '{folder}/x.csv'", "LOAD httpfs"):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(sql)
        with pytest.raises(duckdb.InvalidInputException):
            connection.execute("SET enable_external_access = true")


def test_what_needs_more_memory_than_there_is_gets_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MEMORY", "64MB")
    with pytest.raises(ManifestError, match="needs more than 64MB of memory"):
        query(Run(folder), "SELECT list(a), list(b) FROM (SELECT a, hash(a) AS b FROM range(3000000) t(a)) GROUP BY b")


def test_an_answer_without_end_is_cut_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST", 100_000)
    with pytest.raises(ManifestError, match="more than 100000 rows"):
        query(Run(folder), "SELECT * FROM range(1000000000000)")


def test_times_are_exact_and_never_guessed() -> None:
    assert instant("2026-01-01T00:00:00.123456789Z", "x") == 1_767_225_600_123_456_789
    assert instant("2026-01-01T09:00+09:00", "x") == 1_767_225_600 * SECOND
    assert instant(dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC), "x") == 1_767_225_600_000_001_000
    assert instant(5, "x") == 5
    naive = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - that is what is refused
    for wrong in ("2026-01-01", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z", "now", naive, 2**63):
        with pytest.raises(ManifestError):
            instant(wrong, "x")


def test_python_refuses_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"did you mean 'TIC1\.PV'"):
        Run(folder).history(["TIC1.PW"])
    with pytest.raises(ManifestError, match="holds no run"):
        Run(tmp_path / "nothing")
    with pytest.raises(ManifestError, match="a grid needs a step"):
        Run(folder).wide(None, 0)
    with pytest.raises(ManifestError, match="choose a longer step"):
        Run(folder).wide(None, "1 ms", "1990-01-01T00:00:00Z", "2030-01-01T00:00:00Z")


def test_a_wide_table_holds_the_last_value_that_counts(folder: Path) -> None:
    run = Run(folder)
    table = run.wide(["TIC1.PV", "유량"], "1 s", START, START + 8 * SECOND)
    assert table.column_names == ["at", "TIC1.PV", "유량"]
    nan = np.nan
    assert np.array_equal(table["유량"].to_numpy(), [nan, 1.5, 2.5, 3.5, 4.5, 4.5, 4.5, 4.5], equal_nan=True)
    assert np.array_equal(table["TIC1.PV"].to_numpy(), [nan, 11.0, *[nan] * 6], equal_nan=True)  # then it is bad
    before = run.wide(["TIC1.PV"], "1 s", START, START + 8 * SECOND, START + 20 * SECOND)  # stale after 2 s
    assert np.array_equal(before["TIC1.PV"].to_numpy(), [nan, 11.0, 0.2, 0.2, 0.2, nan, nan, nan], equal_nan=True)


def test_a_wide_table_as_known_never_looks_ahead(tmp_path: Path) -> None:
    history = History(tmp_path / "history", ["a"])
    for known, source, value in ((10, 10, 1.0), (20, 19, 2.0), (30, 15, 9.0), (40, 19, 3.0), (50, 50, 4.0)):
        append(history, known, (0, source, value, 0))
    history.close()
    write_tags(tmp_path, [Tag(name="a", stale_after=1000.0)])
    run, nan = Run(tmp_path), np.nan
    found = run.wide(["a"], "5 s", START, START + 60 * SECOND, as_known=True)["a"].to_numpy()
    assert np.array_equal(found, [nan, nan, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4], equal_nan=True)
    now = run.wide(["a"], "5 s", START, START + 60 * SECOND)["a"].to_numpy()
    assert np.array_equal(now, [nan, nan, 1, 9, 3, 3, 3, 3, 3, 3, 4, 4], equal_nan=True)
    buckets = run.downsample(["a"], "20 s", START, START + 60 * SECOND)
    assert buckets["count"].to_pylist() == [3, 1]
    assert buckets["max"].to_pylist() == [9.0, 4.0]


def test_a_digest_depends_on_names_kinds_and_values_alone() -> None:
    table = pa.table({"a": pa.array(["x", None, "y"]), "b": [1.0, float("nan"), -0.0], "c": pa.array([1, 2, 3], pa.uint32())})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    coded = table.set_column(0, "a", table["a"].dictionary_encode())
    quiet = np.array([0x7FF8_0000_0000_0001], dtype=np.uint64).view(np.float64)
    other_nan = table.set_column(1, "b", pa.array([1.0, quiet[0], -0.0]))
    assert {Run.digest(one) for one in (table, chunked, coded, other_nan)} == {Run.digest(table)}
    ms = pa.table({"t": pa.array([1], pa.timestamp("ms", "UTC"))})
    ns = pa.table({"t": pa.array([1_000_000], pa.timestamp("ns", "UTC"))})
    assert Run.digest(ms) == Run.digest(ns)
    for change in (
        table.rename_columns(["A", "b", "c"]), table.slice(0, 2), table.select(["b", "a", "c"]),
        table.set_column(1, "b", pa.array([1.0, float("nan"), 0.0])), table.set_column(0, "a", pa.array(["x", "", "y"])),
        table.set_column(0, "a", pa.array(["xy", None, ""])), table.set_column(2, "c", pa.array([1, 2, 3], pa.int64())),
    ):  # fmt: skip
        assert Run.digest(change) != Run.digest(table)


def test_tags_are_kept_and_the_newer_word_counts(tmp_path: Path) -> None:
    assert read_tags(tmp_path) == {}
    write_tags(tmp_path, [Tag(name="b"), Tag(name="a", unit="kW")])
    write_tags(tmp_path, [Tag(name="b", unit="K")])
    assert {name: tag.unit for name, tag in read_tags(tmp_path).items()} == {"a": "kW", "b": "K"}


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def test_the_command_shows_views_tables_csv_json_and_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def jayul(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    shown = jayul("query", folder)
    assert shown.returncode == 0
    assert all(view in shown.stdout for view in asking.VIEWS)
    table = jayul("query", folder, ALL).stdout
    assert "TIC1.PV" in table
    assert "8 rows." in table
    found = json.loads(jayul("query", folder, ALL, "--json").stdout.splitlines()[-1])
    assert found["columns"] == ["tag", "source_at", "value", "status", "known_at"]
    assert found["rows"][0] == ["TIC1.PV", "2023-11-14T22:13:21.000000000Z", 11.0, 0, "2023-11-14T22:13:30.000000Z"]
    lines = jayul("query", folder, ALL, "--csv", "--known-at", "2023-11-14T22:13:30Z").stdout.splitlines()
    assert lines[2] == "TIC1.PV,2023-11-14T22:13:22.000000000Z,0.1,0,2023-11-14T22:13:30.000000Z"
    for kind in ("parquet", "arrow", "csv"):
        done = jayul("query", folder, ALL, "--out", folder / f"found.{kind}", "--json")
        assert json.loads(done.stdout.splitlines()[-1])["rows"] == 8, done.stderr
    again = jayul("query", folder, ALL, "--out", folder / "found.csv")
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert jayul("query", folder, ALL, "--out", folder / "found.xlsx").returncode == 2
    wrong = jayul("query", folder, "SELECT * FROM nothing", "--json")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    assert "nothing" in json.loads(wrong.stdout)["error"]


def test_importing_jayul_loads_nothing_heavy() -> None:
    code = "import sys, jayul; assert not {'numpy', 'pyarrow', 'duckdb', 'msgspec'} & set(sys.modules); jayul.Run"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError):
        _ = package.nothing
