"""Tasks: each score against its definition, detectors from components and from transformers, and missing libraries."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from chappe.data.scenes import render_scene
from chappe.errors import InputError, MissingDependency, UsageError
from chappe.metrics import Boxes, align, components, confusion, delta, miou, rmse
from chappe.tasks import (
    Classification,
    ComponentDetector,
    Depth,
    Detection,
    Reidentification,
    Segmentation,
    Task,
    load_torchvision_detector,
    load_transformers_classifier,
    load_transformers_depth,
    load_transformers_detector,
    rlasc_detection_loss,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_importing_brings_no_torch_and_every_name_resolves():
    code = (
        "import sys, chappe.metrics as m, chappe.tasks as t; assert not {'torch', 'numba', 'scipy'} & set(sys.modules);"
        "print(all(callable(getattr(p, n)) for p in (m, t) for n in p.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"


class Eye:
    """A segmenter whose labels are the picture's red channel; void is 11."""

    taxonomy = "street11"

    def __call__(self, image):
        return image[..., 0] % 12


class SureEye(Eye):
    def logits(self, image):
        """Class of the red channel, the surer the greener."""
        hot = torch.nn.functional.one_hot(torch.from_numpy(self(image).astype(np.int64)), 12).permute(2, 0, 1)
        return hot * torch.from_numpy(image[..., 1].astype(np.float32) / 50)


def painted(labels: np.ndarray, green: int = 200) -> np.ndarray:
    return np.stack((labels, np.full_like(labels, green), labels), -1)


def test_every_task_is_a_task():
    network = lambda image: image.mean((0, 1))  # noqa: E731
    tasks = [Segmentation(Eye()), Detection(ComponentDetector(Eye())), Classification(network), Depth(network),
             Reidentification(network)]  # fmt: skip
    assert len({task.name for task in tasks}) == 5
    for task in tasks:
        assert isinstance(task, Task)
        for bad in (IMAGE[..., 0], IMAGE.astype(float), IMAGE[:0]):
            with pytest.raises(InputError, match="a task looks at"):
                task.run(bad)


def test_segmentation_scores_what_coding_cost():
    task = Segmentation(Eye())
    answer, reference = task.run(IMAGE), task.run(IMAGE[::-1])
    matrix = confusion(answer, reference, 12, ignore=11)
    score = task.score(answer, reference)
    assert score["miou"] == miou(matrix, 11) and score["loss"] == 1 - score["miou"]  # RL-ASC eq. (6)
    assert score["accuracy"] == np.trace(matrix) / matrix.sum()
    assert task.score(answer, answer) == {"miou": 1.0, "accuracy": 1.0, "loss": 0.0}


def test_boxes_from_components():
    labels = render_scene(1, size=(128, 512)).labels
    image = painted(labels)
    found = ComponentDetector(Eye())(image)
    expected = components(labels, {8, 9, 10})
    assert len(expected) > 2
    assert found.boxes.tolist() == [list(i.box) for i in expected] and found.labels.tolist() == [
        i.label for i in expected
    ]
    assert (found.scores == 1).all()
    assert set(ComponentDetector(Eye(), classes={6}, min_pixels=5)(image).labels) == {6}
    assert len(ComponentDetector(Eye())(np.zeros_like(image))) == 0
    # With logits: the mean softmax probability of the component.
    image[:, :256, 1] = 60
    sure = ComponentDetector(SureEye())(image)
    assert sure.boxes.tolist() == found.boxes.tolist()
    probability = [math.exp(g / 50) / (math.exp(g / 50) + 11) for g in (60, 200)]
    marked = [(i, s) for i, s in zip(expected, sure.scores, strict=True)]
    for instance, score in marked:
        if instance.box[2] <= 256 or instance.box[0] >= 256:
            assert score == pytest.approx(probability[instance.box[0] >= 256], rel=1e-5)
        else:
            assert probability[0] < score < probability[1]
    assert len({round(float(s), 4) for _, s in marked}) >= 2


