"""What a person sees of the record: the ladder, and who did what."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from jayul.app import show
from jayul.app.texts import _
from jayul.project.audit import Entry
from jayul.project.change import MISSING, Change, Impact
from jayul.project.look import Ladder, Standing


def ladder(console: Console, out: Path, found: Ladder) -> None:
    """Show where each policy stands, and the orders in force."""
    for standing in found.standings:
        head = _("{policy}: {level} since tick {tick} ({hours:.1f} h; {reason})")
        reason = _(show.REASONS.get(standing.reason, standing.reason))
        words = {
            "policy": standing.policy,
            "level": _(show.LEVELS[standing.level]),
            "tick": standing.since,
            "hours": standing.hours,
        }
        console.print(head.format(**words, reason=reason), style="bold", highlight=False)
        counts = _("  {ticks} ticks, {fresh} with fresh inputs; {asked} proposals, {vetoed} refused").format(**standing.counts)
        console.print(counts, highlight=False)
        for name, passed in sorted(standing.evidence.items()):
            text = _("  evidence '{name}': passed") if passed else _("  evidence '{name}': against")
            console.print(text.format(name=name), highlight=False)
        if standing.next:
            _next_level(console, standing)
    for event in found.orders:
        body = ", ".join(f"{key} {value}" for key, value in event.body.items() if key not in ("tag", "reason"))
        text = _("Order of {who} on {tag}: {body}")
        console.print(
            text.format(who=show.who(str(event.body.get("of", event.by))), tag=event.body["tag"], body=body), highlight=False
        )
    show.following(console, show.command("audit", out))


def _next_level(console: Console, standing: Standing) -> None:
    level = _(show.LEVELS[standing.next])
    if not standing.lacks:
        console.print(_("  {level}: gate passed; waits for a signature").format(level=level), highlight=False)
        return
    lacks = ", ".join(show.lack(name, have, need) for name, (have, need) in standing.lacks.items())
    when = (
        _("not a matter of time")
        if standing.earliest is None
        else _("in {hours:.1f} h at the earliest").format(hours=standing.earliest)
    )
    console.print(_("  {level} lacks: {lacks}; {when}").format(level=level, lacks=lacks, when=when), highlight=False)


def audit(console: Console, out: Path, found: Sequence[Entry]) -> None:
    """Show audit lines as a table."""
    table = show.columns(_("tick"), _("time"), _("kind"), _("who"), _("what about"), _("what"), _("why"), right=[0])
    for e in found:
        tick = str(e.tick) if e.until <= e.tick else f"{e.tick}–{e.until}"
        table.add_row(tick, show.instant(e.at, "UTC"), e.kind, e.who or "–", e.subject or "–", e.what, _why(e) or "–")
    console.print(table)
    console.print(_("{n} lines.").format(n=len(found)), highlight=False)
    show.following(console, show.command("audit", out, "--csv", "audit.csv"))


def change(console: Console, found: Change | None, impact: Impact) -> None:
    """Show what differs and what loses its validity."""
    if found is not None and not found.differences:
        console.print(_("No difference: the manifest and the tags are those of the run."), highlight=False)
        return
    if found is not None:
        table = show.columns(_("where"), _("in the run"), _("now"))
        for difference in found.differences:
            table.add_row(difference.path, _value(difference.before), _value(difference.after))
        console.print(table)
    nothing = _("none")
    lines = {
        _("Policies that fall to record, to climb again"): impact.policies,
        _("Models that start afresh (a new epoch)"): impact.models,
    }
    for text, names in lines.items():
        console.print(f"{text}: {', '.join(names) or nothing}", highlight=False)
    if impact.claim:
        console.print(_("The claim of this run does not carry over: a changed line is a new claim."), highlight=False)
    if impact.rules:
        console.print(_("Rules of the guard differ: have them reviewed before they are used."), highlight=False)
    if found is not None:
        console.print(_("The way back: the run keeps its manifest and goes on under it."), highlight=False)


def _value(value: Any) -> str:
    return "–" if value is MISSING else value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _reason(why: str) -> str:
    return _(show.REASONS[why]) if why in show.REASONS else why


def _why(entry: Entry) -> str:
    why = _reason(entry.why)
    if not entry.refused:
        return why
    refused = _("does not count: {reason}").format(reason=_reason(entry.refused))
    return f"{why}; {refused}" if why else refused


def audit_csv(path: Path, found: Sequence[Entry]) -> None:
    """Write audit lines as CSV (UTF-8 with a mark, so that spreadsheets read Korean); times UTC."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        audit_lines(csv.writer(file), found)


def audit_lines(lines: Any, found: Sequence[Entry]) -> None:
    """Write audit lines to a writer of CSV; times UTC."""
    lines.writerow(["tick", "until", "time", "kind", "who", "subject", "what", "why", "refused"])
    for e in found:
        at = dt.datetime.fromtimestamp(e.at / 1e9, dt.UTC).isoformat()
        cells = (e.kind, e.who, e.subject, e.what, e.why, e.refused)
        lines.writerow([e.tick, max(e.until, e.tick), at, *(_safe(cell) for cell in cells)])


def _safe(cell: str) -> str:
    """Keep a spreadsheet from reading a cell as a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
