"""Bjontegaard deltas against the `bjontegaard` package, scipy's interpolators, and closed forms."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.errors import InputError, UsageError
from chappe.metrics import bd as module
from chappe.metrics import bd_metric, bd_rate, undominated
from chappe.metrics.bd import interpolate, shared

METHODS = ("pchip", "akima", "cubic")


def curves(seed: int) -> list[np.ndarray]:
    """Two curves of 5 points whose metric rises with the rate, unevenly."""
    rng = np.random.default_rng(seed)
    rate_a, rate_b = np.cumsum(rng.uniform(0.01, 0.2, (2, 5)), axis=1)
    metric_a, metric_b = 20 + np.cumsum(rng.uniform(0.3, 3, (2, 5)), axis=1)
    return [rate_a, metric_a, rate_b, metric_b + rng.uniform(-1, 1)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(8))
def test_matches_the_bjontegaard_package(method, seed):
    theirs = pytest.importorskip("bjontegaard", reason="bjontegaard is not installed (chappe[dev])")
    values = curves(seed)
    assert bd_rate(*values, method) == pytest.approx(theirs.bd_rate(*values, method, min_overlap=0), rel=1e-8)
    assert bd_metric(*values, method) == pytest.approx(theirs.bd_psnr(*values, method, min_overlap=0), rel=1e-8)
    # A distance such as LPIPS falls with the rate: the same curves, mirrored.
    mirrored = [values[0], 1 - values[1], values[2], 1 - values[3]]
    assert bd_rate(*mirrored, method, higher_better=False) == pytest.approx(bd_rate(*values, method), rel=1e-8)
    assert bd_metric(*mirrored, method) == pytest.approx(-bd_metric(*values, method), rel=1e-8)
    # The order of the points does not matter.
    order = np.random.default_rng(seed).permutation(5)
    assert bd_rate(values[0][order], values[1][order], *values[2:], method) == pytest.approx(bd_rate(*values, method))


@given(
    y=st.lists(st.integers(-5, 5), min_size=2, max_size=8),
    step=st.lists(st.floats(0.1, 3), min_size=8, max_size=8),
    method=st.sampled_from(["pchip", "akima"]),
)
@settings(max_examples=80, deadline=None)
def test_curves_match_scipy(y, step, method):
    scipy = pytest.importorskip("scipy.interpolate", reason="scipy is not installed (chappe[dev])")
    x = np.cumsum(step)[: len(y)]
    theirs = {"pchip": scipy.PchipInterpolator, "akima": scipy.Akima1DInterpolator}[method](x, y)
    ours = interpolate(x, y, method)
    at = np.linspace(x[0], x[-1], 57)
    np.testing.assert_allclose(ours(at), theirs(at), rtol=1e-9, atol=1e-9)
    low, high = x[0] + 0.2 * (x[-1] - x[0]), x[0] + 0.9 * (x[-1] - x[0])
    assert ours.integral(low, high) == pytest.approx(float(theirs.integrate(low, high)), rel=1e-9, abs=1e-9)
    assert np.isnan(ours(x[0] - 0.1)) and np.isnan(ours(x[-1] + 0.1))


def test_cubic_is_the_least_squares_polynomial():
    rng = np.random.default_rng(3)
    x, y = np.sort(rng.uniform(-3, -1, 7)), rng.normal(size=7)
    at = np.linspace(x[0], x[-1], 20)
    np.testing.assert_allclose(interpolate(x, y, "cubic")(at), np.polyval(np.polyfit(x, y, 3), at), rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_closed_forms(method):
    rate, metric = np.array([0.02, 0.04, 0.08, 0.16, 0.32]), np.array([31.0, 40.0, 46.5, 51.0, 52.5])
    for factor in (0.5, 1.0, 3.0):  # the same curve at another rate
        assert bd_rate(rate, metric, factor * rate, metric, method) == pytest.approx(100 * (factor - 1), abs=1e-7)
    assert bd_metric(rate, metric, rate, metric + 2.5, method) == pytest.approx(2.5)
    there = bd_rate(rate, metric, rate * 1.7 ** np.arange(5), metric, method)
    back = bd_rate(rate * 1.7 ** np.arange(5), metric, rate, metric, method)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)


def test_a_metric_may_fall_for_bd_metric_alone_and_undominated_mends_it():
    rate, noisy = np.array([1.0, 2, 4, 8]), np.array([30.0, 34, 33, 36])
    assert bd_metric(rate, noisy, rate, noisy + 1) == pytest.approx(1)
    with pytest.raises(InputError, match="from 34 to 33 between the rates 2 and 4"):
        bd_rate(rate, noisy, rate, noisy + 1)
    kept = undominated(rate, noisy)
    assert kept.tolist() == [True, True, False, True]
    assert bd_rate(rate[kept], noisy[kept], 2 * rate[kept], noisy[kept]) == pytest.approx(100)


@given(points=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=9), better=st.booleans())
@settings(max_examples=60, deadline=None)
def test_undominated_is_the_definition(points, better):
    rate, metric = np.array(points, float).T
    kept = undominated(rate, metric, higher_better=better)
    sign = 1 if better else -1
    for k, (r, m) in enumerate(points):
        beaten = any(s <= r and sign * n >= sign * m and (s, n) != (r, m) for s, n in points)
        twin = any(kept[j] for j, p in enumerate(points) if p == (r, m) and j != k)
        assert kept[k] == (not beaten and not twin)


def test_shared_range():
    assert shared([1, 3], [2, 4]) == pytest.approx(1 / 3)
    assert shared([1, 2], [3, 4]) == 0.0 and shared([1, 5], [5, 1]) == 1.0 and shared([2], [2]) == 1.0


def test_misuse_is_one_sentence():
    rate, metric = [1.0, 2, 4, 8], [30.0, 32, 34, 36]
    with pytest.raises(InputError, match="share no range of the metric"):
        bd_rate(rate, metric, rate, [40, 42, 44, 46])
    with pytest.raises(InputError, match="share no range of the rate"):
        bd_metric(rate, metric, [10, 20, 40, 80], metric)
    with pytest.raises(InputError, match="falls with the rate"):
        bd_rate(rate, metric, rate, metric, higher_better=False)
    with pytest.raises(InputError, match="second curve holds two points of one rate"):
        bd_metric(rate, metric, [1, 1, 2, 3], metric)
    for bad in ([0, 1, 2, 3], [1, 2, 3, np.inf], [1, 2, 3, np.nan]):
        with pytest.raises(InputError, match="first curve holds a rate"):
            bd_rate(bad, metric, rate, metric)
    with pytest.raises(InputError, match=r"4 or more points \(cubic\)"):
        bd_rate(rate[:3], metric[:3], rate, metric, "cubic")
    with pytest.raises(UsageError, match="choose one of pchip, akima, cubic"):
        bd_rate(rate, metric, rate, metric, "linear")
    with pytest.raises(InputError, match="different abscissae"):
        interpolate([1, 1, 2], [1, 2, 3])


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
