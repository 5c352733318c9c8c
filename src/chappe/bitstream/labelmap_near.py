"""Near-lossless coding of label maps: a smaller, simpler map, coded losslessly, enlarged by a vote of its cells.

The payload is one byte, scale + 32 * prior, and the mixed code of the reduced map (docs/format.md, "Label maps").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chappe.errors import InputError, RateError, StreamError

from .labelmap import SPARE, start_state
from .labelmap_engine import check_labels, check_shape, decode_mixed, encode_mixed
from .labelmap_prior import prior_by_id, prior_id
from .labelmap_simplify import enlarge, simplify

__all__ = ["LADDER", "LEVELS", "Ladder", "decode_near", "encode_near"]

MAX_SCALE = 31

# (scale, slope) from the finest to the coarsest: the points that were worth their bytes on training maps.
LADDER: tuple[tuple[int, float], ...] = (
    (1, 0.25), (1, 0.5), (1, 1.0), (1, 1.5), (2, 0.5), (2, 1.0), (3, 0.5), (3, 1.0), (4, 0.5), (4, 1.0),
    (5, 0.7), (5, 1.5), (6, 1.0), (6, 2.0), (8, 1.0), (8, 2.0), (8, 4.0), (10, 2.0), (10, 4.0), (12, 3.0), (12, 6.0),
    (16, 4.0), (16, 10.0), (24, 20.0), (31, 50.0), (31, 400.0), (31, 1e6),
)  # fmt: skip
# Mean bytes of each rung on training maps: only to guess which rungs are not worth coding.
_TYPICAL = (
    683, 654, 591, 560, 355, 334, 238, 228, 182, 176, 143, 136, 116, 111, 85, 82, 78, 65, 62, 53, 50, 37, 36, 23, 17,
    11, 2,
)  # fmt: skip
FAR = 1.1  # times a limit: a second limit is seldom farther from the first
_PROBE = 14  # a rung that is quick to code
# Levels 0 to 3: about 0.034, 0.015, 0.010 and 0.006 bpp on street maps of 256 x 512.
LEVELS: tuple[tuple[int, float], ...] = ((1, 1.0), (3, 1.0), (5, 0.7), (10, 2.0))


def encode_near(
    labels: np.ndarray,
    classes: int,
    *,
    level: int | None = None,
    max_bytes: int | None = None,
    prior: str | None = None,
    protect: Sequence[float] | None = None,
) -> bytes:
    """Code of a label map that decodes to nearly the same map.

    labels: (H, W) integers in [0, classes). Give either level, 0 (finest) to 3, or max_bytes: the finest point of
    LADDER that fits. protect: (classes,) weights >= 0 of a wrong pixel of each true class, all 1 by default: more than
    1 keeps thin and rare classes, 0 lets a class (void) become anything; or (classes, classes), see `simplify`. prior:
    as in `encode_map`. Raises InputError for a bad argument, RateError if not even the coarsest map fits max_bytes.
    """
    ladder = Ladder(labels, classes, prior=prior, protect=protect)
    if (level is None) == (max_bytes is None):
        raise InputError("encode_near needs exactly one of level and max_bytes")
    if level is None:
        return ladder.fit(int(max_bytes))
    if not 0 <= level < len(LEVELS):
        raise InputError(f"the level of a near-lossless map is 0 to {len(LEVELS) - 1}, not {level}")
    return ladder.point(*LEVELS[level])


class Ladder:
    """The points of LADDER for one label map, each coded at most once: for callers that try several budgets."""

    def __init__(
        self, labels: np.ndarray, classes: int, *, prior: str | None = None, protect: Sequence[float] | None = None
    ):
        self.labels, self.classes = check_labels(labels, classes), classes
        self.number = prior_id(prior, classes)
        self.weights = np.ones(classes) if protect is None else np.asarray(protect, np.float64)
        fits = self.weights.shape in ((classes,), (classes, classes))
        if not fits or not np.isfinite(self.weights).all() or self.weights.min() < 0:
            raise InputError(
                f"protect must be {classes} finite weights of at least 0, or as many for each, not {protect!r}"
            )
        if self.weights.ndim == 2 and self.weights.diagonal().any():
            raise InputError("protect: a pixel that comes back as it was costs nothing: the diagonal must be 0")
        self._coded: dict[tuple[int, float], bytes] = {}
        self._cells: dict[tuple[int, float], np.ndarray] = {}
        self._received: dict[bytes, np.ndarray] = {}
        self._over: dict[tuple[int, float], int] = {}  # bytes that a point is known to need more than

    def point(self, scale: int, slope: float) -> bytes:
        """The payload at one point."""
        if (scale, slope) not in self._coded:
            # An adaptive code of at most eleven decisions a cell never comes near this limit.
            self._code(scale, slope, 4096 + 4 * self._simplified(scale, slope).size)
        return self._coded[scale, slope]

    def is_within(self, scale: int, slope: float, max_bytes: int) -> bool:
        """Whether the payload at one point takes at most `max_bytes`; one that is far from it is coded only in part."""
        at = scale, slope
        if at not in self._coded and self._over.get(at, -1) < max_bytes:
            cap = int(FAR * max_bytes) + SPARE
            if not self._code(scale, slope, cap):
                self._over[at] = cap - SPARE
        return at in self._coded and len(self._coded[at]) <= max_bytes

    def _simplified(self, scale: int, slope: float) -> np.ndarray:
        if (scale, slope) not in self._cells:
            self._cells[scale, slope] = simplify(self.labels, self.classes, scale, slope, self.weights)
        return self._cells[scale, slope]

    def _code(self, scale: int, slope: float, cap: int) -> bool:
        """Code one point unless its body takes more than `cap` bytes."""
        cells = self._simplified(scale, slope)
        body = encode_mixed(cells, self.classes, start_state(self.number, scale), cap)
        if body is None:
            return False
        payload = self._coded[scale, slope] = bytes([scale + 32 * self.number]) + body
        self._received[payload] = cells
        return True

    def received(self, payload: bytes) -> np.ndarray:
        """What `decode_near` makes of a payload of this ladder, (H, W) uint8, without decoding it."""
        return enlarge(self._received[payload], self.labels.shape, payload[0] & 31)

    @property
    def coarsest(self) -> bytes:
        return self.point(*LADDER[-1])

    def fit(self, max_bytes: int) -> bytes:
        """The finest rung that fits: from the one that typical sizes point to, step by step.

        Sizes fall along the ladder, but for small exceptions. Raises RateError if not even the coarsest map fits.
        """
        if len(self.coarsest) > max_bytes:
            raise RateError(
                f"the coarsest label map takes {len(self.coarsest)} bytes, more than the {max_bytes} allowed"
            )

        def fits(rung: int) -> bool:
            return self.is_within(*LADDER[rung], max_bytes)

        ratio, rung = len(self.point(*LADDER[_PROBE])) / _TYPICAL[_PROBE], len(LADDER) - 1
        for _ in range(2):  # the second guess knows the size of the first
            rung = next((k for k, size in enumerate(_TYPICAL) if ratio * size <= max_bytes), len(LADDER) - 1)
            ratio = len(self.point(*LADDER[rung])) / _TYPICAL[rung]
        while rung > 0 and fits(rung) and fits(rung - 1):
            rung -= 1
        while not fits(rung):
            rung += 1
        return self.point(*LADDER[rung])


def decode_near(data: bytes, shape: tuple[int, int], classes: int, *, prior: str | None = None) -> np.ndarray:
    """The label map (H, W) uint8 in `data`: see `decode_map` for `prior`, bounds and errors."""
    height, width = check_shape(shape, classes, InputError)
    if not data:
        raise StreamError("the near-lossless label map is empty: the stream is cut")
    scale, number = data[0] & 31, data[0] >> 5
    if scale == 0:
        raise StreamError("the near-lossless label map has scale 0: the stream is damaged")
    prior_by_id(number, classes, wanted=prior)
    small = -(-height // scale), -(-width // scale)
    cells = decode_mixed(data[1:], small, classes, start_state(number, scale))
    return enlarge(cells, (height, width), scale)
