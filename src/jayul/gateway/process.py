"""`jayul-gateway`: the process. It is started by a service manager as its own user, or by a run for itself."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import grp
import inspect
import os
import signal
import socket as sockets
import stat
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec

from jayul import __version__
from jayul.core.clock import Clock, Wall, today
from jayul.gateway import journal
from jayul.gateway.charge import Charge, fold
from jayul.gateway.envelope import Envelope, genuine_change, read, read_change, sign_change, write_change
from jayul.gateway.journal import Chain, Damaged, Entry, Scan, Start
from jayul.gateway.judge import Judge
from jayul.gateway.service import CHANGED, GIVE_UP, Service
from jayul.plant.errors import Refused
from jayul.plant.link import Linked, Simulated
from jayul.plant.table import Table, write_table
from jayul.record.files import OsFiles, write_whole
from jayul.record.sign import Signer

KEY = "gateway"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 found something or failed, 2 wrong input."""
    given = _parser().parse_args(arguments)
    try:
        if given.verify:
            return _verify(given.verify, given.key)
        if given.sign_change:
            return _sign(given)
        if not (given.dir and given.envelope and given.socket):
            raise Refused("give --dir, --envelope and --socket (or --verify DIR, or --sign-change)")
        asyncio.run(_run(given))
    except Refused as error:
        return _fail(error, 2)
    except (Damaged, OSError) as error:
        return _fail(error, 1)
    return 0


def _fail(error: Exception, code: int) -> int:
    print("jayul-gateway: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jayul-gateway", description="The small process that alone may write to the plant.")
    parser.add_argument("--dir", type=Path, help="folder of the gateway's own state: its journal, its public key")
    parser.add_argument("--envelope", type=Path, help="what may be written; pinned at the first start")
    parser.add_argument("--socket", type=Path, help="Unix socket to listen on; its folder must not be writable by everybody")
    parser.add_argument("--allow-uid", type=int, action="append", metavar="N", help="user who may speak (default: our own)")
    parser.add_argument("--group", help="group that may open the socket (mode 0660 instead of 0600)")
    parser.add_argument(
        "--plant-option", action="append", default=[], metavar="K=V", help="further option of the plant: secrets"
    )
    parser.add_argument("--password-file", type=Path, help="the same as --plant-option password_file=PATH")
    text = "end, once all is handed back, when the process that began us (PID, if it could be gone already) is gone;"
    text += " an empty folder of the socket goes with it"
    parser.add_argument("--once", type=int, nargs="?", const=os.getppid(), default=0, metavar="PID", help=text)
    text = f"at the end, seconds that a hand-back is tried for (default: {GIVE_UP:g}); the next start goes on with it"
    parser.add_argument("--patience", type=float, default=GIVE_UP, metavar="S", help=text)
    parser.add_argument("--verify", type=Path, metavar="DIR", help="check the journal of a gateway and end")
    parser.add_argument("--key", help="with --verify: the gateway's public key, kept elsewhere")
    parser.add_argument("--sign-change", action="store_true", help="sign that --envelope may follow --before, as --by, and end")
    parser.add_argument("--before", type=Path, help="with --sign-change: the envelope that is pinned")
    parser.add_argument("--by", help="with --sign-change: your name, as it stands in the pinned envelope")
    return parser


def _verify(folder: Path, key: str | None) -> int:
    public = key or (folder / "keys" / "gateway.pub").read_text().strip()
    scan = Scan(OsFiles(folder / "journal", create=False), public)
    count = sum(1 for _ in scan)
    if not count:
        raise Refused(f"{folder}: there is no gateway's journal here")
    said = f"{count} records, head {scan.seq}:{scan.digest.hex()}, vouched for up to record {scan.vouched}"
    print(said + (f", {scan.torn} bytes of a torn tail" if scan.torn else "") + ("" if key else ", key not pinned"))
    return 0


def _sign(given: argparse.Namespace) -> int:
    if not (given.envelope and given.before and given.by):
        raise Refused("give --sign-change --before FILE --envelope FILE --by NAME")
    before, after = read(given.before), read(given.envelope)
    change = sign_change(before, after, given.by, Signer.open(f"person-{given.by}"), today())
    if not genuine_change(change, before, after):
        raise Refused(
            f"'{given.by}' with this key is not among the people of {given.before}: {', '.join(before.people) or 'none'}"
        )
    write_change(change, given.envelope)
    print(f"signed by {given.by}: {change.before[:12]} -> {change.after[:12]}")
    return 0


async def _run(given: argparse.Namespace) -> None:
    envelope, stop = read(given.envelope), asyncio.Event()
    Judge(envelope)  # what is wrong with its rules shows before anything is opened
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with held_folder(given.dir):
        signer, charge = Signer.open(KEY), Charge(envelope)
        (given.dir / "keys").mkdir(exist_ok=True)
        write_whole(given.dir / "keys" / "gateway.pub", signer.public.encode() + b"\n", mode=0o644)
        files = OsFiles(given.dir / "journal")
        scan = Scan(files, signer.public)
        starts = list[Start]()
        gone = fold(charge, _noting(scan, starts))
        chain = Chain(files, signer, scan)
        try:
            change = pin(envelope, given.envelope, starts, chain)
            for tag in gone:
                chain.append(journal.Released(today(), tag, "envelope"))
            plant, clock = await connect(envelope, _extra(given), given.dir)
        except BaseException:
            chain.close()
            raise
        chain.append(
            Start(__version__, clock.now(), os.getpid(), envelope.digest().hex(), envelope.canonical().decode(), change)
        )
        uids = given.allow_uid or [os.getuid()]
        service = Service(envelope, plant, clock, chain, charge, uids=uids, parent=given.once, patience=given.patience)
        with listening(given.socket, given.group) as socket:
            await service.serve(socket, stop, lambda: print(f"ready {given.socket} {signer.public}", flush=True))
        if given.once and os.getppid() != given.once:  # who made the folder of the socket for us is gone
            with contextlib.suppress(OSError):
                given.socket.parent.rmdir()


