"""SSIM and MS-SSIM against scikit-image and torchmetrics, and their limits."""

from __future__ import annotations

import doctest
import time

import numpy as np
import pytest

from chappe.data.scenes import render_scene
from chappe.errors import InputError, UsageError
from chappe.metrics import ms_ssim, scales_for
from chappe.metrics.ssim import WEIGHTS, ssim


def spoilt(seed: int, size: tuple[int, int] = (176, 190), noise: float = 18) -> tuple[np.ndarray, np.ndarray]:
    image = render_scene(seed, size=size).image
    rng = np.random.default_rng(seed)
    return image, np.clip(image + rng.normal(0, noise, image.shape) + 6, 0, 255).astype(np.uint8)


PAIRS = [
    spoilt(1),
    spoilt(2, (181, 203), 60),
    tuple(np.random.default_rng(0).integers(0, 256, (2, 176, 180, 3), np.uint8)),
]


@pytest.mark.parametrize("pair", PAIRS, ids=["scene", "odd sides", "unrelated noise"])
def test_ssim_matches_scikit_image(pair):
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed (chappe[dev])")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = skimage.structural_similarity(*pair, channel_axis=2, **options)
    assert ssim(*pair) == pytest.approx(expected, abs=1e-10)
    grey = [image[..., 1] for image in pair]
    assert ssim(*grey) == pytest.approx(skimage.structural_similarity(*grey, **options), abs=1e-10)


def of_torchmetrics(pair, scales: int, weights) -> float:
    """The product of torchmetrics' own means of two (H, W) pictures, pooled by torch.

    Its `multiscale_...` itself counts windows over the mirrored border at the last scale (not at the others), where the
    definition, Wang's code and ours take whole windows only: the border is cut here.
    """
    image = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed (chappe[dev])")
    import torch

    options = {"sigma": 1.5, "data_range": 255.0, "reduction": "none"}
    x, y = (torch.from_numpy(v.copy())[None, None].double() for v in pair)
    product = 1.0
    for scale, weight in enumerate(weights):
        _, cs = image.structural_similarity_index_measure(x, y, return_contrast_sensitivity=True, **options)
        _, full = image.structural_similarity_index_measure(x, y, return_full_image=True, **options)
        value = full[..., 5:-5, 5:-5].mean() if scale == scales - 1 else cs
        product *= max(float(value), 0) ** weight
        x, y = (torch.nn.functional.avg_pool2d(v, 2) for v in (x, y))
    return product


@pytest.mark.parametrize("pair", PAIRS, ids=["scene", "odd sides", "unrelated noise"])
@pytest.mark.parametrize("scales", [5, 2])
def test_ms_ssim_matches_torchmetrics(pair, scales):
    weights = np.asarray(WEIGHTS[:scales]) / (sum(WEIGHTS[:scales]) if scales < 5 else 1)
    grey = [image[..., 1] for image in pair]
    assert ms_ssim(*grey, scales=scales) == pytest.approx(of_torchmetrics(grey, scales, weights), abs=1e-6)
    planes = [ms_ssim(pair[0][..., c], pair[1][..., c], scales=scales) for c in range(3)]
    assert ms_ssim(*pair, scales=scales) == pytest.approx(np.mean(planes), rel=1e-12)


def test_known_values():
    image, other = spoilt(3)
    assert ssim(image, image) == ms_ssim(image, image) == 1.0
    assert ssim(image, other) == pytest.approx(ssim(other, image), rel=1e-12) and ssim(image, other) < 0.9
    # Flat pictures have no structure to lose: luminance alone is left.
    dark, light = np.full((2, 180, 180, 3), [[[[40]]], [[[200]]]], np.uint8)
    c1 = 2.55**2
    assert ssim(dark, light) == pytest.approx((2 * 40 * 200 + c1) / (40**2 + 200**2 + c1), rel=1e-9)
    assert ms_ssim(dark, light) == pytest.approx(ssim(dark, light) ** WEIGHTS[-1], rel=1e-9)
    # A negative has negative structure: SSIM says so, MS-SSIM takes it as 0.
    assert ssim(image, 255 - image) < 0 and ms_ssim(other, 255 - other) == 0


def test_the_street_frame_has_five_scales_and_small_pictures_say_how_many_fit():
    assert [scales_for(256, 512), scales_for(512, 176), scales_for(175, 999), scales_for(11, 11)] == [5, 5, 4, 1]
    for side in (176, 175, 88, 22, 11):
        a, b = np.random.default_rng(side).integers(0, 256, (2, side, side + 1, 3), dtype=np.uint8)
        fits = scales_for(side, side + 1)
        assert 0 <= ms_ssim(a, b, scales=fits) <= 1
        if fits < 5:
            with pytest.raises(InputError, match=f"needs sides of at least {11 << fits} pixels, found {side}x"):
                ms_ssim(a, b, scales=fits + 1)
    with pytest.raises(InputError, match="needs sides of at least 11 pixels"):
        ssim(a[:10], b[:10])


def test_misuse_is_one_sentence():
    a = np.zeros((200, 200, 3), np.uint8)
    for bad, what in ((a.astype(np.float32), "float32"), (a[..., :1], r"\(200, 200, 1\)"), ("a", "str")):
        with pytest.raises(InputError, match=what):
            ssim(a, bad)
    with pytest.raises(InputError, match="two pictures of one size"):
        ms_ssim(a, a[:190])
    for scales in (0, 6):
        with pytest.raises(UsageError, match="1 to 5 scales"):
            ms_ssim(a, a, scales=scales)


def test_a_street_frame_takes_a_few_milliseconds():
    pair = spoilt(4, (256, 512))
    times = []
    for _ in range(12):
        started = time.process_time()
        ms_ssim(*pair)
        times.append(time.process_time() - started)
    assert min(times) < 0.04  # processor time: others share the core


def test_doctests():
    from importlib import import_module

    result = doctest.testmod(import_module("chappe.metrics.ssim"))
    assert result.failed == 0 < result.attempted
