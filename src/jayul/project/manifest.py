"""The manifest: TOML -> frozen typed structs. Everything a project is stands in it; unknown keys are refused."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import msgspec

from jayul.core.expr import ExprError, duration
from jayul.core.ladder import Gate
from jayul.project.problem import N_, ManifestError, Problem, find_line, nearest, read_path, show_path
from jayul.project.said import template_of
from jayul.prove.plan import Limit
from jayul.record.contract import TagContract

NAME = "jayul.toml"
T = TypeVar("T")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section."""


class ProjectSection(_Section, frozen=True):
    """`[project]`: what it is called."""

    name: str
    description: str = ""


class RunSection(_Section, frozen=True):
    """`[run]`: how often and how long. `start` is the plant time of the first tick; a recording has its own."""

    period: str = "30 s"
    duration: str = "24 h"
    start: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    commit: Literal["tick", "group"] = "tick"


class Person(_Section, frozen=True):
    """`[[people.person]]`: a named person, what they may do, and their public key (`jayul sign --new-key NAME`).

    `until`: the last day on which their competence counts.
    """

    name: str
    roles: tuple[Literal["engineer", "operator"], ...]
    key: str = ""
    until: dt.date | None = None


class PeopleSection(_Section, frozen=True):
    """`[people]`: who may sign and approve. `simulated` is accepted with a simulated plant or a recording only."""

    simulated: bool = False
    person: tuple[Person, ...] = ()


class KpiSection(_Section, frozen=True):
    """`[kpi]`: the number that the project is about; it becomes the derived tag `kpi`."""

    name: str
    unit: str
    formula: str


class ProofSection(_Section, frozen=True):
    """`[proof]`: how the benefit of a policy with an arm schedule is measured; fixed in the journal before the first tick.

    `production` must stay at least `production_ratio` of off, `quality` within `quality_within`; `limits` may not be outside
    for longer; `drivers` must not differ between the arms. After each switch `wash_out` is left out (empty: what the
    `commissioning` blocks find); while the tag `alarm` is 1, and `recover` after it, ticks are left out in both arms. The first
    `commissioning` blocks are left out. `twin`: a derived tag that says what the KPI would be without the policy.
    `no_worse`: claim that the KPI rises by no more than this, instead of a benefit.
    `assigned`: judge by what was assigned, whatever was done (advice).
    `smallest`: the smallest effect of interest, in percent: how many plant hours would show it is reported.
    `price`: a price pack (YAML), relative to the project folder; `hours_per_year`: how long the line runs in a year.
    """

    policy: str
    wash_out: str = ""
    commissioning: int = 0
    production: str = ""
    production_ratio: float = 0.99
    quality: str = ""
    quality_within: float = 1.0
    limits: tuple[Limit, ...] = ()
    drivers: tuple[str, ...] = ()
    alarm: str = ""
    recover: str = "1 ms"
    least: float = 0.5
    confidence: float = 0.95
    twin: str = ""
    coverage_gap: float = 0.1
    no_worse: float = 0.0
    assigned: bool = False
    smallest: float = 0.0
    price: str = ""
    hours_per_year: float | None = None


class HistorySection(_Section, frozen=True):
    """`[history]`: how long samples are kept, and the summaries and the ledger of samples that are gone (empty: for ever).

    `compact`: merge small files, which restarts leave, while the run goes on.
    """

    keep: str = ""
    keep_pyramid: str = ""
    compact: bool = True


class ExcludeEntry(_Section, frozen=True, rename={"begin": "from", "end": "to"}):
    """`[[baseline.exclude]]`: a non-routine event that a named person takes out, and why."""

    begin: dt.datetime
    end: dt.datetime
    by: str
    why: str


class BaselineSection(_Section, frozen=True):
    """`[baseline]`: before and after, where on and off cannot be switched. Means of `mean` of the KPI are predicted from `drivers`.

    `change`: when the measure began. `drivers` must be such that the measure does not touch.
    """

    change: dt.datetime
    drivers: tuple[str, ...]
    mean: str = "1 d"
    confidence: float = 0.95
    exclude: tuple[ExcludeEntry, ...] = ()


class ContractSection(_Section, frozen=True):
    """`[contract]`: what is expected of the samples of each tag; below the coverage `least` no model is learnt, nothing claimed."""

    least: float = 0.9
    tag: dict[str, TagContract] = {}


class GuardSection(_Section, frozen=True):
    """`[guard]`: conditions (core/expr) that must hold for anything to be written; further rules, each with its `kind`."""

    require: tuple[str, ...] = ()
    rule: tuple[dict[str, Any], ...] = ()


class FallbackEntry(_Section, frozen=True):
    """`[fallback."TAG"]`: where a tag goes when its policy is demoted."""

    action: Literal["hold", "ramp", "release"]
    per_hour: float = 0.0


class LadderSection(_Section, frozen=True):
    """`[ladder]`: the gate to each level, and how many bad ticks in a row demote. A level without a gate is never reached."""

    shadow: Gate | None = None
    advise: Gate | None = None
    confirm: Gate | None = None
    auto: Gate | None = None
    stale_ticks: int = 3
    veto_ticks: int = 5
    signed_for: str = ""  # so long a signature for confirm or auto is good; empty: for ever


