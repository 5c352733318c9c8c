"""Maps enlarged by nearest-neighbour sampling: find the size they came from, and enlarge again.

Two rules are in use everywhere: output i reads source floor((2 i + 1) source / (2 size)) (pixel centres: Pillow,
torchvision) or floor(i source / size) (corners: OpenCV, torch "nearest").
"""

from __future__ import annotations

import numpy as np

__all__ = ["find_source", "source_index"]

CENTRE, CORNER = 1, 2


def source_index(size: int, source: int, rule: int) -> np.ndarray:
    """For each of `size` outputs the source sample it reads, (size,) int64. rule: 1 centres, 2 corners."""
    i = np.arange(size, dtype=np.int64)
    return (2 * i + 1) * source // (2 * size) if rule == CENTRE else i * source // size


def _smallest(repeats: np.ndarray, rule: int) -> int:
    """The smallest source size whose every sample read twice in a row is a line that repeats. repeats: (size,) bool."""
    size = len(repeats)
    # A source of n samples needs size - n repeats: no smaller one than this is worth a look.
    for source in range(max(1, size - int(repeats.sum())), size):
        index = source_index(size, source, rule)
        if repeats[1:][index[1:] == index[:-1]].all():
            return source
    return size


def find_source(labels: np.ndarray) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
    """(rule, (rows, columns)): rule 0 if the map is no enlargement, else 1 or 2 and the lines that make the source."""
    height, width = labels.shape
    rows, columns = np.zeros(height, bool), np.zeros(width, bool)
    rows[1:] = (labels[1:] == labels[:-1]).all(axis=1)
    columns[1:] = (labels[:, 1:] == labels[:, :-1]).all(axis=0)
    best = 0, height * width, (height, width)
    for rule in (CENTRE, CORNER):
        small = _smallest(rows, rule), _smallest(columns, rule)
        # A few lines saved are an accident of the picture and not worth two sizes of one or two bytes.
        if small[0] * small[1] < min(best[1], height * width * 63 // 64):
            best = rule, small[0] * small[1], small
    rule, _, small = best
    if rule == 0:
        return 0, (np.arange(height), np.arange(width))
    return rule, tuple(_first_reader(size, source, rule) for size, source in zip(labels.shape, small, strict=True))


def _first_reader(size: int, source: int, rule: int) -> np.ndarray:
    """For each source sample the first output that reads it, (source,)."""
    return np.searchsorted(source_index(size, source, rule), np.arange(source))
