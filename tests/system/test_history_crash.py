"""The history under power cuts, kill -9 and full disks, in small numbers; and the test can fail."""

from __future__ import annotations

from jayul.conform.historian import cut_power, fill_disk, kill


def test_power_cuts_lose_nothing_that_was_acknowledged() -> None:
    found = cut_power(25, 1, batches=80)
    assert found.failures == []
    assert found.crashes == 25
    assert found.acknowledged > 0


def test_without_sync_the_power_cuts_are_noticed() -> None:
    assert cut_power(8, 1, sync=False, batches=80).failures


def test_kills_lose_nothing_that_was_acknowledged() -> None:
    found = kill(6, 2, batches=1500)
    assert found.failures == []
    assert found.crashes == 6
    assert found.acknowledged > 0


def test_a_full_disk_loses_nothing() -> None:
    found = fill_disk(2, 3)
    assert found.failures == []
    assert found.acknowledged > 0, "nothing was refused: the disk was not full"
