"""SPIC's receiver without diffusion: label map + coarse picture -> picture, in one pass.

A U-shaped network at 1/4 to 1/16 of the sides, every block modulated by the label map (SPADE), added to the
bilinearly enlarged coarse picture. The last stages run at 1/2 and at full size, with the map beside them, so that
poles and signs thinner than a coarse pixel can be drawn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.blocks import Attention, Downsample, GroupNorm, ResBlock, Upsample
from chappe.nn.condition import Condition
from chappe.nn.texture import FineHead
from chappe.systems.spic.config import OnePassConfig

__all__ = ["OnePass", "version_1_keys"]


class OnePass(nn.Module):
    """Coarse picture (N, 3, H/4, W/4) in [-1, 1] and labels (N, H, W) int64 -> (N, 3, H, W) in about [-1, 1].

    H and W are multiples of 16. In training a lost coarse picture is all 0 and a lost map all void.
    """

    def __init__(self, config: OnePassConfig | None = None):
        super().__init__()
        self.config = config = config or OnePassConfig()
        spade = {"classes": config.classes, "hidden": config.spade_hidden, "kernel": config.spade_kernel}
        width = config.encoder[0]
        self.stem = nn.Conv2d(3 + config.classes, width, 3, padding=1)
        self.down, self.encode = nn.ModuleList(), nn.ModuleList()
        for level, (target, count) in enumerate(zip(config.encoder, config.encoder_blocks, strict=True)):
            if level:
                self.down.append(Downsample(width, target))
                width = target
            self.encode.append(nn.ModuleList(ResBlock(width, width, spade) for _ in range(count)))
        self.attention = Attention(width)
        self.up, self.lateral, self.decode = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        deepest = len(config.encoder) - 1
        for level in range(deepest, -1, -1):
            target = config.decoder[level]
            if level < deepest:
                self.up.append(Upsample(width, target))
                self.lateral.append(nn.Conv2d(config.encoder[level], target, 1))
                width = target
            blocks = [ResBlock(width, target, spade) for _ in range(config.decoder_blocks[level])]
            width = target
            self.decode.append(nn.ModuleList(blocks))
        if config.full:
            self.fine = FineHead(width, config.classes, config.half, config.full, config.noise)
        else:
            self.fine = ShuffleHead(width, config.classes, config.half)

    def forward(self, coarse: Tensor, labels: Tensor) -> Tensor:
        condition = Condition(labels, self.config.classes, self.config.resize)
        height, width = coarse.shape[2:]
        condition.at(2 * height, 2 * width)  # first: the coarser ones are averaged from it
        h = self.stem(torch.cat([coarse, condition.at(height, width)], 1))
        kept = []
        for level, blocks in enumerate(self.encode):
            if level:
                h = self.down[level - 1](h)
            for block in blocks:
                h = block(h, condition)
            kept.append(h)
        h = self.attention(h)
        for step, blocks in enumerate(self.decode):
            if step:
                h = self.up[step - 1](h) + self.lateral[step - 1](kept[-1 - step])
            for block in blocks:
                h = block(h, condition)
        return self.fine(h, condition) + F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)


def version_1_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of version 1, whose last stages were not a module of their own, under today's names."""
    last = ("norm.", "to_half.", "last.", "head.")
    return {f"fine.{k}" if k.startswith(last) else k: v for k, v in state.items()}


class ShuffleHead(nn.Module):
    """The last stages of version 1: 1/4 to 1/2 and to pixels by pixel shuffles, with the map beside it at 1/2."""

    def __init__(self, width: int, classes: int, half: int):
        super().__init__()
        self.norm = GroupNorm(width)
        self.to_half = nn.Conv2d(width, 4 * half, 1)
        self.last = nn.Conv2d(half + classes, half, 3, padding=1)
        self.head = nn.Conv2d(half, 12, 3, padding=1)

    def forward(self, h: Tensor, condition: Condition) -> Tensor:
        at_half = condition.at(2 * h.shape[2], 2 * h.shape[3])
        h = F.pixel_shuffle(self.to_half(F.silu(self.norm(h))), 2)
        h = F.silu(self.last(torch.cat([F.silu(h), at_half], 1)))
        return F.pixel_shuffle(self.head(h), 2)
