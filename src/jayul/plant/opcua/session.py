"""A session with a server: connect (with certificate and user where told), read, write, subscribe, publish, shut down."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asyncua import Client, ua
from asyncua.client.ua_session import UaSession
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import pause
from jayul.plant.opcua import decode
from jayul.plant.opcua.address import Address, indexes

if TYPE_CHECKING:
    from jayul.plant.opcua.client import OpcuaConfig

TROUBLE = (
    OSError, ua.UaError, struct.error, ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError,
    EOFError, ArithmeticError, InvalidSignature,
)  # fmt: skip  # whatever a peer can bring about, junk included
REACH, ANSWER = 2.0, 4.0  # s for a socket to open; for an answer while a session is set up
KEEP = 30_000  # ms without a word after which the server gives a session up: small controllers have few
LIMITS = {"read": 11705, "write": 11707, "items": 11714}  # nodes of Server.ServerCapabilities.OperationLimits
AT_ONCE = 1000  # nodes in one request, if the server does not say fewer
BAD_NODE = (0x8034_0000, 0x8033_0000)  # Bad_NodeIdUnknown, Bad_NodeIdInvalid

logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)  # it logs requests, passwords included


class Session(UaSession):  # type: ignore[misc]
    """asyncua's session with answers read by `decode`; it does not publish by itself."""

    def ensure_publish_loop(self) -> None:
        """Leave publishing to the caller."""

    async def values(self, nodes: Sequence[ua.NodeId], within: float = ANSWER) -> tuple[int, list[decode.Value]]:
        """Read the value of each node; also the server's time (ns UTC)."""
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value) for node in nodes]
        sent, found = decode.read(await self._send_request(request, within))
        if len(found) != len(nodes):
            raise ua.UaError(f"{len(found)} values for {len(nodes)} nodes")
        return sent, found

    async def published(self, acks: list[ua.SubscriptionAcknowledgement]) -> decode.Published:
        """Wait for the next message of any subscription."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acks
        return decode.published(await self._send_request(request, timeout=0))


class Peer:
    """A connection: `session`, the server's limits, and node ids by address."""

    def __init__(self, client: Client, session: Session) -> None:
        self.client, self.session = client, session
        self.limit = dict.fromkeys(LIMITS, AT_ONCE)
        self._index: dict[str, int] = {}

    async def learn(self) -> None:
        """Ask for the namespaces and the limits of the server."""
        ids = [ua.NodeId(ua.ObjectIds.Server_NamespaceArray), *(ua.NodeId(ua.Int32(i)) for i in LIMITS.values())]
        array, *limits = await self.session.read_attributes(ids, ua.AttributeIds.Value)
        self._index = dict(indexes(array.Value.Value or ()))
        for name, found in zip(LIMITS, limits, strict=True):
            value = found.Value.Value if found.Value is not None else None
            if isinstance(value, int) and value > 0:
                self.limit[name] = min(value, AT_ONCE)

    def node(self, address: Address) -> ua.NodeId | None:
        """Return the node id as of now; None if the server does not know the namespace."""
        index = self._index.get(address.uri)
        return None if index is None else ua.NodeId(address.value, index)

    def uri(self, index: int) -> str:
        """Return the URI of a namespace; empty if there is none."""
        return next((uri for uri, i in self._index.items() if i == index), "")

    async def text(self, node: ua.NodeId) -> object:
        """Read a value that may be anything; None if there is none."""
        (found,) = await self.session.read_attributes([node], ua.AttributeIds.Value)
        return found.Value.Value if found.Value is not None else None

    @property
    def alive(self) -> bool:
        """Say whether there is a socket to write to."""
        protocol = self.client.uaclient.protocol
        return protocol is not None and protocol.transport is not None and not protocol.transport.is_closing()

    async def renew(self) -> None:
        """Renew the secure channel."""
        await self.client.open_secure_channel(renew=True)
        self.client.uaclient.revolve_security_token()

    @property
    def renew_after(self) -> float:
        """Seconds after which the channel is to be renewed (OPC UA Part 4, 5.5.2: at 75 % of its life)."""
        return float(self.client.secure_channel_timeout) * 0.00075

    async def shut(self) -> None:
        """Say good-bye if somebody listens, and let go of the socket in any case."""
        uaclient = self.client.uaclient
        if self.alive:
            try:
                async with asyncio.timeout(1.0):
                    await self.session.close_session(True)
                    await self.client.close_secure_channel()
            except TROUBLE:  # a socket is all that is left, and it goes now
                pass
        if (protocol := uaclient.protocol) is not None and protocol.transport is not None:
            protocol.transport.abort()  # close() would wait for a peer that does not listen
        uaclient.disconnect_socket()
        await pause(asyncio.Event(), 0.001)  # the socket is closed in the loop's next round


