"""The whole road with the shipped model: encode, info and decode, each in a process of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chappe.codec import DEFAULT_MODEL, model_entry
from chappe.data.scenes import render_scene
from chappe.image import label_bytes, read_image, read_labels, write_image
from chappe.metrics import confusion, miou, psnr

SCENE = render_scene(11)


@pytest.fixture
def scene(tmp_path):
    write_image(tmp_path / "scene.png", SCENE.image)
    return SCENE


def test_encode_info_decode_in_fresh_processes(spawn, scene, tmp_path):
    done = spawn("encode", "scene.png", "scene.chp", "--bpp", "0.04")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    size = (tmp_path / "scene.chp").stat().st_size
    assert size * 8 / (256 * 512) == pytest.approx(0.04, rel=0.05)

    info = json.loads(spawn("info", "scene.chp", "--json").stdout)
    assert (info["codec"], info["codec_id"]) == (DEFAULT_MODEL, model_entry(DEFAULT_MODEL).codec_id)
    assert (info["width"], info["height"]) == (512, 256)
    assert info["ok"]
    assert info["header"] <= 12
    assert size == info["header"] + sum(s["size"] for s in info["sections"])

    # The decoder's folder holds the file and nothing else.
    (tmp_path / "scene.png").unlink()
    done = spawn("decode", "scene.chp", "out.png", "--labels", "labels.png")
    assert done.returncode == 0, done.stderr
    image = read_image(tmp_path / "out.png")
    labels = read_labels(tmp_path / "labels.png", image.shape[:2], taxonomy="street11")
    assert image.shape == scene.image.shape
    # Loose floors: far above what the mean colour (about 12 dB) or one class for all would score.
    assert psnr(image, scene.image) > 14
    assert miou(confusion(labels, scene.labels, 12, ignore=11), ignore=11) > 0.2


def test_pipe_and_file_agree(spawn, scene, tmp_path):
    spawn("encode", "scene.png", "scene.chp")
    piped = spawn("encode", "-", "-", "--quiet", stdin=(tmp_path / "scene.png").read_bytes())
    assert piped.returncode == 0
    assert piped.stderr == b""
    assert piped.stdout == (tmp_path / "scene.chp").read_bytes()
    picture = spawn("decode", "-", "-", stdin=piped.stdout)
    assert picture.stdout.startswith(b"\x89PNG")
    assert np.array_equal(read_image(picture.stdout).shape, scene.image.shape)


def test_given_labels_reach_the_far_end(spawn, scene, tmp_path):
    (tmp_path / "map.png").write_bytes(label_bytes(scene.labels, "street11"))
    assert spawn("encode", "scene.png", "scene.chp", "--labels", "map.png").returncode == 0
    assert spawn("decode", "scene.chp", "out.png", "--labels", "labels.png").returncode == 0
    labels = read_labels(tmp_path / "labels.png", scene.labels.shape)
    assert miou(confusion(labels, scene.labels, 12, ignore=11), ignore=11) > 0.3


def test_damage_anywhere_is_one_sentence(spawn, scene, tmp_path):
    spawn("encode", "scene.png", "scene.chp")
    blob = (tmp_path / "scene.chp").read_bytes()
    for bad in (blob[: len(blob) // 2], blob[:-1], blob[:20] + bytes([blob[20] ^ 4]) + blob[21:], b""):
        done = spawn("decode", "-", "out.png", stdin=bad)
        assert done.returncode == 1
        assert done.stderr.startswith(b"chappe: ")
        assert done.stderr.count(b"\n") == 1
        assert not (tmp_path / "out.png").exists()


def test_demo_prints_bytes_and_scores_and_writes_a_sheet(spawn, tmp_path):
    done = spawn("demo", "--out", "demo.png")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for word in ("bpp", "header", "PSNR", "mIoU", "JPEG", "demo.png"):
        assert word in text
    sheet = read_image(tmp_path / "demo.png")
    assert sheet.shape[1] > 3 * 512
    assert sheet.std() > 20
