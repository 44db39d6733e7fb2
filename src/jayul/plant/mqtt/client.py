"""A plant on an MQTT broker. It connects at the first read, in the background, and again whenever it has to.

The session outlives a short drop (QoS 1, clean start off), so that nothing that was published meanwhile is lost; what is delivered
twice counts once. A retained message brings the state at once, as old as its own time says. Without a time in the payload a message
is as old as its arrival, except a retained one, of which nobody knows the age: Uncertain_LastUsableValue.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import deque
from collections.abc import Sequence

from jayul.core.clock import Clock, monotonic
from jayul.core.types import BAD_NO_DATA, SECOND, Frame, Receipt, Verdict
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import RETRY, Health, LinkConfig, Simulated, pause, still, table_of
from jayul.plant.mqtt.broker import KEEP_ALIVE, Broker, paho, where
from jayul.plant.mqtt.dialect import Dialect, Got, Plain
from jayul.plant.mqtt.edge import Edge
from jayul.plant.mqtt.payload import LAST_USABLE, UNCERTAIN, PayloadConfig
from jayul.plant.mqtt.writing import Writer
from jayul.plant.newest import NO_COMMUNICATION, SETTLE, Losses, Newest, Samples
from jayul.record.batch import Batch

FIRST = 2.0  # s that the first read waits for values
KEEP = 3600  # s for which the broker keeps our session
STEADY = 5.0  # s after which a connection counts as one that held
RECENT = 64  # samples of a tag among which a repetition is looked for
ONLINE, DECLARED = "$online", "$simulated"


class MqttConfig(LinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a plant on MQTT. `url`: mqtt://host:port, or mqtts:// for TLS; the address of a tag is its topic.

    `user`, `password_file`: a password never stands in a manifest. `tls`, `ca`, `certificate`, `private_key`: PEM files.
    `payload`: where value, time and status stand; `sparkplug`: Sparkplug B instead. `set_suffix`: a write goes to the topic with
    this behind it; `batch`: a topic that takes several tags in one message, all or none. `online`: a retained topic whose payload
    is `online` or `offline`, the publisher's last will (if empty, `$online` under the first level of the first tag's topic).
    `client_id`: of our session (one of its own for each start if empty).
    """

    user: str = ""
    password_file: str = ""
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    private_key: str = ""
    payload: PayloadConfig = PayloadConfig()
    sparkplug: bool = False
    set_suffix: str = "/set"
    batch: str = ""
    online: str = ""
    client_id: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, topic in (("set_suffix", self.set_suffix), ("batch", self.batch), ("online", self.online)):
            if any(c in topic for c in "+#\0"):
                raise ValueError(f"'{key}' is a topic, without + and #")
        if not self.set_suffix:
            raise ValueError("'set_suffix' must not be empty: a write would go to the topic of the state")


def mqtt(config: MqttConfig, clock: Clock) -> Mqtt:
    """Build the plant; nothing is connected yet. Raises Refused."""
    paho()
    return Mqtt(config, clock)


