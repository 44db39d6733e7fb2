"""`jayul export`: the data come back bit for bit, and the cards say what they are."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jayul import Run
from jayul.app.cli import main
from jayul.conform.crash import make_project
from jayul.core.types import Tag
from jayul.plant.imports.units import unguarded
from jayul.project import tabular
from jayul.project.export import FORMATS, Wanted, export
from jayul.project.problem import ManifestError
from jayul.project.run import Options, execute
from jayul.project.tags import write_tags
from jayul.record.batch import Batch, Count
from jayul.record.history import History

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
HOUR = 3600 * SECOND
NAMES = ('유량, "A"', "=SUM(A1)", "-T/1 %", "'q", "a\nb", "@x", "+1", "plain")
EDGES = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, -1.5, 1e300, 0.1 + 0.2, 1 / 3, 1.0, -7.0, 1e16, 123456789.123456789]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ugly names, ugly values, one correction."""
    out = tmp_path_factory.mktemp("export")
    rng = np.random.default_rng(2)
    value = np.concatenate([EDGES, rng.integers(0, 2**63, 600).view(np.float64), np.round(rng.normal(size=400), 3)])
    n = len(value)
    tag, at = rng.integers(0, len(NAMES) - 1, n), START + np.arange(n) * 123_456_789
    tag[-400:] = len(NAMES) - 1  # three decimals: whole numbers in Parquet
    status = rng.choice([0, 0x80000000, 0x40000000], n)
    history = History(out / "history", NAMES)
    hour = START // HOUR * HOUR
    counts = [Count(7, hour, "expected", 100), Count(7, hour, "missing:link", 20), Count(7, hour, "good", 80)]
    history.append(Batch.of(tag, at, value, status, at), counts, known_at=START + 2000 * SECOND)
    history.append(Batch.of(tag[:1], at[:1], [4.5], [0], at[:1]), known_at=START + 3000 * SECOND)
    history.close()
    write_tags(out, [Tag(name=NAMES[0], unit="m3/h", description="유량"), Tag(name="plain", unit="degC", low=0.0, high=9.0)])
    return out


def ns(cell: str) -> int:
    assert cell.endswith("Z")
    return int(np.datetime64(cell[:-1]).astype("datetime64[ns]").astype(np.int64))


def bits(value: float) -> bytes:
    return struct.pack("<d", math.nan if math.isnan(value) else value)


