"""RL-ASC's encoder E, classification module and the whole autoencoder (RL-ASC II-A, III-A)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.blocks import Downsample, ResBlock
from chappe.nn.condition import Condition, one_hot
from chappe.systems.rlasc.config import LEVELS, RLASCConfig
from chappe.systems.rlasc.generator import COLOURS, Generator
from chappe.systems.rlasc.quantizer import quantise

__all__ = ["RLASC", "Encoder", "concept_cells"]


class Encoder(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> f (N, n, H/8, W/8) in (-1, 1), H and W multiples of 8.

    Each convolution is followed by instance normalisation and LeakyReLU (paper); the last by tanh alone, since the
    centres of the quantiser span [-1, 1].
    """

    def __init__(self, config: RLASCConfig):
        super().__init__()
        widths, kernel = config.encoder, config.stem_kernel
        norm = nn.InstanceNorm2d if config.encoder_norm == "instance" else nn.Identity
        self.fold = nn.PixelUnshuffle(config.patch)
        stem = nn.Conv2d(3 * config.patch**2, widths[0], kernel, padding=kernel // 2)
        layers: list[nn.Module] = [stem, norm(widths[0]), nn.LeakyReLU(0.2)]
        for before, width in pairwise(widths):
            layers += [Downsample(before, width), norm(width), nn.LeakyReLU(0.2)]
        layers += [ResBlock(widths[-1], widths[-1]) for _ in range(config.encoder_blocks)]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv2d(widths[-1], config.channels, 3, padding=1)
        self.direct = nn.Conv2d(3, config.channels, 1, bias=False) if config.direct else None
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)
            self.out.weight.data[3:] *= 4  # the others start large enough for a coarse level to see them
            self.direct.weight.data[:3, :, 0, 0] = torch.tensor(COLOURS)

    def forward(self, x: Tensor) -> Tensor:
        f = self.out(self.layers(self.fold(x)))
        if self.direct is not None:
            f = f + self.direct(F.avg_pool2d(x, 8))
        return torch.tanh(f)


class RLASC(nn.Module):
    """E, the quantiser, the classification module and the generative decoder. The agents are `policy.Policy`s."""

    def __init__(self, config: RLASCConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.classifier = nn.Linear(config.channels, config.concepts)
        self.generator = Generator(config)

    def forward(self, x: Tensor, cells: Tensor, levels: Tensor, labels: Tensor, sigma: float,
                rounding: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """(x^, f, shares of the soft quantiser). cells (N, h, w), levels (N, h, w), labels (N, H, W) int64."""
        f = self.encoder(x)
        quantised, shares = quantise(f, levels, sigma, self.config.sigma_scaled, rounding)
        return self.decode(quantised, cells, levels, labels), f, shares

    def decode(self, quantised: Tensor, cells: Tensor, levels: Tensor, labels: Tensor) -> Tensor:
        """f^ (N, n, h, w) -> (N, 3, H, W) in about [-1, 1]."""
        condition = Condition(labels, self.config.concepts, self.config.resize)
        if self.config.see_level:
            quantised = torch.cat([quantised, levels[:, None].to(quantised) / (LEVELS - 1)], 1)
        return self.generator(quantised, one_hot(cells, self.config.concepts), condition)

    def classification_loss(self, f: Tensor, cells: Tensor) -> Tensor:
        """L_C (eq. 3): are the max-pooled f(m) told apart? Mean over the concepts that have a cell.

        f(m) is 0 outside its cells (eq. 2), so a pooled feature is at least 0 unless the concept fills the picture.
        """
        masks = one_hot(cells, self.config.concepts)
        pooled = torch.stack([(f * masks[:, m : m + 1]).amax((2, 3)) for m in range(self.config.concepts)], 1)
        present = masks.amax((2, 3)) > 0
        target = torch.arange(self.config.concepts, device=f.device).expand_as(present)
        return F.cross_entropy(self.classifier(pooled)[present], target[present])


def concept_cells(labels: Tensor, config: RLASCConfig) -> Tensor:
    """`bitstream.concepts.cell_concepts` for training: (N, H, W) int64 -> (N, H/8, W/8) int64, sides multiples of 8."""
    counts = F.avg_pool2d(one_hot(labels, config.concepts), 8) * 64
    votes = torch.tensor(config.vote or [1] * config.concepts, dtype=counts.dtype, device=counts.device)
    return (counts * votes[:, None, None]).argmax(1)
