"""The gateway as a process between a brain and a plant: what it lets through, what it refuses, and when it hands back."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import plc_plant
import pytest
from gateway_kit import PERIOD, Liar, Site, said, tag
from msgspec.structs import replace

from jayul.core.clock import Wall
from jayul.core.types import SECOND, Proposal, Verdict
from jayul.gateway import envelope as envelopes
from jayul.gateway.journal import Damaged, Ended, Handback, Judged, Refused, Released, Session, Start, Stop, Wrote
from jayul.plant.gated import Gated
from jayul.plant.link import LinkConfig, Linked
from jayul.record.sign import Signer

MODES = [("TIC1.MODE", 1.0)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def working(site: Site) -> Site:
    """A plant and a gateway that run."""
    site.plant()
    site.gateway()
    return site


def refused(site: Site) -> list[str]:
    return [entry.code for entry in site.entries(Refused)]


def test_a_brain_moves_the_plant_through_the_gateway_and_bye_hands_back(working: Site):
    with Liar(working) as brain:
        assert working.written() == [], "silent until a brain has said hello"
        assert brain.hello() == ""
        assert brain.say("beat") == ""
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        assert working.look()[1]["TIC1.SP"] == 56.0
        brain.send(*brain.message("bye", {}))
        assert brain.closed()
    working.until(lambda: working.look()[1]["TIC1.MODE"] == 1.0)
    assert working.written() == [("TIC1.SP", 56.0), ("TIC1.SP", 55.0), *MODES]
    judged, back = working.entries(Judged)[0], working.entries(Handback)[-1]
    assert (judged.code, judged.own[0].allowed, judged.origin) == ("", 56.0, {"TIC1.SP": 55.0})
    assert (back.reason, back.done, back.values) == ("bye", True, {"TIC1.SP": 55.0, "TIC1.MODE": 1.0})
    kinds = [type(entry) for entry in working.entries()]
    assert kinds == [Start, Session, Judged, Wrote, Ended, Handback]
    assert working.verify().returncode == 0


def test_the_brains_side_writes_and_its_watchdog_is_counted_up(working: Site):
    brain = working.brain(58.0)
    lines = [said(brain) for _ in range(6)]
    assert lines[-1]["sp"] == 58.0, lines
    assert lines[0]["receipts"] == [["TIC1.SP", 56.0, "settled"]]
    assert not lines[-1]["trouble"]
    assert lines[-1]["head"].partition(":")[0].isdigit()
    working.until(lambda: len(working.written("WATCHDOG")) >= 3)
    counts = [value for _, value in working.written("WATCHDOG")]
    assert counts == [float(i + 1) for i in range(len(counts))]
    at = [at for at, name, _, _ in working.look()[2] if name == "WATCHDOG"]
    assert min(b - a for a, b in itertools.pairwise(at)) > PERIOD // 2, "once per period"


WRONG = [
    ({"TIC1.SP": 57.5}, {}, "step"),
    ({"TIC1.SP": float("nan")}, {}, "not-a-number"),
    ({"TIC1.SP": float("inf")}, {}, "not-a-number"),
    ({"TIC1.PV": 56.0}, {}, "allow-list"),
    ({"ESD1.RESET": 1.0}, {}, "allow-list"),
    ({"TIC1.MODE": 0.0}, {}, "allow-list"),
    ({"WATCHDOG": 1.0}, {}, "allow-list"),
    ({"NONE": 1.0}, {}, "unknown-tag"),
    ({"TIC1.SP": 56.0}, {"by": "somebody"}, "allow-list"),
    ({"LIC1.SP": 51.0, "TIC1.SP": 99.0}, {}, "step"),
    ({"TIC1.SP": 56.0}, {"forge": True}, "forged"),
    ({"TIC1.SP": 56.0}, {"seq": 0}, "replayed"),
    ({"TIC1.SP": 56.0}, {"nonce": bytes(32)}, "replayed"),
    ({"TIC1.SP": 56.0}, {"at": 0}, "out-of-date"),
    ({"TIC1.SP": 56.0}, {"at": 1 << 62}, "out-of-date"),
]


def test_what_is_wrong_is_refused_and_nothing_is_written(working: Site):
    for values, lies, code in WRONG:
        with Liar(working) as brain:
            assert brain.hello() == ""
            assert brain.say("write", values, **lies) == code, (values, lies)
            assert working.written() == [], (values, lies)
        time.sleep(1.02 if code not in ("forged", "replayed", "out-of-date") else 0.05)  # one write a period
        working.until(lambda: len(working.entries(Ended)) == len(working.entries(Session)))
    with Liar(working) as brain:
        assert brain.hello() == ""
        message = brain.message("write", {"TIC1.SP": 56.0})
        brain.send(*message)
        assert brain.hear()[2] == ""
        brain.send(*message)
        assert brain.hear()[2] == "replayed"
        assert brain.say("write", {"TIC1.SP": 57.0}) == "too-often"
    assert working.written("TIC1.SP")[0] == ("TIC1.SP", 56.0)
    working.until(lambda: {"forged", "replayed", "out-of-date", "too-often"} <= set(refused(working)))
    assert {entry.code for entry in working.entries(Judged)} >= {"step", "allow-list", "unknown-tag", "not-a-number", ""}


def test_writes_come_once_a_period_whatever_is_asked(working: Site):
    with Liar(working) as brain:
        brain.hello()
        end = time.monotonic() + 4.5
        codes = []
        while time.monotonic() < end:
            codes.append(brain.say("write", {"TIC1.SP": 55.0 + len(codes) % 2 / 2}))
            time.sleep(0.1)
    assert set(codes) == {"", "too-often"}
    assert 4 <= codes.count("") <= 6, "4.5 periods, and half a period of play"


def test_a_message_recorded_in_another_session_is_worth_nothing(working: Site):
    with Liar(working) as brain:
        brain.hello()
        old = brain.message("write", {"TIC1.SP": 56.0})
    working.until(lambda: working.entries(Ended))
    with Liar(working) as brain:
        brain.hello()
        brain.send(*old)
        assert brain.hear()[2] == "replayed"
    assert working.written() == []


def test_after_a_forged_message_the_loops_are_handed_back(working: Site):
    with Liar(working) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        assert brain.say("beat", forge=True) == "forged"
        assert brain.closed()
    working.until(lambda: working.look()[1]["TIC1.MODE"] == 1.0)
    assert working.written() == [("TIC1.SP", 56.0), ("TIC1.SP", 55.0), *MODES]
    assert working.entries(Handback)[-1].reason == "forged"


def test_who_may_not_speak_is_told_so(working: Site):
    Signer.open("stranger")
    with Liar(working, "stranger") as brain:
        assert brain.hello() == "unknown-signer"
        assert brain.closed()
    with Liar(working) as brain:
        assert brain.hello(digest="00" * 32) == "changed-envelope"
    with Liar(working) as brain:
        assert brain.hello(forge=True) == "forged"
    for junk, code in ((b"GET / HTTP/1.0\r\n\r\n", "too-large"), (b"\x05\x00\x00\x00hello", "garbage"),
                       ((1 << 24).to_bytes(4, "little"), "too-large"), (b"\x01\x00\x00\x00\xc1", "garbage")):  # fmt: skip
        with Liar(working) as brain:
            brain.raw(junk)
            assert brain.hear()[2] == code, junk
            assert brain.closed()
    with Liar(working) as first:
        assert first.hello() == ""
        with Liar(working) as second:
            assert second.hello() == "busy"
        assert first.say("beat") == "", "the first one goes on"
        first.raw((1 << 30).to_bytes(4, "little"))
        assert first.hear()[2] == "too-large"
        assert first.closed()
    wanted = {"unknown-signer", "changed-envelope", "forged", "too-large", "garbage", "busy"}
    working.until(lambda: wanted <= set(refused(working)))
    assert working.written() == []


CONNECT = """
import os, socket, sys
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
    print(s.recv(1000)[4:])
