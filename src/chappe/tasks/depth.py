"""Monocular depth: the map a depth network sees in the decoded picture against the one in the original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..metrics.depth import align, delta, rmse
from .base import checked_image, load_pretrained

__all__ = ["Depth", "load_transformers_depth"]


class Depth:
    """`run(image)` -> (H, W) depth map; `score` -> rmse (in the map's unit) and delta (share within a ratio of 1.25).

    `network`: a callable from a picture to an (H, W) map: depth, or inverse depth as DPT gives it (delta is equal for
    both). `relative`: fit the prediction's scale and shift to the reference first; needed where the reference is
    measured depth and the network knows only relative depth, not where both maps come from one network.
    """

    name = "depth"

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], relative: bool = False) -> None:
        self._network = network
        self.relative = relative

    def run(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) float64."""
        return np.asarray(self._network(checked_image(image)), np.float64)

    def score(self, prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """rmse >= 0 and delta in [0, 1] over the pixels whose reference is positive."""
        if self.relative:
            prediction = align(prediction, reference)
        return {"rmse": rmse(prediction, reference), "delta": delta(prediction, reference)}


def load_transformers_depth(path: str | Path, *, device: str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """A `transformers` depth estimator (DPT, Depth Anything, ...) in a local folder, as a callable to (H, W) maps.

    The network's map is resized bilinearly to the picture. Nothing is downloaded. Raises as `load_pretrained`.
    """
    model, processor = load_pretrained("AutoModelForDepthEstimation", path, "a transformers depth model", device)

    def estimate(image: np.ndarray) -> np.ndarray:
        import torch

        image = checked_image(image)
        inputs = processor(images=image, return_tensors="pt")
        with torch.inference_mode():
            depth = model(pixel_values=inputs["pixel_values"].to(device)).predicted_depth.float()
            depth = torch.nn.functional.interpolate(
                depth.reshape(1, 1, *depth.shape[-2:]), image.shape[:2], mode="bilinear", align_corners=False
            )
        return depth[0, 0].cpu().numpy()

    return estimate
