"""One MQTT 5 connection on the running event loop: paho speaks the protocol, this file waits. It keeps no task of its own.

Connecting blocks for name look-up and TLS, so that it runs in a worker thread; all else is on the loop.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jayul.core.clock import monotonic
from jayul.plant.errors import Refused, Unreachable

TIMEOUT = 2.0  # s, for one answer of the broker
KEEP_ALIVE = 5  # s; a broker that is silent for twice as long is gone
LARGEST = 8 * 1024 * 1024  # bytes of one message; the broker delivers none that is larger
CHUNK = 200  # topics in one subscription
BROKEN = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    struct.error,
)  # what paho raises on bytes that are not MQTT, besides its own
_DENIED = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C}  # reason codes: another try with the same configuration will not help


class Where(msgspec.Struct, frozen=True):
    """A broker and how to be let in. `context` is None without TLS."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"{'mqtts' if self.context else 'mqtt'}://{self.host}:{self.port}"


def where(
    url: str, *, user: str = "", password_file: str = "", tls: bool = False, ca: str = "", certificate: str = "",
    private_key: str = "",
) -> Where:  # fmt: skip
    """Read what a manifest says of a broker: the password and the certificates too. Raises Refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused(f"url '{url}': {error}; write mqtt://HOST:1883 or mqtts://HOST:8883") from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise Refused("'url' is not that of a broker; write mqtt://HOST:1883 or mqtts://HOST:8883")
    if parts.username is not None:
        raise Refused("'url' holds a user; write it in 'user', and the password in a file that 'password_file' names")
    if bool(certificate) != bool(private_key):
        raise Refused("'certificate' and 'private_key' go together; name both or neither")
    secure = tls or parts.scheme == "mqtts"
    if not secure and (ca or certificate):
        raise Refused("'ca' and 'certificate' need TLS; write mqtts:// in 'url'")
    password = ""
    if password_file:
        try:
            password = Path(password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{password_file}: the password cannot be read here: {error}") from None
    context = None
    if secure:
        try:
            context = ssl.create_default_context(cafile=ca or None)
            if certificate:
                context.load_cert_chain(certificate, private_key)
        except (OSError, ValueError) as error:
            raise Refused(f"'ca', 'certificate' or 'private_key' cannot be used: {error}") from None
    return Where(parts.hostname, port or (8883 if secure else 1883), user, password, context)


def paho() -> Any:
    """Import the library. Raises Refused if it is not installed."""
    try:
        import paho.mqtt.client
        import paho.mqtt.packettypes
        import paho.mqtt.properties
        import paho.mqtt.subscribeoptions
    except ImportError:
        raise Refused("a plant on MQTT needs the extra 'mqtt': pip install 'jayul[mqtt]'") from None
    return paho.mqtt


class _Tls:
    """A TLS context for one connection: it remembers the socket, which paho forgets when the handshake fails."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context, self.check_hostname = context, context.check_hostname
        self.sock: ssl.SSLSocket | None = None

    def wrap_socket(self, *plain: Any, **how: Any) -> ssl.SSLSocket:
        self.sock = self._context.wrap_socket(*plain, **how)
        return self.sock


