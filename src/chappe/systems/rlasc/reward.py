"""The rate-semantic-perceptual loss (RL-ASC eq. 4-13): what a decoded picture loses, for any task of `chappe.tasks`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.metrics.lpips import LPIPS
from chappe.nn.run import from_bytes
from chappe.tasks import Classification, ComponentDetector, Detection, Segmentation, Task
from chappe.taxonomy import get_taxonomy, relevance

__all__ = ["TASKS", "Criterion", "SoftSegmentation", "make_task", "objects"]

TASKS = ("segmentation", "soft", "detection")
"""What the built-in segmenter alone can judge; classification (eq. 9) and re-identification (eq. 10) take a network of
the caller's: any `chappe.tasks.Task` whose score has a `loss` will do."""

_MOST = 5.0  # eq. (7) is infinite where nothing overlaps


class SoftSegmentation:
    """Cross-entropy (nats, mean over pixels) of the segmenter's reading against its own on the original.

    A step in features moves it a little, where 1 - mIoU of one picture jumps.
    """

    name = "soft"

    def __init__(self, segmenter) -> None:
        self._segmenter = segmenter

    def run(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (C, H, W) float32 logits."""
        return self._segmenter.logits(image).numpy()

    def score(self, prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """loss >= 0."""
        truth = torch.from_numpy(reference).argmax(0)
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(prediction)[None], truth[None])
        return {"loss": float(loss)}


def make_task(name: str, segmenter, classifier: Callable[[np.ndarray], np.ndarray] | None = None) -> Task:
    """The task of that name on a segmenter (`chappe.segment.builtin`), or a `classification` on a classifier."""
    if name == "segmentation":
        return Segmentation(segmenter)
    if name == "soft":
        return SoftSegmentation(segmenter)
    if name == "detection":
        return Detection(ComponentDetector(segmenter, objects(segmenter.taxonomy)), floor=0.0)
    if name == "classification" and classifier is not None:
        return Classification(classifier)
    raise UsageError(f"there is no task {name!r} to reward: choose one of {', '.join(TASKS)}")


def objects(taxonomy: str) -> frozenset[int]:
    """What `detection` looks for: vehicles, people and traffic signs (RL-ASC II-A)."""
    signs = np.flatnonzero(relevance("sign=1,rest=0", taxonomy))
    return frozenset(get_taxonomy(taxonomy).things) | frozenset(int(k) for k in signs)


@dataclass(frozen=True)
class Criterion:
    """L = lambda R + L_S + eta L_P (eq. 12).

    task: its score's `loss` is L_S, at most 5; a picture without anything to find loses nothing. perceptual: pictures
    (1, 3, H, W) in [-1, 1], twice -> (1,) (the paper: VGG features, eq. 11; here LPIPS); None: mean absolute
    difference.
    """

    task: Task
    eta: float = 1.0
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None

    @torch.no_grad()
    def reference(self, image: np.ndarray) -> tuple[np.ndarray, object, list[Tensor] | None]:
        """What pictures of `image` (H, W, 3) uint8 are held against: it, the task's answer, LPIPS's features."""
        features = self.perceptual.features(self._pixels(image)) if isinstance(self.perceptual, LPIPS) else None
        return image, self.task.run(image), features

    @torch.no_grad()
    def quality(self, decoded: np.ndarray, reference: tuple) -> float:
        """L_S + eta L_P of one decoded picture (H, W, 3) uint8."""
        image, answer, features = reference
        semantic = self.task.score(self.task.run(decoded), answer)["loss"]
        semantic = 0.0 if math.isnan(semantic) else min(semantic, _MOST)
        if self.perceptual is None:
            return semantic + self.eta * float(np.abs(decoded.astype(np.int16) - image).mean()) / 127.5
        if features is not None:
            far = self.perceptual.distance(self.perceptual.features(self._pixels(decoded)), features)
        else:
            far = self.perceptual(self._pixels(decoded), self._pixels(image))
        return semantic + self.eta * float(far)

    def _pixels(self, picture: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H, W) in [-1, 1], where the perceptual distance runs."""
        device = next(self.perceptual.parameters()).device if isinstance(self.perceptual, nn.Module) else "cpu"
        return from_bytes(torch.from_numpy(picture.copy()).to(device))

    def loss(self, decoded: np.ndarray, reference: tuple, bpp: float, lam: float) -> float:
        """lambda R + L_S + eta L_P."""
        return lam * bpp + self.quality(decoded, reference)