except PermissionError:
    print("no")
"""


def test_another_user_is_refused_by_the_socket_and_by_the_gateway(site: Site):
    if os.getuid() != 0:
        pytest.skip("only root can try it as another user")
    site.plant()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        site.socket = Path(folder) / "gw"
        site.gateway()
        assert site.socket.stat().st_mode & 0o777 == 0o600
        command = [sys.executable, "-c", CONNECT, str(site.socket)]
        assert subprocess.run(command, capture_output=True, text=True, timeout=30).stdout == "no\n"
        site.socket.chmod(0o666)  # as if somebody had opened it
        assert "uid" in subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
        site.until(lambda: [entry.uid for entry in site.entries(Refused)] == [12345])


def test_a_user_who_is_not_named_is_refused_and_one_who_is_may_speak(site: Site):
    site.plant()
    gateway = site.gateway("--allow-uid", "12345")
    with Liar(site) as brain:
        assert brain.hear()[2] == "uid"
        assert brain.closed()
    gateway.terminate()
    gateway.wait(15)
    site.gateway("--allow-uid", "12345", "--allow-uid", str(os.getuid()))
    with Liar(site) as brain:
        assert brain.hello() == ""


def test_the_envelope_counts_and_not_what_the_brain_was_told(site: Site):
    """The brain's manifest says 70, the envelope 56."""
    site.envelope = replace(site.envelope, tags=tag(site, "TIC1.SP", high=56.0))
    envelopes.write(site.envelope, site.file)
    site.plant()
    site.gateway()
    brain = site.brain(58.0)
    lines = [said(brain) for _ in range(4)]
    assert [line["receipts"][0][2] for line in lines[:3]] == ["settled", "rejected", "rejected"]
    assert "range" in lines[1]["trouble"]
    assert max(value for _, value in site.written("TIC1.SP")) == 56.0


