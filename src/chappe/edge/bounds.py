"""What no policy can beat: the stationary linear programme, its dual, and the exact optimum under a delay constraint.

The programme (least power over all stationary randomised choices given the channel, Neely 2010) bounds every stable
policy that meets the goal, causal or not, whenever channel states come with their stationary frequencies. Any prices
give a valid dual bound, which is how it is certified for continuous channels and many devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from chappe.edge.kernel import Costs, costs_of, solve
from chappe.edge.scenario import Scenario
from chappe.edge.tdl import FADES
from chappe.edge.traces import GainTrace, device_gains, fades_of, rayleigh_bins
from chappe.errors import ChappeError, UsageError

__all__ = [
    "Certificate",
    "Prices",
    "capacity",
    "channel_law",
    "dual_certificate",
    "dual_prices",
    "dual_value",
    "price_arrays",
]

_GOLDEN = (math.sqrt(5) - 1) / 2
_BATCHES = 20
_QUANTILES = 64  # of a continuous channel, for prices; bounds are certified on samples


@dataclass(frozen=True)
class Prices:
    """Optimal multipliers: W for one item a slot, W for one unit of performance x item a slot, W a server cycle a slot.

    `value`: the power of one device in W at these prices, the server's share included.
    """

    item: float
    perf: float
    cycle: float
    value: float


@dataclass(frozen=True)
class Certificate:
    """A lower bound on the mean power of all devices and the server in W: `value` +- `error` (standard), `bound` the
    value less three errors. item, perf: the (N,) prices it was computed with; cycle: that of the server.
    """

    value: float
    error: float
    item: np.ndarray
    perf: np.ndarray
    cycle: float

    @property
    def bound(self) -> float:
        return self.value - 3 * self.error


def channel_law(scenario: Scenario, gain: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(gains (H,), probabilities (H,)) of one device: exact for "bins" and "trace", 64 classes for the others."""
    channel = scenario.channel
    gain = channel.gain if gain is None else gain
    if channel.kind == "trace":
        levels, count = np.unique(np.asarray(channel.trace), return_counts=True)
        return gain * levels, count / count.sum()
    if channel.kind in ("tdl-a", "tdl-c"):
        fades = np.sort(fades_of(replace(scenario, devices=FADES, seed=0)), axis=None)
        levels = fades[: fades.size // _QUANTILES * _QUANTILES].reshape(_QUANTILES, -1).mean(1)
    elif channel.kind == "rician":
        one = GainTrace(Scenario(scenario.table, devices=1 << 14, channel=channel, goal=scenario.goal), stream=7).next()
        levels = np.sort(one / device_gains(scenario)[0] if channel.shadowing_db else one / channel.gain)
        levels = levels.reshape(_QUANTILES, -1).mean(1)
    else:
        levels = rayleigh_bins(channel.bins if channel.kind == "bins" else _QUANTILES)
    return gain * levels, np.full(len(levels), 1 / len(levels))


def dual_value(
    scenario: Scenario,
    item: float,
    perf: float,
    cycle: float = 0.0,
    *,
    law: tuple[np.ndarray, np.ndarray] | None = None,
    costs: Costs | None = None,
) -> tuple[float, np.ndarray]:
    """(D, supergradient (3,)) of one device in W: E min{P - item n - perf n (g - goal) + cycle s n} + item x rate +
    server.

    Every D at prices from 0 on is at most the least power. The gradient is by item, perf and cycle.
    """
    gains, prob = channel_law(scenario) if law is None else law
    costs = costs_of(scenario) if costs is None else costs
    full = np.full(len(gains), item)
    point, items, value = solve(
        costs, gains, np.full(len(gains), np.inf), base=full, price=np.full(len(gains), cycle),
        reward=np.full(len(gains), perf), goal=scenario.goal, v=1.0, threads=1,
    )  # fmt: skip
    served, rate = prob @ items, scenario.arrivals.rate
    power, speed = _server_share(scenario, cycle)
    used = prob @ (items * costs.s[point])
    slope = np.array([rate - served, prob @ (items * (scenario.goal - costs.g[point])), used - speed])
    return float(prob @ value + item * rate + power), slope


def _server_share(scenario: Scenario, cycle: float) -> tuple[float, float]:
    """(min over f of weight kappa f^3 - cycle f slot, f slot) of the server, both divided by the number of devices."""
    server = scenario.server
    if server is None:
        return 0.0, math.inf
    cost = server.weight * server.kappa
    speed = server.speed if cost == 0 else min(server.speed, math.sqrt(cycle * scenario.slot / (3 * cost)))
    if cycle == 0:
        speed = server.speed if cost == 0 else 0.0
    return (
        cost * speed**3 - cycle * speed * scenario.slot
    ) / scenario.devices, speed * scenario.slot / scenario.devices


def dual_prices(
    scenario: Scenario, gain: float | None = None, *, cycle: float | None = None, tolerance: float = 1e-9
) -> Prices:
    """The prices that maximise the dual of one device of path gain `gain`, by nested golden section (D is concave).

    cycle: the server's price, where it is known. What was computed once for a table is kept.
    Raises ChappeError where the arrivals are above the capacity: the dual has no bound then.
    """
    # Nothing else in a scenario changes its prices; the number of devices does with a server.
    same = replace(scenario, seed=0, delay=None, devices=1 if scenario.server is None else scenario.devices)
    return _prices(same, gain, cycle, tolerance)


@lru_cache(maxsize=64)
def _prices(scenario: Scenario, gain: float | None, cycle: float | None, tolerance: float) -> Prices:
    most = capacity(scenario, gain)
    if most <= scenario.arrivals.rate:
        raise ChappeError(
            f"{scenario.arrivals.rate:.4g} items a slot are above the capacity of {most:.4g} at this goal: no policy "
            "is stable; lower the rate or the goal, or raise max_power, bandwidth or CPU."
        )
    law, costs = channel_law(scenario, gain), costs_of(scenario)

    def inner(item: float, cycle: float) -> tuple[float, float]:
        best = lambda perf: dual_value(scenario, item, perf, cycle, law=law, costs=costs)  # noqa: E731
        value, perf = _maximise(lambda p: best(p)[0], scale=max(item, 1e-12), tolerance=tolerance)
        return value, perf

    scale = float(law[1] @ np.minimum(costs.a[None] / (law[0][:, None] * costs.scale), 1e3).min(1))

    def outer(cycle: float) -> tuple[float, float]:
        return _maximise(lambda item: inner(item, cycle)[0], scale=scale, tolerance=tolerance)

    known, cycle = cycle is not None, cycle or 0.0
    _, item = outer(cycle)
    value, perf = inner(item, cycle)
    # Where the server is not full at price 0, that is its price: the dual is concave.
    slow = scenario.server is not None and not known
    if slow and dual_value(scenario, item, perf, law=law, costs=costs)[1][2] > 0:
        tolerance = max(tolerance, 1e-4)  # three levels deep: good enough to start from, and any price is a valid bound
        unit = scale / max(float(costs.s.max()), 1e-300)
        _, cycle = _maximise(lambda c: outer(c)[0], scale=unit, tolerance=1e-3)
        _, item = outer(cycle)
        value, perf = inner(item, cycle)
    return Prices(item, perf, cycle, value)


def _maximise(function: Callable[[float], float], *, scale: float, tolerance: float) -> tuple[float, float]:
    """(value, argument) of the maximum over [0, inf) of a concave function that falls in the end."""
    low, high = 0.0, scale
    here, there = function(0.0), function(high)
    while there > here and high < scale * 2.0**60:
        low, here, high = high, there, high * 2
        there = function(high)
    low = low / 2 if low > scale else 0.0
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    fa, fb = function(a), function(b)
    least = 1e-4 * high  # a maximum at 0 is not chased through all small numbers
    while high - low > tolerance * max(high, least):
        if fa >= fb:
            high, b, fb = b, a, fa
            a = high - _GOLDEN * (high - low)
            fa = function(a)
        else:
            low, a, fa = a, b, fb
            b = low + _GOLDEN * (high - low)
            fb = function(b)
    value, where = max((fa, a), (fb, b))
    return (here, 0.0) if low == 0.0 and function(0.0) >= value else (value, where)


def capacity(scenario: Scenario, gain: float | None = None) -> float:
    """Most items a slot that one device can be served with at the goal, whatever the power (up to max_power).

    min over y, z >= 0 of E max_m cap_m [1 + y (g_m - goal) - z s_m]+ + z x server cycles a device and slot: by duality
    the value of max E n with E n (g - goal) >= 0 and E n s within the server's cycles.
    """
    (gains, prob), costs = channel_law(scenario, gain), costs_of(scenario)
    with np.errstate(divide="ignore"):
        caps = np.minimum(np.log1p(costs.max_power * costs.scale * gains)[:, None] / costs.a, costs.most)
    if costs.whole:
        caps = np.floor(caps + 1e-9)
    margin = costs.g - scenario.goal

    def most(y: float, z: float) -> float:
        return float(prob @ (caps * np.maximum(1 + y * margin - z * costs.s, 0)).max(1))

    unit = 1 / max(float(np.abs(margin).max()), 1e-12)
    over_y = lambda z: -_maximise(lambda y: -most(y, z), scale=unit, tolerance=1e-7)[0]  # noqa: E731
    if scenario.server is None or not costs.s.any():
        return over_y(0.0)
    cycles = scenario.server.speed * scenario.slot / scenario.devices
    return -_maximise(lambda z: -(over_y(z) + z * cycles), scale=1 / float(costs.s.max()), tolerance=1e-6)[0]


def dual_certificate(
    scenario: Scenario, *, prices: tuple | None = None, samples: int = 200_000, steps: int = 0, seed: int = 1
) -> Certificate:
    """A certified bound on the total mean power: D at fixed prices, the mean over fresh channel states of every device.

    prices: (item (N,), perf (N,), cycle), as mean queues / V of a run, or None for `dual_prices`. `steps` of projected
    supergradient ascent with 1/sqrt(step) lengths, each on fresh states, come before the measurement.
    Raises UsageError for a negative price.
    """
    count = scenario.devices
    if prices is None:
        prices = price_arrays(scenario)
    item, perf = (np.array(np.broadcast_to(np.asarray(p, np.float64), count)) for p in prices[:2])
    cycle = float(prices[2])
    if min(item.min(), perf.min(), cycle) < 0:
        raise UsageError("prices are from 0 on: a negative one bounds nothing.")
    costs = costs_of(scenario)
    trace = GainTrace(_shifted(scenario, seed), stream=9)
    gains = device_gains(scenario) / device_gains(_shifted(scenario, seed))
    infinite, rate = np.full(count, np.inf), scenario.arrivals.rate

    def look() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return solve(costs, trace.next() * gains, infinite, base=item, price=np.full(count, cycle), reward=perf,
                     goal=scenario.goal, v=1.0)  # fmt: skip

    length = (0.1 * item.mean(), 0.1 * max(perf.mean(), item.mean()))
    for step in range(1, steps + 1):
        point, items, _ = look()
        item = np.maximum(item + length[0] / math.sqrt(step) * (rate - items), 0)
        perf = np.maximum(perf + length[1] / math.sqrt(step) * items * (scenario.goal - costs.g[point]), 0)
    rounds = max(2, math.ceil(samples / count))
    power = _server_share(scenario, cycle)[0] * count
    drawn = np.array([look()[2] for _ in range(rounds)])
    value = float(drawn.mean(0).sum() + item.sum() * rate + power)
    if rounds >= 2 * _BATCHES:  # batches of rounds, which a correlated channel does not fool
        batches = drawn[: rounds // _BATCHES * _BATCHES].sum(1).reshape(_BATCHES, -1).mean(1)
        error = float(batches.std(ddof=1) / math.sqrt(_BATCHES))
    else:  # many devices, which are independent of each other
        error = float(drawn.mean(0).std(ddof=1) * math.sqrt(count))
    return Certificate(value, error, item, perf, cycle)


def price_arrays(scenario: Scenario, *, tolerance: float = 1e-5) -> tuple[np.ndarray, np.ndarray, float]:
    """`dual_prices` for every device: (item (N,), perf (N,), cycle); with shadowing, read off nine path gains."""
    gains = device_gains(scenario)
    if not scenario.channel.shadowing_db:
        one = dual_prices(scenario, tolerance=tolerance)
        return np.full(len(gains), one.item), np.full(len(gains), one.perf), one.cycle
    grid = np.geomspace(gains.min(), gains.max(), 9)
    cycle = dual_prices(scenario, tolerance=tolerance).cycle if scenario.server is not None else 0.0
    found = [dual_prices(scenario, g, cycle=cycle, tolerance=tolerance) for g in grid]
    log = np.log(gains), np.log(grid)
    item, perf = (np.interp(*log, [getattr(p, name) for p in found]) for name in ("item", "perf"))
    return item, perf, cycle


def _shifted(scenario: Scenario, seed: int) -> Scenario:
    return replace(scenario, seed=scenario.seed + 7919 * seed)
