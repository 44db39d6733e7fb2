"""The price of a project: the pack that `[proof] price` names, and what a benefit is worth by it."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from jayul.packs import PackError, parse
from jayul.packs.price import Price, per_hour
from jayul.project.manifest import KpiSection, Manifest, ProofSection, convert
from jayul.project.problem import N_, ManifestError, Problem
from jayul.project.said import template_of
from jayul.prove.claim import HOURS, Money


def read_pack(manifest: Manifest, folder: Path, end: int) -> str:
    """Return the price pack of a project as it stands in its file, empty if it has none; checked for a run whose last tick is at
    `end` (UTC ns). Raises ManifestError.
    """
    proof, kpi = manifest.proof, manifest.kpi
    if proof is None or kpi is None:
        return ""
    if proof.hours_per_year is not None and not 0 < proof.hours_per_year <= HOURS:
        manifest.fail(["proof", "hours_per_year"], N_("must lie between 0 and 8784"))
    if not proof.price:
        return ""
    path = folder / proof.price
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        manifest.fail(["proof", "price"], N_("{file} cannot be read: {error}"), file=path, error=what)
    money(kpi, proof, text, str(path), end)
    return text


def money(kpi: KpiSection, proof: ProofSection, text: str, file: str, end: int | None = None) -> Money:
    """Return what one unit of the KPI is worth, the effect left open. Raises ManifestError.

    `text`: the pack (empty: none), `file`: its name for messages; `end`: a time (UTC ns) at which the pack must hold.
    """
    hours = proof.hours_per_year
    if not text:
        currency = per_hour(kpi.unit)
        why = "" if currency else f"no price pack says what one '{kpi.unit}' is worth"
        why = why or ("" if hours is not None else "hours_per_year is not given")
        return Money(currency=currency, factor=1.0 if currency else None, hours_per_year=hours, why=why)
    price = pack(text, file)
    try:
        if end is not None:
            price.check_at(end)
        factor = price.rate(kpi.unit)
    except PackError as error:
        _fail(file, error)
    why = "" if hours is not None else "hours_per_year is not given"
    return Money(currency=price.currency, factor=factor, hours_per_year=hours, pack=price.id, why=why)


def pack(text: str, file: str) -> Price:
    """Read a price pack; `file` is its name for messages. Raises ManifestError."""
    try:
        raw = parse(text)
    except PackError as error:
        _fail(file, error)
    return convert(file, "", [], raw, Price)


def _fail(file: str, error: PackError) -> NoReturn:
    template, values = template_of(str(error))
    raise ManifestError(Problem(file, "", 0, template, values)) from None
