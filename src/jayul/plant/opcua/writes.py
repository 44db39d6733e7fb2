"""Writing: one service call for all, the way back if it was taken in part, and reading back until it shows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from asyncua import ua

from jayul.core.clock import monotonic
from jayul.core.types import Receipt, same
from jayul.plant.link import READ_BACK, pause
from jayul.plant.opcua.session import TROUBLE, Peer, variant

LOOK = 0.05  # s between two looks at what was written
ANSWER = 2.0  # s for the answer to one request


class Wish(NamedTuple):
    """A value for a tag."""

    tag: str
    value: float


async def write(
    peer: Peer | None,
    wishes: Sequence[Wish],
    nodes: Sequence[ua.NodeId | None],
    now: Callable[[], int],
    took: Callable[[str, float, int], None],
    *,
    sign: bool = False,
) -> list[Receipt]:
    """Write all or none. A node of None may not be written. `took` hears what stands there: tag, value, source time.

    `sign`: a sign of life, which the controller may count in its own way: settled once it is acknowledged.
    """

    def all_of(state: str) -> list[Receipt]:
        return [Receipt(w.tag, w.value, None, now(), state) for w in wishes]  # type: ignore[arg-type]

    known = [node for node in nodes if node is not None]
    if peer is None or len(known) != len(wishes) or len({w.tag for w in wishes}) != len(wishes):
        return all_of("rejected")
    if not all(math.isfinite(w.value) for w in wishes) or len(wishes) > peer.limit["write"]:
        return all_of("rejected")
    try:
        before = await peer.session.read_attributes(known, ua.AttributeIds.Value)
        kinds = [found.Value.VariantType if found.Value is not None else ua.VariantType.Null for found in before]
        values = [v for w, kind in zip(wishes, kinds, strict=True) if (v := variant(w.value, kind)) is not None]
    except TROUBLE:
        return all_of("rejected")  # nothing has been written yet
    if len(values) != len(wishes) or not peer.alive:
        return all_of("rejected")
    patience = READ_BACK
    try:
        results = [status.value for status in await _write(peer, known, values)]
        if sign and max(results) < 0x4000_0000:
            return [Receipt(w.tag, w.value, w.value, now(), "settled") for w in wishes]
    except ua.UaStatusCodeError:  # the whole request was refused: look whether really nothing was written
        results, patience = [0] * len(wishes), 0.0
    except TROUBLE:  # it may have left
        results = [0] * len(wishes)
    if any(status >= 0x4000_0000 for status in results):
        back = [i for i, status in enumerate(results) if status < 0x4000_0000]
        failed = await _undo(peer, [known[i] for i in back], [before[i].Value for i in back])
        lost = {back[k] for k in failed}
        return [Receipt(w.tag, w.value, None, now(), "unknown" if i in lost else "rejected") for i, w in enumerate(wishes)]
    receipts = await _settle(peer, wishes, known, now, took, patience)
    if patience:
        return receipts
    return [Receipt(r.tag, r.allowed, None, r.at, "rejected") if r.state == "overridden" else r for r in receipts]


async def _write(peer: Peer, nodes: Sequence[ua.NodeId], values: Sequence[ua.Variant]) -> list[ua.StatusCode]:
    """Write bare values: many servers take no status and no times."""
    request = ua.WriteParameters(
        NodesToWrite=[
            ua.WriteValue(NodeId=node, AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(value, StatusCode=None))
            for node, value in zip(nodes, values, strict=True)
        ]
    )
    results: list[ua.StatusCode] = await peer.session.write(request)
    if len(results) != len(nodes):
        raise ua.UaError(f"{len(results)} results for {len(nodes)} writes")
    return results


async def _undo(peer: Peer, nodes: Sequence[ua.NodeId], before: Sequence[ua.Variant]) -> list[int]:
    """Write old values back; return the positions where that failed."""
    if not nodes:
        return []
    try:
        return [k for k, status in enumerate(await _write(peer, nodes, before)) if not status.is_good()]
    except TROUBLE:
        return list(range(len(nodes)))


async def _settle(
    peer: Peer,
    wishes: Sequence[Wish],
    nodes: Sequence[ua.NodeId],
    now: Callable[[], int],
    took: Callable[[str, float, int], None],
    patience: float,
) -> list[Receipt]:
    """Read back until every value shows, or patience (s) is over."""
    until, never = monotonic() + patience, asyncio.Event()
    stands: dict[str, float] = {}
    while True:
        try:
            async with asyncio.timeout(ANSWER):
                _, found = await peer.session.values(nodes)
        except TROUBLE:
            found, stands = [], {}
        for wish, (value, status, source, server) in zip(wishes, found, strict=False):
            stands.pop(wish.tag, None)
            if status < 0x8000_0000:
                stands[wish.tag] = value
                took(wish.tag, value, source or server or now())
        if all(w.tag in stands and same(stands[w.tag], w.value) for w in wishes) or monotonic() >= until or not peer.alive:
            break
        await pause(never, LOOK)
    receipts = []
    for wish in wishes:
        there = stands.get(wish.tag)
        if there is None:
            receipts.append(Receipt(wish.tag, wish.value, None, now(), "unknown"))
        elif same(there, wish.value):
            receipts.append(Receipt(wish.tag, wish.value, wish.value, now(), "settled"))
        else:
            receipts.append(Receipt(wish.tag, wish.value, there, now(), "overridden"))
    return receipts
