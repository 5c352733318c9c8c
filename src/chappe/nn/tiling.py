"""Pictures of any size through networks that want whole cells of 16x16 and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

__all__ = ["CELL", "WINDOW", "pad_to_cells", "pixels", "split_windows", "tiles"]

CELL = 16
TILE = (64, 128)  # cells: 1024 x 2048 pixels run in one piece
MARGIN = 4  # cells of context around a tile
WINDOW = (32, 64)  # cells that attend to each other at most: the training size


def pad_to_cells(array: np.ndarray) -> np.ndarray:
    """Repeat the last row and column until height and width are multiples of 16."""
    pad = [(0, -array.shape[0] % CELL), (0, -array.shape[1] % CELL)] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, pad, mode="edge")


def pixels(cells: tuple[slice, ...], side: int = CELL) -> tuple[slice, ...]:
    """The pixels that a part of the grid covers, for arrays with `side` pixels a cell."""
    return tuple(slice(s.start * side, s.stop * side) for s in cells)


def tiles(h: int, w: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """(what to run, the part of that to keep, where it goes), in cells."""
    for rows in split_windows(h, TILE[0]):
        for cols in split_windows(w, TILE[1]):
            outer = tuple(slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN)) for s, n in ((rows, h), (cols, w)))
            core = (rows, cols)
            inner = tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(core, outer, strict=True))
            yield outer, inner, core


def split_windows(length: int, limit: int) -> list[slice]:
    """Near-equal slices of at most `limit` covering range(length)."""
    count = -(-length // limit)
    edges = [length * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
