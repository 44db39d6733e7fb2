"""Hours: moves only at certain times of the week, as the plant's clocks show them: when somebody is there to look."""

from __future__ import annotations

import datetime as dt
import functools
import re
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

from jayul.core.guard import Context, Rule, refuse
from jayul.core.types import SECOND, Proposal, Verdict
from jayul.rules import Leave, Setting, known

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class HoursConfig(Leave, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "to"}):
    """`days`, `from` and `to` (HH:MM; `to` itself is outside; past midnight if it lies before `from`), in `timezone`."""

    portable: ClassVar[bool] = True

    timezone: str
    days: tuple[Day, ...] = DAYS
    begin: str = "00:00"
    end: str = "24:00"

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"timezone '{self.timezone}' is unknown; write it like 'Asia/Seoul'") from None
        if not self.days or _minutes(self.begin) in (_minutes(self.end), _minutes(self.end) + 24 * 60):
            raise ValueError("'days', 'from' and 'to' leave no time at all")


def _minutes(text: str) -> int:
    """Read HH:MM as minutes after midnight. Raises ValueError."""
    found = re.fullmatch(r"(\d+):([0-5]\d)", text)
    if not found or (minutes := int(found[1]) * 60 + int(found[2])) > 24 * 60:
        raise ValueError(f"'{text}' is no time of day; write it like '08:30'")
    return minutes


def hours(config: HoursConfig, setting: Setting) -> Rule:
    """Make the rule. A time past midnight belongs to the day on which it began."""
    known(setting, config.tags)
    zone, begin, end = ZoneInfo(config.timezone), _minutes(config.begin), _minutes(config.end)

    def outside(at: int) -> str:
        now = dt.datetime.fromtimestamp(at // SECOND, zone)
        minute, today, yesterday = now.hour * 60 + now.minute, DAYS[now.weekday()], DAYS[now.weekday() - 1]
        if begin < end:
            inside = today in config.days and begin <= minute < end
        else:
            inside = (today in config.days and minute >= begin) or (yesterday in config.days and minute < end)
        return "" if inside else f"{now:%a %H:%M} is outside the hours for moves"

    objection = functools.lru_cache(1)(outside)  # the whole batch asks at one instant

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal) or not (text := objection(context.frame.at)):
            return None
        return refuse(proposal, "hours", text)

    return rule
