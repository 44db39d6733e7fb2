"""Set-point: a ramped move to a target as one plan, laid on the table until it is done or its time is over.

With `when`, only while that tag is known to be 1 (an alarm, a condition); what has been moved is not moved back.
"""

from __future__ import annotations

from collections.abc import Sequence

from jayul.core.loop import Policy, Wish
from jayul.core.types import Frame, MovePlan
from jayul.decide import Move, Setting, lay, reached, span, toward


class SetpointConfig(Move, frozen=True, forbid_unknown_fields=True):
    """`within`: how long a plan stays open; then it is laid anew. `source`: where the target comes from. `when`: see above."""

    within: str = "8 h"
    when: str = ""
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
        if reached(frame, plan.target) or (plan.when and not (frame.fresh(plan.when) and frame[plan.when] == 1.0)):
            return None, ()
        if state is not None and frame.at <= state.expires:
            return state, toward(setting, plan, state, frame)
        reason = f"{plan.when}: move to the target" if plan.when else "move to the target"
        reason += f" ({plan.source})" if plan.source else ""
        move = lay(setting, plan, plan.target, reason, frame, frame.at + within)
        return move, [move, *toward(setting, plan, move, frame)]

    return policy, config
