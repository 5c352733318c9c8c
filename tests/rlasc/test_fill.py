"""Room that an allocation leaves is used."""

from __future__ import annotations

from itertools import product

import numpy as np

from chappe.systems.rlasc.sender import raise_levels


class Sizes:
    """Concepts with sizes (T, Q) in bytes, as `picture.Concepts` gives them."""

    def __init__(self, sizes):
        self.sizes, self.numbers = np.array(sizes), np.arange(len(sizes))

    def size(self, number, level):
        return int(self.sizes[number, level])

    def total(self, levels):
        return sum(self.size(n, q) for n, q in zip(self.numbers, levels, strict=True))


def test_nothing_that_fits_is_left_and_what_is_worthless_stays():
    rng = np.random.default_rng(0)
    for _ in range(30):
        sizes = np.cumsum(rng.integers(1, 40, (4, 6)), 1) * np.arange(6).clip(0, 1)
        losses = -np.sort(-rng.random((4, 6)), 1)
        losses[3] = 0
        concepts, room = Sizes(sizes), int(rng.integers(0, 300))
        start = np.zeros(4, int)
        found = raise_levels(concepts, losses, start, room)
        assert concepts.total(found) <= room and found[3] == 0 and not start.any()
        for row in range(3):
            more = found.copy()
            more[row] += 1
            assert found[row] == 5 or concepts.total(more) > room


def test_it_is_the_optimum_where_levels_cost_alike_and_gain_less_and_less():
    rng = np.random.default_rng(1)
    for room in (3, 7, 12):
        losses = 1 - np.cumsum(-np.sort(-rng.random((3, 6)), 1), 1) / 6
        concepts = Sizes(np.tile(np.arange(6), (3, 1)))
        found = raise_levels(concepts, losses, np.zeros(3, int), room)
        fits = [q for q in product(range(6), repeat=3) if sum(q) <= room]
        best = min(losses[range(3), list(q)].sum() for q in fits)
        assert np.isclose(losses[range(3), found].sum(), best)
