"""Age: no move on the strength of an old value, such as a laboratory result that still counts as good in the plant."""

from __future__ import annotations

from typing import ClassVar

from jayul.core.guard import Context, Rule, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import For, Setting, known, span


class AgeConfig(For, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`of`: the tags that must be young; `most`: the largest age of their source time."""

    portable: ClassVar[bool] = True

    of: tuple[str, ...]
    most: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The tags that must be young."""
        return self.of

    def __post_init__(self) -> None:
        span(self.most)
        if not self.of:
            raise ValueError("'of' names no tag")


def age(config: AgeConfig, setting: Setting) -> Rule:
    """Make the rule."""
    known(setting, (*config.tags, *config.of))
    most = span(config.most)

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        frame = context.frame
        if not config.meant(proposal):
            return None
        for name in config.of:
            if not frame.fresh(name) or frame.at - int(frame.source_at[frame.table.index[name]]) > most:
                return refuse(proposal, "age", f"'{name}' is older than {config.most}, or not good")
        return None

    return rule
