"""Make claim bundles from complete runs, and verify bundles: here alone claims are read and written.

A bundle: `claim.json`, `rows.parquet` (what the plan needs), `price.yaml` (if there was one), `run.pub`. It needs no run folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files as resources
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul import __version__
from jayul.core.clock import today
from jayul.core.expr import duration
from jayul.core.types import Decision, TagTable
from jayul.project.manifest import KpiSection, Manifest, ProofSection, parse_canonical
from jayul.project.monitor import Rows, tags_of
from jayul.project.price import money
from jayul.project.problem import N_, ManifestError, Problem
from jayul.project.proof import DESIGN, plan_of
from jayul.project.run import RUN_KEY, read_summary, refuse
from jayul.prove import claim as papers
from jayul.prove.claim import RUN, Claim, Digests, Figures, Kpi, Sealed, Signature, as_bytes, digest, figures, message, plain
from jayul.prove.effect import Row
from jayul.prove.plan import Plan
from jayul.record.files import OsFiles, write_whole
from jayul.record.journal import Head, Header
from jayul.record.rows import as_parquet, from_parquet
from jayul.record.sign import Signer, genuine
from jayul.record.verify import Checked, parse_head

CLAIM, ROWS, PRICE, KEY, SEALED = "claim.json", "rows.parquet", "price.yaml", "run.pub", ".sealed.json"
ROOMS = ("core", "packs", "prove")  # the code that judges
LIBRARIES = ("numpy", "scipy")  # that it computes with
Paper = TypeVar("Paper", Claim, Sealed)


class Bundle(msgspec.Struct, frozen=True):
    """A claim with the files that stand beside it."""

    claim: Claim
    rows: bytes
    price: str


class Verified(msgspec.Struct, frozen=True):
    """What a verification found. `differs`: where and what, the first is the one to look at; empty: all is as claimed.

    `recomputed`: so many figures came out bit for bit (0: sealed, they are attested alone). `signed_by` names good signatures.
    """

    kind: str
    digest: str
    paper: Claim | Sealed | None
    recomputed: int
    key_pinned: bool
    signed_by: tuple[str, ...]
    differs: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.differs


def code_digest() -> str:
    """Return the SHA-256 of the code that judges, as it is installed: names and contents."""
    found = hashlib.sha256()
    for room in ROOMS:
        folder = resources("jayul") / room
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                found.update(f"{room}/{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def make(out: Path, lesson: str = "") -> Bundle:
    """Make the claim of a complete run, unsigned. Raises ManifestError, Corrupt."""
    plan, summary = plan_of(out), read_summary(out)
    if summary is None or not summary.complete:
        raise refuse(out, N_("is not complete; a claim needs a complete run"))
    key, head = (out / "keys" / KEY).read_text(encoding="ascii").strip(), parse_head(summary.signed_head)
    header, found = _read(out, plan, key, head)
    manifest = parse_canonical(header.manifest)
    kpi, proof = _proof(manifest)
    data = as_parquet(np.array([row.at for row in found], dtype=np.int64), tags_of(plan), _values(found, plan))
    period = duration(manifest.run.period)
    start = money(kpi, proof, header.price, PRICE, found[-1].at)
    result = figures(plan, found, period, start)
    digests = Digests(_sha(data), plan.digest(), code_digest(), _sha(header.price.encode()) if header.price else "")
    claim = Claim(
        format=papers.FORMAT, project=header.project, plant=manifest.plant.kind, policy=plan.policy,
        policy_kind=next(policy.kind for policy in manifest.policies if policy.name == plan.policy), method=DESIGN,
        jayul=__version__, libraries={name: version(name) for name in LIBRARIES}, seed=header.seed,
        signatures_simulated=header.signatures_simulated, kpi=Kpi(kpi.name, kpi.unit, kpi.formula), period=period, plan=plan,
        effect=result.effect, coverage=result.coverage, plant_hours=result.plant_hours, ticks=result.ticks, end=found[-1].at,
        watched=result.watched,
        money=result.money, unmeasured=result.unmeasured, effort=plain(summary.effort), lesson=lesson, digests=digests,
        head=head, key=key, people={person.name: person.key for person in manifest.people.person if person.key},
    )  # fmt: skip
    return Bundle(claim, data, header.price)


def _read(out: Path, plan: Plan, key: str, known: Head) -> tuple[Header, list[Row]]:
    """Read the rows of a plan from a journal that is as it was written, up to a known head. Raises ManifestError, Corrupt."""
    checked, header, rows = Checked(OsFiles(out / "journal", create=False), key, [known]), None, None
    for _, entry in checked:
        if isinstance(entry, Header):
            header, rows = entry, Rows(plan, TagTable(entry.tags))
        elif isinstance(entry, Decision) and rows is not None and plan.starts[0] <= entry.at < max(plan.end, plan.watch_end):
            rows.add(entry)
    if header is None or checked.scan.head.seq != known.seq or not _is_genuine(key, known.message(), known.signature):
        raise refuse(out, N_("its summary does not belong to its journal; write it anew with: jayul run"))
    if not (found := list(rows or ())):
        raise refuse(out, N_("holds no tick of its proof plan; there is nothing to claim"))
    return header, found


def _is_genuine(key: str, text: bytes, signature: str) -> bool:
    try:
        return genuine(key, text, bytes.fromhex(signature))
    except ValueError:
        return False


def _proof(manifest: Manifest) -> tuple[KpiSection, ProofSection]:
    assert manifest.kpi is not None
    assert manifest.proof is not None
    return manifest.kpi, manifest.proof


def _values(rows: Sequence[Row], plan: Plan) -> np.ndarray:
    return np.array([[row.values[name] for name in tags_of(plan)] for row in rows], dtype=np.float64)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(out: Path, to: Path | None, *, by: str = "", lesson: str = "", seal: bool = False) -> tuple[Claim | Sealed, Path]:
    """Write the claim of a run, signed with the run's key and (`by`) a person's, to `to` (else `RUN/claims`). Raises ManifestError,
    Corrupt. `seal`: write the sealed form to `to`, and the bundle to `RUN/claims`. Good signatures that are there are kept.
    """
    bundle, run = make(out, lesson), _signer(RUN_KEY, out)
    if run.public != bundle.claim.key:
        raise refuse(out / "keys" / KEY, N_("this run is signed with another key; bring that key into the key folder"))
    person = _person(bundle.claim, by)
    tags = [tag for tag in tags_of(bundle.claim.plan) if tag != bundle.claim.plan.kpi and tag in lesson]
    if seal and tags:
        message = N_("names the tag '{tag}', which a sealed claim does not tell; put it in other words")
        raise refuse("--lesson", message, tag=tags[0])
    home = out / "claims"
    folder = ((to if to is not None and not seal else None) or home) / digest(bundle.claim)[:12]
    claim = _signed(bundle.claim, folder / CLAIM, run, by, person)
    folder.mkdir(parents=True, exist_ok=True)
    price = [(PRICE, bundle.price.encode())] if bundle.price else []
    for name, data in ((ROWS, bundle.rows), *price, (KEY, claim.key.encode() + b"\n"), (CLAIM, as_bytes(claim))):
        write_whole(folder / name, data)
    if not seal:
        return claim, folder
    paper, path = papers.sealed(claim), (to or home) / f"{digest(claim)[:12]}{SEALED}"
    path.parent.mkdir(parents=True, exist_ok=True)
    paper = _signed(paper, path, run, by, person)
    write_whole(path, as_bytes(paper))
    return paper, path


def _signer(name: str, where: Path) -> Signer:
    try:
        return Signer.open(name)
    except ValueError as error:
        raise refuse(where, "{text}", text=error) from None


def _person(claim: Claim, by: str) -> Signer | None:
    if not by:
        return None
    if by not in claim.people:
        known = ", ".join(claim.people) or "-"
        raise refuse("--by", N_("'{name}' has no key in [people] of this run; there are: {known}"), name=by, known=known)
    signer = _signer(f"person-{by}", Path("--by"))
    if signer.public != claim.people[by]:
        raise refuse("--by", N_("the key of '{name}' in the key folder is not the one in [people] of this run"), name=by)
    return signer


def _signed(paper: Paper, path: Path, run: Signer, by: str, person: Signer | None) -> Paper:
    """Return a paper with the signatures that it has on disk already, that of the run, and that of a person."""
    found = {s.by: s for s in _known_signatures(paper, path)}
    for name, signer in ((RUN, run), (by, person)):
        if signer is not None and name not in found:
            at = today()
            found[name] = Signature(name, signer.public, at, signer.sign(message(paper, name, at)).hex())
    return replace(paper, signatures=tuple(found.values()))


def _known_signatures(paper: Claim | Sealed, path: Path) -> list[Signature]:
    try:
        there = msgspec.json.decode(path.read_bytes(), type=type(paper))
    except (OSError, msgspec.MsgspecError):
        return []
    return [s for s in there.signatures if is_good(paper, s)] if digest(there) == digest(paper) else []


def is_good(paper: Claim | Sealed, s: Signature) -> bool:
    """Say whether a signature is that of the run's key, or of a person with the key that the manifest gives them."""
    wanted = paper.key if s.by == RUN else paper.people.get(s.by)
    return s.key == wanted and _is_genuine(s.key, message(paper, s.by, s.at), s.data)


