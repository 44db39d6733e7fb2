"""The contract of a manifest: held against the plant's tags, and compiled for the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from jayul.core.expr import ExprError, parse_unit
from jayul.core.types import TagTable
from jayul.project.manifest import Manifest
from jayul.project.problem import N_, nearest
from jayul.record.contract import Contract


def check_contract(manifest: Manifest, tags: TagTable) -> None:
    """Hold the contract against the tags that the plant has. Raises ManifestError."""
    if manifest.contract is None:
        return
    for name, contract in manifest.contract.tag.items():
        path = ["contract", "tag", name]
        if (tag := tags.get(name)) is None:
            manifest.fail(path, N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=name, near=nearest(name, tags.names))
        if contract.unit and not _same(contract.unit, tag.unit):
            message = N_("the tag is in '{unit}', not in '{other}'; nothing is converted")
            manifest.fail([*path, "unit"], message, unit=tag.unit, other=contract.unit)
    if not 0 <= manifest.contract.least <= 1:
        manifest.fail(["contract", "least"], N_("must lie between 0 and 1"))


def _same(a: str, b: str) -> bool:
    try:
        return a == b or parse_unit(a) == parse_unit(b)
    except ExprError:
        return False


def contract_of(manifest: Manifest, names: Sequence[str]) -> Contract:
    """Return the manifest's contract over these tags, or one that expects nothing."""
    section = manifest.contract
    if section is None:
        return Contract({}, names)
    return Contract({name: tag for name, tag in section.tag.items() if name in names}, names, section.least)