class Broker:
    """A connection, used once. `heard` gets topic, payload and whether the message is a retained one; `over` is told the end.

    `keep`: s for which the broker keeps the session after a drop; `will`: topic, payload and retain of the last will; `alive`: s
    after which a silent broker is asked for a sign of life.
    """

    def __init__(
        self, place: Where, client_id: str, heard: Callable[[str, bytes, bool], None], *,
        keep: int = 0, will: tuple[str, bytes, bool] | None = None, over: Callable[[], None] = lambda: None,
        alive: int = KEEP_ALIVE,
    ) -> None:  # fmt: skip
        self._alive = alive
        self._mqtt, self._place, self._heard, self._over, self._keep = paho(), place, heard, over, keep
        self._broken = (*BROKEN, self._mqtt.properties.MQTTException)
        self.ended, self.trouble = asyncio.Event(), ""
        self.heard = monotonic()  # when the broker last sent anything
        self._loop = asyncio.get_running_loop()
        self._answers: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sock: Any = None
        mqtt = self._mqtt.client
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        self._client.connect_timeout = TIMEOUT
        if place.user:
            self._client.username_pw_set(place.user, place.password or None)
        self._tls = _Tls(place.context) if place.context is not None else None
        if self._tls is not None:
            self._client.tls_set_context(self._tls)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=will[2])
        self._client.on_message = self._on_message
        self._client.on_connect = lambda c, u, flags, reason, p=None: self._answer("connect", 0, reason)
        self._client.on_subscribe = lambda c, u, mid, reasons, p=None: self._answer("subscribe", mid, reasons)
        self._client.on_publish = lambda c, u, mid, reason=None, p=None: self._answer("publish", mid, reason)
        self._client.on_disconnect = self._on_disconnect

    async def connect(self) -> None:
        """Connect. Raises Unreachable; Refused if the broker does not let us in. The caller closes it in any case."""
        try:
            await self._loop.run_in_executor(None, self._dial)
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"the certificate of {self._place!r} is not trusted: {error.verify_message}; name its 'ca'") from None
        except OSError as error:
            raise Unreachable(f"no broker answers at {self._place!r}: {error.strerror or error}") from None
        self._sock = self._client.socket()
        if self._sock is None:
            raise Unreachable(f"the broker at {self._place!r} hung up")
        welcome = self._expect("connect", 0)
        self._client.on_socket_close = lambda client, data, sock: self._unhook()
        self._client.on_socket_unregister_write = lambda client, data, sock: self._loop.remove_writer(sock)
        self._client.on_socket_register_write = lambda client, data, sock: self._loop.add_writer(sock, self._do, "loop_write")
        self._loop.add_reader(self._sock, self._readable)
        if self._client.want_write():
            self._loop.add_writer(self._sock, self._do, "loop_write")
        self._timer = self._loop.call_later(1.0, self._tick)
        reason = await self._wait("connect", 0, welcome)
        if reason is None:
            raise Unreachable(f"the broker at {self._place!r} does not answer")
        if reason.value in _DENIED:
            raise Refused(f"the broker at {self._place!r} refuses us: {reason}; look at 'user' and 'password_file'")
        if reason.value:
            raise Unreachable(f"the broker at {self._place!r} refuses us: {reason}")

    def _dial(self) -> None:
        properties = self._mqtt.properties.Properties(self._mqtt.packettypes.PacketTypes.CONNECT)
        properties.MaximumPacketSize = LARGEST
        properties.SessionExpiryInterval = self._keep
        self._client.connect(self._place.host, self._place.port, self._alive, clean_start=not self._keep, properties=properties)

    async def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Subscribe at QoS 1; return the topics that the broker refuses. Raises Unreachable."""
        refused = []
        for k in range(0, len(topics), CHUNK):
            part = topics[k : k + CHUNK]
            code, mid = self._client.subscribe([(topic, self._mqtt.subscribeoptions.SubscribeOptions(1)) for topic in part])
            reasons = await self._wait("subscribe", mid, self._expect("subscribe", mid)) if code == 0 else None
            if reasons is None:
                raise Unreachable(f"the broker at {self._place!r} does not answer")
            refused += [topic for topic, reason in zip(part, reasons, strict=False) if reason.value >= 0x80]
        return refused

    def ask_again(self, topics: Sequence[str]) -> None:
        """Subscribe anew without waiting: the broker sends what it retains once more."""
        for k in range(0, len(topics), CHUNK):
            options = self._mqtt.subscribeoptions.SubscribeOptions(1)
            self._client.subscribe([(topic, options) for topic in topics[k : k + CHUNK]])

    def send(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, expires: int = 0) -> int:
        """Publish and go on; return the message's id, 0 if there is no connection. `expires`: s, then nobody gets it any more."""
        properties = None
        if expires:
            properties = self._mqtt.properties.Properties(self._mqtt.packettypes.PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expires
        if self.ended.is_set():
            return 0
        return int(self._client.publish(topic, payload, qos, retain, properties).mid)

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = False, expires: int = 0) -> bool | None:
        """Publish at QoS 1 and wait for the broker: True if it took the message, False if it refused, None if it said nothing."""
        mid = self.send(topic, payload, retain=retain, expires=expires)
        reason = await self._wait("publish", mid, self._expect("publish", mid)) if mid else None
        return None if reason is None else reason.value < 0x80

    def close(self) -> None:
        """Say good-bye if that is possible at once, and let go of the socket in any case."""
        self._end("closed")
        if self._client.socket() is None:
            if self._tls is not None and self._tls.sock is not None:
                self._tls.sock.close()
            return
        self._client.on_socket_register_write = self._client.on_socket_unregister_write = None
        try:
            self._client.disconnect()  # written at once now
        except self._broken as error:
            self.trouble = self.trouble or str(error)
        if (sock := self._client.socket()) is not None:
            self._unhook()
            sock.close()

    def _expect(self, what: str, mid: int) -> asyncio.Future[Any]:
        return self._answers.setdefault((what, mid), self._loop.create_future())

    def _answer(self, what: str, mid: int, said: Any) -> None:
        if (future := self._answers.get((what, mid))) is not None and not future.done():
            future.set_result(said)

    async def _wait(self, what: str, mid: int, future: asyncio.Future[Any]) -> Any:
        try:
            return await asyncio.wait_for(future, TIMEOUT)
        except TimeoutError:
            return None
        finally:
            self._answers.pop((what, mid), None)

    def _readable(self) -> None:
        self.heard = monotonic()
        self._do("loop_read")
        while (sock := self._client.socket()) is not None and self._place.context is not None and sock.pending():
            self._do("loop_read")  # TLS had more in its own buffer

    def _do(self, step: str) -> None:
        try:
            getattr(self._client, step)()
        except self._broken as error:
            self._end(f"what the broker says is not MQTT: {error}")
            self.close()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(1.0, self._tick)
        self._do("loop_misc")

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        self._heard(topic, bytes(message.payload), bool(message.retain))

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None) -> None:
        self._end(str(reason))

    def _unhook(self) -> None:
        if self._sock is not None and self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)

    def _end(self, why: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.ended.is_set():
            return
        self.ended.set()
        self.trouble = self.trouble or why
        for future in self._answers.values():
            if not future.done():
                future.set_result(None)
        self._over()
