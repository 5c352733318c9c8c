"""Training: batches as the receiver gets them, exact resume, the command, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from chappe.cli import main
from chappe.data.scenes import render_scene
from chappe.nn.unet import SemanticUNet
from chappe.systems.diffusion.channel import noise_sigma, plane_sigma
from chappe.systems.diffusion.codec import load_folder
from chappe.systems.diffusion.config import preset
from chappe.systems.diffusion.train import DiffusionTask, TrainConfig, recipe
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, train
from chappe.training.pack import write_pack

PLAIN = TrainConfig(batch=2, size=(64, 64), paste_most=0, paste_classes=(), scene_share=0, workers=1, warmup=1)


@pytest.fixture(scope="module")
def frames():
    return Frames.from_samples(render_scene(seed, size=(72, 144)) for seed in (41, 42))


def make(frames, config=PLAIN, **unet) -> DiffusionTask:
    torch.manual_seed(0)
    tiny = preset("tiny")
    shape = replace(
        tiny, unet=replace(tiny.unet, **({"width": 8, "head": 8, "multipliers": (1, 2), "attention": 1} | unet))
    )
    return DiffusionTask(SemanticUNet(shape.unet), shape, config, frames)


def test_batches_have_dropped_maps_dropped_coarse_pictures_and_noise(frames):
    task = make(frames, replace(PLAIN, batch=8, near_share=0))
    kinds = {"null": 0, "with": 0, "noisy": 0, "clean": 0}
    for step in range(6):
        batch = task.make_batch(step)
        assert batch.x.shape == (8, 3, 64, 64) and batch.planes.shape == (8, 11, 64, 64)
        for planes, coarse in zip(batch.planes, batch.coarse, strict=True):
            if not planes.any():
                kinds["null"] += 1
                continue
            hard = bool(((planes == 0) | (planes == 1)).all())
            if coarse.any():
                kinds["with"] += 1
                assert hard  # SPIC's map comes over a digital link
            else:
                kinds["clean" if hard else "noisy"] += 1
    assert min(kinds.values()) >= 1 and kinds["with"] > kinds["clean"]
    always = make(frames, coarse="always").make_batch(0)
    assert all(coarse.any() for coarse in always.coarse)
    assert make(frames, coarse="none").make_batch(0).coarse is None


def test_training_noise_is_that_of_the_channel(frames):
    task = make(frames, replace(PLAIN, conditions=(5,), fds_share=0.0))
    labels = torch.arange(4).repeat_interleave(16)[:, None].expand(64, 64).contiguous()
    planes = task._received(labels, True, np.random.default_rng(0))
    noise = planes[:4] - (labels == torch.arange(4)[:, None, None]).float()
    assert not planes[4:].any()
    assert noise.std().item() == pytest.approx(plane_sigma(noise_sigma(5), 1 / 4), rel=0.03)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.05


def test_batches_are_a_function_of_seed_and_step(frames):
    a, b = make(frames), make(frames)
    for step in (0, 3):
        one, two = a._batch(step), b.make_batch(step)
        for x, y in ((one.x, two.x), (one.planes, two.planes), (one.coarse, two.coarse)):
            torch.testing.assert_close(x, y, rtol=0, atol=0)
    assert (make(frames).make_batch(1).x != make(frames).make_batch(2).x).any()


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(frames, tmp_path):
    whole = train(make(frames), LoopConfig(tmp_path / "whole", 4, quiet=True))["net"]
    part = LoopConfig(tmp_path / "part", 4, quiet=True, minutes=0)
    while (ema := train(make(frames), part)) is None:
        pass
    for key, value in whole.items():
        torch.testing.assert_close(ema["net"][key], value, rtol=0, atol=0)


def test_it_learns_one_batch(frames):
    task = make(frames, replace(PLAIN, lr=3e-3))
    said = []
    for _ in range(16):
        torch.manual_seed(0)
        figures = task.step(0, 0.0, np.random.default_rng(0))
        said.append(figures["simple"])
        assert figures["bound"] >= 0 and figures["skipped"] == 0
    assert said[-1] < 0.75 * said[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_takes_the_same_step_within_its_rounding(frames, precision):
    weights = []
    for kind in ("fp32", precision):
        task = make(frames, replace(PLAIN, precision=kind))
        for _ in range(2):  # the first step moves the zero layers only
            torch.manual_seed(0)
            task.step(0, 0.0, np.random.default_rng(0))
        weights.append(torch.cat([p.detach().flatten() for p in task.model.out.parameters()]))
    assert torch.nn.functional.cosine_similarity(*weights, dim=0) > 0.9


def test_the_command_trains_from_a_packed_file_and_writes_codecs(frames, tmp_path):
    pack = tmp_path / "frames.npz"
    write_pack(frames, pack)
    options = ["--data", str(pack), "--out", str(tmp_path), "--preset", "tiny", "--steps", "1", "--size", "64", "128"]
    assert main(["train", "diffusion", *options, "--scenes", "0", "--batch", "1", "--clean-maps"]) == 0
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert row["simple"] > 0 and row["bound"] >= 0
    codec = load_folder(tmp_path / "weights", "gesco")
    codec._segment = lambda x: np.zeros(x.shape[:2], np.uint8)
    assert codec.decode(codec.encode(np.zeros((64, 96, 3), np.uint8), point="max")).image.shape == (64, 96, 3)
    meta = json.loads((tmp_path / "weights" / "config.json").read_text())
    assert meta["recipe"]["noisy_share"] == 0 and meta["config"]["kind"] == "diffusion"


def test_sizes_that_do_not_fold_are_refused(frames, tmp_path):
    pack = tmp_path / "frames.npz"
    write_pack(frames, pack)
    options = ["--data", str(pack), "--out", str(tmp_path / "o"), "--preset", "tiny", "--size", "60", "128"]
    assert main(["train", "diffusion", *options]) == 2


def test_published_recipes_are_those_of_the_papers():
    spic, gesco = recipe("paper"), recipe("paper-gesco")
    assert (spic.lr, spic.batch, gesco.batch, gesco.bound_weight) == (1e-4, 8, 4, 1e-3)
    assert gesco.coarse_share == 0 and gesco.fds_share == 0 and spic.constant
