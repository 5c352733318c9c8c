"""One photo through several codecs: matched bytes, the contact sheet, the commands, and adapters of other projects."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import madeup
from chappe.bench import measure
from chappe.bench.adapter import TensorCodec, pack, unpack
from chappe.bench.compare import agreement, compare, scene_of, tiles_of
from chappe.bench.measure import Instruments
from chappe.bench.sheet import Tile, contact_sheet
from chappe.cli import main
from chappe.errors import RateError, StreamError, UsageError
from chappe.image import read_image

ROOT = Path(__file__).parents[2]


def block_mean(side: int):
    """A pair that sends the mean of side x side blocks: 3 bytes a block."""

    def compress(x: torch.Tensor) -> bytes:
        small = torch.nn.functional.avg_pool2d(x, side)
        return pack(small.shape[2:], [small.mul(255).round().to(torch.uint8).numpy().tobytes()])

    def decompress(data: bytes) -> torch.Tensor:
        (h, w), (text,) = unpack(data)
        small = torch.frombuffer(bytearray(text), dtype=torch.uint8).reshape(1, 3, h, w).float() / 255
        return torch.nn.functional.interpolate(small, scale_factor=side)

    return compress, decompress


def blocks() -> TensorCodec:
    return TensorCodec("blocks", {"coarse": lambda: block_mean(32), "fine": lambda: block_mean(16)}, multiple=32)


def finer() -> TensorCodec:
    return TensorCodec("finer", {"only": lambda: block_mean(4)}, multiple=32)


def bright(image: np.ndarray) -> np.ndarray:
    """A judge: road where it is dark, sky where it is bright."""
    return np.where(image.mean(-1) > 127, 0, 3).astype(np.uint8)


@pytest.fixture
def photo():
    y, x = np.mgrid[:192, :250]
    return np.stack([255 * (y < 90), x, 255 - x], -1).astype(np.uint8)


@pytest.fixture
def adapters(monkeypatch):
    """Two codecs that can be named as adapters, and instruments that need no weights."""
    module = types.ModuleType("h_adapters")
    module.blocks, module.finer = blocks, finer
    monkeypatch.setitem(sys.modules, "h_adapters", module)
    instruments = Instruments({"judge": bright})
    monkeypatch.setattr(measure, "open_instruments", lambda **_: instruments)
    return instruments


def test_tensor_codec_counts_every_byte_and_crops_its_padding(photo):
    codec = blocks()
    blob = codec.encode(photo, point="fine")
    out = codec.decode(blob)
    assert len(blob) == 1 + 2 + 2 + (1 + 2 + 1 + 2) + 3 * 12 * 16  # quality, width, height, sizes, blocks
    assert out.image.shape == photo.shape and out.report.total == len(blob) and out.labels is None
    assert np.abs(out.image[:16, :16].reshape(-1, 3).mean(0) - photo[:16, :16].reshape(-1, 3).mean(0)).max() < 1
    assert codec.encode(photo) == codec.encode(photo, point="coarse")


def test_tensor_codec_takes_the_file_nearest_to_a_rate_or_refuses(photo):
    codec, pixels = blocks(), photo.shape[0] * photo.shape[1]
    coarse, fine = (len(codec.encode(photo, point=p)) for p in ("coarse", "fine"))
    assert len(codec.encode(photo, bpp=coarse * 8 / pixels * 1.05)) == coarse
    assert len(codec.encode(photo, bpp=3.0)) == fine  # above all qualities: the best
    for rate in (0.5 * coarse, 2 * coarse):
        with pytest.raises(RateError, match="it reaches"):
            codec.encode(photo, bpp=rate * 8 / pixels)
    with pytest.raises(UsageError):
        codec.encode(photo, bpp=1.0, point="fine")


def test_damaged_files_of_an_adapter_raise_one_error(photo):
    codec = blocks()
    blob = codec.encode(photo)
    for damaged in (b"", blob[:3], blob[:-1], blob + b"x", b"\x07" + blob[1:]):
        with pytest.raises(StreamError):
            codec.decode(damaged)


def test_the_example_adapters_fit_their_projects(monkeypatch, photo):
    """examples/add_codec.py against stand-ins of CompressAI's and NeuralCompression's interfaces."""
    spec = importlib.util.spec_from_file_location("add_codec", ROOT / "examples" / "add_codec.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    class Mean:
        def eval(self):
            return self

        def compress(self, x):
            small = torch.nn.functional.avg_pool2d(x, 64).mul(255).round().to(torch.uint8)
            return {"strings": [[small.numpy().tobytes()], [b"z"]], "shape": torch.Size(small.shape[2:])}

        def decompress(self, strings, shape):
            assert strings[1] == [b"z"]
            small = torch.frombuffer(bytearray(strings[0][0]), dtype=torch.uint8).reshape(1, 3, *shape) / 255
            return {"x_hat": torch.nn.functional.interpolate(small, scale_factor=64)}

    zoo = types.ModuleType("compressai.zoo")
    zoo.mbt2018_mean = lambda quality, metric, pretrained: Mean()
    monkeypatch.setitem(sys.modules, "compressai", types.ModuleType("compressai"))
    monkeypatch.setitem(sys.modules, "compressai.zoo", zoo)
    codec = example.mbt2018()
    assert [p.name for p in codec.points()] == ["q1", "q2", "q3", "q4"]
    assert codec.decode(codec.encode(photo, point="q2")).image.shape == photo.shape

    from typing import NamedTuple

    class Output(NamedTuple):
        latent_strings: list
        hyper_latent_strings: list
        image_size: tuple
        padded_size: tuple

    class Ill(Mean):
        def update(self):
            self.updated = True

        def compress(self, x):
            assert self.updated
            out = super().compress(x)
            return Output(out["strings"][0], [b"z"], tuple(x.shape[2:]), tuple(x.shape[2:]))

        def decompress(self, data):
            shape = [side // 64 for side in data.padded_size]
            return super().decompress([data.latent_strings, data.hyper_latent_strings], shape)["x_hat"]

    library = types.ModuleType("neuralcompression")
    library.HyperpriorCompressedOutput = Output
    monkeypatch.setitem(sys.modules, "neuralcompression", library)
    monkeypatch.setattr(torch.hub, "load", lambda repository, name: Ill())
    codec = example.msillm()
    assert codec.decode(codec.encode(photo, point="q1")).image.shape == photo.shape


def test_others_are_asked_for_the_bytes_of_the_first(photo, adapters):
    first, second, third = compare(photo, ["h_adapters:blocks", "h_adapters:blocks", "h_adapters:finer"], 3.0, adapters)
    assert first.row["bytes"] == second.row["bytes"] == len(blocks().encode(photo, point="fine"))
    assert third.image is None and "finer has no file" in third.row["why"]
    assert agreement(first.row) > 80 and agreement(third.row) is None
    tiles = tiles_of(photo, bright(photo), [first, third])
    assert [t.title for t in tiles] == ["original", "blocks", "finer"] and "Not at these bytes" in tiles[2].why
    scene = scene_of("p", "3", photo, bright(photo), [first, third])
    assert [v.codec for v in scene.shown] == ["blocks"] and scene.shown[0].bytes == first.row["bytes"]
    with pytest.raises(RateError):
        list(compare(photo, ["h_adapters:finer"], 0.01, adapters))


def test_sheet_shows_pictures_above_their_maps():
    red, labels = np.zeros((40, 80, 3), np.uint8), np.full((40, 80), 3, np.uint8)
    red[..., 0] = 200
    sheet = contact_sheet(
        [Tile("a", ("n",), red, labels), Tile("b", (), None, why="too few bytes " * 9)], title="t", columns=2
    )
    assert (sheet[250, 200] == (200, 0, 0)).all()
    road = (128, 64, 128)
    assert (sheet[88 + 58 + 270 + 6 + 100, 200] == road).all()
    assert (np.abs(sheet[:, 28 + 540 + 20 :].astype(int) - (106, 103, 95)).sum(-1) < 40).any()  # the reason, in words
    with pytest.raises(UsageError):
        contact_sheet([Tile("b", (), None)], title="t")


def test_the_command_writes_sheet_and_page(tmp_path, monkeypatch, capsys, photo, adapters):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("street.png")
    argv = ["compare", "street.png", "--codecs", "h_adapters:blocks", "h_adapters:finer", "--bpp", "3"]
    assert main([*argv, "-o", "s.png", "--html", "s.html"]) == 0
    out = capsys.readouterr()
    lines = out.out.splitlines()
    assert lines[0].split()[:3] == ["codec", "bytes", "bpp"] and lines[1].startswith("blocks")
    assert lines[2].split()[:2] == ["finer", "–"] and "finer has no file" in out.err
    assert read_image("s.png").shape[1] > 1500
    assert 'id="scenes"' in Path("s.html").read_text(encoding="utf-8")
    assert main([*argv, "-o", "missing/s.png"]) == 1
    assert main([*argv, "-o", "street.png"]) == 2
    assert main(["compare", "street.png", "--codecs", "nonsense"]) == 2
    Path("text.png").write_text("no picture")
    assert main(["compare", "text.png", "--codecs", "h_adapters:blocks"]) == 1
    assert "not a picture" in capsys.readouterr().err


def test_the_plot_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    rows = madeup.rows(("val",), 2, ("hevc-half", "sqgan-street"))
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["plot", "rows.jsonl", "-o", "c.png", "--published", "sqgan-fig12", "sqgan-fig9"]) == 0
    assert "5 curves of mIoU" in (err := capsys.readouterr().err) and "sqgan-fig9: the paper prints no" in err
    assert read_image("c.png").shape[1] > 600
    assert main(["plot", "rows.jsonl", "-o", "c.jpg"]) == 2
    assert main(["plot", "rows.jsonl", "--published", "nonsense"]) == 2
    assert main(["plot", "absent.json"]) == 1
