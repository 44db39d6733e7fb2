"""Where a key path stands in TOML text, how a path is read and written, and which word was probably meant."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from jayul.project.problem import ManifestError, Problem, find_line, nearest, read_path, show_path

TEXT = """\
title = "x"          # line 1
"top key" = 2
a.b.c = 3
a . "d.e" = 4

[run]                # period = "not here"
period = "30 s"
# duration = "not here"
duration = "24 h"    # [plant]

[ spaced . 'q.r' ]
x = 12

[fallback."TIC1.SP"]
action = "ramp"
[fallback."TIC2.SP"]
action = "hold"

[[model]]
name = "one"
tags = [
  "x = 1",
  "[run]",
]
after = "5 min"

[[model]]
name = "two"
move = { target = { SP = 1.0 }, abort = [{ tag = "A" }, { tag = "B" }] }

[[people.person]]
name = "kim"
[[people.person]]
name = "lee"

[ladder.shadow]
ticks = 1
[ladder.auto]
ticks = 2
["온도"]
"값" = 40
[[tree]]
[tree.root]
depth = 1
[[tree]]
[[tree.leaf]]
size = 1
[[tree.leaf]]
size = 2
[tree.root]
depth = 2
"""

LINES = [
    (["title"], 1),
    (["top key"], 2),
    (["a", "b", "c"], 3),
    (["a", "d.e"], 4),
    (["run"], 6),
    (["run", "period"], 7),
    (["run", "duration"], 9),
    (["spaced", "q.r"], 11),
    (["spaced", "q.r", "x"], 12),
    (["fallback", "TIC1.SP"], 14),
    (["fallback", "TIC1.SP", "action"], 15),
    (["fallback", "TIC2.SP"], 16),
    (["fallback", "TIC2.SP", "action"], 17),
    (["model", 0], 19),
    (["model", 0, "name"], 20),
    (["model", 0, "tags"], 21),
    (["model", 0, "tags", 1], 21),
    (["model", 0, "after"], 25),
    (["model", 1], 27),
    (["model", 1, "name"], 28),
    (["model", 1, "move"], 29),
    (["model", 1, "move", "target", "SP"], 29),
    (["model", 1, "move", "abort", 1, "tag"], 29),
    (["people", "person", 0], 31),
    (["people", "person", 0, "name"], 32),
    (["people", "person", 1, "name"], 34),
    (["ladder", "shadow", "ticks"], 37),
    (["ladder", "auto", "ticks"], 39),
    (["온도", "값"], 41),
    (["tree", 0, "root", "depth"], 44),
    (["tree", 1], 45),
    (["tree", 1, "leaf", 0, "size"], 47),
    (["tree", 1, "leaf", 1, "size"], 49),
    (["tree", 1, "root", "depth"], 51),
    # a key that is missing: the line of the table that lacks it
    (["run", "commit"], 6),
    (["fallback", "TIC2.SP", "per_hour"], 16),
    (["model", 1, "after"], 27),
    (["people", "person", 1, "roles"], 33),
    (["ladder", "auto", "gate", "share"], 38),
    (["tree", 1, "leaf", 1, "colour"], 48),
    # nothing of it stands there
    (["nowhere"], 0),
    (["model", 7, "name"], 0),
    (["people", "person", 2, "name"], 0),
    ([], 0),
]


def test_the_text_is_toml_and_every_full_path_leads_to_something():
    raw = tomllib.loads(TEXT)
    for path, line in LINES[: LINES.index((["run", "commit"], 6))]:
        here = raw
        for part in path:
            here = here[part]
        assert line


@pytest.mark.parametrize(("path", "line"), LINES, ids=lambda value: show_path(value) if isinstance(value, list) else str(value))
def test_find_line(path: list[str | int], line: int):
    assert find_line(TEXT, path) == line


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_find_line_with_either_end_of_line(ending: str):
    assert find_line(TEXT.replace("\n", ending), ["model", 1, "name"]) == 28


def test_find_line_of_nothing():
    assert find_line("", ["run"]) == 0
    assert find_line("# [run]\n# period = 1\n", ["run", "period"]) == 0


def test_find_line_takes_the_first_of_two():
    assert find_line("[a]\nx = 1\n[b]\nx = 2\n[a]\nx = 3\n", ["a", "x"]) == 2


# text, path, line: what only looks like TOML, or is written in another way
ODD: list[Any] = [
    # lists over several lines
    ('x = [\n"y = 1",\n"[t]",\n]\ny = 2\n', ["y"], 5),
    ("[s]\nx = [\n[2]\n]\ny = 2\n", ["s", "y"], 5),
    ("x = [[\n1],\n[2],\n]\ny = 3\n", ["y"], 5),
    ("x = [\n[\n1\n]\n]\n[t]\ny = 2\n", ["t", "y"], 7),
    ("[s]\nx = [\n[2],\n[3]]\ny = 2\n", ["s", "y"], 5),
    ("x = [ # ]\n1, # [\n]\ny = 2\n", ["y"], 4),
    ('x = ["]", "\\"]", \']\',\n1]\ny = 2\n', ["y"], 3),
    ("x = [{ y = 1 },\n{ y = 2 },\n]\ny = 3\n", ["y"], 4),
    ("x = [ # don't\n1]\ny = 3 # isn't\nz = 4\n", ["z"], 4),
    # strings on one line that hold quotes, brackets and signs
    ('x = "["\ny = 1\n', ["y"], 2),
    ('x = "\\"["\ny = 1\n', ["y"], 2),
    ('x = "a\\\\"\ny = 1\n', ["y"], 2),
    ('x = ""\ny = \'\'\nz = "#"\nw = 1\n', ["w"], 4),
    ("x = \"it's\"\ny = 'say \"'\nz = 1\n", ["z"], 3),
    ('x = """["""\ny = """a "b" c"""\nz = 1\n', ["z"], 3),
    ("x = '''['''\ny = 1\n", ["y"], 2),
    # strings over several lines
    ('x = """a\nb"""\ny = 1\n', ["y"], 3),
    ('x = """\n[t]\ny = 1\n"""\n[t]\ny = 2\n', ["t", "y"], 6),
    ("x = '''\n[t]\ny = 1\n'''\n[t]\ny = 2\n", ["t", "y"], 6),
    ('x = """a\ny = 1\n"""\ny = 2\n', ["y"], 4),
    ('x = """\r\n[t]\r\n"""\r\ny = 1\r\n', ["y"], 4),
    ('x = ["""\n]\ny = 1\n""", 2]\ny = 3\n', ["y"], 5),
    ('x = """\nsay "hi" and don\'t\n[t]\n"""\ny = 1\n', ["y"], 5),
    ("x = '''it's'''\ny = 1\n", ["y"], 2),
    ('x = """it\'s""" # it\'s\ny = 1\n', ["y"], 2),
    ('x = """a\\"""b"""\ny = 1\n', ["y"], 2),
    # names with quotes, signs and brackets
    ('["a\\"b"]\nx = 1\n', ['a"b', "x"], 2),
    ('[t]\n"a\\"b" = 1\n', ["t", 'a"b'], 2),
    ('"a\\\\" = 1\n"b" = 2\n', ["a\\"], 1),
    ('x = 1\n"a\\" = 3 \\"" = 1\n', ['a" = 3 "'], 2),
    ("['a\\b']\nx = 1\n", ["a\\b", "x"], 2),
    ('[t]\nx."a\\"b" = 1\n', ["t", "x", 'a"b'], 2),
    ('[fallback."A[1]"]\naction = "x"\n', ["fallback", "A[1]", "action"], 2),
    ('[t]\nx = 1\n[u."A[1]"]\ny = 2\n', ["t", "y"], 1),
    # signs that end a line elsewhere, but not in TOML
    *((f'x = "a{sign}b"\ny = 1\n', ["y"], 2) for sign in "\u2028\u2029\x85"),
    *((f"# a{sign}b\ny = 1\n", ["y"], 2) for sign in "\u2028\u2029\x85"),
]


