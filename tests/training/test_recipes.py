"""The training commands, end to end at toy size: data set folder in, loadable model folder out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chappe.cli import main
from chappe.data.scenes import render_scene
from chappe.image import write_image, write_labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("camvid")
    names = []
    for seed in (41, 42):
        scene = render_scene(seed, size=(96, 192))
        names.append(f"0006R0_{seed}")
        (root / "train" / "images").mkdir(parents=True, exist_ok=True)
        (root / "train" / "labels").mkdir(parents=True, exist_ok=True)
        write_image(root / "train" / "images" / f"{names[-1]}.png", scene.image)
        write_labels(root / "train" / "labels" / f"{names[-1]}.png", scene.labels, "street11")
    for split in ("train", "val"):
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def test_train_segmenter_writes_a_model_that_loads(folder, tmp_path):
    from chappe.segment.builtin import load_segmenter

    assert (
        main(["train", "segmenter", "--data", str(folder), "--out", str(tmp_path), "--steps", "1", "--scenes", "0"])
        == 0
    )
    labels = load_segmenter(tmp_path / "weights")(np.zeros((64, 80, 3), np.uint8))
    assert labels.shape == (64, 80) and labels.max() < 11
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert row["step"] == row["of"] == 1 and row["ce"] > 0


def test_train_judge_writes_another_network(folder, tmp_path):
    from chappe.segment.builtin import load_judge

    assert main(["train", "judge", "--data", str(folder), "--out", str(tmp_path), "--steps", "1"]) == 0
    judge = load_judge(tmp_path / "weights")
    labels = judge(np.zeros((64, 80, 3), np.uint8))
    assert labels.shape == (64, 80) and labels.max() < 11
    assert type(judge.net).__name__ == "JudgeNet"
    assert json.loads((tmp_path / "weights" / "config.json").read_text())["config"]["kind"] == "judge"


def test_train_onepass_writes_a_codec(folder, tmp_path):
    from chappe.systems.spic.codec import load_folder

    options = ["--data", str(folder), "--out", str(tmp_path), "--steps", "1", "--size", "64", "128"]
    assert main(["train", "onepass", *options, "--scenes", "0", "--no-lpips"]) == 0
    codec = load_folder(tmp_path / "weights", "trained", 251)
    blob = codec.encode(np.zeros((64, 96, 3), np.uint8), point="max")
    assert codec.decode(blob).image.shape == (64, 96, 3)
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert row["pixel"] > 0 and row["meaning"] > 0


def test_train_sqgan_runs_its_stages_and_writes_a_codec(folder, tmp_path):
    from chappe.systems.sqgan.load import load_folder

    options = [
        "--data",
        str(folder),
        "--out",
        str(tmp_path),
        "--steps",
        "1",
        "1",
        "1",
        "1",
        "--batch",
        "1",
        "--size",
        "64",
        "128",
    ]
    assert main(["train", "sqgan", *options, "--scenes", "0", "--no-lpips"]) == 0
    codec = load_folder(tmp_path / "weights", "trained", 251)
    blob = codec.encode(np.zeros((64, 96, 3), np.uint8), point="paper-low")
    assert codec.decode(blob).image.shape == (64, 96, 3)
    assert {"map", "image", "finetune", "receiver"} <= {p.name for p in tmp_path.iterdir()}


def test_stopping_early_says_so_by_leaving_no_weights(folder, tmp_path):
    options = ["--data", str(folder), "--out", str(tmp_path), "--steps", "50", "--scenes", "0", "--minutes", "0"]
    assert main(["train", "segmenter", *options]) == 0
    assert (tmp_path / "state.pt").exists() and not (tmp_path / "weights").exists()
