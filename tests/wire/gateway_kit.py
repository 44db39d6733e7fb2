"""What the gateway's tests are made of: a plant, a gateway and brains, each a process; and a client that can lie."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import socket as sockets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from jayul.core.clock import Wall, today
from jayul.core.guard import FALLBACK
from jayul.core.loop import Fallback
from jayul.core.types import SECOND, Proposal, Tag, Verdict
from jayul.gateway.envelope import Envelope, write
from jayul.gateway.journal import Entry, Scan
from jayul.plant.link import Simulated
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import TankConfig, tank
from jayul.plant.table import Table, write_table
from jayul.record.files import OsFiles
from jayul.record.sign import Signer

HERE = Path(__file__).parent
SPEED, PERIOD = 60.0, 60 * SECOND  # a period is a second of the wall clock
SHED = 240.0  # s of plant time until the controller sheds


def envelope(url: Path, **changes: Any) -> Envelope:
    """Make the envelope of the tank behind its controller."""
    plc = Plc(tank(TankConfig(), Wall()), Wall(), SECOND)
    tags = tuple(replace(tag, address=tag.name) for tag in plc.tags.tags)
    written = ("TIC1.SP", "LIC1.SP")
    base = Envelope(
        project="tank", run=Signer.open("run").public, plant="plc_plant", options={"url": str(url), "tags": "elsewhere.csv"},
        tags=tags, loops=plc.loops, writers={"p": written, FALLBACK: written}, rules=(),
        fallback={"TIC1.SP": Fallback("ramp", 5.0), "LIC1.SP": Fallback("hold")},
        period=PERIOD, speed=SPEED, watchdog="WATCHDOG", people={"ada": Signer.open("person-ada").public}, simulated=True,
    )  # fmt: skip
    return replace(base, **changes)


class Site:
    """A folder with a plant, and all that is started in it; `close` ends what is still running."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, list[subprocess.Popen]()
        self.plant_at, self.socket, self.dir, self.file = (folder / n for n in ("plant.sock", "gw.sock", "gw", "envelope.json"))
        info = folder / "site" / "plc_plant-0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plc-plant\nVersion: 0\n")
        (info / "entry_points.txt").write_text("[jayul.plants]\nplc_plant = plc_plant:plc_plant\n")
        paths = [str(folder / "site"), str(HERE), str(HERE.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
        self.env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self.envelope = envelope(self.plant_at)
        write(self.envelope, self.file)
        write_table(folder / "tags.csv", Table(self.envelope.tags, self.envelope.loops))

    def start(self, *command: str, ready: bool = True, **options: Any) -> subprocess.Popen:
        """Start a python process; with `ready`, wait until it says so."""
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, **options
        )
        self.running.append(process)
        if ready:
            line = process.stdout.readline()
            assert line.startswith("ready"), f"{line}{process.stderr.read()}"
        return process

    def plant(self, shed: float = SHED) -> subprocess.Popen:
        return self.start(str(HERE / "plc_plant.py"), str(self.plant_at), str(SPEED), str(shed))

    def gateway(self, *more: str, ready: bool = True) -> subprocess.Popen:
        own = ("--dir", str(self.dir), "--envelope", str(self.file), "--socket", str(self.socket))
        return self.start("-m", "jayul.gateway.process", *own, *more, ready=ready)

    def brain(self, target: float = 60.0, key: str = "run") -> subprocess.Popen:
        own = (str(self.file), str(self.folder / "tags.csv"), str(self.socket), key, str(target))
        return self.start(str(HERE / "gated_brain.py"), *own, ready=False)

    def verify(self) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "jayul.gateway.process", "--verify", str(self.dir)]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)

    def ask(self, *message: Any) -> Any:
        """Ask the plant's process."""
        with sockets.socket(sockets.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self.plant_at))
            data = msgspec.msgpack.encode(message)
            link.sendall(len(data).to_bytes(4, "big") + data)
            return msgspec.msgpack.decode(_exactly(link, int.from_bytes(_exactly(link, 4), "big")))

    def look(self) -> tuple[int, dict[str, float], list[list[Any]], int]:
        """Return plant time, values, what was written, and how often the controller shed."""
        return tuple(self.ask("look"))

    def written(self, *tags: str) -> list[tuple[str, float]]:
        """Return what the controller took for these tags (default: all but the watchdog), in order."""
        return [(t, v) for _, t, v, code in self.look()[2] if code == 0 and (t in tags if tags else t != "WATCHDOG")]

    def until(self, what: Any, seconds: float = 20.0) -> Any:
        """Wait until something holds; return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.02)
        raise AssertionError(f"did not come true within {seconds} s: {self.look()}")

    def entries(self, kind: type | None = None) -> list[Entry]:
        """Return the gateway's journal, checked."""
        public = (self.dir / "keys" / "gateway.pub").read_text().strip()
        return [e for e in Scan(OsFiles(self.dir / "journal", create=False), public) if kind is None or isinstance(e, kind)]

    def close(self) -> None:
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def said(brain: subprocess.Popen, seconds: float = 15.0) -> dict[str, Any]:
    """Return the brain's next line."""
    found, _, _ = select.select([brain.stdout], [], [], seconds)
    assert found, "the brain says nothing"
    line = brain.stdout.readline()
    assert line, brain.stderr.read()
    return json.loads(line)


