"""C-SPIC: the pixels of chosen classes in full detail, their shape taken from the map that travels anyway.

Our reading of one line of its source ("class-specific SPIC enables accurate object recovery for targeted classes") and
of the acronym SRR, semantic relevant residual. Boxes around the classes in the *received* map, the same at both ends,
are cut out, laid side by side in one picture, and coded as an AV1 intra frame at a quality of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from chappe.errors import StreamError
from chappe.nn.tiling import CELL
from chappe.systems.spic.coarse import FACTOR, decode_coarse, encode_coarse

__all__ = ["Sheet", "decode_residual", "encode_residual", "lay_out", "shape_mask"]

_MOST = 64  # boxes; what is smaller than the 64 largest stays coarse
_WEIGHED = 256  # components that are looked at, the largest: bounds the time that a hostile map can take
_GROW = 2  # pixels around a class: labels at borders are uncertain


@dataclass(frozen=True)
class Sheet:
    """Where the boxes go: `boxes` (top, left, height, width) in the picture, `places` (top, left) on the sheet; `size`
    (height, width) of the sheet. All are multiples of 16."""

    boxes: tuple[tuple[int, int, int, int], ...]
    places: tuple[tuple[int, int], ...]
    size: tuple[int, int]


def shape_mask(labels: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """Pixels of `classes` in labels (H, W), grown by two pixels: (H, W) bool."""
    mask = np.isin(labels, classes)
    for axis in (0, 1):
        grown = mask.copy()
        for shift in range(1, _GROW + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
        mask = grown
    return mask


def lay_out(mask: np.ndarray) -> Sheet | None:
    """The sheet of a mask (H, W), sides multiples of 16; None for an empty one. A function of the mask alone."""
    height, width = mask.shape
    cells = mask.reshape(height // CELL, CELL, width // CELL, CELL).any((1, 3))
    boxes = _disjoint(sorted(_boxes(cells), key=_largest_first)[:_WEIGHED])
    if not boxes:
        return None
    boxes = sorted(sorted(boxes, key=_largest_first)[:_MOST], key=lambda b: (-b[2], b))
    limit = max(cells.shape[1], max(b[3] for b in boxes))
    places, top, left, shelf, right = [], 0, 0, 0, 0
    for _, _, tall, wide in boxes:  # shelves, tallest first
        if left + wide > limit:
            top, left, shelf = top + shelf, 0, 0
        places.append((top * CELL, left * CELL))
        shelf, left = max(shelf, tall), left + wide
        right = max(right, left)
    scaled = tuple(tuple(side * CELL for side in box) for box in boxes)
    return Sheet(scaled, tuple(places), ((top + shelf) * CELL, right * CELL))


def encode_residual(image: np.ndarray, coarse: np.ndarray, mask: np.ndarray, sheet: Sheet, quality: int) -> bytes:
    """Payload of a RESIDUAL section. image (H, W, 3) uint8 padded to multiples of 16; coarse: received, (H/4, W/4, 3).

    Outside the mask the sheet shows the enlarged coarse picture: smooth, hence nearly free.
    """
    behind = _enlarged(coarse)
    full = np.where(mask[..., None], image, behind)
    canvas = np.full((*sheet.size, 3), 128, np.uint8)
    for (top, left, tall, wide), (y, x) in zip(sheet.boxes, sheet.places, strict=True):
        canvas[y : y + tall, x : x + wide] = full[top : top + tall, left : left + wide]
    return encode_coarse(canvas, quality)


def decode_residual(payload: bytes, mask: np.ndarray, sheet: Sheet | None) -> tuple[np.ndarray, np.ndarray]:
    """(mask of the pixels that were sent (H, W) bool, picture (H, W, 3) uint8 that holds them). Raises StreamError."""
    if sheet is None:
        raise StreamError("the file has a residual and its map has none of the classes it is for: it is damaged")
    canvas = decode_coarse(payload, *sheet.size)
    picture, sent = np.zeros((*mask.shape, 3), np.uint8), np.zeros(mask.shape, bool)
    for (top, left, tall, wide), (y, x) in zip(sheet.boxes, sheet.places, strict=True):
        box = slice(top, top + tall), slice(left, left + wide)
        picture[box], sent[box] = canvas[y : y + tall, x : x + wide], mask[box]
    return sent, picture


def _enlarged(coarse: np.ndarray) -> np.ndarray:
    height, width = coarse.shape[:2]
    size = width * FACTOR, height * FACTOR
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR))


def _boxes(cells: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Bounding boxes (top, left, height, width) of the 8-connected components of a boolean grid."""
    left, found = {(int(y), int(x)) for y, x in zip(*np.nonzero(cells), strict=True)}, []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        stack, member = [start], [start]
        while stack:
            y, x = stack.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
            member += near
        ys, xs = zip(*member, strict=True)
        found.append((min(ys), min(xs), max(ys) - min(ys) + 1, max(xs) - min(xs) + 1))
    return found


def _disjoint(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Boxes that overlap replaced by the box around them, until none do: together they are no larger than the grid."""
    done: list[tuple[int, int, int, int]] = []
    for box in sorted(boxes):
        while True:
            hit = next((b for b in done if _overlap(box, b)), None)
            if hit is None:
                break
            done.remove(hit)
            top, left = min(box[0], hit[0]), min(box[1], hit[1])
            bottom, right = (max(box[i] + box[i + 2], hit[i] + hit[i + 2]) for i in (0, 1))
            box = (top, left, bottom - top, right - left)
        done.append(box)
    return done


def _largest_first(box: tuple[int, int, int, int]):
    return -box[2] * box[3], box


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))
