"""The inventory of claims: what was tried, where, by which method, and what came of it; failures too."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jayul.project.claims import CLAIM, SEALED, is_good, read
from jayul.project.problem import N_, ManifestError
from jayul.project.run import refuse
from jayul.prove.claim import RUN, Claim, Money, Sealed, digest, sealed
from jayul.prove.effect import Interval
from jayul.prove.watch import Watched


class Case(msgspec.Struct, frozen=True):
    """One claim. `date`: day of its last row (UTC); `genuine`: it is as the run's key signed it; nothing is recomputed here.

    A file that cannot be read is a case, too: `unreadable` says why, and the rest is empty.
    """

    path: str
    sealed: bool
    digest: str = ""
    date: str = ""
    project: str = ""
    plant: str = ""
    policy: str = ""
    policy_kind: str = ""
    method: str = ""
    kpi: str = ""
    unit: str = ""
    conclusion: str = ""
    no_worse: float = 0.0
    benefit: Interval | None = None
    absolute: Interval | None = None
    pairs: int = 0
    plant_hours: float = 0.0
    watched: Watched | None = None
    money: Money | None = None
    effort: dict[str, Any] | None = None
    lesson: str = ""
    signatures_simulated: bool = False
    signed_by: tuple[str, ...] = ()
    genuine: bool = False
    unreadable: str = ""


def cases(folders: Sequence[Path], search: str = "") -> list[Case]:
    """Return the claims under folders, in order of date; a sealed one only if its bundle is not there.

    `search`: words that must all stand in a case, in any letters. Raises ManifestError for a folder that is not there.
    """
    found = [case for folder in folders for case in _under(folder)]
    whole = {case.digest for case in found if not case.sealed}
    once = {case.digest or case.path: case for case in found if not (case.sealed and case.digest in whole)}
    words = search.casefold().split()
    kept = [case for case in once.values() if all(word in _text(case) for word in words)]
    return sorted(kept, key=lambda case: (case.date, case.path))


def _under(folder: Path) -> Iterator[Case]:
    if not folder.is_dir():
        raise refuse(folder, N_("no such folder"))
    for path in sorted([*folder.rglob(CLAIM), *folder.rglob(f"*{SEALED}")]):
        try:
            paper = read(path)
        except ManifestError as error:
            yield Case(str(path), path.name != CLAIM, unreadable=str(error))
        else:
            yield _case(paper, path.parent if path.name == CLAIM else path)


def _case(paper: Claim | Sealed, path: Path) -> Case:
    good = tuple(s.by for s in paper.signatures if is_good(paper, s))
    short = sealed(paper) if isinstance(paper, Claim) else paper
    return Case(
        path=str(path), sealed=isinstance(paper, Sealed), digest=digest(paper) if isinstance(paper, Claim) else paper.claim,
        date=dt.datetime.fromtimestamp(short.end // 1_000_000_000, dt.UTC).date().isoformat(), project=short.project,
        plant=short.plant, policy=short.policy, policy_kind=short.policy_kind, method=short.method, kpi=short.kpi,
        unit=short.unit, conclusion=short.conclusion, no_worse=short.no_worse,
        watched=short.watched, benefit=short.benefit, absolute=short.absolute, pairs=short.pairs,
        plant_hours=short.plant_hours, money=short.money, effort=short.effort, lesson=short.lesson,
        signatures_simulated=short.signatures_simulated, signed_by=good,
        genuine=RUN in good and len(good) == len(paper.signatures),
    )  # fmt: skip


def _text(case: Case) -> str:
    return msgspec.json.encode(case).decode().casefold()
