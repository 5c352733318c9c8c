"""PPEN: what SCSC does to a picture before a standard codec, given how strongly that codec will compress.

Two branches whose outputs are added to the picture: 1x1 convolutions with quantisation-adaptive layers, and DAC, a
U-shaped network whose stages are a convolution, a deformable one and a gate of strip pooling (SCSC III-A, figs. 2, 3).
The paper states neither widths nor depth: these follow the public preprocessing network that it cites ([21]).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.link.learned.config import PpenConfig
from chappe.link.learned.deform import DeformConv2d, StripGate

__all__ = ["PPEN", "Adaptive", "rounded"]


class Adaptive(nn.Module):
    """Quantisation-adaptive layer: f * v(strength), v by a two-layer perceptron, positive, 1 at first.

    strength (N,) in [0, 1]: 0 is the codec's best quality, 1 its lowest rate (QP / 51 for HEVC). Softplus, not ReLU,
    which can switch a channel off for ever.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.first, self.second = nn.Linear(1, hidden), nn.Linear(hidden, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.constant_(self.second.bias, math.log(math.e - 1))

    def forward(self, f: Tensor, strength: Tensor) -> Tensor:
        scale = F.softplus(self.second(F.relu(self.first(strength[:, None]))))
        return f * scale[:, :, None, None]


class _Plain(nn.Module):
    def forward(self, f: Tensor, strength: Tensor) -> Tensor:
        return f


class _Stage(nn.Module):
    """Convolution, deformable convolution, strip gate; with a quantisation-adaptive layer."""

    def __init__(self, c_in: int, c_out: int, config: PpenConfig, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, 1)
        self.deform = DeformConv2d(c_out, c_out)
        self.gate = StripGate(c_out, max(4, c_out * config.context // 100), config.strip)
        self.adapt = Adaptive(c_out, config.hidden) if config.adaptive else _Plain()

    def forward(self, x: Tensor, strength: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv(x), 0.1)
        return self.adapt(self.gate(F.leaky_relu(self.deform(h), 0.1)), strength)


class PPEN(nn.Module):
    """(N, 3, H, W) in [-1, 1] and strength (N,) -> the picture to compress, same shape and range; untrained: the same.

    H, W: any. See `rounded` for the 8 bits that codecs take.
    """

    def __init__(self, config: PpenConfig | None = None):
        super().__init__()
        self.config = config = config or PpenConfig()
        widths = config.widths
        make = (lambda c: Adaptive(c, config.hidden)) if config.adaptive else (lambda c: _Plain())
        self.pixel1, self.pixel2 = nn.Conv2d(3, config.pixel, 1), nn.Conv2d(config.pixel, 3, 1)
        self.adapt1, self.adapt2 = make(config.pixel), make(3)
        self.down = nn.ModuleList(
            _Stage(a, b, config, config.stem if i == 0 else 2)
            for i, (a, b) in enumerate(zip((3, *widths), widths, strict=False))
        )
        self.middle = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.up = nn.ModuleList(
            _Stage(widths[i] + widths[i - 1], widths[i - 1], config) for i in range(len(widths) - 1, 0, -1)
        )
        self.out = nn.Conv2d(widths[0] + 3, 3, 3, padding=1)
        for last in (self.pixel2, self.out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, image: Tensor, strength: Tensor) -> Tensor:
        height, width = image.shape[2:]
        cell = self.config.stem << (len(self.config.widths) - 1)
        x = F.pad(image, (0, -width % cell, 0, -height % cell), mode="replicate")
        pixel = F.relu(self.adapt1(self.pixel1(x), strength))
        pixel = self.adapt2(self.pixel2(pixel), strength)
        kept, h = [], x
        for stage in self.down:
            h = stage(h, strength)
            kept.append(h)
        kept.pop()
        h = F.leaky_relu(self.middle(h), 0.1)
        for stage in self.up:
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
            h = stage(torch.cat([h, kept.pop()], 1), strength)
        if self.config.stem > 1:
            h = F.interpolate(h, scale_factor=self.config.stem, mode="bilinear", align_corners=False)
        out = x + pixel + self.out(torch.cat([h, x], 1))
        return out[..., :height, :width].clamp(-1, 1)


def rounded(x: Tensor) -> Tensor:
    """The nearest of the 256 values of 8 bits, (N, 3, H, W) in [-1, 1]; the gradient passes as if it were not there."""
    nearest = ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    return x + (nearest - x).detach()
