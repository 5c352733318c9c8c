"""The world a policy lives in: devices with a queue, a fading uplink and a CPU each, and a server they share.

SI units throughout: seconds, hertz, watts, joules, W/Hz; items are what is coded and sent (frames, patterns).
One slot: the policy sees the state, decides, items are served, then new items arrive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from chappe.edge.operating import OperatingPointTable
from chappe.errors import UsageError

__all__ = ["Arrivals", "Channel", "Scenario", "Server"]


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _require(good: bool, sentence: str) -> None:
    if not good:
        raise UsageError(sentence)


@dataclass(frozen=True)
class Channel:
    """Power gain h of the uplink in each slot.

    kind: "rayleigh" (gain x Exp(1)), "rician" (`k_factor`: power of the direct path over the rest), "bins"
    (Rayleigh, each of `bins` equiprobable intervals replaced by its mean: a finite law with exact bounds), "tdl-a" or
    "tdl-c" (5G's tapped delay lines through the link's model, see `chappe.edge.tdl`: `speed` in m/s and `carrier` in Hz
    set the Doppler, `delay_spread` in s RMS, `snr_db`: gains as they carry over the band at that SNR, None: its mean),
    or "trace" (`trace` relative to `gain`, read cyclically, device k from its own offset).
    correlation: of the complex amplitude from slot to slot, in [0, 1), of rayleigh, rician and bins; 0 is i.i.d., which
    the bounds assume.
    shadowing_db: standard deviation of one log-normal factor a device, drawn once.
    """

    kind: str = "rayleigh"
    gain: float = 1e-12
    k_factor: float = 0.0
    bins: int = 8
    correlation: float = 0.0
    shadowing_db: float = 0.0
    trace: tuple[float, ...] = field(default=(), repr=False)
    speed: float = 1.0
    carrier: float = 3.5e9
    delay_spread: float = 100e-9
    snr_db: float | None = None

    def __post_init__(self) -> None:
        kinds = ("rayleigh", "rician", "bins", "tdl-a", "tdl-c", "trace")
        _require(self.kind in kinds, f"a channel is one of {', '.join(kinds)}, found {self.kind!r}.")
        _require(_positive(self.gain), f"the path gain is above 0, found {self.gain}.")
        _require(0 <= self.correlation < 1, f"correlation lies in [0, 1), found {self.correlation}.")
        _require(self.k_factor >= 0 and self.shadowing_db >= 0, "k_factor and shadowing_db are from 0 on.")
        _require(self.bins >= 1, f"at least one bin is needed, found {self.bins}.")
        finite = (self.speed, self.carrier, self.delay_spread, self.snr_db or 0.0)
        _require(all(math.isfinite(v) for v in finite) and min(finite[:3]) >= 0 and self.carrier > 0,
                 "speed and delay_spread are from 0 on, the carrier above 0, all and snr_db finite.")  # fmt: skip
        fixed = self.kind in ("tdl-a", "tdl-c", "trace") and self.correlation > 0
        _require(not fixed, f"the correlation of a {self.kind} channel is its own: leave it out, or set the speed.")
        if self.kind == "trace":
            good = len(self.trace) > 0 and all(_positive(v) for v in self.trace)
            _require(good, "a channel trace holds at least one gain, all above 0 and finite.")


@dataclass(frozen=True)
class Arrivals:
    """New items in each slot, `rate` on average and a device.

    kind: "poisson", "bernoulli", "periodic" (one item every 1 / rate slots, devices out of step), or "bursty":
    Poisson, switched on and off by a two-state Markov chain that is on for 1 / `burst` of the time with rate
    `burst` x rate, and stays on for `length` slots on average.
    """

    rate: float = 1.0
    kind: str = "poisson"
    burst: float = 4.0
    length: float = 10.0

    def __post_init__(self) -> None:
        kinds = ("poisson", "bernoulli", "periodic", "bursty")
        _require(self.kind in kinds, f"arrivals are one of {', '.join(kinds)}, found {self.kind!r}.")
        _require(_positive(self.rate), f"the arrival rate is above 0 and finite, found {self.rate}.")
        if self.kind in ("bernoulli", "periodic"):
            _require(self.rate <= 1, f"{self.kind} arrivals bring at most one item a slot, found rate {self.rate}.")
        if self.kind == "bursty":
            _require(self.burst > 1 and self.length >= 1, "bursts are above 1 times the rate and last 1 slot or more.")
            # The chain enters a burst with probability 1 / (length (burst - 1)) from a silent slot.
            _require(self.length * (self.burst - 1) >= 1, "bursts this short cannot be on for 1 / burst of the time.")


@dataclass(frozen=True)
class Server:
    """The CPU that all devices share: power kappa f^3 in W at f <= speed (Hz), counted `weight` times in the total.

    With weight 0 its power is free to the policy and it always works as fast as it can.
    """

    speed: float = 4.5e9
    kappa: float = 1.097e-27
    weight: float = 1.0

    def __post_init__(self) -> None:
        _require(_positive(self.speed), f"the server's speed is above 0, found {self.speed}.")
        _require(self.kappa >= 0 and self.weight >= 0, "the server's kappa and weight are from 0 on.")


@dataclass(frozen=True)
class Scenario:
    """Everything but the policy. `slot` in s, `bandwidth` in Hz a device, `noise` in W/Hz, `max_power` in W.

    kappa: W/Hz^3 of a device's CPU, which does c cycles in a slot at P = kappa (c / slot)^3; cpu: its most in Hz.
    goal: least mean performance of the items served; delay: most mean s from arrival to the end, or None.
    max_items: most items a device serves in a slot; integer: only whole ones. seed: of all that is random.
    """

    table: OperatingPointTable
    devices: int = 1
    slot: float = 0.05
    channel: Channel = Channel()
    arrivals: Arrivals = Arrivals()
    server: Server | None = None
    bandwidth: float = 2.5e6
    noise: float = 1.25e-20
    max_power: float = 3.5
    kappa: float = 1.097e-27
    cpu: float = 1.4e9
    goal: float = 0.95
    delay: float | None = None
    max_items: float = 4.0
    integer: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.devices >= 1, f"at least one device is needed, found {self.devices}.")
        for name in ("slot", "bandwidth", "noise", "max_power", "cpu", "max_items"):
            value = getattr(self, name)
            _require(_positive(value), f"{name} is above 0 and finite, found {value}.")
        _require(self.kappa >= 0, f"kappa is from 0 on, found {self.kappa}.")
        _require(math.isfinite(self.goal), f"the goal is a finite number, found {self.goal}.")
        best = self.table.column("perf").max()
        _require(self.goal <= best, f"no point reaches the goal {self.goal:.4g}: the best one has {best:.4g}.")
        if self.delay is not None:
            # An item that arrives at the end of a slot is served in the next one at the earliest.
            good = _positive(self.delay) and self.delay >= self.slot
            _require(good, f"a mean delay is at least the slot of {self.slot} s, found {self.delay}.")
        if self.integer:
            _require(self.max_items >= 1, f"whole items need max_items of 1 or more, found {self.max_items}.")

    @property
    def backlog_goal(self) -> float | None:
        """Mean items in all queues of a device that meet the delay: rate x delay / slot (Little)."""
        return None if self.delay is None else self.arrivals.rate * self.delay / self.slot

    def describe(self) -> dict:
        """The numbers of the scenario as JSON holds them, the table by its points' names."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("table", "channel")}
        for key in ("arrivals", "server"):
            part = out[key]
            out[key] = None if part is None else {f.name: getattr(part, f.name) for f in fields(part)}
        parts = {f.name: getattr(self.channel, f.name) for f in fields(self.channel) if f.name != "trace"}
        return {"points": [p.name for p in self.table.points], **out, "channel": parts}
