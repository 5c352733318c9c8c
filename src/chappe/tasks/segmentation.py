"""Semantic segmentation: labels of the decoded picture against the truth, or against those of the original."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..metrics.semantic import confusion, miou, pixel_accuracy
from ..taxonomy import get_taxonomy
from .base import checked_image

__all__ = ["Segmentation"]


class Segmentation:
    """`run(image)` -> (H, W) uint8 labels; `score` -> miou, accuracy, and RL-ASC's semantic loss 1 - mIoU (eq. 6).

    `segmenter`: a callable with a `taxonomy` (see `chappe.segment.adapters.Segmenter`). Void of the reference is not
    counted, void in the prediction is a miss. A data set's mIoU comes from summed `confusion`s, not from a mean.
    """

    name = "segmentation"

    def __init__(self, segmenter: Callable[[np.ndarray], np.ndarray]) -> None:
        self._segmenter = segmenter
        self.taxonomy = get_taxonomy(segmenter.taxonomy)

    def run(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) uint8 class indices."""
        return self._segmenter(checked_image(image))

    def confusion(self, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """(C, C) int64 counts to sum over pictures; pixels whose reference is void are left out."""
        return confusion(prediction, reference, len(self.taxonomy), ignore=self.taxonomy.void)

    def score(self, prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """miou, accuracy, loss of one picture, each in [0, 1]; NaN if all of the reference is void."""
        matrix = self.confusion(prediction, reference)
        value = miou(matrix, ignore=self.taxonomy.void)
        return {"miou": value, "accuracy": pixel_accuracy(matrix), "loss": 1 - value}
