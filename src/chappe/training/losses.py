"""Losses of SQ-GAN and their weights: class-weighted pixel and cross-entropy terms, the residual for the
semantic-aware discriminator, taming's adaptive GAN weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["adaptive_weight", "relevant_picture", "weighted_cross_entropy", "weighted_pixel_loss"]


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
