"""Residual blocks, resampling, normalisation and attention shared by the systems (VQGAN-style).

Every convolution is 3x3 or 1x1; the same classes at width 128..512 are SQ-GAN's published networks and at
width 48..128 the small ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.condition import Condition
from chappe.nn.tiling import WINDOW, split_windows

__all__ = ["SPADE", "Attention", "Downsample", "GroupNorm", "ResBlock", "Upsample", "groups_for", "split_windows"]


def groups_for(channels: int, groups: int = 32) -> int:
    """The largest divisor of `channels` up to `groups` that leaves at least four channels a group."""
    return next(g for g in range(min(groups, max(1, channels // 4)), 0, -1) if channels % g == 0)


class GroupNorm(nn.GroupNorm):
    """GroupNorm that takes (and ignores) a condition, so that plain and SPADE blocks share one code path."""

    def __init__(self, channels: int, affine: bool = True):
        super().__init__(groups_for(channels), channels, eps=1e-6, affine=affine)

    def forward(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        return super().forward(x)


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: GroupNorm(x) * (1 + scale(s)) + shift(s) (SPADE eq. 1; SQ-GAN III-G).

    x (N, C, h, w); the condition is resized to (h, w). A `kernel` of 1 for scale and shift makes the layer cheap at 1/4
    resolution; 3 is the published shape.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 128, kernel: int = 3):
        super().__init__()
        self.norm = GroupNorm(channels, affine=False)
        self.shared = nn.Conv2d(classes, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        self.shift = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        h = F.relu(self.shared(condition.at(*x.shape[2:])))
        return torch.addcmul(self.shift(h), self.norm(x), 1 + self.scale(h))


class ResBlock(nn.Module):
    """norm, swish, conv, norm, swish, conv, plus a skip (1x1 where widths differ). `spade` gives SPADE norms."""

    def __init__(self, c_in: int, c_out: int, spade: dict | None = None):
        super().__init__()
        self.norm1 = SPADE(c_in, **spade) if spade else GroupNorm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = SPADE(c_out, **spade) if spade else GroupNorm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, condition)))
        h = self.conv2(F.silu(self.norm2(h, condition)))
        return self.skip(x) + h


class Downsample(nn.Module):
    """Halve height and width: `conv` (stride 2, padded right and bottom: SQ-GAN code) or `avg` (its paper)."""

    def __init__(self, c_in: int, c_out: int, mode: str = "conv"):
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=2 if mode == "conv" else 1, padding=0 if mode == "conv" else 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "conv":
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(F.avg_pool2d(x, 2))


class Upsample(nn.Module):
    """Nearest x2, then a 3x3 convolution (no transposed convolutions: slow to run and to quantise)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Attention(nn.Module):
    """Self-attention over positions, residual; x (N, C, h, w).

    `key_weight` (N, 1, h, w) multiplies each key's column *after* the softmax, rows not re-normalised: the
    direction-constrained attention of MQ-VAE and SQ-GAN III-E. Grids larger than `window` are attended in near-equal
    windows, so that cost stays linear in the picture (exact up to the training size).
    """

    def __init__(self, channels: int, heads: int = 1, window: tuple[int, int] = WINDOW):
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = GroupNorm(channels)
        self.q, self.k, self.v, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor, key_weight: Tensor | None = None) -> Tensor:
        h = self.norm(x)
        q, k, v = self.q(h), self.k(h), self.v(h)
        rows = []
        for ys in split_windows(x.shape[2], self.window[0]):
            cells = []
            for xs in split_windows(x.shape[3], self.window[1]):
                part = (slice(None), slice(None), ys, xs)
                cells.append(self._attend(q[part], k[part], v[part], None if key_weight is None else key_weight[part]))
            rows.append(torch.cat(cells, 3) if len(cells) > 1 else cells[0])
        return x + self.out(torch.cat(rows, 2) if len(rows) > 1 else rows[0])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, key_weight: Tensor | None) -> Tensor:
        n, c, h, w = q.shape
        q, k, v = (t.reshape(n, self.heads, c // self.heads, h * w) for t in (q, k, v))
        weights = torch.einsum("nhcq,nhck->nhqk", q * (1 / math.sqrt(c // self.heads)), k).softmax(-1)
        if key_weight is not None:
            weights = weights * key_weight.reshape(n, 1, 1, h * w)
        return torch.einsum("nhqk,nhck->nhcq", weights, v).reshape(n, c, h, w)