class Mqtt:
    """The plant; it implements `plant.link.Linked`."""

    def __init__(self, config: MqttConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.tags, table = table_of(config)
        self.loops = table.loops
        for name in (*config.write, *config.constant, *filter(None, (config.alive, config.watchdog))):
            if name not in self.tags.index:
                raise Refused(f"{config.tags}: there is no tag '{name}', which the plant's configuration names")
        self._place = where(
            config.url, user=config.user, password_file=config.password_file, tls=config.tls, ca=config.ca,
            certificate=config.certificate, private_key=config.private_key,
        )  # fmt: skip
        self._dialect: Dialect = (
            Edge(self.tags) if config.sparkplug
            else Plain(self.tags, config.payload, config.write, config.set_suffix, config.batch)
        )  # fmt: skip
        self._top = self.tags.tags[0].address.split("/")[0].split(" ")[0]
        self._says_online = config.online or f"{self._top}/{ONLINE}"
        own = uuid.uuid4().hex[:12]
        self._id = config.client_id + ("-gateway" if config.write else "") if config.client_id else f"jayul-{own}"
        n = len(self.tags.tags)
        self._still = still(self.tags, config)
        shortest = min((self.tags.tags[i].stale_after for i in self._still), default=math.inf) / config.speed
        self._alive = int(
            min(max(shortest / 2, 1), KEEP_ALIVE)
        )  # so that a broker vouches more often than a set-point grows old
        self._newest, self._samples = Newest(self.tags, clock.now), Samples(n, first=sorted(self._still))
        self._recent = [deque[tuple[int, float, int]](maxlen=RECENT) for _ in range(n)]
        self._taken = [(0, 0)] * n  # source time and arrival of the newest, whatever was confirmed since
        self._online: bool | None = None  # what the topic `online` says
        self._live = self._changed = (0, 0)  # source time and arrival: of the last live message; of the last change of `alive`
        self._waiting = set(range(n))
        self._first, self._over = asyncio.Event(), False
        self._ahead: deque[int] = deque(maxlen=100)
        self._broker: Broker | None = None
        self._dialing: Broker | None = None
        self._task: asyncio.Task[None] | None = None
        self._missing, self._connections, self._trouble = tuple[str, ...](), 0, ""
        self._rest = asyncio.Event()  # set when it is closed
        self._writer = Writer(config, self.tags, self._dialect, clock, own)

    def _start(self) -> None:
        if self._task is None and not self._over:
            self._task = asyncio.get_running_loop().create_task(self._supervise())

    async def read(self) -> Frame:
        """Return the newest of each tag; the first call waits up to 2 s for them."""
        if self._task is None:
            self._start()
            await pause(self._first, FIRST)
        self._age(self._clock.now())
        return self._newest.frame()

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Set the allowed values, all or none; unknown if the link or the publisher is gone."""
        wanted = {v.proposal.tag: v.allowed for v in verdicts if v.allowed is not None}
        if not wanted:
            return []
        if self._task is None:
            await self.read()
        before = {i: self._newest.value[i] for name in wanted if (i := self.tags.index.get(name)) is not None}
        done = await self._writer.write(wanted, before, self._broker if self._online is not False else None)
        now, receipts = self._clock.now(), []
        for name, value in wanted.items():
            said = done[name]
            if said.state == "settled" and said.value is not None:
                self._newest.wrote(self.tags.index[name], said.value, said.source_at, now)
            receipts.append(Receipt(name, value, said.value, now, said.state))
        return receipts

    def took(self, receipts: Sequence[Receipt]) -> None:
        """Take in what another connection has written and read back."""
        for receipt in receipts:
            i = self.tags.index.get(receipt.tag)
            if i is not None and receipt.state == "settled" and receipt.applied is not None:
                self._newest.wrote(i, receipt.applied, receipt.at, receipt.at)
                self._taken[i] = (receipt.at, receipt.at)

    def samples(self) -> Batch:
        """Return every sample since the last call."""
        return self._samples.drain()

    def losses(self) -> Losses:
        """Return what was lost since the last call, by tag."""
        return self._samples.losses()

    def health(self) -> Health:
        """Say how the link fares; `missing`: refused by the broker, or not in the birth of its Sparkplug node."""
        names = {*self._missing, *(self.tags.names[i] for i in self._dialect.missing())}
        skew = max(self._ahead, default=0) / SECOND / self._config.speed
        s = self._samples
        return Health(
            self._broker is not None, self._connections, sum(s.received), sum(s.shed), sum(s.overflowed),
            tuple(name for name in self.tags.names if name in names), skew, self._trouble,
        )  # fmt: skip

    async def close(self) -> None:
        """Let go of the link; nothing is left behind."""
        self._over = True
        self._rest.set()
        if self._dialing is not None:
            self._dialing.close()
        if self._task is not None:
            await self._task
            self._task = None
        self._first.set()

    async def declared(self) -> Simulated | None:
        """Ask over a connection of its own whether the publisher is simulated. Raises Unreachable, Refused."""
        found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def heard(_topic: str, payload: bytes, retained: bool) -> None:
            if retained and not found.done():
                found.set_result(payload)

        broker = Broker(self._place, f"jayul-{uuid.uuid4().hex[:12]}", heard)
        try:
            await broker.connect()
            await broker.subscribe([f"{self._top}/{DECLARED}"])
            return Simulated.decode(await asyncio.wait_for(found, 1.0))
        except TimeoutError:
            return None
        finally:
            broker.close()

    async def _supervise(self) -> None:
        attempt = 0
        topics = [*self._dialect.topics, *self._dialect.acks, self._says_online]
        while not self._over:
            begun = monotonic()
            broker = self._dialing = Broker(
                self._place, self._id, self._hear, keep=KEEP, over=self._writer.wake, alive=self._alive
            )
            try:
                await broker.connect()
                refused = set(await broker.subscribe(topics))
                self._missing = tuple(t.name for t in self.tags.tags if t.address.strip().partition(" ")[0] in refused)
                self._broker, self._trouble = broker, ""
                self._connections += 1
                for topic, payload in self._dialect.greeting():
                    broker.send(topic, payload, qos=0)
                await broker.ended.wait()
                self._trouble = broker.trouble
            except (Unreachable, Refused) as error:
                self._trouble = str(error)
            finally:
                self._broker = self._dialing = self._online = None
                broker.close()
                self._dialect.gone()
                self._newest.lost()
            attempt = 0 if monotonic() - begun > STEADY else attempt + 1
            if not self._over:
                await pause(self._rest, RETRY[min(max(attempt - 1, 0), len(RETRY) - 1)])

    def _hear(self, topic: str, payload: bytes, retained: bool) -> None:
        if topic == self._says_online:
            self._said_online(payload)
            return
        if topic in self._dialect.acks:
            self._writer.acknowledged(payload)
            return
        heard = self._dialect.hear(topic, payload)
        if heard.lost:
            self._newest.lost(heard.status, heard.lost)
        for got in heard.samples:
            self._take(got, retained)
        if self._dialing is not None:
            for to, what in heard.send:
                self._dialing.send(to, what, qos=0)

    def _said_online(self, payload: bytes) -> None:
        word = payload.strip().lower()
        if word not in (b"online", b"offline"):
            return
        before, self._online = self._online, word == b"online"
        if not self._online:
            self._newest.lost()
        elif before is False and self._dialing is not None:  # what still stands is retained
            self._dialing.ask_again(self._dialect.topics)

    def _take(self, got: Got, retained: bool) -> None:
        i, value, status, source_at, old = got
        now = self._clock.now()
        if source_at is None:
            if retained and self._newest.status[i] < UNCERTAIN:
                return  # something better is known
            status = max(status, LAST_USABLE) if retained else status
        stamp = now if source_at is None else source_at
        self._keep(i, stamp, value, status, now, count=source_at is not None or not retained)
        taken, arrived = self._taken[i]
        if old or (stamp < taken and now - arrived < SETTLE * self._config.speed):
            return  # sent late, or delivered again
        changed = value != self._newest.value[i]
        if not self._newest.take(i, value, status, stamp, now):
            return
        self._taken[i] = (stamp, now)
        if changed and self.tags.names[i] == self._config.alive:
            self._changed = (stamp, now)
        if not retained:
            self._live = max(self._live, (stamp, now))
            if source_at is not None:
                self._ahead.append(stamp - now)
        if self._online is False:
            self._newest.lost(NO_COMMUNICATION, [i])
        else:
            self._writer.seen(i, value, stamp)
        self._waiting.discard(i)
        if not self._waiting:
            self._first.set()

    def _keep(self, i: int, stamp: int, value: float, status: int, now: int, *, count: bool) -> None:
        """Keep a sample for the history, unless it is one that was delivered before."""
        key = (stamp, 0.0 if math.isnan(value) else value, status)
        if not count or key in self._recent[i]:
            return
        self._recent[i].append(key)
        self._samples.add(i, stamp, value, status, now)

    def _age(self, now: int) -> None:
        """Let tags that may stand still be as old as the publisher's last word, and all grow old when `alive` stands still."""
        new, alive = self._newest, bool(self._config.alive)
        for i in range(len(new.status)):
            if new.status[i] == BAD_NO_DATA:
                continue
            if i in self._still and new.status[i] < UNCERTAIN:
                source, seen = self._word(i, now)
                if source:
                    new.confirm(i, source, seen)
            if alive and now - self._changed[0] > int(self.tags.stale_ns[i]):
                new.source_at[i] = min(new.source_at[i], self._changed[0])

    def _word(self, i: int, now: int) -> tuple[int, int]:
        """Return when the publisher last vouched for a tag that may stand still: source time, and arrival."""
        if self._config.alive:
            return self._changed
        if self._broker is not None and (self._online or self._dialect.online(i)):
            silent = monotonic() - self._broker.heard  # a broker that hangs vouches for nothing
            heard = now - int(silent * SECOND * self._config.speed)
            return heard, heard
        return self._live
