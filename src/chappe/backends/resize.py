"""Bilinear resizing of (C, H, W) float32 as torch's `interpolate(mode="bilinear", align_corners=False)` does it."""

from __future__ import annotations

import numpy as np

__all__ = ["resize"]


def resize(x: np.ndarray, height: int, width: int, *, antialias: bool = False, rows: slice | None = None) -> np.ndarray:
    """(C, h, w) -> (C, height, width), or the `rows` of it alone.

    With `antialias` the triangle widens with the shrinking factor, so that every pixel counts.
    """
    across = _weights(x.shape[2], width, antialias)
    down = _weights(x.shape[1], height, antialias)[rows or slice(None)]
    used = np.flatnonzero(down.any(0))
    part = slice(used[0], used[-1] + 1)  # a strip of the result needs a strip of the source
    return np.matmul(down[:, part], np.matmul(x[:, part], across.T))


def _weights(source: int, target: int, antialias: bool) -> np.ndarray:
    """(target, source) float32, rows summing to 1: a triangle around each target's centre, pixel centres at .5."""
    scale = source / target
    reach = max(1.0, scale) if antialias else 1.0
    centre = (np.arange(target) + 0.5) * scale - 0.5
    if not antialias:
        centre = np.clip(centre, 0, source - 1)
    weights = np.maximum(0, 1 - np.abs(np.arange(source) - centre[:, None]) / reach)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
