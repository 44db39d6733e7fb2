"""An OPC UA server that plays a simulated plant: one variable per tag, with the plant's own source times and status codes.

Values go straight into the address space, and only changes are handed on, so that a scan costs little. Writes go to the controller
and are answered with its status code. Anonymous and unsecured: it binds to 127.0.0.1 unless told otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import Server, ua
from asyncua.server.address_space import AttributeService, AttributeValue
from asyncua.server.history import HistoryStorageInterface
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.subscription_service import SubscriptionService

from jayul.core.clock import Wall
from jayul.core.types import Frame, Tag, TagTable
from jayul.plant.link import Simulated, pause
from jayul.plant.newest import OVERFLOW
from jayul.plant.opcua.address import Address, parse
from jayul.plant.sim.plc import WATCHDOG, Plc

URI = "urn:jayul:simulated"
KEPT = 4000  # values of each tag for HistoryRead
_TROUBLE = (ua.UaError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUE = ua.AttributeIds.Value

_log = logging.getLogger(__name__)
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


def addresses(tags: TagTable) -> dict[str, str]:
    """Return the address of each tag on a server that plays them."""
    return {name: f"nsu={URI};s={name}" for name in tags.names}


class _Sample(ua.DataValue):  # type: ignore[misc]
    """A value that nobody changes once it is made, so that copies are not needed."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> _Sample:
        return self


class _History(HistoryStorageInterface):  # type: ignore[misc]
    """The newest values of each node; pages end with a continuation point."""

    def __init__(self, page: int = 1000) -> None:
        super().__init__(page)
        self.rows: dict[ua.NodeId, deque[ua.DataValue]] = {}

    async def init(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def read_node_history(
        self, node_id: ua.NodeId, start: datetime | None, end: datetime | None, nb_values: int
    ) -> tuple[list[ua.DataValue], datetime | None]:
        """Return a page of values from `start` to `end`, and where the next one begins."""
        if node_id not in self.rows:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadHistoryOperationUnsupported)
        rows = list(self.rows[node_id])
        first = bisect_left(rows, start, key=lambda row: row.SourceTimestamp) if start else 0
        size = min(nb_values or self.max_history_data_response_size, self.max_history_data_response_size)
        page = [row for row in rows[first : first + size + 1] if not end or row.SourceTimestamp <= end]
        return page[:size], page[size].SourceTimestamp if len(page) > size else None


class _Writes(AttributeService):  # type: ignore[misc]
    """Hands writes of tags to `to`; all else is as ever."""

    def __init__(self, aspace: Any, to: Callable[[ua.WriteValue], Any], tags: Mapping[ua.NodeId, str]) -> None:
        super().__init__(aspace)
        self._to, self._tags = to, tags

    async def write(self, params: ua.WriteParameters, *args: Any, **kwargs: Any) -> list[ua.StatusCode]:
        """Answer each write on its own."""
        results = []
        for wanted in params.NodesToWrite:
            if wanted.NodeId in self._tags and wanted.AttributeId == _VALUE:
                results.append(ua.StatusCode(await self._to(wanted)))
            else:
                results += await super().write(ua.WriteParameters(NodesToWrite=[wanted]), *args, **kwargs)
        return results


class Subscriptions(SubscriptionService):  # type: ignore[misc]
    """Subscriptions that own up to what a full queue lost (OPC UA Part 4, 5.13.1.5): asyncua's drop it in silence."""

    async def create_subscription(self, *args: Any, **kwargs: Any) -> ua.CreateSubscriptionResult:
        """Make one, and watch its queues."""
        made = await super().create_subscription(*args, **kwargs)
        sub: InternalSubscription = self.subscriptions[made.SubscriptionId]

        async def enqueue(mid: int, event: Any, size: int, queue: dict[int, list[Any]]) -> None:
            waiting = queue.setdefault(mid, [])
            waiting.append(event)
            if 1 < size < len(waiting):
                del waiting[0]
                if isinstance(first := waiting[0], ua.MonitoredItemNotification):
                    code = ua.StatusCode(first.Value.StatusCode.value | OVERFLOW)
                    value = ua.DataValue(first.Value.Value, code, first.Value.SourceTimestamp, first.Value.ServerTimestamp)
                    waiting[0] = ua.MonitoredItemNotification(first.ClientHandle, value)
            elif 0 < size < len(waiting):
                del waiting[0]
            await sub._trigger_publish()

        sub._enqueue_event = enqueue
        return made


