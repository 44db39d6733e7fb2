"""What was broken once and is mended: spans and years, manifests with a mark, help, names, junk on the wire, 32-bit values."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socketserver
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from jayul.app import texts
from jayul.app.cli import main
from jayul.conform.breakage import write_project
from jayul.core import ladder
from jayul.core.clock import Sim
from jayul.core.expr import ExprError, duration
from jayul.core.ladder import Offer, Rung
from jayul.core.types import BAD, SECOND, Frame, Level, MovePlan, Proposal, Receipt, Tag, TagTable, Verdict, same
from jayul.plant.errors import Unreachable
from jayul.plant.remote import RemoteConfig, remote
from jayul.plant.sim.tank import Tank, TankConfig, tank
from jayul.project import look
from jayul.project import run as running
from jayul.project.manifest import NAME, load
from jayul.project.schema import manifest_schema
from jayul.project.wire import wire
from jayul.record.files import OsFiles
from jayul.testing import START, make_frame

DAY = 86_400 * SECOND


def ended(*arguments: object) -> Any:
    """Run a command; return its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    yield
    texts.setup("en")


# spans, years and seeds


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0.000001 ms", 1), ("0.0000014 ms", 1), ("0.0000016 ms", 2), ("1 ms", 1_000_000), ("34722 d", 34_722 * DAY),
        ("0.0000009 ms", None), ("0.0000001 ms", None), ("0.00 s", None), ("34723 d", None), ("999999999 h", None),
        ("9" * 400 + " d", None),
    ],
)  # fmt: skip
def test_a_span_lies_between_a_nanosecond_and_a_century(text: str, ns: int | None):
    if ns is None:
        with pytest.raises(ExprError, match="duration"):
            duration(text)
    else:
        assert duration(text) == ns


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00", 0),
        ("2200-12-31T23:59:59.999999Z", (dt.date(2201, 1, 1) - dt.date(1970, 1, 1)).days * DAY - 1000),
    ],
)
def test_the_first_and_the_last_year_can_be_run(start: str, first: int, tmp_path: Path):
    project = write_project(tmp_path / "p", "x", {'duration = "24 h"': f'duration = "24 h"\nstart = {start}'})
    assert running.execute(project, tmp_path / "out", running.Options(ticks=3)).summary.ticks == 3
    ticks = running.ticks_of(OsFiles(tmp_path / "out" / "journal", create=False))
    assert [tick.decision.at for tick in ticks] == [first + i * 30 * SECOND for i in range(3)]
    assert look.replay(tmp_path / "out", full=True).differing == 0
    assert running.execute(project, tmp_path / "out", running.Options(ticks=5)).began == "resumed"


def test_the_largest_seed_is_kept_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project = write_project(tmp_path / "p", "x", {})
    assert ended("run", project, "--out", tmp_path / "out", "--seed", 2**62, "--ticks", 2) == 0
    assert look.status(tmp_path / "out").header.seed == 2**62
    assert ended("run", project, "--out", tmp_path / "out", "--seed", 2**62, "--ticks", 3) == 0
    assert ended("replay", tmp_path / "out", "--full") == 0
    assert not capsys.readouterr().err


def test_the_header_holds_the_start_that_a_replay_counts_from(small_project: Path):
    wired = wire(load(small_project), small_project, 0)
    assert wired.header.start == wired.clock.now() == START


# files and folders


