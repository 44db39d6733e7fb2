"""Folds of the past: wherever people replay, and in whatever order, they see what a fold from the first tick shows."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jayul.app.web import folds
from jayul.app.web.desk import NotYet, Screen, patience
from jayul.app.web.folds import Fold, at_hand, folded
from jayul.conform.crash import make_project
from jayul.core.guard import HOUR
from jayul.core.types import Event
from jayul.project.alarms import ACTS, body_of
from jayul.project.run import Options, execute
from jayul.project.timeline import Timeline
from jayul.record.inbox import SqliteInbox
from jayul.record.journal import Corrupt
from jayul.record.sign import new_id

TICKS = 720
RINGS = '[[model]]\nkind = "formula"\nname = "watch"\nformula = { "watch.hot" = "TIC1.PV > 61.5 [degC]", "watch.often" = "TIC1.PV > 55 [degC]" }\n\n'
WARY = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose policy climbs, moves, and is stopped by an alarm that rings again and again, and about which people act."""
    folder = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(folder / "keys"))
        path = make_project(folder / "line", 6.0, "group") / "jayul.toml"
        text = path.read_text().replace("[[model]]", RINGS + "[[model]]", 1)
        path.write_text(text.replace('"frozen.alarm == 0"', '"frozen.alarm == 0", "watch.hot == 0"', 1))
        for done in range(60, TICKS + 1, 60):
            execute(folder / "line", folder / "run", Options(ticks=done))
            if done < TICKS:
                act(folder / "run", ACTS[done // 60 % len(ACTS)])
    return folder / "run"


def act(out: Path, what: str) -> None:
    """Do something about the newest alarm."""
    screen = Screen("run", out)
    while screen._read():
        pass
    with folded(screen) as fold:
        rows, at = fold.alarms.rows(), fold.alarms.at
    inbox = SqliteInbox(out / "state.db")
    for row in rows[:1]:
        inbox.put(Event("note", "kim", at, dict(body_of(row.alarm.id, what, "so", at + HOUR)), new_id()))
    inbox.close()


def screen_of(run: Path) -> Screen:
    screen = Screen("run", run)
    while screen._read():
        pass
    assert len(screen.timeline) == TICKS
    return screen


def seen(fold: Fold) -> str:
    """Return all that a page could show of a fold."""
    alarms, tally = fold.alarms, fold.tally
    counted = {name: value for name, value in vars(tally).items() if name not in ("_alarms", "_table")}
    rung = [{name: value for name, value in vars(alarm).items() if name != "_tops"} for alarm in tally._alarms]
    episodes = [(alarm, alarm.id, alarm in alarms._group) for alarm in alarms.episodes]
    rows = alarms.rows(every=True), alarms.rows(), alarms.floods(), alarms.acts, alarms.at, alarms.tick
    return repr((fold.ticks, episodes, rows, fold.moves.lines, fold.fresh, counted, rung, fold.effort()))


@pytest.fixture(scope="module")
def fresh(run: Path) -> dict[int, str]:
    """What a fold from the first tick shows after each tick."""
    timeline, found = Timeline(run), {}
    while (before := len(timeline)) < timeline.refresh():
        assert before < len(timeline)
    fold = Fold(timeline)
    for end in range(1, TICKS + 1):
        fold.upto(end)
        found[end - 1] = seen(fold)
    assert len(fold.alarms.episodes) > 5
    assert {act.act for acts in fold.alarms.acts.values() for act in acts if not act.refused} == set(ACTS)
    assert max(n for alarm in fold.alarms.episodes for n in alarm.stopped.values()) > 1
    assert len(fold.moves.lines) > 5
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and near: every way of going on, copying and dropping is gone within some hundred ticks."""
    for name, value in (("LAG", 60), ("SPACING", 16), ("FAR", 4), ("TRAIL", (3, 11, 40)), ("IDLE", 2), ("MOST", 3)):
        monkeypatch.setattr(folds, name, value)


@WARY
@given(st.lists(st.one_of(st.integers(0, TICKS - 1), st.sampled_from(["back", "on"])), min_size=1, max_size=14))
@pytest.mark.usefixtures("small")
def test_a_fold_of_the_past_equals_a_fresh_one(run: Path, fresh: dict[int, str], steps: list[int | str]) -> None:
    screen, at = screen_of(run), 300
    for step in steps:
        at = step if isinstance(step, int) else min(max(at + (1 if step == "on" else -1), 0), TICKS - 1)
        with folded(screen, at) as fold:
            assert seen(fold) == fresh[at]
    with folded(screen) as fold:
        assert seen(fold) == fresh[TICKS - 1]


@WARY
@given(st.integers(1, TICKS - 1), st.integers(1, TICKS))
def test_a_copy_goes_its_own_way(run: Path, fresh: dict[int, str], at: int, further: int) -> None:
    screen = screen_of(run)
    fold = Fold(screen.timeline)
    fold.upto(at)
    twin = fold.copy()
    fold.upto(further)
    assert seen(twin) == fresh[at - 1]
    twin.upto(TICKS)
    assert seen(twin) == fresh[TICKS - 1]
    assert seen(fold) == fresh[max(at, further) - 1]


@pytest.mark.usefixtures("small")
def test_several_people_replay_at_once(run: Path, fresh: dict[int, str]) -> None:
    screen, wrong = screen_of(run), list[int]()

    def replay(first: int, step: int) -> None:
        for at in range(first, first + 25 * step, step):
            with folded(screen, at) as fold:
                if seen(fold) != fresh[at]:
                    wrong.append(at)

    people = [threading.Thread(target=replay, args=one) for one in ((5, 1), (600, -1), (300, 7), (640, -20), (100, 3))]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert wrong == []


@pytest.mark.usefixtures("small")
def test_a_step_back_does_not_begin_at_the_first_tick(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, taken = screen_of(run), list[int]()
    with folded(screen, 700):
        pass
    hour = Fold._hour
    monkeypatch.setattr(Fold, "_hour", lambda fold, frame: (taken.append(fold.ticks), hour(fold, frame)))
    for at in range(699, 680, -1):
        with folded(screen, at):
            pass
    assert min(taken) > 600
    assert len(taken) < 19 * 40


def test_who_replays_holds_nobody_up(run: Path) -> None:
    screen, done = screen_of(run), threading.Event()

    def live() -> None:
        with folded(screen), folded(screen, 100), folded(screen, 500):
            done.set()

    with folded(screen, 300), folded(screen, 100):
        other = threading.Thread(target=live, daemon=True)
        other.start()
        assert done.wait(60)
    other.join()


@pytest.mark.usefixtures("small")
def test_who_cannot_wait_is_told_how_far_it_is(run: Path, fresh: dict[int, str]) -> None:
    screen = screen_of(run)
    token = patience.set(0.0)
    try:
        for number in (None, 650):
            told = list[NotYet]()
            while True:
                try:
                    with folded(screen, number) as fold:
                        assert seen(fold) == fresh[TICKS - 1 if number is None else number]
                    break
                except NotYet as error:
                    told.append(error)
            assert told
            assert all(0 <= one.done <= one.ticks for one in told)
            assert [one.done for one in told] == sorted(one.done for one in told)
    finally:
        patience.reset(token)


def test_two_who_replay_nearly_the_same_have_a_fold_each(run: Path, fresh: dict[int, str]) -> None:
    screen = screen_of(run)
    with folded(screen, 300):
        pass
    with folded(screen, 300) as one, folded(screen, 305) as other:
        assert seen(one) == fresh[300]
        assert seen(other) == fresh[305]


@pytest.mark.usefixtures("small")
def test_a_fold_that_is_asked_for_in_passing_is_made_meanwhile(run: Path) -> None:
    screen = screen_of(run)
    assert at_hand(screen, lambda fold: fold.ticks) is None
    with folded(screen):
        pass
    assert at_hand(screen, lambda fold: fold.ticks) == TICKS


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by each tick that is folded."""
    taken, hour = list[int](), Fold._hour
    monkeypatch.setattr(Fold, "_hour", lambda fold, frame: (taken.append(fold.ticks), hour(fold, frame))[1])
    return taken


def test_ticks_that_are_gone_are_an_error_and_not_waited_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "LAG", 60)
    shutil.copytree(run, tmp_path / "run")
    screen, segment = screen_of(tmp_path / "run"), tmp_path / "run" / "journal" / "000001.jnl"
    segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    for number in (None, 650, 650):
        with pytest.raises(Corrupt, match="no longer what it was"), folded(screen, number):
            pass
    with folded(screen, 200) as fold:
        assert fold.ticks == 201


@pytest.mark.parametrize("people", [3, 8])
def test_who_replays_goes_on_where_he_was_however_many_do(run: Path, monkeypatch: pytest.MonkeyPatch, people: int) -> None:
    monkeypatch.setattr(folds, "LAG", 30)
    screen, places = screen_of(run), [80 * n for n in range(1, people + 1)]
    for at in places:
        with folded(screen, at):
            pass
    taken = counted(monkeypatch)
    for step in range(1, 9):
        for at in places:
            with folded(screen, at + 5 * step):
                pass
    assert len(taken) == 5 * 8 * people
    assert len(folds._of(screen).past._players) == people


def test_what_was_left_is_let_go(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST", 6)
    screen = screen_of(run)
    past = folds._of(screen).past
    for at in range(700, 0, -30):
        with folded(screen, at):
            pass
        assert len(past._players) <= 6
        assert all(len(player.trail) <= len(folds.TRAIL) for player in past._players)
    monkeypatch.setattr(folds, "GRACE", 0.0)
    monkeypatch.setattr(folds, "ASKED", 0.0)
    with folded(screen, 350):
        pass
    assert len(past._players) == folds.IDLE


def test_what_somebody_was_told_to_come_back_for_is_there_when_he_does(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LAG", 30), ("GRACE", 0.0), ("IDLE", 1), ("MOST", 2), ("TRAIL", ())):
        monkeypatch.setattr(folds, name, value)
    screen = screen_of(run)
    with impatient(), pytest.raises(NotYet), folded(screen, 400):
        pass
    for work in list(folds._of(screen).past._works.values()):
        assert work.over.wait(60)
    for at in (500, 402, 100, 600, 50):
        with folded(screen, at):
            pass
    taken = counted(monkeypatch)
    with impatient(), folded(screen, 400) as fold:
        assert fold.ticks == 401
    assert taken == []


@contextmanager
def impatient() -> Iterator[None]:
    token = patience.set(0.0)
    try:
        yield
    finally:
        patience.reset(token)


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> Iterator[list[int]]:
    """Let folds of many ticks stand still meanwhile; the list holds the ends of those that were begun."""
    past, go, begun, real = folds._of(screen).past, threading.Event(), list[int](), folds._Past._fold

    def fold(self: folds._Past, work: folds._Work) -> None:
        begun.append(work.end)
        assert go.wait(60)
        real(self, work)

    monkeypatch.setattr(folds._Past, "_fold", fold)
    works = [100, 130]
    with impatient():
        for at in works:
            with pytest.raises(NotYet), folded(screen, at):
                pass
    while len(begun) < folds.WORKERS:
        go.wait(0.01)
    yield begun
    rest = list(past._works.values())
    go.set()
    for work in rest:
        assert work.over.wait(60)


def test_however_many_ticks_are_asked_for_few_threads_fold(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "LAG", 30)
    screen, before = screen_of(run), threading.active_count()
    past = folds._of(screen).past
    with held_up(monkeypatch, screen) as begun:
        with impatient():
            for at in range(200, 700, 10):
                with pytest.raises(NotYet), folded(screen, at):
                    pass
        assert threading.active_count() - before <= folds.WORKERS
        assert len(past._works) == folds.WORKERS + folds.WAITING
        assert len(past._players) <= folds.WORKERS  # no fold is copied for what waits
        with impatient(), pytest.raises(NotYet), folded(screen, 250):  # asks again
            pass
    assert len(begun) == folds.WORKERS + folds.WAITING
    assert begun[folds.WORKERS] == 251
    assert begun[folds.WORKERS + 1] == 200 + 10 * (folds.WAITING - 1) + 1
    with folded(screen, 690) as fold:  # it can be asked for again
        assert fold.ticks == 691


def test_what_nobody_asks_for_any_more_is_not_begun(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "LAG", 30)
    screen = screen_of(run)
    with held_up(monkeypatch, screen) as begun:
        with impatient():
            for at in range(200, 300, 10):
                with pytest.raises(NotYet), folded(screen, at):
                    pass
        monkeypatch.setattr(folds, "ASKED", 0.0)
    assert len(begun) == folds.WORKERS
    assert folds._of(screen).past._works == {}
