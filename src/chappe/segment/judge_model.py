"""The judge: a second segmentation network that no codec is ever trained with, so that its verdict means something.

Everything differs from `SegNet`: one dilated stage at 1/8 instead of a pyramid, PReLU, a single skip connection,
logits at 1/4, another seed, other crops, no procedural scenes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["JudgeConfig", "JudgeNet"]


@dataclass(frozen=True)
class JudgeConfig:
    """Shape of a `JudgeNet`; it is also what is saved beside the weights."""

    taxonomy: str = "street11"
    classes: int = 11  # classes it can answer; void is never predicted
    widths: tuple[int, int, int] = (24, 40, 70)  # at 1/2, 1/4, 1/8
    dilations: tuple[int, ...] = (1, 2, 4, 8, 4, 2)  # of the residual blocks at 1/8
    decoder: int = 44  # width at 1/4

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> JudgeConfig:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def _unit(c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, dilation * (kernel // 2), dilation, bias=False),
        nn.BatchNorm2d(c_out),
        nn.PReLU(c_out),
    )


class _Dilated(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width), nn.PReLU(width), nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(width), nn.PReLU(width), nn.Conv2d(width, width, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class JudgeNet(nn.Module):
    """Image (N, 3, H, W) float in [-1, 1], H and W multiples of 8 -> logits (N, classes, H, W)."""

    def __init__(self, config: JudgeConfig | None = None):
        super().__init__()
        self.config = config = config or JudgeConfig()
        w2, w4, w8 = config.widths
        self.stem = _unit(3, w2, 5, stride=2)
        self.quarter = nn.Sequential(_unit(w2, w4, 3, stride=2), _unit(w4, w4, 3))
        self.eighth = nn.Sequential(_unit(w4, w8, 3, stride=2), *(_Dilated(w8, d) for d in config.dilations))
        self.context = nn.Sequential(nn.BatchNorm2d(w8), nn.PReLU(w8))
        self.scene = nn.Conv2d(2 * w8, w8, 1)
        self.skip = _unit(w4, config.decoder // 2, 1)
        self.fuse = nn.Sequential(
            _unit(w8 + config.decoder // 2, config.decoder, 3), _unit(config.decoder, config.decoder, 3)
        )
        self.dropout = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(config.decoder, config.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        quarter = self.quarter(self.stem(x))
        deep = self.context(self.eighth(quarter))
        rows = deep.mean(3, keepdim=True).expand_as(deep)  # what lies at this height: sky above, road below
        deep = torch.relu(self.scene(torch.cat([deep, rows], 1)))
        deep = F.interpolate(deep, quarter.shape[2:], mode="bilinear", align_corners=False)
        y = self.head(self.dropout(self.fuse(torch.cat([deep, self.skip(quarter)], 1))))
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)
