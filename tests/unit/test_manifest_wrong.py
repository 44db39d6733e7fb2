"""Wrong manifests and wrong command lines: one line on stderr, exit code 2, nothing on stdout, never a traceback."""

from __future__ import annotations

import functools
import json
from importlib.metadata import entry_points
from importlib.resources import files as resources
from pathlib import Path

import pytest

from jayul.app import texts
from jayul.app.cli import main
from jayul.plant.sim.people import NAME as SIMULATED
from jayul.project import kinds

TANK = (resources("jayul.project") / "templates" / "tank" / "jayul.toml").read_text(encoding="utf-8").format(name="x")
WHOLE = ""  # as the old text: the new text is the whole manifest
PLANT = 'kind = "tank"\neffect = 0.05 '
POLICY = '[[policy]]\nname = "{}"\nkind = "hold"\nwrites = []\n'
PERSON = '[[people.person]]\nname = "{}"\nroles = ["engineer"]\n'
FAULT = 'kind = "tank"\n[[plant.fault]]\ntag = "TIC1.PV"\nkind = "bad"\nafter = "1 h"\nlasts = "1 h" '
RATE, TARGET = 'per_hour = { "TIC1.SP" = 30.0 }', 'target = { "TIC1.SP" = 62.0 }'
NEEDS, WATCHED = 'needs = ["TIC1.PV", "TIC2.PV", "LIC1.PV", "FI2.PV"]', 'tags = ["TIC1.PV", "TIC2.PV", "FI2.PV"]'
WRITES, FALL, SHADOW = 'writes = ["TIC1.SP"]', 'action = "ramp"\nper_hour = 30.0', "[ladder.shadow]"
ADVISE, KPI = "proposals = 10\ncoverage = 0.95\nmax_veto_rate = 0.2", '"JI1.PV * PRICE1 + JI2.PV * PRICE2"'
ELSEWHERE = 'target = { "LIC1.SP" = 50.0 }\nper_hour = { "LIC1.SP" = 30.0 }'
MODEL = '[[model]]\nname = "{}"\nkind = "formula"\nformula = {{ "{}" = "1" }}\n'
FIRST = '"frozen.alarm == 0"'
TWICE = 'name = "b"\nkind = "hold"\nwrites = []\n[guard]'
OFF = '[[policy]]\nname = "off"\nkind = "baseline"\nwrites = ["LIC1.SP"]\n{}\n[guard]'
BOUNDS, DAY = "low = 60.0, high = 75.0", 'duration = "24 h"'

