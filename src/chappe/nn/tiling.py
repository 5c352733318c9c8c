"""Pictures of any size through networks that want whole cells of 16x16 and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chappe.nn.blocks import split_windows

__all__ = ["CELL", "pad_to_cells", "tiles"]

CELL = 16
TILE = (64, 128)  # cells: 1024 x 2048 pixels run in one piece
MARGIN = 4  # cells of context around a tile


def pad_to_cells(array: np.ndarray) -> np.ndarray:
    """Repeat the last row and column until height and width are multiples of 16."""
    pad = [(0, -array.shape[0] % CELL), (0, -array.shape[1] % CELL)] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, pad, mode="edge")


def tiles(h: int, w: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """(what to run, the part of that to keep, where it goes), in cells."""
    for rows in split_windows(h, TILE[0]):
        for cols in split_windows(w, TILE[1]):
            outer = tuple(slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN)) for s, n in ((rows, h), (cols, w)))
            core = (rows, cols)
            inner = tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(core, outer, strict=True))
            yield outer, inner, core
