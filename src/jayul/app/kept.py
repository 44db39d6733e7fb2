"""What a person sees of the ledger in the summary of a run."""

from __future__ import annotations

from rich.console import Console

from jayul.app.texts import _
from jayul.project.problem import N_
from jayul.project.summary import Summary

OWNERS = {
    "link": N_("link down"), "shed": N_("shed by us"), "overflowed": N_("dropped at the source"), "silent": N_("source silent"),
}  # fmt: skip


def lines(console: Console, s: Summary) -> None:
    """Show what became of the samples, and of how much of the time the KPI is known."""
    if (kept := s.kept) is not None:
        text = _("History: {stored} samples kept of {received} received, {duplicate} duplicates")
        console.print(text.format(stored=kept.stored, received=kept.received, duplicate=kept.duplicate), highlight=False)
        if kept.expected:
            text = _(
                "  expected {expected}, missing {missing}; coverage {share:.1f} % (tag with least); hours below contract: {n}"
            )
            owners = ", ".join(f"{n} {_(OWNERS.get(owner, owner))}" for owner, n in kept.missing.items() if n) or "0"
            words = {"expected": kept.expected, "missing": owners, "share": 100 * (kept.coverage or 0.0), "n": kept.shortfalls}
            console.print(text.format(**words), style="red" if kept.shortfalls else None, highlight=False)
        if kept.unexplained:
            text = _("  {n} samples or slots are not accounted for: the ledger is wrong")
            console.print(text.format(n=kept.unexplained), style="red")
        if kept.trouble:
            text = _("  not all samples are on disk: {trouble}")
            console.print(text.format(trouble=kept.trouble), style="red", highlight=False)
    if s.kpi and (share := s.kpi.get("coverage")) is not None and share < 1:
        text = _("{kpi} is known in {share:.1f} % of the ticks")
        if s.kpi["mean"] is None:
            text = _("{kpi} is known in {share:.1f} % of the ticks, less than the contract asks for: no mean is given")
        console.print(text.format(kpi=s.kpi["name"], share=100 * share), highlight=False)
