"""Recorded plants: the same content from CSV, Parquet and Excel, time zones, gaps, hidden columns, and a run end to end."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jayul.core.clock import Sim
from jayul.core.types import BAD_NO_DATA, GOOD, SECOND, Frame, Proposal, Tag, Verdict
from jayul.plant.errors import Refused
from jayul.plant.files import Files, FilesConfig, files
from jayul.project import look, people
from jayul.project import run as running
from jayul.project.manifest import load
from jayul.project.problem import ManifestError
from jayul.project.wire import wire
from jayul.record.files import OsFiles
from jayul.record.history import Reader
from jayul.record.journal import Header, Scan

MINUTE = 60 * SECOND
FIRST = dt.datetime(2026, 3, 1, 9, 0)  # noqa: DTZ001 - the zone is what is tested
UTC_FIRST = 1_772_355_600 * SECOND  # 2026-03-01 09:00 UTC
START_OF_DAY = UTC_FIRST - 33 * 60 * MINUTE  # 2026-02-28 UTC
SEOUL = 9 * 60 * MINUTE
CELLS: dict[str, list[float | None]] = {"온도": [20.5, 21.0, None, 22.25, 23.0], "flow": [6.0, 7.0, 8.0, 9.0, 10.0]}


def stamps(count: int = 5) -> list[dt.datetime]:
    return [FIRST + dt.timedelta(minutes=i) for i in range(count)]


def as_csv(path: Path, delimiter: str = ",", encoding: str = "utf-8", times: list[Any] | None = None) -> None:
    rows = [["time", *CELLS]]
    for i, stamp in enumerate(times or stamps()):
        rows.append([str(stamp), *("" if column[i] is None else f"{column[i]}" for column in CELLS.values())])
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", encoding=encoding)


def as_parquet(path: Path) -> None:
    pq.write_table(pa.table({"time": stamps(), **CELLS}), path)


def as_excel(path: Path, sheet: str = "Sheet", order: tuple[int, ...] = (0, 1, 2, 3, 4)) -> None:
    book = openpyxl.Workbook()
    page = book.active if sheet == "Sheet" else book.create_sheet(sheet)
    page.append(["time", *CELLS])
    for i in order:
        page.append([stamps()[i], *(column[i] for column in CELLS.values())])
    book.save(path)


def opened(config: FilesConfig, at: int = UTC_FIRST) -> tuple[Files, Sim]:
    clock = Sim(at)
    return files(config, clock), clock


def read(plant: Files, clock: Sim, at: int) -> Frame:
    asyncio.run(clock.until(at))
    return asyncio.run(plant.read())


def columns(config: FilesConfig, shift: int = 0) -> dict[str, list[tuple[float, int, int]]]:
    """Read minute by minute: value (0 where it is NaN), source time and status of each tag."""
    plant, clock = opened(config, UTC_FIRST - shift)
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in plant.tags.names}
    for i in range(5):
        frame = read(plant, clock, UTC_FIRST - shift + i * MINUTE)
        for k, name in enumerate(plant.tags.names):
            value = 0.0 if math.isnan(frame.value[k]) else float(frame.value[k])
            found[name].append((value, int(frame.source_at[k] - UTC_FIRST + shift) // SECOND, int(frame.status[k])))
    return found


WANTED = {
    name: [(cell or 0.0, 60 * i, BAD_NO_DATA if cell is None else GOOD) for i, cell in enumerate(cells)]
    for name, cells in CELLS.items()
}

KINDS = {
    "utf-8": (lambda p: as_csv(p), {"path": "d.csv"}),
    "cp949": (lambda p: as_csv(p, encoding="cp949"), {"path": "d.csv", "encoding": "cp949"}),
    "semicolon": (lambda p: as_csv(p, ";"), {"path": "d.csv", "delimiter": ";"}),
    "tab": (lambda p: as_csv(p, "\t"), {"path": "d.txt", "delimiter": "\t"}),
    "bom": (lambda p: as_csv(p, encoding="utf-8-sig"), {"path": "d.csv"}),
    "capital": (lambda p: as_csv(p), {"path": "D.CSV"}),
    "parquet": (as_parquet, {"path": "d.parquet"}),
    "excel": (as_excel, {"path": "d.xlsx"}),
    "excel sheet": (lambda p: as_excel(p, "측정"), {"path": "d.xlsx", "sheet": "측정"}),
    "unsorted": (lambda p: as_excel(p, order=(3, 0, 4, 2, 1)), {"path": "d.xlsx"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_content_gives_the_same_values(kind: str, tmp_path: Path):
    write, options = KINDS[kind]
    path = tmp_path / options["path"]
    write(path)
    assert columns(FilesConfig(**options | {"path": str(path)})) == WANTED


def test_the_time_column_may_stand_anywhere_and_have_another_name(tmp_path: Path):
    pq.write_table(pa.table({**CELLS, "시각": stamps()}), tmp_path / "d.parquet")
    assert columns(FilesConfig(str(tmp_path / "d.parquet"), "시각")) == WANTED


ZONES = [
    ("UTC", lambda stamp: stamp, 0),
    ("Asia/Seoul", lambda stamp: stamp, SEOUL),
    ("Asia/Seoul", lambda stamp: f"{stamp}Z", 0),
    ("UTC", lambda stamp: f"{stamp}+09:00", SEOUL),
    ("Asia/Seoul", lambda stamp: f"{stamp.isoformat()}+09:00", SEOUL),
    ("Europe/Berlin", lambda stamp: stamp, SEOUL // 9),
]


@pytest.mark.parametrize(("zone", "write", "shift"), ZONES)
def test_a_naive_time_stands_in_the_configured_zone_and_an_offset_wins(zone: str, write, shift: int, tmp_path: Path):
    as_csv(tmp_path / "d.csv", times=[write(stamp) for stamp in stamps()])
    config = FilesConfig(str(tmp_path / "d.csv"), timezone=zone)
    plant, _ = opened(config)
    assert (plant.start, plant.end) == (UTC_FIRST - shift, UTC_FIRST - shift + 4 * MINUTE)
    assert columns(config, shift) == WANTED


@pytest.mark.parametrize(("zone", "shift"), [("UTC", 0), ("Asia/Seoul", SEOUL)])
def test_zones_of_parquet_and_excel(zone: str, shift: int, tmp_path: Path):
    as_parquet(tmp_path / "d.parquet")
    as_excel(tmp_path / "d.xlsx")
    aware = [stamp.replace(tzinfo=dt.timezone(dt.timedelta(hours=9))) for stamp in stamps()]
    table = pa.table({"time": pa.array(aware, pa.timestamp("us", "Asia/Seoul")), **CELLS})
    pq.write_table(table, tmp_path / "aware.parquet")
    for name in ("d.parquet", "d.xlsx"):
        assert columns(FilesConfig(str(tmp_path / name), timezone=zone), shift) == WANTED
    assert columns(FilesConfig(str(tmp_path / "aware.parquet"), timezone=zone), SEOUL) == WANTED


def test_fractions_of_a_second_are_kept(tmp_path: Path):
    (tmp_path / "d.csv").write_text("time,A\n2026-03-01 09:00:00.125,1\n2026-03-01 09:00:00.625000001,2\n")
    plant, _ = opened(FilesConfig(str(tmp_path / "d.csv")))
    assert (plant.start - UTC_FIRST, plant.end - UTC_FIRST) == (SECOND // 8, SECOND * 5 // 8 + 1)


CELL_KINDS = [
    ("", None), ("Bad Input", None), ("#REF!", None), ("nan", None), ("inf", None), ("1,5", None), ("0", 0.0), ("-1.5e3", -1500.0),
    (" 7 ", 7.0),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "value"), CELL_KINDS)
def test_what_is_no_finite_number_is_bad(cell: str, value: float | None, tmp_path: Path):
    (tmp_path / "d.csv").write_text(f'time,A,B\n2026-03-01 09:00:00,"{cell}",1\n2026-03-01 09:01:00,text,2\n')
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv")))
    frame = read(plant, clock, UTC_FIRST)
    assert frame.fresh("A") is (value is not None)
    assert frame.status.tolist() == [GOOD if value is not None else BAD_NO_DATA, GOOD]
    assert value is None or frame["A"] == value
    assert frame["B"] == 1.0
    assert not read(plant, clock, UTC_FIRST + MINUTE).fresh("A")


def test_true_and_false_are_one_and_zero(tmp_path: Path):
    table = pa.table({"time": stamps(3), "A": [True, False, None], "B": pa.array([1, 2, None], pa.uint8())})
    pq.write_table(table, tmp_path / "d.parquet")
    plant, clock = opened(FilesConfig(str(tmp_path / "d.parquet")))
    frames = [read(plant, clock, UTC_FIRST + i * MINUTE) for i in range(3)]
    assert [(frame["A"], frame["B"]) for frame in frames[:2]] == [(1.0, 1.0), (0.0, 2.0)]
    assert frames[2].status.tolist() == [BAD_NO_DATA] * 2


def test_nothing_is_known_before_the_first_row(tmp_path: Path):
    as_csv(tmp_path / "d.csv")
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv")), UTC_FIRST - MINUTE)
    frame = read(plant, clock, UTC_FIRST - 1)
    assert np.isnan(frame.value).all()
    assert frame.status.tolist() == [BAD_NO_DATA] * 2
    assert not any(frame.fresh(name) for name in frame.table.names)
    assert all(read(plant, clock, UTC_FIRST).fresh(name) for name in frame.table.names)


def test_between_rows_the_newest_stands_and_no_later_one_is_seen(tmp_path: Path):
    as_csv(tmp_path / "d.csv")
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv")))
    for second, flow in ((0, 6.0), (59, 6.0), (60, 7.0), (61, 7.0), (119, 7.0), (120, 8.0), (9999, 10.0)):
        frame = read(plant, clock, UTC_FIRST + second * SECOND)
        assert (frame["flow"], frame.at, int(frame.seen_at[0])) == (flow, clock.now(), clock.now())
        assert (frame.source_at <= frame.at).all()


def test_a_gap_in_the_recording_makes_it_stale(tmp_path: Path):
    as_csv(tmp_path / "d.csv", times=[*stamps(2), *(stamp + dt.timedelta(hours=1) for stamp in stamps(3))])
    slow = Tag(name="flow", stale_after=600.0)
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv"), tag=(slow,)))
    states = []
    for minute in (0, 1, 2, 2.1, 11, 11.1, 59, 61):
        frame = read(plant, clock, UTC_FIRST + int(minute * MINUTE))
        states.append((frame.fresh("온도"), frame.fresh("flow")))
    assert states == [(True, True)] * 3 + [(False, True)] * 2 + [(False, False)] * 2 + [(True, True)]


def test_tags_take_their_description_from_the_manifest(tmp_path: Path):
    as_csv(tmp_path / "d.csv")
    told = Tag(name="flow", unit="m3/h", low=0.0, high=15.0)
    plant, _ = opened(FilesConfig(str(tmp_path / "d.csv"), tag=(told,)))
    assert plant.tags.tags == (Tag(name="온도"), told)


def test_writing_is_rejected_and_changes_nothing(tmp_path: Path):
    as_csv(tmp_path / "d.csv")
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv")))
    before = read(plant, clock, UTC_FIRST).digest()
    wishes = [Verdict(Proposal("flow", 9.0, "w", "p"), allowed, "") for allowed in (9.0, None)]
    receipts = asyncio.run(plant.write(wishes))
    assert [(r.tag, r.allowed, r.applied, r.state) for r in receipts] == [("flow", 9.0, None, "rejected")]
    assert asyncio.run(plant.write([])) == []
    assert read(plant, clock, UTC_FIRST).digest() == before


WRONG = [
    ({"path": "none.csv"}, "no such file"), ({"path": "d.doc"}, "'.doc'"), ({"path": "d.csv", "time": "t"}, "no column 't'"),
    ({"path": "d.csv", "timezone": "Seoul/Asia"}, "'Seoul/Asia'"), ({"path": "d.csv", "encoding": "nope"}, "nope"),
    ({"path": "d.csv", "tag": (Tag(name="Z"),)}, "no column 'Z'"), ({"path": "d.xlsx", "sheet": "no"}, "no sheet 'no'"),
    ({"path": "d.csv", "time": "flow"}, "no time"), ({"path": "d.csv", "time": "온도"}, "'온도' has 1 empty cells"),
    ({"path": "d.csv", "exclude": ("label",)}, "no column 'label' to exclude"), ({"path": "twice.csv"}, "is called 'A'"),
    ({"path": "korean.csv"}, "is not 'utf-8'; give 'encoding'"), ({"path": "d.csv", "encoding": "cp949"}, "is not 'cp949'"),
    ({"path": "d.csv", "encoding": "ascii"}, "is not 'ascii'"), ({"path": "d.csv", "encoding": "utf-16"}, "UTF-16"),
    ({"path": "d.csv", "encoding": "\0"}, "cannot be read"), ({"path": "gap.csv"}, "'time' has 2 empty cells"),
    ({"path": "gap.xlsx"}, "'time' has 1 empty cells"), ({"path": "d.csv", "delimiter": "한"}, "cannot be read"),
    ({"path": "broken.xlsx"}, "cannot be read"),
    ({"path": "broken.parquet"}, "cannot be read"), ({"path": "empty.csv"}, "cannot be read"), ({"path": "head.csv"}, "no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "what"), WRONG)
def test_what_cannot_be_opened_says_what_to_change(options: dict[str, Any], what: str, tmp_path: Path):
    as_csv(tmp_path / "d.csv")
    as_excel(tmp_path / "d.xlsx")
    for name, text in (
        ("d.doc", "x"),
        ("broken.xlsx", "x"),
        ("broken.parquet", "x"),
        ("empty.csv", ""),
        ("head.csv", "time,A\n"),
        ("twice.csv", "time,A,A\n2026-03-01 09:00:00,1,2\n"),
        ("gap.csv", "time,A\n2026-03-01 09:00:00,1\n,2\n,3\n"),
    ):
        (tmp_path / name).write_text(text)
    as_csv(tmp_path / "korean.csv", encoding="cp949")
    book = openpyxl.load_workbook(tmp_path / "d.xlsx")
    book.active["A3"] = None
    book.save(tmp_path / "gap.xlsx")
    with pytest.raises(Refused) as error:
        opened(FilesConfig(**options | {"path": str(tmp_path / options["path"])}))
    assert what in str(error.value)


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    *(({"delimiter": text}, "'delimiter' must be one character") for text in ("", "::", '"', "\n", "\r")),
    ({"tag": (Tag(name="A"), Tag(name="B"), Tag(name="A", unit="m"))}, "'A' is described twice"),
    *(({"tag": (Tag(name="A", stale_after=age),)}, "'A': stale_after") for age in (0.0, -1.0, math.nan, math.inf, 1.1e9)),
    *(({"tag": (Tag(name="A", low=low, high=2.0),)}, "'A': low must lie below") for low in (2.0, 3.0, math.nan)),
]


@pytest.mark.parametrize(("options", "what"), IMPOSSIBLE)
def test_what_can_never_be_is_refused_before_anything_is_opened(options: dict[str, Any], what: str):
    with pytest.raises(ValueError, match=what):
        FilesConfig("none.csv", **options)
    assert FilesConfig("none.csv", tag=(Tag(name="A", low=1.0, stale_after=1e9), Tag(name="B", high=1.0))).tag


# several files, times of another form, constants, labels


def part(path: Path, begin: int, values: Sequence[float], head: str = "time,A") -> None:
    """Write one row a minute, from `begin` minutes after FIRST on."""
    rows = [f"{FIRST + dt.timedelta(minutes=begin + i)},{value}" for i, value in enumerate(values)]
    path.write_text("\n".join([head, *rows]) + "\n")


def seen(config: FilesConfig, tag: str, minutes: Sequence[float]) -> list[float]:
    plant, clock = opened(config)
    return [read(plant, clock, UTC_FIRST + round(minute * MINUTE))[tag] for minute in minutes]


def test_files_are_joined_in_order_of_time_whatever_their_names(tmp_path: Path):
    for name, begin in (("a", 4), ("b", 0), ("c", 2)):
        part(tmp_path / f"{name}.csv", begin, [begin, begin + 1])
    config = FilesConfig(str(tmp_path / "*.csv"), file_tag="file")
    plant, _ = opened(config)
    assert (plant.start, plant.end) == (UTC_FIRST, UTC_FIRST + 5 * MINUTE)
    assert seen(config, "A", range(6)) == [0, 1, 2, 3, 4, 5]
    assert seen(config, "file", range(6)) == [0, 0, 1, 1, 2, 2]
    tag = plant.tags["file"]
    assert (tag.states, tag.kind) == ({0: "b", 1: "c", 2: "a"}, "mode")
    assert plant.tags.names == ("A", "file")


def test_a_file_ends_where_the_next_begins(tmp_path: Path):
    part(tmp_path / "1.csv", 0, [10, 11, 12, 13, 14])
    part(tmp_path / "2.csv", 2, [20, 21])
    config = FilesConfig(str(tmp_path / "[12].csv"), file_tag="file")
    assert seen(config, "A", (0, 1, 1.9, 2, 3, 4)) == [10, 11, 11, 20, 21, 21]
    assert seen(config, "file", (0, 1, 1.9, 2, 3, 4)) == [0, 0, 0, 1, 1, 1]
    assert opened(config)[0].end == UTC_FIRST + 3 * MINUTE


def test_wildcards_may_stand_in_folders_and_take_files_alone(tmp_path: Path):
    for i, name in enumerate(("day1", "day2", "other")):
        (tmp_path / name / "e.csv").mkdir(parents=True)
        part(tmp_path / name / "d.csv", i, [i])
    config = FilesConfig(str(tmp_path / "day*" / "?.csv"))
    assert seen(config, "A", range(3)) == [0, 1, 1]


def test_wildcards_that_match_nothing_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"no\*\.csv: no such file"):
        opened(FilesConfig(str(tmp_path / "no*.csv")))


@pytest.mark.parametrize("head", ["time,B", "time,A,B", "time"])
def test_files_of_other_columns_are_refused_by_name(head: str, tmp_path: Path):
    part(tmp_path / "1.csv", 0, [1])
    (tmp_path / "2.csv").write_text(head + "\n" + ",".join(["2026-03-01 09:05:00", "1", "1"][: head.count(",") + 1]) + "\n")
    with pytest.raises(Refused) as error:
        opened(FilesConfig(str(tmp_path / "*.csv")))
    assert str(error.value).startswith(str(tmp_path / "2.csv"))
    assert "not those of the first file: time, A" in str(error.value)


def test_an_empty_file_among_several_is_refused_by_name(tmp_path: Path):
    part(tmp_path / "1.csv", 0, [1])
    part(tmp_path / "2.csv", 5, [])
    with pytest.raises(Refused, match=r"2\.csv: no rows"):
        opened(FilesConfig(str(tmp_path / "*.csv")))


def test_a_name_that_holds_a_bracket_is_no_wildcard_if_the_file_is_there(tmp_path: Path):
    part(tmp_path / "d[1].csv", 0, [7])
    part(tmp_path / "d1.csv", 0, [8])
    assert seen(FilesConfig(str(tmp_path / "d[1].csv")), "A", [0]) == [7]


def test_a_file_tag_of_a_single_file_is_nought(tmp_path: Path):
    part(tmp_path / "d.csv", 0, [1])
    config = FilesConfig(str(tmp_path / "d.csv"), file_tag="file")
    assert seen(config, "file", [0]) == [0.0]
    assert opened(config)[0].tags["file"].states == {0: "d"}


def test_a_time_of_another_form_is_read_as_told(tmp_path: Path):
    (tmp_path / "d.csv").write_text("time,A\n01/03/2026 09:00,1\n02/03/2026 09:00,2\n")
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv"), time_format="%d/%m/%Y %H:%M"))
    assert (plant.start, plant.end) == (UTC_FIRST, UTC_FIRST + 24 * 60 * MINUTE)
    assert read(plant, clock, UTC_FIRST)["A"] == 1.0
    seoul, _ = opened(FilesConfig(str(tmp_path / "d.csv"), time_format="%d/%m/%Y %H:%M", timezone="Asia/Seoul"))
    assert seoul.start == UTC_FIRST - SEOUL


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("", """is no time; give 'time_format', it may be "%d/%m/%Y %H:%M\""""),
        ("%Y/%m/%d %H:%M", """is not of the form "%Y/%m/%d %H:%M\""""),
        ("%d/%m/%Y", """is not of the form "%d/%m/%Y\""""),
    ],
)
def test_a_time_that_has_not_the_form_told_is_refused(form: str, said: str, tmp_path: Path):
    (tmp_path / "d.csv").write_text("time,A\n25/03/2026 09:00,1\n")
    with pytest.raises(Refused, match=re.escape("'time', row 1: '25/03/2026 09:00' " + said)):
        opened(FilesConfig(str(tmp_path / "d.csv"), time_format=form))


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("2026/03/02 06:00", "%Y/%m/%d %H:%M"),
        ("2026.03.02 06:00:00", "%Y.%m.%d %H:%M:%S"),
        ("20260302060000", "%Y%m%d%H%M%S"),
        ("2026-03-02 오전 06:00", "%Y-%m-%d %p %I:%M"),
        ("13/02/2026 06:00", "%d/%m/%Y %H:%M"),
        ("02/13/2026 06:00", "%m/%d/%Y %H:%M"),
    ],
)
def test_the_form_that_is_guessed_reads_the_file(cell: str, form: str, tmp_path: Path):
    (tmp_path / "d.csv").write_text(f"time,A\n{cell},1\n", encoding="utf-8")
    with pytest.raises(Refused, match=re.escape(f'it may be "{form}"')):
        opened(FilesConfig(str(tmp_path / "d.csv")))
    plant, _ = opened(FilesConfig(str(tmp_path / "d.csv"), time_format=form))
    assert dt.datetime.fromtimestamp(plant.start / 1e9, dt.UTC).hour == 6


