"""Crops of objects: can one still tell in the decoded picture *which* sign, or which person, this is?

Objects are connected components of the true label map. Each is cut from the original and from the decoded picture as
one box and brought to one size. Without a classifier, a decoded crop is looked up in a gallery: its own original and
rivals, the originals of other objects of its class. It is recognised where its own original is the nearest. With one,
its answer on the decoded crop is compared with its answer on the original (or with a true class).

*Near* is LPIPS on SqueezeNet (Zhang et al., CVPR 2018): `embed` gives vectors whose squared distances it is. It was
chosen on 285 crops of CamVid's training frames, as told in docs/metrics.md.

*Rivals.* A video shows one object many times, and taking it for itself of a frame before is no mistake. So rivals
come from the same frame, where components are different objects, and from frames at least `apart` away, none between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ..errors import InputError, UsageError
from .objects import MIN_PIXELS, Instance, components

__all__ = [
    "MARGIN",
    "SIDE",
    "Box",
    "Recognition",
    "agreement",
    "answers",
    "cut",
    "embed",
    "object_boxes",
    "recognise",
    "rivals",
    "widen",
]

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive

SIDE = 64  # pixels; most objects of a 256 x 512 street are smaller
MARGIN = 0.15  # of the longer side, at least 2 pixels
_TIE = 1e-5  # squared distances as near as this are equal: they come from a difference of float32 products
_BATCH = 32


def object_boxes(
    labels: np.ndarray, classes: Collection[int], min_pixels: int = MIN_PIXELS, margin: float = MARGIN
) -> list[Instance]:
    """The objects of `classes` with at least `min_pixels` pixels, as `components`, their boxes widened by `margin`.

    `labels`: (H, W) integers, the *true* map: where an object is must not depend on what was decoded.
    Raises `InputError` for anything but an (H, W) integer map, `UsageError` for a negative margin.
    """
    shape = np.shape(labels)
    return [replace(found, box=widen(found.box, shape, margin)) for found in components(labels, classes, min_pixels)]


def widen(box: Box, shape: Sequence[int], margin: float = MARGIN) -> Box:
    """`box` wider by `margin` times its longer side, at least 2 pixels, on each side as far as the picture goes.

    `shape`: (H, W) or (H, W, 3) of the picture. Raises `UsageError` for a negative margin, `InputError` for a box
    without pixels or outside the picture.

    >>> widen((0, 10, 20, 60), (64, 128))
    (0, 2, 28, 64)
    """
    if not margin >= 0:
        raise UsageError(f"a box is widened by a share of its longer side, 0 or more, found margin={margin}.")
    left, top, right, bottom = _inside(box, shape)
    more = max(2, round(margin * max(right - left, bottom - top)))
    return max(0, left - more), max(0, top - more), min(shape[1], right + more), min(shape[0], bottom + more)


def cut(image: np.ndarray, box: Box, side: int = SIDE) -> np.ndarray:
    """The pixels of `box`, and no others, as a (side, side, 3) uint8 picture (bicubic, stretched to a square).

    `image`: (H, W, 3) uint8. Raises `InputError` for another picture, or a box without pixels or outside it.
    """
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise InputError(f"crops are cut from (H, W, 3) uint8 pictures, found {found}: convert it first.")
    left, top, right, bottom = _inside(box, image.shape)
    piece = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return np.asarray(piece.resize((side, side), Image.Resampling.BICUBIC))


def embed(pictures: Sequence[np.ndarray], network=None) -> np.ndarray:
    """(N, D) float32 vectors whose *squared* Euclidean distances are the LPIPS of the pictures.

    `pictures`: (S, S, 3) uint8 each, of one size from 17 pixels on; D = 119,360 for 64 x 64 on SqueezeNet. `network`: a
    `chappe.metrics.LPIPS`, by default SqueezeNet's from `lpips_weights_path()`.
    LPIPS (eq. 1) is a weighted sum of squared differences, so each activation times the root of its weight over the
    number of its layer's places makes it a plain one. Raises `InputError` for unfit pictures or missing weights.
    """
    import torch

    from .lpips import SqueezeLPIPS, lpips_weights_path

    pictures = [np.asarray(picture) for picture in pictures]
    kinds = {(picture.dtype.name, picture.shape) for picture in pictures}
    if len(kinds) != 1 or next(iter(kinds))[0] != "uint8" or next(iter(kinds))[1][2:] != (3,):
        raise InputError(
            f"crops are embedded as (S, S, 3) uint8 pictures of one size, found {sorted(kinds) or 'none'}."
        )
    network = network if network is not None else SqueezeLPIPS.from_file(lpips_weights_path())
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pictures), _BATCH):
            batch = np.stack(pictures[start : start + _BATCH]).transpose(0, 3, 1, 2)
            x = torch.from_numpy(batch.copy()).to(network.shift.device).float() / 127.5 - 1
            planes = []
            for number, feature in enumerate(network.features(x)):
                scale = getattr(network, f"head{number}").sqrt() / (feature.shape[2] * feature.shape[3]) ** 0.5
                planes.append((feature * scale).flatten(1))
            rows.append(torch.cat(planes, 1).cpu().numpy())
    return np.concatenate(rows)


def rivals(own: Sequence[int], places: Sequence[int], apart: int = 1) -> np.ndarray:
    """(N, M) bool: which originals of a gallery a crop may be taken for, its own left out.

    `own`: (N,) number of each crop's original in the gallery; `places`: (M,) the number of the frame that each original
    was cut from, such that frames of other recordings are far away. Those of the same frame are rivals, and those at
    least `apart` away. Raises `UsageError` for `apart` < 1.

    >>> rivals([0], [5, 5, 6, 9], apart=3).tolist()
    [[False, True, False, True]]
    """
    if apart < 1:
        raise UsageError(f"rivals come from frames at least 1 away, found apart={apart}.")
    own, places = np.asarray(own, np.int64), np.asarray(places, np.int64)
    distance = np.abs(places[own][:, None] - places[None])
    allowed = (distance == 0) | (distance >= apart)
    allowed[np.arange(len(own)), own] = False
    return allowed


@dataclass(frozen=True, eq=False)
class Recognition:
    """Of each of N decoded crops: its own original's place among its rivals. All arrays are (N,) float64.

    `ahead`: rivals nearer than the original. `tied`: rivals as near as it: the place is then drawn by lot and figures
    are means over the draw, so that a decoder which shows the same grey everywhere scores chance, and no more.
    `gallery`: rivals and the original, 1 where there was nobody to be taken for. `distance`: LPIPS to the original.
    """

    ahead: np.ndarray
    tied: np.ndarray
    gallery: np.ndarray
    distance: np.ndarray

    def top(self, k: int = 1) -> np.ndarray:
        """Probability in [0, 1] that the original is among the `k` nearest."""
        return np.clip((k - self.ahead) / (self.tied + 1), 0, 1)

    def chance(self, k: int = 1) -> np.ndarray:
        """`top(k)` of a guess: k of all in the gallery."""
        return np.minimum(k / self.gallery, 1)

    @property
    def reciprocal(self) -> np.ndarray:
        """1 / place, in (0, 1]; its mean is the mean reciprocal rank."""
        sums = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, self.gallery.max(initial=0) + 1))))
        first, last = self.ahead.astype(np.int64), (self.ahead + self.tied + 1).astype(np.int64)
        return (sums[last] - sums[first]) / (self.tied + 1)


def recognise(decoded: np.ndarray, gallery: np.ndarray, own: Sequence[int], allowed: np.ndarray) -> Recognition:
    """Look up N decoded crops of one class in a gallery of M originals.

    `decoded`: (N, D), `gallery`: (M, D), vectors of `embed` or another network whose *squared* distances count;
    `own`: (N,) number of each crop's original; `allowed`: (N, M) bool, of `rivals`. Raises `InputError` for shapes that
    do not fit.
    """
    decoded, gallery = np.asarray(decoded), np.asarray(gallery)
    own, allowed = np.asarray(own, np.int64), np.asarray(allowed, bool)
    fits = (
        decoded.ndim == gallery.ndim == 2 and decoded.shape[1:] == gallery.shape[1:] and own.shape == decoded.shape[:1]
    )
    if not fits or allowed.shape != (len(decoded), len(gallery)):
        raise InputError(
            "recognition takes (N, D) crops, (M, D) originals, (N,) numbers and (N, M) rivals, found "
            f"{decoded.shape}, {gallery.shape}, {own.shape} and {allowed.shape}."
        )
    lengths = [np.einsum("nd,nd->n", x, x, dtype=np.float64) for x in (decoded, gallery)]
    far = lengths[0][:, None] + lengths[1][None] - 2 * (decoded @ gallery.T).astype(np.float64)
    mine = far[np.arange(len(own)), own]
    ahead = (allowed & (far < mine[:, None] - _TIE)).sum(1)
    tied = (allowed & (np.abs(far - mine[:, None]) <= _TIE)).sum(1)
    counts = (ahead, tied, allowed.sum(1) + 1)
    return Recognition(*(count.astype(np.float64) for count in counts), np.maximum(mine, 0))


def answers(pictures: Sequence[np.ndarray], classifier: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(N,) int64: the class that a classifier takes each picture for.

    `classifier`: any callable from an (S, S, 3) uint8 picture to (K,) scores, as
    `chappe.tasks.load_transformers_classifier` gives.
    """
    return np.array([int(np.argmax(classifier(picture))) for picture in pictures], np.int64)


