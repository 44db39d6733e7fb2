"""What a person sees: tables and lines made from the structs that the rooms return."""

from __future__ import annotations

import datetime as dt
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Console
from rich.table import Table

from jayul.app import kept
from jayul.app.texts import _
from jayul.core.types import Outcome, Tag
from jayul.learn import Card
from jayul.plant.files import Survey
from jayul.project.look import Replayed, Status
from jayul.project.manifest import parse_canonical
from jayul.project.problem import N_, Problem
from jayul.project.run import Result
from jayul.project.said import spoken, template_of
from jayul.project.summary import Summary
from jayul.project.wire import Wired
from jayul.record.history import HistoryReport
from jayul.record.verify import Report

LEVELS = {
    "record": N_("record"), "shadow": N_("shadow"), "advise": N_("advise"), "confirm": N_("confirm"), "auto": N_("auto"),
}  # fmt: skip
REASONS = {
    "start": N_("it begins there"),
    "signed": N_("gate passed and signed"),
    "inputs-stale": N_("inputs stale"),
    "override": N_("another hand changed the value"),
    "plan-aborted": N_("an abort limit was crossed"),
    "write-partial": N_("a write was taken in part"),
    "write-rejected": N_("the plant rejected a write"),
    "outcome-unknown": N_("unknown what became of a write"),
    "veto-streak": N_("the guard refused many times in a row"),
    "evidence-against": N_("evidence turned against it"),
    "policy-failed": N_("the policy raised an error"),
    "person": N_("a person demoted it"),
    "changed": N_("something that it relies on was changed"),
    "approval-used": N_("this approval was used before"),
    "plan-not-on-the-table": N_("no such plan is on the table"),
    "plan-closed": N_("the plan is closed"),
    "level-too-low": N_("the level does not allow it"),
    "gate-not-passed": N_("the gate is not passed"),
    "signature-for-another-stay": N_("signed for another stay on this level"),
    "signature-invalid": N_("signature is not good"),
    "not-authorised": N_("this person may not do that"),
    "unknown-policy": N_("no such policy"),
    "signature-expired": N_("the signature has run out"),
    "situation-changed": N_("the situation is not the one that was to be approved"),
    "competence-expired": N_("this person's competence has run out"),
    "order-malformed": N_("the order cannot be understood"),
    "change-malformed": N_("the change names nothing, or no reason"),
    "order-out-of-date": N_("a newer order of this person stands"),
    "commissioned-elsewhere": N_("this was commissioned for another run or plant"),
}
RULES = {
    "unknown-tag": N_("unknown tag"), "allow-list": N_("not on the allow-list"), "safety-tag": N_("safety tag"),
    "read-only": N_("read-only tag"), "unbounded": N_("no bound, no write"), "not-a-number": N_("not a number"),
    "expired": N_("expired"), "inputs": N_("an input is not fresh and good"), "single": N_("more than one proposal"),
    "range": N_("outside the range"), "step": N_("step too large"), "plan": N_("outside the plan"),
    "require": N_("a condition does not hold"), "batch": N_("another part of the move was refused"),
    "unit": N_("another unit"), "no-rules": N_("no rules are given"), "rate": N_("too much within the window"),
    "travel": N_("too much movement within the window"), "moves": N_("too many moves within the window"),
    "dwell": N_("it rests after a move"), "seen": N_("outside what was seen so far"),
    "mode": N_("the mode does not take it"), "between": N_("outside the plant's own limits"),
    "hours": N_("outside the hours for moves"), "age": N_("a value is too old"), "halfspace": N_("a shared bound"),
    "lock": N_("locked by a person"), "limit": N_("outside the limits that a person set"),
}  # fmt: skip
MODELS = {  # kind -> what it is for, what it does not see
    "simtwin": (
        N_("says what the KPI would be if no set-point had been moved"),
        N_(
            "what the simulation does not know; errors cost power, not truth, as long as its drivers do not answer to the policy"
        ),
    ),
    "pca": (
        N_("rings when the tags no longer move together as they did while it learned, and names the largest contributions"),
        N_("what changes neither mean nor spread stays unseen; a regime that was not learned is not judged"),
    ),
    "softsensor": (
        N_("estimates a quantity from others, also when the quantity itself falls silent"),
        N_("not to be trusted outside what was seen; does not notice when the relation itself drifts"),
    ),
    "forecast": (
        N_("says what a quantity will be, from its own past alone"),
        N_("knows nothing of orders, holidays or maintenance; a change of habit shows only after the next fit"),
    ),
}
PEERS = {"seasonal naive": N_("seasonal naive"), "mean": N_("the mean of what it learned from")}
KINDS = {
    "signature": N_("signature"), "approval": N_("approval"), "rejection": N_("rejection"), "demotion": N_("demotion"),
    "limit": N_("order"), "evidence": N_("evidence"), "note": N_("note"),
}  # fmt: skip
STATES = {
    "settled": N_("applied"), "missed": N_("not applied"), "overridden": N_("another value stands there"), "unknown": N_("unknown"),
}  # fmt: skip


PARTS = {"simulated engineer": N_("simulated engineer"), "proof monitor": N_("proof monitor")}  # who acts, beside people
DERIVED = frozenset((
    N_("no"), N_("yes"), N_("well"), N_("frozen"), N_("fault"), N_("settling"), N_("learning"), N_("watched"),
    N_("outside what was seen"), N_("as seen"),
))  # states of what models derive  # fmt: skip


def number(value: float | None) -> str:
    """Write a number shortly, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.6g}"


def share(value: float | None) -> str:
    """Write a share in percent, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.4g} %"


def fixed(value: float | None, digits: int) -> str:
    """Write a number with so many decimals, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def problem(found: Problem) -> str:
    """Return a mistake as one line, with the place where it is."""
    return found.where + mistake(found)


def mistake(found: Problem) -> str:
    """Return a mistake as one line, without its place."""
    params = {name: " ".join(value.split()) for name, value in found.params.items()}
    return spoken(found.message, params, _) if found.message != "{text}" else _(params["text"])


def who(name: str) -> str:
    """Return a name: a person's own, or that of a part of Jayul in the language of the reader."""
    return _(PARTS[name]) if name in PARTS else name


def state(tag: Tag, value: float) -> str:
    """Return the name of the state that a code stands for: the plant's own word, or Jayul's in the language of the reader."""
    text = "" if math.isnan(value) else tag.states.get(int(value), "")
    return _(text) if tag.kind == "derived" and text in DERIVED else text


def reason(found: object) -> str:
    """Return what a room below says, in the language of the reader."""
    return spoken(*template_of(str(found)), _)