def test_a_form_that_is_told_is_held_to_though_the_column_reads_by_itself(tmp_path: Path):
    (tmp_path / "d.csv").write_text("time,A\n2026-03-02 06:00,1\n")
    with pytest.raises(Refused, match="is not of the form"):
        opened(FilesConfig(str(tmp_path / "d.csv"), time_format="%d/%m/%Y %H:%M"))


def test_the_survey_says_what_there_is_and_what_is_missing(tmp_path: Path):
    rows = [FIRST + dt.timedelta(minutes=i) for i in (0, 1, 2, 3, 63, 64)]
    (tmp_path / "d.csv").write_text("time,A,B,C\n" + "".join(f"{at},1,x,2\n" for at in rows))
    plant, _ = opened(FilesConfig(str(tmp_path / "d.csv"), tag=(Tag(name="A"),)))
    found = plant.survey()
    assert (found.rows, found.interval, found.gaps, found.longest) == (6, MINUTE, 1, 60 * MINUTE)
    assert (found.bare, found.empty) == (("B", "C"), ("B",))


@pytest.mark.parametrize(
    ("form", "write"), [("", str), ("%d/%m/%Y %H:%M", lambda stamp: stamp.strftime("%d/%m/%Y %H:%M"))], ids=["iso", "told"]
)
def test_midnight_may_end_its_day(form: str, write, tmp_path: Path):
    day = [dt.datetime(2026, 2, 28, hour, minute) for hour in (0, 8, 16) for minute in (0, 15)]  # noqa: DTZ001
    wanted = [*day[1:], dt.datetime(2026, 3, 1)]  # noqa: DTZ001
    (tmp_path / "d.csv").write_text("time,A\n" + "".join(f"{write(stamp)},{i}\n" for i, stamp in enumerate(day)))
    config = FilesConfig(str(tmp_path / "d.csv"), time_format=form, midnight_ends_day=True)
    clock = Sim(START_OF_DAY)
    plant = files(config, clock)
    times = [START_OF_DAY + int((stamp - day[0]) / dt.timedelta(microseconds=1)) * 1000 for stamp in wanted]
    assert (plant.start, plant.end) == (times[0], times[-1])
    assert [read(plant, clock, at)["A"] for at in times] == [1, 2, 3, 4, 5, 0]


