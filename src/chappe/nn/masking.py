"""Adaptive mask modules: a relevance score per token, and the selection of the best.

SAMM (SQ-GAN III-C) conditions the score on the label map through SPADE; AMM (MQ-VAE) does not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.blocks import SPADE, GroupNorm
from chappe.nn.condition import Condition

__all__ = ["ScoreNet", "select"]


class ScoreNet(nn.Module):
    """Latent (N, C, h, w) and condition -> relevance (N, 1, h, w) in (0, 1); `spade=None` is the plain AMM."""

    def __init__(self, channels: int, spade: dict | None):
        super().__init__()
        self.norm1 = SPADE(channels, **spade) if spade else GroupNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = SPADE(channels, **spade) if spade else GroupNorm(channels)
        self.out = nn.Conv2d(channels, 1, 1)

    def forward(self, z: Tensor, condition: Condition | None) -> Tensor:
        h = F.relu(self.conv(self.norm1(z, condition)))
        return torch.sigmoid(self.out(self.norm2(h, condition)))


def select(scores: Tensor, fraction: Tensor) -> Tensor:
    """The N = floor(m K) highest scores of each image (at least one) as a mask of ones (N, 1, h, w).

    scores (N, 1, h, w); fraction (N,) in (0, 1]. Ties go to the earlier cell in raster order.
    """
    n, _, h, w = scores.shape
    flat = scores.detach().reshape(n, h * w)
    order = torch.argsort(flat, dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(h * w, device=order.device).expand(n, -1))
    keep = (fraction.to(flat) * (h * w)).add_(1e-4).floor().clamp(min=1)
    return (rank < keep[:, None]).to(flat).reshape(n, 1, h, w)
