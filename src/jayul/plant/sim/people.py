"""Simulated people: they sign and approve whatever is asked of them, at once. For simulated plants alone, and said everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from jayul.core.types import Decision, Event

NAME = "simulated engineer"


class SimulatedPeople:
    """An inbox. A pure function of the last decision, so that a run comes out the same however often it is interrupted."""

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Answer every ask on the table."""
        if last is None or not last.asks:
            return ()
        events: list[Event] = []
        for ask in last.asks:
            name = f"sim-{last.tick}-{ask.policy}-{ask.subject}"
            if ask.kind == "signature":
                body = {"policy": ask.policy, "level": ask.subject, "since": ask.since}
            else:
                body = {"policy": ask.policy, "plan": ask.subject}
            events.append(Event(ask.kind, NAME, at, body, name))
        return events
