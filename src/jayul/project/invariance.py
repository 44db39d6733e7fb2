"""Before the start: do the drivers of a twin answer to the policy? Then what is left beside it would not be the policy's doing.

Two copies of the simulated plant run under the same disturbances, one untouched, one moved to the policy's targets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from jayul.core.clock import Sim
from jayul.core.types import SECOND, Proposal, Verdict
from jayul.plant.journal import Rewindable
from jayul.project import kinds
from jayul.project.manifest import Manifest, utc
from jayul.project.problem import N_
from jayul.project.wire import Wired

HOURS = 24  # of plant, of which the second half is looked at
LARGEST = 0.05  # standard deviations that a driver may move


def shifts(wired: Wired, seed: int) -> dict[str, float]:
    """Return how far each driver of the proof's twin moves, in its standard deviations; empty if there is no twin to try out."""
    manifest, plan = wired.manifest, wired.header.proof
    twin = manifest.proof.twin if manifest.proof else ""
    if not plan or not twin or not isinstance(wired.plant, Rewindable):
        return {}
    models = [model for model, _ in wired.line.models.values() if twin in [tag.name for tag in model.tags]]
    drivers: tuple[str, ...] = next((getattr(model, "drivers", model.needs) for model in models), ())
    targets = next(seat.plan.move.target for seat in wired.line.seats if manifest.proof and seat.name == manifest.proof.policy)
    still = asyncio.run(_series(manifest, wired.line.period, seed, drivers, {}))
    moved = asyncio.run(_series(manifest, wired.line.period, seed, drivers, targets))
    return {
        tag: float(abs(moved[:, i].mean() - still[:, i].mean()) / (still[:, i].std() or 1.0)) for i, tag in enumerate(drivers)
    }


def check(wired: Wired, seed: int) -> dict[str, float]:
    """Refuse a twin whose drivers answer to the policy; return how far they move (see `shifts`). Raises ManifestError."""
    found = shifts(wired, seed)
    for tag, shift in found.items():
        if shift > LARGEST:
            message = N_(
                "the twin's driver '{tag}' moves by {shift} standard deviations when the policy acts; name another tag"
            )
            wired.manifest.fail(["proof", "twin"], message, tag=tag, shift=f"{shift:.2f}")
    return found


async def _series(
    manifest: Manifest, period: int, seed: int, tags: tuple[str, ...], targets: Mapping[str, float]
) -> np.ndarray[Any, Any]:
    """Return the tags [ticks, tags] over the second half, while `targets` are approached as fast as the steps allow."""
    factory, clock = kinds.find(manifest, "plants", manifest.plant.kind, ["plant"]), Sim(utc(manifest.run.start), seed)
    plant = factory.make(manifest.convert(["plant"], dict(manifest.plant.options), factory.config), clock)
    rows, ticks = [], HOURS * 3600 * SECOND // period
    for tick in range(ticks):
        await clock.until(utc(manifest.run.start) + tick * period)
        frame = await plant.read()
        wishes = []
        for tag, target in targets.items():
            reach = frame.table[tag].max_step or 0.0
            value = min(max(target, frame[tag] - reach), frame[tag] + reach)
            wishes.append(Verdict(Proposal(tag, value, "invariance", "check"), value, ""))
        await plant.write(wishes)
        if tick >= ticks // 2:
            rows.append([frame[tag] for tag in tags])
    return np.array(rows)
