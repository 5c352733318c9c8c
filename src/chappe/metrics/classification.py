"""Classification: top-k accuracy, and the cross-entropies of RL-ASC (eq. 8-10)."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, UsageError

__all__ = ["smoothed_cross_entropy", "top1", "topk"]


def topk(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Share of rows whose true class is among the `k` largest scores, in [0, 1].

    `scores`: (N, K) finite; `truth`: (N,) class indices. A tie at the k-th place goes to the lower index.
    Raises `InputError` for shapes that do not fit or classes out of range, `UsageError` for k outside 1..K.
    """
    scores, truth = _checked(scores, truth)
    if not 1 <= k <= scores.shape[1]:
        raise UsageError(f"top-k accuracy over {scores.shape[1]} classes needs k in 1..{scores.shape[1]}, found {k}.")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((order == truth[:, None]).any(1).mean())


def top1(pred: np.ndarray, truth: np.ndarray) -> float:
    """Share of right answers, in [0, 1]. `pred`: (N,) class indices, or (N, K) scores; `truth`: (N,) class indices.

    Raises `InputError` for shapes that do not fit or no rows.

    >>> top1(np.array([2, 0, 1, 1]), np.array([2, 0, 0, 1]))
    0.75
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.ndim == 2:
        return topk(pred, truth, 1)
    if pred.ndim != 1 or pred.shape != truth.shape or not pred.size:
        raise InputError(f"one answer and one true class a row are needed, found {pred.shape} and {truth.shape}.")
    return float((pred == truth).mean())


def smoothed_cross_entropy(
    logits: np.ndarray, truth: np.ndarray, epsilon: float = 0.1, *, per_class: bool = True
) -> float:
    """Cross-entropy with label smoothing, mean over the rows, in nats, >= 0: RL-ASC eq. (9) with p of eq. (10).

    -1/K sum_i p_i log softmax(logits)_i with p = 1 - epsilon on the true class and epsilon / (K - 1) on each other;
    epsilon = 0 gives eq. (8). The paper prints the factor 1/K; `per_class=False` leaves it out, as most software does.
    (torch's `label_smoothing` spreads over all K classes: its value is epsilon * K / (K - 1).)

    `logits`: (N, K), K >= 2; `truth`: (N,) class indices. Raises `InputError` for shapes that do not fit,
    `UsageError` for epsilon outside 0..1.
    """
    logits, truth = _checked(logits, truth)
    classes = logits.shape[1]
    if not 0 <= epsilon < 1 or classes < 2:
        raise UsageError(f"label smoothing needs two classes and epsilon in 0..1, found {classes} and {epsilon}.")
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    right = np.take_along_axis(log_p, truth[:, None], 1)[:, 0]
    loss = -((1 - epsilon) * right + epsilon / (classes - 1) * (log_p.sum(1) - right))
    return float(loss.mean() / (classes if per_class else 1))


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"finite scores (N, K) and true classes (N,) are needed, found {scores.shape}, {truth.shape}.")
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise InputError(
            f"true classes are integers 0 to {scores.shape[1] - 1}, found {truth.dtype} up to {truth.max()}."
        )
    return scores, truth
