"""Losses of the learned codecs and their weights: class-weighted pixel and cross-entropy terms, the residual for the
semantic-aware discriminator, taming's adaptive GAN weight, the meaning a frozen segmenter reads in the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "adaptive_weight",
    "meaning_loss",
    "perceptual_loss",
    "relevant_picture",
    "spectrum_loss",
    "weighted_cross_entropy",
    "weighted_pixel_loss",
]

_WINDOW = 16  # pixels a side of the pieces that `spectrum_loss` compares
_LUMA_CHROMA = ((0.299, 0.587, 0.114), (0.5, -0.419, -0.081), (-0.169, -0.331, 0.5))


def weighted_pixel_loss(fake: Tensor, real: Tensor, labels: Tensor, weights: Tensor, kind: str) -> Tensor:
    """SQ-GAN eq. (5): mean over pixels of w_s * |x - x^|^p, p = 2 (`l2`, paper) or 1 (`l1`, its code).

    fake, real (N, 3, H, W) in [-1, 1]; labels (N, H, W); weights (classes + 1,), void last.
    """
    gap = (fake - real).square() if kind == "l2" else (fake - real).abs()
    return (weights[labels].unsqueeze(1) * gap).mean()


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """L_WCE of SQ-GAN eq. (3), normalised by the sum of the weights; logits (N, C, H, W), labels (N, H, W)."""
    return F.cross_entropy(logits, labels, weight=weights)


def relevant_picture(fake: Tensor, real: Tensor, labels: Tensor, w_rel: Tensor) -> Tensor:
    """x^_rel = x^ + w_rel * (x - x^): what the semantic-aware discriminator is shown (SQ-GAN IV-C).

    w_rel (classes + 1,) near 1 hides a class from the discriminator by repairing it first.
    """
    return fake + w_rel[labels].unsqueeze(1) * (real - fake)


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor, scale: float, limit: float) -> Tensor:
    """Ratio of gradient norms at the decoder's last weight, times `scale`, at most `limit` (taming-transformers)."""
    g_rec = torch.autograd.grad(reconstruction, last, retain_graph=True)[0].norm()
    g_adv = torch.autograd.grad(adversarial, last, retain_graph=True)[0].norm()
    return (scale * g_rec / (g_adv + 1e-4)).clamp(0.0, limit).detach()


def meaning_loss(
    fake: Tensor, labels: Tensor, segment: Callable[[Tensor], Tensor], weights: Tensor, rng: np.random.Generator
) -> Tensor:
    """Cross-entropy of what a frozen segmenter reads in the decoded picture, void left out.

    fake (N, 3, H, W) in [-1, 1]; labels (N, H, W); segment: pictures -> logits (N, C, H, W); weights (C,).
    The picture is moved by up to 7 pixels, shrunk to 70 to 100 % of its sides, made brighter or darker and noisy first,
    so that the generator has to draw the class for any reader rather than a pattern for this one.
    """
    void, (height, width) = len(weights), fake.shape[2:]
    gain, lift = rng.uniform(0.9, 1.1), rng.uniform(-0.06, 0.06)
    noise = torch.randn_like(fake) * rng.uniform(0.0, 0.06)
    dy, dx = (int(d) for d in rng.integers(0, 8, 2))
    shifted = F.pad(fake * gain + lift + noise, (dx, 0, dy, 0), mode="replicate")[..., :height, :width]
    target = F.pad(labels, (dx, 0, dy, 0), value=void)[..., :height, :width]
    size = [max(1, round(side * rng.uniform(0.7, 1.0) / 16)) * 16 for side in (height, width)]
    shifted = F.interpolate(shifted, size, mode="bilinear", align_corners=False, antialias=True)
    target = F.interpolate(target[:, None].float(), size, mode="nearest-exact")[:, 0].long()
    return F.cross_entropy(segment(shifted), target, weight=weights, ignore_index=void)


def perceptual_loss(fake: Tensor, real: Tensor, distance: Callable, share: float, rng: np.random.Generator) -> Tensor:
    """Mean of `distance` (pictures, pictures) -> (N,) over a random crop of `share` of the width, or, every other
    time, over a crop of half its sides enlarged twice.

    SqueezeNet halves a picture in its first layer and again in its second: it hardly sees stripes four pixels apart,
    and a generator trained with it at one scale alone covers everything with them.
    """
    height, width = fake.shape[2:]
    twice = bool(rng.random() < 0.5)
    rows, columns = (height // 2, int(width * share) // 2) if twice else (height, int(width * share))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    pair = [t[..., top : top + rows, left : left + columns] for t in (fake, real)]
    if twice:
        pair = [F.interpolate(t, scale_factor=2, mode="bilinear", align_corners=False) for t in pair]
    return distance(*pair).mean()


def spectrum_loss(fake: Tensor, real: Tensor, rng: np.random.Generator, floor: float = 0.002) -> Tensor:
    """Mean |ln (A + floor) - ln (A' + floor)| of the amplitudes of 16 x 16 pieces, Hann window, in luma and chroma.

    fake, real (N, 3, H, W) in [-1, 1], H, W >= 31; pieces every 16 pixels from a random corner. Blind to where in a
    piece something lies: it asks for texture of the right strength at every frequency; a pixel loss asks for blur.
    """
    top, left = (int(k) for k in rng.integers(0, _WINDOW, 2))
    basis = fake.new_tensor(_LUMA_CHROMA)
    hann = torch.hann_window(_WINDOW, periodic=False, device=fake.device)
    window = torch.outer(hann, hann)
    logs = []
    for picture in (fake, real):
        planes = torch.einsum("kc,nchw->nkhw", basis, picture[..., top:, left:])
        pieces = planes.unfold(2, _WINDOW, _WINDOW).unfold(3, _WINDOW, _WINDOW) * window
        logs.append(((torch.fft.rfft2(pieces).abs() / window.sum()) + floor).log())
    return (logs[0] - logs[1]).abs().mean()
