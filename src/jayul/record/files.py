"""The file layer under the journal: the few calls whose durability the journal relies on, behind one protocol.

The fault-injection kit puts another layer here, which forgets what was not synced.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class Handle(Protocol):
    """An append-only file."""

    def write(self, data: bytes) -> None: ...
    def sync(self) -> None:
        """Return when everything written so far survives a power cut."""
        ...

    def size(self) -> int: ...
    def truncate(self, size: int) -> None: ...
    def close(self) -> None: ...


class Files(Protocol):
    """A folder of append-only files."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def append(self, name: str) -> Handle:
        """Open a file for appending; it is made if it is not there, but lasts only after `sync_folder`."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, all at once; a file of that name is replaced. It lasts only after `sync_folder`."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        ...

    def sync_folder(self) -> None:
        """Return when the folder's entries survive a power cut."""
        ...


class _OsHandle:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class OsFiles:
    """A folder on disk. It is made, and its own entry made durable, if it is not there."""

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        if create and not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)

    def names(self) -> list[str]:
        try:
            with os.scandir(self.folder) as found:
                return sorted(entry.name for entry in found if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def append(self, name: str) -> Handle:
        return _OsHandle(self.folder / name)

    def rename(self, name: str, new: str) -> None:
        (self.folder / name).replace(self.folder / new)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def sync_folder(self) -> None:
        sync_folder(self.folder)


def sync_folder(folder: Path) -> None:
    """Return when the entries of a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Put a file in place all at once and durably: readers see the old one or the new one, never a part."""
    part = path.with_name(path.name + ".tmp")
    fd = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    part.replace(path)
    sync_folder(path.parent)
