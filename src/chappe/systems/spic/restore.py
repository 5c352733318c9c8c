"""The one-pass receiver's network over arrays of any size, whichever library runs it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chappe.nn.tiling import CELL, pixels, tiles
from chappe.systems.spic.config import OnePassConfig

__all__ = ["Restorer"]


class Restorer:
    """Coarse pictures and label maps to pictures.

    `run("restore", grid, coarse, labels)` runs the network on a tile of `grid` cells of 16x16 pixels.
    """

    def __init__(self, config: OnePassConfig, run: Callable[..., tuple[np.ndarray, ...]]):
        self.config, self.run = config, run

    def restore(self, coarse: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Coarse picture (H/4, W/4, 3) uint8 and labels (H, W), H and W multiples of 16 -> picture (H, W, 3) uint8."""
        height, width = labels.shape
        out = np.empty((height, width, 3), np.uint8)
        for outer, inner, core in tiles(height // CELL, width // CELL):
            grid = outer[0].stop - outer[0].start, outer[1].stop - outer[1].start
            (y,) = self.run("restore", grid, coarse[pixels(outer, CELL // self.config.factor)], labels[pixels(outer)])
            out[pixels(core)] = y[pixels(inner)]
        return out
