"""The Tennessee Eastman plant: the revised C model (Bathelt, Ricker, Jelali 2015) under Ricker's decentralised control.

The plant is not ours: `tep-studio` (the `tep` extra) brings model and controller; this file is the adapter. Set-points of the
controller and the three inputs that it holds constant (recycle valve, steam valve, agitator) can be written; everything else
is measured. The controller runs every `control` of plant time. After a shutdown every reading is bad.

Sources: Downs & Vogel 1993 (plant, limits, cost); Ricker 1996 (control); Bathelt, Ricker & Jelali 2015 (revised model).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from jayul.core.clock import Clock
from jayul.core.expr import ExprError, duration
from jayul.core.types import BAD_NO_DATA, SECOND, Frame, Receipt, Tag, TagTable, Verdict
from jayul.plant.errors import Refused

HOUR = 3600 * SECOND
UNITS = {"kPa gauge": "kPa", "mol %": "%"}  # mole fraction in percent; the description says which
COST, SHUTDOWN = "operating_cost", "shutdown"
LAB = ("concentration",)  # analysers report every 6 or 15 minutes, late
WRITABLE: dict[str, tuple[str, str, float, float, float]] = {  # tag -> (unit, what, low, high, largest step)
    "reactor_pressure.SP": ("kPa", "set-point of the reactor pressure", 2600.0, 2890.0, 10.0),
    "reactor_level.SP": ("%", "set-point of the reactor level", 50.0, 80.0, 1.0),
    "reactor_temperature.SP": ("degC", "set-point of the reactor temperature", 118.0, 125.0, 0.5),
    "ya.SP": ("%", "set-point of A in A + C of the reactor feed", 45.0, 70.0, 1.0),
    "yac.SP": ("%", "set-point of A + C in the reactor feed", 45.0, 65.0, 1.0),
    "compressor_recycle_valve": ("%", "recycle valve, held constant by the base control", 0.0, 40.0, 2.0),
    "stripper_steam_valve": ("%", "steam valve, held constant by the base control", 0.0, 60.0, 2.0),
    "reactor_agitator_speed": ("%", "agitator, held constant by the base control", 0.0, 100.0, 5.0),
}
FIXED = ("separator_level", "stripper_level", "pct_g", "production_rate")  # set-points that are shown, not written


class Disturbance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Disturbance `idv` (1 to 28) from `after` the start for as long as it `lasts`."""

    idv: int
    after: str
    lasts: str


class Draw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One disturbance drawn by the run's seed: one of `idv`, in one of `blocks` blocks of length `block` from `begin` on.

    Within that block it begins at a full hour in [`earliest`, `latest`].
    """

    idv: tuple[int, ...]
    begin: str
    block: str
    blocks: int
    earliest: str
    latest: str
    lasts: str


class EastmanConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`control`: period of the base control (36 s is fast and within 0.4 % of the cost at 1.8 s)."""

    control: str = "36 s"
    disturbance: tuple[Disturbance, ...] = ()
    draw: Draw | None = None

    def __post_init__(self) -> None:
        drawn = [getattr(self.draw, name) for name in ("earliest", "latest", "begin", "block", "lasts")] if self.draw else []
        try:
            times = [
                duration(text) for text in (self.control, *drawn, *(t for d in self.disturbance for t in (d.after, d.lasts)))
            ]
        except ExprError as error:
            raise ValueError(str(error)) from error
        if self.draw and (times[1] > times[2] or not self.draw.idv or self.draw.blocks < 1):
            raise ValueError("'draw' needs 'idv', at least one of 'blocks', and 'earliest' not after 'latest'")
        if not all(1 <= idv <= 28 for idv in (*(d.idv for d in self.disturbance), *(self.draw.idv if self.draw else ()))):
            raise ValueError("'idv' must lie between 1 and 28")


def tennessee_eastman(config: EastmanConfig, clock: Clock) -> TennesseeEastman:
    """Build the plant at its base case. Raises Refused if the extra is not installed."""
    try:
        import tep_studio
    except ImportError as error:
        raise Refused(
            "the Tennessee Eastman plant needs the extra 'tep': pip install 'jayul[tep]' (and a C compiler)"
        ) from error
    return TennesseeEastman(config, clock, tep_studio)


