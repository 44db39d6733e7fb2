"""Ugly files, made byte for byte like real exports: each is imported exactly right, or refused with one line.

Right: 1 PI wide, blanks and words · 2 PI pairs (time, value, time, value) · 3 PI long, state words · 4 AVEVA, OPC quality · 5 WinCC
archive, $RT rows · 6 PCS 7, semicolons and decimal comma · 7 iFIX, date and time apart · 8 ABB, status columns, unit row · 9 Korean
CP949, 오전/오후 · 10 UTF-16 with tabs · 11 UTF-8 BOM, three header rows · 12 Excel, merged headers, title · 13 Excel, date and time
cells · 14 Excel serial dates in CSV · 15 Unix milliseconds · 16 24:00:00 · 17 mixed forms of time · 18 units in cells · 19 scientific,
long minus, booleans · 20 CR line ends, NUL · 21 comments before the header, totals after · 22 quotes and line breaks in the header
23 gzip · 24 zip · 25 unsorted, repeated rows · 26 a line that is cut off · 27 repeated hour by order · 28 header again in the middle
29 thousands · 30 Latin-1 degree sign · 31 the house's own export: CSV, Parquet, Arrow file, Arrow stream · 32 Parquet wide, typed
33 empty column · 34 columns of one name under two groups · 35 $#N/A of a spreadsheet · 36 Korean words for bad · 37 month names
38 a fixed offset · 39 tag map · 40 names over Value, Status.
Refused: R1 day or month · R2 no zone · R3 repeated hour · R4 an hour that is not there · R5 1,234 · R6 both decimal signs · R7 two
columns of one name · R8 decimal comma as delimiter · R9 a picture · R10 a web page called .xls · R11 an empty file · R12 prose · R13
quality 0 · R14 two sheets · R15 an open quote · R16 cut gzip · R17 two files in a zip · R18 a word in the middle of the times · R19
another unit than the run's · R20 no header · R21 values under no name · R22 unknown encoding · R23 month 13 later in the file ·
R24 30 February · R25 a decimal comma after points · R26 a broken first time · R27 a missing first time.
"""

from __future__ import annotations

# ruff: noqa: DTZ001 - exports hold times without a zone
import datetime as dt
import gzip
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jayul.plant.errors import Refused
from jayul.plant.imports.options import Known, Mapped, Options
from jayul.plant.imports.read import Import, batches, understand
from jayul.project.run import read_header
from jayul.record.files import OsFiles
from jayul.record.history import Reader

SEOUL = "Asia/Seoul"
GOOD, BAD, DOUBT = 0, 0x80000000, 0x40000000
NO_DATA, COMM, TIMEOUT, OUT_OF_SERVICE, CONFIG, WAITING = 0x809B0000, 0x80050000, 0x800A0000, 0x808D0000, 0x80890000, 0x80320000
SENSOR, NOT_CONNECTED, RANGE, MISMATCH = 0x808C0000, 0x808A0000, 0x803C0000, 0x80740000
nan = math.nan
Sample = tuple[str, str, float, int]


def rows(found: Import) -> list[Sample]:
    """Return all samples as tag, UTC, value, status, in the order of the file."""
    out = []
    for batch in batches(found, 7):
        assert set(batch.known_at.tolist()) == {7}
        for tag, at, value, status in zip(*(c.tolist() for c in batch[:4]), strict=True):
            text = np.datetime_as_string(np.datetime64(at, "ns"))
            out.append((found.names[tag], text.rstrip("0").rstrip("."), value, status))
    return out


def same(a: list[Sample], b: list[Sample]) -> bool:
    return len(a) == len(b) and all(
        (x[0], x[1], x[3]) == (y[0], y[1], y[3]) and (x[2] == y[2] or (math.isnan(x[2]) and math.isnan(y[2])))
        for x, y in zip(a, b, strict=True)
    )


def book(*sheets: tuple[str, list[list[Any]], list[str]]) -> bytes:
    """Return a workbook: name, rows, merged ranges of each sheet."""
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, cells, merged in sheets:
        sheet = made.create_sheet(name)
        for row in cells:
            sheet.append(row)
        for area in merged:
            sheet.merge_cells(area)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def z(day: str, *clocks: str) -> list[str]:
    return [f"{day}T{clock}" for clock in clocks]


PLAIN = "time,A\n2026-01-03 10:00:00,1.5\n2026-01-03 10:00:01,2.5\n"
PLAIN_ROWS: list[Sample] = [("A", "2026-01-03T01:00:00", 1.5, 0), ("A", "2026-01-03T01:00:01", 2.5, 0)]
D = "2026-01-03T0"
Case = tuple[bytes, dict[str, Any], list[Sample], dict[str, str]]  # bytes, options, samples, units
RIGHT: dict[str, Case] = {}


