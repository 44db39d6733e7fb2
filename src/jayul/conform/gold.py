"""Gold: what happens once a year: moved namespaces, clocks that jump, floods, slow servers, lost answers, long outages."""

from __future__ import annotations

import asyncio

from jayul.conform.benches import STALE
from jayul.conform.bronze import BACK
from jayul.conform.check import Check, Figures
from jayul.conform.rig import Failed, NotTried, Rig
from jayul.core.clock import monotonic
from jayul.core.types import same
from jayul.plant.link import pause

HOUR = 3600.0
AT_ONCE = 0.5  # s: so long read() may take at most, whatever the server does
FLOOD = 3.0  # s


async def _namespace(rig: Rig) -> Figures:
    seat = await rig.ready()
    await rig.kill()
    await rig.back("--pad", "3")
    back = await seat.must("data did not resume after the namespace had moved", seat.all_fresh(), BACK + 5.0)
    receipts = await seat.write({"SP1": 47.0})
    if receipts[0].state != "settled":
        raise Failed(f"a write after the namespace had moved is said to be '{receipts[0].state}'")
    await rig.kill()
    await rig.back("--pad", "0")
    again = await seat.must("data did not resume after the namespace had moved back", seat.all_fresh(), BACK + 5.0)
    return {"back_s": back, "again_s": again}


async def _clock(rig: Rig) -> Figures:
    seat = await rig.ready()
    figures: Figures = {}
    for name, seconds in (("forward", HOUR), ("back", -HOUR)):
        await rig.control.tell("jump", seconds=seconds)
        await seat.must(f"with the clock an hour {name} readings passed as fresh", seat.none_measured(), STALE + 1.0)
        await seat.always(f"with the clock an hour {name} a reading passed as fresh", seat.none_measured(), 1.5)
        await rig.control.tell("jump", seconds=0.0)
        figures[f"{name}_back_s"] = await seat.must(
            f"tags stayed dead after the clock had been an hour {name}", seat.all_fresh(), 15.0
        )
    return figures


async def _flood(rig: Rig) -> Figures:
    seat = await rig.ready()
    await pause(asyncio.Event(), 0.3)
    await seat.look()
    first, at_start = (await rig.control.tell("flood", seconds=FLOOD))["sent"], list(seat.samples)
    await seat.always("a tag was not fresh during the flood", seat.all_fresh(), FLOOD)
    await rig.control.tell("silence", *seat.names)
    last = (await rig.told())["sent"]
    await seat.until(lambda frame: False, 1.0)
    health, lost, total, silent = seat.plant.health(), 0, 0, list[str]()
    for name in seat.names:
        i = seat.plant.tags.index[name]
        sent, came = last[name] - first[name], seat.samples[i] - at_start[i]
        missing = max(0, sent - came - 2)  # one may have been on its way at either end
        lost, total = lost + missing, total + came
        if missing and not seat.owned_up[i] and not health.shed:
            silent.append(f"{missing} of {sent} of {name}")
    if silent:
        raise Failed(f"samples are missing, and neither it nor the server owns up to it: {', '.join(silent)}")
    owned = health.shed + health.overflowed
    return {"per_s": total / FLOOD, "missing": float(lost), "owned_up": float(owned), "slowest_read_s": seat.slowest}


async def _slow(rig: Rig) -> Figures:
    seat = await rig.ready()
    seat.slowest = 0.0
    rig.proxy.delay = 3.0
    await seat.until(lambda frame: False, 5.0)
    during = seat.slowest
    if during > AT_ONCE:
        raise Failed(f"read() took {during:.1f} s while the server answered 3 s late")
    await rig.proxy.heal()
    back = await seat.must("data did not resume once the server was quick again", seat.all_fresh(), 15.0)
    return {"slowest_read_s": during, "back_s": back}


async def _answer_lost(rig: Rig) -> Figures:
    seat = await rig.ready()
    before = await rig.told()
    value = before["shown"]["SP1"] + 6.0
    await rig.control.tell("writes", how="slow", seconds=0.5)
    begun, losing = monotonic(), asyncio.ensure_future(_lose_answer(rig, int(before["asked"])))
    try:
        receipts = await seat.write({"SP1": value})
        took = monotonic() - begun
    finally:
        await losing
    after = await rig.told()
    if after["asked"] == before["asked"]:
        raise Failed("the write did not reach the server at all")
    state, stands = receipts[0].state, same(after["shown"]["SP1"], value)
    if state == "settled":
        raise Failed("a write whose answer was lost is said to be settled")
    if state != "unknown":
        raise Failed(f"a write whose answer was lost is said to be '{state}', but the server took it")
    await rig.proxy.heal()
    await rig.control.tell("heal")
    stands_now, good = (await rig.told())["shown"]["SP1"], seat.all_fresh()
    back = await seat.must(
        "what stands after a lost answer was not read",
        lambda f: good(f) and f.fresh("SP1") and same(f["SP1"], stands_now), 15.0,
    )  # fmt: skip
    return {"took_s": took, "taken": float(stands), "back_s": back}


async def _lose_answer(rig: Rig, asked: int) -> None:
    """Let nothing through any more as soon as the server has the write, which it answers half a second later."""
    never, begun = asyncio.Event(), monotonic()
    while monotonic() - begun < 5.0:
        if (await rig.control.tell("told"))["asked"] != asked:
            rig.proxy.mute("down")
            return
        await pause(never, 0.02)


async def _outage(rig: Rig) -> Figures:
    if rig.long <= 0:
        raise NotTried("--long is 0")
    seat = await rig.ready()
    if rig.peer is not None:
        await rig.kill()
    else:
        rig.proxy.refuse()
        rig.proxy.cut()
    await seat.must("readings passed as fresh during an outage", seat.none_fresh(), STALE + 60.0 * (rig.peer is None))
    await seat.always("a reading passed as fresh during an outage", seat.none_fresh(), rig.long)
    await rig.back()
    back = await seat.must(f"data did not resume after an outage of {rig.long:g} s", seat.all_fresh(), BACK)
    return {"lasted_s": rig.long, "back_s": back}


async def _no_false(rig: Rig) -> Figures:
    """Sum up; this one comes last."""
    if rig.books is None:
        raise NotTried("what is true at a foreign server is not known")
    if rig.books.false:
        raise Failed(f"{rig.books.false} of {rig.books.judged} readings were false; {'; '.join(rig.books.examples)}")
    if not rig.books.judged:
        raise NotTried("not one reading could be judged")
    return {"readings": float(rig.books.judged), "frames": float(rig.frames)}


CHECKS = (
    Check("namespace", "gold", "A namespace whose index moves is found again, also for writes.", _namespace),
    Check("clock", "gold", "A source clock that jumps an hour never passes as fresh and never leaves a tag dead.", _clock),
    Check("flood", "gold", "In a flood the newest stays fresh, and every sample is received, or its loss is counted.", _flood),
    Check("slow", "gold", "read() returns at once, however slow the server is.", _slow, True),
    Check("answer lost", "gold", "A write whose answer is lost is unknown, never settled.", _answer_lost),
    Check("outage", "gold", "A long outage ends like a short one.", _outage, True),
    Check("no false", "gold", "Not one reading of the whole run was false.", _no_false),
)
