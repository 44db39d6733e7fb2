"""Data cards of an export: a Frictionless data package (datapackage.json) and Croissant 1.1 (croissant.json).

Both say what the samples are, in which units, what is missing of them, as known when, from which run, and how they were made.
Sources: specs.frictionlessdata.io (Data Package 1.0, Table Schema), docs.mlcommons.org/croissant (Croissant 1.1).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import msgspec

from jayul.core.types import Tag

MEDIA = {"csv": "text/csv", "parquet": "application/x-parquet", "arrow": "application/vnd.apache.arrow.file"}
UNKNOWN = "unknown"
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty", "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
CROISSANT = "http://mlcommons.org/croissant/1.1"
TYPES = {"text": "sc:Text", "number": "cr:Float64", "integer": "sc:Integer", "time": "sc:DateTime"}
SCHEMA = {"text": "string", "number": "number", "integer": "integer", "time": "datetime"}


class Field(msgspec.Struct, frozen=True):
    """A column: `kind` is text, number, integer or time."""

    name: str
    kind: str
    description: str
    unit: str = ""


class About(msgspec.Struct, frozen=True):
    """What both cards say. `run`: project, seed, head of the journal; `known_at`, `begin`, `end`: ISO 8601, empty: not limited.

    `coverage` is the share of expected samples that are there, by tag (None: nothing was expected), `counts` the ledger's sums.
    """

    name: str
    description: str
    file: str
    format: str
    size: int
    sha256: str
    rows: int
    digest: str
    fields: list[Field]
    tags: list[Tag]
    contract: dict[str, Any]
    coverage: dict[str, float | None]
    counts: dict[str, int]
    run: dict[str, Any]
    known_at: str
    begin: str
    end: str
    every: str
    made: str
    licence: str = ""


def slug(text: str) -> str:
    """Return a name as data packages want it: lower case, digits, dot, dash, underscore."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.") or "run"


def datapackage(about: About) -> dict[str, Any]:
    """Return `datapackage.json`."""
    fields = [
        {"name": f.name, "type": SCHEMA[f.kind], "description": f.description} | ({"unit": f.unit} if f.unit else {})
        for f in about.fields
    ]
    resource: dict[str, Any] = {
        "name": "samples", "path": about.file, "format": about.format, "mediatype": MEDIA[about.format],
        "hash": f"sha256:{about.sha256}", "schema": {"fields": fields, "missingValues": [""]},
    }  # fmt: skip
    if about.format != "parquet":  # whose reader there counts none, and finds fault with what is said
        resource["bytes"] = about.size
    if about.format == "csv":
        resource |= {"encoding": "utf-8-sig", "profile": "tabular-data-resource", "dialect": {"lineTerminator": "\n"}}
    found: dict[str, Any] = {
        "name": slug(about.name), "title": about.name, "description": about.description, "profile": "data-package",
        "resources": [resource], "sources": [{"title": f"Jayul run of {about.run.get('project') or about.name}"}],
    }  # fmt: skip
    if about.licence:
        found["licenses"] = [{"name": about.licence}]
    return found | {"jayul": _own(about)}


def _own(about: About) -> dict[str, Any]:
    """Return what no standard has a place for."""
    tags = []
    for tag in about.tags:
        row: dict[str, Any] = msgspec.to_builtins(tag, str_keys=True)
        row |= {"unit": tag.unit, "kind": tag.kind, "coverage": about.coverage.get(tag.name)}
        if tag.name in about.contract:
            row["contract"] = about.contract[tag.name]
        tags.append(row)
    return {
        "run": about.run, "known_at": about.known_at or None, "from": about.begin or None, "to": about.end or None,
        "every": about.every or None, "rows": about.rows, "bytes": about.size, "digest": f"sha256:{about.digest}",
        "ledger": about.counts, "tags": tags, "made": about.made,
        "text_guard": "a cell that begins with = + - @ tab return ' has ' in front",
    }  # fmt: skip


def croissant(about: About) -> dict[str, Any]:
    """Return `croissant.json`."""
    fields = [
        {
            "@type": "cr:Field", "@id": f"samples/{quote(f.name, safe='')}", "name": f"samples/{quote(f.name, safe='')}",
            "description": f.description + (f" [{f.unit}]" if f.unit else ""), "dataType": TYPES[f.kind],
            "source": {"fileObject": {"@id": about.file}, "extract": {"column": f.name}},
        }
        for f in about.fields
    ]  # fmt: skip
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT,
        "name": about.name,
        "description": about.description,
        "license": about.licence or UNKNOWN,
        "version": "1.0.0",
        "url": f"urn:sha256:{about.digest}",
        "temporalCoverage": f"{about.begin or '..'}/{about.end or '..'}",
        "variableMeasured": [_variable(tag, about.coverage.get(tag.name)) for tag in about.tags],
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": about.file, "name": about.file, "contentUrl": about.file,
                "encodingFormat": MEDIA[about.format], "contentSize": f"{about.size} B", "sha256": about.sha256,
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "samples", "name": "samples", "field": fields}],
    }  # fmt: skip


def _variable(tag: Tag, coverage: float | None) -> dict[str, Any]:
    """Return a tag as schema.org's PropertyValue; the share of expected samples that are there stands in its own property."""
    found: dict[str, Any] = {"@type": "sc:PropertyValue", "name": tag.name, "unitText": tag.unit}
    found |= {"description": tag.description} if tag.description else {}
    found |= {key: value for key, value in (("minValue", tag.low), ("maxValue", tag.high)) if value is not None}
    if coverage is not None:
        found["additionalProperty"] = {"@type": "sc:PropertyValue", "name": "coverage", "value": coverage}
    return found
