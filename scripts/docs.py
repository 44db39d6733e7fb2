"""Write the reference pages that are made from the code (manifest schema); `--check` fails if they are not current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jayul.project.schema import manifest_schema

ROOT = Path(__file__).parents[1]


def pages() -> dict[Path, str]:
    """Return each generated file and its text."""
    schema = json.dumps(manifest_schema(), indent=1, ensure_ascii=False) + "\n"
    return {ROOT / "docs" / "reference" / "manifest.schema.json": schema}


def main() -> int:
    """Write, or compare."""
    stale = 0
    for path, text in pages().items():
        if "--check" in sys.argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                print(f"{path.relative_to(ROOT)} is not current; run: make docs")
                stale = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