@pytest.mark.parametrize(("text", "path", "line"), ODD)
def test_find_line_in_odd_texts(text: str, path: list[str | int], line: int):
    tomllib.loads(text)
    assert find_line(text, path) == line


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("$", []),
        ("$.run", ["run"]),
        ("$.policy[0].writes", ["policy", 0, "writes"]),
        ("$.fault[12].after", ["fault", 12, "after"]),
        ("$[3]", [3]),
        ("$[1][2].a", [1, 2, "a"]),
        ("$.a-b.c_d", ["a-b", "c_d"]),
        ("", []),
    ],
)
def test_read_path(text: str, path: list[str | int]):
    assert read_path(text) == path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([], ""),
        (["run"], "run"),
        (["policy", 0, "writes"], "policy[0].writes"),
        (["people", "person", 1], "people.person[1]"),
        (["a", 0, 1, "b"], "a[0][1].b"),
        (["fallback", "TIC1.SP"], "fallback.TIC1.SP"),
    ],
)
def test_show_path(path: list[str | int], text: str):
    assert show_path(path) == text
    if not any("." in str(part) for part in path):
        assert read_path("$" + ("." if text else "") + text) == path


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("perod", ["period", "duration"], "period"),
        ("TIC1.PB", ["TIC1.PV", "LIC9.SP"], "TIC1.PV"),
        ("zzz", ["b", "a"], "a, b"),
        ("", ["b", "a"], "a, b"),
        ("zzz", [], ""),
        ("zzz", [f"k{i:02}" for i in range(12)], ", ".join(f"k{i:02}" for i in range(12))),
        ("zzz", [f"k{i:02}" for i in range(13)], ", ".join(f"k{i:02}" for i in range(12)) + ", ..."),
    ],
)
def test_nearest(word: str, known: list[str], meant: str):
    assert nearest(word, known) == meant
    assert nearest(word, iter(reversed(known))) == meant


@pytest.mark.parametrize(
    ("key", "line", "where"),
    [("run.period", 7, "f.toml:7: run.period: "), ("run", 0, "f.toml: run: "), ("", 3, "f.toml:3: "), ("", 0, "f.toml: ")],
)
def test_a_problem_says_where_and_what(key: str, line: int, where: str):
    problem = Problem("f.toml", key, line, "'{key}' has {what}", {"key": "{k}", "what": "braces"})
    assert problem.where == where
    assert str(problem) == str(ManifestError(problem)) == where + "'{k}' has braces"
