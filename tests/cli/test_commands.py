"""What each command does, with a toy codec that needs no weights."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import chappe.codec as codec_module
from chappe.cli import demo, doctor, train
from chappe.image import label_bytes, read_image, read_labels


@pytest.fixture
def toy_file(cli, picture):
    """A file of the toy codec, with a label map in it."""
    Path("map.png").write_bytes(label_bytes(np.full((64, 96), 3, np.uint8), "street11"))
    assert cli("encode", picture, "a.chp", "--codec", "toy-mean", "--labels", "map.png").code == 0
    return picture.parent / "a.chp"


# encode and decode


def test_encode_says_what_it_wrote(cli, picture):
    result = cli("encode", picture, "b.chp", "--codec", "toy-mean")
    size = os.path.getsize("b.chp")
    assert (result.code, result.out) == (0, "")
    assert result.err == f"b.chp: {size} bytes, 96x64, {size * 8 / 6144:.4f} bpp, toy-mean\n"
    assert cli("encode", picture, "b.chp", "--codec", "toy-mean", "--quiet").err == ""
    assert "coarse_image" in cli("encode", picture, "b.chp", "--codec", "toy-mean", "-v").err


def test_encode_hands_over_rate_labels_and_point(cli, toy_file, picture):
    codec = codec_module.load("toy-mean")
    assert (codec.seen["labels"] == 3).all()
    cli("encode", picture, "b.chp", "--codec", "toy-mean", "--bpp", "0.5")
    assert codec.seen == {"labels": None, "bpp": 0.5, "point": None}
    cli("encode", picture, "b.chp", "--codec", "toy-mean", "--point", "only")
    assert codec.seen["point"].settings == {"levels": 1}
    cli("encode", picture, "b.chp", "--codec", "toy-mean", "--point", "only", "--set", "gain=0.5", "--set", "kind=x")
    assert codec.seen["point"].settings == {"levels": 1, "gain": 0.5, "kind": "x"}


def test_decode_writes_picture_and_labels(cli, toy_file):
    assert cli("decode", toy_file, "b.png", "--labels", "l.png").code == 0
    assert (read_image("b.png") == (10, 20, 30)).all()
    assert (read_labels("l.png", (64, 96)) == 3).all()


def test_decode_without_a_label_map_says_so(cli, picture):
    cli("encode", picture, "b.chp", "--codec", "toy-mean")
    result = cli("decode", "b.chp", "b.png", "--labels", "l.png")
    assert result.code == 1
    assert "no label map" in result.err
    assert not os.path.exists("b.png")


def test_standard_input_and_output(cli, picture, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(picture.read_bytes())))
    monkeypatch.setattr(
        sys, "stdout", SimpleNamespace(buffer=written, isatty=lambda: False, flush=lambda: None, write=pytest.fail)
    )
    assert cli("encode", "-", "-", "--codec", "toy-mean").code == 0
    blob = written.getvalue()
    written.seek(0)
    written.truncate()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(blob)))
    assert cli("decode", "-", "-").code == 0
    assert (np.asarray(Image.open(io.BytesIO(written.getvalue()))) == (10, 20, 30)).all()


def test_binary_data_is_not_written_to_a_terminal(cli, picture, monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert cli("encode", picture, "-", "--codec", "toy-mean").code == 2


def test_a_failed_encode_leaves_the_old_file(cli, picture):
    Path("b.chp").write_bytes(b"old")
    assert cli("encode", picture, "b.chp", "--codec", "toy-mean", "--bpp", "11").code == 1
    assert Path("b.chp").read_bytes() == b"old"


# info


def test_info_counts_every_byte(cli, toy_file):
    result = cli("info", toy_file)
    assert result.code == 0
    for word in ("96x64", "toy-mean", "id 200", "abcd", "header", "coarse_image", "map_tokens", "whole"):
        assert word in result.out
    data = json.loads(cli("info", toy_file, "--json").out)
    assert data["ok"]
    assert data["complete"]
    assert data["bytes"] == toy_file.stat().st_size == data["header"] + sum(s["size"] for s in data["sections"])


def test_info_on_every_flip_and_cut(cli, toy_file):
    """Each flipped bit and each cut is reported: exit 1 and one sentence, whatever part it hits."""
    whole = toy_file.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"\0"]
    damaged += [whole[:i] + bytes([whole[i] ^ (1 << b)]) + whole[i + 1 :] for i in range(len(whole)) for b in range(8)]
    tables = 0
    for blob in damaged:
        Path("bad.chp").write_bytes(blob)
        result = cli("info", "bad.chp")
        assert result.code == 1
        assert len(result.err.splitlines()) == 1
        assert "bad.chp: " in result.err
        tables += "DAMAGED" in result.out
    assert tables > len(whole)  # the header survived in these, so sections are listed


def test_info_of_an_unknown_model_still_lists_sections(cli, toy_file, monkeypatch):
    monkeypatch.setattr(codec_module, "_BY_ID", {})
    result = cli("info", toy_file)
    assert result.code == 0
    assert "unknown model 200" in result.out


# demo


def test_demo_of_a_scene(cli):
    result = cli("demo", "--codec", "toy-mean", "--out", "sheet.png", "--quiet")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("mIoU") == 3
    assert "pixel agreement 1.000 (received, to what was sent)" in result.out
    assert read_image("sheet.png").shape == (2 * (256 + 60) + 12, 3 * (512 + 12) + 12, 3)


def test_demo_of_a_photo_is_scaled_down_on_the_sheet(cli, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (700, 1280, 3), dtype=np.uint8)
    Image.fromarray(photo).save("photo.png")
    result = cli("demo", "photo.png", "--codec", "toy-mean", "--out", "sheet.png")
    assert result.code == 0
    assert result.out.count("mIoU") == 1
    assert "its smallest" in result.out
    assert read_image("sheet.png").shape == (2 * (350 + 60) + 12, 3 * (640 + 12) + 12, 3)


@pytest.mark.parametrize("target", [1, 3000, 10**9])
def test_nearest_jpeg_is_the_nearest(target):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = []
    for quality in range(1, 96):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
        sizes.append(len(out.getvalue()))
    _, size, decoded = demo._nearest_jpeg(image, target)
    assert abs(size - target) == min(abs(s - target) for s in sizes)
    assert decoded.shape == image.shape


# models, doctor, train


def test_models(cli):
    out = cli("models").out
    assert "sqgan-street" in out
    assert "toy-mean" in out
    listed = json.loads(cli("models", "toy*", "--json").out)
    assert listed == [{"name": "toy-mean", "codec_id": 200, "version": 1, "summary": "sends the mean colour"}]


def test_doctor_reports_versions_codecs_and_threads(cli):
    report = json.loads(cli("doctor", "--json").out)
    assert {"chappe", "python", "torch", "numpy", "pillow", "numba"} <= report["versions"].keys()
    assert report["codecs"]["JPEG"].startswith("yes")
    assert int(report["machine"]["torch threads"]) >= 1


def test_doctor_is_content_with_this_installation(cli):
    """Weights are in the package and as they were published."""
    result = cli("doctor")
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    ("content", "state", "sentence"),
    [
        (b"abc", "ok, 0.0 MB", None),
        (b"abd", "DAMAGED", "missing or damaged"),
        (None, "MISSING", "missing or damaged"),
    ],
)
def test_doctor_checks_sums(tmp_path, content, state, sentence):
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of b"abc"
    (tmp_path / "sub").mkdir()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  sub/m.safetensors\n", encoding="utf-8")
    if content is not None:
        (tmp_path / "sub" / "m.safetensors").write_bytes(content)
    problems: list[str] = []
    states = doctor.check_weights(tmp_path, problems)
    assert states["sub/m.safetensors"].startswith(state)
    assert [sentence in p for p in problems] == ([True] if sentence else [])


def test_doctor_wants_a_sum_for_all_weights(tmp_path):
    problems: list[str] = []
    assert doctor.check_weights(tmp_path, problems) == {}
    (tmp_path / "m.safetensors").write_bytes(b"abc")
    doctor.check_weights(tmp_path, problems)
    assert "no weights are installed" in problems[0]
    assert "has no checksum" in problems[1]


@pytest.mark.parametrize("model", ["judge", "segmenter", "sqgan"])
def test_train_forwards_everything(cli, monkeypatch, model):
    calls = []
    home, function = train.TRAINERS[model].split(":")
    trainer = SimpleNamespace(**{function: lambda argv: calls.append(argv) or 3})
    monkeypatch.setattr(train.importlib, "import_module", lambda name: trainer if name == home else None)
    assert cli("train", model, "--data", "D", "--out", "O", "--help", "-x").code == 3
    assert calls == [["--data", "D", "--out", "O", "--help", "-x"]]


@pytest.mark.parametrize("model", ["judge", "onepass", "segmenter", "sqgan"])
def test_trainers_exist(spawn, model):
    done = spawn("train", model, "--help")
    assert done.returncode == 0
    assert b"--data" in done.stdout
    assert b"--out" in done.stdout
