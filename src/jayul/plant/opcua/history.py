"""Reading what a server has kept: HistoryRead of raw values, with continuation points."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from asyncua import ua

from jayul.plant.errors import Refused, Unreachable
from jayul.plant.opcua import decode
from jayul.plant.opcua.session import TROUBLE, Peer

Row = tuple[int, float, int]  # source time (ns UTC), value, status


async def history(peer: Peer, node: ua.NodeId, tag: str, start: int, end: int) -> list[Row]:
    """Return all rows of a node, page by page. Raises Refused if the server keeps none, Unreachable if the link breaks."""
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False, StartTime=_date(start), EndTime=_date(end), NumValuesPerNode=0, ReturnBounds=False
    )
    wanted = ua.HistoryReadValueId(NodeId=node)
    rows: list[Row] = []
    while True:
        parameters = ua.HistoryReadParameters(
            HistoryReadDetails=details,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ReleaseContinuationPoints=False,
            NodesToRead=[wanted],
        )
        try:
            (result,) = await peer.session.history_read(parameters)
        except ua.UaStatusCodeError as error:
            raise Refused(f"the server has no history of '{tag}': {error}") from None
        except TROUBLE as error:
            raise Unreachable(f"the link broke while the history of '{tag}' was read: {error}") from error
        if result.StatusCode.value >= 0x8000_0000:
            raise Refused(f"the server has no history of '{tag}': {result.StatusCode.name}")
        for found in getattr(result.HistoryData, "DataValues", None) or ():
            value, status, source, server = decode.plain(found)
            rows.append((source or server, value, status))
        if not result.ContinuationPoint:
            return [row for row in rows if start <= row[0] <= end]
        wanted = ua.HistoryReadValueId(NodeId=node, ContinuationPoint=result.ContinuationPoint)


def _date(ns: int) -> datetime:
    """Return the time as the wire holds it."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
