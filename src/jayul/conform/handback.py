"""Brain or gateway killed at random moments, with plant, gateway and brain in three processes: what the plant then shows.

    python -m jayul.conform.handback --kills 100 --protocol opcua --seed 0 [--whom gateway]

After the brain is gone every loop that it held must be in local with its fallback value within two periods; after the gateway
is gone the plant's own watchdog must do the same. It is seen at the plant, over a link of our own. Then an operator puts the
loops to remote again, and the same run goes on. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from jayul.conform.crash import make_project
from jayul.core.clock import Clock, Sim, Wall, monotonic
from jayul.core.expr import duration
from jayul.core.types import SECOND, Frame, Proposal, Verdict
from jayul.plant.link import Linked
from jayul.project import kinds, links
from jayul.project.manifest import NAME, load
from jayul.project.wire import located

SPEED = 60.0  # a period of half a minute is then half a second of the wall clock
LONG = 60.0  # s of the wall clock that a run may take to hold something


class Tested(msgspec.Struct):
    """What was seen: `periods` from each kill until all loops were back, for those kills at which something was held."""

    kills: int = 0
    held: int = 0
    periods: list[float] = []
    failures: list[str] = []


class Scene(msgspec.Struct, frozen=True):
    """One plant that is played, the project that runs on it, and our own link to it as its operator."""

    project: Path
    out: Path
    url: str
    plant: Linked
    clock: Clock
    period: int
    local: dict[str, float]  # what stands where nobody remote moves it

    def held(self, frame: Frame) -> list[str]:
        """Return the set-points that somebody remote has moved."""
        return [tag for tag, value in self.local.items() if frame[tag] != value and self._remote(frame, tag)]

    def _remote(self, frame: Frame, tag: str) -> bool:
        loop = self.plant.loops[tag]
        return frame[loop.mode] == loop.remote

    def back(self, frame: Frame, tags: list[str]) -> bool:
        """Say whether these loops are in local at their fallback values."""
        return all(frame[tag] == self.local[tag] and not self._remote(frame, tag) for tag in tags)

    async def operate(self) -> None:
        """Put every loop to remote, as an operator does."""
        for loop in {loop.mode: loop for loop in self.plant.loops.values()}.values():
            wish = Proposal(loop.mode, loop.remote, "operator", "operator")
            await self.plant.write([Verdict(wish, wish.value, "")])


def _jayul(*words: object) -> list[str]:
    return [sys.executable, "-m", "jayul", *map(str, words)]


def _start(scene: Scene) -> subprocess.Popen[bytes]:
    words = _jayul("run", scene.project, "--plant", scene.url, "--speed", SPEED, "--out", scene.out, "--no-history")
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)  # noqa: S603


def _gateway(scene: Scene) -> int:
    """Return the process id of the gateway that has the run's folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"jayul.gateway.process" in words and str(scene.out / "gateway").encode() in words:
                    return int(entry.name)
    raise RuntimeError("the run has no gateway")


