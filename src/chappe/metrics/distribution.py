"""Distances between two sets of pictures, as sets of features: Frechet distance and kernel distance.

The functions know nothing of networks: they compare arrays (N, D). *FID* and *KID* are these distances on the pooled
2048 features of one given Inception v3; on any other network they have another scale and must bear another name.
Offline there is `squeeze_features`, and the distance on it is called "feature distance (SqueezeNet)".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..errors import InputError

__all__ = ["FeatureSet", "fid", "frechet_distance", "kernel_distance", "squeeze_features"]

Features = Callable[[list[np.ndarray]], np.ndarray]


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Frechet distance of the Gaussians with the means and covariances of two sets of features, >= 0.

    Heusel et al., *GANs Trained by a Two Time-Scale Update Rule...*, NeurIPS 2017, eq. (6):
    |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)), covariances with N - 1.
    `features_*`: (N, D) with N >= 2, any two numbers of rows. Biased upwards for small N: compare equal N only.
    Raises `InputError` for other shapes or values that are not finite.

    With C = X^T X for the centred rows X, Tr (C_a C_b)^(1/2) is the sum of the singular values of X_a X_b^T: no square
    root of a matrix, and no loss of digits where N < D.
    """
    a, b = _checked(features_a, features_b)
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    trace = (a * a).sum() + (b * b).sum()
    # R of X = QR has the same R^T R = C and at most D rows.
    a, b = (np.linalg.qr(x, "r") if len(x) > x.shape[1] else x for x in (a, b))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(((mean_a - mean_b) ** 2).sum() + trace - 2 * cross, 0.0))


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased: about 0 (or below) for equal sources.

    Binkowski et al., *Demystifying MMD GANs*, ICLR 2018, section 4 (KID on Inception features); the U-statistic over
    all pairs rather than a mean over random subsets. `features_*`: (N, D) with N >= 2. Raises `InputError` as above.
    """
    a, b = _checked(features_a, features_b)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        k = kernel(x, x)
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def fid(originals: Iterable[np.ndarray], decoded: Iterable[np.ndarray], inception: Features) -> float:
    """FID of two sets of pictures with the Inception v3 that the caller brings.

    `inception`: a callable from a list of (H, W, 3) uint8 pictures to (N, 2048) pooled features. Resizing and scaling
    are its own affair, and move the figure: name the implementation with it. Raises `InputError` for another width.
    """
    sets = [np.asarray(inception(list(pictures))) for pictures in (originals, decoded)]
    for features in sets:
        if features.ndim != 2 or features.shape[1] != 2048:
            raise InputError(
                f"FID is defined on (N, 2048) pooled Inception v3 features, found {features.shape}: "
                "for another network call frechet_distance and give the result another name."
            )
    return frechet_distance(*sets)


def squeeze_features(images: Iterable[np.ndarray], network=None) -> np.ndarray:
    """(N, 512) float32: the last layer of SqueezeNet 1.1 (fire9, after ReLU) of each picture, averaged over it.

    `images`: (H, W, 3) uint8 each, of any sizes from 17 pixels a side on, seen at their own size; `network`: a
    `SqueezeLPIPS`, by default loaded from `lpips_weights_path()`. Report what is computed on them as
    "feature distance (SqueezeNet)", never as FID. Raises `InputError` for unfit pictures or missing weights.
    """
    import torch

    from .lpips import MIN_SIDE, SqueezeLPIPS, lpips_weights_path

    network = network if network is not None else SqueezeLPIPS.from_file(lpips_weights_path())
    rows = []
    for image in images:
        fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        if not fits or min(image.shape[:2]) < MIN_SIDE:
            found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
            raise InputError(
                f"features are taken of (H, W, 3) uint8 pictures from {MIN_SIDE} pixels on, found {found}."
            )
        with torch.inference_mode():
            x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].to(network.shift.device).float() / 127.5 - 1
            x = (x - network.shift) / network.scale
            for layer in network.layers.values():
                x = layer(x)
            rows.append(x.mean((2, 3))[0].cpu().numpy())
    return np.stack(rows) if rows else np.zeros((0, 512), np.float32)


class FeatureSet:
    """Features of many pictures, gathered a few at a time: `add(images)`, then `array`, (N, D)."""

    def __init__(self, features: Features = squeeze_features) -> None:
        self._features = features
        self._rows: list[np.ndarray] = []

    def add(self, images: Iterable[np.ndarray]) -> None:
        """Take the features of some (H, W, 3) uint8 pictures."""
        self._rows.append(np.asarray(self._features(list(images))))

    @property
    def array(self) -> np.ndarray:
        """(N, D): one row a picture. Raises `InputError` before the first picture."""
        if not self._rows:
            raise InputError("no picture was added, so there are no features to compare.")
        return np.concatenate(self._rows)


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2 or a.shape[1] == 0:
        raise InputError(
            f"two sets of features (N, D) with N >= 2 and one D are needed, found {a.shape} and {b.shape}."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("the features hold NaN or infinite values: find the picture that gave them.")
    return a, b
