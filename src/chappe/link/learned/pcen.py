"""PCEN: a precoder that moves what a standard precoder sends towards a finite alphabet, unrolled and with few weights.

Source: SCSC III-B, Algorithm 1, as read in docs/scsc.md where the paper contradicts itself. For a channel H and a noise
variance both ends can work out what each of the |M|^Ns symbol vectors is sent as: every mean over symbols is an exact
sum, and PCEN is a table: `table(h, sigma2)` (B, Nt, |M|^Ns). Shapes: H (B, Nr, Nt), sigma2 (B,). |M|^Ns <= 4096.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.link.learned.config import PcenConfig
from chappe.link.precoding import precoder
from chappe.link.qam import bits_per_symbol, constellation

__all__ = ["PCEN", "Moments", "linear_receiver", "symbol_vectors", "unit_power"]

_MOST_POINTS = 4096
_FLOOR = 1e-3  # of diag(A^H A), relative to its mean: a stream without power


def symbol_vectors(modulation: str, streams: int) -> Tensor:
    """(Ns, |M|^Ns) complex64: every vector of symbols, the first stream's index most significant."""
    m = bits_per_symbol(modulation)
    if 2 ** (m * streams) > _MOST_POINTS:
        raise UsageError(f"{modulation} on {streams} streams has {2 ** (m * streams)} vectors; at most {_MOST_POINTS}.")
    index = torch.cartesian_prod(*[torch.arange(2**m)] * streams).reshape(-1, streams)
    return constellation(modulation)[index].T.contiguous()


def unit_power(z: Tensor) -> Tensor:
    """(B, Nt, P) scaled so that each block's mean power of an antenna is 1 (SCSC eq. 1 with P_z = 1)."""
    return z * (z.abs().square().mean((1, 2), keepdim=True) + 1e-12).rsqrt()


class Moments:
    """First and second moments of a table z (B, Nt, P) whose columns are sent for x (Ns, P), all equally often.

    cross = E[z x^H] (B, Nt, Ns), power = E[z z^H] (B, Nt, Nt).
    """

    def __init__(self, z: Tensor, x: Tensor):
        self.cross, self.power = z @ x.mH / x.shape[1], z @ z.mH / x.shape[1]

    def combiner(self, h: Tensor, sigma2: Tensor, target: Tensor) -> Tensor:
        """U2 = E[t z^H] H^H (H E[z z^H] H^H + sigma2 I)^-1 for target = E[t z^H] (B, N, Nt): SCSC (12), corrected."""
        noise = sigma2[:, None, None] * torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
        return torch.linalg.solve(h @ self.power @ h.mH + noise, h @ target.mH).mH


def linear_receiver(z: Tensor, x: Tensor, h: Tensor, sigma2: Tensor) -> tuple[Tensor, Tensor]:
    """LMMSE of x from y = H z + n for any table z (B, Nt, P): W (B, Ns, Nr) that is unbiased, and what still disturbs
    each stream, (B, Ns): noise, other streams, and the part of z that is not linear in x. A dead stream has 1e9."""
    moments = Moments(z, x)
    w = moments.combiner(h, sigma2, moments.cross.mH)
    own = torch.diagonal(w @ h @ moments.cross, dim1=1, dim2=2).real
    seen = own > 1e-6
    safe = torch.where(seen, own, torch.ones_like(own))
    variance = torch.where(seen, (1 - own).clamp_min(0) / safe, torch.full_like(own, 1e9))
    return torch.where(seen[..., None], w / safe[..., None], torch.zeros_like(w)), variance.clamp(1e-9, 1e9)


