"""GESCO's analog channel: one-hot planes of the classes that are there, unit power, Gaussian noise, fast denoising.

Numpy for whole pictures; the training uses the same numbers through `plane_sigma`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chappe.errors import UsageError

__all__ = [
    "CONDITIONS",
    "GESCO_TABLE",
    "AnalogMap",
    "channel_uses",
    "fast_denoise",
    "full_image",
    "instance_edges",
    "noise_sigma",
    "plane_sigma",
    "send_map",
]

CONDITIONS = (1, 5, 10, 15, 20, 30, 100)
"""PSNR in dB of GESCO's seven channel conditions."""
GESCO_TABLE = {100: 0.0, 30: 0.05, 25: 0.08, 20: 0.13, 15: 0.22, 10: 0.36, 5: 0.6, 1: 0.9}
"""PSNR -> factor of the unit noise in GESCO's public code. Its paper calls them variances; used so, as here, they are
standard deviations, near 10^(-PSNR/20) but not equal to it."""
_SIDE_BITS = 16  # the scale, as a float16


def noise_sigma(psnr_db: float, table: str = "formula") -> float:
    """Standard deviation of the noise on a signal of power 1.

    table: `formula`, 10^(-PSNR/20) from GESCO eq. (1) with P = 1; `gesco`, the factors of its code, for their PSNRs.
    """
    if table == "formula":
        return 0.0 if psnr_db >= 100 else float(10 ** (-psnr_db / 20))
    if table != "gesco" or psnr_db not in GESCO_TABLE:
        raise UsageError(f"there is no noise for PSNR {psnr_db} in {table!r}; its PSNRs are {sorted(GESCO_TABLE)}")
    return GESCO_TABLE[psnr_db]


def plane_sigma(sigma: float, power: float, normalise: str = "unit") -> float:
    """Noise on the planes at the receiver. power: mean square of what is sent.

    `unit`: the sender scales to P = 1 (the paper), so that the receiver's scaling back leaves sigma sqrt(power);
    `none`: it does not (the code), so that sparse planes meet the noise at full strength.
    """
    if normalise not in ("unit", "none"):
        raise UsageError(f"power={normalise!r} is not a way to scale; use unit or none")
    return sigma * float(np.sqrt(power)) if normalise == "unit" else sigma


@dataclass(frozen=True, eq=False)
class AnalogMap:
    """A map as it arrived. planes (C, H, W) float32, 0 in absent classes; `present`: classes sent; `sigma` on planes;
    `real_uses`: real values sent, `side_bits`: which classes, and the scale."""

    planes: np.ndarray
    present: tuple[int, ...]
    sigma: float
    real_uses: int
    side_bits: int


def send_map(planes: np.ndarray, sigma: float, rng: np.random.Generator, *, power: str = "unit", fds: bool = True,
             keep: tuple[int, ...] = ()) -> AnalogMap:  # fmt: skip
    """Send planes (C, H, W) of 0 and 1. Absent classes are not sent, except those in `keep` (the instance edges).

    The noise is independent in every value of every plane. fds: with the fast denoising block.
    """
    present = tuple(k for k in range(len(planes)) if k in keep or planes[k].any())
    received = np.zeros_like(planes, dtype=np.float32)
    effective = 0.0
    if present:
        sent = planes[list(present)].astype(np.float32)
        effective = plane_sigma(sigma, float(np.square(sent).mean()), power)
        noisy = sent + np.float32(effective) * rng.standard_normal(sent.shape, dtype=np.float32)
        received[list(present)] = fast_denoise(noisy) if fds else noisy
    return AnalogMap(received, present, effective, len(present) * planes[0].size, len(planes) + _SIDE_BITS)


def fast_denoise(planes: np.ndarray) -> np.ndarray:
    """GESCO eq. (2) before its padding: 3 x 3 average (zeros outside), then 3 x 3 maximum. (K, H, W) float32.

    No threshold and no clipping, as in the public code.
    """
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    parts = [padded[:, dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    mean = np.sum(parts, axis=0, dtype=np.float32) / np.float32(9)
    padded = np.pad(mean, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.max([padded[:, dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)


def channel_uses(real: int, side_bits: int) -> int:
    """Complex channel uses: two real values each; side information at one bit a use (QPSK of rate 1/2)."""
    return -(-real // 2) + side_bits


def full_image(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """GESCO's "full image": the pixels themselves (H, W, 3) uint8 over the same channel, unit power and noise."""
    x = image.astype(np.float32) / 127.5 - 1
    scale = plane_sigma(sigma, max(float(np.square(x).mean()), 1e-12))
    noisy = x + np.float32(scale) * rng.standard_normal(x.shape, dtype=np.float32)
    return np.rint(np.clip((noisy + 1) * 127.5, 0, 255)).astype(np.uint8)


def instance_edges(instances: np.ndarray) -> np.ndarray:
    """(H, W) instance numbers -> bool: pixels with another instance above, below, left or right (SPADE's edge map)."""
    edges = np.zeros(instances.shape, bool)
    across, down = instances[:, 1:] != instances[:, :-1], instances[1:] != instances[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges
