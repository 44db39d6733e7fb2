"""The journal as tables: ticks, receipts, events; each row leads to its tick."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa

from jayul.core.types import Outcome
from jayul.plant.journal import Tick

_TIME = pa.timestamp("ns", "UTC")
TICKS = pa.schema(
    [("tick", pa.int64()), ("at", _TIME), ("policy", pa.string()), ("level", pa.string()), ("asked", pa.int32()),
     ("refused", pa.int32()), ("sent", pa.int32())]
)  # fmt: skip
RECEIPTS = pa.schema(
    [("tick", pa.int64()), ("at", _TIME), ("tag", pa.string()), ("allowed", pa.float64()), ("applied", pa.float64()),
     ("state", pa.string())]
)  # fmt: skip
EVENTS = pa.schema(
    [("tick", pa.int64()), ("at", _TIME), ("kind", pa.string()), ("by", pa.string()), ("id", pa.string()),
     ("refused", pa.string()), ("body", pa.string())]
)  # fmt: skip


def tables(ticks: Iterable[Tick], policies: tuple[str, ...]) -> dict[str, pa.Table]:
    """Return `ticks` (one row for each policy and tick), `receipts` and `events`. Raises Corrupt.

    `asked`, `refused` and `sent` count the policy's proposals; `refused` of an event is a reason code, `body` is JSON.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {"ticks": [], "receipts": [], "events": []}
    for decision, outcome in ticks:
        head = (decision.tick, decision.at)
        for name, level in zip(policies, decision.levels, strict=True):
            own = [i for i, verdict in enumerate(decision.verdicts) if verdict.proposal.by == name]
            refused = sum(decision.verdicts[i].allowed is None for i in own)
            sent = sum(i in decision.writes for i in own)
            rows["ticks"].append((*head, name, level.name.lower(), len(own), refused, sent))
        if not policies:
            rows["ticks"].append((*head, None, None, 0, 0, 0))
        for heard in decision.events:
            event = heard.event
            body = msgspec.json.encode(event.body, order="sorted").decode()
            rows["events"].append((decision.tick, event.at, event.kind, event.by, event.id, heard.refused, body))
        rows["receipts"].extend(_receipts(outcome))
    schemas = {"ticks": TICKS, "receipts": RECEIPTS, "events": EVENTS}
    return {name: _table(found, schemas[name]) for name, found in rows.items()}


def _receipts(outcome: Outcome | None) -> list[tuple[Any, ...]]:
    if outcome is None:
        return []
    return [(outcome.tick, r.at, r.tag, r.allowed, r.applied, r.state) for r in outcome.receipts]


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [
        pa.array(column, pa.int64()).cast(_TIME) if field.type == _TIME else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
