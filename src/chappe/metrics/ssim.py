"""Structural similarity of 8-bit pictures: SSIM and MS-SSIM.

Wang, Bovik, Sheikh, Simoncelli, *Image Quality Assessment: From Error Visibility to Structural Similarity*, IEEE TIP
2004, eq. (13), with the constants of its section III.C: a Gaussian window of 11 x 11 pixels and sigma 1.5 normalised to
sum 1, K1 = .01, K2 = .03, L = 255, population (not sample) variances, and only windows that lie wholly in the picture:

    luminance l = (2 ma mb + C1) / (ma^2 + mb^2 + C1),  contrast-structure cs = (2 sab + C2) / (saa + sbb + C2)
    SSIM = mean over windows of l * cs

Wang, Simoncelli, Bovik, *Multi-scale Structural Similarity for Image Quality Assessment*, Asilomar 2003, eq. (7): with
mean cs at scales 1..M-1 and mean SSIM at scale M, each scale the 2 x 2 box mean of the one before,

    MS-SSIM = SSIM_M^b_M * prod_{j < M} cs_j^b_j,  b = .0448, .2856, .3001, .2363, .1333, negative factors taken as 0

Colour: each of R, G, B alone, then the mean of the three, as the learned-compression literature does.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError, UsageError
from ._compiled import compiled

__all__ = ["WEIGHTS", "WINDOW", "ms_ssim", "scales_for", "ssim"]

WINDOW = 11
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _C1, _C2 = 1.5, (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of two pictures, (H, W, 3) or (H, W) uint8 each, in [-1, 1]; 1 for equal pictures.

    Raises `InputError` for another type, unequal shapes or a side below 11 pixels.
    """
    return float(_similarity(*_planes(a, b, WINDOW, "SSIM"), *_CONSTANTS)[:, 0].mean())


def ms_ssim(a: np.ndarray, b: np.ndarray, scales: int = 5) -> float:
    """Multi-scale SSIM of two pictures, (H, W, 3) or (H, W) uint8 each, in [0, 1]; 1 for equal pictures.

    `scales`: 1 to 5. Five, the published definition, need a short side of 176 pixels (11 at the fifth scale); an odd
    last row or column is dropped when halving. Fewer scales use the first weights divided by their sum: a different
    measure, to be named with its scales and never averaged with the other. `scales_for(height, width)` tells how
    many fit.

    Raises `InputError` for another type, unequal shapes or pictures too small for the scales, `UsageError` for
    `scales` out of range.
    """
    if not 1 <= scales <= len(WEIGHTS):
        raise UsageError(f"MS-SSIM is defined for 1 to {len(WEIGHTS)} scales, found scales={scales}.")
    x, y = _planes(a, b, WINDOW << (scales - 1), f"MS-SSIM with {scales} scales")
    weights = np.asarray(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]) if scales < len(WEIGHTS) else np.asarray(WEIGHTS)
    result = np.ones(len(x))
    for scale, weight in enumerate(weights):
        means = _similarity(x, y, *_CONSTANTS)
        result *= np.maximum(means[:, 0 if scale == scales - 1 else 1], 0) ** weight
        if scale < scales - 1:
            x, y = _half(x), _half(y)
    return float(result.mean())


def scales_for(height: int, width: int) -> int:
    """How many scales of MS-SSIM (0 to 5) a picture of that size has room for: 5 from a short side of 176 pixels on.

    >>> scales_for(256, 512), scales_for(175, 512), scales_for(10, 512)
    (5, 4, 0)
    """
    return min(len(WEIGHTS), (min(height, width) // WINDOW).bit_length())


def _planes(a: np.ndarray, b: np.ndarray, least: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures as (C, H, W) float64. Less 128: variances do not change and lose fewer digits."""
    for name, image in (("first", a), ("second", b)):
        fits = isinstance(image, np.ndarray) and image.dtype == np.uint8
        if not fits or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
            raise InputError(f"{what} compares (H, W, 3) uint8 pictures and the {name} one is {found}: convert it.")
    if a.shape != b.shape:
        raise InputError(f"{what} compares two pictures of one size, found {a.shape} and {b.shape}: resize one.")
    if min(a.shape[:2]) < least:
        hint = "ask for fewer scales (and say so) or enlarge both" if least > WINDOW else "enlarge both"
        raise InputError(f"{what} needs sides of at least {least} pixels, found {a.shape[0]}x{a.shape[1]}: {hint}.")
    x, y = (np.atleast_3d(image).transpose(2, 0, 1).astype(np.float64, order="C") - 128 for image in (a, b))
    return x, y


def _half(x: np.ndarray) -> np.ndarray:
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def _window() -> np.ndarray:
    weights = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / _SIGMA) ** 2)
    return weights / weights.sum()


_CONSTANTS = (_window(), 128.0, _C1, _C2)


@compiled
def _similarity(x, y, window, offset, c1, c2):
    """(C, 2): mean SSIM and mean cs of each plane. `x`, `y`: (C, H, W) float64, `offset` below their true values.

    One pass: the last eleven rows of the four quantities to be averaged are kept, each output row is filtered down the
    columns, then along them. The window is symmetric, so rows and columns are added in pairs first.
    """
    channels, height, width = x.shape
    taps = len(window)
    half = taps // 2
    rows, columns = height - taps + 1, width - taps + 1
    recent = np.empty((taps, 4 * width))
    down = np.empty(4 * width)
    full = np.empty((4, columns))
    means = np.empty((channels, 2))
    for c in range(channels):
        total, total_cs = 0.0, 0.0
        for i in range(height):
            row = recent[i % taps]
            for j in range(width):
                p, q = x[c, i, j], y[c, i, j]
                row[j] = p
                row[width + j] = q
                row[2 * width + j] = p * p + q * q
                row[3 * width + j] = p * q
            if i < taps - 1:
                continue
            middle = recent[(i - half) % taps]
            for j in range(4 * width):
                down[j] = window[half] * middle[j]
            for k in range(half):
                w, first, last = window[k], recent[(i - taps + 1 + k) % taps], recent[(i - k) % taps]
                for j in range(4 * width):
                    down[j] += w * (first[j] + last[j])
            for s in range(4):
                line, out = down[s * width : (s + 1) * width], full[s]
                for j in range(columns):
                    out[j] = window[half] * line[j + half]
                for k in range(half):
                    w, other = window[k], taps - 1 - k
                    for j in range(columns):
                        out[j] += w * (line[j + k] + line[j + other])
            for j in range(columns):
                p, q = full[0, j], full[1, j]
                cs = (2 * (full[3, j] - p * q) + c2) / (full[2, j] - p * p - q * q + c2)
                p, q = p + offset, q + offset
                total += cs * (2 * p * q + c1) / (p * p + q * q + c1)
                total_cs += cs
        means[c, 0] = total / (rows * columns)
        means[c, 1] = total_cs / (rows * columns)
    return means