class Kind(msgspec.Struct, frozen=True):
    """A section whose further keys depend on its `kind`: `[plant]`, `[[model]]`."""

    kind: str
    name: str
    options: dict[str, Any]


class PolicySection(_Section, frozen=True):
    """`[[policy]]`: a policy, the tags it may write, the inputs whose freshness it lives by; further keys depend on `kind`.

    `ladder`: its own gates, instead of those of `[ladder]`.
    """

    name: str
    kind: str
    writes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    ladder: LadderSection | None = None
    options: dict[str, Any] = {}


class Manifest(_Section, frozen=True):
    """A whole manifest, structurally sound. `file` and `text` are for messages; `canonical` is what the journal's header holds."""

    project: ProjectSection
    run: RunSection
    plant: Kind
    people: PeopleSection
    ladder: LadderSection
    guard: GuardSection
    fallback: dict[str, FallbackEntry]
    kpi: KpiSection | None
    proof: ProofSection | None
    baseline: BaselineSection | None
    contract: ContractSection | None
    history: HistorySection
    models: tuple[Kind, ...]
    rules: tuple[Kind, ...]
    policies: tuple[PolicySection, ...]
    file: str
    text: str
    canonical: str

    def fail(self, path: Sequence[str | int], message: str, **params: object) -> NoReturn:
        """Raise ManifestError for a mistake at a key path."""
        texts = {name: str(value) for name, value in params.items()}
        if message == "{text}":
            message, texts = template_of(texts["text"])
        raise ManifestError(Problem(self.file, show_path(path), find_line(self.text, path), message, texts))

    def span(self, path: Sequence[str | int], text: str) -> int:
        """Read a duration that stands at a key path."""
        try:
            return duration(text)
        except ExprError as error:
            self.fail(path, "{text}", text=error)

    def convert(self, path: Sequence[str | int], raw: Any, into: type[T]) -> T:
        """Read the section at a key path into a struct."""
        return convert(self.file, self.text, path, raw, into)


