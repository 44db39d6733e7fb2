"""What a person sees of a proof: the conclusion and why, blocks, e-value, settling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from jayul.app import show
from jayul.app.texts import _
from jayul.project.problem import N_
from jayul.project.summary import Summary
from jayul.prove.baseline import Baseline
from jayul.prove.effect import Effect
from jayul.prove.plan import Plan
from jayul.prove.sequential import floor, pairs_needed
from jayul.prove.watch import Watched

CONCLUSIONS = {
    "proven": N_("proven"), "not proven": N_("not proven"), "worse": N_("worse"), "confounded": N_("confounded"),
    "void": N_("void"),
}  # fmt: skip
STANDING = {"holds": N_("holds"), "decayed": N_("has decayed"), "worse": N_("has turned into harm"), "unknown": N_("unknown")}
BESIDE = {"t": N_("Student's t on the pairs, one look"), "HAC": N_("HAC (Newey and West) on hourly means, one look")}
WHY = {
    "commissioning": N_("commissioning"), "too few ticks": N_("too few ticks left"), "not in its arm": N_("not where its arm says"),
}  # fmt: skip
ARMS = {"on": N_("on"), "off": N_("off")}


def proof(console: Console, s: Summary) -> None:
    """Show what the proof plan gave."""
    kpi, benefit, outside, blocks = s.kpi, s.benefit, s.limit_minutes, s.blocks
    if s.proof is None or kpi is None or benefit is None or outside is None or blocks is None:
        return
    if s.fault:
        text = _("{fault}, known because the plant is simulated: not found")
        if s.fault.found_after_min is not None:
            text = _("{fault}, known because the plant is simulated: found after {minutes} min; largest contributions: {top}")
        minutes = show.number(s.fault.found_after_min)
        console.print(text.format(fault=s.fault.tag, minutes=minutes, top=", ".join(s.fault.top)), highlight=False)
    if s.production:
        text = _("Production on {on}, off {off}").format(on=show.number(s.production.on), off=show.number(s.production.off))
        console.print(text, highlight=False)
    if s.quality:
        console.print(
            _("Quality on {on}, off {off}").format(on=show.number(s.quality.on), off=show.number(s.quality.off)),
            highlight=False,
        )
    text = _("Minutes outside a limit: on {on}, off {off}; blocks that count: on {b_on}, off {b_off}")
    words = {
        "on": show.number(outside.on),
        "off": show.number(outside.off),
        "b_on": show.number(blocks.on),
        "b_off": show.number(blocks.off),
    }
    console.print(text.format(**words), highlight=False)
    if benefit["value"] is not None:
        text = _("{kpi}: off {off}, on {on} {unit}; benefit {value:.1f} % (interval {interval} %)")
        values = {"value": benefit["value"], "interval": interval(benefit["low"], benefit["high"])}
        line = text.format(
            kpi=kpi["name"], off=show.number(kpi["baseline"]), on=show.number(kpi["active"]), unit=kpi["unit"], **values
        )
        console.print(line, style="bold", highlight=False)
    _conclusion(console, s.proof.conclusion, s.proof.reasons)
    if text := standing(s):
        console.print(text, highlight=False)
    from jayul.app import claims  # it stands on this page

    console.print(claims.money(s.money), highlight=False, soft_wrap=True)


def reason(text: str) -> str:
    """Return a reason of the proof in the language of the reader."""
    return show.reason(text)


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return an interval as text; an end that is not bounded is infinite."""
    ends = ["–∞" if low is None else f"{low:.{digits}f}", "∞" if high is None else f"{high:.{digits}f}"]
    return _("{low} to {high}").format(low=ends[0], high=ends[1])


def significant(low: float | None, high: float | None) -> str:
    """Return an interval as text with four significant digits."""
    ends = ["–∞" if low is None else f"{low:.4g}", "∞" if high is None else f"{high:.4g}"]
    return _("{low} to {high}").format(low=ends[0], high=ends[1])


def looked(e_value: float | None, more_hours: float | None) -> str:
    """Say how sure the coin makes it, and how much longer it would take; empty if nothing was judged."""
    if e_value is None:
        return ""
    text = _("Largest e-value for a benefit: {value} (1 / e is the most that chance alone gives, however often one looks).")
    text = text.format(value=show.number(e_value))
    more = _("If it goes on like this, about {hours} h of plant more would show it.")
    return text if more_hours is None else f"{text} {more.format(hours=show.number(more_hours))}"


def standing(s: Summary) -> str:
    """Say how a proven benefit stands since; empty if nobody watches."""
    return standing_of(s.watched, s.kpi["unit"]) if s.watched is not None and s.kpi is not None else ""


def standing_of(watched: Watched, unit: str) -> str:
    """Say how a proven benefit stands since; empty if no pair counts."""
    if watched.mean is None:
        return ""
    text = _("Watched since the proof: {pairs} pairs, {mean} {unit} saved; the benefit {standing}.")
    return text.format(pairs=watched.pairs, mean=show.number(watched.mean), unit=unit, standing=_(STANDING[watched.standing]))


def _conclusion(console: Console, conclusion: str, reasons: Sequence[str]) -> None:
    console.print(_("Conclusion: {conclusion}").format(conclusion=_(CONCLUSIONS[conclusion])), style="bold", highlight=False)
    for text in reasons:
        console.print(_("Because: {reason}").format(reason=reason(text)), highlight=False)