def test_a_loop_that_is_not_in_remote_is_left_alone(working: Site):
    working.ask("panel", "TIC1.MODE", 1)
    with Liar(working) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == "mode"
    assert working.written() == []


def test_half_spaces_are_held_together(site: Site):
    rule = ("halfspace", {"weights": {"TIC1.SP": 1.0, "LIC1.SP": 1.0}, "most": 106.5})
    site.envelope = replace(site.envelope, rules=(rule,))
    envelopes.write(site.envelope, site.file)
    site.plant()
    site.gateway()
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0, "LIC1.SP": 51.0}) == "halfspace"
        time.sleep(0.55)  # half a period of play
        assert brain.say("write", {"TIC1.SP": 55.5, "LIC1.SP": 51.0}) == ""
    assert set(site.written("TIC1.SP", "LIC1.SP")) >= {("TIC1.SP", 55.5), ("LIC1.SP", 51.0)}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_brain_that_falls_silent_is_handed_back_within_two_periods(working: Site, how: signal.Signals):
    brain = working.brain(57.0)
    while said(brain)["sp"] < 57.0:
        pass
    at = working.look()[0]
    brain.send_signal(how)
    working.until(lambda: working.look()[1]["TIC1.MODE"] == 1.0)
    _, values, log, shed = working.look()
    back = [(when, name, value) for when, name, value, code in log if when > at and code == 0 and name != "WATCHDOG"]
    assert [(name, value) for _, name, value in back] == [("TIC1.SP", 55.0), *MODES]
    assert back[-1][0] - at <= 2 * PERIOD, f"{(back[-1][0] - at) / SECOND} s"
    assert (values["TIC1.SP"], shed) == (55.0, 0)
    assert working.entries(Handback)[-1].reason == ("closed" if how == signal.SIGKILL else "silent")
    count = len(working.written("WATCHDOG"))
    time.sleep(1.5)
    assert len(working.written("WATCHDOG")) == count, "nobody is in charge"


def test_a_brain_that_comes_back_is_heard_but_the_mode_is_the_operators(working: Site):
    brain = working.brain(60.0)
    said(brain)
    brain.send_signal(signal.SIGSTOP)
    working.until(lambda: working.look()[1]["TIC1.MODE"] == 1.0)
    before = len(working.written("TIC1.SP"))
    brain.send_signal(signal.SIGCONT)
    working.until(lambda: len(working.entries(Session)) == 2)
    working.until(lambda: any(entry.code == "mode" for entry in working.entries(Judged)))
    assert len(working.written("TIC1.SP")) == before
    working.ask("panel", "TIC1.MODE", 2)
    working.until(lambda: len(working.written("TIC1.SP")) > before)


def test_hold_leaves_the_value_and_what_another_hand_moved_is_not_touched(working: Site):
    with Liar(working) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0, "LIC1.SP": 51.0}) == ""
        working.ask("panel", "TIC1.SP", 59.0)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert brain.say("beat") == ""
            time.sleep(0.3)
        assert [(entry.tag, entry.reason) for entry in working.entries(Released)] == [("TIC1.SP", "override")]
    working.until(lambda: working.look()[1]["TIC1.MODE"] == 1.0)
    values = working.look()[1]
    assert (values["TIC1.SP"], values["LIC1.SP"]) == (59.0, 51.0)
    assert working.entries(Handback)[-1].tags == ("LIC1.SP",)


