"""A plain asyncua server in a process of its own, told over stdin what to do, one JSON object a line.

Argument: JSON with `port`, `nodes` (name -> data type), `before` (namespaces registered before ours), `certificate`, `key`.
Prints its port, then one line for each command.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import UserRole
from asyncua.server.address_space import AttributeService
from asyncua.server.internal_subscription import InternalSubscription

URI = "urn:test:nodes"
logging.disable(logging.CRITICAL)


class Writes(AttributeService):
    """Answers writes as it was told: `refuse` holds status codes, `instead` values, by name; `mute` swallows the answer."""

    def __init__(self, aspace: Any) -> None:
        super().__init__(aspace)
        self.refuse: dict[str, int] = {}
        self.instead: dict[str, float] = {}
        self.mute = False
        self.fault = 0

    async def write(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs["user"].role == UserRole.Admin:  # our own commands
            return await super().write(params, *args, **kwargs)
        if self.fault:
            raise ua.UaStatusCodeError(self.fault)
        done = []
        for wanted in params.NodesToWrite:
            name = wanted.NodeId.Identifier
            if name in self.refuse:
                done.append(ua.StatusCode(self.refuse[name]))
                continue
            value = wanted.Value.Value
            if name in self.instead:
                value = ua.Variant(self.instead[name], value.VariantType)
            now = datetime.now(UTC)
            fresh = ua.DataValue(value, ua.StatusCode(0), now, now)
            one = ua.WriteParameters(NodesToWrite=[ua.WriteValue(wanted.NodeId, wanted.AttributeId, Value=fresh)])
            done += await super().write(one, *args, **kwargs)
        if self.mute and any(isinstance(w.NodeId.Identifier, str) for w in params.NodesToWrite):
            await asyncio.sleep(3600)
        return done


async def main() -> None:
    told = json.loads(sys.argv[1])
    server = Server()
    server.iserver.attribute_service = writes = Writes(server.iserver.aspace)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{told.get('port', 0)}/")
    policies = [ua.SecurityPolicyType.NoSecurity]
    if told.get("certificate"):
        await server.load_certificate(told["certificate"])
        await server.load_private_key(told["key"])
        policies += [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
    server.set_security_policy(policies)
    for uri in told.get("before", ()):
        await server.register_namespace(uri)
    index = await server.register_namespace(URI)
    nodes = {}

    async def add(name: str, kind: str) -> None:
        start = {"String": "text", "Boolean": False}.get(kind, 0.0 if kind in ("Double", "Float") else 0)
        nodes[name] = await server.nodes.objects.add_variable(
            ua.NodeId(name, index), f"{index}:{name}", start, varianttype=ua.VariantType[kind]
        )
        await nodes[name].set_writable()

    for name, kind in told["nodes"].items():
        await add(name, kind)
    await server.start()
    print(server.bserver._server.sockets[0].getsockname()[1], flush=True)
    publish = InternalSubscription.publish_results

    async def tick() -> None:
        count = 0
        while True:
            for name, node in list(nodes.items()):
                if name.startswith("TICK"):
                    await node.write_value(ua.Variant(float(count), ua.VariantType.Double))
            count += 1
            await asyncio.sleep(0.05)

    ticking = asyncio.create_task(tick())
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match json.loads(line):
            case {"set": name, **rest}:
                source = datetime.fromtimestamp(rest["source"], UTC) if "source" in rest else datetime.now(UTC)
                kind = await nodes[name].read_data_type_as_variant_type()
                value = ua.Variant(rest["value"], kind) if "value" in rest else ua.Variant(None, ua.VariantType.Null)
                sample = ua.DataValue(value, ua.StatusCode(rest.get("status", 0)), source, datetime.now(UTC))
                await nodes[name].write_attribute(ua.AttributeIds.Value, sample)
            case {"remove": name}:
                gone = ua.DeleteNodesParameters(NodesToDelete=[ua.DeleteNodesItem(NodeId=nodes.pop(name).nodeid)])
                server.iserver.aspace[gone.NodesToDelete[0].NodeId].attributes[
                    ua.AttributeIds.Value
                ].datachange_callbacks.clear()
                await server.iserver.isession.delete_nodes(gone)
            case {"add": name, "kind": kind}:
                await add(name, kind)
            case {"deaf": True}:  # sessions live on, subscriptions say no more; new ones do
                old = set(server.iserver.subscription_service.subscriptions.values())

                async def deaf(self: Any, *args: Any, old: set[Any] = old) -> Any:
                    return False if self in old else await publish(self, *args)

                InternalSubscription.publish_results = deaf
            case {"skip": True}:  # the next message of every subscription is lost on its way
                for sub in server.iserver.subscription_service.subscriptions.values():
                    sub._notification_seq += 1
            case {"writes": how}:
                writes.fault = how.get("fault", 0)
                writes.refuse, writes.instead, writes.mute = (
                    how.get("refuse", {}),
                    how.get("instead", {}),
                    how.get("mute", False),
                )
            case {"value": name}:
                print(json.dumps(await nodes[name].read_value()), flush=True)
                continue
            case {"sessions": True}:
                print(len(server.iserver.asyncio_transports), flush=True)
                continue
        print("done", flush=True)
    ticking.cancel()
    await server.stop()


asyncio.run(main())
