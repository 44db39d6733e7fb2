"""After the proof: the detectors ring when a benefit fades or turns, hardly ever before."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from jayul.core.types import SECOND
from jayul.decide import Setting
from jayul.decide.switchback import SwitchbackConfig, schedule
from jayul.project.look import replay
from jayul.project.proof import conclude
from jayul.project.run import Options, execute
from jayul.prove.effect import Row
from jayul.prove.plan import Plan
from jayul.prove.watch import RINGS, detector, watch

HOUR = 3600 * SECOND
EXAMPLE = Path(__file__).parents[2] / "examples" / "tank" / "jayul.toml"


def drawn(groups: int, seed: int = 0, every: int = 6) -> tuple[str, ...]:
    coins = np.random.default_rng(seed).integers(0, 2, groups)
    return tuple(arm for coin in coins for arm in (*(("on", "off") if coin else ("off", "on")), *("on",) * (every - 2)))


def seen(groups: int, benefit, *, noise: float = 0.5, seed: int = 0):
    """Watch hourly rows over blocks of ten hours; `benefit` of the group's number."""
    arms, chance = drawn(groups, seed), np.random.default_rng(seed + 100)
    starts = tuple(i * 10 * HOUR for i in range(len(arms)))
    plan = Plan(
        "p", "kpi", "USD/h", {"sp": 1.0}, (), (), 0, 0, 0, watch_starts=starts, watch_arms=arms, watch_end=len(arms) * 10 * HOUR
    )
    rows = []
    for hour in range(len(arms) * 10):
        on = arms[hour // 10] == "on"
        kpi = 100 - on * benefit(hour // 60) + noise * chance.standard_normal()
        rows.append(Row(hour * HOUR, {"kpi": kpi, "sp": float(on)}))
    return watch(plan, rows, HOUR, 5.0, 2 * HOUR)


def test_a_benefit_that_lasts_holds() -> None:
    for seed in range(20):
        found = seen(30, lambda group: 5.0, seed=seed)
        assert (found.standing, found.pairs) == ("holds", 30)
        assert found.mean == pytest.approx(5.0, abs=0.3)


def test_a_benefit_that_fades_below_half_is_noticed() -> None:
    found = seen(30, lambda group: 5.0 if group < 10 else 1.0)
    assert found.standing == "decayed"
    assert found.harm < RINGS


def test_one_that_turns_into_harm_is_called_worse() -> None:
    assert seen(30, lambda group: 5.0 if group < 10 else -4.0).standing == "worse"


def test_nothing_is_known_before_the_first_pair() -> None:
    assert seen(0, lambda group: 5.0).standing == "unknown"


def test_without_a_change_it_rings_once_in_so_many_pairs_at_most() -> None:
    chance, rang, runs, length = np.random.default_rng(0), 0, 400, 100
    for _ in range(runs):
        rang += detector(chance.standard_t(2, length)) >= RINGS
    assert rang / runs <= length / RINGS + 3 * math.sqrt(0.25 / runs)


def setting(hours: int) -> Setting:
    return Setting("p", ("SP",), (), 60 * SECOND, 0, lambda key: np.random.default_rng(3), hours * HOUR)


def config(**more) -> SwitchbackConfig:
    return SwitchbackConfig(target={"SP": 1.0}, per_hour={"SP": 1.0}, block="1 h", pairs=6, commissioning=2, **more)


def test_pairs_go_on_to_the_end_of_the_run_between_stretches_on() -> None:
    found = schedule(config(watch=6), setting(40))
    assert found.proof == 14
    later = found.arms[14:]
    assert len(later) == 24  # four whole groups fit in
    for i in range(0, len(later), 6):
        assert sorted(later[i : i + 2]) == ["off", "on"]
        assert set(later[i + 2 : i + 6]) == {"on"}
    assert found.arms[:14] == schedule(config(), setting(40)).arms, "the proof's coins are the same"


@pytest.mark.parametrize("watch", [1, 2, 3, 5, -4])
def test_a_group_that_makes_no_sense_is_refused(watch: int) -> None:
    with pytest.raises(ValueError, match="'watch' must be"):
        config(watch=watch)


def test_in_a_run_the_benefit_is_watched_and_the_policy_stays_on(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    text = EXAMPLE.read_text(encoding="utf-8").replace("pairs = 12", "pairs = 8\nwatch = 4").replace('"84 h"', '"110 h"')
    (folder / "jayul.toml").write_text(text, encoding="utf-8")
    done = conclude(execute(folder, tmp_path / "out", Options(history=False)), folder).summary
    assert done.proof is not None
    assert done.watched is not None
    assert (done.proof.conclusion, done.watched.standing, done.level_now) == ("proven", "holds", {"preheat": "auto"})
    assert done.watched.pairs == 4
    assert replay(tmp_path / "out", full=True).differing == 0
