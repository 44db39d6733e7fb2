"""A half-space over random weights, bounds and batches: never crossed, and used up to the bound."""

from __future__ import annotations

import math

import numpy as np

from jayul.core.guard import Context, Writer, judge
from jayul.core.types import SECOND, Proposal, Tag, TagTable
from jayul.rules import Setting
from jayul.rules.halfspace import HalfspaceConfig, halfspace
from jayul.testing import make_frame

TABLE = TagTable([Tag(name=name) for name in ("SP", "SP2", "LEVEL")])


def test_a_half_space_is_never_crossed_over_thousands_of_random_moves() -> None:
    chance = np.random.default_rng(11)
    names, outside = ("SP", "SP2", "LEVEL"), 0
    for _ in range(4000):
        n = int(chance.integers(1, 4))
        scale = 10.0 ** chance.integers(-3, 6, size=n)
        weights = {name: float(w) for name, w in zip(names, chance.normal(size=n) / scale, strict=False)}
        now = {name: float(v) for name, v in zip(names, chance.normal(size=n) * scale, strict=False)}
        asked = {name: now[name] + float(d) for name, d in zip(names, chance.normal(size=n) * scale, strict=False)}
        stood = math.fsum(weights[name] * now[name] for name in weights)
        most = stood + float(chance.choice([-0.5, 0.0, 1e-12, 1e-3, 0.3, 2.0]))
        rule = halfspace(HalfspaceConfig(weights, most), Setting("r", TABLE))
        context = Context(make_frame(TABLE, now), {"p": Writer(TABLE.names, True)}, {}, 30 * SECOND)
        found = judge(context, [Proposal(name, value, "test", "p") for name, value in asked.items()], [rule])
        goes = math.fsum(weights[v.proposal.tag] * (now[v.proposal.tag] if v.allowed is None else v.allowed) for v in found)
        wanted = math.fsum(weights[name] * asked[name] for name in weights)
        assert goes <= most or goes <= stood
        if stood < most < wanted:
            size = abs(most) + sum(abs(weights[name]) * (abs(now[name]) + abs(asked[name])) for name in weights)
            assert goes >= most - 3e-9 * size - 1e-15
            outside += 1
    assert outside > 500
