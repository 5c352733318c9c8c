"""GESCO's tables: scores against hand counts, every cell there, bits that are real files."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from chappe.bench import gesco as tables
from chappe.bench import reproduce_gesco
from chappe.bench.published import load_item
from chappe.data.scenes import render_scene
from chappe.tasks import ComponentDetector, Depth
from chappe.taxonomy import get_taxonomy

RAMP = np.stack([np.arange(12) * 20] * 3, 1).astype(np.uint8)


def eye(picture: np.ndarray) -> np.ndarray:
    """Reads the colours of RAMP."""
    return np.minimum(np.rint(picture.mean(2) / 20), 11).astype(np.uint8)


EYES = tables.Eyes(eye)


def scene_of(labels: np.ndarray) -> tables.Scene:
    return tables.Scene(RAMP[labels], labels)


@pytest.fixture
def quick(gesco):
    """The tiny codec, drawing in one step."""
    other = copy.copy(gesco)
    other.settings = gesco.settings | {
        "sampling": {"sampler": "consistency", "steps": 1, "begin": 1000, "guidance": 1.0}
    }
    return other


def test_scores_are_those_of_a_hand_count():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 11]], np.uint8)
    seen = np.array([[0, 1, 1, 1], [0, 0, 1, 0]], np.uint8)
    row = tables.score([scene_of(labels)], [RAMP[seen]], EYES, 11)
    assert row == {"miou": pytest.approx((3 / 4 + 3 / 4) / 2), "pictures": 1}


def test_perceptual_figures_are_those_of_the_metrics():
    from chappe.metrics.distribution import frechet_distance, squeeze_features
    from chappe.metrics.lpips import SqueezeLPIPS, lpips

    torch.manual_seed(0)
    network = SqueezeLPIPS().eval()
    scenes = [tables.Scene(render_scene(k, size=(64, 64)).image, np.zeros((64, 64), np.uint8)) for k in range(3)]
    drawn = [np.roll(scene.image, 4, 1) for scene in scenes]
    row = tables.score(scenes, drawn, tables.Eyes(eye, network), 11)
    assert row["lpips"] == pytest.approx(
        np.mean([lpips(s.image, d, network) for s, d in zip(scenes, drawn, strict=True)])
    )
    features = [squeeze_features(images, network) for images in (drawn, [s.image for s in scenes])]
    assert row["feature"] == pytest.approx(frechet_distance(*features)) and row["feature"] > 0


class Reader:
    """`eye` as a segmenter."""

    taxonomy = "street11"
    __call__ = staticmethod(eye)


def test_objects_and_depths_are_held_against_the_map_and_the_original():
    car, labels = get_taxonomy("street11").classes.index("Car"), np.zeros((64, 96), np.uint8)
    labels[10:40, 10:40] = labels[20:50, 60:90] = car
    scenes = [scene_of(labels), scene_of(np.zeros_like(labels))]
    half = labels.copy()
    half[20:50, 60:90] = 0  # one car is lost
    depth = Depth(lambda picture: 1.0 + picture[..., 0])
    eyes = tables.Eyes(eye, None, ComponentDetector(Reader()), depth)

    def row(*maps):
        return tables.score(scenes, [RAMP[m] for m in maps], eyes, 11)

    sound = row(labels, scenes[1].labels)
    assert (sound["objects"], sound["depth"]) == (1, 1)
    one = row(half, scenes[1].labels)
    assert one["objects"] == pytest.approx(51 / 101)  # precision 1 up to a recall of a half, COCO's 101 points
    assert one["depth"] == pytest.approx((1 + np.mean(half == labels)) / 2)
    first = tables.score(scenes[::-1], [RAMP[labels]] * 2, eyes, 11)
    assert first["objects"] == pytest.approx(0.5)  # of two invented cars that are as sure as the two true ones
    other = tables.Eyes(eye, None, lambda picture: ComponentDetector(Reader())(picture))
    assert len(other.objects(scenes[0]).boxes) == 2 and len(other.objects(scenes[1]).boxes) == 0


def test_mean_colours_are_means():
    labels = np.array([[0, 0], [3, 11]], np.uint8)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 2
    draw = tables.mean_colours([tables.Scene(image, labels)], 11)
    np.testing.assert_array_equal(draw(labels)[0, 0], [3, 5, 7])
    np.testing.assert_array_equal(draw(labels)[1], image[1])


def test_every_sender_is_there_and_the_channel_shows(quick):
    labels = np.kron(np.random.default_rng(0).integers(0, 9, (8, 8)), np.ones((8, 8))).astype(np.uint8)
    scenes = [scene_of(labels)]
    rows = {
        psnr: {
            name: tables.run(scenes, send, EYES, 11)
            for name, send in tables.links(quick, psnr, {"ramp": lambda heard: RAMP[heard]}).items()
        }
        for psnr in (100, 1)
    }
    assert set(rows[1]) == {"GESCO", "GESCO, digital map", "ramp", "Full image"}
    assert rows[100]["Full image"]["miou"] == 1 and rows[1]["Full image"]["miou"] < 0.5
    assert rows[100]["ramp"]["miou"] > 0.7  # fast denoising moves borders
    planes, digital = (rows[1][name]["cbr"] for name in ("GESCO", "GESCO, digital map"))
    assert planes > 1 > 5 * digital and rows[1]["GESCO, digital map"]["lost"] == 0


def test_each_table_has_the_papers_lines_and_ours(quick, monkeypatch):
    labels = np.kron(np.random.default_rng(1).integers(0, 9, (4, 4)), np.ones((16, 16))).astype(np.uint8)
    bench = reproduce_gesco.GescoBench.__new__(reproduce_gesco.GescoBench)
    bench.scenes, bench.codec, bench.clean, bench.eyes = [scene_of(labels)], quick, None, EYES
    bench._rows, bench._drawn, bench._rivals = {}, {}, {"one pass from labels": lambda heard: RAMP[heard]}
    lines = {line.what: line for line in reproduce_gesco.NAMES["gesco-table1"](load_item("gesco-table1"), bench)}
    assert lines["GESCO at 1 dB"].paper == pytest.approx(92.5) and lines["Full image at 100 dB"].paper is None
    assert lines["Full image at 100 dB"].ours == 100 and lines["one pass from labels at 10 dB"].paper == pytest.approx(
        67.2
    )
    monkeypatch.setattr(tables, "run", lambda *args, run=tables.run: {"lpips": 0.0, **run(*args)})  # no such network
    ablation = {line.what: line for line in reproduce_gesco.NAMES["gesco-table5"](load_item("gesco-table5"), bench)}
    assert ablation["with fast denoising, trained on noisy maps: LPIPS"].paper == 0.549
    assert ablation["without fast denoising, trained on clean maps: mIoU"].note == reproduce_gesco.NO_CLEAN
    bench._rows.clear()
    bench.eyes = tables.Eyes(eye, None, ComponentDetector(Reader()), Depth(lambda picture: 1.0 + picture[..., 0]))
    kept = {line.what: line.ours for line in reproduce_gesco.NAMES["gesco-fig3"](load_item("gesco-fig3"), bench)}
    assert kept["originals: mAP of objects"] == kept["Full image at 100 dB: mAP of objects"] == 100
    assert kept["Full image at 1 dB: mAP of objects"] < 50
    assert kept["Full image at 100 dB: depths within a factor of 1.25"] == 100
    bits = {line.what: line.ours for line in reproduce_gesco.NAMES["gesco-bits"](load_item("gesco-bits"), bench)}
    assert 0 < bits["the map through our exact coder"] < bits["the picture as PNG"]


def test_bits_are_those_of_files(scene):
    from chappe.bitstream import labelmap

    bits = tables.bits_sent(tables.Scene(scene.image, scene.labels), 11, "street11")
    coded = labelmap.encode_map(scene.labels, 12, prior="street11")
    np.testing.assert_array_equal(labelmap.decode_map(coded, scene.labels.shape, 12, prior="street11"), scene.labels)
    assert bits["map"] == 8 * len(coded)
    assert bits["map"] < bits["planes_png"] < bits["picture_png"]
