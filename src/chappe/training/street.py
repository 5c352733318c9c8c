"""Batches for the street codecs, and label maps as their receivers get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chappe.nn.condition import one_hot
from chappe.training.frames import Augment, Frames, to_tensors
from chappe.training.paste import paste_rare

__all__ = ["NEAR_CELLS", "StreetBatches", "load_perceptual", "load_teacher", "near_map"]

NEAR_CELLS = (1, 2, 3, 4, 6)  # pixels a side: what near-lossless maps use at the rates that matter


@dataclass(frozen=True)
class StreetBatches:
    """Seeded, augmented batches of frames and scenes with rare objects pasted in (SQ-GAN IV-A).

    `scenes`, when given, replace a share `scene_share` of the frames; `paste` are the class indices that are copied
    between the pictures of a batch, at most `paste_most` a picture, never over `protected` classes. `zoom`: see
    `Augment`.
    """

    frames: Frames
    batch: int
    void: int
    size: tuple[int, int] = (256, 512)
    scenes: Frames | None = None
    scene_share: float = 0.0
    paste: tuple[int, ...] = ()
    protected: tuple[int, ...] = ()
    paste_most: int = 0
    zoom: tuple[float, float] = Augment.zoom
    augment: Augment = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "augment", Augment(size=self.size, zoom=self.zoom, void=self.void))

    def arrays(self, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Pictures (H, W, 3) uint8 and labels (H, W) uint8."""
        images, labels = [], []
        for _ in range(self.batch):
            source = self.scenes if self.scenes and rng.random() < self.scene_share else self.frames
            k = int(rng.integers(len(source)))
            image, label = self.augment(source.images[k], source.labels[k], rng)
            images.append(image)
            labels.append(label)
        if self.paste_most:
            paste_rare(images, labels, self.paste, self.protected, rng, most=self.paste_most)
        return images, labels

    def tensors(self, rng: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, H, W) in [-1, 1] and labels (N, H, W)."""
        x, y = to_tensors(*self.arrays(rng))
        return x.to(device), y.to(device)


def near_map(sent: Tensor, classes: int, rng: np.random.Generator) -> Tensor:
    """Labels (N, H, W) as a near-lossless map returns them: by cells of 1 to 6 pixels, their borders voted."""
    cell = int(rng.choice(NEAR_CELLS))
    if cell == 1:
        return sent
    height, width = sent.shape[1:]
    share = F.adaptive_avg_pool2d(one_hot(sent, classes), (height // cell, width // cell))
    return F.interpolate(share, (height, width), mode="bilinear").argmax(1)


def load_perceptual(path: Path | None = None):
    """LPIPS with SqueezeNet from `path` or $CHAPPE_DATA/weights."""
    from chappe.metrics.lpips import SqueezeLPIPS, lpips_weights_path

    return SqueezeLPIPS.from_file(path or lpips_weights_path())


def load_teacher(taxonomy: str) -> Callable[[Tensor], Tensor] | None:
    """The built-in segmenter, frozen, pictures -> logits; None when it speaks another label set."""
    from chappe.segment.builtin import load_segmenter

    segmenter = load_segmenter()
    if segmenter.taxonomy != taxonomy:
        return None
    segmenter.net.eval().requires_grad_(False)
    return lambda x: segmenter.net.to(x.device)(x)
