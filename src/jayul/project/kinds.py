"""Entry points: the kinds of plant, model and policy. They are loaded only when a manifest names them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import msgspec

from jayul.project.manifest import Manifest
from jayul.project.problem import N_, nearest

Group = Literal["plants", "models", "policies", "rules"]


class Factory(msgspec.Struct, frozen=True):
    """An entry point, loaded: a function of a configuration and one further argument, and the type of that configuration."""

    make: Callable[[Any, Any], Any]
    config: type


def known(group: Group) -> dict[str, EntryPoint]:
    """Return the installed kinds of a group by name."""
    return {point.name: point for point in entry_points(group=f"jayul.{group}")}


def load(point: EntryPoint) -> Factory:
    """Import a factory and find out what configuration it takes (the type of its first parameter)."""
    make = point.load()
    first = next(iter(inspect.signature(make).parameters))
    return Factory(make, typing.get_type_hints(make)[first])


def find(manifest: Manifest, group: Group, kind: str, path: Sequence[str | int]) -> Factory:
    """Return the factory of a kind that a manifest names at a key path. Raises ManifestError."""
    kinds = known(group)
    if kind not in kinds:
        manifest.fail(
            [*path, "kind"], N_("unknown kind '{kind}'; did you mean '{near}'?"), kind=kind, near=nearest(kind, kinds)
        )
    return load(kinds[kind])
