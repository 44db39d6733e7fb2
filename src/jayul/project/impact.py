"""What a change of manifest, tag table or sensors means for a run: the difference, what loses its validity; and its approval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jayul.core.loop import Line, affected
from jayul.core.types import Event, Tag
from jayul.project.change import FOLDER, MISSING, Approved, Change, Difference, Impact, digest, fingerprint, path_of
from jayul.project.look import Status, status
from jayul.project.manifest import Manifest, load, parse_canonical
from jayul.project.people import hand_over, known_person
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.project.summary import KPI
from jayul.project.wire import replay_line, wire
from jayul.record.files import OsFiles, write_whole
from jayul.record.journal import Scan


def compare(out: Path, project: Path) -> Change:
    """Hold a project against the manifest and tags of a run. Raises ManifestError, Corrupt."""
    now = status(out)
    old, new = parse_canonical(now.header.manifest), load(project)
    wired = wire(new, project if project.is_dir() else project.parent, now.header.seed)
    line, _ = replay_line(now.header, full=False)
    found = list(_differences((), _by_name(old.canonical), _by_name(new.canonical)))
    found += _tags(now.header.tags, wired.line.table.tags)
    shown = [Difference(".".join(f'"{part}"' if "." in part else part for part in path), *pair) for path, *pair in found]
    paths = [path for path, *_ in found]
    return Change(out.name, digest(old.canonical), digest(new.canonical), shown, _impact(paths, line, old))


def replaced(out: Path, tags: Sequence[str]) -> Impact:
    """Return what it means for a run that sensors were replaced or recalibrated. Raises ManifestError for an unknown tag."""
    header = status(out).header
    known = [tag.name for tag in header.tags if tag.kind != "derived"]
    if unknown := [tag for tag in tags if tag not in known]:
        raise refuse("--tag", N_("this run keeps no tag '{tag}'; there are: {known}"), tag=unknown[0], known=", ".join(known))
    line, _ = replay_line(header, full=False)
    return _impact([("tag", tag) for tag in tags], line, parse_canonical(header.manifest))


def approve(
    out: Path, impact: Impact, *, by: str, reason: str, change: Change | None = None, folder: Path | None = None
) -> Event:
    """Sign a change: it goes to the old run, if that still takes events, and into `folder`. Raises ManifestError."""
    now = status(out)
    _may(now, by, reason)
    body: dict[str, Any] = {"names": impact.names, "reason": reason}
    if change is not None:
        body |= {"before": change.before, "after": change.after, "run": change.run, "head": _head(out)}
        body["change"] = fingerprint(change)
    event = hand_over(out, "configuration", by, body, put=bool(impact.names) and not now.complete)
    if change is not None and folder is not None:
        (folder / FOLDER).mkdir(exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(Approved(change, event, now.header.manifest)), indent=2)
        write_whole(path_of(folder, change.after), text + b"\n")
    return event


def _may(now: Status, by: str, reason: str) -> None:
    known_person(now.header, by)
    people = {person.name: person.roles for person in parse_canonical(now.header.manifest).people.person}
    if "engineer" not in people[by]:
        raise refuse("--by", N_("a change is approved by an engineer"))
    if not reason:
        raise refuse("--reason", N_("say why"))


def _by_name(canonical: str) -> Any:
    """Read a canonical manifest with lists of named tables as tables by name, so that order and position do not matter."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            names = [str(item.get("name", i)) for i, item in enumerate(value)]
            if len(set(names)) == len(names):
                return {name: named(item) for name, item in zip(names, value, strict=True)}
        return value

    return named(msgspec.json.decode(canonical))


def _differences(path: tuple[str, ...], before: Any, after: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences((*path, key), before.get(key, MISSING), after.get(key, MISSING))
    elif before != after:
        yield path, before, after


def _tags(before: Iterable[Tag], after: Iterable[Tag]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Return the differences of plant tags that stand in both tables, and those that the old run kept and that are gone."""
    now = {tag.name: tag for tag in after if tag.kind != "derived"}
    for tag in before:
        if tag.kind == "derived":
            continue
        other = msgspec.to_builtins(now[tag.name]) if tag.name in now else MISSING
        yield from _differences(("tag", tag.name), msgspec.to_builtins(tag), other)


NOTHING = ("project", "people", "baseline")  # sections on which no policy stands; on all others every one does


def _impact(paths: Sequence[tuple[str, ...]], line: Line, manifest: Manifest) -> Impact:
    names, policies = set[str](), [seat.name for seat in line.seats]
    for section, *rest in paths:
        if section in ("tag", "model", "policy") or (section == "plant" and rest[:1] == ["tag"] and len(rest) > 1):
            names.add(rest[1] if section == "plant" else rest[0])
        elif section == "fallback":
            names |= {seat.name for seat in line.seats if not rest or rest[0] in seat.tags}
        elif section in ("kpi", "proof"):
            names |= {KPI, manifest.proof.policy} if manifest.proof else {KPI}
        elif section not in NOTHING and (section, *rest) != ("run", "duration"):
            names |= set(policies)
    afresh, touched = affected(line, names)
    falls = [seat.name for seat in line.seats if touched & {seat.name, *seat.tags, *seat.needs}]
    proof = manifest.proof
    held = (
        {proof.policy, proof.production, proof.quality, *proof.drivers, *(limit.tag for limit in proof.limits)}
        if proof
        else set()
    )
    claim = bool(proof) and bool(held & {*falls, *touched} or KPI in afresh)
    return Impact(sorted(names), falls, sorted(afresh), claim, any(path[0] == "guard" for path in paths))


def _head(out: Path) -> str:
    scan = Scan(OsFiles(out / "journal", create=False))
    for _ in scan:
        pass
    return str(scan.head)
