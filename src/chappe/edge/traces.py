"""Channel gains and arrivals, slot by slot. One generator a stream, drawn in the main thread."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from chappe.edge.scenario import Arrivals, Channel, Scenario

__all__ = ["ArrivalTrace", "GainTrace", "device_gains", "fades_of", "rayleigh_bins"]


def rayleigh_bins(count: int) -> np.ndarray:
    """(count,) ascending means of the equiprobable intervals of Exp(1); their mean is 1.

    The mean over (a, b) is [(a + 1) e^-a - (b + 1) e^-b] x count.
    """
    tail = 1 - np.arange(count + 1) / count
    edge = -np.log(np.maximum(tail, 1e-300))
    part = (edge + 1) * tail
    part[-1] = 0.0
    return (part[:-1] - part[1:]) * count


def device_gains(scenario: Scenario) -> np.ndarray:
    """(N,) path gain of each device with its shadowing, normalised so that the mean of the factor is 1."""
    channel = scenario.channel
    gains = np.full(scenario.devices, channel.gain)
    if channel.shadowing_db:
        sigma = channel.shadowing_db * math.log(10) / 10
        gains *= np.exp(sigma * _generator(scenario.seed, 2).standard_normal(scenario.devices) - sigma**2 / 2)
    return gains


class GainTrace:
    """`next()` gives the (N,) power gains of the next slot."""

    def __init__(self, scenario: Scenario, *, stream: int = 0) -> None:
        self._channel: Channel = scenario.channel
        self._mean = device_gains(scenario)
        self._rng = _generator(scenario.seed, stream)
        self._count = scenario.devices
        self._amplitude: np.ndarray | None = None
        self._slot = 0
        self._edges = -np.log1p(-np.arange(1, self._channel.bins) / self._channel.bins)
        self._levels = rayleigh_bins(self._channel.bins)
        self._fades = np.zeros((1, 0))
        if self._channel.kind == "trace":
            self._fades = np.asarray(self._channel.trace)[None]
        elif self._channel.kind in ("tdl-a", "tdl-c"):
            self._fades = fades_of(scenario, stream)
        rows, slots = self._fades.shape
        self._row = np.arange(self._count) % rows
        self._offset = self._rng.integers(0, max(slots, 1), self._count)

    def next(self) -> np.ndarray:
        kind = self._channel.kind
        self._slot += 1
        if self._fades.size:
            return self._mean * self._fades[self._row, (self._slot + self._offset) % self._fades.shape[1]]
        if kind == "bins" and not self._channel.correlation:
            return self._mean * self._levels[self._rng.integers(0, len(self._levels), self._count)]
        if kind == "rayleigh" and not self._channel.correlation:
            return self._mean * self._rng.standard_exponential(self._count)
        scattered = self._scattered()
        if kind == "rician":
            k = self._channel.k_factor
            power = ((scattered[0] + math.sqrt(2 * k)) ** 2 + scattered[1] ** 2) / (2 * (k + 1))
        else:
            power = (scattered**2).sum(0) / 2
        if kind == "bins":
            power = self._levels[np.searchsorted(self._edges, power)]
        return self._mean * power

    def _scattered(self) -> np.ndarray:
        """(2, N) in-phase and quadrature of unit variance each, AR(1) over slots."""
        rho, fresh = self._channel.correlation, self._rng.standard_normal((2, self._count))
        if self._amplitude is None or not rho:
            self._amplitude = fresh
        else:
            self._amplitude = rho * self._amplitude + math.sqrt(1 - rho**2) * fresh
        return self._amplitude


def fades_of(scenario: Scenario, stream: int = 0) -> np.ndarray:
    """(up to 16, slots) gains of a tapped delay line relative to the path gain, one row for each device or more."""
    from chappe.edge.tdl import FADES, tdl_gains

    seed = int(np.random.SeedSequence([scenario.seed, stream]).generate_state(1)[0])
    plain = replace(scenario.channel, gain=1.0, shadowing_db=0.0)
    return tdl_gains(plain, slot=scenario.slot, bandwidth=scenario.bandwidth, seed=seed,
                     fades=min(scenario.devices, FADES))  # fmt: skip


class ArrivalTrace:
    """`next()` gives the (N,) whole numbers of items that arrive at the end of the next slot, as float64."""

    def __init__(self, scenario: Scenario, *, stream: int = 1) -> None:
        self._arrivals: Arrivals = scenario.arrivals
        self._rng = _generator(scenario.seed, stream)
        self._count = scenario.devices
        self._phase = self._rng.random(self._count)
        self._on = self._rng.random(self._count) < 1 / self._arrivals.burst

    def next(self) -> np.ndarray:
        a = self._arrivals
        if a.kind == "poisson":
            return self._rng.poisson(a.rate, self._count).astype(np.float64)
        if a.kind == "bernoulli":
            return (self._rng.random(self._count) < a.rate).astype(np.float64)
        if a.kind == "periodic":
            self._phase += a.rate
            due = np.floor(self._phase + 1e-12)
            self._phase -= due
            return due
        enter = 1 / (a.length * (a.burst - 1))
        draw = self._rng.random(self._count)
        self._on = np.where(self._on, draw >= 1 / a.length, draw < enter)
        return self._rng.poisson(a.rate * a.burst * self._on).astype(np.float64)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))
