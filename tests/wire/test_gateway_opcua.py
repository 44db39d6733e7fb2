"""The gateway between a brain and an OPC UA server, each a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_kit import HERE, PERIOD, SPEED, Site, said
from msgspec.structs import replace

from jayul.core.types import TagTable
from jayul.gateway import envelope as envelopes
from jayul.gateway.journal import Handback, Judged, Wrote
from jayul.plant.link import Simulated
from jayul.plant.opcua.server import addresses
from jayul.plant.table import Table, write_table


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    plant = site.start(str(HERE / "peers" / "plant.py"), str(SPEED), "3", "0", ready=False)
    port = int(plant.stdout.readline())
    table = addresses(TagTable(site.envelope.tags))
    tags = tuple(replace(tag, address=table[tag.name]) for tag in site.envelope.tags if tag.name in table)
    options = {"url": f"opcua://127.0.0.1:{port}", "tags": "elsewhere.csv"}
    site.envelope = replace(site.envelope, plant="opcua", options=options, tags=tags)
    envelopes.write(site.envelope, site.file)
    write_table(site.folder / "tags.csv", Table(tags, site.envelope.loops))
    yield site
    site.close()


def watch(site: Site) -> subprocess.Popen:
    """Another client, which writes nothing: it says what stands in the plant, and when."""
    return site.start(str(HERE / "peers" / "look.py"), str(site.file), str(site.folder / "tags.csv"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_over_opc_ua_a_brain_moves_the_plant_and_is_handed_back_for(site: Site, how: signal.Signals):
    site.gateway()
    look = watch(site)
    clock = Simulated.decode(look.stdout.readline()).clock(0)
    brain = site.brain(57.0)
    while (line := said(brain))["sp"] != 57.0:
        pass
    assert not line["trouble"]
    at = clock.now()
    brain.send_signal(how)
    while (seen := said(look))["at"] < at or seen["mode"] != 1.0:
        pass
    assert seen["sp"] == 55.0
    assert seen["at"] - at <= 2 * PERIOD + PERIOD // 10, "within two periods, and what it takes to see it"
    wrote = [receipt.state for entry in site.entries(Wrote) for receipt in entry.receipts]
    assert wrote == ["settled"] * 2
    assert [entry.code for entry in site.entries(Judged)] == ["", ""]
    back = site.until(lambda: site.entries(Handback))[-1]
    assert (back.done, {receipt.state for receipt in back.receipts}) == (True, {"settled"})
    assert seen["watchdog"] > 0
    assert site.verify().returncode == 0


def test_the_brains_own_link_cannot_write(site: Site):
    code = (
        "import asyncio, sys\n"
        "from jayul.core.clock import Wall\n"
        "from jayul.core.types import Proposal, Verdict\n"
        "from jayul.plant.opcua.client import OpcuaConfig, opcua\n"
        "async def main():\n"
        "    plant = opcua(OpcuaConfig(url=sys.argv[1], tags=sys.argv[2], speed=60.0), Wall())\n"
        "    await plant.read()\n"
        "    print((await plant.write([Verdict(Proposal('TIC1.SP', 56.0, '', 'p'), 56.0, '')]))[0].state)\n"
        "    await plant.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(site.envelope.options["url"]), str(site.folder / "tags.csv")]
    done = subprocess.run(command, env=site.env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "rejected\n", done.stderr
