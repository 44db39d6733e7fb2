"""Addresses of nodes. A namespace is named by its URI, never by its index: indexes move when a server is changed.

nsu=urn:plant;s=TIC1.SP    nsu=urn:plant;i=1001    nsu=urn:plant;g=<guid>    nsu=urn:plant;b=<base64>    ns=0;i=2258
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

from jayul.plant.errors import Refused

STANDARD = "http://opcfoundation.org/UA/"  # namespace 0 of every server
HOW = "write it like 'nsu=urn:plant;s=TIC1.SP' or 'ns=0;i=2258'"


class Address(NamedTuple):
    """A node: URI of its namespace, and identifier (str for s, int for i, UUID for g, bytes for b)."""

    uri: str
    kind: Literal["s", "i", "g", "b"]
    value: str | int | uuid.UUID | bytes


def parse(text: str) -> Address:
    """Read an address. Raises Refused: one line that says what to write instead."""
    space, found, rest = text.partition(";")
    if not found:
        space, rest = "ns=0", text
    key, _, name = space.partition("=")
    kind, same, value = rest.partition("=")
    if not same or not value:
        raise Refused(f"'{text}' is no OPC UA address; {HOW}")
    if key == "nsu" and name:
        uri = unquote(name)
    elif key == "ns" and name == "0":
        uri = STANDARD
    elif key == "ns":
        raise Refused(f"'{text}': the index of a namespace moves when the server is changed; name its URI: nsu=<uri>;{rest}")
    else:
        raise Refused(f"'{text}' is no OPC UA address; {HOW}")
    try:
        match kind:
            case "s":
                return Address(uri, "s", value)
            case "i" if 0 <= int(value) < 2**32:
                return Address(uri, "i", int(value))
            case "g":
                return Address(uri, "g", uuid.UUID(value))
            case "b":
                return Address(uri, "b", base64.b64decode(value, validate=True))
    except (ValueError, binascii.Error):
        pass
    raise Refused(f"'{text}': '{rest}' is no identifier; write s=<text>, i=<number>, g=<guid> or b=<base64>")


def show(address: Address) -> str:
    """Write an address; `parse` reads it back."""
    value = base64.b64encode(address.value).decode() if isinstance(address.value, bytes) else address.value
    space = "ns=0" if address.uri == STANDARD else f"nsu={quote(address.uri, safe=_SAFE)}"
    return f"{space};{address.kind}={value}"


_SAFE = "/:?#[]@!$&'()*+,=~ "  # all that may stand in a URI, save ; and %


def indexes(uris: Sequence[str]) -> Mapping[str, int]:
    """Return the index of each URI of a server's namespace array."""
    return {uri: i for i, uri in reversed(list(enumerate(uris)))}
