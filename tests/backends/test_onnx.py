"""Networks in ONNX Runtime answer like the torch modules they were traced from, at sizes they were not traced at."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chappe
from chappe.backends.runtime import OnnxBackend
from chappe.data.scenes import render_scene
from chappe.errors import InputError, UsageError
from chappe.systems.spic.restore import Restorer
from chappe.systems.sqgan.analysis import TiledEngine

# The last one is cut into 2 x 2 windows of attention of unequal sizes.
SIZES = [(64, 96), (80, 64), (528, 1040)]


@pytest.fixture(params=SIZES, ids=lambda s: f"{s[1]}x{s[0]}")
def inputs(request):
    height, width = request.param
    rng = np.random.default_rng(height)
    labels = np.repeat(np.repeat(rng.integers(0, 12, (height // 8, width // 8), dtype=np.uint8), 8, 0), 8, 1)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), labels


def onnx_engine(codec, folder):
    run = OnnxBackend(folder, threads=1).networks(codec.name, codec.fingerprint)
    return (Restorer if "onepass" in codec.name else TiledEngine)(codec.engine.config, run)


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


def test_the_one_pass_network(onepass, exported, inputs):
    image, labels = inputs
    coarse = np.ascontiguousarray(image[::4, ::4])
    picture = onnx_engine(onepass, exported(onepass)).restore(coarse, labels)
    assert picture.std() > 5 and near(onepass.engine.restore(coarse, labels), picture)


def test_the_symbols_and_pictures_of_sqgan(sqgan, exported, inputs):
    image, labels = inputs
    ours, theirs = sqgan.engine, onnx_engine(sqgan, exported(sqgan))
    for a, b in ((ours.analyse_image(image, labels), theirs.analyse_image(image, labels)),
                 (ours.analyse_map(labels), theirs.analyse_map(labels))):  # fmt: skip
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        assert len(np.unique(a.indices)) > 3
        assert (a.indices != b.indices).mean() < 1e-3  # two codewords may be equally near but for the last bit
        mask, indices = a.best(a.scores.size // 3)
    assert near(ours.restore_image(mask, indices, labels), theirs.restore_image(mask, indices, labels))
    assert (ours.restore_map(mask, indices) != theirs.restore_map(mask, indices)).mean() < 1e-4


def test_files_are_the_same_bytes(onepass, sqgan, exported):
    image = render_scene(5, size=(128, 192)).image
    for codec, point in ((onepass, {"quality": 30}), (sqgan, {"m_x": 0.4}), (sqgan, {"map": "tokens", "m_x": 0.3})):
        other = copy.copy(codec)
        other.engine = onnx_engine(codec, exported(codec))
        blob = codec.encode(image, point=chappe.codec.OperatingPoint("p", point))
        assert other.encode(image, point=chappe.codec.OperatingPoint("p", point)) == blob
        assert near(codec.decode(blob).image, other.decode(blob).image)


def test_the_shipped_codecs_and_the_segmenter(shipped):
    from chappe.segment.builtin import load_segmenter

    backend = OnnxBackend(shipped, threads=1)
    for seed, size in ((21, (256, 512)), (22, (100, 131)), (23, (400, 700))):  # the last is segmented at reduced size
        image = render_scene(seed, size=size).image
        assert (load_segmenter()(image) != backend.segment(image)).mean() < 1e-4
    image = render_scene(24).image
    for name in ("spic-onepass-street", "sqgan-street"):
        ours, theirs = chappe.load(name), chappe.load(name, backend="onnx", folder=shipped)
        assert theirs is not ours and theirs is chappe.load(name, backend="onnx", folder=shipped)
        labels = render_scene(24).labels
        blob = ours.encode(image, labels=labels, bpp=0.04)
        assert theirs.encode(image, labels=labels, bpp=0.04) == blob
        assert near(ours.decode(blob).image, chappe.decode(blob, backend="onnx", folder=shipped).image)


def test_what_cannot_be_loaded(shipped, tmp_path, monkeypatch):
    import toys

    toys.install(monkeypatch)
    with pytest.raises(UsageError, match="There is no backend 'tpu'"):
        chappe.load("sqgan-street", backend="tpu")
    with pytest.raises(UsageError, match="of no use to torch"):
        chappe.load("sqgan-street", folder=shipped)
    with pytest.raises(UsageError, match="runs no networks"):
        chappe.load("toy-mean", backend="onnx", folder=shipped)
    with pytest.raises(InputError, match="run 'chappe export --codec sqgan-street"):
        chappe.load("sqgan-street", backend="onnx", folder=tmp_path)
    with pytest.raises(InputError, match="no int8 networks"):
        chappe.load("sqgan-street", backend="onnx-int8", folder=shipped)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(UsageError, match="OMP_NUM_THREADS"):
        chappe.load("sqgan-street", backend="onnx", folder=shipped)