def test_what_would_leave_the_envelope_is_not_written_back(site: Site):
    """TIC1.SP came down from 55; since then the operator has raised LIC1.SP, and 55 beside it is too much."""
    rule = ("halfspace", {"weights": {"TIC1.SP": 1.0, "LIC1.SP": 1.0}, "most": 105.5})
    site.envelope = replace(site.envelope, rules=(rule,))
    envelopes.write(site.envelope, site.file)
    site.plant()
    site.gateway()
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 54.0}) == ""
        site.ask("panel", "LIC1.SP", 51.5)
    site.until(lambda: site.look()[1]["TIC1.MODE"] == 1.0)
    assert site.look()[1]["TIC1.SP"] == 54.0
    assert "halfspace" in site.entries(Handback)[-1].left


def test_a_gateway_that_is_stopped_hands_back_and_goes(site: Site):
    site.plant()
    gateway = site.gateway()
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(15) == 0, gateway.stderr.read()
    assert site.written() == [("TIC1.SP", 56.0), ("TIC1.SP", 55.0), *MODES]
    assert [type(entry) for entry in site.entries()][-3:] == [Ended, Handback, Stop]
    assert "vouched for up to record 6" in site.verify().stdout


def test_a_gateway_that_is_killed_leaves_it_to_the_controller(site: Site):
    site.plant()
    gateway = site.gateway()
    brain = site.brain(57.0)
    while said(brain)["sp"] < 57.0:
        pass
    gateway.kill()
    site.until(lambda: site.look()[3] == 1)
    assert site.look()[1]["TIC1.SP"] == 55.0
    assert site.look()[1]["TIC1.MODE"] == 1.0
    line = said(brain)
    while line["sp"] != 55.0:
        line = said(brain)
    assert "gateway" in line["trouble"], "reading goes on"
    gateway = site.gateway()
    site.until(lambda: site.entries(Handback))
    assert site.entries(Handback)[-1].reason == "restart"
    assert ("TIC1.SP", "mode") in [(entry.tag, entry.reason) for entry in site.entries(Released)]


def test_a_restarted_gateway_hands_back_what_the_one_before_it_held(site: Site):
    site.plant(shed=36_000.0)
    gateway = site.gateway()
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        gateway.kill()
        gateway.wait()
    site.gateway()
    site.until(lambda: site.look()[1]["TIC1.MODE"] == 1.0)
    assert site.written() == [("TIC1.SP", 56.0), ("TIC1.SP", 55.0), *MODES]


def test_it_goes_on_handing_back_until_the_plant_is_there(working: Site):
    with Liar(working) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        working.ask("deaf", True)
    working.until(lambda: working.entries(Handback))
    assert not working.entries(Handback)[0].done
    with Liar(working) as brain:
        assert brain.hello() == "handing-back"
    working.ask("deaf", False)
    working.until(lambda: working.look()[1]["TIC1.MODE"] == 1.0)
    working.until(lambda: working.entries(Handback)[-1].done)
    assert working.look()[1]["TIC1.SP"] == 55.0


def test_a_changed_envelope_needs_a_signature(site: Site):
    site.plant()
    gateway = site.gateway()
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(15) == 0
    before = site.envelope
    site.envelope = replace(before, tags=tag(site, "TIC1.SP", high=70.0))
    (site.folder / "before.json").write_bytes(site.file.read_bytes())
    envelopes.write(site.envelope, site.file)
    for change in (
        None,
        envelopes.sign_change(before, site.envelope, "ada", Signer.open("stranger"), 1),
        envelopes.sign_change(before, site.envelope, "bob", Signer.open("person-ada"), 1),
        envelopes.sign_change(before, before, "ada", Signer.open("person-ada"), 1),
    ):
        if change:
            envelopes.write_change(change, site.file)
        gateway = site.gateway(ready=False)
        assert gateway.wait(30) == 2
        assert "the envelope was changed" in (text := gateway.stderr.read())
        assert len(text.splitlines()) == 1
    sign = [sys.executable, "-m", "jayul.gateway.process", "--sign-change", "--before", str(site.folder / "before.json")]
    for who, code in (("eve", 2), ("ada", 0)):
        done = subprocess.run(
            [*sign, "--envelope", str(site.file), "--by", who], env=site.env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == code, done.stderr
    site.gateway()
    with Liar(site) as brain:
        assert brain.hello(before.digest().hex()) == "changed-envelope"
    starts = site.entries(Start)
    assert [entry.digest for entry in starts] == [before.digest().hex(), site.envelope.digest().hex()]
    assert '"ada"' in starts[-1].change
    assert refused(site).count("changed-envelope") >= 4


def test_a_full_disk_ends_it_and_nothing_is_written_that_was_not_recorded(site: Site):
    site.plant()
    gateway = site.gateway()
    size = (site.dir / "journal" / "000001.jnl").stat().st_size
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (size + 1500, resource.RLIM_INFINITY))
    with Liar(site) as brain:
        brain.hello()
        for k in range(20):
            try:
                assert brain.say("write", {"TIC1.SP": 55.0 + (k + 1) % 2}) == ""
            except (EOFError, OSError, AssertionError):
                break
            time.sleep(1.02)
        else:
            raise AssertionError("the limit was never met")
    assert gateway.wait(20) == 1
    assert "journal cannot be written" in gateway.stderr.read()
    moves = site.written("TIC1.SP")
    asked = [entry.own[0].allowed for entry in site.entries(Judged)]
    assert [value for _, value in moves][: len(asked)] == asked, "each write was on record before"
    assert [value for _, value in moves][len(asked) :] in ([], [55.0]), "and then nothing but the way back"
    assert (site.look()[1]["TIC1.SP"], site.look()[1]["TIC1.MODE"]) == (55.0, 1.0)