KPI_HEAD = "[kpi]"
RULE = "[[guard.rule]]\n"
OWN = '[[policy]]\nname = "own"\nkind = "hold"\nwrites = []\n{}\n'
RULES: list[tuple[str, tuple[str, ...], str]] = [
    ("", ("guard.rule[0]: ", "'kind'"), "[[guard.rule]]"),
    ("kind = 3", ("guard.rule[0].kind: ", "3"), "kind = 3"),
    ('kind = "rat"', ("guard.rule[0].kind: ", "'rat'", "'rate'"), 'kind = "rat"'),
    ('kind = "rate"\nwindow = "1 h"\nmost = 1', ("guard.rule[0]", "'tags'"), "[[guard.rule]]"),
    ('kind = "rate"\ntags = ["TIC1.SP"]\nmost = 1', ("guard.rule[0]: ", "'window'"), "[[guard.rule]]"),
    ('kind = "rate"\ntags = ["TIC1.SP"]\nwindow = "1 h"', ("guard.rule[0]: ", "'most'"), "[[guard.rule]]"),
    ('kind = "rate"\ntags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 0.0', ("guard.rule[0].most: ", "'most'"), "most = 0.0"),
    ('kind = "rate"\ntags = ["TIC1.SP"]\nwindow = "1 h"\nmost = nan', ("guard.rule[0].most: ", "'most'"), "most = nan"),
    ('kind = "rate"\ntags = ["TIC1.SP"]\nwindow = "1 week"\nmost = 1', ("guard.rule[0].window: ", "'1 week'"), "window ="),
    ('kind = "rate"\ntags = ["TIC1.SP"]\nwindow = "1 h"\nmst = 1', ("guard.rule[0].mst: ", "'most'"), "mst ="),
    ('kind = "rate"\ntags = []\nwindow = "1 h"\nmost = 1', ("guard.rule[0].tags: ", "'tags'"), "tags = []"),
    ('kind = "rate"\ntags = "TIC1.SP"\nwindow = "1 h"\nmost = 1', ("guard.rule[0].tags: ",), 'tags = "TIC1.SP"'),
    ('kind = "rate"\ntags = ["TIC1.SX"]\nwindow = "1 h"\nmost = 1', ("guard.rule[0]: ", "'TIC1.SX'"), "[[guard.rule]]"),
    ('kind = "rate"\ntags = ["TIC1.SP", "TIC1.SP"]\nwindow = "1 h"\nmost = 1', ("guard.rule[0]: ", "TIC1.SP"), "[[guard.rule]]"),
    ('kind = "travel"\ntags = ["TIC1.SP"]\nwindow = "1 h"\nmost = -1', ("guard.rule[0].most: ", "'most'"), "most = -1"),
    ('kind = "moves"\ntags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 0', ("guard.rule[0].most: ", "'most'"), "most = 0"),
    ('kind = "moves"\ntags = ["TIC1.SP"]\nwindow = "1 h"\nmost = 1.5', ("guard.rule[0].most: ",), "most = 1.5"),
    ('kind = "dwell"\ntags = ["TIC1.SP"]\nwindow = "0 h"', ("guard.rule[0].window: ", "'0 h'"), "window ="),
    ('kind = "dwell"\ntags = ["GHOST"]\nwindow = "1 h"', ("guard.rule[0]: ", "'GHOST'"), "[[guard.rule]]"),
    ('kind = "mode"\nmode = "TIC1.MODE"\ntakes = []', ("guard.rule[0].takes: ", "'takes'"), "takes ="),
    ('kind = "mode"\nmode = "TIC1.MODE"\ntakes = ["RCASS"]', ("guard.rule[0]: ", "'RCASS'", "RCAS"), "[[guard.rule]]"),
    ('kind = "mode"\nmode = "TIC1.MOD"\ntakes = ["RCAS"]', ("guard.rule[0]: ", "'TIC1.MOD'"), "[[guard.rule]]"),
    ('kind = "mode"\nmode = "TIC1.MODE"\ntakes = "RCAS"', ("guard.rule[0].takes: ",), "takes ="),
    ('kind = "mode"\nmode = "TIC1.MODE"\ntakes = [true]', ("guard.rule[0].takes[0]: ",), "takes ="),
    ('kind = "mode"\nmode = "FI2.PV"\ntakes = ["RCAS"]', ("guard.rule[0]: ", "'FI2.PV'"), "[[guard.rule]]"),
    ('kind = "between"\ntags = ["TIC1.SP"]', ("guard.rule[0]", "'low'"), "[[guard.rule]]"),
    ('kind = "between"\nlow = "TIC2.SP"', ("guard.rule[0]", "'tags'"), "[[guard.rule]]"),
    ('kind = "between"\ntags = ["TIC1.SP"]\nhigh = "LIC1.SP"', ("guard.rule[0]: ", "'LIC1.SP'", "%", "degC"), "[[guard.rule]]"),
    ('kind = "between"\ntags = ["TIC1.SP"]\nhigh = 66.0', ("guard.rule[0].high: ",), "high = 66.0"),
    ('kind = "hours"', ("guard.rule[0]: ", "'timezone'"), "[[guard.rule]]"),
    ('kind = "hours"\ntimezone = "Mars/Phobos"', ("guard.rule[0].timezone: ", "'Mars/Phobos'"), "timezone ="),
    ('kind = "hours"\ntimezone = "UTC"\ndays = ["monday"]', ("guard.rule[0].days[0]: ", "'monday'", "mon"), "days ="),
    ('kind = "hours"\ntimezone = "UTC"\ndays = []', ("guard.rule[0].days: ", "'days'"), "days ="),
    ('kind = "hours"\ntimezone = "UTC"\nfrom = "8 am"', ("guard.rule[0].from: ", "'8 am'"), "from ="),
    ('kind = "hours"\ntimezone = "UTC"\nto = "24:01"', ("guard.rule[0].to: ", "'24:01'"), "to ="),
    ('kind = "hours"\ntimezone = "UTC"\nbegin = "08:00"', ("guard.rule[0].begin: ", "'begin'"), "begin ="),
    ('kind = "hours"\ntimezone = "UTC"\nfrom = 08:00:00', ("guard.rule[0].from: ",), "from ="),
    ('kind = "age"\nmost = "1 h"', ("guard.rule[0]: ", "'of'"), "[[guard.rule]]"),
    ('kind = "age"\nof = []\nmost = "1 h"', ("guard.rule[0].of: ", "'of'"), "of = []"),
    ('kind = "age"\nof = ["GHOST"]\nmost = "1 h"', ("guard.rule[0]: ", "'GHOST'"), "[[guard.rule]]"),
    ('kind = "age"\nof = ["FI2.PV"]\nmost = "old"', ("guard.rule[0].most: ", "'old'"), "most ="),
    ('kind = "halfspace"\nmost = 1.0', ("guard.rule[0]: ", "'weights'"), "[[guard.rule]]"),
    ('kind = "halfspace"\nweights = {}\nmost = 1.0', ("guard.rule[0].weights: ", "'weights'"), "weights ="),
    ('kind = "halfspace"\nweights = { "TIC1.SP" = 0.0 }\nmost = 1.0', ("guard.rule[0].weights: ", "'weights'"), "weights ="),
    ('kind = "halfspace"\nweights = { "TIC1.SP" = "1" }\nmost = 1.0', ("guard.rule[0].weights",), "weights ="),
    ('kind = "halfspace"\nweights = { "GHOST" = 1.0 }\nmost = 1.0', ("guard.rule[0]: ", "'GHOST'"), "[[guard.rule]]"),
    ('kind = "age"\nof = ["FI2.PV"]\nmost = "1 h"\n[[guard.rule]]\nkind = "rte"', ("guard.rule[1].kind: ", "'rte'"), 'kind = "rte"'),
]  # fmt: skip
GATES: list[tuple[str, tuple[str, ...], str]] = [
    ("[policy.ladders]\nstale_ticks = 1", ("policy[0].ladders: ", "'ladders'"), "[policy.ladders]"),
    ("[policy.ladder.shadows]\nticks = 1", ("policy[0].ladder.shadows: ", "'shadow'"), "[policy.ladder.shadows]"),
    ("[policy.ladder.shadow]\ntick = 1", ("policy[0].ladder.shadow.tick: ", "'ticks'"), "tick = 1"),
    ("[policy.ladder.shadow]\nticks = -7", ("policy[0].ladder.shadow.ticks: ",), "ticks = -7"),
    ("[policy.ladder.advise]\ncoverage = 1.5", ("policy[0].ladder.advise.coverage: ", "0", "1"), "coverage = 1.5"),
    ("[policy.ladder]\nstale_ticks = 0", ("policy[0].ladder.stale_ticks: ",), "stale_ticks = 0"),
    ("[policy.ladder]\nveto_ticks = 0", ("policy[0].ladder.veto_ticks: ",), "veto_ticks = 0"),
    ('[policy.ladder]\nsigned_for = "ever"', ("policy[0].ladder.signed_for: ", "'ever'"), "signed_for ="),
    ('[policy.ladder]\nsigned_for = "1 s"', ("policy[0].ladder.signed_for: ", "30 s"), "signed_for ="),
    ("ladder = 3", ("policy[0].ladder: ",), "ladder = 3"),
]  # fmt: skip

