"""Management of change: what an approved change is, and whether the one in a project's folder is good.

A run never changes its manifest. An approved change ends what was earned under the old one (a signed event in its journal), is kept
as a file in the project's folder `changes`, and stands in the header of the run that follows. The old run can go on as it was.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from jayul.core.types import Event
from jayul.project.admit import admission
from jayul.project.manifest import Manifest
from jayul.project.problem import N_, ManifestError, Problem

FOLDER = "changes"
MISSING = None  # TOML has no null


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place: the key path, what stood there and what stands there now (left out: nothing)."""

    path: str
    before: Any = None
    after: Any = None


class Impact(msgspec.Struct, frozen=True):
    """What a change touches: policies that fall to record, models that start afresh, whether claim and rules become new ones."""

    names: list[str]  # tags, models and policies that are changed themselves
    policies: list[str]
    models: list[str]
    claim: bool
    rules: bool


class Change(msgspec.Struct, frozen=True):
    """From one manifest (SHA-256 of its canonical form) to another."""

    run: str
    before: str
    after: str
    differences: list[Difference]
    impact: Impact


class Approved(msgspec.Struct, frozen=True):
    """A change with the signed event that approves it, and the manifest to go back to."""

    change: Change
    event: Event
    manifest_before: str


def approved(folder: Path, manifest: Manifest) -> str:
    """Return the approved change that leads to a manifest, as JSON; empty if there is none. Raises ManifestError."""
    path = path_of(folder, digest(manifest.canonical))
    if not path.is_file():
        return ""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Approved)
    except msgspec.MsgspecError:
        raise _bad(path, N_("is no approved change; write it with: jayul change")) from None
    event = found.event
    same = event.kind == "configuration" and event.body.get("after") == digest(manifest.canonical) == found.change.after
    same = same and event.body.get("change") == fingerprint(found.change)  # what was read is what was signed
    same = same and event.body.get("before") == digest(found.manifest_before)
    if not same or admission(manifest)(event, event.at):
        raise _bad(path, N_("its signature is not that of an engineer in [people]; approve it again with: jayul change"))
    return msgspec.json.encode(found, order="sorted").decode()


def path_of(folder: Path, after: str) -> Path:
    """Return where the approval of a change to this manifest (its digest) is kept."""
    return folder / FOLDER / f"{after[:12]}.json"


def fingerprint(change: Change) -> str:
    """Return the SHA-256 of a change, differences and impact included: what its approval signs."""
    return hashlib.sha256(msgspec.json.encode(change, order="sorted")).hexdigest()


def digest(canonical: str) -> str:
    """Return the SHA-256 of a canonical manifest, in hexadecimal."""
    return hashlib.sha256(canonical.encode()).hexdigest()


def _bad(path: Path, message: str) -> ManifestError:
    return ManifestError(Problem(str(path), "", 0, message, {}))