def utc(stamp: dt.datetime) -> int:
    """Return UTC ns; a time without zone is UTC."""
    stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=dt.UTC)
    return (stamp - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000


def load(folder: Path) -> Manifest:
    """Read `folder/jayul.toml`, or the manifest file itself. Raises ManifestError."""
    path = folder / NAME if folder.is_dir() else folder
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        message = N_("there is no manifest here; make a project with: jayul init tank {name}")
        raise ManifestError(Problem(str(path), "", 0, message, {"name": folder.name})) from None
    except (UnicodeDecodeError, OSError) as error:
        message = N_("cannot be read as UTF-8 text: {error}")
        raise ManifestError(Problem(str(path), "", 0, message, {"error": str(error)})) from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        message = N_("not TOML: {error}")
        what = re.sub(r"\s*\(at .*", "", str(error))
        raise ManifestError(Problem(str(path), "", int(at[1]) if at else 0, message, {"error": what})) from None
    return parse(raw, str(path), text)


def parse_canonical(text: str) -> Manifest:
    """Read the manifest that a journal's header holds."""
    return parse(msgspec.json.decode(text), "journal header", "")


SECTIONS: dict[str, Any] = {
    "project": ProjectSection, "run": RunSection, "plant": dict[str, Any], "people": PeopleSection, "ladder": LadderSection,
    "guard": GuardSection, "proof": ProofSection,
    "baseline": BaselineSection, "history": HistorySection, "fallback": dict[str, dict[str, Any]], "kpi": KpiSection,
    "contract": ContractSection, "model": list[dict[str, Any]], "policy": list[dict[str, Any]],
}  # fmt: skip


def parse(raw: dict[str, Any], file: str, text: str) -> Manifest:
    """Turn parsed TOML into a Manifest. Raises ManifestError for the first mistake."""

    def fail(path: Sequence[str | int], message: str, **params: str) -> NoReturn:
        raise ManifestError(Problem(file, show_path(path), find_line(text, path), message, params))

    for key in raw:
        if key not in SECTIONS:
            fail([key], N_("unknown section '{key}'; did you mean '{near}'?"), key=key, near=nearest(key, SECTIONS))
    for key in ("project", "plant"):
        if key not in raw:
            fail([], N_("section [{key}] is missing"), key=key)
    if isinstance(contract := raw.get("contract"), dict) and isinstance(tags := contract.get("tag"), dict):
        for tag, entry in tags.items():  # each by itself, so that a mistake is found at its own line
            convert(file, text, ["contract", "tag", tag], entry, TagContract)
    found = {key: convert(file, text, [key], raw[key], SECTIONS[key]) for key in raw}
    found["fallback"] = {
        tag: convert(file, text, ["fallback", tag], entry, FallbackEntry) for tag, entry in found.get("fallback", {}).items()
    }
    models = tuple(_kind(fail, ["model", i], entry, name=True) for i, entry in enumerate(found.get("model", [])))
    entries = found.get("guard", GuardSection()).rule
    rules = tuple(_kind(fail, ["guard", "rule", i], entry, name=False) for i, entry in enumerate(entries))
    policies = tuple(_policy(file, text, i, entry) for i, entry in enumerate(found.get("policy", [])))
    canonical = msgspec.json.encode(raw, order="sorted").decode()
    return Manifest(
        found["project"], found.get("run", RunSection()), _kind(fail, ["plant"], found["plant"], name=False),
        found.get("people", PeopleSection()), found.get("ladder", LadderSection()), found.get("guard", GuardSection()),
        found["fallback"], found.get("kpi"), found.get("proof"), found.get("baseline"), found.get("contract"),
        found.get("history", HistorySection()),
        models, rules, policies, file, text, canonical,
    )  # fmt: skip


def _kind(fail: Any, path: list[str | int], raw: dict[str, Any], *, name: bool) -> Kind:
    for key in ("kind", "name") if name else ("kind",):
        if key not in raw:
            fail(path, N_("'{key}' is missing"), key=key)
        if not isinstance(raw[key], str):
            fail([*path, key], N_("expected text, got {got}"), got=repr(raw[key]))
    own = {"kind", "name"} if name else {"kind"}
    return Kind(raw["kind"], raw.get("name", "") if name else "", {k: v for k, v in raw.items() if k not in own})


def _policy(file: str, text: str, i: int, raw: dict[str, Any]) -> PolicySection:
    own = {key: value for key, value in raw.items() if key in ("name", "kind", "writes", "needs", "ladder")}
    section = convert(file, text, ["policy", i], own, PolicySection)
    return msgspec.structs.replace(section, options={k: v for k, v in raw.items() if k not in own})


_WORDS = [  # what msgspec says -> our template
    (r"Object contains unknown field `(?P<key>[^`]+)`", N_("unknown key '{key}'; did you mean '{near}'?")),
    (r"Object missing required field `(?P<key>[^`]+)`", N_("'{key}' is missing")),
    (r"Invalid enum value '?(?P<got>[^']*)'?", N_("'{got}' is not one of {choices}")),
    (r"Expected `(?P<want>[^`]+)`, got `(?P<got>[^`]+)`", N_("expected {want}, got {got}")),
    (r"Expected `(?P<want>[^`]+)`", N_("expected {want}")),
    (r"(?P<text>.*)", "{text}"),
]
_TOML_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


def convert(file: str, text: str, path: Sequence[str | int], raw: Any, into: type[T]) -> T:
    """Read plain values at a key path of a file into a struct; `text` is the file's, to find lines. Raises ManifestError."""
    try:
        return msgspec.convert(raw, into, strict=True, str_keys=True)  # TOML has no other keys than text
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        inner = read_path(where.rstrip("`")) if where else []
    full = [*path, *inner]
    found, template = next((match, t) for pattern, t in _WORDS if (match := re.fullmatch(pattern, what)))
    params = dict(found.groupdict())
    if template == "{text}":
        template, params = template_of(what)
        full = [*full, *_culprit(what, raw)] if isinstance(raw, dict) else full
    if "key" in params:
        params["near"] = nearest(params["key"], _fields(into, inner))
        if "unknown" in template:
            full = [*full, params["key"]]
    if "{choices}" in template:
        params["choices"] = ", ".join(_choices(into, inner))
    for name in ("want", "got"):
        if name in params:
            params[name] = " or ".join(_TOML_WORDS.get(word.strip(), word.strip()) for word in params[name].split("|"))
    raise ManifestError(Problem(file, show_path(full), find_line(text, full), template, params))


def _culprit(what: str, raw: dict[str, Any]) -> list[str]:
    """Return the key that a message quotes, or whose value it quotes, if there is one."""
    quoted = re.findall(r"'([^']*)'", what)
    return [key for word in quoted for key, value in raw.items() if word in (key, value)][:1]


def _schema(into: type, path: Sequence[str | int]) -> dict[str, Any]:
    """Return the JSON schema of the type at a path within a type (empty if it cannot be found)."""
    schema = msgspec.json.schema(into)
    defs = schema.get("$defs", {})
    here: Any = schema
    for part in [None, *path]:
        if isinstance(part, int):
            here = here.get("items", {})
        elif part is not None:
            here = here.get("properties", {}).get(part, here.get("additionalProperties") or {})
        while isinstance(here, dict) and ("$ref" in here or "anyOf" in here):
            ref = here.get("$ref") or next((option["$ref"] for option in here["anyOf"] if "$ref" in option), "")
            here = defs.get(ref.rsplit("/", 1)[-1], {})
    return here if isinstance(here, dict) else {}


def _fields(into: type, path: Sequence[str | int]) -> list[str]:
    return list(_schema(into, path).get("properties", ["-"]))


def _choices(into: type, path: Sequence[str | int]) -> list[str]:
    return [str(choice) for choice in _schema(into, path).get("enum", ["-"])]
