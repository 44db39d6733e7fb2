"""The proof plan: everything that decides the verdict, fixed before the policy may act. It stands in the journal's header."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

Arm = Literal["on", "off"]
SLOWER = 1.25  # a wash-out that is found is so many times the longest settling time


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A constraint: the mean of `tag` in the on blocks must stay at least `ratio` of that in the off blocks, or within `within`."""

    tag: str
    ratio: float | None = None
    within: float | None = None


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operating limit: minutes outside [low, high] are counted in both arms, wash-out included, and may not rise."""

    tag: str
    low: float | None = None
    high: float | None = None


class Plan(msgspec.Struct, frozen=True):
    """What is compared, how, and by which rule a block counts. Times in ns; `kpi` is a derived tag, lower is better.

    Blocks are pairs in the order of `arms`; the first `commissioning` blocks are left out. After every switch `wash_out` is left
    out. Ticks while `alarm` is on, and `recover` after it, are left out in both arms. A block with less than `least` of its
    settled ticks left, or that did not stand where its arm says, is left out together with its pair.
    `wash_out` 0: it is found by the commissioning blocks, `SLOWER` times the longest settling, and fixed with them.
    `twin`: a derived tag, journalled at each tick, that says what the KPI would be without the policy; what is compared is then
    KPI - twin. `coverage_gap`: largest difference between the arms in the share of ticks that count.
    `no_worse`: the claim is not a benefit but that the KPI rises by no more than this (KPI's unit; 0: the claim is a benefit).
    `assigned`: blocks are judged by the arm that they were assigned, whatever was done (advice that people may follow or not).
    `smallest`: the smallest effect of interest, in percent of off (0: none named): what it would have taken to show it is reported.
    `least_coverage`: smallest share of the ticks due in which every tag of the plan was good (0: none is asked for).
    `watch_...`: the blocks after the proof, as they were drawn (none: the line goes back after the last block).
    """

    policy: str
    kpi: str
    unit: str
    targets: dict[str, float]
    starts: tuple[int, ...]
    arms: tuple[Arm, ...]
    end: int
    commissioning: int
    wash_out: int
    alarm: str = ""
    recover: int = 0
    least: float = 0.5
    confidence: float = 0.95
    held: tuple[Held, ...] = ()
    limits: tuple[Limit, ...] = ()
    drivers: tuple[str, ...] = ()  # must not differ between the arms: else the comparison is confounded
    twin: str = ""
    coverage_gap: float = 0.1
    no_worse: float = 0.0
    assigned: bool = False
    smallest: float = 0.0
    least_coverage: float = 0.0
    watch_starts: tuple[int, ...] = ()
    watch_arms: tuple[Arm, ...] = ()
    watch_end: int = 0

    def digest(self) -> str:
        """Return the SHA-256 of the plan, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()
