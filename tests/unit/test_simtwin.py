"""A twin follows the plant that nobody moves, and stays there when somebody does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jayul.core.clock import Sim
from jayul.core.types import SECOND, Frame, Proposal, TagTable, Verdict
from jayul.learn import Setting
from jayul.learn.simtwin import SimtwinConfig, simtwin
from jayul.plant.sim.tank import TAGS, TankConfig, tank
from jayul.plant.sim.twins import TWINS
from jayul.project.invariance import shifts
from jayul.project.manifest import load
from jayul.project.problem import ManifestError
from jayul.project.proof import measure
from jayul.project.run import Options, execute
from jayul.project.wire import wire
from jayul.prove.effect import compared
from jayul.prove.plan import Plan
from jayul.testing import START, check_model

MINUTE = 60 * SECOND
COST = "JI1.PV * PRICE1 + JI2.PV * PRICE2"
EXAMPLE = Path(__file__).parents[2] / "examples" / "tank" / "twin.toml"


def recorded(ticks: int, moved: bool, seed: int = 3) -> list[Frame]:
    """Frames of a plant, minute by minute; `moved`: its set-point goes to 62 degC after an hour."""

    async def drive() -> list[Frame]:
        clock, frames = Sim(START, seed), []
        plant = tank(TankConfig(), clock)
        for tick in range(ticks):
            await clock.until(START + tick * MINUTE)
            frames.append(await plant.read())
            if moved and tick >= 60:
                value = min(62.0, 55.0 + 0.5 * (tick - 60))
                await plant.write([Verdict(Proposal("TIC1.SP", value, "", "p"), value, "")])
        return frames

    return asyncio.run(drive())


def said(frames: list[Frame], **config: Any) -> np.ndarray:
    model = simtwin(SimtwinConfig(**{"plant": "tank", "formula": COST, **config}), Setting("twin", TAGS, TWINS))
    state, found = model.learn(()), []
    for frame in frames:
        state, (reading,) = model.infer(state, frame)
        found.append(reading.value)
    return np.array(found)


def cost(frames: list[Frame]) -> np.ndarray:
    return np.array([f["JI1.PV"] * f["PRICE1"] + f["JI2.PV"] * f["PRICE2"] for f in frames])


def test_it_says_what_a_plant_shows_that_nobody_moves() -> None:
    frames = recorded(600, moved=False)
    left = (cost(frames) - said(frames))[120:]
    assert left.std() < 0.25 * cost(frames)[120:].std()
    assert abs(left.mean()) < 0.02


def test_it_does_not_follow_the_policy() -> None:
    still, moved = recorded(600, moved=False), recorded(600, moved=True)
    assert said(moved)[300:] == pytest.approx(said(still)[300:], abs=1e-9)
    saved = (cost(still) - cost(moved))[300:].mean()
    assert (said(moved) - cost(moved))[300:].mean() == pytest.approx(saved, abs=0.02)


def test_it_keeps_a_driver_for_a_while_and_then_says_nothing() -> None:
    frames = recorded(60, moved=False)
    for i, frame in enumerate(frames):
        if i >= 30:
            status = frame.status.copy()
            status[TAGS.index["TI3.PV"]] = 0x8000_0000
            frames[i] = Frame(frame.at, TAGS, frame.value.copy(), frame.source_at.copy(), frame.seen_at.copy(), status)
    found = said(frames)
    assert np.isfinite(found[:45]).all()
    assert np.isnan(found[45:]).all()


def test_the_promises_of_every_model_are_kept() -> None:
    config = SimtwinConfig(plant="tank", formula=f"mean({COST}, 10 min)")
    check_model(lambda: simtwin(config, Setting("twin", TAGS, TWINS)), recorded(40, moved=False))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"plant": "boiler"}, "there is no twin of 'boiler'; there are tank"),
        ({"drivers": {"wind": "TI4.PV"}}, "'wind' is no input of the twin; there are FI2.PV"),
        ({"drivers": {"TI4.PV": "NOWHERE"}}, "unknown tag 'NOWHERE'"),
        ({"formula": "JI1.PV > 3"}, "'formula' is a condition, not a number"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        said([], **config)


def test_a_tag_that_the_twin_says_need_not_be_in_the_table() -> None:
    plain = TagTable(tag for tag in TAGS.tags if tag.name != "TIC1.PV")
    assert simtwin(SimtwinConfig(plant="tank", formula=COST), Setting("twin", plain, TWINS)).needs == TWINS["tank"]().inputs


def test_its_drivers_are_tried_out_before_the_start() -> None:
    wired = wire(load(EXAMPLE), EXAMPLE.parent, 0)
    assert set(shifts(wired, 0)) == {"FI2.PV", "TI3.PV", "TI4.PV", "TIC2.SP"}
    assert max(shifts(wired, 0).values()) < 1e-6


def test_a_twin_whose_driver_answers_to_the_policy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jayul.toml"
    text = EXAMPLE.read_text(encoding="utf-8")
    path.write_text(
        text.replace('plant = "tank"\n', 'plant = "tank"\ndrivers = { "TI3.PV" = "TIC1.PV" }\n', 1), encoding="utf-8"
    )
    with pytest.raises(ManifestError, match="moves by"):
        execute(path, tmp_path / "out", Options(ticks=3))
    assert not (tmp_path / "out" / "journal").exists() or not any((tmp_path / "out" / "journal").iterdir())


REGRESSION = """
[[model]]
kind = "formula"
name = "cost"
formula = { cost = "(JI1.PV * PRICE1 + JI2.PV * PRICE2) / FI2.PV" }

[[model]]                  # learned before the first block, from what comes from outside alone
kind = "softsensor"
name = "outside"
target = "cost"
tags = ["FI2.PV", "TI3.PV", "TI4.PV"]
train = "30 h"
test = "8 h"
"""


def test_a_regression_on_drivers_is_a_twin_too(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    begin, end = text.index("[[model]]"), text.index("[[policy]]")
    text = text[:begin] + REGRESSION + text[end:]
    text = text.replace('twin = "twin"', 'twin = "outside.value"').replace("effect = 0.01 ", "effect = 0.03 ")
    text = text.replace('begin = "4 h"', 'begin = "40 h"').replace('"60 h"', '"96 h"')
    (tmp_path / "jayul.toml").write_text(text, encoding="utf-8")
    wired = wire(load(tmp_path), tmp_path, 0)
    assert set(shifts(wired, 0)) == {"FI2.PV", "TI3.PV", "TI4.PV"}
    execute(tmp_path, tmp_path / "out", Options(history=False))
    beside = measure(tmp_path / "out")
    assert beside.conclusion == "proven", beside.reasons
    assert beside.benefit[1] < 3.0 < beside.benefit[2]
    spread = np.std([compared(Plan("", "kpi", "", {}, (), (), 0, 0, 0), b) for b in beside.blocks[2:] if b.arm == "off"])
    left = np.std([b.means["kpi"] - b.means["outside.value"] for b in beside.blocks[2:] if b.arm == "off"])
    assert left < 0.6 * spread


def test_a_twin_in_another_unit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jayul.toml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8").replace('twin = "twin"', 'twin = "TI3.PV"'), encoding="utf-8")
    with pytest.raises(ManifestError, match="is in degC, the KPI in USD"):
        wire(load(path), tmp_path, 0)
