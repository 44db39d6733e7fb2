"""Price packs: what is refused, and what a unit is worth."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from jayul.packs import PackError, parse
from jayul.packs.price import Price, per_hour
from jayul.project.manifest import load
from jayul.project.price import pack
from jayul.project.problem import ManifestError
from jayul.project.wire import wire

EXAMPLE = Path(__file__).parents[2] / "examples" / "tank" / "jayul.toml"
PACK = """
kind: price
id: tank-2026
source: contract 12, page 3
valid_from: 2026-01-01
valid_until: 2026-12-31
verified_by: Kim
currency: KRW
entries:
  - { of: USD/m3, worth: 6.0, unit: m3/h, note: flow of 2025 }
  - { of: kW, worth: 0.5, unit: USD/kW/h }
  - { of: MJ, worth: 2.0, unit: USD/MJ }
  - { of: USD, worth: 1400.0, unit: KRW/USD }
  - { of: EUR, worth: 1500.0, unit: KRW }
"""


def price(text: str = PACK) -> Price:
    return pack(text, "prices.yaml")


@pytest.mark.parametrize(
    ("unit", "factor"), [("KRW/h", 1.0), ("USD/h", 1400.0), ("USD/m3", 6.0 * 1400.0), ("kW", 0.5 * 1400.0), ("h-1.USD", 1400.0)]
)
def test_a_unit_is_worth_money_an_hour(unit: str, factor: float) -> None:
    assert price().rate(unit) == factor


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ("t/h", "no entry says what one 't/h' is worth; add one whose 'of' is 't/h'"),
        ("MJ", "one 'MJ' comes out in 'USD', which is not money an hour"),
        ("JPY/h", "no entry exchanges 'JPY' for 'KRW'; add one"),
        ("EUR/h", "the exchange rate of 'EUR' must be in 'KRW/EUR'"),
        ("??", "unit '??' cannot be read; write it like 'USD/h', 'm3/h' or '1'"),
    ],
)
def test_a_unit_without_a_price_is_refused_in_one_line(unit: str, says: str) -> None:
    with pytest.raises(PackError) as found:
        price().rate(unit)
    assert str(found.value) == says


@pytest.mark.parametrize("unit", ["USD", "h", "1", "USD/h2", "USD/d", "usd/h", "kW/h", "USD.m3/h"])
def test_what_is_not_money_an_hour(unit: str) -> None:
    assert per_hour(unit) == ""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: price", "kind: tariff", "prices.yaml: kind: 'tariff' is not one of price"),
        ("kind: price\n", "", "prices.yaml: 'kind' is missing"),
        ("source: contract 12, page 3\n", "", "prices.yaml: 'source' is missing"),
        ("verified_by: Kim", "verified_by: ' '", "prices.yaml: verified_by: 'verified_by' must not be empty"),
        ("currency: KRW", "currency: won", "prices.yaml: currency: 'won' is no currency; write its three letters, as in ISO 4217: KRW, USD, EUR"),
        ("valid_until: 2026-12-31", "valid_until: 2025-12-31", "'valid_until' lies before 'valid_from'"),
        ("valid_until: 2026-12-31", "valid_until: soon", "prices.yaml: valid_until: "),
        ("valid_until: 2026-12-31", "valid_until: 2026-02-31", "not YAML: line 1: day is out of range for month"),
        ("verified_by: Kim", "verifed_by: Kim", "unknown key 'verifed_by'; did you mean 'verified_by'?"),
        ("worth: 6.0", "worth: 0", "prices.yaml: entries[0]: 'worth' must be above 0"),
        ("worth: 6.0", "worth: .inf", "prices.yaml: entries[0]: 'worth' must be above 0"),
        ("worth: 6.0", "worth: .nan", "prices.yaml: entries[0]: 'worth' must be above 0"),
        ("worth: 6.0", "worth: six", "prices.yaml: entries[0].worth: expected a number, got text"),
        ("of: kW", "of: USD/m3", "'USD/m3' stands there twice"),
        ("of: kW", "of: '?'", "unit '?' cannot be read; write it like 'USD/h', 'm3/h' or '1'"),
        ("id: tank-2026", "id: a\nid: b", "prices.yaml: 'id' stands there twice"),
        ("id: tank-2026", "id: &a x", ""),
        ("verified_by: Kim", "verified_by: *a", "prices.yaml: aliases (*name) are not understood; write the value out"),
        ("entries:", "entries: [", "prices.yaml: not YAML: line "),
        (PACK, "- 1", "prices.yaml: is not made of keys and values; write it like 'kind: price'"),
        (PACK, "", "prices.yaml: is not made of keys and values; write it like 'kind: price'"),
        (PACK, "a: " + "x" * 70_000, "prices.yaml: is longer than a pack can be (64 k characters)"),
        (PACK, "[" * 5000, "prices.yaml: not YAML: line 1: it is nested too deeply"),
        ("id: tank-2026", "id: !!python/object:os.system x", "prices.yaml: not YAML: line "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pack_is_one_line(old: str, new: str, says: str) -> None:
    assert old in PACK
    if not says:
        assert price(PACK.replace(old, new)).id == "x"
        return
    with pytest.raises(ManifestError) as found:
        price(PACK.replace(old, new))
    assert says in str(found.value)
    assert "\n" not in str(found.value)


def test_a_pack_holds_from_its_first_to_its_last_day() -> None:
    def at(*moment: int) -> int:
        return int(dt.datetime(*moment, tzinfo=dt.UTC).timestamp()) * 1_000_000_000  # type: ignore[misc, arg-type]

    for good in (at(2026, 1, 1), at(2026, 12, 31, 23, 59, 59)):
        price().check_at(good)
    with pytest.raises(PackError, match="expired on 2026-12-31, before the last tick of the run \\(2027-01-01\\)"):
        price().check_at(at(2027, 1, 1))
    with pytest.raises(PackError, match="holds from 2026-01-01 on"):
        price().check_at(at(2025, 12, 31, 23, 59, 59))


def test_yaml_is_read_as_it_stands() -> None:
    assert parse("a: 1\nb: [x, 2026-01-01]") == {"a": 1, "b": ["x", dt.date(2026, 1, 1)]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "prices.yaml").write_text(PACK, encoding="utf-8")
    text = EXAMPLE.read_text(encoding="utf-8").replace("[proof]", '[proof]\nprice = "prices.yaml"\nhours_per_year = 8000')
    (tmp_path / "jayul.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_the_pack_of_a_project_stands_in_the_header(project: Path) -> None:
    assert wire(load(project), project, 0).header.price == PACK
    (project / "jayul.toml").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    assert wire(load(project), project, 0).header.price == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("prices.yaml", "valid_until: 2026-12-31", "valid_until: 2026-01-03", "prices.yaml: expired on 2026-01-03, before the last tick of the run (2026-01-04)"),
        ("prices.yaml", "of: USD/m3", "of: USD/t", "prices.yaml: no entry says what one 'USD/m3' is worth"),
        ("jayul.toml", 'price = "prices.yaml"', 'price = "price.yaml"', "price.yaml cannot be read: No such file or directory"),
        ("jayul.toml", "hours_per_year = 8000", "hours_per_year = 9000", "jayul.toml:41: proof.hours_per_year: must lie between 0 and 8784"),
        ("jayul.toml", "hours_per_year = 8000", "hours_per_year = nan", "proof.hours_per_year: must lie between 0 and 8784"),
        ("jayul.toml", "hours_per_year = 8000", 'hours_per_year = "all"', "proof.hours_per_year: expected a number"),
    ],
)  # fmt: skip
def test_a_price_that_cannot_be_used_is_refused_before_the_first_tick(
    file: str, old: str, new: str, says: str, project: Path
) -> None:
    text = (project / file).read_text(encoding="utf-8")
    assert old in text
    (project / file).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ManifestError) as found:
        wire(load(project), project, 0)
    assert says in str(found.value)