def test_the_journal_is_checked_and_tampering_is_found(site: Site):
    site.plant()
    gateway = site.gateway()
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
    site.until(lambda: site.entries(Handback))
    gateway.kill()
    gateway.wait()
    path = site.dir / "journal" / "000001.jnl"
    data = path.read_bytes()
    count = len(site.entries())
    for place in range(7, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(Damaged):
            site.entries()
    found = site.verify()
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    (site.dir / "journal" / "heads").unlink()  # a torn tail lies beyond the last signed head
    path.write_bytes(data[:-3])
    found = site.verify()
    assert found.returncode == 0
    assert "torn tail" in found.stdout
    site.gateway()
    assert len(site.entries()) >= count
    assert site.verify().returncode == 0


def test_it_does_not_start_where_it_is_not_safe(site: Site):
    site.plant()
    site.gateway()
    second = site.gateway(ready=False)
    assert (second.wait(30), "another gateway has this folder" in second.stderr.read()) == (2, True)
    site.dir = site.folder / "gw2"
    second = site.gateway(ready=False)
    assert (second.wait(30), "another gateway listens here" in second.stderr.read()) == (2, True)
    open_to_all = site.folder / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    site.socket = open_to_all / "gw.sock"
    second = site.gateway(ready=False)
    assert (second.wait(30), "not writable by everybody" in second.stderr.read()) == (2, True)
    site.dir, site.socket = site.folder / "gw3", site.folder / "gw3.sock"
    for more, text in (
        (("--plant-option", "url=elsewhere"), "'url' stands in the envelope"),
        (("--plant-option", "url"), "write KEY=VALUE"),
        (("--plant-option", "nonsense=1"), "unknown field `nonsense`"),
        (("--group", "no-such-group"), "cannot listen here"),
    ):
        wrong = site.gateway(*more, ready=False)
        assert (wrong.wait(30), text in (found := wrong.stderr.read())) == (2, True), found
    for changes, text in (
        ({"rules": (("rate", {"tags": ["TIC1.SP"], "window": "1 h", "most": 2.0}),)}, "not portable"),
        ({"rules": (("nonsense", {}),)}, "there is no rule 'nonsense'"),
        ({"plant": "tank", "options": {}}, "not on a wire"),
        ({"speed": 1.0}, "runs at speed 60"),
        ({"writers": {"p": ("ESD1.RESET",)}}, "'ESD1.RESET' is a safety tag"),
        ({"watchdog": "NONE"}, "'NONE' is not among its tags"),
    ):
        site.dir = site.folder / f"gw-{len(text)}"
        envelopes.write(replace(site.envelope, **changes), site.file)
        wrong = site.gateway(ready=False)
        assert wrong.wait(30) == 2, text
        assert text in (found := wrong.stderr.read()), found
        assert len(found.splitlines()) == 1


def test_junk_of_any_kind_does_no_harm(working: Site):
    chance = random.Random(7)
    for number in range(150):
        with Liar(working) as brain:
            data = chance.randbytes(chance.randrange(1, 300))
            if number % 3 == 1:
                data = len(data).to_bytes(4, "little") + data
            if number % 3 == 2:  # in a session that was begun well
                if brain.hello():
                    continue
                body = msgspec.msgpack.encode(["signed", data, brain.key.sign(b"jayul gateway 1 message" + data)])
                data = len(body).to_bytes(4, "little") + body
            brain.raw(data)
    working.until(lambda: len(working.entries(Ended)) == len(working.entries(Session)) > 10)
    assert working.written() == []
    with Liar(working) as brain:
        assert brain.hello() == ""
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
    assert len(working.entries(Refused)) < 30, "refusals of one kind within a second are one record"


@pytest.mark.parametrize("there", [True, False], ids=["plant there", "plant gone"])
def test_once_means_until_who_began_it_is_gone(site: Site, there: bool):
    plant = site.plant()
    own = ["--once", "--patience", "2", "--dir", str(site.dir), "--envelope", str(site.file), "--socket", str(site.socket)]
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'jayul.gateway.process', *sys.argv[1:]], stdout=subprocess.PIPE, text=True,"
        " start_new_session=True)\n"
        "print(p.stdout.readline(), end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = site.start("-c", script, *own)
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        parent.kill()
        time.sleep(0.5)
        assert brain.say("beat") == "", "who holds something is not left alone"
        if not there:
            plant.kill()
            plant.wait()
    site.until(lambda: [type(entry) for entry in site.entries()][-1] is Stop)
    assert not there or site.written() == [("TIC1.SP", 56.0), ("TIC1.SP", 55.0), *MODES]
    assert site.entries(Handback)[-1].done == there
    site.until(lambda: not site.socket.exists())