# old text, new text, what the line must hold (the same in every language), where the line number must point (None: it has none)
WRONG: list[tuple[str, str, tuple[str, ...], str | None]] = [
    # the file as a whole
    ("[run]", "[run", ("TOML",), "[run\n"),
    ("pairs = 5", "pairs = 5\npairs = 6", ("TOML",), "pairs = 6"),
    ("pairs = 5", "pairs = five", ("TOML",), "pairs = five"),
    ('name = "x"', 'name = "x', ("TOML",), 'name = "x\n'),
    (WHOLE, "", ("[project]",), None),
    (WHOLE, "# nothing\n", ("[project]",), None),
    (WHOLE, '[project]\nname = "x"\n', ("[plant]",), None),
    (WHOLE, TANK[TANK.index("[run]") :], ("[project]",), None),
    # unknown sections and keys, missing keys, at every depth
    ("[guard]", "[guards]", ("guards: ", "'guard'"), "[guards]"),
    ("duration =", "duraton =", ("run.duraton: ", "'duration'"), "duraton ="),
    ("description =", "title =", ("project.title: ",), "title ="),
    ("[ladder.confirm]", "[ladder.confirms]", ("ladder.confirms: ", "'confirm'"), "[ladder.confirms]"),
    ("proposals = 10", "proposal = 10", ("ladder.advise.proposal: ", "'proposals'"), "proposal = 10"),
    ("low = 60.0,", "lo = 60.0, low = 60.0,", ("policy[0].abort[0].lo: ", "'low'"), "abort ="),
    ("low = 60.0, ", "", ("policy[0].abort[0]: ", "'low'"), "abort ="),
    ('name = "x"\n', "", ("project: ", "'name'"), "[project]"),
    ('name = "preheat"\n', "", ("policy[0]: ", "'name'"), "[[policy]]"),
    ('kind = "switchback"\n', "", ("policy[0]: ", "'kind'"), "[[policy]]"),
    (WRITES + "\n", "", ("policy[0]: ", "'writes'"), "[[policy]]"),
    ('kind = "frozen"\nname = "frozen"', 'kind = "frozen"', ("model[0]: ", "'name'"), "[[model]]"),
    ('kind = "frozen"\nname = "frozen"', 'name = "frozen"', ("model[0]: ", "'kind'"), "[[model]]"),
    (PLANT, "effect = 0.05 ", ("plant: ", "'kind'"), "[plant]"),
    # wrong types
    ('name = "x"', "name = 3", ("project.name: ",), "name = 3"),
    ('duration = "24 h"', "duration = 24", ("run.duration: ",), "duration = 24"),
    ('duration = "24 h"', 'duration = "24 h"\nstart = "soon"', ("run.start: ",), 'start = "soon"'),
    ('duration = "24 h"', 'duration = "24 h"\nstart = 2026-01-01', ("run.start: ",), "start = 2026-01-01"),
    ("simulated = true", 'simulated = "yes"', ("people.simulated: ",), 'simulated = "yes"'),
    ('kind = "tank"', "kind = 3", ("plant.kind: ", "3"), "kind = 3"),
    ('kind = "frozen"\nname = "frozen"', 'kind = "frozen"\nname = 3', ("model[0].name: ", "3"), "name = 3"),
    ("[[model]]", "[model]", ("model: ",), "[model]"),
    ("[[policy]]", "[policy]", ("policy: ",), "[policy]"),
    (NEEDS, 'needs = "TIC1.PV"', ("policy[0].needs: ",), "needs ="),
    (TARGET, 'target = { "TIC1.SP" = "warm" }', ("policy[0].target",), "target ="),
    ("[ladder.confirm]\nticks = 60", '[ladder.confirm]\nticks = "60"', ("ladder.confirm.ticks: ",), 'ticks = "60"'),
    ('evidence = ["proven"]', 'evidence = "proven"', ("ladder.auto.evidence: ",), "evidence ="),
    # durations and times
    ('period = "30 s"', 'period = "30 x"', ("run.period: ", "'30 x'"), "period ="),
    ('period = "30 s"', 'period = "-30 s"', ("run.period: ", "'-30 s'"), "period ="),
    ('duration = "24 h"', 'duration = "0 h"', ("run.duration: ", "'0 h'"), "duration ="),
    ('duration = "24 h"', 'duration = "10 s"', ("run.duration: ", "30 s"), "duration ="),
    ('period = "30 s"', 'period = "0.0000009 ms"', ("run.period: ", "'0.0000009 ms'"), "period ="),
    (DAY, 'duration = "34723 d"', ("run.duration: ", "'34723 d'"), "duration ="),
    (DAY, f'duration = "{"9" * 400} d"', ("run.duration: ", "999 d'"), "duration ="),
    (DAY, f"{DAY}\nstart = 1969-12-31T23:59:59Z", ("run.start: ", "1970", "2200"), "start ="),
    (DAY, f"{DAY}\nstart = 2201-01-01T00:00:00Z", ("run.start: ", "1970", "2200"), "start ="),
    (DAY, f"{DAY}\nstart = 0001-01-01T00:00:00+09:00", ("run.start: ", "1970", "2200"), "start ="),
    ('begin = "3 h"', 'begin = "3"', ("policy[0].begin: ", "'3'"), "begin ="),
    ('after = "5 min"', 'after = "5 minutes"', ("model[0].after: ", "'5 minutes'"), "after ="),
    ('commit = "group"', 'commit = "groups"', ("run.commit: ", "'groups'", "group, tick"), "commit ="),
    # kinds and their options
    ('kind = "tank"', 'kind = "tnak"', ("plant.kind: ", "'tnak'", "'tank'"), 'kind = "tnak"'),
    ('kind = "frozen"', 'kind = "frosen"', ("model[0].kind: ", "'frozen'"), 'kind = "frosen"'),
    ('kind = "switchback"', 'kind = "switchbak"', ("policy[0].kind: ", "'switchback'"), 'kind = "switchbak"'),
    ("effect = 0.05 ", "effects = 0.05 ", ("plant.effects: ", "'effect'"), "effects ="),
    ("effect = 0.05 ", 'effect = "much"', ("plant.effect: ",), "effect = "),
    ("effect = 0.05 ", "effect = 0.5 ", ("plant.effect: ", "'effect'", "-0.2", "0.3"), "effect = 0.5 "),
    ("effect = 0.05 ", "effect = -0.21 ", ("plant.effect: ", "'effect'", "-0.2", "0.3"), "effect = -0.21 "),
    ("effect = 0.05 ", "effect = nan ", ("plant.effect: ", "'effect'"), "effect = nan "),
    ("effect = 0.05 ", "confounded = 1 ", ("plant.confounded: ",), "confounded ="),
    ("effect = 0.05 ", 'watchdog = "soon" ', ("plant.watchdog: ", "'soon'"), "watchdog ="),
    ('after = "5 min"', 'aftr = "5 min"', ("model[0].aftr: ", "'after'"), "aftr ="),
    (WATCHED + "\n", "", ("model[0]: ", "'tags'"), "[[model]]"),
    (WATCHED, "tags = []", ("model[0].tags: ", "'tags'"), "tags ="),
    ("pairs = 5", "pairs = 0", ("policy[0].pairs: ", "'pairs'"), "pairs ="),
    ("pairs = 5", "pairs = 5.5", ("policy[0].pairs: ",), "pairs ="),
    ("pairs = 5", 'arms = ["on", "maybe"]', ("policy[0].arms[1]: ", "'maybe'", "off, on"), "arms ="),
    # tags that are not there, or may not be written
    (WRITES, 'writes = ["TIC1.SPX"]', ("policy[0].writes: ", "'TIC1.SPX'", "'TIC1.SP'"), "writes ="),
    (NEEDS, 'needs = ["TIC1.PB"]', ("policy[0].needs: ", "'TIC1.PB'"), "needs ="),
    (WRITES, 'writes = ["TIC1.SP", "ESD1.RESET"]', ("policy[0].writes: ", "'ESD1.RESET'"), "writes ="),
    (WRITES, 'writes = ["TIC1.PV"]', ("policy[0].writes: ", "'TIC1.PV'"), "writes ="),
    (WRITES, 'writes = ["TIC1.SP", "LIC1.SP", "TIC1.SP"]', ("policy[0].writes: ", "'TIC1.SP'"), "writes ="),
    ('tag = "TIC2.PV"', 'tag = "TIC9.PV"', ("policy[0].abort: ", "'TIC9.PV'"), "abort ="),
    ('[fallback."TIC1.SP"]', '[fallback."TIC1.SX"]', ("fallback.TIC1.SX: ", "'TIC1.SP'"), '[fallback."TIC1.SX"]'),
    (WATCHED, 'tags = ["TIC1.PX"]', ("model[0]: ", "'TIC1.PX'"), "[[model]]"),
    (PLANT, FAULT.replace("TIC1.PV", "XX"), ("plant: ", "'XX'"), "[plant]"),
    (PLANT, FAULT.replace('"bad"', '"worse"'), ("plant.fault[0].kind: ", "'worse'"), 'kind = "worse"'),
    (PLANT, FAULT.replace('"1 h"', '"1 hour"'), ("plant: ", "'1 hour'"), "[plant]"),
    # moves
    (TARGET, 'target = { "TIC1.SP" = 70.0 }', ("policy[0].target.TIC1.SP: ", "70", "45", "66"), "target ="),
    (TARGET, 'target = { "TIC1.SP" = nan }', ("policy[0].target.TIC1.SP: ", "nan"), "target ="),
    (TARGET, "target = {}", ("policy[0].target: ", "'target'"), "target ="),
    (RATE, 'per_hour = { "TIC1.SP" = 30.0, "LIC1.SP" = 3.0 }', ("policy[0].per_hour: ", "'LIC1.SP'", "'writes'"), "per_hour ="),
    (f"{TARGET}\n{RATE}", ELSEWHERE, ("policy[0].per_hour: ", "'LIC1.SP'", "'writes'"), 'per_hour = { "LIC1.SP"'),
    (TARGET, 'target = { "LIC1.SP" = 50.0 }', ("policy[0].per_hour: ", "'per_hour'", "'LIC1.SP'"), "per_hour ="),
    (RATE + "\n", "", ("policy[0]: ", "'per_hour'"), "[[policy]]"),
    (RATE, "per_hour = {}", ("policy[0].per_hour: ", "'per_hour'", "'TIC1.SP'"), "per_hour ="),
    (RATE, 'per_hour = { "TIC1.SP" = -30.0 }', ("policy[0].per_hour: ", "'per_hour'"), "per_hour ="),
    (RATE, 'per_hour = { "TIC1.SP" = 121.0 }', ("policy[0].per_hour: ", "121", "'TIC1.SP'"), "per_hour ="),
    (RATE, 'per_hour = { "TIC1.SP" = inf }', ("policy[0].per_hour: ", "inf"), "per_hour ="),
    (BOUNDS, "low = 75.0, high = 60.0", ("policy[0].abort: ", "'TIC2.PV'"), "abort ="),
    (BOUNDS, "low = 60.0, high = 60.0", ("policy[0].abort: ", "'TIC2.PV'"), "abort ="),
    (BOUNDS, "low = nan, high = 75.0", ("policy[0].abort: ", "'TIC2.PV'"), "abort ="),
    ("[guard]", OFF.format("per_hour = {}"), ("policy[0].per_hour: ", "'per_hour'"), "per_hour = {}"),
    ("[guard]", OFF.format('per_hour = { "LIC1.SP" = -1.0 }'), ("policy[0].per_hour: ", "'per_hour'"), "per_hour ="),
    ("[guard]", OFF.format('per_hour = { "LIC1.SP" = nan }'), ("policy[0].per_hour: ", "'per_hour'"), "per_hour ="),
    ("[guard]", OFF.format(f'per_hour = {{ "LIC1.SP" = 1.0 }}\n{TARGET}'), ("policy[0].per_hour: ", "'TIC1.SP'"), "per_hour ="),
    ("[guard]", OFF.format('per_hour = { "LIC1.SP" = 1.0 }\nwithin = "0 h"'), ("policy[0].within: ", "'0 h'"), "within ="),
    (FALL, 'action = "ramp"', ("fallback.TIC1.SP: ", "'per_hour'"), '[fallback."TIC1.SP"]'),
    (FALL, 'action = "ramp"\nper_hour = -1.0', ("fallback.TIC1.SP: ", "'per_hour'"), '[fallback."TIC1.SP"]'),
    (FALL, 'action = "ramp"\nper_hour = inf', ("fallback.TIC1.SP: ", "'per_hour'"), '[fallback."TIC1.SP"]'),
    (FALL, 'action = "ramp"\nper_hour = nan', ("fallback.TIC1.SP: ", "'per_hour'"), '[fallback."TIC1.SP"]'),
    (FALL, 'action = "ramp"\nper_hour = "30"', ("fallback.TIC1.SP.per_hour: ",), 'per_hour = "30"'),
    (FALL, "per_hour = 30.0", ("fallback.TIC1.SP: ", "'action'"), '[fallback."TIC1.SP"]'),
    (FALL, 'action = "rampe"', ("fallback.TIC1.SP.action: ", "'rampe'", "hold, ramp, release"), 'action = "rampe"'),
    (FALL, 'action = "ramp"\nper_hor = 30.0', ("fallback.TIC1.SP.per_hor: ", "'per_hor'", "'per_hour'"), "per_hor ="),
    # the ladder
    (ADVISE, ADVISE.replace("0.95", "1.5"), ("ladder.advise.coverage: ", "0", "1"), "coverage = 1.5"),
    (ADVISE, ADVISE.replace("= 0.2", "= -0.2"), ("ladder.advise.max_veto_rate: ",), "max_veto_rate = -0.2"),
    (ADVISE, ADVISE.replace("= 10", "= -1"), ("ladder.advise.proposals: ",), "proposals = -1"),
    ("[ladder.confirm]\nticks = 60", "[ladder.confirm]\nticks = -1", ("ladder.confirm.ticks: ",), "ticks = -1"),
    (SHADOW, f"[ladder]\nstale_ticks = 0\n{SHADOW}", ("ladder.stale_ticks: ",), "stale_ticks = 0"),
    (SHADOW, f"[ladder]\nveto_ticks = 0\n{SHADOW}", ("ladder.veto_ticks: ",), "veto_ticks = 0"),
    # formulas and conditions
    (KPI, '"JI1.PV * PRICE1 + JI9.PV * PRICE2"', ("kpi.formula: ", "'JI9.PV'"), "formula ="),
    (KPI, '"JI1.PV * PRICE1 + JI2.PV"', ("kpi.formula: ", "'USD/h'", "'kW'"), "formula ="),
    (KPI, '"JI1.PV * PRICE1 +"', ("kpi.formula: ", "JI1.PV * PRICE1 +"), "formula ="),
    (KPI, '"(JI1.PV > 3) * PRICE1"', ("kpi.formula: ", "(JI1.PV > 3) * PRICE1"), "formula ="),
    (KPI, '"JI1.PV > 3"', ("kpi.formula: ", "JI1.PV > 3"), "formula ="),
    (f'unit = "USD/h"\nformula = {KPI}', 'unit = "1"\nformula = "JI1.PV > 3"', ("kpi.formula: ", "JI1.PV > 3"), "formula ="),
    (KPI, '"__import__(JI1.PV)"', ("kpi.formula: ", "__import__"), "formula ="),
    (KPI, '"mean(JI1.PV, 5 weeks) * PRICE1"', ("kpi.formula: ", "'5 weeks'"), "formula ="),
    (KPI, '"JI1.PV * 3 [??]"', ("kpi.formula: ", "'??'"), "formula ="),
    ('unit = "USD/h"', 'unit = "USD/kW"', ("kpi.unit: ", "'USD/h'", "'USD/kW'"), "unit ="),
    ('unit = "USD/h"', 'unit = "USD//h"', ("kpi.unit: ", "'USD//h'"), "unit ="),
    (FIRST, '"frozen.alarm"', ("guard.require: ", "frozen.alarm"), "require ="),
    (FIRST, '"frozne.alarm == 0"', ("guard.require: ", "'frozne.alarm'"), "require ="),
    (FIRST, '"LIC1.PV > 20 [degC]"', ("guard.require: ", "'%'", "'degC'"), "require ="),
    (FIRST, '""', ("guard.require: ",), "require ="),
    # rules of the guard
    *((KPI_HEAD, f"{RULE}{text}\n{KPI_HEAD}", parts, anchor) for text, parts, anchor in RULES),
    # a policy's own gates, how long signatures and competence are good
    *((KPI_HEAD, f"{OWN.format(text)}{KPI_HEAD}", parts, anchor) for text, parts, anchor in GATES),
    (SHADOW, f'[ladder]\nsigned_for = "soon"\n{SHADOW}', ("ladder.signed_for: ", "'soon'"), "signed_for ="),
    (SHADOW, f'[ladder]\nsigned_for = "29 s"\n{SHADOW}', ("ladder.signed_for: ", "30 s"), "signed_for ="),
    (SHADOW, f'[ladder]\nsigned_for = "0 h"\n{SHADOW}', ("ladder.signed_for: ", "'0 h'"), "signed_for ="),
    (SHADOW, f"[ladder]\nsigned_for = 30\n{SHADOW}", ("ladder.signed_for: ",), "signed_for ="),
    (SHADOW, f'[ladder]\nsigned = "1 h"\n{SHADOW}', ("ladder.signed: ", "'signed_for'"), "signed ="),
    *(
        ("[kpi]", f"{PERSON.format('kim')}until = {day}\n[kpi]", ("people.person[0].until: ",), "until =")
        for day in ('"soon"', "2026", "true", '"2026-02-30"', '"31.03.2026"')
    ),
    # names
    ("[guard]", f"{POLICY.format('preheat')}\n[guard]", ("policy[1].name: ", "'preheat'"), f'name = "preheat"\n{WRITES}'),
    ("[guard]", f"{POLICY.format('a') + POLICY.format('b') * 2}[guard]", ("policy[2].name: ", "'b'"), TWICE),
    ("[guard]", f"{POLICY.format('fallback')}\n[guard]", ("policy[0].name: ", "'fallback'"), 'name = "fallback"'),
    ("[guard]", f"{MODEL.format('frozen', 'y')}[guard]", ("model[1]: ", "'frozen'"), MODEL.format("frozen", "y")),
    ("[guard]", f"{MODEL.format('f', 'TI3.PV')}[guard]", ("model[1]: ", "TI3.PV"), MODEL.format("f", "TI3.PV")),
    ("[kpi]", f"{PERSON.format('kim') * 2}[kpi]", ("people.person[0].name: ", "'kim'"), 'name = "kim"'),
    ("[kpi]", f"{PERSON.format(SIMULATED)}[kpi]", ("people.person[0].name: ", f"'{SIMULATED}'"), 'name = "simulated'),
    ("[kpi]", f"{PERSON.format('kim')}key = \"abc\"\n[kpi]", ("people.person[0].key: ", "64"), "key ="),
    ("[kpi]", f"{PERSON.format('kim')}key = \"{'zz' * 32}\"\n[kpi]", ("people.person[0].key: ", "64"), "key ="),
    ("[kpi]", f"{PERSON.format('kim').replace('engineer', 'boss')}[kpi]", ("people.person[0].roles[0]: ", "'boss'"), "roles ="),
]  # fmt: skip

