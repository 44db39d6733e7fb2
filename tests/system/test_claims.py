"""Claims: written from runs of every conclusion, recomputed, broken at every place, sealed, found again, shown in the report."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from jayul.app import report, texts
from jayul.app.cli import main
from jayul.project import claims as claiming
from jayul.project.cases import cases
from jayul.project.claims import CLAIM, KEY, PRICE, ROWS, make, verify, write
from jayul.project.problem import ManifestError
from jayul.project.proof import conclude, measure
from jayul.project.run import Options, execute
from jayul.prove.claim import RUN, Claim, Sealed, as_bytes, digest, message, plain
from jayul.prove.claim import Signature as Signed
from jayul.record.rows import as_parquet, from_parquet
from jayul.record.sign import Signer

EXAMPLE = Path(__file__).parents[2] / "examples" / "tank" / "jayul.toml"
PACK = """kind: price
id: tank-2026
source: flow meter FI2, mean of 2025
valid_from: 2026-01-01
valid_until: 2026-12-31
verified_by: Kim
currency: KRW
entries:
  - { of: USD/m3, worth: 6.0, unit: m3/h }
  - { of: USD, worth: 1400.0, unit: KRW/USD }
"""
TAGS = ("TIC1.SP", "TIC2.PV", "FI2.PV", "GRADE", "LIC1.PV", "LIC2.PV")


def make_run(folder: Path, *changes: tuple[str, str], key: str = "") -> Path:
    """Run the tank example, cut down to seven pairs, priced, with changes of its manifest. Return the run folder."""
    text = EXAMPLE.read_text(encoding="utf-8").replace("pairs = 12", "pairs = 7").replace('"84 h"', '"53 h"')
    text = text.replace("[proof]", '[proof]\nprice = "prices.yaml"\nhours_per_year = 8000')
    if key:
        text = text.replace("[kpi]", f'[[people.person]]\nname = "Kim"\nroles = ["engineer"]\nkey = "{key}"\n[kpi]')
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder.mkdir()
    (folder / "jayul.toml").write_text(text, encoding="utf-8")
    (folder / "prices.yaml").write_text(PACK, encoding="utf-8")
    conclude(execute(folder, folder / "run", Options(history=False)), folder)
    return folder / "run"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of these runs: they outlive one test."""
    return tmp_path_factory.mktemp("claim-keys")


