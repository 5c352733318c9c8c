"""A one-pass codec with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe.data.scenes import render_scene
from chappe.systems.spic.codec import OnePassCodec
from chappe.systems.spic.config import CODEC_DEFAULTS, OnePassConfig
from chappe.systems.spic.engine import Engine
from chappe.systems.spic.onepass import OnePass


@pytest.fixture(scope="session")
def codec() -> OnePassCodec:
    torch.manual_seed(0)
    model = OnePass(OnePassConfig(encoder=(8, 8, 8), encoder_blocks=(1, 1, 1), decoder=(8, 8, 8),
                                  decoder_blocks=(1, 1, 1), half=4))  # fmt: skip
    torch.nn.init.normal_(model.fine.out.weight, std=0.05)
    return OnePassCodec(
        "random", 250, 0xBEEF, Engine(model), CODEC_DEFAULTS, segment=lambda x: np.zeros(x.shape[:2], np.uint8)
    )


@pytest.fixture(scope="session")
def scene():
    return render_scene(7)
