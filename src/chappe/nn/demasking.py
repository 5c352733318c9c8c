"""Adaptive de-masking (ADM): information flows from received tokens to imagined ones (SQ-GAN III-E)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chappe.nn.blocks import Attention, ResBlock

__all__ = ["Demask"]


class Demask(nn.Module):
    """Codewords (N, D, h, w) and mask (N, 1, h, w) -> latent (N, C, h, w).

    Unselected cells get one learned placeholder. In each of `blocks` rounds every key column of the attention is
    multiplied by its cell's weight: 1 where a token was received, `floor` elsewhere, square-rooted after each round
    (.02, .141, .376, .613, ...), so that imagined cells listen first and speak later.
    """

    def __init__(self, code_dim: int, channels: int, blocks: int, floor: float = 0.02, heads: int = 1):
        super().__init__()
        self.floor = floor
        self.placeholder = nn.Parameter(torch.empty(1, code_dim, 1, 1).uniform_(-1 / 256, 1 / 256))
        self.embed = nn.Sequential(nn.Conv2d(code_dim, channels, 1), nn.Conv2d(channels, channels, 3, padding=1))
        self.res = nn.ModuleList(ResBlock(channels, channels) for _ in range(blocks))
        self.attend = nn.ModuleList(Attention(channels, heads) for _ in range(blocks))
        self.last = ResBlock(channels, channels)

    def forward(self, codes: Tensor, mask: Tensor) -> Tensor:
        h = self.embed(codes * mask + self.placeholder * (1 - mask))
        weight = mask + self.floor * (1 - mask)
        for res, attend in zip(self.res, self.attend, strict=True):
            h = attend(res(h), weight)
            weight = weight.sqrt()
        return self.last(h)
