"""Projects that are being set up, kept in a folder of the server's own until they are put in place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from jayul.project.draft import Draft
from jayul.record.files import write_whole
from jayul.record.sign import new_id

KEPT = 20  # drafts; the oldest go


class Drafts:
    """Drafts by id; each belongs to the person who began it. `project(id)`: the folder that becomes the project."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, by: str) -> Draft:
        """Begin a draft."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = sorted((path for path in self._folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
        for old in there[: max(0, len(there) - KEPT + 1)]:
            shutil.rmtree(old, ignore_errors=True)
        draft = Draft(new_id(), by)
        self.project(draft).mkdir(parents=True)
        self.keep(draft)
        return draft

    def project(self, draft: Draft) -> Path:
        """Return the folder that becomes the project."""
        return self._folder / draft.id / "project"

    def keep(self, draft: Draft) -> None:
        """Write a draft down."""
        write_whole(self._folder / draft.id / "draft.json", msgspec.json.encode(draft))

    def get(self, key: str, by: str) -> Draft | None:
        """Return a draft of a person, or None."""
        if not re.fullmatch(r"[0-9a-f]{24}", key):
            return None
        try:
            draft = msgspec.json.decode((self._folder / key / "draft.json").read_bytes(), type=Draft)
        except (OSError, msgspec.MsgspecError):
            return None
        return draft if draft.by == by else None

    def drop(self, draft: Draft) -> None:
        """Forget a draft."""
        shutil.rmtree(self._folder / draft.id, ignore_errors=True)
