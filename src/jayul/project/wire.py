"""Manifest -> wired objects. Every mistake that can be known before the first tick is found here."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from jayul import __version__, learn
from jayul.core.clock import Clock, Sim
from jayul.core.expr import ExprError, Unit, parse_unit, show_unit
from jayul.core.guard import FALLBACK, HOUR, Rule
from jayul.core.ladder import Terms
from jayul.core.loop import Fallback, Line, Model, Seat
from jayul.core.types import Level, Plant, Tag, TagTable
from jayul.decide import SPREAD, Move
from jayul.decide import Setting as PolicySetting
from jayul.decide.units import converting
from jayul.learn.formula import FormulaConfig, formula
from jayul.learn.movement import MovementConfig, movement
from jayul.learn.seen import SeenConfig, seen
from jayul.learn.spread import SpreadConfig, spread
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.files import Survey
from jayul.plant.journal import Rewindable
from jayul.plant.link import Linked
from jayul.plant.sim.twins import TWINS
from jayul.project import kinds, links
from jayul.project.admit import COMMISSIONED, admission, check_people
from jayul.project.change import approved
from jayul.project.contracts import check_contract
from jayul.project.manifest import LadderSection, Manifest, PolicySection, parse_canonical, utc
from jayul.project.plans import plan_tags, proof_plan
from jayul.project.price import read_pack
from jayul.project.problem import N_, nearest
from jayul.project.summary import KPI
from jayul.record.journal import FORMAT, Header
from jayul.rules import Moved
from jayul.rules import Setting as RuleSetting
from jayul.rules.basic import BASIC
from jayul.rules.halfspace import HalfspaceConfig, halfspaces
from jayul.rules.orders import orders
from jayul.rules.plan import within_plan
from jayul.rules.require import require
from jayul.rules.seen import BoxConfig

DATA = "JAYUL_DATA"


@runtime_checkable
class Recorded(Protocol):
    """A plant that knows only one stretch of time, `start` to `end` (UTC ns)."""

    start: int
    end: int


@runtime_checkable
class Surveyed(Protocol):
    """A plant that can say what there is in its recording."""

    def survey(self) -> Survey: ...


class Wired(msgspec.Struct, frozen=True):
    """A project ready to run."""

    manifest: Manifest
    plant: Plant
    clock: Clock
    line: Line
    ticks: int
    header: Header


def wire(manifest: Manifest, folder: Path, seed: int, *, start: int | None = None, stopped: Callable[[], bool] = bool) -> Wired:
    """Build plant, models, policies and rules. `folder`: where relative paths of the manifest start. Raises ManifestError.

    `start`: plant time of the first tick of a run that goes on; `stopped` ends a wait of the clock.
    """
    period, total = _times(manifest)
    factory = kinds.find(manifest, "plants", manifest.plant.kind, ["plant"])
    config: Any = manifest.convert(["plant"], located(manifest, folder), factory.config)
    clock: Clock = Sim(utc(manifest.run.start), seed)
    try:
        made = factory.make(config, clock)
    except (Refused, Unreachable) as error:
        key = next((key for key in ("path", "socket", "tags") if key in manifest.plant.options), None)
        manifest.fail(["plant", key] if key else ["plant"], "{text}", text=error)
    peer = None
    _check_link(manifest, made, config)
    if isinstance(made, Linked):
        peer = links.declared(manifest, made, config)
        clock = links.clock_of(peer, seed, stopped)
        made = factory.make(config, clock)
    if isinstance(made, Recorded):
        total = min(total, made.end - made.start + period)
        clock = Sim(made.start, seed)
        made = factory.make(config, clock)
        _no_writing(manifest, N_("a recording cannot be written to, so its ladder ends at advise; take this gate out"))
    plant: Plant = made
    harmless = isinstance(plant, Rewindable | Recorded) or getattr(plant, "simulated", False) or peer is not None
    check_people(manifest, harmless=harmless)
    if not harmless and not isinstance(plant, Linked):
        _no_writing(
            manifest, N_("only a plant that is simulated or on a wire, with a gateway, is written to; take this gate out")
        )
    if manifest.run.commit == "group" and not isinstance(plant, Rewindable):
        manifest.fail(
            ["run", "commit"], N_("'group' may lose the last 50 ms and is for simulated plants in this process; use 'tick'")
        )
    check_contract(manifest, plant.tags)
    start = clock.now() if start is None else start
    line = wire_line(manifest, plant.tags, period, Sim(start, seed))
    if isinstance(plant, Surveyed):
        _check_numbers(manifest, plant.survey(), line)
    names = tuple(seat.name for seat in line.seats)
    tags = tuple(line.table.tags[i] for i in line.named)
    plan, ticks = proof_plan(manifest, line), max(1, total // period)
    header = Header(
        FORMAT, __version__, manifest.project.name, seed, start, manifest.canonical, tags, names, manifest.people.simulated,
        msgspec.json.encode(plan, order="sorted").decode() if plan else "", approved(folder, manifest),
        read_pack(manifest, folder, start + (ticks - 1) * period),
    )  # fmt: skip
    return Wired(manifest, plant, clock, line, ticks, header)


def _check_link(manifest: Manifest, plant: object, config: Any) -> None:
    """Refuse a link that may write by itself, and a connector to which half of what holds for a wire would not apply."""
    if isinstance(plant, Linked) != links.on_wire(manifest):
        message = N_("'{kind}' is half a link: its plant has to be Linked, and its configuration a LinkConfig")
        manifest.fail(["plant", "kind"], message, kind=manifest.plant.kind)
    if getattr(config, "write", ()):
        manifest.fail(["plant", "write"], N_("the gateway alone may write, and is told by the policies what; take it out"))


def located(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Return the options of a manifest's plant with relative paths made to start in the project's folder."""
    options = dict(manifest.plant.options)
    for name in (
        "path",
        "socket",
        "tags",
        "gateway",
        "certificate",
        "private_key",
        "server_certificate",
        "password_file",
        "ca",
    ):
        if isinstance(options.get(name), str) and options[name]:
            options[name] = str(folder / os.path.expandvars(_data(manifest, name, options[name])))
    return options


