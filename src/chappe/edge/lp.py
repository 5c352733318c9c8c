"""Linear programmes for finite channel laws and whole items: the least power, and the least power at a mean delay.

They need SciPy (HiGHS). `dual_prices` in `chappe.edge.bounds` gives the first one's value without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chappe.edge.bounds import channel_law
from chappe.edge.kernel import costs_of
from chappe.edge.scenario import Scenario
from chappe.errors import ChappeError, MissingDependency, UsageError

__all__ = ["Actions", "DelayOptimum", "StationaryOptimum", "actions_of", "cmdp_lp", "stationary_lp"]


@dataclass(frozen=True, eq=False)
class Actions:
    """All (point, items) choices: point (A,) int64, items (A,), power (H, A) in W with inf where out of reach, and gain
    (A,) = items x (performance - goal). The first is to do nothing.
    """

    point: np.ndarray
    items: np.ndarray
    power: np.ndarray
    gain: np.ndarray


@dataclass(frozen=True, eq=False)
class StationaryOptimum:
    """power in W of one device; item, perf: multipliers; share (H, A): probability of each action given the channel."""

    power: float
    item: float
    perf: float
    actions: Actions
    share: np.ndarray


@dataclass(frozen=True, eq=False)
class DelayOptimum:
    """Least power in W with mean delay in s at most the one asked for; share (Q, H, A): probability of each action."""

    power: float
    delay: float
    actions: Actions
    share: np.ndarray


def actions_of(scenario: Scenario) -> tuple[Actions, np.ndarray]:
    """(actions, probabilities (H,) of the channel states). Raises UsageError for other scenarios than these."""
    if not scenario.integer or scenario.server is not None or scenario.channel.shadowing_db:
        raise UsageError("the programmes are for one device with whole items, no server, no shadowing: use the dual.")
    gains, prob = channel_law(scenario)
    costs, top = costs_of(scenario), int(scenario.max_items)
    pairs = [(0, 0)] + [(m, n) for m in range(len(costs.a)) for n in range(1, top + 1) if n <= costs.most[m] + 1e-9]
    point, items = np.array(pairs, np.int64).T
    radio = np.expm1(np.minimum(costs.a[point] * items, 700.0)) / (gains[:, None] * costs.scale)
    power = np.where(radio <= scenario.max_power * (1 + 1e-9), radio + costs.k[point] * items**3.0, np.inf)
    return Actions(point, items.astype(np.float64), power, items * (costs.g[point] - scenario.goal)), prob


def stationary_lp(scenario: Scenario) -> StationaryOptimum:
    """min sum pi x P with E n >= rate, E n (g - goal) >= 0 (Neely 2010): a bound for every stable policy.

    Raises ChappeError where it has no solution (overload), MissingDependency without SciPy.
    """
    linprog, sparse = _scipy()
    actions, prob = actions_of(scenario)
    reach = np.isfinite(actions.power)
    h, a = np.nonzero(reach)
    weight = prob[h]
    upper = -np.stack([weight * actions.items[a], weight * actions.gain[a]])
    equal = sparse.csr_matrix((np.ones(len(h)), (h, np.arange(len(h)))), (len(prob), len(h)))
    done = linprog(weight * actions.power[h, a], upper, [-scenario.arrivals.rate, 0.0], equal, np.ones(len(prob)),
                   method="highs")  # fmt: skip
    if not done.success:
        raise ChappeError("no policy is stable at this goal: the arrivals are above the capacity.")
    share = np.zeros(actions.power.shape)
    share[h, a] = np.maximum(done.x, 0)
    item, perf = -done.ineqlin.marginals
    return StationaryOptimum(float(done.fun), float(item), float(perf), actions, share / share.sum(1, keepdims=True))


def cmdp_lp(scenario: Scenario, *, longest: int | None = None) -> DelayOptimum:
    """The exact optimum of one device under its delay constraint: occupation measures over (queue, channel, action).

    For Poisson arrivals and an i.i.d. finite channel. The queue ends at `longest` (default: six times its mean at the
    delay, 20 at least); what would overflow is lost, and E n >= rate forbids to profit from that, but for 1e-6 of it.
    Raises UsageError without a delay or for other arrivals, ChappeError where there is no solution.
    """
    linprog, sparse = _scipy()
    if scenario.backlog_goal is None:
        raise UsageError("the optimum needs a delay: set it in the scenario.")
    if scenario.arrivals.kind != "poisson" or scenario.channel.correlation:
        raise UsageError("the optimum is for Poisson arrivals and a channel without correlation.")
    actions, prob = actions_of(scenario)
    keep = _useful(actions)
    longest = longest or max(20, math.ceil(6 * scenario.backlog_goal))
    rate, states = scenario.arrivals.rate, longest + 1
    law = np.exp(-rate + np.arange(states) * math.log(rate) - np.array([math.lgamma(k + 1) for k in range(states)]))
    q, h, a = (
        v.ravel() for v in np.meshgrid(np.arange(states), np.arange(len(prob)), np.arange(len(keep)), indexing="ij")
    )
    a = np.asarray(keep)[a]
    use = (actions.items[a] <= q) & np.isfinite(actions.power[h, a])
    q, h, a = q[use], h[use], a[use]
    count, after = len(q), (q - actions.items[a]).astype(np.int64)
    column = np.arange(count)
    # Flow into q' less flow out of it; arrivals beyond the end stay at the end.
    move = np.zeros((states, states))
    for start in range(states):
        move[start, start:] = law[: states - start]
        move[start, -1] += 1 - law[: states - start].sum()
    flow = sparse.csr_matrix((np.ones(count), (after, column)), (states, count))
    balance = sparse.csr_matrix(move.T) @ flow - sparse.csr_matrix((np.ones(count), (q, column)), (states, count))
    # The channel knows nothing of the queue: P(q, h) = pi_h P(q), the last state following from the others.
    here = sparse.csr_matrix((np.ones(count), (q, column)), (states, count))
    rows = [sparse.csr_matrix(np.ones((1, count))), balance[:-1]]
    for state in range(len(prob) - 1):
        chosen = sparse.csr_matrix(((h == state) * 1.0, (q, column)), (states, count))
        rows.append(chosen - prob[state] * here)
    equal = sparse.vstack(rows).tocsr()
    right = np.zeros(equal.shape[0])
    right[0] = 1.0
    upper = np.stack([q.astype(np.float64), -actions.gain[a], -actions.items[a]])
    limits = [scenario.backlog_goal, 0.0, -rate * (1 - 1e-6)]
    done = linprog(actions.power[h, a], upper, limits, equal, right, method="highs")
    if not done.success:
        raise ChappeError("no policy meets this delay at this goal: allow a longer one, or a lower goal.")
    share = np.zeros((states, len(prob), len(actions.items)))
    share[q, h, a] = np.maximum(done.x, 0)
    total = share.sum(2, keepdims=True)
    idle = np.zeros(share.shape)
    idle[..., 0] = 1.0
    visited = np.where(total > 1e-12, share / np.maximum(total, 1e-300), idle)
    delay = float(upper[0] @ done.x) * scenario.slot / rate
    return DelayOptimum(float(done.fun), delay, actions, _serve_unvisited(visited, total, actions))


def _serve_unvisited(share: np.ndarray, total: np.ndarray, actions: Actions) -> np.ndarray:
    """Queues that the optimum never reaches do as the next shorter one that it does reach."""
    share = share.copy()
    for q in range(1, share.shape[0]):
        for h in range(share.shape[1]):
            if total[q, h, 0] <= 1e-12:
                share[q, h] = share[q - 1, h]
    return share


def _useful(actions: Actions) -> list[int]:
    """Actions that no other with the same items beats in power (in every channel state) and in performance."""
    keep = []
    for i in range(len(actions.items)):
        same = actions.items == actions.items[i]
        no_worse = same & (actions.power <= actions.power[:, i : i + 1]).all(0) & (actions.gain >= actions.gain[i])
        better = no_worse & ((actions.power < actions.power[:, i : i + 1]).any(0) | (actions.gain > actions.gain[i]))
        if not better.any():
            keep.append(i)
    return keep


def _scipy():
    try:
        from scipy import sparse
        from scipy.optimize import linprog
    except ImportError as error:
        raise MissingDependency("linear programmes need SciPy: pip install 'chappe[edge]'.") from error
    return linprog, sparse
