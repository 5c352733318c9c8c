"""Trade-offs: one run for each setting, beside the certified bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from chappe.edge.bounds import Certificate, capacity, dual_certificate, dual_prices
from chappe.edge.policies import DriftPlusPenalty, FixedPoint, GreedyEnergy, MaxRate, Policy, ThresholdChannel
from chappe.edge.report import Report
from chappe.edge.scenario import Scenario
from chappe.edge.simulation import simulate
from chappe.errors import UsageError

__all__ = ["NAMES", "Outcome", "charged", "default_v", "policy_of", "sweep"]

NAMES = (
    "slow_z",
    "placeholder",
    "tune",
    "plain",
    "paper",
    "fixed:POINT",
    "maxrate",
    "threshold",
    "greedy",
    "lp",
    "cmdp",
)


@dataclass(frozen=True)
class Outcome:
    """One run of a sweep. charged: W with what was left undone (never less than the power), to compare with `bound`."""

    policy: str
    v: float | None
    target: float | None
    report: Report
    charged: float
    bound: float

    def to_json(self) -> dict:
        return asdict(self)


def policy_of(name: str, v: float) -> Policy:
    """The policy that a command line calls `name` (see NAMES). Raises UsageError for another name."""
    simple = {"maxrate": MaxRate, "threshold": ThresholdChannel, "greedy": GreedyEnergy}
    if name in simple:
        return simple[name]()
    if name.startswith("fixed:"):
        return FixedPoint(name.removeprefix("fixed:"), v)
    if name in ("lp", "cmdp"):
        from chappe.edge.clairvoyant import CMDPOptimal, LPRandomised

        return LPRandomised() if name == "lp" else CMDPOptimal()
    if name not in NAMES:
        raise UsageError(f"there is no policy {name!r}: choose one of {', '.join(NAMES)}.")
    return DriftPlusPenalty(v, name)


def default_v(scenario: Scenario) -> float:
    """V at which the price of an item weighs as four times the backlog asked for (20 items without a delay)."""
    wanted = scenario.backlog_goal or 5.0
    if capacity(scenario) <= scenario.arrivals.rate:
        return wanted
    return 4 * max(wanted, 1.0) / max(dual_prices(scenario).item, 1e-12)


def charged(report: Report, certificate: Certificate) -> float:
    """W a device: power plus missed service and performance at the certificate's mean prices; no credit for more."""
    return max(report.power, report.charged(float(certificate.item.mean()), float(certificate.perf.mean())))


def sweep(
    scenario: Scenario,
    policies: Mapping[str, Callable[[float], Policy]] | Sequence[str],
    *,
    vs: Iterable[float | None] = (None,),
    delays: Iterable[float | None] = (None,),
    slots: int = 10_000,
    samples: int = 100_000,
    progress: Callable[[str, int], None] | None = None,
) -> tuple[list[Outcome], Certificate]:
    """Every policy at every V and delay, and the bound that holds for all of them (a device's share of it).

    V None: `default_v` of each delay. Policies that know no V or no delay run once. progress(what, slot) is called in
    every slot.
    """
    makers = dict(policies) if isinstance(policies, Mapping) else {n: lambda v, n=n: policy_of(n, v) for n in policies}
    certificate = dual_certificate(scenario, samples=samples)
    bound = certificate.bound / scenario.devices
    outcomes, vs, delays = [], list(vs), list(delays)
    for name, make in makers.items():
        for delay in delays if _uses_delay(make(1.0)) else delays[:1]:
            for v in vs if _uses_v(make(1.0)) else vs[:1]:
                world = replace(scenario, delay=delay)
                v = default_v(world) if v is None else v
                label = f"{name} V={v:g}" if _uses_v(make(1.0)) else name
                watch = None if progress is None else lambda slot, label=label: progress(label, slot)
                report = simulate(world, make(v), slots, progress=watch)
                has_v, has_delay = _uses_v(make(1.0)), _uses_delay(make(1.0))
                outcomes.append(Outcome(name, v if has_v else None, delay if has_delay else None, report,
                                        charged(report, certificate), bound))  # fmt: skip
    return outcomes, certificate


def _uses_v(policy: Policy) -> bool:
    return hasattr(policy, "v") and getattr(policy, "mode", "") != "tune"


def _uses_delay(policy: Policy) -> bool:
    from chappe.edge.clairvoyant import CMDPOptimal

    return isinstance(policy, CMDPOptimal) or getattr(policy, "mode", "plain") != "plain"
