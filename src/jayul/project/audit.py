"""Audit: who did what, when, to what, and what became of it: every line leads to its tick.

Read from the journal alone: people's and monitors' events (refused ones too), steps on the ladder, plans, what the guard refused or
narrowed (one line for each run of ticks with the same answer), and what the plant did where that was not as sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from jayul.core.types import Decision, Outcome
from jayul.plant.journal import Tick
from jayul.project.change import Approved
from jayul.project.look import header_of
from jayul.project.run import ticks_of
from jayul.record.files import OsFiles
from jayul.record.journal import Header


class Entry(msgspec.Struct, frozen=True):
    """One line. `until`: the last tick of a run of alike ticks. `subject` is a policy, plan or tag.

    `why` is what the person, policy or rule says; `refused` is the reason code of an act that does not count.
    """

    tick: int
    at: int  # ns
    kind: str  # an event's kind; level, plan, refused, narrowed, receipt
    who: str
    subject: str
    what: str
    why: str = ""
    until: int = -1
    refused: str = ""


class Filter(msgspec.Struct, frozen=True):
    """Which lines: empty fields let everything through. `since`, `until` are ticks."""

    kinds: tuple[str, ...] = ()
    who: str = ""
    subject: str = ""
    since: int = 0
    until: int | None = None

    def lets(self, entry: Entry) -> bool:
        """Say whether a line is wanted."""
        last = max(entry.until, entry.tick)
        inside = last >= self.since and (self.until is None or entry.tick <= self.until)
        named = (not self.who or entry.who == self.who) and (not self.subject or entry.subject == self.subject)
        return inside and named and (not self.kinds or entry.kind in self.kinds)


def audit(out: Path, wanted: Filter) -> list[Entry]:
    """Return the lines of a run in order of tick. Raises ManifestError, Corrupt."""
    files = OsFiles(out / "journal", create=False)
    header = header_of(out, files)
    found = [entry for entry in (*_begin(header), *_entries(ticks_of(files))) if wanted.lets(entry)]
    return sorted(found, key=lambda entry: entry.tick)


def _begin(header: Header) -> Iterator[Entry]:
    """Yield the approved change that led to this run, if one did."""
    if header.change:
        found = msgspec.json.decode(header.change, type=Approved)
        what = ", ".join(difference.path for difference in found.change.differences)
        yield Entry(0, found.event.at, "configuration", found.event.by, found.change.run, what, found.event.body["reason"])


def transcript(ticks: Iterator[Tick]) -> list[str]:
    """Return a run as lines of text, one for each audit line: what a golden file holds and a diff shows."""
    lines = []
    for e in sorted(_entries(ticks), key=lambda entry: (entry.tick, entry.kind, entry.who, entry.subject)):
        tick = f"{e.tick}-{e.until}" if e.until > e.tick else str(e.tick)
        lines.append(" | ".join([tick, e.kind, e.who or "-", e.subject or "-", e.what, e.refused or e.why or "-"]))
    return lines


def _entries(ticks: Iterator[Tick]) -> Iterator[Entry]:
    open_: dict[tuple[str, str, str, str], Entry] = {}  # kind, who, tag, rule -> the run of ticks that is not over
    for decision, outcome in ticks:
        yield from _spoken(decision)
        now = {}
        for verdict in decision.verdicts:
            if verdict.rule:
                kind = "refused" if verdict.allowed is None else "narrowed"
                key = (kind, verdict.proposal.by, verdict.proposal.tag, verdict.rule)
                begun = open_.pop(key, None) or Entry(decision.tick, decision.at, *key[:3], verdict.rule, verdict.reason)
                now[key] = msgspec.structs.replace(begun, until=decision.tick)
        yield from open_.values()
        open_ = now
        if outcome is not None:
            yield from _done(decision, outcome)
    yield from open_.values()


def _spoken(decision: Decision) -> Iterator[Entry]:
    for heard in decision.events:
        event = heard.event
        body = {key: value for key, value in event.body.items() if key not in ("policy", "tag", "reason", "reasons")}
        subject = str(event.body.get("policy") or event.body.get("tag") or "")
        what = ", ".join(f"{key} {value}" for key, value in sorted(body.items()) if value is not None)
        why = str(event.body.get("reason", ""))
        yield Entry(decision.tick, decision.at, event.kind, event.by, subject, what, why, refused=heard.refused)
    for change in decision.changes:
        what = f"{change.before.name.lower()} -> {change.after.name.lower()}"
        yield Entry(decision.tick, decision.at, "level", change.by, change.policy, what, change.reason)
    for plan in decision.plans:
        what = ", ".join(f"{tag} to {value:g}" for tag, value in plan.targets.items())
        yield Entry(decision.tick, decision.at, "plan", plan.by, plan.id, what, plan.reason)


def _done(decision: Decision, outcome: Outcome) -> Iterator[Entry]:
    by = {verdict.proposal.tag: verdict.proposal.by for verdict in decision.verdicts}
    for receipt in outcome.receipts:
        if receipt.state != "settled" or outcome.closed:
            what = f"{receipt.allowed:g}: {receipt.state}"
            yield Entry(outcome.tick, receipt.at, "receipt", by.get(receipt.tag, ""), receipt.tag, what, outcome.closed)
