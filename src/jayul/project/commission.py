"""The commissioning test: a person proves, with the machine's help, that clamps, watchdog and shedding exist in the controller.

Each step is measured here and confirmed by the person; the result is a signed event in the run's journal. Without it no policy
goes above advise on a real plant. Nothing is written before the person has said yes to that very step.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from msgspec.structs import replace

from jayul.core.clock import Clock
from jayul.core.types import SECOND, Event, Frame, Level, Proposal, Receipt, Tag, Verdict, same
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import Linked, pause
from jayul.plant.table import Loop
from jayul.project import kinds, links
from jayul.project.admit import COMMISSIONED, begun_on
from jayul.project.look import status
from jayul.project.manifest import Manifest, parse_canonical
from jayul.project.people import hand_over, known_person
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.project.wire import located

BEATS = 5  # signs of life before the silence
LOOKS = 100  # at most, for a reading that is fresh, 0.1 s apart


class Talk(Protocol):
    """How the test speaks with the person. Texts are templates that the catalogue translates."""

    def say(self, text: str, **params: object) -> None: ...
    def confirm(self, text: str, **params: object) -> bool: ...


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: what was asked of the plant, what stood there before and after, after how many seconds of plant time.

    `measured`: the plant did as it should; `confirmed`: the person says so too.
    """

    name: Literal["clamp-low", "clamp-high", "watchdog", "local"]
    tag: str
    asked: float | None = None
    before: float | None = None
    after: float | None = None
    seconds: float | None = None
    measured: bool = False
    confirmed: bool = False

    @property
    def passed(self) -> bool:
        """Say whether machine and person agree that it is as it should be."""
        return self.measured and self.confirmed


class _Bench(msgspec.Struct, frozen=True):
    """What a step needs: the plant with a link that may write, its clock, the person, the tags that policies write."""

    plant: Linked
    clock: Clock
    talk: Talk
    tags: tuple[Tag, ...]
    watchdog: str
    within: int  # ns

    async def ask(self, text: str, **params: object) -> bool:
        return await asyncio.to_thread(self.talk.confirm, text, **params)

    async def put(self, tag: str, value: float) -> Receipt:
        receipts = await self.plant.write([Verdict(Proposal(tag, value, "commissioning", "commission"), value, "")])
        return receipts[0]

    async def get(self, tag: str, since: int = 0) -> float:
        """Return a fresh reading that was seen after `since` (ns), or NaN if none comes."""
        over = asyncio.Event()
        for _ in range(LOOKS):
            frame = await self.plant.read()
            if frame.fresh(tag) and frame.seen_at[frame.table.index[tag]] > since:
                return frame[tag]
            await pause(over, 0.1)
        return math.nan

    async def back(self, tag: Tag, before: float) -> None:
        """Put back what stood there before, and say so if that cannot be seen to have come about."""
        if same(await self.get(tag.name), before) or (await self.put(tag.name, before)).state == "settled":
            return
        self.talk.say(N_("{tag} stood at {before} {unit} before and could not be put back: look there!"),
                      tag=tag.name, before=f"{before:g}", unit=tag.unit)  # fmt: skip


def commission(project: Path, out: Path, *, by: str, talk: Talk, within: int, link: links.Link | None = None) -> Event:
    """Walk a person through the test on the plant of a project and hand its result in to a run. Raises ManifestError.

    `within` ns of plant time the controller must have shed. The event names the steps; it is evidence against, if one failed.
    """
    now = status(out)
    known_person(now.header, by)
    if high := [level for level in now.levels.values() if Level[level.upper()] >= Level.CONFIRM]:
        message = N_("a policy stands at {level} and may write; take it down first with: jayul demote {run} POLICY")
        raise refuse(out, message, level=high[0], run=out)
    folder = project if project.is_dir() else project.parent
    manifest = parse_canonical(now.header.manifest)
    if link is not None:
        manifest = links.with_plant(manifest, folder, link)
    if not links.on_wire(manifest):
        raise refuse(out, N_("its plant is simulated within the process; there is no controller to commission"))
    steps = asyncio.run(_walk(manifest, folder, talk, within, now.header.tags))
    told = [msgspec.to_builtins(step) for step in steps]
    body = {"name": COMMISSIONED, "passed": bool(steps) and all(step.passed for step in steps), "steps": told}
    body |= begun_on(manifest, now.header.start)
    events = [hand_over(out, "evidence", by, {**body, "policy": policy}) for policy in now.header.policies]
    return events[0]


async def _walk(manifest: Manifest, folder: Path, talk: Talk, within: int, kept: Sequence[Tag]) -> list[Step]:
    factory = kinds.find(manifest, "plants", manifest.plant.kind, ["plant"])
    config: Any = manifest.convert(["plant"], located(manifest, folder), factory.config)
    written = {tag for policy in manifest.policies for tag in policy.writes}
    try:
        probe: Any = factory.make(config, links.clock_of(None, 0, bool))
        tags = tuple(tag for tag in probe.tags.tags if tag.name in written)
        if changed := [tag.name for tag in tags if tag not in kept]:
            message = N_("'{tag}' stands otherwise in the tag table than in that of the run; take the table of the run")
            manifest.fail(["plant", "tags"], message, tag=changed[0])
        peer = await probe.declared()
        clock = links.clock_of(peer, 0, bool)
        allowed = (*sorted(written), *([config.watchdog] if config.watchdog else []))
        plant = factory.make(replace(config, write=allowed), clock)
    except (Refused, Unreachable) as error:
        manifest.fail(["plant"], "{text}", text=error)
    bench = _Bench(plant, clock, talk, tags, config.watchdog, within)
    try:
        await plant.read()
        steps = [step for tag in tags for step in await _clamps(bench, tag)]
        return [*steps, *await _shedding(bench)]
    finally:
        await plant.close()


