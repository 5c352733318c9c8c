"""Frechet and kernel distances against scipy, torchmetrics, closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe.errors import InputError
from chappe.metrics import FeatureSet, SqueezeLPIPS, fid, frechet_distance, kernel_distance, squeeze_features


def features(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / d**0.5 + shift


@pytest.mark.parametrize(("n", "m", "d"), [(40, 50, 8), (9, 12, 30), (60, 5, 20)])
def test_frechet_matches_a_matrix_square_root(n, m, d):
    linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed (chappe[dev])")
    a, b = features(1, n, d), features(2, m, d, 0.3)
    ca, cb = np.cov(a.T), np.cov(b.T)
    # A hair of ridge: where N < D the product is singular and sqrtm loses digits; ours does not need it.
    root = linalg.sqrtm((ca + 1e-10 * np.eye(d)) @ (cb + 1e-10 * np.eye(d))).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3 if min(n, m) < d else 1e-7)


def test_frechet_matches_torchmetrics():
    fid_module = pytest.importorskip("torchmetrics.image.fid", reason="torchmetrics is not installed (chappe[dev])")
    a, b = features(3, 200, 16), features(4, 150, 16, 0.5)
    moments = [torch.from_numpy(v) for x in (a, b) for v in (x.mean(0), np.cov(x.T))]
    assert frechet_distance(a, b) == pytest.approx(float(fid_module._compute_fid(*moments)), rel=1e-6)


def test_frechet_closed_forms():
    a = features(5, 30, 6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(6 * 4)  # the same cloud elsewhere: squared distance alone
    one = np.random.default_rng(6).normal(size=(50, 1))  # one dimension: (difference of the standard deviations)^2
    wide = 3 * one + 1
    expected = (one.mean() - wide.mean()) ** 2 + (2 * one.std(ddof=1)) ** 2
    assert frechet_distance(one, wide) == pytest.approx(expected)
    assert frechet_distance(a, wide[:, [0] * 6]) == pytest.approx(frechet_distance(wide[:, [0] * 6], a))


def test_kernel_distance_is_the_u_statistic():
    kid = pytest.importorskip("torchmetrics.image.kid", reason="torchmetrics is not installed (chappe[dev])")
    a, b = features(7, 12, 5), features(8, 12, 5, 0.4)

    def k(x, y):
        return (x @ y / 5 + 1) ** 3

    within = [np.mean([k(s[i], s[j]) for i in range(12) for j in range(12) if i != j]) for s in (a, b)]
    plain = sum(within) - 2 * np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(plain)
    assert kernel_distance(a, b) == pytest.approx(float(kid.poly_mmd(torch.from_numpy(a), torch.from_numpy(b))))
    # Unbiased: around 0 for two draws from one source, of any two sizes.
    draws = [kernel_distance(*np.split(np.random.default_rng(s).normal(size=(25, 4)), [10])) for s in range(300)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 300**0.5


def test_squeeze_features_are_the_last_layer_averaged():
    torch.manual_seed(0)
    network = SqueezeLPIPS()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((40, 56, 3), (33, 33, 3))]
    found = squeeze_features(images, network)
    assert found.shape == (2, 512) and found.dtype == np.float32
    seen = []
    network.layers["12"].register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        for image in images:  # the road LPIPS itself takes to that layer
            network.features(torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 127.5 - 1)
    np.testing.assert_allclose(found, torch.cat([s.mean((2, 3)) for s in seen]).numpy(), rtol=1e-5, atol=1e-7)
    assert squeeze_features([], network).shape == (0, 512)
    for bad in (images[0].astype(float), images[0][:16], images[0][..., 0]):
        with pytest.raises(InputError, match="uint8 pictures from 17 pixels"):
            squeeze_features([bad], network)


def test_gathered_features_and_a_callers_inception():
    def mean_colour(images):
        return np.array([image.mean((0, 1)) for image in images])

    rng = np.random.default_rng(1)
    images = list(rng.integers(0, 256, (7, 4, 4, 3), dtype=np.uint8))
    gathered = FeatureSet(mean_colour)
    with pytest.raises(InputError, match="no picture was added"):
        _ = gathered.array
    gathered.add(images[:3]), gathered.add(iter(images[3:]))
    np.testing.assert_array_equal(gathered.array, mean_colour(images))

    def inception(images):
        return np.tile(mean_colour(images), (1, 683))[:, :2048]

    assert fid(images, images, inception) == pytest.approx(0, abs=1e-4)
    assert fid(images[:4], images[4:], inception) == frechet_distance(inception(images[:4]), inception(images[4:]))
    with pytest.raises(InputError, match="another name"):
        fid(images, images, mean_colour)


def test_misuse_is_one_sentence():
    a = features(9, 5, 3)
    for bad in (a[:1], a[:, :2], a[0]):
        with pytest.raises(InputError, match="two sets of features"):
            frechet_distance(a, bad)
    with pytest.raises(InputError, match="NaN"):
        kernel_distance(a, np.full((4, 3), np.nan))
