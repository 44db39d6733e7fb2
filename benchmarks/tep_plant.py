"""Many plant hours of the Tennessee Eastman model under Ricker's control: tep-studio's kernel, with the control loop compiled.

The loop (`tep_loop.c`) is compiled at run time with `$CC` or `cc`; gains and limits come from tep-studio's own registry.
`check` compares it with tep-studio's Python loop. Random numbers: the kernel's, one generator for the measurement noise and
one for the disturbances, so that the same seed brings the same disturbances whatever the policy does.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from cffi import FFI

INTERVAL = 0.01  # h, of the base control; the plant adapter's default
PER = 5  # control intervals to a sample
PER_HOUR = 20  # samples
TAGS, COST, DRIVERS = slice(0, 61), 61, slice(62, 65)  # columns: 41 + 8 measurements and 12 valves; USD/h; degC and two factors
BASE = 2705.0  # kPa, set-point of the reactor pressure
FLAGS, QUIET = 0x2F, 0x10  # all outputs, two generators; no measurement noise
WALKS = 12 * 20 + 1  # numbers at the end of the kernel's model: random walks; then message, three more words
SPAN, SET_POINT = 120, 180  # where in them: widths of the times between draws, and the values about which the walks go
OUTER = {7: "production_rate", 8: "reactor_level", 9: "reactor_pressure", 10: "reactor_temperature", 11: "separator_level",
         13: "stripper_level", 14: "ya", 15: "yac"}  # fmt: skip

ffi = FFI()
ffi.cdef(
    """