def test_constants_are_tags_with_their_value(tmp_path: Path):
    part(tmp_path / "1.csv", 0, [1])
    part(tmp_path / "2.csv", 5, [2])
    told = Tag(name="SP", unit="degC", kind="set-point", low=0.0, high=100.0)
    config = FilesConfig(str(tmp_path / "*.csv"), constant={"SP": 55.5, "PRICE": 0.1}, file_tag="file", tag=(told,))
    plant, clock = opened(config)
    assert plant.tags.names == ("A", "SP", "PRICE", "file")
    assert (plant.tags["SP"], plant.tags["PRICE"]) == (told, Tag(name="PRICE"))
    for minute in (0, 5):
        frame = read(plant, clock, UTC_FIRST + minute * MINUTE)
        assert (frame["SP"], frame["PRICE"], frame.fresh("SP")) == (55.5, 0.1, True)


def test_a_constant_is_as_old_as_the_recording(tmp_path: Path):
    part(tmp_path / "d.csv", 0, [1])
    plant, clock = opened(FilesConfig(str(tmp_path / "d.csv"), constant={"SP": 55.5}), UTC_FIRST - MINUTE)
    assert math.isnan(read(plant, clock, UTC_FIRST - 1)["SP"])
    assert not read(plant, clock, UTC_FIRST + 10 * MINUTE).fresh("SP")


