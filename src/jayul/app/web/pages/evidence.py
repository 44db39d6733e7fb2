"""Evidence: coverage, the ladder's history, models, the proof, claims, the chain, and what can be taken away."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from jayul.app import claims, proofs, show
from jayul.app.texts import _
from jayul.app.web import view
from jayul.app.web.desk import Screen
from jayul.app.web.folds import Fold, folded
from jayul.app.web.pages import heat
from jayul.app.web.pages.chain import Verification, last_of
from jayul.app.web.pages.common import Query, query_of, shown
from jayul.core.types import Level
from jayul.project.cases import Case, cases
from jayul.project.look import Standing
from jayul.project.problem import N_
from jayul.project.run import read_summary
from jayul.project.summary import Step, Summary
from jayul.prove.plan import Plan
from jayul.record.chain import Broken
from jayul.record.files import OsFiles
from jayul.record.journal import Head, read_heads

BANDS = {
    "full": N_("99 % and more"), "most": N_("95 to 99 %"), "some": N_("80 to 95 %"), "little": N_("below 80 %"),
    "unknown": N_("nothing was expected"),
}  # fmt: skip
OWNERS = {
    "link": N_("link"), "shed": N_("shed"), "overflowed": N_("overflowed"), "silent": N_("silent"), "bad": N_("bad"),
    "stale": N_("not fresh"),
}  # fmt: skip
COUNTS = {
    "expected": N_("expected"), "present": N_("present"), "good": N_("good"), "bad": N_("bad"), "uncertain": N_("uncertain"),
    "stale": N_("not fresh"), "received": N_("received"), "stored": N_("stored"), "discarded": N_("discarded"),
    "duplicate": N_("doubled"), "corrected": N_("corrected"), "late": N_("late"),
    "frozen": N_("frozen"), "monotone": N_("out of order"), "clock_jump": N_("clock jumped"),
}  # fmt: skip
SOURCES = {"ticks": N_("inputs of policies, by tick"), "ledger": N_("samples, by the ledger")}
WIDTH, HEIGHT = 1000, 30  # of the steps chart: all of it, one level


class Rise(msgspec.Struct, frozen=True):
    """A policy's way on the ladder: the path of its steps, and the steps."""

    policy: str
    path: str
    steps: tuple[Step, ...]


class Running(msgspec.Struct, frozen=True):
    """A proof that is under way: which block of how many, its arm, the plan's digest."""

    block: int
    blocks: int
    arm: str
    digest: str


class Board(msgspec.Struct, frozen=True):
    """All that the page shows."""

    source: str
    grid: heat.Grid | None
    rises: tuple[Rise, ...]
    standings: tuple[Standing, ...]
    hours: float
    summary: Summary | None
    running: Running | None
    cases: tuple[Case, ...]
    head: str
    signed: Head | None
    verified: Verification | None
    tags: tuple[str, ...]


def look(screen: Screen, query: Query) -> Board:
    """Gather what the page shows."""
    source = query["source"] if query["source"] in SOURCES else "ticks"
    end = int(query["end"]) if query["end"].isdecimal() and len(query["end"]) < 20 else 0
    with folded(screen, query.tick) as fold:
        tags, found = cells(screen, fold, source)
        steps, hours, number = list(fold.tally.steps), fold.tally.plant_hours, fold.ticks - 1
    timeline, summary = screen.timeline, read_summary(screen.out)
    moment = timeline.moment(number) if number >= 0 else None
    made = cases([screen.out / "claims"]) if (screen.out / "claims").is_dir() else []
    heads = read_heads(OsFiles(screen.out / "journal", create=False))
    return Board(
        source, heat.grid(found, tags, end), tuple(_rise(name, steps, hours) for name in timeline.header.policies),
        tuple(timeline.standings(moment.state)) if moment else (), hours, summary if summary and summary.complete else None,
        _running(timeline.header.proof, moment.frame.at if moment else 0), tuple(made), timeline.head,
        heads[-1] if heads else None, last_of(screen), tuple(tags),
    )  # fmt: skip


