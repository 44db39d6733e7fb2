"""Set-point: a ramped move to a target as one plan, laid on the table until it is done or its time is over."""

from __future__ import annotations

from collections.abc import Sequence

from jayul.core.loop import Policy, Wish
from jayul.core.types import Frame, MovePlan
from jayul.decide import Move, Setting, lay, reached, span, toward


class SetpointConfig(Move, frozen=True, forbid_unknown_fields=True):
    """`within`: how long a plan stays open; then it is laid anew. `source`: where the target comes from."""

    within: str = "8 h"
    source: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target:
            raise ValueError("'target' names no tag")
        span(self.within)


def setpoint(config: SetpointConfig, setting: Setting) -> tuple[Policy, SetpointConfig]:
    """Make the policy; its standing data is the target."""
    within = span(config.within)

    def policy(state: MovePlan | None, frame: Frame, plan: SetpointConfig) -> tuple[MovePlan | None, Sequence[Wish]]:
        if reached(frame, plan.target):
            return None, ()
        if state is not None and frame.at <= state.expires:
            return state, toward(setting, plan, state, frame)
        reason = f"move to the target ({plan.source})" if plan.source else "move to the target"
        move = lay(setting, plan, plan.target, reason, frame.at, frame.at + within)
        return move, [move, *toward(setting, plan, move, frame)]

    return policy, config
