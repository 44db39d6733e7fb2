"""What the gateway holds: the values that it wrote and that still stand, and those that stood there before. No I/O.

A tag is let go as soon as another value shows, or its loop is taken out of remote: what another hand has taken over is not touched,
not at the hand-back either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jayul.core.guard import Applied
from jayul.core.types import Frame, Receipt, Verdict, same
from jayul.gateway.envelope import Envelope
from jayul.gateway.journal import Entry, Handback, Judged, Released, Wrote


class Held(NamedTuple):
    """`values`: what may stand there of ours (more than one if a write was never answered). `origin`: what stood there before."""

    values: tuple[float, ...]
    origin: float
    at: int
    by: str


class Charge:
    """The gateway's memory of what it has moved, by tag."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope, self.may = envelope, envelope.written
        self.held: dict[str, Held] = {}

    def last(self, frame: Frame) -> dict[str, Applied]:
        """Return what we applied and what still stands, the way the rules want it."""
        found = {}
        for tag, held in self.held.items():
            standing = [value for value in held.values if same(frame[tag], value)]
            if standing:
                found[tag] = Applied(standing[0], held.at, held.by)
        return found

    def origins(self, verdicts: Sequence[Verdict], frame: Frame) -> dict[str, float]:
        """Return what stands there now of the tags that are about to be moved and are not held yet."""
        return {v.proposal.tag: frame[v.proposal.tag] for v in verdicts if v.proposal.tag not in self.held}

    def took(self, verdicts: Sequence[Verdict], origin: Mapping[str, float], receipts: Sequence[Receipt], at: int) -> None:
        """Take in what the plant did with a write; no receipt is as good as an unknown one."""
        found = {receipt.tag: receipt for receipt in receipts}
        for verdict in verdicts:
            tag, value, receipt = verdict.proposal.tag, verdict.allowed, found.get(verdict.proposal.tag)
            assert value is not None
            before = self.held.get(tag)
            stood = before.origin if before else origin[tag]
            if receipt and receipt.state in ("settled", "pending") and receipt.applied is not None:
                self.held[tag] = Held((receipt.applied,), stood, receipt.at, verdict.proposal.by)
            elif receipt is None or receipt.state in ("unknown", "pending"):
                self.held[tag] = Held((value, *(before.values if before else (stood,))), stood, at, verdict.proposal.by)

    def look(self, frame: Frame) -> list[tuple[str, str]]:
        """Let go of what another hand has taken over; return (tag, reason) of each."""
        gone = []
        for tag, held in self.held.items():
            loop = self._envelope.loops.get(tag)
            if loop and frame.fresh(loop.mode) and self._later(frame, loop.mode, held) and frame[loop.mode] != loop.remote:
                gone.append((tag, "mode"))
            elif frame.fresh(tag) and self._later(frame, tag, held) and not any(same(frame[tag], v) for v in held.values):
                gone.append((tag, "override"))
        for tag, _ in gone:
            del self.held[tag]
        return gone

    def _later(self, frame: Frame, tag: str, held: Held) -> bool:
        return int(frame.seen_at[frame.table.index[tag]]) > held.at

    def blind(self, frame: Frame) -> tuple[bool, bool]:
        """Say whether any reading that a hand-back looks at is not fresh, and whether that leaves a tag about which nothing is."""
        some = alone = False
        for tag in self.held:
            names = [tag, self._envelope.loops[tag].mode] if tag in self._envelope.loops else [tag]
            seen = [frame.fresh(name) for name in names]
            fallback = self._envelope.fallback.get(tag)
            needed = len(names) == 2 or (fallback is not None and fallback.action == "ramp")
            some, alone = some or not all(seen), alone or (needed and not any(seen))
        return some, alone

    def back(self, frame: Frame) -> dict[str, float]:
        """Return the values from before our first move, of tags whose fallback is a ramp and that are seen to stand elsewhere."""
        ramps = {tag for tag, fallback in self._envelope.fallback.items() if fallback.action == "ramp"}
        return {
            tag: held.origin
            for tag, held in self.held.items()
            if tag in ramps and frame.fresh(tag) and not same(frame[tag], held.origin)
        }

    def modes(self, frame: Frame) -> dict[str, float]:
        """Return the mode tags to put to local: those of held tags that do not read it yet."""
        loops = [self._envelope.loops[tag] for tag in self.held if tag in self._envelope.loops]
        return {loop.mode: loop.local for loop in loops if not (frame.fresh(loop.mode) and frame[loop.mode] == loop.local)}


def fold(charge: Charge, entries: Iterable[Entry]) -> list[str]:
    """Take in a journal: what may still be held of what an earlier process wrote. A write without an answer may have been taken.

    Returns the tags that were held under another envelope and may no longer be written under this one.
    """
    asked: Judged | None = None
    for entry in entries:
        if asked and not isinstance(entry, Wrote):
            charge.took(asked.own, asked.origin, (), asked.at)
        if isinstance(entry, Wrote) and asked:
            charge.took(asked.own, asked.origin, entry.receipts, entry.at)
        elif isinstance(entry, Released):
            charge.held.pop(entry.tag, None)
        elif isinstance(entry, Handback) and entry.done:
            charge.held.clear()
        asked = entry if isinstance(entry, Judged) and not entry.code else None
    if asked:
        charge.took(asked.own, asked.origin, (), asked.at)
    gone = sorted(charge.held.keys() - set(charge.may))
    for tag in gone:
        del charge.held[tag]
    return gone
