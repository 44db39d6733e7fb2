"""The guard's further rules, one file each, pure: `(context, proposal) -> Verdict | None`, narrow or refuse, never widen.

The manifest names a factory `(config, setting) -> Rule` in `[[guard.rule]]`. `tags` are those that the rule is for (none: all).
A rule that looks at what moved before takes a `Moved` configuration: the wiring then derives its history as tags of the frame, so
that it is journalled and replayed like any other reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from jayul.core.expr import ExprError, duration
from jayul.core.guard import FALLBACK, Context
from jayul.core.types import Proposal, TagTable


class Setting(msgspec.Struct, frozen=True):
    """What a rule's factory may know: the name under which its history is derived, and the tags of the frame."""

    name: str
    tags: TagTable


class For(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of configurations: which tags the rule is for."""

    portable: ClassVar[bool] = (
        False  # needs static data, the clock and what stands in the plant alone: can be judged anew elsewhere
    )

    tags: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The further tags that the rule looks at."""
        return ()

    def meant(self, proposal: Proposal) -> bool:
        """Say whether the rule is for the tag of a proposal."""
        return not self.tags or proposal.tag in self.tags


class Leave(For, frozen=True, forbid_unknown_fields=True):
    """Base of configurations that spare wear or staff: the way back after a demotion is not held up by them."""

    def meant(self, proposal: Proposal) -> bool:
        """Say whether the rule is for the tag of a proposal, and not for the way back."""
        return (not self.tags or proposal.tag in self.tags) and proposal.by != FALLBACK


class Moved(Leave, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of configurations that look at what each of `tags` did within `window`, by whichever hand."""

    window: str

    def __post_init__(self) -> None:
        span(self.window)
        if not self.tags:
            raise ValueError("'tags' names no tag")


def span(text: str) -> int:
    """Read a duration. Raises ValueError, which the manifest's check turns into one line."""
    try:
        return duration(text)
    except ExprError as error:
        raise ValueError(str(error)) from error


def known(setting: Setting, names: tuple[str, ...]) -> None:
    """Raise ValueError for the first tag that is not there."""
    if unknown := [name for name in names if name not in setting.tags.index]:
        raise ValueError(f"unknown tag '{unknown[0]}'")


def still(context: Context, proposal: Proposal) -> bool:
    """Say whether a proposal asks for what stands there, to the last digit: many small moves are moves."""
    return proposal.value == context.now(proposal)


def history(setting: Setting, tags: tuple[str, ...], *figures: str) -> Callable[[Context, str], list[float] | None]:
    """Return a function that reads these derived figures of what a tag did; it returns None where one of them is not known."""
    names = {tag: [f"{setting.name}.{tag}.{figure}" for figure in figures] for tag in tags}

    def read(context: Context, tag: str) -> list[float] | None:
        found, frame = list[float](), context.frame
        for name in names[tag]:
            if not frame.fresh(name):
                return None
            found.append(frame[name])
        return found

    return read
