"""A heated two-tank line from first principles, with a known true effect of its policy: the ground truth for every claim.

    feed -> tank 1 (heater 1, cheap energy, level LIC1, temperature TIC1) -> pump -> tank 2 (heater 2, dear energy, TIC2) -> product

Raising TIC1.SP moves duty from heater 2 to heater 1. Product flow and product temperature are held by the plant's own PI loops,
so production and quality stay. The price of heater 2's energy is solved so that going from 55 to 62 degC changes the cost by
exactly `effect` at nominal conditions (positive: saving). The steel wall of tank 1 stores heat: a lagging carry-over.

Mass and energy balances are exact: the integrator (midpoint rule) adds the same flows to the contents and to the ledgers.
The plant's own controller scans every 10 s and sheds back to its local set-points when nobody has written for `watchdog`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from jayul.core.clock import Clock
from jayul.core.expr import ExprError, duration
from jayul.core.types import BAD, SECOND, Frame, Receipt, Tag, TagTable, Verdict
from jayul.plant.sim import tank_physics as physics
from jayul.plant.sim.tank_physics import AMBIENT_T, BASE, FEED_T, FLOW, GRADES, KEEP, TARGET, VOLUME, C
from jayul.plant.table import Loop

SCAN = 10 * SECOND
PRICE_1 = 0.05  # USD/kW/h
_SHOCK = np.sqrt(1 - KEEP * KEEP)

_GRADE_STATES = {0: "A", 1: "B"}
_MODE_STATES = {0: "MAN", 1: "AUTO", 2: "RCAS"}
TAGS = TagTable(
    [
        Tag(name="TIC1.PV", unit="degC", low=0.0, high=100.0, description="temperature in tank 1"),
        Tag(
            name="TIC1.SP", unit="degC", kind="set-point", low=45.0, high=66.0, max_step=1.0, writable=True,
            description="set-point of the temperature in tank 1",
        ),
        Tag(name="TIC1.MODE", kind="mode", states=_MODE_STATES, description="mode of TIC1; it takes a set-point in RCAS"),
        Tag(name="TIC2.PV", unit="degC", low=0.0, high=100.0, description="product temperature (quality)"),
        Tag(name="TIC2.SP", unit="degC", kind="set-point", low=60.0, high=72.0, description="product temperature wanted"),
        Tag(name="LIC1.PV", unit="%", low=0.0, high=100.0, description="level in tank 1"),
        Tag(
            name="LIC1.SP", unit="%", kind="set-point", low=30.0, high=70.0, max_step=2.0, writable=True,
            description="set-point of the level in tank 1",
        ),
        Tag(name="LIC2.PV", unit="%", low=0.0, high=100.0, description="level in tank 2"),
        Tag(name="FI1.PV", unit="m3/h", low=0.0, high=15.0, description="feed flow"),
        Tag(name="FI2.PV", unit="m3/h", low=0.0, high=15.0, description="product flow (production)"),
        Tag(name="TI3.PV", unit="degC", low=-10.0, high=60.0, description="feed temperature"),
        Tag(name="TI4.PV", unit="degC", low=-30.0, high=60.0, description="ambient temperature"),
        Tag(name="JI1.PV", unit="kW", low=0.0, high=600.0, description="power of heater 1"),
        Tag(name="JI2.PV", unit="kW", low=0.0, high=400.0, description="power of heater 2"),
        Tag(name="PRICE1", unit="USD/kW/h", description="price of heater 1's energy"),
        Tag(name="PRICE2", unit="USD/kW/h", description="price of heater 2's energy"),
        Tag(name="GRADE", kind="mode", states=_GRADE_STATES, description="product grade that is being made"),
        Tag(name="WATCHDOG", description="count of messages from the supervisor, as the plant's controller sees it"),
        Tag(name="ESD1.RESET", kind="manipulated", low=0.0, high=1.0, writable=True, safety=True, description="trip reset (SIS)"),
    ]
)  # fmt: skip
_NOISE = {"TIC1.PV": 0.05, "TIC2.PV": 0.05, "LIC1.PV": 0.1, "LIC2.PV": 0.1, "FI1.PV": 0.02, "FI2.PV": 0.02, "TI3.PV": 0.05,
          "TI4.PV": 0.05, "JI1.PV": 0.5, "JI2.PV": 0.5}  # fmt: skip


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A fault on demand: `after` the start, for as long as it `lasts`.

    frozen: the value repeats, its time goes on; silent: value and time stop; bad: status Bad; nan: the value is NaN;
    future: the source clock runs an hour ahead; manual: an operator takes TIC1 out of RCAS; override: an operator sets `value`.
    """

    tag: str
    kind: Literal["frozen", "silent", "bad", "nan", "future", "manual", "override"]
    after: str
    lasts: str
    value: float = 0.0


class TankConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`effect`: true relative saving of the policy; `confounded`: grade B, cheaper to make, is planned while the policy is on."""

    effect: float = 0.05
    confounded: bool = False
    watchdog: str = "5 min"
    fault: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if not -0.2 <= self.effect <= 0.3:
            raise ValueError("'effect' must lie between -0.2 and 0.3")
        try:
            for text in (self.watchdog, *(t for fault in self.fault for t in (fault.after, fault.lasts))):
                duration(text)
        except ExprError as error:
            raise ValueError(str(error)) from error
        for fault in self.fault:
            if fault.tag not in TAGS.index:
                raise ValueError(f"fault on unknown tag '{fault.tag}'")


def tank(config: TankConfig, clock: Clock) -> Tank:
    """Build the plant; it starts settled at its own set-points."""
    return Tank(config, clock)


def price_2(effect: float) -> float:
    """Return the price of heater 2's energy (USD/kWh) at which moving TIC1.SP from BASE to TARGET saves `effect` of the cost.

    Nominal steady state: Q1 = q C (SP - Tfeed) + UA (SP - Ta), Q2 = q C (Tproduct - SP) + UA2 (Tproduct - Ta) - pump;
    cost = PRICE_1 Q1 + price Q2, which is linear in the price.
    """
    duty, wall = FLOW / 3600 * C, physics.WALL_UA * physics.WALL_LOSS / (physics.WALL_UA + physics.WALL_LOSS)
    q1 = [duty * (sp - FEED_T) + wall * (sp - AMBIENT_T) for sp in (BASE, TARGET)]
    q2 = [duty * (GRADES[0] - sp) + physics.LOSS_2 * (GRADES[0] - AMBIENT_T) - physics.PUMP for sp in (BASE, TARGET)]
    return PRICE_1 * (q1[1] - q1[0] * (1 - effect)) / (q2[0] * (1 - effect) - q2[1])


class _Chance:
    """Rows of normals (standard deviations by column), drawn in blocks: row k is the same however the plant is read."""

    def __init__(self, clock: Clock, key: str, sd: np.ndarray) -> None:
        self._rng, self._sd, self._rows, self._next = clock.rng(key), sd, np.empty((0, len(sd))), 0

    def row(self) -> np.ndarray:
        if self._next == len(self._rows):
            self._rows, self._next = self._rng.standard_normal((512, len(self._sd))) * self._sd, 0
        self._next += 1
        row: np.ndarray = self._rows[self._next - 1]
        return row


class Tank:
    """The plant; see the module. `ledger` holds what went in and out since the start: m3 and kJ."""

    def __init__(self, config: TankConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.tags = TAGS
        self.loops = dict.fromkeys(("TIC1.SP", "LIC1.SP"), Loop("TIC1.MODE", 2, 1))
        self.rewind()

    @property
    def contents(self) -> list[float]:
        """What stands in the plant: m3, m3 (tanks), kJ, kJ (tank 1, its wall), kJ (tank 2)."""
        return list(self._state[:5])

    def rewind(self) -> None:
        """Go back to the first instant: a simulated plant can be brought back to any tick by applying its journal again."""
        self._start = self._scanned = self._clock.now()
        self._state = physics.settled()
        self.ledger = dict.fromkeys(("volume_in", "volume_out", "energy_in", "energy_out", "electric", "lost"), 0.0)
        self._sp1 = self._local_sp1 = BASE
        self._lsp1 = self._local_lsp1 = 50.0
        self._mode, self._grade, self._watchdog, self._written_at = 2, 0, 0, 0
        self._ar = np.zeros(3)  # product flow, feed temperature, ambient temperature: standard normal, autocorrelated
        self._shocks = _Chance(self._clock, "tank/shocks", _SHOCK)
        self._measured = _Chance(self._clock, "tank/noise", np.array([_NOISE.get(name, 0.0) for name in TAGS.names]))
        self._plan = self._clock.rng("tank/grades")
        self._price2 = price_2(self._config.effect)
        self._shed_after = duration(self._config.watchdog)
        self._noise = np.zeros(len(TAGS.tags))
        self._stuck: dict[int, tuple[float, int]] = {}  # fault number -> value and time when it began
        self._faults = [(f, self._start + duration(f.after), duration(f.lasts)) for f in self._config.fault]
        self._power, self._flows = (253.0, 103.0), (FLOW, FLOW, FLOW)
        self._feed_t, self._ambient_t = FEED_T, AMBIENT_T

    def switch(self, tag: str, code: int) -> None:
        """Put TIC1 to MAN, AUTO or RCAS, as an operator or a supervisor that hands back does; outside RCAS no write is taken."""
        self._advance(self._clock.now())
        self._mode = code if tag == "TIC1.MODE" and code in _MODE_STATES else self._mode

    async def read(self) -> Frame:
        """Return every tag as the plant's controller saw it at its last scan."""
        self._advance(self._clock.now())
        return self._frame(self._clock.now())

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Take set-points, all or none, while TIC1 is in RCAS; every call feeds the watchdog."""
        now = self._clock.now()
        self._advance(now)
        self._watchdog, self._written_at = (self._watchdog + 1) % 1000, now
        values = {v.proposal.tag: v.allowed for v in verdicts if v.allowed is not None}
        if self._mode != 2 or not values.keys() <= {"TIC1.SP", "LIC1.SP"}:
            return [Receipt(tag, value, None, now, "rejected") for tag, value in values.items()]
        self._sp1, self._lsp1 = values.get("TIC1.SP", self._sp1), values.get("LIC1.SP", self._lsp1)
        return [Receipt(tag, value, value, now, "settled") for tag, value in values.items()]

    def _advance(self, now: int) -> None:
        while self._scanned + SCAN <= now:
            self._scanned += SCAN
            self._scan(self._scanned)

    def _scan(self, now: int) -> None:
        """One scan of the plant's controller: disturb, control, then integrate the physics over 10 s."""
        self._ar = KEEP * self._ar + self._shocks.row()
        flow, feed, ambient = self._ar.tolist()
        demand = FLOW + physics.FLOW_SD * flow
        self._feed_t, self._ambient_t = FEED_T + physics.FEED_SD * feed, AMBIENT_T + physics.AMBIENT_SD * ambient
        if self._config.confounded and (now - self._start) % (7200 * SECOND) == 0:
            share_b = 0.85 if self._sp1 > (BASE + TARGET) / 2 else 0.15
            self._grade = int(self._plan.random() < share_b)
        if self._written_at and now - self._written_at > self._shed_after:  # the supervisor is gone
            self._sp1, self._lsp1, self._written_at = self._local_sp1, self._local_lsp1, 0
        if self._faults:
            self._operate(now)
        drivers = physics.Drivers(demand, self._feed_t, self._ambient_t, GRADES[self._grade])
        done = physics.scan(self._state, self._sp1, self._lsp1, drivers, physics.ONE)
        self._state, self._power, self._flows = done.state, done.power, done.flows
        self._keep_books(done)
        self._noise = self._measured.row()

    def _keep_books(self, done: physics.Scan) -> None:
        feed, _, out = (flow / 3600 for flow in done.flows)
        book, dt = self.ledger, SCAN / SECOND
        book["volume_in"] += dt * feed
        book["volume_out"] += dt * out
        book["energy_in"] += dt * done.into
        book["energy_out"] += dt * done.gone
        book["electric"] += dt * done.electric
        book["lost"] += dt * done.lost

    def _operate(self, now: int) -> None:
        """Play the operator: faults of kind manual and override."""
        for fault, begin, lasts in self._faults:
            inside = begin <= now < begin + lasts
            if fault.kind == "manual" and (inside or begin + lasts <= now < begin + lasts + SCAN):
                self._mode = 0 if inside else 2
            elif fault.kind == "override" and begin <= now < begin + SCAN:
                self._sp1 = fault.value

    def _frame(self, now: int) -> Frame:
        v1, v2, h1, _, h2 = self._state[:5]
        power, flows = self._power, self._flows
        truth = (
            h1 / (C * v1), self._sp1, self._mode, h2 / (C * v2), GRADES[self._grade], 100 * v1 / VOLUME, self._lsp1,
            100 * v2 / VOLUME, flows[0], flows[2], self._feed_t, self._ambient_t, power[0], power[1], PRICE_1, self._price2,
            self._grade, self._watchdog, 0.0,
        )  # fmt: skip
        value = np.array(truth) + self._noise
        source_at, seen_at = np.empty((2, len(truth)), dtype=np.int64)
        source_at.fill(self._scanned)
        seen_at.fill(now)
        status = np.zeros(len(truth), dtype=np.uint32)
        for number, (fault, begin, lasts) in enumerate(self._faults):
            if begin <= now < begin + lasts:
                self._corrupt(number, fault, value, source_at, status)
        return Frame(now, TAGS, value, source_at, seen_at, status)

    def _corrupt(
        self, number: int, fault: Fault, value: np.ndarray[Any, Any], source_at: np.ndarray, status: np.ndarray
    ) -> None:
        i = TAGS.index[fault.tag]
        began = self._stuck.setdefault(number, (value.item(i), source_at.item(i)))
        if fault.kind in ("frozen", "silent"):
            value[i] = began[0]
        if fault.kind == "silent":
            source_at[i] = began[1]
        elif fault.kind == "bad":
            status[i] = BAD
        elif fault.kind == "nan":
            value[i] = np.nan
        elif fault.kind == "future":
            source_at[i] += 3600 * SECOND
