"""Label maps for the tests: streets in outline, noise, and the damage a stream may suffer."""

from __future__ import annotations

import numpy as np


def street(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A rough street of the classes 0 to 11: sky, buildings, trees, road, pavements, poles, cars. (H, W) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    roof = 0.25 + 0.1 * np.sin(rng.uniform(4, 9) * x + rng.uniform(0, 6))
    labels = np.where(y < roof, 0, 1).astype(np.uint8)
    labels[(y > 0.35) & (np.abs(x - rng.uniform()) < 0.1 + 0.05 * np.sin(20 * y))] = 5
    labels[y > 0.55] = 4
    labels[(y > 0.55) & (np.abs(x - 0.5) < (y - 0.4))] = 3
    for _ in range(3):
        left, top = rng.uniform(0, 0.9), rng.uniform(0.45, 0.7)
        labels[(x > left) & (x < left + 0.1) & (y > top) & (y < top + 0.1)] = 8
        labels[(np.abs(x - rng.uniform()) < 1.5 / width) & (y > 0.2) & (y < 0.7)] = 2
    labels[(y > 0.97) & (x < 0.2)] = 11
    return labels


def noise(height: int, width: int, classes: int, seed: int = 0) -> np.ndarray:
    """Independent uniform labels, (H, W) uint8."""
    return np.random.default_rng(seed).integers(0, classes, (height, width)).astype(np.uint8)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` cut, extended, or with some bits flipped."""
    kind = rng.integers(3)
    if kind == 0:
        return data[: rng.integers(0, len(data) + 1)]
    if kind == 1:
        return data + rng.bytes(int(rng.integers(1, 9)))
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)
