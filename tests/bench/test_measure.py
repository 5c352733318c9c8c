"""Rows of one picture: every number recomputed by hand, and what happens where nothing can be measured."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
import pytest

from chappe.bench.codecs import open_codec
from chappe.bench.measure import Instruments, look, measure_frame, measure_original, open_instruments, warm_up
from chappe.bench.protocol import Frame
from chappe.data.scenes import render_scene
from chappe.errors import InputError
from shrink import FILE as SHRINK

PLAIN, LABELLED = f"{SHRINK}:plain", f"{SHRINK}:labelled"


def eye(image: np.ndarray) -> np.ndarray:
    """A segmenter by brightness alone, in things as well."""
    return (image.mean(2) // 26).astype(np.uint8) + 1


@pytest.fixture(scope="module")
def frame() -> Frame:
    scene = render_scene(5, size=(192, 256))
    return Frame("scene", scene.image, scene.labels, "street11")


@pytest.fixture
def tools() -> Instruments:
    return Instruments({"judge": eye, "other": lambda image: eye(image[:, ::-1])}, {"judge": "12ab"})


def matrix(pred: np.ndarray, true: np.ndarray) -> list:
    table = [[0] * 12 for _ in range(12)]
    for p, t in zip(pred.ravel().tolist(), true.ravel().tolist(), strict=True):
        if t != 11:
            table[t][p] += 1
    return table


def test_every_number_of_a_row(frame, tools):
    codec = open_codec(PLAIN)
    small, large = measure_frame(frame, codec, ["0.5", "4"], labels="none", instruments=tools)
    blob = codec.encode(frame.image, bpp=0.5)
    image = codec.decode(blob).image
    error = np.mean((frame.image.astype(float) - image) ** 2)
    assert small["bytes"] == len(blob) and small["sha256"] == hashlib.sha256(blob).hexdigest()
    assert small["bpp"] == len(blob) * 8 / (192 * 256) and small["bpp_nominal"] == 0.25
    assert (small["width"], small["height"], small["quality"], small["labels"]) == (256, 192, 500, "none")
    assert small["psnr"] == pytest.approx(10 * np.log10(255**2 / error))
    assert small["sections"] == {"header": 10, "payload": len(blob) - 10} and small["map"] is None
    assert small["eye:judge"] == matrix(eye(image), frame.labels)
    assert small["agree:judge"] == matrix(eye(image), eye(frame.image))
    assert small["eye:other"] == matrix(eye(image[:, ::-1]), frame.labels)
    assert small["seconds"]["encode"] == 0.125 and small["seconds"]["segment"] == 0
    assert large["psnr"] > small["psnr"] and large["ssim"] > small["ssim"] and large["ms_ssim"] > small["ms_ssim"]


def test_labels_travel_predicted_or_true(frame, tools):
    codec = open_codec(LABELLED)
    (mine,) = measure_frame(frame, codec, ["2"], labels="predicted", instruments=tools)
    (true,) = measure_frame(frame, codec, ["2"], labels="true", instruments=tools)
    coarse = frame.labels[::8, ::8].repeat(8, 0).repeat(8, 1)
    assert true["map"] == matrix(coarse, frame.labels) and true["seconds"]["segment"] == 0
    assert true["sent"] == matrix(frame.labels, frame.labels)
    assert mine["sent"] == matrix(codec.segment(frame.image), frame.labels)
    assert mine["map"] != true["map"] and mine["seconds"]["segment"] > 0 and "quality" not in mine
    with pytest.raises(InputError, match="no true labels"):
        measure_frame(Frame("x", frame.image), codec, ["2"], labels="true", instruments=tools)


def test_true_labels_of_another_label_set_are_mapped(frame, tools):
    other = Frame("city", frame.image, np.full((192, 256), 13, np.uint8), "cityscapes19")  # car
    (row,) = measure_frame(other, open_codec(LABELLED), ["2"], labels="true", instruments=tools)
    assert row["map"][8][8] == 192 * 256  # street11's Car


def test_out_of_reach_is_a_row_and_a_foreign_point_is_none(frame, tools):
    rows = measure_frame(frame, open_codec(PLAIN), ["0.1", "max", "small"], labels="none", instruments=tools)
    assert [row["point"] for row in rows] == ["0.1", "small"]
    assert not rows[0]["reached"] and "shrink does not reach 0.1" in rows[0]["why"] and "bytes" not in rows[0]
    assert rows[1]["reached"] and rows[1]["bpp"] == pytest.approx(0.5, rel=0.05)


def test_a_frame_without_truth(frame, tools):
    (row,) = measure_frame(Frame("x", frame.image), open_codec(LABELLED), ["1"], labels="predicted", instruments=tools)
    assert row["map"] is None and row["eye:judge"] is None and np.sum(row["agree:judge"]) == 192 * 256


def test_the_original_is_its_own_ceiling(frame, tools):
    row = measure_original(frame, instruments=tools)
    assert row["bpp"] == 24 and row["bytes"] == frame.image.nbytes and row["psnr"] is None and row["ssim"] == 1
    assert row["eye:judge"] == matrix(eye(frame.image), frame.labels)
    count = row["objects"]
    assert count["original"] == count["decoded"] == count["found"] > 0 and count["invented"] == 0


def test_small_pictures_have_no_ms_ssim(frame, tools):
    small = Frame("x", frame.image[:175])
    (row,) = measure_frame(small, open_codec(PLAIN), ["1"], labels="none", instruments=tools)
    assert row["ms_ssim"] is None and 0 < row["ssim"] < 1


def test_a_codec_that_changes_the_size_is_refused(frame, tools, monkeypatch):
    codec = open_codec(PLAIN)
    real = codec.decode

    def cut(blob):
        decoded = real(blob)
        return type(decoded)(decoded.image[1:], None, None, decoded.report)

    monkeypatch.setattr(codec, "decode", cut)
    with pytest.raises(InputError, match=r"must give back the size"):
        measure_frame(frame, codec, ["1"], labels="none", instruments=tools)


def test_lpips_and_features_by_their_own_functions(frame):
    torch = pytest.importorskip("torch")
    from chappe.metrics.distribution import squeeze_features
    from chappe.metrics.lpips import SqueezeLPIPS, lpips

    torch.manual_seed(0)
    network = SqueezeLPIPS()
    for key, value in network.state_dict().items():
        if key.startswith("head"):
            value.fill_(0.5)
    tools = Instruments({}, {}, network, features=True)
    kept = {}
    (row,) = measure_frame(frame, open_codec(PLAIN), ["1"], labels="none", instruments=tools,
                           keep=lambda point, blob, decoded: kept.update({point: decoded.image}))  # fmt: skip
    assert row["lpips"] == pytest.approx(lpips(frame.image, kept["1"], network), abs=1e-6)
    feature = np.frombuffer(base64.b64decode(row["feature"]), "<f2")
    assert np.allclose(feature, squeeze_features([kept["1"]], network)[0], rtol=2e-3, atol=1e-6)
    assert tools.name() == "lpips+features" and look(frame, tools).lpips is not None


def test_instruments_name_the_weights(tools, monkeypatch):
    assert tools.name() == "judge@12ab+other@"
    monkeypatch.delenv("CHAPPE_DATA", raising=False)
    real = open_instruments()
    assert real.name().startswith("judge@") and len(real.name()) == 14  # and no LPIPS without its weights
    with pytest.raises(InputError, match="CHAPPE_DATA"):
        open_instruments(features=True)


def test_a_warm_up_codes_another_picture_and_swallows_errors(frame, monkeypatch):
    seen = []
    codec = open_codec(PLAIN)
    monkeypatch.setattr(codec, "encode", lambda image, **more: seen.append((image, more)) or b"")
    monkeypatch.setattr(codec, "decode", lambda blob: seen.append(blob))
    warm_up(frame, codec, "1")
    assert (seen[0][0] == frame.image[:, ::-1]).all() and seen[0][1] == {"labels": None, "bpp": 1.0} and seen[1] == b""
    monkeypatch.undo()
    warm_up(frame, codec, "0.01")  # out of reach
