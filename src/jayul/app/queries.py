"""The commands that read a run's records: ask in SQL, export with a data card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from jayul.app import show
from jayul.app.commands import Json, RunFolder, app, as_json, console
from jayul.app.texts import _
from jayul.project import export as exporting
from jayul.project import query as asking
from jayul.project import tabular
from jayul.project import training as trainings
from jayul.project.api import Run

SHOWN = 100  # rows on a screen


@app.command(help=_("Ask a run in SQL (DuckDB): samples, ledger, tags, ticks, receipts, events. Nothing can be changed."))
def query(
    run: RunFolder,
    sql: Annotated[str, typer.Argument(metavar="[SQL]", help=_("one SELECT; without it the views are shown"))] = "",
    known_at: Annotated[str, typer.Option(help=_("the samples as they were known then, like 2026-01-01T00:00:00Z"))] = "",
    csv: Annotated[bool, typer.Option("--csv", help=_("print CSV"))] = False,
    out: Annotated[Path | None, typer.Option(help=_("write to this file: .parquet, .arrow or .csv"))] = None,
    training: Annotated[str, typer.Option(help=_("make this model's training rows again and compare their digest"))] = "",
    json: Json = False,
) -> int:
    opened, screen = Run(run), console()
    if training:
        return _training(opened, training, json)
    if not sql:
        views = asking.columns(opened)
        _views(views, run)
        as_json(json, {"views": {name: dict(found) for name, found in views.items()}})
        return 0
    if out is not None:
        tabular.kind_of(out)
    table = asking.query(opened, sql, known_at or None)
    if out is not None:
        tabular.write(table, out)
        screen.print(_("Wrote {path}: {n} rows.").format(path=out, n=table.num_rows), highlight=False)
        as_json(json, {"path": str(out), "rows": table.num_rows, "digest": Run.digest(table) if _plain(table) else None})
        return 0
    if csv:
        for text in tabular.csv(table):
            typer.echo(text.decode(), nl=False)
    elif not json:
        _table(table)
    as_json(json, {"columns": table.column_names, "rows": tabular.rows(table)})
    return 0


@app.command(
    help=_("Hand a run's samples to others: one file of data, and cards that say what they are (Frictionless, Croissant).")
)
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help=_("the folder to make"))],
    tags: Annotated[list[str] | None, typer.Option("--tags", help=_("only these tags; may be given several times"))] = None,
    start: Annotated[str, typer.Option("--from", help=_("from this source time on, like 2026-01-01T00:00:00Z"))] = "",
    end: Annotated[str, typer.Option("--to", help=_("before this source time"))] = "",
    known_at: Annotated[str, typer.Option(help=_("the samples as they were known then, like 2026-01-01T00:00:00Z"))] = "",
    form: Annotated[str, typer.Option("--format", help=_("parquet, csv or arrow"))] = "parquet",
    wide: Annotated[str, typer.Option(help=_("on a grid of this step, one column for each tag, like '1 min'"))] = "",
    licence: Annotated[str, typer.Option("--licence", help=_("the licence, as in SPDX; unknown if not given"))] = "",
    json: Json = False,
) -> int:
    wanted = exporting.Wanted(tuple(tags or ()), start, end, known_at, wide, form, licence)  # type: ignore[arg-type]
    found = exporting.export(Run(run), out, wanted)
    screen = console()
    text = _("Wrote {path}: {n} rows, {bytes} bytes; digest {digest}.")
    first, *cards = found.files
    words = {"n": found.rows, "bytes": found.bytes, "digest": found.digest[:16]}
    screen.print(text.format(path=out / first, **words), highlight=False)
    for name in cards:
        screen.print(_("Wrote {path}.").format(path=out / name), highlight=False)
    as_json(json, found)
    return 0


def _plain(table: pa.Table) -> bool:
    return not any(pa.types.is_nested(field.type) or pa.types.is_decimal(field.type) for field in table.schema)


def _table(table: pa.Table) -> None:
    screen = console()
    right = [i for i, field in enumerate(table.schema) if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)]
    drawn = show.columns(*table.column_names, right=right)
    for row in tabular.cells(table.slice(0, SHOWN)):
        drawn.add_row(*row)
    screen.print(drawn)
    text = (
        _("{n} rows.")
        if table.num_rows <= SHOWN
        else _("{n} rows; the first {shown} are shown: --csv or --out FILE gives all.")
    )
    screen.print(text.format(n=table.num_rows, shown=SHOWN), highlight=False)


def _views(views: dict[str, list[tuple[str, str]]], run: Path) -> None:
    screen = console()
    drawn = show.columns(_("view"), _("columns"), _("what"))
    for name, found in views.items():
        drawn.add_row(name, ", ".join(column for column, _kind in found), _(asking.VIEWS[name]))
    screen.print(drawn)
    for example in asking.EXAMPLES:
        show.following(screen, show.command("query", run, example))


def _training(run: Run, name: str, json: bool) -> int:
    found = trainings.rebuild(run, name)
    screen = console()
    for fit in found:
        text = _("{rows} rows from {begin} on: {digest} as learned, {again} from the history: {same}")
        same = _("the same") if fit.same else _("NOT the same")
        words = {
            "begin": show.instant(fit.begin, "UTC"),
            "digest": fit.digest[:16],
            "again": fit.again[:16] or _("too few rows"),
        }
        screen.print(text.format(rows=fit.rows, same=same, **words), style="green" if fit.same else "bold red", highlight=False)
    as_json(json, {"model": name, "same": all(fit.same for fit in found), "fits": found})
    return 0 if all(fit.same for fit in found) else 1
