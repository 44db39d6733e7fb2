"""The heated tanks as a pure function: one scan of control and physics, for one plant (floats) or many at once (arrays).

The plant `tank` scans with it, a twin follows measured drivers with it, and benchmarks run thousands of plants side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

BASE, TARGET = 55.0, 62.0  # degC, TIC1.SP off and on
GRADES = (68.0, 64.0)  # degC of product, by grade
C = 4180.0  # kJ/(m3.K), water
WALL, WALL_UA, WALL_LOSS, LOSS_2 = 4000.0, 3.0, 0.3, 0.3  # kJ/K, kW/K, kW/K, kW/K
FLOW, FEED_T, AMBIENT_T, PUMP = 6.0, 20.0, 22.0, 1.5  # m3/h, degC, degC, kW at nominal flow
VOLUME = 2.0  # m3, both tanks
DT = 10.0  # s, one scan
FLOW_SD, FEED_SD, AMBIENT_SD = 0.4, 1.0, 1.5  # of the disturbances: m3/h, degC, degC
KEEP = 1 - DT / np.array([1800.0, 7200.0, 14400.0])  # by scan, of the disturbances of product flow, feed, ambient temperature

Number = Any  # float or float64 array


class State(NamedTuple):
    """Contents (m3, m3, kJ, kJ, kJ) and the integrals of the four loops (kW, kW, m3/h, m3/h)."""

    v1: Number
    v2: Number
    h1: Number
    w: Number
    h2: Number
    i1: Number
    i2: Number
    i3: Number
    i4: Number


class Drivers(NamedTuple):
    """What comes from outside: product drawn (m3/h), feed and ambient temperature, product temperature wanted (degC)."""

    demand: Number
    feed_t: Number
    ambient_t: Number
    product_t: Number


class Scan(NamedTuple):
    """What one scan gives: state, power of the heaters (kW), flows in, between, out (m3/h), rates of the energy books (kW)."""

    state: State
    power: tuple[Number, Number]
    flows: tuple[Number, Number, Number]
    into: Number
    gone: Number
    electric: Number
    lost: Number


class Ops(NamedTuple):
    """Choices, for floats or for arrays."""

    clip: Callable[[Number, float, float], Number]
    where: Callable[[Number, Number, Number], Number]


ONE = Ops(lambda x, low, high: low if x < low else high if x > high else x, lambda yes, a, b: a if yes else b)
MANY = Ops(lambda x, low, high: np.minimum(np.maximum(x, low), high), np.where)


def settled(sp1: float = BASE, product_t: float = GRADES[0]) -> State:
    """Return the state in which the plant stands at nominal conditions."""
    wall = (WALL_UA * sp1 + WALL_LOSS * AMBIENT_T) / (WALL_UA + WALL_LOSS)
    return State(1.0, 1.0, C * sp1, WALL * wall, C * product_t, 253.0, 103.0, 0.0, 0.0)


def scan(s: State, sp1: Number, level: Number, d: Drivers, ops: Ops) -> Scan:
    """Control, then integrate the physics over one scan (midpoint rule). `sp1` degC, `level` %: set-points of tank 1.

    What leaves one place enters another, so balances hold to rounding.
    """

    def pi(integral: Number, error: Number, gain: float, reset: float, low: float, high: float) -> tuple[Number, Number]:
        integral = ops.clip(integral + gain * error * DT / reset, low, high)
        return integral, ops.clip(integral + gain * error, low, high)

    i1, power_1 = pi(s.i1, sp1 - s.h1 / (C * s.v1), 20.0, 300.0, 0.0, 600.0)
    i2, power_2 = pi(s.i2, d.product_t - s.h2 / (C * s.v2), 20.0, 300.0, 0.0, 400.0)
    i3, more = pi(s.i3, 50.0 - 100 * s.v2 / VOLUME, 0.3, 900.0, -6.0, 6.0)
    pump = d.demand + more
    i4, more = pi(s.i4, level - 100 * s.v1 / VOLUME, 0.3, 900.0, -6.0, 6.0)
    feed = ops.where(s.v1 < VOLUME, ops.clip(pump + more, 0.0, 1e9), 0.0)
    pump = ops.where(s.v1 > 0.05, ops.clip(pump, 0.0, 1e9), 0.0)
    out = ops.where(s.v2 > 0.05, d.demand, 0.0)
    q_in, q_mid, q_out = feed / 3600, pump / 3600, out / 3600
    electric, into = PUMP * q_mid * 3600 / FLOW, q_in * C * d.feed_t
    v1, v2, h1, w, h2 = s[:5]
    for dt in (DT / 2, DT):
        t1, tw, t2 = h1 / (C * v1), w / WALL, h2 / (C * v2)
        over, to_wall, from_wall = q_mid * C * t1, WALL_UA * (t1 - tw), WALL_LOSS * (tw - d.ambient_t)
        gone, lost = q_out * C * t2, LOSS_2 * (t2 - d.ambient_t)
        v1, v2 = s.v1 + dt * (q_in - q_mid), s.v2 + dt * (q_mid - q_out)
        h1 = s.h1 + dt * (into - over + power_1 - to_wall)
        w = s.w + dt * (to_wall - from_wall)
        h2 = s.h2 + dt * (over - gone + power_2 + electric - lost)
    state = State(v1, v2, h1, w, h2, i1, i2, i3, i4)
    return Scan(state, (power_1, power_2), (feed, pump, out), into, gone, power_1 + power_2 + electric, from_wall + lost)
