"""The ladder search against looking at every rung."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chappe.classical.ladder import CLOSE, SLACK, nearest_rung, typical_sizes


@given(
    steps=st.lists(st.floats(0.01, 0.6), min_size=1, max_size=120),
    typical_step=st.floats(0.02, 0.5),
    first=st.integers(20, 5000),
    target=st.floats(5, 1e6),
)
def test_finds_what_looking_at_every_rung_finds(steps, typical_step, first, target):
    sizes = [max(1, int(first * np.exp(total))) for total in np.cumsum(steps)]
    typical = [np.exp(typical_step * i) for i in range(len(sizes))]
    index = nearest_rung(lambda i: sizes[i], typical, target)
    allowed = [size for size in sizes if size <= SLACK * target]
    if not allowed:
        assert index is None
        return
    best = min(abs(log(size / target)) for size in allowed)
    assert sizes[index] <= SLACK * target
    assert abs(log(sizes[index] / target)) <= max(best, log(CLOSE)) + 1e-12


def test_a_good_guess_takes_few_encodes():
    sizes = [int(500 * 1.1**i) for i in range(80)]
    for target in (700, 5_000, 90_000):
        seen = []
        nearest_rung(lambda i, seen=seen: seen.append(i) or sizes[i], [1.1**i for i in range(80)], target)
        assert len(set(seen)) <= 4


def test_ends_of_the_ladder():
    sizes = [100, 200, 400]
    assert nearest_rung(sizes.__getitem__, sizes, 1e9) == 2
    assert nearest_rung(sizes.__getitem__, sizes, 91) == 0  # 9.9 % above
    assert nearest_rung(sizes.__getitem__, sizes, 90) is None  # 11 % above
    # 320 is nearer to 400 in log size, but 400 is 25 % above it.
    assert nearest_rung(sizes.__getitem__, sizes, 320) == 1


@pytest.mark.parametrize("down", [False, True])
def test_typical_sizes_are_log_linear(down):
    curve = [(1, 0.1), (4, 0.8), (10, 3.0)]
    ladder = list(range(1, 11))
    expected = np.exp(np.interp(ladder, [1, 4, 10], np.log([0.1, 0.8, 3.0])))
    if down:
        curve, ladder, expected = [(-q, r) for q, r in curve], [-q for q in ladder], expected
    np.testing.assert_allclose(typical_sizes(ladder, curve), expected, rtol=1e-12)
