"""The figures of a report as plain data and inline SVG: blocks on the trend, a forest of pairs. No text for people stands here."""

from __future__ import annotations

import math

from jayul.prove.effect import Effect, compared
from jayul.prove.plan import Plan

WIDTH, HEIGHT, PAD, ROW = 900, 240, 46, 17


def _scale(low: float, high: float, size: float, pad: float, *, flip: bool) -> tuple[float, float]:
    """Return factor and offset that map [low, high] into [pad, size - pad]."""
    factor = (size - 2 * pad) / ((high - low) or 1.0)
    return (-factor, size - pad + factor * low) if flip else (factor, pad - factor * low)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round values between two."""
    step = 10 ** math.floor(math.log10((high - low) / 5 or 1.0))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    first = math.ceil(low / step)
    return [round(step * i, 10) for i in range(first, math.floor(high / step) + 1)]


def _axis(low: float, high: float, unit: str) -> list[str]:
    factor, offset = _scale(low, high, HEIGHT, PAD, flip=True)
    lines = []
    for value in _ticks(low, high):
        y = factor * value + offset
        lines.append(f'<line x1="{PAD}" y1="{y:.1f}" x2="{WIDTH - PAD}" y2="{y:.1f}" class="grid"/>')
        lines.append(f'<text x="{PAD - 6}" y="{y + 4:.1f}" class="tick end">{value:g}</text>')
    lines.append(f'<text x="{PAD}" y="{PAD - 14}" class="tick">{unit}</text>')
    return lines


def trend(effect: Effect, hours: list[float], values: list[float], unit: str, start: int) -> str:
    """Draw the KPI over plant time, the blocks behind it: on dark, off light, left out hatched."""
    good = [v for v in values if not math.isnan(v)]
    if not good:
        return ""
    low, high = min(good), max(good)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    fx, ox = _scale(0.0, max(hours), WIDTH, PAD, flip=False)
    fy, oy = _scale(low, high, HEIGHT, PAD, flip=True)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" class="figure">']
    for block in effect.blocks:
        x, end = ((t - start) / 3.6e12 * fx + ox for t in (block.start, block.end))
        kind = "out" if block.left_out else block.arm
        parts.append(f'<rect x="{x:.1f}" y="{PAD}" width="{end - x:.1f}" height="{HEIGHT - 2 * PAD}" class="{kind}"/>')
    parts += _axis(low, high, unit)
    points = " ".join(f"{h * fx + ox:.1f},{v * fy + oy:.1f}" for h, v in zip(hours, values, strict=True) if not math.isnan(v))
    parts.append(f'<polyline points="{points}" class="line"/>')
    for hour in _ticks(0.0, max(hours)):
        parts.append(f'<text x="{hour * fx + ox:.1f}" y="{HEIGHT - PAD + 18}" class="tick middle">{hour:g} h</text>')
    return "".join([*parts, "</svg>"])


def line(hours: list[float], values: list[float], unit: str) -> str:
    """Draw one quantity over plant time."""
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    fx, ox = _scale(hours[0], hours[-1], WIDTH, PAD, flip=False)
    fy, oy = _scale(low, high, HEIGHT, PAD, flip=True)
    points = " ".join(f"{h * fx + ox:.1f},{v * fy + oy:.1f}" for h, v in zip(hours, values, strict=True))
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" class="figure">', *_axis(low, high, unit)]
    parts.append(f'<polyline points="{points}" class="line"/>')
    for hour in _ticks(hours[0], hours[-1]):
        x = hour * fx + ox
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - PAD + 18}" class="tick middle">{hour:g} h</text>')
    return "".join([*parts, "</svg>"])


def band(
    hours: list[float], actual: list[float], rows: list[tuple[float, float, float]], unit: str, marks: dict[float, str]
) -> str:
    """Draw a quantity over plant time and, behind it, what was forecast for each time: (low, median, high); NaN is left out.

    `marks`: text at these hours of the axis.
    """
    known = [v for v in (*actual, *(v for row in rows for v in row)) if not math.isnan(v)]
    if len(known) < 2 or len(hours) < 2:
        return ""
    low, high = min(known), max(known)
    fx, ox = _scale(hours[0], hours[-1], WIDTH, PAD, flip=False)
    fy, oy = _scale(low, high, HEIGHT, PAD, flip=True)
    made = [(h * fx + ox, row) for h, row in zip(hours, rows, strict=True) if not any(map(math.isnan, row))]
    edge = [f"{x:.1f},{row[2] * fy + oy:.1f}" for x, row in made] + [f"{x:.1f},{row[0] * fy + oy:.1f}" for x, row in made[::-1]]
    middle = [f"{x:.1f},{row[1] * fy + oy:.1f}" for x, row in made]
    line = [f"{h * fx + ox:.1f},{v * fy + oy:.1f}" for h, v in zip(hours, actual, strict=True) if not math.isnan(v)]
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" class="figure">', *_axis(low, high, unit)]
    parts += [f'<polygon points="{" ".join(edge)}" class="band"/>', f'<polyline points="{" ".join(middle)}" class="median"/>']
    parts.append(f'<polyline points="{" ".join(line)}" class="line"/>')
    for hour, text in marks.items():
        parts.append(f'<text x="{hour * fx + ox:.1f}" y="{HEIGHT - PAD + 18}" class="tick middle">{text}</text>')
    return "".join([*parts, "</svg>"])


def forest(effect: Effect, plan: Plan) -> str:
    """Draw each pair's difference (off - on; less the twin, if there is one) and, below, the mean with its interval."""
    after = [block for block in effect.blocks if block.left_out != "commissioning"]
    pairs = [sorted(after[i : i + 2], key=lambda block: block.arm) for i in range(0, len(after) - 1, 2)]
    rows = [(compared(plan, off) - compared(plan, on), bool(off.left_out or on.left_out)) for off, on in pairs]
    good = [value for value, left_out in rows if not left_out]
    if effect.absolute is None or not good:
        return ""
    ends = [*good, *(end for end in effect.absolute if end is not None), 0.0]
    low, high = min(ends), max(ends)
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    fx, ox = _scale(low, high, WIDTH, PAD, flip=False)
    height = ROW * (len(rows) + 2) + 2 * PAD
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" aria-hidden="true" class="figure">']
    for value in _ticks(low, high):
        x = value * fx + ox
        parts.append(
            f'<line x1="{x:.1f}" y1="{PAD}" x2="{x:.1f}" y2="{height - PAD}" class="{"zero" if value == 0 else "grid"}"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{height - PAD + 18}" class="tick middle">{value:g}</text>')
    parts.append(f'<text x="{WIDTH - PAD}" y="{height - 8}" class="tick end">{plan.unit}</text>')
    for i, (value, left_out) in enumerate(rows):
        y = PAD + ROW * (i + 0.7)
        parts.append(f'<text x="{PAD - 8}" y="{y + 4:.1f}" class="tick end">{i + 1}</text>')
        if not math.isnan(value):
            parts.append(f'<circle cx="{value * fx + ox:.1f}" cy="{y:.1f}" r="5" class="{"hollow" if left_out else "dot"}"/>')
    mean, least, most = effect.absolute
    least, most = low if least is None else least, high if most is None else most
    y = PAD + ROW * (len(rows) + 1.2)
    parts.append(f'<line x1="{least * fx + ox:.1f}" y1="{y}" x2="{most * fx + ox:.1f}" y2="{y}" class="interval"/>')
    parts.append(f'<circle cx="{mean * fx + ox:.1f}" cy="{y}" r="7" class="dot"/>')
    return "".join([*parts, "</svg>"])


