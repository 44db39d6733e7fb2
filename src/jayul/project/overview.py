"""What there is in some folders: projects, their runs, and in a few words where each run stands. Nothing is changed."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from jayul.core.clock import today
from jayul.core.types import Decision, Frame, TagTable
from jayul.project import links
from jayul.project.hold import holder
from jayul.project.manifest import Manifest, load, parse_canonical
from jayul.project.problem import ManifestError, Problem
from jayul.project.run import read_header, read_summary
from jayul.project.summary import KPI, Summary
from jayul.record.files import OsFiles
from jayul.record.follow import Newest
from jayul.record.journal import Header, segments


class Overview(msgspec.Struct, frozen=True):
    """Where a run stands. `state`: running, interrupted, complete. `at`: plant time of the last tick, `age`: seconds since
    it was written; `fresh` of `tags` readings can be relied on. `kpi`: mean of a complete run, else the newest value.
    """

    header: Header
    plant: str
    state: str
    tick: int
    at: int
    age: float
    levels: dict[str, str]
    waits: int
    fresh: int
    tags: int
    kpi: float | None
    kpi_name: str
    kpi_unit: str
    conclusion: str
    period: float
    zone: str


class Project(msgspec.Struct, frozen=True):
    """A folder with a manifest; `problem` says why it cannot be used, if it cannot."""

    folder: Path
    name: str
    manifest: Manifest | None
    problem: Problem | None = None


class Watched:
    """One run folder, looked at again and again: only what is new is read."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._files = OsFiles(out / "journal", create=False)
        self._newest = Newest(self._files)
        self._header: Header | None = None
        self._manifest: Manifest | None = None

    def look(self) -> Overview | None:
        """Return where the run stands; None if there is no header yet. Raises Corrupt, OSError."""
        self._header = self._header or read_header(self._files)
        header = self._header
        if header is None:
            return None
        self._manifest = self._manifest or parse_canonical(header.manifest)
        manifest = self._manifest
        summary, decision, held = read_summary(self.out), self._newest.get(), holder(self.out) is not None
        state = "running" if held else "complete" if summary and summary.complete else "interrupted"
        written = (self._files.folder / segments(self._files)[-1]).stat().st_mtime_ns
        fresh, value = _readings(header, decision)
        done = summary if state == "complete" else None
        kpi = done.kpi["mean"] if done and done.kpi else value
        levels = decision.levels if decision else ()
        return Overview(
            header, manifest.plant.kind, state, decision.tick if decision else -1, decision.at if decision else 0,
            max(0.0, (today() - written) / 1e9),
            {name: level.name.lower() for name, level in zip(header.policies, levels, strict=False)},
            len(decision.asks) if decision and state != "complete" else 0, fresh, _measured(header), kpi,
            manifest.kpi.name if manifest.kpi else "", manifest.kpi.unit if manifest.kpi else "", _conclusion(done),
            period=manifest.span(["run", "period"], manifest.run.period) / 1e9,
            zone=str(manifest.plant.options.get("timezone", "UTC")),
        )  # fmt: skip


def _measured(header: Header) -> int:
    return sum(tag.kind != "derived" for tag in header.tags)


def _readings(header: Header, decision: Decision | None) -> tuple[int, float | None]:
    """Return how many readings of a tick can be relied on, and the KPI."""
    if decision is None:
        return 0, None
    table = TagTable(header.tags)
    frame = Frame.from_columns(decision.at, table, decision.columns)
    value = frame[KPI] if KPI in table.index else math.nan
    return sum(frame.fresh(tag.name) for tag in table.tags if tag.kind != "derived"), None if math.isnan(value) else value


def _conclusion(summary: Summary | None) -> str:
    return summary.proof.conclusion if summary and summary.proof else ""


def read_project(folder: Path) -> Project:
    """Read a project's manifest; one that is wrong is a project, too."""
    try:
        manifest = load(folder)
    except ManifestError as error:
        return Project(folder, folder.name, None, error.problem)
    return Project(folder, manifest.project.name, manifest)


def arguments_to_go_on(project: Project, header: Header) -> list[str] | None:
    """Return the arguments of `jayul run` under which a project goes on with a run; None if its manifest is another by now."""
    if project.manifest is None:
        return None
    own = ["--seed", str(header.seed)]
    if project.manifest.canonical == header.manifest:
        return own
    plant = msgspec.json.decode(header.manifest).get("plant", {})
    if not (plant.get("url") and plant.get("tags")):
        return None
    link = links.Link(plant["url"], Path(plant["tags"]), plant.get("speed", 1.0))
    try:
        linked = links.with_plant(project.manifest, project.folder, link)
    except ManifestError:
        return None
    if linked.canonical != header.manifest:
        return None
    return [*own, "--plant", link.url, "--tags", plant["tags"], "--speed", f"{link.speed:g}"]
