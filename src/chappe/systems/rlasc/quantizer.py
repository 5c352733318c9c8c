"""Adaptive scalar quantiser, hard forward and soft backward (RL-ASC eq. 23-25).

Level L has the 2 L + 1 centres k / L, k = -L ... L; level 0 has the single centre 0, which drops the concept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from chappe.systems.rlasc.config import LEVELS

__all__ = ["RateTable", "hard_values", "quantise", "soft_shares"]

MOST = 2 * LEVELS - 1  # centres of the highest level


def hard_values(f: Tensor, level: Tensor, rounding: float = 0.5) -> Tensor:
    """Whole numbers -level ... level nearest to f * level (eq. 24), for f in [-1, 1] and broadcast levels.

    A `rounding` below 1/2 widens the step around 0: fewer bits for the sender, the same centres for the receiver.
    """
    size = torch.floor(f.abs() * level + rounding)
    return torch.sign(f) * torch.minimum(size, level.to(f))


def soft_shares(f: Tensor, level: Tensor, sigma: float, scaled: bool) -> Tensor:
    """Shares of eq. (25): f (N, n, h, w), level (N, h, w) -> (N, n, h, w, MOST), 0 for centres that a level lacks.

    Index k stands for the centre (k - 5) / level. `scaled`: distances count in steps of the level.
    """
    steps = torch.arange(MOST, device=f.device) - (LEVELS - 1)
    level = level[:, None, :, :, None].to(f)
    distance = (f[..., None] - steps / level.clamp(min=1)).abs() * (level.clamp(min=1) if scaled else 1.0)
    return torch.where(steps.abs() <= level, -sigma * distance, -torch.inf).softmax(-1)


def quantise(f: Tensor, level: Tensor, sigma: float, scaled: bool, rounding: float = 0.5) -> tuple[Tensor, Tensor]:
    """(f^, shares): the centres nearest to f, with the gradient of the soft quantiser; shares as in `soft_shares`."""
    shares = soft_shares(f, level, sigma, scaled)
    grid = level[:, None].to(f)
    steps = torch.arange(MOST, device=f.device) - (LEVELS - 1)
    soft = (shares * steps).sum(-1) / grid.clamp(min=1)
    hard = hard_values(f, grid, rounding) / grid.clamp(min=1)
    return soft + (hard - soft).detach(), shares


class RateTable(nn.Module):
    """A differentiable stand-in for the entropy coder: one learnt distribution for each level and channel.

    The paper trains its autoencoder without a rate; with one, features become sparse and cheap levels possible.
    """

    def __init__(self, channels: int):
        super().__init__()
        near_zero = -torch.arange(-(LEVELS - 1), LEVELS).abs().float()
        self.logits = nn.Parameter(near_zero.expand(LEVELS, channels, MOST).clone())
        level, step = torch.arange(LEVELS)[:, None, None], torch.arange(MOST) - (LEVELS - 1)
        self.register_buffer("allowed", step.abs() <= level, persistent=False)

    def forward(self, shares: Tensor, level: Tensor) -> Tensor:
        """Expected bits of each picture's values (N,): cross-entropy of `shares` (see `quantise`), level (N, h, w)."""
        bits = -torch.where(self.allowed, self.logits, -torch.inf).log_softmax(-1) / math.log(2)
        bits = torch.where(self.allowed, bits, 0.0)[level].permute(0, 3, 1, 2, 4)  # (N, n, h, w, MOST)
        return (shares * bits).flatten(1).sum(1)
