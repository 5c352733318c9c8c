"""Pixel fidelity: mean squared error and PSNR of 8-bit pictures."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

__all__ = ["mse", "psnr"]


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error over all pixels and channels, in squared grey levels: sum (a - b)^2 / N, 0..65025.

    `a`, `b`: uint8 arrays of one shape, (H, W), (H, W, 3) or a stack of them. The sum is exact (64-bit integers).
    Raises `InputError` for another type, unequal shapes or empty arrays.

    >>> mse(np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 4]], np.uint8))
    4.0
    """
    for name, image in (("first", a), ("second", b)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            found = getattr(image, "dtype", type(image).__name__)
            raise InputError(
                f"PSNR is measured on rounded 8-bit pictures and the {name} one is {found}: convert it to uint8."
            )
    if a.shape != b.shape or a.size == 0:
        raise InputError(
            f"PSNR compares two pictures of one size, found {a.shape} and {b.shape}: resize or crop one of them."
        )
    difference = a.astype(np.int64) - b
    return int((difference * difference).sum()) / a.size


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / mse); `inf` for equal pictures.

    `a`, `b`: uint8 arrays of one shape, as in `mse`; one error over all channels (RGB), not a mean over channels.
    Averaging the PSNR of many pictures is the caller's choice and should be stated.

    >>> round(psnr(np.zeros((2, 2), np.uint8), np.full((2, 2), 16, np.uint8)), 3)
    24.048
    """
    error = mse(a, b)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
