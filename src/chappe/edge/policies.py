"""Policies: what a device codes its items with, and how many it sends now.

A policy is anything with `start(scenario) -> run`; a run has `decide(state) -> Action` and `observe(state, action)`,
called after each slot with the state that follows. `v` and, for bounds, `prices` are optional attributes of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from chappe.edge.kernel import Costs, costs_of, solve
from chappe.edge.scenario import Scenario
from chappe.edge.server import share_server
from chappe.errors import UsageError

__all__ = [
    "Action",
    "DriftPlusPenalty",
    "FixedPoint",
    "GreedyEnergy",
    "MaxRate",
    "Policy",
    "State",
    "ThresholdChannel",
]

MODES = ("slow_z", "placeholder", "tune", "plain", "paper")


@dataclass(frozen=True, eq=False)
class State:
    """What a policy sees at the start of slot `slot`: gain (N,), queue (N,) items at the devices, backlog (N,) cycles
    and waiting (N,) items at the server."""

    slot: int
    gain: np.ndarray
    queue: np.ndarray
    backlog: np.ndarray
    waiting: np.ndarray


@dataclass(frozen=True, eq=False)
class Action:
    """point (N,) int64 and items (N,), at most the queue; speeds (N,) Hz of the server, None for all it can."""

    point: np.ndarray
    items: np.ndarray
    speeds: np.ndarray | None = None


class Run(Protocol):
    """A policy at work in one scenario."""

    def decide(self, state: State) -> Action: ...

    def observe(self, state: State, action: Action) -> None: ...


class Policy(Protocol):
    """What `simulate` takes."""

    def start(self, scenario: Scenario) -> Run: ...


@dataclass(frozen=True)
class DriftPlusPenalty:
    """Each slot minimises V x power - (queues' weights) x items, exactly (Neely 2010); nothing about the future is
    known.

    v: weight of power against backlog. mode, for a scenario with a delay (without one, all are "plain"):
    - slow_z: a virtual queue Z learns the backlog to add so that the delay is met, with small steps `z_gain`;
    - placeholder: a fixed backlog, `share` x V x the price of an item, is pretended, and is never data;
    - tune: plain, with V found by bisection on pilot runs of `pilot` slots, from `v` up or down;
    - plain: the queues alone; the delay is what V makes it;
    - paper: a delay queue with the large gain `mu`, weights 2 mu^2 Q + mu Z, as published simulators have it.
    warm: start the virtual queues at V x the optimal prices. points: names of the points to choose from (None: all).
    perf_gain: step of the performance queue (None: 1 / range of the points' performance, so that an item weighs about
    as much as in the other queues). Raises UsageError for values outside these.
    """

    v: float = 100.0
    mode: str = "slow_z"
    z_gain: float = 1e-2
    share: float = 0.8
    mu: float = 1.0
    perf_gain: float | None = None
    warm: bool = True
    points: tuple[str, ...] | None = None
    pilot: int = 4000

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"a delay mode is one of {', '.join(MODES)}, found {self.mode!r}.")
        if not (self.v > 0 and self.z_gain > 0 and self.mu > 0 and (self.perf_gain or 1) > 0 and self.share >= 0):
            raise UsageError("v, z_gain, mu and perf_gain are above 0, share from 0 on.")

    def start(self, scenario: Scenario) -> _DriftRun:
        if self.mode == "tune" and scenario.delay is not None:
            from chappe.edge.tune import tune

            return tune(scenario, self).start(scenario)
        return _DriftRun(scenario, self)


class _DriftRun:
    """The virtual queues of a run, all (N,): `perf` (Y) and `delay` (Z)."""

    def __init__(self, scenario: Scenario, policy: DriftPlusPenalty) -> None:
        self.v, self._scenario, self._policy = policy.v, scenario, policy
        self._costs, self._index = _choice(scenario, policy.points)
        self._mode = policy.mode if scenario.delay is not None else "plain"
        top = self._costs.s.max()
        self._unit = 1.0 / top if top > 0 else 0.0  # server backlogs count in items of the dearest point
        self.perf, self.delay = np.zeros(scenario.devices), np.zeros(scenario.devices)
        self._pretended = np.zeros(scenario.devices)
        spread = float(np.ptp(self._costs.g))
        self.fixed = spread == 0
        self._step = policy.perf_gain or (1.0 if self.fixed else 1 / spread)
        if self._mode == "placeholder" or (policy.warm and self._mode != "paper"):
            self._warm()

    def _warm(self) -> None:
        from chappe.edge.bounds import capacity, price_arrays

        if capacity(self._scenario) <= self._scenario.arrivals.rate:
            return  # overloaded: there are no prices, and no start is better than another
        table = self._scenario.table.take(self._index)
        goal = min(self._scenario.goal, float(table.column("perf").max()))
        item, perf, _ = price_arrays(replace(self._scenario, table=table, goal=goal))
        if self._policy.warm and not self.fixed:
            self.perf = self.v * perf / self._step
        if self._mode == "slow_z":
            self.delay = self.v * item
        elif self._mode == "placeholder":
            self._pretended = self._policy.share * self.v * item

    def weights(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(base, price, reward), (N,) each, of the kernel."""
        base = state.queue + self.delay + self._pretended
        if self._mode == "paper":
            base = 2 * self._policy.mu**2 * state.queue + self._policy.mu * self.delay
        reward = np.zeros(len(base)) if self.fixed else self._step * self.perf
        return base, self._unit**2 * state.backlog, reward

    def decide(self, state: State) -> Action:
        base, price, reward = self.weights(state)
        point, items, _ = solve(self._costs, state.gain, state.queue, base=base, price=price, reward=reward,
                                goal=self._scenario.goal, v=self.v)  # fmt: skip
        speeds = None
        if self._scenario.server is not None:
            speeds = share_server(self._scenario.server, state.backlog, price, self.v, self._scenario.slot)
        return Action(self._index[point], items, speeds)

    def observe(self, state: State, action: Action) -> None:
        goal, perf = self._scenario.goal, self._scenario.table.column("perf")
        step = self._step * action.items * (goal - perf[action.point])
        self.perf = np.maximum(self.perf + step, 0)
        if self._mode in ("slow_z", "paper"):
            gain = self._policy.z_gain if self._mode == "slow_z" else self._policy.mu
            total = state.queue + state.waiting
            self.delay = np.maximum(self.delay + gain * (total - self._scenario.backlog_goal), 0)


@dataclass(frozen=True)
class FixedPoint:
    """One point for everything; the rate follows channel and queue by drift-plus-penalty."""

    point: str
    v: float = 100.0
    mode: str = "slow_z"

    def start(self, scenario: Scenario) -> _DriftRun:
        scenario.table.index(self.point)
        return DriftPlusPenalty(self.v, self.mode, points=(self.point,)).start(scenario)


@dataclass(frozen=True)
class MaxRate:
    """All that is queued, now, with one point (None: the one of fewest bits that meets the goal by itself)."""

    point: str | None = None

    def start(self, scenario: Scenario) -> _GreedyRun:
        return _GreedyRun(scenario, (self.point or cheapest_good(scenario),), 0.0)


@dataclass(frozen=True)
class ThresholdChannel:
    """As MaxRate, but only while the gain is at least `threshold` times the mean path gain."""

    threshold: float = 0.5
    point: str | None = None

    def start(self, scenario: Scenario) -> _GreedyRun:
        return _GreedyRun(scenario, (self.point or cheapest_good(scenario),), self.threshold)


@dataclass(frozen=True)
class GreedyEnergy:
    """All that is queued, now, with whichever point that meets the goal by itself takes the least power this slot."""

    def start(self, scenario: Scenario) -> _GreedyRun:
        good = [p.name for p in scenario.table.points if p.perf >= scenario.goal]
        return _GreedyRun(scenario, tuple(good), 0.0)


def cheapest_good(scenario: Scenario) -> str:
    """The point of fewest bits whose own performance meets the goal."""
    return min((p for p in scenario.table.points if p.perf >= scenario.goal), key=lambda p: p.bits).name


class _GreedyRun:
    """Serves as many items as the limits allow, with the point that needs the least power for as many."""

    def __init__(self, scenario: Scenario, points: tuple[str, ...], threshold: float) -> None:
        self._costs, self._index = _choice(scenario, points)
        self._least = threshold * scenario.channel.gain

    def decide(self, state: State) -> Action:
        c, r = self._costs, state.gain[:, None] * self._costs.scale
        cap = np.minimum(np.minimum(np.log1p(c.max_power * r) / c.a, c.most), state.queue[:, None])
        if c.whole:
            cap = np.floor(cap + 1e-9)
        power = np.expm1(c.a * cap) / r + c.k * cap**3
        most = cap.max(1, keepdims=True)
        best = np.where(cap == most, power, np.inf).argmin(1)
        items = np.where(state.gain >= self._least, most[:, 0], 0.0)
        return Action(self._index[best], items)

    def observe(self, state: State, action: Action) -> None:
        """Nothing is learnt."""


def _choice(scenario: Scenario, points: tuple[str, ...] | None) -> tuple[Costs, np.ndarray]:
    """(costs of some points, their numbers in the table)."""
    names = [p.name for p in scenario.table.points] if points is None else points
    index = np.array([scenario.table.index(name) for name in names], np.int64)
    if not index.size:
        raise UsageError("a policy needs at least one point to choose from.")
    costs = costs_of(scenario)
    return replace(costs, **{name: getattr(costs, name)[index] for name in ("a", "k", "g", "s", "most")}), index
