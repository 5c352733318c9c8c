"""The one-pass picture that the network begins with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from chappe import load
from chappe.errors import InputError, UsageError
from chappe.nn.unet import SemanticUNet
from chappe.systems.diffusion.config import DiffusionConfig, Sampling, preset
from chappe.systems.diffusion.engine import Engine, map_planes
from chappe.systems.diffusion.first import FirstLook, hard_labels, load_first
from chappe.systems.diffusion.train import DiffusionTask, TrainConfig
from chappe.training.frames import Frames

TINY = {"width": 8, "head": 8, "spade_hidden": 8, "multipliers": (1, 2), "attention": 1, "coarse": "always"}


def shape_of(first: str = "spic-onepass-street-v2") -> DiffusionConfig:
    tiny = preset("tiny")
    return replace(tiny, unet=replace(tiny.unet, **TINY), first=first)


def test_labels_of_planes_are_the_strongest_and_void_where_none_is():
    planes = np.zeros((3, 2, 2), np.float32)
    planes[1, 0, 0], planes[2, 0, 1], planes[0, 1, 0] = 0.9, 1.2, 0.3
    np.testing.assert_array_equal(hard_labels(planes, 3), [[1, 2], [3, 3]])
    labels = np.random.default_rng(0).integers(0, 12, (16, 16)).astype(np.uint8)
    np.testing.assert_array_equal(hard_labels(map_planes(labels, DiffusionConfig()), 11), labels)


def test_a_new_network_adds_nothing_to_the_one_pass_picture(scene):
    torch.manual_seed(0)
    shape, one = shape_of(), load("spic-onepass-street")
    engine = Engine(shape, SemanticUNet(shape.unet), load_first(shape.first))
    decoded = one.decode(one.encode(scene.image, labels=scene.labels, bpp=0.2))
    labels, coarse, _ = one._received(one.encode(scene.image, labels=scene.labels, bpp=0.2))
    drawn = engine.draw(map_planes(labels, shape), Sampling("consistency", 1), 0, coarse)
    assert np.abs(drawn.astype(int) - decoded.image).max() <= 2  # x_t is let through by 1 / 25000 at full noise
    blind = engine.draw(
        map_planes(labels, shape), Sampling("consistency", 1, begin=300), 0
    )  # begins without a coarse one
    assert blind.shape == drawn.shape and np.abs(blind.astype(int) - drawn).mean() > 2


def test_a_first_look_has_the_size_of_the_labels():
    colours = np.arange(36).reshape(12, 3)
    seen = {}

    def restore(coarse, labels):
        seen["coarse"] = coarse
        return np.repeat(np.repeat(coarse, 4, 0), 4, 1)

    labels = np.full((20, 35), 5, np.uint8)
    picture = FirstLook(restore, colours)(labels)
    assert picture.shape == (20, 35, 3) and (picture == colours[5]).all() and seen["coarse"].shape == (8, 12, 3)
    given = np.full((8, 12, 3), 77, np.uint8)
    assert (FirstLook(restore, colours)(labels, given) == 77).all()


def test_a_first_look_needs_a_bundled_model_and_a_place_in_the_network():
    for name in ("spic-onepass-street-v99", "../weights", "segmenter-street-v1"):
        with pytest.raises(InputError, match="no bundled one-pass model"):
            load_first(name)
    with pytest.raises(UsageError, match="always"):
        replace(preset("tiny"), first="spic-onepass-street-v2")


def test_training_shows_first_looks_and_learns_what_eyes_see(scene):
    frames = Frames([scene.image], [scene.labels])
    config = TrainConfig(batch=2, size=(64, 64), paste_most=0, paste_classes=(), scene_share=0, workers=0, warmup=1,
                         segmented_share=0.5, spectrum_weight=0.3, meaning_weight=0.25)  # fmt: skip
    shape = shape_of()
    torch.manual_seed(0)
    task = DiffusionTask(
        SemanticUNet(shape.unet),
        shape,
        config,
        frames,
        segment=lambda x: x.mean(1, keepdim=True).expand(-1, 11, -1, -1),
    )
    batch = task.make_batch(0)
    assert batch.coarse.flatten(1).any(1).all() and batch.labels.shape == (2, 64, 64)
    figures = task.step(0, 0.0, np.random.default_rng(0))
    assert {"simple", "bound", "spectrum", "meaning"} <= set(figures) and figures["skipped"] == 0
