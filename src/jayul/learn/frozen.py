"""Frozen: a measurement whose value repeats to the last digit, while its time goes on, is a dead transmitter.

`<name>.alarm` is 1 while any watched tag has not changed for `after`; `<name>.age` says for how many seconds the worst has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jayul.core.types import SECOND, Frame, Reading, Tag
from jayul.learn import Setting, known, span


class FrozenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags` to watch (they must be noisy when healthy); `after`: for how long a value may repeat."""

    tags: tuple[str, ...]
    after: str = "10 min"

    def __post_init__(self) -> None:
        if not self.tags:
            raise ValueError("'tags' names no tag")
        span(self.after)


def frozen(config: FrozenConfig, setting: Setting) -> Frozen:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, config.tags)
    return Frozen(config, setting.name)


class Frozen:
    """The model; its state is, for each tag, its last value and since when it stands."""

    def __init__(self, config: FrozenConfig, name: str) -> None:
        self.needs, self._after, self._name = config.tags, span(config.after), name
        self.tags = (
            Tag(
                name=f"{name}.alarm",
                kind="derived",
                states={0: "well", 1: "frozen"},
                description=f"unchanged for {config.after}",
            ),
            Tag(name=f"{name}.age", unit="s", kind="derived", description="longest time without a change"),
        )

    def learn(self, frames: Sequence[Frame]) -> Any:  # noqa: ARG002 - there is nothing to learn
        """Return the empty state."""
        return ()

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return alarm and age. A tag that is not fresh is not judged: it is refused as stale elsewhere."""
        before = state or tuple((None, frame.at) for _ in self.needs)
        now = tuple(
            (frame[tag], frame.at) if frame.fresh(tag) and frame[tag] != value else (value, since)
            for tag, (value, since) in zip(self.needs, before, strict=True)
        )
        age = max((frame.at - since for tag, (_, since) in zip(self.needs, now, strict=True) if frame.fresh(tag)), default=0)
        alarm = float(age >= self._after)
        return now, (Reading(f"{self._name}.alarm", alarm), Reading(f"{self._name}.age", age / SECOND))
