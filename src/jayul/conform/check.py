"""The form of a check, and how one is run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from jayul.conform.evidence import Result, Tier
from jayul.conform.rig import Failed, NotTried, Rig
from jayul.plant.errors import Refused, Unreachable

Figures = dict[str, float]


class Check(NamedTuple):
    """One check. `proves`: one sentence. It returns what it measured; raises Failed with what was seen, or NotTried with why.

    `foreign`: it needs no control of the server and writes nothing, so that it may be run against anybody's.
    """

    name: str
    tier: Tier
    proves: str
    run: Callable[[Rig], Awaitable[Figures]]
    foreign: bool = False


async def carry_out(check: Check, rig: Rig) -> Result:
    """Run one check on a rig that is put in order first."""

    def said(result: str, why: str = "", figures: Figures | None = None) -> Result:
        rounded = {name: round(value, 3) for name, value in (figures or {}).items()}
        return Result(check.name, check.tier, check.proves, result, why, rounded)  # type: ignore[arg-type]

    if why := rig.bench.absent.get(check.name):
        return said("not applicable", why)
    if rig.peer is None and not check.foreign:
        return said("not tried", "needs a server that can be told to misbehave, or would write")
    try:
        await rig.reset()
        figures = await check.run(rig)
        await rig.reset()
        return said("passed", "", figures)
    except Failed as failed:
        return said("failed", str(failed))
    except (NotTried, Unreachable, Refused) as reason:
        return said("not tried", str(reason))
