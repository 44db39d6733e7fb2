"""The attack on the guard: nothing gets through, and the oracle would have seen it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from jayul.conform import adversary
from jayul.core.clock import Sim
from jayul.core.loop import Line


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_gets_through_on_the_tank(seed: int) -> None:
    found = adversary.tank(4000, Sim(0, seed).rng("test"))
    assert found.breaches == []
    assert found.moved > 50
    assert len(found.rules) > 12


def test_nothing_gets_through_on_the_linearised_plant() -> None:
    pytest.importorskip("tep_studio", reason="the extra 'tep' is not installed (no C compiler at set-up)")
    found = adversary.eastman(4000, Sim(0, 1).rng("test"))
    assert found.breaches == []
    assert found.moved > 50


WEAK = ["step", "rate", "travel", "moves", "dwell", "halfspace", "hours", "orders"]


@pytest.mark.parametrize("missing", WEAK)
def test_the_oracle_sees_what_a_guard_without_one_rule_lets_through(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = adversary.attack

    def weakened(name: str, line: Line, *rest):
        kept = tuple(rule for rule in line.rules if missing not in f"{rule.__module__}.{rule.__qualname__}")
        assert len(kept) == len(line.rules) - 1
        return attack(name, replace(line, rules=kept), *rest)

    monkeypatch.setattr(adversary, "attack", weakened)
    assert adversary.tank(6000, Sim(0, 1).rng("test")).breaches
