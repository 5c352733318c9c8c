"""The generative semantic decoder: local and global generator, fused by attention (RL-ASC III-B, fig. 4)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.blocks import ResBlock
from chappe.nn.condition import Condition
from chappe.nn.texture import FineHead
from chappe.systems.rlasc.config import RLASCConfig

__all__ = ["COLOURS", "Attention", "Generator", "GlobalGenerator", "LocalGenerator"]


COLOURS = ((0.36, 0.70, 0.14), (-0.45, -0.85, 1.3), (1.3, -1.1, -0.2))
"""What the first three features start as: about luma and two differences of colour, from RGB in [-1, 1]."""


class Enlarge(nn.Module):
    """Twice the sides: a strided transposed convolution (paper), or bilinear and a 3x3 convolution; SiLU."""

    def __init__(self, c_in: int, c_out: int, mode: str):
        super().__init__()
        self.bilinear = mode == "bilinear"
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1) if self.bilinear else nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(_twice(x, "bilinear") if self.bilinear else x))


class LocalGenerator(nn.Module):
    """G_l: features -> one picture y(m) a concept, masked by its region and added up (eq. 28, 29).

    z (N, C, h, w), masks (N, M, h, w) of ones, condition of the H x W map -> (N, 3, H, W). With a `separate` trunk the
    features of each concept go through it alone; only those present in the batch are run.
    """

    def __init__(self, config: RLASCConfig):
        super().__init__()
        self.config, widths = config, config.local
        self.joint = config.trunk == "joint"
        inputs = config.channels + config.see_level + (config.concepts if self.joint else 0)
        trunk: list[nn.Module] = [nn.Conv2d(inputs, widths[0], 3, padding=1)]
        trunk += [ResBlock(widths[0], widths[0]) for _ in range(config.local_blocks)]
        for before, width in pairwise(widths):
            trunk.append(Enlarge(before, width, config.upsampling))
        self.trunk = nn.Sequential(*trunk)
        if config.fine:
            self.head = FineHead(widths[-1], config.concepts, *config.fine, channels=3 * config.concepts)
        else:
            self.heads = nn.ModuleList(_picture_head(widths[-1], config.upsampling) for _ in range(config.concepts))

    def forward(self, z: Tensor, masks: Tensor, condition: Condition) -> Tensor:
        regions = condition.full
        if self.config.fine:
            y = self.head(self.trunk(torch.cat([z, masks], 1)), condition)
            y = y.reshape(y.shape[0], -1, 3, *y.shape[2:])
            return (self._end(y) * regions[:, :, None]).sum(1)
        shared = self.trunk(torch.cat([z, masks], 1)) if self.joint else None
        total = z.new_zeros(z.shape[0], 3, *regions.shape[2:])
        for m in regions.amax((0, 2, 3)).nonzero().flatten().tolist():
            h = self.trunk(z * masks[:, m : m + 1]) if shared is None else shared
            total = total + self._end(self.heads[m](h)) * regions[:, m : m + 1]
        return total

    def _end(self, y: Tensor) -> Tensor:
        return torch.tanh(y) if self.config.tanh else y


class GlobalGenerator(nn.Module):
    """G_g: features and the map through SPADE residual blocks (eq. 30): z (N, C, h, w) -> (N, 3, H, W)."""

    def __init__(self, config: RLASCConfig):
        super().__init__()
        self.config, widths = config, config.globally
        spade = {"classes": config.concepts, "hidden": config.spade_hidden, "kernel": config.spade_kernel}
        inputs = config.channels + config.see_level
        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(ResBlock(widths[0], widths[0], spade) for _ in range(config.global_blocks))
        self.up = nn.ModuleList(ResBlock(a, b, spade) for a, b in pairwise(widths))
        self.head = (
            FineHead(widths[-1], config.concepts, *config.fine) if config.fine
            else nn.Conv2d(widths[-1], 3, 3, padding=1)
        )  # fmt: skip
        # Not in the paper: without it the features of a small model learn colours only after many thousand steps.
        self.coarse = nn.Conv2d(inputs, 3 * config.coarse**2, 1) if config.coarse else None
        if self.coarse is not None:
            nn.init.zeros_(self.coarse.weight)
            nn.init.zeros_(self.coarse.bias)
            if config.direct:  # begins with the colours that the encoder begins to send; attention halves them
                back = 1.5 * torch.tensor(COLOURS).inverse()
                self.coarse.weight.data[:, :3, 0, 0] = back.repeat_interleave(config.coarse**2, 0)

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        config, size = self.config, condition.labels.shape[1:]
        condition.at(size[0] // 4, size[1] // 4)  # first: the coarser ones are averaged from it
        h = self.stem(z)
        for block in self.blocks:
            h = block(h, condition)
        for block in self.up:
            h = block(_twice(h, "bilinear" if config.upsampling == "bilinear" else "nearest"), condition)
        y = self.head(h, condition) if config.fine else self.head(F.silu(h))
        if self.coarse is not None:
            colours = F.pixel_shuffle(self.coarse(z), config.coarse)
            y = y + F.interpolate(colours, tuple(size), mode="bilinear", align_corners=False)
        return torch.tanh(y) if config.tanh else y


class Attention(nn.Module):
    """Features (N, C, h, w) -> weights W_l and W_g (N, 2, H, W) that add up to 1 everywhere."""

    def __init__(self, config: RLASCConfig):
        super().__init__()
        widths = (config.channels + config.see_level, *config.attention)
        self.net = nn.Sequential(
            *(Enlarge(a, b, config.upsampling) for a, b in pairwise(widths)),
            nn.Conv2d(widths[-1], 2, 3, padding=1),
        )

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        logits = self.net(z)
        if logits.shape[2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits.softmax(1)


class Generator(nn.Module):
    """x^ = W_l x_l + W_g x_g (eq. 31)."""

    def __init__(self, config: RLASCConfig):
        super().__init__()
        self.local, self.globally, self.attention = LocalGenerator(config), GlobalGenerator(config), Attention(config)

    def forward(self, z: Tensor, masks: Tensor, condition: Condition) -> Tensor:
        weights = self.attention(z, tuple(condition.labels.shape[1:]))
        local, whole = self.local(z, masks, condition), self.globally(z, condition)
        return weights[:, :1] * local + weights[:, 1:] * whole


def _picture_head(width: int, mode: str) -> nn.Module:
    if mode == "deconv":
        return nn.ConvTranspose2d(width, 3, 4, 2, 1)
    return nn.Sequential(Enlarge(width, width, mode), nn.Conv2d(width, 3, 3, padding=1))


def _twice(h: Tensor, mode: str) -> Tensor:
    return F.interpolate(h, scale_factor=2, mode=mode, align_corners=None if mode == "nearest" else False)
