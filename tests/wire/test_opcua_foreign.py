"""Against node-opcua, a server that nobody here wrote, in another process."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from opcua_kit import HERE, Process, config, plant, running, table, until, verdict
from peers import node_modules

from jayul.core.clock import Wall, today
from jayul.core.types import SECOND
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.newest import NO_COMMUNICATION, TYPE_MISMATCH
from jayul.plant.opcua import browse as browsing
from jayul.plant.opcua.browse import browse
from jayul.plant.opcua.client import opcua

URI = "urn:test:foreign"
WRITE = ("TIC1.SP", "TIC1.TURNS", "TIC1.ON", "TIC2.SP", "TIC1.FIXED")
SET = {"kind": "set-point", "writable": True, "low": 0.0, "high": 100.0}
TAGS = {"TIC1.PV": {}, "TIC1.FAST": {}, "TIC1.NOTE": {}, "TIC2.PV": {}, "TIC2.MODE": {"kind": "mode"}} | dict.fromkeys(
    WRITE, SET
)


class Foreign(Process):
    """The node-opcua server of `peers/opcua_server.js`; it comes back on the same port."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self._told = {"folder": str(folder / "server"), **more}
        self._modules = node_modules("node-opcua")
        super().__init__([], {"NODE_PATH": str(self._modules)})

    def start(self, **more: Any) -> None:
        self._told |= {"port": self.port, **more}
        self._command = ["node", str(HERE / "peers/opcua_server.js"), json.dumps(self._told)]
        super().start()


def status(frame, name):
    return int(frame.status[frame.table.index[name]])


def test_browse_makes_a_table_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "REFERENCES", 2)  # so that continuation points have to be followed

    async def drive() -> None:
        with running(Foreign(tmp_path)) as server:
            heard: list[int] = []
            made = await browse(f"opcua://127.0.0.1:{server.port}", progress=heard.append)
            tags = {tag.name: tag for tag in made.tags}
            assert {"TIC1.PV", "TIC1.SP", "TIC1.TURNS", "TIC1.ON", "TIC2.PV", "TIC2.SP", "TIC2.MODE"} <= tags.keys()
            assert "TIC1.NOTE" not in tags
            pv, mode = tags["TIC1.PV"], tags["TIC2.MODE"]
            assert (pv.unit, pv.low, pv.high, pv.address) == ("degC", 0.0, 150.0, f"nsu={URI};s=TIC1.PV")
            assert pv.description.startswith("temperature")
            assert mode.states == {0: "MAN", 1: "AUTO", 2: "RCAS"}
            assert not any(tag.writable for tag in made.tags)
            assert "the server takes writes" in tags["TIC1.SP"].description
            assert "the server takes writes" not in tags["TIC1.FIXED"].description
            assert heard[-1] >= len(tags)
            few = await browse(f"opcua://127.0.0.1:{server.port}", limit=3)
            assert len(few.tags) <= 3

    asyncio.run(drive())


def test_values_change_and_one_bad_node_stays_alone(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Foreign(tmp_path)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS, URI))) as made:
                frame = await until(made, lambda f: f.fresh("TIC1.FAST") and f.fresh("TIC1.PV"))
                assert status(frame, "TIC1.NOTE") == TYPE_MISMATCH
                assert frame["TIC2.MODE"] == 1.0
                await until(made, lambda f: f["TIC1.FAST"] > frame["TIC1.FAST"] + 5)
                at = today() // SECOND - 100
                server.ask(set="TIC2.PV", value=3.5, status=0x4090_0000, source=at)
                frame = await until(made, lambda f: f["TIC2.PV"] == 3.5)
                assert status(frame, "TIC2.PV") == 0x4090_0000
                assert frame.source_at[frame.table.index["TIC2.PV"]] == at * SECOND
                server.ask(remove="TIC2.PV")
                frame = await until(made, lambda f: status(f, "TIC2.PV") >= 0x8000_0000)
                assert frame.fresh("TIC1.FAST")
                server.ask(add="TIC2.PV", kind="Double")
                server.ask(set="TIC2.PV", value=4.5)
                await until(made, lambda f: f["TIC2.PV"] == 4.5, 15.0)
                assert made.health().connections == 1
                assert abs(made.health().skew) < 1.0
                fast = made.samples()
                rows = fast.value[fast.tag == made.tags.index["TIC1.FAST"]]
                assert set(np.diff(rows).tolist()) == {1.0}, "a sample is missing"

    asyncio.run(drive())


def test_writes_in_the_nodes_own_types_all_or_none(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Foreign(tmp_path)) as server:
            mine = config(server.port, table(tmp_path / "t.csv", TAGS, URI), write=WRITE)
            async with plant(mine) as made:
                await made.read()
                assert await made.write([]) == []
                for name, value in (("TIC1.SP", 55.3), ("TIC1.TURNS", 12.0), ("TIC1.ON", 1.0), ("TIC2.SP", -1e-3)):
                    (receipt,) = await made.write([verdict(name, value)])
                    assert (receipt.state, receipt.applied) == ("settled", value)
                    assert (await made.read())[name] == pytest.approx(value, rel=1e-6)
                receipts = await made.write([verdict("TIC2.SP", 9.0), verdict("TIC1.FIXED", 9.0)])
                assert [r.state for r in receipts] == ["rejected", "rejected"]
                assert server.ask(value="TIC2.SP") == -1e-3, "what was taken is taken back"
                assert (await until(made, lambda f: f["TIC2.SP"] == -1e-3)).fresh("TIC2.SP")

    asyncio.run(drive())


