"""PatchGAN discriminator and its hinge losses (pix2pix; SQ-GAN IV-B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PatchDiscriminator", "hinge_discriminator", "hinge_generator"]


class PatchDiscriminator(nn.Module):
    """Pictures or soft label maps (N, C, H, W) -> one logit a patch (N, 1, ~H/8, ~W/8).

    `layers` strided 4x4 convolutions, then one at stride 1 and the output; BatchNorm and LeakyReLU .2.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3):
        super().__init__()
        net: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, layers + 1):
            c_in, c_out = width * min(2 ** (i - 1), 8), width * min(2**i, 8)
            stride = 2 if i < layers else 1
            net += [nn.Conv2d(c_in, c_out, 4, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
        net.append(nn.Conv2d(width * min(2**layers, 8), 1, 4, 1, 1))
        self.net = nn.Sequential(*net)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, 0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """mean(relu(1 - D(real)) + relu(1 + D(fake))) / 2."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def hinge_generator(fake: Tensor) -> Tensor:
    """-mean(D(fake))."""
    return -torch.mean(fake)