def is_claim(path: Path) -> bool:
    """Say whether a path is a claim (a bundle's folder, its claim.json, a sealed claim) rather than a run folder."""
    return (
        (path.is_file() and path.suffix == ".json")
        or (path / CLAIM).is_file()
        or (not (path / "journal").is_dir() and (path / ROWS).is_file())
    )


def read(path: Path) -> Claim | Sealed:
    """Read `claim.json` of a bundle, or a sealed claim. Raises ManifestError if it is none, or was written in another way."""
    file = path / CLAIM if path.is_dir() else path
    paper: Claim | Sealed
    try:
        data = file.read_bytes()
        raw = msgspec.json.decode(data)
        sealed_form = isinstance(raw, dict) and "sealed" in raw
        paper = msgspec.json.decode(data, type=Sealed) if sealed_form else msgspec.json.decode(data, type=Claim)
        if isinstance(paper, Claim):
            msgspec.convert(paper.effect, papers.Said)
    except (OSError, msgspec.MsgspecError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise refuse(file.name, N_("is not a claim: {error}"), error=what) from None
    if as_bytes(paper) != data:
        raise refuse(file.name, N_("is not written as Jayul writes it: something in it was changed"))
    return paper


def verify(path: Path, heads: Sequence[str] = (), key: Path | None = None) -> Verified:
    """Recompute a claim from what stands beside it, with this code; a sealed one: its signatures alone. Raises nothing about the
    claim: what is wrong is in `differs`. Raises ManifestError for a path that is not there.
    """
    if not path.exists():
        raise refuse(path, N_("there is nothing here"))
    try:
        paper = read(path)
    except ManifestError as error:
        return Verified("claim", "", None, 0, key is not None, (), (error.problem,))
    wrong, name = list[Problem](), path.name if isinstance(paper, Sealed) else CLAIM
    count = 0
    if isinstance(paper, Claim):
        folder = path if path.is_dir() else path.parent
        wrong += _files(paper, folder)
        if not wrong:
            found, priced = _recomputed(paper, folder)
            wrong += _figures(paper, found) if found is not None else [priced]
            count = _count(plain(found)) if found is not None and not wrong else 0
        if (code := code_digest()) != paper.digests.code:
            words = {"then": paper.jayul, "claimed": paper.digests.code[:12], "now": __version__, "here": code[:12]}
            same = N_("claimed by {then} with digest {claimed}, here {now} with {here}; every figure comes out the same")
            other = N_("claimed by {then} with digest {claimed}, here {now} with {here}")
            wrong.insert(0, _wrong("code", other if wrong else same, **words))
    wrong += [
        _wrong(name, N_("the signature of '{name}' is not good: something in the claim was changed"), name=s.by)
        for s in paper.signatures
        if not is_good(paper, s)
    ]
    signed = tuple(s.by for s in paper.signatures if is_good(paper, s))
    if RUN not in [s.by for s in paper.signatures]:
        wrong.append(_wrong(name, N_("the run's key has not signed it")))
    wrong += _known(paper, heads, key)
    kind = "sealed" if isinstance(paper, Sealed) else "claim"
    return Verified(kind, digest(paper), paper, count, key is not None, signed, tuple(wrong))


def _wrong(where: str, message: str, **params: object) -> Problem:
    return Problem(where, "", 0, message, {name: str(value) for name, value in params.items()})


def _files(claim: Claim, folder: Path) -> Iterator[Problem]:
    """Hold every file and the plan against its digest."""
    for name, wanted, what in (
        (ROWS, claim.digests.data, N_("not the data of the claim")),
        (PRICE, claim.digests.price, N_("not the price pack of the claim")),
        (KEY, _sha(claim.key.encode() + b"\n"), N_("not the run's key of the claim")),
    ):
        try:
            have = _sha((folder / name).read_bytes())
        except OSError:
            have = ""
        if have != wanted:
            yield _wrong(name, what if have else N_("is missing"))
    if claim.plan.digest() != claim.digests.plan:
        yield _wrong("plan", N_("not the plan of the claim"))
    if not _is_genuine(claim.key, claim.head.message(), claim.head.signature):
        yield _wrong("head", N_("the run's key has not signed this head of the journal"))


def _recomputed(claim: Claim, folder: Path) -> tuple[Figures | None, Problem]:
    """Compute the figures of a claim from the files that stand beside it; or say why they cannot be computed."""
    try:
        at, names, values = from_parquet((folder / ROWS).read_bytes())
    except ValueError as error:
        return None, _wrong(ROWS, "{text}", text=error)
    if names != tags_of(claim.plan) or not len(at) or int(at[-1]) != claim.end:
        return None, _wrong(ROWS, N_("does not hold the tags and times of the plan"))
    rows = [Row(t, dict(zip(names, row, strict=True))) for t, row in zip(at.tolist(), values.tolist(), strict=True)]
    text = (folder / PRICE).read_text(encoding="utf-8") if claim.digests.price else ""
    kpi = KpiSection(claim.kpi.name, claim.kpi.unit, claim.kpi.formula)
    proof = ProofSection(claim.policy, hours_per_year=claim.money.hours_per_year)
    try:
        start = money(kpi, proof, text, PRICE, claim.end)
    except ManifestError as error:
        return None, error.problem
    try:
        return figures(claim.plan, rows, claim.period, start), _wrong("", "")
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a plan that no run can have
        return None, _wrong("plan", N_("cannot be recomputed: {error}"), error=error)


def _figures(claim: Claim, found: Figures) -> Iterator[Problem]:
    """Compare what is claimed with what came out."""
    for name in found.__struct_fields__:
        if first := papers.differs(plain(getattr(claim, name)), plain(getattr(found, name)), name):
            path, claimed, have = first
            words = {"found": _short(have), "claimed": _short(claimed)}
            yield _wrong(path, N_("{found} recomputed, {claimed} claimed"), **words)


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _count(value: object) -> int:
    """Return how many figures a tree of plain values holds."""
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _known(paper: Claim | Sealed, heads: Sequence[str], key: Path | None) -> Iterator[Problem]:
    """Hold a claim against a key and heads that were kept elsewhere."""
    if key is not None:
        try:
            pinned = key.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise refuse(key, N_("is not a public key; give --key FILE")) from None
        if pinned != paper.key:
            what = N_("the claim is signed with {have}, the key that you keep is {known}")
            yield _wrong("key", what, have=paper.key[:12], known=pinned[:12])
    for text in heads:
        try:
            head = str(parse_head(text))
        except (ValueError, msgspec.MsgspecError) as error:
            raise refuse("--head", "{text}", text=error) from None
        if head != str(paper.head):
            yield _wrong("head", N_("the claim is from {have}, the head that you keep is {known}"), have=paper.head, known=head)
