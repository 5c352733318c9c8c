"""Semantic fidelity: confusion matrix of two label maps, intersection over union, pixel accuracy.

A data set's mIoU is the mIoU of the *summed* confusion matrices of its pictures, not a mean of mIoUs:

>>> total = sum(confusion(p, t, 2) for p, t in [(np.array([0, 0]), np.array([0, 1])), (np.array([1]), np.array([1]))])
>>> miou(total)
0.5
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError, UsageError
from ..taxonomy import Taxonomy, get_taxonomy

__all__ = ["CATEGORIES", "category_confusion", "category_iou", "confusion", "miou", "per_class_iou", "pixel_accuracy"]

# Cityscapes' categories (Cordts et al., CVPR 2016, table 2) as spans of its label ids; the rest is void.
_SPANS = {"flat": (7, 10), "construction": (11, 16), "object": (17, 20), "nature": (21, 22), "sky": (23, 23),
          "human": (24, 25), "vehicle": (26, 34)}  # fmt: skip
CATEGORIES = (*_SPANS, "void")


def confusion(pred: np.ndarray, true: np.ndarray, classes: int, ignore: int | None = None) -> np.ndarray:
    """(classes, classes) int64 counts: entry [t, p] is the number of pixels of true class t predicted as p.

    `pred`, `true`: integer arrays of one shape. Pixels whose *true* label is `ignore` (any integer, inside or outside
    0..classes-1) are not counted. A prediction outside 0..classes-1 on a counted pixel raises `InputError`: dropping it
    would flatter the score. Where a void prediction may occur, count void as a class and leave it out of the mean:
    `miou(confusion(pred, true, 12, ignore=11), ignore=11)` books it as a miss of the true class.

    >>> confusion(np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 9]]), 2, ignore=9)
    array([[1, 1],
           [0, 1]])
    """
    pred, true = np.asarray(pred), np.asarray(true)
    if classes < 1:
        raise UsageError(f"a confusion matrix needs at least one class, found classes={classes}.")
    if pred.shape != true.shape:
        raise InputError(f"two label maps of one size are needed, found {pred.shape} and {true.shape}: resize one.")
    for name, labels in (("predicted", pred), ("true", true)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"the {name} labels must be integers, found {labels.dtype}: give class indices.")
    if ignore is not None:
        counted = true != ignore
        pred, true = pred[counted], true[counted]
    for name, labels in (("predicted", pred), ("true", true)):
        if labels.size and not (0 <= labels.min() and labels.max() < classes):
            raise InputError(
                f"the {name} labels run from {labels.min()} to {labels.max()} where 0 to {classes - 1} is expected: "
                "give the right number of classes, or the label to ignore."
            )
    joint = true.astype(np.int64).ravel() * classes + pred.ravel()
    return np.bincount(joint, minlength=classes * classes).reshape(classes, classes)


def per_class_iou(matrix: np.ndarray) -> np.ndarray:
    """(C,) float64 in [0, 1]: TP / (TP + FP + FN) of each class; NaN for a class neither present nor predicted.

    `matrix`: (C, C) counts from `confusion`, or a sum of such.

    >>> per_class_iou(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]]))
    array([0.5       , 0.66666667,        nan])
    """
    matrix = _square(matrix)
    hits = np.diagonal(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - np.diagonal(matrix)
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def miou(matrix: np.ndarray, ignore: int | None = None) -> float:
    """Mean of `per_class_iou` over the classes that occur (in truth or prediction), without class `ignore`; in [0, 1].

    NaN when no class occurs. Classes that occur nowhere do not count as 0 (nor as 1).

    >>> round(miou(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]])), 4)
    0.5833
    """
    iou = per_class_iou(matrix)
    if ignore is not None and 0 <= ignore < len(iou):
        iou = np.delete(iou, ignore)
    iou = iou[~np.isnan(iou)]
    return float(iou.mean()) if iou.size else float("nan")


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of counted pixels that are right, trace / sum, in [0, 1]; NaN for an empty matrix.

    >>> pixel_accuracy(np.array([[1, 1], [0, 2]]))
    0.75
    """
    matrix = _square(matrix)
    total = int(matrix.sum())
    return float(np.trace(matrix) / total) if total else float("nan")


def category_confusion(matrix: np.ndarray, taxonomy: str | Taxonomy) -> np.ndarray:
    """(8, 8) counts over `CATEGORIES`: the confusion matrix with each class replaced by its category, void last.

    `matrix`: (C, C) counts over the classes of `taxonomy`, or over all but its void where that comes last.
    Classes are placed through their Cityscapes counterpart, so street11's Bicyclist is human and its Tree nature.
    Raises `InputError` for a matrix of another size, `UsageError` for an unknown label set.
    """
    taxonomy = taxonomy if isinstance(taxonomy, Taxonomy) else get_taxonomy(taxonomy)
    matrix, classes = _square(matrix), len(taxonomy)
    if len(matrix) not in ({classes, classes - 1} if taxonomy.void == classes - 1 else {classes}):
        raise InputError(f"{taxonomy.name} has {classes} classes and the confusion matrix is {matrix.shape}.")
    place = np.full(len(matrix), len(CATEGORIES) - 1)
    for number, (first, last) in enumerate(_SPANS.values()):
        place[[first <= hub <= last for hub in taxonomy.to_hub[: len(matrix)]]] = number
    member = np.eye(len(CATEGORIES), dtype=matrix.dtype)[place]
    return member.T @ matrix @ member


def category_iou(matrix: np.ndarray, taxonomy: str | Taxonomy) -> dict[str, float]:
    """IoU in [0, 1] of flat, construction, object, nature, sky, human, vehicle; NaN where one occurs nowhere.

    Arguments as in `category_confusion`. Pixels whose *true* class is void should not be in the matrix (`ignore`).

    >>> matrix = np.diag([4] * 11)
    >>> matrix[9, 10] = 4  # pedestrians taken for riders: both are human
    >>> category_iou(matrix, "street11")["human"], round(miou(matrix), 3)
    (1.0, 0.909)
    """
    return dict(zip(_SPANS, per_class_iou(category_confusion(matrix, taxonomy))[:-1].tolist(), strict=True))


def _square(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise InputError(f"a confusion matrix is square, found shape {matrix.shape}: use `confusion`.")
    return matrix
