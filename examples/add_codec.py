"""Add a codec of your own to the benchmark: a function that returns a `chappe.codec.Codec`.

    chappe evaluate CamVid --codecs sqgan-street examples/add_codec.py:mbt2018 --bpp 0.04 q1 q2
    chappe compare street.jpg --codecs sqgan-street examples/add_codec.py:msillm --bpp 0.07

A codec of another project needs that project and its weights installed; the three below are CompressAI's
mean-scale hyperprior, MS-ILLM and HiFiC. Each says how to get bytes out of a tensor and back, no more: padding,
rates, the file's header and the counting of its bytes are `TensorCodec`'s. None of it is installed with chappe, some
of the weights are for research only (MS-ILLM: CC BY-NC), and chappe's tests run these functions with stand-ins of the
same interface, not with the real networks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from chappe.bench.adapter import TensorCodec, pack, unpack


def mbt2018() -> TensorCodec:
    """CompressAI, `pip install compressai`: mbt2018-mean, qualities 1 to 4 (about 0.1 to 0.4 bpp)."""

    def load(quality: int):
        from compressai.zoo import mbt2018_mean  # downloads its weights at the first call

        model = mbt2018_mean(quality=quality, metric="mse", pretrained=True).eval()

        def compress(x):
            out = model.compress(x)
            return pack(out["shape"], [group[0] for group in out["strings"]])

        def decompress(data):
            shape, strings = unpack(data)
            return model.decompress([[string] for string in strings], shape)["x_hat"]

        return compress, decompress

    return TensorCodec("mbt2018-mean", {f"q{q}": lambda q=q: load(q) for q in (1, 2, 3, 4)}, version="compressai")


def msillm() -> TensorCodec:
    """MS-ILLM, github.com/facebookresearch/NeuralCompression: made for 0.035, 0.07, 0.14 and 0.3 bpp."""

    def load(quality: int):
        import torch
        from neuralcompression import HyperpriorCompressedOutput

        model = torch.hub.load("facebookresearch/NeuralCompression", f"msillm_quality_{quality}").eval()
        model.update()

        def compress(x):
            out = model.compress(x)
            return pack([*out.image_size, *out.padded_size], [out.latent_strings[0], out.hyper_latent_strings[0]])

        def decompress(data):
            (h, w, ph, pw), (latent, hyper) = unpack(data)
            return model.decompress(
                HyperpriorCompressedOutput(
                    latent_strings=[latent], hyper_latent_strings=[hyper], image_size=(h, w), padded_size=(ph, pw)
                )
            )

        return compress, decompress

    return TensorCodec("msillm", {f"q{q}": lambda q=q: load(q) for q in (1, 2, 3, 4)}, version="NeuralCompression")


def hific(folder: str = "hific") -> TensorCodec:
    """HiFiC, github.com/Justin-Tan/high-fidelity-generative-compression: run where its `src` can be imported.

    `folder` holds hific_low.pt, hific_med.pt and hific_hi.pt (0.14, 0.30 and 0.45 bpp). Its .hfc file is the payload.
    """

    def load(which: str):
        import logging

        import torch
        from default_config import ModelModes
        from src.compression.compression_utils import load_compressed_format, save_compressed_format
        from src.helpers.utils import load_model

        path = str(Path(folder) / f"hific_{which}.pt")
        arguments, model, _ = load_model(
            path, logging.getLogger("hific"), torch.device("cpu"), model_mode=ModelModes.EVALUATION,
            current_args_d=None, prediction=True, strict=False, silent=True,
        )  # fmt: skip
        model.Hyperprior.hyperprior_entropy_model.build_tables()
        signed = arguments.normalize_input_image

        def compress(x):
            with tempfile.TemporaryDirectory() as scratch:
                path = str(Path(scratch) / "a.hfc")
                save_compressed_format(model.compress(x * 2 - 1 if signed else x), out_path=path)
                return Path(path).read_bytes()

        def decompress(data):
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "a.hfc"
                path.write_bytes(data)
                out = model.decompress(load_compressed_format(str(path)))
            return (out + 1) / 2 if signed else out

        return compress, decompress

    return TensorCodec("hific", {which: lambda w=which: load(w) for which in ("low", "med", "hi")}, version="hific")
