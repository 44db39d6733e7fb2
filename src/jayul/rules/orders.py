"""Orders: what people said about a tag, through signed events: narrower limits, or hands off (lock-out). Everybody's count.

An event of kind `limit` names a `tag` and has `low` and `high` (either may be missing), or `lock`, or `clear`, which ends that
person's order. Who gave an order ends it; an engineer may end another's (`of`, with `clear` alone).
"""

from __future__ import annotations

import math
from typing import Any

from jayul.core.guard import Context, narrow, refuse
from jayul.core.types import Proposal, Verdict

_HUGE = 1e300  # a limit lies below


def orders(context: Context, proposal: Proposal) -> Verdict | None:
    """Narrow to the limits that are in force for the tag; refuse while anybody has locked it."""
    if not context.orders:
        return None
    low, high, who = -math.inf, math.inf, list[str]()
    for (tag, person), event in sorted(context.orders.items()):
        body = event.body
        if tag != proposal.tag or body.get("clear") is True:
            continue
        if body.get("lock") is True:
            return refuse(proposal, "lock", f"'{tag}' is locked by {person}")
        low, high = max(low, body.get("low", -math.inf)), min(high, body.get("high", math.inf))
        who.append(person)
    return narrow(proposal, low, high, "limit", f"limits set by {', '.join(who)}: {low:g} to {high:g}") if who else None


def sound(body: dict[str, Any]) -> bool:
    """Say whether the body of an order can be understood: exactly one of limits, lock, clear; limits finite and in order."""
    limits = [body[key] for key in ("low", "high") if key in body]
    if any(isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _HUGE for value in limits):
        return False
    forms = [bool(limits), body.get("lock") is True, body.get("clear") is True]
    people = isinstance(body.get("tag"), str) and (
        "of" not in body or (forms[2] and bool(body["of"]) and isinstance(body["of"], str))
    )
    return people and sum(forms) == 1 and (len(limits) < 2 or limits[0] < limits[1])