RECORDED = '[project]\nname = "r"\n[run]\nperiod = "1 min"\n[plant]\nkind = "files"\npath = "data.csv"\n'
ROWS = "time,A,B\n2026-01-01T00:00:00,1,2\n2026-01-01T00:01:00,2,3\n"
SEAT = '[[policy]]\nname = "p"\nkind = "setpoint"\nwrites = ["A"]\ntarget = { A = 5.0 }\nper_hour = { A = 1.0 }\n'
KOREAN = ROWS.replace("A", "온도")
DESCRIBED = '[[plant.tag]]\nname = "{}"\n'

# of a recorded plant: old text, new text, rows of data.csv (None: there is no such file), what the line holds, where it points
WRONG_RECORDED: list[tuple[str, str, str | bytes | None, tuple[str, ...], str | None]] = [
    ("data.csv", "data.csv", None, ("plant.path: ", "data.csv"), "path ="),
    ("data.csv", "data.json", ROWS, ("plant.path: ", "'.json'", ".parquet"), "path ="),
    ("data.csv", "data.csv", "", ("plant.path: ", "data.csv"), "path ="),
    ("data.csv", "data.csv", "time,A\n", ("plant.path: ", "data.csv"), "path ="),
    ("data.csv", "data.csv", "time,A\n2026-01-01T00:00:00,1,2\n", ("plant.path: ", "data.csv"), "path ="),
    ("data.csv", "data.csv", ROWS.replace("time", "when"), ("plant.path: ", "'time'", "when, A, B"), "path ="),
    ("data.csv", "data.csv", "time,A\nyesterday,1\n", ("plant.path: ", "'time'", "yesterday"), "path ="),
    ("data.csv", "data.csv", "time,A\n17,1\n", ("plant.path: ", "'time'", "17"), "path ="),
    ('.csv"\n', '.csv"\ntime = "t"\n', ROWS, ("plant.path: ", "'t'", "time, A, B"), "path ="),
    ('.csv"\n', '.csv"\ntimezone = "Mars/Phobos"\n', ROWS, ("plant.path: ", "'Mars/Phobos'"), "path ="),
    ('.csv"\n', '.csv"\ntimezone = "../x"\n', ROWS, ("plant.path: ", "'../x'"), "path ="),
    ('.csv"\n', '.csv"\nencoding = "nope"\n', ROWS, ("plant.path: ", "nope"), "path ="),
    ('.csv"\n', '.csv"\nsheets = "1"\n', ROWS, ("plant.sheets: ", "'sheet'"), "sheets ="),
    ('.csv"\n', f'.csv"\n{DESCRIBED.format("Z")}', ROWS, ("plant.path: ", "'Z'", "time, A, B"), "path ="),
    ('.csv"\n', f'.csv"\n{DESCRIBED.format("A")}kind = "thing"\n', ROWS, ("plant.tag[0].kind: ", "'thing'"), "kind = \"thing\""),
    ('.csv"\n', f'.csv"\n{DESCRIBED.format("A")}lo = 3\n', ROWS, ("plant.tag[0].lo: ", "'low'"), "lo = 3"),
    ('.csv"\n', f'.csv"\n{SEAT}', ROWS, ("policy[0].writes: ", "'A'"), "writes ="),
    ('.csv"\n', f'.csv"\n{DESCRIBED.format("A")}writable = true\n{SEAT}', ROWS, ("policy[0].writes: ", "'A'", "low"), "writes ="),
    ('.csv"\n', '.csv"\n[ladder.confirm]\nticks = 3\n', ROWS, ("ladder.confirm: ",), "[ladder.confirm]"),
    ('.csv"\n', '.csv"\nfile_tag = "A"\n', ROWS, ("plant.path: ", "'A'", "file_tag"), "path ="),
    ('.csv"\n', '.csv"\nconstant = { B = 1.0 }\n', ROWS, ("plant.path: ", "'B'", "constant"), "path ="),
    ("data.csv", "dat*.xml", ROWS, ("plant.path: ", "dat*.xml"), "path ="),
    ("data.csv", "$JAYUL_DATA/data.csv", ROWS, ("plant.path: ", "--data", "JAYUL_DATA"), "path ="),
    ('period = "1 min"\n', 'period = "1 min"\ncommit = "group"\n', ROWS, ("run.commit: ", "'group'", "'tick'"), "commit ="),
    ('kind = "files"\npath = "data.csv"', 'kind = "remote"\nsocket = "none.sock"', ROWS, ("plant.socket: ", "none.sock"), "socket ="),
    ('.csv"\n', '.csv"\nexclude = ["A", "label"]\n', ROWS, ("plant.path: ", "'label'", "time, A, B"), "path ="),
    ("data.csv", "data.csv", ROWS.replace("A,B", "A,A"), ("plant.path: ", "'A'"), "path ="),
    ("data.csv", "data.csv", ROWS.replace("A,B", "time,B"), ("plant.path: ", "'time'"), "path ="),
    ("data.csv", "data.csv", KOREAN.encode("cp949"), ("plant.path: ", "'utf-8'", "'encoding'", "cp949"), "path ="),
    ('.csv"\n', '.csv"\nencoding = "cp949"\n', KOREAN.encode(), ("plant.path: ", "'cp949'", "'encoding'"), "path ="),
    ('.csv"\n', '.csv"\nencoding = "utf-16"\n', ROWS, ("plant.path: ", "UTF-16"), "path ="),
    ('.csv"\n', '.csv"\nencoding = "a\\u0000"\n', ROWS, ("plant.path: ", "data.csv"), "path ="),
    ("data.csv", "data.csv", f"{ROWS},7,8\n", ("plant.path: ", "'time'", "1"), "path ="),
    ('.csv"\n', '.csv"\ndelimiter = ""\n', ROWS, ("plant.delimiter: ", "'delimiter'"), "delimiter ="),
    ('.csv"\n', '.csv"\ndelimiter = "::"\n', ROWS, ("plant.delimiter: ", "'delimiter'"), "delimiter ="),
    ('.csv"\n', '.csv"\ndelimiter = "\\n"\n', ROWS, ("plant.delimiter: ", "'delimiter'"), "delimiter ="),
    ('.csv"\n', ".csv\"\ndelimiter = '\"'\n", ROWS, ("plant.delimiter: ", "'delimiter'"), "delimiter ="),
    ('.csv"\n', '.csv"\ndelimiter = "한"\n', ROWS, ("plant.path: ", "ASCII"), "path ="),
    *(
        ('.csv"\n', f'.csv"\n{DESCRIBED.format("A")}{more}\n', ROWS, ("plant: ", "'A'", what), "[plant]")
        for more, what in (
            ("stale_after = 0.0", "stale_after"), ("stale_after = -60.0", "stale_after"), ("stale_after = nan", "stale_after"),
            ("stale_after = inf", "stale_after"), ("stale_after = 1.1e9", "stale_after"), ("low = 3.0\nhigh = 2.0", "low"),
            ("low = 2.0\nhigh = 2.0", "low"), ("low = nan\nhigh = 2.0", "low"), (DESCRIBED.format("A"), "'A'"),
        )
    ),
]  # fmt: skip


