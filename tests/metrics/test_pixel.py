"""PSNR against scikit-image, a closed form and a brute force."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from chappe.errors import InputError
from chappe.metrics import mse, psnr
from chappe.metrics import pixel as module


def test_matches_scikit_image():
    oracle = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed (chappe[dev])")
    rng = np.random.default_rng(0)
    for shape in [(7, 5), (16, 9, 3), (2, 8, 8, 3)]:
        a = rng.integers(0, 256, shape, dtype=np.uint8)
        b = np.clip(a + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)
        assert psnr(a, b) == pytest.approx(oracle.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-10)


def test_matches_brute_force_over_python_integers():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 6, 4, 3), dtype=np.uint8)
    total = sum((int(p) - int(q)) ** 2 for p, q in zip(a.ravel(), b.ravel(), strict=True))
    assert mse(a, b) == total / a.size


def test_black_against_white_is_zero_db_and_equal_is_infinite():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert mse(black, white) == 65025
    assert psnr(black, white) == psnr(white, black) == 0
    assert math.isinf(psnr(white, white))


def test_no_overflow_of_unsigned_bytes():
    assert mse(np.array([0], np.uint8), np.array([255], np.uint8)) == 255**2


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.int16)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8)),
        ([[0]], np.zeros((1, 1), np.uint8)),
    ],
)
def test_unfit_input_is_refused(a, b):
    with pytest.raises(InputError):
        psnr(a, b)


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
