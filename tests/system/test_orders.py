"""What people order about a tag during a run, from the command line: limits, lock, clear, demote; and what the audit says of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from jayul.app import texts
from jayul.app.cli import main
from jayul.core.types import Decision, Event
from jayul.project.look import replay
from jayul.project.people import new_key
from jayul.project.run import Options, execute, ticks_of
from jayul.record.files import OsFiles
from jayul.record.inbox import SqliteInbox
from jayul.record.sign import Signer, new_id, signed

TAG = "TIC1.SP"
KIM, LEE = ("Kim", '["engineer", "operator"]'), ("Lee", '["operator"]')


class Plant:
    """A run that is brought forward a few ticks at a time, with Kim the engineer and Lee the operator."""

    def __init__(self, project: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.project, self.out, self.ticks, self._capsys = project, out, 0, capsys
        path = project / "jayul.toml"
        people = "".join(f'[[people.person]]\nname = "{n}"\nroles = {r}\nkey = "{new_key(n)}"\n' for n, r in (KIM, LEE))
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("simulated")]
        path.write_text("\n".join(lines).replace("[people]", people), encoding="utf-8")

    def on(self, more: int) -> list[Decision]:
        """Go on; return the decisions of these ticks."""
        self.ticks += more
        execute(self.project, self.out, Options(ticks=self.ticks, history=False))
        decisions = [tick.decision for tick in ticks_of(OsFiles(self.out / "journal"))]
        return decisions[-more:]

    def say(self, *arguments: object, code: int = 0) -> Any:
        """Run a command in this process; return the object on its last line."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments), "--json"])
        out, err = self._capsys.readouterr()
        assert end.value.code == code, err
        assert len(err.splitlines()) == (1 if code else 0), err
        return json.loads(out.splitlines()[-1])

    def confirm(self) -> None:
        """Climb to confirm and approve the move."""
        self.on(10)
        for level in ("shadow", "advise", "confirm"):
            self.say("sign", self.out, f"preheat:{level}", "--by", "Kim")
            self.on(10)
        plan = self.say("status", self.out)["asks"][0]["subject"]
        self.say("sign", self.out, f"preheat:{plan}", "--by", "Kim")

    def said(self, more: int) -> list[tuple[float | None, str]]:
        """Go on; return what the guard allowed for the tag at each tick, and why."""
        return [(v.allowed, v.rule) for d in self.on(more) for v in d.verdicts if v.proposal.tag == TAG]


