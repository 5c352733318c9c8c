"""The built-in segmenter: a small residual pyramid network, the sender's eye.

Plain 3x3 convolutions, four resolutions (1/2 to 1/16), dilated blocks and a global context vector at the
coarsest, a top-down path with lateral connections, and logits at 1/2 resolution.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SegConfig", "SegNet"]


@dataclass(frozen=True)
class SegConfig:
    """Shape of a `SegNet`; it is also what is saved beside the weights."""

    taxonomy: str = "street11"
    classes: int = 11  # classes it can answer; void is never predicted
    widths: tuple[int, int, int, int] = (24, 40, 64, 96)  # at 1/2, 1/4, 1/8, 1/16
    blocks: tuple[int, int, int] = (1, 2, 3)  # residual blocks at 1/4, 1/8, 1/16
    dilations: tuple[int, ...] = (1, 2, 4)  # of the blocks at 1/16
    decoder: tuple[int, int, int] = (64, 40, 24)  # widths at 1/8, 1/4, 1/2

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> SegConfig:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def _conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    pad = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, pad, dilation, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)
    )


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int = 1):
        super().__init__()
        self.conv1 = _conv(width, width, dilation=dilation)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv2(self.conv1(x))), inplace=True)


class SegNet(nn.Module):
    """Image (N, 3, H, W) float in [-1, 1], H and W multiples of 16 -> logits (N, classes, H, W)."""

    def __init__(self, config: SegConfig | None = None):
        super().__init__()
        self.config = config = config or SegConfig()
        w2, w4, w8, w16 = config.widths
        d8, d4, d2 = config.decoder
        n4, n8, n16 = config.blocks
        self.stem = _conv(3, w2, stride=2)
        self.down4 = nn.Sequential(_conv(w2, w4, stride=2), *(_Block(w4) for _ in range(n4)))
        self.down8 = nn.Sequential(_conv(w4, w8, stride=2), *(_Block(w8) for _ in range(n8)))
        rates = [config.dilations[i % len(config.dilations)] for i in range(n16)]
        self.down16 = nn.Sequential(_conv(w8, w16, stride=2), *(_Block(w16, r) for r in rates))
        self.context = nn.Linear(w16, w16)
        self.lat16, self.lat8 = _conv(w16, d8, 1), _conv(w8, d8, 1)
        self.fuse8 = _conv(d8, d8)
        self.to4, self.lat4 = _conv(d8, d4, 1), _conv(w4, d4, 1)
        self.fuse4 = _conv(d4, d4)
        self.to2, self.lat2 = _conv(d4, d2, 1), _conv(w2, d2, 1)
        self.fuse2 = _conv(d2, d2)
        self.dropout = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(d2, config.classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        f2 = self.stem(x)
        f4 = self.down4(f2)
        f8 = self.down8(f4)
        f16 = self.down16(f8)
        f16 = f16 + torch.relu(self.context(f16.mean((2, 3))))[:, :, None, None]
        y = self.fuse8(_up(self.lat16(f16)) + self.lat8(f8))
        y = self.fuse4(_up(self.to4(y)) + self.lat4(f4))
        y = self.fuse2(_up(self.to2(y)) + self.lat2(f2))
        return _up(self.head(self.dropout(y)))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