def test_at_the_end_it_does_not_wait_for_ever_for_a_plant_that_is_gone(site: Site):
    plant = site.plant()
    gateway = site.gateway("--patience", "1")
    with Liar(site) as brain:
        brain.hello()
        assert brain.say("write", {"TIC1.SP": 56.0}) == ""
        plant.kill()
        plant.wait()
        gateway.terminate()
        assert gateway.wait(15) == 0
    assert not site.entries(Handback)[-1].done
    assert isinstance(site.entries()[-1], Stop)
    site.plant()
    site.gateway()
    site.until(lambda: site.entries(Handback)[-1].done)
    assert site.entries(Handback)[-1].reason == "restart"


def test_a_gateway_that_stands_still_makes_a_write_unknown_and_reading_goes_on(working: Site):
    brain = working.brain(66.0)
    assert said(brain)["receipts"][0][2] == "settled"
    gateway = working.running[1]
    gateway.send_signal(signal.SIGSTOP)
    states = [said(brain, 30.0) for _ in range(2)]
    assert states[-1]["receipts"][0][2] in ("unknown", "rejected")
    assert "unknown" in [line["receipts"][0][2] for line in states]
    assert "the gateway does not answer" in states[-1]["trouble"] or "no gateway" in states[-1]["trouble"]
    gateway.send_signal(signal.SIGCONT)
    working.until(lambda: len(working.entries(Session)) == 2, 40)
    assert working.entries(Handback)[0].reason in ("silent", "closed")


def test_no_task_is_left_behind_on_the_brains_side(working: Site):
    async def play() -> list[str]:
        envelope = working.envelope
        config = LinkConfig(url=envelope.options["url"], tags=str(working.folder / "tags.csv"), speed=envelope.speed)
        link = plc_plant.PlcLink(config, Wall())
        clock = (await link.declared()).clock(0)
        plant = Gated(plc_plant.PlcLink(config, clock), working.socket, Signer.open("run"), envelope.digest(), clock)
        await link.close()
        assert isinstance(plant, Linked)
        assert await plant.declared()
        assert plant.simulated
        frame = await plant.read()
        plant.decided(41, b"frame")
        up = Verdict(Proposal("TIC1.SP", frame["TIC1.SP"] + 1, "", "p"), frame["TIC1.SP"] + 1, "")
        states = [receipt.state for receipt in await plant.write([up])]
        states += [receipt.state for receipt in await plant.write([up])]  # too often
        assert plant.trouble.startswith("too-often")
        assert plant.health().trouble.startswith("gateway: too-often")
        await plant.close()
        states += [receipt.state for receipt in await plant.write([up])]  # never sent
        head = plant.gateway_head
        assert len(asyncio.all_tasks()) == 1
        return [*states, head]

    *states, head = asyncio.run(play())
    assert states == ["settled", "rejected", "rejected"]
    judged = working.entries(Judged)[0]
    assert (judged.tick, judged.frame) == (41, b"frame")
    assert int(head.partition(":")[0]) >= 5, "the head after the hand-back"
    assert isinstance(working.entries()[int(head.partition(":")[0])], Handback)
