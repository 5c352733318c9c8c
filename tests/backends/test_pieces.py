"""The parts of the ONNX backend: windows, resizing, folders of networks, int8, and a receiver without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chappe.backends.bundle import Bundle, home, write_bundle
from chappe.backends.calibrate import quantise
from chappe.backends.export import export_codec
from chappe.backends.make import calibration_pictures, export, prepared
from chappe.backends.resize import resize
from chappe.backends.runtime import OnnxBackend, _argmax, windows
from chappe.data.scenes import render_scene
from chappe.errors import InputError, UsageError
from chappe.image import write_image
from chappe.nn.tiling import WINDOW, split_windows


@given(st.integers(1, 80), st.integers(1, 150))
@settings(max_examples=30, deadline=None)
def test_windows_hold_every_cell_once(h, w):
    cuts = windows(h, w)
    cells, real = cuts["cells"], np.isfinite(cuts["absent"][:, 0, 0])
    assert np.array_equal(np.sort(cells[real]), np.arange(h * w))
    assert np.array_equal(cells.ravel()[cuts["place"]], np.arange(h * w))
    expected = [
        {y * w + x for y in range(h)[ys] for x in range(w)[xs]}
        for ys in split_windows(h, WINDOW[0])
        for xs in split_windows(w, WINDOW[1])
    ]
    assert [set(c[r].tolist()) for c, r in zip(cells, real, strict=True)] == expected


# Sides from 2: for (1, 2, h, 1) torch's own antialiased resize mistakes the memory layout and repeats the first row.
@given(*[st.integers(2, 40)] * 2, *[st.integers(2, 60)] * 2, st.booleans())
@settings(max_examples=30, deadline=None)
def test_resizing_is_torchs(h, w, height, width, antialias):
    x = np.random.default_rng(h * 100 + w).random((2, h, w), np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x)[None], (height, width), mode="bilinear", antialias=antialias, align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(resize(x, height, width, antialias=antialias), wanted, atol=1e-4)
    rows = slice(height // 3, height // 3 + max(1, height // 2))
    np.testing.assert_allclose(resize(x, height, width, antialias=antialias, rows=rows), wanted[:, rows], atol=1e-4)


def test_argmax_takes_the_first_of_equals():
    scores = np.random.default_rng(0).integers(0, 4, (6, 50, 40)).astype(np.float32)
    assert np.array_equal(_argmax(scores), scores.argmax(0))


def test_int8_is_near_and_is_int8(onepass):
    images = [render_scene(seed, size=(64, 96)) for seed in range(4)]
    seen = [((4, 6), (np.ascontiguousarray(s.image[::4, ::4]), s.labels)) for s in images]
    data = export_codec(onepass)["restore"]
    small = quantise(data, seen)
    kinds = [node.op_type for node in onnx.load_from_string(small).graph.node]
    assert kinds.count("DequantizeLinear") > 2 * (kinds.count("Conv") - 2) > 20
    import onnxruntime

    for grid, (coarse, labels) in seen:
        session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
        feeds = {"coarse": coarse, "labels": labels} | windows(*grid)
        error = np.abs(session.run(None, feeds)[0].astype(int) - onepass.engine.restore(coarse, labels))
        assert 0 < error.mean() < 8  # random weights; a wrong network is off by 40
    with pytest.raises(UsageError, match="without a picture"):
        quantise(data, [])


def test_export_with_int8_and_a_folder_of_pictures(tmp_path):
    for seed in range(2):
        write_image(tmp_path / f"{seed}.png", render_scene(seed, size=(120, 160)).image)
    pictures = calibration_pictures(str(tmp_path))
    assert [p.shape for p in pictures] == [(256, 512, 3)] * 2
    lines: list[str] = []
    export([], tmp_path / "out", int8=True, pictures=pictures, say=lines.append)
    assert len(lines) == 1 and "segment int8" in lines[0]
    backend = OnnxBackend(tmp_path / "out", "int8", threads=1)
    image = render_scene(9).image
    exact = OnnxBackend(tmp_path / "out", threads=1).segment(image)
    assert 0 < (backend.segment(image) != exact).mean() < 0.05
    with pytest.raises(InputError, match="no pictures"):
        calibration_pictures(str(tmp_path / "out"))
    with pytest.raises(InputError, match="not a folder"):
        calibration_pictures(str(tmp_path / "none"))


@pytest.fixture
def folder(tmp_path) -> Path:
    write_bundle(tmp_path, "m", 0x1234, {("a", "fp32"): b"one", ("a", "int8"): b"two"}, {"torch": "2"})
    return tmp_path


def test_a_folder_of_networks(folder):
    bundle = Bundle(folder, "m")
    assert (bundle.network("a", "fp32"), bundle.network("a", "int8")) == (b"one", b"two")
    assert bundle.names("int8") == ["a"]
    bundle.check(0x1234)
    with pytest.raises(InputError, match="from weights 1234, installed are 0001"):
        bundle.check(1)
    with pytest.raises(InputError, match="no network 'b' in fp32"):
        bundle.network("b", "fp32")
    (folder / "m" / "a.onnx").write_bytes(b"other")
    with pytest.raises(InputError, match=r"a\.onnx: is damaged"):
        bundle.network("a", "fp32")
    with pytest.raises(InputError, match="is not there"):
        Bundle(folder, "n")


@pytest.mark.parametrize("file", ["../m/a.onnx", "/etc/passwd", ".a"])
def test_a_manifest_cannot_lead_out_of_its_folder(folder, file):
    path = folder / "m" / "networks.json"
    data = json.loads(path.read_text())
    data["networks"]["a:fp32"]["file"] = file
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="outside its folder"):
        Bundle(folder, "m").network("a", "fp32")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries({"format": st.just(1) | JSON, "fingerprint": st.just("00ff") | JSON, "networks": JSON}).map(
        lambda value: json.dumps(value).encode()
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_is_read_or_refused(folder, data):
    (folder / "m" / "networks.json").write_bytes(data)
    try:
        bundle = Bundle(folder, "m")
    except InputError:
        return
    for name in bundle.names("fp32"):
        with pytest.raises(InputError):
            bundle.network(name, "fp32")


def test_where_networks_lie(monkeypatch, tmp_path):
    assert home(tmp_path) == tmp_path
    monkeypatch.setenv("CHAPPE_ONNX", str(tmp_path / "there"))
    assert home() == tmp_path / "there"
    monkeypatch.delenv("CHAPPE_ONNX")
    assert home().parts[-2:] == ("chappe", "onnx")


RECEIVER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "accelerate", "tqdm", "onnx", "scipy"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name.split(".")[0])

sys.meta_path.insert(0, Blocked())
from chappe.cli import main

for name in ("spic-onepass-street", "sqgan-street"):
    options = ["--backend", "onnx", "--networks", sys.argv[1], "--quiet"]
    assert main(["encode", "scene.png", "a.chp", "--codec", name, "--bpp", "0.04", *options]) == 0
    assert main(["decode", "a.chp", f"{name}.png", "--labels", f"{name}-labels.png", *options]) == 0
assert main(["decode", "a.chp", "b.png"]) == 1
assert "torch" not in sys.modules
"""


def test_a_receiver_needs_no_torch(shipped, tmp_path):
    write_image(tmp_path / "scene.png", render_scene(3).image)
    done = subprocess.run([sys.executable, "-c", RECEIVER, str(shipped)], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "export its networks elsewhere and ask for the backend onnx" in done.stderr
    for name in ("spic-onepass-street", "sqgan-street"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert (tmp_path / f"{name}-labels.png").exists()


def test_a_prepared_network_answers_the_same_bits(onepass):
    import onnxruntime

    (network,) = export_codec(onepass).values()
    ready = prepared(network)
    rng = np.random.default_rng(0)
    feeds = {
        "coarse": rng.integers(0, 256, (16, 24, 3), dtype=np.uint8),
        "labels": rng.integers(0, 12, (64, 96), dtype=np.uint8),
        **windows(4, 6),
    }
    answers = []
    for data in (network, ready):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})[0])
    assert ready != network and answers[0].std() > 1
    np.testing.assert_array_equal(*answers)
