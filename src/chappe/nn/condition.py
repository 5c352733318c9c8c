"""A label map as SPADE layers want it: one-hot channels at any resolution, resized once and kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Condition"]


class Condition:
    """Label map (N, H, W) int64 -> (N, classes, h, w) float at the resolution a layer asks for.

    Labels >= `classes` (void) become the all-zero vector. `resize` is `nearest` (SPADE, SQ-GAN code: one pixel of
    a cell decides) or `area` (share of each class in the cell, so that small signs do not vanish).
    """

    def __init__(self, labels: Tensor, classes: int, resize: str = "area"):
        self.labels, self.classes, self.resize = labels, classes, resize
        self._cache: dict[tuple[int, int], Tensor] = {}

    @property
    def full(self) -> Tensor:
        """(N, classes, H, W)."""
        return self.at(*self.labels.shape[1:])

    def at(self, height: int, width: int) -> Tensor:
        key = (height, width)
        if key not in self._cache:
            self._cache[key] = self._make(height, width)
        return self._cache[key]

    def _make(self, height: int, width: int) -> Tensor:
        full = tuple(self.labels.shape[1:])
        if self.resize == "nearest" or (height, width) == full:
            labels = self.labels
            if (height, width) != full:
                labels = F.interpolate(labels[:, None].float(), (height, width), mode="nearest")[:, 0].long()
            return one_hot(labels, self.classes)
        finer = [size for size in self._cache if size[0] % height == 0 and size[1] % width == 0 and size != full]
        source = self._cache[min(finer)] if finer else self.full
        return F.adaptive_avg_pool2d(source, (height, width))


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(N, H, W) int64 -> (N, classes, H, W) float32; labels >= classes give zeros."""
    out = torch.zeros(labels.shape[0], classes + 1, *labels.shape[1:], device=labels.device)
    return out.scatter_(1, labels.clamp(max=classes)[:, None], 1.0)[:, :classes]