def _no_writing(manifest: Manifest, message: str) -> None:
    """Refuse gates above advise, for a reason."""
    ladders: list[tuple[list[str | int], LadderSection | None]] = [(["ladder"], manifest.ladder)]
    ladders += [(["policy", i, "ladder"], policy.ladder) for i, policy in enumerate(manifest.policies)]
    for path, section in ladders:
        for level in ("confirm", "auto"):
            if section is not None and getattr(section, level) is not None:
                manifest.fail([*path, level], message)


def _check_numbers(manifest: Manifest, survey: Survey, line: Line) -> None:
    """Refuse a model or policy that lives by a column in which no number stands."""
    for i, section in enumerate(manifest.models):
        for name in line.models[section.name][0].needs:
            if name in survey.empty:
                manifest.fail(["model", i], N_("'{tag}' holds no number anywhere in the recording; take it out"), tag=name)
    for i, seat in enumerate(line.seats):
        for name in seat.needs:
            if name in survey.empty:
                message = N_("'{tag}' holds no number anywhere in the recording; take it out")
                manifest.fail(["policy", i, "needs"], message, tag=name)


def _data(manifest: Manifest, key: str, text: str) -> str:
    """Fill in where the data of an example lies: it is not part of the project."""
    if DATA not in text:
        return text
    if not (folder := os.environ.get(DATA)):
        message = N_("the data is not part of the project; say where it is with --data DIR or {name}")
        manifest.fail(["plant", key], message, name=DATA)
    return text.replace(f"${DATA}", str(Path(folder).absolute()))


def wire_line(manifest: Manifest, tags: TagTable, period: int, clock: Clock) -> Line:
    """Build everything but the plant over its tags: what a replay needs too. Raises ManifestError."""
    configs = [_rule_config(manifest, i) for i in range(len(manifest.rules))]
    models, derived = _models(manifest, tags, configs)
    table = TagTable([*tags.tags, *derived]) if derived else tags
    rules = _rules(manifest, configs, table)
    seats = tuple(_seat(manifest, i, section, table, period, clock) for i, section in enumerate(manifest.policies))
    for i, seat in enumerate(seats):
        if seat.name == FALLBACK or seat.name in [other.name for other in seats[:i]]:
            manifest.fail(["policy", i, "name"], N_("the name '{name}' is taken; give each policy its own"), name=seat.name)
    moves = [seat.plan for seat in seats if isinstance(seat.plan, Move)] + [
        seat.plan.move for seat in seats if hasattr(seat.plan, "move")
    ]
    used = {name for seat in seats for name in (*seat.tags, *seat.needs)} | {
        limit.tag for move in moves for limit in move.abort
    }
    used |= {name for model, _ in models.values() for name in model.needs} | {tag.name for tag in derived}
    used |= {when for seat in seats if (when := getattr(seat.plan, "when", ""))}
    used |= plan_tags(manifest, table) | {
        name for config in configs for name in (*getattr(config, "reads", ()), *getattr(config, "tags", ()))
    }
    named = np.array([i for i, name in enumerate(table.names) if name in used or not seats], dtype=np.int64)
    if conditions := {f"guard.require.{i}": text for i, text in enumerate(manifest.guard.require)}:
        rules = (require(conditions), *rules)
    here = np.arange(len(tags.tags))
    return Line(
        table, here, here, named, period, models, seats, _fallback(manifest, table, seats),
        (*BASIC, within_plan, orders, *rules), admission(manifest, clock.now()),
    )  # fmt: skip


