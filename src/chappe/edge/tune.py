"""Finding V for a delay: more V, less power and longer queues, so that bisection on pilot runs will do."""

from __future__ import annotations

import math
from dataclasses import replace

from chappe.edge.policies import DriftPlusPenalty
from chappe.edge.scenario import Scenario

__all__ = ["tune"]

PILOT_SEED = 104_729  # pilots see other randomness than the run they prepare


def tune(scenario: Scenario, policy: DriftPlusPenalty, *, rounds: int = 10) -> DriftPlusPenalty:
    """The plain policy with the largest V whose pilot keeps the scenario's delay, to about 2 % after `rounds`.

    An overloaded scenario gets the smallest V tried.
    """
    from chappe.edge.simulation import simulate

    pilot = replace(scenario, seed=scenario.seed + PILOT_SEED)

    def keeps(v: float) -> bool:
        report = simulate(pilot, replace(policy, mode="plain", v=v), policy.pilot, timestamps=False)
        return report.delay_little is not None and report.delay_little <= scenario.delay

    low = high = policy.v
    if keeps(policy.v):
        while keeps(high := high * 4) and high < policy.v * 4.0**8:
            low = high
    else:
        while not keeps(low := low / 4) and low > policy.v / 4.0**8:
            high = low
    for _ in range(rounds):
        if high / low < 1.02:
            break
        middle = math.sqrt(low * high)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return replace(policy, mode="plain", v=low)
