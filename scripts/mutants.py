"""Hold what `mutmut run` left alive against the list of mutants that nothing can show; fail if the two differ.

A line of the list is `function: line => line of the mutant`. `--write` writes the list anew: read it, and give the reason for
each line in docs/explanation/mutants.md.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import get_module_from_key, orig_function_and_class_names_from_key

LISTED = Path("tests") / "guard" / "equivalent.txt"


def line_of(name: str, path: Path) -> str:
    """Return how a mutant is known: by its function and by the lines that differ, whatever its number."""
    function, of = orig_function_and_class_names_from_key(name)
    diff = get_diff_for_mutant(name, path=path).splitlines()[2:]  # without the names of the files
    old, new = (" ".join(" ".join(line[1:] for line in diff if line[:1] == sign).split()) for sign in "-+")
    return f"{'.'.join(filter(None, (get_module_from_key(name), of, function)))}: {old} => {new}"


def main() -> int:
    """Count, compare, say what differs."""
    found, alive = Counter[str](), []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            found[status_by_exit_code[code]] += 1
            if status_by_exit_code[code] == "survived":
                alive.append(line_of(name, Path(path)))
    if "--write" in sys.argv:
        LISTED.write_text("".join(f"{line}\n" for line in sorted(alive)), encoding="utf-8")
    listed = LISTED.read_text(encoding="utf-8").splitlines()
    new, gone = Counter(alive) - Counter(listed), Counter(listed) - Counter(alive)
    for line in new.elements():
        print(f"survived, and not listed: {line}")
    for line in gone.elements():
        print(f"listed, and did not survive: {line}")
    others = {status: n for status, n in found.items() if status not in ("killed", "survived")}
    print(f"{found.total()} mutants: {found['killed']} killed, {len(alive)} survived, {len(listed)} listed", *others.items())
    return 1 if new or gone or others or not found else 0


if __name__ == "__main__":
    sys.exit(main())
