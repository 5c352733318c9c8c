"""A codec with random weights: everything but the pictures' beauty can be tested with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe.systems.sqgan.codec import SQGANCodec
from chappe.systems.sqgan.config import preset
from chappe.systems.sqgan.engine import Engine
from chappe.systems.sqgan.model import SQGAN
from chappe.systems.sqgan.street import StreetCodec

SETTINGS = {
    "map": "near",
    "bpp": 0.04,
    "map_share": {"near": [[0.01, 0.6], [0.06, 0.4]], "tokens": [[0.01, 0.5], [0.08, 0.5]], "lossless": [[0, 0.5]]},
    "points": {"low": {"bpp": 0.03}, "tokens": {"map": "tokens", "m_s": 0.55, "m_x": 0.35}},
}


@pytest.fixture(scope="session")
def engine() -> Engine:
    torch.manual_seed(0)
    model = SQGAN(preset("street"))
    for stream in (model.map, model.image):
        stream.quantizer.codebook.data.normal_(0, 0.05)
    model.image.residual.codebook.data.normal_(0, 0.05)
    torch.nn.init.normal_(model.image.decoder.fine.out.weight, std=0.05)  # untrained it would draw nothing
    return Engine(model)


@pytest.fixture(scope="session")
def codec(engine) -> SQGANCodec:
    return SQGANCodec("random", 250, 0xBEEF, engine, SETTINGS, {}, segment=quadrants)


@pytest.fixture(scope="session")
def street(engine) -> StreetCodec:
    """Version 3 with the same weights, without a token prior, under the id whose files may be cut."""
    return StreetCodec("random", 4, 0xBEEF, engine, SETTINGS, {}, segment=quadrants)


def quadrants(image: np.ndarray) -> np.ndarray:
    """A stand-in segmenter: sky above, road below, a car in the middle."""
    height, width = image.shape[:2]
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 :] = 3
    labels[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 8
    return labels


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    from chappe.data.scenes import render_scene

    return render_scene(7).image
