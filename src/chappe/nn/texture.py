"""From features at a quarter of the sides to pixels, without the means to draw a grid.

A pixel shuffle gives each place in a 4 x 4 cell its own weights: the cheapest texture is then one repeated pattern,
which covers walls and trees with stripes. Here every step enlarges bilinearly and convolves, so that no layer knows
where in a cell it is; what is finer than the features comes from the label map and from a fixed field of noise.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.blocks import GroupNorm
from chappe.nn.condition import Condition

__all__ = ["FineHead", "noise_field"]

_PERIOD = 128  # of the noise, in pixels of the level it is given to


class FineHead(nn.Module):
    """Features (N, width, H/4, W/4) and the condition of an H x W map -> (N, channels, H, W); untrained: all 0.

    `half` and `full` are the widths at 1/2 and at full size, `noise` the channels of noise that each of them gets.
    """

    def __init__(self, width: int, classes: int, half: int, full: int, noise: int, channels: int = 3):
        super().__init__()
        self.norm = GroupNorm(width)
        self.to_half = nn.Conv2d(width, half, 1)
        self.at_half = nn.Conv2d(half + classes + noise, half, 3, padding=1)
        self.to_full = nn.Conv2d(half, full, 1)
        self.at_full = nn.Conv2d(full + classes + noise, full, 3, padding=1)
        self.out = nn.Conv2d(full, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        field = torch.from_numpy(noise_field(2 * noise, _PERIOD, _PERIOD))
        self.register_buffer("field", field, persistent=False)

    def forward(self, h: Tensor, condition: Condition) -> Tensor:
        full = condition.full  # first: the coarser ones are averaged from it
        half = condition.at(2 * h.shape[2], 2 * h.shape[3])
        noise = len(self.field) // 2
        h = _twice(self.to_half(F.silu(self.norm(h))))
        h = F.silu(self.at_half(torch.cat([F.silu(h), half, self._noise(h, 0, noise)], 1)))
        h = _twice(self.to_full(h))
        h = F.silu(self.at_full(torch.cat([F.silu(h), full, self._noise(h, noise, noise)], 1)))
        return self.out(h)

    def _noise(self, h: Tensor, first: int, count: int) -> Tensor:
        """The field repeated over h; moved at random in training."""
        part, (height, width) = self.field[first : first + count], h.shape[2:]
        if self.training:
            part = torch.roll(part, torch.randint(_PERIOD, (2,)).tolist(), (1, 2))
        part = part.repeat(1, -(-height // _PERIOD), -(-width // _PERIOD))[:, :height, :width]
        return part.expand(h.shape[0], -1, -1, -1)


def noise_field(channels: int, height: int, width: int) -> np.ndarray:
    """(channels, height, width) float32, about normal, the same everywhere: sums of the bytes of an integer hash."""
    h = np.arange(1, channels + 1, dtype=np.uint32)[:, None, None] * np.uint32(0x9E3779B1)
    for place in (np.arange(height, dtype=np.uint32)[:, None], np.arange(width, dtype=np.uint32)):
        h = (h ^ place) * np.uint32(0x85EBCA6B)
        h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
        h = h ^ h >> np.uint32(16)
    total = sum(((h >> np.uint32(8 * k)) & np.uint32(255)).astype(np.float32) for k in range(4))
    return (total - np.float32(510)) / np.float32(147.8)  # four uniform bytes: mean 4 * 127.5, variance 4 * 73.9^2


def _twice(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
