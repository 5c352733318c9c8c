"""Gains slot by slot of 5G's tapped delay lines, from the link's own model (`chappe.link.tdl`).

One symbol of the link stands for one slot here: a fade is the same if it is faster by as much as time is coarser, so
that the link is asked for `slot` / symbol times the speed. Every pair of its antennas is a fade of its own.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from chappe.edge.scenario import Channel
from chappe.errors import UsageError

__all__ = ["doppler", "tdl_gains"]

SUBCARRIERS = 32  # at which the band is looked at
SLOTS = 1 << 15  # of all fades together; a trace is read cyclically
FADES = 16  # different ones; more devices share them, each from its own offset


def doppler(channel: Channel) -> float:
    """Largest Doppler shift in Hz: speed x carrier / c."""
    return channel.speed * channel.carrier / 299_792_458.0


@lru_cache(maxsize=8)
def tdl_gains(channel: Channel, *, slot: float, bandwidth: float, seed: int, fades: int = 1,
              slots: int | None = None) -> np.ndarray:  # fmt: skip
    """(fades, slots) power gains, read-only: of each slot's first symbol, the mean of |H|^2 over the band being 1.

    channel: of kind "tdl-a" or "tdl-c"; slot in s, bandwidth in Hz; slots: default 32768 / fades. Each fade's mean
    power over its slots and the band is 1. With `snr_db` a slot's gain is the flat one that carries as much as the band
    does at that mean SNR, (2^C - 1) / snr with C = mean log2(1 + snr |H|^2), hence less than 1 in the mean. The
    amplitude's autocorrelation over fades is J0(2 pi f_D tau) (Jakes), that of the power its square. Raises UsageError
    for another kind or more than 256 fades.
    """
    import torch

    from chappe.link.channels import ChannelSpec
    from chappe.link.tdl import SYMBOLS, tdl_response

    if channel.kind not in ("tdl-a", "tdl-c"):
        raise UsageError(f"gains of a tapped delay line are of kind tdl-a or tdl-c, found {channel.kind!r}.")
    if not 1 <= fades <= 256:
        raise UsageError(f"there are 1 to 256 different fades, found {fades}: let devices share them.")
    side = math.ceil(math.sqrt(fades))
    slots = slots or max(2, SLOTS // fades)
    spacing = bandwidth / SUBCARRIERS
    symbol = 15e3 / spacing * 1e-3 / SYMBOLS
    spec = ChannelSpec(channel.kind, side, side, speed=channel.speed * slot / symbol, carrier=channel.carrier,
                       delay_spread=channel.delay_spread, subcarriers=SUBCARRIERS, spacing=spacing)  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    h = tdl_response(spec, slots * SUBCARRIERS, generator).numpy().reshape(slots, SUBCARRIERS, -1)[..., :fades]
    power = (h.real.astype(np.float64) ** 2 + h.imag.astype(np.float64) ** 2).transpose(2, 0, 1)
    power /= power.mean((1, 2), keepdims=True)
    if channel.snr_db is None:
        gains = power.mean(2)
    else:
        snr = 10 ** (channel.snr_db / 10)
        gains = np.expm1(np.log1p(snr * power).mean(2)) / snr
    gains.setflags(write=False)
    return gains
