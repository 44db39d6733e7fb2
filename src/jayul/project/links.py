"""Plants on a wire: the manifest with another plant put in, the peer's declaration, the clock to run by, a plant on show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from jayul.core.clock import Clock, Wall
from jayul.core.types import Plant
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import LinkConfig, Linked, Simulated
from jayul.plant.sim.plc import WATCHDOG as TAG
from jayul.plant.table import read_table
from jayul.project import kinds
from jayul.project.manifest import Manifest, parse, utc
from jayul.project.problem import N_, ManifestError, Problem
from jayul.record.files import write_whole

WATCHDOG = "watchdog"  # key of [plant]
SCHEMES = {"opcua": "opcua", "modbus": "modbus", "mqtt": "mqtt", "mqtts": "mqtt"}  # of a URL -> kind of plant


class Link(msgspec.Struct, frozen=True):
    """A plant on a wire that is put in the place of a manifest's: where it is, its tag table (None: look for it), and its speed."""

    url: str
    tags: Path | None = None
    speed: float = 1.0


def on_wire(manifest: Manifest) -> bool:
    """Say whether the plant of a manifest is behind a protocol, in another process or machine."""
    return issubclass(kinds.find(manifest, "plants", manifest.plant.kind, ["plant"]).config, LinkConfig)


def with_plant(manifest: Manifest, folder: Path, link: Link) -> Manifest:
    """Return the manifest with another plant in the place of its own. `folder`: that of the project. Raises ManifestError.

    Its tag table is the one given, or `tags.KIND.csv|toml`, or `tags.csv|toml` in the folder. Keys of a plant of that kind stay.
    """
    url, tags = link.url, link.tags
    scheme, mark, _ = url.partition("://")
    if not mark or scheme not in SCHEMES:
        message = N_("'{url}' is no plant; write it like opcua://HOST:4840, modbus://HOST:502 or mqtt://HOST:1883")
        raise ManifestError(Problem("--plant", "", 0, message, {"url": url}))
    kind = SCHEMES[scheme]
    if tags is None:
        names = [f"tags.{kind}.csv", f"tags.{kind}.toml", "tags.csv", "tags.toml"]
        tags = next((Path(name) for name in names if (folder / name).is_file()), None)
        if tags is None:
            message = N_("there is no tag table here ({names}); write one with: jayul browse {url} --out {file}")
            params = {"names": ", ".join(names), "url": url, "file": str(folder / names[0])}
            raise ManifestError(Problem(str(folder), "", 0, message, params))
    raw = msgspec.json.decode(manifest.canonical)
    same = raw["plant"] if raw["plant"].get("kind") == kind else {}
    path = str(tags) if (folder / tags).is_file() else str(tags.absolute())
    raw["plant"] = {**same, "kind": kind, "url": url, "tags": path, "speed": link.speed}
    if WATCHDOG not in same and _has(folder / path, TAG):
        raw["plant"][WATCHDOG] = TAG
    raw.setdefault("run", {})["commit"] = "tick"
    return parse(raw, manifest.file, manifest.text)


def _has(table: Path, name: str) -> bool:
    """Say whether a tag table has a tag of that name; a table that cannot be read has none: the plant itself will say why."""
    try:
        return name in [tag.name for tag in read_table(table).tags]
    except Refused:
        return False


def declared(manifest: Manifest, plant: Linked, config: LinkConfig) -> Simulated | None:
    """Ask the peer whether it is simulated, where that matters: simulated people or another speed. Raises ManifestError."""
    if not manifest.people.simulated and config.speed == 1:
        return None
    try:
        found = asyncio.run(plant.declared())
    except (Unreachable, Refused) as error:
        manifest.fail(["plant", "url"], "{text}", text=error)
    if found is None and config.speed != 1:
        manifest.fail(["plant", "speed"], N_("the peer does not declare itself simulated, so its speed is 1; take 'speed' out"))
    if found is not None and found.speed != config.speed:
        message = N_("the peer is played at speed {there}; say so here or with --speed {there}")
        manifest.fail(["plant", "speed"], message, there=f"{found.speed:g}")
    return found


def clock_of(found: Simulated | None, seed: int, stopped: Callable[[], bool]) -> Clock:
    """Return the clock of a run on a wire: the peer's, or the time of day."""
    return found.clock(seed, stopped=stopped) if found else Wall(seed, stopped=stopped)


def on_show(manifest: Manifest, seed: int, speed: float, kept: Path | None = None) -> tuple[Plant, Wall, Simulated]:
    """Return the simulated plant of a manifest on a clock that runs, with its declaration. Raises ManifestError.

    At speed 1 its time is the time of day, else it begins at `[run] start`. `kept`: file that keeps the clock, so that plant
    time goes on while nothing is played.
    """
    if on_wire(manifest):
        manifest.fail(["plant", "kind"], N_("is behind a wire already; simulate a project whose plant is simulated"))
    now = Wall().now()
    found = Simulated(speed, now if speed == 1 else utc(manifest.run.start), now)
    if kept is not None and kept.exists():
        before = Simulated.decode(kept.read_bytes())
        if before is None or before.speed != speed:
            message = N_("holds no clock at speed {speed}; name another file, or the speed of before")
            raise ManifestError(Problem(str(kept), "", 0, message, {"speed": f"{speed:g}"}))
        found = before
    elif kept is not None:
        write_whole(kept, found.encode().encode())
    clock = found.clock(seed)
    factory = kinds.find(manifest, "plants", manifest.plant.kind, ["plant"])
    options = dict(manifest.plant.options)
    if WATCHDOG in factory.config.__struct_fields__:  # type: ignore[attr-defined]
        options[WATCHDOG] = "365 d"  # the controller before it sheds
    config: Any = manifest.convert(["plant"], options, factory.config)
    try:
        return factory.make(config, clock), clock, found
    except (Refused, Unreachable) as error:
        manifest.fail(["plant"], "{text}", text=error)