async def _clamps(bench: _Bench, tag: Tag) -> list[Step]:
    """Ask for values beyond both bounds: the controller must refuse or clamp them."""
    assert tag.low is not None
    assert tag.high is not None
    over = max(tag.max_step or 0.0, 0.01 * (tag.high - tag.low))
    beyond: tuple[tuple[Literal["clamp-low", "clamp-high"], float], ...] = (
        ("clamp-low", tag.low - over), ("clamp-high", tag.high + over),
    )  # fmt: skip
    steps = []
    for name, asked in beyond:
        before = await bench.get(tag.name)
        if math.isnan(before):
            bench.talk.say(N_("{tag} cannot be read: no fresh, good value comes"), tag=tag.name)
            steps.append(Step(name, tag.name, asked))
            continue
        params = {"tag": tag.name, "asked": f"{asked:g}", "unit": tag.unit, "before": f"{before:g}"}
        begin = N_(
            "{tag} stands at {before} {unit}. Put its loop to remote. Ask the controller for {asked} {unit}, which is too far?"
        )
        if not await bench.ask(begin, **params):
            steps.append(Step(name, tag.name, asked, before))
            continue
        if math.isnan(now := await bench.get(tag.name)):
            steps.append(Step(name, tag.name, asked, before))
            continue
        before, params["before"] = now, f"{now:g}"  # another hand may have moved it while we asked
        able = (await bench.put(tag.name, before)).state == "settled"  # else a refusal would say nothing
        try:
            if able:
                await bench.put(tag.name, asked)
            await bench.clock.until(bench.clock.now() + 2 * SECOND)
            after = await bench.get(tag.name)
        finally:  # also if somebody stops us here
            await bench.back(tag, before)
        held = able and tag.low <= after <= tag.high
        seen = N_("The controller holds {tag} at {after} {unit}. Do you see the same there?")
        if not able:
            bench.talk.say(
                N_("{tag} takes no value at all from here: is the loop in remote, and may this link write?"), tag=tag.name
            )
        steps.append(
            Step(
                name,
                tag.name,
                asked,
                before,
                _number(after),
                measured=held,
                confirmed=await bench.ask(seen, after=f"{after:g}", **params),
            )
        )
    return steps


def _taken(frame: Frame, loops: Iterable[Loop]) -> bool:
    """Say whether every loop is seen not to be in remote any more."""
    return all(frame.fresh(loop.mode) and frame[loop.mode] != loop.remote for loop in loops)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


async def _shedding(bench: _Bench) -> list[Step]:
    """Be in charge for a while, then be silent: the controller must take its loops back by itself."""
    loops = {tag.name: bench.plant.loops[tag.name] for tag in bench.tags if tag.name in bench.plant.loops}
    if not bench.watchdog or not loops:
        bench.talk.say(
            N_("no 'watchdog' in [plant], or no 'mode' in the tag table: the controller cannot know that we are gone")
        )
        return [Step("watchdog", bench.watchdog)]
    if not await bench.ask(N_("Put all loops to remote. Now be in charge for a moment, then fall silent?")):
        return [Step("watchdog", bench.watchdog)]
    yes = bench.clock.now()
    for count in range(1, BEATS + 1):
        await bench.put(bench.watchdog, float(count))
        await bench.clock.until(bench.clock.now() + SECOND)
    silent = bench.clock.now()
    if any([await bench.get(loop.mode, yes) != loop.remote for loop in loops.values()]):
        bench.talk.say(N_("not every loop reads remote, so that there is nothing to take back"))
        return [Step("watchdog", bench.watchdog)]
    frame = await bench.plant.read()
    while not (shed := _taken(frame, loops.values())) and bench.clock.now() - silent < bench.within:
        await bench.clock.until(bench.clock.now() + SECOND)
        frame = await bench.plant.read()
    took = (bench.clock.now() - silent) / SECOND
    seen = N_("The controller took its loops back after {seconds} s. Do you see the same there?")
    steps = [
        Step(
            "watchdog",
            bench.watchdog,
            seconds=took,
            measured=shed,
            confirmed=shed and await bench.ask(seen, seconds=f"{took:.0f}"),
        )
    ]
    frame = await bench.plant.read()
    for tag in loops:
        good = N_("{tag} stands at {after} {unit} now. Is that a value at which the loop may be left alone?")
        value = frame[tag]
        fine = shed and frame.fresh(tag)
        unit = bench.plant.tags[tag].unit
        confirmed = fine and await bench.ask(good, tag=tag, after=f"{value:g}", unit=unit)
        steps.append(Step("local", tag, after=_number(value), measured=fine, confirmed=confirmed))
    return steps
