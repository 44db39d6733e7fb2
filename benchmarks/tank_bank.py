"""Many heated tanks at once (the physics of the plant `tank`), each with its own disturbances, arms and twins; ten-minute means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jayul.plant.sim import tank_physics as tank
from jayul.plant.sim.tank import PRICE_1, price_2

SAMPLE = 60  # scans of 10 s to a mean
PER_HOUR = 6  # means
NOISE = {"flow": 0.02, "feed": 0.05, "ambient": 0.05, "power": 0.5}  # of the transmitters, as in the plant
RAMP = 30.0 * tank.DT / 3600  # degC a scan
SHARE = {
    "estimated": 0.0,
    "5 % wrong": 0.05,
    "15 % wrong": 0.15,
}  # further error of a twin's drivers, in their sd, autocorrelated


class Bank(NamedTuple):
    """Means [plants, samples]: energy cost (USD/h), what each twin says of it, product flow, feed temperature."""

    cost: np.ndarray
    twins: dict[str, np.ndarray]
    flow: np.ndarray
    feed: np.ndarray


def drive(
    rng: np.random.Generator, arms: np.ndarray, hours: float, effect: float, *, heavy: float = 1.0, twins: tuple[str, ...] = ()
) -> Bank:
    """Run plants with arms [plants, blocks] (True: on) of so many hours each; `effect`: true relative saving at nominal conditions.

    Disturbances: those of the plant (autocorrelated: 30 min, 2 h, 4 h), `heavy` times as large, and a feed temperature that
    switches by +- 2 degC x `heavy` about every six hours. A twin is the plant with the policy off, driven by measured flow and
    temperatures (`estimated`), by worse ones, or a structurally wrong one (`wrong`: no ambient, half of the feed's swing, 5 % too
    much flow).
    """
    plants, blocks = arms.shape
    keep, sd = tank.KEEP[:, None], np.array([tank.FLOW_SD, tank.FEED_SD, tank.AMBIENT_SD])[:, None] * heavy
    shock, price = np.sqrt(1 - keep * keep), price_2(effect)
    state, off = tank.settled(), {name: tank.settled() for name in twins}
    ar, errors = rng.standard_normal((3, plants)), {name: np.zeros((3, plants)) for name in twins}
    side, sp1 = rng.choice((-1.0, 1.0), plants), np.full(plants, tank.BASE)
    cost, said, flow, feed = [], {name: [] for name in twins}, [], []
    per_block = round(hours * 3600 / tank.DT)
    for scan in range(blocks * per_block):
        if scan % SAMPLE == 0:
            sums = np.zeros((3, plants))
            twin_sums = {name: np.zeros(plants) for name in twins}
        ar = keep * ar + shock * rng.standard_normal((3, plants))
        side = np.where(rng.random(plants) < tank.DT / (6 * 3600), -side, side)
        d, f, a = ar * sd
        demand = np.maximum(tank.FLOW + d, 0.5)
        feed_t, ambient_t = tank.FEED_T + f + 2.0 * heavy * side, tank.AMBIENT_T + a
        target = np.where(arms[:, scan // per_block], tank.TARGET, tank.BASE)
        sp1 = sp1 + np.clip(target - sp1, -RAMP, RAMP)
        done = tank.scan(state, sp1, 50.0, tank.Drivers(demand, feed_t, ambient_t, tank.GRADES[0]), tank.MANY)
        state = done.state
        sums += (done.power[0] * PRICE_1 + done.power[1] * price, demand, feed_t)
        if twins:
            measured = np.array([demand, feed_t, ambient_t]) + rng.standard_normal((3, plants)) * np.array(
                [[0.02], [0.05], [0.05]]
            )
            fresh = shock * rng.standard_normal((3, plants))
        for name in twins:
            errors[name] = keep * errors[name] + fresh
            known = measured + SHARE.get(name, 0.0) * sd * errors[name]
            if name == "wrong":
                half = tank.FEED_T + 0.5 * (known[1] - tank.FEED_T)
                drivers = tank.Drivers(1.05 * known[0], half, np.full(plants, tank.AMBIENT_T), tank.GRADES[0])
            else:
                drivers = tank.Drivers(np.maximum(known[0], 0.5), known[1], known[2], tank.GRADES[0])
            twin = tank.scan(off[name], np.full(plants, tank.BASE), 50.0, drivers, tank.MANY)
            off[name] = twin.state
            twin_sums[name] += twin.power[0] * PRICE_1 + twin.power[1] * price
        if scan % SAMPLE == SAMPLE - 1:
            noise = rng.standard_normal((2, plants)) * NOISE["power"] / np.sqrt(SAMPLE)
            cost.append(sums[0] / SAMPLE + noise[0] * PRICE_1 + noise[1] * price)
            flow.append(sums[1] / SAMPLE)
            feed.append(sums[2] / SAMPLE)
            for name in twins:
                said[name].append(twin_sums[name] / SAMPLE)
    stack = lambda parts: np.array(parts).T  # noqa: E731
    return Bank(stack(cost), {name: stack(parts) for name, parts in said.items()}, stack(flow), stack(feed))


def coins(rng: np.random.Generator, plants: int, pairs: int) -> np.ndarray:
    """Return arms [plants, 2 pairs], the order within each pair by a fair coin."""
    first = rng.random((plants, pairs)) < 0.5
    return np.stack([first, ~first], axis=2).reshape(plants, 2 * pairs)


def differences(values: np.ndarray, arms: np.ndarray, wash_out: float) -> np.ndarray:
    """Return off - on by pair [plants, pairs] of means over blocks after the wash-out; `values` [plants, samples]."""
    plants, blocks = arms.shape
    means = values.reshape(plants, blocks, -1)[:, :, round(wash_out * PER_HOUR) :].mean(axis=2)
    signed = np.where(arms, -means, means).reshape(plants, blocks // 2, 2)
    return signed.sum(axis=2)
