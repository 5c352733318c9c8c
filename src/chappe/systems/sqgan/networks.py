"""The four networks of a trained SQ-GAN as an engine calls them: bytes and labels in, symbols or bytes out.

All take one picture whose sides are multiples of 16: image (H, W, 3) uint8, labels (H, W) uint8, mask (h, w) bool and
indices (h, w) int64 with h = H/16, w = W/16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chappe.nn.condition import one_hot
from chappe.nn.run import channels_last, from_bytes, to_bytes
from chappe.systems.sqgan.model import SQGAN, Stream

__all__ = ["networks"]


def networks(model: SQGAN) -> dict[str, nn.Module]:
    """The networks of `model` by name; they share its weights."""
    return {
        "analyse_map": _AnalyseMap(model),
        "analyse_image": _AnalyseImage(model),
        "restore_map": _RestoreMap(model),
        "restore_image": _RestoreImage(model) if model.image.residual is None else _RestoreFiner(model),
    }


class _Network(nn.Module):
    def __init__(self, model: SQGAN):
        super().__init__()
        self.model = model


class _AnalyseMap(_Network):
    """labels -> scores (h, w) float32, indices (h, w) int64."""

    def forward(self, labels: Tensor) -> tuple[Tensor, ...]:
        y = labels[None].long()
        x = channels_last(one_hot(y, self.model.config.map_channels))
        return _symbols(self.model.map, x, self.model.condition(y))


class _AnalyseImage(_Network):
    """image, labels -> scores (h, w) float32, indices (h, w) int64, finer indices where there is a second quantiser."""

    def forward(self, image: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return _symbols(self.model.image, from_bytes(image), self.model.condition(labels[None].long()))


class _RestoreMap(_Network):
    """mask, indices -> labels (H, W) uint8."""

    def forward(self, mask: Tensor, indices: Tensor) -> tuple[Tensor]:
        y = self.model.map.from_indices(indices[None], mask[None, None].float(), None)
        return (y[0].argmax(0).to(torch.uint8),)


class _RestoreImage(_Network):
    """mask, indices, received labels -> image."""

    def forward(self, mask: Tensor, indices: Tensor, labels: Tensor) -> tuple[Tensor]:
        condition = self.model.condition(labels[None].long())
        return (to_bytes(self.model.image.from_indices(indices[None], mask[None, None].float(), condition)),)


class _RestoreFiner(_Network):
    """mask, indices, finer indices (h, w) int64 (-1: not sent), received labels -> image."""

    def forward(self, mask: Tensor, indices: Tensor, finer: Tensor, labels: Tensor) -> tuple[Tensor]:
        condition = self.model.condition(labels[None].long())
        y = self.model.image.from_indices(indices[None], mask[None, None].float(), condition, finer[None])
        return (to_bytes(y),)


def _symbols(stream: Stream, x: Tensor, condition) -> tuple[Tensor, ...]:
    score, indices, finer = stream.symbols(x, condition)
    return (score[0, 0], indices[0]) if finer is None else (score[0, 0], indices[0], finer[0])
