"""What a receiver's machine reads in a picture, as losses: segmentation, detection and classification.

All three are read off the logits of one frozen network, (N, C, H, W), or of any three that give such logits. Hard IoU,
which SCSC eq. (20) prints, has no gradient: a soft one and cross-entropy stand for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chappe.segment.train import soft_iou_loss

__all__ = ["classification_loss", "detection_loss", "log_odds", "segmentation_loss", "shaken"]


def shaken(x: Tensor, labels: Tensor, void: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The picture moved by up to 7 pixels, a little brighter or darker and noisy, and its labels moved with it.

    So a network before it has to draw for any reader rather than a pattern for this one.
    """
    dy, dx = (int(d) for d in rng.integers(0, 8, 2))
    height, width = x.shape[2:]
    gain, lift = rng.uniform(0.9, 1.1), rng.uniform(-0.06, 0.06)
    noise = torch.randn_like(x) * rng.uniform(0.0, 0.06)
    moved = F.pad(x * gain + lift + noise, (dx, 0, dy, 0), mode="replicate")[..., :height, :width]
    return moved, F.pad(labels, (dx, 0, dy, 0), value=void)[..., :height, :width]


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - soft mIoU, plus cross-entropy by ln C; labels (N, H, W), those >= C are left out."""
    classes = logits.shape[1]
    entropy = F.cross_entropy(logits, labels.clamp(max=classes), ignore_index=classes)
    return soft_iou_loss(logits, labels.clamp(max=classes), classes) + entropy / np.log(classes)


def log_odds(logits: Tensor) -> Tensor:
    """ln p / (1 - p) of each class at each pixel, (N, C, H, W)."""
    classes = logits.shape[1]
    off = torch.eye(classes, dtype=torch.bool, device=logits.device)
    others = [torch.logsumexp(logits[:, ~off[k]], 1) for k in range(classes)]
    return logits - torch.stack(others, 1)


def detection_loss(logits: Tensor, labels: Tensor, things: tuple[int, ...], cell: int = 8) -> Tensor:
    """Penalty-reduced focal loss of "an object of class k is here" in cells of 8x8 pixels, for each of `things`.

    X. Zhou et al., Objects as Points, eq. (1): a cell whose larger part is the object is positive; the others count
    less the more of it they hold. By the number of positive cells.
    """
    odds = F.max_pool2d(log_odds(logits)[:, list(things)], cell)
    truth = torch.stack([(labels == k).to(logits.dtype) for k in things], 1)
    share = F.avg_pool2d(truth, cell)
    p = odds.sigmoid()
    positive = share >= 0.5
    hit = -((1 - p) ** 2) * F.logsigmoid(odds)
    miss = -((1 - share) ** 4) * p**2 * F.logsigmoid(-odds)
    return torch.where(positive, hit, miss).sum() / positive.sum().clamp_min(1)


def classification_loss(logits: Tensor, labels: Tensor, least: float = 0.005) -> Tensor:
    """Binary cross-entropy of "class k is in this picture": it has `least` of the pixels, and is read from as many."""
    classes, pixels = logits.shape[1], labels[0].numel()
    count = max(1, int(least * pixels))
    odds = log_odds(logits).flatten(2).topk(count, 2).values.mean(2)
    present = torch.stack([(labels == k).flatten(1).sum(1) >= count for k in range(classes)], 1)
    return F.binary_cross_entropy_with_logits(odds, present.to(odds.dtype))


def task_loss(
    x: Tensor, labels: Tensor, segment: Callable[[Tensor], Tensor], weights: dict[str, float],
    things: tuple[int, ...], rng: np.random.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Sum of the losses named in `weights` (segmentation, detection, classification) with weight > 0, and each."""
    classes = 255
    moved, target = shaken(x, labels, classes, rng)
    logits = segment(moved)
    each = {
        "segmentation": lambda: segmentation_loss(logits, target),
        "detection": lambda: detection_loss(logits, target, things),
        "classification": lambda: classification_loss(logits, target),
    }
    figures = {name: each[name]() for name, weight in weights.items() if weight > 0}
    return sum(weights[name] * value for name, value in figures.items()), figures