class _Play:
    """The plant on the address space of a server."""

    def __init__(self, server: Server, plc: Plc, clock: Wall) -> None:
        self._server, self._plc, self._clock = server, plc, clock
        self._slots: list[tuple[int, AttributeValue, bool, deque[ua.DataValue]]] = []
        self._known: dict[int, tuple[float, int]] = {}
        self._place: dict[ua.NodeId, str] = {}
        self._bad: set[int] = set()
        self._lock = asyncio.Lock()

    async def build(self, table: Mapping[str, str]) -> None:
        """Make the nodes. Raises Refused for an address that is none."""
        history = _History()
        iserver = self._server.iserver
        iserver.history_manager.set_storage(history)
        iserver.attribute_service = _Writes(iserver.aspace, self._write, self._place)
        folder = await self._server.nodes.objects.add_folder(1, "Plant")
        modes = {loop.mode for loop in self._plc.loops.values()}
        for i, tag in enumerate(self._plc.tags.tags):
            if tag.name not in table:
                continue
            address = parse(table[tag.name])
            node = ua.NodeId(address.value, await self._server.register_namespace(address.uri))
            writable = (tag.writable and not tag.safety) or tag.name in modes or tag.name == WATCHDOG
            await self._variable(folder, node, tag, writable)
            kept: deque[ua.DataValue] = deque(maxlen=KEPT)
            history.rows[node] = kept
            self._slots.append((i, iserver.aspace[node].attributes[_VALUE], bool(tag.states), kept))
            self._place[node] = tag.name

    async def _variable(self, folder: Any, node: ua.NodeId, tag: Tag, writable: bool) -> None:
        kind = ua.VariantType.Int32 if tag.states else ua.VariantType.Double
        made = await folder.add_variable(node, f"{node.NamespaceIndex}:{tag.name}", 0, varianttype=kind)
        access = {ua.AccessLevel.CurrentRead, ua.AccessLevel.HistoryRead} | (
            {ua.AccessLevel.CurrentWrite} if writable else set()
        )
        bits = ua.Variant(sum(1 << bit.value for bit in access), ua.VariantType.Byte)
        for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
            await made.write_attribute(attribute, ua.DataValue(bits))
        if tag.description:
            text = ua.Variant(ua.LocalizedText(tag.description), ua.VariantType.LocalizedText)
            await made.write_attribute(ua.AttributeIds.Description, ua.DataValue(text))
        if tag.low is not None and tag.high is not None:
            await made.add_property(0, "EURange", ua.Range(Low=tag.low, High=tag.high))
        if tag.unit != "1":
            unit = ua.EUInformation(
                NamespaceUri=URI, UnitId=-1, DisplayName=ua.LocalizedText(tag.unit), Description=ua.LocalizedText(tag.unit)
            )
            await made.add_property(0, "EngineeringUnits", unit)
        if tag.states:
            texts = [ua.LocalizedText(tag.states.get(code, "")) for code in range(max(tag.states) + 1)]
            await made.add_property(0, "EnumStrings", texts)

    async def scan(self) -> None:
        """Show the plant as of now."""
        async with self._lock:
            frame = await self._plc.frame()
            await self._show(frame)

    async def _show(self, frame: Frame) -> None:
        values, codes, times = frame.value.tolist(), frame.status.tolist(), frame.source_at.tolist()
        dates: dict[int, datetime] = {}
        now = _date(frame.at)
        for i, attribute, whole, kept in self._slots:
            try:
                value, code, at = values[i], codes[i], times[i]
                if (date := dates.get(at)) is None:
                    date = dates[at] = _date(at)
                sample = attribute.value = _sample(value, code, date, now, whole)
                known = self._known.get(i)
                if known is not None and known[1] == code and (known[0] == value or (known[0] != known[0] and value != value)):
                    continue
                self._known[i] = (value, code)
                kept.append(sample)
                for handle, call in list(attribute.datachange_callbacks.items()):
                    await call(handle, sample)
                self._bad.discard(i)
            except _TROUBLE as error:
                if i not in self._bad:
                    _log.warning("%s cannot be shown: %s", self._plc.tags.names[i], error)
                self._bad.add(i)

    async def _write(self, wanted: ua.WriteValue) -> int:
        """Take a client's write; return the status code."""
        name = self._place[wanted.NodeId]
        whole = bool(self._plc.tags[name].states)
        given = wanted.Value.Value
        if given is None or given.VariantType != (ua.VariantType.Int32 if whole else ua.VariantType.Double):
            return int(ua.StatusCodes.BadTypeMismatch)
        async with self._lock:
            status = await self._plc.set(name, given.Value)
            if status == 0:
                await self._show(await self._plc.frame())
        return status


def _date(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _sample(value: float, code: int, at: datetime, now: datetime, whole: bool) -> _Sample:
    if code >= 0x8000_0000 or (whole and value != value):
        return _Sample(ua.Variant(None, ua.VariantType.Null), ua.StatusCode(code or ua.StatusCodes.BadNoData), at, now)
    if whole:
        return _Sample(ua.Variant(int(value), ua.VariantType.Int32), ua.StatusCode(code), at, now)
    return _Sample(ua.Variant(value, ua.VariantType.Double), ua.StatusCode(code), at, now)


async def serve(
    plc: Plc,
    clock: Wall,
    declared: Simulated,
    host: str,
    port: int,
    *,
    table: Mapping[str, str] | None = None,
    scan: float = 0.02,
    ready: Callable[[int], None],
) -> None:
    """Play the plant until cancelled. `table`: address by tag (default: `addresses`); `scan`: s between two looks at the plant.

    `ready` gets the port once clients may connect (`port` 0: the system chooses one). Raises Refused for a wrong address, OSError
    if the port is taken.
    """
    server = Server()
    server.iserver.subscription_service = Subscriptions(server.iserver.aspace, server.iserver)
    server.iserver.isession.subscription_service = server.iserver.subscription_service
    await server.init()
    server.set_endpoint(f"opc.tcp://{host}:{port}/")
    server.set_server_name("Jayul, simulated plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.set_identity_tokens([ua.AnonymousIdentityToken])
    server.iserver.aspace.force_server_timestamp = False
    play = _Play(server, plc, clock)
    await play.build(table if table is not None else addresses(plc.tags))
    declaration: Address = parse(f"nsu={URI};s=Declaration")
    node = ua.NodeId(declaration.value, await server.register_namespace(declaration.uri))
    await server.nodes.objects.add_variable(node, f"{node.NamespaceIndex}:Declaration", declared.encode())
    await play.scan()
    never = asyncio.Event()
    try:
        await server.start()
        ready(server.bserver._server.sockets[0].getsockname()[1])
        while True:
            await play.scan()
            await pause(never, scan)
    finally:
        await server.stop()