@pytest.mark.parametrize(
    "more", [{"constant": {"A": 1.0}}, {"file_tag": "A"}, {"constant": {"label": 1.0}}, {"file_tag": "time"}]
)
def test_a_constant_or_file_tag_of_the_name_of_a_column_is_refused(more: dict[str, Any], tmp_path: Path):
    (tmp_path / "d.csv").write_text("time,A,label\n2026-03-01 09:00:00,1,4711\n")
    with pytest.raises(Refused, match="is there already; give the constant or file_tag another name"):
        opened(FilesConfig(str(tmp_path / "d.csv"), exclude=("label",), **more))


def test_excluded_columns_are_nowhere_in_the_tag_table(tmp_path: Path):
    for i in (1, 2):
        (tmp_path / f"{i}.csv").write_text(f"time,label,A,fault\n2026-03-01 09:0{i}:00,4711,{i},4712\n")
    config = FilesConfig(str(tmp_path / "*.csv"), exclude=("label", "fault"), constant={"SP": 1.0}, file_tag="file")
    plant, clock = opened(config)
    assert plant.tags.names == ("A", "SP", "file")
    for minute in (1, 2):
        assert read(plant, clock, UTC_FIRST + minute * MINUTE).value.tolist() == [minute, 1.0, minute - 1]