class PCEN(nn.Module):
    """See the module and `PcenConfig`. `table` is what is sent, `loss` what it is trained with."""

    def __init__(self, config: PcenConfig | None = None):
        super().__init__()
        self.config = config = config or PcenConfig()
        rounds = config.rounds
        if config.form == "literal":
            self.gamma = nn.Parameter(torch.ones(rounds))
            self.alpha = nn.Parameter(torch.full((rounds,), 2.9444))  # sigmoid: 0.95, the paper's
        else:
            self.gamma = nn.Parameter(torch.zeros(rounds))
            self.alpha = nn.Parameter(torch.zeros(rounds))  # tanh: weight of the projection
        self.temperature = nn.Parameter(torch.tensor(-1.0))
        self.streams = min(config.nt, config.nr) if config.base != "none" else config.nt
        rows = config.nt if config.target == "x_p" else self.streams
        if config.cen == "fixed":
            if rows != config.nr:
                raise UsageError(f"A fixed CEN starts as the identity: {rows} outputs need {rows} receive antennas.")
            self.matrix = nn.Parameter(torch.view_as_real(torch.eye(rows, dtype=torch.complex64)))
        if config.cen == "hyper":
            self.hyper = nn.Sequential(
                nn.Linear(2 * config.nt * config.nr + 1, 32), nn.ReLU(), nn.Linear(32, 2 * rows * config.nr)
            )
            nn.init.zeros_(self.hyper[2].weight)
            nn.init.zeros_(self.hyper[2].bias)
        self.register_buffer("x", symbol_vectors(config.modulation, self.streams), persistent=False)
        levels = torch.arange(1 << config.alphabet_bits, dtype=torch.float32)
        levels = levels - levels.mean()
        self.register_buffer("levels", levels / (2 * levels.square().mean()).sqrt(), persistent=False)

    def project(self, z: Tensor) -> Tensor:
        """Pi_M: each real part to the alphabet's nearest level (mean power 1), or, `soft`, to a mean of near ones."""
        axes = torch.view_as_real(z)
        gap = -((axes[..., None] - self.levels) ** 2)
        soft = ((gap / self.temperature.exp()).softmax(-1) * self.levels).sum(-1)
        if not self.config.soft:
            soft = soft + (self.levels[gap.argmax(-1)] - soft).detach()
        return torch.view_as_complex(soft.contiguous())

    def base(self, h: Tensor, sigma2: Tensor) -> Tensor:
        """x_p (B, Nt, P) of the standard precoder, SCSC eq. (9)."""
        return precoder(self.config.base, h, sigma2) @ self.x

    def combiner(self, z: Tensor, goal: Tensor, h: Tensor, sigma2: Tensor) -> Tensor:
        """U2 (B, rows of the goal, Nr): the CEN."""
        if self.config.cen == "fixed":
            return torch.view_as_complex(self.matrix).expand(len(h), -1, -1)
        u = Moments(z, self.x).combiner(h, sigma2, goal @ z.mH / z.shape[2])
        if self.config.cen == "hyper":
            seen = torch.cat([torch.view_as_real(h).flatten(1), sigma2.log()[:, None]], 1)
            u = u + torch.view_as_complex(self.hyper(seen).reshape(len(h), u.shape[1], u.shape[2], 2))
        return u

    def table(self, h: Tensor, sigma2: Tensor) -> Tensor:
        """(B, Nt, |M|^Ns) complex64 of mean power 1 an antenna: what each vector of `x` is sent as."""
        x_p = self.base(h, sigma2)
        goal = self._goal(x_p)
        step = self._literal if self.config.form == "literal" else self._gated
        return unit_power(step(x_p, goal, h, sigma2))

    def _goal(self, x_p: Tensor) -> Tensor:
        return x_p if self.config.target == "x_p" else self.x.expand(len(x_p), -1, -1)

    def _filters(self, z: Tensor, goal: Tensor, h: Tensor, sigma2: Tensor) -> tuple[Tensor, Tensor]:
        a = self.combiner(z, goal, h, sigma2) @ h
        size = a.abs().square().sum(1)
        size = torch.maximum(size, _FLOOR * size.mean(1, keepdim=True)).clamp_min(1e-12)
        return a, a.mH / size[:, :, None]

    def _literal(self, x_p: Tensor, goal: Tensor, h: Tensor, sigma2: Tensor) -> Tensor:
        z, best = torch.zeros_like(x_p), x_p
        for _ in range(self.config.passes):
            a, w = self._filters(best, goal, h, sigma2)
            z = torch.zeros_like(x_p)
            for gamma, alpha in zip(self.gamma, self.alpha.sigmoid(), strict=True):
                r = z + gamma * (w @ (goal - a @ z))
                z = alpha * z + (1 - alpha) * self.project(r)
            best = unit_power(z)
        return z

    def _gated(self, x_p: Tensor, goal: Tensor, h: Tensor, sigma2: Tensor) -> Tensor:
        z = x_p
        for gamma, gate in zip(self.gamma, self.alpha.tanh(), strict=True):
            a, w = self._filters(z, goal, h, sigma2)
            r = z + gamma * (w @ (goal - a @ z))
            z = unit_power((1 - gate) * r + gate * self.project(r))
        return z

    def loss(self, h: Tensor, sigma2: Tensor) -> Tensor:
        """E||t - U2 H z||^2 + sigma2 ||U2||^2 for each block, (B,): SCSC eq. (11) for one use."""
        goal = self._goal(self.base(h, sigma2))
        z = self.table(h, sigma2)
        u = self.combiner(z, goal, h, sigma2)
        error = (goal - u @ (h @ z)).abs().square().sum(1).mean(1)
        return error + sigma2 * u.abs().square().sum((1, 2))