def right(name: str, data: bytes | str, samples: list[Sample], units: dict[str, str] | None = None, **options: Any) -> None:
    RIGHT[name] = (data if isinstance(data, bytes) else data.encode(), {"timezone": SEOUL, **options}, samples, units or {})


right(
    "01 PI wide",
    "Timestamp,TIC101.PV,FIC101.PV\r\n"
    "03-Jan-26 10:00:00,50.25,No Data\r\n03-Jan-26 10:01:00,Bad Input,1.5\r\n03-Jan-26 10:02:00,I/O Timeout,\r\n"
    "03-Jan-26 10:03:00,Pt Created,Configure\r\n03-Jan-26 10:04:00,Shutdown,Bad\r\n",
    [
        ("TIC101.PV", D + "1:00:00", 50.25, 0), ("FIC101.PV", D + "1:00:00", nan, NO_DATA),
        ("TIC101.PV", D + "1:01:00", nan, SENSOR), ("FIC101.PV", D + "1:01:00", 1.5, 0), ("TIC101.PV", D + "1:02:00", nan, TIMEOUT),
        ("TIC101.PV", D + "1:03:00", nan, WAITING), ("FIC101.PV", D + "1:03:00", nan, CONFIG),
        ("TIC101.PV", D + "1:04:00", nan, OUT_OF_SERVICE), ("FIC101.PV", D + "1:04:00", nan, BAD),
    ],
)  # fmt: skip
right(
    "02 PI pairs",
    "TIC101.PV,,FIC101.PV,\n03-Jan-26 10:00:00.5,1.5,03-Jan-26 10:00:01,7\n03-Jan-26 10:00:02,1.6,,\n",
    [("TIC101.PV", D + "1:00:00.5", 1.5, 0), ("FIC101.PV", D + "1:00:01", 7.0, 0), ("TIC101.PV", D + "1:00:02", 1.6, 0)],
)  # fmt: skip
right(
    "03 PI long, states",
    "Tag,Timestamp,Value\nXV-1,2026-01-03T10:00:00+09:00,OPEN\nXV-1,2026-01-03T10:01:00+09:00,CLOSED\n"
    "P-1,2026-01-03T01:00:00Z,RUN\nTI-1,2026-01-03T01:00:00Z,12.5\nTI-1,2026-01-03T01:00:01Z,Over Range\n",
    [
        ("XV-1", D + "1:00:00", 1.0, 0), ("XV-1", D + "1:01:00", 0.0, 0), ("P-1", D + "1:00:00", 1.0, 0),
        ("TI-1", D + "1:00:00", 12.5, 0), ("TI-1", D + "1:00:01", nan, RANGE),
    ], timezone="",
)  # fmt: skip
right(
    "04 AVEVA",
    "TagName,DateTime,Value,OPCQuality,EngUnits\nReactLevel,2026-01-03 10:00:00.123,1000.5,192,L\n"
    "ReactLevel,2026-01-03 10:00:01.123,1001,64,L\nReactLevel,2026-01-03 10:00:02.1234567,(null),0,L\n",
    [
        ("ReactLevel", D + "1:00:00.123", 1000.5, 0), ("ReactLevel", D + "1:00:01.123", 1001.0, DOUBT),
        ("ReactLevel", D + "1:00:02.1234567", nan, NO_DATA),
    ], {"ReactLevel": "L"},
)  # fmt: skip
right(
    "05 WinCC",
    '"VarName";"TimeString";"VarValue";"Validity";"Time_ms"\r\n"T_Kessel";"03.01.2026 10:00:00";81,5;1;46025416666,6667\r\n'
    '"T_Kessel";"03.01.2026 10:00:10";0;0;46025416782,4074\r\n"$RT_OFF$";"03.01.2026 10:00:11";0;2;46025416793,9815\r\n',
    [("T_Kessel", D + "9:00:00", 81.5, 0), ("T_Kessel", D + "9:00:10", 0.0, BAD)],
    timezone="Europe/Berlin",
)
right(
    "06 PCS 7",
    "Datum/Zeit;Druck [bar];Durchfluss [m³/h]\r\n13.04.2026 10:00:00,500;1,5;1.234,5\r\n13.04.2026 10:00:01,500;-0,25;12\r\n".encode(),
    [
        ("Druck", "2026-04-13T08:00:00.5", 1.5, 0), ("Durchfluss", "2026-04-13T08:00:00.5", 1234.5, 0),
        ("Druck", "2026-04-13T08:00:01.5", -0.25, 0), ("Durchfluss", "2026-04-13T08:00:01.5", 12.0, 0),
    ], {"Druck": "bar", "Durchfluss": "m3/h"}, timezone="Europe/Berlin",
)  # fmt: skip
right(
    "07 iFIX",
    "Date,Time,AI1.F_CV,AI2.F_CV\n01/13/2026,1:05:02 PM,10.5,-\n01/13/2026,12:05:02 AM,????,3\n",
    [
        ("AI1.F_CV", "2026-01-13T04:05:02", 10.5, 0), ("AI2.F_CV", "2026-01-13T04:05:02", nan, NO_DATA),
        ("AI1.F_CV", "2026-01-12T15:05:02", nan, BAD), ("AI2.F_CV", "2026-01-12T15:05:02", 3.0, 0),
    ],
)  # fmt: skip
right(
    "08 ABB, status columns, units",
    "Time,LIC1.PV,LIC1.PV Status,FIC1.PV,FIC1.PV Status\n,%,,kg/h,\n2026-01-03 10:00:00,50.5,Good,3,Bad\n"
    "2026-01-03 10:00:01,51,Uncertain,,Bad\n",
    [
        ("LIC1.PV", D + "1:00:00", 50.5, 0), ("FIC1.PV", D + "1:00:00", 3.0, BAD),
        ("LIC1.PV", D + "1:00:01", 51.0, DOUBT), ("FIC1.PV", D + "1:00:01", nan, BAD),
    ], {"LIC1.PV": "%", "FIC1.PV": "kg/h"},
)  # fmt: skip
right(
    "09 Korean CP949",
    "일시,반응기 온도(℃),펌프\r\n2026-01-03 오전 12:00:00,23.5,운전\r\n2026-01-03 오후 1:00:00,통신불량,정지\r\n".encode("cp949"),
    [
        ("반응기 온도", "2026-01-02T15:00:00", 23.5, 0), ("펌프", "2026-01-02T15:00:00", 1.0, 0),
        ("반응기 온도", D + "4:00:00", nan, COMM), ("펌프", D + "4:00:00", 0.0, 0),
    ], {"반응기 온도": "degC"},
)  # fmt: skip
right(
    "10 UTF-16",
    b"\xff\xfe" + "시간\t온도 [°C]\r\n2026. 1. 3. 오후 1:05\t1.5\r\n2026. 1. 3. 오후 1:06\t2.25\r\n".encode("utf-16-le"),
    [("온도", D + "4:05:00", 1.5, 0), ("온도", D + "4:06:00", 2.25, 0)], {"온도": "degC"},
)  # fmt: skip
right(
    "11 BOM, three header rows",
    "\ufeff태그명,TI-1,FI-1\n설명,탑저 온도,공급 유량\n단위,℃,kg/h\n2026/01/03 10:00,1.5,3\n2026/01/03 10:01,1.5,4\n",
    [
        ("TI-1", D + "1:00:00", 1.5, 0), ("FI-1", D + "1:00:00", 3.0, 0), ("TI-1", D + "1:01:00", 1.5, 0), ("FI-1", D + "1:01:00", 4.0, 0),
    ], {"TI-1": "degC", "FI-1": "kg/h"},
)  # fmt: skip
right(
    "12 Excel, merged headers",
    book(
        ("표지", [["설비 운전 일지"]], []),
        ("데이터", [
            ["2026년 1월 운전 기록", None, None, None, None], [],
            ["일시", "보일러 1", None, "보일러 2", None], [None, "온도", "압력", "온도", "압력"], [None, "℃", "bar", "℃", "bar"],
            [dt.datetime(2026, 1, 3, 10), 1.5, 2, 3.25, "Bad"], [dt.datetime(2026, 1, 3, 10, 0, 1), 1.5, None, 3.5, 4],
        ], ["A1:E1", "A3:A5", "B3:C3", "D3:E3"]),
    ),
    [
        ("보일러 1.온도", D + "1:00:00", 1.5, 0), ("보일러 1.압력", D + "1:00:00", 2.0, 0), ("보일러 2.온도", D + "1:00:00", 3.25, 0),
        ("보일러 2.압력", D + "1:00:00", nan, BAD), ("보일러 1.온도", D + "1:00:01", 1.5, 0), ("보일러 2.온도", D + "1:00:01", 3.5, 0),
        ("보일러 2.압력", D + "1:00:01", 4.0, 0),
    ], {"보일러 1.온도": "degC", "보일러 1.압력": "bar", "보일러 2.온도": "degC", "보일러 2.압력": "bar"},
)  # fmt: skip
right(
    "13 Excel, date and time cells",
    book(("Sheet1", [["날짜", "시간", "값 A", "가동"], [dt.date(2026, 1, 3), dt.time(10, 30), 0.1, True], [dt.date(2026, 1, 3), dt.time(10, 31), 1e-7, False]], [])),
    [
        ("값 A", D + "1:30:00", 0.1, 0), ("가동", D + "1:30:00", 1.0, 0), ("값 A", D + "1:31:00", 1e-7, 0), ("가동", D + "1:31:00", 0.0, 0),
    ],
)  # fmt: skip
right(
    "14 Excel serials", "Date,A\n46025.4166666667,1.5\n46025.4173611111,2.5\n",
    [("A", D + "1:00:00", 1.5, 0), ("A", D + "1:01:00", 2.5, 0)],
)  # fmt: skip
right(
    "15 Unix ms", "ts;v1\n1767402000123;1.5\n1767402001123;2.5\n",
    [("v1", D + "1:00:00.123", 1.5, 0), ("v1", D + "1:00:01.123", 2.5, 0)], timezone="",
)  # fmt: skip
right(
    "16 24:00:00", "time,A\n2026-01-03 23:00:00,1\n2026-01-03 24:00:00,2\n2026-12-31 24:00:00,3\n",
    [("A", D[:-1] + "14:00:00", 1.0, 0), ("A", D[:-1] + "15:00:00", 2.0, 0), ("A", "2026-12-31T15:00:00", 3.0, 0)],
)  # fmt: skip
right(
    "17 mixed forms of time",
    "time,A\n2026-01-03 10:00:00,1\n2026/1/3 10:00:01,2\n03-Jan-2026 10:00:02,3\n2026. 1. 3. 오전 10:00:03,4\n20260103100004,5\n"
    "2026년 1월 3일 10시 0분 5초,6\n2026-01-03T01:00:06Z,7\n14/01/2026 10:00,8\n03/01/2026 10:00,9\n",
    [*((("A", D + f"1:00:0{i}", i + 1.0, 0)) for i in range(7)), ("A", "2026-01-14T01:00:00", 8.0, 0), ("A", D + "1:00:00", 9.0, 0)],
)  # fmt: skip
right(
    "18 units in cells", "time,T,F,H\n2026-01-03 10:00,23.4 degC,5 m3/h,45%\n2026-01-03 10:01,-1.5℃,,46 %\n",
    [
        ("T", D + "1:00:00", 23.4, 0), ("F", D + "1:00:00", 5.0, 0), ("H", D + "1:00:00", 45.0, 0), ("T", D + "1:01:00", -1.5, 0),
        ("H", D + "1:01:00", 46.0, 0),
    ], {"T": "degC", "F": "m3/h", "H": "%"},
)  # fmt: skip
right(
    "19 scientific, signs, truth",
    "time,A,B,C\n2026-01-03 10:00:00,1.25E-3,TRUE,\u22125.5\n2026-01-03 10:00:01,+3e2,false,.5\n2026-01-03 10:00:02,1e999,no,5.\n",
    [
        ("A", D + "1:00:00", 1.25e-3, 0), ("B", D + "1:00:00", 1.0, 0), ("C", D + "1:00:00", -5.5, 0), ("A", D + "1:00:01", 300.0, 0),
        ("B", D + "1:00:01", 0.0, 0), ("C", D + "1:00:01", 0.5, 0), ("A", D + "1:00:02", nan, MISMATCH), ("B", D + "1:00:02", 0.0, 0),
        ("C", D + "1:00:02", 5.0, 0),
    ],
)  # fmt: skip
right("20 CR, NUL", "time,A\r2026-01-03 10:00:00,1.5\r\0\0\0\r2026-01-03 10:00:01,2.5\0\r", PLAIN_ROWS)
right(
    "21 comments, totals",
    "# exported by HIST 4.2\n# from 2026-01-03 10:00 to 11:00\n\nReport,Boiler\n\ntime,A,B\n2026-01-03 10:00:00,1.5,1\n2026-01-03 10:00:01,2.5,\n\n"
    "Average,2.0,1\nTotal,4.0,1\n(2 rows affected)\n",
    [PLAIN_ROWS[0], ("B", D + "1:00:00", 1.0, 0), PLAIN_ROWS[1]],
)
right(
    "22 quotes and line breaks", 'time,"온도\n(℃)","A ""B"", C"\n"2026-01-03 10:00:00","1.5","2"\n"2026-01-03 10:00:01","1,234.5",3\n',
    [
        ("온도", D + "1:00:00", 1.5, 0), ('A "B", C', D + "1:00:00", 2.0, 0), ("온도", D + "1:00:01", 1234.5, 0),
        ('A "B", C', D + "1:00:01", 3.0, 0),
    ], {"온도": "degC"},
)  # fmt: skip
right("23 gzip", gzip.compress(PLAIN.encode()), PLAIN_ROWS)
right("24 zip", zipped(**{"export.csv": PLAIN.encode(), "__MACOSX/._export.csv": b"x"}), PLAIN_ROWS)
right(
    "25 unsorted, repeated", "time,A\n2026-01-03 10:00:01,2.5\n2026-01-03 10:00:00,1.5\n2026-01-03 10:00:00,1.5\n",
    [PLAIN_ROWS[1], PLAIN_ROWS[0], PLAIN_ROWS[0]],
)  # fmt: skip
right("26 cut off", PLAIN + "2026-01-03 10:00:02,12", PLAIN_ROWS)
right(
    "27 repeated hour by order", "time,A\n2026-10-25 01:30,1\n2026-10-25 02:30,2\n2026-10-25 02:30,3\n2026-10-25 03:30,4\n",
    [("A", f"2026-10-2{d}T{h}:30:00", v, 0) for d, h, v in ((4, 23, 1.0), (5, "00", 2.0), (5, "01", 3.0), (5, "02", 4.0))],
    timezone="Europe/Berlin", repeated="order",
)  # fmt: skip
right(
    "28 header again",
    PLAIN + PLAIN.replace("10:00", "11:00"),
    [*PLAIN_ROWS, *((t, a.replace("01:00", "02:00"), v, s) for t, a, v, s in PLAIN_ROWS)],
)
right(
    "29 thousands", 'time,A,B\n2026-01-03 10:00:00,"1,234,567",0.5\n2026-01-03 10:00:01,"1,234",1.5\n',
    [("A", D + "1:00:00", 1234567.0, 0), ("B", D + "1:00:00", 0.5, 0), ("A", D + "1:00:01", 1234.0, 0), ("B", D + "1:00:01", 1.5, 0)],
)  # fmt: skip
right(
    "30 Latin-1", "time;T [°C]\n2026-01-03 10:00:00;1,5\n2026-01-03 10:00:01;2,5\n".encode("cp1252"),
    [("T", a, v, s) for _, a, v, s in PLAIN_ROWS], {"T": "degC"},
)  # fmt: skip
OWN = pa.table(
    {
        "tag": pa.array(["a", "b", "a", "b"]).dictionary_encode(),
        "source_at": pa.array([1767402000123456789, 1767402000000000001, 1767402001000000000, 5], pa.int64()).cast(
            pa.timestamp("ns", "UTC")
        ),
        "value": pa.array([0.1 + 0.2, nan, -1e300, 5e-324]),
        "status": pa.array([0, BAD, 0x480, 0x40940000], pa.uint32()),
        "known_at": pa.array([0, 0, 0, 0], pa.timestamp("ms", "UTC")),
        "unit": pa.array(["degC", "kg/h", "degC", "kg/h"]),
    }
)
OWN_ROWS: list[Sample] = [
    ("a", "2026-01-03T01:00:00.123456789", 0.1 + 0.2, 0), ("b", "2026-01-03T01:00:00.000000001", nan, BAD),
    ("a", "2026-01-03T01:00:01", -1e300, 0x480), ("b", "1970-01-01T00:00:00.000000005", 5e-324, 0x40940000),
]  # fmt: skip
OWN_UNITS = {"a": "degC", "b": "kg/h"}