PROJECT = """\
[project]
name = "recorded"
[run]
period = "1 min"
duration = "2 h"
[plant]
kind = "files"
path = "d.csv"
exclude = ["label"]
[[plant.tag]]
name = "SP"
unit = "degC"
kind = "set-point"
low = 0.0
high = 100.0
max_step = 1.0
writable = true
[[plant.tag]]
name = "PV"
unit = "degC"
"""
POLICY = """\
[kpi]
name = "temperature"
unit = "degC"
formula = "PV + 0 [degC]"
[[policy]]
name = "warm"
kind = "setpoint"
writes = ["SP"]
needs = ["PV"]
target = { SP = 60.0 }
per_hour = { SP = 30.0 }
[ladder.shadow]
ticks = 5
coverage = 0.9
[ladder.advise]
ticks = 5
proposals = 5
[[people.person]]
name = "kim"
roles = ["engineer"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project of a recording of an hour whose label must stay unseen."""
    monkeypatch.setenv("JAYUL_KEYS", str(tmp_path / "keys"))
    folder = tmp_path / "project"
    folder.mkdir()
    rows = "".join(f"{stamp},50,{20 + i / 10},4711\n" for i, stamp in enumerate(stamps(60)))
    (folder / "d.csv").write_text("time,SP,PV,label\n" + rows)
    (folder / "jayul.toml").write_text(PROJECT)
    return folder


