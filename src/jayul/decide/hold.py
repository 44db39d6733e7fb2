"""Hold: propose nothing. The arm that every other policy is compared with, and what a stale plan means."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jayul.core.loop import Policy, Wish
from jayul.core.types import Frame
from jayul.decide import Setting


class HoldConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""


def hold(config: HoldConfig, setting: Setting) -> tuple[Policy, None]:  # noqa: ARG001 - the shape of a factory
    """Make the policy."""

    def policy(state: None, frame: Frame, plan: None) -> tuple[None, Sequence[Wish]]:  # noqa: ARG001 - the shape of a policy
        return None, ()

    return policy, None
