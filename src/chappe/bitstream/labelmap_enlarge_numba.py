"""`labelmap_simplify.enlarge` compiled: the same votes in the same integers, the same labels; see `native`.

Not only faster: numpy's matrix products leave the threads of its BLAS spinning beside whatever comes next.
"""

from __future__ import annotations

import sys

import numpy as np

from .native import compiled

__all__ = ["enlarge"]


def run(rows, columns, scale, height, width, cells, weights, out, near):
    """Votes of cells (rows * columns,) uint8 into out (height * width,) uint8.

    weights (9 * scale**2,) int64: of the cells around a cell, in the order of `labelmap_simplify.TAPS`, for each of its
    pixels. near (18,) int64: scratch, the labels of those cells and for each the first one of the same label.
    """
    area = scale * scale
    for y in range(rows):
        above = (y - 1 if y > 0 else 0) * columns
        here = y * columns
        below = (y + 1 if y + 1 < rows else y) * columns
        bottom = min(height, (y + 1) * scale)
        for x in range(columns):
            left = x - 1 if x > 0 else 0
            right = x + 1 if x + 1 < columns else x
            near[0] = cells[here + x]
            near[1] = cells[above + x]
            near[2] = cells[below + x]
            near[3] = cells[here + left]
            near[4] = cells[here + right]
            near[5] = cells[above + left]
            near[6] = cells[above + right]
            near[7] = cells[below + left]
            near[8] = cells[below + right]
            mixed = 0
            for tap in range(9):
                first = 0
                while near[first] != near[tap]:
                    first += 1
                near[9 + tap] = first
                mixed |= first
            end = min(width, (x + 1) * scale)
            for row in range(y * scale, bottom):
                pixel = (row - y * scale) * scale
                for column in range(x * scale, end):
                    best = 0
                    if mixed != 0:
                        most = -1
                        for tap in range(9):
                            if near[9 + tap] != tap:
                                continue
                            votes = 0
                            for other in range(tap, 9):
                                if near[9 + other] == tap:
                                    votes += weights[other * area + pixel]
                            if votes > most:
                                most = votes
                                best = tap
                    out[row * width + column] = near[best]
                    pixel += 1
    return 0


def _make():
    import numba
    from numba import carray, int64, uint8

    inner = numba.njit(error_model="numpy", inline="always")(run)

    def entry(p, n):
        return inner(
            n[4], n[5], n[6], n[7], n[8], carray(p[0], (n[0],), uint8), carray(p[1], (n[1],), int64),
            carray(p[2], (n[2],), uint8), carray(p[3], (n[3],), int64),
        )  # fmt: skip

    return entry


_entry = compiled("enlarge", (sys.modules[__name__],), _make)


def enlarge(cells: np.ndarray, shape: tuple[int, int], scale: int, weights: np.ndarray) -> np.ndarray:
    """See `labelmap_simplify.enlarge`; weights (9, scale**2) of exact integers."""
    out = np.empty(shape, np.uint8)
    flat, table = np.ascontiguousarray(cells, np.uint8).reshape(-1), weights.astype(np.int64).reshape(-1)
    _entry((flat, table, out.reshape(-1), np.empty(18, np.int64)), *cells.shape, scale, *shape)
    return out
