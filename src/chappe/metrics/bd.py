"""Bjontegaard deltas: how much rate one curve saves at equal quality, how much quality it gains at equal rate.

Bjontegaard, *Calculation of average PSNR differences between RD-curves*, VCEG-M33, 2001; piecewise interpolation as in
Herglotz et al., *The Bjontegaard Bible*, IEEE TIP 2024. Both curves are interpolated through their points with the
decimal logarithm of the rate, and integrated over what they share:

    BD-rate   = 100 * (10^(mean over shared metric of log10 r_b - log10 r_a) - 1)   percent, negative: b needs less
    BD-metric = mean over shared log10 rate of (m_b - m_a)                          in the metric's unit

Any metric (PSNR, mIoU, LPIPS) and any positive rate (bpp, bytes, CBR) will do. For BD-rate the metric has to rise
with the rate at every point, since the rate is a function of it: `undominated` picks such points from a noisy curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, UsageError

__all__ = ["Curve", "bd_metric", "bd_rate", "interpolate", "shared", "undominated"]

_LEAST = {"pchip": 2, "akima": 2, "cubic": 4}


def bd_rate(
    rate_a: Sequence[float],
    metric_a: Sequence[float],
    rate_b: Sequence[float],
    metric_b: Sequence[float],
    method: str = "pchip",
    higher_better: bool = True,
) -> float:
    """Mean difference in rate of curve b from curve a at equal metric, in percent: -30 says that b needs 30 % less.

    `rate_*`: (N,) positive, in any order; `metric_*`: (N,), rising with the rate, or falling where `higher_better` is
    False (LPIPS). `method`: "pchip" (monotone piecewise cubic), "akima", or "cubic" (one least-squares cubic, the
    original). Raises `InputError` for too few points, a metric that does not follow the rate, values that are not
    finite, or curves that share no range of the metric.

    >>> round(bd_rate([1, 2, 4, 8], [30, 32, 34, 36], [0.5, 1, 2, 4], [30, 32, 34, 36]), 9)
    -50.0
    """
    a, b = (_points(name, r, m, method) for name, r, m in (("first", rate_a, metric_a), ("second", rate_b, metric_b)))
    sign = 1 if higher_better else -1
    curves = []
    for name, (rate, metric) in (("first", a), ("second", b)):
        step = np.diff(sign * metric)
        if (step <= 0).any():
            k = int(np.argmax(step <= 0))
            raise InputError(
                f"BD-rate needs a metric that {'rises' if higher_better else 'falls'} with the rate, and on the {name} "
                f"curve it goes from {metric[k]:g} to {metric[k + 1]:g} between the rates {rate[k]:g} and "
                f"{rate[k + 1]:g}: drop dominated points with undominated(), or use bd_metric."
            )
        curves.append(interpolate(sign * metric, np.log10(rate), method))
    return float(100 * (10 ** _mean_difference(*curves, "metric") - 1))


def bd_metric(
    rate_a: Sequence[float],
    metric_a: Sequence[float],
    rate_b: Sequence[float],
    metric_b: Sequence[float],
    method: str = "pchip",
) -> float:
    """Mean difference in metric of curve b from curve a at equal rate, in the metric's own unit (BD-PSNR in dB).

    Arguments as in `bd_rate`; the metric need not be monotone. Positive says that b's values are larger: better for
    mIoU, worse for LPIPS. Raises `InputError` as `bd_rate` does.

    >>> round(bd_metric([1, 2, 4, 8], [30, 32, 34, 36], [1, 2, 4, 8], [31, 33, 35, 37]), 9)
    1.0
    """
    a, b = (_points(name, r, m, method) for name, r, m in (("first", rate_a, metric_a), ("second", rate_b, metric_b)))
    return _mean_difference(*(interpolate(np.log10(rate), metric, method) for rate, metric in (a, b)), "rate")


def undominated(rate: Sequence[float], metric: Sequence[float], higher_better: bool = True) -> np.ndarray:
    """(N,) bool: the points that no other point equals or beats in both rate and metric (of two equal points, one).

    What stays has a metric that strictly follows the rate, as `bd_rate` asks; NaN points go. Say that points were
    dropped, wherever the figure stands.

    >>> undominated([1, 2, 4], [30, 29, 33]).tolist()
    [True, False, True]
    """
    rate, metric = np.asarray(rate, np.float64), np.asarray(metric, np.float64) * (1 if higher_better else -1)
    kept = np.zeros(len(rate), bool)
    best = -np.inf
    for k in np.lexsort((-metric, rate)):
        if metric[k] > best and not np.isnan(rate[k]):
            kept[k], best = True, metric[k]
    return kept


def shared(a: Sequence[float], b: Sequence[float]) -> float:
    """Share of the range of both sets of values together that lies in both ranges, in [0, 1].

    A BD figure over a small share is an extrapolation in disguise: report it beside the figure, below .75 as a warning.

    >>> shared([0, 2], [1, 4])
    0.25
    """
    low, high = max(np.min(a), np.min(b)), min(np.max(a), np.max(b))
    whole = max(np.max(a), np.max(b)) - min(np.min(a), np.min(b))
    return float(max(high - low, 0) / whole) if whole > 0 else float(low == high)


def interpolate(x: Sequence[float], y: Sequence[float], method: str = "pchip") -> Curve:
    """The curve through the points (for "cubic": nearest to them), `x` (N,) strictly rising, `y` (N,)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if method not in _LEAST:
        raise UsageError(f"there is no interpolation {method!r}: choose one of {', '.join(_LEAST)}.")
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if len(x) < _LEAST[method] or (np.diff(x) <= 0).any():
        raise InputError(
            f"{method} interpolation needs at least {_LEAST[method]} points of different abscissae, found {x.tolist()}."
        )
    if method == "cubic":
        middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2  # well conditioned: powers of -1..1
        powers = np.vander((x - middle) / half, 4, increasing=True)
        c = np.linalg.lstsq(powers, y, rcond=None)[0] / half ** np.arange(4)
        shift = x[0] - middle  # the same cubic in powers of (x - x[0])
        c = np.array([np.polyval(np.polyder(c[::-1], k), shift) / (1, 1, 2, 6)[k] for k in range(4)])
        return Curve(x[[0, -1]], c[None])
    step = np.diff(x)
    slope = np.diff(y) / step
    d = (_pchip if method == "pchip" else _akima)(step, slope) if len(x) > 2 else np.repeat(slope, 2)
    # Hermite: y + d t + c2 t^2 + c3 t^3 on each piece
    c2 = (3 * slope - 2 * d[:-1] - d[1:]) / step
    c3 = (d[:-1] + d[1:] - 2 * slope) / step**2
    return Curve(x, np.stack((y[:-1], d[:-1], c2, c3), 1))


