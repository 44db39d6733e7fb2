"""The command of the history: what a run keeps of its samples, and the upkeep of it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jayul.app import show
from jayul.app.commands import Json, RunFolder, app, as_json, console
from jayul.app.texts import _
from jayul.project import histories
from jayul.project.histories import Act, Holding


@app.command(help=_("Show what a run's history holds and what was retired; merge small files, or make summaries anew."))
def history(
    run: RunFolder,
    act: Annotated[Act, typer.Argument(help=_("show; compact: merge small files; rebuild: make all summaries anew"))] = "show",
    json: Json = False,
) -> int:
    found = histories.tend(run, act)
    screen = console()
    if act == "rebuild":
        screen.print(_("Summaries of {count} files made anew.").format(count=found.made[0]), style="green", highlight=False)
    elif act == "compact":
        text = _("Merged into: {names}").format(names=", ".join(found.made)) if found.made else _("No small files to merge.")
        screen.print(text, style="green", highlight=False)
    holding(screen, run, found)
    as_json(json, found)
    return 0


def holding(screen: Console, run: Path, found: Holding) -> None:
    """Show what a history holds."""
    line = _("{values} samples in {files} Parquet files, {hot} segments not in Parquet yet; {size:.1f} MB in all.")
    screen.print(
        line.format(values=found.values, files=found.files, hot=found.hot_segments, size=found.bytes / 1e6), highlight=False
    )
    if found.end >= found.begin:
        line = _("From {begin} to {end} (UTC, time of the source).")
        screen.print(line.format(begin=show.instant(found.begin, "UTC"), end=show.instant(found.end, "UTC")), highlight=False)
    for entry in found.retired:
        what = _("samples") if entry.what == "samples" else _("summaries")
        line = _("Retired at {at}: {what} of {values} values up to {end}.")
        at, end = show.instant(entry.at, "UTC"), show.instant(entry.end, "UTC")
        screen.print(line.format(at=at, what=what, values=entry.values, end=end), highlight=False)
    show.following(screen, show.command("verify", run))
