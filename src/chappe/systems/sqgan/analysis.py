"""SQ-GAN's networks over arrays of any size: scores and indices out, label maps and pictures back.

Pictures are padded to whole cells of 16x16 by repeating their edge. Above about two megapixels the networks run
on overlapping tiles, so that memory does not grow with the picture. Which library runs them is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chappe.nn.tiling import CELL, pixels, tiles
from chappe.systems.sqgan.config import SQGANConfig

__all__ = ["Analysis", "TiledEngine"]


@dataclass(frozen=True)
class Analysis:
    """All K candidate tokens of one stream: `scores` (h, w) float32 and `indices` (h, w) int64.

    `finer` (h, w) int64: the index of what each token leaves, in models with a second quantiser.
    """

    scores: np.ndarray
    indices: np.ndarray
    finer: np.ndarray | None = None

    def best(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask (h, w) bool of the `count` highest scores (ties: raster order), and their indices in raster order."""
        order = np.argsort(-self.scores, axis=None, kind="stable")
        mask = np.zeros(self.scores.size, bool)
        mask[order[:count]] = True
        mask = mask.reshape(self.scores.shape)
        return mask, self.indices[mask]


class TiledEngine:
    """Inference; pictures (H, W, 3) uint8 and labels (H, W) uint8 with H, W multiples of 16.

    `run(network, grid, *arrays)` runs one of `chappe.systems.sqgan.networks` on a tile of `grid` cells.
    """

    def __init__(self, config: SQGANConfig, run: Callable[..., tuple[np.ndarray, ...]]):
        self.config, self.run = config, run

    def analyse_map(self, labels: np.ndarray) -> Analysis:
        """All tokens of a label map."""
        return self._analyse("analyse_map", labels)

    def analyse_image(self, image: np.ndarray, labels: np.ndarray) -> Analysis:
        """All tokens of a picture, given its labels."""
        return self._analyse("analyse_image", image, labels)

    def restore_map(self, mask: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Tokens in raster order of `mask` -> labels (H, W) uint8."""
        return self._restore("restore_map", mask, indices)

    def restore_image(
        self, mask: np.ndarray, indices: np.ndarray, labels: np.ndarray, finer: np.ndarray | None = None
    ) -> np.ndarray:
        """Tokens and received labels -> picture (H, W, 3) uint8. `finer` (h, w) int, -1 where none was received."""
        if not self.config.image.residual:
            return self._restore("restore_image", mask, indices, pixelwise=(labels,))
        finer = np.full(mask.shape, -1) if finer is None else finer
        return self._restore("restore_image", mask, indices, cellwise=(finer.astype(np.int64),), pixelwise=(labels,))

    def _analyse(self, network: str, *arrays: np.ndarray) -> Analysis:
        h, w = arrays[-1].shape[0] // CELL, arrays[-1].shape[1] // CELL
        kinds = (np.float32, np.int64, np.int64)
        out: list[np.ndarray] = []
        for outer, inner, core in tiles(h, w):
            found = self.run(network, _size(outer), *(a[pixels(outer)] for a in arrays))
            out = out or [np.empty((h, w), kind) for kind, _ in zip(kinds, found, strict=False)]
            for whole, part in zip(out, found, strict=True):
                whole[core] = part[inner]
        return Analysis(*out)

    def _restore(
        self, network: str, mask: np.ndarray, indices: np.ndarray, *,
        cellwise: tuple[np.ndarray, ...] = (), pixelwise: tuple[np.ndarray, ...] = (),
    ) -> np.ndarray:  # fmt: skip
        h, w = mask.shape
        grid = np.zeros((h, w), np.int64)
        grid[mask] = indices
        out = None
        for outer, inner, core in tiles(h, w):
            more = [*(a[outer] for a in cellwise), *(a[pixels(outer)] for a in pixelwise)]
            (y,) = self.run(network, _size(outer), mask[outer], grid[outer], *more)
            if out is None:
                out = np.empty((h * CELL, w * CELL, *y.shape[2:]), np.uint8)
            out[pixels(core)] = y[pixels(inner)]
        return out


def _size(part: tuple[slice, slice]) -> tuple[int, int]:
    return part[0].stop - part[0].start, part[1].stop - part[1].start
