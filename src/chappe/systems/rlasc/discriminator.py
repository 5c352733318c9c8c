"""The multi-scale patch discriminator over (picture, map) pairs (RL-ASC III-B, after SPADE and pix2pixHD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from chappe.nn.discriminator import hinge_discriminator, hinge_generator

__all__ = ["MultiScaleDiscriminator", "discriminator_loss", "generator_loss"]


class MultiScaleDiscriminator(nn.Module):
    """x (N, 3, H, W) and one-hot s (N, M, H, W) -> patch logits at full size and at each half of it.

    Spectral normalisation everywhere, instance normalisation between.
    """

    def __init__(self, concepts: int, width: int = 64, layers: int = 4, scales: int = 2):
        super().__init__()
        self.nets = nn.ModuleList(_patches(3 + concepts, width, layers) for _ in range(scales))

    def forward(self, x: Tensor, s: Tensor) -> list[Tensor]:
        pair, out = torch.cat([x, s], 1), []
        for net in self.nets:
            out.append(net(pair))
            pair = F.avg_pool2d(pair, 2)
        return out


def discriminator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """The hinge loss of D (eq. 32), mean of its two terms and over the scales."""
    return torch.stack([hinge_discriminator(r, f) for r, f in zip(real, fake, strict=True)]).mean()


def generator_loss(fake: list[Tensor]) -> Tensor:
    """-E[D(x^, s)] (eq. 32), mean over the scales."""
    return torch.stack([hinge_generator(f) for f in fake]).mean()


def _patches(channels: int, width: int, layers: int) -> nn.Sequential:
    net: list[nn.Module] = []
    for k in range(layers):
        c_out, stride = width * min(2**k, 8), 2 if k < layers - 1 else 1
        net.append(spectral_norm(nn.Conv2d(channels, c_out, 4, stride, 2, bias=k == 0)))
        if k:
            net.append(nn.InstanceNorm2d(c_out))
        net.append(nn.LeakyReLU(0.2))
        channels = c_out
    return nn.Sequential(*net, spectral_norm(nn.Conv2d(channels, 1, 4, 1, 2)))
