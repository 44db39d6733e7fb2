"""What a run of the kit leaves: each check with its result and figures, and the tier that they earn. Plain data, as JSON."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

Tier = Literal["bronze", "silver", "gold"]
Said = Literal["passed", "failed", "not applicable", "not tried"]
TIERS: tuple[Tier, ...] = ("bronze", "silver", "gold")


class Result(msgspec.Struct, frozen=True):
    """One check. `proves`: one sentence; `why`: what was seen where it failed, or why it was not run; `figures`: measured."""

    name: str
    tier: Tier
    proves: str
    result: Said
    why: str = ""
    figures: dict[str, float] = {}


class Evidence(msgspec.Struct, frozen=True):
    """A whole run. `target`: what stood at the other end; `library`: the protocol's library and its version; `when`: UTC."""

    kind: str
    target: str
    jayul: str
    library: str
    python: str
    when: str
    seconds: float
    checks: tuple[Result, ...]
    tier: Literal["gold", "silver", "bronze", "none"]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    @staticmethod
    def load(path: Path) -> Evidence:
        """Read it back. Raises msgspec.ValidationError, OSError."""
        return msgspec.json.decode(path.read_bytes(), type=Evidence)


def tier(checks: Sequence[Result]) -> Literal["gold", "silver", "bronze", "none"]:
    """Return the highest tier all of whose applicable checks passed, those of the lower tiers too; a check that was not tried
    earns nothing, and neither does a tier none of whose checks applies.
    """
    earned: Literal["gold", "silver", "bronze", "none"] = "none"
    for name in TIERS:
        said = [check.result for check in checks if check.tier == name and check.result != "not applicable"]
        if not said or any(result != "passed" for result in said):
            break
        earned = name
    return earned


def version(package: str) -> str:
    """Return `name version` of an installed package; empty for none."""
    if not package:
        return ""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def sealed(kind: str, target: str, library: str, began: int, seconds: float, checks: Sequence[Result]) -> Evidence:
    """Return the evidence of a run that began at a time (ns UTC)."""
    when = dt.datetime.fromtimestamp(began // 1_000_000_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    python = ".".join(map(str, sys.version_info[:3]))
    own = version("jayul").removeprefix("jayul ")
    return Evidence(kind, target, own, version(library), python, when, round(seconds, 1), tuple(checks), tier(checks))


def show(evidence: Evidence) -> str:
    """Return a run as plain text: one line per check, then the tier."""
    lines = [f"{evidence.kind} ({evidence.target}; {evidence.library or 'no library'}; Jayul {evidence.jayul})"]
    for check in evidence.checks:
        figures = ", ".join(f"{name} {_number(value)}" for name, value in check.figures.items())
        told = "; ".join(part for part in (check.why, figures) if part)
        lines.append(f"  {check.tier:6} {check.result:14} {check.name:16} {told}".rstrip())
    return "\n".join([*lines, f"tier: {evidence.tier} ({evidence.seconds:g} s)"])


def table(evidences: Sequence[Evidence]) -> str:
    """Return the Markdown table of several runs: tier, checks passed of those that apply, and the figures that matter."""
    rows = [
        "| plant | tier | passed | not applicable | back after kill -9 | back after half-open | samples in a flood | tried with |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for evidence in evidences:
        said = [check.result for check in evidence.checks]
        found = {check.name: check.figures for check in evidence.checks}
        flood = _figure(found, "flood", "per_s", "/s")
        cells = (
            f"`{evidence.kind}`", evidence.tier, f"{said.count('passed')} of {len(said) - said.count('not applicable')}",
            str(said.count("not applicable")), _figure(found, "killed", "back_s", " s"),
            _figure(found, "half-open", "back_s", " s"), flood, evidence.library or "itself",
        )  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _figure(found: Mapping[str, Mapping[str, float]], check: str, name: str, unit: str) -> str:
    value = found.get(check, {}).get(name)
    return "-" if value is None else f"{_number(value)}{unit}"


def _number(value: float) -> str:
    return (
        f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"
    )
