"""What a person sees of claims: one that was written, one that was verified, the inventory; and money."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jayul.app import proofs, show
from jayul.app.texts import _
from jayul.project.cases import Case
from jayul.project.claims import Verified
from jayul.project.problem import N_
from jayul.project.proof import DESIGN
from jayul.prove.claim import RUN, Claim, Money, Sealed, digest
from jayul.prove.effect import Interval

METHODS = {DESIGN: N_("coin-ordered pairs of on/off blocks, exact e-process on pair differences, anytime interval")}


def money(worth: Money | None) -> str:
    """Say what a benefit is worth in a year, and after which price; or that it is unknown, and why."""
    if worth is None or worth.per_year is None:
        why = "" if worth is None else worth.why
        return _("Money: unknown ({why})").format(why=proofs.reason(why)) if why else _("Money: unknown")
    value, low, high = worth.per_year
    text = _("Money: {value} {currency} a year of {hours} h (interval {interval}); price: {pack}")
    ends = [None if end is None else whole(end) for end in (low, high)]
    between = _("{low} to {high}").format(low=ends[0] or "–∞", high=ends[1] or "∞")
    hours = show.number(worth.hours_per_year)
    pack = worth.pack or _("the KPI is money an hour")
    return text.format(value=whole(value), currency=worth.currency, hours=hours, interval=between, pack=pack)


def whole(value: float) -> str:
    """Write an amount of money without decimals, its thousands apart."""
    return f"{value:,.0f}"


def written(console: Console, paper: Claim | Sealed, path: Path) -> None:
    """Show a claim that was written."""
    _conclusion(console, paper)
    if paper.signatures_simulated:
        console.print(_("Signatures are simulated: no person has signed or approved anything in this run."), style="yellow")
    text = _("Claim {digest}, signed by: {who}").format(digest=_name(paper), who=who([s.by for s in paper.signatures]))
    console.print(text, highlight=False, soft_wrap=True)
    console.print(_("Wrote {path}.").format(path=path), highlight=False, soft_wrap=True)
    show.following(console, show.command("verify", path))


def _name(paper: Claim | Sealed) -> str:
    return digest(paper) if isinstance(paper, Claim) else paper.claim


def who(names: Sequence[str]) -> str:
    """Say who signed."""
    return ", ".join(_("the run's key") if name == RUN else show.who(name) for name in names)


def _conclusion(console: Console, paper: Claim | Sealed) -> None:
    console.print(headline(figures_of(paper)), style="bold", highlight=False, soft_wrap=True)
    for reason in paper.effect["reasons"] if isinstance(paper, Claim) else ():
        console.print(_("Because: {reason}").format(reason=proofs.reason(reason)), highlight=False)
    if paper.watched is not None:
        unit = paper.unit if isinstance(paper, Sealed) else paper.kpi.unit
        console.print(proofs.standing_of(paper.watched, unit), highlight=False, soft_wrap=True)
    console.print(money(paper.money), highlight=False, soft_wrap=True)


def figures_of(paper: Claim | Sealed) -> dict[str, Any]:
    """Return what was concluded: conclusion, benefit, pairs, hours, kpi, no_worse, unit."""
    if isinstance(paper, Sealed):
        rest = {"hours": paper.plant_hours, "kpi": paper.kpi, "no_worse": paper.no_worse, "unit": paper.unit}
        return {"conclusion": paper.conclusion, "benefit": paper.benefit, "pairs": paper.pairs, **rest}
    effect = paper.effect
    return {
        "conclusion": effect["conclusion"], "benefit": effect["benefit"], "pairs": effect["pairs"], "hours": paper.plant_hours,
        "kpi": paper.kpi.name, "no_worse": paper.plan.no_worse, "unit": paper.kpi.unit,
    }  # fmt: skip


def headline(found: dict[str, Any]) -> str:
    """Say in one line what was concluded."""
    text = _("{kpi}: {conclusion}; benefit {benefit}; {pairs} pairs, {hours:.0f} h of plant")
    said = conclusion(found["conclusion"], found["no_worse"], found["unit"])
    words = {"conclusion": said, "benefit": benefit(found["benefit"])}
    return text.format(kpi=found["kpi"], pairs=found["pairs"], hours=found["hours"], **words)


def conclusion(found: str, no_worse: float, unit: str) -> str:
    """Say what was concluded, and of what: a benefit, or that it is no worse than a margin."""
    if not no_worse:
        return _(proofs.CONCLUSIONS[found])
    text = _("{conclusion} (that it is no worse by more than {margin} {unit})")
    return text.format(conclusion=_(proofs.CONCLUSIONS[found]), margin=show.number(no_worse), unit=unit)


def benefit(found: Interval | None) -> str:
    """Write a benefit in percent with its interval."""
    if found is None:
        return _("unknown")
    return f"{found[0]:.1f} % ({proofs.interval(found[1], found[2])} %)"


def verified(console: Console, path: Path, found: Verified) -> None:
    """Show what a verification found: one line if it is not as claimed."""
    if not found.ok or found.paper is None:
        console.print(show.problem(found.differs[0]), style="bold red", highlight=False, soft_wrap=True)
        return
    if not found.key_pinned:
        text = _("Key not pinned: the claim's own public key was used; give --key FILE to check against one you keep.")
        console.print(text, style="yellow", soft_wrap=True)
    if isinstance(found.paper, Sealed):
        text = _(
            "Sealed: signed by {who}, nothing was changed. Its figures are attested; without rows they cannot be recomputed."
        )
    else:
        text = _("Recomputed from rows, plan and price: {n} figures, each the same bit for bit. Signed by {who}.")
    console.print(text.format(n=found.recomputed, who=who(found.signed_by)), style="green", highlight=False, soft_wrap=True)
    if found.paper.signatures_simulated:
        console.print(_("Signatures are simulated: no person has signed or approved anything in this run."), style="yellow")
    _conclusion(console, found.paper)
    if isinstance(found.paper, Claim):
        for text in found.paper.unmeasured:
            console.print(_("Not measured: {what}").format(what=proofs.reason(text)), highlight=False, soft_wrap=True)
    show.following(console, show.command("cases", path.parent))


def as_dict(found: Verified) -> dict[str, Any]:
    """Return a verification as plain values: `differs` is where and what, in English, first things first."""
    differs = [{"where": p.where.removesuffix(": "), "what": p.message.format(**p.params)} for p in found.differs]
    rest = {name: getattr(found, name) for name in ("kind", "digest", "recomputed", "key_pinned", "signed_by")}
    conclusion = figures_of(found.paper)["conclusion"] if found.paper is not None else None
    return {"ok": found.ok, **rest, "conclusion": conclusion, "differs": differs}


def cases(console: Console, found: Sequence[Case]) -> None:
    """Show the inventory: a table, and below it what people gave and what was learned."""
    table = show.columns(
        _("date"), _("project"), _("plant"), _("policy"), _("conclusion"), _("benefit"), _("pairs"), _("hours"), _("claim"),
        right=[6, 7],
    )  # fmt: skip
    for case in found:
        if case.unreadable:
            table.add_row("–", "–", "–", "–", _("cannot be read"), "–", "–", "–", case.path)
            continue
        name = case.digest[:12] + (f" ({_('sealed')})" if case.sealed else "") + ("" if case.genuine else f" ({_('CHANGED')})")
        who = f"{case.policy} ({case.policy_kind})"
        row = (
            case.date,
            case.project,
            case.plant,
            who,
            conclusion(case.conclusion, case.no_worse, case.unit),
            benefit(case.benefit),
        )
        table.add_row(*row, str(case.pairs), f"{case.plant_hours:.0f}", name)
    console.print(table)
    for case in found:
        for text in _more(case):
            console.print(f"{case.digest[:12]}: {text}", highlight=False, soft_wrap=True)
    for method in sorted({case.method for case in found if case.method}):
        console.print(_("Method: {method}").format(method=_(METHODS.get(method, method))), highlight=False, soft_wrap=True)
    console.print(_("{n} claims.").format(n=len(found)), highlight=False)
    if found:
        show.following(console, show.command("verify", found[0].path))
    else:
        show.following(console, show.command("claim", "RUN"))


def _more(case: Case) -> list[str]:
    if case.unreadable:
        return []
    found = [money(case.money)]
    if case.effort is not None:
        found.append(show.effort_of(case.effort))
    if case.watched is not None:
        found.append(proofs.standing_of(case.watched, case.unit))
    if case.lesson:
        found.append(_("Lesson: {text}").format(text=case.lesson))
    return found
