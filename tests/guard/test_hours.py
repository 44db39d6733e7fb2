"""Hours: at the minute itself and on both sides of it, past midnight, in other timezones, on the days of a clock change."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from situations import ask, frame_of, made, said, wide

from jayul.core.types import SECOND
from jayul.rules.hours import HoursConfig, hours
from jayul.testing import START

UTC8 = HoursConfig(timezone="UTC", days=("mon", "tue", "wed", "thu", "fri"), begin="08:00", end="16:00")
SHIFT = HoursConfig(timezone="UTC", days=("fri",), begin="22:00", end="06:00")
WHOLE = HoursConfig(timezone="UTC", days=("sat",))
BERLIN = HoursConfig(timezone="Europe/Berlin", begin="02:00", end="03:00")
SEOUL = HoursConfig(timezone="Asia/Seoul", days=("mon",), begin="09:00", end="18:00")


@pytest.mark.parametrize(
    ("config", "at", "inside"),
    [
        (UTC8, "2026-01-01 07:59:59", False),  # a Thursday
        (UTC8, "2026-01-01 08:00:00", True),
        (UTC8, "2026-01-01 15:59:59", True),
        (UTC8, "2026-01-01 16:00:00", False),
        (UTC8, "2026-01-03 12:00:00", False),
        (SHIFT, "2026-01-02 21:59:59", False),
        (SHIFT, "2026-01-02 22:00:00", True),
        (SHIFT, "2026-01-02 23:59:59", True),
        (SHIFT, "2026-01-03 00:00:00", True),
        (SHIFT, "2026-01-03 05:59:59", True),
        (SHIFT, "2026-01-03 06:00:00", False),
        (SHIFT, "2026-01-03 22:00:00", False),
        (SHIFT, "2026-01-02 05:00:00", False),
        (WHOLE, "2026-01-02 23:59:59", False),
        (WHOLE, "2026-01-03 00:00:00", True),
        (WHOLE, "2026-01-03 23:59:59", True),
        (WHOLE, "2026-01-04 00:00:00", False),
        (BERLIN, "2026-01-10 00:59:59", False),
        (BERLIN, "2026-01-10 01:00:00", True),
        (BERLIN, "2026-07-10 00:00:00", True),
        (BERLIN, "2026-07-10 01:00:00", False),
        (BERLIN, "2026-03-29 00:59:59", False),  # the hour from 2 to 3 is left out on this day
        (BERLIN, "2026-03-29 01:00:00", False),
        (BERLIN, "2026-10-25 00:30:00", True),  # and comes twice on this one
        (BERLIN, "2026-10-25 01:30:00", True),
        (BERLIN, "2026-10-25 02:00:00", False),
        (SEOUL, "2026-01-04 23:59:59", False),
        (SEOUL, "2026-01-05 00:00:00", True),
        (SEOUL, "2026-01-05 08:59:59", True),
        (SEOUL, "2026-01-05 09:00:00", False),
    ],
)
def test_hours(config: HoursConfig, at: str, inside: bool) -> None:
    instant = int(dt.datetime.fromisoformat(f"{at}+00:00").timestamp()) * SECOND
    for within in (0, SECOND - 1):
        verdict = made(hours, config)(wide(frame_of(at=instant + within)), ask())
        assert said(verdict) == (None if inside else (None, "hours"))


@pytest.mark.parametrize(("begin", "end"), [("00:00", "24:00"), ("20:00", "20:01"), ("23:59", "00:00"), ("0:00", "0:01")])
def test_hours_that_can_be_written(begin: str, end: str) -> None:
    made(hours, HoursConfig(timezone="UTC", begin=begin, end=end))


@pytest.mark.parametrize(
    "text", ["", "8", "8:0", "08:60", "24:01", "25:00", "-1:00", "08.30", "08:30:00", "8 :30", "1e1:00", "ten"]
)
@pytest.mark.parametrize("key", ["begin", "end"])
def test_what_is_no_time_of_day(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no time of day"):
        HoursConfig(timezone="UTC", **{key: text})


@pytest.mark.parametrize("zone", ["", "Mars/Phobos", "../x", "Europe", "UTC+9", "/etc/passwd", "Asia/Seoul\0"])
def test_what_is_no_timezone(zone: str) -> None:
    with pytest.raises(ValueError, match="timezone"):
        HoursConfig(timezone=zone)


def test_hours_that_never_come_are_found():
    with pytest.raises(ValueError, match="no time at all"):
        HoursConfig(timezone="UTC", begin="24:00", end="00:00")


def test_digits_that_are_none():
    with pytest.raises(ValueError, match="no time of day"):
        HoursConfig(timezone="UTC", begin="²:30")


def test_in_a_manifest_the_times_are_called_from_and_to() -> None:
    given = {"timezone": "UTC", "from": "08:00", "to": "16:00"}
    assert msgspec.convert(given, HoursConfig) == HoursConfig(timezone="UTC", begin="08:00", end="16:00")


def test_where_nothing_is_said_every_time_of_the_week_is_meant() -> None:
    rule = made(hours, HoursConfig(timezone="UTC"))
    for hour in range(7 * 24):
        assert rule(wide(frame_of(at=START + hour * 3600 * SECOND)), ask()) is None
