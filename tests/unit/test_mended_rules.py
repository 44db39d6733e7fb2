"""What once went wrong in rules and orders, each as a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from jayul.conform.crash import make_project
from jayul.core.types import Event
from jayul.project.look import ladder, replay
from jayul.project.people import hand_over, new_key, order
from jayul.project.problem import ManifestError
from jayul.project.run import Options, execute, ticks_of
from jayul.record.files import OsFiles
from jayul.record.inbox import SqliteInbox
from jayul.record.sign import Signer, signed


@pytest.fixture(autouse=True)
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("JAYUL_KEYS", str(tmp_path / "keys"))


def project(tmp_path: Path, extra: str = "", *, people: bool = False) -> Path:
    made = make_project(tmp_path / "p", 1.0, "group")
    path = made / "jayul.toml"
    text = path.read_text() + extra
    if people:
        rows = "".join(
            f'[[people.person]]\nname = "{n}"\nroles = ["{r}"]\nkey = "{new_key(n)}"\n'
            for n, r in (("Kim", "engineer"), ("Lee", "operator"))
        )
        text = "\n".join(x for x in text.splitlines() if not x.startswith("simulated")).replace("[people]", rows)
    path.write_text(text)
    return made


def put(out: Path, event: Event) -> None:
    inbox = SqliteInbox(out / "state.db")
    inbox.put(event)
    inbox.close()


# HIGH 1: a replay wires over the kept tags only; `tags` of mode/between/hours/age are not kept (wire.py: used |= reads only)
@pytest.mark.parametrize(
    "rule",
    [
        'kind = "hours"\ntimezone = "UTC"\ntags = ["LIC1.SP"]',
        'kind = "mode"\nmode = "TIC1.MODE"\ntakes = ["RCAS"]\ntags = ["LIC1.SP"]',
        'kind = "age"\nof = ["TI3.PV"]\nmost = "1 h"\ntags = ["LIC1.SP"]',
        'kind = "between"\nhigh = "TIC2.SP"\ntags = ["TIC1.SP", "TIC2.PV", "TI4.PV"]',
    ],
)
def test_a_rule_for_a_tag_that_no_policy_writes_replays(rule, tmp_path):
    p = project(tmp_path, f"\n[[guard.rule]]\n{rule}\n")
    execute(p, tmp_path / "out", Options(ticks=5, history=False))
    assert replay(tmp_path / "out").differing == 0


# HIGH 2: admission looks an order's tag up in the whole table live, in the kept tags on replay; BEFORE the signature is checked
@pytest.mark.parametrize("forged", [False, True])
def test_an_order_on_a_tag_that_is_not_kept_replays(forged, tmp_path):
    p, out = project(tmp_path, people=True), tmp_path / "out"
    execute(p, out, Options(ticks=5, history=False))
    event = Event("limit", "Kim", 1, {"tag": "LIC1.SP", "lock": True}, "x")
    put(out, event if forged else signed(event, Signer.open("person-Kim")))
    execute(p, out, Options(ticks=8, history=False))
    assert replay(out).differing == 0
    ladder(out)


# HIGH 3: weights in another order than the canonical manifest's (sorted): other reason text and other order of summing
def test_a_half_space_whose_weights_are_not_sorted_replays(tmp_path):
    p = project(
        tmp_path, '\n[[guard.rule]]\nkind = "halfspace"\nweights = { "TIC1.SP" = 1.0, "LIC1.PV" = 0.001 }\nmost = 57.0\n'
    )
    execute(p, tmp_path / "out", Options(history=False))
    assert replay(tmp_path / "out").differing == 0


# MEDIUM 5: `of` is for clearing, but an engineer can give limits, or turn a lock into wide limits, in another's name
def test_an_engineer_cannot_give_an_order_in_anothers_name(tmp_path):
    p, out = project(tmp_path, people=True), tmp_path / "out"
    execute(p, out, Options(ticks=5, history=False))
    order(out, "TIC1.SP", {"lock": True}, by="Lee")
    execute(p, out, Options(ticks=6, history=False))
    try:
        order(out, "TIC1.SP", {"high": 66.0, "of": "Lee"}, by="Kim")
    except ManifestError:
        return
    execute(p, out, Options(ticks=7, history=False))
    heard = [h for t in ticks_of(OsFiles(out / "journal")) for h in t.decision.events]
    assert heard[-1].refused != ""


# MEDIUM 6: rules that make a policy wait (dwell, moves, hours, lock) count as vetoes: veto_ticks of them demote it to shadow
@pytest.mark.parametrize(
    "rule", ['kind = "dwell"\ntags = ["TIC1.SP"]\nwindow = "4 min"', 'kind = "hours"\ntimezone = "UTC"\nto = "00:20"']
)
def test_a_rule_that_only_makes_wait_does_not_demote(rule, tmp_path):
    p = project(tmp_path, f"\n[[guard.rule]]\n{rule}\n")
    done = execute(p, tmp_path / "out", Options(history=False)).summary
    assert "veto-streak" not in [step.reason for step in done.levels]


# LOW 12: `of` nobody, or an operator's `of` another, is taken with exit 0 though it can never be accepted
@pytest.mark.parametrize(("by", "of"), [("Kim", "Nobody"), ("Kim", ""), ("Lee", "Kim")])
def test_an_order_of_nobody_is_refused_at_once(by, of, tmp_path):
    p, out = project(tmp_path, people=True), tmp_path / "out"
    execute(p, out, Options(ticks=2, history=False))
    with pytest.raises(ManifestError):
        order(out, "TIC1.SP", {"clear": True, "of": of}, by=by)


def test_who_writes_into_a_damaged_inbox_is_told_and_the_loop_alone_makes_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    loop = SqliteInbox(path, policies=("preheat",))
    loop.close()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(ManifestError, match=r"is damaged .*; the run makes it anew"):
        hand_over(tmp_path, "note", "lee", {}, sign=False)
    assert [each.name for each in tmp_path.glob("state.db.damaged*")] == []
    loop = SqliteInbox(path, 7, ("preheat",))
    assert [event.kind for event in loop.drain(0, None)] == ["demotion"]
    assert hand_over(tmp_path, "note", "lee", {}, sign=False).kind == "note"
    assert len(list(tmp_path.glob("state.db.damaged*"))) == 1
    loop.close()
