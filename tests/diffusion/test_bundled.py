"""The bundled network: one file for every thread count, and pictures that are streets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe import decode, load
from chappe.data.scenes import render_scene
from chappe.metrics.pixel import psnr


@pytest.fixture(scope="module")
def scene():
    return render_scene(7, size=(128, 256))


def test_spic_meets_its_rate_and_draws_the_same_on_any_thread_count(scene):
    codec = load("spic")
    blob = codec.encode(scene.image, labels=scene.labels, bpp=0.08)
    assert 8 * len(blob) / scene.labels.size == pytest.approx(0.08, rel=0.05)
    pictures = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            pictures.append(decode(blob).image.astype(int))
    finally:
        torch.set_num_threads(threads)
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
    one = load("spic-onepass-street").decode(
        load("spic-onepass-street").encode(scene.image, labels=scene.labels, bpp=0.08)
    )
    assert psnr(scene.image, pictures[0].astype(np.uint8)) > psnr(scene.image, one.image) - 1


def test_gesco_draws_from_the_map_alone(scene):
    codec = load("gesco")
    decoded = decode(codec.encode(scene.image, labels=scene.labels, point="max"))
    np.testing.assert_array_equal(decoded.labels, scene.labels)
    assert decoded.image.std() > 20  # a picture, and not one colour
    sky, road = (decoded.image[scene.labels == k].mean() for k in (0, 3))
    assert sky > road