def _times(manifest: Manifest) -> tuple[int, int]:
    period = manifest.span(["run", "period"], manifest.run.period)
    total = manifest.span(["run", "duration"], manifest.run.duration)
    if not 1970 <= manifest.run.start.year <= 2200:
        manifest.fail(["run", "start"], N_("must lie between the years 1970 and 2200"))
    if total < period:
        manifest.fail(["run", "duration"], N_("is shorter than one period of {period}"), period=manifest.run.period)
    return period, total


def _rule_config(manifest: Manifest, i: int) -> Any:
    """Read the configuration of a rule, whatever its kind."""
    path: list[str | int] = ["guard", "rule", i]
    factory = kinds.find(manifest, "rules", manifest.rules[i].kind, path)
    config: Any = manifest.convert(path, manifest.rules[i].options, factory.config)
    return config


def _rules(manifest: Manifest, configs: Sequence[Any], table: TagTable) -> tuple[Rule, ...]:
    """Make the rules over the tags of the frame, derived ones included; half-spaces are held together."""
    rules, halves = list[Rule](), list[HalfspaceConfig]()
    for i, config in enumerate(configs):
        path: list[str | int] = ["guard", "rule", i]
        setting = RuleSetting(f"guard.rule.{i}", table)
        try:
            rule: Rule = kinds.find(manifest, "rules", manifest.rules[i].kind, path).make(config, setting)
        except ValueError as error:
            manifest.fail(path, "{text}", text=_hint(manifest, str(error), table.names))
        if isinstance(config, HalfspaceConfig):
            halves.append(config)
        else:
            rules.append(rule)
    return (*rules, halfspaces(halves, RuleSetting("", table))) if halves else tuple(rules)


def _hint(manifest: Manifest, text: str, known: Sequence[str]) -> str:
    """Add to a message about an unknown tag what was probably meant, or that it is excluded."""
    found = re.match(r"unknown tag '([^']*)'", text)
    if found is None:
        return text
    if found[1] in manifest.plant.options.get("exclude", ()):
        return f"unknown tag '{found[1]}'; it is excluded, so nothing may see it"
    return f"unknown tag '{found[1]}'; did you mean '{nearest(found[1], known)}'?"


def _models(manifest: Manifest, tags: TagTable, rules: Sequence[Any]) -> tuple[dict[str, tuple[Model, Any]], list[Tag]]:
    models: dict[str, tuple[Model, Any]] = {}
    derived: list[Tag] = []
    least = manifest.contract.least if manifest.contract else 0.0

    def add(name: str, make: Callable[[learn.Setting], Any], path: Sequence[str | int]) -> None:
        if name in models:
            manifest.fail(path, N_("the name '{name}' is taken; give each model its own"), name=name)
        try:
            model = make(learn.Setting(name, TagTable([*tags.tags, *derived]), TWINS, least))
            TagTable([*tags.tags, *derived, *model.tags])
        except (ExprError, ValueError) as error:
            manifest.fail(path, "{text}", text=_hint(manifest, str(error), [*tags.names, *(tag.name for tag in derived)]))
        models[name] = (model, model.learn(()))
        derived.extend(model.tags)

    for i, section in enumerate(manifest.models):
        factory = kinds.find(manifest, "models", section.kind, ["model", i])
        config: Any = manifest.convert(["model", i], section.options, factory.config)
        add(section.name, lambda setting, f=factory, c=config: f.make(c, setting), ["model", i])  # type: ignore[misc]
    if manifest.kpi:
        text, path = manifest.kpi.formula, ["kpi", "formula"]
        add(KPI, lambda setting: formula(FormulaConfig({KPI: text}), setting), path)
        unit = derived[-1].unit
        if models[KPI][0].parsed[KPI].unit is None:  # type: ignore[attr-defined]
            manifest.fail(path, N_("is a condition, not a number: {text}"), text=text)
        if unit != show_unit(_unit(manifest)):
            manifest.fail(["kpi", "unit"], N_("the formula gives '{have}', not '{want}'"), have=unit, want=manifest.kpi.unit)
    for i, text in enumerate(manifest.guard.require):
        name = f"guard.require.{i}"
        add(name, lambda setting, n=name, t=text: formula(FormulaConfig({n: t}), setting), ["guard", "require"])  # type: ignore[misc]
        if models[name][0].parsed[name].unit is not None:  # type: ignore[attr-defined]
            manifest.fail(["guard", "require"], N_("is a number, not a condition: {text}"), text=text)
    for i, config in enumerate(rules):
        if isinstance(config, Moved):
            watch = MovementConfig(config.tags, config.window)
            add(f"guard.rule.{i}", lambda setting, w=watch: movement(w, setting), ["guard", "rule", i])  # type: ignore[misc]
        elif isinstance(config, BoxConfig):
            box = SeenConfig((*config.tags, *config.watch), config.state, config.after)
            add(f"guard.rule.{i}", lambda setting, b=box: seen(b, setting), ["guard", "rule", i])  # type: ignore[misc]
    needs = {name for i, policy in enumerate(manifest.policies) if _moves(manifest, i) for name in policy.needs}
    if SPREAD not in models and (there := tuple(sorted(needs & {*tags.names, *(tag.name for tag in derived)}))):
        add(SPREAD, lambda setting: spread(SpreadConfig(there), setting), ["policy"])
    return models, derived


