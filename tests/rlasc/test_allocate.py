"""The non-learned allocators against all allocations there are."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.systems.rlasc.allocate import best_that_fits, between, hull, lagrangian, slope_path, uniform_levels


def _tables(seed: int, concepts: int = 3, levels: int = 4):
    rng = np.random.default_rng(seed)
    rates = np.concatenate([np.zeros((concepts, 1)), rng.uniform(0.1, 1, (concepts, levels - 1)).cumsum(1)], 1)
    return rates, rng.uniform(0, 1, (concepts, levels))


def _all(rates, losses):
    for levels in product(range(rates.shape[1]), repeat=len(rates)):
        rows = np.arange(len(rates)), np.array(levels)
        yield np.array(levels), rates[rows].sum(), losses[rows].sum()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_lagrangian_choice_is_the_best_of_all(seed, lam):
    rates, losses = _tables(seed)
    best = min(lam * r + d for _, r, d in _all(rates, losses))
    rows = np.arange(3), lagrangian(rates, losses, lam)
    assert np.isclose(lam * rates[rows].sum() + losses[rows].sum(), best)
    levels = uniform_levels(rates, losses, lam)
    same = min(lam * rates[:, q].sum() + losses[:, q].sum() for q in range(4))
    assert np.isclose(lam * rates[:, levels[0]].sum() + losses[:, levels[0]].sum(), same) and len(set(levels)) == 1


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_every_step_of_the_slope_path_is_the_best_of_its_rate(seed):
    rates, losses = _tables(seed)
    everything = list(_all(rates, losses))
    path = slope_path(rates, losses)
    spent = []
    for levels in path:
        rows = np.arange(3), levels
        spent.append(rates[rows].sum())
        rivals = [d for _, r, d in everything if r <= spent[-1] + 1e-12]
        assert losses[rows].sum() <= min(rivals) + 1e-9
    assert spent == sorted(spent) and (path[0] == 0).all()
    assert np.isclose(losses[np.arange(3), path[-1]].sum(), losses.min(1).sum())


def test_a_hull_skips_what_a_straight_line_beats():
    rates, losses = np.array([0.0, 1, 2, 3, 4]), np.array([4.0, 3.5, 1.0, 1.2, 0.9])
    assert hull(rates, losses) == [0, 2, 4]


def test_a_price_for_each_concept():
    rates, losses = np.array([[0.0, 1.0]] * 2), np.array([[1.0, 0.0]] * 2)
    assert lagrangian(rates, losses, np.array([0.5, 2.0])).tolist() == [1, 0]


def test_steps_between_two_allocations_change_one_concept_each():
    path = between(np.array([0, 3, 2, 1]), np.array([2, 1, 2, 4]), np.array([0.1, 5.0, 9.0, 2.0]))
    assert [p.tolist() for p in path] == [[0, 3, 2, 1], [0, 1, 2, 1], [0, 1, 2, 4], [2, 1, 2, 4]]


def test_the_largest_that_fits_and_the_next():
    path = [np.full(2, q) for q in range(5)]
    size = lambda levels: 10.0 * levels.sum()  # noqa: E731
    below, above = best_that_fits(path, size, 45)
    assert (below[0], above[0]) == (2, 3)
    assert best_that_fits(path, size, -1)[0] is None and best_that_fits(path, size, 99)[1] is None