def test_a_manifest_may_begin_with_a_byte_order_mark(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project = write_project(tmp_path / "p", "x", {})
    text = (project / NAME).read_bytes()
    (project / NAME).write_bytes(b"\xef\xbb\xbf" + text)
    assert ended("check", project) == 0
    assert load(project).canonical == load(write_project(tmp_path / "q", "x", {})).canonical
    (project / NAME).write_bytes(b"\xef\xbb\xbf" + b"[projects]\n" + text)
    assert ended("check", project) == 2
    assert f"{NAME}:1: projects: " in capsys.readouterr().err


@pytest.mark.parametrize("language", ["en", "ko"])
def test_jayul_alone_prints_its_help(language: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("JAYUL_LANG", language)
    assert ended() == 0
    alone = capsys.readouterr()
    assert ended("--help") == 0
    asked = capsys.readouterr()
    assert (alone.out, alone.err) == (asked.out, "")
    for command in ("init", "check", "run", "status", "replay", "verify", "sign", "demo"):
        assert f"  {command} " in alone.out


NAMES = [
    "a\nb",
    "a\rb",
    "a\tb",
    "\x01",
    "a\x1f",
    "a\x7fb",
    "a\x85b",
    "a\u2028b",
    'a"b',
    "a\\b",
    "a'b",
    '"""',
    "{name}",
    "라인 1",
]


@pytest.mark.parametrize("name", NAMES)
def test_init_writes_sound_toml_into_a_folder_of_any_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert ended("init", "tank", tmp_path / name) == 0
    written = tomllib.loads((tmp_path / name / NAME).read_text(encoding="utf-8"))["project"]["name"]
    assert len(written) == len(name)
    assert all(a in (b, "-") for a, b in zip(written, name, strict=True))
    assert ended("check", tmp_path / name) == 0
    assert not capsys.readouterr().err


def test_the_schema_still_says_what_a_fallback_holds():
    schema = manifest_schema()
    assert schema["properties"]["fallback"]["additionalProperties"] == {"$ref": "#/$defs/FallbackEntry"}
    assert set(schema["$defs"]["FallbackEntry"]["properties"]) == {"action", "per_hour"}


# values that a plant keeps as 32-bit floats


@pytest.mark.parametrize("target", [53.3, -53.3, 1e-3, 12345.678, 0.1])
@pytest.mark.parametrize(("off", "closed"), [(0.0, "done"), (1e-4, "")])
def test_a_plan_is_done_when_its_target_stands_as_a_32_bit_float(target: float, off: float, closed: str):
    table = TagTable([Tag(name="SP"), Tag(name="LV")])
    kept = float(np.float32(target))
    assert kept != target
    assert same(kept, target)
    plan = MovePlan("", "p", {"SP": target, "LV": 1.0}, {"SP": 1.0, "LV": 1.0}, "w", START, START + DAY).sealed()
    rung = Rung(Level.CONFIRM, offer=Offer(plan, 0, approved_by="kim"))
    after, reason = ladder.watch(rung, make_frame(table, {"SP": kept * (1 + off), "LV": 1.0}))
    assert after.offer is not None
    assert (after.offer.closed, reason) == (closed, "")


# junk on the wire

Answer = Callable[[str, list[Any]], bytes | None]


def pack(message: Any) -> bytes:
    return framed(msgspec.msgpack.encode(message))


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


@contextlib.contextmanager
def served(path: Path, answer: Answer) -> Iterator[None]:
    """Answer on a Unix socket with whatever bytes come back; None hangs up, and so does less than its length says."""

    class Talk(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                while len(head := self.rfile.read(4)) == 4:
                    kind, *rest = msgspec.msgpack.decode(self.rfile.read(int.from_bytes(head, "little")))
                    if (data := answer(kind, rest)) is None:
                        return
                    self.wfile.write(data)
                    if len(data) < 4 + int.from_bytes(data[:4], "little"):
                        return

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Talk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


TAGS = [Tag(name="A"), Tag(name="B")]


def columns(n: int = 2) -> list[bytes]:
    now = np.full(n, START).tobytes()
    return [np.zeros(n).tobytes(), now, now, np.zeros(n, np.uint32).tobytes()]


DEEP = framed(b"\x91" * 5000 + b"\xc0")
NO_TAGS: list[Any] = [
    framed(b""), framed(b"\xc1"), pack(3), pack(None), pack(["A"]), pack([{"name": 3}]), pack([{"nam": "A"}]), pack([TAGS[0]] * 2),
    framed(b"\x91\x81\xa4name\xa1\xff"), framed(msgspec.msgpack.encode(TAGS) + b"x"), DEEP, pack([{"name": "A", "stale_after": float("nan")}]),
    pack([{"name": "A", "stale_after": float("inf")}]),
    pack([{"name": "A", "stale_after": 1e10}]),
]  # fmt: skip


@pytest.mark.parametrize("junk", NO_TAGS, ids=range(len(NO_TAGS)))
def test_what_does_not_name_its_tags_is_no_plant(junk: bytes, tmp_path: Path):
    with served(tmp_path / "s", lambda kind, rest: junk), pytest.raises(Unreachable, match="is not a plant"):
        remote(RemoteConfig(str(tmp_path / "s")), Sim(START))


async def asked(path: Path) -> tuple[Frame, list[Receipt], Frame]:
    """Read, write and read again, as a tick does; the digest is what a decision keeps."""
    plant = remote(RemoteConfig(str(path)), Sim(START))
    wishes = [Verdict(Proposal(tag, 1.0, "w", "p"), allowed, "") for tag, allowed in (("A", 1.0), ("B", None))]
    try:
        first, receipts, second = await plant.read(), list(await plant.write(wishes)), await plant.read()
    finally:
        await plant.close()
    for frame in (first, second):
        frame.digest()
        frame.fresh("A")
    return first, receipts, second


NO_FRAMES: list[Any] = [
    framed(b""), framed(b"\xc1"), framed(b"\xc7\x01\x05a"), pack(3), pack(None), pack("x"), pack([]), pack([START]), pack([START, 3]),
    pack([1.5, columns()]), pack(["x", columns()]), pack([START, columns()[:3]]), pack([START, columns(3)]), pack([START, columns(0)]),
    pack([START, [b"abc"] * 4]), pack([START, ["x"] * 4]), framed(msgspec.msgpack.encode([START, columns()]) + b"x"), None,
    (99).to_bytes(4, "little") + b"half",
    framed(b"\xa1\xff"), DEEP,
    pack([2**63, columns()]), pack([2**64 - 1, columns()]),
]  # fmt: skip


@pytest.mark.parametrize("junk", NO_FRAMES, ids=range(len(NO_FRAMES)))
def test_junk_for_a_frame_is_bad_readings_and_the_next_frame_is_good(junk: bytes | None, tmp_path: Path):
    answers = iter([junk])
    good = {"tags": pack(TAGS), "read": pack([START, columns()]), "write": pack([Receipt("A", 1.0, 1.0, START, "settled")])}
    with served(tmp_path / "s", lambda kind, rest: next(answers, good[kind]) if kind == "read" else good[kind]):
        first, receipts, second = asyncio.run(asked(tmp_path / "s"))
    assert (first.at, first.table.names, first.status.tolist()) == (START, ("A", "B"), [BAD] * 2)
    assert np.isnan(first.value).all()
    assert not first.fresh("A")
    assert second.fresh("A")
    assert [receipt.state for receipt in receipts] == ["settled"]


NO_RECEIPTS: list[Any] = [
    framed(b""), framed(b"\xc1"), pack(3), pack(None), pack({"A": 1.0}), pack(["A"]), pack([["A", 1.0]]), None,
    pack([["A", 1.0, 1.0, START, "fine"]]), pack([["A", "x", 1.0, START, "settled"]]), pack([["A", 1.0, 1.0, 1.5, "settled"]]),
    framed(msgspec.msgpack.encode([]) + b"x"), (99).to_bytes(4, "little") + b"half",
    framed(b"\xa1\xff"), DEEP,
]  # fmt: skip


@pytest.mark.parametrize("junk", NO_RECEIPTS, ids=range(len(NO_RECEIPTS)))
def test_junk_for_receipts_is_an_unknown_outcome(junk: bytes | None, tmp_path: Path):
    good = {"tags": pack(TAGS), "read": pack([START, columns()]), "write": junk}
    with served(tmp_path / "s", lambda kind, rest: good[kind]):
        first, receipts, second = asyncio.run(asked(tmp_path / "s"))
    assert [(r.tag, r.allowed, r.applied, r.state) for r in receipts] == [("A", 1.0, None, "unknown")]
    assert first.fresh("A")
    assert second.fresh("A")


class Junky:
    """A tank on the wire whose answers `spoil` may replace."""

    def __init__(self, spoil: Callable[[str, int, Any], bytes | None]) -> None:
        self.clock, self.spoil, self.count = Sim(START), spoil, {"tags": 0, "read": 0, "write": 0}
        self.tank: Tank = tank(TankConfig(), self.clock)

    def __call__(self, kind: str, rest: list[Any]) -> bytes | None:
        asyncio.run(self.clock.until(rest[0] if rest else 0))
        if kind == "tags":
            return pack(self.tank.tags.tags)
        if kind == "read":
            frame = asyncio.run(self.tank.read())
            answer: Any = (frame.at, frame.columns())
        else:
            answer = asyncio.run(self.tank.write(msgspec.convert(rest[1], list[Verdict])))
        self.count[kind] += kind == "read" or bool(rest[1])
        return self.spoil(kind, self.count[kind], answer) or pack(answer)


def junk_at(what: str, number: int, make: Callable[[Any], bytes]) -> Callable[[str, int, Any], bytes | None]:
    return lambda kind, count, answer: make(answer) if (kind, count) == (what, number) else None


THROUGH: list[Any] = [
    (junk_at("read", 25, lambda a: pack(3)), "plan-aborted"),
    (junk_at("read", 25, lambda a: pack([a[0], a[1][:3]])), "plan-aborted"),
    (junk_at("write", 3, lambda a: pack("thanks")), "outcome-unknown"),
    (junk_at("write", 3, lambda a: pack([])), "outcome-unknown"),
    (junk_at("write", 3, lambda a: pack([["X", 1.0, 1.0, START, "settled"]])), "outcome-unknown"),
    (junk_at("write", 3, lambda a: pack([*a, ["LIC1.SP", 50.0, 50.0, START, "settled"]])), "outcome-unknown"),
]


@pytest.mark.parametrize(("spoil", "reason"), THROUGH, ids=range(len(THROUGH)))
def test_junk_demotes_and_the_run_goes_on_to_its_end(spoil: Any, reason: str, tmp_path: Path):
    changes = {
        'duration = "24 h"': 'duration = "20 min"', "ticks = 60": "ticks = 5", "proposals = 10": "proposals = 3",
        'begin = "3 h"': 'begin = "1 ms"', "pairs = 5": 'arms = ["on"]', 'commit = "group"': 'commit = "tick"',
        'kind = "tank"\neffect = 0.05  ': f'kind = "remote"\nsocket = "{tmp_path / "s"}"  ',
    }  # fmt: skip
    project, out, plant = write_project(tmp_path / "p", "junk", changes), tmp_path / "out", Junky(spoil)
    with served(tmp_path / "s", plant):
        summary = running.execute(project, out, running.Options()).summary
    assert (summary.complete, summary.ticks, plant.count["read"]) == (True, 40, 40)
    assert plant.count["write"] >= 3
    assert [step.reason for step in summary.levels if step.reason != "signed"] == [reason]
    assert look.replay(out, full=True).differing == 0
    assert look.check(out, (), None).ok
