"""A linear precoder trained for what a code can use: the mutual information of the coded bits at a joint receiver.

Not in the paper. PCEN minimises an error of symbols; a code needs information. G = V sqrt(P) R: V from the SVD of H,
powers and rotation R from a small network that sees the singular values over sigma; untrained, G is the base precoder.
C. Xiao, Y. R. Zheng, Z. Ding, IEEE Trans. Signal Process. 2011 give the optimum for one channel by iteration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.link.channels import complex_normal, propagate
from chappe.link.detection import maximum_likelihood
from chappe.link.learned.config import MutualConfig
from chappe.link.learned.pcen import symbol_vectors
from chappe.link.precoding import dft, equal_power, min_mse
from chappe.link.qam import bits_per_symbol, map_bits

__all__ = ["MutualPrecoder", "bit_information_of", "fades"]


class MutualPrecoder(nn.Module):
    """`table` as PCEN's: linear here. H (B, Nr, Nt), sigma2 (B,)."""

    def __init__(self, config: MutualConfig | None = None):
        super().__init__()
        self.config = config = config or MutualConfig()
        self.streams = n = min(config.nt, config.nr)
        self.net = nn.Sequential(
            nn.Linear(n, config.hidden), nn.SiLU(), nn.Linear(config.hidden, config.hidden), nn.SiLU(),
            nn.Linear(config.hidden, n + n * n),
        )  # fmt: skip
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.register_buffer("x", symbol_vectors(config.modulation, n), persistent=False)

    def precoder(self, h: Tensor, sigma2: Tensor) -> Tensor:
        """G (B, Nt, Ns), tr(G G^H) = Nt."""
        n = self.streams
        _, gains, vh = torch.linalg.svd(h, full_matrices=False)
        vh = vh * torch.exp(-1j * vh[..., :1].angle())
        seen = (gains.clamp_min(1e-4) / sigma2.sqrt()[:, None]).log()
        out = self.net(seen)
        power = {"minmse": min_mse, "equal": equal_power}[self.config.base](gains, sigma2, float(self.config.nt))
        power = power * out[:, :n].exp()
        power = self.config.nt * power / power.sum(1, keepdim=True)
        square = out[:, n:].reshape(-1, n, n)
        upper = torch.triu(square, 1)
        skew = upper - upper.mT + 1j * (torch.tril(square) + torch.tril(square, -1).mT)
        turn = torch.linalg.matrix_exp(skew) @ dft(n).to(h)
        return (vh.mH * (power + 1e-9).sqrt()[:, None, :]) @ turn

    def table(self, h: Tensor, sigma2: Tensor) -> Tensor:
        """(B, Nt, |M|^Ns) of mean power 1 an antenna."""
        return self.precoder(h, sigma2) @ self.x

    def loss(self, h: Tensor, sigma2: Tensor, rate: float = 0.5, sharp: float = 0.05) -> Tensor:
        """(B,): a smooth step at the information that a code of that rate needs; its mean is about the outage."""
        information = bit_information_of(self.precoder(h, sigma2), h, sigma2, self.config.modulation)
        return F.softplus((rate + 0.03 - information) / sharp) * sharp


def bit_information_of(
    g: Tensor, h: Tensor, sigma2: Tensor, modulation: str, draws: int = 64, generator: torch.Generator | None = None
) -> Tensor:
    """(B,) mean mutual information of a coded bit, 0 to 1, at a maximum-likelihood receiver, by `draws` random uses."""
    m, streams = bits_per_symbol(modulation), g.shape[2]
    bits = torch.randint(0, 2, (len(h), streams, draws * m), generator=generator)
    x = map_bits(bits, modulation).to(h)
    bits = bits.to(h.device)
    y = propagate(g @ x, h, sigma2, generator)
    llr = maximum_likelihood(y, h @ g, sigma2, modulation).flatten(2)
    lost = F.softplus(-llr * (1 - 2 * bits)) / 0.6931471805599453
    return 1 - lost.mean((1, 2))


def fades(batch: int, nt: int, nr: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Rayleigh channels (B, Nr, Nt) and noise variances (B,) of SNRs uniform between `low` and `high` dB."""
    return complex_normal((batch, nr, nt)), 10 ** (-torch.empty(batch).uniform_(low, high) / 10)
