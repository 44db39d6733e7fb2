"""Half-space: a weighted sum of several tags stays below a bound, such as a shared power limit or a corner of the envelope.

The whole batch is held against it: the rule allows the largest share of the asked move that ends on the bound. From outside, only
a move that does not bring the sum further up is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Setting, known

import msgspec  # isort: skip

MARGIN = 1e-9  # of the size of the sum: a scaled move ends so far inside, so that rounding never carries it past the bound


class HalfspaceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`weights` by tag (the unit of the sum per unit of the tag), `most`: the sum may not be larger."""

    portable: ClassVar[bool] = True

    weights: dict[str, float]
    most: float

    @property
    def reads(self) -> tuple[str, ...]:
        """The tags of the sum."""
        return tuple(self.weights)

    def __post_init__(self) -> None:
        if not self.weights or not all(map(math.isfinite, (*self.weights.values(), self.most))) or 0 in self.weights.values():
            raise ValueError("'weights' and 'most' must be finite, and no weight 0")


def halfspace(config: HalfspaceConfig, setting: Setting) -> Rule:
    """Make the rule of one half-space. Raises ValueError for an unknown tag."""
    return halfspaces([config], setting)


def halfspaces(configs: Sequence[HalfspaceConfig], setting: Setting) -> Rule:
    """Make one rule of many half-spaces, held together: what is common to a batch is computed once. Raises ValueError."""
    for config in configs:
        known(setting, tuple(config.weights))
    tags = sorted({tag for config in configs for tag in config.weights})  # whatever the order of the manifest
    place = {tag: i for i, tag in enumerate(tags)}
    weights = np.array([[config.weights.get(tag, 0.0) for tag in tags] for config in configs])
    most = np.array([config.most for config in configs])
    texts = [_text(config) for config in configs]
    take = np.array([setting.tags.index[tag] for tag in tags])
    of = {tag: [i for i, config in enumerate(configs) if tag in config.weights] for tag in tags}
    judged: list[Any] = [None, None]  # the context that was looked at last, and what was found: the same for the whole batch

    def shares(context: Context) -> tuple[list[float], dict[int, str]]:
        """Return, for each half-space, the share of the asked move that it allows; and the tag that is not fresh, if any."""
        frame = context.frame
        stale = {i: tag for tag in tags if not frame.fresh(tag) for i in of[tag]}
        stands = np.nan_to_num(frame.value[take])  # a sum without such a tag is not touched by it
        for tag in place.keys() & context.moving.keys() - context.batch.keys():
            stands[place[tag]] = context.moving[tag]
        goes = stands.copy()
        for tag in place.keys() & context.batch.keys():
            goes[place[tag]] = context.batch[tag]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # what is not finite is refused elsewhere
            before, after = weights @ stands, weights @ goes
            size = np.abs(weights) @ (np.abs(stands) + np.abs(goes)) + np.abs(most)
            inside = (after <= most) | (after <= before)
            part = np.maximum(0.0, (most - MARGIN * size - before) / (after - before))
        return np.where(inside, 1.0, part).tolist(), stale

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        mine = of.get(proposal.tag)
        if mine is None:
            return None
        if judged[0] is not context:
            judged[:] = [context, shares(context)]
        found, stale = judged[1]
        if stale and (blind := [stale[i] for i in mine if i in stale]):
            return refuse(proposal, "halfspace", f"'{blind[0]}' is not fresh and good")
        tightest = min(mine, key=found.__getitem__)
        share, now = found[tightest], context.now(proposal)
        if share == 1.0 or proposal.value == now:
            return None
        value = now + share * (proposal.value - now)
        return narrow(proposal, min(value, now), max(value, now), "halfspace", texts[tightest])

    return rule


def _text(config: HalfspaceConfig) -> str:
    return " + ".join(f"{weight:g} {tag}" for tag, weight in sorted(config.weights.items())) + f" <= {config.most:g}"