@pytest.fixture
def line(small_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plant:
    monkeypatch.setenv("JAYUL_LANG", "en")
    texts.setup("en")
    return Plant(small_project, tmp_path / "out", capsys)


def test_limits_narrow_lock_stops_and_clear_frees(line: Plant) -> None:
    line.confirm()
    free = line.said(3)
    assert [rule for _, rule in free] == ["", "", ""]
    stood = free[-1][0]
    assert stood is not None
    line.say("limit", line.out, TAG, "--high", stood + 0.4, "--by", "Kim", "--reason", "=cleaning, heater 1")
    assert line.said(4) == [(stood + 0.25, ""), *[(stood + 0.4, "limit")] * 3]
    line.say("limit", line.out, TAG, "--lock", "--by", "Lee", "--reason", "work on the valve")
    assert line.said(3) == [(None, "lock")] * 3
    line.say("limit", line.out, TAG, "--clear", "--by", "Lee")
    assert line.said(1) == [(stood + 0.4, "limit")]
    line.say("limit", line.out, TAG, "--clear", "--by", "Kim")
    after = line.said(3)
    assert [rule for _, rule in after] == ["", "", ""]
    assert after[-1][0] == pytest.approx(stood + 0.4 + 0.75)
    assert not line.say("ladder", line.out)["orders"]
    for full in (False, True):
        assert replay(line.out, full=full).differing == 0


def test_the_ladder_shows_orders_in_force_and_the_audit_lists_all(line: Plant, tmp_path: Path) -> None:
    line.on(5)
    line.say("limit", line.out, TAG, "--low", 50, "--high", 60, "--by", "Kim", "--reason", "=1+1")
    line.say("limit", line.out, TAG, "--lock", "--by", "Lee", "--reason", "가열기 정비")
    line.on(2)
    orders = line.say("ladder", line.out)["orders"]
    assert [(o["by"] if isinstance(o, dict) else o[1]) for o in orders] == ["Kim", "Lee"]
    line.say("limit", line.out, TAG, "--clear", "--of", "Lee", "--by", "Kim")
    line.say("demote", line.out, "preheat", "--by", "Lee", "--reason", "shift change")
    line.on(2)
    assert len(line.say("ladder", line.out)["orders"]) == 1
    found = line.say("audit", line.out)
    rows = [(e["tick"], e["kind"], e["who"], e["subject"], e["what"], e["why"]) for e in found]
    assert rows == [
        (5, "limit", "Kim", TAG, "high 60.0, low 50.0", "=1+1"),
        (5, "limit", "Lee", TAG, "lock True", "가열기 정비"),
        (7, "limit", "Kim", TAG, "clear True, of Lee", ""),
        (7, "demotion", "Lee", "preheat", "", "shift change"),
    ]
    line.say("audit", line.out, "--csv", tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text(encoding="utf-8-sig")
    back = list(csv.DictReader(text.splitlines()))
    assert [(int(r["tick"]), r["kind"], r["who"], r["subject"], r["what"], r["why"]) for r in back] == [
        (*row[:5], "'=1+1" if row[5] == "=1+1" else row[5]) for row in rows
    ]
    assert {r["time"][:19] for r in back} == {"2026-01-01T00:02:30", "2026-01-01T00:03:30"}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (["--kind", "limit"], 2),
        (["--kind", "limit", "--kind", "demotion"], 3),
        (["--who", "Lee"], 2),
        (["--subject", "preheat"], 1),
        (["--since", "6"], 1),
        (["--until", "5"], 2),
        (["--until", "4"], 0),
        (["--who", "Nobody"], 0),
    ],
)
def test_the_audit_is_narrowed_to_what_is_wanted(wanted: list[str], count: int, line: Plant) -> None:
    line.on(5)
    line.say("limit", line.out, TAG, "--lock", "--by", "Lee")
    line.say("limit", line.out, TAG, "--high", 60, "--by", "Kim")
    line.on(2)
    line.say("demote", line.out, "preheat", "--by", "Lee")
    line.on(1)
    assert len(line.say("audit", line.out, *wanted)) == count


def test_the_audit_gives_a_run_of_alike_refusals_one_line(line: Plant) -> None:
    line.confirm()
    line.on(2)
    line.say("limit", line.out, TAG, "--lock", "--by", "Lee")
    line.on(4)
    line.say("limit", line.out, TAG, "--clear", "--by", "Lee")
    line.on(2)
    refused = line.say("audit", line.out, "--kind", "refused")
    assert [(e["tick"], e["until"], e["who"], e["subject"], e["what"]) for e in refused] == [(42, 45, "preheat", TAG, "lock")]


def test_demote_takes_a_policy_to_record_at_once(line: Plant) -> None:
    line.confirm()
    assert line.on(3)[-1].levels == (3,)
    line.say("demote", line.out, "preheat", "--by", "anybody", "--reason", "leak")
    decisions = line.on(2)
    assert [(c.after, c.reason, c.by) for c in decisions[0].changes] == [(0, "person", "anybody")]
    assert line.say("ladder", line.out)["standings"][0]["level"] == "record"


def test_an_operator_cannot_end_the_order_of_another(line: Plant) -> None:
    line.on(5)
    line.say("limit", line.out, TAG, "--lock", "--by", "Kim")
    line.on(1)
    body = {"tag": TAG, "clear": True, "of": "Kim"}
    forge(line.out, signed(Event("limit", "Lee", 2**62, body, new_id()), Signer.open("person-Lee")))
    assert [h.refused for d in line.on(1) for h in d.events] == ["not-authorised"]
    assert [e["refused"] for e in line.say("audit", line.out, "--who", "Lee")] == ["not-authorised"]
    assert len(line.say("ladder", line.out)["orders"]) == 1


def forge(out: Path, event: Event) -> None:
    """Put an event into the inbox past the command line."""
    inbox = SqliteInbox(out / "state.db")
    inbox.put(event)
    inbox.close()


def test_an_order_that_is_played_again_is_refused(line: Plant) -> None:
    line.on(5)
    line.say("limit", line.out, TAG, "--lock", "--by", "Kim")
    heard = line.on(1)[0].events[0].event
    line.say("limit", line.out, TAG, "--clear", "--by", "Kim")
    line.on(1)
    forge(line.out, heard)
    assert [h.refused for d in line.on(1) for h in d.events] == ["order-out-of-date"]
    assert replay(line.out).differing == 0


