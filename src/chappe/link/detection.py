"""MIMO detection: LMMSE, zero forcing and matched filter with their effective noise, and maximum likelihood.

Shapes: received y (B, Nr, K), what the receiver takes for the channel from streams to antennas A = H G (B, Nr, Ns),
noise variance sigma2 (B,); symbols have power 1. Torch functions with gradients.
"""

from __future__ import annotations

import torch

from chappe.errors import UsageError
from chappe.link.qam import bits_per_symbol, constellation, demap

__all__ = ["DETECTORS", "detect", "linear", "linear_filter", "maximum_likelihood", "point_llrs"]

LINEAR = ("lmmse", "zf", "mf")
DETECTORS = (*LINEAR, "ml")
_MOST_POINTS = 4096  # symbol vectors that maximum likelihood tries


def linear_filter(kind: str, a: torch.Tensor, sigma2: torch.Tensor) -> torch.Tensor:
    """W (B, Ns, Nr) of "lmmse", "zf" or "mf"; a stream that was given no power has a row of zeros."""
    ah = a.mH
    if kind == "mf":
        return ah
    if kind == "zf":
        return torch.linalg.pinv(a, rtol=1e-5)
    inner = a @ ah + sigma2[:, None, None] * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    return torch.linalg.solve(inner, a).mH


def linear(kind: str, y: torch.Tensor, a: torch.Tensor, sigma2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unbiased symbols (B, Ns, K) and the variance of what disturbs them, noise and other streams, (B, Ns).

    A stream without power comes out as 0 with a variance of 1e9: its LLRs are 0.
    """
    w = linear_filter(kind, a, sigma2)
    cross = w @ a
    own = torch.diagonal(cross, dim1=1, dim2=2)
    seen = own.abs() > 1e-6
    others = (cross.abs() ** 2).sum(2) - own.abs() ** 2
    noise = sigma2[:, None] * (w.abs() ** 2).sum(2)
    safe = torch.where(seen, own, torch.ones_like(own))
    variance = torch.where(seen, (others.clamp_min(0) + noise) / safe.abs() ** 2, torch.full_like(noise, 1e9))
    symbols = torch.where(seen[..., None], (w @ y) / safe[..., None], torch.zeros((), dtype=y.dtype))
    return symbols, variance.clamp(1e-9, 1e9)


def maximum_likelihood(
    y: torch.Tensor, a: torch.Tensor, sigma2: torch.Tensor, modulation: str, method: str = "app"
) -> torch.Tensor:
    """LLRs (B, Ns, K, m) over all |M|^Ns symbol vectors; UsageError above 4096 of them."""
    m, streams = bits_per_symbol(modulation), a.shape[2]
    if 2 ** (m * streams) > _MOST_POINTS:
        raise UsageError(
            f"Maximum likelihood would try {2 ** (m * streams)} symbol vectors for {modulation} on {streams} streams; "
            f"it tries {_MOST_POINTS} at most: use lmmse."
        )
    index = torch.cartesian_prod(*[torch.arange(2**m)] * streams).reshape(-1, streams)  # (P, Ns)
    points = constellation(modulation)[index].T  # (Ns, P)
    return point_llrs(y, a @ points.to(a), sigma2, modulation, streams, method)


def point_llrs(
    y: torch.Tensor, heard: torch.Tensor, sigma2: torch.Tensor, modulation: str, streams: int, method: str = "app"
) -> torch.Tensor:
    """LLRs (B, Ns, K, m) where `heard` (B, Nr, |M|^Ns) is what would be received of each symbol vector without noise.

    The vectors count up, the first stream's symbol most significant.
    """
    m, count = bits_per_symbol(modulation), heard.shape[2]
    bits = torch.arange(streams * m - 1, -1, -1, device=heard.device)
    one = torch.arange(count, device=heard.device)[:, None] >> bits & 1  # (P, bits)
    # |y|^2 is the same for all vectors: what is left of |y - h|^2 is one product of matrices.
    power = heard.abs().square().sum(1)[:, None]  # (B, 1, P)
    out = []
    step = max(1, (1 << 22) // (count * max(1, y.shape[0] * y.shape[1])))
    for part in y.split(step, dim=2):
        metric = (2 * (part.mT @ heard.conj()).real - power) / sigma2[:, None, None]  # (B, K, P)
        if method == "app":  # in double precision sums keep their logarithms down to e^-700
            likely = (metric - metric.amax(-1, keepdim=True)).double().exp()
            zeros, ones = ((likely @ mask.double()).clamp_min(1e-300).log() for mask in (1 - one, one))
            llr = (zeros - ones).to(metric.dtype)
        else:
            each = [[metric[..., one[:, b] == value].amax(-1) for value in (0, 1)] for b in range(len(bits))]
            llr = torch.stack([zeros - ones for zeros, ones in each], -1)
        out.append(llr.unflatten(-1, (streams, m)))
    return torch.cat(out, 1).transpose(1, 2)


def detect(
    kind: str, y: torch.Tensor, a: torch.Tensor, sigma2: torch.Tensor, modulation: str, method: str = "app"
) -> tuple[torch.Tensor, torch.Tensor]:
    """LLRs (B, Ns, K, m) and equalised symbols (B, Ns, K); those beside "ml" are the LMMSE's, to look at."""
    if kind not in DETECTORS:
        raise UsageError(f"There is no detector {kind!r}; there are {', '.join(DETECTORS)}.")
    symbols, variance = linear("lmmse" if kind == "ml" else kind, y, a, sigma2)
    if kind == "ml":
        return maximum_likelihood(y, a, sigma2, modulation, method), symbols
    return demap(symbols, variance[..., None], modulation, method), symbols