INSTALLED = functools.cache(entry_points)  # to look through all that is installed takes half the time of a check


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAYUL_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("JAYUL_LANG", "en")
    monkeypatch.setattr(kinds, "entry_points", INSTALLED)
    yield
    texts.setup("en")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Run a command that must be refused; return its one line and what stands on stdout."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert end.value.code == 2, err
    assert err.startswith("jayul: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in err
    return err, out


def change(text: str, old: str, new: str) -> str:
    if old == WHOLE:
        return new
    assert text.count(old) == 1, f"{old!r} does not stand exactly once"
    return text.replace(old, new)


def says(err: str, text: str, parts: tuple[str, ...], anchor: str | None) -> None:
    """Hold the line against what it must contain and the line number that it must point to."""
    for part in parts:
        assert part in err
    assert "jayul.toml" in err
    if anchor is not None:
        assert f"jayul.toml:{text[: text.index(anchor)].count(chr(10)) + 1}: " in err


def write(folder: Path, text: str, rows: str | bytes | None = None) -> Path:
    (folder / "jayul.toml").write_text(text, encoding="utf-8")
    if rows is not None:
        for name in ("data.csv", "data.json"):
            (folder / name).write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return folder


def three_ways(capsys: pytest.CaptureFixture[str], folder: Path, text: str, parts: tuple[str, ...], anchor: str | None) -> None:
    """Check in English, in Korean and with --json."""
    for language in ("en", "ko"):
        err, out = refused(capsys, "--lang", language, "check", folder)
        assert not out
        says(err, text, parts, anchor)
    err, out = refused(capsys, "check", folder, "--json")
    found = json.loads(out.splitlines()[-1])
    assert found["exit_code"] == 2
    assert " ".join(found["error"].split()) in err


def test_the_templates_are_sound_before_they_are_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for text in (TANK, RECORDED):
        with pytest.raises(SystemExit) as end:
            main(["check", str(write(tmp_path, text, ROWS))])
        assert end.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize(("old", "new", "parts", "anchor"), WRONG, ids=[" ".join(row[2]) for row in WRONG])
def test_a_wrong_manifest(old, new, parts, anchor, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = change(TANK, old, new)
    three_ways(capsys, write(tmp_path, text), text, parts, anchor)


@pytest.mark.parametrize(
    ("old", "new", "rows", "parts", "anchor"), WRONG_RECORDED, ids=[" ".join(row[3]) for row in WRONG_RECORDED]
)
def test_a_wrong_manifest_of_a_recorded_plant(
    old, new, rows, parts, anchor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = change(RECORDED, old, new)
    three_ways(capsys, write(tmp_path, text, rows), text, parts, anchor)


@pytest.mark.parametrize("data", [bytes(range(256)), b'[project]\nname = "\xff\xfe"\n', "이름".encode("cp949"), b"\0\0"])
def test_a_manifest_that_is_no_text(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "jayul.toml").write_bytes(data)
    three_ways(capsys, tmp_path, "", ("jayul.toml",), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a project, a run of seed 0 in `run`, and things that are in the way."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(folder / "keys"))
        for command in (["init", "tank", folder / "p"], ["run", folder / "p", "--out", folder / "run", "--ticks", "4"]):
            with pytest.raises(SystemExit) as end:
                main([str(part) for part in command])
            assert end.value.code == 0
    (folder / "file").write_text("x")
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "thesis.doc").write_text("x")
    (folder / "other").mkdir()
    (folder / "other" / "jayul.toml").write_text(TANK.replace("pairs = 5", "pairs = 4"), encoding="utf-8")
    (folder / "binary.key").write_bytes(b"\xff\xfe")
    for name, text in (("short.key", "ab" * 31), ("long.key", "ab" * 33), ("odd.key", "zz" * 32), ("empty.key", "")):
        (folder / name).write_text(text)
    return folder


MISTAKES: list[tuple[str, str]] = [
    ("checks HERE/p", "'checks'"), ("check", "PROJECT"), ("check HERE/p --nope", "--nope"), ("check HERE/p extra", "extra"),
    ("--nope", "--nope"), ("run", "PROJECT"), ("run HERE/p --seed x", "--seed"),
    ("run HERE/p --seed -1", "--seed"), ("run HERE/p --seed 1.5", "--seed"), ("run HERE/p --ticks 0", "--ticks"),
    ("run HERE/p --ticks", "--ticks"), ("run HERE/p --ack-fd x", "--ack-fd"), ("--lang fr check HERE/p", "'fr'"),
    ("check HERE/nowhere", "nowhere: "), ("check HERE/empty", "empty/jayul.toml: "), ("check HERE/file", "file"),
    ("run HERE/nowhere", "nowhere: "), ("run HERE/p --out HERE/full", "full: "), ("run HERE/p --out HERE/file", "file: "),
    ("run HERE/p --out HERE/run --seed 3", "--seed 0"), ("run HERE/other --out HERE/run", "run: "),
    ("run HERE/p --out HERE/none --ack-fd 987", "--ack-fd 987"), ("run HERE/p --out HERE/none --ack-fd -1", "--ack-fd -1"),
    ("verify HERE/p", "p: "), ("verify HERE/nowhere", "nowhere: "), ("verify HERE/file", "file: "), ("verify", "RUN"),
    ("replay HERE/p", "p: "), ("replay HERE/nowhere", "nowhere: "), ("replay HERE/run --ful", "--ful"), ("status HERE/p", "p: "),
    ("status HERE/nowhere", "nowhere: "), ("sign HERE/p x:shadow --by kim", "p: "), ("sign", "--new-key"),
    ("sign HERE/run preheat:shadow", "--by"), ("sign HERE/run preheat:auto --by kim", "'preheat:auto'"),
    ("sign HERE/run --demote nobody --by kim", "'nobody'"), ("sign --new-key ../kim", "--new-key"),
    ("verify HERE/run --head x", "'x'"), ("verify HERE/run --head 1:zz", "'1:zz'"), ("verify HERE/run --head {}", "--head"),
    ("verify HERE/run --key HERE/none.key", "none.key: "), ("verify HERE/run --key HERE/binary.key", "binary.key: "),
    ("verify HERE/run --key HERE/empty", "empty: "), ("init tank HERE/p", "p/jayul.toml: "), ("init tank HERE/file", "file: "),
    ("init tnak HERE/new", "tnak: "), ("init tank", "folder"), ("demo boiler", "boiler: "),
    (f"run HERE/p --seed {2**62 + 1}", "--seed"), (f"demo tank --seed {2**62 + 1}", "--seed"),
    ("run HERE/p --out HERE/file/x", "file/x: "), ("run HERE/p --out HERE/file/x/y", "file/x/y: "),
    ("verify HERE/run --key HERE/file", "file: "), ("verify HERE/run --key HERE/short.key", "short.key: "),
    ("verify HERE/run --key HERE/long.key", "long.key: "), ("verify HERE/run --key HERE/odd.key", "odd.key: "),
    ("verify HERE/run --key HERE/empty.key", "empty.key: "), ("verify HERE/run --key HERE/p/jayul.toml", "p/jayul.toml: "),
]  # fmt: skip


@pytest.mark.parametrize(("command", "part"), MISTAKES)
def test_a_mistake_on_the_command_line(command: str, part: str, place: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [word.replace("HERE", str(place)) for word in command.split()]
    before = sorted(place.iterdir())
    capsys.readouterr()
    for more in ([], ["--json"]):
        err, out = refused(capsys, *arguments, *more)
        assert part in err
        assert [json.loads(line)["exit_code"] for line in out.splitlines()] == [2 for _ in more]
    refused(capsys, *(() if command.startswith("--lang") else ("--lang", "ko")), *arguments)
    assert [path for path in sorted(place.iterdir()) if path not in before] in ([], [place / "none"])


@pytest.mark.parametrize(
    ("folder", "more"), [("run", ["--seed", "9"]), ("full", []), ("full", ["--seed", "9"]), ("p", []), ("other", [])]
)
def test_a_refused_run_leaves_what_was_there(folder: str, more: list[str], place: Path, capsys: pytest.CaptureFixture[str]):
    def there() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in sorted((place / folder).rglob("*"))}

    before = there()
    assert before
    refused(capsys, "run", place / "p", "--out", place / folder, *more)
    assert there() == before
