"""Bootstrap intervals over pictures: how far a figure would move with another draw of the test set.

Efron's percentile interval: pictures are drawn with replacement, as many as there are, and the figure computed anew.
One seed and one number of pictures give the same draws, so the intervals of two codecs rest on the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InputError, UsageError

__all__ = ["interval", "interval_of_sums"]


def interval(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """(low, high) of the percentile interval of a statistic, by default the mean.

    `values`: (N, ...), one entry a picture; `statistic`: from a redrawn (N, ...) array to a number. Draws on which it
    is NaN are left out. With one picture both ends are the figure itself. Raises `InputError` without values,
    `UsageError` for `resamples` < 1 or `level` outside 0..1.

    >>> low, high = interval(np.arange(100.0))
    >>> bool(43 < low < 45 and 54 < high < 56)
    True
    """
    values = np.asarray(values)
    draws = _draws(len(values), resamples, seed, level)
    if statistic is None:
        counts = _counts(draws)
        figures = counts @ values.reshape(len(values), -1).astype(np.float64) / len(values)
        if figures.shape[1] != 1:
            raise InputError(
                f"the mean of one number a picture is taken, found values {values.shape}: give a statistic."
            )
        return _ends(figures[:, 0], level)
    return _ends(np.array([statistic(values[draw]) for draw in draws], np.float64), level)


def interval_of_sums(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """`interval` for a statistic of the *sum* over pictures, as mIoU of summed confusion matrices: much quicker.

    `values`: (N, ...) counts below 2^53 in sum; `statistic`: from the sum (...) float64 to a number. Equal to
    `interval(values, lambda drawn: statistic(drawn.sum(0)))`.
    """
    values = np.asarray(values, np.float64)
    counts = _counts(_draws(len(values), resamples, seed, level))
    sums = (counts @ values.reshape(len(values), -1)).reshape(resamples, *values.shape[1:])
    return _ends(np.array([statistic(total) for total in sums], np.float64), level)


def _draws(n: int, resamples: int, seed: int, level: float) -> np.ndarray:
    """(resamples, n) indices."""
    if n == 0:
        raise InputError("there is nothing to resample: give at least one picture's value.")
    if resamples < 1 or not 0 < level < 1:
        raise UsageError(f"a bootstrap has at least 1 resample and a level in 0..1, found {resamples} and {level}.")
    return np.random.Generator(np.random.PCG64(seed)).integers(0, n, (resamples, n))


def _counts(draws: np.ndarray) -> np.ndarray:
    """(resamples, n) float64: how often each picture was drawn."""
    resamples, n = draws.shape
    joint = draws + np.arange(resamples)[:, None] * n
    return np.bincount(joint.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def _ends(figures: np.ndarray, level: float) -> tuple[float, float]:
    figures = figures[~np.isnan(figures)]
    if not figures.size:
        return float("nan"), float("nan")
    low, high = np.percentile(figures, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
