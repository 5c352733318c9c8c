"""Who gets the bits: levels for each concept from tables of what every level costs and loses.

`rates` (M, Q) are bits per pixel and `losses` (M, Q) semantic-perceptual loss of concept m at level q; both add up over
the concepts: the first exactly, since concepts are coded alone, the second nearly. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

__all__ = ["LAMBDAS", "best_that_fits", "between", "hull", "lagrangian", "slope_path", "uniform_levels"]

LAMBDAS = tuple(float(v) for v in np.geomspace(1e-2, 1e3, 41))
"""What an agent is asked at where a rate is wanted, in loss a bit per pixel."""


def lagrangian(rates: np.ndarray, losses: np.ndarray, lam: float | np.ndarray) -> np.ndarray:
    """(M,) levels that minimise lambda R + loss, each concept by itself; of equals the cheapest. lam: one or (M,)."""
    lam = np.broadcast_to(np.asarray(lam, np.float64), len(rates))
    with np.errstate(invalid="ignore"):
        cost = np.where(rates > 0, lam[:, None] * rates, 0.0) + losses
    return cost.argmin(1)


def uniform_levels(rates: np.ndarray, losses: np.ndarray, lam: float) -> np.ndarray:
    """(M,) the one level for all that minimises lambda R + loss: the paper's simplified RL-ASC."""
    return np.full(len(rates), int((lam * rates.sum(0) + losses.sum(0)).argmin()))


def hull(rates: np.ndarray, losses: np.ndarray) -> list[int]:
    """Indices on the lower convex hull of (rate, loss) (Q,), from the cheapest point to the one of least loss."""
    order = np.lexsort((losses, rates))
    kept: list[int] = []
    for k in order.tolist():
        if kept and losses[k] >= losses[kept[-1]]:
            continue
        while len(kept) > 1 and _slope(rates, losses, kept[-2], kept[-1]) <= _slope(rates, losses, kept[-1], k):
            kept.pop()
        kept.append(k)
    return kept


def slope_path(rates: np.ndarray, losses: np.ndarray) -> list[np.ndarray]:
    """Allocations (M,) from the cheapest to the dearest: each step raises one concept along its hull, the steepest
    first, so that every one is the best of its rate (greedy marginal analysis, exact on the hulls; Shoham and Gersho
    1988)."""
    hulls = [hull(r, d) for r, d in zip(rates, losses, strict=True)]
    steps = [(_slope(rates[m], losses[m], a, b), m, b) for m, points in enumerate(hulls) for a, b in pairwise(points)]
    levels = np.array([points[0] for points in hulls])
    path = [levels.copy()]
    for _, m, target in sorted(steps, key=lambda step: (-step[0], step[1], step[2])):
        levels[m] = target
        path.append(levels.copy())
    return path


def best_that_fits(
    path: Sequence[np.ndarray], size: Callable[[np.ndarray], float], room: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The largest allocation of `path` of at most `room`, and the smallest above it; None where there is none."""
    below = above = None
    sized = sorted(((size(levels), k) for k, levels in enumerate(path)), key=lambda pair: (pair[0], -pair[1]))
    for total, k in sized:
        if total <= room:
            below = path[k]
        elif above is None:
            above = path[k]
    return below, above


def between(below: np.ndarray, above: np.ndarray, worth: np.ndarray) -> list[np.ndarray]:
    """Allocations from `below` to `above` (T,), one concept changed at a time, the greatest `worth` (T,) first."""
    levels, path = below.copy(), [below]
    for row in np.argsort(-worth, kind="stable").tolist():
        if above[row] != levels[row]:
            levels[row] = above[row]
            path.append(levels.copy())
    return path


def _slope(rates: np.ndarray, losses: np.ndarray, a: int, b: int) -> float:
    """Loss saved a bit from point a to point b; infinite for a gift."""
    extra = float(rates[b] - rates[a])
    return (float(losses[a]) - float(losses[b])) / extra if extra > 0 else float("inf")
