"""Image classification: is the decoded picture still taken for what it shows?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..metrics.classification import smoothed_cross_entropy, topk
from .base import checked_image, load_pretrained

__all__ = ["Classification", "load_transformers_classifier"]


class Classification:
    """`run(image)` -> (K,) logits; `score` -> top1, top5 (0 or 1 for one picture) and RL-ASC's loss (eq. 8, 9).

    `classifier`: a callable from a picture to (K,) logits. The reference is a true class index or the logits on the
    original, whose largest is then taken for the truth.
    """

    name = "classification"
    epsilon = 0.0

    def __init__(self, classifier: Callable[[np.ndarray], np.ndarray]) -> None:
        self._classifier = classifier

    def run(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (K,) float64 logits."""
        return np.asarray(self._classifier(checked_image(image)), np.float64).reshape(-1)

    def score(self, prediction: np.ndarray, reference: int | np.ndarray) -> dict[str, float]:
        """top1, top5 in {0, 1}; loss in nats. To be averaged over pictures."""
        logits = np.asarray(prediction, np.float64)[None]
        truth = np.array([reference if np.ndim(reference) == 0 else int(np.argmax(reference))])
        return {
            "top1": topk(logits, truth, 1),
            "top5": topk(logits, truth, min(5, logits.shape[1])),
            "loss": smoothed_cross_entropy(logits, truth, self.epsilon),
        }


def load_transformers_classifier(path: str | Path, *, device: str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """A `transformers` image classifier (ViT, ResNet, MobileNet, ...) saved in a local folder, as a callable to logits.

    Nothing is downloaded. Raises as `load_pretrained`.
    """
    model, processor = load_pretrained("AutoModelForImageClassification", path, "a transformers classifier", device)

    def classify(image: np.ndarray) -> np.ndarray:
        import torch

        inputs = processor(images=checked_image(image), return_tensors="pt")
        with torch.inference_mode():
            return model(pixel_values=inputs["pixel_values"].to(device)).logits[0].float().cpu().numpy()

    return classify
