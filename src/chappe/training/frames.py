"""Frames held in memory and the seeded augmentation that turns them into batches.

A batch is a pure function of (seed, step): stopping and resuming needs no data-loader state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

__all__ = ["Augment", "Frames", "to_tensors"]


@dataclass(frozen=True)
class Frames:
    """Decoded frames: images (H, W, 3) uint8 and label maps (H, W) uint8 of any common sizes."""

    images: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]

    @classmethod
    def from_samples(cls, samples: Iterable) -> Frames:
        pairs = [(s.image, s.labels) for s in samples]
        return cls([p[0] for p in pairs], [p[1] for p in pairs])

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Augment:
    """Crop, scale, rotate, flip and colour-jitter to a fixed size, labels with the same geometry.

    `zoom` is the range of the crop width as a fraction of the largest 2:1 (size-shaped) box that fits the frame;
    above 1 the frame is shrunk and the outside is void. `rotate` is in degrees. `colour` is the probability of each
    photometric change. Deterministic for a given generator.
    """

    size: tuple[int, int] = (256, 512)
    zoom: tuple[float, float] = (0.75, 1.12)
    rotate: float = 4.0
    flip: float = 0.5
    colour: float = 0.6
    void: int = 11

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        out_h, out_w = self.size
        h, w = labels.shape
        fit = min(w / out_w, h / out_h)  # source pixels per output pixel of the largest box
        scale = fit * float(np.exp(rng.uniform(np.log(self.zoom[0]), np.log(self.zoom[1]))))
        slack_x, slack_y = max(0.0, w - out_w * scale), max(0.0, h - out_h * scale)
        cx = w / 2 + slack_x * rng.uniform(-0.5, 0.5)
        cy = h / 2 + slack_y * rng.uniform(-0.5, 0.5)
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate)) if rng.random() < 0.5 else 0.0
        mirror = -1.0 if rng.random() < self.flip else 1.0
        c, s = np.cos(angle) * scale, np.sin(angle) * scale
        matrix = (
            mirror * c, -s, cx - mirror * c * out_w / 2 + s * out_h / 2,
            mirror * s, c, cy - mirror * s * out_w / 2 - c * out_h / 2,
        )  # fmt: skip
        picture = Image.fromarray(image).transform(
            (out_w, out_h), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
        classes = Image.fromarray(labels).transform(
            (out_w, out_h), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=self.void
        )
        for enhance, spread in (
            (ImageEnhance.Brightness, 0.3),
            (ImageEnhance.Contrast, 0.3),
            (ImageEnhance.Color, 0.4),
        ):
            if rng.random() < self.colour:
                picture = enhance(picture).enhance(float(rng.uniform(1 - spread, 1 + spread)))
        pixels = np.asarray(picture)
        if rng.random() < self.colour:  # white balance and gamma: another camera, another hour
            table = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.33) * rng.uniform(0.92, 1.08, 3)[None]
            table = np.clip(np.rint(table * 255), 0, 255).astype(np.uint8)
            pixels = np.stack([table[pixels[..., k], k] for k in range(3)], -1)
        return pixels, np.asarray(classes)


def to_tensors(images: Sequence[np.ndarray], labels: Sequence[np.ndarray]):
    """Stack to image (N, 3, H, W) float32 in [-1, 1] and labels (N, H, W) int64."""
    import torch

    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    return x.contiguous(), torch.from_numpy(np.stack(labels).astype(np.int64))
