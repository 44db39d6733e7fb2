"""What a model learned from is named by a digest: the same seed gives the same, and the history gives the very rows again."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jayul import Run
from jayul.conform.crash import make_project
from jayul.core.types import BAD, SECOND, Frame, Tag, TagTable
from jayul.learn import Setting, together
from jayul.learn.softsensor import SoftsensorConfig, softsensor
from jayul.project.problem import ManifestError
from jayul.project.run import Options, execute
from jayul.project.training import rebuild
from jayul.testing import START, make_frame

MODELS = """
[[model]]
name = "watch"
kind = "pca"
tags = ["TIC1.PV", "FI1.PV", "TI3.PV"]
regime = ["TIC2.SP"]
settle = "5 min"
train = "20 min"
test = "20 min"

[[model]]
name = "guess"
kind = "softsensor"
target = "TIC2.PV"
tags = ["TIC1.PV", "FI1.PV"]
train = "20 min"
test = "20 min"

[[model]]
name = "ahead"
kind = "forecast"
target = "FI1.PV"
step = "30 s"
horizon = "1 min"
seasons = ["2 min"]
first = "1 h"
window = "1 h"
refit = "30 min"
calibrate = "1 h"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("training") / "line", 2.0, "group")
    path = folder / "jayul.toml"
    path.write_text(path.read_text(encoding="utf-8") + MODELS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def out(project: Path) -> Path:
    execute(project, project.parent / "out", Options(seed=3))
    return project.parent / "out"


def digests(out: Path) -> dict[str, list[str]]:
    summary = Run(out).summary
    assert summary is not None
    return {name: [fit.digest for fit in card.fits] for name, card in summary.models.items() if card.kind != "simtwin"}


def test_the_same_seed_learns_from_the_same_rows_and_another_from_others(project: Path, out: Path, tmp_path: Path) -> None:
    execute(project, tmp_path / "again", Options(seed=3, ticks=100))
    execute(project, tmp_path / "again", Options(seed=3))
    execute(project, tmp_path / "other", Options(seed=4))
    first = digests(out)
    assert all(first[name] and all(first[name]) for name in ("watch", "guess", "ahead"))
    assert digests(tmp_path / "again") == first
    other = digests(tmp_path / "other")
    assert all(other[name] != first[name] for name in first)
    summary = Run(out).summary
    assert summary is not None
    assert [summary.models[name].coverage for name in ("watch", "guess")] == [1.0, 1.0]
    assert summary.models["guess"].digest == first["guess"][0]


@pytest.mark.parametrize("name", ["watch", "guess"])
def test_the_history_gives_the_rows_that_were_learned_from(out: Path, name: str) -> None:
    found = rebuild(Run(out), name)
    assert found
    assert all(fit.same for fit in found)


def test_a_history_that_was_changed_gives_other_rows(out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    summary = Run(out).summary
    assert summary is not None
    begin = summary.models["watch"].fits[0].begin
    path = next((copy / "history").glob("[0-9]*.parquet"))
    table = pq.ParquetFile(path).read()
    tag, at = table["tag"].to_pylist(), table["source_at"].cast(pa.int64()).to_pylist()
    row = next(i for i, name in enumerate(tag) if name == "TI3.PV" and at[i] > begin)
    value, whole = table["value"].to_pylist(), table["mantissa"].to_pylist()
    if whole[row] is None:
        value[row] += 1e-12
    else:
        whole[row] += 1
    for name, column in {"value": pa.array(value), "mantissa": pa.array(whole, pa.int64())}.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, path)
    found = rebuild(Run(copy), "watch")
    assert not all(fit.same for fit in found)


def test_what_cannot_be_made_again_is_refused(out: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be made again"):
        rebuild(Run(out), "ahead")
    with pytest.raises(ManifestError, match=r"there is: .*watch"):
        rebuild(Run(out), "nothing")


def test_a_tick_with_an_input_that_is_not_fresh_lowers_the_coverage() -> None:
    table = TagTable([Tag(name="a"), Tag(name="b")])
    model = softsensor(SoftsensorConfig("b", ("a",), "20 min", "20 min"), Setting("s", table))
    state, missed = model.learn(()), 0
    for minute in range(60):
        frame = make_frame(table, {"a": float(minute % 7), "b": float(minute % 5)}, START + minute * 60 * SECOND)
        if minute in (3, 4, 30):
            status = frame.status.copy()
            status[minute % 2] = BAD
            frame = Frame(frame.at, table, frame.value.copy(), frame.source_at.copy(), frame.seen_at.copy(), status)
            missed += 1
        state, _ = model.infer(state, frame)
    card = model.card(state)
    assert missed == 3
    assert card.coverage == pytest.approx(38 / 41)
    assert card.fits[0].coverage == card.coverage
    two = together([card.fits[0], msgspec.structs.replace(card.fits[0], coverage=1.0)])
    assert two[0] not in ("", card.digest)
    assert two[1] == pytest.approx(2 * 18 / (18 + 18 / (38 / 41)))