async def connect(config: OpcuaConfig) -> Peer:
    """Set up a session. Raises Refused for what the configuration has wrong, and one of TROUBLE."""
    url = address_of(config.url)
    client = Client(url, timeout=ANSWER)
    client.name = client.description = "Jayul"
    client.session_timeout = KEEP
    client.uaclient.pre_request_hook = None
    session = client.uaclient.session = Session(client.uaclient)
    peer = Peer(client, session)
    try:
        await _secure(client, config)
        try:
            async with asyncio.timeout(REACH):
                await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
            await client.activate_session(username=config.user or None, password=_password(config))
        except TROUBLE as error:
            await _explain(config, url, error)
            raise
        await peer.learn()
    except BaseException:
        await peer.shut()
        raise
    return peer


def address_of(url: str) -> str:
    """Return `opc.tcp://host:port/path` of `opcua://host:port/path`. Raises Refused."""
    parts = urlsplit(url)
    try:
        good = parts.scheme in ("opcua", "opc.tcp") and parts.hostname and parts.port and not parts.username
    except ValueError:
        good = False
    if not good:
        raise Refused(f"'{url}' is no address of an OPC UA server; write opcua://host:port, user and password apart")
    return f"opc.tcp://{parts.netloc}{parts.path}"


async def _secure(client: Client, config: OpcuaConfig) -> None:
    if config.security == "None":
        return
    policy, _, mode = config.security.partition("/")
    files = [_file(path) for path in (config.certificate, config.private_key, config.server_certificate)]
    try:
        own = x509.load_der_x509_certificate(_der(files[0]))
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        client.application_uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
        await client.set_security(
            getattr(security_policies, f"SecurityPolicy{policy}"),
            CertProperties(_der(files[0]), "der"),
            CertProperties(files[1], "pem" if b"-----BEGIN" in files[1] else "der"),
            server_certificate=CertProperties(_der(files[2]), "der"),
            mode=getattr(ua.MessageSecurityMode, mode),
        )
    except (x509.ExtensionNotFound, IndexError):
        raise Refused(f"{config.certificate}: names no application URI; OPC UA asks for one in its SubjectAltName") from None
    except (ValueError, TypeError) as error:
        raise Refused(f"{config.certificate}, {config.private_key}: certificate and key cannot be used: {error}") from None


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None


def _der(data: bytes) -> bytes:
    return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER) if b"-----BEGIN" in data else data


def _password(config: OpcuaConfig) -> str | None:
    return _file(config.password_file).decode().rstrip("\r\n") if config.password_file else None


async def _explain(config: OpcuaConfig, url: str, error: BaseException) -> None:
    """Say so, if the reason is that the server shows another certificate than the one that is pinned."""
    if config.security == "None" or (isinstance(error, OSError) and not isinstance(error, ConnectionResetError | TimeoutError)):
        return
    asked = Client(url, timeout=ANSWER)
    asked.uaclient.pre_request_hook = None
    try:
        async with asyncio.timeout(REACH):
            shown = {e.ServerCertificate for e in await asked.connect_and_get_server_endpoints() if e.ServerCertificate}
    except TROUBLE:
        return
    finally:
        if (protocol := asked.uaclient.protocol) is not None and protocol.transport is not None:
            protocol.transport.abort()
    pinned = _der(_file(config.server_certificate))
    if shown and pinned not in shown:
        prints = ", ".join(sorted(hashlib.sha256(found).hexdigest() for found in shown))
        raise Unreachable(
            f"{config.url}: the server's certificate is not the one that is pinned, but SHA-256 {prints}"
        ) from error


def variant(value: float, kind: Any) -> ua.Variant | None:
    """Return the value in a node's own data type; None if it does not fit in there."""
    if kind == ua.VariantType.Boolean:
        return ua.Variant(bool(value), kind) if value in (0.0, 1.0) else None
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        return ua.Variant(value, kind) if kind == ua.VariantType.Double or abs(value) < 3.4e38 else None
    if kind.value not in decode.NUMBERS or value != round(value):
        return None
    try:
        struct.pack("<" + decode.NUMBERS[kind.value], int(value))
    except struct.error:
        return None
    return ua.Variant(int(value), kind)


def chunks(of: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """Cut a sequence into pieces of at most `size`."""
    return (of[k : k + size] for k in range(0, len(of), size))
