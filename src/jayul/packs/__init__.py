"""Dated data packs: what a project needs to know of the world outside (prices, rates), as YAML with source and dates.

A pack says where it comes from, who verified it, and from which day to which it holds. Nothing in it is ever looked up elsewhere.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import yaml

LARGEST = 1 << 16  # characters


class PackError(ValueError):
    """What is wrong with a pack, in one line."""


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every pack says of itself. It holds from the beginning of `valid_from` to the end of `valid_until` (UTC)."""

    id: str
    source: str
    valid_from: dt.date
    valid_until: dt.date
    verified_by: str

    def __post_init__(self) -> None:
        for key in ("id", "source", "verified_by"):
            if not getattr(self, key).strip():
                raise PackError(f"'{key}' must not be empty")
        if self.valid_until < self.valid_from:
            raise PackError("'valid_until' lies before 'valid_from'")

    def check_at(self, at: int) -> None:
        """Raise PackError if the pack does not hold at a time (UTC ns)."""
        day = dt.datetime.fromtimestamp(at // 1_000_000_000, dt.UTC).date()
        if day > self.valid_until:
            raise PackError(
                f"expired on {self.valid_until}, before the last tick of the run ({day}); use a pack that holds then"
            )
        if day < self.valid_from:
            raise PackError(
                f"holds from {self.valid_from} on, after the last tick of the run ({day}); use a pack that holds then"
            )


class _Strict(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without aliases and without keys that stand twice: what one reads is what there is."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise PackError("aliases (*name) are not understood; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise PackError(f"'{key}' stands there twice")
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def parse(text: str) -> dict[str, Any]:
    """Read the YAML of a pack into plain values; the caller converts them into the struct of its kind. Raises PackError."""
    if len(text) > LARGEST:
        raise PackError("is longer than a pack can be (64 k characters)")
    try:
        raw = yaml.load(text, _Strict)  # noqa: S506 - a safe loader, made stricter
    except yaml.YAMLError as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "it cannot be read"
        raise PackError(f"not YAML: line {mark.line + 1 if mark else 1}: {what}") from None
    except RecursionError:
        raise PackError("not YAML: line 1: it is nested too deeply") from None
    except PackError:
        raise
    except ValueError as error:  # a date that does not exist
        raise PackError(f"not YAML: line 1: {error}") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise PackError("is not made of keys and values; write it like 'kind: price'")
    return raw
