"""Metrics over many pictures: thin accumulators over the pure functions, one `add` a picture, then a value.

>>> tally = Confusion(2)
>>> tally.add(np.array([0, 0]), np.array([0, 1])), tally.add(np.array([1]), np.array([1]))
(None, None)
>>> tally.miou
0.5
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from .detection import Boxes, mean_average_precision
from .semantic import confusion, miou, per_class_iou, pixel_accuracy

__all__ = ["Confusion", "Detections", "Mean", "Objects"]


class Mean:
    """The mean of a metric of two pictures, such as `psnr`, `ssim` or `lpips`, over pictures; `values` keeps each."""

    def __init__(self, metric: Callable[..., float]) -> None:
        self._metric = metric
        self.values: list[float] = []

    def add(self, *pair) -> None:
        """Arguments as the metric takes them."""
        self.values.append(float(self._metric(*pair)))

    @property
    def value(self) -> float:
        """The mean, NaN before the first picture (and infinite once one PSNR was)."""
        return float(np.mean(self.values)) if self.values else float("nan")


class Confusion:
    """Summed confusion matrices: the data set's mIoU (`miou`) and the mean of the pictures' own (`miou_image`)."""

    def __init__(self, classes: int, ignore: int | None = None) -> None:
        self._ignore = ignore
        self._images: list[float] = []
        self.matrix = np.zeros((classes, classes), np.int64)

    def add(self, pred: np.ndarray, true: np.ndarray) -> None:
        """Two (H, W) integer label maps, as `confusion` takes them."""
        matrix = confusion(pred, true, len(self.matrix), self._ignore)
        self.matrix += matrix
        self._images.append(miou(matrix, self._ignore))

    @property
    def miou(self) -> float:
        """mIoU of the sum, in [0, 1], without the ignored class."""
        return miou(self.matrix, self._ignore)

    @property
    def miou_image(self) -> float:
        """Mean over pictures of each one's mIoU over the classes it has, in [0, 1]; another measure than `miou`."""
        defined = [value for value in self._images if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")

    @property
    def per_class(self) -> np.ndarray:
        """(C,) IoU of the sum, NaN for a class that occurs nowhere."""
        return per_class_iou(self.matrix)

    @property
    def accuracy(self) -> float:
        """Pixel accuracy of the sum."""
        return pixel_accuracy(self.matrix)


class Objects:
    """Summed object counts: `count`, an `ObjectCount`."""

    def __init__(self, iou: float = 0.5, *, classes: Collection[int] | None = None, taxonomy: str = "street11") -> None:
        from .objects import ObjectCount

        self._options = {"iou": iou, "classes": classes, "taxonomy": taxonomy}
        self.count = ObjectCount()

    def add(self, original: np.ndarray, decoded: np.ndarray) -> None:
        """Two (H, W) integer label maps, as `objects.match` takes them."""
        from .objects import match

        self.count += match(original, decoded, **self._options)


class Detections:
    """Boxes of many pictures, for `mean_average_precision`, which cannot be averaged over pictures."""

    def __init__(self, iou: float | str | Sequence[float] = 0.5) -> None:
        self._iou = iou
        self._pred: list[Boxes] = []
        self._truth: list[Boxes] = []

    def add(self, pred: Boxes, truth: Boxes) -> None:
        """The boxes found in one picture, and its true ones."""
        self._pred.append(pred)
        self._truth.append(truth)

    @property
    def value(self) -> float:
        """mAP so far, NaN without a true box."""
        return mean_average_precision(self._pred, self._truth, self._iou)
