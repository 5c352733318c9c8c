"""The problem of one slot against a grid, SciPy and cvxpy (A2); monotone (A12); threads change nothing (A10)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from chappe.edge.kernel import Costs, solve
from chappe.edge.scenario import Server
from chappe.edge.server import share_server


def instance(rng: np.random.Generator, *, whole: bool = False, points: int = 3) -> dict:
    """A random slot of one device, numbers of order one."""
    log = lambda low, high, size=None: np.exp(rng.uniform(math.log(low), math.log(high), size))  # noqa: E731
    k = np.where(rng.random(points) < 0.2, 0.0, log(1e-3, 1.0, points))
    most = np.full(points, log(0.5, 8.0))
    costs = Costs(log(0.05, 3, points), k, rng.uniform(0.5, 1, points), log(0.1, 2, points), most, 1.0, log(0.5, 50),
                  8.0, whole)  # fmt: skip
    return {"costs": costs, "gain": log(0.1, 30), "limit": math.inf if rng.random() < 0.3 else log(0.5, 10.0),
            "base": log(0.05, 50),
            "price": log(0.01, 1), "reward": log(0.01, 30), "goal": 0.8, "v": log(0.2, 20)}  # fmt: skip


def solved(case: dict) -> tuple[int, float, float]:
    arrays = {name: np.array([case[name]]) for name in ("gain", "limit", "base", "price", "reward")}
    point, items, value = solve(case["costs"], goal=case["goal"], v=case["v"], **arrays)
    return int(point[0]), float(items[0]), float(value[0])


def objective(case: dict, m: int, n: np.ndarray | float):
    c = case["costs"]
    w = case["base"] - case["price"] * c.s[m] + case["reward"] * (c.g[m] - case["goal"])
    return case["v"] * (np.expm1(c.a[m] * n) / (case["gain"] * c.scale) + c.k[m] * n**3) - w * n


def cap(case: dict, m: int) -> float:
    c = case["costs"]
    return min(case["limit"], c.most[m], math.log1p(c.max_power * case["gain"] * c.scale) / c.a[m])


def test_no_grid_point_is_better():
    rng = np.random.default_rng(0)
    active = 0
    for _ in range(300):
        case = instance(rng)
        point, items, value = solved(case)
        assert 0 <= items <= cap(case, point) * (1 + 1e-12)
        assert value == pytest.approx(objective(case, point, items), rel=1e-12, abs=1e-12)
        grids = [objective(case, m, np.linspace(0, cap(case, m), 10_001)).min() for m in range(3)]
        assert value <= min(grids) + 1e-9 * abs(value)
        assert value >= min(grids) - 1e-3 * abs(value) - 1e-9
        active += items > 0
    assert 100 < active < 300


def test_scipy_finds_the_same_value():
    rng = np.random.default_rng(1)
    for _ in range(300):
        case = instance(rng)
        best = 0.0
        for m in range(3):
            value = lambda n, c=case, m=m: objective(c, m, n)  # noqa: E731
            found = minimize_scalar(value, bounds=(0, cap(case, m)), method="bounded", options={"xatol": 1e-10})
            best = min(best, found.fun, objective(case, m, cap(case, m)))
        assert solved(case)[2] == pytest.approx(best, rel=1e-6, abs=1e-9)


def test_cvxpy_finds_the_same_value():
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(2)
    for _ in range(12):
        case = instance(rng, points=1)
        c, n = case["costs"], cp.Variable()
        w = case["base"] - case["price"] * c.s[0] + case["reward"] * (c.g[0] - case["goal"])
        cost = (cp.exp(c.a[0] * n) - 1) / case["gain"] + c.k[0] * cp.power(n, 3)
        problem = cp.Problem(cp.Minimize(case["v"] * cost - w * n), [n >= 0, n <= cap(case, 0)])
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        assert solved(case)[2] == pytest.approx(problem.value, rel=1e-6, abs=1e-6)


def test_whole_items_are_the_best_whole_ones():
    rng = np.random.default_rng(3)
    for _ in range(400):
        case = instance(rng, whole=True)
        found = [objective(case, m, np.arange(int(cap(case, m) + 1e-9) + 1.0)).min() for m in range(3)]
        point, items, value = solved(case)
        assert items == int(items) and value == pytest.approx(min(found), rel=1e-12, abs=1e-12), point


def test_closed_form_without_a_cpu_has_its_logarithm_of_two():
    bits, slot, band, noise, gain, w, v = 5e4, 0.05, 2.5e6, 1.25e-20, 1e-12, 7.0, 100.0
    costs = Costs(np.array([bits * math.log(2) / slot / band]), np.zeros(1), np.ones(1), np.zeros(1), np.array([99.0]),
                  1 / band / noise, 3.5, 99.0, False)  # fmt: skip
    one = np.array([1.0])
    _, items, _ = solve(costs, one * gain, one * 99, base=one * w, price=one * 0, reward=one * 0, goal=1.0, v=v)
    rate = band * math.log2(w * slot * gain / (v * noise * bits * math.log(2)))
    assert items[0] * bits / slot == pytest.approx(rate, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1.01, 10))
def test_more_v_serves_less_more_backlog_or_channel_more(seed, factor):
    case = instance(np.random.default_rng(seed), points=1)
    items = solved(case)[1]
    slack = 1e-7 * (items + 1)
    assert solved(case | {"v": case["v"] * factor})[1] <= items + slack
    assert solved(case | {"base": case["base"] * factor})[1] >= items - slack
    assert solved(case | {"gain": case["gain"] * factor})[1] >= items - slack


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1.01, 10))
def test_more_reward_never_picks_a_worse_point(seed, factor):
    """The total of items x (performance - goal) is monotone in its price, as in any parametric minimum."""
    case = instance(np.random.default_rng(seed))
    more = case | {"reward": case["reward"] * factor}
    gain = lambda c: (lambda m, n, _: n * (c["costs"].g[m] - c["goal"]))(*solved(c))  # noqa: E731
    assert gain(more) >= gain(case) - 1e-7


def test_threads_change_no_bit():
    rng = np.random.default_rng(4)
    case, count = instance(rng, points=6), 5003
    arrays = {"gain": rng.exponential(5, count), "limit": rng.uniform(0, 8, count), "base": rng.uniform(0, 30, count),
              "price": rng.uniform(0, 1, count), "reward": rng.uniform(0, 9, count)}  # fmt: skip
    runs = [solve(case["costs"], goal=0.8, v=2.0, threads=threads, **arrays) for threads in (1, 2, 5)]
    for other in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_the_server_is_shared_as_a_solver_would():
    rng = np.random.default_rng(5)
    for _ in range(25):
        count, slot, v = 4, 0.05, float(rng.uniform(0.5, 50))
        server = Server(speed=float(rng.uniform(0.5, 4)), kappa=float(rng.uniform(0, 0.05)), weight=1.0)
        backlog, price = rng.uniform(0, 0.1, count), rng.uniform(0, 5, count) * 20
        speeds = share_server(server, backlog, price, v, slot)
        assert (speeds >= 0).all() and (speeds <= backlog / slot + 1e-12).all() and speeds.sum() <= server.speed + 1e-12
        cost = lambda f: v * server.kappa * f.sum() ** 3 - price @ f * slot  # noqa: B023, E731
        limit = {"type": "ineq", "fun": lambda f: server.speed - f.sum()}  # noqa: B023
        found = minimize(cost, np.full(count, 0.01), bounds=[(0, b / slot) for b in backlog], constraints=[limit])
        assert cost(speeds) <= found.fun + 1e-6 * (1 + abs(found.fun))


def test_a_free_server_works_on_all_it_can_and_on_nothing_worthless():
    speeds = share_server(Server(speed=3.0, kappa=0.0), np.array([0.1, 0.1, 0.1]), np.array([1.0, 5.0, 0.0]), 1.0, 0.05)
    np.testing.assert_allclose(speeds, [1.0, 2.0, 0.0])