def _moves(manifest: Manifest, i: int) -> bool:
    """Say whether a policy lays move plans, so that the spread of its inputs has to be known."""
    return issubclass(kinds.find(manifest, "policies", manifest.policies[i].kind, ["policy", i]).config, Move)


def _unit(manifest: Manifest) -> Unit:
    assert manifest.kpi
    try:
        return parse_unit(manifest.kpi.unit)
    except ExprError as error:
        manifest.fail(["kpi", "unit"], "{text}", text=error)


def _seat(manifest: Manifest, i: int, section: PolicySection, table: TagTable, period: int, clock: Clock) -> Seat:
    path: list[str | int] = ["policy", i]
    for key, names in (("writes", section.writes), ("needs", section.needs)):
        for name in names:
            if name not in table.index:
                near = nearest(name, table.names)
                manifest.fail([*path, key], N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=name, near=near)
    if twice := [name for name in section.writes if section.writes.count(name) > 1]:
        manifest.fail([*path, "writes"], N_("'{tag}' stands there twice"), tag=twice[0])
    for name in section.writes:
        _check_writable(manifest, [*path, "writes"], table[name])
    factory = kinds.find(manifest, "policies", section.kind, path)
    config: Any = manifest.convert(path, section.options, factory.config)
    _check_move(manifest, path, section, config, table, period)
    end = clock.now() + manifest.span(["run", "duration"], manifest.run.duration)
    setting = PolicySetting(section.name, section.writes, section.needs, period, clock.now(), clock.rng, end)
    policy, plan = factory.make(config, setting)
    policy = converting(policy, {name: table[name].unit for name in section.writes})
    own = [*path, "ladder"] if section.ladder else ["ladder"]
    terms = _terms(manifest, own, section.ladder or manifest.ladder, period)
    return Seat(section.name, policy, plan, frozenset(section.writes), section.needs, terms)


def _check_writable(manifest: Manifest, path: list[str | int], tag: Tag) -> None:
    if tag.safety:
        manifest.fail(path, N_("'{tag}' belongs to the safety system and is never written; take it out"), tag=tag.name)
    if not tag.writable:
        manifest.fail(path, N_("'{tag}' is not writable; take it out or mark the tag writable"), tag=tag.name)
    for bound in ("low", "high", "max_step"):
        if getattr(tag, bound) is None:
            manifest.fail(path, N_("'{tag}' has no {bound}: no bound, no write; add it to the tag"), tag=tag.name, bound=bound)


