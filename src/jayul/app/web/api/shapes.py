"""What goes in and out, as structs: they check requests and make the schemas of the description."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from jayul.core.types import Ask, Change, MovePlan
from jayul.project.alarms import Act as AlarmAct
from jayul.project.look import Row, Standing

MOST = 1000  # ticks in one answer
Nanoseconds = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1, description="ns since 1970-01-01 UTC")]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, in one line."""

    error: str


class Run(msgspec.Struct, frozen=True):
    """A run folder. `complete` is null while nothing can be read there."""

    id: str
    project: str
    complete: bool | None
    levels: dict[str, str]


class State(msgspec.Struct, frozen=True):
    """Where a run stands: its newest tick, each policy, what waits for a person, and the plans on the table."""

    id: str
    project: str
    tick: int
    at: Nanoseconds
    head: str
    signatures_simulated: bool
    standings: list[Standing]
    asks: tuple[Ask, ...]
    plans: dict[str, MovePlan]
    trouble: str


class Reading(msgspec.Struct, frozen=True):
    """One tag at one tick; `value` is null where it is no number. `fresh`: good, and not older than the tag allows."""

    value: float | None
    unit: str
    status: int
    source_at: Nanoseconds
    fresh: bool


class TickSaid(msgspec.Struct, frozen=True):
    """One tick: levels, what was asked, allowed and applied, steps on the ladder, events that were heard."""

    tick: int
    at: Nanoseconds
    levels: dict[str, str]
    rows: list[Row]
    changes: tuple[Change, ...]
    events: list[dict[str, Any]]
    open: bool


class Entered(msgspec.Struct, frozen=True):
    """Who signed in. Send `csrf` as X-CSRF with every request that changes something."""

    name: str
    role: str
    csrf: str


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name and password of a local account."""

    name: Annotated[str, msgspec.Meta(max_length=200)]
    password: Annotated[str, msgspec.Meta(max_length=1000)]


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person does. `approve`, `reject`, `sign` name an `ask` (`policy:subject`); `demote` a `policy`; `hand-back` takes all
    loops back to the plant's own control; `limit` a `tag` with `low` and `high`, `lock` and `clear` a `tag` (`of`: whose order an
    engineer clears); `acknowledge`, `shelve` (for `hours`), `unshelve` and `note` an `alarm` by its id.
    """

    act: Literal[
        "approve",
        "reject",
        "sign",
        "demote",
        "hand-back",
        "limit",
        "lock",
        "clear",
        "acknowledge",
        "shelve",
        "unshelve",
        "note",
    ]
    ask: str = ""
    policy: str = ""
    tag: str = ""
    low: float | None = None
    high: float | None = None
    of: Annotated[str, msgspec.Meta(max_length=200)] = ""
    alarm: Annotated[str, msgspec.Meta(max_length=500)] = ""
    hours: float = 1.0
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Taken(msgspec.Struct, frozen=True):
    """Ids of the events that were handed to the loop; whether it takes them stands in a tick that follows."""

    events: list[str]


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameter."""


class AtTick(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tick`: that one instead of the newest."""

    tick: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ticks from `since` on, at most `limit`."""

    since: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 100


class Samples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags`, separated by commas; start <= source time < end; `known_at`: as it was known then; `form`: csv, or Arrow IPC."""

    tags: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
    start: Nanoseconds | None = None
    end: Nanoseconds | None = None
    known_at: Nanoseconds | None = None
    form: Literal["csv", "arrow"] = "csv"


class AlarmSaid(msgspec.Struct, frozen=True):
    """One alarm: `at` when it came, `until` when it went (null: it has not), `stopped` what it kept policies from."""

    id: str
    kind: str
    subject: str
    code: str
    state: str
    priority: str
    tick: int
    at: Nanoseconds
    until: Nanoseconds | None
    seconds: float
    times: int
    first_out: bool
    standing: bool
    top: list[str]
    relied: list[str]
    stopped: list[str]
    acts: list[AlarmAct]


class Covered(msgspec.Struct, frozen=True):
    """One tag in one hour: the share of what was expected that was good (null: nothing was), and the counts."""

    tag: str
    hour: Nanoseconds
    share: float | None
    counts: dict[str, int]


class ProjectSaid(msgspec.Struct, frozen=True):
    """A project; `problem`: why it cannot be run, if so."""

    id: str
    name: str
    problem: str
    runs: list[str]


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`start` a project, `pause` a run or `go-on` with it, by its id."""

    what: Literal["start", "pause", "go-on"]
    name: Annotated[str, msgspec.Meta(max_length=500)]


class Said(msgspec.Struct, frozen=True):
    """What came of it, in one line."""

    text: str


Tick = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Word = Annotated[str, msgspec.Meta(max_length=200)]


class WantedAlarms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`every`: each episode, not only the newest of each alarm; `state`: as AlarmSaid says it; `tick`: as it stood then."""

    every: bool = False
    state: Literal["", "active-unacknowledged", "active-acknowledged", "returned-unacknowledged", "shelved", "closed"] = ""
    tick: Tick | None = None


class WantedMoves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters; `skip` so many of the newest; `tick`: as it stood then."""

    policy: Word = ""
    tag: Word = ""
    rule: Word = ""
    answer: Literal["", "allowed", "narrowed", "refused"] = ""
    start: Nanoseconds | None = None
    end: Nanoseconds | None = None
    skip: Tick = 0
    limit: Limit = 100
    tick: Tick | None = None


class WantedAudit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters; `since` and `until` are ticks; `skip` so many of the first."""

    kind: Word = ""
    who: Word = ""
    subject: Word = ""
    since: Tick = 0
    until: Tick | None = None
    skip: Tick = 0
    limit: Limit = 100


class WantedCoverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`source`: the inputs of policies by tick, or the samples by the ledger; `tick`: as it stood then."""

    source: Literal["ticks", "ledger"] = "ticks"
    tick: Tick | None = None


class WantedCurves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags`, separated by commas; start <= source time < end (all of it if not given); at most so many `columns`."""

    tags: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
    start: Nanoseconds | None = None
    end: Nanoseconds | None = None
    columns: Annotated[int, msgspec.Meta(ge=16, le=8_192)] = 1_200
