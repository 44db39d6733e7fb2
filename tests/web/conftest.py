"""A desk to test at: accounts of three roles, a run that waits for people, and a client for each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))

from desk_kit import BAD_NAME, PASSWORD, PEOPLE, project, sign_in

from jayul.app.web.accounts import Accounts
from jayul.app.web.server import Config, create
from jayul.project.claims import write
from jayul.project.proof import conclude
from jayul.project.run import Options, execute

EXAMPLE = Path(__file__).parents[2] / "examples" / "tank" / "jayul.toml"


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The key folder of all tests, for what is made once."""
    folder = tmp_path_factory.getbasetemp() / "keys"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def accounts(keys: Path) -> Accounts:
    made = Accounts(keys / "accounts.json")
    for name, role in PEOPLE.items():
        made.add(name, role, PASSWORD)
    return made


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory, accounts: Accounts) -> Path:
    """A folder with one run: 100 ticks are done, and a signature for shadow is awaited."""
    root = tmp_path_factory.mktemp("runs")
    execute(project(tmp_path_factory.mktemp("line"), accounts, name=BAD_NAME), root / "line", Options(ticks=100))
    return root


@pytest.fixture(scope="session")
def proven(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run that proves its saving, with its claim; give the folder of runs."""
    root = tmp_path_factory.mktemp("proven")
    text = EXAMPLE.read_text(encoding="utf-8").replace("pairs = 12", "pairs = 7").replace('"84 h"', '"53 h"')
    (root / "line").mkdir()
    (root / "line" / "jayul.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(keys))
        out = root / "runs" / "line"
        out.parent.mkdir()
        conclude(execute(root / "line", out, Options()), root / "line")
        write(out, None, lesson=BAD_NAME)
    return root / "runs"


@pytest.fixture
def client(roots: Path, accounts: Accounts) -> Iterator[Callable[..., TestClient]]:
    """Make a client, signed in as somebody or as nobody."""
    opened = []

    def make(name: str = "", **config: object) -> TestClient:
        app = create(Config((roots,), hosts=frozenset(("testserver",)), accounts=accounts.path, **config))
        here = TestClient(app, follow_redirects=False)
        opened.append(here)
        here.__enter__()
        if name:
            assert sign_in(here, name).status_code == 303
        return here

    yield make
    for one in opened:
        one.__exit__(None, None, None)
