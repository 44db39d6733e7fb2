"""A file layer that loses power: what was not synced is gone, or there in part, directory entries included."""

from __future__ import annotations

import numpy as np


class PowerCut(BaseException):
    """The power is gone. Not an Exception, so that nothing on the way handles it."""


class LossyFiles:
    """Files in memory with a page cache. After `cut_after` calls that touch the disk the power goes: PowerCut is raised.

    `survivor()` is the folder as it stands when the power is back: synced data of files whose entry was synced, and of unsynced
    appends a prefix of random length. `sync=False` leaves every sync out: the layer that a test must be able to catch.
    """

    def __init__(self, chance: np.random.Generator, cut_after: int | None = None, *, sync: bool = True) -> None:  # noqa: TID251 - a type
        self._chance, self._left, self._sync = chance, cut_after, sync
        self._cache: dict[str, bytearray] = {}
        self._disk: dict[str, bytes] = {}
        self._entries: set[str] = set()

    def _touch(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise PowerCut

    def names(self) -> list[str]:
        return sorted(self._cache)

    def read(self, name: str) -> bytes:
        return bytes(self._cache[name])

    def append(self, name: str) -> LossyHandle:
        self._touch()
        self._cache.setdefault(name, bytearray())
        return LossyHandle(self, name)

    def sync_folder(self) -> None:
        self._touch()
        if self._sync:
            self._entries = set(self._cache)

    def survivor(self) -> LossyFiles:
        """Return what is there when the power is back, without a further cut."""
        after = LossyFiles(self._chance, sync=self._sync)
        for name in sorted(self._cache):
            if name not in self._entries:
                continue
            synced, all_ = self._disk.get(name, b""), bytes(self._cache[name])
            kept = all_[: self._chance.integers(len(synced), len(all_) + 1)] if all_.startswith(synced) else synced
            after._cache[name], after._disk[name] = bytearray(kept), kept
        after._entries = set(after._cache)
        return after

    def _write(self, name: str, data: bytes) -> None:
        part = len(data)
        if self._left == 0:  # the cut comes in the middle of this write
            part = int(self._chance.integers(0, len(data) + 1))
        self._cache[name] += data[:part]
        self._touch()

    def _fsync(self, name: str) -> None:
        self._touch()
        if self._sync:
            self._disk[name] = bytes(self._cache[name])

    def _truncate(self, name: str, size: int) -> None:
        self._touch()
        del self._cache[name][size:]
        self._disk[name] = bytes(self._cache[name])


class LossyHandle:
    """An append-only file of LossyFiles."""

    def __init__(self, files: LossyFiles, name: str) -> None:
        self._files, self._name = files, name

    def write(self, data: bytes) -> None:
        self._files._write(self._name, data)

    def sync(self) -> None:
        self._files._fsync(self._name)

    def size(self) -> int:
        return len(self._files._cache[self._name])

    def truncate(self, size: int) -> None:
        self._files._truncate(self._name, size)

    def close(self) -> None:
        pass
