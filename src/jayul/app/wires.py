"""The commands of the wire: play a simulated plant on real protocols, write a first tag table."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from jayul.app import show
from jayul.app.commands import Json, ProjectFolder, RunFolder, app, as_json, console, interruptible
from jayul.app.texts import _
from jayul.core.expr import ExprError, duration
from jayul.plant.errors import Refused
from jayul.project import commission as commissioning
from jayul.project import run as running
from jayul.project import stage as stages
from jayul.project.manifest import load
from jayul.project.problem import N_


@app.command(help=_("Play a project's simulated plant on real protocols until Ctrl-C: OPC UA, Modbus, MQTT."))
def simulate(
    project: ProjectFolder,
    opcua: Annotated[int | None, typer.Option(help=_("port of the OPC UA server; 0: any"), min=0, max=65535)] = None,
    modbus: Annotated[int | None, typer.Option(help=_("port of the Modbus server; 0: any"), min=0, max=65535)] = None,
    mqtt: Annotated[str, typer.Option(help=_("broker to publish to, HOST:PORT"))] = "",
    speed: Annotated[float, typer.Option(help=_("so many times as fast as the time of day"), min=0.001, max=100_000.0)] = 1.0,
    seed: Annotated[int, typer.Option(help=_("decides every random number of a simulated plant"), min=0, max=2**62)] = 0,
    watchdog: Annotated[str, typer.Option(help=_("the controller sheds after so long without a sign of life"))] = "5 min",
    operator: Annotated[
        str, typer.Option(help=_("a simulated operator puts loops to remote again after so long; empty: nobody"))
    ] = "30 min",
    host: Annotated[str, typer.Option(help=_("address to listen on; 0.0.0.0 is open to the network"))] = "127.0.0.1",
    clock: Annotated[Path | None, typer.Option(help=_("file that keeps the clock from one play to the next"))] = None,
    tags: Annotated[Path | None, typer.Option(help=_("write the tag tables into this folder, and do not play"))] = None,
    json: Json = False,
) -> int:
    manifest, out = load(project), console()
    if tags is not None:
        paths = stages.write_tables(manifest, tags)
        for path in paths:
            out.print(_("Wrote {path}.").format(path=path), highlight=False)
        as_json(json, {"tables": [str(path) for path in paths]})
        return 0
    if opcua is None and modbus is None and not mqtt:
        raise running.refuse("simulate", N_("name at least one protocol: --opcua PORT, --modbus PORT or --mqtt HOST:PORT"))
    if mqtt and not mqtt.partition(":")[2].isdecimal() and ":" in mqtt:
        raise running.refuse(f"--mqtt {mqtt}", N_("write it like HOST:1883"))
    spans = {}
    for option, text in (("--watchdog", watchdog), ("--operator", operator)):
        try:
            spans[option] = duration(text) if text else 0
        except ExprError as error:
            raise running.refuse(option, "{text}", text=error) from None

    def ready(url: str) -> None:
        out.print(
            _("{project} answers at {url}").format(project=manifest.project.name, url=url), style="green", highlight=False
        )
        same = f" --speed {speed:g}" if speed != 1 else ""
        show.following(out, f"jayul run {project} --plant {url}{same}")
        out.file.flush()

    def waiting(broker: str) -> None:
        out.print(_("no broker answers at {broker} yet; it is tried again until it does").format(broker=broker), style="yellow")
        out.file.flush()

    stage = stages.Stage(
        manifest=manifest, seed=seed, speed=speed, watchdog=spans["--watchdog"], operator=spans["--operator"], opcua=opcua,
        modbus=modbus, mqtt=mqtt, host=host, clock=clock,
    )  # fmt: skip
    with interruptible() as stop:
        asyncio.run(stages.play(stage, ready, stop, waiting=waiting))
    return 0


@app.command(help=_("Write a first tag table from what an OPC UA server offers; nothing is writable until a person says so."))
def browse(
    url: Annotated[str, typer.Argument(metavar="URL", help=_("like opcua://HOST:4840"))],
    out: Annotated[Path, typer.Option(help=_("the tag table to write (CSV)"))],
    limit: Annotated[int, typer.Option(help=_("stop after so many nodes"), min=1)] = 50_000,
    json: Json = False,
) -> int:
    from jayul.plant.opcua.browse import browse as look_around
    from jayul.plant.table import write_table

    if out.exists():
        raise running.refuse(out, N_("exists already; choose another file"))
    try:
        table = asyncio.run(look_around(url, limit=limit))
    except Refused as error:
        raise running.refuse(url, "{text}", text=error) from None
    write_table(out, table)
    screen = console()
    text = _("Wrote {path}: {count} tags. Give limits and 'writable' to those that a policy may write.")
    screen.print(text.format(path=out, count=len(table.tags)), highlight=False)
    as_json(json, {"table": str(out), "tags": len(table.tags)})
    return 0


class _Terminal:
    """The person at the terminal."""

    def say(self, text: str, **params: object) -> None:
        console().print(_(text).format(**params), style="yellow", highlight=False)

    def confirm(self, text: str, **params: object) -> bool:
        return typer.confirm(_(text).format(**params), default=False)


@app.command(help=_("Prove, with a person at the plant, that clamps, watchdog and shedding exist in its controller."))
def commission(
    run: RunFolder,
    project: ProjectFolder,
    by: Annotated[str, typer.Option(help=_("your name, as in [people]"))] = "",
    within: Annotated[str, typer.Option(help=_("so long the controller may take to shed"))] = "10 min",
    json: Json = False,
) -> int:
    try:
        longest = duration(within)
    except ExprError as error:
        raise running.refuse("--within", "{text}", text=error) from None
    event = commissioning.commission(project, run, by=by, talk=_Terminal(), within=longest)
    out = console()
    for step in event.body["steps"]:
        mark = _("seen") if step.get("measured") and step.get("confirmed") else _("NOT SEEN")
        out.print(f"  {step['name']} {step['tag']}: {mark}", highlight=False)
    passed = event.body["passed"]
    text = (
        _("Commissioned: the gate to confirm may open.") if passed else _("Not commissioned: no policy goes above advise here.")
    )
    out.print(text, style="green" if passed else "bold red")
    show.following(out, show.command("status", run))
    as_json(json, {"id": event.id, "passed": passed, "steps": event.body["steps"]})
    return 0 if passed else 1


@app.command(help=_("Put a plant's connector through faults and say what was seen: a tier from the run, with its evidence."))
def conform(
    plant: Annotated[str, typer.Argument(metavar="KIND|URL", help=_("a kind of plant, or a server's URL (read only)"))],
    tags: Annotated[str, typer.Option(help=_("tag table, for a URL"))] = "",
    long: Annotated[float, typer.Option(help=_("length of the long outage, s"), min=1.0)] = 20.0,
    only: Annotated[list[str] | None, typer.Option(help=_("only these checks; no tier then"))] = None,
    out: Annotated[Path | None, typer.Option(help=_("the evidence file (runs/conform-KIND.json if not given)"))] = None,
    json: Json = False,
) -> int:
    from jayul.conform import evidence as shown
    from jayul.conform import plants

    screen = console()
    told = {"passed": _("passed"), "failed": _("FAILED"), "not applicable": _("not applicable"), "not tried": _("not tried")}

    def progress(result: shown.Result) -> None:
        style = {"passed": "green", "failed": "bold red"}.get(result.result, "dim")
        why = f" ({show.reason(result.why)})" if result.why else ""
        screen.print(f"{result.tier:6} {told[result.result]}: {result.name}{why}", style=style, highlight=False)

    try:
        found = asyncio.run(plants.conform(plant, long=long, tags=tags, only=only or (), progress=progress))
    except Refused as error:
        raise running.refuse(plant, "{text}", text=error) from None
    path = out or Path("runs") / f"conform-{found.kind}.json"
    found.write(path)
    earned = {"gold": _("gold"), "silver": _("silver"), "bronze": _("bronze"), "none": _("none")}
    screen.print(
        _("Tier: {tier}. Evidence in {path}.").format(tier=earned[found.tier], path=path), style="bold", highlight=False
    )
    as_json(json, found)
    return 0 if found.tier != "none" else 1
