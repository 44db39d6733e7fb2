"""The JSON Schema of manifests, for editors: generated from the structs, with the options of every installed kind."""

from __future__ import annotations

from typing import Any

import msgspec

from jayul.project import kinds
from jayul.project.manifest import SECTIONS, FallbackEntry


def manifest_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    defs: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        group = {"plant": "plants", "model": "models", "policy": "policies"}.get(name)
        if group is None:
            section = dict[str, FallbackEntry] if name == "fallback" else section
            (schema,), components = msgspec.json.schema_components([section], ref_template="#/$defs/{name}")
            defs |= components
            if name == "guard":
                rules = [_variant(kind, point, "rule", defs) for kind, point in sorted(kinds.known("rules").items())]
                defs["GuardSection"]["properties"]["rule"]["items"] = {"oneOf": rules}
            properties[name] = schema
            continue
        options = [_variant(kind, point, name, defs) for kind, point in sorted(kinds.known(group).items())]  # type: ignore[arg-type]
        properties[name] = {"oneOf": options} if name == "plant" else {"type": "array", "items": {"oneOf": options}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Jayul manifest",
        "type": "object",
        "properties": properties,
        "required": ["project", "plant"],
        "additionalProperties": False,
        "$defs": dict(sorted(defs.items())),
    }


def _variant(kind: str, point: Any, section: str, defs: dict[str, Any]) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kinds.load(point).config], ref_template="#/$defs/{name}")
    own = components.pop(schema["$ref"].rsplit("/", 1)[-1])
    defs |= components
    named: dict[str, Any] = {"kind": {"const": kind}} | ({} if section in ("plant", "rule") else {"name": {"type": "string"}})
    if section == "policy":
        tags = {"type": "array", "items": {"type": "string"}}
        named |= {"writes": tags, "needs": tags}
    required = [*named, *own.get("required", [])]
    if section == "policy":
        required.remove("needs")
    text = {"description": own["description"]} if "description" in own else {}
    return {
        "type": "object",
        **text,
        "properties": named | own["properties"],
        "required": required,
        "additionalProperties": False,
    }
