"""The figures behind docs/edge.md: acceptance tests A1 to A12 of the edge at full length, as one table.

python tools/edge_figures.py            everything, some minutes
python tools/edge_figures.py A4 A11     these only
"""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import replace

import numpy as np

from chappe.edge import (
    Channel,
    CMDPOptimal,
    DriftPlusPenalty,
    FixedPoint,
    GaussianIB,
    GreedyEnergy,
    LPRandomised,
    MaxRate,
    Scenario,
    ThresholdChannel,
    cmdp_lp,
    dual_prices,
    published_table,
    simulate,
    stationary_lp,
)
from chappe.edge.kernel import Costs, solve
from chappe.edge.scenario import Arrivals


def world(**changes) -> Scenario:
    return replace(Scenario(published_table(), devices=128, channel=Channel("bins")), **changes)


def a1() -> None:
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((18, 18))
    joint = mix @ mix.T + 0.3 * np.eye(18)
    gib = GaussianIB.from_cov(joint[:12, :12], joint[:12, 12:], joint[12:, 12:])
    trip = max(abs(gib.beta_for_rate(gib.info(b).tx) / b - 1) for b in np.geomspace(1.3, 1e6, 50))
    limit = abs(gib.info(1e8).ty - gib.total)
    big = rng.standard_normal((2000, 512 + 16))
    start = time.perf_counter()
    GaussianIB.fit(big[:, :512], big[:, 512:])
    say("A1", f"I(T;Y) at beta 1e8 misses I(X;Y) by {limit:.1e} bit; beta(rate(beta)) within {trip:.1e}; "
        f"fit of 2000 x 512 in {time.perf_counter() - start:.2f} s")  # fmt: skip


def a2() -> None:
    import cvxpy as cp

    rng, worst = np.random.default_rng(0), 0.0
    log = lambda low, high: math.exp(rng.uniform(math.log(low), math.log(high)))  # noqa: E731
    count = 1000
    for _ in range(count):
        a, k, gain, w, v, top = log(0.05, 3), log(1e-3, 1), log(0.1, 30), log(0.5, 50), log(0.2, 20), log(0.5, 8)
        costs = Costs(*(np.array([x]) for x in (a, k, 1.0, 0.0, top)), 1.0, 1e9, 99.0, False)
        one, n = np.ones(1), cp.Variable()
        value = solve(costs, one * gain, one * 99, base=one * w, price=one * 0, reward=one * 0, goal=1.0, v=v)[2][0]
        cost = (cp.exp(a * n) - 1) / gain + k * cp.power(n, 3)
        problem = cp.Problem(cp.Minimize(v * cost - w * n), [n >= 0, n <= top])
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        worst = max(worst, abs(value - problem.value) / max(abs(value), 1.0))
    say("A2", f"largest difference to cvxpy in {count} random slots {worst:.1e}")


def a3() -> None:
    cases = [world(goal=g, arrivals=Arrivals(r)) for g in (0.8, 0.9, 0.95, 0.97) for r in (0.5, 1.0, 2.0)]
    found = [abs(dual_prices(s).value / stationary_lp(s).power - 1) for s in cases]
    say("A3", f"programme against dual, 12 scenarios: largest relative difference {max(found):.1e}; "
        f"optimum {1e3 * stationary_lp(world()).power:.3f} mW")  # fmt: skip


def a4() -> None:
    programme, parts = stationary_lp(world()), []
    for v in (100, 300, 1000):
        run = simulate(world(), DriftPlusPenalty(v, "plain"), 8000, warmup=2000)
        gap = (run.charged(0.0507, programme.perf) - programme.power) * v
        parts.append(f"V={v}: {1e3 * run.power:.2f} mW, gap x V {gap:.3f}, backlog / V {run.backlog / v:.4f}, "
                     f"perf {run.perf:.4f}")  # fmt: skip
    say("A4", "; ".join(parts))


