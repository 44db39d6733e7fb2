"""Rules by name: every kind can be loaded, stands in the reference, and a run with all of them replays."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path

import msgspec
import pytest

from jayul.project import kinds
from jayul.project.look import ladder, replay
from jayul.project.manifest import load
from jayul.project.run import Options, execute, ticks_of
from jayul.project.wire import wire
from jayul.record.files import OsFiles

KINDS = sorted(kinds.known("rules"))
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "rules.md"
ALL = {
    "rate": 'tags = ["TIC1.SP"]\nwindow = "10 min"\nmost = 3.0',
    "travel": 'tags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 20.0',
    "moves": 'tags = ["TIC1.SP"]\nwindow = "10 min"\nmost = 8',
    "dwell": 'tags = ["LIC1.SP"]\nwindow = "2 min"',
    "mode": 'mode = "TIC1.MODE"\ntakes = ["RCAS"]\ntags = ["TIC1.SP"]',
    "between": 'tags = ["TIC1.SP"]\nhigh = "TIC2.SP"',
    "hours": 'timezone = "UTC"\nfrom = "00:00"\nto = "01:30"',
    "age": 'of = ["TI3.PV"]\nmost = "2 min"',
    "seen": 'tags = ["TIC2.SP"]\nwatch = ["TI3.PV"]\nstate = "TIC1.MODE"\nafter = "10 min"\nmargin = 0.5',
    "halfspace": 'weights = { "LIC1.SP" = 0.5, "TIC1.SP" = 1.0 }\nmost = 83.0',
}
BOTH = [
    ('writes = ["TIC1.SP"]', 'writes = ["TIC1.SP", "LIC1.SP"]'),
    ('target = { "TIC1.SP" = 62.0 }', 'target = { "TIC1.SP" = 62.0, "LIC1.SP" = 55.0 }'),
    ('per_hour = { "TIC1.SP" = 30.0 }', 'per_hour = { "TIC1.SP" = 30.0, "LIC1.SP" = 20.0 }'),
]


def ruled(project: Path, rules: dict[str, str], *pairs: tuple[str, str]) -> Path:
    """Write rules into the manifest, after other changes to it."""
    path = project / "jayul.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    more = "".join(f'\n[[guard.rule]]\nkind = "{kind}"\n{options}\n' for kind, options in rules.items())
    path.write_text(text + more, encoding="utf-8")
    return project


def objections(out: Path) -> set[str]:
    return {verdict.rule for tick in ticks_of(OsFiles(out / "journal")) for verdict in tick.decision.verdicts}


def test_the_kinds_are_those_that_this_file_knows() -> None:
    assert KINDS == sorted(ALL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_can_be_loaded(kind: str) -> None:
    factory = kinds.load(kinds.known("rules")[kind])
    assert issubclass(factory.config, msgspec.Struct)
    assert list(inspect.signature(factory.make).parameters) == ["config", "setting"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_stands_in_the_reference_with_all_its_keys(kind: str) -> None:
    row = re.search(rf"^\| `{kind}` \|(.*)$", REFERENCE.read_text(encoding="utf-8"), re.M)
    assert row, f"{kind} is missing"
    cells = row[1].split("|")
    written = set(re.findall(r"`(\w+)`", cells[0]))
    bold = set(re.findall(r"\*\*`(\w+)`\*\*", cells[0]))
    fields = msgspec.structs.fields(kinds.load(kinds.known("rules")[kind]).config)
    assert written == {field.encode_name for field in fields}
    assert bold >= {field.encode_name for field in fields if field.required}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_of_each_kind_can_be_wired_and_is_asked(kind: str, small_project: Path) -> None:
    plain = len(wire(load(small_project), small_project, 0).line.rules)
    project = ruled(small_project, {kind: ALL[kind]}, *BOTH)
    assert len(wire(load(project), project, 0).line.rules) == plain + 1


def test_a_run_with_all_kinds_replays_without_a_difference(small_project: Path, tmp_path: Path) -> None:
    project, out = ruled(small_project, ALL, *BOTH), tmp_path / "out"
    done = execute(project, out, Options(seed=4, history=False)).summary
    assert done.tags["TIC1.SP"].applied > 10
    assert objections(out) >= {"hours", "halfspace"}
    for full in (False, True):
        found = replay(out, full=full)
        assert (found.ticks, found.differing, found.first) == (240, 0, "")
    assert ladder(out).tick == 239


def test_an_interrupted_run_with_all_kinds_ends_at_the_same_head(small_project: Path, tmp_path: Path) -> None:
    project = ruled(small_project, ALL, *BOTH)
    whole = execute(project, tmp_path / "whole", Options(seed=4, history=False)).summary.head
    for ticks in (7, 60, 121):
        execute(project, tmp_path / "parts", Options(seed=4, history=False, ticks=ticks))
    assert execute(project, tmp_path / "parts", Options(seed=4, history=False)).summary.head == whole


BINDING = {
    "rate": 'tags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 2.0',
    "travel": 'tags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 2.0',
    "moves": 'tags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 3',
    "dwell": 'tags = ["TIC1.SP"]\nwindow = "2 min"',
    "mode": 'mode = "TIC1.MODE"\ntakes = ["MAN"]',
    "between": 'tags = ["TIC1.SP"]\nlow = "TIC2.SP"',
    "hours": 'timezone = "UTC"\nto = "00:30"',
    "age": 'of = ["TI3.PV"]\nmost = "1 min"\n[[plant.fault]]\ntag = "TI3.PV"\nkind = "bad"\nafter = "15 min"\nlasts = "9 min"',
    "seen": 'tags = ["TIC1.SP"]\nafter = "10 min"',
    "halfspace": 'weights = { "LIC1.PV" = 0.001, "TIC1.SP" = 1.0 }\nmost = 57.0',
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_that_binds_is_seen_in_the_record(kind: str, small_project: Path, tmp_path: Path) -> None:
    project, out = ruled(small_project, {kind: BINDING[kind]}), tmp_path / "out"
    execute(project, out, Options(seed=4, ticks=90, history=False))
    assert kind in objections(out)
    for full in (False, True):
        assert replay(out, full=full).differing == 0


def largest_in_any_window(values: list[float], width: int, figure: str) -> float:
    """Return the largest spread, travel or count of any `width` moves in a row, recomputed from the values that stood."""
    found = 0.0
    for i in range(len(values)):
        part = values[max(0, i - width) : i + 1]
        moves = [abs(b - a) for a, b in itertools.pairwise(part)]
        spread, count = max(part) - min(part), sum(move > 0 for move in moves)
        found = max(found, {"rate": spread, "travel": sum(moves), "moves": count, "dwell": count}[figure])
    return found


@pytest.mark.parametrize(
    ("kind", "options", "width", "most"),
    [
        ("rate", 'window = "10 min"\nmost = 2.0', 20, 2.0),
        ("travel", 'window = "20 min"\nmost = 3.0', 40, 3.0),
        ("moves", 'window = "5 min"\nmost = 4', 10, 4),
        ("dwell", 'window = "3 min"', 6, 1),
    ],
)
def test_what_a_window_allows_holds_over_every_window_of_the_run(
    kind: str, options: str, width: int, most: float, small_project: Path, tmp_path: Path
) -> None:
    patient = ("[ladder.shadow]", "[ladder]\nveto_ticks = 1000\n\n[ladder.shadow]")  # no way back, which is spared
    project, out = ruled(small_project, {kind: f'tags = ["TIC1.SP"]\n{options}'}, patient), tmp_path / "out"
    line = wire(load(project), project, 0).line
    names = [line.table.names[i] for i in line.named]
    execute(project, out, Options(seed=4, history=False))
    i = names.index("TIC1.SP")
    stood = [value_of(tick.decision.columns[0], i) for tick in ticks_of(OsFiles(out / "journal"))]
    found = largest_in_any_window(stood, width, kind)
    assert 0 < found <= most + 1e-9
    assert found == pytest.approx(most, abs=0.3)


def value_of(column: bytes, i: int) -> float:
    return float(memoryview(column).cast("d")[i])
