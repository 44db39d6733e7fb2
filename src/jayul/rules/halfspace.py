"""Half-space: a weighted sum of several tags stays below a bound, such as a shared power limit or a corner of the envelope.

The whole batch is held against it: the rule allows the largest share of the asked move that ends on the bound. From outside, only
a move that brings the sum down is allowed.
"""

from __future__ import annotations

import math

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Setting, known

import msgspec  # isort: skip

MARGIN = 1e-9  # of the size of the sum: a scaled move ends so far inside, so that rounding never carries it past the bound


class HalfspaceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`weights` by tag (the unit of the sum per unit of the tag), `most`: the sum may not be larger."""

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
    """Make the rule. Raises ValueError for an unknown tag."""
    known(setting, tuple(config.weights))
    weights = dict(sorted(config.weights.items()))  # whatever the order of the manifest: a replay reads it sorted
    text = " + ".join(f"{weight:g} {tag}" for tag, weight in weights.items()) + f" <= {config.most:g}"

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if proposal.tag not in weights:
            return None
        frame = context.frame
        if stale := [tag for tag in weights if not frame.fresh(tag)]:
            return refuse(proposal, "halfspace", f"'{stale[0]}' is not fresh and good")
        before, after, size = 0.0, 0.0, abs(config.most)
        for tag, weight in weights.items():
            stands = context.moving.get(tag, frame[tag]) if tag not in context.batch else frame[tag]
            goes = context.batch.get(tag, stands)
            before, after, size = (
                before + weight * stands,
                after + weight * goes,
                size + abs(weight * goes) + abs(weight * stands),
            )
        now = context.now(proposal)
        if after <= config.most or after <= before or proposal.value == now:
            return None
        share = max(0.0, (config.most - MARGIN * size - before) / (after - before))
        value = now + share * (proposal.value - now)
        return narrow(proposal, min(value, now), max(value, now), "halfspace", text)

    return rule