def header(out: Path) -> Header:
    return next(entry for _, entry in Scan(OsFiles(out / "journal", create=False)) if isinstance(entry, Header))


def test_record_only_end_to_end(project: Path, tmp_path: Path):
    out = tmp_path / "run"
    result = running.execute(project, out, running.Options())
    assert (result.began, result.summary.ticks, result.summary.complete) == ("fresh", 60, True)
    assert (result.summary.levels, result.summary.tags, result.summary.level_now) == ([], {}, {})
    assert [tag.name for tag in header(out).tags] == ["SP", "PV"]
    history = Reader(out / "history").samples()
    assert set(history["tag"].to_pylist()) == {"SP", "PV"}
    assert history.num_rows == 120
    assert 4711 not in history["value"].to_pylist()
    assert not any(np.float64(4711).tobytes() in path.read_bytes() for path in (out / "journal").iterdir())
    assert history["source_at"].cast(pa.int64()).to_pylist()[:60] == [UTC_FIRST + i * MINUTE for i in range(60)]
    assert running.execute(project, out, running.Options()).began == "complete"
    assert look.check(out, (), None).ok


def test_an_excluded_column_is_invisible_to_formulas_and_policies(project: Path):
    assert "label" not in wire(load(project), project, 0).plant.tags.names
    for more in ('[guard]\nrequire = ["label > 1"]\n', POLICY.replace('"PV"', '"label"')):
        (project / "jayul.toml").write_text(PROJECT + more)
        with pytest.raises(ManifestError, match="unknown tag 'label'"):
            wire(load(project), project, 0)


