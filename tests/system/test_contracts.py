"""`jayul contract`: from a recording, from files, from a run; what is wrong is said in one line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jayul.app.cli import main
from jayul.record.batch import Batch
from jayul.record.history import History

S = 10**9
START = 1_767_600_000 * S
MANIFEST = '[project]\nname = "x"\n[run]\nperiod = "1 s"\n[plant]\nkind = "files"\npath = "data.csv"\ntag = [{ name = "TI1", unit = "degC" }]\n'


@pytest.fixture
def line(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    rows = [f"2026-01-05T00:{k // 60:02d}:{k % 60:02d}Z,{50 + chance.normal():.2f}" for k in range(1200)]
    (tmp_path / "data.csv").write_text("time,TI1\n" + "\n".join(rows) + "\n")
    (tmp_path / "jayul.toml").write_text(MANIFEST)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_a_proposal_goes_into_the_manifest_and_is_sound(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = line / "contract.toml"
    assert run("contract", line, "--out", out, "--json") == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    tag = tomllib.loads(out.read_text())["contract"]["tag"]["TI1"]
    assert (tag["unit"], tag["rate"]) == ("degC", "1 s")
    assert said["tags"]["TI1"]["seen"]["samples"] == 1200
    (line / "jayul.toml").write_text(MANIFEST + out.read_text())
    assert run("check", line) == 0
    before = out.read_bytes()
    assert run("contract", line, "--out", out) == 2
    assert out.read_bytes() == before


def test_the_history_of_a_run_and_a_file_say_the_same(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = START + np.arange(600) * 2 * S
    batch = Batch.of(np.zeros(600), source, np.arange(600) % 50 + 0.5, np.zeros(600), source)
    with_history = line / "run"
    (with_history / "history").mkdir(parents=True)
    history = History(with_history / "history", ["TI1"])
    for k in range(600):
        history.append(batch.take(slice(k, k + 1)), known_at=int(source[k]) + S // 2)
    history.close()
    file = line / "samples.parquet"
    pq.write_table(pa.table({"tag": ["TI1"] * 600, "source_at": pa.array(source).cast(pa.timestamp("ns", "UTC")),
                             "value": batch.value}), file)  # fmt: skip
    found = []
    for place in (with_history, file):
        assert run("contract", line, "--from", place, "--json") == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1])["tags"]["TI1"]["contract"])
    assert found[0]["late"] == "1 s"
    assert {**found[0], "late": ""} == found[1]  # a file says nothing of when it was known
    assert found[0]["rate"] == "2 s"


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('[contract.tag."TI2"]\nrate = "1 s"', "contract.tag.TI2: unknown tag 'TI2'; did you mean 'TI1'?"),
        ('[contract.tag.TI1]\nunit = "K"', "contract.tag.TI1.unit: the tag is in 'degC', not in 'K'"),
        ('[contract.tag.TI1]\nrate = "1"', "contract.tag.TI1.rate: duration '1' cannot be read"),
        ("[contract.tag.TI1]\nlow = 3.0\nhigh = 1.0", "'low' must lie below 'high'"),
        ('[contract.tag.TI1]\nrat = "1 s"', "unknown key 'rat'; did you mean 'rate'?"),
        ('[contract.tag.TI1]\nmonotone = "falling"', "contract.tag.TI1.monotone"),
        ("[contract]\nleast = 1.5", "contract.least: must lie between 0 and 1"),
        ("[contract]\nlest = 0.5", "'least'"),
        ("[contract]\ntag = 3", "contract.tag"),
    ],
)
def test_a_wrong_contract_is_one_line(line: Path, section: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line / "jayul.toml").write_text(MANIFEST + section + "\n")
    assert run("check", line) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert says in said.err


def test_records_that_are_none_are_refused(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line / "empty").mkdir()
    (line / "words.parquet").write_text("no table")
    pq.write_table(pa.table({"a": [1]}), line / "other.parquet")
    strange = pa.table({"tag": ["Z"], "source_at": pa.array([START]).cast(pa.timestamp("ns", "UTC")), "value": [1.0]})
    pq.write_table(strange, line / "strange.parquet")
    for place in ("nowhere", "empty", "words.parquet", "other.parquet", "strange.parquet", "data.csv"):
        assert run("contract", line, "--from", line / place) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1, said.err
