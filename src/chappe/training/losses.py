"""Losses of the learned codecs and their weights: class-weighted pixel and cross-entropy terms, the residual for the
semantic-aware discriminator, taming's adaptive GAN weight, the meaning a frozen segmenter reads in the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["adaptive_weight", "meaning_loss", "relevant_picture", "weighted_cross_entropy", "weighted_pixel_loss"]


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
    The picture is moved by up to 7 pixels, made brighter or darker and noisy first, so that the generator has to draw
    the class for any reader rather than a pattern for this one.
    """
    void, (height, width) = len(weights), fake.shape[2:]
    gain, lift = rng.uniform(0.9, 1.1), rng.uniform(-0.06, 0.06)
    noise = torch.randn_like(fake) * rng.uniform(0.0, 0.06)
    dy, dx = (int(d) for d in rng.integers(0, 8, 2))
    shifted = F.pad(fake * gain + lift + noise, (dx, 0, dy, 0), mode="replicate")[..., :height, :width]
    target = F.pad(labels, (dx, 0, dy, 0), value=void)[..., :height, :width]
    return F.cross_entropy(segment(shifted), target, weight=weights, ignore_index=void)