def read(path: Path) -> list[tuple[str, int, bytes, int, int, str | None]]:
    """Read an export as a stranger would: Parquet and Arrow by pyarrow, CSV by Python's own reader (float reads NaN and INF)."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *lines = csv.reader(file)
        assert head == ["tag", "source_at", "value", "status", "known_at", "unit"]
        return [
            (unguarded(tag), ns(at), bits(float(value)), int(status), ns(known), unit or None)
            for tag, at, value, status, known, unit in lines
        ]
    table = pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()
    return rows(table, table["unit"].to_pylist())


def rows(table: pa.Table, unit: list[str | None]) -> list[tuple[str, int, bytes, int, int, str | None]]:
    at, known = (table[name].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist() for name in ("source_at", "known_at"))
    value = [bits(v) for v in table["value"].to_pylist()]
    return list(zip(table["tag"].to_pylist(), at, value, table["status"].to_pylist(), known, unit, strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_exported_comes_back_bit_for_bit(folder: Path, kind: Any, tmp_path: Path) -> None:
    run = Run(folder)
    for known in ("", "2023-11-14T22:46:40Z"):
        found = export(run, out := tmp_path / (kind + known[:4]), Wanted(known_at=known, format=kind))
        table = run.history(known_at=known or None)
        units = run.units()
        assert read(out / f"samples.{kind}") == rows(table, [units.get(tag) for tag in table["tag"].to_pylist()])
        assert found.rows == table.num_rows > 1000
        assert hashlib.sha256((out / f"samples.{kind}").read_bytes()).hexdigest() == found.sha256


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_exported_is_imported_again_bit_for_bit(folder: Path, kind: Any, tmp_path: Path) -> None:
    """The round trip that a user makes: `jayul export`, `jayul import`, in another place."""
    out, again = tmp_path / "out", tmp_path / "again"
    for words in (
        ["export", folder, "--out", out, "--format", kind],
        ["import", out / f"samples.{kind}", "--into", again, "--yes"],
    ):
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        assert left.value.code == 0
    first, then = Run(folder), Run(again)
    before, after = (rows(table, [None] * table.num_rows) for table in (first.history(), then.history()))
    plain = [(tag.replace("\n", " "), at, value, status) for tag, at, value, status, _, _ in before]  # a name has one line
    assert [row[:4] for row in after] == plain  # `known_at` is that of the import
    assert len(before) > 1000
    assert {tag: unit for tag, unit in then.units().items() if unit} == {
        tag: unit for tag, unit in first.units().items() if unit
    }


def test_the_digest_is_that_of_the_values_whatever_the_format(folder: Path, tmp_path: Path) -> None:
    digests = {export(Run(folder), tmp_path / kind, Wanted(format=kind)).digest for kind in FORMATS}
    again = export(Run(folder), tmp_path / "again", Wanted()).digest
    earlier = export(Run(folder), tmp_path / "earlier", Wanted(known_at="2023-11-14T22:46:40Z")).digest
    assert digests == {again}
    assert earlier != again


def test_no_cell_is_a_formula_and_no_number_is_changed(folder: Path, tmp_path: Path) -> None:
    export(Run(folder), tmp_path / "out", Wanted(format="csv"))
    with (tmp_path / "out" / "samples.csv").open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.DictReader(file))
    assert {line["tag"] for line in lines} >= {"'=SUM(A1)", "'-T/1 %", "''q", "'@x", "'+1", "plain", "a\nb"}
    assert not [line["tag"] for line in lines if line["tag"][0] in "=+-@\t\r"]
    assert any(line["value"].startswith("-") for line in lines)


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12) | st.sampled_from(["=1", "'", "-", "\r\n", '"', ""])


@settings(max_examples=200, deadline=None)
@given(cells=st.lists(st.tuples(st.none() | texts, st.none() | st.floats()), min_size=1, max_size=8), name=texts)
def test_any_text_and_any_double_survive_csv(cells, name):
    words, numbers = zip(*cells, strict=True)
    table = pa.table({name: pa.array(words, pa.string()), name + "2": pa.array(numbers, pa.float64())})
    data = b"".join(tabular.csv(table)).decode()
    head, *lines = csv.reader(io.StringIO(data, newline=""))
    assert list(map(unguarded, head)) == [name, name + "2"]
    for (text, value), line in zip(cells, lines, strict=True):
        assert unguarded(line[0]) == (text or "")
        assert line[0][:1] not in ("=", "+", "-", "@", "\t", "\r") or not line[0]
        assert (bits(float(line[1])) if line[1] else None) == (None if value is None else bits(value))


def test_a_wide_export_has_a_column_for_each_tag(folder: Path, tmp_path: Path) -> None:
    wanted = {"start": "2023-11-14T22:13:20Z", "end": "2023-11-14T22:15:20Z", "every": "10 s"}
    for kind in FORMATS:
        export(Run(folder), tmp_path / kind, Wanted(format=kind, **wanted))
    table = pq.read_table(tmp_path / "parquet" / "samples.parquet")
    assert table.column_names == ["at", *sorted(NAMES)]
    assert table.num_rows == 12
    wide = Run(folder).wide(None, "10 s", wanted["start"], wanted["end"])
    for name in NAMES:
        assert np.array_equal(table[name].to_numpy(), wide[name].to_numpy(), equal_nan=True)
    with (tmp_path / "csv" / "samples.csv").open(newline="", encoding="utf-8-sig") as file:
        head, *lines = csv.reader(file)
    assert list(map(unguarded, head)) == table.column_names
    cells = [[float(cell) if cell else math.nan for cell in line[1:]] for line in lines]
    assert np.array_equal(np.array(cells).T, [wide[name].to_numpy() for name in sorted(NAMES)], equal_nan=True)
    for kind in FORMATS:
        card = card_of(tmp_path / kind, "datapackage.json")
        fields = card["resources"][0]["schema"]["fields"]
        assert {field["name"]: field.get("unit") for field in fields}["plain"] == "degC"
        assert card["jayul"]["every"] == "10 s"


def card_of(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_bytes())


@pytest.mark.parametrize("kind", FORMATS)
def test_the_cards_say_what_the_data_are(folder: Path, kind: Any, tmp_path: Path) -> None:
    known, begin, end = "2023-11-14T22:46:40Z", "2023-11-14T22:13:20Z", "2023-11-14T22:20:00Z"
    found = export(Run(folder), tmp_path / "out", Wanted(("plain", NAMES[0]), begin, end, known, "", kind, "CC0-1.0"))
    package = card_of(tmp_path / "out", "datapackage.json")
    (resource,) = package["resources"]
    assert (resource["path"], resource["format"]) == (f"samples.{kind}", kind)
    assert resource["hash"] == f"sha256:{found.sha256}"
    fields = resource["schema"]["fields"]
    assert [field["name"] for field in fields] == ["tag", "source_at", "value", "status", "known_at", "unit"]
    assert {field["type"] for field in fields} == {"string", "datetime", "number", "integer"}
    assert package["licenses"] == [{"name": "CC0-1.0"}]
    own = package["jayul"]
    assert (own["rows"], own["bytes"], own["digest"]) == (found.rows, found.bytes, f"sha256:{found.digest}")
    assert (own["known_at"], own["from"], own["to"]) == (known, begin, end)
    tags = {tag["name"]: tag for tag in own["tags"]}
    assert (tags["plain"]["unit"], tags["plain"]["coverage"], tags["plain"]["high"]) == ("degC", 0.8, 9.0)
    assert tags[NAMES[0]]["coverage"] is None  # nothing was expected: unknown, never 1
    assert own["ledger"] == {"expected": 100, "good": 80, "missing:link": 20}
    card = card_of(tmp_path / "out", "croissant.json")
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert card["license"] == "CC0-1.0"
    (file,) = card["distribution"]
    assert (file["sha256"], file["contentSize"], file["contentUrl"]) == (found.sha256, f"{found.bytes} B", f"samples.{kind}")
    fields = card["recordSet"][0]["field"]
    assert [field["source"]["extract"]["column"] for field in fields][:3] == ["tag", "source_at", "value"]
    assert {field["source"]["fileObject"]["@id"] for field in fields} == {file["@id"]}
    assert [one["unitText"] for one in card["variableMeasured"]] == ["degC", "m3/h"]
    assert card["variableMeasured"][0]["additionalProperty"]["value"] == 0.8


def test_the_card_of_a_run_leads_to_its_journal(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 1.0, "group")
    execute(project, tmp_path / "run", Options(seed=1))
    export(Run(tmp_path / "run"), tmp_path / "out", Wanted())
    card = card_of(tmp_path / "out", "datapackage.json")
    summary = Run(tmp_path / "run").summary
    assert summary is not None
    run = card["jayul"]["run"]
    assert (run["head"], run["seed"], run["project"]) == (summary.head, 1, "crash")
    assert "licenses" not in card
    assert card_of(tmp_path / "out", "croissant.json")["license"] == "unknown"


def test_what_cannot_be_exported_is_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for arguments in (
        ["--out", tmp_path / "full"], ["--out", tmp_path / "a", "--format", "xlsx"], ["--out", tmp_path / "a", "--tags", "nope"],
        ["--out", tmp_path / "a", "--from", "yesterday"], ["--out", tmp_path / "a", "--wide", "often"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(["export", str(folder), *map(str, arguments)])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "a").exists()
    with pytest.raises(ManifestError, match="not empty"):
        export(Run(folder), tmp_path / "full", Wanted())
    with pytest.raises(SystemExit) as ended:
        main(["export", str(folder), "--out", str(tmp_path / "new"), "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["files"] == [
        "samples.parquet",
        "croissant.json",
        "datapackage.json",
    ]


FILES = "history/*.parquet"


def test_others_read_the_history_as_it_is(folder: Path) -> None:
    """The one-liners of docs/how-to/query-history.md, and the values that they give."""
    every = Run(folder).history(versions=True)
    wanted = sorted(bits(v) for v in every["value"].to_pylist())
    sql = f"SELECT tag, source_at, coalesce(value, mantissa / 10 ^ decimals) AS value FROM '{folder}/{FILES}'"
    assert sorted(bits(row[0]) for row in duckdb.sql(f"SELECT value FROM ({sql})").fetchall()) == wanted
    pandas, polars = importlib.import_module("pandas"), importlib.import_module("polars")
    frame = pandas.concat(pandas.read_parquet(path) for path in sorted(folder.glob(FILES)))
    found = frame.value.fillna(frame.mantissa / 10.0**frame.decimals)
    assert sorted(bits(v) for v in found) == wanted
    assert 0 < frame.mantissa.notna().sum() < len(frame)
    lazy = polars.scan_parquet(f"{folder}/{FILES}")
    value = polars.coalesce("value", polars.col("mantissa") / 10.0 ** polars.col("decimals"))
    assert sorted(bits(v) for v in lazy.select(value).collect().to_series().to_list()) == wanted
