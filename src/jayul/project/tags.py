"""What the tags of a run folder's history are: unit and range of each, also of those that the journal does not keep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from jayul.core.types import Tag
from jayul.record.files import write_whole

FILE = "_tags.json"  # in history/


def read_tags(out: Path) -> dict[str, Tag]:
    """Return the tags that are written down beside a run folder's history, by name."""
    try:
        return {tag.name: tag for tag in msgspec.json.decode((out / "history" / FILE).read_bytes(), type=list[Tag])}
    except (OSError, msgspec.MsgspecError):
        return {}


def write_tags(out: Path, tags: Iterable[Tag]) -> None:
    """Write down what tags are; of one that is there already, the newer word counts. Raises OSError."""
    before = read_tags(out)
    found = before | {tag.name: tag for tag in tags}
    if found != before:
        (out / "history").mkdir(parents=True, exist_ok=True)
        write_whole(out / "history" / FILE, msgspec.json.encode([found[name] for name in sorted(found)]))
