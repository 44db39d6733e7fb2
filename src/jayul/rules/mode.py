"""Mode: a tag is moved only while its loop is in a mode that takes it, and only in operating states that are named.

A loop in MAN or AUTO does not take a remote set-point; a unit in start-up is not to be optimised. The first move after the mode
comes back starts from the value in the plant (the rule `step` counts from there), so the start is bumpless.
"""

from __future__ import annotations

from typing import ClassVar

from jayul.core.guard import Context, Rule, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import For, Setting, known


class ModeConfig(For, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`mode`: the tag that says it; `takes`: names of its states (or codes, where it has none) in which moves are taken."""

    portable: ClassVar[bool] = True

    mode: str
    takes: tuple[str | int, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """The mode tag."""
        return (self.mode,)

    def __post_init__(self) -> None:
        if not self.takes:
            raise ValueError("'takes' names no state")


def mode(config: ModeConfig, setting: Setting) -> Rule:
    """Make the rule. Raises ValueError for an unknown tag or state."""
    known(setting, (*config.tags, config.mode))
    states = setting.tags[config.mode].states
    meant: dict[str | int, list[int]] = {}
    for state in config.takes:
        found = [code for code, text in states.items() if state in (text, code)]
        meant[state] = found or ([state] if isinstance(state, int) and not states else [])
    if unknown := [state for state in config.takes if not meant.get(state)]:
        raise ValueError(f"'{config.mode}' has no state '{unknown[0]}'; there are {', '.join(states.values()) or 'codes only'}")
    codes = frozenset(code for each in meant.values() for code in each)
    names = dict[float, str](states.items())

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal):
            return None
        if not context.frame.fresh(config.mode):
            return refuse(proposal, "mode", f"unknown in which state '{config.mode}' is")
        code = context.frame[config.mode]
        return None if code in codes else refuse(proposal, "mode", f"'{config.mode}' is {names.get(code, f'{code:g}')}")

    return rule
