"""The READMEs, the tutorials and the how-tos do what they say: every block is run, every line that is shown is printed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from blocks import ROOT, code, run, steps

READMES = ["README.md", "README.ko.md"]
PAGES = [
    *READMES,
    *sorted(str(path.relative_to(ROOT)) for kind in ("tutorial", "how-to") for path in (ROOT / "docs").rglob(f"{kind}/*.md")),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str]]]:
    """Run all pages side by side, each in a folder of its own; pages with the same commands (the READMEs) are run once."""
    running: dict[str, Future[str]] = {}
    with ThreadPoolExecutor(4) as pool:
        for page in PAGES:
            if (todo := repr(steps(ROOT / page))) not in running:
                running[todo] = pool.submit(run, ROOT / page, tmp_path_factory.mktemp(Path(page).stem))
        yield {page: running[repr(steps(ROOT / page))] for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs_and_prints_what_the_page_says(page: str, outcomes: dict[str, Future[str]]) -> None:
    assert steps(ROOT / page), "nothing is run here"
    assert not (wrong := outcomes[page].result()), wrong


def test_a_page_that_lies_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one two\none ...\nthree\n```\n")
    assert "does not print: three" in run(page, tmp_path)
    page.write_text("```bash\ntrue\nfalse\n```\n")
    assert "exit code 1" in run(page, tmp_path)


def test_both_readmes_have_the_same_code() -> None:
    assert code(ROOT / READMES[0]) == code(ROOT / READMES[1])


def test_the_readme_is_short() -> None:
    for name in READMES:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 150
