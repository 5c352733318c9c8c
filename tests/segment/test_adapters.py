"""Adapters: class translation, the transformers road on a tiny random model, and one-sentence errors without it."""

from __future__ import annotations

import builtins
import doctest
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from chappe.errors import InputError, MissingDependency, UsageError
from chappe.segment import adapters
from chappe.segment.adapters import Segmenter, class_table, download_transformers, load_smp, load_transformers
from chappe.taxonomy import get_taxonomy, mapping

LABELS = {0: "sky", 1: "road", 2: "car", 3: "ceiling"}


class Brightest(torch.nn.Module):
    """Says class c wherever channel c of the picture is brightest; class 3 never."""

    def forward(self, x):
        return torch.cat((x, torch.full_like(x[:, :1], -99.0)), 1)


def primary(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of saturated red, green and blue stripes, and which channel is lit."""
    lit = np.repeat(np.arange(width) * 3 // width, height).reshape(width, height).T
    return (np.eye(3, dtype=np.uint8) * 255)[lit], lit


def fake_smp(model, seen):
    def from_pretrained(path, **options):
        seen.update(options, path=path)
        return model

    return SimpleNamespace(from_pretrained=from_pretrained)


@pytest.fixture
def smp_folder(tmp_path):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes(b"{}")
    return tmp_path


def test_class_table_translates_by_name():
    ade = ["wall", "building;edifice", "sky", "floor;flooring", "tree", "road;route", "sidewalk;pavement", "person",
           "earth;ground", "car;auto", "signboard;sign", "streetlight", "minibike;motorbike", "light"]  # fmt: skip
    street = get_taxonomy("street11")
    assert [street.classes[i] for i in class_table(ade, "street11")] == [
        "Building", "Building", "Sky", "Void", "Tree", "Road", "Pavement", "Pedestrian",
        "Void", "Car", "SignSymbol", "Pole", "Bicyclist", "Void",
    ]  # fmt: skip
    names19 = dict(enumerate(get_taxonomy("cityscapes19").classes))
    assert (class_table(names19, "street11") == mapping("cityscapes19", "street11")).all()
    assert (class_table("cityscapes30", "street11") == mapping("cityscapes30", "street11")).all()
    for taxonomy in ("street11", "cityscapes30", "cocostuff183"):
        own = get_taxonomy(taxonomy)
        assert class_table(own.classes, taxonomy).tolist() == list(range(len(own)))


def test_class_table_refuses_strangers():
    with pytest.raises(UsageError, match="pass classes="):
        class_table({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "street11")
    with pytest.raises(UsageError, match="without gaps"):
        class_table({0: "sky", 2: "road"}, "street11")


def test_smp_adapter_translates_and_never_asks_for_encoder_weights(smp_folder, monkeypatch):
    seen = {}
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", fake_smp(Brightest(), seen))
    segment = load_smp(smp_folder, classes=list(LABELS.values()))
    assert isinstance(segment, Segmenter) and segment.taxonomy == "street11"
    assert seen == {"path": str(smp_folder), "encoder_weights": None}
    image, lit = primary(50, 90)
    labels = segment(image)
    assert labels.shape == (50, 90) and labels.dtype == np.uint8
    interior = np.abs(np.arange(90) % 30 - 14.5) < 13  # resizing to a multiple of 32 blurs the edges of the stripes
    assert (labels == np.array([0, 3, 8])[lit])[:, interior].all()
    with pytest.raises(InputError, match="uint8"):
        segment(image.astype(np.float32))


def test_smp_adapter_checks_the_number_of_classes(smp_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", fake_smp(Brightest(), {}))
    image, _ = primary(32, 32)
    with pytest.raises(UsageError, match="answers 4 classes and 3 names"):
        load_smp(smp_folder, classes=["sky", "road", "car"])(image)
    with pytest.raises(UsageError, match="answers 4 classes and 12 names"):
        load_smp(smp_folder, classes="street11")(image)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", fake_smp(two_headed(11), {}))
    assert (load_smp(smp_folder, classes="street11")(image) == 10).all()  # eleven channels, no void: allowed


def two_headed(channels: int) -> torch.nn.Module:
    """A model that always answers its last class, and has a second head that classifies the whole picture."""

    class Last(torch.nn.Module):
        def forward(self, x):
            return x[:, :1] * 0 + torch.arange(channels).view(1, -1, 1, 1).float(), torch.zeros(1)

    return Last()


@pytest.mark.parametrize("error", [ImportError("No module named it"), RuntimeError("operator x::nms does not exist")])
def test_a_missing_or_broken_library_is_one_sentence(tmp_path, monkeypatch, error):
    real = builtins.__import__

    def refuse(name, *args):
        if name.split(".")[0] in ("transformers", "segmentation_models_pytorch", "huggingface_hub"):
            raise error
        return real(name, *args)

    monkeypatch.setattr("importlib.import_module", lambda name: refuse(name))
    for call, extra in [
        (lambda: load_transformers(tmp_path), "hf"),
        (lambda: download_transformers("a/b", tmp_path), "hf"),
        (lambda: load_smp(tmp_path, classes="street11"), "smp"),
    ]:
        with pytest.raises(MissingDependency, match=rf"chappe\[{extra}\]") as caught:
            call()
        assert "\n" not in str(caught.value) and str(error) in str(caught.value)


def test_folders_that_hold_no_model(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", fake_smp(None, {}))
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace())
    with pytest.raises(InputError, match="not a local folder"):
        load_transformers("nvidia/segformer-b0")
    with pytest.raises(InputError, match="not a local folder"):
        load_smp(tmp_path / "none", classes="street11")
    with pytest.raises(InputError, match=r"holds no config.json"):
        load_smp(tmp_path, classes="street11")


def test_download_takes_safetensors_only(tmp_path, monkeypatch):
    calls = []

    def snapshot_download(name, local_dir, allow_patterns):
        calls.append((name, allow_patterns))
        if name == "no/net":
            raise OSError("no connection\nand a long story")
        local_dir.mkdir()
        (local_dir / ("model.safetensors" if name == "good/model" else "config.json")).write_bytes(b"")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    assert download_transformers("good/model", tmp_path / "a") == tmp_path / "a"
    assert calls == [("good/model", ["*.json", "*.safetensors"])]
    with pytest.raises(InputError, match="no safetensors"):
        download_transformers("pickles/only", tmp_path / "b")
    with pytest.raises(InputError, match=r"could not be downloaded to .*no connection\)"):
        download_transformers("no/net", tmp_path / "c")


@pytest.fixture
def segformer(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (chappe[hf])")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        id2label=LABELS, label2id={v: k for k, v in LABELS.items()},
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 96})
    processor.save_pretrained(tmp_path)
    return tmp_path, model, processor


def test_transformers_model_from_a_folder(segformer):
    folder, model, processor = segformer
    segment = load_transformers(folder)
    image = np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)
    labels = segment(image)
    assert isinstance(segment, Segmenter) and labels.shape == (70, 101) and labels.dtype == np.uint8
    # The library's own post-processing, on the model it was saved from.
    with torch.no_grad():
        output = model(**processor(images=image, return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(output, target_sizes=[(70, 101)])
    street = np.array([0, 3, 8, 11], np.uint8)[expected.numpy()]
    assert (labels == street).mean() > 0.999 and set(np.unique(labels)) <= {0, 3, 8, 11}
    renamed = load_transformers(folder, classes=["tree", "tree", "tree", "building"])
    assert (renamed(image) == np.array([5, 5, 5, 1])[expected.numpy()]).mean() > 0.999
    with pytest.raises(UsageError, match="pass classes="):
        load_transformers(folder, classes=["a", "b", "c", "d"])


def test_transformers_folder_without_safetensors(segformer):
    folder, *_ = segformer
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_transformers(folder)
    assert "\n" not in str(caught.value)


def test_doctests():
    result = doctest.testmod(adapters)
    assert result.failed == 0 < result.attempted