typedef struct { void *set_inputs, *derivatives, *outputs, *shutdown; } kernel_t;
typedef struct { double kc, ti, ts, lo, hi, output, error, last; } loop_t;
typedef struct {
    loop_t loop[16];
    double setpoint[16];
    double r1, r2, r3, r4, base;
    double fixed[3];
    double state[50], measured[41], added[32], drivers[21], monitor[62], composition[96], time, interval, step;
    double valves[12], idv[28];
    double *walk;
} plant_t;
int tep_run(const kernel_t *, void *, plant_t *, int, int, const double *, const double *, double *);
"""
)


class Tripped(Exception):
    """The plant shut itself down."""


class Eastman:
    """A factory of runs; compiles the loop once. Runs may go on in several threads."""

    def __init__(self) -> None:
        try:
            import tep_studio
            from tep_studio.simulation import native
        except ImportError as error:
            raise SystemExit("this needs the extra 'tep': pip install 'jayul[tep]' (and a C compiler)") from error
        self._studio, self._native = tep_studio, native
        compiler = os.environ.get("CC", "cc")
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / "tep_loop.so"
            source = Path(__file__).with_name("tep_loop.c")
            subprocess.run(
                [compiler, "-O2", "-ffp-contract=off", "-fPIC", "-shared", str(source), "-o", str(built)], check=True
            )
            self._loop = ffi.dlopen(str(built))
        self._kernel = ffi.new("kernel_t *")
        names = {"set_inputs": "tep_set_inputs", "derivatives": "tep_derivatives", "outputs": "tep_outputs"}
        for field, name in (names | {"shutdown": "tep_shutdown_code"}).items():
            setattr(
                self._kernel,
                field,
                ffi.cast("void *", int(native.ffi.cast("intptr_t", native.ffi.addressof(native.lib, name)))),
            )

    def run(
        self,
        seed: int,
        pressure: np.ndarray,
        *,
        idv: tuple[int, ...] = (12, 13),
        given: np.ndarray | None = None,
        quiet: bool = False,
        interval: float = INTERVAL,
        inert: float = 0.0,
    ) -> np.ndarray:
        """Return samples [n, 65] from the base case on. Raises Tripped.

        `pressure`: set-point (kPa) by sample; `given` [n, 3]: drivers in place of the kernel's own; `quiet`: no measurement noise;
        `interval`: of the base control, h; `inert`: share by which feed 4 holds more of the inert component B than the model says.
        """
        sim = self._studio.TennesseeEastmanProcess(ms_flag=FLAGS | (QUIET if quiet else 0))
        measured, _ = sim.reset(seed=seed)
        plant = self._start(sim.state, measured, interval)
        for number in idv if given is None else ():
            plant.idv[number - 1] = 1.0
        handle = ffi.cast("void *", int(self._native.ffi.cast("intptr_t", sim.kernel._handle)))
        plant.walk = self._walks(handle)
        plant.walk[SET_POINT + 1] *= 1.0 + inert
        samples, per = len(pressure), round(1 / PER_HOUR / interval)
        target = np.ascontiguousarray(pressure, dtype=np.float64)
        drivers = None if given is None else np.ascontiguousarray(given, dtype=np.float64)
        out = np.empty((samples, 65))
        done = self._loop.tep_run(
            self._kernel, handle, plant, samples, per, ffi.from_buffer("double[]", target),
            ffi.NULL if drivers is None else ffi.from_buffer("double[]", drivers), ffi.from_buffer("double[]", out),
        )  # fmt: skip
        if done < samples:
            raise Tripped(f"seed {seed}: {sim.kernel.shutdown_status()[1]} after {done / PER_HOUR:.1f} h")
        return out

    def _start(self, state: np.ndarray, measured: np.ndarray, interval: float) -> FFI.CData:
        control = self._studio.RickerMultiLoopController()
        control.reset(measured, time=0.0)
        registry, points = control.registry, control.setpoints
        plant = ffi.new("plant_t *")
        feeds = [{loop.name: loop for loop in registry.feed_loops}[name] for name in
                 ("A feed", "C feed", "D feed", "E feed", "Purge", "Sep flow", "Strip flow")]  # fmt: skip
        loops = [*feeds, registry.production, registry.reactor_level, registry.reactor_pressure, registry.reactor_temperature,
                 registry.separator_level, registry.separator_temperature, registry.stripper_level, registry.ya,
                 registry.yac]  # fmt: skip
        for row, loop in zip(plant.loop, loops, strict=True):
            row.kc, row.ti, row.ts, row.lo, row.hi = loop.kc, loop.ti_hours, loop.ts_hours, loop.lo, loop.hi
            row.output, row.last = loop.x0, -loop.ts_hours
        for i, name in OUTER.items():
            plant.setpoint[i] = getattr(points, name)
        nominal = registry.nominal
        plant.base, plant.r1, plant.r4 = nominal.fp_base, nominal.ratios["r1"], nominal.ratios["r4"]
        plant.r2 = float(np.polyval(nominal.p2_coeffs, points.pct_g)) - nominal.ff_gain_d * nominal.eadj0 * nominal.fp_base
        plant.r3 = float(np.polyval(nominal.p3_coeffs, points.pct_g)) + nominal.ff_gain_e * nominal.eadj0 * nominal.fp_base
        plant.fixed = list(nominal.static_mv.values())
        plant.state, plant.measured = state.tolist(), measured.tolist()
        plant.interval, plant.step = interval, 0.0005
        return plant

    def _walks(self, handle: FFI.CData) -> FFI.CData:
        """Find the random walks in the kernel's model: counted from its end, and known by their spans (0.2, 0.7, 0.25 ... h)."""
        start = int(self._native.lib.tep_model_size()) - 280 - 8 * WALKS
        walks = ffi.cast("double *", ffi.cast("char *", handle) + start)
        if [walks[SPAN + i] for i in (0, 1, 5, 6, 7)] != [0.2, 0.7, 0.15, 1.0, 1.0]:
            raise RuntimeError("this tep-studio lays its model out differently; its random walks were not found")
        return walks

    def check(self, hours: float = 20.0, seed: int = 1234567) -> tuple[float, float]:
        """Return the largest difference of samples' cost (USD/h), calm and under IDV 12 + 13, from tep-studio's Python loop."""
        found = []
        for idv in ((), (12, 13)):
            ours = self.run(seed, np.full(round(hours * PER_HOUR), BASE), idv=idv)[:, COST]
            sim, control = self._studio.TennesseeEastmanProcess(ms_flag=FLAGS), self._studio.RickerMultiLoopController()
            measured, _ = sim.reset(seed=seed)
            control.reset(measured, time=0.0)
            flags = np.zeros(28)
            flags[[i - 1 for i in idv]] = 1.0
            cost = []
            for _ in range(len(ours) * PER):
                action, _ = control.compute_action(measured, time=sim.time)
                result = sim.advance(action, control_interval=INTERVAL, disturbances=flags)
                measured = result.measurements
                cost.append(result.objective_terms["operating_cost_measured_per_hour"])
            found.append(float(np.abs(np.reshape(cost, (-1, PER)).mean(axis=1) - ours).max()))
        return found[0], found[1]
