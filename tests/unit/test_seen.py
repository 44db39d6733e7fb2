"""The box of what was seen by operating state, held against a recomputation from all that was ever seen."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from jayul.core.types import BAD, GOOD, SECOND, Frame, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.seen import PIECES, SeenConfig, seen
from jayul.testing import START, check_model

TABLE = TagTable(
    [Tag(name="A", unit="degC"), Tag(name="B", unit="%"), Tag(name="STATE", kind="mode", states={0: "UP", 1: "RUN"})]
)
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def frame_of(at: int, a: float, b: float = 1.0, state: float = 1.0, *, bad: tuple[str, ...] = ()) -> Frame:
    stamps = np.full(3, at, dtype=np.int64)
    status = np.array([BAD if name in bad else GOOD for name in TABLE.names], dtype=np.uint32)
    return Frame(at, TABLE, np.array([a, b, state]), stamps, stamps.copy(), status)


def watch(frames: list[Frame], **config: Any) -> list[dict[str, float]]:
    model = seen(SeenConfig(**{"tags": ("A", "B"), "state": "STATE", "after": "24 min", **config}), Setting("m", TABLE))
    state, found = model.learn(frames), []
    for frame in frames:
        state, readings = model.infer(state, frame)
        found.append({reading.tag.removeprefix("m."): reading.value for reading in readings})
    return found


def test_a_box_counts_what_lies_long_enough_back_and_nothing_younger() -> None:
    chance = random.Random(4)
    frames = [
        frame_of(
            START + i * MINUTE, chance.gauss(50, 5), chance.gauss(1, 1), float(chance.random() < 0.8),
            bad=tuple(name for name in TABLE.names if chance.random() < 0.1),
        )
        for i in range(300)
    ]  # fmt: skip
    for now, found in zip(frames, watch(frames), strict=True):
        if not now.fresh("STATE"):
            assert found == {}
            continue
        for tag in ("A", "B"):
            past = [f for f in frames if f.at <= now.at and f.fresh("STATE") and f["STATE"] == now["STATE"] and f.fresh(tag)]
            sure = [f[tag] for f in past if now.at - f.at >= 24 * MINUTE + 24 * MINUTE // PIECES]
            ever = [f[tag] for f in past if now.at - f.at >= 24 * MINUTE]
            if not ever:
                assert f"{tag}.low" not in found
            elif f"{tag}.low" in found:
                assert found[f"{tag}.low"] in ever and min(ever) <= found[f"{tag}.low"] <= min(sure, default=math.inf)  # noqa: PT018
                assert found[f"{tag}.high"] in ever and max(ever) >= found[f"{tag}.high"] >= max(sure, default=-math.inf)  # noqa: PT018
            else:
                assert not sure


def test_without_a_state_tag_there_is_one_state() -> None:
    frames = [frame_of(START + i * MINUTE, float(i), state=float(i % 2), bad=("STATE",)) for i in range(60)]
    assert watch(frames, state="")[-1]["A.low"] == 0.0


def test_a_gap_in_the_data_does_not_make_young_values_count() -> None:
    frames = [frame_of(START, 1.0), frame_of(START + 10 * HOUR, 99.0)]
    assert watch(frames) == [{}, {"A.low": 1.0, "A.high": 1.0, "B.low": 1.0, "B.high": 1.0}]


def test_the_promises_of_every_model_are_kept() -> None:
    frames = [frame_of(START + i * MINUTE, float(i)) for i in range(90)]
    check_model(lambda: seen(SeenConfig(("A", "B"), "STATE", "30 min"), Setting("m", TABLE)), frames)


@pytest.mark.parametrize(
    ("config", "text"),
    [({"tags": ()}, "'tags' names no tag"), ({"after": "soon"}, "duration 'soon' cannot be read"), ({"tags": ("X",)}, "unknown tag 'X'"),
     ({"state": "X"}, "unknown tag 'X'")],
)  # fmt: skip
def test_a_wrong_configuration_is_refused(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        watch([], **config)
