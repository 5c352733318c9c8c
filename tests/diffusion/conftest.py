"""Tiny diffusion codecs with random weights, saved and loaded as trained ones are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from chappe.data.scenes import render_scene
from chappe.nn.unet import SemanticUNet
from chappe.systems.diffusion.codec import load_folder
from chappe.systems.diffusion.config import preset
from chappe.systems.diffusion.train import TrainConfig, export


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    tiny = preset("tiny")
    shape = replace(tiny, unet=replace(tiny.unet, width=8, head=8, spade_hidden=8))
    model = SemanticUNet(shape.unet)
    for parameter in model.parameters():  # the last layers start at zero: a network that says something
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    out = tmp_path_factory.mktemp("diffusion")
    export(out, model.state_dict(), shape, TrainConfig())
    return out / "weights"


@pytest.fixture(scope="session")
def spic(folder):
    codec = load_folder(folder, "spic")
    codec._segment = lambda x: np.zeros(x.shape[:2], np.uint8)
    return codec


@pytest.fixture(scope="session")
def cspic(folder):
    codec = load_folder(folder, "cspic")
    codec._segment = lambda x: np.zeros(x.shape[:2], np.uint8)
    return codec


@pytest.fixture(scope="session")
def gesco(folder):
    codec = load_folder(folder, "gesco")
    codec._segment = lambda x: np.zeros(x.shape[:2], np.uint8)
    return codec


@pytest.fixture(scope="session")
def scene():
    return render_scene(7, size=(64, 128))
