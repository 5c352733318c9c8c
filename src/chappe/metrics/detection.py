"""Detection: mean average precision of boxes, as COCO counts it.

Lin et al., *Microsoft COCO*, ECCV 2014, and its evaluation code: detections of a class in falling order of score, each
taking the best still free true box with IoU >= t; precision made non-increasing and read at the recalls 0, .01, ..., 1;
the mean over thresholds and over classes that have a true box. At most 100 detections a picture and class, all areas,
no crowd boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, UsageError

__all__ = ["COCO_IOU", "Boxes", "average_precision", "box_iou", "mean_average_precision"]

COCO_IOU = tuple(np.linspace(0.5, 0.95, 10).tolist())
MAX_DETECTIONS = 100
_RECALLS = np.linspace(0, 1, 101)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) IoU of boxes (N, 4) and (M, 4), each (left, top, right, bottom) with right and bottom exclusive; 0 for two
    empty boxes.

    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]])).round(4).tolist()
    [[0.3333, 0.0]]
    """
    a, b = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inner = sides.clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)


def mean_average_precision(
    pred: Sequence[Boxes], truth: Sequence[Boxes], iou: float | str | Sequence[float] = 0.5
) -> float:
    """mAP of detections over pictures, in [0, 1]; NaN without a true box.

    `pred`, `truth`: one `Boxes` a picture, in one order. `iou`: a threshold, several, or ".5:.95" for COCO's ten.
    Raises `InputError` for lists of unequal length, `UsageError` for a threshold outside 0..1.
    """
    per_class = list(average_precision(pred, truth, iou).values())
    return float(np.mean(per_class)) if per_class else float("nan")


def average_precision(
    pred: Sequence[Boxes], truth: Sequence[Boxes], iou: float | str | Sequence[float] = 0.5
) -> dict[int, float]:
    """Average precision, in [0, 1], of each class that has a true box; arguments as in `mean_average_precision`."""
    thresholds = _thresholds(iou)
    if len(pred) != len(truth):
        raise InputError(f"detections are scored picture by picture, found {len(pred)} and {len(truth)} pictures.")
    classes = sorted({int(c) for boxes in truth for c in boxes.labels})
    return {c: float(np.mean([_one(pred, truth, c, t) for t in thresholds])) for c in classes}


@dataclass(frozen=True)
class Boxes:
    """Objects of one picture: `boxes` (N, 4) float (left, top, right, bottom) in pixels, right and bottom exclusive;
    `labels` (N,) integer classes; `scores` (N,) confidences, 1 if not given. `InputError` for shapes that do not fit.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4)
        labels = np.asarray(self.labels, np.int64).reshape(-1)
        scores = np.ones(len(boxes)) if self.scores is None else np.asarray(self.scores, np.float64).reshape(-1)
        if not len(boxes) == len(labels) == len(scores):
            raise InputError(
                f"each box has one label and one score, found {len(boxes)} boxes, {len(labels)} labels, "
                f"{len(scores)} scores."
            )
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
            raise InputError("a box is (left, top, right, bottom) with left <= right, top <= bottom, all finite.")
        for name, value in (("boxes", boxes), ("labels", labels), ("scores", scores)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)


def _thresholds(iou: float | str | Sequence[float]) -> tuple[float, ...]:
    if isinstance(iou, str):
        if iou not in (".5:.95", "0.5:0.95"):
            raise UsageError(f'the IoU threshold is a number, several, or ".5:.95", found {iou!r}.')
        return COCO_IOU
    values = tuple(np.atleast_1d(np.asarray(iou, np.float64)).tolist())
    if not values or not all(0 < t <= 1 for t in values):
        raise UsageError(f"IoU thresholds lie in 0..1, found {iou}.")
    return values


def _one(pred: Sequence[Boxes], truth: Sequence[Boxes], label: int, threshold: float) -> float:
    """Average precision of one class at one threshold; the class has a true box."""
    scores, hits, total = [], [], 0
    for found, real in zip(pred, truth, strict=True):
        mine = np.flatnonzero(found.labels == label)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:MAX_DETECTIONS]
        real_boxes = real.boxes[real.labels == label]
        total += len(real_boxes)
        ratio = box_iou(found.boxes[mine], real_boxes)
        free = np.ones(len(real_boxes), bool)
        for k, row in zip(mine, ratio, strict=True):
            open_row = np.where(free, row, -1.0)
            # Of equals the last, as COCO's code; 1 itself is reachable.
            best = len(row) - 1 - int(np.argmax(open_row[::-1])) if len(row) else -1
            hit = best >= 0 and open_row[best] >= min(threshold, 1 - 1e-10)
            if hit:
                free[best] = False
            scores.append(found.scores[k])
            hits.append(hit)
    order = np.argsort(-np.asarray(scores), kind="stable") if scores else np.zeros(0, int)
    hit = np.asarray(hits, bool)[order]
    right = np.cumsum(hit)
    recall = right / total
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(recall, _RECALLS, "left")].mean())
