"""Smaller, simpler label maps for the near-lossless mode, and their exact enlargement.

The encoder minimises  sum of weight[true class] over wrong pixels + slope * (length of all borders)  on the reduced
map (or sum of cost[true class, class]): weighted majority, iterated conditional modes with a Potts cost and merging of
regions that cost more than they say. The decoder enlarges by a vote of the 3x3 cells around each pixel, weighted by
a quadratic B-spline in exact integers.
"""

from __future__ import annotations

import numpy as np

from .labelmap_engine import engine_name

__all__ = ["enlarge", "simplify"]

DIAGONAL = 0.6  # what a border to a diagonal neighbour costs, against 1 to one beside
REGION_COST = 4.0  # what starting a region costs beside its border, in border steps
SWEEPS = 6
TAPS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
CHUNK = 2048  # cells voted on at once: bounds memory


def _spline_weights(scale: int) -> np.ndarray:
    """Weight of each of the 3x3 cells around a cell for each of its pixels, (9, scale * scale), exact integers.

    Along one axis the cells -1, 0, +1 weigh (scale - u)**2, 6 scale**2 - 2 u**2, (scale + u)**2 (sum 8 scale**2), where
    u = 2 i + 1 - scale is the offset of pixel i from the cell's centre in half pixels. As float64, where the sums
    (below 2**26) are exact and matrix products fast.
    """
    u = 2 * np.arange(scale) + 1 - scale
    line = np.stack([(scale - u) ** 2, 6 * scale * scale - 2 * u * u, (scale + u) ** 2]).astype(np.float64)
    return np.stack([np.outer(line[1 + dy], line[1 + dx]).ravel() for dy, dx in TAPS])


