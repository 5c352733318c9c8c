"""`labelmap_simplify.simplify` compiled: the same decisions and sums in the same order, the same cells; see `native`.

One function with five steps, because what the later ones need is as long as the earlier ones say. Cells are flat. A
cell is `stale` while its surroundings have changed since it was last looked at; others would stay as they are.
"""

from __future__ import annotations

import sys

import numpy as np

from .native import compiled

__all__ = ["simplify"]

COUNT, SMOOTH, REGIONS, WEIGH, MERGE = range(5)
DIAGONAL, REGION_COST, SWEEPS, ROUNDS = 0.6, 4.0, 6, 4  # as in labelmap_simplify


def run(step, rows, columns, classes, scale, height, width, slope, labels, weights, counts, cells, stale, ids,
        total, touch, area, target, begin, order, near, score):  # fmt: skip
    """One step on `cells` (rows * columns,) uint8.

    COUNT: labels (height * width,) -> counts (cells, classes) uint16 (not at scale 1, where the labels say it) and the
    cells' first classes. SMOOTH: iterated conditional modes. REGIONS: ids (cells,) int32, returns how many. WEIGH:
    total, touch (regions, classes), area, target (regions,; -1: stays) and begin (regions + 1,), the number of
    neighbours kept of the regions before; returns their sum. MERGE: order: regions that would move, smallest first;
    near: scratch of that sum; returns how many moved. score (classes,): scratch. weights: (classes + 1,), the last one
    unused, or of a matrix (classes * classes + 1,): minus what a pixel of each class costs as each class.
    """
    size = rows * columns
    matrix = len(weights) > classes + 1
    if step == COUNT:
        if scale == 1 and not matrix:
            for k in range(size):
                cells[k] = labels[k] if weights[labels[k]] > 0 else 0
            return 0
        if scale > 1:
            for y in range(height):
                for x in range(width):
                    counts[((y // scale) * columns + x // scale) * classes + labels[y * width + x]] += 1
        for k in range(size):
            best = 0
            if matrix:
                for c in range(classes):
                    score[c] = 0.0
                for a in range(classes):
                    n = (1 if labels[k] == a else 0) if scale == 1 else int(counts[k * classes + a])
                    if n > 0:
                        for c in range(classes):
                            score[c] += n * weights[a * classes + c]
                for c in range(1, classes):
                    if score[c] > score[best]:
                        best = c
                cells[k] = best
                continue
            for c in range(1, classes):
                if counts[k * classes + c] * weights[c] > counts[k * classes + best] * weights[best]:
                    best = c
            cells[k] = best
        return 0
    if step == SMOOTH:
        diagonal = slope * DIAGONAL
        for _ in range(SWEEPS):
            changed = 0
            for quarter in range(4):
                for y in range(quarter // 2, rows, 2):
                    above = (y - 1 if y > 0 else 0) * columns
                    here = y * columns
                    below = (y + 1 if y + 1 < rows else y) * columns
                    for x in range(quarter % 2, columns, 2):
                        k = here + x
                        if stale[k] == 0:
                            continue
                        left = x - 1 if x > 0 else 0
                        right = x + 1 if x + 1 < columns else x
                        if 0 < y and y + 1 < rows and 0 < x and x + 1 < columns:
                            stale[k] = 0  # at the border a cell is its own neighbour: always looked at
                        own = cells[k]
                        n0, n1, n2, n3 = cells[above + x], cells[below + x], cells[here + left], cells[here + right]
                        n4, n5, n6, n7 = (
                            cells[above + left], cells[above + right], cells[below + left], cells[below + right],
                        )  # fmt: skip
                        if (n0 == own and n1 == own and n2 == own and n3 == own
                                and n4 == own and n5 == own and n6 == own and n7 == own):  # fmt: skip
                            continue
                        if matrix:
                            for c in range(classes):
                                score[c] = 0.0
                            for a in range(classes):
                                n = (1 if labels[k] == a else 0) if scale == 1 else int(counts[k * classes + a])
                                if n > 0:
                                    for c in range(classes):
                                        score[c] += n * weights[a * classes + c]
                        elif scale == 1:
                            for c in range(classes):
                                score[c] = 0.0
                            score[labels[k]] = weights[labels[k]]
                        else:
                            for c in range(classes):
                                score[c] = counts[k * classes + c] * weights[c]
                        score[n0] += slope
                        score[n1] += slope
                        score[n2] += slope
                        score[n3] += slope
                        score[n4] += diagonal
                        score[n5] += diagonal
                        score[n6] += diagonal
                        score[n7] += diagonal
                        best = 0
                        for c in range(1, classes):
                            if score[c] > score[best]:
                                best = c
                        if best != own:
                            cells[k] = best
                            changed += 1
                            for base in (above, here, below):
                                stale[base + left] = 1
                                stale[base + x] = 1
                                stale[base + right] = 1
            if changed == 0:
                break
        return 0
    if step == REGIONS:  # trees whose roots are the lowest of their region, then numbers in the order of the roots
        for k in range(size):
            ids[k] = k
            for side in range(2):
                if (k % columns == 0) if side == 0 else (k < columns):
                    continue
                other = k - 1 if side == 0 else k - columns
                if cells[other] != cells[k]:
                    continue
                a = k
                while ids[a] != a:
                    ids[a] = ids[ids[a]]
                    a = ids[a]
                while ids[other] != other:
                    ids[other] = ids[ids[other]]
                    other = ids[other]
                ids[max(a, other)] = min(a, other)
        found = 0
        for k in range(size):
            if ids[k] == k:
                found += 1
                ids[k] = -found
            else:
                ids[k] = ids[ids[k]]
        for k in range(size):
            ids[k] = -1 - ids[k]
        return found
    if step == WEIGH:
        regions = len(area)
        for k in range(size):
            i = ids[k]
            area[i] += 1
            target[i] = cells[k]
            if matrix:
                for a in range(classes):
                    n = (1 if labels[k] == a else 0) if scale == 1 else int(counts[k * classes + a])
                    if n > 0:
                        for c in range(classes):
                            total[i * classes + c] += n * weights[a * classes + c]
            elif scale == 1:
                total[i * classes + labels[k]] += weights[labels[k]]
            else:
                for c in range(classes):
                    total[i * classes + c] += counts[k * classes + c] * weights[c]
            for side in range(2):
                if (k % columns == 0) if side == 0 else (k < columns):
                    continue
                o = k - 1 if side == 0 else k - columns
                if ids[o] != i:
                    touch[i * classes + cells[o]] += 1.0
                    touch[ids[o] * classes + cells[k]] += 1.0
        kept = 0
        for i in range(regions):
            own = total[i * classes + target[i]]
            best = -1
            most = 0.0
            beside = 0
            for c in range(classes):
                if touch[i * classes + c] > 0.0:
                    beside += int(touch[i * classes + c])
                    profit = total[i * classes + c] - own + slope * (touch[i * classes + c] + REGION_COST)
                    if profit > most:
                        most = profit
                        best = c
            target[i] = best
            begin[i] = kept
            if best >= 0:
                kept += beside
        begin[regions] = kept
        return kept
    # MERGE. area: how many neighbours of a region are noted so far, then 1 for one that moved
    for i in range(len(area)):
        area[i] = 0
    for k in range(size):
        i = ids[k]
        for side in range(2):
            if (k % columns == 0) if side == 0 else (k < columns):
                continue
            j = ids[k - 1 if side == 0 else k - columns]
            if i != j:
                if target[i] >= 0:
                    near[begin[i] + area[i]] = j
                    area[i] += 1
                if target[j] >= 0:
                    near[begin[j] + area[j]] = i
                    area[j] += 1
    for i in range(len(area)):
        area[i] = 0
    moved = 0
    for i in order:
        blocked = 0  # beside a region that has just moved: its border is no longer what was counted
        for at in range(begin[i], begin[i + 1]):
            blocked |= area[near[at]]
        if blocked == 0:
            area[i] = 1
            moved += 1
    if moved > 0:
        for k in range(size):
            i = ids[k]
            if area[i] == 1:
                cells[k] = target[i]
                y = k // columns
                x = k - y * columns
                for row in range(max(y - 1, 0), min(y + 2, rows)):
                    for column in range(max(x - 1, 0), min(x + 2, columns)):
                        stale[row * columns + column] = 1
    return moved


def _make():
    import numba
    from numba import carray, float64, int32, int64, uint8, uint16

    inner = numba.njit(error_model="numpy", inline="always")(run)

    def entry(p, n):
        slope = carray(p[1], (n[1],), float64)
        classes = n[17]
        return inner(
            n[14], n[15], n[16], classes, n[18], n[19], n[20], slope[n[1] - 1], carray(p[0], (n[0],), uint8), slope,
            carray(p[2], (n[2],), uint16), carray(p[3], (n[3],), uint8), carray(p[4], (n[4],), uint8),
            carray(p[5], (n[5],), int32), carray(p[6], (n[6],), float64), carray(p[7], (n[7],), float64),
            carray(p[8], (n[8],), int64), carray(p[9], (n[9],), int64), carray(p[10], (n[10],), int64),
            carray(p[11], (n[11],), int64), carray(p[12], (n[12],), int32), carray(p[13], (n[13],), float64),
        )  # fmt: skip

    return entry


_entry = compiled("simplify", (sys.modules[__name__],), _make)


def simplify(labels: np.ndarray, classes: int, scale: int, slope: float, weights: np.ndarray) -> np.ndarray:
    """See `labelmap_simplify.simplify`."""
    height, width = labels.shape
    shape = -(-height // scale), -(-width // scale)
    size = shape[0] * shape[1]
    numbers = (*shape, classes, scale, height, width)
    counts = np.zeros(size * classes if scale > 1 else 0, np.uint16)
    cells, stale, ids = np.empty(size, np.uint8), np.ones(size, np.uint8), np.empty(size, np.int32)
    gains = weights if weights.ndim == 1 else -weights
    always = (np.ascontiguousarray(labels).reshape(-1), np.append(gains, slope), counts, cells, stale, ids)
    empty, score = np.zeros(0, np.int64), np.zeros(classes)

    def call(step, total=empty, touch=empty, area=empty, target=empty, begin=empty, order=empty, near=empty):
        return _entry((*always, total, touch, area, target, begin, order, near, score), step, *numbers)

    call(COUNT)
    for _ in range(ROUNDS):
        before = cells.copy()
        call(SMOOTH)
        regions = call(REGIONS)
        weighed = (
            np.zeros(regions * classes), np.zeros(regions * classes), np.zeros(regions, np.int64),
            np.empty(regions, np.int64), np.empty(regions + 1, np.int64),
        )  # fmt: skip
        kept = call(WEIGH, *weighed)
        area, target = weighed[2:4]
        willing = np.flatnonzero(target >= 0)
        order = willing[np.argsort(area[willing], kind="stable")]
        if len(order):
            call(MERGE, *weighed, order, np.empty(kept, np.int32))
        if np.array_equal(cells, before):
            break
    return cells.reshape(shape)
