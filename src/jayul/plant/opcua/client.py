"""A plant behind an OPC UA server.

One task, started at the first read, connects, watches, and connects anew after any trouble, for ever; `read` only shows what is
known. The server's status codes and source times go through unchanged. Writes are one service call, read back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from jayul.core.clock import Clock, monotonic
from jayul.core.types import Frame, Receipt, Verdict
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import RETRY, Health, LinkConfig, Simulated, pause, still, table_of
from jayul.plant.newest import Losses, Newest, Samples
from jayul.plant.opcua.address import STANDARD, parse
from jayul.record.batch import Batch

if TYPE_CHECKING:
    from jayul.plant.opcua.watch import Kept, Watch

FIRST = 2.0  # s that the first read waits for values
STEADY = 10.0  # s after which a connection counts as a good one
GOODBYE = 1.5  # s for a session to be closed in good order
DECLARED = 5.0  # s for a peer to say whether it is simulated
DECLARATION = "nsu=urn:jayul:simulated;s=Declaration"
POLICIES = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
SECURITY = ("None", *(f"{policy}/{mode}" for policy in POLICIES for mode in ("Sign", "SignAndEncrypt")))

_log = logging.getLogger(__name__)


class OpcuaConfig(LinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a plant behind an OPC UA server; `url` is opcua://host:port.

    `namespaces`: URIs that addresses may name (empty: those of the tag table). `security`: `None`, or policy/mode, such as
    `Basic256Sha256/SignAndEncrypt`; then `certificate` and `private_key` are ours and `server_certificate` is the only one that
    is trusted (paths; PEM or DER). `user`, and `password_file` with the password alone in it. `interval`: publishing interval;
    `verify`: between Reads that check the subscription (both s).
    """

    namespaces: tuple[str, ...] = ()
    security: str = "None"
    certificate: str = ""
    private_key: str = ""
    server_certificate: str = ""
    user: str = ""
    password_file: str = ""
    interval: float = 0.05
    verify: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.security not in SECURITY:
            raise ValueError(f"'security' must be one of {', '.join(SECURITY)}")
        if self.security != "None" and not (self.certificate and self.private_key and self.server_certificate):
            raise ValueError("'security' needs 'certificate', 'private_key' and 'server_certificate'")
        if self.security == "None" and (self.user or self.certificate or self.private_key or self.server_certificate):
            raise ValueError("'user' and certificates need 'security', such as Basic256Sha256/SignAndEncrypt")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("'user' and 'password_file' go together")
        if not 0.01 <= self.interval <= 3600 or not 0.1 <= self.verify <= 3600:
            raise ValueError("'interval' must lie within 0.01 and 3600, 'verify' within 0.1 and 3600 (s)")


def opcua(config: OpcuaConfig, clock: Clock) -> Opcua:
    """Make the plant; it connects at the first read. Raises Refused: a wrong tag table, address or url, or a missing extra."""
    need()
    return Opcua(config, clock)


def need() -> None:
    """Raise Refused if the extra is not installed."""
    if find_spec("asyncua") is None:
        raise Refused("OPC UA needs the extra 'opcua': pip install 'jayul[opcua]'")


