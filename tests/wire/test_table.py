"""Tag tables: read, written, read again; every mistake is one line that says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jayul.core.types import Tag
from jayul.plant.errors import Refused
from jayul.plant.table import Loop, Table, at_speed, read_table, write_table

CSV = """name,unit,kind,address,low,high,max_step,stale_after,writable,safety,states,description,mode,remote,local
TIC1.PV,degC,,a1,0,100,,60,,,,"temperature, tank 1",,,
TIC1.SP,degC,set-point,a2,45,66,1,60,true,,,,TIC1.MODE,2,1
TIC1.MODE,,mode,a3,,,,,,,0=MAN;1=AUTO;2=RCAS,,,,
"""
TOML = """
[[tag]]
name = "TIC1.SP"
unit = "degC"
kind = "set-point"
address = "a2"
low = 45
high = 66.0
max_step = 1
writable = true
mode = "TIC1.MODE"
remote = 2
local = 1
[[tag]]
name = "TIC1.MODE"
kind = "mode"
address = "a3"
states = { 0 = "MAN", 1 = "AUTO" }
"""


def test_csv_is_read(tmp_path: Path):
    (path := tmp_path / "tags.csv").write_text(CSV)
    table = read_table(path)
    assert table.tags[1] == Tag(
        name="TIC1.SP", unit="degC", kind="set-point", address="a2", low=45, high=66, max_step=1, stale_after=60, writable=True
    )
    assert table.tags[0].description == "temperature, tank 1"
    assert table.tags[2].states == {0: "MAN", 1: "AUTO", 2: "RCAS"}
    assert table.loops == {"TIC1.SP": Loop("TIC1.MODE", 2, 1)}


def test_a_spreadsheet_with_semicolons_and_a_byte_order_mark(tmp_path: Path):
    (path := tmp_path / "tags.csv").write_text("\ufeffname;address;low;high\n온도;a1;0;1\n;;;\n")
    assert read_table(path).tags[0].name == "온도"


def test_toml_is_read(tmp_path: Path):
    (path := tmp_path / "tags.toml").write_text(TOML)
    table = read_table(path)
    assert table.loops == {"TIC1.SP": Loop("TIC1.MODE", 2, 1)}
    assert table.tags[0].high == 66.0


def test_what_is_written_reads_the_same(tmp_path: Path):
    (path := tmp_path / "tags.csv").write_text(CSV)
    table = read_table(path)
    write_table(again := tmp_path / "again.csv", table)
    assert read_table(again) == table


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool), unique=True, min_size=1),
    st.floats(-1e6, 1e6), st.floats(1e-3, 1e6),
)  # fmt: skip
def test_any_name_survives(tmp_path_factory: pytest.TempPathFactory, names: list[str], low: float, width: float):
    tags = tuple(
        Tag(name=name, address=name, low=float(f"{low:.15g}"), high=float(f"{low + width + 1:.15g}")) for name in names
    )
    path = tmp_path_factory.mktemp("table") / "tags.csv"
    write_table(path, Table(tags))
    assert read_table(path).tags == tags


WRONG = [
    ("name,place\nA,a1\n", "line 1: unknown column 'place'"),
    ("name,address\nA\n", "line 2: fewer cells"),
    ("name,address\nA,a1,7\n", "line 2: more cells"),
    ("name,address,low\nA,a1,cold\n", "line 2: 'low' is 'cold'; write a number"),
    ("name,address,writable\nA,a1,perhaps\n", "line 2: 'writable' is 'perhaps'; write true or false"),
    ("name,address,states\nA,a1,MAN\n", "line 2: 'states' is 'MAN'; write codes such as"),
    ("name,address,kind\nA,a1,sensor\n", "line 2: 'kind' is 'sensor'; there is: measured,"),
    ("name,address\nA,a1\nA,a2\n", "line 3: the tag 'A' stands there twice"),
    ("name,address\nA,\n", "line 2: 'address' is missing"),
    ("name,address,low,high\nA,a1,5,5\n", "line 2: 'low' 5 does not lie below 'high' 5"),
    ("name,address,stale_after\nA,a1,0\n", "'stale_after' and 'max_step' must be above 0"),
    ("name,address,mode,remote,local\nA,a1,M,2,1\n", "the mode 'M' of 'A' is no tag of this table"),
    ("name,address,mode\nA,a1,M\n", "'local' go together; 'remote' is missing"),
    ("name,address\n", "holds no tag"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_a_mistake_is_one_line(tmp_path: Path, text: str, said: str):
    (path := tmp_path / "tags.csv").write_text(text)
    with pytest.raises(Refused) as found:
        read_table(path)
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)


def test_other_wrong_files(tmp_path: Path):
    with pytest.raises(Refused, match="no tag table can be read here"):
        read_table(tmp_path / "none.csv")
    (path := tmp_path / "tags.toml").write_text("[[tag]\n")
    with pytest.raises(Refused, match="not TOML"):
        read_table(path)
    path.write_text('[[tag]]\nname = "A"\naddress = "a"\nlow = "cold"\n')
    with pytest.raises(Refused, match=r"tag 1: the row cannot be used: Expected"):
        read_table(path)
    path.write_text('[[tag]]\nname = "A"\naddress = "a"\nlwo = 1\n')
    with pytest.raises(Refused, match=r"tag 1: unknown key 'lwo'; there is: name,"):
        read_table(path)
    path.write_text("tags = 1\n")
    with pytest.raises(Refused, match=r"\[\[tag\]\] entries and nothing else"):
        read_table(path)


def test_no_tag_is_stale_within_a_second_of_the_wall_clock():
    tags = (Tag(name="A", stale_after=60.0), Tag(name="B", stale_after=7200.0))
    assert [tag.stale_after for tag in at_speed(tags, 600).tags] == [600.0, 7200.0]
    assert [tag.stale_after for tag in at_speed(tags, 1).tags] == [60.0, 7200.0]


@pytest.mark.parametrize(("column", "number"), [("high", "inf"), ("max_step", "inf"), ("stale_after", "inf"), ("low", "-inf")])
def test_a_bound_without_end_is_none(tmp_path: Path, column: str, number: str):
    (path := tmp_path / "tags.csv").write_text(f"name,address,{column}\nTI1,a,{number}\n")
    with pytest.raises(Refused, match=f"line 2: '{column}' is '{number}'; write a number"):
        read_table(path)
    (path := tmp_path / "tags.toml").write_text(f'[[tag]]\nname = "TI1"\naddress = "a"\n{column} = {number}\n')
    with pytest.raises(Refused, match=f"tag 1: '{column}' is '{number}'; write a number"):
        read_table(path)


def test_a_safety_tag_has_no_second_name(tmp_path: Path):
    (path := tmp_path / "tags.csv").write_text("name,address,safety,writable\nSIS1,holding 4,true,\nTIC1,holding 4,,true\n")
    with pytest.raises(Refused, match="'TIC1' has the address of the safety tag 'SIS1'"):
        read_table(path)
