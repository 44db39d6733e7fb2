"""The commissioning test on a controller in another process: what it measures, what it refuses to believe, what it opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import jayul, played, tables

from jayul.conform.crash import make_project
from jayul.core.expr import duration
from jayul.plant.table import read_table, write_table
from jayul.project.commission import commission
from jayul.project.look import ladder
from jayul.project.people import new_key
from jayul.project.problem import ManifestError

PERSON = "kim"


class Somebody:
    """A person at the plant who sees the same as we do, except where a question holds one of `doubts`."""

    def __init__(self, *doubts: str) -> None:
        self.doubts, self.told = doubts, list[str]()

    def say(self, text: str, **params: object) -> None:
        self.told.append(text.format(**params))

    def confirm(self, text: str, **params: object) -> bool:
        self.told.append(text.format(**params))
        return not any(doubt in self.told[-1] for doubt in self.doubts)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a named engineer, whose first run has begun."""
    folder = make_project(tmp_path / "line", 2000.0, "tick")
    text = (folder / "jayul.toml").read_text()
    person = f'[[people.person]]\nname = "{PERSON}"\nroles = ["engineer", "operator"]\nkey = "{new_key(PERSON)}"\n'
    lines = [line for line in text.splitlines() if not line.startswith(("simulated =", "[people]"))]
    (folder / "jayul.toml").write_text("\n".join(lines) + "\n" + person)
    tables(folder)
    return folder


def begun(project: Path, url: str) -> Path:
    run = project / "run"
    jayul("run", project, "--plant", url, "--speed", 60, "--out", run, "--ticks", 8)
    return run


def test_without_it_the_gate_to_confirm_is_closed_and_with_it_open(project: Path):
    with played(project, "modbus", 60, "--operator", "") as (_, url):
        run = begun(project, url)
        person = Somebody()
        event = commission(project, run, by=PERSON, talk=person, within=duration("30 min"))
        assert event.body["passed"], event.body["steps"]
        seen = {(step["name"], step["tag"]) for step in event.body["steps"]}
        assert seen == {("clamp-low", "TIC1.SP"), ("clamp-high", "TIC1.SP"), ("watchdog", "WATCHDOG"), ("local", "TIC1.SP")}
        assert 60 < next(step["seconds"] for step in event.body["steps"] if step["name"] == "watchdog") < 1800
        assert sum("which is too far" in text for text in person.told) == 2, "nothing is written unasked"
        jayul("run", project, "--plant", url, "--speed", 60, "--out", run, "--ticks", 12)
        standing = ladder(run).standings[0]
        assert standing.evidence == {"commissioned": True}


def test_what_the_person_does_not_see_stands_against_it(project: Path):
    with played(project, "modbus", 60, "--operator", "") as (_, url):
        run = begun(project, url)
        event = commission(project, run, by=PERSON, talk=Somebody("holds TIC1.SP"), within=duration("30 min"))
        assert not event.body["passed"]
        clamps = [step for step in event.body["steps"] if step["name"].startswith("clamp")]
        assert all(step["measured"] and not step.get("confirmed") for step in clamps)
        jayul("run", project, "--plant", url, "--speed", 60, "--out", run, "--ticks", 12)
        assert ladder(run).standings[0].evidence == {"commissioned": False}


def test_a_controller_without_a_clamp_or_without_shedding_is_found_out(project: Path):
    table = read_table(path := project / "tags.modbus.csv")
    with played(project, "modbus", 60, "--operator", "", "--watchdog", "10 d") as (_, url):
        narrow = [
            t if t.name != "TIC1.SP" else type(t)(**{**{f: getattr(t, f) for f in t.__struct_fields__}, "high": 63.0})
            for t in table.tags
        ]
        write_table(path, type(table)(tuple(narrow), table.loops))  # the controller lets through what we say is too far
        run = begun(project, url)
        event = commission(project, run, by=PERSON, talk=Somebody(), within=duration("2 min"))
    steps = {(step["name"], step["tag"]): step for step in event.body["steps"]}
    assert not event.body["passed"]
    assert not steps["clamp-high", "TIC1.SP"].get("measured")
    assert steps["clamp-low", "TIC1.SP"]["measured"]
    assert not steps["watchdog", "WATCHDOG"].get("measured")


def test_somebody_who_says_no_has_nothing_written(project: Path):
    with played(project, "modbus", 60, "--operator", "") as (_, url):
        run = begun(project, url)
        event = commission(project, run, by=PERSON, talk=Somebody("too far", "be in charge"), within=duration("2 min"))
    assert not event.body["passed"]
    assert all(step.get("after") is None for step in event.body["steps"])


def test_who_is_not_named_may_not(project: Path):
    with played(project, "modbus", 60) as (_, url):
        run = begun(project, url)
    with pytest.raises(ManifestError, match="not in \\[people\\]"):
        commission(project, run, by="lee", talk=Somebody(), within=duration("2 min"))
    with pytest.raises(ManifestError, match="no Modbus device answers"):
        commission(project, run, by=PERSON, talk=Somebody(), within=duration("2 min"))
