"""Rare-class paste augmentation (SQ-GAN IV-A): copy signs, people, ... between the pictures of a batch."""

from __future__ import annotations

import numpy as np

__all__ = ["components", "paste_rare"]


def components(mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """8-connected components of a boolean (H, W) mask, each as (rows, columns) of its pixels, in raster order."""
    left = mask.copy()
    height, width = mask.shape
    found = []
    for y0, x0 in zip(*np.nonzero(mask), strict=True):
        if not left[y0, x0]:
            continue
        left[y0, x0] = False
        stack, pixels = [(int(y0), int(x0))], []
        while stack:
            y, x = stack.pop()
            pixels.append((y, x))
            for v in range(max(0, y - 1), min(height, y + 2)):
                for u in range(max(0, x - 1), min(width, x + 2)):
                    if left[v, u]:
                        left[v, u] = False
                        stack.append((v, u))
        rows, columns = np.array(pixels).T
        found.append((rows, columns))
    return found


def paste_rare(
    images: list[np.ndarray],
    labels: list[np.ndarray],
    classes: tuple[int, ...],
    protected: tuple[int, ...],
    rng: np.random.Generator,
    *,
    most: int = 25,
    smallest: int = 24,
) -> None:
    """Paste, in place, n in 0..`most` objects of `classes` from the other pictures of the batch into each picture.

    Objects keep their coordinates, are drawn in random order, and are dropped where they would touch a pixel of
    `classes` or `protected` already there. images (H, W, 3) uint8, labels (H, W) uint8, all of one size.
    """
    pool = []
    for source, (image, label) in enumerate(zip(images, labels, strict=True)):
        for rows, columns in components(np.isin(label, classes)):
            if len(rows) >= smallest:
                pool.append((source, rows, columns, image[rows, columns], label[rows, columns]))
    avoid = tuple(set(classes) | set(protected))
    for target in range(len(images)):
        wanted = int(rng.integers(0, most + 1))
        image, label = images[target].copy(), labels[target].copy()
        taken = np.isin(label, avoid)
        for k in rng.permutation(len(pool))[:wanted]:
            source, rows, columns, pixels, ids = pool[k]
            if source == target or taken[rows, columns].any():
                continue
            image[rows, columns], label[rows, columns] = pixels, ids
            taken[rows, columns] = True
        images[target], labels[target] = image, label