def test_detection_scores():
    task = Detection(ComponentDetector(Eye()), floor=0.5)
    truth = Boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 2], [0.9, 0.4])  # the second is no reference
    assert task.reference(truth).labels.tolist() == [1]
    assert task.score(truth, truth) == {"map50": 1.0, "map": 1.0, "loss": 0.0}
    short = Boxes([[0, 0, 10, 7]], [1], [0.8])  # IoU .7: right at .5 .. .65 and at .7
    score = task.score(short, truth)
    assert (
        score["map50"] == 1.0 and score["map"] == pytest.approx(0.5) and score["loss"] == pytest.approx(-math.log(0.7))
    )
    nothing = Boxes([], [])
    assert task.score(nothing, truth)["loss"] == math.inf and math.isnan(task.score(short, nothing)["map"])


def test_rlasc_detection_loss_is_the_area_of_sets_of_pixels():
    rng = np.random.default_rng(1)
    sides = []
    for _ in range(2):
        corner, side = rng.integers(0, 20, (9, 2)), rng.integers(1, 9, (9, 2))
        sides.append(Boxes(np.hstack((corner, corner + side)), rng.integers(0, 4, 9)))
    masks = np.zeros((2, 5, 30, 30), bool)
    for mask, side in zip(masks, sides, strict=True):
        for (left, top, right, bottom), label in zip(side.boxes.astype(int), side.labels, strict=True):
            mask[label, top:bottom, left:right] = True
    inner, union = (masks[0] & masks[1]).sum((1, 2)), (masks[0] | masks[1]).sum((1, 2))
    expected = -math.log(np.mean([i / u for i, u in zip(inner, union, strict=True) if u]))
    assert rlasc_detection_loss(*sides) == pytest.approx(expected)
    nothing = Boxes([], [])
    assert rlasc_detection_loss(nothing, nothing) == 0 and rlasc_detection_loss(sides[0], nothing) == math.inf


def test_classification_and_reidentification():
    table = {0: np.array([1.0, 5, 2, 0, 0, 0, 0]), 1: np.array([6.0, 5, 2, 0, 0, 0, -1])}
    image = np.zeros((4, 4, 3), np.uint8)
    network = lambda image: table[int(image[0, 0, 0])]  # noqa: E731
    task = Classification(network)
    original, decoded = task.run(image), task.run(image + 1)
    score = task.score(decoded, original)
    assert (score["top1"], score["top5"]) == (0.0, 1.0)
    assert task.score(decoded, 0)["top1"] == 1.0 and task.score(decoded, 6)["top5"] == 0.0
    log_p = decoded - np.log(np.exp(decoded).sum())
    assert score["loss"] == pytest.approx(-log_p[1] / 7)  # RL-ASC eq. (9), one-hot truth of eq. (8)
    smooth = Reidentification(network, epsilon=0.3).score(decoded, 1)["loss"]
    p = np.where(np.arange(7) == 1, 0.7, 0.05)  # eq. (10)
    assert smooth == pytest.approx(-(p * log_p).sum() / 7)
    with pytest.raises(UsageError, match="epsilon"):
        Reidentification(network, epsilon=1)


def test_depth():
    near, far = Depth(lambda image: image[..., 0] + 1.0), Depth(lambda image: image[..., 0] * 3.0 + 9, relative=True)
    reference = near.run(IMAGE)
    noisy = IMAGE.copy()
    noisy[::2] = np.roll(IMAGE[::2], 3, axis=1)
    answer = near.run(noisy)
    assert near.score(answer, reference) == {"rmse": rmse(answer, reference), "delta": delta(answer, reference)}
    assert 0 < near.score(answer, reference)["delta"] < 1
    # A relative map fits itself to the reference first.
    score = far.score(far.run(IMAGE), reference)
    assert score["rmse"] == pytest.approx(0, abs=1e-9) and score["delta"] == 1.0
    relative = far.run(noisy)
    assert far.score(relative, reference)["rmse"] == pytest.approx(rmse(align(relative, reference), reference))


def saved(tmp_path, model, processor):
    model.eval().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def transformers():
    torch.manual_seed(0)
    return pytest.importorskip("transformers", reason="transformers is not installed (chappe[hf])")


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "patch_size": 8}


