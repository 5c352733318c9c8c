"""5G's tapped delay lines TDL-A and TDL-C through OFDM, per resource element.

Source: 3GPP TR 38.901 tables 7.7.2-1 and 7.7.2-3. Every tap fades by Jakes' spectrum as a sum of plane waves (M.
Paetzold, Mobile Radio Channels, ch. 4), independently for every pair of antennas (no correlation between antennas).
"""

from __future__ import annotations

import math

import torch

from chappe.link.channels import ChannelSpec

__all__ = ["SYMBOLS", "TAPS", "tdl_response"]

SYMBOLS = 14  # OFDM symbols a slot
_WAVES = 20
# delays (in RMS delay spreads), powers in dB
TAPS = {
    "tdl-a": (
        (0.0, 0.3819, 0.4025, 0.5868, 0.4610, 0.5375, 0.6708, 0.5750, 0.7618, 1.5375, 1.8978, 2.2242, 2.1718, 2.4942,
         2.5119, 3.0582, 4.0810, 4.4579, 4.5695, 4.7966, 5.0066, 5.3043, 9.6586),
        (-13.4, 0.0, -2.2, -4.0, -6.0, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7, -12.4, -15.2,
         -10.8, -11.3, -12.7, -16.2, -18.3, -18.9, -16.6, -19.9, -29.7),
    ),
    "tdl-c": (
        (0.0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.6560, 0.6584, 0.7935, 0.8213, 0.9336, 1.2285, 1.3083,
         2.1704, 2.7105, 4.2589, 4.6003, 5.4902, 5.6077, 6.3065, 6.6374, 7.0427, 8.6523),
        (-4.4, -1.2, -3.5, -5.2, -2.5, 0.0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1, -5.1, -6.8,
         -8.7, -13.2, -13.9, -13.9, -15.8, -17.1, -16.0, -15.7, -21.6, -22.8),
    ),
}  # fmt: skip


def tdl_response(spec: ChannelSpec, uses: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """(B, Nr, Nt) complex64, B >= uses: one response a resource element, subcarrier by subcarrier, then in time.

    One continuous fade over all symbols; a slot of 14 symbols lasts 1 ms at 15 kHz, half of it at 30 kHz.
    """
    delays, powers = (torch.tensor(values, dtype=torch.float64) for values in TAPS[spec.law])
    amplitude = (10 ** (powers / 10) / (10 ** (powers / 10)).sum()).sqrt()
    symbols = -(-uses // spec.subcarriers)
    time = torch.arange(symbols, dtype=torch.float64) * (15e3 / spec.spacing) * 1e-3 / SYMBOLS
    shape = (spec.nr, spec.nt, len(delays), _WAVES)
    angle = 2 * math.pi * torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    doppler = 2 * math.pi * spec.speed * spec.carrier / 299_792_458.0 * torch.cos(angle[0])
    frequency = (torch.arange(spec.subcarriers, dtype=torch.float64) - spec.subcarriers // 2) * spec.spacing
    turn = torch.exp(-2j * math.pi * frequency * (delays * spec.delay_spread)[:, None])  # (taps, subcarriers)
    out = []
    for part in time.split(256):  # bounds the memory: (Nr, Nt, taps, waves, time)
        waves = torch.exp(1j * (doppler[..., None] * part + angle[1][..., None])).mean(3) * math.sqrt(_WAVES)
        taps = waves * amplitude[:, None]
        out.append(torch.einsum("rtln,lf->nfrt", taps, turn).to(torch.complex64).reshape(-1, spec.nr, spec.nt))
    return torch.cat(out)
