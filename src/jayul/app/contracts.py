"""The command that proposes what is expected of each tag's samples, from records."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from jayul.app.commands import Data, Json, ProjectFolder, app, as_json, console, find_data
from jayul.app.texts import _
from jayul.core.types import SECOND
from jayul.plant.table import read_table
from jayul.project import links
from jayul.project import run as running
from jayul.project.manifest import load
from jayul.project.problem import N_
from jayul.project.samples import TAG, Recording, joined, of_recording
from jayul.project.wire import located, wire
from jayul.record.contract import TagContract
from jayul.record.propose import Seen, propose, toml

Proposed = dict[str, tuple[TagContract, Seen]]


@app.command(
    help=_("Propose a data contract from records: how often each tag comes, in which range, how late. A person decides.")
)
def contract(
    project: ProjectFolder,
    places: Annotated[
        list[Path] | None,
        typer.Option("--from", help=_("a run folder, or a Parquet or Arrow file; the project's recording if not given")),
    ] = None,
    out: Annotated[Path | None, typer.Option(help=_("write it to this file, which must not be there yet"))] = None,
    data: Data = None,
    json: Json = False,
) -> int:
    find_data(data)
    manifest = load(project)
    if out is not None and out.exists():
        raise running.refuse(out, N_("exists already; choose another file"))
    folder = project if project.is_dir() else project.parent
    plant: object = None
    if links.on_wire(manifest):  # its tags stand in a table; nobody has to be reached
        tags = read_table(Path(str(located(manifest, folder)["tags"]))).tags
    else:
        plant = (made := wire(manifest, folder, 0).plant)
        tags = made.tags.tags
    if places:
        samples = joined(places)
    elif isinstance(plant, Recording):
        samples = of_recording(plant)
    else:
        raise running.refuse("contract", N_("this plant is no recording; name records with --from RUN"))
    units = {tag.name: tag.unit for tag in tags}
    found = {name: both for name, both in propose(samples, units).items() if name in units}
    strange = sorted(set(samples[TAG].unique().to_pylist()) - set(units))
    if not found:
        raise running.refuse(
            "contract", N_("the records hold none of the project's tags; theirs are: {known}"), known=", ".join(strange[:8])
        )
    text = toml({name: proposal for name, (proposal, seen) in found.items()})
    _show(console(), found, strange)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, encoding="utf-8")
        console().print(_("Wrote {path}. Read it, change it, and put it into jayul.toml.").format(path=out), highlight=False)
    shown = {name: {"contract": proposal, "seen": msgspec.structs.asdict(seen)} for name, (proposal, seen) in found.items()}
    as_json(json, {"tags": shown, "unknown": strange, "out": str(out or "")})
    return 0


def _show(screen: Console, found: Proposed, strange: list[str]) -> None:
    """Show what was seen, beside what is proposed."""
    table = Table(box=None, pad_edge=False)
    heads = (_("tag"), _("samples"), _("good"), _("interval"), _("lowest"), _("highest"), _("delay"), _("proposed"))
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i in (0, len(heads) - 1) else "right")
    for name, (proposal, seen) in found.items():
        table.add_row(
            name, f"{seen.samples:,}", f"{100 * seen.good:.1f} %", _seconds(seen.interval), _number(seen.least), _number(seen.most),
            _seconds(seen.delay), _words(proposal),
        )  # fmt: skip
    screen.print(table)
    if strange:
        text = _("Not tags of this project, left out: {tags}")
        screen.print(
            text.format(tags=", ".join(strange[:8]) + (", ..." if len(strange) > 8 else "")), style="yellow", highlight=False
        )


def _words(proposal: TagContract) -> str:
    """Write a contract in a few words."""
    said = [_("every {rate}").format(rate=proposal.rate) if proposal.rate else _("on change")]
    if proposal.low is not None and proposal.high is not None:
        said.append(_("{low} to {high}").format(low=f"{proposal.low:g}", high=f"{proposal.high:g}"))
    if proposal.frozen:
        said.append(_("frozen after {span}").format(span=proposal.frozen))
    if proposal.monotone:
        said.append(_("a counter"))
    if proposal.late:
        said.append(_("late after {span}").format(span=proposal.late))
    return ", ".join(said)


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _seconds(ns: int) -> str:
    return f"{ns / SECOND:.4g} s"