WRONG: list[tuple[str, str]] = [
    (f"limit HERE {TAG} --by Kim", "limit"),
    (f"limit HERE {TAG} --low 60 --high 50 --by Kim", "limit"),
    (f"limit HERE {TAG} --low 50 --lock --by Kim", "limit"),
    (f"limit HERE {TAG} --lock --clear --by Kim", "limit"),
    (f"limit HERE {TAG} --low nan --by Kim", "limit"),
    (f"limit HERE {TAG} --high inf --by Kim", "limit"),
    (f"limit HERE {TAG} --low warm --by Kim", "--low"),
    (f"limit HERE {TAG} --lock", "--by"),
    (f"limit HERE {TAG} --lock --by Bob", "'Bob'"),
    ("limit HERE TIC1.PV --lock --by Kim", "'TIC1.PV'"),
    ("limit HERE GHOST --lock --by Kim", "'GHOST'"),
    ("limit HERE", "'tag'"),
    (f"limit HERE/none {TAG} --lock --by Kim", "none"),
    ("demote HERE nobody --by Kim", "'nobody'"),
    ("demote HERE preheat", "--by"),
    ("demote HERE/none preheat --by Kim", "none"),
    ("ladder HERE/none", "none"),
    ("audit HERE/none", "none"),
    ("audit HERE --since -1", "--since"),
    ("audit HERE --until soon", "--until"),
]


def test_wrong_input_gives_one_line_and_hands_nothing_in(line: Plant) -> None:
    line.on(3)
    for language in ("en", "ko"):
        for command, part in WRONG:
            found = line.say("--lang", language, *command.replace("HERE", str(line.out)).split(), code=2)
            assert part in found["error"], command
            assert found["exit_code"] == 2
    assert [d.events for d in line.on(1)] == [()]


def test_a_complete_run_takes_no_order(line: Plant) -> None:
    execute(line.project, line.out, Options(history=False))
    for command in (["limit", line.out, TAG, "--lock"], ["demote", line.out, "preheat"]):
        assert "complete" in line.say(*command, "--by", "Kim", code=2)["error"]


