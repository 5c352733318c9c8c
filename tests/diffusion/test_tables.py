"""GESCO's tables: scores against hand counts, every cell there, bits that are real files."""

from __future__ import annotations

import numpy as np
import pytest

from chappe.bench import gesco as tables
from chappe.systems.diffusion.config import Sampling

RAMP = np.stack([np.arange(12) * 20] * 3, 1).astype(np.uint8)


def eye(picture: np.ndarray) -> np.ndarray:
    """Reads the colours of RAMP."""
    return np.minimum(np.rint(picture.mean(2) / 20), 11).astype(np.uint8)


def scene_of(labels: np.ndarray) -> tables.Scene:
    return tables.Scene(RAMP[labels], labels)


@pytest.fixture
def engine(gesco):
    pytest.importorskip("diffusers")
    return gesco.engine


def test_scores_are_those_of_a_hand_count():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 11]], np.uint8)
    seen = np.array([[0, 1, 1, 1], [0, 0, 1, 0]], np.uint8)
    row = tables.score([scene_of(labels)], [RAMP[seen]], eye, lambda a, b: float(np.abs(a - 0.0 - b).mean()), 11)
    assert row["miou"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert row["lpips"] == pytest.approx((20 + 220) / 8)


def test_mean_colours_are_means():
    labels = np.array([[0, 0], [3, 11]], np.uint8)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 2
    draw = tables.mean_colours([tables.Scene(image, labels)], 11)
    np.testing.assert_array_equal(draw(labels)[0, 0], [3, 5, 7])
    np.testing.assert_array_equal(draw(labels)[1], image[1])


def test_tables_have_every_cell_and_the_channel_shows(engine):
    labels = np.random.default_rng(0).integers(0, 9, (64, 64)).astype(np.uint8)
    scenes, shared = [scene_of(labels)], {"power": "none", "sampling": Sampling(steps=1, guidance=1)}
    rivals = {"ramp": lambda heard: RAMP[heard]}
    rows = tables.by_channel(scenes, engine, eye, rivals=rivals, psnrs=(100, 10), **shared)
    cells = {(m, p) for m in ("gesco", "ramp", "full image") for p in (100, 10)}
    assert {(r["method"], r["psnr"]) for r in rows} == cells
    full = {r["psnr"]: r["miou"] for r in rows if r["method"] == "full image"}
    assert full[100] == 1 and full[10] < 0.9
    cells = tables.ablation(scenes, engine, engine, eye, psnr=10, **shared)
    assert [(c["fds"], c["training"]) for c in cells] == [
        (False, "clean"), (False, "noisy"), (True, "clean"), (True, "noisy"),
    ]  # fmt: skip


def test_bits_are_those_of_files(scene):
    from chappe.bitstream import labelmap

    bits = tables.bits_sent(tables.Scene(scene.image, scene.labels), 11, "street11")
    coded = labelmap.encode_map(scene.labels, 12, prior="street11")
    np.testing.assert_array_equal(labelmap.decode_map(coded, scene.labels.shape, 12, prior="street11"), scene.labels)
    assert bits["map"] == 8 * len(coded)
    assert bits["map"] < bits["planes_png"] < bits["picture_png"]
