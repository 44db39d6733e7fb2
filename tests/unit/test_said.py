"""What lower rooms say when they refuse has a template, so that it can be translated."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jayul.project.said import TEMPLATES, spoken, template_of

SOURCE = Path(__file__).parents[2] / "src" / "jayul"
ROOMS = (
    "packs", "record/contract.py", "plant/files.py", "plant/sim", "learn", "rules", "decide", "core/expr.py",
    "plant/table.py", "plant/recognise.py", "plant/link.py", "plant/remote.py", "plant/opcua", "plant/modbus", "plant/mqtt", "plant/imports",
    "gateway/envelope.py", "gateway/judge.py", "gateway/process.py", "conform/plants.py", "conform/benches.py", "conform/local.py",
)  # fmt: skip
WIRE = ("plant/", "gateway/", "conform/")  # of these only what a person is told; the rest is caught within the room
TOLD = ("Refused", "Unreachable", "ValueError")
WITHIN = ("plant/mqtt/sparkplug.py", "plant/modbus/address.py:encode")  # ValueErrors that a reading or a receipt swallows


def messages() -> Iterator[str]:
    """Yield every constant message that is raised in a lower room, X where a value stands."""
    for room in ROOMS:
        for path in [SOURCE / room] if room.endswith(".py") else sorted((SOURCE / room).rglob("*.py")):
            tree, name = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(SOURCE).as_posix()
            inside = {id(n) for f in tree.body if f"{name}:{getattr(f, 'name', '')}" in WITHIN for n in ast.walk(f)}
            for node in ast.walk(tree):
                if name not in WITHIN and id(node) not in inside:
                    yield from message(node, name)


def message(node: ast.AST, file: str) -> Iterator[str]:
    """Yield the message of a node, if it raises one that a person reads."""
    if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
        return
    error, first = ast.unparse(node.exc.func), node.exc.args[0]
    if file.startswith(WIRE) and file not in ("plant/files.py",) and "/sim/" not in file and error not in TOLD:
        return
    if isinstance(first, ast.Constant):
        text = str(first.value)
    elif isinstance(first, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else value(part, file) for part in first.values)
    else:
        return
    yield f"{text}: X" if error.endswith("_fail") else text


def value(part: ast.expr, file: str) -> str:
    """Return X for a value in a message, or the text of the room's own constant."""
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id.isupper():
        module = importlib.import_module("jayul." + file.removesuffix(".py").replace("/", "."))
        return str(getattr(module, part.value.id))
    return "X"


@pytest.mark.parametrize("text", sorted(set(messages())))
def test_every_message_has_a_template(text: str) -> None:
    template, params = template_of(text)
    assert template in TEMPLATES
    assert template.format(**params) == text


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_knows_its_own_message(template: str) -> None:
    text = template.format(
        **dict.fromkeys(
            (
                "path",
                "name",
                "known",
                "kind",
                "encoding",
                "error",
                "count",
                "row",
                "text",
                "guess",
                "form",
                "near",
                "a",
                "b",
                "what",
                "key",
                "tag",
                "unit",
                "other",
                "others",
                "least",
                "low",
                "gap",
                "have",
                "need",
                "high",
                "hours",
                "until",
                "since",
                "day",
                "where",
                "number",
                "wanted",
                "url",
                "size",
                "written",
                "first",
                "last",
                "value",
                "most",
                "step",
                "window",
                "time",
                "person",
                "people",
                "plan",
            ),
            "7",
        )
    )
    found, params = template_of(text)
    assert found.format(**params) == text
    assert found == template


OTHERS = {"no range", "no step limit", "'7' is 7"}  # `writable` speaks before; and too general a form to be known again


def reasons() -> Iterator[str]:
    """Yield every reason that a rule gives for a refusal, 7 where a value stands."""
    for path in sorted((SOURCE / "rules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "refuse":
                text = node.args[2]
                if isinstance(text, ast.Constant):
                    yield str(text.value)
                elif isinstance(text, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in text.values)


@pytest.mark.parametrize("text", sorted(set(reasons()) - OTHERS))
def test_every_reason_of_a_rule_has_a_template(text: str) -> None:
    assert template_of(text)[0] != "{text}"


def test_a_message_without_a_template_is_shown_as_it_is() -> None:
    for text in ("something new", "something new, line 3 of it"):
        assert template_of(text) == ("{text}", {"text": text})


def test_a_message_within_a_message_is_translated_too() -> None:
    text = "options of the plant 'opcua': 'user' and 'password_file' go together"
    said = spoken(
        *template_of(text), lambda template: template.upper().replace("{KIND}", "{kind}").replace("{ERROR}", "{error}")
    )
    assert said == "OPTIONS OF THE PLANT 'opcua': 'USER' AND 'PASSWORD_FILE' GO TOGETHER"
