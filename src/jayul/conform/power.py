"""A file layer that loses power: what was not synced is gone, or there in part, directory entries included."""

from __future__ import annotations

import numpy as np


class PowerCut(BaseException):
    """The power is gone. Not an Exception, so that nothing on the way handles it."""


class LossyFiles:
    """Files in memory with a page cache. After `cut_after` calls that touch the disk the power goes: PowerCut is raised.

    `survivor()` is the folder as it stands when the power is back: of changes to the folder (files made, renamed, removed) since it
    was synced the first few, of each file what was synced, and of unsynced appends a prefix of random length. `sync=False` leaves
    every sync out: the layer that a test must be able to catch.
    """

    def __init__(self, chance: np.random.Generator, cut_after: int | None = None, *, sync: bool = True) -> None:  # noqa: TID251 - a type
        self._chance, self._left, self._sync = chance, cut_after, sync
        self._cache: dict[str, _File] = {}
        self._steps: list[dict[str, _File]] = [{}]  # the folder as it was synced, then after each change since

    def _touch(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise PowerCut

    def _changed(self) -> None:
        self._steps.append(dict(self._cache))

    def names(self) -> list[str]:
        return sorted(self._cache)

    def read(self, name: str) -> bytes:
        if name not in self._cache:
            raise FileNotFoundError(name)
        return bytes(self._cache[name].data)

    def append(self, name: str) -> LossyHandle:
        self._touch()
        if name not in self._cache:
            self._cache[name] = _File()
            self._changed()
        return LossyHandle(self, self._cache[name])

    def rename(self, name: str, new: str) -> None:
        self._touch()
        self._cache[new] = self._cache.pop(name)
        self._changed()

    def remove(self, name: str) -> None:
        self._touch()
        if self._cache.pop(name, None) is not None:
            self._changed()

    def sync_folder(self) -> None:
        self._touch()
        if self._sync:
            self._steps = [dict(self._cache)]

    def survivor(self) -> LossyFiles:
        """Return what is there when the power is back, without a further cut."""
        after = LossyFiles(self._chance, sync=self._sync)
        step = self._steps[int(self._chance.integers(len(self._steps)))]
        for name, file in sorted(step.items()):
            synced, all_ = file.synced, bytes(file.data)
            kept = all_[: self._chance.integers(len(synced), len(all_) + 1)] if all_.startswith(synced) else synced
            after._cache[name] = _File(bytearray(kept), kept)
        after._steps = [dict(after._cache)]
        return after

    def _write(self, file: _File, data: bytes) -> None:
        part = len(data)
        if self._left == 0:  # the cut comes in the middle of this write
            part = int(self._chance.integers(0, len(data) + 1))
        file.data += data[:part]
        self._touch()

    def _fsync(self, file: _File) -> None:
        self._touch()
        if self._sync:
            file.synced = bytes(file.data)

    def _truncate(self, file: _File, size: int) -> None:
        self._touch()
        del file.data[size:]
        file.synced = bytes(file.data)


class _File:
    """What a file holds, and what of it was synced."""

    def __init__(self, data: bytearray | None = None, synced: bytes = b"") -> None:
        self.data, self.synced = data if data is not None else bytearray(), synced


class LossyHandle:
    """An append-only file of LossyFiles."""

    def __init__(self, files: LossyFiles, file: _File) -> None:
        self._files, self._file = files, file

    def write(self, data: bytes) -> None:
        self._files._write(self._file, data)

    def sync(self) -> None:
        self._files._fsync(self._file)

    def size(self) -> int:
        return len(self._file.data)

    def truncate(self, size: int) -> None:
        self._files._truncate(self._file, size)

    def close(self) -> None:
        pass
