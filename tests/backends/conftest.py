"""Small codecs with random weights, their exported networks, and the shipped models exported once."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="needs onnx: pip install 'chappe[onnx]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'chappe[receiver]'")

import numpy as np
import torch

from chappe.backends.bundle import write_bundle
from chappe.backends.export import export_codec
from chappe.systems.spic.codec import OnePassCodec
from chappe.systems.spic.config import CODEC_DEFAULTS, OnePassConfig
from chappe.systems.spic.engine import Engine as OnePassEngine
from chappe.systems.spic.onepass import OnePass
from chappe.systems.sqgan.codec import SQGANCodec
from chappe.systems.sqgan.config import CODEC_DEFAULTS as SQGAN_DEFAULTS
from chappe.systems.sqgan.config import SQGANConfig, StreamConfig
from chappe.systems.sqgan.engine import Engine as SQGANEngine
from chappe.systems.sqgan.model import SQGAN

MODEL = 0xBEEF


def bands(image: np.ndarray) -> np.ndarray:
    """A stand-in segmenter: five bands."""
    rows = np.arange(image.shape[0]) * 5 // image.shape[0]
    return np.repeat(rows[:, None], image.shape[1], 1).astype(np.uint8)


@pytest.fixture(scope="session")
def onepass() -> OnePassCodec:
    torch.manual_seed(0)
    model = OnePass(OnePassConfig(encoder=(8, 8, 8), encoder_blocks=(1, 1, 1), decoder=(8, 8, 8),
                                  decoder_blocks=(1, 1, 1), half=4))  # fmt: skip
    for weight in model.parameters():  # layers that start at zero draw too
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.05)
    return OnePassCodec("small-onepass", 250, MODEL, OnePassEngine(model), CODEC_DEFAULTS, segment=bands)


@pytest.fixture(scope="session", params=["area", "nearest"])
def sqgan(request) -> SQGANCodec:
    torch.manual_seed(1)
    shape = StreamConfig(patch=4, encoder=(8, 8, 8), decoder=(8, 8, 8), encoder_blocks=1, decoder_blocks=1,
                         encoder_mid=False, decoder_mid=False, latent=8, code_dim=4, codes=64, adm_blocks=2,
                         adm_width=8, coarse=4, heads=2)  # fmt: skip
    config = SQGANConfig(taxonomy="street11", classes=11, map=shape, image=shape, spade_hidden=8, sempe_hidden=8,
                         spade_kernel=1, spade_resize=request.param)  # fmt: skip
    model = SQGAN(config)
    for stream in (model.map, model.image):
        stream.quantizer.codebook.data.normal_(0, 0.3)
    name = f"small-sqgan-{request.param}"
    return SQGANCodec(name, 251, MODEL, SQGANEngine(model), SQGAN_DEFAULTS, {}, segment=bands)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """exported(codec) -> the folder with its networks in fp32, written once."""
    folder, done = tmp_path_factory.mktemp("networks"), set()

    def export(codec):
        if codec.name not in done:
            networks = {(name, "fp32"): data for name, data in export_codec(codec).items()}
            write_bundle(folder, codec.name, codec.fingerprint, networks, {})
            done.add(codec.name)
        return folder

    return export


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """A folder with the networks of the two bundled codecs and of the segmenter."""
    from chappe.backends.make import export

    folder = tmp_path_factory.mktemp("shipped")
    export(["spic-onepass-street", "sqgan-street"], folder)
    return folder
