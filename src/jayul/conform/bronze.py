"""Bronze: what it reads is true, what it lost it does not claim, what it writes stands there, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jayul.conform.benches import SETPOINT_STALE, STALE
from jayul.conform.check import Check, Figures
from jayul.conform.rig import Failed, Left, Rig
from jayul.core.types import Frame, Proposal, Verdict, same
from jayul.plant.errors import Refused
from jayul.plant.link import pause

BACK = 5.0  # s: so soon data resumes when the server is back
MARKED = STALE + 0.5  # s: so soon no reading passes as fresh any more
UNCERTAIN = 0x4080_0000  # OPC UA Uncertain


async def _reads(rig: Rig) -> Figures:
    seat = await rig.open()
    first = await seat.ready()
    frames = seat.frames
    await seat.always("a tag was not fresh while all was well", seat.all_fresh(), 2.0)
    if rig.books is None:
        return {"first_s": first}
    if rig.books.judged == 0:
        raise Failed("not one reading made a claim that could be judged")
    if rig.books.false:
        raise Failed(f"{rig.books.false} false readings; {rig.books.examples[0]}")
    return {"first_s": first, "readings": rig.books.judged, "frames": seat.frames - frames}


async def _source_time(rig: Rig) -> Figures:
    seat = await rig.ready()
    await rig.control.tell("status", "T3", code=UNCERTAIN)
    i = seat.plant.tags.index["T3"]
    took = await seat.must("the status Uncertain of a tag did not come through", lambda f: int(f.status[i]) == UNCERTAIN, 2.0)
    frame = await seat.look()
    for name in seat.names:
        k = seat.plant.tags.index[name]
        if int(frame.source_at[k]) % 1000 or frame.source_at[k] > frame.seen_at[k]:  # the server stamps whole microseconds
            raise Failed(f"the source time of {name} is not the one that the server gave it")
    return {"status_s": took, "lag_s": float((frame.seen_at - frame.source_at).max()) / 1e9}


async def _killed(rig: Rig) -> Figures:
    seat = await rig.ready()
    await rig.kill()
    marked = await seat.must(
        "measured tags passed as fresh after the server was killed, not marked", seat.none_measured(), MARKED
    )
    await seat.must("a set-point passed as fresh after the server was killed", seat.none_fresh(), SETPOINT_STALE)
    await seat.always("a reading passed as fresh while the server was dead", seat.none_fresh(), 1.0)
    await rig.back()
    back = await seat.must("data did not resume after the server came back", seat.all_fresh(), BACK)
    return {"marked_s": marked, "back_s": back}


async def _publisher(rig: Rig) -> Figures:
    seat = await rig.ready()
    await rig.told()
    await rig.control.kill()
    marked = await seat.must("readings passed as fresh after the publisher was killed", seat.none_fresh(), SETPOINT_STALE + 0.5)
    await rig.control.start()
    back = await seat.must("data did not resume after the publisher came back", seat.all_fresh(), BACK)
    return {"marked_s": marked, "back_s": back}


async def _read_only(rig: Rig) -> Figures:
    seat = await rig.ready(write=())
    before = await rig.told()
    verdict = Verdict(Proposal("SP1", 61.0, "conform", "conform"), 61.0, "")
    try:
        receipts = await seat.plant.write([verdict])
    except Refused:
        receipts = []
    await seat.until(lambda frame: False, 0.5)
    after = await rig.told()
    if after["asked"] != before["asked"] or after["shown"] != before["shown"]:
        raise Failed("it wrote, though its configuration names nothing that it may write")
    if any(receipt.state not in ("rejected",) for receipt in receipts):
        raise Failed(f"a write that it may not do is said to be '{receipts[0].state}'")
    return {}


async def _write(rig: Rig) -> Figures:
    seat = await rig.ready()
    for k, values in enumerate(({"SP1": 62.5}, {"SP1": 58.0, "SP2": 33.25})):
        receipts = await seat.write(values)
        for receipt in receipts:
            if receipt.state != "settled":
                raise Failed(f"a write of {receipt.tag} that the server took is said to be '{receipt.state}'")
            if receipt.applied is None or not same(receipt.applied, values[receipt.tag]):
                raise Failed(f"{receipt.tag} is settled at {receipt.applied}, not at {values[receipt.tag]:g}")
        frame = await seat.look()
        shown = (await rig.told())["shown"]
        for tag, value in values.items():
            if not same(shown[tag], value):
                raise Failed(f"{tag} is settled at {value:g}, but the server shows {shown[tag]:g}")
            if not same(frame[tag], value):
                raise Failed(f"the read after write {k + 1} shows {tag} at {frame[tag]:g}, not at {value:g}")
        await seat.always("a set-point fell back to an older value after it was settled", _standing(values), 0.7)
    return {"writes": 2.0}


def _standing(values: dict[str, float]) -> Callable[[Frame], bool]:
    return lambda frame: all(same(frame[tag], value) for tag, value in values.items())


async def _empty_write(rig: Rig) -> Figures:
    seat = await rig.ready()
    before = await rig.told()
    if receipts := await seat.write({}):
        raise Failed(f"an empty write has {len(receipts)} receipts")
    verdict = Verdict(Proposal("SP1", 61.0, "conform", "conform"), None, "rule", "refused by the guard")
    if await seat.plant.write([verdict]):
        raise Failed("what the guard refused has a receipt")
    after = await rig.told()
    if after["asked"] != before["asked"]:
        raise Failed("an empty write, or one that the guard refused, reached the server")
    return {}


async def _closes(rig: Rig) -> Figures:
    await pause(asyncio.Event(), 0.2)
    before = Left.now()
    for _ in range(2):
        seat = await rig.ready()
        if rig.peer is not None:
            await seat.write({"SP1": 44.0})
        await rig.shut(seat)
        frame = await seat.look()
        if not seat.none_fresh()(frame):
            await pause(asyncio.Event(), 0.5)
            if rig.books is not None and rig.peer is not None and int((await seat.look()).seen_at.max()) > frame.at:
                raise Failed("it goes on reading after close()")
    unread = await rig.open()
    await rig.shut(unread)
    await rig.clean(before, "left behind after close()")
    return {"tasks": float(before[0]), "files": float(before[1])}


CHECKS = (
    Check("reads", "bronze", "Every tag is read and stays fresh, and every value was true at its source.", _reads, True),
    Check("source time", "bronze", "Source time and status are those that the source gave, not ours.", _source_time),
    Check(
        "killed", "bronze",
        "After kill -9 of the server no reading passes as fresh beyond stale_after, and data resumes within 5 s of its return.",
        _killed,
    ),
    Check("publisher", "bronze", "The same for the publisher behind a broker that lives on.", _publisher),
    Check("read-only", "bronze", "Nothing is written unless the configuration names it.", _read_only),
    Check("write", "bronze", "A write is settled when the server shows it, and the next read shows it too.", _write),
    Check("empty write", "bronze", "A write of nothing, or of what the guard refused, sends nothing.", _empty_write),
    Check("close", "bronze", "After close() no task, socket or thread is left.", _closes, True),
)  # fmt: skip
