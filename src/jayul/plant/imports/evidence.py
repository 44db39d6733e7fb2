"""What a file as a whole says where one cell cannot: order of day and month, decimal sign, meaning of status numbers."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from jayul.plant.errors import Refused
from jayul.plant.imports import times
from jayul.plant.imports.cells import Evidence, as_text, scheme_of, whole
from jayul.plant.imports.options import Options
from jayul.plant.imports.sheet import Sheet
from jayul.plant.imports.source import Chunk, Source
from jayul.plant.imports.text import Text

FEW = 2000  # cells of a column that are looked at before all are


class Settled(msgspec.Struct, frozen=True):
    """What was decided, and in words why."""

    orders: dict[str, str]
    decimal: str
    quality: str
    why: dict[str, str]


def settle(source: Source, options: Options) -> Settled:
    """Look at as much of the file as it takes. Raises Refused: one line that names the option which decides."""
    path, why = source.rows.path, dict[str, str]()
    orders, numbers, codes = times.Orders(), Evidence(), dict[int, set[int]]()
    if isinstance(source.rows, Sheet):
        numbers.add(source.rows.texts)
    for chunk in source.chunks():
        _look(chunk, source, options, orders, numbers, codes)
        if _enough(source, options, orders, numbers, codes):
            break
    return Settled(
        _orders(path, orders, options, why),
        _decimal(path, source, numbers, options, why),
        _quality(path, source, codes, options),
        why,
    )


def _values(source: Source) -> list[int]:
    return [column.index for column in source.layout.columns] or [source.layout.value]


def _status(source: Source) -> list[int]:
    return sorted({column.status for column in source.layout.columns if column.status >= 0} | {source.layout.status} - {-1})


def _time_places(source: Source) -> list[int]:
    return sorted({pair[0] for pair in (*(column.times for column in source.layout.columns), source.layout.times)})


def _look(
    chunk: Chunk, source: Source, options: Options, orders: times.Orders, numbers: Evidence, codes: dict[int, set[int]]
) -> None:
    if not (options.time_format or source.counted):
        for place in _time_places(source):
            if pa.types.is_string(chunk.columns[place].type):
                # with a time of day in a column of its own the date stands alone
                orders.add(pc.utf8_trim_whitespace(chunk.columns[place]))
    if isinstance(source.rows, Text) and not options.decimal:
        for limit in (FEW, None):
            if numbers.point or numbers.comma:
                break
            for place in _values(source):
                cells = chunk.columns[place][:limit]
                signs = pc.match_substring_regex(cells, r"[.,]")
                numbers.add(cells.filter(signs).unique().to_pylist())
    if not source.layout.exact and not options.quality:
        for place in _status(source):
            found = codes.setdefault(place, set())
            if len(found) < 1000:
                cells = pc.utf8_trim_whitespace(pc.fill_null(as_text(chunk.columns[place]), ""))
                read = (whole(cell.casefold()) for cell in cells.unique().to_pylist())
                found.update(number for number in read if number is not None)


def _enough(source: Source, options: Options, orders: times.Orders, numbers: Evidence, codes: dict[int, set[int]]) -> bool:
    """Say whether the rest of the file can add nothing: what contradicts later is refused where it stands."""
    dates = not orders.example or (options.day_first is None and all(orders.settle().values()))
    signs = not isinstance(source.rows, Text) or bool(options.decimal or numbers.point or numbers.comma)
    schemes = all(scheme_of(found, source.layout.names[place]) for place, found in codes.items())
    return (dates or options.day_first is not None) and signs and schemes


def _orders(path: object, orders: times.Orders, options: Options, why: dict[str, str]) -> dict[str, str]:
    settled = orders.settle()
    for kind, order in settled.items():
        example = orders.example[kind]
        if options.day_first is not None:
            said = "dmy" if options.day_first else "mdy"
            if said not in orders.left[kind]:
                raise Refused(
                    f"{path}: its dates, like '{example}', cannot be read as said; take --day-first or --month-first away"
                )
            settled[kind], why[kind] = said, "said"
        elif order == "none":
            raise Refused(f"{path}: dates like '{example}' mix orders of day and month; have it exported again, as 2026-04-03")
        elif not order:
            what = "--day-first or --month-first" if kind == "abc" else "--time-format, as in %y-%m-%d"
            raise Refused(f"{path}: dates like '{example}' can be read in more than one order; say {what}")
        else:
            why[kind] = "the only order that fits all dates" if len(orders.left[kind]) == 1 else "both orders say the same"
    return settled


def _decimal(path: object, source: Source, numbers: Evidence, options: Options, why: dict[str, str]) -> str:
    if options.decimal:
        why["decimal"] = "said"
        return options.decimal
    if numbers.point and numbers.comma:
        raise Refused(f"{path}: both '{numbers.point}' and '{numbers.comma}' stand in it; say --decimal . or ,")
    if numbers.point or numbers.comma:
        why["decimal"] = f"'{numbers.point or numbers.comma}'"
        return "." if numbers.point else ","
    delimiter = source.rows.delimiter if isinstance(source.rows, Text) else ""
    unsure = numbers.either[","] or (numbers.either["."] if delimiter in (";", "\t", "|") else "")
    if unsure:
        raise Refused(f"{path}: numbers like '{unsure}' can be read in two ways; say --decimal . or ,")
    return "."


def _quality(path: object, source: Source, codes: dict[int, set[int]], options: Options) -> str:
    if source.layout.exact:
        return "opcua"
    if options.quality:
        return options.quality
    schemes = set[str]()
    for place, found in codes.items():
        if not found:
            continue
        scheme = scheme_of(found, source.layout.names[place])
        if not scheme:
            text = ", ".join(map(str, sorted(found)[:5]))
            name = source.layout.names[place]
            raise Refused(
                f"{path}: the numbers in '{name}' ({text}) have more than one meaning; "
                "say --quality opcua, opcda, aveva or validity"
            )
        schemes.add(scheme)
    if len(schemes) > 1:
        raise Refused(f"{path}: its columns of status follow different schemes; say --quality opcua, opcda, aveva or validity")
    return next(iter(schemes), "opcua")