def cells(screen: Screen, fold: Fold, source: str) -> tuple[list[str], heat.Cells]:
    """Return the tags that a source counts, and its counts by tag and hour."""
    if source == "ticks":
        counts = {
            key: {"expected": ticks, "good": fresh, "present": fresh, "missing:stale": ticks - fresh}
            for key, (fresh, ticks) in fold.fresh.items()
        }
        return list(fold.needs), counts
    try:
        found, tags = heat.cells_of(screen.history.counts()), screen.history.tags()
    except (OSError, Broken):  # there is no history, or none that can be read: nothing is known
        return [], {}
    return sorted({*tags, *(tag for tag, _hour in found)}), found


def figure(value: float) -> str:
    """Write a figure of a model's card: a whole number without decimals."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else view.number(value, 6)


def counted(kind: str) -> str:
    """Say what was counted of a tag in an hour."""
    what, colon, owner = kind.partition(":")
    if what == "missing":
        return _("missing: {why}").format(why=_(OWNERS.get(owner, owner)))
    return _(COUNTS.get(what, what)) + (f" ({owner})" if colon else "")


def _rise(policy: str, steps: list[Step], hours: float) -> Rise:
    """Draw the levels of a policy as steps: from left to right the whole run, from below record to auto."""
    mine = [step for step in steps if step.policy == policy]

    def y(level: str) -> int:
        return HEIGHT * (len(Level) - 1 - Level[level.upper()]) + HEIGHT // 2

    path = f"M0 {y(mine[0].before if mine else 'record')}"
    for step in mine:
        path += f" H{WIDTH * step.hours / max(hours, 1e-9):.1f} V{y(step.after)}"
    return Rise(policy, f"{path} H{WIDTH}", tuple(mine))


def _running(proof: str, at: int) -> Running | None:
    if not proof:
        return None
    plan = msgspec.json.decode(proof, type=Plan)
    block = sum(start <= at for start in plan.starts)
    arm = plan.arms[block - 1] if block and at < plan.end else ""
    return Running(block, len(plan.starts), arm, plan.digest())


WORDS: dict[str, Any] = {
    "BANDS": BANDS, "OWNERS": OWNERS, "SOURCES": SOURCES, "proofs": proofs, "claims": claims, "models": show.MODELS,
    "figure": figure,
    "LADDER": tuple(level.name.lower() for level in reversed(Level)), "WIDTH": WIDTH, "HEIGHT": HEIGHT, "WIDE": heat.WIDE,
}  # fmt: skip


async def show_evidence(request: Request, screen: Screen) -> HTMLResponse:
    """Return the page."""
    query = query_of(request, "source", "end")
    board = await anyio.to_thread.run_sync(look, screen, query)
    return view.page(request, "evidence.html", here="evidence", board=board, q=query, **shown(screen, query.tick), **WORDS)


async def show_tag(request: Request, screen: Screen) -> Response:
    """Return the numbers of one tag, hour by hour."""
    query, name = query_of(request, "source"), request.path_params["tag"]
    source = query["source"] if query["source"] in SOURCES else "ticks"

    def gather() -> list[tuple[int, dict[str, int], float | None]]:
        with folded(screen, query.tick) as fold:
            _tags, found = cells(screen, fold, source)
        return [(hour, dict(cell), heat.share_of(cell)) for (tag, hour), cell in sorted(found.items()) if tag == name]

    hours = await anyio.to_thread.run_sync(gather)
    if name not in screen.timeline.table.index and not hours:
        return view.page(request, "wrong.html", 404, screen=screen, text=_("There is no such tag."))
    kinds = list(dict.fromkeys(what for _hour, cell, _share in hours for what in sorted(cell)))
    kinds.sort(key=[*COUNTS, *kinds].index)
    values = {"tag": name, "hours": hours, "kinds": [(kind, counted(kind)) for kind in kinds], "source": source, "q": query}
    return view.page(request, "coverage.html", here="evidence", **values, **shown(screen, query.tick), **WORDS)


def routes(on_run: Any) -> list[Route]:
    """Return the routes of these pages."""
    return [Route("/r/{run}/evidence", on_run(show_evidence)), Route("/r/{run}/evidence/tag/{tag:path}", on_run(show_tag))]
