"""Linear precoders for a known channel: SVD with three ways to divide the power, turned by a DFT or not, or none.

Shapes: channels H (B, Nr, Nt) complex, noise variance sigma2 (B,), precoder G (B, Nt, Ns) with tr(G G^H) = Nt for each
block, so that every antenna sends power 1 on average over symbols of power 1. Torch functions with gradients.
"""

from __future__ import annotations

import math

import torch

from chappe.errors import UsageError

__all__ = ["PRECODERS", "dft", "equal_power", "min_mse", "precoder", "waterfill"]

POWERS = ("waterfill", "equal", "minmse")
PRECODERS = ("none", *(f"svd-{power}{turn}" for power in POWERS for turn in ("", "+dft")))


def waterfill(gains: torch.Tensor, sigma2: torch.Tensor, total: float) -> torch.Tensor:
    """Powers (B, N) that maximise sum log2(1 + p g^2 / sigma2) with sum p = total: water-filling.

    gains: (B, N) real, not negative (singular values). Cover and Thomas, Elements of Information Theory, section 9.4.
    """
    floor = sigma2[:, None] / gains.clamp_min(1e-12) ** 2
    ordered, _ = floor.sort(dim=1)
    count = torch.arange(1, gains.shape[1] + 1, device=gains.device)
    level = (total + ordered.cumsum(1)) / count  # of the water, were the best `count` channels used
    used = (level > ordered).sum(1, keepdim=True)  # a prefix: each further channel is used while it lies below
    return (level.gather(1, used - 1) - floor).clamp_min(0)


def equal_power(gains: torch.Tensor, sigma2: torch.Tensor, total: float) -> torch.Tensor:
    """Powers (B, N), all total / N."""
    return torch.full_like(gains, total / gains.shape[1])


def min_mse(gains: torch.Tensor, sigma2: torch.Tensor, total: float) -> torch.Tensor:
    """Powers (B, N) that minimise the sum of LMMSE errors sigma2 / (sigma2 + p g^2) with sum p = total.

    p = (c sigma / g - sigma2 / g^2)^+ with c from the sum. H. Sampath et al., IEEE Trans. Commun. 2001.
    """
    inverse = sigma2[:, None].sqrt() / gains.clamp_min(1e-12)
    ordered, _ = inverse.sort(dim=1)
    factor = (total + (ordered**2).cumsum(1)) / ordered.cumsum(1)
    used = (factor > ordered).sum(1, keepdim=True)
    return (factor.gather(1, used - 1) * inverse - inverse**2).clamp_min(0)


def dft(size: int) -> torch.Tensor:
    """(size, size) complex64: the unitary Fourier matrix, which spreads every stream over all of them evenly."""
    index = torch.arange(size)
    return torch.exp(-2j * math.pi * index[:, None] * index / size).to(torch.complex64) / math.sqrt(size)


def precoder(name: str, h: torch.Tensor, sigma2: torch.Tensor) -> torch.Tensor:
    """G (B, Nt, Ns) for one of `PRECODERS`.

    "none": the identity, a stream an antenna. "svd-...": V sqrt(P) with the right singular vectors of H and the
    powers named, Ns = min(Nr, Nt); with "+dft" V sqrt(P) F, so that all streams see the same mean error.
    """
    if name not in PRECODERS:
        raise UsageError(f"There is no precoder {name!r}; there are {', '.join(PRECODERS)}.")
    antennas = h.shape[-1]
    if name == "none":
        return torch.eye(antennas, dtype=h.dtype, device=h.device).expand(len(h), -1, -1)
    power, _, turn = name.removeprefix("svd-").partition("+")
    _, gains, vh = torch.linalg.svd(h, full_matrices=False)
    # Singular vectors are unique but for a phase each: the first antenna's is made 0, so that gradients exist.
    vh = vh * torch.exp(-1j * vh[..., :1].angle())
    share = {"waterfill": waterfill, "equal": equal_power, "minmse": min_mse}[power](gains, sigma2, float(antennas))
    g = vh.mH * share.sqrt()[:, None, :]
    return g @ dft(g.shape[-1]).to(g) if turn else g