def agreement(given: Sequence[int], reference: Sequence[int]) -> tuple[float, float]:
    """(share of equal answers, the share that chance gives), each in [0, 1].

    `reference`: the `answers` on the originals, or true classes: then the first number is accuracy. Chance keeps how
    often each answer is given and mixes who gets it, sum_k p_k q_k (Cohen, *A coefficient of agreement for nominal
    scales*, 1960). Raises `InputError` for unequal lengths or none.

    >>> agreement([0, 0, 1, 1], [0, 0, 1, 2])
    (0.75, 0.375)
    """
    given, reference = np.asarray(given, np.int64), np.asarray(reference, np.int64)
    if given.shape != reference.shape or given.ndim != 1 or not given.size:
        raise InputError(f"answers are compared one by one, found {given.shape} and {reference.shape}.")
    names = np.union1d(given, reference)
    shares = [(x[:, None] == names[None]).mean(0) for x in (given, reference)]
    return float((given == reference).mean()), float((shares[0] * shares[1]).sum())


def _inside(box: Box, shape: Sequence[int]) -> Box:
    left, top, right, bottom = (int(edge) for edge in box)
    if not (0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]):
        raise InputError(
            f"a crop is left < right <= {shape[1]}, top < bottom <= {shape[0]} of its {shape[1]}x{shape[0]} picture, "
            f"found {tuple(box)}."
        )
    return left, top, right, bottom
