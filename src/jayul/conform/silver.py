"""Silver: one fault stays one fault: half-open connections, vanished, frozen and wrong tags, writes that fail, many reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

from jayul.conform.benches import SETPOINT_STALE, STALE
from jayul.conform.bronze import BACK
from jayul.conform.check import Check, Figures
from jayul.conform.rig import SETPOINTS, Failed, Left, Rig, Seat
from jayul.core.clock import monotonic
from jayul.core.types import Frame, Receipt, same
from jayul.plant.link import READ_BACK, pause

NOTICED = STALE + 0.5  # s
RECOVERS = 15.0  # s: for what comes back without a new connection
BAD = 0x8005_0000  # OPC UA Bad_CommunicationError, as a device gateway shows it
RECONNECTS = 10


async def _half_open(rig: Rig) -> Figures:
    seat = await rig.ready()
    rig.proxy.mute()
    if rig.peer is not None:
        noticed = await seat.must("readings passed as fresh on a half-open connection", seat.none_measured(), NOTICED)
        rest = max(0.0, SETPOINT_STALE + 0.5 - noticed)
    else:
        rest = max(tag.stale_after for tag in seat.plant.tags.tags) + 0.5
        noticed = rest
    noticed_all = await seat.must("a reading passed as fresh on a half-open connection", seat.none_fresh(), rest)
    await rig.proxy.heal()
    back = await seat.must("data did not resume once the network was whole again", seat.all_fresh(), RECOVERS)
    return {"noticed_s": noticed, "all_s": noticed_all, "back_s": back}


async def _vanished(rig: Rig) -> Figures:
    seat = await rig.ready()
    await rig.control.tell("remove", "T2")
    rest = seat.all_fresh("T2")
    noticed = await seat.must("a tag that is gone passed as fresh", lambda f: not f.fresh("T2"), NOTICED + 1.0)
    await seat.must("the other tags were not fresh after one had vanished", rest, BACK)
    await seat.always("the other tags were not all fresh while one was gone", rest, 3.0)
    if seat.plant.health().connections > 2:
        raise Failed("the connection is set up again and again because one tag is gone")
    late = await rig.open()
    await late.must("with one tag gone from the start the others did not come", late.all_fresh("T2"), BACK)
    await rig.control.tell("remove", "T2", on=False)
    back = await seat.must("a tag that came back was not read again", seat.all_fresh(), RECOVERS)
    await late.must("a tag that was gone from the start was not read when it came", late.all_fresh(), RECOVERS)
    return {"noticed_s": noticed, "back_s": back}


async def _frozen(rig: Rig) -> Figures:
    tags = ("T1",) if rig.bench.source_time else tuple(f"T{i}" for i in range(8))
    seat = await rig.ready()
    await rig.control.tell("freeze", *tags)
    took = await seat.must(
        "a value that stood still passed as fresh", lambda f: not any(f.fresh(tag) for tag in tags), NOTICED + 0.5
    )
    await seat.always(
        "frozen tags were fresh again, or others were not",
        lambda f: not any(f.fresh(tag) for tag in tags) and seat.all_fresh(*tags)(f), 1.5,
    )  # fmt: skip
    await rig.control.tell("freeze", *tags, on=False)
    back = await seat.must("a tag that moved again was not fresh", seat.all_fresh(), BACK)
    return {"old_s": took, "back_s": back}


async def _status(rig: Rig) -> Figures:
    seat = await rig.ready()
    i = seat.plant.tags.index["T3"]
    await rig.control.tell("status", "T3", code=BAD)
    took = await seat.must("a bad status did not come through", lambda f: int(f.status[i]) >= 0x8000_0000, NOTICED)
    await seat.always(
        "a tag that is bad was fresh, or another was not", lambda f: not f.fresh("T3") and seat.all_fresh("T3")(f), 1.0
    )
    exact = int((await seat.look()).status[i]) == BAD
    await rig.control.tell("status", "T3", on=False)
    back = await seat.must("a tag that is good again was not fresh", seat.all_fresh(), BACK)
    return {"bad_s": took, "back_s": back, "same_code": float(exact)}


async def _wrong_type(rig: Rig) -> Figures:
    seat = await rig.ready()
    figures: Figures = {}
    for how in rig.bench.wrong:
        await rig.control.tell("wrong", "T4", how=how)
        await seat.must(f"a value that is no number ({how}) passed as fresh", lambda f: not f.fresh("T4"), NOTICED)
        await seat.always(
            f"no number ({how}): it was fresh, or another tag was not",
            lambda f: not f.fresh("T4") and seat.all_fresh("T4")(f), 0.7,
        )  # fmt: skip
        await rig.control.tell("wrong", "T4", on=False)
        figures[f"{how}_back_s"] = await seat.must(f"after {how} the tag was not fresh again", seat.all_fresh(), BACK)
    return figures


def _none_settled(receipts: Sequence[Receipt], what: str) -> None:
    for receipt in receipts:
        if receipt.state == "settled":
            raise Failed(f"{what}: {receipt.tag} is said to be settled")


async def _stands(seat: Seat, rig: Rig, wanted: dict[str, float], what: str) -> None:
    shown = (await rig.told())["shown"]
    frame = await seat.look()
    for tag, value in wanted.items():
        if not same(shown[tag], value):
            raise Failed(f"{what}: {tag} stands at {shown[tag]:g}, not at {value:g}")
        if frame.fresh(tag) and not same(frame[tag], value):
            raise Failed(f"{what}: {tag} is read as {frame[tag]:g}, but {value:g} stands there")


async def _start(rig: Rig) -> tuple[Seat, dict[str, float]]:
    seat = await rig.ready()
    await seat.must("the set-points did not come", lambda f: all(f.fresh(tag) for tag in SETPOINTS), BACK)
    shown = (await rig.told())["shown"]
    return seat, dict(shown)


async def _all_or_none(rig: Rig) -> Figures:
    for order in (SETPOINTS, SETPOINTS[::-1]):
        await rig.reset()
        seat, before = await _start(rig)
        await rig.control.tell("writes", how="part")
        receipts = await seat.write({tag: before[tag] + 3.5 for tag in order})
        _none_settled(receipts, "a write of which the server took only a part")
        await _stands(seat, rig, before, "after a write of which the server took only a part")
    return {}


async def _refused(rig: Rig) -> Figures:
    seat, before = await _start(rig)
    await rig.control.tell("writes", how="refuse")
    receipts = await seat.write({"SP1": before["SP1"] + 2.0})
    if receipts[0].state != "rejected":
        raise Failed(f"a write that the server refused is said to be '{receipts[0].state}'")
    await _stands(seat, rig, before, "after a refused write")
    await rig.control.tell("writes", how="take")
    receipts = await seat.write({"SP1": before["SP1"] + 2.0})
    if receipts[0].state != "settled":
        raise Failed(f"after a refused write a good one is said to be '{receipts[0].state}'")
    return {}


async def _not_shown(rig: Rig) -> Figures:
    seat, before = await _start(rig)
    value = before["SP1"] + 4.0
    await rig.control.tell("writes", how="late", seconds=READ_BACK * 0.4)
    begun = monotonic()
    receipts = await seat.write({"SP1": value})
    took, shown = monotonic() - begun, (await rig.told())["shown"]["SP1"]
    if receipts[0].state == "settled" and not same(shown, value):
        raise Failed("a write is said to be settled before the server shows it")
    if receipts[0].state not in ("settled", "pending"):
        raise Failed(f"a write that shows {READ_BACK * 0.4:g} s late is said to be '{receipts[0].state}'")
    await rig.control.tell("writes", how="drop")
    receipts = await seat.write({"SP1": value + 5.0})
    if receipts[0].state in ("settled", "rejected"):
        raise Failed(f"a write that the server acknowledged and never showed is said to be '{receipts[0].state}'")
    await seat.must("the value that stands is not read", lambda f: same(f["SP1"], value), BACK)
    return {"late_s": took}


async def _reconnects(rig: Rig) -> Figures:
    seat = await rig.ready()
    rig.proxy.cut()
    await seat.must("it did not connect again after a cut", lambda f: not seat.all_fresh()(f), 2.0)
    await seat.must("data did not resume after a cut", seat.all_fresh(), BACK)
    await pause(asyncio.Event(), 0.3)
    before, times = Left.now(), list[float]()
    for k in range(RECONNECTS):
        seen = int((await seat.look()).at)
        rig.proxy.cut()

        def newer(frame: Frame, seen: int = seen) -> bool:
            return seat.all_fresh()(frame) and int(frame.seen_at.min()) > seen

        await seat.until(lambda f: not seat.all_fresh()(f), 0.5)
        times.append(await seat.must(f"data did not resume after cut {k + 1}", newer, BACK))
    await rig.clean(before, f"after {RECONNECTS} reconnects")
    return {"median_s": median(times), "worst_s": max(times), "connections_open": float(rig.proxy.open)}


async def _two_sources(rig: Rig) -> Figures:
    well, ill = await rig.ready(through=1), await rig.ready()
    good, slowest = well.all_fresh(), 0.0
    for name in ("mute", "refuse", "delay"):
        if name == "mute":
            rig.proxy.mute()
        elif name == "refuse":
            rig.proxy.refuse()
            rig.proxy.cut()
        else:
            await rig.proxy.heal()
            rig.proxy.delay = 3.0
        begun, never = monotonic(), asyncio.Event()
        while monotonic() - begun < 2.0:
            await ill.look()
            if not good(await well.look()):
                raise Failed(f"a source that was well was not fresh while the other had a fault ({name})")
            slowest = max(slowest, well.slowest)
            await pause(never, 0.05)
    return {"slowest_read_s": slowest}


CHECKS = (
    Check("half-open", "silver", "A connection that stands but carries nothing is noticed by age, and replaced.", _half_open, True),
    Check("vanished", "silver", "A node, register or topic that is gone leaves the rest alone, and returns.", _vanished),
    Check("frozen", "silver", "A value that stands still grows old.", _frozen),
    Check("status", "silver", "A bad status passes on, and concerns its own tag alone.", _status),
    Check("wrong type", "silver", "What is not a number is marked, and the rest lives.", _wrong_type),
    Check("all or none", "silver", "Of a write that the server takes in part nothing stands or is called settled.", _all_or_none),
    Check("refused", "silver", "A write that the server refuses is said to be rejected.", _refused),
    Check("not shown", "silver", "A write is settled when it shows, however late, and never when it does not.", _not_shown),
    Check("reconnects", "silver", "Ten reconnects leave no task, socket or thread behind.", _reconnects, True),
    Check("two sources", "silver", "A fault of one source never stops the other.", _two_sources, True),
)  # fmt: skip
