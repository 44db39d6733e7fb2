"""Watching the tags of one connection: subscriptions, and Reads that check what they deliver.

A subscription that is dead while its session lives (a Read knows more than it delivered) ends the watch, as does a Read that
nobody answers; the owner sets up everything anew. A node that is not there leaves the rest alone and is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

import msgspec
from asyncua import ua

from jayul.core.clock import monotonic, today
from jayul.core.types import SECOND
from jayul.plant.link import pause
from jayul.plant.newest import OVERFLOW, Newest, Samples
from jayul.plant.opcua import decode
from jayul.plant.opcua.address import Address
from jayul.plant.opcua.session import BAD_NODE, Peer, chunks

TOGETHER = 2500  # monitored items in one subscription
BRIDGE = 5.0  # s of samples that the server is asked to keep for us between two messages
SILENT = 2.0  # s without an answer to a Read, nor any other word, after which the link is dead
ROUNDS = 5  # times SILENT that a server which talks may leave a Read unanswered
AGAIN = 10.0  # s between attempts to watch what was not there
DOUBT = 60.0  # s within which a link is not set up anew twice because of the same tag
LOST = 1000  # messages: a larger gap in the numbers of a subscription is not asked for again


class Dead(ConnectionError):
    """The peer is there, but data no longer comes."""


class _Over(Exception):  # the way out of `run` when the owner closes
    pass


class _Sub(msgspec.Struct):
    """A subscription: number of the next message, monitored items by position, s after which a change must have come."""

    id: int
    grace: float
    expected: int = 1
    items: dict[int, int] = {}


class Kept(msgspec.Struct):
    """What outlives a connection. `doubt`: when one was last given up because of a tag, by position.

    `alive`: position of the tag that must change (-1: none), its value, samples of it so far, source time of its last change.
    """

    alive: int = -1
    value: float = math.nan
    samples: int = 0
    changed: int = 0
    doubt: dict[int, float] = {}


class Watch:
    """What is watched over one connection. `missing`: status by position of what the server does not know; `skew`: s."""

    def __init__(
        self, peer: Peer, addresses: Sequence[Address], newest: Newest, samples: Samples, still: frozenset[int],
        now: Callable[[], int], interval: float, kept: Kept,
    ) -> None:  # fmt: skip
        self._peer, self._addresses, self._newest, self._samples = peer, addresses, newest, samples
        self._still, self._now, self._interval, self._kept = still, now, interval, kept
        self._queue = min(1000, max(10, round(BRIDGE / interval)))
        self._subs: dict[int, _Sub] = {}
        self._of: dict[int, _Sub] = {}  # by position
        self._nodes: dict[int, ua.NodeId] = {}  # by position
        self._stamp = [0] * len(addresses)  # source time of the newest that was taken in
        self._suspect: dict[int, tuple[int, float]] = {}  # position -> samples received when a Read knew more, when that was
        self._gap: set[int] = set()  # positions whose next sample follows lost messages
        self._acks: list[ua.SubscriptionAcknowledgement] = []
        self._heard = self._publishing = 0
        self.missing: dict[int, int] = {}
        self.skew = 0.0

    async def start(self) -> None:
        """Set up the subscriptions and read everything once."""
        for part in chunks(range(len(self._addresses)), TOGETHER):
            sub = await self._subscribe()
            await self._add(sub, part)
        await self._read_all(0.0, first=True)

    async def _subscribe(self) -> _Sub:
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=self._interval * 1000,
            RequestedLifetimeCount=max(30, int(60 / self._interval)),
            RequestedMaxKeepAliveCount=max(10, int(10 / self._interval)),
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
            Priority=0,
        )
        made = await self._peer.session.create_subscription(parameters, lambda result: None)
        sub = _Sub(made.SubscriptionId, max(1.0, made.RevisedPublishingInterval * 0.01))
        self._subs[sub.id] = sub
        return sub

    async def _add(self, sub: _Sub, positions: Sequence[int]) -> None:
        """Monitor these tags; what cannot be monitored is missing, and says why in its status."""
        known = []
        for i in positions:
            node = self._peer.node(self._addresses[i])
            if node is None:
                self._miss(i, BAD_NODE[0])
            else:
                self._nodes[i] = node
                known.append(i)
        for part in chunks(known, self._peer.limit["items"]):
            request = ua.CreateMonitoredItemsParameters(
                SubscriptionId=sub.id,
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ItemsToCreate=[self._item(i) for i in part],
            )
            for i, result in zip(part, await self._peer.session.create_monitored_items(request), strict=True):
                if result.StatusCode.value >= 0x8000_0000:
                    self._miss(i, result.StatusCode.value)
                    continue
                sub.items[i], self._of[i] = result.MonitoredItemId, sub
                sub.grace = max(sub.grace, result.RevisedSamplingInterval * 0.003)
                self.missing.pop(i, None)

    def _item(self, i: int) -> ua.MonitoredItemCreateRequest:
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=self._nodes[i], AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=i, SamplingInterval=self._interval * 1000, QueueSize=self._queue, DiscardOldest=True
            ),
        )

    def _miss(self, i: int, status: int) -> None:
        self._newest.lost(status, only=(i,))
        self.missing[i] = status
        self._nodes.pop(i, None)
        self._suspect.pop(i, None)

    async def run(self, verify: float, over: asyncio.Event) -> None:
        """Watch until it is over. Raises Dead, or one of session.TROUBLE."""

        async def end() -> None:
            await over.wait()
            raise _Over

        publishers = min(10, 1 + len(self._subs))
        tasks = [
            asyncio.create_task(work) for work in (end(), self._tend(verify), *(self._publish() for _ in range(publishers)))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for task in done if (error := task.exception()) is not None]
            if not any(isinstance(error, _Over) for error in errors):
                raise errors[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self) -> None:
        """Keep one publish request at the server; several of these run, so that a message never waits for a request."""
        self._publishing += 1
        while True:
            acks, self._acks = self._acks, []
            try:
                message = await self._peer.session.published(acks)
            except ua.uaerrors.BadTooManyPublishRequests:
                self._publishing -= 1
                if self._publishing:
                    return
                raise
            self._heard += 1
            sub = self._subs.get(message.subscription)
            if sub is None:
                continue
            if message.status >= 0x8000_0000:
                raise Dead(f"the server ended a subscription with status 0x{message.status:08X}")
            if message.kept:
                self._acks.append(ua.SubscriptionAcknowledgement(sub.id, message.sequence))
            begin, ahead = sub.expected, (message.sequence - sub.expected) % 2**32
            if ahead < 2**31:
                sub.expected = (message.sequence + message.kept) % 2**32
            self._take(message.items)
            if ahead and ahead < 2**31:
                await self._republish(sub, begin, ahead)

    def _take(self, items: list[decode.Item]) -> None:
        now = self._now()
        take, add, stamp, gap, still = self._newest.take, self._samples.add, self._stamp, self._gap, self._still
        for i, value, status, source, server in items:
            source = source or server or now
            if gap and i in gap:
                status |= OVERFLOW
                gap.discard(i)
            stamp[i] = source
            take(i, value, status, max(source, server) if i in still else source, now)
            add(i, source, float(value), status, now)
        if self._kept.alive >= 0:
            self._sign()

    def _sign(self) -> None:
        """Note when the tag that must change has changed."""
        kept = self._kept
        received, value = self._samples.received[kept.alive], self._newest.value[kept.alive]
        if (value != kept.value or received - kept.samples > 1) and value == value:
            kept.changed = self._stamp[kept.alive]
        kept.value, kept.samples = value, received

    def _late(self, items: list[decode.Item]) -> None:
        """Take in samples that newer ones have overtaken."""
        self._take([item for item in items if item[3] >= self._stamp[item[0]]])
        now = self._now()
        for i, value, status, source, server in items:
            if source < self._stamp[i]:
                self._samples.add(i, source or server, value, status, now)

    async def _republish(self, sub: _Sub, begin: int, count: int) -> None:
        """Ask again for messages that did not come; what the server no longer has is owned up to at the next sample."""
        for number in range(begin, begin + min(count, LOST)):
            try:
                message = await self._peer.session.republish(sub.id, number % 2**32)
            except ua.uaerrors.BadMessageNotAvailable:
                self._gap |= sub.items.keys()
                continue
            if not message.NotificationData:
                self._gap |= sub.items.keys()
            for part in message.NotificationData or ():
                if isinstance(part, ua.DataChangeNotification):
                    self._late([(item.ClientHandle, *decode.plain(item.Value)) for item in part.MonitoredItems])
            self._acks.append(ua.SubscriptionAcknowledgement(sub.id, number % 2**32))
        if count > LOST:
            self._gap |= sub.items.keys()

    async def _tend(self, verify: float) -> None:
        """Verify, try again what is missing, renew the channel."""
        again, renew, never = monotonic() + AGAIN, monotonic() + self._peer.renew_after, asyncio.Event()
        while True:
            begun = monotonic()
            if not self._nodes:
                await self._ask([ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)])
            await self._read_all(verify)
            if self.missing and monotonic() >= again:
                await self._peer.learn()
                await self._add(next(iter(self._subs.values())), list(self.missing))
                again = monotonic() + AGAIN
            if monotonic() >= renew:
                await self._peer.renew()
                renew = monotonic() + self._peer.renew_after
            await pause(never, max(0.01, verify - (monotonic() - begun)))

    async def _ask(self, nodes: Sequence[ua.NodeId]) -> tuple[int, list[decode.Value]]:
        """Read. Raises Dead if no answer comes, nor any other word."""
        task = asyncio.create_task(self._peer.session.values(nodes, SILENT * ROUNDS + 1))
        try:
            for _ in range(ROUNDS):
                heard = self._heard
                done, _ = await asyncio.wait({task}, timeout=SILENT)
                if done:
                    return task.result()
                if self._heard == heard:
                    break
            raise Dead(f"a Read was not answered within {SILENT:g} s")
        finally:
            task.cancel()

    async def _read_all(self, verify: float, *, first: bool = False) -> None:
        """Read every tag, in pieces spread over the time between two verifications, and compare."""
        positions = sorted(self._nodes)
        parts = list(chunks(positions, self._peer.limit["read"]))
        for number, part in enumerate(parts):
            if number and not first:
                await pause(asyncio.Event(), verify / len(parts) / 2)
            part = [i for i in part if i in self._nodes]
            asked = self._now()
            sent, found = await self._ask([self._nodes[i] for i in part])
            if sent:
                self.skew = (sent - today()) / SECOND
            now = self._now()
            for i, value in zip(part, found, strict=True):
                self._compare(i, value, asked, now, first)
        if self._kept.alive >= 0:
            self._sign()
        self._judge()
        if gone := [i for i in positions if i in self.missing and i in self._of]:
            await self._drop(gone)

    def _compare(self, i: int, read: decode.Value, asked: int, now: int, first: bool) -> None:
        """Take in what a Read says of one tag. What may stand still is vouched for by an answer as of when it was asked for."""
        value, status, source, server = read
        if status in BAD_NODE:
            self._miss(i, status)
            return
        newest, source = self._newest, source or server or now
        word = max(source, server, asked) if i in self._still else source
        known = newest.value[i]
        if status == newest.status[i] and (value == known or (value != value and known != known)):
            newest.confirm(i, word, now)
            self._suspect.pop(i, None)
        elif source >= self._stamp[i]:
            taken = newest.take(i, value, status, word, now)
            if taken and not first and status < 0x8000_0000:
                self._suspect.setdefault(i, (self._samples.received[i], monotonic()))
            self._stamp[i] = source
        else:
            newest.confirm(i, 0, now)  # the subscription has overtaken this Read

    def _judge(self) -> None:
        """Raise Dead if a subscription owes what a Read has long known."""
        now = monotonic()
        for i, (received, since) in list(self._suspect.items()):
            if self._samples.received[i] > received:
                del self._suspect[i]
            elif now - since > self._of[i].grace and now - self._kept.doubt.get(i, -DOUBT) >= DOUBT:
                self._kept.doubt[i] = now
                raise Dead("a subscription no longer delivers what a Read shows")

    async def _drop(self, gone: Sequence[int]) -> None:
        """Let go of the items of nodes that vanished."""
        for sub in self._subs.values():
            if ids := [sub.items.pop(i) for i in gone if i in sub.items]:
                wanted = ua.DeleteMonitoredItemsParameters(SubscriptionId=sub.id, MonitoredItemIds=ids)
                with contextlib.suppress(ua.UaStatusCodeError):  # gone with their nodes
                    await self._peer.session.delete_monitored_items(wanted)
        for i in gone:
            self._of.pop(i, None)
