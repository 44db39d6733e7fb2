"""Now: the plant by unit, where each policy stands and why, the move on the table, and the way back to the plant's own control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from jayul.app import show
from jayul.app.texts import _
from jayul.app.web import replay, threads, view
from jayul.app.web.accounts import Role
from jayul.app.web.desk import NotYet, Screen, patience
from jayul.app.web.folds import Fold, at_hand, folded
from jayul.app.web.pages.common import handed, live, refusal
from jayul.app.web.security import Forbidden, person, session_of
from jayul.core.ladder import Offer
from jayul.core.types import BAD_NO_DATA, Ask, Event, Level, MovePlan, Receipt, Tag, Verdict
from jayul.plant.journal import Tick
from jayul.project.look import Standing
from jayul.project.manifest import Manifest, parse_canonical
from jayul.project.people import hand_back, hand_in
from jayul.project.problem import ManifestError
from jayul.project.summary import KPI
from jayul.project.timeline import Moment
from jayul.record.journal import Header

SOON = 0.3  # s that a page of the past waits for its alarms
LADDER = tuple(level.name.lower() for level in Level)


class Point(msgspec.Struct, frozen=True):
    """One tag as it stands: `place` is where it lies between its limits (0 to 1), if it has any; `state` is good, stale or bad."""

    tag: Tag
    value: float
    age: float
    state: str
    place: float | None
    text: str


class Target(msgspec.Struct, frozen=True):
    """One tag of a move: from what to what, how fast."""

    tag: str
    unit: str
    have: float
    to: float
    ramp: float | None


class Seat(msgspec.Struct, frozen=True):
    """A policy: where it stands, the move on the table, what the guard says of what it asks for now, what waits for a person."""

    standing: Standing
    reason: str
    lacks: tuple[str, ...]
    plan: MovePlan | None
    targets: tuple[Target, ...]
    effect: str
    verdicts: tuple[Verdict, ...]
    applied: tuple[Receipt, ...]  # what the plant took at the newest tick that is over
    over: int  # that tick
    waits: tuple[Ask, ...]
    answer: str  # what became of the plan that people were asked about: "approved", "rejected", "done" or empty
    by: str  # who approved it

    @property
    def answered(self) -> tuple[Verdict, ...]:
        """The verdicts that a person should see: the one there is, or those that are not as asked."""
        return tuple(v for v in self.verdicts if len(self.verdicts) == 1 or v.allowed != v.proposal.value)


class Now(msgspec.Struct, frozen=True):
    """All that the page shows of one tick. `alarms`: how many wait for a person (of what is live, once they are counted)."""

    tick: int
    at: int
    units: dict[str, tuple[Point, ...]]
    inner: tuple[Point, ...]  # what is derived for the guard alone
    labels: dict[str, str]  # what these are called
    seats: tuple[Seat, ...]
    troubled: tuple[Point, ...]
    kpi: Point | None
    kpi_name: str
    alarms: int | None  # None while they are being counted
    complete: bool
    standing: str  # of what is live: "" (the loop works), "stopped", "late"
    mood: str  # well, person (somebody is asked), trouble


def look(screen: Screen, number: int | None = None) -> Now:
    """Gather what the page shows of a tick (the newest if none is named)."""
    timeline = screen.timeline
    moment = timeline.moment(len(timeline) - 1 if number is None else number)
    points = [point for tag in timeline.table.tags if (point := _point(moment, tag)) is not None]
    over = moment.tick if moment.tick.outcome or not moment.tick.decision.tick else timeline[moment.tick.decision.tick - 1]
    seats = tuple(_seat(screen, moment, over, standing) for standing in timeline.standings(moment.state))
    troubled = tuple(point for point in points if point.state != "good")
    complete = number is None and screen.complete
    alarms = 0 if complete else _alarms(screen, number)
    asked = alarms or any(seat.waits for seat in seats)
    standing = screen.standing if number is None and not complete else ""
    mood = "trouble" if troubled or screen.trouble or standing else "person" if asked and not complete else "well"
    manifest = parse_canonical(timeline.header.manifest)
    inner = _inner(screen, manifest)
    kpi = next((point for point in points if point.tag.name == KPI), None)
    return Now(
        moment.tick.decision.tick, moment.frame.at, by_unit([point for point in points if point.tag.name not in inner]),
        tuple(point for point in points if point.tag.name in inner), inner, seats, troubled, kpi,
        manifest.kpi.name if manifest.kpi else "", alarms, complete, standing, mood,
    )  # fmt: skip


def _waiting_alarms(fold: Fold) -> int:
    return sum(row.state.endswith("-unacknowledged") for row in fold.alarms.rows())


def _alarms(screen: Screen, number: int | None) -> int | None:
    """Return how many alarms wait (or waited then) for a person; None while they are being counted."""
    if number is None:
        return at_hand(screen, _waiting_alarms)
    before = patience.set(SOON)
    try:
        with folded(screen, number) as fold:
            return _waiting_alarms(fold)
    except NotYet:
        return None
    finally:
        patience.reset(before)


def _inner(screen: Screen, manifest: Manifest) -> dict[str, str]:
    """Return what is derived for the guard alone, by no model of the manifest: names of tags, with what they are called."""
    own = {KPI, *(section.name for section in manifest.models)}
    conditions = {f"guard.require.{i}": text for i, text in enumerate(manifest.guard.require)}
    models = [model for name, (model, _memory) in screen.timeline.line.models.items() if name not in own]
    return {tag.name: conditions.get(tag.name, tag.name) for model in models for tag in model.tags}


def by_unit(points: Sequence[Point]) -> dict[str, tuple[Point, ...]]:
    """Return points by unit of the plant: the part of a name before its last dot. Units of one tag come together; derived last."""
    units: dict[str, list[Point]] = {}
    for point in points:
        if point.tag.kind != "derived":
            units.setdefault(point.tag.name.rpartition(".")[0] or point.tag.name, []).append(point)
    several = {unit: tuple(group) for unit, group in sorted(units.items()) if len(group) > 1}
    others = {
        _("plant"): tuple(group[0] for group in units.values() if len(group) == 1),
        _("derived"): tuple(point for point in points if point.tag.kind == "derived"),
    }
    return several | {name: group for name, group in others.items() if group}


def _point(moment: Moment, tag: Tag) -> Point | None:
    frame = moment.frame
    i = frame.table.index[tag.name]
    value, status = float(frame.value[i]), int(frame.status[i])
    if status == BAD_NO_DATA and tag.kind == "derived":
        return None
    age = (frame.at - int(frame.source_at[i])) / 1e9 if frame.source_at[i] else math.inf
    state = "good" if frame.fresh(tag.name) else "bad" if status >= 0x4000_0000 or math.isnan(value) else "stale"
    place = None
    if tag.low is not None and tag.high is not None and tag.high > tag.low and not math.isnan(value):
        place = min(max((value - tag.low) / (tag.high - tag.low), 0.0), 1.0)
    text = show.state(tag, value)
    return Point(tag, value, age, state, place, text)


def _seat(screen: Screen, moment: Moment, over: Tick, standing: Standing) -> Seat:
    decision, table = moment.tick.decision, screen.timeline.table
    plan = moment.plans.get(standing.policy)
    waits = tuple(ask for ask in decision.asks if ask.policy == standing.policy)
    mine = tuple(v for v in decision.verdicts if v.proposal.by == standing.policy)
    proposed = [over.decision.verdicts[i].proposal for i in over.decision.writes]
    sent = {proposal.tag for proposal in proposed if proposal.by == standing.policy}
    applied = tuple(r for r in (over.outcome.receipts if over.outcome else ()) if r.tag in sent and r.applied is not None)
    asked = plan.targets.items() if plan else ()
    ramp = plan.ramp if plan else {}
    targets = tuple(Target(tag, table[tag].unit, moment.frame[tag], to, ramp.get(tag)) for tag, to in asked)
    lacks = tuple(show.lack(name, have, need) for name, (have, need) in standing.lacks.items()) if standing.next else ()
    effect = next((v.proposal.effect for v in mine if v.proposal.effect), "")
    reason = _(show.REASONS.get(standing.reason, standing.reason))
    answer, by = _answer(moment.state.rungs[standing.policy].offer)
    return Seat(standing, reason, lacks, plan, targets, effect, mine, applied, over.decision.tick, waits, answer, by)


def _answer(offer: Offer | None) -> tuple[str, str]:
    """Return what became of the plan that people were asked about, and who approved it."""
    if offer is None or not (offer.approved_by or offer.closed == "rejected"):
        return "", ""
    return {"": "approved", "done": "done", "rejected": "rejected"}.get(offer.closed, ""), offer.approved_by


def body(screen: Screen, number: int | None = None, role: str = "") -> str:
    """Render what changes from tick to tick, with the buttons of a role (empty: of nobody who has signed in)."""
    values = {"now": look(screen, number), "screen": screen, "zone": view.zone(screen), "LADDER": LADDER}
    return view.fragment("now_body.html", **values, past=number is not None, role=role)


def _role(request: Request) -> str:
    session = session_of(request)
    return session.role if session.account else ""


def follow(request: Request, screen: Screen) -> Response:
    """Stream what changes from tick to tick."""
    role = _role(request)
    return live(request, screen, "now", lambda screen: body(screen, role=role), role)


async def show_now(request: Request, screen: Screen) -> HTMLResponse:
    """Return the page, of the newest tick or of the one that is replayed."""
    played = replay.of(request, screen)
    text = await anyio.to_thread.run_sync(body, screen, played.tick if played else None, _role(request))
    return view.page(request, "now.html", screen=screen, here="now", body=text)


ACTS: dict[str, Role] = {
    "approve": "operator", "reject": "operator", "sign": "engineer", "demote": "operator", "hand-back": "operator",
}  # fmt: skip


async def act(request: Request, screen: Screen) -> Response:
    """Hand a person's act to the loop: approve, reject, sign, demote (one policy), or hand all back to the plant's own control."""
    what = request.path_params["act"]
    if what not in ACTS:
        raise Forbidden(404, _("There is no such page."))
    session = await person(request, ACTS[what])
    if what != "hand-back":  # which waits for nothing
        await screen.ready()
    form = await request.form()
    reason, ask, policy = (str(form.get(key, "")).strip()[:500] for key in ("reason", "ask", "policy"))

    def hand() -> list[Event]:
        if what == "hand-back":
            return hand_back(screen.out, screen.timeline.header, by=session.name, reason=reason)
        taken: dict[str, Any] = {"by": session.name, "reason": reason, "known": waiting(screen)}
        if what == "demote":
            return [hand_in(screen.out, None, demote=policy, **taken)]
        return [hand_in(screen.out, ask, reject=what == "reject", signer=session.signer, **taken)]

    try:
        done = await threads.act(request, hand)
    except ManifestError as error:
        raise refusal(error, screen) from None
    return await threads.act(request, handed, screen, done)


def waiting(screen: Screen) -> tuple[Header, tuple[Ask, ...]]:
    """Return the header of a run, and what waits for a person at its newest tick."""
    timeline = screen.timeline
    return timeline.header, timeline[len(timeline) - 1].decision.asks if len(timeline) else ()
