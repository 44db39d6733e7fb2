"""What once went wrong in models and recordings, each as a test."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from jayul.core.clock import Sim
from jayul.core.types import SECOND, Decision, Outcome, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.forecast import ForecastConfig, forecast
from jayul.learn.pca import PcaConfig, pca
from jayul.learn.softsensor import SoftsensorConfig, softsensor
from jayul.plant.errors import Refused
from jayul.plant.files import FilesConfig, files
from jayul.project.summary import Tally
from jayul.testing import START, make_frame

MIN, HOUR = 60 * SECOND, 3600 * SECOND
TABLE = TagTable([Tag(name=n) for n in ("a", "b", "SP", "y")])


def feed(model, rows, times=None, step=MIN):
    state, last = model.learn(()), ()
    for i, row in enumerate(rows):
        at = START + (times[i] if times else i) * step
        state, last = model.infer(state, make_frame(TABLE, row, at))
    return state, {r.tag: r.value for r in last}


def watch_y(y, **options):
    base = {"seasons": ("1 d",), "first": "10 d", "window": "20 d", "refit": "1000 d", "calibrate": "20 d"}
    model = forecast(ForecastConfig("y", "1 h", "3 h", **base | options), Setting("f", TABLE))
    state, said = model.learn(()), []
    for i, v in enumerate(y):
        state, readings = model.infer(state, make_frame(TABLE, {"y": v}, START + i * HOUR))
        said.append({r.tag[2:]: r.value for r in readings})
    return state, said


def test_forecast_calibration_reaches_its_share():
    chance, n = np.random.default_rng(0), 24 * 200
    y = 20 + 5 * np.sin(np.arange(n) * 2 * np.pi / 24) + chance.standard_normal(n) * np.where(np.arange(n) < 360, 1, 3)
    _, said = watch_y(y)
    assert abs(np.mean([said[i - 3]["low"] <= y[i] <= said[i - 3]["high"] for i in range(24 * 60, n)]) - 0.8) < 0.05


@pytest.mark.parametrize("options", [{"first": "30 d"}, {"window": "3 d"}])
def test_forecast_that_can_never_be_fitted_is_refused_or_fits(options):
    try:
        state, _ = watch_y(np.random.default_rng(0).standard_normal(24 * 60), **options)
    except ValueError:
        return
    assert state.fit is not None


def test_softsensor_conformal_rank():
    chance = np.random.default_rng(0)
    rows = [{"a": a, "y": 2 * a + e} for a, e in chance.standard_normal((121, 2))]
    state, _ = feed(softsensor(SoftsensorConfig("y", ("a",), "71 min", "49 min", coverage=0.9), Setting("s", TABLE)), rows)
    errors = sorted(abs(r["y"] - state.fit.offset - r["a"] * state.fit.weights[0]) for r in rows[71:])
    assert len(errors) == 50
    assert errors.index(pytest.approx(state.fit.reach)) + 1 == 46  # ceil(51 * 0.9); is 47


def test_softsensor_does_not_fit_on_one_row():
    model = softsensor(SoftsensorConfig("y", ("a",), "100 min", "50 min"), Setting("s", TABLE))
    state, _ = feed(model, [{"a": 1.0, "y": 2.0}, {"a": 2.0, "y": 3.0}], [0, 500])
    assert state.fit is None


@pytest.mark.parametrize(
    ("tags", "second"), [(("a",), lambda c: c.standard_normal()), (("a", "b"), lambda c: 1.0), (("a", "b"), None)]
)
def test_pca_of_one_tag_one_moving_tag_or_none(tags, second):
    chance = np.random.default_rng(0)
    rows = [{"a": chance.standard_normal() if second else 1.0, "b": second(chance) if second else 1.0} for _ in range(200)]
    feed(pca(PcaConfig(tags, regime=("SP",), settle="10 min", train="100 min", test="50 min"), Setting("m", TABLE)), rows)


def test_pca_after_a_gap_over_train_and_test():
    rows = [dict(zip("ab", r, strict=True)) for r in np.random.default_rng(0).standard_normal((12, 2)).tolist()]
    feed(
        pca(PcaConfig(("a", "b"), regime=("SP",), settle="10 min", train="100 min", test="50 min"), Setting("m", TABLE)),
        rows,
        [*range(10), 1000, 1001],
    )


def test_pca_that_keeps_every_component_is_calm():
    chance = np.random.default_rng(0)
    model = pca(
        PcaConfig(("a", "b"), regime=("SP",), settle="10 min", train="300 min", test="100 min", explained=0.99, count=1),
        Setting("m", TABLE),
    )
    state, _ = feed(model, [dict(zip("ab", r, strict=True)) for r in chance.standard_normal((3000, 2)).tolist()])
    assert next(iter(state.fits.values())).spe_limit > 1e-20


def test_an_alarm_without_known_contributions_does_not_stop_the_run():
    table = TagTable([Tag(name="m.alarm", kind="derived"), Tag(name="m.top1", kind="derived", states={0: "a"})])
    decision = Decision(0, START, bytes(32), (b"",) * 4, (), (), (), (), (), (), (), ())
    Tally(table, (), (), 60 * SECOND).add(make_frame(table, {"m.alarm": 1.0, "m.top1": np.nan}), decision, Outcome(0, ()))


def test_constant_of_the_name_of_the_file_tag_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("time,A\n2026-03-01 09:00:00,1\n")
    with pytest.raises(Refused):
        files(FilesConfig(str(tmp_path / "a.csv"), constant={"x": 1.0}, file_tag="x"), Sim(START))


def test_wildcard_in_a_folder_with_a_bracket(tmp_path):
    folder = tmp_path / "old [1]"
    folder.mkdir()
    (folder / "a.csv").write_text("time,A\n2026-03-01 09:00:00,1\n")
    files(FilesConfig(str(folder / "*.csv")), Sim(START))


def test_midnight_of_a_time_with_its_own_zone(tmp_path):
    (tmp_path / "z.csv").write_text("time,A\n2026-03-01 00:00:00+09:00,1\n2026-03-01 01:00:00+09:00,1\n")
    plant = files(FilesConfig(str(tmp_path / "z.csv"), midnight_ends_day=True, timezone="Asia/Seoul"), Sim(START))
    assert dt.datetime.fromtimestamp(plant.end / 1e9, dt.UTC) == dt.datetime(2026, 3, 1, 15, tzinfo=dt.UTC)
