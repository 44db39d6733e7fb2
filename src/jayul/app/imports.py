"""`jayul import`: show what a file of records was understood to be, ask, and put it into a run's history."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from jayul.app import show
from jayul.app.commands import Json, app, as_json, console, interruptible
from jayul.app.texts import _
from jayul.core.clock import Wall, today
from jayul.core.expr import ExprError, duration
from jayul.plant.errors import Refused
from jayul.plant.imports.options import Options, read_tag_map, zone_of
from jayul.plant.imports.read import Series, Understood
from jayul.project import imports as importing
from jayul.project import run as running
from jayul.project.problem import N_

SHOWN = 40  # tags
PASSED = {
    "header again": N_("the header again"), "totals": N_("totals"), "comment": N_("comments"),
    "marker of the exporter": N_("markers of the exporter"), "after the data": N_("text after the data"),
}  # fmt: skip
WHAT = {
    "received": N_("read"), "stored": N_("stored"), "duplicate": N_("duplicates"), "corrected": N_("corrected"),
    "bad": N_("not good"), "late": N_("late"), "out_of_range": N_("out of range"),
}  # fmt: skip


@app.command(
    "import", help=_("Import exported records (CSV, Excel, Parquet, Arrow) into a run's history, after showing what they hold.")
)
def import_records(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help=_("files, or folders of files"))],
    into: Annotated[Path | None, typer.Option(help=_("the run folder; without it nothing is written"))] = None,
    timezone: Annotated[str, typer.Option(help=_("zone of times without one: Asia/Seoul, +09:00"))] = "",
    time: Annotated[str, typer.Option(help=_("the column of time"))] = "",
    time_format: Annotated[str, typer.Option(help=_("how times are written, as in %d/%m/%Y %H:%M"))] = "",
    day_first: Annotated[
        bool | None, typer.Option("--day-first/--month-first", help=_("how 03/04/2026 is read: 3 April, or March 4"))
    ] = None,
    repeated_hour: Annotated[str, typer.Option(help=_("the hour that comes twice: first, second, order (of the rows)"))] = "",
    sheet: Annotated[str, typer.Option(help=_("the sheet of a workbook"))] = "",
    encoding: Annotated[str, typer.Option(help=_("encoding of text: utf-8, cp949, cp1252, utf-16"))] = "",
    delimiter: Annotated[str, typer.Option(help=_("what stands between cells: a character, or tab"))] = "",
    decimal: Annotated[str, typer.Option(help=_("the decimal sign: . or ,"))] = "",
    quality: Annotated[str, typer.Option(help=_("what numbers of status mean: opcua, opcda, aveva, validity"))] = "",
    whole: Annotated[bool, typer.Option("--whole", help=_("the last line counts though it has no end"))] = False,
    tag_map: Annotated[Path | None, typer.Option(help=_("CSV with from, to, unit, states: other names for columns"))] = None,
    by: Annotated[str, typer.Option(help=_("your name"))] = "",
    yes: Annotated[bool, typer.Option("--yes", help=_("do not ask"))] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help=_("go on: import each file that comes, once it has stopped growing"))
    ] = False,
    every: Annotated[str, typer.Option(help=_("look for files so often"))] = "5 s",
    json: Json = False,
) -> int:
    if watch and (into is None or not yes):
        raise running.refuse("--watch", N_("goes with --into and --yes: nobody is there to be asked"))
    try:
        period = duration(every)
        options = Options(
            timezone, time, time_format, day_first, sheet, encoding, {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter), decimal,
            quality, repeated_hour, whole, read_tag_map(tag_map) if tag_map else {},
        )  # fmt: skip
    except (ValueError, ExprError) as error:
        raise running.refuse("import", "{text}", text=error) from None
    with interruptible() as stop, _bar() as bar:
        desk = _Desk(options if into is None else importing.for_run(into, options), yes, stop, bar)
        if into is None:
            desk.look(importing.files_in(files))
        else:
            with importing.importer(into, by, today) as writer:
                if watch:
                    asyncio.run(desk.watch(files, writer, period))
                else:
                    desk.work(importing.files_in(files), writer)
    if into is None and desk.understood:
        show.following(console(), show.command("import", *files, *_as_said(), "--into", "RUN"))
    as_json(json, {"files": desk.results})
    return desk.code()


def _as_said() -> list[str]:
    """Return the options of this command as they were typed."""
    words = sys.argv[sys.argv.index("import") + 1 :] if "import" in sys.argv else []
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    return [word for word in words[first:] if word != "--json"]


@contextmanager
def _bar() -> Iterator[Callable[[str, int], None]]:
    """Show on a terminal how many samples were read."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda text, done: None
        return
    with Progress("{task.description}", "{task.completed:,}", console=screen, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda text, done: bar.update(task, description=text, completed=done)


class _Desk:
    """Takes files one after another; a bad one costs one line and nothing else."""

    def __init__(self, options: Options, yes: bool, stop: Callable[[], bool], bar: Callable[[str, int], None]) -> None:
        self._options, self._yes, self._stop, self._bar = options, yes, stop, bar
        self._how, self._out = importing.how_of(options), console()
        self.results: list[dict[str, Any]] = []
        self.understood = self.refused = 0

    def code(self) -> int:
        """Return the exit code: 2 if no file could be understood, 1 if some could not."""
        return (1 if self.understood else 2) if self.refused else 0

    def look(self, files: Sequence[Path]) -> None:
        """Show what files hold; nothing is written."""
        for path in files:
            if (found := self._examine(path)) is not None:
                self.results.append({"understood": found.file.understood})

    def work(self, files: Sequence[Path], writer: importing.Importer) -> None:
        """Import files, each once."""
        for path in files:
            if self._stop():
                break
            self._one(path, writer)

    async def watch(self, paths: Sequence[Path], writer: importing.Importer, period: int) -> None:
        """Import each file that comes to the folders, once it stands still for a period."""
        clock, sizes, settled = Wall(stopped=self._stop), dict[Path, tuple[int, int]](), dict[Path, tuple[int, int]]()
        self._out.print(_("Watching; Ctrl-C ends it."), highlight=False)
        self._out.file.flush()
        while not self._stop():
            for path in importing.files_in([path for path in paths if path.exists()]):
                now = importing.size_of(path)
                if now is not None and now[0] and now == sizes.get(path) and now != settled.get(path):
                    settled[path] = now
                    self._one(path, writer, quiet=True)
                    self._out.file.flush()
                if now is not None:
                    sizes[path] = now
            await clock.until(clock.now() + period)

    def _one(self, path: Path, writer: importing.Importer, *, quiet: bool = False) -> None:
        try:
            digest = importing.digest_of(path)
        except OSError as error:
            self._refuse(path, importing.said_by(error))
            return
        if before := writer.seen(digest, self._how):
            if not quiet and before.state == "done":
                self.understood += 1
                text = _("{path}: imported already, at {time}")
                self._out.print(text.format(path=path, time=_instant(before.at, "UTC")), highlight=False)
                self.results.append({"path": str(path), "began": "complete", "counts": before.counts})
            if before.state == "done" or quiet:
                return
        found = self._examine(path, writer, digest)
        if found is None:
            return
        if not self._yes and not typer.confirm(_("Import it?"), default=False):
            self._out.print(_("Nothing was written."), highlight=False)
            return
        try:
            done = writer.take(found, self._how, lambda n: self._bar(path.name, n), self._stop)
        except (Refused, OSError) as error:
            self._refuse(path, importing.said_by(error))
            return
        self.results.append({"understood": found.file.understood, **msgspec.to_builtins(done)})
        counts = ", ".join(f"{done.counts[what]:,} {_(text)}" for what, text in WHAT.items() if done.counts.get(what))
        self._out.print(f"{path}: {counts or _('nothing')}", style="green", highlight=False)
        if not done.complete:
            self._out.print(_("Stopped; the same command goes on."), style="yellow", highlight=False)

    def _examine(self, path: Path, writer: importing.Importer | None = None, digest: str = "") -> importing.Found | None:
        try:
            found = importing.examine(path, self._options, lambda n: self._bar(path.name, n))
        except (Refused, OSError) as error:
            text = importing.said_by(error)
            self._refuse(path, text)
            if writer is not None and isinstance(error, Refused):
                writer.refused(path, digest, self._how, text)
            return None
        self.understood += 1
        understood(self._out, found.file.understood, found.compressed)
        return found

    def _refuse(self, path: Path, text: str) -> None:
        self.refused += 1
        self.results.append({"understood": Understood(str(path), refused=text)})
        print("jayul: " + " ".join(show.reason(text).split()), file=sys.stderr, flush=True)  # noqa: T201 - a mistake, one line


def understood(out: Console, found: Understood, compressed: dict[str, str]) -> None:
    """Show what a file was understood to be."""
    samples = sum(one.count for one in found.tags)
    head = _("{path}: {samples} samples of {tags} tags")
    out.print(head.format(path=found.path, samples=f"{samples:,}", tags=len(found.tags)), style="bold", highlight=False)
    kind = _("a row for each sample") if found.layout == "long" else _("a column for each tag")
    delimiter = {"\t": _("tab"), "": ""}.get(found.delimiter, f"'{found.delimiter}'")
    facts = [
        (_("encoding"), found.encoding, found.why.get("encoding", "")),
        (_("delimiter"), delimiter, ""), (_("sheet"), found.sheet, ""),
        (_("header"), ", ".join(map(str, found.headers)), ""), (_("layout"), kind, ""),
        (_("time"), f"{found.time} ({found.time_form})", next((found.why[k] for k in ("abc", "abcc") if k in found.why), "")),
        (_("zone"), found.zone, ""), (_("decimal sign"), found.decimal, found.why.get("decimal", "")),
        (_("status"), found.quality, ""),
    ]  # fmt: skip
    for name, value, why in facts:
        if value:
            out.print(f"  {name}: {value}" + (f" ({show.reason(why)})" if why else ""), highlight=False)
    out.print(_table(found))
    if len(found.tags) > SHOWN:
        out.print(_("  and {count} more tags").format(count=len(found.tags) - SHOWN), highlight=False)
    _notes(out, found, compressed)


def _table(found: Understood) -> Any:
    titles = (_("tag"), _("unit"), _("samples"), _("not good"), _("from"), _("to"), _("interval"), _("words, states"))
    table = show.columns(*titles, right=[2, 3, 6])
    for one in found.tags[:SHOWN]:
        ends = [_instant(at, found.zone) if one.count else "–" for at in (one.first, one.last)]
        table.add_row(one.name, one.unit or "–", f"{one.count:,}", f"{one.bad:,}", *ends, _interval(one.interval), _words(one))
    return table


def _instant(at: int, zone: str) -> str:
    return dt.datetime.fromtimestamp(at // 10**9, zone_of(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def _interval(span: int) -> str:
    return f"{span / 1e9:.15g} s" if span else "–"


def _words(one: Series) -> str:
    states = [f"{word} = {code:g}" for word, code in sorted(one.states.items(), key=lambda item: item[1])]
    said = {"(status)": _("by status"), "(number)": _("blank")}
    return ", ".join([*states, *(f"{said.get(word, word)}: {n:,}" for word, n in one.words.items())]) or "–"


def _notes(out: Console, found: Understood, compressed: dict[str, str]) -> None:
    for name, why in found.left_out.items():
        text = _("left out: {name}") if why == "not asked for" else _("left out: {name}, which holds words: {words}")
        out.print("  " + text.format(name=name, words=why), style="yellow", highlight=False)
    for reason, n in found.passed.items():
        text = _("rows passed over: {count} ({reason})")
        out.print("  " + text.format(count=n, reason=_(PASSED[reason])), style="yellow", highlight=False)
    for warning in found.warnings:
        out.print("  " + show.reason(warning), style="yellow", highlight=False)
    for name, figure in compressed.items():
        text = _(
            "{name}: seems to have been compressed by a historian ({figure}): correlations and spreads of it are not to be trusted"
        )
        out.print("  " + text.format(name=name, figure=figure), style="yellow", highlight=False)
