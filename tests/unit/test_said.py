"""What lower rooms say when they refuse has a template, so that it can be translated."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from jayul.project.said import TEMPLATES, template_of

SOURCE = Path(__file__).parents[2] / "src" / "jayul"
ROOMS = ("packs", "plant/files.py", "plant/sim", "learn", "rules", "decide", "core/expr.py")


def messages() -> Iterator[str]:
    """Yield every constant message that is raised in a lower room, X where a value stands."""
    for room in ROOMS:
        for path in [SOURCE / room] if room.endswith(".py") else (SOURCE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                    name, first = ast.unparse(node.exc.func), node.exc.args[0]
                    if isinstance(first, ast.Constant):
                        text = str(first.value)
                    elif isinstance(first, ast.JoinedStr):
                        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in first.values)
                    else:
                        continue
                    yield f"{text}: X" if name.endswith("_fail") else text


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
            ),
            "7",
        )
    )
    found, params = template_of(text)
    assert found.format(**params) == text
    assert found == template


def test_a_message_without_a_template_is_shown_as_it_is() -> None:
    assert template_of("something new") == ("{text}", {"text": "something new"})