@dataclass(frozen=True)
class Curve:
    """A piecewise cubic: `knots` (K + 1,) rising, `coefficients` (K, 4) of the powers of (x - knots[k])."""

    knots: np.ndarray
    coefficients: np.ndarray

    def __call__(self, x: float | np.ndarray) -> np.ndarray:
        """Values at `x`, NaN outside the knots."""
        x = np.asarray(x, np.float64)
        piece = np.clip(np.searchsorted(self.knots, x, "right") - 1, 0, len(self.coefficients) - 1)
        t, c = x - self.knots[piece], self.coefficients[piece]
        value = c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3]))
        return np.where((x >= self.knots[0]) & (x <= self.knots[-1]), value, np.nan)

    def integral(self, low: float, high: float) -> float:
        """Exact integral from `low` to `high`, both between the first and the last knot."""
        start = np.clip(low, self.knots[:-1], self.knots[1:]) - self.knots[:-1]
        stop = np.clip(high, self.knots[:-1], self.knots[1:]) - self.knots[:-1]
        power = np.arange(1, 5)
        return float((self.coefficients / power * (stop[:, None] ** power - start[:, None] ** power)).sum())


def _points(name: str, rate: Sequence[float], metric: Sequence[float], method: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, in order of rising rate, checked."""
    rate, metric = np.asarray(rate, np.float64), np.asarray(metric, np.float64)
    if method not in _LEAST:
        raise UsageError(f"there is no interpolation {method!r}: choose one of {', '.join(_LEAST)}.")
    if rate.ndim != 1 or rate.shape != metric.shape or len(rate) < _LEAST[method]:
        raise InputError(
            f"a curve has one rate and one metric for each of {_LEAST[method]} or more points ({method}), "
            f"and the {name} one has rates {rate.shape} and metrics {metric.shape}."
        )
    if not (np.isfinite(rate).all() and np.isfinite(metric).all() and (rate > 0).all()):
        raise InputError(f"the {name} curve holds a rate that is not positive, or a value that is not finite: drop it.")
    order = np.argsort(rate, kind="stable")
    rate, metric = rate[order], metric[order]
    if (np.diff(rate) == 0).any():
        raise InputError(f"the {name} curve holds two points of one rate: keep one of them.")
    return rate, metric


def _mean_difference(a: Curve, b: Curve, axis: str) -> float:
    low, high = max(a.knots[0], b.knots[0]), min(a.knots[-1], b.knots[-1])
    if low >= high:
        raise InputError(
            f"the curves share no range of the {axis}, so no mean over it exists: add points that overlap."
        )
    return float((b.integral(low, high) - a.integral(low, high)) / (high - low))


def _pchip(h: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Slopes at the knots, Fritsch and Butland's weighted harmonic mean: the curve is monotone where the points are."""
    d = np.zeros(len(m) + 1)
    same = m[:-1] * m[1:] > 0
    w1, w2 = (2 * h[1:] + h[:-1])[same], (h[1:] + 2 * h[:-1])[same]
    d[1:-1][same] = (w1 + w2) / (w1 / m[:-1][same] + w2 / m[1:][same])
    for end, (h0, h1, m0, m1) in ((0, (h[0], h[1], m[0], m[1])), (-1, (h[-1], h[-2], m[-1], m[-2]))):
        slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)  # three-point, then made to keep the shape
        if slope * m0 <= 0:
            slope = 0.0
        elif m0 * m1 <= 0 and abs(slope) > 3 * abs(m0):
            slope = 3 * m0
        d[end] = slope
    return d


def _akima(h: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Slopes at the knots, Akima 1970: two slopes are extrapolated at each end; on ties the mean of both neighbours."""
    first, last = 2 * m[0] - m[1], 2 * m[-1] - m[-2]
    m = np.concatenate(([2 * first - m[0], first], m, [last, 2 * last - m[-1]]))
    bend = np.abs(np.diff(m))
    left, right = bend[:-2], bend[2:]
    total = left + right
    d = (m[3:] + m[:-3]) / 2
    sharp = total > 1e-9 * total.max()
    d[sharp] = (right[sharp] * m[1:-2][sharp] + left[sharp] * m[2:-1][sharp]) / total[sharp]
    return d