def _noting(entries: Iterable[Entry], starts: list[Start]) -> Iterator[Entry]:
    """Pass entries on, and keep the newest Start."""
    for entry in entries:
        if isinstance(entry, Start):
            starts[:] = [entry]
        yield entry


def pin(envelope: Envelope, path: Path, starts: Sequence[Start], chain: Chain) -> str:
    """Hold an envelope against the pinned one; return the signed change (JSON) if it is another. Raises Refused."""
    if not starts or starts[-1].digest == envelope.digest().hex():
        return ""
    change = read_change(path)
    if change is None or not genuine_change(change, msgspec.json.decode(starts[-1].envelope, type=Envelope), envelope):
        chain.append(journal.Refused(today(), "changed-envelope", envelope.digest().hex(), os.getuid(), os.getpid()))
        raise Refused(f"{path}: {CHANGED}")
    return msgspec.json.encode(change).decode()


async def connect(envelope: Envelope, extra: dict[str, Any], folder: Path) -> tuple[Linked, Clock]:
    """Make the plant's writing link and its clock. The tag table is the envelope's. Raises Refused, Unreachable."""
    points = {point.name: point for point in entry_points(group="jayul.plants")}
    if envelope.plant not in points:
        raise Refused(f"envelope: there is no plant '{envelope.plant}'; there are: {', '.join(sorted(points))}")
    make = points[envelope.plant].load()
    of = typing.get_type_hints(make)[next(iter(inspect.signature(make).parameters))]
    known = {field.name for field in msgspec.structs.fields(of)}
    if "write" not in known:
        raise Refused(f"envelope: the plant '{envelope.plant}' needs no gateway: it is not on a wire")
    if clash := [key for key in extra if key in envelope.options and envelope.options[key] != extra[key]]:
        raise Refused(f"'{clash[0]}' stands in the envelope and cannot be given another value")
    watchdog = [envelope.watchdog] if envelope.watchdog else []
    options: dict[str, Any] = {**envelope.options, **extra, "write": [*envelope.written, *envelope.modes, *watchdog]}
    ours = {"tags": str(folder / "tags.csv"), "speed": envelope.speed, "watchdog": envelope.watchdog}
    options |= {key: value for key, value in ours.items() if key in known}
    if "tags" in known:
        write_table(folder / "tags.csv", Table(envelope.tags, envelope.loops))
    try:
        config = msgspec.convert(options, of)
    except msgspec.ValidationError as error:
        raise Refused(f"options of the plant '{envelope.plant}': {error}") from None
    plant: Linked = make(config, Wall())
    try:
        declared = await plant.declared()
        clock = _clock(envelope, declared)
        addresses = {tag.name: tag.address for tag in envelope.tags}
        if {tag.name: tag.address for tag in plant.tags.tags} != addresses:
            raise Refused("the plant has other tags, or at other addresses, than the envelope")
    finally:
        await plant.close()
    return (make(config, clock), clock)


def _clock(envelope: Envelope, declared: Simulated | None) -> Clock:
    """Return the clock of the brain: the peer's if people or time are simulated, else the time of day."""
    ours = envelope.simulated or envelope.speed != 1
    if declared is None and ours:
        raise Refused("the envelope is for a simulated plant, but this one does not declare itself simulated")
    if declared and declared.speed != envelope.speed:
        raise Refused(f"the plant runs at speed {declared.speed:g}, the envelope says {envelope.speed:g}")
    return declared.clock(0) if declared and ours else Wall()


def _extra(given: argparse.Namespace) -> dict[str, Any]:
    extra: dict[str, Any] = {"password_file": str(given.password_file)} if given.password_file else {}
    for text in given.plant_option:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise Refused(f"--plant-option '{text}': write KEY=VALUE")
        try:
            extra[key] = msgspec.json.decode(value)
        except msgspec.MsgspecError:
            extra[key] = value
    return extra


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for one gateway. Raises Refused if another one has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Refused(f"{folder}: another gateway has this folder") from None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def listening(path: Path, group: str | None) -> Iterator[sockets.socket]:
    """Listen on a Unix socket that its owner alone (or one group) may open. Raises Refused."""
    parent = path.absolute().parent
    if not parent.is_dir() or parent.stat().st_mode & stat.S_IWOTH:
        raise Refused(f"{parent}: the folder of the socket must be there, and not writable by everybody")
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise Refused(f"{path}: another gateway listens here")
    path.unlink(missing_ok=True)
    socket = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        socket.bind(str(path))
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
            path.chmod(0o660)
        socket.setblocking(False)
    except (OSError, KeyError) as error:
        socket.close()
        raise Refused(f"{path}: cannot listen here: {error}") from None
    finally:
        os.umask(before)
    try:
        yield socket
    finally:
        socket.close()
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
