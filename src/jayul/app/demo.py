"""`jayul demo tank`: a run that breaks itself on purpose, and what was found."""

from __future__ import annotations

import shutil
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from rich.console import Console

from jayul.app import report, show, texts
from jayul.app.texts import _
from jayul.conform import breakage
from jayul.core.clock import monotonic
from jayul.project.manifest import NAME
from jayul.project.problem import N_
from jayul.project.proof import conclude
from jayul.project.run import Options, Result, execute, read_header, refuse
from jayul.record.files import OsFiles

MARK = ".jayul-demo"


def tank(console: Console, work: Path, seed: int) -> list[dict[str, Any]]:
    """Run the demo in a folder of its own (made anew) and return what was found."""
    if work.exists():
        if not (work / MARK).exists():
            raise refuse(work, N_("is not a demo's folder; choose another --out"))
        shutil.rmtree(work)
    work.mkdir(parents=True)
    (work / MARK).touch()
    begun = monotonic()
    console.print(
        _("A simulated line of two heated tanks; signatures are simulated. Seven things are broken on purpose."), style="bold"
    )
    console.print()
    rows: list[dict[str, Any]] = []

    def line(finding: breakage.Finding) -> None:
        params = {name: _(word(name, value)) for name, value in finding.params.items()}
        what = _(finding.what).format(**params)
        rows.append({"broken": finding.broken, "found": finding.found, "what": finding.what.format(**finding.params)})
        mark = _("found") if finding.found else _("MISSED")
        style = "green" if finding.found else "bold red"
        console.print(f"{len(rows)}. {_(finding.broken)}", highlight=False)
        console.print(f"   {mark}: {what}", style=style, highlight=False)

    result, found = breakage.tank(work, seed, line)
    console.print()
    show.run(console, result, str(work / "line"))
    console.print()
    count = sum(finding.found for finding in found)
    text = _("{count} of {all} found, in {seconds:.0f} s. Everything stands in {work}.")
    console.print(
        text.format(count=count, all=len(found), seconds=monotonic() - begun, work=work), style="bold", highlight=False
    )
    show.following(console, "jayul init tank my-line")
    return rows


def tennessee_eastman(console: Console, out: Path, options: Options) -> Result:
    """Run a whole project on the Tennessee Eastman plant, or go on with it, and write its report. Raises ManifestError."""
    project = out / "project"
    header = read_header(OsFiles(out / "journal", create=False)) if (out / MARK).exists() else None
    if header is not None and header.seed != options.seed:
        shutil.rmtree(out)  # a demo's own folder, of another seed
    if not (project / NAME).exists():
        if out.exists() and any(out.iterdir()):
            raise refuse(out, N_("is not a demo's folder; choose another --out"))
        text = (resources("jayul.project") / "templates" / "tennessee-eastman" / NAME).read_text(encoding="utf-8")
        project.mkdir(parents=True)
        (out / MARK).touch()
        (project / NAME).write_text(text.format(name="tennessee-eastman"), encoding="utf-8")
    result = conclude(execute(project, out, options), project)
    show.run(console, result, str(project))
    if result.summary.complete:
        for path in reports(out):
            console.print(_("Wrote {path}.").format(path=path), highlight=False)
    return result


def reports(out: Path, to: Path | None = None) -> list[Path]:
    """Write the report of a run in both languages; the reader's language stays as it is."""
    now, paths = texts.current(), []
    for language in texts.LANGUAGES:
        texts.setup(language)
        paths.append(report.write(out, language, to and to / f"report.{language}.html"))
    texts.setup(now)
    return paths


def word(name: str, value: str) -> str:
    """Return the text that a code stands for."""
    return {"level": show.LEVELS, "up": show.LEVELS, "reason": show.REASONS, "state": show.STATES}.get(name, {}).get(
        value, value
    )
