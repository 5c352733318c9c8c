"""The street protocol: the one frame geometry of every published figure."""

from __future__ import annotations

import numpy as np

from chappe.errors import InputError

__all__ = ["STREET_SIZE", "street_protocol", "street_rows"]

STREET_SIZE = (256, 512)  # height, width


def street_rows(height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the largest centred 2:1 box: rows 60..300 of a 480×360 CamVid frame.

    A frame wider than 2:1 loses columns instead of rows. An odd remainder goes to the bottom (right).
    """
    if width <= 2 * height:
        rows = max(1, width // 2)
        top = (height - rows) // 2
        return top, top + rows, 0, width
    columns = 2 * height
    left = (width - columns) // 2
    return 0, height, left, left + columns


def street_protocol(image: np.ndarray, labels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Crop to the middle 2:1 box and resize to 256 rows × 512 columns.

    For CamVid's 480×360 frames the box is rows 60..300, all columns; for any other size the largest centred 2:1 box.
    The picture is resized by Pillow's BICUBIC, which widens its kernel when it shrinks (so it is antialiased); labels
    by NEAREST.
    A frame whose box has the target size already is only cropped.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, or None.

    Returns:
        (256, 512, 3) uint8 picture and (256, 512) uint8 labels or None.

    Raises:
        InputError: shapes that do not fit together, or are not those above.
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 2:
        raise InputError(f"The street protocol takes an (H, W, 3) uint8 picture, not {image.dtype} {image.shape}.")
    if labels is not None and (labels.shape != image.shape[:2] or labels.dtype != np.uint8):
        raise InputError(
            f"The street protocol takes labels of the picture's size {image.shape[:2]} in uint8, "
            f"not {labels.dtype} {labels.shape}."
        )
    top, bottom, left, right = street_rows(*image.shape[:2])
    size = STREET_SIZE[::-1]
    crop = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    picture = np.array(crop.resize(size, Image.Resampling.BICUBIC))
    if labels is None:
        return picture, None
    classes = Image.fromarray(np.ascontiguousarray(labels[top:bottom, left:right]))
    return picture, np.array(classes.resize(size, Image.Resampling.NEAREST))
