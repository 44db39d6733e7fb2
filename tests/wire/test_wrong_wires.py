"""Wrong tables, URLs and keys of a plant on a wire: one line in the reader's language, with its exit code, never a traceback."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path

import pytest

from jayul.app import texts
from jayul.app.cli import main
from jayul.conform.crash import make_project

OPCUA, MODBUS, MQTT = "opcua://127.0.0.1:{port}", "modbus://127.0.0.1:{port}", "mqtt://127.0.0.1:{port}"
RUN, PLANT = (
    "run {line} --out {out} --ticks 1",
    '[plant]\nkind = "opcua"\nurl = "opcua://127.0.0.1:9"\ntags = "tags.opcua.csv"\n',
)
SECURE = PLANT + 'security = "Basic256Sha256/SignAndEncrypt"\n'
WRONG: dict[str, tuple[str, int, str, str]] = {
    "no table": (f"{RUN} --plant {OPCUA} --tags none.csv", 2, "no tag table can be read here", "none.csv' 파일이나 폴더가 없습니다"),
    "empty table": (f"{RUN} --plant {OPCUA} --tags empty.csv", 2, "holds no tag", "태그가 하나도 없습니다"),
    "column": (f"{RUN} --plant {OPCUA} --tags column.csv", 2, "line 1: unknown column 'place'", "1행: 모르는 열 'place'"),
    "number": (f"{RUN} --plant {OPCUA} --tags number.csv", 2, "line 2: 'low' is 'cold'; write a number", "2행: 'low'이(가) 'cold'입니다. 숫자(으)로 쓰십시오"),
    "address": (f"{RUN} --plant {OPCUA} --tags opcua.csv", 2, "'TIC1' is no OPC UA address", "'TIC1'은(는) OPC UA 주소가 아닙니다"),
    "index": (f"{RUN} --plant {OPCUA} --tags index.csv", 2, "name its URI: nsu=<uri>;s=A", "URI로 적으십시오: nsu=<uri>;s=A"),
    "register": (f"{RUN} --plant {MODBUS} --tags modbus.csv", 2, "'address': 'at' is no area", "'address': 'at'은(는) area 값이 아닙니다"),
    "topic": (f"{RUN} --plant {MQTT} --tags mqtt.csv", 2, "must begin with a topic", "토픽으로 시작해야 합니다"),
    "scheme": (f"{RUN} --plant http://x", 2, "'http://x' is no plant", "'http://x'은(는) 플랜트가 아닙니다"),
    "speed": ("run {line} --out {out} --speed 5", 2, "goes with --plant only", "--plant와 함께만 씁니다"),
    "no opcua": (f"{RUN} --plant {OPCUA}", 2, "no OPC UA server answers at", "응답하는 OPC UA 서버가 없습니다: 연결이 거부되거나"),
    "no modbus": (f"{RUN} --plant {MODBUS} --speed 9", 2, "no Modbus device answers at", "응답하는 Modbus 장치가 없습니다: 연결이 거부되거나"),
    "no broker": (f"{RUN} --plant {MQTT}", 2, "no broker answers at", "응답하는 브로커가 없습니다: 연결이 거부되었습니다"),
    "port": (f"{RUN} --plant modbus://", 2, "write modbus://HOST:PORT", "modbus://HOST:PORT처럼 쓰십시오"),
    "files of security": ("check {secure}", 2, "'certificate', 'private_key' and", "'server_certificate'가 필요합니다"),
    "security": ("check {typo}", 2, "'security' must be one of None,", "'security'는 다음 중 하나여야 합니다: None,"),
    "browse nobody": (f"browse {OPCUA} --out {{out}}", 1, "cannot be browsed", "둘러볼 수 없습니다: 연결이 거부되거나"),
    "browse modbus": ("browse modbus://x --out {out}", 2, "is no address of an OPC UA server", "OPC UA 서버 주소가 아닙니다"),
    "conform kind": ("conform nope", 2, "'nope' is no kind of plant", "'nope'은(는) 플랜트 종류가 아닙니다"),
    "conform url": (f"conform {OPCUA}", 2, "needs a tag table: --tags FILE", "태그 표가 필요합니다: --tags FILE"),
    "conform check": ("conform tank --only nope", 2, "there is no check 'nope'", "'nope' 검사는 없습니다"),
    "busy port": ("simulate {line} --modbus {busy}", 1, "no Modbus server can listen at", "Modbus 서버를 열 수 없습니다"),
}  # fmt: skip
TABLES = {
    "empty": "name,address\n", "column": "name,place\nA,a\n", "number": "name,address,low\nA,a,cold\n",
    "opcua": "name,address\nA,TIC1\n", "index": "name,address\nA,ns=2;s=A\n", "modbus": "name,address\nA,at 100\n",
    "mqtt": "name,address\nA,+/a\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its tag tables, wrong tables beside them, and two projects whose security is wrong."""
    folder = tmp_path_factory.mktemp("wrong")
    project = make_project(folder / "line", 2.0, "group")
    with pytest.raises(SystemExit):
        main(["simulate", str(project), "--tags", str(project)])
    for name, text in TABLES.items():
        (project / f"{name}.csv").write_text(text)
    whole = (project / "jayul.toml").read_text()
    for name, plant in (("secure", SECURE), ("typo", PLANT + 'security = "Best"\n')):
        other = shutil.copytree(project, folder / name)
        (other / "jayul.toml").write_text(re.sub(r"\[plant\]\n(?:[^\[\n].*\n|\n)*", lambda _, plant=plant: plant, whole))
    return project


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_is_wrong_is_one_line_in_the_readers_language(
    name: str, language: str, line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, code, english, korean = WRONG[name]
    monkeypatch.chdir(line)
    with socket.socket() as closed, socket.socket() as busy:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        places = {"line": line, "secure": line.parent / "secure", "typo": line.parent / "typo", "out": tmp_path / "out"}
        given = arguments.format(port=closed.getsockname()[1], busy=busy.getsockname()[1], **places)
        with pytest.raises(SystemExit) as end:
            main([*given.split(), "--lang", language])
    texts.setup("en")
    said = capsys.readouterr()
    assert end.value.code == code, said
    assert said.err.startswith("jayul: "), said
    assert said.err.count("\n") == 1
    assert (korean if language == "ko" else english) in said.err
    if language == "ko":
        assert english not in said.err
    assert not (tmp_path / "out").exists() or arguments.startswith("run")