def _check_move(
    manifest: Manifest, path: list[str | int], section: PolicySection, config: Any, table: TagTable, period: int
) -> None:
    """Hold the targets, rates and abort limits of a configuration, where it has any, against tags and allow-list."""
    for name, rate in getattr(config, "per_hour", {}).items():
        if name not in section.writes:
            manifest.fail([*path, "per_hour"], N_("'{tag}' is not in 'writes'; add it there"), tag=name)
        step, limit = rate * period / HOUR, table[name].max_step or 0.0
        if step > limit * (1 + 1e-9):
            message = N_("{rate} an hour is {step} a period, more than the max_step {limit} of '{tag}'; lower it")
            manifest.fail([*path, "per_hour"], message, rate=f"{rate:g}", step=f"{step:.3g}", limit=f"{limit:g}", tag=name)
    for name, value in getattr(config, "target", {}).items():
        if name not in section.writes:
            manifest.fail([*path, "target"], N_("'{tag}' is not in 'writes'; add it there"), tag=name)
        tag = table[name]
        if tag.low is not None and tag.high is not None and not tag.low <= value <= tag.high:
            bounds = {"low": f"{tag.low:g}", "high": f"{tag.high:g}", "unit": tag.unit, "value": f"{value:g}"}
            manifest.fail([*path, "target", name], N_("{value} lies outside the range {low} to {high} {unit}"), **bounds)
    if (when := getattr(config, "when", "")) and when not in table.index:
        manifest.fail(
            [*path, "when"], N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=when, near=nearest(when, table.names)
        )
    for limit in getattr(config, "abort", ()):
        if limit.tag not in table.index:
            near = nearest(limit.tag, table.names)
            manifest.fail([*path, "abort"], N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=limit.tag, near=near)
        if not limit.low < limit.high:
            manifest.fail([*path, "abort"], N_("the low limit of '{tag}' must lie below the high one"), tag=limit.tag)


def _terms(manifest: Manifest, path: Sequence[str | int], section: LadderSection, period: int) -> Terms:
    """Read the gates that stand at a key path: those of a policy, or of all."""
    for name in ("stale_ticks", "veto_ticks"):
        if getattr(section, name) < 1:
            manifest.fail([*path, name], N_("must be at least 1"))
    gates = {}
    for level in (Level.SHADOW, Level.ADVISE, Level.CONFIRM, Level.AUTO):
        name = level.name.lower()
        if (gate := getattr(section, name)) is not None:
            for count in ("ticks", "proposals"):
                if getattr(gate, count) < 0:
                    manifest.fail([*path, name, count], N_("must not be negative"))
            for share in ("coverage", "max_veto_rate"):
                if not 0 <= getattr(gate, share) <= 1:
                    manifest.fail([*path, name, share], N_("must lie between 0 and 1"))
            if level == Level.CONFIRM and not manifest.people.simulated and links.on_wire(manifest):
                gate = msgspec.structs.replace(gate, evidence=tuple(dict.fromkeys((*gate.evidence, COMMISSIONED))))
            gates[level] = gate
    signed = manifest.span([*path, "signed_for"], section.signed_for) // period if section.signed_for else 0
    if section.signed_for and not signed:
        manifest.fail([*path, "signed_for"], N_("is shorter than one period of {period}"), period=manifest.run.period)
    return Terms(gates, section.stale_ticks, section.veto_ticks, signed)


def _fallback(manifest: Manifest, table: TagTable, seats: tuple[Seat, ...]) -> dict[str, Fallback]:
    written = {tag for seat in seats for tag in seat.tags}
    for name, entry in manifest.fallback.items():
        if name not in written:
            near = nearest(name, written or table.names)
            manifest.fail(["fallback", name], N_("no policy writes '{tag}'; did you mean '{near}'?"), tag=name, near=near)
        if entry.action == "ramp" and not 0 < entry.per_hour < math.inf:
            manifest.fail(["fallback", name], N_("a ramp needs 'per_hour' above 0"))
    return {tag: _fallback_of(manifest, tag) for tag in sorted(written)}


def _fallback_of(manifest: Manifest, tag: str) -> Fallback:
    entry = manifest.fallback.get(tag)
    return Fallback(entry.action, entry.per_hour) if entry else Fallback()


def replay_line(header: Header, *, full: bool) -> tuple[Line, TagTable]:
    """Wire a line over the tags that a journal kept. Returns also those tags. Raises ManifestError.

    `full`: they derive and propose anew; else the caller plays back what they said.
    """
    manifest = parse_canonical(header.manifest)
    kept = TagTable(header.tags)
    plain = TagTable(tag for tag in header.tags if tag.kind != "derived")
    clock = Sim(header.start, header.seed)
    line = wire_line(manifest, plain, manifest.span(["run", "period"], manifest.run.period), clock)
    if full:
        take = np.array([kept.index[tag.name] for tag in plain.tags], dtype=np.int64)
        order = np.array([line.table.index[name] for name in kept.names], dtype=np.int64)
        return msgspec.structs.replace(line, take=take, put=np.arange(len(plain.tags)), named=order), kept
    everything = np.arange(len(kept.tags))
    return msgspec.structs.replace(line, table=kept, take=everything, put=everything, named=everything), kept