def test_transformers_detector(transformers, tmp_path):
    config = transformers.YolosConfig(**SMALL, image_size=[48, 64], num_detection_tokens=6, num_labels=3)
    model = transformers.YolosForObjectDetection(config)
    processor = transformers.YolosImageProcessor(size={"shortest_edge": 48, "longest_edge": 64})
    detect = load_transformers_detector(saved(tmp_path, model, processor), threshold=0.2)
    found = detect(IMAGE)
    with torch.no_grad():
        output = model.eval()(**processor(images=IMAGE, return_tensors="pt"))
    # Boxes by hand: the class with the largest probability among the real ones, centre and size to corners.
    probability = output.logits[0].softmax(-1)[:, :-1]
    score, label = probability.max(-1)
    x, y, w, h = output.pred_boxes[0].unbind(-1)
    corners = torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), -1) * torch.tensor([64, 48, 64, 48])
    kept = score > 0.2
    assert kept.any() and len(found) == int(kept.sum())
    np.testing.assert_allclose(found.scores, score[kept], rtol=1e-4)
    assert found.labels.tolist() == label[kept].tolist()
    limit = np.array([64, 48, 64, 48])
    np.testing.assert_allclose(found.boxes, np.clip(corners[kept].numpy(), 0, limit), rtol=1e-3, atol=1e-3)
    assert Detection(detect, floor=0.0).score(found, found)["map50"] <= 1


def test_transformers_classifier(transformers, tmp_path):
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, image_size=32, num_labels=5))
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    logits = Classification(load_transformers_classifier(saved(tmp_path, model, processor))).run(IMAGE)
    with torch.no_grad():
        expected = model.eval()(**processor(images=IMAGE, return_tensors="pt")).logits[0]
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-6)


def test_transformers_depth(transformers, tmp_path):
    config = transformers.DPTConfig(
        **(SMALL | {"num_hidden_layers": 4}), image_size=32, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False,
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    model = transformers.DPTForDepthEstimation(config)
    processor = transformers.DPTImageProcessor(size={"height": 32, "width": 32})
    found = Depth(load_transformers_depth(saved(tmp_path, model, processor))).run(IMAGE)
    with torch.no_grad():
        small = model.eval()(**processor(images=IMAGE, return_tensors="pt")).predicted_depth
    assert found.shape == (48, 64) and small.shape[0] == 1
    expected = torch.nn.functional.interpolate(small[None], (48, 64), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)


def test_folders_that_hold_no_model(transformers, tmp_path):
    for load in (load_transformers_detector, load_transformers_classifier, load_transformers_depth):
        with pytest.raises(InputError, match="not a local folder"):
            load("facebook/detr-resnet-50")
        with pytest.raises(InputError, match="cannot be loaded as a transformers") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependency, match=r"chappe\[hf\]"):
        load_transformers_depth(tmp_path)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(MissingDependency, match="torchvision"):
        load_torchvision_detector(tmp_path / "w.safetensors")


def test_torchvision_detector_through_its_interface(tmp_path, monkeypatch):
    """torchvision's contract, played by a stand-in: a list of (3, H, W) tensors in 0..1 to a list of dicts."""
    from safetensors.torch import save_file

    class Net(torch.nn.Module):
        def __init__(self, weights, weights_backbone, num_classes):
            super().__init__()
            assert weights is None and weights_backbone is None  # nothing may be downloaded
            self.shift = torch.nn.Parameter(torch.zeros(num_classes))

        def forward(self, pictures):
            (x,) = pictures
            assert x.shape == (3, 48, 64) and float(x.max()) <= 1
            boxes = torch.tensor([[-4.0, 1, 20, 60], [1, 1, 2, 2]]) + self.shift[0]
            return [
                {"boxes": boxes, "labels": torch.tensor([3, 1]), "scores": torch.tensor([0.9, 0.01]), "masks": None}
            ]

    detection = SimpleNamespace(maskrcnn_resnet50_fpn=Net)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", SimpleNamespace(detection=detection))
    path = tmp_path / "w.safetensors"
    save_file({"shift": torch.ones(2)}, path)
    found = load_torchvision_detector(path, num_classes=2)(IMAGE)
    assert found.boxes.tolist() == [[0, 2, 21, 48]] and found.labels.tolist() == [3]
    with pytest.raises(InputError, match="does not hold the weights"):
        load_torchvision_detector(path, num_classes=5)
    with pytest.raises(InputError, match="has no 'yolo'"):
        load_torchvision_detector(path, builder="yolo")
