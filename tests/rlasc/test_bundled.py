"""The bundled model: rates met, allocations that differ, streets that come back."""

from __future__ import annotations

import numpy as np
import pytest

from chappe import load
from chappe.cli import main
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.image import write_image
from chappe.metrics.pixel import psnr


@pytest.fixture(scope="module")
def codec():
    return load("rlasc-street")


@pytest.fixture(scope="module")
def scene():
    return render_scene(7, size=(128, 256))


@pytest.mark.parametrize("allocator", ["agent", "greedy", "uniform"])
def test_rates_are_met_by_every_allocator(codec, scene, allocator):
    for bpp in (0.08, 0.2):
        point = OperatingPoint("p", {"bpp": bpp, "allocator": allocator})
        blob = codec.encode(scene.image, labels=scene.labels, point=point)
        assert 8 * len(blob) / scene.labels.size == pytest.approx(bpp, rel=0.05)


def test_more_bits_give_a_nearer_picture_and_beat_a_plain_one(codec, scene):
    found = []
    for level in (0, 1, 5):
        point = OperatingPoint("p", {"map": "lossless", "level": level})
        decoded = codec.decode(codec.encode(scene.image, labels=scene.labels, point=point))
        np.testing.assert_array_equal(decoded.labels, scene.labels)
        found.append(psnr(scene.image, decoded.image))
    plain = np.broadcast_to(np.rint(scene.image.mean((0, 1))).astype(np.uint8), scene.image.shape)
    assert found == sorted(found) and found[-1] > found[0] + 1
    assert found[-1] > psnr(scene.image, plain)


def test_a_profile_moves_the_bits(codec, scene):
    def bits(**profile):
        point = OperatingPoint("p", {"lambda": 0.3, "map": "lossless", **profile})
        return codec.allocation(codec.encode(scene.image, labels=scene.labels, point=point))

    usual, cars = bits(), bits(relevance="Car=1,Road=0,Sky=0")
    assert cars["Road"][1] == 0 and usual["Road"][1] > 0 and cars["Car"][0] >= usual["Car"][0]


def test_the_command_takes_a_rate_and_a_task(codec, scene, tmp_path):
    write_image(tmp_path / "in.png", scene.image)
    options = ["--codec", "rlasc", "--bpp", "0.2", "--set", "task=detection", "--quiet"]
    assert main(["encode", str(tmp_path / "in.png"), str(tmp_path / "out.chp"), *options]) == 0
    point = OperatingPoint("p", {"bpp": 0.2, "task": "detection"})
    assert (tmp_path / "out.chp").read_bytes() == codec.encode(scene.image, point=point)


def test_bits_go_where_the_task_looks(codec):
    street = render_scene(3, size=(256, 512))

    def share(task):
        point = OperatingPoint("p", {"bpp": 0.08, "task": task})
        sizes = codec.allocation(codec.encode(street.image, labels=street.labels, point=point))
        objects = sum(sizes[name][1] for name in ("Car", "Bicyclist", "Pedestrian", "SignSymbol"))
        return objects / sum(size for _, size in sizes.values())

    assert share("detection") > 1.5 * share("soft") > 0
