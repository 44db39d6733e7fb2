"""Look after the history of a run: how it is kept, what it holds, its upkeep by hand, whether it is what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from jayul.project.manifest import Manifest
from jayul.project.problem import N_
from jayul.record.chain import Broken
from jayul.record.files import OsFiles
from jayul.record.history import HistoryReport, Policy, verify_history
from jayul.record.history.catalogue import Catalogue, Retired, listed
from jayul.record.history.seal import sealed
from jayul.record.history.upkeep import compact, rebuild

FOLDER = "history"
Act = Literal["show", "compact", "rebuild"]


class Holding(msgspec.Struct, frozen=True):
    """What a history holds. Times are ns UTC (source time; 0 and -1 where there is none); `bytes` of all files."""

    files: int
    hot_segments: int
    values: int  # in Parquet
    bytes: int
    begin: int
    end: int
    retired: list[Retired]
    made: list[str]  # by this command: files merged, or summaries made anew


def policy(manifest: Manifest) -> Policy:
    """Return how a manifest wants its history to be kept. Raises ManifestError."""
    section = manifest.history
    keep, keep_pyramid = (
        manifest.span(["history", key], text) if text else 0
        for key, text in (("keep", section.keep), ("keep_pyramid", section.keep_pyramid))
    )
    if keep_pyramid and (not keep or keep_pyramid < keep):
        manifest.fail(
            ["history", "keep_pyramid"], N_("summaries cannot go before the samples: it must not be shorter than 'keep'")
        )
    return Policy(keep, keep_pyramid, section.compact)


def check(out: Path) -> HistoryReport | None:
    """Verify the history of a run folder against the run's key; None if it has none. Raises OSError."""
    folder = out / FOLDER
    if not folder.is_dir():
        return None
    try:
        public = (out / "keys" / "run.pub").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        public = ""
    return verify_history(folder, public)


def tend(out: Path, act: Act, progress: Callable[[int, int], None] = lambda done, of: None) -> Holding:
    """Show, merge or rebuild the history of a run folder, while no run goes on in it. Raises ManifestError, OSError."""
    from jayul.project.run import locked, refuse

    folder = out / FOLDER
    if not folder.is_dir():
        raise refuse(out, N_("holds no history"))
    files = OsFiles(folder, create=False)
    try:
        if act == "show":
            return holding(files)
        with locked(out):
            catalogue = Catalogue(files)
            if act == "compact":
                return holding(files, compact(files, catalogue, Policy()))
            n = rebuild(files, catalogue, progress)
            return holding(files, [f"{n}"])
    except Broken as error:
        message = N_("the history is damaged: {what}; look with 'jayul verify', or move the folder away to begin a new one")
        raise refuse(folder, message, what=error.what) from None


def holding(files: OsFiles, made: list[str] | None = None) -> Holding:
    """Say what a history holds, from its catalogue. Raises Broken."""
    names, known = files.names(), listed(files)
    stems = [f"{a:06d}-{b:06d}" for a, b in sealed(names)]
    entries = [known.sealed[stem] for stem in stems if stem in known.sealed]
    full = [entry for entry in entries if entry.values]
    size = sum((files.folder / name).stat().st_size for name in names)
    return Holding(
        len(stems), sum(name.endswith(".hot") for name in names), sum(entry.values for entry in entries), size,
        min((entry.begin for entry in full), default=0), max((entry.end for entry in full), default=-1), known.retired, made or [],
    )  # fmt: skip
