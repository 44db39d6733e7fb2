"""Crashes: 20 kill -9 of a real process, 20 power cuts by commit mode; and the test can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from jayul.conform.crash import cut_power, fill_disk, kill, make_project, spoil_inbox


@pytest.mark.parametrize("commit", ["tick", "group"])
def test_power_cuts_lose_nothing_that_was_acknowledged(commit: str, tmp_path: Path) -> None:
    found = cut_power(make_project(tmp_path / "p", 1.0, commit), 20, 1)
    assert found.failures == []
    assert found.crashes == 20
    assert found.acknowledged > 0
    assert found.torn > 0, "no cut tore a record: the cuts test too little"


def test_without_sync_the_power_cuts_are_noticed(tmp_path: Path) -> None:
    assert cut_power(make_project(tmp_path / "p", 1.0, "tick"), 10, 1, sync=False).failures


@pytest.mark.parametrize("commit", ["tick", "group"])
def test_kills_lose_nothing_that_was_acknowledged(commit: str, tmp_path: Path) -> None:
    found = kill(make_project(tmp_path / "p", 8.0, commit), 10, 2)
    assert found.failures == []
    assert found.crashes == 10
    assert found.acknowledged > 0


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    found = fill_disk(make_project(tmp_path / "full", 1.0, "tick"), 4, 3)
    assert found.failures == []
    assert found.crashes == 4


def test_a_spoilt_inbox_is_put_aside_and_demotes(tmp_path: Path) -> None:
    found = spoil_inbox(make_project(tmp_path / "spoilt", 2.0, "tick"), 4, 3)
    assert found.failures == []
    assert found.crashes == 4
