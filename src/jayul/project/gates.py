"""The gateway of a run: the envelope that it holds us to, and a gateway process of our own where the manifest names none."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from jayul.core.clock import monotonic
from jayul.core.guard import FALLBACK
from jayul.core.types import Decision, Heard, Journal, Outcome, Plant, TagTable
from jayul.gateway.envelope import Envelope, read, write
from jayul.gateway.service import GIVE_UP
from jayul.plant.errors import Refused
from jayul.plant.gated import Gated
from jayul.plant.link import Linked
from jayul.project import kinds
from jayul.project.manifest import Manifest
from jayul.project.problem import N_
from jayul.project.wire import Wired, located
from jayul.record.sign import Signer

FOLDER = "gateway"
READY = 20.0  # s that a gateway of our own may take to begin
OURS = ("gateway", "write", "tags", "client_id")  # keys of [plant] that are the brain's own
CREDENTIALS = ("user", "password_file", "certificate", "private_key", "server_certificate", "ca")


def envelope_of(wired: Wired, folder: Path, public: str) -> Envelope:
    """Return what a gateway holds a run to: tags, who may write them, the portable rules, the way back, who may change it.

    Where the project lies, and who we are to the plant, does not stand in it.
    """
    manifest, plant = wired.manifest, wired.plant
    assert isinstance(plant, Linked)
    options = {key: value for key, value in located(manifest, folder).items() if key not in (*OURS, *CREDENTIALS)}
    return Envelope(
        project=manifest.project.name,
        run=public,
        plant=manifest.plant.kind,
        options=options,
        tags=plant.tags.tags,
        loops=plant.loops,
        writers={seat.name: tuple(sorted(seat.tags)) for seat in wired.line.seats}
        | {FALLBACK: tuple(sorted(wired.line.fallback))},
        rules=tuple((rule.kind, rule.options) for i, rule in enumerate(manifest.rules) if _portable(manifest, i, plant.tags)),
        fallback=dict(wired.line.fallback),
        period=wired.line.period,
        speed=float(options.get("speed", 1.0)),
        simulated=manifest.people.simulated,
        watchdog=str(manifest.plant.options.get("watchdog", "")),
        people={person.name: person.key for person in manifest.people.person if person.key and "engineer" in person.roles},
    )


def _portable(manifest: Manifest, i: int, tags: TagTable) -> bool:
    """Say whether a rule can be judged anew in the gateway: by its kind, and because it looks at tags of the plant alone."""
    path: list[str | int] = ["guard", "rule", i]
    factory = kinds.find(manifest, "rules", manifest.rules[i].kind, path)
    config: Any = manifest.convert(path, manifest.rules[i].options, factory.config)
    return config.portable and all(name in tags.index for name in (*config.tags, *config.reads))


@contextmanager
def gated(wired: Wired, folder: Path, out: Path, signer: Signer) -> Iterator[Plant]:
    """Give the plant through which a run acts: its own link to read, a gateway to write. Without a wire, the plant itself."""
    plant = wired.plant
    if not isinstance(plant, Linked) or not any(seat.tags for seat in wired.line.seats):
        yield plant
        return
    envelope, socket = envelope_of(wired, folder, signer.public), str(located(wired.manifest, folder).get("gateway") or "")
    (out / FOLDER).mkdir(mode=0o700, exist_ok=True)
    path = out / FOLDER / "envelope.json"
    pinned = any(file.stat().st_size for file in (out / FOLDER / "journal").glob("*"))
    if not path.exists() or not (socket or pinned):
        write(envelope, path)
    if socket:
        yield Gated(plant, Path(socket), signer, envelope.digest(), wired.clock)
        return
    if _digest(path) != envelope.digest():
        message = N_("its envelope is not the one that this run began with (tag table, rules, people); use another --out")
        wired.manifest.fail(["plant"], message)
    _let_go(out / FOLDER)
    place = Path(tempfile.mkdtemp(prefix="jayul-"))  # the path of a socket is short
    try:
        with _process(wired.manifest, located(wired.manifest, folder), path, place / "gw"):
            yield Gated(plant, place / "gw", signer, envelope.digest(), wired.clock)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _digest(path: Path) -> bytes:
    """Return the digest of the envelope that lies there; nothing if none can be read."""
    try:
        return read(path).digest()
    except Refused:
        return b""


def _let_go(folder: Path) -> None:
    """Wait until the gateway of an earlier process has handed back and let go of its folder; no longer than it may take."""
    begun = monotonic()
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while monotonic() - begun < GIVE_UP + READY:
            with suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            threading.Event().wait(0.1)
    finally:
        os.close(fd)


@contextmanager
def _process(manifest: Manifest, options: dict[str, Any], envelope: Path, socket: Path) -> Iterator[None]:
    """Run a gateway beside us: in its own session, so that it outlives us for as long as it takes to hand back."""
    folder = envelope.parent
    command = [sys.executable, "-m", "jayul.gateway.process", "--once", str(os.getpid())]
    command += ["--dir", str(folder), "--envelope", str(envelope), "--socket", str(socket)]
    for key in CREDENTIALS:
        if options.get(key):
            command += ["--plant-option", f"{key}={msgspec.json.encode(options[key]).decode()}"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    begun = monotonic()
    while not socket.exists():
        if process.poll() is not None or monotonic() - begun > READY:
            process.kill()
            said = (folder / "log").read_text(errors="replace").strip().splitlines()
            why = said[-1].removeprefix("jayul-gateway: ") if said else "?"
            manifest.fail(["plant"], N_("its gateway does not start: {error}"), error=why)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(READY + GIVE_UP)  # it hands back, and is given the time for it
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Told:
    """A journal that tells the gateway's side to which Decision the next write belongs, and when a person takes all loops back."""

    def __init__(self, journal: Journal, plant: Gated) -> None:
        self._journal, self._plant, self._back = journal, plant, False

    def append(self, record: Decision | Outcome) -> None:
        """Keep a record; once a Decision is kept, its writes may be named after it. A hand-back follows what it still wrote."""
        self._journal.append(record)
        if isinstance(record, Decision):
            self._plant.decided(record.tick, record.frame)
            self._back = any(handed_back(heard) for heard in record.events)
        elif self._back:
            self._plant.hand_back()


def handed_back(heard: Heard) -> bool:
    """Say whether a person took all loops back by this event: more than a demotion, after which a loop may stay in remote."""
    return heard.event.kind == "demotion" and heard.event.body.get("hand_back") is True and not heard.refused


def link_of(plant: Plant) -> dict[str, Any] | None:
    """Return how the link of a run fared, with the newest chain head of its gateway; None for a plant that is not on a wire."""
    if not isinstance(plant, Linked):
        return None
    gate = plant if isinstance(plant, Gated) else None
    own = {"gateway_head": gate.gateway_head, "gateway_refused": gate.refused} if gate else {}
    return {**msgspec.structs.asdict(plant.health()), **own}