def _vote(patches: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Labels (n, scale**2) of the middle cells of patches (n, 9), cells in the order of TAPS."""
    same = (patches[:, :, None] == patches[:, None, :]).astype(np.float64)
    score = same.reshape(-1, 9) @ weights
    first = score.reshape(len(patches), 9, -1).argmax(axis=1)  # ties: the first in the order of TAPS
    return np.take_along_axis(patches, first, axis=1)


def _patches(cells: np.ndarray) -> np.ndarray:
    """The 3x3 cells around each cell in the order of TAPS, (h, w, 9); outside cells repeat the border."""
    padded = np.pad(cells, 1, mode="edge")
    height, width = cells.shape
    return np.stack([padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in TAPS], axis=2)


def enlarge(cells: np.ndarray, shape: tuple[int, int], scale: int) -> np.ndarray:
    """Labels (H, W) uint8 voted from cells (ceil(H / scale), ceil(W / scale)); scale 1 returns them as they are.

    Each pixel takes the label with the greatest sum of weights among its 3x3 cells.
    """
    if scale == 1:
        return cells.copy()
    if engine_name() == "numba":
        from .labelmap_enlarge_numba import enlarge as compiled

        return compiled(cells, shape, scale, _spline_weights(scale))
    return _enlarge(cells, shape, scale)


def _enlarge(cells: np.ndarray, shape: tuple[int, int], scale: int) -> np.ndarray:
    """The same in numpy: the measure of the compiled code, and what runs without it."""
    height, width = cells.shape
    patches = _patches(cells)
    out = np.repeat(cells.reshape(height, width, 1), scale * scale, axis=2)
    mixed = patches.max(axis=2) != patches.min(axis=2)
    weights, chosen = _spline_weights(scale), np.argwhere(mixed)
    for start in range(0, len(chosen), CHUNK):
        rows, columns = chosen[start : start + CHUNK].T
        out[rows, columns] = _vote(patches[rows, columns], weights)
    return _from_cells(out, scale)[: shape[0], : shape[1]].copy()


def _from_cells(pixels: np.ndarray, scale: int) -> np.ndarray:
    height, width, _ = pixels.shape
    return pixels.reshape(height, width, scale, scale).swapaxes(1, 2).reshape(height * scale, width * scale)


def _gain(labels: np.ndarray, classes: int, scale: int, weights: np.ndarray) -> np.ndarray:
    """Weighted count of each class in each cell, (h, w, classes) float64: what the cell gets right as that class; or,
    with a matrix of costs, minus what it costs."""
    height, width = labels.shape
    rows, columns = -(-height // scale), -(-width // scale)
    cell = (np.arange(height) // scale)[:, None] * columns + (np.arange(width) // scale)[None]
    flat = (cell * classes + labels).ravel()
    counts = np.bincount(flat, minlength=rows * columns * classes).reshape(rows, columns, classes)
    return counts * weights if weights.ndim == 1 else counts @ -weights


def _smooth(cells: np.ndarray, gain: np.ndarray, slope: float) -> np.ndarray:
    """Iterated conditional modes on the border cells, a quarter at a time: no two neighbours move together."""
    cells, (height, width) = cells.copy(), cells.shape
    for _ in range(SWEEPS):
        changed = False
        for quarter in range(4):
            top, left = divmod(quarter, 2)
            padded = np.pad(cells, 1, mode="edge")
            near = [padded[1 + dy + top : 1 + dy + height : 2, 1 + dx + left : 1 + dx + width : 2] for dy, dx in TAPS]
            mixed = np.zeros(near[0].shape, bool)
            for plane in near[1:]:
                mixed |= plane != near[0]
            rows, columns = np.nonzero(mixed)
            score, everyone = gain[top::2, left::2][rows, columns], np.arange(len(rows))
            for plane, reward in zip(near[1:], (1.0,) * 4 + (DIAGONAL,) * 4, strict=True):
                score[everyone, plane[rows, columns]] += slope * reward
            best = score.argmax(axis=1).astype(np.uint8)
            changed |= bool((best != near[0][rows, columns]).any())
            cells[top::2, left::2][rows, columns] = best
        if not changed:
            break
    return cells


def _regions(cells: np.ndarray) -> np.ndarray:
    """4-connected regions, (h, w) int64: the lowest flat index in each."""
    height, width = cells.shape
    ids = np.arange(height * width).reshape(height, width)
    parent = ids.ravel().copy()
    down, right = cells[1:] == cells[:-1], cells[:, 1:] == cells[:, :-1]
    pairs = np.concatenate(
        [np.stack([ids[:-1][down], ids[1:][down]]), np.stack([ids[:, :-1][right], ids[:, 1:][right]])], axis=1
    )
    while True:  # hook each root to the smaller one, then flatten: a few rounds for maps with thousands of regions
        a, b = parent[pairs[0]], parent[pairs[1]]
        differ = a != b
        if not differ.any():
            return parent.reshape(height, width)
        np.minimum.at(parent, np.maximum(a, b)[differ], np.minimum(a, b)[differ])
        while (parent[parent] != parent).any():
            parent = parent[parent]


def _merge(cells: np.ndarray, gain: np.ndarray, slope: float) -> np.ndarray:
    """Give each region that does not pay for its border to the neighbour where it loses least, smallest first."""
    classes = gain.shape[2]
    roots = _regions(cells)
    region = np.flatnonzero(roots.ravel() == np.arange(cells.size))  # each region's root points to itself
    count = len(region)
    compact = np.zeros(cells.size, np.int64)
    compact[region] = np.arange(count)
    compact = compact[roots]
    total = np.stack([np.bincount(compact.ravel(), gain[..., c].ravel(), count) for c in range(classes)], axis=1)
    touch = np.zeros((count, classes))  # border steps with cells of each class
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        for one, other in ((a, b), (b, a)):
            across = compact[one] != compact[other]
            np.add.at(touch, (compact[one][across], cells[other][across].astype(np.int64)), 1.0)
    own = cells.ravel()[region].astype(np.int64)
    profit = total - total[np.arange(count), own][:, None] + slope * (touch + REGION_COST)
    profit[touch == 0] = -np.inf
    target = profit.argmax(axis=1)
    worth = profit[np.arange(count), target] > 0
    area = np.bincount(compact.ravel(), minlength=count)
    moved = np.zeros(count, bool)
    new = own.copy()
    neighbours: dict[int, set[int]] = {}
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        across = compact[a] != compact[b]
        for i, j in set(zip(compact[a][across].tolist(), compact[b][across].tolist(), strict=True)):
            neighbours.setdefault(i, set()).add(j)
            neighbours.setdefault(j, set()).add(i)
    for i in np.argsort(area, kind="stable").tolist():
        # A region beside one that has just moved waits for the next round: its border is no longer what was counted.
        if worth[i] and not any(moved[j] for j in neighbours.get(i, ())):
            moved[i], new[i] = True, target[i]
    return new[compact].astype(np.uint8)


def simplify(labels: np.ndarray, classes: int, scale: int, slope: float, weights: np.ndarray) -> np.ndarray:
    """Cells (ceil(H / scale), ceil(W / scale)) uint8 that stand for `labels` (H, W).

    slope: pixels one may get wrong to save one step of border, >= 0. weights: (classes,) cost of a wrong pixel of each
    true class, >= 0; a class of weight 0 may become anything. Or (classes, classes): of a pixel of class a (rows) that
    comes back as b, nothing where they are equal.
    """
    weights = np.asarray(weights, np.float64)
    wrong = weights if weights.ndim == 1 else weights[~np.eye(classes, dtype=bool)]
    if slope <= 0 and scale == 1 and np.min(wrong) > 0:
        return labels.copy()
    if engine_name() == "numba":
        from .labelmap_simplify_numba import simplify as compiled

        return compiled(labels, classes, scale, slope, weights)
    return _simplify(labels, classes, scale, slope, weights)


def _simplify(labels: np.ndarray, classes: int, scale: int, slope: float, weights: np.ndarray) -> np.ndarray:
    """The same in numpy: the measure of the compiled code, and what runs without it."""
    gain = _gain(labels, classes, scale, weights)
    cells = gain.argmax(axis=2).astype(np.uint8)
    for _ in range(4):
        before = cells.copy()
        cells = _merge(_smooth(cells, gain, slope), gain, slope)
        if (cells == before).all():
            break
    return cells