class TennesseeEastman:
    """The plant; see the module. `drawn` says which disturbances come when (idv, begin ns, end ns): the truth, for scoring only."""

    def __init__(self, config: EastmanConfig, clock: Clock, library: Any) -> None:
        self._config, self._clock, self._library = config, clock, library
        self._control = duration(config.control)
        measured = [
            Tag(
                name=name, unit=UNITS.get(unit, unit), description=text,
                kind="laboratory" if any(word in name for word in LAB) else "measured", stale_after=1200.0,
            )
            for name, unit, text in library.list_measurements()
        ]  # fmt: skip
        valves = [
            Tag(name=name, unit=unit, stale_after=1200.0, description=text)
            for name, unit, text in library.list_manipulated_variables()
            if name not in WRITABLE
        ]
        written = [
            Tag(
                name=name, unit=unit, kind="set-point" if name.endswith(".SP") else "manipulated", low=low, high=high,
                max_step=step, stale_after=1200.0, writable=True, description=text,
            )
            for name, (unit, text, low, high, step) in WRITABLE.items()
        ]  # fmt: skip
        fixed = [
            Tag(name=f"{name}.SP", unit="m3/h" if name == "production_rate" else "%", kind="set-point", stale_after=1200.0)
            for name in FIXED
        ]
        self.tags = TagTable(
            [
                *measured, *valves, *written, *fixed,
                Tag(name=COST, unit="USD/h", stale_after=1200.0, description="purge, product loss, compressor, steam"),
                Tag(name=SHUTDOWN, kind="mode", stale_after=1200.0, states={0: "running"}, description="code of the shutdown"),
            ]
        )  # fmt: skip
        self.rewind()

    def rewind(self) -> None:
        """Go back to the base case."""
        library = self._library
        seed = int(self._clock.rng("tennessee-eastman/noise").integers(1, 2**31))
        registry = library.control.registry.RICKER_MODE1
        self._static = dict(registry.nominal.static_mv)
        registry = dataclasses.replace(registry, nominal=dataclasses.replace(registry.nominal, static_mv=self._static))
        self._sim, self._controller = library.TennesseeEastmanProcess(), library.RickerMultiLoopController(registry=registry)
        measurements, info = self._sim.reset(seed=seed)
        self._controller.reset(measurements, time=0.0)
        self._measurements, self._cost, self._code = (
            measurements,
            info["objective_terms"]["operating_cost_measured_per_hour"],
            0.0,
        )
        names = [name for name, _, _ in library.list_manipulated_variables()]
        self._valves = [i for i, name in enumerate(names) if name not in WRITABLE]
        self._action = np.array(self._sim.state[38:50])
        self._start = self._reached = self._clock.now()
        self.drawn = self._draw()

    def _draw(self) -> tuple[tuple[int, int, int], ...]:
        found = [(d.idv, self._start + duration(d.after), duration(d.lasts)) for d in self._config.disturbance]
        if draw := self._config.draw:
            chance = self._clock.rng("tennessee-eastman/draw")
            idv = draw.idv[int(chance.integers(0, len(draw.idv)))]
            block = int(chance.integers(0, draw.blocks)) * duration(draw.block)
            hour = int(chance.integers(duration(draw.earliest) // HOUR, duration(draw.latest) // HOUR + 1)) * HOUR
            found.append((idv, self._start + duration(draw.begin) + block + hour, duration(draw.lasts)))
        return tuple((idv, begin, begin + lasts) for idv, begin, lasts in found)

    def _advance(self, now: int) -> None:
        while self._reached + self._control <= now and not self._code:
            idv = np.zeros(28)
            for number, begin, end in self.drawn:
                if begin <= self._reached < end:
                    idv[number - 1] = 1.0
            action, _ = self._controller.compute_action(self._measurements, time=self._sim.time)
            result = self._sim.advance(action, control_interval=self._control / HOUR, disturbances=idv)
            self._action = result.implemented_action
            self._measurements, self._code = result.measurements, float(result.shutdown_status["code"])
            self._cost = result.objective_terms["operating_cost_measured_per_hour"]
            self._reached += self._control

    async def read(self) -> Frame:
        """Return every tag as of the last control step; all bad after a shutdown."""
        now = self._clock.now()
        self._advance(now)
        at = self._controller.setpoints
        names = [name.removesuffix(".SP") for name in WRITABLE]
        written = [self._static[name] if name in self._static else getattr(at, name) for name in names]
        value = np.array(
            [
                *self._measurements,
                *self._action[self._valves],
                *written,
                *(getattr(at, name) for name in FIXED),
                self._cost,
                self._code,
            ]
        )
        source_at = np.full(len(value), self._reached, dtype=np.int64)
        status = np.full(len(value), BAD_NO_DATA if self._code else 0, dtype=np.uint32)
        status[-1] = 0
        return Frame(now, self.tags, value, source_at, np.full(len(value), now, dtype=np.int64), status)

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Set set-points and constant inputs, all or none; refused after a shutdown."""
        now = self._clock.now()
        self._advance(now)
        values = {v.proposal.tag: v.allowed for v in verdicts if v.allowed is not None}
        if self._code or not values.keys() <= WRITABLE.keys():
            return [Receipt(tag, value, None, now, "rejected") for tag, value in values.items()]
        held = {tag: value for tag, value in values.items() if tag in self._static}
        self._static.update(held)
        points = {tag.removesuffix(".SP"): value for tag, value in values.items() if tag not in held}
        self._controller.setpoints = dataclasses.replace(self._controller.setpoints, **points)
        return [Receipt(tag, value, value, now, "settled") for tag, value in values.items()]