def own(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(OWN, out)
    elif kind == "csv":
        lines = ["tag,source_at,value,status,known_at,unit"]
        for tag, at, value, status in OWN_ROWS:
            lines.append(
                f"{tag},{at}Z,{'' if math.isnan(value) else repr(value)},{status},1970-01-01T00:00:00Z,{OWN_UNITS[tag]}"
            )
        return ("\n".join(lines) + "\n").encode()
    else:
        make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with make(out, OWN.schema) as writer:
            writer.write_table(OWN)
    return out.getvalue()


for own_kind in ("csv", "parquet", "arrow", "stream"):
    right(f"31 own export, {own_kind}", own(own_kind), OWN_ROWS, OWN_UNITS, timezone="")


def typed() -> bytes:
    out = io.BytesIO()
    at = pa.array([dt.datetime(2026, 1, 3, 10), dt.datetime(2026, 1, 3, 10, 0, 1)], pa.timestamp("us"))
    fields = [pa.field("time", at.type), pa.field("A", pa.float32(), metadata={"unit": "bar"}), pa.field("B", pa.bool_())]
    pq.write_table(pa.table([at, pa.array([1.5, None], pa.float32()), pa.array([True, False])], pa.schema(fields)), out)
    return out.getvalue()


right(
    "32 Parquet wide",
    typed(),
    [("A", D + "1:00:00", 1.5, 0), ("B", D + "1:00:00", 1.0, 0), ("B", D + "1:00:01", 0.0, 0)],
    {"A": "bar"},
)
right("33 empty column", "time,A,,B\n2026-01-03 10:00:00,1.5,,\n2026-01-03 10:00:01,2.5,,\n", PLAIN_ROWS)
right(
    "34 one name under two groups", ",반응기,,탑,\n시간,온도,압력,온도,압력\n2026-01-03 10:00,1.5,2,3,4\n2026-01-03 10:01,,,,5\n",
    [
        ("반응기.온도", D + "1:00:00", 1.5, 0), ("반응기.압력", D + "1:00:00", 2.0, 0), ("탑.온도", D + "1:00:00", 3.0, 0),
        ("탑.압력", D + "1:00:00", 4.0, 0), ("탑.압력", D + "1:01:00", 5.0, 0),
    ],
)  # fmt: skip
right(
    "35 #N/A",
    "time,A\n2026-01-03 10:00:00,#N/A\n2026-01-03 10:00:01,2.5\n",
    [("A", D + "1:00:00", nan, NO_DATA), PLAIN_ROWS[1]],
)
right(
    "36 Korean words", "시각,A\n2026-01-03 10:00:00,센서 고장\n2026-01-03 10:00:01,2.5\n2026-01-03 10:00:02,점검중\n",
    [("A", D + "1:00:00", nan, SENSOR), PLAIN_ROWS[1], ("A", D + "1:00:02", nan, OUT_OF_SERVICE)],
)  # fmt: skip
right("37 month names", "time|A\nJan 3, 2026 10:00:00 AM|1.5\nJan 3, 2026 10:00:01 AM|2.5\n", PLAIN_ROWS)
right("38 fixed offset", PLAIN, PLAIN_ROWS, timezone="+09:00")
right(
    "39 tag map", "time,Kanal 1,Kanal 1,Mode,No use\n2026-01-03 10:00:00,1.5,3,AUTO,1\n2026-01-03 10:00:01,2.5,,CAS,1\n",
    [PLAIN_ROWS[0], ("B", D + "1:00:00", 3.0, 0), ("M", D + "1:00:00", 1.0, 0), PLAIN_ROWS[1], ("M", D + "1:00:01", 2.0, 0)],
    {"B": "bar"},
    tag_map={"#2": Mapped("A"), "#3": Mapped("B", "bar"), "Mode": Mapped("M", states={"auto": 1.0, "cas": 2.0}), "No use": Mapped("")},
)  # fmt: skip


right(
    "40 names over Value, Status",
    "Tag Name,TI1,,TI2,\nDescription,top,,bottom,\nTime,Value,Status,Value,Status\n2026-01-03 10:00,1.5,Good,3,Bad\n"
    "2026-01-03 10:01,2,Good,,Bad\n",
    [
        ("TI1", D + "1:00:00", 1.5, 0), ("TI2", D + "1:00:00", 3.0, BAD), ("TI1", D + "1:01:00", 2.0, 0),
        ("TI2", D + "1:01:00", nan, BAD),
    ],
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_an_ugly_file_is_read_exactly(name: str, tmp_path: Path) -> None:
    data, options, samples, units = RIGHT[name]
    path = tmp_path / "export.dat"
    path.write_bytes(data)
    found = understand(path, Options(**options))
    got = rows(found)
    assert same(got, samples), got
    known = {one.name: one.unit for one in found.understood.tags if one.unit}
    assert known == units
    for one in found.understood.tags:
        mine = [sample for sample in samples if sample[0] == one.name]
        assert (one.count, one.bad) == (len(mine), sum(sample[3] >= DOUBT for sample in mine))


REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "R01 day or month": (b"time,A\n03/04/2026 10:00,1\n04/04/2026 10:00,2\n", {}, "--day-first or --month-first"),
    "R02 no zone": (PLAIN.encode(), {"timezone": ""}, "--timezone"),
    "R03 repeated hour": (b"time,A\n2026-10-25 02:30,2\n2026-10-25 03:30,3\n", {"timezone": "Europe/Berlin"}, "--repeated-hour"),
    "R04 no such hour": (b"time,A\n2026-03-29 02:30,2\n2026-03-29 03:30,3\n", {"timezone": "Europe/Berlin"}, "does not exist"),
    "R05 1,234": (b'time,A\n2026-01-03 10:00,"1,234"\n2026-01-03 10:01,"2,345"\n', {}, "--decimal"),
    "R06 both decimal signs": (b"time;A;B\n2026-01-03 10:00;1,5;1.5\n2026-01-03 10:01;1;2\n", {}, "--decimal"),
    "R07 one name twice": (b"time,A,A\n2026-01-03 10:00,1,2\n2026-01-03 10:01,1,2\n", {}, "both called 'A'"),
    "R08 comma is both": (b"time,A,B\n2026-01-03 10:00,1,5,2,5\n2026-01-03 10:01,1,5,2,5\n", {}, "no name"),
    "R09 a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, {}, "is no table"),
    "R10 a web page": (b"<html><table><tr><td>time</td></tr></table></html>", {}, "web page"),
    "R11 empty": (b"", {}, "is empty"),
    "R12 prose": (b"Dear colleague,\nplease find the data, as you asked,\non the server.\n", {}, "no column of time"),
    "R13 quality 0": (b"tag,time,value,quality\nA,2026-01-03 10:00,1,0\nA,2026-01-03 10:01,1,0\n", {}, "--quality"),
    "R14 two sheets": (
        book(*((name, [["time", "A"], [dt.datetime(2026, 1, 3), 1.5], [dt.datetime(2026, 1, 4), 1.5]], []) for name in "xy")),
        {}, "--sheet",
    ),
    "R15 open quote": (b'time,A,B\n2026-01-03 10:00,"1,5\n2026-01-03 10:01,2,5\n2026-01-03 10:02,3,"5\n', {}, "quote"),
    "R16 cut gzip": (gzip.compress(os.urandom(64).hex().encode() + PLAIN.encode() * 100)[:-20], {}, "cannot be unpacked"),
    "R17 zip of two": (zipped(a=PLAIN.encode(), b=PLAIN.encode()), {}, "holds 2 files"),
    "R18 a word among times": (PLAIN.encode() + b"yesterday,3\n2026-01-03 10:00:02,3\n", {}, "'yesterday' is no time"),
    "R19 another unit": (b"time,A [degF]\n2026-01-03 10:00,1\n2026-01-03 10:01,1\n", {"known": {"A": Known("degC")}}, "is in degF"),
    "R20 no header": (b"2026-01-03 10:00:00,1.5\n2026-01-03 10:00:01,2.5\n", {}, "no header"),
    "R21 no name": (b"time,A\n2026-01-03 10:00,1,7\n2026-01-03 10:01,2,8\n", {}, "#3"),
    "R22 encoding": (b"time,\xff\xfe\x81\n2026-01-03 10:00,1\n2026-01-03 10:01,2\n", {}, "--encoding"),
    "R23 month 13, later": (
        b"time,A\n" + b"".join(b"2026-01-03 10:00:00,1.5\n" for _ in range(3)) + b"13/01/2026 10:00,1\n01/13/2026 10:00,1\n",
        {}, "mix orders of day and month",
    ),
    "R24 not a day": (b"time,A\n2026-02-28 10:00,1\n2026-02-30 10:00,1\n2026-03-01 10:00,1\n", {}, "is no time"),
    "R26 first time broken": (b"time,A\n2026-01-03 25:00,1\n2026-01-03 10:01,2\n", {}, "'2026-01-03 25:00' is no time"),
    "R27 first time missing": (b"time,A\n,1\n2026-01-03 10:01,2\n", {}, "is no time"),
    "R25 comma after points": (b"time;A\n" + b"2026-01-03 10:00:00;1.5\n" * 200_000 + b"2026-01-03 10:00:01;2,5\n", {}, "decimal sign"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_not_sure_is_refused_with_one_line(name: str, tmp_path: Path) -> None:
    data, options, words = REFUSED[name]
    path = tmp_path / "export.dat"
    path.write_bytes(data)
    with pytest.raises(Refused) as caught:
        list(batches(understand(path, Options(**{"timezone": SEOUL, **options})), 0))
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert text.startswith(str(path))


# ---------------------------------------------------------------- the command


def jayul(*words: object, feed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jayul", "import", *map(str, words)], input=feed, capture_output=True, text=True, check=False
    )


def table_of(out: Path) -> list[Sample]:
    table = Reader(out / "history").samples()
    times = table["source_at"].cast(pa.int64()).to_pylist()
    shown = [np.datetime_as_string(np.datetime64(at, "ns")).rstrip("0").rstrip(".") for at in times]
    return list(zip(table["tag"].to_pylist(), shown, table["value"].to_pylist(), table["status"].to_pylist(), strict=True))


def counts_of(out: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in Reader(out / "history").counts().to_pylist():
        found[row["what"]] = found.get(row["what"], 0) + row["n"]
    return found


def test_it_shows_before_it_writes_and_asks(tmp_path: Path) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "run"
    path.write_text(PLAIN + "2026-01-03 10:00:02,No Data\n")
    shown = jayul(path, "--timezone", SEOUL)
    assert shown.returncode == 0
    assert "3 samples of 1 tags" in shown.stdout
    assert "No Data: 1" in shown.stdout
    assert not out.exists()
    asked = jayul(path, "--timezone", SEOUL, "--into", out, feed="n\n")
    assert "Nothing was written." in asked.stdout
    assert table_of(out) == []
    before = time.time_ns()
    done = jayul(path, "--timezone", SEOUL, "--into", out, "--by", "kim", "--json", feed="y\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["files"][0]["counts"] == {"received": 3, "stored": 3, "bad": 1}
    assert same(table_of(out), [*PLAIN_ROWS, ("A", D + "1:00:02", nan, NO_DATA)])
    known = Reader(out / "history").samples(known_at=before)
    assert known.num_rows == 0  # what was imported later was not known before


def test_late_and_corrected_records(tmp_path: Path) -> None:
    out = tmp_path / "run"
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / "b.csv").write_text(PLAIN.replace("2.5", "2.75") + "2026-01-03 10:00:02,3.5\n")
    for name in "ab":
        assert jayul(tmp_path / f"{name}.csv", "--timezone", SEOUL, "--into", out, "--yes").returncode == 0
    assert table_of(out) == [PLAIN_ROWS[0], ("A", D + "1:00:01", 2.75, 0), ("A", D + "1:00:02", 3.5, 0)]
    assert counts_of(out) == {"received": 5, "stored": 4, "duplicate": 1, "corrected": 1}
    versions = Reader(out / "history").samples(versions=True)
    assert versions.num_rows == 4


def test_a_folder_takes_what_is_good_and_says_one_line_for_what_is_not(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "run"
    folder.mkdir()
    (folder / "1.csv").write_text(PLAIN)
    (folder / "2.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))
    (folder / "3.csv").write_text(PLAIN.replace("10:00", "11:00"))
    (folder / "4.csv.part").write_text("time")
    (folder / "5.csv").write_text(PLAIN)  # the first again, under another name
    done = jayul(folder, "--timezone", SEOUL, "--into", out, "--yes")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "2.csv: is no table" in done.stderr
    assert len(table_of(out)) == 4
    assert counts_of(out) == {"received": 4, "stored": 4}
    again = jayul(folder, "--timezone", SEOUL, "--into", out, "--yes")
    assert again.stdout.count("imported already") == 3
    assert counts_of(out) == {"received": 4, "stored": 4}


def test_korean(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"time,A\n03/04/2026 10:00,1\n04/04/2026 10:00,2\n")
    done = jayul(path, "--lang", "ko", "--timezone", SEOUL)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


BIG = 60_000


def big(path: Path) -> None:
    start = dt.datetime(2026, 1, 3)
    lines = [
        f"{start + dt.timedelta(seconds=i)},{i % 997 / 8},{i},{i % 7},{-i},{i % 13},{i % 17},{i % 19}\n" for i in range(BIG)
    ]
    path.write_text("time,a,b,c,d,e,f,g\n" + "".join(lines))


@pytest.mark.parametrize("after", [0, 1])
def test_a_killed_import_goes_on_and_doubles_nothing(tmp_path: Path, after: int) -> None:
    path, out = tmp_path / "big.csv", tmp_path / "run"
    big(path)
    words = [sys.executable, "-m", "jayul", "import", str(path), "--timezone", "UTC", "--into", str(out), "--yes"]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while not (out / "imports.jsonl").exists() or (out / "imports.jsonl").read_bytes().count(b"\n") <= after:
        assert running.poll() is None
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = jayul(*words[4:], "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])["files"][0]
    assert told["counts"]["received"] == told["counts"]["stored"] == BIG * 7
    counted = counts_of(out)
    assert (counted["received"], counted["stored"]) == (BIG * 7, BIG * 7)
    assert "duplicate" not in counted
    assert Reader(out / "history").samples(versions=True).num_rows == BIG * 7


def test_watch_waits_for_a_file_to_be_whole_and_takes_each_once(tmp_path: Path) -> None:
    folder, out = tmp_path / "drop", tmp_path / "run"
    folder.mkdir()
    (folder / "bad.csv").write_text("Dear colleague,\nplease see the attachment.\n")
    words = [
        sys.executable,
        "-m",
        "jayul",
        "import",
        str(folder),
        "--timezone",
        SEOUL,
        "--into",
        str(out),
        "--yes",
        "--watch",
        "--every",
        "1 s",
    ]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with (folder / "slow.csv").open("w") as file:
            file.write("time,A\n")
            for i in range(25):  # it grows for longer than two looks
                file.write(f"2026-01-03 10:00:{i:02},{i}\n")
                file.flush()
                time.sleep(0.1)
        wait_for(lambda: counts_of(out).get("stored") == 25)
        (folder / "copy.csv").write_bytes((folder / "slow.csv").read_bytes())
        (folder / "late.csv").write_text(PLAIN)
        wait_for(lambda: counts_of(out).get("received") == 27)
    finally:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 1, errors  # one file could not be understood
    assert len(errors.splitlines()) == 1
    assert "bad.csv" in errors
    assert sorted(path.name for path in folder.iterdir()) == ["bad.csv", "copy.csv", "late.csv", "slow.csv"]
    counted = counts_of(out)
    assert counted == {"received": 27, "stored": 27, "corrected": 2}
    assert table_of(out)[:3] == [*PLAIN_ROWS, ("A", D + "1:00:02", 2.0, 0)]


def wait_for(found: Any) -> None:
    for _ in range(600):
        try:
            if found():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_the_run_knows_the_units_of_its_tags(small_project: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "run", tmp_path / "a.csv"
    ran = subprocess.run(
        [sys.executable, "-m", "jayul", "run", str(small_project), "--out", str(out), "--ticks", "2"],
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    header = read_header(OsFiles(out / "journal"))
    assert header is not None
    tag = next(tag for tag in header.tags if tag.unit not in ("", "psi"))
    path.write_text(f"time,{tag.name} [psi]\n2026-01-03T10:00:00Z,1\n2026-01-03T10:00:01Z,1\n")
    done = jayul(path, "--into", out, "--yes")
    assert done.returncode == 2
    assert f"'{tag.name}' is in psi, the run's tag in {tag.unit}" in done.stderr
    path.write_text(path.read_text().replace("psi", tag.unit))
    assert jayul(path, "--into", out, "--yes").returncode == 0
    assert Reader(out / "history").samples([tag.name], 1767434400_000000000, 1767434402_000000000).num_rows == 2