def test_a_policy_on_a_recording_never_gets_above_its_gates_nor_writes(project: Path, tmp_path: Path):
    out, key = tmp_path / "run", people.new_key("kim")
    (project / "jayul.toml").write_text(PROJECT + POLICY + f'key = "{key}"\n')
    levels = []
    for ticks in (10, 20, 30, 40, 50, None):
        result = running.execute(project, out, running.Options(ticks=ticks))
        levels.append(result.summary.level_now["warm"])
        for ask in result.summary.asks:
            people.hand_in(out, ask, by="kim")
    summary = result.summary
    assert levels == ["record", "shadow", "advise", "advise", "advise", "advise"]
    assert [(step.before, step.after, step.by) for step in summary.levels] == [
        ("record", "shadow", "kim"),
        ("shadow", "advise", "kim"),
    ]
    assert summary.missing["warm"] == {"gate": (0.0, 1.0)}
    row = summary.tags["SP"]
    assert row.asked == row.allowed >= 40
    assert (row.sent, row.applied, row.last_asked) == (0, 0, 50.5)
    assert (summary.complete, summary.coverage, summary.breaches) == (True, 1.0, 0)
    ticks = list(running.ticks_of(OsFiles(out / "journal", create=False)))
    assert [tick.decision.writes for tick in ticks] == [()] * 60
    assert all(tick.outcome is not None and tick.outcome.receipts == () for tick in ticks)
    assert all(look.replay(out, full=full).differing == 0 for full in (False, True))