def planned(console: Console, plan: Plan, shifts: Mapping[str, float]) -> None:
    """Show what a proof plan will take, and how far the drivers of its twin answer to the policy (standard deviations)."""
    pairs, block = (len(plan.arms) - plan.commissioning) // 2, (plan.end - plan.starts[0]) / len(plan.starts) / 3.6e12
    text = _("Proof: {pairs} pairs of blocks of {block} h, {hours} h of plant; nothing shows before {least} pairs ({first} h).")
    least = floor(plan.confidence)
    hours = {"hours": show.number(len(plan.starts) * block), "first": show.number((plan.commissioning + 2 * least) * block)}
    console.print(text.format(pairs=pairs, block=show.number(block), least=least, **hours), highlight=False)
    ratios = [(ratio, pairs_needed(ratio)) for ratio in (0.5, 1.0, 2.0, 4.0)]
    powers = ", ".join(f"{ratio:g}: {needed}" for ratio, needed in ratios if needed)
    text = _("Pairs to show an effect with power 0.8, by its size in standard deviations of a pair's difference: {powers}")
    console.print(text.format(powers=powers), highlight=False)
    if shifts:
        said = ", ".join(f"{tag} {shift:.3f}" for tag, shift in shifts.items())
        text = _("Twin: its drivers move by {shifts} standard deviations when the policy acts.")
        console.print(text.format(shifts=said), highlight=False)


def baseline_rows(b: Baseline) -> dict[str, str]:
    """Return what a normalised baseline says, as text by name."""
    return {
        _("means before, after the change"): f"{b.before}, {b.after}",
        _("expected without the change"): show.number(b.expected),
        _("measured"): show.number(b.actual),
        _("R2 on stretches that the fit had not seen"): show.number(b.r2),
        _("misses (CV RMSE)"): _percent(b.cv_rmse),
        _("misses on average"): _percent(b.bias),
        _("time after within the drivers seen before"): _percent(b.inside),
        _("placebos as large as the saving"): f"{b.larger} / {b.placebos}",
    }


def baseline_saving(b: Baseline) -> str:
    """Say what was saved, or nothing."""
    if b.percent is None:
        return ""
    text = _("Saving {value:.2f} %, interval from placebos {interval} %")
    return text.format(value=b.percent[0], interval=interval(b.percent[1], b.percent[2], 2))


def before_and_after(console: Console, out: Path, b: Baseline) -> None:
    """Show what a normalised baseline says."""
    table = show.columns(_("normalised baseline"), "", right=[1])
    for name, value in baseline_rows(b).items():
        table.add_row(name, value)
    console.print(table)
    console.print(baseline_saving(b), style="bold", highlight=False)
    _conclusion(console, b.conclusion, b.reasons)
    if b.supported:
        console.print(_("Every test that can be made without a coin is passed."), highlight=False)
    show.following(console, show.command("verify", out))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def effect(console: Console, out: Path, e: Effect, plan: Plan) -> None:
    """Show an effect block by block."""
    table = show.columns(_("block"), _("arm"), _("ticks used"), _("mean"), _("left out because"), right=[0, 2, 3])
    for block in e.blocks:
        why = _(WHY[block.left_out]) if block.left_out else "–"
        table.add_row(str(block.number + 1), _(ARMS[block.arm]), str(block.used), show.number(block.means["kpi"]), why)
    console.print(table)
    if e.benefit and e.p_exact is not None:
        text = _("Benefit {value:.2f} %, interval {interval} %, exact test p = {p:.4f}, {pairs} of {planned} pairs")
        values = {"value": e.benefit[0], "interval": interval(e.benefit[1], e.benefit[2], 2), "p": e.p_exact}
        console.print(text.format(**values, pairs=e.pairs, planned=e.pairs_planned), highlight=False)
    if text := smallest(e, plan.smallest):
        console.print(text, highlight=False)
    if e.followed and {round(share, 1) for share in e.followed.values()} != {0.0, 1.0}:
        text = _("The targets stood {on:.0f} % of the time on, {off:.0f} % off.")
        shares = {arm: 100 * share for arm, share in e.followed.items()}
        console.print(text.format(**shares), highlight=False)
    if text := looked(e.looks[-1].e_benefit if e.looks else None, e.more_hours):
        console.print(text, highlight=False)
    if text := settling(e):
        console.print(text, highlight=False)
    _conclusion(console, e.conclusion, e.reasons)
    show.following(console, show.command("verify", out))


def smallest(e: Effect, percent: float) -> str:
    """Say what it takes to show the smallest effect of interest; empty if none was named."""
    if not percent:
        return ""
    if e.smallest_hours is None:
        return _("The smallest effect of interest, {percent} %, is out of reach or not to be judged.").format(
            percent=show.number(percent)
        )
    text = _("To show the smallest effect of interest, {percent} %, takes about {hours} h of plant at this spread (power 0.8).")
    return text.format(percent=show.number(percent), hours=show.number(e.smallest_hours))


def settling(e: Effect) -> str:
    """Say how long the KPI took to settle in the commissioning blocks, beside the wash-out; empty if there are none."""
    first = [b for b in e.blocks if b.left_out == "commissioning"]
    found = [f"{_(ARMS[b.arm])} {_('unknown') if b.settled is None else f'{b.settled:.1f} h'}" for b in first]
    if not found:
        return ""
    text = _("Commissioning: the KPI settled after {hours}; the wash-out is {wash_out} h.")
    text = text.format(hours=", ".join(found), wash_out=show.number(e.wash_out))
    slow = any(b.settled is not None and b.settled > e.wash_out for b in e.blocks)
    return text + (" " + _("That is longer than the wash-out: part of the way there may be counted.") if slow else "")
