"""Depth maps: root mean square error and the share of pixels within a ratio.

Eigen, Puhrsch, Fergus, *Depth Map Prediction from a Single Image using a Multi-Scale Deep Network*, NeurIPS 2014.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError, UsageError

__all__ = ["align", "delta", "rmse"]


def rmse(pred: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """sqrt(mean (pred - truth)^2) over the valid pixels, in the unit of the maps.

    `pred`, `truth`: one shape, float. `valid`: bool of that shape; by default pixels where `truth` is finite and > 0,
    as depth data marks holes with 0. Raises `InputError` for unequal shapes, no valid pixel, or a prediction that is
    not finite on one.

    >>> rmse(np.array([1.0, 5.0, 9.0]), np.array([1.0, 2.0, 0.0]))  # doctest: +ELLIPSIS
    2.1213...
    """
    pred, truth = _pairs(pred, truth, valid)
    return float(np.sqrt(((pred - truth) ** 2).mean()))


def delta(pred: np.ndarray, truth: np.ndarray, threshold: float = 1.25, valid: np.ndarray | None = None) -> float:
    """Share of valid pixels with max(pred / truth, truth / pred) < threshold, in [0, 1].

    Equal for depth and for inverse depth. Arguments as in `rmse`; a prediction of 0 or below misses.
    Raises `UsageError` for a threshold of 1 or below.

    >>> delta(np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.1, 3.0, 3.0, 1.0]))
    0.5
    """
    if not threshold > 1:
        raise UsageError(f"the ratio of two depths is held against a threshold above 1, found {threshold}.")
    pred, truth = _pairs(pred, truth, valid)
    if (truth <= 0).any():
        raise InputError("depths to compare by ratio are positive, and a valid true one is not: mask it in `valid`.")
    return float(((pred < threshold * truth) & (truth < threshold * pred)).mean())


def align(pred: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """`pred` scaled and shifted to fit `truth` best (least squares over the valid pixels): for relative depth.

    Ranftl et al., *Towards Robust Monocular Depth Estimation*, TPAMI 2022, eq. (4). A constant prediction becomes the
    mean of the truth. Arguments and errors as in `rmse`.
    """
    p, t = _pairs(pred, truth, valid)
    spread = ((p - p.mean()) ** 2).sum()
    scale = ((p - p.mean()) * (t - t.mean())).sum() / spread if spread > 0 else 0.0
    return scale * (np.asarray(pred, np.float64) - p.mean()) + t.mean()


def _pairs(pred: np.ndarray, truth: np.ndarray, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    pred, truth = np.asarray(pred, np.float64), np.asarray(truth, np.float64)
    if pred.shape != truth.shape:
        raise InputError(f"two depth maps of one size are needed, found {pred.shape} and {truth.shape}: resize one.")
    valid = (np.isfinite(truth) & (truth > 0)) if valid is None else np.asarray(valid, bool)
    if valid.shape != truth.shape or not valid.any():
        raise InputError(
            f"no depth can be compared: the mask {valid.shape} for maps {truth.shape} holds no valid pixel."
        )
    pred, truth = pred[valid], truth[valid]
    if not (np.isfinite(pred).all() and np.isfinite(truth).all()):
        raise InputError("a depth on a valid pixel is NaN or infinite: mask it in `valid`.")
    return pred, truth
