"""SQ-GAN's networks over numpy arrays of any size: scores and indices out, label maps and pictures back.

Pictures are padded to whole cells of 16x16 by repeating their edge. Above about two megapixels the networks run
on overlapping tiles, so that memory does not grow with the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chappe.nn.condition import one_hot
from chappe.nn.tiling import CELL, tiles
from chappe.systems.sqgan.model import SQGAN, Stream

__all__ = ["Analysis", "Engine"]


@dataclass(frozen=True)
class Analysis:
    """All K candidate tokens of one stream: `scores` (h, w) float32 and `indices` (h, w) int64."""

    scores: np.ndarray
    indices: np.ndarray

    def best(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask (h, w) bool of the `count` highest scores (ties: raster order), and their indices in raster order."""
        order = np.argsort(-self.scores, axis=None, kind="stable")
        mask = np.zeros(self.scores.size, bool)
        mask[order[:count]] = True
        mask = mask.reshape(self.scores.shape)
        return mask, self.indices[mask]


class Engine:
    """Inference of one `SQGAN`; pictures (H, W, 3) uint8 and labels (H, W) uint8 with H, W multiples of 16."""

    def __init__(self, model: SQGAN):
        self.model = model.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def analyse_map(self, labels: np.ndarray) -> Analysis:
        y = torch.from_numpy(labels.astype(np.int64))[None]
        classes = self.model.config.map_channels
        return self._analyse(self.model.map, lambda rows, cols: one_hot(y[:, rows, cols], classes), y)

    @torch.inference_mode()
    def analyse_image(self, image: np.ndarray, labels: np.ndarray) -> Analysis:
        x = torch.from_numpy(image).permute(2, 0, 1)[None]
        y = torch.from_numpy(labels.astype(np.int64))[None]
        return self._analyse(self.model.image, lambda rows, cols: x[:, :, rows, cols].float() / 127.5 - 1, y)

    @torch.inference_mode()
    def restore_map(self, mask: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Tokens in raster order of `mask` -> labels (H, W) uint8."""
        return self._restore(self.model.map, mask, indices, None, lambda y: y[0].argmax(0).to(torch.uint8))

    @torch.inference_mode()
    def restore_image(self, mask: np.ndarray, indices: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Tokens and received labels -> picture (H, W, 3) uint8."""

        def to_bytes(y: Tensor) -> Tensor:
            return (y[0].clamp(-1, 1).add(1).mul(127.5)).round().to(torch.uint8).permute(1, 2, 0)

        return self._restore(self.model.image, mask, indices, labels, to_bytes)

    def _analyse(self, stream: Stream, crop, labels: Tensor) -> Analysis:
        h, w = labels.shape[1] // CELL, labels.shape[2] // CELL
        scores, indices = np.empty((h, w), np.float32), np.empty((h, w), np.int64)
        for outer, inner, core in tiles(h, w):
            rows, cols = (slice(s.start * CELL, s.stop * CELL) for s in outer)
            normed, score = stream.scored(
                crop(rows, cols).contiguous(memory_format=torch.channels_last),
                self.model.condition(labels[:, rows, cols]),
            )
            tokens = stream.project(normed * score)[0].permute(1, 2, 0)
            found = stream.quantizer.search(tokens.reshape(-1, tokens.shape[-1])).reshape(tokens.shape[:2])
            scores[core], indices[core] = score[0, 0][inner].numpy(), found[inner].numpy()
        return Analysis(scores, indices)

    def _restore(self, stream: Stream, mask: np.ndarray, indices: np.ndarray, labels, finish) -> np.ndarray:
        h, w = mask.shape
        grid = np.zeros((h, w), np.int64)
        grid[mask] = indices
        out = None
        for outer, inner, core in tiles(h, w):
            condition = None
            if labels is not None:
                rows, cols = (slice(s.start * CELL, s.stop * CELL) for s in outer)
                condition = self.model.condition(torch.from_numpy(labels[rows, cols].astype(np.int64))[None])
            part = torch.from_numpy(mask[outer].astype(np.float32))[None, None]
            y = finish(stream.from_indices(torch.from_numpy(grid[outer])[None], part, condition)).numpy()
            if out is None:
                out = np.empty((h * CELL, w * CELL, *y.shape[2:]), np.uint8)
            pixels = tuple(slice(s.start * CELL, s.stop * CELL) for s in core)
            out[pixels] = y[tuple(slice(s.start * CELL, s.stop * CELL) for s in inner)]
        return out