def evidence(effect: Effect, bound: float) -> str:
    """Draw the e-values for a benefit and for harm after each pair, on a logarithmic scale, and the one that proves."""
    if not effect.looks:
        return ""
    rows = [(look.e_benefit, look.e_harm) for look in effect.looks]
    values = [math.log10(max(value, 1e-3)) for row in rows for value in row] + [math.log10(bound), 0.0]
    low, high = min(values) - 0.2, max(values) + 0.2
    fx, ox = _scale(0.5, len(rows) + 0.5, WIDTH, PAD, flip=False)
    fy, oy = _scale(low, high, HEIGHT, PAD, flip=True)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" class="figure">']
    for power in range(math.ceil(low), math.floor(high) + 1):
        y = fy * power + oy
        parts.append(f'<line x1="{PAD}" y1="{y:.1f}" x2="{WIDTH - PAD}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{PAD - 6}" y="{y + 4:.1f}" class="tick end">{10.0**power:g}</text>')
    y = fy * math.log10(bound) + oy
    parts.append(f'<line x1="{PAD}" y1="{y:.1f}" x2="{WIDTH - PAD}" y2="{y:.1f}" class="bound"/>')
    for k, kind in ((1, "median"), (0, "line")):
        points = " ".join(
            f"{(i + 1) * fx + ox:.1f},{math.log10(max(row[k], 1e-3)) * fy + oy:.1f}" for i, row in enumerate(rows)
        )
        parts.append(f'<polyline points="{points}" class="{kind}"/>')
    marks = range(1, len(rows) + 1, max(1, len(rows) // 12))
    parts += [f'<text x="{i * fx + ox:.1f}" y="{HEIGHT - PAD + 18}" class="tick middle">{i}</text>' for i in marks]
    return "".join([*parts, "</svg>"])
