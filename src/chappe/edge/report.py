"""What a run came to: power and its parts, delay by two independent ways, performance of what was served, a verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Report", "Totals", "report_of"]

BATCHES = 20


@dataclass(frozen=True)
class Report:
    """Means over the slots after the warm-up, a device; powers in W, delays in s. What has no finite value is None.

    power: transmit + cpu + server x its weight (a device's share); *_error: standard error by batch means.
    delay_little: mean items in all queues / rate; delay_items: mean over the items that left (whole items only),
    delay_p95 its 95 % quantile; both None unless the verdict is "stable". perf: mean over the items served, None if
    none was.
    shortfall: mean of items x (goal - perf) a slot, positive where the goal is missed; share: of the items served, by
    point.
    verdict: "stable"; "unstable": arrivals above capacity, or a queue that grows all along; "unsettled": still filling.
    arrived = left + backlog + (with whole items) exactly, over the whole run.
    """

    slots: int
    warmup: int
    devices: int
    power: float
    power_error: float
    transmit: float
    cpu: float
    server: float
    delay_little: float | None
    delay_error: float | None
    delay_items: float | None
    delay_p95: float | None
    backlog: float
    perf: float | None
    perf_error: float | None
    shortfall: float
    arrival_rate: float
    service_rate: float
    share: dict[str, float]
    arrived: float
    left: float
    waiting: float
    growth: float
    verdict: str
    seconds: float

    def charged(self, item: float, perf: float) -> float:
        """Power in W plus what was left undone at prices `item` and `perf`: what a certified bound is compared with."""
        return self.power + item * (self.arrival_rate - self.service_rate) + perf * self.shortfall

    def to_json(self) -> dict:
        return asdict(self)


class Totals:
    """Sums over devices, slot by slot: (T,) for each name of FIELDS."""

    FIELDS = ("transmit", "cpu", "server", "perf", "served", "arrived", "queued")

    def __init__(self, slots: int, points: int) -> None:
        self.series = {name: np.zeros(slots) for name in self.FIELDS}
        self.by_point = np.zeros(points)

    def put(self, slot: int, **values: float) -> None:
        for name, value in values.items():
            self.series[name][slot] = value


def report_of(scenario, totals: Totals, *, warmup: int, waiting: float, left: float, delays: tuple | None,
              overload: bool, seconds: float) -> Report:  # fmt: skip
    """The report of a run. delays: (mean in slots, 95 % quantile in slots) of single items, or None."""
    series, devices = totals.series, scenario.devices
    slots = len(series["served"])
    kept = {name: values[warmup:] / devices for name, values in series.items()}
    weight = scenario.server.weight if scenario.server is not None else 0.0
    power = kept["transmit"] + kept["cpu"] + weight * kept["server"]
    served, perf = float(kept["served"].mean()), float(kept["perf"].mean())
    rate = float(kept["arrived"].mean())
    backlog = float(kept["queued"].mean())
    growth, verdict = _verdict(series["queued"] / devices, rate, overload)
    steady = verdict == "stable"
    scale = scenario.slot / scenario.arrivals.rate
    shares = totals.by_point / max(totals.by_point.sum(), 1e-300)
    return Report(
        slots=slots,
        warmup=warmup,
        devices=devices,
        power=float(power.mean()),
        power_error=_error(power),
        transmit=float(kept["transmit"].mean()),
        cpu=float(kept["cpu"].mean()),
        server=float(kept["server"].mean()),
        delay_little=backlog / rate * scenario.slot if steady and rate else None,
        delay_error=_error(kept["queued"]) * scale if steady else None,
        delay_items=delays[0] * scenario.slot if steady and delays else None,
        delay_p95=delays[1] * scenario.slot if steady and delays else None,
        backlog=backlog,
        perf=perf / served if served > 0 else None,
        perf_error=_ratio_error(kept["perf"], kept["served"]) if served > 0 else None,
        shortfall=scenario.goal * served - perf,
        arrival_rate=rate,
        service_rate=served,
        share={p.name: float(n) for p, n in zip(scenario.table.points, shares, strict=True)},
        arrived=float(series["arrived"].sum()),
        left=left,
        waiting=waiting,
        growth=growth,
        verdict=verdict,
        seconds=seconds,
    )  # fmt: skip


def _verdict(queued: np.ndarray, rate: float, overload: bool) -> tuple[float, str]:
    """(items a slot by which the second half of the run grows, verdict)."""
    first, second = np.array_split(queued, 2)
    slopes = [_slope(part) for part in (first, second)]
    if overload:
        return slopes[1], "unstable"
    # A queue that fills to a level slows down; one that lacks capacity grows on at the same pace.
    if slopes[1] <= max(0.005 * rate, 0.0) or slopes[1] * len(second) <= 0.1 * queued.mean():
        return slopes[1], "stable"
    return slopes[1], "unstable" if slopes[1] >= 0.7 * slopes[0] else "unsettled"


def _slope(values: np.ndarray) -> float:
    if len(values) < 2:
        return 0.0
    time = np.arange(len(values)) - (len(values) - 1) / 2
    return float(time @ values / (time @ time))


def _batches(values: np.ndarray) -> np.ndarray:
    count = min(BATCHES, len(values))
    return values[: len(values) // count * count].reshape(count, -1).mean(1)


def _error(values: np.ndarray) -> float:
    batches = _batches(values)
    return float(batches.std(ddof=1) / math.sqrt(len(batches))) if len(batches) > 1 else math.inf


def _ratio_error(top: np.ndarray, bottom: np.ndarray) -> float:
    """Standard error of sum top / sum bottom by batches (delta method)."""
    a, b = _batches(top), _batches(bottom)
    ratio = a.mean() / b.mean()
    return float((a - ratio * b).std(ddof=1) / math.sqrt(len(a)) / b.mean()) if len(a) > 1 else math.inf