def _exactly(link: sockets.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = link.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Liar:
    """A client that speaks the protocol by hand: it shares no code with Gated and can say anything."""

    def __init__(self, site: Site, key: str = "run") -> None:
        seed = bytes.fromhex((Path(os.environ["JAYUL_KEYS"]) / f"{key}.key").read_text())
        self.site, self.key, self.seq = site, Ed25519PrivateKey.from_private_bytes(seed), 0
        self.clock = Simulated.decode(site.ask("declared")).clock(0)
        self.link = sockets.socket(sockets.AF_UNIX)
        self.link.settimeout(10)
        self.link.connect(str(site.socket))
        self.nonce = b""

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def raw(self, data: bytes) -> None:
        self.link.sendall(data)

    def send(self, *fields: Any) -> None:
        data = msgspec.msgpack.encode(fields)
        self.raw(len(data).to_bytes(4, "little") + data)

    def hear(self) -> list[Any]:
        """Return the next answer: ["answer", seq, code, detail, receipts, head, nonce]."""
        return msgspec.msgpack.decode(_exactly(self.link, int.from_bytes(_exactly(self.link, 4), "little")))

    def closed(self) -> bool:
        try:
            while self.link.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True

    def hello(self, digest: str = "", forge: bool = False) -> str:
        """Begin a session; return the code."""
        run = self.key.public_key().public_bytes_raw().hex()
        self.send("hello", run, digest or self.site.envelope.digest().hex())
        _, _, code, _, _, head, self.nonce = self.hear()
        if code:
            return code
        proof = b"jayul gateway 1" + self.nonce + (b"" if forge else head.encode())
        self.send("proof", self.key.sign(proof))
        return self.hear()[2]

    def message(self, kind: str, values: dict[str, float], **lies: Any) -> list[Any]:
        self.seq += 1
        by = lies.get("by", "p")
        verdicts = [Verdict(Proposal(tag, value, "up", by), value, "") for tag, value in values.items()]
        at = lies.get("at", self.clock.now())
        body = msgspec.msgpack.encode(
            ["said", lies.get("nonce", self.nonce), lies.get("seq", self.seq), at, kind, 1, b"", verdicts]
        )
        signature = bytes(64) if lies.get("forge") else self.key.sign(b"jayul gateway 1 message" + body)
        return ["signed", body, signature]

    def say(self, kind: str, values: dict[str, float] | None = None, **lies: Any) -> str:
        """Say something; return the code of the answer."""
        self.send(*self.message(kind, values or {}, **lies))
        return self.hear()[2]


def tag(site: Site, name: str, **changes: Any) -> tuple[Tag, ...]:
    """Return the envelope's tags with one of them changed."""
    return tuple(replace(t, **changes) if t.name == name else t for t in site.envelope.tags)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


__all__ = ["PERIOD", "SHED", "SPEED", "Liar", "Site", "envelope", "said", "sha", "tag", "today"]