SWITCHBACK = POLICY.replace(
    'kind = "setpoint"', 'kind = "switchback"\nbegin = "5 min"\nblock = "10 min"\narms = ["on", "off", "on"]'
)


def test_a_switchback_on_a_recording_replays_and_goes_on(project: Path, tmp_path: Path):
    """Its blocks are counted from the first row, not from `run.start`: whoever folds the journal must know that."""
    out, key = tmp_path / "run", people.new_key("kim")
    (project / "jayul.toml").write_text(PROJECT + SWITCHBACK + f'key = "{key}"\n')
    for ticks in (5, 6, 8, 20, 21, 40, None):
        result = running.execute(project, out, running.Options(ticks=ticks))
        if ticks == 5:
            people.hand_in(out, "warm:shadow", by="kim")
    assert (result.began, result.summary.complete, result.summary.level_now) == ("resumed", True, {"warm": "shadow"})
    assert header(out).start == UTC_FIRST
    found = [plan for tick in running.ticks_of(OsFiles(out / "journal", create=False)) for plan in tick.decision.plans]
    blocks = [("block 1: on", 6, 15), ("block 3: on", 25, 35)]
    assert [(plan.reason, plan.start, plan.expires) for plan in found] == [
        (reason, UTC_FIRST + begin * MINUTE, UTC_FIRST + end * MINUTE - 1) for reason, begin, end in blocks
    ]
    for full in (False, True):
        again = look.replay(out, full=full)
        assert (again.ticks, again.differing, again.full) == (60, 0, full)


def test_without_a_signature_it_stays_at_record(project: Path, tmp_path: Path):
    (project / "jayul.toml").write_text(PROJECT + POLICY)
    summary = running.execute(project, tmp_path / "run", running.Options()).summary
    assert (summary.level_now, summary.levels, summary.asks) == ({"warm": "record"}, [], ["warm:shadow"])
    assert not any(row.sent for row in summary.tags.values())
