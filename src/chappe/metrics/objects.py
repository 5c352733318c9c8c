"""Objects in label maps: which of the original's survive, and which were invented.

An object is a connected component (8 neighbours) of one thing class with at least `min_pixels` pixels. Objects of one
class that touch are one object: the definition needs no instance labels, and both pictures are treated alike.

- *found*: an object of the original for which the decoded picture has one of its class with IoU above the threshold.
  Matching is one to one; above 1/2 it is unique (Kirillov et al., *Panoptic Segmentation*, CVPR 2019, section 4.1),
  below, pairs are taken in order of falling IoU. Recall = found / original.
- *invented*: an object of the decoded picture of which at most half lies where the original shows its class.
  So an object that broke in two or grew a little is not invented, and neither is one whose original was too small to
  count. Hallucination rate = invented / decoded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, UsageError
from ..taxonomy import get_taxonomy
from ._compiled import compiled

__all__ = ["MIN_PIXELS", "Instance", "ObjectCount", "component_map", "components", "match"]

MIN_PIXELS = 64  # 8 x 8 pixels; 1/2048 of a 256 x 512 picture


def component_map(
    labels: np.ndarray, classes: Collection[int], min_pixels: int = MIN_PIXELS
) -> tuple[np.ndarray, list[Instance]]:
    """Connected components (8 neighbours) of `classes`: an (H, W) int32 map of them and their list.

    `labels`: (H, W) integers. The map holds 0 outside every component kept and `instance.index` inside it: 1, 2, ... in
    the order in which a row-by-row scan meets them. Components of fewer than `min_pixels` pixels are left out.
    Raises `InputError` for anything but an (H, W) integer map.
    """
    marks, area, box, value = _kept(labels, classes, min_pixels)
    numbers = range(1, len(area) + 1)
    rows = zip(value.tolist(), map(tuple, box.tolist()), area.tolist(), numbers, strict=True)
    return marks, [Instance(*row) for row in rows]


def components(labels: np.ndarray, classes: Collection[int], min_pixels: int = MIN_PIXELS) -> list[Instance]:
    """The list of `component_map` alone.

    >>> [(i.label, i.box, i.area) for i in components(np.array([[8, 8, 0], [0, 0, 8], [9, 0, 0]]), {8, 9}, 1)]
    [(8, (0, 0, 3, 2), 3), (9, (0, 2, 1, 3), 1)]
    """
    return component_map(labels, classes, min_pixels)[1]


def match(
    original: np.ndarray,
    decoded: np.ndarray,
    iou: float = 0.5,
    *,
    classes: Collection[int] | None = None,
    taxonomy: str = "street11",
    min_pixels: int = MIN_PIXELS,
) -> ObjectCount:
    """Count the objects of two label maps, (H, W) integers each: found, lost and invented ones (see above).

    `classes`: the thing classes, by default those of `taxonomy` (street11: Car, Pedestrian, Bicyclist). An object of
    the original with `min_pixels` pixels or more may be found in a decoded one of any size.
    Raises `InputError` for maps of unequal size or another type, `UsageError` for `iou` outside 0..1.
    """
    if not 0 <= iou < 1:
        raise UsageError(f"objects match above an IoU of 0 to 1, found iou={iou}.")
    classes = get_taxonomy(taxonomy).things if classes is None else classes
    original, decoded = np.asarray(original), np.asarray(decoded)
    if original.shape != decoded.shape:
        raise InputError(f"two label maps of one size are needed, found {original.shape} and {decoded.shape}.")
    map_o, area_o, *_ = _kept(original, classes, min_pixels)
    map_d, area_d, *_ = _kept(decoded, classes, 1)
    # Pixels of each pair of objects where both maps are of one class; row -1: in no object of the original that counts.
    same = (original == decoded) & (map_d > 0)
    width = len(area_d) + 1
    pairs, pixels = np.unique(map_o[same].astype(np.int64) * width + map_d[same], return_counts=True)
    rows, columns = pairs // width - 1, pairs % width - 1
    covered = np.bincount(columns, pixels, minlength=len(area_d))
    rows, columns, overlap = rows[rows >= 0], columns[rows >= 0], pixels[rows >= 0]
    ratio = overlap / (area_o[rows] + area_d[columns] - overlap)
    taken_o, taken_d = np.zeros(len(area_o), bool), np.zeros(len(area_d), bool)
    for pair in np.argsort(-ratio, kind="stable"):
        if ratio[pair] <= iou:
            break
        o, d = rows[pair], columns[pair]
        if not (taken_o[o] or taken_d[d]):
            taken_o[o] = taken_d[d] = True
    counted = area_d >= min_pixels
    invented = counted & (2 * covered <= area_d)
    return ObjectCount(len(area_o), int(counted.sum()), int(taken_o.sum()), int(invented.sum()))


@dataclass(frozen=True)
class Instance:
    """An object: `label` its class, `box` (left, top, right, bottom) in pixels with right and bottom exclusive, `area`
    in pixels, `index` its value in the map of `component_map`."""

    label: int
    box: tuple[int, int, int, int]
    area: int
    index: int


@dataclass(frozen=True)
class ObjectCount:
    """Objects of the original, of the decoded picture, found and invented ones. Counts of many pictures add up:

    >>> total = ObjectCount(4, 3, 2, 1) + ObjectCount(0, 1, 0, 1)
    >>> total.recall, total.hallucination
    (0.5, 0.5)
    """

    original: int = 0
    decoded: int = 0
    found: int = 0
    invented: int = 0

    def __add__(self, other: ObjectCount) -> ObjectCount:
        return ObjectCount(
            self.original + other.original,
            self.decoded + other.decoded,
            self.found + other.found,
            self.invented + other.invented,
        )

    @property
    def recall(self) -> float:
        """found / original, in [0, 1]; NaN where the original has no object."""
        return self.found / self.original if self.original else float("nan")

    @property
    def hallucination(self) -> float:
        """invented / decoded, in [0, 1]; NaN where the decoded picture has no object."""
        return self.invented / self.decoded if self.decoded else float("nan")


def _kept(
    labels: np.ndarray, classes: Collection[int], min_pixels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(H, W) int32 map of the K components kept, their (K,) areas, (K, 4) boxes and (K,) classes."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer) or labels.size == 0:
        raise InputError(
            f"objects are counted in an (H, W) map of integer labels, found {labels.dtype} {labels.shape}."
        )
    # Classes numbered from 0, every other pixel -1, whatever integers they were.
    names = np.unique(np.asarray(sorted(classes), np.int64))
    place = np.searchsorted(names, labels.ravel()).clip(0, max(len(names) - 1, 0)).reshape(labels.shape)
    values = np.where(names[place] == labels, place, -1) if len(names) else np.full(labels.shape, -1)
    marks, count = _label(values.astype(np.int32))
    area, box, value = _measure(marks, values.astype(np.int32), count)
    kept = np.flatnonzero(area >= min_pixels)
    renumber = np.zeros(count + 1, np.int32)
    renumber[kept + 1] = np.arange(1, len(kept) + 1)
    return renumber[marks], area[kept], box[kept], names[value[kept]] if len(kept) else value[kept]


@compiled
def _label(values):
    """Components of equal values >= 0 with 8 neighbours: (H, W) int32 marks 1.. in scan order, and their number.

    Union-find over provisional marks: one scan joins each pixel to the four neighbours before it, a second renumbers.
    """
    height, width = values.shape
    marks = np.zeros((height, width), np.int32)
    parent = np.zeros(height * width + 1, np.int32)
    count = 0
    for i in range(height):
        for j in range(width):
            value = values[i, j]
            if value < 0:
                continue
            root = 0
            for n in range(4):
                y = i if n == 0 else i - 1
                x = j - 1 if n == 0 else j - 2 + n
                if y < 0 or x < 0 or x >= width or values[y, x] != value:
                    continue
                other = marks[y, x]
                while parent[other] != other:
                    parent[other] = parent[parent[other]]
                    other = parent[other]
                if root == 0:
                    root = other
                elif other != root:
                    low, high = min(root, other), max(root, other)
                    parent[high] = low
                    root = low
            if root == 0:
                count += 1
                parent[count] = count
                root = count
            marks[i, j] = root
    final = np.zeros(count + 1, np.int32)
    number = 0
    for mark in range(1, count + 1):  # a root is the smallest of its marks, so it comes first
        root = mark
        while parent[root] != root:
            root = parent[root]
        if root == mark:
            number += 1
            final[mark] = number
        else:
            final[mark] = final[root]
    for i in range(height):
        for j in range(width):
            marks[i, j] = final[marks[i, j]]
    return marks, number


@compiled
def _measure(marks, values, count):
    """(count,) area, (count, 4) box, (count,) value of each mark."""
    height, width = marks.shape
    area = np.zeros(count, np.int64)
    box = np.zeros((count, 4), np.int64)
    box[:, 0], box[:, 1] = width, height
    value = np.zeros(count, np.int64)
    for i in range(height):
        for j in range(width):
            k = marks[i, j] - 1
            if k < 0:
                continue
            area[k] += 1
            value[k] = values[i, j]
            box[k, 0] = min(box[k, 0], j)
            box[k, 1] = min(box[k, 1], i)
            box[k, 2] = max(box[k, 2], j + 1)
            box[k, 3] = max(box[k, 3], i + 1)
    return area, box, value
