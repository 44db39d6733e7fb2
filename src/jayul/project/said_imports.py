"""What the room of imports says, as templates: refusals, warnings, and how something was decided.

The order counts: the first that fits a message is taken, so that a narrow one stands before a wide one.
"""

from __future__ import annotations

from jayul.project.problem import N_

IMPORTS = (
    # plant/imports: refusals
    N_("{path}: is empty"),
    N_("{path}: is encrypted; unpack it first"),
    N_("{path}: is no table; give a CSV, Excel, Parquet or Arrow file"),
    N_("{path}: is a web page or XML, no table; open it in Excel and save it as .xlsx or CSV"),
    N_("{path}: holds {count} files; unpack it, and import the folder"),
    N_("{path}: cannot be unpacked: {error}"),
    N_("{path}: its encoding cannot be told for sure; say --encoding, for Korean often cp949, else cp1252 or utf-16"),
    N_("{path}: is not '{encoding}' throughout: {error}; say --encoding, or have it exported again"),
    N_("{path}: '{a}' and '{b}' may both be the delimiter; say --delimiter"),
    N_("{path}: records stand on more than one sheet ({known}); say --sheet"),
    N_("{path}: no column of time is found; is it a table of records?"),
    N_("{path}: no column of time is found among {known}; name it with --time, its form with --time-format"),
    N_("{path}: more than one column holds times ({known}); name the one that counts with --time"),
    N_("{path}: no column '{name}' holds times; there are {known}"),
    N_("{path}: no header names the columns; name them in --tag-map as #1, #2 and so on"),
    N_("{path}: columns {a} and {b} are both called '{name}'; tell them apart in --tag-map as #{a} and #{b}"),
    N_("{path}: column {count} has values but no name; name it in --tag-map as #{count}"),
    N_("{path}: no values are found in it"),
    N_("{path}: its times have no zone; say --timezone, as in Asia/Seoul or +09:00"),
    N_("{path}: its dates, like '{text}', cannot be read as said; take --day-first or --month-first away"),
    N_("{path}: dates like '{text}' mix orders of day and month; have it exported again, as 2026-04-03"),
    N_("{path}: dates like '{text}' can be read in more than one order; say {what}"),
    N_(
        "{path}: {text} does not exist in {name} (clocks go forward); "
        "a recorder without daylight saving has a fixed --timezone, as in +01:00"
    ),
    N_("{path}: {text} comes twice in {name} (clocks go back); say --repeated-hour first, second or order (that of the rows)"),
    N_(
        "{path}: the times of the repeated hour fall back more than once near {text}; "
        "say --repeated-hour first or second, or have it exported in UTC"
    ),
    N_("{path}: both '{a}' and '{b}' stand in it; say --decimal . or ,"),
    N_("{path}: numbers like '{text}' can be read in two ways; say --decimal . or ,"),
    N_("{path}: '{text}' does not fit the decimal sign '{what}' of the rest; say --decimal . or ,"),
    N_("{path}: the numbers in '{name}' ({text}) have more than one meaning; say --quality opcua, opcda, aveva or validity"),
    N_("{path}: its columns of status follow different schemes; say --quality opcua, opcda, aveva or validity"),
    N_("{path}: '{text}' is no OPC UA status code"),
    N_("{path}: a value is no number: {error}"),
    N_("{path}: '{name}' stands in {what}; have it exported in one unit"),
    N_("{path}: '{name}' is in {unit}, the run's tag in {other}; correct the unit in --tag-map, or export it in {other}"),
    N_("{where}: '{text}' is no time; mend the row, or give --time-format"),
    N_("{where}: '{name}' has a value but no time"),
    N_("{where}: the row names no tag"),
    N_("{where}: more cells than the header has columns; is the decimal sign the delimiter?"),
    N_("{where}: a cell reaches over a line break; is a quote left open?"),
    N_("{where}: {error}; is a quote left open?"),
    N_("{path}: a tag map has the columns from, to, and if need be unit and states"),
    N_("{path}: no tag map can be read here: {error}"),
    N_("{where}: 'from' is empty or stands there twice"),
    N_("{where}: states are '{text}'; write codes such as 0=MAN;1=AUTO"),
    N_("'decimal' must be . or ,"),
    N_("'quality' must be opcua, opcda, aveva or validity"),
    N_("'repeated-hour' must be first, second or order"),
    N_("encoding '{encoding}' is unknown; write it like utf-8, cp949 or cp1252"),
    # warnings
    N_("the last line has no end and was not taken in: it may be cut off; --whole takes it"),
    N_("{count} NUL characters were taken out"),
    N_("merged cells were filled"),
    N_("{count} samples stand out of the order of time"),
    N_("{count} samples repeat the time of the one before"),
    N_("words of status that are not known count as uncertain: {known}"),
    N_("no value at all: {known}"),
    # how something was decided
    N_("said"),
    N_("strict trial"),
    N_("byte order mark"),
    N_("every other byte is 0"),
    N_("only signs of units lie outside ASCII"),
    N_("the only order that fits all dates"),
    N_("both orders say the same"),
)
