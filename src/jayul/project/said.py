"""What the rooms below say when they refuse (in English, as an exception's text), as templates that the catalogue translates.

Rooms below the project know no catalogue. Each pattern stands for one message; what it captures are the template's parameters.
A message without a pattern is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from jayul.project.problem import N_
from jayul.project.said_contract import CONTRACT
from jayul.project.said_history import HISTORY
from jayul.project.said_imports import IMPORTS
from jayul.project.said_judged import JUDGED
from jayul.project.said_web import WEB
from jayul.project.said_wire import WIRE


def _pattern(template: str) -> re.Pattern[str]:
    """Turn a template into a pattern: each {name} captures, a name that comes again must capture the same; {number}: digits."""
    parts, seen = [], set[str]()
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        parts.append(re.escape(text))
        if name:
            inside = r"\d+" if name == "number" else "[^']*" if text.endswith("'") else ".*"
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{inside})")
            seen.add(name)
    return re.compile("".join(parts), re.DOTALL)


TEMPLATES = (
    # plant/files
    N_("{path}: no such file"),
    N_("{path}: no rows"),
    N_("{path}: no column '{name}' to exclude; there are {known}"),
    N_("{path}: no column '{name}' for [[plant.tag]]; there are {known}"),
    N_("{path}: no column '{name}'; there are {known}"),
    N_("{path}: more than one column is called '{name}'; give each its own name"),
    N_("{path}: '{name}' is there already; give the constant or file_tag another name"),
    N_("{path}: its columns are not those of the first file: {known}"),
    N_("{path}: is not '{encoding}'; give 'encoding', for Korean often cp949"),
    N_("{path}: cannot be read: {error}"),
    N_("{path}: unknown kind of file '{kind}'; use .csv, .parquet or .xlsx"),
    N_("{path}: no sheet '{name}'; there are {known}"),
    N_("{path}: Excel needs the extra: pip install 'jayul[excel]'"),
    N_("{path}: column '{name}' has {count} empty cells"),
    N_("{path}: column '{name}', row {row}: '{text}' is no time; give 'time_format', it may be \"{guess}\""),
    N_("{path}: column '{name}', row {row}: '{text}' is no time; give 'time_format', as in \"%d/%m/%Y %H:%M\""),
    N_("{path}: column '{name}', row {row}: '{text}' is not of the form \"{form}\" that 'time_format' says"),
    N_("timezone '{name}' is unknown; write it like 'Asia/Seoul'"),
    N_("'delimiter' must be one character"),
    N_("tag '{name}' is described twice"),
    N_("tag '{name}': stale_after must lie between 0 and 1e9 s"),
    N_("tag '{name}': low must lie below high"),
    # core/expr
    N_("duration '{text}' cannot be read; write it like '30 s', '10 min' or '1.5 h'"),
    N_("unit '{text}' cannot be read; write it like 'USD/h', 'm3/h' or '1'"),
    N_("not an expression: {text}"),
    N_("unknown tag '{name}': {text}"),
    N_("unknown tag '{name}'; it is excluded, so nothing may see it"),
    N_("unknown tag '{name}'; did you mean '{near}'?"),
    N_("unknown tag '{name}'"),
    N_("units '{a}' and '{b}' do not fit together; nothing is converted: {text}"),
    N_("a condition is needed where a number stands; compare it with something: {text}"),
    N_("a number is needed where a condition stands: {text}"),
    N_("compare two numbers at a time, and join with 'and': {text}"),
    N_("'{what}' is not allowed here: {text}"),
    N_("'{what}' is not understood; there are abs(x) and, as in mean(x, 10 min), {known}: {text}"),
    # proof
    N_("fewer than two pairs count"),
    N_("coverage {have} %, at least {least} % is asked for"),
    N_("the KPI did not settle within a commissioning block: the wash-out is unknown"),
    N_("carry-over: the difference still changes within the blocks; use longer blocks and a longer wash-out"),
    N_("differs between the arms: {tag}"),
    N_("the share of ticks that count differs between the arms by {gap} points"),
    N_("it costs more than it saves"),
    N_("the benefit did not last"),
    N_("too little data before or after the change"),
    N_("without a coin it is not known what else changed"),
    N_("the baseline misses by {have} % (CV RMSE), more than {need} %"),
    N_("the baseline is off by {have} % on average, more than {need} %"),
    N_("only {have} % of the time after lies within the drivers seen before"),
    N_("the time before is too short to try placebos"),
    N_("{count} of {need} placebos are as large"),
    N_("nothing was saved"),
    N_("it is worse by more than the margin"),
    N_("'watch' must be an even number of blocks, at least 4"),
    N_("not held: {tag}"),
    N_("more minutes outside a limit than off"),
    N_("the coin alone could have done it: e-value {have}, needed {need}"),
    N_("seasons, products and operating states other than those of these {hours} hours"),
    N_("what comes after the last block: whether the benefit lasts"),
    N_("whatever the KPI does not count: wear, maintenance, emissions, people's work"),
    N_("production: no tag of it was held"),
    N_("quality: no tag of it was held"),
    N_("operating limits: none was watched"),
    N_("disturbances that follow the arms: no driver was compared"),
    N_("money: hours_per_year is not given"),
    N_("money: no benefit could be judged"),
    N_("money: no price pack says what one '{unit}' is worth"),
    N_("hours_per_year is not given"),
    N_("no benefit could be judged"),
    N_("no price pack says what one '{unit}' is worth"),
    N_("no rows can be read: {error}"),
    # packs
    N_("'{key}' must not be empty"),
    N_("'valid_until' lies before 'valid_from'"),
    N_("expired on {until}, before the last tick of the run ({day}); use a pack that holds then"),
    N_("holds from {since} on, after the last tick of the run ({day}); use a pack that holds then"),
    N_("aliases (*name) are not understood; write the value out"),
    N_("'{key}' stands there twice"),
    N_("is longer than a pack can be (64 k characters)"),
    N_("not YAML: line {row}: {what}"),
    N_("is not made of keys and values; write it like 'kind: price'"),
    N_("'{unit}' is no currency; write its three letters, as in ISO 4217: KRW, USD, EUR"),
    N_("no entry says what one '{unit}' is worth; add one whose 'of' is '{unit}'"),
    N_("one '{unit}' comes out in '{other}', which is not money an hour"),
    N_("no entry exchanges '{unit}' for '{other}'; add one"),
    N_("the exchange rate of '{unit}' must be in '{other}/{unit}'"),
    # models, policies, rules
    N_("'{key}' names no tag"),
    N_("'{key}' names no state"),
    N_("'formula' is a condition, not a number"),
    N_("there is no twin of '{name}'; there are {known}"),
    N_("'{name}' is no input of the twin; there are {known}"),
    N_("'target' stands among 'tags': it would explain itself"),
    N_("'{tag}' has no state '{name}'; there are {known}"),
    N_("'{tag}' is in {unit}, '{other}' in {others}"),
    N_("'{text}' is no time of day; write it like '08:30'"),
    N_("'{key}' must be above 0"),
    N_("'{key}' must be at least {least}"),
    N_("'{key}' must not be negative"),
    N_("'{key}' must not be longer than '{other}'"),
    N_("'{key}' lacks '{tag}'"),
    N_("'{key}' is no multiple of 'step'"),
    N_("name a tag for 'low', 'high' or both"),
    N_("'ridge' must be above 0, 'coverage' must lie between 0 and 1"),
    N_("'explained' must lie between 0 and 1, 'count', 'clear' and 'margin' must be at least 1"),
    N_("'window' and 'calibrate' must be at least {least} steps"),
    N_("'seasons' must be multiples of 'step', at least two steps long"),
    N_("'weights' and 'most' must be finite, and no weight 0"),
    N_("'days', 'from' and 'to' leave no time at all"),
    # simulated plants
    N_("'{key}' must lie between {low} and {high}"),
    N_("fault on unknown tag '{name}'"),
    N_("'draw' needs 'idv', at least one of 'blocks', and 'earliest' not after 'latest'"),
    N_("the Tennessee Eastman plant needs the extra 'tep': pip install 'jayul[tep]' (and a C compiler)"),
    *CONTRACT,
    *HISTORY,
    *IMPORTS,
    *JUDGED,
    *WEB,
    *WIRE,
)
_KNOWN = [(_pattern(template), template) for template in TEMPLATES]


def template_of(text: str) -> tuple[str, dict[str, str]]:
    """Return the template of a message and its parameters; `{text}` if it is not known."""
    for pattern, template in _KNOWN:
        if found := pattern.fullmatch(text):
            return template, found.groupdict()
    return "{text}", {"text": text}


INNER = ("error", "wanted", "where")  # parameters that may be messages themselves


def spoken(template: str, params: Mapping[str, str], into: Callable[[str], str]) -> str:
    """Return a template with its parameters, in the language that `into` speaks; messages within a message too."""
    texts = {name: spoken(*template_of(text), into) if name in INNER else text for name, text in params.items()}
    return texts["text"] if template == "{text}" else into(template).format(**texts)
