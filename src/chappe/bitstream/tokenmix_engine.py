"""One call of the mixed token code's engine, compiled or interpreted, over numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import tokenmix_python
from .labelmap_engine import engine_name
from .tokenmix_prior import TokenPrior, power, squash
from .tokenmix_python import inputs

__all__ = ["Grid", "run"]


@dataclass(eq=False)
class Grid:
    """What both sides know, flat: candidate (K,) uint8, known (K,) int32, cells (16 K,) uint8."""

    shape: tuple[int, int]
    candidate: np.ndarray
    known: np.ndarray
    cells: np.ndarray

    @property
    def free(self) -> int:
        return int(self.candidate.sum())


def run(grid: Grid, prior: TokenPrior, count: int, mask: np.ndarray | None = None, indices: np.ndarray | None = None,
        buf: np.ndarray | None = None, state: np.ndarray | None = None, trace: bool = False):  # fmt: skip
    """Encode (mask (K,) uint8 and indices in raster order given) or decode (buf uint8 and state (3,) int64 given).

    Returns (mask, tokens (K,) int32 or -1, symbols (n, 3) int64, trace int32): see tokenmix_python.run.
    """
    decode = buf is not None
    cells = grid.candidate.size
    bits = np.zeros(cells, np.uint8) if decode else mask.astype(np.uint8)
    tokens = np.full(cells, -1, np.int32)
    if not decode:
        tokens[bits == 1] = indices
    buf = np.zeros(1, np.uint8) if buf is None else buf
    state = np.zeros(3, np.int64) if state is None else state
    out = np.zeros(3 if decode else 3 * (grid.free + 2 * count), np.int64)
    width = inputs(prior.size, prior.classes)
    notes = np.zeros((width + 1) * grid.free + (width + 5) * count if trace else 0, np.int32)
    hidden = np.array([prior.position.units, prior.index.units], np.int32)
    shifts = np.array(prior.shifts, np.int32)
    before = (grid.candidate, grid.known)
    after = (
        grid.cells, prior.classes, count, prior.size, prior.vectors.reshape(-1), prior.levels, prior.cluster,
        prior.member, prior.first, hidden, prior.position.values, prior.index.values, shifts, squash(), power(), buf,
    )  # fmt: skip
    scratch = (
        width, max(hidden), prior.levels + prior.clusters,
        cells, (prior.classes + 2) * prior.size, prior.classes + 2, 5 * (prior.classes + 1), 12,
    )  # fmt: skip
    changed = (bits, tokens), (state, out, notes)
    if engine_name() == "numba":
        from . import tokenmix_numba

        used = tokenmix_numba.run(int(decode), *grid.shape, *before, *changed[0], *after, *changed[1],
                                   tuple(np.zeros(n, np.int64) for n in scratch))  # fmt: skip
    else:
        lists = [[a.tolist() for a in group] for group in changed]
        plain = [[v.tolist() if isinstance(v, np.ndarray) else v for v in group] for group in (before, after)]
        used = tokenmix_python.run(int(decode), *grid.shape, *plain[0], *lists[0], *plain[1], *lists[1],
                                    [[0] * n for n in scratch])  # fmt: skip
        for array, values in zip((*changed[0], *changed[1]), (*lists[0], *lists[1]), strict=True):
            array[:] = values
    return bits, tokens, out[: 0 if decode else 3 * used].reshape(-1, 3), notes
