"""MQTT with counterparts that nobody here wrote: mosquitto with TLS and passwords, a Sparkplug B edge node, Node-RED."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mqtt_kit import Mosquitto, Process, bare, free_port, no_more, plant, publisher, set_to, until
from peers import node_modules, program

from jayul.core.clock import Wall
from jayul.core.types import BAD, Frame, Tag
from jayul.plant.errors import Refused
from jayul.plant.mqtt.client import Mqtt
from jayul.plant.mqtt.payload import UNCERTAIN, text_of

HERE = Path(__file__).parent / "peers"
NODE = "plant/edge/line"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path)
    yield found
    found.kill()


def certificates(folder: Path) -> None:
    """Write ca.pem, and server.pem and client.pem with their keys, that it has signed."""
    now = dt.datetime(2026, 1, 1)  # noqa: DTZ001
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    for who in ("ca", "server", "client"):
        key = ca_key if who == "ca" else ec.generate_private_key(ec.SECP256R1())
        name = ca_name if who == "ca" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
        usage = x509.KeyUsage(who != "ca", False, False, False, False, who == "ca", who == "ca", False, False)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + dt.timedelta(days=36500))
            .add_extension(x509.BasicConstraints(ca=who == "ca", path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .sign(ca_key, hashes.SHA256())
        )  # fmt: skip
        (folder / f"{who}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        no = serialization.NoEncryption()
        raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no)
        (folder / f"{who}.key").write_bytes(raw)


def test_tls_with_a_password_and_a_certificate(tmp_path: Path):
    certificates(tmp_path)
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", str(tmp_path / "users"), "eye", "s3cret"], check=True)
    (tmp_path / "word").write_text("s3cret\n")
    (tmp_path / "wrong").write_text("guess\n")
    (other := tmp_path / "other").mkdir()
    certificates(other)
    where = f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
    broker = Mosquitto(tmp_path, f"{where}require_certificate true\npassword_file {tmp_path}/users\nallow_anonymous false\n")
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))
    base = {
        "url": f"mqtts://127.0.0.1:{broker.port}", "user": "eye", "password_file": str(tmp_path / "word"),
        "ca": str(tmp_path / "ca.pem"), "certificate": str(tmp_path / "client.pem"), "private_key": str(tmp_path / "client.key"),
    }  # fmt: skip
    tls = ("--cafile", base["ca"], "--cert", base["certificate"], "--key", base["private_key"], "-u", "eye", "-P", "s3cret")

    async def live() -> None:
        found = plant(tags, broker.port, **base)
        await found.read()
        message = json.dumps({"value": 7, "time": text_of(Wall().now(), "iso")})
        await asyncio.to_thread(broker.pub, "line/a", message, *tls)
        await until(found, lambda frame: frame.fresh("A"), 2)
        await found.close()
        for change, words in (
            ({"password_file": str(tmp_path / "wrong")}, "password_file"),
            ({"ca": str(other / "ca.pem")}, "is not trusted"),
        ):
            found = plant(tags, broker.port, **base | change)
            assert no_more(await found.read(), found.tags)
            assert words in found.health().trouble
            assert "s3cret" not in found.health().trouble
            with pytest.raises(Refused, match=words):
                await found.declared()
            await found.close()
        found = plant(tags, broker.port, **base | {"certificate": "", "private_key": ""})
        assert no_more(await found.read(), found.tags)
        assert found.health().trouble
        await found.close()
        assert len(asyncio.all_tasks()) == 1

    try:
        asyncio.run(live())
    finally:
        broker.kill()


class Node(Process):
    """The foreign edge node."""

    def __init__(self, port: int) -> None:
        where = node_modules("sparkplug-client")
        self.process = subprocess.Popen(
            [program("node"), str(HERE / "sparkplug_node.js"), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(where)},
        )  # fmt: skip
        assert self.line() == "ready"

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def kill(self) -> None:
        super().kill()
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture
def node(broker: Mosquitto) -> Iterator[Node]:
    found = Node(broker.port)
    yield found
    found.kill()


def sparkplug(tmp_path: Path, port: int) -> Mqtt:
    tags = bare(
        tmp_path / "t.csv", Tag(name="T", address=f"{NODE} Temperature"),
        Tag(name="SP", address=f"{NODE} Set Point", kind="set-point", low=0.0, high=100.0, writable=True),
        Tag(name="N", address=f"{NODE} Count"), Tag(name="RUN", address=f"{NODE} Running"),
        Tag(name="MODE", address=f"{NODE} Mode", kind="mode", states={0: "MAN", 2: "RCAS"}),
        Tag(name="GHOST", address=f"{NODE} Ghost"),
    )  # fmt: skip
    return plant(tags, port, sparkplug=True, write=("SP",))


def born(frame: Frame) -> bool:
    return all(map(frame.fresh, ("T", "SP", "N", "RUN", "MODE")))


def test_a_foreign_edge_node_is_read_and_written(broker: Mosquitto, node: Node, tmp_path: Path):
    async def live() -> None:
        found = sparkplug(tmp_path, broker.port)
        await found.read()
        await until(found, born, 3)  # it was born before we came: it is asked for a rebirth
        frame = await found.read()
        assert [frame[name] for name in ("T", "SP", "N", "RUN", "MODE")] == [20.5, 55.0, -5.0, 1.0, 2.0]
        assert found.health().missing == ("GHOST",)
        node.say("temperature 21.25")
        node.say("alias -300")
        await until(found, lambda frame: (frame["T"], frame["N"]) == (21.25, -300.0), 3)
        (receipt,) = await set_to(found, {"SP": 61.3})
        assert receipt.state == "settled"
        assert receipt.applied == pytest.approx(61.3, rel=1e-6)
        found.samples()
        node.say("history 99")
        node.say("many 300")
        await until(found, lambda frame: frame["T"] == 299.0, 3)
        assert born(await found.read()), "300 messages take the sequence over its end without a gap"
        batch = found.samples()
        assert 99.0 in batch.value.tolist(), "the history has it"
        await found.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())


def test_a_gap_is_found_and_a_rebirth_asked_for(broker: Mosquitto, node: Node, tmp_path: Path):
    async def live() -> None:
        found = sparkplug(tmp_path, broker.port)
        await found.read()
        await until(found, born, 3)
        await asyncio.sleep(2.1)  # the first request for a rebirth is that old
        found.samples()
        node.say("gap 33")
        await until(found, lambda frame: frame["T"] == 33.0 or not born(frame), 3)
        await until(found, born, 3)
        batch = found.samples()
        status = dict(zip(batch.value.tolist(), batch.status.tolist(), strict=True))
        assert status[33.0] == UNCERTAIN
        assert (await found.read())["T"] == 20.5, "the birth says what stands there"
        await found.close()

    asyncio.run(live())


def test_deaths(broker: Mosquitto, node: Node, tmp_path: Path):
    async def live() -> None:
        found = sparkplug(tmp_path, broker.port)
        await found.read()
        await until(found, born, 3)
        node.say("death")
        await until(found, lambda frame: no_more(frame, found.tags), 3)
        node.say("birth")
        await until(found, born, 3)
        node.say("null")
        await until(found, lambda frame: frame.status[0] >= BAD, 3)
        node.say("temperature 22")
        await until(found, born, 3)
        node.process.send_signal(signal.SIGSTOP)  # its keep-alive is 2 s
        await until(found, lambda frame: no_more(frame, found.tags), 10)
        node.process.send_signal(signal.SIGCONT)
        await until(found, born, 10)
        node.say("stop")
        await until(found, lambda frame: no_more(frame, found.tags), 5)
        await found.close()

    asyncio.run(live())


def test_our_own_edge_node_is_read_by_the_foreign_library(broker: Mosquitto, tmp_path: Path):
    where = node_modules("sparkplug-payload")
    process = publisher(broker.port, 1.0, "sparkplug")
    script = """