class Opcua:
    """The plant; it implements `link.Linked`. It lives in one event loop."""

    def __init__(self, config: OpcuaConfig, clock: Clock) -> None:
        from jayul.plant.opcua import session

        session.address_of(config.url)
        self._config, self._clock = config, clock
        self.tags, table = table_of(config)
        self.loops = table.loops
        self._addresses = [parse(tag.address) for tag in self.tags.tags]
        for tag, address in zip(self.tags.tags, self._addresses, strict=True):
            if config.namespaces and address.uri not in (*config.namespaces, STANDARD):
                raise Refused(f"{config.tags}: '{tag.name}' lies in namespace {address.uri}, which 'namespaces' does not name")
        for name in (*config.constant, *config.write, *filter(None, (config.alive, config.watchdog))):
            if name not in self.tags.index:
                raise Refused(f"{config.tags}: holds no tag '{name}', which the manifest names")
        self._still = still(self.tags, config)
        self._newest = Newest(self.tags, clock.now)
        self._samples = Samples(len(self.tags.tags), first=sorted(self._still))
        self._over, self._first, self._writing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._peer: session.Peer | None = None
        self._watch: Watch | None = None
        self._kept: Kept | None = None
        shortest = min(tag.stale_after for tag in self.tags.tags) / config.speed
        self._verify = max(0.1, min(config.verify, 0.4 * shortest))  # so that what stands still does not grow old in between
        self._connections, self._trouble = 0, ""
        self._told = True  # of the link as it is now

    async def declared(self) -> Simulated | None:
        """Ask the server, over a connection of its own, whether it is simulated. Raises Unreachable."""
        from jayul.plant.opcua import session

        try:
            async with asyncio.timeout(DECLARED):
                peer = await session.connect(self._config)
                try:
                    node = peer.node(parse(DECLARATION))
                    if node is None:
                        return None
                    text = await peer.text(node)
                    return Simulated.decode(text) if isinstance(text, str) else None
                finally:
                    await peer.shut()
        except Unreachable:
            raise
        except session.TROUBLE as error:
            raise Unreachable(f"no OPC UA server answers at {self._config.url}: {said(error)}") from error

    async def read(self) -> Frame:
        """Return the newest of each tag."""
        if self._task is None and not self._over.is_set():
            self._task = asyncio.create_task(self._supervise())
            await pause(self._first, FIRST)
        frame = self._newest.frame()
        if not self._config.alive:
            return frame
        cap = self._kept.changed if self._kept is not None else 0  # nothing is younger than the last sign of life
        return Frame(frame.at, frame.table, frame.value, np.minimum(frame.source_at, cap), frame.seen_at, frame.status)

    async def _supervise(self) -> None:
        """Connect, watch, and connect anew, until it is over."""
        from jayul.plant.opcua import session

        attempt = 0
        while not self._over.is_set():
            begun = monotonic()
            try:
                await self._live()
            except (*session.TROUBLE, Refused) as error:
                attempt = 0 if monotonic() - begun > STEADY else attempt + 1
                self._lose(said(error))
            if not self._over.is_set():
                await pause(self._over, RETRY[min(max(attempt - 1, 0), len(RETRY) - 1)])

    async def _live(self) -> None:
        """Be connected once."""
        from jayul.plant.opcua.session import connect
        from jayul.plant.opcua.watch import Kept, Watch

        if self._kept is None:
            self._kept = Kept(self.tags.index.get(self._config.alive, -1))
        peer = await connect(self._config)
        try:
            watch = Watch(
                peer, self._addresses, self._newest, self._samples, self._still, self._clock.now, self._config.interval,
                self._kept,
            )  # fmt: skip
            self._watch = watch
            await watch.start()
            self._peer, self._connections = peer, self._connections + 1
            self._first.set()
            if not self._told:
                _log.warning("%s: connected again", self._config.url)
            self._told, self._trouble = True, ""
            await watch.run(self._verify, self._over)
        finally:
            self._peer = None
            await peer.shut()

    def _lose(self, trouble: str) -> None:
        self._newest.lost()
        self._trouble = trouble
        if self._told:
            _log.warning("%s: link lost: %s", self._config.url, trouble)
        self._told = False

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Write the allowed values, all or none, and read them back."""
        from jayul.plant.opcua.writes import Wish, write

        wishes = [Wish(v.proposal.tag, v.allowed) for v in verdicts if v.allowed is not None]
        if not wishes:
            return []
        async with self._writing:
            peer, nodes = self._peer, []
            for wish in wishes:
                tag = self.tags.get(wish.tag)
                node = None
                if peer is not None and tag is not None and tag.name in self._config.write and not tag.safety:
                    node = peer.node(self._addresses[self.tags.index[tag.name]])
                nodes.append(node)
            sign = [wish.tag for wish in wishes] == [self._config.watchdog]
            return await write(peer, wishes, nodes, self._clock.now, self._took, sign=sign)

    def _took(self, tag: str, value: float, source_at: int) -> None:
        self._newest.wrote(self.tags.index[tag], value, source_at, self._clock.now())

    def took(self, receipts: Sequence[Receipt]) -> None:
        """Take in what another connection has written and read back."""
        for receipt in receipts:
            if receipt.state == "settled" and receipt.applied is not None and receipt.tag in self.tags.index:
                self._took(receipt.tag, receipt.applied, receipt.at)

    def samples(self) -> Batch:
        """Return every sample since the last call."""
        return self._samples.drain()

    def losses(self) -> Losses:
        """Return what was lost since the last call, by tag."""
        return self._samples.losses()

    def health(self) -> Health:
        """Say how the link fares."""
        count, watch = self._samples, self._watch
        missing = tuple(self.tags.names[i] for i in sorted(watch.missing)) if watch else ()
        return Health(
            self._peer is not None, self._connections, sum(count.received), sum(count.shed), sum(count.overflowed), missing,
            watch.skew if watch else 0.0, self._trouble,
        )  # fmt: skip

    async def history(self, tag: str, start: int, end: int) -> tuple[Any, Any, Any]:
        """Read what the server has kept of a tag from `start` to `end` (ns UTC), both inclusive.

        Returns source times int64 ns, values float64, status uint32. Raises Unreachable if there is no link, Refused if the server
        keeps no history of it.
        """
        from jayul.plant.opcua.history import history

        if self._peer is None:
            raise Unreachable(f"no link to {self._config.url}: {self._trouble or 'not connected yet'}")
        node = self._peer.node(self._addresses[self.tags.index[tag]])
        if node is None:
            raise Refused(f"{self._config.url} does not know '{tag}'")
        rows = await history(self._peer, node, tag, start, end)
        kinds = (np.int64, np.float64, np.uint32)
        source_at, value, status = zip(*rows, strict=True) if rows else ((), (), ())
        return tuple(np.array(c, dtype=kind) for c, kind in zip((source_at, value, status), kinds, strict=True))  # type: ignore[return-value]

    async def close(self) -> None:
        """End the task and let go of the link; a server that is slow to let us in is not waited for."""
        self._over.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=GOODBYE)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.result()  # it never ends by itself: this raises what broke it
            self._task = None


def said(error: BaseException) -> str:
    """Say in one line what went wrong."""
    text = " ".join(str(error).split())
    return text or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
