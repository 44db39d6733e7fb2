"""Print code lines by file (no blanks, comments, docstrings); `--check` holds the core to its budget."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "jayul"
CORE_LINES, FILE_LINES = 800, 500
_NOISE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


def code_lines(text: str) -> int:
    """Count the physical lines that hold code."""
    docs: set[int] = set()
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NOISE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docs)


def main() -> int:
    """Print the table, or say what is over budget."""
    sizes = {path.relative_to(SOURCE): code_lines(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    rooms: dict[str, int] = {}
    for path, size in sizes.items():
        rooms[path.parts[0]] = rooms.get(path.parts[0], 0) + size
    if "--check" not in sys.argv:
        for path, size in sizes.items():
            print(f"{size:6d}  {path}")
        print()
    for room, size in sorted(rooms.items(), key=lambda item: -item[1]):
        print(f"{size:6d}  {room}")
    print(f"{sum(sizes.values()):6d}  all; core has {rooms['core']} of at most {CORE_LINES}")
    over = [str(path) for path in sizes if len((SOURCE / path).read_text(encoding="utf-8").splitlines()) > FILE_LINES]
    for path in over:
        print(f"{path} is longer than {FILE_LINES} lines")
    return 1 if "--check" in sys.argv and (over or rooms["core"] > CORE_LINES) else 0


if __name__ == "__main__":
    sys.exit(main())
