"""PCA monitoring: learns each regime, finds what breaks the correlation, names it, stays calm otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from jayul.core.types import SECOND, Frame, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.pca import PcaConfig, pca
from jayul.testing import check_model

MIN = 60 * SECOND
NAMES = ("a", "b", "c", "d", "SP")
TABLE = TagTable([*(Tag(name=name, stale_after=1e6) for name in NAMES)])
CONFIG = PcaConfig(("a", "b", "c", "d"), regime=("SP",), settle="30 min", train="300 min", test="150 min", margin=1.5, count=3)


def frames(n: int, *, seed: int = 0, sp=lambda i: 0.0, shift=lambda i: np.zeros(4)) -> list[Frame]:
    chance, found = np.random.default_rng(seed), []
    wide = TagTable([*TABLE.tags, *pca(CONFIG, Setting("m", TABLE)).tags])
    for i in range(n):
        hidden = chance.standard_normal(2)
        x = np.array(
            [
                hidden[0],
                hidden[0] + 0.1 * chance.standard_normal(),
                hidden[1],
                hidden[1] - hidden[0] + 0.1 * chance.standard_normal(),
            ]
        )
        value = np.full(len(wide.tags), np.nan)
        value[:5] = [*(x + 10 * sp(i) + shift(i)), sp(i)]
        at = np.full(len(value), i * MIN, dtype=np.int64)
        found.append(Frame(i * MIN, wide, value, at, at.copy(), np.zeros(len(value), dtype=np.uint32)))
    return found


def watch(rows: list[Frame]) -> list[dict[str, float]]:
    model = pca(CONFIG, Setting("m", TABLE))
    state, said = model.learn(()), []
    for frame in rows:
        state, readings = model.infer(state, frame)
        said.append({r.tag.removeprefix("m."): r.value for r in readings})
    return said


def test_it_conforms() -> None:
    check_model(lambda: pca(CONFIG, Setting("m", TABLE)), frames(600)[::10])


def test_settling_learning_watching_come_in_turn_and_calm_is_calm() -> None:
    said = watch(frames(1500))
    regimes = [row["regime"] for row in said]
    assert regimes == sorted(regimes)
    assert set(regimes) == {0.0, 1.0, 2.0}
    assert sum(row["alarm"] for row in said) <= 3


def test_a_broken_correlation_is_found_and_named() -> None:
    said = watch(frames(900, shift=lambda i: np.array([0, 4.0 if i > 700 else 0.0, 0, 0])))
    first = next(i for i, row in enumerate(said) if row["alarm"])
    assert 700 < first < 715
    assert "b" in {NAMES[int(said[first][f"top{k}"])] for k in (1, 2)}


def test_a_new_regime_is_learnt_anew_and_the_old_one_is_kept() -> None:
    said = watch(frames(1700, sp=lambda i: float(600 <= i < 1200)))
    assert sum(row["alarm"] for row in said) <= 3
    assert said[601]["regime"] == 0.0
    assert said[1199]["regime"] == 2.0
    assert said[1240]["regime"] == 2.0, "the first regime is known already"


def test_it_says_nothing_while_an_input_is_not_fresh() -> None:
    rows = frames(40)
    status = rows[5].status.copy()
    status[2] = 0x8000_0000
    rows[5] = Frame(rows[5].at, rows[5].table, rows[5].value, rows[5].source_at, rows[5].seen_at, status)
    assert watch(rows)[5] == {}


@pytest.mark.parametrize(
    "wrong", [{"tags": ()}, {"clear": 0}, {"settle": "soon"}, {"explained": 1.0}, {"count": 0}, {"margin": 0.5}]
)
def test_wrong_configurations_are_refused(wrong) -> None:
    good = {"tags": ("a",), "regime": ("SP",), "settle": "1 h", "train": "1 h", "test": "1 h"}
    with pytest.raises(ValueError, match=r"'|cannot be read"):
        PcaConfig(**(good | wrong))
