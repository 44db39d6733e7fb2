"""Make a tag table from what a server shows: every number and switch below Objects, outside the standard's own namespace.

Gentle: one request at a time, with bounds on all of them. What a person must decide stays undecided: nothing is `writable`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from asyncua import ua

from jayul.core.expr import ExprError, parse_unit
from jayul.core.types import Kind, Tag
from jayul.plant.errors import Unreachable
from jayul.plant.opcua.address import Address, show
from jayul.plant.opcua.client import OpcuaConfig, need, said
from jayul.plant.opcua.decode import NUMBERS
from jayul.plant.opcua.session import TROUBLE, Peer, chunks, connect
from jayul.plant.table import Table

NODES = 50  # asked about in one Browse
REFERENCES = 500  # of one node in one answer
DEPTH = 60  # levels below Objects
PROPERTIES = ("EURange", "EngineeringUnits", "EnumStrings", "EnumValues", "TrueState", "FalseState")
UNITS = {
    "°C": "degC", "℃": "degC", "C": "degC", "deg C": "degC", "°F": "degF", "℉": "degF", "m³/h": "m3/h", "m³": "m3", "m²": "m2",
    "m³/s": "m3/s", "m/s²": "m/s2", "l/h": "L/h", "l/min": "L/min", "rpm": "1/min", "r/min": "1/min", "kW·h": "kW.h", "kWh": "kW.h",
    "MWh": "MW.h", "Nm³/h": "m3/h", "Ω": "Ohm", "µm": "um", "μm": "um", "": "1",
}  # fmt: skip  # as engineering units are shown (UNECE Rec 20) -> as Jayul writes them
_ABSTRACT = (24, 26, 27, 28, 29)  # BaseDataType, Number, Integer, UInteger, Enumeration: the value must tell
_KINDS = {ua.NodeIdType.String: "s", ua.NodeIdType.Guid: "g", ua.NodeIdType.ByteString: "b"}

_log = logging.getLogger(__name__)


class _Found(msgspec.Struct):
    """A variable: its node, the names on the way to it, its properties by browse name."""

    node: Any
    path: tuple[str, ...]
    properties: dict[str, Any]


async def browse(
    where: OpcuaConfig | str, *, limit: int = 50_000, progress: Callable[[int], None] = lambda found: None
) -> Table:
    """Return a tag table of what is there. `progress` hears how many variables were found so far.

    Beyond `limit` variables the rest is left out, with a warning. Raises Unreachable, and Refused for a wrong address.
    """
    need()
    config = OpcuaConfig(url=where, tags="") if isinstance(where, str) else where
    try:
        peer = await connect(config)
        try:
            found = await _walk(peer, limit, progress)
            return Table(await _tags(peer, found))
        finally:
            await peer.shut()
    except Unreachable:
        raise
    except TROUBLE as error:
        raise Unreachable(f"{config.url} cannot be browsed: {said(error)}") from error


async def _walk(peer: Peer, limit: int, progress: Callable[[int], None]) -> list[_Found]:
    """Follow the hierarchy, level by level."""
    level: list[tuple[ua.NodeId, tuple[str, ...], _Found | None]] = [(ua.NodeId(ua.ObjectIds.ObjectsFolder), (), None)]
    seen, found = {level[0][0]}, list[_Found]()
    for _ in range(DEPTH):
        below: list[tuple[ua.NodeId, tuple[str, ...], _Found | None]] = []
        for part in chunks(level, NODES):
            for (_, path, owner), references in zip(part, await _references(peer, [node for node, _, _ in part]), strict=True):
                for reference in references:
                    node, name = (
                        ua.NodeId(reference.NodeId.Identifier, reference.NodeId.NamespaceIndex),
                        reference.BrowseName.Name,
                    )
                    if _is_property(reference):
                        if owner is not None and name in PROPERTIES:
                            owner.properties[name] = node
                        continue
                    if node.NamespaceIndex == 0 or node in seen or not name:
                        continue
                    seen.add(node)
                    own = None
                    label = (*path, reference.DisplayName.Text or name)
                    if reference.NodeClass == ua.NodeClass.Variable:
                        if len(found) >= limit:
                            _log.warning("more than %s variables: the rest is left out", limit)
                            return found
                        own = _Found(node, label, {})
                        found.append(own)
                    below.append((node, label, own))
            progress(len(found))
        if not below:
            break
        level = below
    return found


def _is_property(reference: ua.ReferenceDescription) -> bool:
    standard = {ua.NodeId(ua.ObjectIds.HasProperty), ua.NodeId(ua.ObjectIds.PropertyType)}
    return not standard.isdisjoint({reference.ReferenceTypeId, reference.TypeDefinition})


async def _references(peer: Peer, nodes: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
    """Return what each node holds; continuation points are followed."""
    wanted = ua.BrowseParameters(
        View=ua.ViewDescription(),
        RequestedMaxReferencesPerNode=REFERENCES,
        NodesToBrowse=[
            ua.BrowseDescription(
                NodeId=node,
                BrowseDirection=ua.BrowseDirection.Forward,
                ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
                IncludeSubtypes=True,
                NodeClassMask=ua.NodeClass.Object | ua.NodeClass.Variable,
                ResultMask=ua.BrowseResultMask.All,
            )
            for node in nodes
        ],
    )
    found: list[list[ua.ReferenceDescription]] = []
    for result in await peer.session.browse(wanted):
        references = list(result.References or ())
        while result.ContinuationPoint:
            more = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[result.ContinuationPoint])
            (result,) = await peer.session.browse_next(more)
            references += result.References or ()
        found.append(references)
    return found


async def _read(peer: Peer, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds) -> list[Any]:
    """Return an attribute of each node; None where there is none."""
    values: list[Any] = []
    for part in chunks(nodes, peer.limit["read"]):
        read = await peer.session.read_attributes(list(part), attribute)
        values += [found.Value if found.Value is not None and found.StatusCode.is_good() else None for found in read]
    return values


async def _tags(peer: Peer, found: Sequence[_Found]) -> tuple[Tag, ...]:
    found = await _numbers(peer, found)
    nodes = [one.node for one in found]
    access = await _read(peer, nodes, ua.AttributeIds.AccessLevel)
    texts = await _read(peer, nodes, ua.AttributeIds.Description)
    asked = [(one, name) for one in found for name in one.properties]
    for (one, name), value in zip(
        asked, await _read(peer, [one.properties[name] for one, name in asked], ua.AttributeIds.Value), strict=True
    ):
        one.properties[name] = value.Value if value is not None else None
    names = unique([one.path for one in found])
    return tuple(
        _tag(name, _address(peer, one.node), one.properties, text.Value if text else None, level.Value if level else 0)
        for name, one, text, level in zip(names, found, texts, access, strict=True)
    )


async def _numbers(peer: Peer, found: Sequence[_Found]) -> list[_Found]:
    """Keep single numbers and switches. Where the data type does not say it, the value does."""
    nodes = [one.node for one in found]
    kinds = await _read(peer, nodes, ua.AttributeIds.DataType)
    ranks = await _read(peer, nodes, ua.AttributeIds.ValueRank)
    keep, unsure = set[int](), list[int]()
    for i, (kind, rank) in enumerate(zip(kinds, ranks, strict=True)):
        if kind is None or (rank is not None and rank.Value >= 0):
            continue
        standard = kind.Value.Identifier if kind.Value.NamespaceIndex == 0 else None
        if standard in NUMBERS:
            keep.add(i)
        elif standard is None or standard in _ABSTRACT or standard > 25:
            unsure.append(i)
    values = await _read(peer, [nodes[i] for i in unsure], ua.AttributeIds.Value)
    keep |= {
        i
        for i, value in zip(unsure, values, strict=True)
        if value and not value.is_array and value.VariantType.value in NUMBERS
    }
    return [found[i] for i in sorted(keep)]


def _address(peer: Peer, node: ua.NodeId) -> str:
    return show(Address(peer.uri(node.NamespaceIndex), _KINDS.get(node.NodeIdType, "i"), node.Identifier))  # type: ignore[arg-type]


def unique(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """Make names of paths: without what all have in common, joined by dots, numbered where two are still the same."""
    common = 0
    while paths and all(len(path) > common + 1 and path[common] == paths[0][common] for path in paths):
        common += 1
    names, used = list[str](), set[str]()
    for path in paths:
        base = ".".join(re.sub(r"[^\w.]+", "_", part).strip("_") or "_" for part in path[common:])
        name, number = base, 1
        while name in used:
            number += 1
            name = f"{base}_{number}"
        used.add(name)
        names.append(name)
    return names


def unit_of(shown: str) -> str:
    """Return a unit the way Jayul writes it; empty if it cannot be told."""
    unit = UNITS.get(shown.strip(), shown.strip().replace("³", "3").replace("²", "2").replace("·", "."))
    try:
        parse_unit(unit)
    except ExprError:
        return ""
    return unit


def _tag(name: str, address: str, properties: dict[str, Any], text: Any, access: int) -> Tag:
    said_of = [text.Text] if text is not None and text.Text else []
    unit, shown = "1", getattr(getattr(properties.get("EngineeringUnits"), "DisplayName", None), "Text", None)
    if shown:
        unit = unit_of(shown) or "1"
        if not unit_of(shown):
            said_of.append(f"unit: {shown}")
    if access & 1 << ua.AccessLevel.CurrentWrite.value:
        said_of.append("the server takes writes")
    span = properties.get("EURange")
    low, high = (span.Low, span.High) if isinstance(span, ua.Range) and span.Low < span.High else (None, None)
    states = _states(properties)
    kind: Kind = "mode" if states else "measured"
    return Tag(
        name=name, unit=unit, kind=kind, low=low, high=high, states=states, address=address, description="; ".join(said_of)
    )  # fmt: skip


def _states(properties: dict[str, Any]) -> dict[int, str]:
    if properties.get("EnumValues"):
        return {int(one.Value): one.DisplayName.Text or str(one.Value) for one in properties["EnumValues"]}
    if properties.get("EnumStrings"):
        return {code: one.Text for code, one in enumerate(properties["EnumStrings"]) if one.Text}
    both = [getattr(properties.get(name), "Text", None) for name in ("FalseState", "TrueState")]
    return {code: str(one) for code, one in enumerate(both)} if all(both) else {}