def test_a_replaced_sensor_starts_a_new_epoch_and_takes_down_who_relies_on_it(line: Plant) -> None:
    with (line.project / "jayul.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[model]]\nname = "warm"\nkind = "formula"\nformula = { warm = "mean(TIC1.PV, 10 min)" }\n')
    line.confirm()
    assert line.on(2)[-1].levels == (3,)
    impact = line.say("change", line.out, "--tag", "TIC1.PV")
    assert (impact["names"], impact["policies"], impact["models"]) == (
        ["TIC1.PV"],
        ["preheat"],
        ["frozen", "guard.require.0", "spread", "warm"],
    )
    assert line.on(1)[0].levels == (3,), "looking changes nothing"
    line.say("change", line.out, "--tag", "TIC1.PV", "--by", "Kim", "--reason", "recalibrated")
    decision, *_ = line.on(3)
    assert [(c.policy, c.after, c.reason, c.by) for c in decision.changes] == [("preheat", 0, "changed", "Kim")]
    (entry,) = line.say("audit", line.out, "--kind", "configuration")
    assert (entry["who"], entry["why"]) == ("Kim", "recalibrated")
    for full in (False, True):
        assert replay(line.out, full=full).differing == 0


def test_a_replaced_sensor_takes_down_who_relies_on_it_by_a_model_alone_and_the_replay_says_the_same(line: Plant) -> None:
    path = line.project / "jayul.toml"
    text = path.read_text(encoding="utf-8").replace('"LIC1.PV", "FI2.PV"]\ntarget', '"LIC1.PV", "power"]\ntarget')
    path.write_text(text + '\n[[model]]\nname = "power"\nkind = "formula"\nformula = { power = "JI2.PV" }\n', encoding="utf-8")
    line.confirm()
    line.say("change", line.out, "--tag", "JI2.PV", "--by", "Kim", "--reason", "recalibrated")
    (decision,) = line.on(1)
    assert [(c.policy, c.after, c.reason) for c in decision.changes] == [("preheat", 0, "changed")]
    line.on(3)
    for full in (False, True):
        assert replay(line.out, full=full).differing == 0
    assert [standing["level"] for standing in line.say("ladder", line.out)["standings"]] == ["record"]


def test_a_changed_manifest_is_shown_approved_and_stands_in_the_run_that_follows(line: Plant) -> None:
    line.confirm()
    assert line.say("change", line.out, line.project)["differences"] == []
    path = line.project / "jayul.toml"
    old = path.read_text(encoding="utf-8")
    path.write_text(old.replace('{ "TIC1.SP" = 62.0 }', '{ "TIC1.SP" = 61.0 }'), encoding="utf-8")
    found = line.say("change", line.out, line.project)
    assert found["differences"] == [{"path": 'policy.preheat.target."TIC1.SP"', "before": 62.0, "after": 61.0}]
    assert (found["impact"]["policies"], found["impact"]["models"]) == (["preheat"], [])
    line.say("change", line.out, line.project, "--by", "Lee", "--reason", "less", code=2)  # an operator
    line.say("change", line.out, line.project, "--by", "Kim", code=2)  # no reason
    assert not (line.project / "changes").exists()
    line.say("change", line.out, line.project, "--by", "Kim", "--reason", "less steam")
    follows = line.out.with_name("follows")
    execute(line.project, follows, Options(ticks=5, history=False))
    (entry,) = line.say("audit", follows)
    assert (entry["kind"], entry["who"], entry["why"]) == ("configuration", "Kim", "less steam")
    assert "preheat.target" in entry["what"]
    path.write_text(old, encoding="utf-8")  # the way back: the old run goes on, and has lost what it had earned
    decision, *_ = line.on(2)
    assert [(c.after, c.reason) for c in decision.changes] == [(0, "changed")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Kim"', '"Lee"'),
        ('"less steam"', '"more steam"'),
        ('"configuration"', '"note"'),
        ("{", ""),
        ("61.0", "61.5"),
        ('"rules": false', '"rules": true'),
    ],
)
def test_an_approval_that_was_tampered_with_is_refused(old: str, new: str, line: Plant) -> None:
    line.on(2)
    path = line.project / "jayul.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("62.0", "61.0"), encoding="utf-8")
    line.say("change", line.out, line.project, "--by", "Kim", "--reason", "less steam")
    (file,) = (line.project / "changes").iterdir()
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    line.say("check", line.project, code=2)


@pytest.mark.parametrize(
    ("arguments"),
    [(), ("PROJECT", "--tag", "TIC1.PV"), ("--tag", "NOWHERE"), ("--tag", "TI3.PV", "--by", "Park", "--reason", "x")],
)
def test_a_change_that_makes_no_sense_gets_one_line(arguments: tuple[str, ...], line: Plant) -> None:
    line.on(2)
    words = [str(line.project) if word == "PROJECT" else word for word in arguments]
    line.say("change", line.out, *words, code=2)


@pytest.mark.parametrize(
    "body", [{}, {"names": []}, {"names": ["TI3.PV"]}, {"names": "TI3.PV", "reason": "x"}, {"names": [1], "reason": "x"}]
)
def test_a_malformed_change_is_refused_and_recorded(body: dict[str, Any], line: Plant) -> None:
    line.on(2)
    inbox = SqliteInbox(line.out / "state.db")
    inbox.put(signed(Event("configuration", "Kim", 1, body, new_id()), Signer.open("person-Kim")))
    inbox.close()
    assert [heard.refused for heard in line.on(1)[0].events] == ["change-malformed"]


def test_what_stands_on_a_tag_is_found_through_models_and_sections(line: Plant) -> None:
    line.on(2)
    path = line.project / "jayul.toml"
    text = path.read_text(encoding="utf-8")
    assert 'duration = "2.0 h"' in text
    path.write_text(text.replace('duration = "2.0 h"', 'duration = "3 h"'), encoding="utf-8")
    assert line.say("change", line.out, line.project)["impact"]["policies"] == []
    path.write_text(text + '\n[[guard.rule]]\nkind = "dwell"\ntags = ["TIC1.SP"]\nwindow = "2 min"\n', encoding="utf-8")
    impact = line.say("change", line.out, line.project)["impact"]
    assert (impact["policies"], impact["rules"]) == (["preheat"], True)