def test_killed_and_started_again_it_resumes_within_5_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def drive() -> None:
        with running(Foreign(tmp_path)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS, URI))) as made:
                await until(made, lambda f: f.fresh("TIC1.FAST"))
                server.kill()
                await until(made, lambda f: status(f, "TIC1.FAST") == NO_COMMUNICATION)
                await asyncio.sleep(3)
                server.start(before=True)  # the index of the namespace moves
                await until(made, lambda f: f.fresh("TIC1.FAST"), 5.0)
        ours = [r for r in caplog.records if r.name.startswith("jayul") and r.levelno >= logging.WARNING]
        assert ["link lost" in ours[0].message, "connected again" in ours[1].message] == [True, True]
        assert len(ours) <= 3, "once on loss, once on return"

    asyncio.run(drive())


def test_history_comes_in_pages(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Foreign(tmp_path)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS, URI))) as made:
                begun = today()
                await until(made, lambda f: f["TIC1.FAST"] > 30, 10.0)
                at, value, codes = await made.history("TIC1.FAST", begun, today())
                assert len(value) > 10
                assert set(np.diff(value).tolist()) == {1.0}
                assert (at >= begun).all()
                assert not codes.any()
                with pytest.raises(Refused, match=r"no history of 'TIC2\.PV'"):
                    await made.history("TIC2.PV", begun, today())

    asyncio.run(drive())


def certificate(folder: Path, name: str, uri: str) -> tuple[str, str]:
    """Make a self-signed certificate of an OPC UA application and its key; return their paths."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    uses = dict.fromkeys(("key_cert_sign", "crl_sign", "key_agreement", "encipher_only", "decipher_only"), False)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(uuid.uuid4().int >> 2)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(socket.gethostname())]), False)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.KeyUsage(True, True, True, True, **uses), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(certificate), str(private)


@pytest.fixture
def secured(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The keys of a secured link; `server` holds what the server is told."""
    server = certificate(tmp_path, "server", "urn:test:node-opcua")
    own = certificate(tmp_path, "jayul", "urn:test:jayul")
    (tmp_path / "password").write_text("spell-of-the-tank\n")
    return {
        "server": {"certificate": server[0], "key": server[1], "user": "jayul", "password": "spell-of-the-tank"},
        "keys": {
            "certificate": own[0], "private_key": own[1], "server_certificate": server[0], "user": "jayul",
            "password_file": str(tmp_path / "password"),
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "security",
    [
        "Basic256Sha256/Sign",
        "Basic256Sha256/SignAndEncrypt",
        "Aes128Sha256RsaOaep/SignAndEncrypt",
        "Aes256Sha256RsaPss/SignAndEncrypt",
    ],
)
def test_a_secured_link_with_a_user(
    tmp_path: Path, secured: dict[str, Any], security: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def drive() -> None:
        with running(Foreign(tmp_path, **secured["server"])) as server:
            mine = config(server.port, table(tmp_path / "t.csv", TAGS, URI), security=security, write=WRITE, **secured["keys"])
            async with plant(mine) as made:
                await until(made, lambda f: f.fresh("TIC1.FAST"))
                assert (await made.write([verdict("TIC1.SP", 44.0)]))[0].state == "settled"
                assert await made.declared() is None
            assert "spell-of-the-tank" not in caplog.text + repr(mine)

    asyncio.run(drive())


def test_another_certificate_than_the_pinned_one_is_refused(tmp_path: Path, secured: dict[str, Any]) -> None:
    async def drive() -> None:
        other, _ = certificate(tmp_path, "other", "urn:test:node-opcua")
        with running(Foreign(tmp_path, **secured["server"])) as server:
            path = table(tmp_path / "t.csv", TAGS, URI)
            keys = secured["keys"] | {"server_certificate": other, "security": "Basic256Sha256/SignAndEncrypt"}
            async with plant(config(server.port, path, **keys)) as made:
                await until(made, lambda f: "not the one that is pinned" in made.health().trouble, 10.0)
                assert not (await made.read()).fresh("TIC1.FAST")
                with pytest.raises(Unreachable, match="certificate is not the one that is pinned"):
                    await opcua(config(server.port, path, **keys), Wall()).declared()

    asyncio.run(drive())


def test_a_wrong_password_and_an_unsecured_link_are_refused(tmp_path: Path, secured: dict[str, Any]) -> None:
    async def drive() -> None:
        (tmp_path / "wrong").write_text("open sesame")
        with running(Foreign(tmp_path, **secured["server"])) as server:
            path = table(tmp_path / "t.csv", TAGS, URI)
            keys = secured["keys"] | {"password_file": str(tmp_path / "wrong"), "security": "Basic256Sha256/SignAndEncrypt"}
            with pytest.raises(Unreachable, match=r"Bad(UserAccessDenied|IdentityTokenRejected)"):
                await opcua(config(server.port, path, **keys), Wall()).declared()
            with pytest.raises(Unreachable, match="Bad"):
                await opcua(config(server.port, path), Wall()).declared()

    asyncio.run(drive())
