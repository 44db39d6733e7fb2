"""The commands. Each is thin: it asks a room, shows what came back, and says what is useful next."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from jayul import __version__
from jayul.app import claims, proofs, records, show
from jayul.app.texts import _
from jayul.core.types import Event
from jayul.project import audit as audits
from jayul.project import baseline as baselines
from jayul.project import cases as inventory
from jayul.project import claims as claiming
from jayul.project import histories, invariance, links, look, people, proof
from jayul.project import impact as impacts
from jayul.project import run as running
from jayul.project.manifest import NAME, load
from jayul.project.problem import N_
from jayul.project.wire import DATA, Surveyed, wire
from jayul.prove.plan import Plan

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help=_("the last line is one JSON object"))]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help=_("a run folder"))]
Data = Annotated[Path | None, typer.Option("--data", help=_("where the data lies that a manifest calls $JAYUL_DATA"))]
ProjectFolder = Annotated[Path, typer.Argument(metavar="PROJECT", help=_("a folder with jayul.toml"))]
TEMPLATES = ("tank", "tennessee-eastman")


def console() -> Console:
    """Return the console for people: stdout, wide enough for tables when it is not a terminal."""
    out = Console(soft_wrap=False, markup=False)
    return out if out.is_terminal else Console(width=150, soft_wrap=False, markup=False)


def as_json(on: bool, value: Any) -> None:
    """Print one JSON object as the last line, if it is asked for."""
    if on:
        typer.echo(show.as_json(value))


def _version(on: bool) -> None:
    if on:
        typer.echo(f"jayul {__version__}")
        raise typer.Exit


@app.callback(help=_("Run an AI project on a production line from first connection to proven benefit."))
def root(
    lang: Annotated[str, typer.Option(help=_("language: en or ko"))] = "en",
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help=_("show the version"))] = False,
) -> None:
    pass


@app.command(help=_("Make a new project from a template: tank, tennessee-eastman."))
def init(
    template: Annotated[str, typer.Argument(help=_("the template: tank or tennessee-eastman"))],
    folder: Annotated[Path, typer.Argument(help=_("the folder to make"))],
    json: Json = False,
) -> int:
    if template not in TEMPLATES:
        raise running.refuse(template, N_("unknown template; there is: {known}"), known=", ".join(TEMPLATES))
    path = folder / NAME
    if path.exists():
        raise running.refuse(path, N_("exists already; choose another folder"))
    if folder.exists() and not folder.is_dir():
        raise running.refuse(folder, N_("is a file; choose another folder"))
    text = (resources("jayul.project") / "templates" / template / NAME).read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r'[\x00-\x1f\x7f"\\]', "-", folder.resolve().name)
    path.write_text(text.format(name=name), encoding="utf-8")
    out = console()
    out.print(_("Made {path}.").format(path=path), highlight=False)
    show.following(out, show.command("run", folder))
    as_json(json, {"manifest": str(path)})
    return 0


@app.command(help=_("Check a manifest: one line says what is wrong, where, and what to write instead."))
def check(
    project: ProjectFolder,
    schema: Annotated[bool, typer.Option("--schema", help=_("print the JSON Schema of manifests instead"))] = False,
    data: Data = None,
    json: Json = False,
) -> int:
    find_data(data)
    if schema:
        from jayul.project.schema import manifest_schema

        typer.echo(show.as_json(manifest_schema()))
        return 0
    wired = wire(load(project), project if project.is_dir() else project.parent, 0)
    shifts = invariance.check(wired, 0)
    out = console()
    policies = ", ".join(wired.header.policies) or _("none")
    text = _("{project}: sound. {tags} tags, {kept} kept in the journal; policies: {policies}; {ticks} ticks.")
    tags = len(wired.plant.tags.tags)
    values = {"project": wired.manifest.project.name, "tags": tags, "kept": len(wired.header.tags), "policies": policies}
    out.print(text.format(**values, ticks=wired.ticks), style="green", highlight=False)
    if wired.manifest.people.simulated:
        out.print(_("Signatures will be simulated."), style="yellow")
    if isinstance(wired.plant, Surveyed):
        show.survey(out, wired.plant.survey(), wired)
    if wired.header.proof:
        proofs.planned(out, msgspec.json.decode(wired.header.proof, type=Plan), shifts)
    show.following(out, show.command("run", project))
    as_json(json, {**values, "policies": list(wired.header.policies), "ticks": wired.ticks, "ok": True})
    return 0


@app.command(help=_("Run a project, or go on with a run that was interrupted."))
def run(
    project: ProjectFolder,
    out: Annotated[Path | None, typer.Option(help=_("the run folder (runs/NAME if not given)"))] = None,
    seed: Annotated[int, typer.Option(help=_("decides every random number of a simulated plant"), min=0, max=2**62)] = 0,
    ticks: Annotated[int | None, typer.Option(help=_("stop after so many ticks; the same command goes on"), min=1)] = None,
    ack_fd: Annotated[int | None, typer.Option(help=_("write each tick that is on disk to this file descriptor"))] = None,
    no_history: Annotated[bool, typer.Option("--no-history", help=_("do not write Parquet"))] = False,
    data: Data = None,
    plant: Annotated[
        str, typer.Option(help=_("another plant in the place of the manifest's: opcua://, modbus://, mqtt://"))
    ] = "",
    tags: Annotated[Path | None, typer.Option(help=_("its tag table (tags.KIND.csv of the project if not given)"))] = None,
    speed: Annotated[float | None, typer.Option(help=_("how fast that plant is played, if it is simulated"))] = None,
    json: Json = False,
) -> int:
    find_data(data)
    if not plant and (speed is not None or tags is not None):
        raise running.refuse("--speed" if speed is not None else "--tags", N_("goes with --plant only"))
    link = links.Link(plant, tags, 1.0 if speed is None else speed) if plant else None
    out = out or Path("runs") / load(project).project.name
    with interruptible() as stop, _progress() as progress:
        acknowledge = _acknowledge(ack_fd)
        options = running.Options(seed, ticks, not no_history, stop, acknowledge, progress, link)
        result = proof.conclude(running.execute(project, out, options), project)
    screen = console()
    if stop():
        screen.print(_("Stopped at the end of a tick; the same command goes on."), style="yellow")
    linked = (
        ("--plant", plant, *(("--tags", tags) if tags else ()), *(("--speed", f"{speed:g}") if speed else ())) if plant else ()
    )
    show.run(screen, result, project, *linked)
    if result.trouble:
        screen.print(
            _("The history: {trouble}").format(trouble=result.trouble), style="yellow", highlight=False, soft_wrap=True
        )
    if result.summary.complete and result.began != "complete":
        _report(out)
    as_json(json, result.summary)
    return 0


def find_data(data: Path | None) -> None:
    """Hand `--data` to the manifest, which reads it as JAYUL_DATA."""
    if data is not None:
        if not data.is_dir():
            raise running.refuse(f"--data {data}", N_("no such folder"))
        os.environ[DATA] = str(data)


def _acknowledge(fd: int | None) -> Callable[[int], None]:
    if fd is None:
        return lambda tick: None
    try:
        os.fstat(fd)
    except OSError:
        raise running.refuse(f"--ack-fd {fd}", N_("is not open; open it in the calling process")) from None
    return lambda tick: _write(fd, tick)


def _write(fd: int, tick: int) -> None:
    os.write(fd, b"%d\n" % tick)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or a polite kill) into a wish to stop at the end of the tick; the second one ends at once."""
    asked: list[int] = []

    def handler(number: int, frame: object) -> None:  # noqa: ARG001 - the shape of a signal handler
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _progress() -> Iterator[running.Watch]:
    """Show a bar on a terminal."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda done, total: None
        return
    with Progress(*Progress.get_default_columns()[:3], TimeRemainingColumn(), console=screen, transient=True) as bar:
        task = bar.add_task(_("ticks"), total=None)

        def progress(done: int, total: int) -> None:
            if done % 128 == 0 or done == total:
                bar.update(task, completed=done, total=total)

        yield progress


@app.command(help=_("Show where a run stands: level, what was asked, allowed, applied, what waits for a person."))
def status(run: RunFolder, json: Json = False) -> int:
    found = look.status(run)
    show.status(console(), run, found)
    as_json(json, found)
    return 0


@app.command(help=_("Run guard and ladder again on a journal; --full: models and policies too."))
def replay(
    run: RunFolder, full: Annotated[bool, typer.Option("--full", help=_("models and policies too"))] = False, json: Json = False
) -> int:
    with _progress() as progress:
        found = look.replay(run, full=full, progress=progress)
    show.replayed(console(), run, found)
    as_json(json, found)
    return 1 if found.differing else 0


@app.command(help=_("Check that a journal is what was written, or recompute a claim; with the public key alone."))
def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN|CLAIM", help=_("a run folder, a claim's folder or a sealed claim"))],
    head: Annotated[list[str] | None, typer.Option(help=_("a head known from elsewhere, SEQ:DIGEST or a signed head"))] = None,
    key: Annotated[Path | None, typer.Option(help=_("file with the run's public key, kept outside the run"))] = None,
    json: Json = False,
) -> int:
    if claiming.is_claim(run):
        found = claiming.verify(run, tuple(head or ()), key)
        claims.verified(console(), run, found)
        as_json(json, claims.as_dict(found))
        return 0 if found.ok else 1
    report = look.check(run, tuple(head or ()), key)
    show.verified(console(), run, report)
    history = histories.check(run)
    show.verified_history(console(), history)
    ok = report.ok and (history is None or history.ok)
    as_json(json, {"ok": ok, **look.as_dict(report), "history": history})
    return 0 if ok else 1


@app.command(help=_("Measure what the run's proof plan asks for, from its journal alone."))
def prove(run: RunFolder, json: Json = False) -> int:
    if baselines.has_baseline(run):
        found = baselines.measure_baseline(run)
        proofs.before_and_after(console(), run, found)
        as_json(json, found)
        return 0
    effect = proof.measure(run)
    proofs.effect(console(), run, effect, proof.plan_of(run))
    as_json(json, effect)
    return 0


@app.command(help=_("Write the claim of a complete run: plan, data, price, figures and signatures, for others to verify."))
def claim(
    run: RunFolder,
    to: Annotated[Path | None, typer.Option(help=_("the folder to write to (RUN/claims if not given)"))] = None,
    by: Annotated[str, typer.Option(help=_("sign it, too: your name, as in [people]"))] = "",
    lesson: Annotated[str, typer.Option(help=_("what was learned, for the inventory"))] = "",
    sealed: Annotated[bool, typer.Option("--sealed", help=_("a small file without data and tags, for an office"))] = False,
    json: Json = False,
) -> int:
    paper, path = claiming.write(run, to, by=by, lesson=lesson, seal=sealed)
    claims.written(console(), paper, path)
    as_json(json, {"path": str(path), "claim": paper})
    return 0


@app.command(help=_("List the claims under folders, failures too: what was tried, what came of it, what was learned."))
def cases(
    folder: Annotated[list[Path] | None, typer.Argument(metavar="DIR", help=_("folders (runs if not given)"))] = None,
    search: Annotated[str, typer.Option(help=_("only claims in which these words stand"))] = "",
    json: Json = False,
) -> int:
    folders = folder or [Path("runs")]
    found = inventory.cases(folders, search)
    claims.cases(console(), found)
    as_json(json, found)
    return 0


def _report(out: Path, to: Path | None = None) -> list[Path]:
    from jayul.app import demo as demos

    paths = demos.reports(out, to)
    for path in paths:
        console().print(_("Wrote {path}.").format(path=path), highlight=False)
    return paths


@app.command(help=_("Write the report of a complete run as HTML, in English and Korean."))
def report(
    run: RunFolder,
    to: Annotated[Path | None, typer.Option(help=_("the folder to write to (RUN/reports if not given)"))] = None,
    json: Json = False,
) -> int:
    paths = _report(run, to)
    show.following(console(), show.command("verify", run))
    as_json(json, {"reports": [str(path) for path in paths]})
    return 0


@app.command(help=_("Sign for a level, approve or reject a plan, demote a policy; or make a key (--new-key)."))
def sign(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help=_("a run folder"))] = None,
    ask: Annotated[str | None, typer.Argument(help=_("what waits, as status shows it: POLICY:LEVEL or POLICY:PLAN"))] = None,
    by: Annotated[str, typer.Option(help=_("your name, as in [people]"))] = "",
    reject: Annotated[bool, typer.Option("--reject", help=_("reject the plan"))] = False,
    demote: Annotated[str | None, typer.Option(help=_("take this policy down to record"))] = None,
    reason: Annotated[str, typer.Option(help=_("why"))] = "",
    new_key: Annotated[str | None, typer.Option(help=_("make a key for this name and print its public half"))] = None,
    json: Json = False,
) -> int:
    out = console()
    if new_key:
        public = people.new_key(new_key)
        out.print(_("Public key of {name}; write it into [[people.person]]:").format(name=new_key), highlight=False)
        out.print(f'key = "{public}"', highlight=False)
        as_json(json, {"name": new_key, "key": public})
        return 0
    if run is None:
        raise running.refuse("sign", N_("name a run folder, or make a key with --new-key NAME"))
    _handed_in(run, people.hand_in(run, ask, by=by, reject=reject, demote=demote, reason=reason), json)
    return 0


@app.command(help=_("Set narrower limits for a tag, lock it, or clear your order; signed with your key."))
def limit(
    run: RunFolder,
    tag: Annotated[str, typer.Argument(help=_("the tag"))],
    low: Annotated[float | None, typer.Option(help=_("not below, in the tag's unit"))] = None,
    high: Annotated[float | None, typer.Option(help=_("not above"))] = None,
    lock: Annotated[bool, typer.Option("--lock", help=_("hands off: nothing is written to it"))] = False,
    clear: Annotated[bool, typer.Option("--clear", help=_("end your order"))] = False,
    of: Annotated[str | None, typer.Option(help=_("whose order to clear (engineers only)"))] = None,
    by: Annotated[str, typer.Option(help=_("your name, as in [people]"))] = "",
    reason: Annotated[str, typer.Option(help=_("why"))] = "",
    json: Json = False,
) -> int:
    said = {"low": low, "high": high, "lock": lock or None, "clear": clear or None, "of": of, "reason": reason or None}
    event = people.order(run, tag, {key: value for key, value in said.items() if value is not None}, by=by)
    _handed_in(run, event, json)
    return 0


@app.command(help=_("Take a policy down to record, at once; nobody's leave is needed."))
def demote(
    run: RunFolder,
    policy: Annotated[str, typer.Argument(help=_("the policy"))],
    by: Annotated[str, typer.Option(help=_("your name"))] = "",
    reason: Annotated[str, typer.Option(help=_("why"))] = "",
    json: Json = False,
) -> int:
    _handed_in(run, people.hand_in(run, None, by=by, demote=policy, reason=reason), json)
    return 0


@app.command(name="hand-back", help=_("Hand all loops of a run back to the plant's own control; every policy goes to record."))
def hand_back(
    run: RunFolder,
    by: Annotated[str, typer.Option(help=_("your name"))] = "",
    reason: Annotated[str, typer.Option(help=_("why"))] = "",
    json: Json = False,
) -> int:
    events = people.hand_back(run, by=by, reason=reason)
    console().print(_("Handed to the loop: {n} act(s).").format(n=len(events)), highlight=False)
    as_json(json, {"events": [{"id": event.id, "kind": event.kind, "body": event.body} for event in events]})
    return 0


@app.command(help=_("Show what a new manifest or a replaced sensor means for a run; with --by and --reason: approve it."))
def change(
    run: RunFolder,
    project: Annotated[Path | None, typer.Argument(help=_("a project folder, as it is now"))] = None,
    tag: Annotated[list[str] | None, typer.Option(help=_("a sensor that was replaced or recalibrated"))] = None,
    by: Annotated[str, typer.Option(help=_("your name, as in [people]"))] = "",
    reason: Annotated[str, typer.Option(help=_("why"))] = "",
    json: Json = False,
) -> int:
    if (project is None) == (not tag):
        raise running.refuse("change", N_("name a project folder, or sensors with --tag; not both"))
    out, found = console(), impacts.compare(run, project) if project is not None else None
    impact = found.impact if found is not None else impacts.replaced(run, tag or [])
    records.change(out, found, impact)
    if found is not None and not found.differences:
        as_json(json, found)
        return 0
    if by or reason:
        folder = project if project is None or project.is_dir() else project.parent
        event = impacts.approve(run, impact, by=by, reason=reason, change=found, folder=folder)
        out.print(_("Approved by {who}: {id}.").format(who=by, id=event.id), highlight=False)
        after = ("audit", run) if folder is None else ("run", folder, "--out", running.free(run))
        show.following(out, show.command(*after))
    else:
        what = [project] if project is not None else [word for name in tag or [] for word in ("--tag", name)]
        show.following(out, show.command("change", run, *what, "--by", "NAME", "--reason", "WHY"))
    as_json(json, found or impact)
    return 0


def _handed_in(run: Path, event: Event, json: bool) -> None:
    out = console()
    out.print(_("Handed in as {id}; the loop takes it at its next tick.").format(id=event.id), highlight=False)
    show.following(out, show.command("status", run))
    as_json(json, {"id": event.id, "kind": event.kind, "body": event.body})


@app.command(help=_("Show the ladder: level of each policy, evidence, what is missing, and when it could come."))
def ladder(run: RunFolder, json: Json = False) -> int:
    found = look.ladder(run)
    records.ladder(console(), run, found)
    as_json(json, found)
    return 0


@app.command(help=_("List who did what, when, to what, and why; every line leads to its tick."))
def audit(
    run: RunFolder,
    kind: Annotated[list[str] | None, typer.Option(help=_("only these kinds: approval, level, plan, refused, ..."))] = None,
    who: Annotated[str, typer.Option(help=_("only this person, policy or monitor"))] = "",
    subject: Annotated[str, typer.Option(help=_("only this policy, plan or tag"))] = "",
    since: Annotated[int, typer.Option(help=_("from this tick on"), min=0)] = 0,
    until: Annotated[int | None, typer.Option(help=_("up to this tick"), min=0)] = None,
    csv: Annotated[Path | None, typer.Option(help=_("write the lines to this file"))] = None,
    json: Json = False,
) -> int:
    found = audits.audit(run, audits.Filter(tuple(kind or ()), who, subject, since, until))
    out = console()
    if csv is not None:
        records.audit_csv(csv, found)
        out.print(_("Wrote {path}.").format(path=csv), highlight=False)
    else:
        records.audit(out, run, found)
    as_json(json, found)
    return 0


@app.command(help=_("Demos: tennessee-eastman (connection to proof), tank (what happens when things break)."))
def demo(
    name: Annotated[str, typer.Argument(help=_("the demo: tank or tennessee-eastman"))] = "tank",
    out: Annotated[Path | None, typer.Option(help=_("keep the runs in this folder"))] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help=_("decides every random number"))] = 0,
    open_: Annotated[bool, typer.Option("--open", help=_("show the runs in the control room afterwards"))] = False,
    json: Json = False,
) -> int:
    from jayul.app import demo as demos

    if name not in TEMPLATES:
        raise running.refuse(name, N_("unknown demo; there is: {known}"), known=", ".join(TEMPLATES))
    work = out or Path("runs") / (name if name == "tennessee-eastman" else f"demo-{name}")
    if name == "tennessee-eastman":
        with interruptible() as stop, _progress() as progress:
            options = running.Options(seed, stop=stop, progress=progress)
            result, good = demos.tennessee_eastman(console(), work, options).summary, True
        as_json(json, result)
    else:
        found = demos.tank(console(), work, seed)
        as_json(json, {"demo": name, "found": found})
        good = all(row["found"] for row in found)
    if open_:
        from jayul.app.uis import serve

        serve([work], show_it=True)
    elif not json:
        show.following(console(), show.command("ui", work))
    return 0 if good else 1
