"""Programme and dual agree (A3), prices of a closed form, capacity, certificates, the delay optimum."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from chappe.edge.bounds import capacity, channel_law, dual_certificate, dual_prices, dual_value
from chappe.edge.lp import actions_of, cmdp_lp, stationary_lp
from chappe.edge.operating import OperatingPoint, OperatingPointTable
from chappe.edge.scenario import Arrivals, Channel, Scenario, Server
from chappe.edge.traces import rayleigh_bins
from chappe.errors import ChappeError, UsageError
from edge.worlds import world


@pytest.fixture(scope="module")
def programme():
    return stationary_lp(world())


def test_the_programme_gives_the_known_optimum_and_the_dual_the_same(programme):
    assert programme.power == pytest.approx(19.860e-3, abs=1e-6)
    assert programme.perf == pytest.approx(0.300, abs=1e-3)
    prices = dual_prices(world())
    assert prices.value == pytest.approx(programme.power, rel=1e-6)
    assert prices.perf == pytest.approx(programme.perf, rel=1e-3)
    assert 0.0387 <= prices.item <= 0.069  # degenerate: an interval


@pytest.mark.parametrize("goal", [0.85, 0.92, 0.97])
def test_they_agree_at_other_goals_and_rates(goal):
    scenario = world(goal=goal, arrivals=Arrivals(1.7), max_power=0.4)
    assert dual_prices(scenario).value == pytest.approx(stationary_lp(scenario).power, rel=1e-6)


def test_power_rises_with_the_goal_and_falls_with_the_channel():
    goals = [dual_prices(world(goal=g)).value for g in (0.7, 0.85, 0.95, 0.97)]
    gains = [dual_prices(world(channel=Channel("bins", gain=g))).value for g in (1e-13, 1e-12, 1e-11)]
    assert goals == sorted(goals) and gains == sorted(gains, reverse=True)


def test_every_price_is_a_bound_and_the_gradient_is_its_slope(programme):
    rng = np.random.default_rng(0)
    for _ in range(40):
        item, perf = rng.uniform(0, 0.2), rng.uniform(0, 1)
        here, slope = dual_value(world(), item, perf)
        assert here <= programme.power * (1 + 1e-9)
        for other in rng.uniform(0, 0.3, (5, 2)):  # concave: below every tangent
            there = dual_value(world(), *other)[0]
            assert there <= here + slope[:2] @ (other - [item, perf]) + 1e-12


def test_one_point_one_channel_is_a_closed_form():
    """E n = rate with convex power: send at the constant rate, and the price is the slope there."""
    table = OperatingPointTable((OperatingPoint("only", 1e5, 0.0, 0.0, 1.0),))
    scenario = Scenario(table, channel=Channel("bins", bins=1), goal=1.0, integer=False, arrivals=Arrivals(1.3))
    a = 1e5 * math.log(2) / (0.05 * 2.5e6)
    noise = 2.5e6 * 1.25e-20 / 1e-12
    prices = dual_prices(scenario)
    assert prices.value == pytest.approx(noise * math.expm1(a * 1.3), rel=1e-6)
    assert prices.item == pytest.approx(noise * a * math.exp(a * 1.3), rel=1e-3)


def test_capacity_is_that_of_the_programme():
    scenario = world(max_power=0.05, goal=0.96)
    most = capacity(scenario)
    assert 0.2 < most < 4
    assert stationary_lp(replace(scenario, arrivals=Arrivals(most * 0.999))).power > 0
    with pytest.raises(ChappeError, match="above the capacity"):
        stationary_lp(replace(scenario, arrivals=Arrivals(most * 1.001)))
    with pytest.raises(ChappeError, match="above the capacity"):
        dual_prices(replace(scenario, arrivals=Arrivals(most * 1.001)))


def test_a_slow_server_limits_the_capacity_and_raises_the_power():
    free = world(devices=10, integer=False)
    slow = replace(free, server=Server(speed=10 * 1.3e6 / 0.05, kappa=0.0))
    margin, cycles = free.table.column("perf") - 0.95, free.table.column("server_cycles")
    mixed = linprog(-np.ones(6), [-margin, cycles], [0, 1.3e6], method="highs")
    assert capacity(slow) == pytest.approx(-mixed.fun, rel=1e-4)
    busy = Server(speed=1e9, kappa=1e-28)
    assert dual_prices(replace(free, server=busy, arrivals=Arrivals(0.5))).value > dual_prices(
        replace(free, arrivals=Arrivals(0.5))).value  # fmt: skip


def test_the_certificate_is_below_the_optimum_and_close(programme):
    scenario = world(devices=50)
    found = dual_certificate(scenario, samples=20_000)
    assert found.bound / 50 <= programme.power
    assert found.value / 50 == pytest.approx(programme.power, abs=4 * found.error / 50)
    uneven = dual_certificate(replace(scenario, channel=Channel("bins", shadowing_db=5)), samples=5000)
    assert np.ptp(uneven.item) > 0 and uneven.value != found.value
    far = dual_certificate(scenario, prices=(0.01, 0.05, 0.0), samples=5000)
    near = dual_certificate(scenario, prices=(0.01, 0.05, 0.0), samples=5000, steps=60)
    assert far.value < near.value <= programme.power * 50 + 3 * near.error
    with pytest.raises(UsageError, match="negative"):
        dual_certificate(scenario, prices=(-0.1, 0.0, 0.0))


def test_the_delay_optimum_has_the_known_values_and_falls_to_the_programme(programme):
    powers = [cmdp_lp(world(delay=0.05 * slots), longest=24).power for slots in (1.2, 2, 3)]
    assert powers == pytest.approx([43.43e-3, 30.51e-3, 26.27e-3], abs=2e-5)
    assert powers[-1] > programme.power
    with pytest.raises(UsageError, match="needs a delay"):
        cmdp_lp(world())


def test_programmes_say_what_they_are_not_for():
    with pytest.raises(UsageError, match="use the dual"):
        actions_of(world(integer=False))
    with pytest.raises(UsageError, match="Poisson"):
        cmdp_lp(world(delay=0.2, arrivals=Arrivals(0.5, "bernoulli")))


def test_bins_are_the_means_of_their_intervals():
    for count in (1, 2, 8, 64):
        assert rayleigh_bins(count).mean() == pytest.approx(1, rel=1e-12)
    draws = np.sort(np.random.default_rng(0).exponential(size=800_000)).reshape(8, -1).mean(1)
    np.testing.assert_allclose(rayleigh_bins(8), draws, rtol=0.01)
    gains, prob = channel_law(world(channel=Channel("trace", gain=2.0, trace=(1.0, 3.0, 3.0))))
    assert gains.tolist() == [2.0, 6.0] and prob.tolist() == pytest.approx([1 / 3, 2 / 3])
