"""Units as exports write them, and names on one line."""

from __future__ import annotations

import unicodedata

_TEXT = (
    "%|℃|°c|degc|deg c|℉|°f|degf|k|bar|barg|bara|mbar|pa|kpa|mpa|hpa|psi|psig|kgf/cm2|kg/cm2|kg/㎠|㎏/㎠|atm|"
    "mmhg|mmh2o|mmaq|torr|kg|g|mg|t|ton|kg/h|kg/hr|t/h|ton/h|t/hr|kg/s|kg/min|m3|m³|㎥|m3/h|m³/h|㎥/h|m3/hr|"
    "nm3/h|nm³/h|sm3/h|m3/min|㎥/min|l|l/h|l/min|lpm|l/s|ml|gpm|cfm|m|mm|cm|㎜|㎝|㎞|km|um|µm|in|ft|m2|m²|m/s|"
    "m/min|mm/s|rpm|hz|khz|v|kv|mv|a|ma|ka|w|kw|mw|kwh|mwh|kva|kvar|var|va|j|kj|mj|gj|gj/h|kcal|kcal/h|"
    "gcal/h|s|sec|ms|min|h|hr|d|ppm|ppb|mol|mol%|wt%|vol%|mol/l|mg/l|mg/nm3|mg/m3|g/l|g/cm3|kg/m3|cp|cst|"
    "pas|ntu|us/cm|µs/cm|ms/cm|s/cm|ph|db|dba|lux|ohm|kohm|n|kn|nm|pct|ea|개|회|bool|-|1|none|deg|°|rad|krw|"
    "usd|usd/h|krw/h|degc/min|/h|1/h"
)
UNITS = frozenset(_TEXT.split("|"))
ALIASES = {
    "℃": "degC", "°C": "degC", "°c": "degC", "deg C": "degC", "℉": "degF", "°F": "degF", "㎏": "kg", "㎥": "m3", "m³": "m3",
    "㎥/h": "m3/h", "m³/h": "m3/h", "m3/hr": "m3/h", "kg/hr": "kg/h", "t/hr": "t/h", "Nm³/h": "Nm3/h", "㎜": "mm", "㎝": "cm",
    "m²": "m2",
}  # fmt: skip


def tidy(text: str) -> str:
    """Return a name on one line, composed (as Korean is on most machines)."""
    return " ".join(unicodedata.normalize("NFC", text).replace("\u00a0", " ").split())


def unit_of(text: str) -> str:
    """Return a unit as the house writes it."""
    text = tidy(text).strip("[]()")
    return ALIASES.get(text, text)


def is_unit(text: str) -> bool:
    """Say whether a text is a unit of the usual ones."""
    return tidy(text).strip("[]()").casefold() in UNITS


def guarded(text: str) -> str:
    """Return a text with an apostrophe in front if a spreadsheet would take it for a formula, or if it begins with one."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "'") and text else text


def unguarded(text: str) -> str:
    """Return the text that `guarded` was given."""
    return text[1:] if text[:1] == "'" else text
