"""The OPC UA plant against an asyncua server in another process: values, status codes, times, trouble of every kind, writes."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from opcua_kit import Nodes, config, plant, running, table, until, verdict

from jayul.core.clock import Wall, today
from jayul.core.types import SECOND, Receipt
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import Linked
from jayul.plant.newest import NO_COMMUNICATION, OVERFLOW, TYPE_MISMATCH
from jayul.plant.opcua import client, session
from jayul.plant.opcua.client import opcua

NODE_UNKNOWN = 0x8034_0000
TAGS = {"TICK": {}, "SP": {"kind": "set-point", "low": 0.0, "high": 100.0, "writable": True}, "PV": {}}
KINDS = {"TICK": "Double", "SP": "Double", "PV": "Double"}


def status(frame, name):
    return int(frame.status[frame.table.index[name]])


def source_at(frame, name):
    return int(frame.source_at[frame.table.index[name]])


def test_values_codes_and_times_come_through_unchanged(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                assert isinstance(made, Linked)
                frame = await made.read()
                assert frame.fresh("TICK"), "the first read waits for values"
                long_ago = today() // SECOND - 7200
                server.ask(set="PV", value=1.5, status=0x0040_0000 | 0x480, source=long_ago)
                frame = await until(made, lambda f: f["PV"] == 1.5)
                assert source_at(frame, "PV") == long_ago * SECOND
                assert status(frame, "PV") == 0x0040_0480
                assert not frame.fresh("PV"), "the age of data counts, not that it has just come"
                server.ask(set="PV", status=0x808A_0000)
                frame = await until(made, lambda f: status(f, "PV") == 0x808A_0000)
                assert math.isnan(frame["PV"])
                batch = made.samples()
                mine = batch.tag == made.tags.index["PV"]
                assert 0x0040_0480 in batch.status[mine].tolist()
                assert batch.source_at[mine][batch.value[mine] == 1.5].tolist() == [long_ago * SECOND]
                assert made.health().overflowed == 1, "the server's own gap is counted"
                ticks = batch.value[batch.tag == 0]
                assert len(ticks) > 1
                assert set(ticks[1:] - ticks[:-1]) == {1.0}, "a sample is missing"

    asyncio.run(drive())


def test_set_points_may_stand_still_while_a_measured_value_that_does_grows_old(tmp_path: Path) -> None:
    async def drive() -> None:
        tags = {"TICK": {"stale_after": 1.0}, "SP": TAGS["SP"] | {"stale_after": 1.0}, "PV": {"stale_after": 1.0}}
        with running(Nodes(KINDS)) as server:
            path = table(tmp_path / "t.csv", tags)
            async with plant(config(server.port, path)) as made:
                now = today() / SECOND
                server.ask(set="PV", value=7.0, source=now)
                await until(made, lambda f: f["PV"] == 7.0)
                frame = await until(made, lambda f: not f.fresh("PV"))
                assert frame.fresh("TICK")
                assert frame.fresh("SP"), "the server vouches for a set-point that nobody moves, whatever stamp it keeps"
                assert abs(source_at(frame, "PV") - now * SECOND) < 1000, "a frozen signal keeps its time"
                assert frame.seen_at[frame.table.index["PV"]] - source_at(frame, "PV") > 0.5 * SECOND

    asyncio.run(drive())


def test_one_wrong_type_and_one_unknown_node_leave_the_rest(tmp_path: Path) -> None:
    async def drive() -> None:
        tags = {**TAGS, "TEXT": {}, "GONE": {}, "ELSEWHERE": {"address": "nsu=urn:nobody;s=X"}, "FLAG": {}, "INT": {}}
        with running(Nodes(KINDS | {"TEXT": "String", "FLAG": "Boolean", "INT": "Int16"})) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", tags))) as made:
                frame = await made.read()
                assert status(frame, "TEXT") == TYPE_MISMATCH
                assert status(frame, "GONE") == status(frame, "ELSEWHERE") == NODE_UNKNOWN
                assert frame.fresh("TICK")
                server.ask(set="FLAG", value=True)
                server.ask(set="INT", value=-3)
                await until(made, lambda f: f["FLAG"] == 1.0 and f["INT"] == -3.0)
                assert made.health().missing == ("GONE", "ELSEWHERE")
                assert made.health().connections == 1

    asyncio.run(drive())


def test_a_node_that_vanishes_is_bad_alone_and_comes_back(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                await until(made, lambda f: f.fresh("TICK"))
                server.ask(remove="PV")
                frame = await until(made, lambda f: status(f, "PV") == NODE_UNKNOWN)
                assert frame.fresh("TICK")
                server.ask(add="PV", kind="Double")
                server.ask(set="PV", value=4.0)
                await until(made, lambda f: f["PV"] == 4.0, 15.0)
                server.ask(set="PV", value=5.0)
                await until(made, lambda f: f["PV"] == 5.0)
                assert made.health().connections == 1, "the rest was not disturbed"
                assert made.health().missing == ()

    asyncio.run(drive())


def test_resumes_within_5_s_of_the_servers_return_and_finds_its_namespace_anew(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                frame = await until(made, lambda f: f.fresh("TICK"))
                for before in ([], ["urn:a", "urn:b"], ["urn:a"]):
                    server.kill()
                    frame = await until(made, lambda f: status(f, "TICK") == NO_COMMUNICATION)
                    assert not frame.fresh("SP")
                    await asyncio.sleep(1.5)
                    server.start(before=before)
                    await until(made, lambda f: f.fresh("TICK"), 5.0)
                assert made.health().connections == 4

    asyncio.run(drive())


def test_a_frozen_peer_is_noticed_and_comes_back(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                await until(made, lambda f: f.fresh("TICK"))
                server.stop()
                try:
                    await until(made, lambda f: status(f, "TICK") == NO_COMMUNICATION)
                    assert not made.health().connected
                    await asyncio.sleep(3)
                finally:
                    server.go_on()
                await until(made, lambda f: f.fresh("TICK"), 5.0)

    asyncio.run(drive())


def test_a_dead_subscription_in_a_living_session_is_set_up_anew(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                await until(made, lambda f: f.fresh("TICK"))
                server.ask(deaf=True)
                await until(made, lambda f: made.health().connections == 2)
                made.samples()
                await asyncio.sleep(1)
                assert len(made.samples().tag) > 5, "samples come again, not Reads alone"

    asyncio.run(drive())


def test_a_lost_message_is_owned_up_to(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                await until(made, lambda f: f.fresh("TICK"))
                server.ask(skip=True)
                await until(made, lambda f: made.health().overflowed > 0)
                batch = made.samples()
                assert any(code & OVERFLOW == OVERFLOW for code in batch.status[batch.tag == 0].tolist())
                assert made.health().connections == 1

    asyncio.run(drive())


def test_a_message_that_did_not_arrive_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, swallowed = session.Session.published, list[int]()

    async def published(self: session.Session, acks: object) -> object:
        message = await original(self, acks)
        if message.kept and message.sequence in (4, 5, 9):
            swallowed.append(len(message.items))
            return await original(self, [])
        return message

    monkeypatch.setattr(session.Session, "published", published)

    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                await until(made, lambda f: f["TICK"] > 40, 20.0)
                batch = made.samples()
                ticks = sorted(batch.value[batch.tag == 0].tolist())
                assert len(swallowed) == 3
                assert ticks == [ticks[0] + k for k in range(len(ticks))], "a sample is missing, or there twice"
                assert made.health().overflowed == 0

    asyncio.run(drive())


def test_without_a_sign_of_life_all_readings_grow_old(tmp_path: Path) -> None:
    async def drive() -> None:
        tags = {name: dict(keys) | {"stale_after": 1.0} for name, keys in TAGS.items()}
        with running(Nodes(KINDS)) as server:
            path = table(tmp_path / "t.csv", tags)
            async with plant(config(server.port, path, alive="PV")) as made:
                frame = await made.read()
                server.ask(set="PV", value=1.0)
                frame = await until(made, lambda f: f.fresh("TICK") and f.fresh("SP"))
                frame = await until(made, lambda f: not f.fresh("TICK") and not f.fresh("SP"))
                assert status(frame, "TICK") == 0
                server.kill()
                server.start()
                await until(made, lambda f: made.health().connections == 2)
                server.ask(set="PV", value=2.0)
                await until(made, lambda f: f.fresh("TICK") and f.fresh("SP"))

    asyncio.run(drive())


def held() -> tuple[int, int, int]:
    """Count tasks, open files and threads."""
    files, threads = (len(list(Path(f"/proc/self/{what}").iterdir())) for what in ("fd", "task"))
    return len(asyncio.all_tasks()), files, threads


def test_thirty_reconnects_leak_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY", (0.05,))

    async def drive() -> None:
        with running(Nodes(KINDS)) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", TAGS))) as made:
                await until(made, lambda f: f.fresh("TICK"))
                before = held()
                for turn in range(30):
                    made._peer.client.uaclient.protocol.transport.abort()  # the network's part: the socket breaks
                    await until(made, lambda f, n=turn + 2: made.health().connections == n and made.health().connected)
                await until(made, lambda f: f.fresh("TICK"))
                assert held() == before, "tasks, files or threads were left behind"

    asyncio.run(drive())


def test_reads_while_nobody_answers_are_bad_and_closing_is_quick(tmp_path: Path) -> None:
    async def drive() -> None:
        path = table(tmp_path / "t.csv", TAGS)
        with running(Nodes(KINDS)) as server:
            port = server.port
        async with plant(config(port, path)) as made:
            frame = await made.read()
            assert not any(frame.fresh(name) for name in frame.table.names)
            assert "Connect call failed" in made.health().trouble
            assert (await made.write([verdict("SP", 3.0)]))[0].state == "rejected"
        with pytest.raises(Unreachable, match=f"opcua://127.0.0.1:{port}"):
            await opcua(config(port, path), Wall()).declared()

    asyncio.run(drive())


WRITE = {name: {"kind": "set-point", "low": 0.0, "high": 100.0, "writable": True} for name in ("D", "F", "I", "B")}


def test_writes_go_in_the_nodes_own_type_and_show_in_the_next_read(tmp_path: Path) -> None:
    async def drive() -> None:
        kinds = {"D": "Double", "F": "Float", "I": "Int16", "B": "Boolean", "SIS": "Double", "R": "Double"}
        tags = WRITE | {"SIS": {"writable": True, "safety": True}, "R": {"writable": True}}
        with running(Nodes(kinds)) as server:
            made_config = config(server.port, table(tmp_path / "t.csv", tags), write=(*WRITE, "SIS"))
            async with plant(made_config) as made:
                await made.read()
                assert await made.write([]) == []
                for name, value in (("D", 1.25), ("F", 0.1), ("I", 7.0), ("B", 1.0)):
                    (receipt,) = await made.write([verdict(name, value)])
                    assert (receipt.tag, receipt.state, receipt.applied) == (name, "settled", value)
                    frame = await made.read()
                    assert math.isclose(frame[name], value, rel_tol=1e-6)
                    assert frame.fresh(name)
                states = [r.state for r in await made.write([verdict(name, 0.0) for name in ("D", "F", "I", "B")])]
                assert states == ["settled"] * 4
                for name, value in (
                    ("SIS", 1.0),
                    ("R", 1.0),
                    ("no such tag", 1.0),
                    ("I", 1.5),
                    ("I", 1e9),
                    ("B", 2.0),
                    ("D", math.nan),
                ):
                    receipts = await made.write(
                        [verdict("D", 50.0), verdict(name, value)] if name != "D" else [verdict(name, value)]
                    )
                    assert {r.state for r in receipts} == {"rejected"}
                    assert server.ask(value="D") == 0.0, "part of a refused write was sent"

    asyncio.run(drive())


def test_a_write_that_is_taken_in_part_is_taken_back(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes({"D": "Double", "F": "Float", "I": "Int16", "B": "Boolean"})) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", WRITE), write=tuple(WRITE))) as made:
                await made.read()
                await made.write([verdict("D", 5.0), verdict("F", 5.0)])
                server.ask(writes={"refuse": {"I": 0x803C_0000}})
                receipts = await made.write([verdict("D", 9.0), verdict("F", 9.0), verdict("I", 9.0)])
                assert [r.state for r in receipts] == ["rejected"] * 3
                assert (server.ask(value="D"), server.ask(value="F"), server.ask(value="I")) == (5.0, 5.0, 0)
                server.ask(writes={"instead": {"D": 33.0}})
                (receipt,) = await made.write([verdict("D", 9.0)])
                assert (receipt.state, receipt.applied) == ("overridden", 33.0)
                assert (await made.read())["D"] == 33.0
                server.ask(writes={"fault": 0x8010_0000})  # Bad_TooManyOperations
                assert [r.state for r in await made.write([verdict("D", 7.0), verdict("F", 7.0)])] == ["rejected"] * 2
                assert server.ask(value="D") == 33.0

    asyncio.run(drive())


def test_a_write_whose_answer_never_comes_is_unknown(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes({"D": "Double", "F": "Float", "I": "Int16", "B": "Boolean"})) as server:
            async with plant(config(server.port, table(tmp_path / "t.csv", WRITE), write=tuple(WRITE))) as made:
                await made.read()
                server.ask(writes={"mute": True})
                writing = asyncio.create_task(made.write([verdict("D", 9.0)]))
                await asyncio.sleep(0.5)
                server.kill()
                (receipt,) = await writing
                assert (receipt.state, receipt.applied) == ("unknown", None)

    asyncio.run(drive())


def test_what_another_connection_wrote_is_taken_in(tmp_path: Path) -> None:
    async def drive() -> None:
        with running(Nodes({"D": "Double", "F": "Float", "I": "Int16", "B": "Boolean"})) as server:
            path = table(tmp_path / "t.csv", WRITE)
            clock = Wall()
            async with plant(config(server.port, path), clock) as reader:
                await reader.read()
                assert (await reader.write([verdict("D", 1.0)]))[0].state == "rejected", "a plant is read-only unless told"
                reader.took([Receipt("D", 8.0, 8.0, clock.now(), "settled"), Receipt("F", 8.0, None, clock.now(), "unknown")])
                frame = await reader.read()
                assert (frame["D"], frame["F"]) == (8.0, 0.0)

    asyncio.run(drive())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"security": "Basic128"}, "'security' must be one of"),
        ({"security": "Basic256Sha256/Sign"}, "needs 'certificate'"),
        ({"user": "me", "password_file": "x"}, "need 'security'"),
        ({"interval": 0.0}, "'interval'"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(4840, "t.csv", **keys)


def test_addresses_name_the_namespace_by_its_uri(tmp_path: Path) -> None:
    for address, message in (
        ("ns=2;s=X", "name its URI"),
        ("nsu=urn:x;i=abc", "no identifier"),
        ("HR40001", "no OPC UA address"),
    ):
        path = table(tmp_path / "t.csv", {"X": {"address": address}})
        with pytest.raises(Refused, match=message):
            opcua(config(4840, path), Wall())
    path = table(tmp_path / "t.csv", TAGS)
    with pytest.raises(Refused, match="which 'namespaces' does not name"):
        opcua(config(4840, path, namespaces=("urn:other",)), Wall())
    with pytest.raises(Refused, match="holds no tag 'XY'"):
        opcua(config(4840, path, write=("XY",)), Wall())