@pytest.fixture(autouse=True)
def these_keys(keys: Path, own_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAYUL_KEYS", str(keys))


@pytest.fixture(scope="module")
def run(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run that proves its saving."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(keys))
        return make_run(tmp_path_factory.mktemp("proven") / "line", key=Signer.open("person-Kim").public)


@pytest.fixture(scope="module")
def written(run: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its claim, signed by Kim, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAYUL_KEYS", str(keys))
        return write(run, tmp_path_factory.mktemp("claims"), by="Kim", lesson="preheating pays")[1]


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    return shutil.copytree(written, tmp_path / "bundle")


def said(path: Path, **more) -> str:
    """Return the first thing that a verification finds, as it is shown."""
    found = verify(path, **more)
    assert not found.ok
    assert found.recomputed == 0 or not found.differs[0].file.startswith(
        ("rows", "effect", "price", "plan", "coverage", "money")
    )
    return str(found.differs[0])


def paper_of(path: Path) -> Claim:
    return msgspec.json.decode((path / CLAIM).read_bytes(), type=Claim)


def sign(paper: Claim, name: str = "run") -> Claim:
    """Sign a changed claim anew, as whoever holds the run's key could."""
    signer = Signer.open(name)
    paper = replace(paper, key=signer.public, signatures=())
    signed = Signed(RUN, signer.public, 1, signer.sign(message(paper, RUN, 1)).hex())
    return replace(paper, signatures=(signed,))


def test_a_claim_holds_what_the_run_measured(run: Path, written: Path) -> None:
    paper = paper_of(written)
    assert written.name == digest(paper)[:12]
    assert sorted(path.name for path in written.iterdir()) == [CLAIM, PRICE, ROWS, KEY]
    effect = measure(run)
    assert paper.effect == plain(effect), "the rows that are left out change nothing"
    assert paper.effect["conclusion"] == "proven"
    assert paper.money.per_year == tuple(end * 6.0 * 1400.0 * 8000.0 for end in effect.absolute)
    assert (paper.money.currency, paper.money.pack) == ("KRW", "tank-2026")
    assert set(paper.coverage) == {"kpi", *TAGS}
    assert set(paper.coverage.values()) == {1.0}
    at, names, values = from_parquet((written / ROWS).read_bytes())
    assert (len(at), set(names)) == (paper.ticks, {"kpi", *TAGS})
    assert (int(at[0]), int(at[-1])) == (paper.plan.starts[0], paper.end)
    assert as_parquet(at, names, values) == (written / ROWS).read_bytes()
    assert (written / PRICE).read_text() == PACK
    summary = json.loads((run / "summary.json").read_bytes())
    assert paper.effort == summary["effort"]
    assert tuple(summary["money"]["per_year"]) == paper.money.per_year
    assert json.loads(summary["signed_head"]) == plain(paper.head)


def test_the_same_run_makes_the_same_claim_and_keeps_its_signatures(run: Path, written: Path) -> None:
    before = (written / CLAIM).read_bytes()
    paper, path = write(run, written.parent, lesson="preheating pays")
    assert (path, (path / CLAIM).read_bytes()) == (written, before)
    assert [s.by for s in paper.signatures] == ["run", "Kim"]
    assert digest(make(run, "another").claim) != digest(make(run).claim)


def test_every_figure_is_recomputed_from_the_bundle_alone(bundle: Path, run: Path) -> None:
    found = verify(bundle, key=run / "keys" / KEY, heads=(str(paper_of(bundle).head),))
    assert found.differs == ()
    assert (found.ok, found.kind, found.key_pinned, found.signed_by) == (True, "claim", True, ("run", "Kim"))
    assert found.recomputed > 300
    assert verify(bundle / CLAIM).ok


@pytest.mark.parametrize("name", [ROWS, PRICE, KEY, CLAIM])
def test_any_byte_that_is_flipped_is_found_and_its_file_named(name: str, bundle: Path) -> None:
    path = bundle / name
    whole = path.read_bytes()
    for i in sorted({0, 1, len(whole) - 1, *range(7, len(whole), max(1, len(whole) // 40))}):
        data = bytearray(whole)
        data[i] ^= 1
        path.write_bytes(data)
        first = said(bundle)
        assert "\n" not in first
        assert name == CLAIM or first.startswith(f"{name}: not the "), (i, first)
    path.write_bytes(whole + b" ")
    assert said(bundle).startswith(f"{name}: ")
    path.write_bytes(whole)
    assert verify(bundle).ok
    path.unlink()
    assert said(bundle).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: replace(c, effect={**c.effect, "benefit": [33.0, *c.effect["benefit"][1:]]}), r"effect\.benefit\[0\]: [\d.]+ recomputed, 33\.0 claimed"),
        (lambda c: replace(c, effect={**c.effect, "conclusion": "worse"}), 'effect.conclusion: "proven" recomputed, "worse" claimed'),
        (lambda c: replace(c, effect={**c.effect, "more": 1}), "effect.more: null recomputed, 1 claimed"),
        (lambda c: replace(c, effect={**c.effect, "kpi_on": c.effect["kpi_on"] + 1e-15}), r"effect\.kpi_on: [\d.]+ recomputed, [\d.]+ claimed"),
        (lambda c: replace(c, effect={k: v for k, v in c.effect.items() if k != "looks"}), r"effect\.looks: .* recomputed, null claimed"),
        (lambda c: replace(c, coverage={**c.coverage, "GRADE": 0.99}), "coverage.GRADE: 1.0 recomputed, 0.99 claimed"),
        (lambda c: replace(c, plant_hours=1000.0), r"plant_hours: [\d.]+ recomputed, 1000\.0 claimed"),
        (lambda c: replace(c, unmeasured=()), r"unmeasured: \[.*\.\.\. recomputed, \[\] claimed"),
        (lambda c: replace(c, money=replace(c.money, per_year=(9e9, 9e9, 9e9))), r"money\.per_year\[0\]: [\d.e]+ recomputed, 9000000000\.0 claimed"),
        (lambda c: replace(c, money=replace(c.money, hours_per_year=8784.0)), r"money\.per_year\[0\]: .*"),
        (lambda c: replace(c, money=replace(c.money, factor=1.0)), "money.factor: 8400.0 recomputed, 1.0 claimed"),
        (lambda c: replace(c, kpi=replace(c.kpi, unit="USD/h")), r"money\.factor: 1400\.0 recomputed, 8400\.0 claimed"),
        (lambda c: replace(c, plan=replace(c.plan, wash_out=c.plan.wash_out + 1)), "plan: not the plan of the claim"),
        (lambda c: replace(c, end=c.end + 1), "rows.parquet: does not hold the tags and times of the plan"),
        (lambda c: replace(c, head=replace(c.head, digest="0" * 64)), "head: the run's key has not signed this head of the journal"),
        (lambda c: replace(c, head=replace(c.head, signature="zz")), "head: the run's key has not signed this head of the journal"),
        (lambda c: replace(c, digests=replace(c.digests, code="0" * 64)), r"code: claimed by 0\.1\.0 with digest 000000000000, here 0\.1\.0 with [0-9a-f]{12}; every figure comes out the same"),
    ],
)  # fmt: skip
def test_a_changed_claim_names_the_figure_even_if_it_is_signed_anew(change, says: str, bundle: Path) -> None:
    (bundle / CLAIM).write_bytes(as_bytes(sign(change(paper_of(bundle)))))
    assert re.fullmatch(says, said(bundle)) or says == said(bundle)


def test_what_is_only_attested_is_held_by_the_signatures(bundle: Path) -> None:
    paper = paper_of(bundle)
    for changed in (
        replace(paper, project="other"),
        replace(paper, lesson="other"),
        replace(paper, effort=None),
        replace(paper, seed=1),
    ):
        (bundle / CLAIM).write_bytes(as_bytes(changed))
        assert said(bundle) == "claim.json: the signature of 'run' is not good: something in the claim was changed"
    kim = paper.signatures[1]
    forged = replace(kim, by="Lee")
    (bundle / CLAIM).write_bytes(as_bytes(replace(paper, signatures=(paper.signatures[0], forged))))
    assert "the signature of 'Lee' is not good" in said(bundle)
    (bundle / CLAIM).write_bytes(as_bytes(replace(paper, signatures=(kim,))))
    assert said(bundle) == "claim.json: the run's key has not signed it"


def test_rows_that_were_made_up_and_signed_with_another_key_are_found_by_the_key_that_is_kept(bundle: Path, run: Path) -> None:
    paper = paper_of(bundle)
    forger = Signer.open("forger")
    head = replace(paper.head, signature=forger.sign(paper.head.message()).hex())
    (bundle / KEY).write_text(forger.public + "\n")
    (bundle / CLAIM).write_bytes(as_bytes(sign(replace(paper, head=head), "forger")))
    assert verify(bundle).ok, "nothing here contradicts it"
    assert said(bundle, key=run / "keys" / KEY).startswith("key: the claim is signed with ")
    assert said(bundle, heads=(f"7:{'0' * 64}",)).startswith("head: the claim is from ")


def test_another_row_is_named_even_with_its_digest_set_right(bundle: Path) -> None:
    at, names, values = from_parquet((bundle / ROWS).read_bytes())
    values = values.copy()
    values[200:, names.index("kpi")] *= 1.0 + 1e-12
    data = as_parquet(at, names, values)
    (bundle / ROWS).write_bytes(data)
    paper = paper_of(bundle)
    paper = sign(replace(paper, digests=replace(paper.digests, data=claiming._sha(data))))
    (bundle / CLAIM).write_bytes(as_bytes(paper))
    assert said(bundle).startswith("effect.")


def test_an_expired_pack_is_refused_even_with_its_digest_set_right(bundle: Path) -> None:
    text = PACK.replace("valid_until: 2026-12-31", "valid_until: 2026-01-02")
    (bundle / PRICE).write_text(text)
    paper = paper_of(bundle)
    paper = sign(replace(paper, digests=replace(paper.digests, price=claiming._sha(text.encode()))))
    (bundle / CLAIM).write_bytes(as_bytes(paper))
    assert said(bundle).startswith("price.yaml: expired on 2026-01-02, before the last tick of the run (2026-01-03)")


def test_a_plan_that_no_run_can_have_is_no_traceback(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = paper_of(bundle)
    for plan in (
        replace(whole.plan, arms=whole.plan.arms[:-1]),
        replace(whole.plan, starts=()),
        replace(whole.plan, confidence=1.0),
    ):
        paper = replace(whole, plan=plan, digests=replace(whole.digests, plan=plan.digest()))
        (bundle / CLAIM).write_bytes(as_bytes(sign(paper)))
        with pytest.raises(SystemExit) as ended:
            main(["verify", str(bundle)])
        assert ended.value.code == 1
        assert len(capsys.readouterr().out.splitlines()) == 1
    for changed in (replace(whole, effect={}), replace(whole, end=2**64), replace(whole, period=0)):
        (bundle / CLAIM).write_bytes(as_bytes(sign(changed)))
        assert not verify(bundle).ok
        assert len(cases([bundle.parent])) == 1
        for command in ("verify", "cases"):
            with pytest.raises(SystemExit) as ended:
                main([command, str(bundle), "--json"])
            assert ended.value.code == (1 if command == "verify" else 0)


@pytest.mark.parametrize("what", ["", "{}", "null", "[1]", '{"sealed": 1}', '{"format": 2}'])
def test_something_else_is_no_claim(what: str, bundle: Path) -> None:
    (bundle / CLAIM).write_text(what)
    assert said(bundle).startswith("claim.json: is not ")


CONCLUSIONS = {
    "not proven": [("effect = 0.05 ", "effect = 0.0 ")],
    "worse": [("effect = 0.05 ", "effect = -0.08 ")],
    "confounded": [('drivers = ["GRADE"]', 'drivers = ["TIC1.PV"]')],
    "void": [('wash_out = "1 h"', 'wash_out = "2 h"\nleast = 1.0\nalarm = "hot.alarm"\nrecover = "3 h"'),
             ("[[policy]]", '[[model]]\nkind = "formula"\nname = "hot"\nformula = { "hot.alarm" = "TIC2.PV > 0" }\n[[policy]]')],
}  # fmt: skip


@pytest.mark.parametrize("conclusion", CONCLUSIONS)
def test_every_conclusion_is_claimed_and_verified_and_listed(conclusion: str, tmp_path: Path) -> None:
    out = make_run(tmp_path / "line", *CONCLUSIONS[conclusion])
    paper, path = write(out, None)
    assert paper.effect["conclusion"] == conclusion, paper.effect["reasons"]
    found = verify(path)
    assert found.ok, found.differs
    assert (paper.money.per_year is None) == (conclusion in ("confounded", "void"))
    write(out, None, seal=True)
    (case,) = cases([tmp_path])
    assert (case.conclusion, case.genuine, case.sealed) == (conclusion, True, False)
    assert texts.current() == "en"
    for name in ("en", "ko"):
        texts.setup(name)
        page = report.render(out, name)
        assert digest(paper) in page
        with pytest.raises(SystemExit) as ended:
            main(["--lang", name, "verify", str(path)])
        assert ended.value.code == 0
    texts.setup("en")


def test_a_run_without_a_price_says_that_money_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_run(tmp_path / "line", ('price = "prices.yaml"\nhours_per_year = 8000', ""))
    paper, path = write(out, None)
    assert not (path / PRICE).exists()
    assert verify(path).ok
    assert paper.money.why == "no price pack says what one 'USD/m3' is worth"
    assert "Money: unknown" in report.render(out, "en")
    (path / PRICE).write_text(PACK)
    assert said(path) == "price.yaml: not the price pack of the claim"


def test_money_an_hour_needs_no_pack(tmp_path: Path) -> None:
    out = make_run(
        tmp_path / "line", ('price = "prices.yaml"\n', ""), ('unit = "USD/m3"', 'unit = "USD/h"'),
        ("(JI1.PV * PRICE1 + JI2.PV * PRICE2) / FI2.PV", "JI1.PV * PRICE1 + JI2.PV * PRICE2"),
    )  # fmt: skip
    paper, path = write(out, None)
    assert paper.money.currency == "USD"
    assert paper.money.per_year[0] == paper.effect["absolute"][0] * 8000.0
    assert verify(path).ok


def test_a_sealed_claim_tells_no_tag_and_is_held_by_its_signatures(run: Path, tmp_path: Path) -> None:
    paper, path = write(run, tmp_path, by="Kim", lesson="preheating pays", seal=True)
    assert isinstance(paper, Sealed)
    text = path.read_text()
    assert path.name == f"{paper.claim[:12]}.sealed.json"
    assert len(text) < 4000
    assert not [tag for tag in (*TAGS, "PRICE1", "JI1") if tag in text]
    assert {"conclusion": "proven", "unit": "USD/m3", "kpi": "energy cost"}.items() <= json.loads(text).items()
    found = verify(path, key=run / "keys" / KEY)
    assert (found.ok, found.kind, found.recomputed, found.signed_by) == (True, "sealed", 0, ("run", "Kim"))
    whole = path.read_bytes()
    for i in range(3, len(whole), 29):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert not verify(path).ok, i
    with pytest.raises(ManifestError, match=r"names the tag 'TIC1\.SP'"):
        write(run, tmp_path, lesson="TIC1.SP at 62", seal=True)


def test_who_may_sign(run: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ManifestError, match=r"'Lee' has no key in \[people\] of this run; there are: Kim"):
        write(run, tmp_path, by="Lee")
    (tmp_path / "keys").mkdir()
    monkeypatch.setenv("JAYUL_KEYS", str(tmp_path / "keys"))
    with pytest.raises(ManifestError, match="signed with another key"):
        write(run, tmp_path)
    shutil.copy(keys / "run.key", tmp_path / "keys")
    with pytest.raises(ManifestError, match="the key of 'Kim' in the key folder is not the one in"):
        write(run, tmp_path, by="Kim")


def test_cases_are_searched_and_damaged_ones_are_shown(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, one = write(run, tmp_path / "a", lesson="preheating pays")
    write(run, tmp_path / "b", lesson="sealed for the office", seal=True)
    assert [case.lesson for case in cases([tmp_path], "OFFICE tank")] == ["sealed for the office"]
    assert len(cases([tmp_path])) == 2
    assert cases([tmp_path], "office absent") == []
    (one / CLAIM).write_bytes(as_bytes(replace(paper_of(one), lesson="made up")))
    assert [case.genuine for case in cases([tmp_path / "a"])] == [False]
    (one / CLAIM).write_text("{")
    (case,) = cases([tmp_path / "a"])
    assert case.unreadable
    with pytest.raises(SystemExit) as ended:
        main(["cases", str(tmp_path), "--json"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "cannot be read" in shown
    assert "Lesson: sealed for the office" in shown
    assert [row["conclusion"] for row in json.loads(shown.splitlines()[-1])] == ["", "proven"]
    with pytest.raises(SystemExit) as ended:
        main(["cases", str(tmp_path / "nowhere")])
    assert ended.value.code == 2


def test_a_run_that_is_not_complete_or_has_no_plan_makes_no_claim(tmp_path: Path, small_project: Path) -> None:
    folder = tmp_path / "line"
    make_run(folder)
    execute(folder, folder / "part", Options(history=False, ticks=100))
    with pytest.raises(ManifestError, match="is not complete; a claim needs a complete run"):
        write(folder / "part", None)
    execute(small_project, tmp_path / "plain", Options(history=False))
    with pytest.raises(ManifestError, match="has no proof plan"):
        write(tmp_path / "plain", None)


def test_a_broken_claim_is_one_line_and_exit_code_1(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / PRICE).write_text(PACK + "\n")
    for arguments, wanted in (
        (["verify"], "price.yaml: not the price pack of the claim"),
        (["verify", "--json"], "not the price"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, str(bundle)])
        assert ended.value.code == 1
        out = capsys.readouterr().out.splitlines()
        assert wanted in out[0]
        assert len(out) == len(arguments)
    told = json.loads(out[-1])
    assert told["differs"][0] == {"where": "price.yaml", "what": "not the price pack of the claim"}
    assert (told["ok"], told["kind"], told["conclusion"]) == (False, "claim", "proven")


def figures_of(tree: object) -> Iterator[float]:
    """Yield every number of a claim."""
    if isinstance(tree, dict):
        for part in tree.values():
            yield from figures_of(part)
    elif isinstance(tree, list):
        for part in tree:
            yield from figures_of(part)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield float(tree)


def test_every_number_of_the_reports_proof_is_found_in_the_claim(run: Path, written: Path) -> None:
    claim = json.loads((written / CLAIM).read_bytes())
    plan, effect = claim["plan"], claim["effect"]
    counted = [block["arm"] for block in effect["blocks"] if not block["left_out"]]
    known = {*figures_of({k: claim[k] for k in ("effect", "money", "plant_hours", "coverage")}), 0.0}
    known |= {100 * plan["confidence"], plan["recover"] / 3.6e12, float(counted.count("on")), float(counted.count("off"))}
    known |= {block["number"] + 1.0 for block in effect["blocks"]}
    page = report.render(run, "en")
    parts = re.findall(r'<section class="proof">(.*?)</section>', page, re.S)
    assert len(parts) == 2
    seen = 0
    for part in parts:
        text = html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", "", part, flags=re.S)))
        text = text.replace("SHA-256", "").replace(effect["plan"][:16], "").replace(claim["money"]["pack"], "")
        for word in re.findall(r"(?<![\w.])[-–]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])", text):
            number, digits = float(word.replace(",", "").replace("–", "-")), len(word.partition(".")[2])
            seen += 1
            close = [x for x in known if round(x, digits) == number or f"{x:.6g}" == word]
            assert close, (
                f"{word} is in the report and not in the claim: {text[max(0, text.find(word) - 60) : text.find(word) + 20]}"
            )
    assert seen > 60
    assert f"{claim['money']['per_year'][0]:,.0f} KRW" in page


def test_pairs_after_the_proof_stand_in_the_claim_and_a_margin_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = make_run(
        tmp_path / "line", ("pairs = 7", "pairs = 8\nwatch = 4"), ('"53 h"', '"110 h"'), ("commissioning = 2\nwash_out", "no_worse = 0.01\ncommissioning = 2\nwash_out"),
    )  # fmt: skip
    paper, path = write(out, None)
    assert paper.effect["conclusion"] == "proven"
    assert paper.watched is not None
    assert plain(paper.watched) == json.loads((out / "summary.json").read_bytes())["watched"]
    assert paper.watched.pairs >= 2
    assert paper.end > paper.plan.end
    assert not [text for text in paper.unmeasured if "after the last block" in text]
    found = verify(path)
    assert found.ok, found.differs
    sealed, at = write(out, None, seal=True)
    assert (sealed.no_worse, sealed.watched) == (0.01, paper.watched)
    capsys.readouterr()
    for place in (path, at):
        with pytest.raises(SystemExit):
            main(["verify", str(place)])
        shown = capsys.readouterr().out
        assert "proven (that it is no worse by more than 0.01 USD/m3)" in shown
        assert "Watched since the proof: " in shown
    changed = replace(paper, watched=replace(paper.watched, standing="worse"))
    (path / CLAIM).write_bytes(as_bytes(sign(changed)))
    assert said(path) == 'watched.standing: "holds" recomputed, "worse" claimed'
