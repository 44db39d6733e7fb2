"""The kit finds what is wrong with a plant: each wrong one fails exactly the check that is there for it; a right one fails none.

By default each wrong plant is run through the check that should find it and three others; with JAYUL_LONG=1 through all.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from peers import program

from jayul.conform.evidence import Evidence, Result, show, table, tier
from jayul.conform.plants import CHECKS, conform
from jayul.conform.proxy import Proxy
from jayul.conform.truth import PERIOD, between, true, truth
from jayul.plant.errors import Refused

HERE = Path(__file__).parent
LONG = bool(os.environ.get("JAYUL_LONG"))
BESIDE = ("reads", "empty write", "refused")
# the wrong plant, the protocol, the checks that must fail (the first is the one it is made for)
FOUND = {
    ("Cheerful", "opcua"): ("killed", "no false"),
    ("Cheerful", "mqtt"): ("publisher", "no false"),
    ("Doomed", "opcua"): ("vanished",),
    ("Sticky", "opcua"): ("frozen", "no false"),
    ("Hasty", "modbus"): ("not shown",),
    ("Leaky", "modbus"): ("reconnects",),
    ("Littering", "modbus"): ("close",),
    ("Gulping", "mqtt"): ("flood",),
    ("Blocking", "opcua"): ("slow",),
    ("Optimist", "modbus"): ("answer lost",),
    ("Partial", "opcua"): ("all or none",),
    ("Whitewash", "opcua"): ("status",),
    ("Typist", "opcua"): ("wrong type", "no false"),
    ("Stubborn", "opcua"): ("clock",),
    ("Swapped", "modbus"): ("reads", "no false"),
    ("OwnTime", "opcua"): ("source time", "reads", "no false"),
    ("Chatty", "modbus"): ("empty write",),
    ("Vague", "modbus"): ("refused",),
    ("Forgetful", "modbus"): ("write", "no false"),
    ("Entangled", "modbus"): ("two sources",),
    ("Quitter", "modbus"): ("outage",),
    ("Once", "opcua"): ("namespace",),
    ("Once", "modbus"): ("half-open",),
    ("Raising", "modbus"): ("killed",),
    ("Writing", "modbus"): ("read-only",),
}


def run(wrong: str, kind: str, only: tuple[str, ...]) -> Evidence:
    command = [sys.executable, str(HERE / "wrong_plants.py"), wrong, kind, *only]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for word in ("Traceback", "never retrieved", "was destroyed", "never awaited"):
        assert wrong != "Right" or word not in done.stderr, done.stderr[-2000:]
    return msgspec.json.decode(done.stdout, type=Evidence)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest):
    """Run those that were asked for, five at a time, each in a process of its own."""
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {(params["wrong"], params["kind"]) for params in asked if {"wrong", "kind"} <= params.keys()}
    if any(kind == "mqtt" for _, kind in wanted):
        program("mosquitto")
    with ThreadPoolExecutor(5) as pool:
        found: dict[tuple[str, str], Future[Evidence]] = {}
        for (wrong, kind), must in FOUND.items():
            if (wrong, kind) not in wanted:
                continue
            only = () if LONG else (must[0], *(name for name in BESIDE if name not in must), "no false")
            found[wrong, kind] = pool.submit(run, wrong, kind, only)
        yield found
        for future in found.values():
            future.cancel()


def failed(evidence: Evidence) -> list[str]:
    return [f"{check.name}: {check.why}" for check in evidence.checks if check.result == "failed"]


@pytest.mark.parametrize(("wrong", "kind"), FOUND)
def test_a_wrong_plant_fails_exactly_its_check(runs, wrong: str, kind: str):
    evidence = runs[wrong, kind].result()
    names = {check.name for check in evidence.checks if check.result == "failed"}
    assert FOUND[wrong, kind][0] in names, show(evidence)
    assert names <= set(FOUND[wrong, kind]) or LONG, failed(evidence)
    order = ["none", "bronze", "silver", "gold"]
    missed = {check.name: check.tier for check in evidence.checks}[FOUND[wrong, kind][0]]
    assert order.index(evidence.tier) < order.index(missed), "a tier was earned although one of its checks failed"
    assert LONG or evidence.tier == "none", "what was not asked for earns nothing"


def test_every_check_is_shown_to_fail():
    assert {check.name for check in CHECKS} == {name for names in FOUND.values() for name in names}


@pytest.mark.parametrize("kind", ["opcua", "modbus", "mqtt"])
def test_the_right_plants_pass(kind: str):
    if kind == "mqtt":
        program("mosquitto")
    only = () if LONG else ("reads", "source time", "killed", "publisher", "write", "all or none", "close", "no false")
    evidence = run("Right", kind, only)
    sys.stdout.write(show(evidence))
    assert not failed(evidence)
    tried = [check for check in evidence.checks if check.result == "passed"]
    assert len(tried) >= 6
    assert evidence.tier == ("gold" if LONG else "none"), "what was not asked for earns nothing"


@pytest.mark.parametrize(("kind", "earned"), [("tank", "silver"), ("files", "silver")])
def test_plants_in_this_process(kind: str, earned: str):
    evidence = asyncio.run(conform(kind))
    assert not failed(evidence)
    assert evidence.tier == earned, show(evidence)
    assert {check.name for check in evidence.checks} >= {check.name for check in CHECKS}


def test_a_foreign_server_earns_no_tier(tmp_path: Path):
    from jayul.conform.benches import BENCHES
    from jayul.conform.peer import Peer
    from jayul.plant.table import Table, write_table

    write_table(tmp_path / "tags.csv", Table(tuple(BENCHES["modbus"].tags)))

    async def drive() -> Evidence:
        peer = Peer("modbus")
        await peer.start()
        try:
            url = f"modbus://127.0.0.1:{peer.port}"
            found = await conform(
                url, tags=str(tmp_path / "tags.csv"), long=2.0, only=("reads", "reconnects", "write", "close")
            )
            assert (await peer.tell("told"))["asked"] == 0, "nothing may be written to a foreign server"
        finally:
            await peer.close()
        return found

    evidence = asyncio.run(drive())
    said = {check.name: check.result for check in evidence.checks}
    assert (said["reads"], said["reconnects"], said["close"], said["write"]) == ("passed", "passed", "passed", "not tried"), (
        show(evidence)
    )
    assert evidence.tier == "none"


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("nosuch", {}, "'nosuch' is no kind of plant; there is: "),
        ("ftp://there", {}, "the kit knows opcua://"),
        ("opcua://127.0.0.1:1", {}, "needs a tag table"),
        ("modbus", {"only": ["everything"]}, "there is no check 'everything'"),
    ],
)
def test_a_mistake_is_one_line(target: str, more: dict, said: str):
    with pytest.raises(Refused) as found:
        asyncio.run(conform(target, **more))
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_a_tier_needs_every_applicable_check_of_it_and_below():
    def results(*said: str) -> list[Result]:
        return [Result(f"c{k}", ("bronze", "silver", "gold")[k // 2], "", s) for k, s in enumerate(said)]

    p, f, n, a = "passed", "failed", "not tried", "not applicable"
    assert tier(results(p, p, p, p, p, p)) == "gold"
    assert tier(results(p, a, p, a, a, p)) == "gold"
    assert tier(results(p, p, p, p, p, n)) == "silver"
    assert tier(results(p, p, p, f, p, p)) == "bronze"
    assert tier(results(p, n, p, p, p, p)) == "none"
    assert tier(results(p, p, p, p, a, a)) == "silver"
    assert tier(results()) == "none"


def test_evidence_is_written_read_and_shown(tmp_path: Path):
    evidence = asyncio.run(conform("tank"))
    evidence.write(tmp_path / "runs" / "tank.json")
    assert Evidence.load(tmp_path / "runs" / "tank.json") == evidence
    assert "| `tank` | silver |" in table([evidence])
    assert "tier: silver" in show(evidence)


def test_values_tell_tag_and_time():
    at = 1_795_413_814_009_299_000
    assert true(3, truth(3, at), at)
    assert not true(4, truth(3, at), at)
    for off in (10_000, -3600 * 10**9, 3600 * 10**9, 10**9):
        assert not true(3, truth(3, at), at + off)
    assert between(3, truth(3, at), at - 10**9, at + 10**9)
    assert not between(3, truth(3, at), at + 10**7, at + 10**9)
    assert not between(3, truth(3, at), at - 2 * 10**9, at - 10**9)
    assert not between(2, truth(3, at), at - 10**9, at + 10**9)
    edge = (at // 1000 // PERIOD + 1) * PERIOD * 1000  # where the period begins anew
    assert between(0, truth(0, edge - 1000), edge - 10**9, edge + 10**9)
    assert not between(0, truth(0, edge - 1000), edge + 10**8, edge + 10**9)


def test_the_proxy_does_what_it_says():
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def answers(port: int, within: float) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        try:
            writer.write(b"hello")
            return await asyncio.wait_for(reader.read(5), within) == b"hello"
        except (TimeoutError, OSError):
            return False
        finally:
            writer.transport.abort()
            await asyncio.sleep(0.01)

    async def drive() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = Proxy(*server.sockets[0].getsockname())
        await proxy.accept()
        port = proxy.port
        assert await answers(port, 2.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        proxy.mute()
        writer.write(b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        assert not await answers(port, 0.3), "new connections are mute too"
        await proxy.heal()
        assert await answers(port, 2.0)
        writer.write(b"c")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)  # what was mute stays so
        proxy.cut()
        with pytest.raises(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 2.0)
        writer.transport.abort()
        proxy.refuse()
        assert not await answers(port, 2.0)
        await proxy.accept()
        assert proxy.port == port
        proxy.delay = 0.5
        assert not await answers(port, 0.3)
        assert await answers(port, 5.0)
        proxy.delay, proxy.rate = 0.0, 10.0
        assert not await answers(port, 0.3), "5 bytes take half a second, each way"
        assert await answers(port, 5.0)
        await proxy.close()
        server.close()
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(drive())


def test_the_proxy_as_a_command():
    command = [sys.executable, "-m", "jayul.conform.proxy", "127.0.0.1:1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate("mute\ndelay 3\ndelay x\nnonsense\nheal\n", timeout=20)
    port, *said = out.splitlines()
    assert msgspec.json.decode(port)["port"] > 0
    assert [msgspec.json.decode(line)["ok"] for line in said] == [True, True, False, False, True]
    assert process.returncode == 0
