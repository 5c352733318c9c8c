"""RL-ASC with random weights, small."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

from chappe.data.scenes import render_scene
from chappe.systems.rlasc.codec import RLASCCodec
from chappe.systems.rlasc.config import CODEC_DEFAULTS
from chappe.systems.rlasc.engine import Engine
from chappe.systems.rlasc.model import RLASC
from chappe.systems.rlasc.policy import Policy
from rlasc_toys import TINY, Segmenter

settings.register_profile("chappe", deadline=None, derandomize=True, database=None)
settings.load_profile("chappe")


@pytest.fixture(scope="session")
def codec() -> RLASCCodec:
    torch.manual_seed(0)
    model = RLASC(TINY)
    for head in (model.generator.local.head, model.generator.globally.head):
        torch.nn.init.normal_(head.out.weight, std=0.3)
    torch.nn.init.normal_(model.generator.globally.coarse.weight, std=0.3)
    engine = Engine(model, {"segmentation": Policy(TINY)})
    return RLASCCodec("random", 250, 0xBEEF, engine, CODEC_DEFAULTS, Segmenter())


@pytest.fixture(scope="session")
def scene():
    return render_scene(7, size=(128, 256))


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter()