const { get } = require("sparkplug-payload"), mqtt = require("mqtt");
const client = mqtt.connect("mqtt://127.0.0.1:" + process.argv[1]), spb = get("spBv1.0");
client.on("connect", () => { client.subscribe("spBv1.0/jayul/#", () => client.publish("spBv1.0/jayul/NCMD/plc",
  Buffer.from(spb.encodePayload({ timestamp: Date.now(), metrics: [{ name: "Node Control/Rebirth", type: "Boolean", value: true }] })))); });
client.on("message", (topic, payload) => {
  if (!topic.includes("/DBIRTH/")) return;
  const found = spb.decodePayload(payload);
  console.log(JSON.stringify(Object.fromEntries(found.metrics.map((m) => [m.name, [m.value, m.type, Number(m.timestamp)]]))));
  process.exit(0);
});
"""
    try:
        done = subprocess.run(
            [program("node"), "-e", script, str(broker.port)], capture_output=True, text=True, timeout=20, check=True,
            env={**os.environ, "NODE_PATH": str(where)},
        )  # fmt: skip
    finally:
        process.kill()
    found = json.loads(done.stdout)
    assert found["TIC1.SP"][:2] == [55.0, "Double"]
    assert abs(found["TIC1.SP"][2] - Wall().now() / 1e6) < 60_000
    assert "GRADE" in found


def test_node_red_reads_what_we_publish_and_writes(broker: Mosquitto, tmp_path: Path):
    where = node_modules("node-red")
    port = free_port()
    (tmp_path / "flows.json").write_text((HERE / "nodered_flow.json").read_text().replace("PORT", str(broker.port)))
    (tmp_path / "settings.js").write_text(
        "module.exports = { uiHost: '127.0.0.1', httpAdminRoot: false, flowFile: 'flows.json', telemetry: { enabled: false },"
        " editorTheme: { projects: { enabled: false } } };"
    )
    process = publisher(broker.port)
    with (tmp_path / "red.log").open("wb") as log:
        red = subprocess.Popen(
            [program("node"), str(where / "node-red" / "red.js"), "-u", str(tmp_path), "-s", str(tmp_path / "settings.js"),
             "-p", str(port)], stdout=log, stderr=log,
        )  # fmt: skip

    def ask(path: str, body: object) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=2) as answer:
            return json.loads(answer.read() or b"null")

    async def have(path: str, body: object, good: Callable[[Any], bool]) -> Any:
        """Ask until the answer is good; Node-RED starts its nodes one by one."""
        for _ in range(300):
            with contextlib.suppress(OSError):
                if good(answer := await asyncio.to_thread(ask, path, body)):
                    return answer
            await asyncio.sleep(0.1)
        raise AssertionError((tmp_path / "red.log").read_text()[-2000:])

    async def live() -> None:
        last = await have("/last", None, lambda found: {"jayul/TIC1.SP", "jayul/TIC1.PV", "jayul/$online"} <= found.keys())
        assert last["jayul/TIC1.SP"]["value"] == 55.0
        assert last["jayul/TIC1.SP"]["status"] == 0
        assert 40 < last["jayul/TIC1.PV"]["value"] < 70
        assert last["jayul/$online"] == "online"
        await have("/set", {"topic": "jayul/TIC1.SP/set", "value": 56.5}, lambda found: found == 56.5)
        await have("/last", None, lambda found: found["jayul/TIC1.SP"]["value"] == 56.5)

    try:
        asyncio.run(live())
    finally:
        red.kill()
        red.wait()
        process.kill()
