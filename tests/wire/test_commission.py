"""The commissioning test on a controller in another process: what it measures, what it refuses to believe, what it opens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from stage import jayul, played, tables

from jayul.conform.crash import make_project
from jayul.core.clock import Wall
from jayul.core.expr import duration
from jayul.core.types import Event, Proposal, Verdict
from jayul.plant.modbus.client import ModbusConfig, modbus
from jayul.plant.table import read_table, write_table
from jayul.project import commission as commissioning
from jayul.project.admit import admission
from jayul.project.commission import commission
from jayul.project.look import ladder, status
from jayul.project.manifest import parse_canonical
from jayul.project.people import new_key
from jayul.project.problem import ManifestError
from jayul.record.sign import Signer, signed

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


class Meddler(Somebody):
    """A person during whose answer to the question that holds `when` something happens."""

    def __init__(self, when: str, act: Callable[[], object], *doubts: str) -> None:
        super().__init__(*doubts)
        self.when, self.act = when, act

    def confirm(self, text: str, **params: object) -> bool:
        found = super().confirm(text, **params)
        if self.when in self.told[-1]:
            self.act()
        return found


def at_plant(project: Path, url: str, tag: str, value: float | None = None) -> float:
    """Read a tag at the plant, or write it first, as another hand would."""

    async def main() -> float:
        plant = modbus(ModbusConfig(url=url, tags=str(project / "tags.modbus.csv"), speed=60.0, write=(tag,)), Wall())
        try:
            for _ in range(50):
                await plant.read()
                await asyncio.sleep(0.1)
                if plant.health().connected:
                    break
            if value is not None:
                await plant.write([Verdict(Proposal(tag, value, "test", "test"), value, "")])
            return (await plant.read())[tag]
        finally:
            await plant.close()

    return asyncio.run(main())


def narrowed(project: Path, **bounds: float) -> None:
    """Give TIC1.SP other bounds in our table than those that the controller clamps to."""
    table = read_table(path := project / "tags.modbus.csv")
    write_table(path, type(table)(tuple(replace(t, **bounds) if t.name == "TIC1.SP" else t for t in table.tags), table.loops))


def test_what_was_commissioned_for_another_run_or_plant_says_nothing_here(project: Path):
    with played(project, "modbus", 60) as (_, url):
        header = status(begun(project, url)).header
    admit = admission(parse_canonical(header.manifest), header.start)
    body = {"name": "commissioned", "passed": True, "policy": header.policies[0], "steps": []}

    def said(**more: object) -> str:
        return admit(signed(Event("evidence", PERSON, 1, {**body, **more}, "e"), Signer.open(f"person-{PERSON}")), header.start)

    assert said(plant=url, start=header.start) == ""
    for more in ({}, {"plant": url}, {"plant": url, "start": header.start - 1}, {"plant": "modbus://x", "start": header.start}):
        assert said(**more) == "commissioned-elsewhere"
    assert said(passed=False) == "", "what speaks against a plant is heard from anywhere"


def test_what_it_asked_for_is_taken_back_if_it_is_stopped_halfway(project: Path, monkeypatch: pytest.MonkeyPatch):
    class Stopped(Exception):
        pass

    class Halting(Wall):
        async def until(self, at: int) -> None:
            raise Stopped

    narrowed(project, low=50.0)
    with played(project, "modbus", 60, "--operator", "") as (_, url):
        run = begun(project, url)
        before = at_plant(project, url, "TIC1.SP")
        monkeypatch.setattr(commissioning.links, "clock_of", lambda found, *_: Halting(speed=60.0, anchor=anchor(found)))
        with pytest.raises(Stopped):
            commission(project, run, by=PERSON, talk=Somebody(), within=duration("2 min"))
        assert before >= 50.0
        assert at_plant(project, url, "TIC1.SP") == pytest.approx(before)


def anchor(found: object) -> tuple[int, ...]:
    return (found.plant_ns, found.wall_ns) if found else ()  # type: ignore[attr-defined]


def test_a_table_that_is_not_the_one_of_the_run_is_refused(project: Path):
    with played(project, "modbus", 60, "--operator", "") as (_, url):
        run = begun(project, url)
        narrowed(project, low=50.0)
        with pytest.raises(ManifestError, match="stands otherwise"):
            commission(project, run, by=PERSON, talk=Somebody(), within=duration("2 min"))


def test_a_loop_that_was_never_in_remote_is_not_taken_back(project: Path):
    with played(project, "modbus", 60, "--operator", "") as (_, url):
        run = begun(project, url)
        person = Meddler("be in charge", lambda: at_plant(project, url, "TIC1.MODE", 1.0), "too far")
        event = commission(project, run, by=PERSON, talk=person, within=duration("2 min"))
    step = event.body["steps"][-1]
    assert step["name"] == "watchdog"
    assert not step.get("measured")
    assert "not every loop reads remote" in person.told[-1]


def test_while_a_policy_may_write_there_is_no_test(project: Path, tmp_path: Path):
    text = (project / "jayul.toml").read_text()
    (project / "jayul.toml").write_text(text + "\n[people]\nsimulated = true\n" if "[people]" not in text else text)
    jayul("run", project, "--out", run := tmp_path / "high", "--ticks", 60)
    assert status(run).levels.popitem()[1] in ("confirm", "auto")
    with pytest.raises(ManifestError, match="take it down first"):
        commission(project, run, by=PERSON, talk=Somebody(), within=duration("2 min"))