async def _once(scene: Scene, brain: subprocess.Popen[bytes], whom: str, wait: float, within: float, found: Tested) -> None:
    """Wait until the run holds something and a random while longer, kill, and look at the plant."""
    begun, clock = monotonic(), Wall()
    while not scene.held(await scene.plant.read()):
        if brain.poll() is not None or monotonic() - begun > LONG:
            said = brain.stderr.read().decode(errors="replace")[-300:] if brain.poll() is not None and brain.stderr else ""
            found.failures.append(f"kill {found.kills}: the run holds nothing within {LONG:g} s {said}")
            return
        await clock.until(clock.now() + SECOND // 50)
    await clock.until(clock.now() + int(wait * SECOND))
    tags = scene.held(await scene.plant.read())
    pid = brain.pid if whom == "brain" else _gateway(scene)
    at = scene.clock.now()
    os.kill(pid, signal.SIGKILL)
    found.kills += 1
    found.held += bool(tags)
    limit = at + int(within * scene.period)
    while True:
        frame = await scene.plant.read()
        now = scene.clock.now()
        if scene.back(frame, tags):
            break
        if now > limit + 4 * scene.period:
            break
        await clock.until(clock.now() + SECOND // 100)
    if tags:
        found.periods.append((now - at) / scene.period)
        if now > limit or not scene.back(frame, tags):
            values = {tag: frame[tag] for tag in tags}
            found.failures.append(f"kill {found.kills}: after {found.periods[-1]:.2f} periods the plant shows {values}")


def _project(folder: Path) -> Path:
    """Write a project whose policy climbs within minutes, moves a set-point and holds it."""
    path = make_project(folder, 2000.0, "group") / NAME
    lines, own = path.read_text(encoding="utf-8").splitlines(), ("begin =", "block =", "pairs =")
    text = "\n".join(line for line in lines if not line.startswith(own))
    path.write_text(text.replace('kind = "switchback"', 'kind = "setpoint"\nwithin = "5 min"') + "\n", encoding="utf-8")
    return folder


async def _rest(scene: Scene) -> None:
    """Wait until a gateway that still has something to hand back has done so: nobody takes a loop while it is handed over."""
    until, clock = scene.clock.now() + 3 * scene.period, Wall()
    while scene.clock.now() < until and not scene.back(await scene.plant.read(), list(scene.local)):
        await clock.until(clock.now() + SECOND // 50)


async def test(kills: int, protocol: str, whom: str, seed: int, folder: Path) -> Tested:
    """Play, run, kill, look, and go on, `kills` times."""
    project = _project(folder / "line")
    subprocess.run(_jayul("simulate", project, "--tags", project), check=True, capture_output=True)  # noqa: S603, ASYNC221
    words = _jayul("simulate", project, f"--{protocol}", 0, "--speed", SPEED, "--operator", "")
    play = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)  # noqa: S603, ASYNC220
    found, chance = Tested(periods=[], failures=[]), Sim(0, seed).rng(f"handback/{whom}")
    brain: subprocess.Popen[bytes] | None = None
    assert play.stdout is not None
    try:
        url = next(m[0] for line in play.stdout if (m := re.search(rf"{protocol}://\S+", line)))
        scene = await _scene(project, folder / "run", url)
        watchdog = max(duration("5 min"), int(3 * SPEED * SECOND)) / scene.period + 1
        within = 2.0 if whom == "brain" else watchdog
        for _ in range(kills):
            await _rest(scene)
            await scene.operate()
            brain = brain if brain is not None and brain.poll() is None else _start(scene)
            await _once(scene, brain, whom, float(chance.uniform(0.0, 2.0)), within, found)
            brain.kill()
            brain.wait()
            print(f"\r{found.kills} kills, {len(found.failures)} failures", end="", file=sys.stderr, flush=True)
        await scene.plant.close()
    finally:
        if brain is not None:
            brain.kill()
            brain.wait()
        play.kill()
        play.wait()
    return found


async def _scene(project: Path, out: Path, url: str) -> Scene:
    manifest = links.with_plant(load(project), project, links.Link(url, None, SPEED))
    factory = kinds.find(manifest, "plants", manifest.plant.kind, ["plant"])
    config: Any = manifest.convert(["plant"], located(manifest, project), factory.config)
    probe: Any = factory.make(config, Wall())
    peer = await probe.declared()
    await probe.close()
    modes = tuple(sorted({loop.mode for loop in probe.loops.values()}))
    clock = links.clock_of(peer, 0, bool)
    plant = factory.make(msgspec.structs.replace(config, write=modes), clock)
    frame = await plant.read()
    local = {tag: frame[tag] for tag in plant.loops}
    return Scene(project, out, url, plant, clock, manifest.span(["run", "period"], manifest.run.period), local)


def main() -> int:
    """Kill, and print what was seen; exit 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--protocol", choices=["opcua", "modbus", "mqtt"], default="opcua")
    parser.add_argument("--whom", choices=["brain", "gateway"], default="brain")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # a gateway may still be closing its journal there
        found = asyncio.run(test(arguments.kills, arguments.protocol, arguments.whom, arguments.seed, Path(name)))
    print(file=sys.stderr)
    for failure in found.failures[:10]:
        print(failure)
    seen = sorted(found.periods)
    figures = {"median_periods": seen[len(seen) // 2], "worst_periods": seen[-1]} if seen else {}
    figures = {name: round(value, 3) for name, value in figures.items()}
    told = {"whom": arguments.whom, "protocol": arguments.protocol, "kills": found.kills, "held": found.held, **figures}
    print(json.dumps({**told, "failures": len(found.failures), "seed": arguments.seed}))
    return 1 if found.failures or not found.held else 0


if __name__ == "__main__":
    sys.exit(main())
