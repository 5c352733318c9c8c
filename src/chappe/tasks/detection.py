"""Object detection: boxes from a segmenter's components (offline), from transformers, or from torchvision.

Any callable from a picture to `chappe.metrics.Boxes` is a detector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MissingDependency
from ..metrics.detection import Boxes, mean_average_precision
from ..taxonomy import get_taxonomy
from .base import checked_image, first_line, load_pretrained

__all__ = [
    "ComponentDetector",
    "Detection",
    "load_torchvision_detector",
    "load_transformers_detector",
    "rlasc_detection_loss",
]

Detector = Callable[[np.ndarray], Boxes]


class Detection:
    """`run(image)` -> `Boxes`; `score` -> map50, map (.5:.95), and RL-ASC's semantic loss (eq. 7).

    `floor`: boxes of the *reference* below this score are left out, so that a detector's own answer on the original can
    stand in for the truth, as in RL-ASC Fig. 12; a truth without scores is kept whole. A data set's mAP takes all
    pictures at once: `chappe.metrics.Detections`.
    """

    name = "detection"

    def __init__(self, detector: Detector, floor: float = 0.5) -> None:
        self._detector = detector
        self.floor = floor

    def run(self, image: np.ndarray) -> Boxes:
        """(H, W, 3) uint8 -> the boxes found, with scores."""
        return self._detector(checked_image(image))

    def reference(self, boxes: Boxes) -> Boxes:
        """The boxes of the reference that count."""
        kept = boxes.scores >= self.floor
        return Boxes(boxes.boxes[kept], boxes.labels[kept], boxes.scores[kept])

    def score(self, prediction: Boxes, reference: Boxes) -> dict[str, float]:
        """map50 and map in [0, 1], NaN without a reference box; loss >= 0."""
        truth = self.reference(reference)
        return {
            "map50": mean_average_precision([prediction], [truth], 0.5),
            "map": mean_average_precision([prediction], [truth], ".5:.95"),
            "loss": rlasc_detection_loss(self.reference(prediction), truth),
        }


class ComponentDetector:
    """Boxes of the connected components of a segmenter's thing classes: a detector that needs no other network.

    `segmenter`: a callable with a `taxonomy`. A box's score is the mean softmax probability of its class over the
    component where the segmenter has `logits(image)` -> (C, H, W), else 1. Objects that touch share a box.
    """

    def __init__(self, segmenter: Any, classes: Collection[int] | None = None, min_pixels: int | None = None) -> None:
        from ..metrics.objects import MIN_PIXELS

        self._segmenter = segmenter
        self.taxonomy = get_taxonomy(segmenter.taxonomy)
        self.classes = frozenset(self.taxonomy.things if classes is None else classes)
        self.min_pixels = MIN_PIXELS if min_pixels is None else min_pixels

    def __call__(self, image: np.ndarray) -> Boxes:
        confidence = None
        if hasattr(self._segmenter, "logits"):
            probability = self._segmenter.logits(checked_image(image)).softmax(0)
            best, index = probability.max(0)
            labels, confidence = index.cpu().numpy(), best.cpu().numpy()
        else:
            labels = self._segmenter(checked_image(image))
        return self.boxes(labels, confidence)

    def boxes(self, labels: np.ndarray, confidence: np.ndarray | None = None) -> Boxes:
        """Boxes of a label map (H, W), the true one for instance; confidence: (H, W) in [0, 1]."""
        from ..metrics.objects import component_map

        marks, found = component_map(labels, self.classes, self.min_pixels)
        scores = None
        if confidence is not None and found:
            total = np.bincount(marks.ravel(), confidence.ravel().astype(np.float64), minlength=len(found) + 1)[1:]
            scores = total / [instance.area for instance in found]
        return Boxes(np.array([i.box for i in found]), np.array([i.label for i in found], np.int64), scores)


def load_transformers_detector(path: str | Path, *, threshold: float = 0.05, device: str = "cpu") -> Detector:
    """A `transformers` object detector (DETR, YOLOS, RT-DETR, ...) saved in a local folder.

    Its labels are the model's own class ids; boxes scored below `threshold` are dropped. Nothing is downloaded: fetch a
    folder once with `chappe.segment.adapters.download_transformers`. Raises as `load_pretrained`.
    """
    model, processor = load_pretrained("AutoModelForObjectDetection", path, "a transformers detector", device)

    def detect(image: np.ndarray) -> Boxes:
        import torch

        image = checked_image(image)
        inputs = {name: v.to(device) for name, v in processor(images=image, return_tensors="pt").items()}
        with torch.inference_mode():
            output = model(**inputs)
        (found,) = processor.post_process_object_detection(output, threshold, target_sizes=[image.shape[:2]])
        return _boxes(found, image.shape)

    return detect


def load_torchvision_detector(
    path: str | Path, *, builder: str = "maskrcnn_resnet50_fpn", threshold: float = 0.05, device: str = "cpu", **options
) -> Detector:
    """A torchvision detector (RL-ASC: Mask R-CNN) with weights from a local safetensors file.

    `builder`: a function of `torchvision.models.detection`; `options` go to it, as `num_classes=91`. A published .pth
    is converted with `safetensors.torch.save_file(torch.load(pth, weights_only=True), file)`. Raises
    `MissingDependency` without a usable torchvision, `InputError` for an unknown builder or a file that does not fit.
    """
    try:
        from torchvision.models import detection
    except (ImportError, RuntimeError, OSError) as error:  # one built for another torch raises RuntimeError
        raise MissingDependency(
            f"this needs torchvision, which is not usable here ({first_line(error)}): "
            "install the torchvision release made for this torch."
        ) from error
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not hasattr(detection, builder):
        raise InputError(f"torchvision.models.detection has no {builder!r}: name one of its builders.")
    try:
        model = getattr(detection, builder)(weights=None, weights_backbone=None, **options)
        model.load_state_dict(load_file(str(path)))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} does not hold the weights of {builder} ({first_line(error)}).") from error
    model = model.to(device).eval().requires_grad_(False)

    def detect(image: np.ndarray) -> Boxes:
        import torch

        planes = torch.from_numpy(checked_image(image).transpose(2, 0, 1).copy()).to(device).float() / 255
        with torch.inference_mode():
            (found,) = model([planes])
        kept = found["scores"] >= threshold
        return _boxes({name: found[name][kept] for name in ("boxes", "labels", "scores")}, image.shape)

    return detect


def rlasc_detection_loss(prediction: Boxes, reference: Boxes) -> float:
    """RL-ASC eq. (7): -ln of the mean over classes of the IoU of the areas that each side's boxes cover; >= 0.

    The paper compares the "bounding set" of a class, read here as the union of its boxes, over the classes of either
    side. 0 when neither has a box, infinite when nothing overlaps.
    """
    classes = sorted(set(prediction.labels.tolist()) | set(reference.labels.tolist()))
    if not classes:
        return 0.0
    ratios = []
    for label in classes:
        sides = [side.boxes[side.labels == label] for side in (prediction, reference)]
        both = np.concatenate(sides)
        # Exact areas on the grid of all edges.
        x, y = np.unique(both[:, [0, 2]]), np.unique(both[:, [1, 3]])
        cell = np.diff(y)[:, None] * np.diff(x)[None]
        covered = []
        for boxes in sides:
            mask = np.zeros(cell.shape, bool)
            for left, top, right, bottom in boxes:
                rows = slice(np.searchsorted(y, top), np.searchsorted(y, bottom))
                mask[rows, np.searchsorted(x, left) : np.searchsorted(x, right)] = True
            covered.append(mask)
        union = cell[covered[0] | covered[1]].sum()
        ratios.append(cell[covered[0] & covered[1]].sum() / union if union > 0 else 0.0)
    mean = float(np.mean(ratios))
    return -math.log(mean) if mean > 0 else math.inf


def _boxes(found: dict, shape: tuple[int, ...]) -> Boxes:
    """`Boxes` of a detector's tensors, cut to the picture."""
    boxes = found["boxes"].float().cpu().numpy().reshape(-1, 4)
    limit = np.array([shape[1], shape[0]] * 2, np.float64)
    boxes = np.clip(boxes, 0, limit)
    return Boxes(boxes, found["labels"].cpu().numpy(), found["scores"].float().cpu().numpy())
