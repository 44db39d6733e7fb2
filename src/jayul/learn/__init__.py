"""Models: frames in, derived readings out. They never act.

The manifest names a factory `(config, setting) -> Model`; a model says which tags it derives (`tags`) and reads (`needs`).
"""

from __future__ import annotations

import msgspec

from jayul.core.types import TagTable


class Setting(msgspec.Struct, frozen=True):
    """What a model's factory may know: its name, and the tags that it can read."""

    name: str
    tags: TagTable
