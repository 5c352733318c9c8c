"""QPSK, 16-QAM and 64-QAM of 5G: Gray mapping, and LLRs exact or by the max-log approximation.

Source: 3GPP TS 38.211 section 5.1. Even bits choose the real part, odd bits the imaginary part, so an LLR is a matter
of one axis. Torch functions with gradients: they may sit in a training graph.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from chappe.errors import UsageError

__all__ = ["BITS", "axis_levels", "bits_per_symbol", "constellation", "demap", "hard_bits", "map_bits"]

BITS = {"qpsk": 2, "16qam": 4, "64qam": 6}


def bits_per_symbol(modulation: str) -> int:
    """2, 4 or 6. Raises UsageError for a name that is not one of `BITS`."""
    if modulation not in BITS:
        raise UsageError(f"There is no modulation {modulation!r}; there are {', '.join(BITS)}.")
    return BITS[modulation]


@lru_cache(maxsize=8)
def axis_levels(modulation: str) -> torch.Tensor:
    """(2^(m/2),) float32: the amplitude of one axis for each of its bit patterns, first bit most significant.

    Scaled for unit mean power of the two axes together.
    """
    half = bits_per_symbol(modulation) // 2
    levels = []
    for index in range(1 << half):
        amplitude = 0
        for j in range(half):  # from the last bit inwards: (1 - 2 b0) (4 - (1 - 2 b2) (2 - (1 - 2 b4)))
            amplitude = (1 - 2 * (index >> j & 1)) * ((1 << j) - amplitude)
        levels.append(amplitude)
    values = torch.tensor(levels, dtype=torch.float64)
    return (values / (2 * (values**2).mean()).sqrt()).float()


@lru_cache(maxsize=8)
def constellation(modulation: str) -> torch.Tensor:
    """(2^m,) complex64: the symbol of each bit pattern, first bit most significant; mean power 1."""
    m = bits_per_symbol(modulation)
    patterns = torch.arange(1 << m)[:, None] >> torch.arange(m - 1, -1, -1) & 1
    return map_bits(patterns.reshape(1, -1), modulation)[0]


def map_bits(bits: torch.Tensor, modulation: str) -> torch.Tensor:
    """(..., n) of 0 and 1 -> (..., n / m) complex64 symbols of mean power 1."""
    m = bits_per_symbol(modulation)
    if bits.shape[-1] % m:
        raise UsageError(f"{bits.shape[-1]} bits do not fill symbols of {m} bits.")
    groups = bits.reshape(*bits.shape[:-1], -1, m // 2, 2).long()
    weights = (1 << torch.arange(m // 2 - 1, -1, -1))[:, None]
    index = (groups * weights).sum(-2)
    levels = axis_levels(modulation)[index]
    return torch.view_as_complex(levels.contiguous())


def demap(y: torch.Tensor, noise: torch.Tensor | float, modulation: str, method: str = "app") -> torch.Tensor:
    """LLRs ln P(0) / P(1) of every bit: (...,) complex symbols -> (..., m) float32.

    noise: variance of the complex noise, broadcast against y. method: "app" sums over all points (exact log-MAP for
    Gaussian noise and equally likely bits), "maxlog" takes the nearest of each kind.
    """
    half = bits_per_symbol(modulation) // 2
    if method not in ("app", "maxlog"):
        raise UsageError(f"There is no demapper {method!r}; there are app and maxlog.")
    variance = torch.as_tensor(noise, dtype=torch.float32).expand(y.shape)[..., None]
    axes = torch.view_as_real(y)
    levels = axis_levels(modulation)
    if half == 1:
        llr = 4 * levels[0] * axes / variance
    else:
        metric = -((axes[..., None] - levels) ** 2) / variance[..., None]  # (..., 2, 2^half)
        best = torch.logsumexp if method == "app" else torch.amax
        parts = []
        for j in range(half):
            split = metric.unflatten(-1, (1 << j, 2, -1))
            parts.append(best(split.select(-2, 0), (-1, -2)) - best(split.select(-2, 1), (-1, -2)))
        llr = torch.stack(parts, -1).transpose(-1, -2)  # (..., half, 2)
    return llr.reshape(*y.shape, 2 * half)


def hard_bits(llr: torch.Tensor) -> torch.Tensor:
    """The likelier value of each bit, uint8; an LLR of 0 counts as 0."""
    return (llr < 0).to(torch.uint8)