def columns(*names: str, right: Sequence[int] = ()) -> Table:
    """Return an empty table with these columns; `right` are the numbers of those that hold figures."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, column in enumerate(names):
        table.add_column(column, justify="right" if i in right else "left", overflow="fold")
    return table


def steps(summary: Summary) -> Table:
    """Return the steps on the ladder."""
    table = columns(_("hour"), _("policy"), _("level"), _("why"), _("who"), right=[0])
    for step in summary.levels:
        move = f"{_(LEVELS[step.before])} → {_(LEVELS[step.after])}"
        table.add_row(f"{step.hours:.1f}", step.policy, move, _(REASONS.get(step.reason, step.reason)), who(step.by) or "–")
    return table


def asked(summary: Summary) -> Table:
    """Return asked, allowed, applied by tag."""
    table = columns(
        _("tag"), _("asked"), _("allowed"), _("narrowed"), _("refused"), _("sent"), _("applied"),
        _("last asked / allowed / applied"), _("rules that spoke"), right=range(1, 7),
    )  # fmt: skip
    for tag, row in sorted(summary.tags.items()):
        last = f"{number(row.last_asked)} / {number(row.last_allowed)} / {number(row.last_applied)}"
        rules = ", ".join(f"{_(RULES.get(rule, rule))} {count}" for rule, count in sorted(row.rules.items())) or "–"
        counts = (row.asked, row.allowed, row.narrowed, row.refused, row.sent, row.applied)
        table.add_row(tag, *map(str, counts), last, rules)
    return table


def findings(summary: Summary) -> Table:
    """Return what each alarm found."""
    table = columns(
        _("alarm"), _("times"), _("minutes"), _("share of ticks"), _("the longest"), _("largest contributions"), right=[1, 2, 3]
    )
    for found in summary.findings:
        longest = max(found.longest, key=lambda episode: episode.minutes, default=None)
        table.add_row(
            found.tag, str(found.episodes), f"{found.minutes:.0f}", f"{100 * found.share:.1f} %",
            instant(longest.at, summary.timezone) if longest else "–", (", ".join(longest.top) if longest else "") or "–",
        )  # fmt: skip
    return table


def effort(s: Summary) -> str:
    """Say in one line what the run cost its people."""
    return effort_of(msgspec.to_builtins(s.effort))


def effort_of(e: dict[str, Any]) -> str:
    """Say in one line what a run cost its people, from the `effort` of a summary or a claim."""
    acts = ", ".join(f"{_(KINDS.get(kind, kind))} {count}" for kind, count in sorted(e["acts"].items())) or "0"
    text = _(
        "Effort: {acts}; overrides {overrides}, alarms {alarms}, at a limit {minutes:.0f} min, approvals in under 2 s: {hasty}"
    )
    hasty = _("unknown") if e["hasty_approvals"] is None else str(e["hasty_approvals"])
    return text.format(acts=acts, overrides=e["overrides"], alarms=e["alarms"], minutes=e["clamped_minutes"], hasty=hasty)


def instant(at: int, zone: str) -> str:
    """Write a time (ns) to the minute, as the plant's clocks show it."""
    return dt.datetime.fromtimestamp(at / 1e9, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M %Z")


def instant_exact(at: int, zone: str) -> str:
    """Write a time (ns) to the second."""
    return dt.datetime.fromtimestamp(at // 1_000_000_000, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def learned(card: Card) -> str:
    """Say in one line what a model learned from, and how it did on what it had not seen."""
    if card.kind == "simtwin":
        return _("nothing: it is a simulation")
    refused = [_("{n} fits refused: too little of the data was there").format(n=card.refused)] if card.refused else []
    if not card.fits:
        return "; ".join([_("has not learned yet"), *refused])
    parts = [_("{fits} fits, {rows} rows").format(fits=len(card.fits), rows=sum(fit.rows for fit in card.fits))]
    if card.coverage is not None:
        text = _("{share:.1f} % of the rows offered; digest {digest}")
        parts.append(text.format(share=100 * card.coverage, digest=card.digest[:16]))
    found = card.measured
    if "mae" in found:
        text = _("mean absolute error {mae} {unit} over {rows} unseen; {peer}: {naive}; ratio {ratio}")
        words = {key: f"{found.get(key, math.nan):.3g}" for key in ("mae", "mae-naive", "ratio")}
        words = {"mae": words["mae"], "naive": words["mae-naive"], "ratio": words["ratio"]}
        parts.append(text.format(**words, unit=card.unit, rows=f"{found['rows']:.0f}", peer=_(PEERS[card.peer])))
    if "inside" in found:
        text = _("{inside:.1f} % lay within the interval (aim {nominal:.0f} %)")
        parts.append(text.format(inside=100 * found["inside"], nominal=100 * found["nominal"]))
    if "alarms" in found:
        text = _("{alarms:.1f} % of {rows} watched ticks rang")
        parts.append(text.format(alarms=100 * found["alarms"], rows=f"{found['rows']:.0f}"))
    return "; ".join([*parts, *refused])


def closed(outcomes: Sequence[Outcome]) -> list[str]:
    """Return, for each Decision that an earlier process left open, what became of its writes."""
    return [
        _("Tick {tick} was left open by a process that ended; read back: {tag} {state}").format(
            tick=outcome.tick, tag=receipt.tag, state=_(STATES[receipt.state])
        )
        for outcome in outcomes
        for receipt in outcome.receipts
    ]


def _link(console: Console, link: dict[str, Any]) -> None:
    """Show how the link of a plant on a wire fared."""
    text = _("Link: set up {connections} times, {received} samples received, {shed} shed, {overflowed} dropped at the source")
    console.print(text.format(**link), highlight=False)
    if refused := link.get("gateway_refused"):
        text = _("The gateway's last refusal: {text}")
        console.print(text.format(text=refused), style="yellow", highlight=False)
    if link["missing"]:
        console.print(_("Unknown to the source: {tags}").format(tags=", ".join(link["missing"])), style="yellow")


def run(console: Console, result: Result, *project: object) -> None:
    """Show what a run amounts to. `project`: the words that name it on the command line."""
    s = result.summary
    if result.began == "resumed":
        console.print(_("Resumed a run that had been interrupted."))
    if result.began == "complete":
        console.print(_("This run was complete; here is its summary."))
    if result.torn_bytes:
        console.print(
            _("Cut off {n} bytes of a record that was being written when the process ended.").format(n=result.torn_bytes)
        )
    for line in closed(result.closed):
        console.print(line, style="yellow")
    head = _("{project} on {plant}, seed {seed}: {hours:.1f} h of plant in {ticks} ticks, {seconds:.1f} s")
    console.print(
        head.format(
            project=s.project, plant=s.plant, seed=s.seed, hours=s.plant_hours, ticks=s.ticks, seconds=s.wall_seconds
        ), style="bold", highlight=False,
    )  # fmt: skip
    if s.signatures_simulated:
        console.print(_("Signatures are simulated: no person has signed or approved anything in this run."), style="yellow")
    if s.link:
        _link(console, s.link)
    coverage = _("unknown") if s.coverage is None else f"{100 * s.coverage:.1f} %"
    console.print(_("Coverage (ticks with every input fresh): {coverage}").format(coverage=coverage), highlight=False)
    kept.lines(console, s)
    if s.levels:
        console.print()
        console.print(steps(s))
    if s.tags:
        console.print()
        console.print(asked(s))
    if s.findings:
        console.print()
        console.print(findings(s))
    if s.models:
        console.print()
        for name, card in s.models.items():
            console.print(f"{name}: {learned(card)}", highlight=False)
    console.print()
    if s.recorded:
        console.print(_("A recording: nothing can be written to it, so Jayul may only advise."), style="yellow")
    console.print(effort(s), highlight=False)
    for policy, level in s.level_now.items():
        lacks = s.missing.get(policy, {})
        text = ", ".join(lack(name, have, need) for name, (have, need) in lacks.items()) or _("nothing but a signature")
        now = _("{policy} stands at {level}; for the next level it lacks: {lacks}")
        console.print(now.format(policy=policy, level=_(LEVELS[level]), lacks=text), highlight=False)
    console.print(_("Applied values outside a limit: {n}").format(n=s.breaches), highlight=False)
    for reason, count in sorted(s.events_refused.items()):
        text = _(REASONS.get(reason, reason))
        console.print(_("Events refused: {count} ({reason})").format(count=count, reason=text), highlight=False)
    _benefit(console, s)
    console.print(_("Journal head: {head}").format(head=s.head), highlight=False, soft_wrap=True)
    following(
        console,
        command("verify", result.out) if s.complete else command("run", *project, "--out", result.out, "--seed", s.seed),
    )


def _benefit(console: Console, s: Summary) -> None:
    if s.proof:
        from jayul.app import proofs  # it stands on this page

        proofs.proof(console, s)
    elif s.kpi:
        text = _("{kpi}: {mean} {unit} on average. Benefit: unknown (not measured; a proof needs a plan fixed in advance)")
        mean = _("unknown") if s.kpi["mean"] is None else number(s.kpi["mean"])
        console.print(text.format(kpi=s.kpi["name"], mean=mean, unit=s.kpi["unit"]), highlight=False)


def lack(name: str, have: float, need: float) -> str:
    """Say what a gate lacks."""
    if name == "gate":
        return _("a gate in the manifest")
    if name.startswith("evidence "):
        return _("evidence '{name}'").format(name=name.removeprefix("evidence "))
    words = {"ticks": N_("ticks"), "proposals": N_("proposals"), "coverage": N_("coverage"), "veto-rate": N_("veto rate")}
    form = share if name in ("coverage", "veto-rate") else number
    return f"{_(words.get(name, name))} {form(have)} / {form(need)}"


def command(*words: object) -> str:
    """Return a command as it can be pasted into a shell."""
    return shlex.join(["jayul", *map(str, words)])


def following(console: Console, command: str) -> None:
    """Show the next useful command."""
    console.print(_("Next: {command}").format(command=command), style="dim", highlight=False, soft_wrap=True)


def survey(console: Console, s: Survey, wired: Wired) -> None:
    """Show what there is in a recording, and what of it the run will not see."""
    zone = str(wired.manifest.plant.options.get("timezone", "UTC"))
    text = _("Recording: {rows} rows from {first} to {last}, one every {interval:g} s.")
    first, last = instant(s.first, zone), instant(s.last, zone)
    console.print(text.format(rows=s.rows, first=first, last=last, interval=s.interval / 1e9), highlight=False)
    hours, ahead = (s.last - s.first) / 3.6e12, wired.ticks * wired.line.period / 3.6e12
    if s.longest > (s.last - s.first) / 50:
        text = _("{n} gaps; in the longest, {hours:.1f} h, there is no row. Is the time read rightly?")
        console.print(text.format(n=s.gaps, hours=s.longest / 3.6e12), style="yellow", highlight=False)
    if ahead < hours - s.interval / 3.6e12:
        text = _("Only the first {ahead:.1f} h of {hours:.1f} h will be run: make run.duration longer.")
        console.print(text.format(ahead=ahead, hours=hours), style="yellow", highlight=False)
    if s.interval and not 0.5 < wired.line.period / s.interval < 2:
        text = _("run.period is {period:g} s, but there is a row every {interval:g} s.")
        words = {"period": wired.line.period / 1e9, "interval": s.interval / 1e9}
        console.print(text.format(**words), style="yellow", highlight=False)
    if s.empty:
        text = _("No number stands anywhere in: {names}.")
        console.print(text.format(names=", ".join(s.empty)), style="yellow", highlight=False)
    if s.bare:
        text = _("Taken in without a description in [[plant.tag]] (leave out labels with 'exclude'): {names}.")
        console.print(text.format(names=", ".join(s.bare)), highlight=False)


def status(console: Console, out: Path, s: Status) -> None:
    """Show where a run stands."""
    zone = ZoneInfo(str(parse_canonical(s.header.manifest).plant.options.get("timezone", "UTC")))
    at = dt.datetime.fromtimestamp(s.at / 1e9, zone).strftime("%Y-%m-%d %H:%M:%S %Z") if s.tick >= 0 else "–"
    line = _("{project}, seed {seed}: tick {tick}, plant time {at}, {state}")
    state = _("complete") if s.complete else _("not complete")
    console.print(
        line.format(project=s.header.project, seed=s.header.seed, tick=s.tick, at=at, state=state),
        style="bold",
        highlight=False,
    )
    if s.header.signatures_simulated:
        console.print(_("Signatures are simulated: no person has signed or approved anything in this run."), style="yellow")
    if s.open_decision:
        console.print(_("The last Decision has no Outcome yet; the next start reads back what became of it."), style="yellow")
    for policy, level in s.levels.items():
        console.print(f"{policy}: {_(LEVELS[level])}", highlight=False)
    if s.verdicts:
        table = columns(_("tag"), _("policy"), _("asked"), _("allowed"), _("applied"), _("rule"), right=[2, 3, 4])
        for row in s.verdicts:
            rule = _(RULES.get(row.rule, row.rule)) if row.rule else "–"
            table.add_row(row.tag, row.by, number(row.asked), number(row.allowed), number(row.applied), rule)
        console.print(table)
    plans = {plan.id: plan for plan in s.plans}
    for ask in s.asks:
        if plan := plans.get(ask.subject):
            console.print(_("Plan {id}: {reason}").format(id=plan.id, reason=plan.reason), highlight=False)
            for tag, value in plan.targets.items():
                text = _("  {tag} to {value}, at most {rate} an hour")
                console.print(text.format(tag=tag, value=number(value), rate=number(plan.ramp[tag])), highlight=False)
            for tag, low, high in plan.abort:
                text = _("  ends if {tag} leaves {low} to {high}")
                console.print(text.format(tag=tag, low=number(low), high=number(high)), highlight=False)
        text = _("Waits for a person: {kind} {subject}")
        console.print(text.format(kind=_(KINDS[ask.kind]), subject=f"{ask.policy}:{ask.subject}"), highlight=False)
    if s.asks:
        following(console, command("sign", out, f"{s.asks[0].policy}:{s.asks[0].subject}", "--by", "NAME"))
    else:
        following(console, command("replay", out))


def replayed(console: Console, out: Path, r: Replayed) -> None:
    """Show what a replay found."""
    what = _("guard, ladder, models and policies") if r.full else _("guard and ladder")
    line = _("Replayed {ticks} ticks through {what}: {n} differ.")
    console.print(
        line.format(ticks=r.ticks, what=what, n=r.differing), style="red" if r.differing else "green", highlight=False
    )
    if r.first:
        console.print(_("First: {what}").format(what=r.first), highlight=False)
    following(console, command("verify", out) if r.full else command("replay", out, "--full"))


def verified(console: Console, out: Path, r: Report) -> None:
    """Show what a verification found."""
    if not r.key_pinned:
        console.print(
            _("Key not pinned: the run's own public key was used; give --key FILE to check against one you keep."),
            style="yellow",
        )
    if not r.ok:
        line = _("Not what was written: tick {tick} is the first that cannot be trusted ({what}).")
        console.print(line.format(tick=r.bad_tick, what=r.what), style="bold red", highlight=False, soft_wrap=True)
        following(console, command("verify", out, "--json"))
        return
    console.print(
        _("{ticks} ticks: lengths, checksums, chain and order are as written.").format(ticks=r.ticks),
        style="green",
        highlight=False,
    )
    if r.torn_bytes:
        console.print(
            _("{n} bytes at the end belong to a record that was being written.").format(n=r.torn_bytes), highlight=False
        )
    if r.vouched_tick + 1 < r.ticks:
        line = _("From tick {tick} on nothing can be vouched for: no signed or given head covers it.")
        console.print(line.format(tick=r.vouched_tick + 1), style="yellow", highlight=False)
    console.print(_("Journal head: {head}").format(head=r.head), highlight=False, soft_wrap=True)
    following(console, command("replay", out))


def verified_history(console: Console, r: HistoryReport | None) -> None:
    """Show what a verification of a history found."""
    if r is None:
        return
    if r.ok:
        line = _("History: {files} files with {values} samples are as written, {hot} segments are not in Parquet yet.")
        console.print(line.format(files=r.files, values=r.values, hot=r.hot_segments), style="green", highlight=False)
    for fault in r.faults:
        line = _("History not as written: {file}: {what}")
        console.print(line.format(file=fault.file, what=reason(fault.what)), style="bold red", highlight=False, soft_wrap=True)


def as_json(value: Any) -> str:
    """Return one line of JSON: structs by field name, bytes in hexadecimal."""
    return msgspec.json.encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.hex() if isinstance(value, bytes) else value
