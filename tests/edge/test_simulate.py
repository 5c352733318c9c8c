"""Runs against bounds and identities: A4 (power and backlog in V), A5, A6, A7, A8, A9, A10."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from chappe.edge.bounds import dual_certificate
from chappe.edge.clairvoyant import CMDPOptimal, LPRandomised
from chappe.edge.lp import cmdp_lp, stationary_lp
from chappe.edge.policies import Action, DriftPlusPenalty, FixedPoint, GreedyEnergy, MaxRate, ThresholdChannel
from chappe.edge.scenario import Arrivals, Channel, Server
from chappe.edge.simulation import World, simulate
from chappe.errors import UsageError
from edge.worlds import world


@pytest.fixture(scope="module")
def programme():
    return stationary_lp(world())


@pytest.fixture(scope="module")
def runs():
    """Plain drift-plus-penalty at three V."""
    scenario = world(devices=96)
    return {v: simulate(scenario, DriftPlusPenalty(v, "plain"), 2600, warmup=600) for v in (100, 300, 1000)}


def test_the_gap_falls_as_one_over_v_and_the_backlog_grows_as_v(programme, runs):
    gaps = [(run.charged(0.0507, programme.perf) - programme.power) * v for v, run in runs.items()]
    backlogs = [run.backlog / v for v, run in runs.items()]
    assert max(gaps) < 2 * min(gaps) and min(gaps) > 0
    assert max(backlogs) < 1.2 * min(backlogs)
    powers = [run.power for run in runs.values()]
    assert powers == sorted(powers, reverse=True)
    assert runs[100].perf == pytest.approx(0.95, abs=5e-4)


def test_little_and_timestamps_agree_and_nothing_is_lost(runs):
    for run in runs.values():
        assert run.verdict == "stable"
        assert run.delay_items == pytest.approx(run.delay_little, rel=0.01)
        assert run.delay_p95 >= run.delay_items
        assert run.arrived == run.left + run.waiting


def test_slow_z_is_within_two_percent_of_the_exact_optimum_and_on_time(programme):
    scenario = world(devices=128, delay=0.15)
    run = simulate(scenario, DriftPlusPenalty(300), 5000, warmup=1500)
    exact = cmdp_lp(replace(scenario, delay=run.delay_little), longest=24)
    assert run.delay_little == pytest.approx(0.15, rel=0.01)
    assert run.perf == pytest.approx(0.95, abs=3e-4)
    assert run.power - 3 * run.power_error < 1.02 * exact.power
    assert run.power == pytest.approx(exact.power, rel=0.02)


POLICIES = {
    "slow_z": DriftPlusPenalty(100),
    "placeholder": DriftPlusPenalty(100, "placeholder"),
    "paper": DriftPlusPenalty(100, "paper"),
    "fixed": FixedPoint("1", 100),
    "maxrate": MaxRate(),
    "threshold": ThresholdChannel(0.5),
    "greedy": GreedyEnergy(),
    "lp": LPRandomised(),
    "cmdp": CMDPOptimal(),
}


@pytest.mark.parametrize("name", POLICIES)
def test_no_policy_is_below_the_certified_bound(name, programme):
    run = simulate(world(delay=0.2, devices=32), POLICIES[name], 1200)
    assert run.charged(programme.item, programme.perf) >= programme.power - 3 * run.power_error, name
    assert run.arrived == run.left + run.waiting


def test_nor_with_a_server_a_continuous_channel_and_fractional_items():
    scenario = world(devices=60, integer=False, channel=Channel(), server=Server(2e10, 1e-29))
    run = simulate(scenario, DriftPlusPenalty(100, "plain"), 700)
    certificate = dual_certificate(scenario, samples=30_000)
    item, perf = certificate.item.mean(), certificate.perf.mean()
    assert run.verdict == "stable" and run.server > 0
    assert run.charged(item, perf) * 60 >= certificate.bound - 3 * 60 * run.power_error
    assert run.charged(item, perf) * 60 < 2 * certificate.value
    assert run.arrived == pytest.approx(run.left + run.waiting)


def test_modes_meet_the_delay_they_are_made_for():
    scenario = world(delay=0.3, devices=64)
    plain = simulate(scenario, DriftPlusPenalty(20, "tune", pilot=400), 600)
    assert plain.delay_little == pytest.approx(0.3, rel=0.1)
    placeholder = simulate(scenario, DriftPlusPenalty(100, "placeholder"), 600)
    without = simulate(scenario, DriftPlusPenalty(100, "plain"), 600)
    assert placeholder.delay_little < 0.7 * without.delay_little


def test_whole_items_through_a_server_are_counted_and_timed():
    scenario = world(devices=20, server=Server(speed=20 * 1.2e8, kappa=0.0, weight=0.0))
    run = simulate(scenario, DriftPlusPenalty(30, "plain"), 3000)
    assert run.verdict == "stable" and run.arrived == run.left + run.waiting
    assert run.delay_items == pytest.approx(run.delay_little, rel=0.01)
    alone = simulate(replace(scenario, server=None), DriftPlusPenalty(30, "plain"), 3000)
    assert run.delay_items > alone.delay_items + 0.04  # a slot at the server, at least


@pytest.mark.parametrize("policy", [MaxRate(), DriftPlusPenalty(10, "plain", warm=False), ThresholdChannel(4.0)])
def test_an_overload_is_called_unstable_and_has_no_delay(policy):
    scenario = world(devices=8, arrivals=Arrivals(4.5 if not isinstance(policy, ThresholdChannel) else 1.0))
    run = simulate(scenario, policy, 1500)
    assert run.verdict == "unstable"
    assert run.delay_little is None and run.delay_items is None and run.delay_p95 is None
    assert run.arrived == run.left + run.waiting
    expected = run.arrival_rate - run.service_rate
    assert run.growth == pytest.approx(expected, rel=0.15) and expected > 0.3


def test_seeds_reproduce_every_bit_and_threads_change_none():
    scenario = world(devices=300, delay=0.3, integer=False, channel=Channel(correlation=0.9), server=Server(1e11))
    policy = DriftPlusPenalty(50, warm=False)
    one, two, other = (simulate(replace(scenario, seed=s), policy, 60, threads=t) for s, t in ((0, 1), (0, 3), (1, 1)))
    plain = lambda run: asdict(run) | {"seconds": 0.0}  # noqa: E731
    assert plain(one) == plain(two)
    assert one.power != other.power


def test_a_policy_of_ones_own_is_checked():
    class Bad:
        def start(self, scenario):
            return self

        def decide(self, state):
            return Action(np.zeros(len(state.queue), np.int64), state.queue + 1.0)

        def observe(self, state, action):
            pass

    with pytest.raises(UsageError, match="another number"):
        simulate(world(devices=2), Bad(), 10)
    with pytest.raises(UsageError, match="at least 2 slots"):
        simulate(world(), MaxRate(), 1)
    with pytest.raises(UsageError, match="timestamps"):
        simulate(world(integer=False), MaxRate(), 10, timestamps=True)


def test_the_queue_counts_what_a_slot_by_slot_sum_would():
    scenario = world(devices=3, arrivals=Arrivals(0.7, "bursty"))
    here, total = World(scenario, timestamps=True), 0.0
    run = MaxRate().start(scenario)
    for _ in range(200):
        before = here.queue.copy()
        action = run.decide(here.state())
        sums = here.step(action)
        assert sums["queued"] == before.sum()
        total += sums["arrived"] - sums["served"]
        assert here.queue.sum() == total