def a5() -> None:
    programme, scenario = stationary_lp(world()), world(delay=0.2)
    policies = {"slow_z": DriftPlusPenalty(100), "placeholder": DriftPlusPenalty(100, "placeholder"),
                "paper": DriftPlusPenalty(100, "paper"), "fixed 1": FixedPoint("1"), "maxrate": MaxRate(),
                "threshold": ThresholdChannel(), "greedy": GreedyEnergy(),
                "lp": LPRandomised(), "cmdp": CMDPOptimal()}  # fmt: skip
    parts = []
    for name, policy in policies.items():
        run = simulate(scenario, policy, 3000)
        margin = run.charged(programme.item, programme.perf) - programme.power
        parts.append(f"{name} {1e3 * run.power:.2f} mW at {run.delay_little:.3f} s (+{margin / programme.power:.1%})")
    say("A5", f"bound {1e3 * programme.power:.2f} mW; " + ", ".join(parts))


def a6() -> None:
    parts = []
    for delay in (0.15, 0.417):
        for name, policy in (("slow_z", DriftPlusPenalty(300)), ("paper", DriftPlusPenalty(300, "paper"))):
            run = simulate(world(delay=delay), policy, 8000, warmup=3000)
            exact = cmdp_lp(world(delay=run.delay_little))
            parts.append(f"{name} at {delay} s: delay {run.delay_little:.4f} s, perf {run.perf:.4f}, "
                         f"{1e3 * run.power:.2f} +- {1e3 * run.power_error:.2f} mW, exact {1e3 * exact.power:.2f} "
                         f"({run.power / exact.power - 1:+.2%})")  # fmt: skip
    say("A6", "; ".join(parts))


def a7() -> None:
    run = simulate(world(), DriftPlusPenalty(100, "plain"), 8000)
    say("A7", f"Little {run.delay_little:.5f} s, timestamps {run.delay_items:.5f} s "
        f"({run.delay_items / run.delay_little - 1:+.3%})")  # fmt: skip
    say("A8", f"arrived {run.arrived:.0f} = left {run.left:.0f} + waiting {run.waiting:.0f}: "
        f"{run.arrived == run.left + run.waiting}")  # fmt: skip


def a9() -> None:
    run = simulate(world(devices=8, arrivals=Arrivals(4.5)), MaxRate(), 1500)
    say("A9", f"rate 4.5 of capacity 4: {run.verdict}, backlog grows by {run.growth:.3f} items a slot, "
        f"delay {run.delay_little}")  # fmt: skip


def a10() -> None:
    scenario = world(devices=30_000, integer=False, channel=Channel(correlation=0.9))
    runs = [simulate(scenario, DriftPlusPenalty(100, warm=False), 20, threads=t) for t in (1, 2, 3)]
    say("A10", f"30,000 devices with 1, 2 and 3 threads: equal to the bit {len({r.power for r in runs}) == 1}")


def a11() -> None:
    policy = DriftPlusPenalty(100, "plain", warm=False)
    simulate(world(devices=30_000, channel=Channel(), integer=False), policy, 2)
    for count in (1000, 10_000, 100_000):
        used = time.process_time()
        run = simulate(world(devices=count, channel=Channel(), integer=False), policy, 100)
        used = time.process_time() - used
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say("A11", f"{count} devices x 100 slots: {run.seconds:.2f} s, {1e4 * run.seconds / count:.2f} us a "
            f"device and slot ({1e4 * used / count:.2f} of CPU), {memory:.0f} MB")  # fmt: skip


def say(name: str, text: str) -> None:
    print(f"{name:4s} {text}", flush=True)


FIGURES = {"A1": a1, "A2": a2, "A3": a3, "A4": a4, "A5": a5, "A6": a6, "A7": a7, "A9": a9, "A10": a10, "A11": a11}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or FIGURES:
        if wanted not in FIGURES:
            sys.exit(
                f"there is no figure {wanted!r}: choose from {', '.join(FIGURES)} (A8 comes with A7, A12 is a test)."
            )
        FIGURES[wanted]()
