"""One picture as concepts: what every level of each costs, loses and sends. Used by the sender and by the agents."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from chappe.bitstream import concepts as code
from chappe.bitstream import container
from chappe.bitstream.concepts import LEVELS, ConceptPrior

__all__ = ["Concepts"]


class Concepts:
    """features: (h, w, n) in [-1, 1]; cells: (h, w) uint8, the concept of each; pixels: of the picture, for rates.

    `numbers` (T,): the concepts that have a cell, in increasing order; rows of every table here are theirs.
    """

    def __init__(self, features: np.ndarray, cells: np.ndarray, pixels: int, concepts: int,
                 prior: ConceptPrior | None = None, coder: str = "range"):  # fmt: skip
        self.features, self.cells, self.pixels = features, cells, pixels
        self.concepts, self.prior, self.coder = concepts, prior, coder
        self.numbers = np.unique(cells)
        self._bits: dict[tuple[int, int, float], float] = {}
        self._payloads: dict[tuple[int, int, float], bytes] = {}
        self._values: dict[tuple[int, float], np.ndarray] = {}

    @cached_property
    def rates(self) -> np.ndarray:
        """(T, Q) bits per pixel of the section that sends a concept at a level; 0 at level 0."""
        return np.array([[self.size(m, level) * 8 / self.pixels for level in range(LEVELS)] for m in self.numbers])

    @cached_property
    def errors(self) -> np.ndarray:
        """(T, Q) squared error of a concept's features at a level, summed over its cells, by all cells."""
        out = np.empty((len(self.numbers), LEVELS))
        for level in range(LEVELS):
            gap = (self.features - self.values(level).astype(np.float32) / max(1, level)) ** 2
            total = np.bincount(self.cells.ravel(), gap.sum(2).ravel(), self.concepts)
            out[:, level] = total[self.numbers] / self.cells.size
        return out

    def losses(self, sensitivity: np.ndarray) -> np.ndarray:
        """(T, Q) loss by the sensitivity of a task: (M, Q), what a concept loses at a level for each unit of squared
        error that dropping it makes; or (M,), for each unit of the squared error at that level."""
        table = np.asarray(sensitivity, np.float64)[self.numbers]
        return self.errors * table[:, None] if table.ndim == 1 else self.errors[:, :1] * table

    def values(self, level: int, rounding: float = 0.5) -> np.ndarray:
        """(h, w, n) int8: everything quantised at one level, see `quantizer.hard_values`."""
        if (level, rounding) not in self._values:
            size = np.minimum(np.floor(np.abs(self.features) * level + np.float32(rounding)), level)
            self._values[level, rounding] = (np.sign(self.features) * size).astype(np.int8)
        return self._values[level, rounding]

    def size(self, number: int, level: int, rounding: float = 0.5) -> int:
        """Bytes of that section, to one or two (before the section is coded it is estimated)."""
        key = (int(number), int(level), rounding)
        if level == 0:
            return 0
        if key in self._payloads:
            return container.section_size(len(self._payloads[key]))
        if key not in self._bits:
            args = self.values(level, rounding), self.cells == number, int(number), int(level), self.concepts
            self._bits[key] = code.concept_bits(*args, prior=self.prior, coder=self.coder)
        return container.section_size(math.ceil(self._bits[key] / 8))

    def total(self, levels: np.ndarray, rounding: float = 0.5) -> int:
        """Bytes of all sections of an allocation (T,)."""
        return sum(self.size(m, q, rounding) for m, q in zip(self.numbers, levels, strict=True))

    def payload(self, number: int, level: int, rounding: float = 0.5) -> bytes:
        """The section's payload, level above 0."""
        key = (int(number), int(level), rounding)
        if key not in self._payloads:
            args = self.values(level, rounding), self.cells == number, int(number), int(level), self.concepts
            self._payloads[key] = code.encode_concept(*args, prior=self.prior, coder=self.coder)
        return self._payloads[key]

    def received(self, levels: np.ndarray, rounding: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """What the far end has of an allocation (T,): values (h, w, n) int8 and levels (h, w) uint8 of the cells."""
        grid = np.zeros(self.concepts, np.uint8)
        grid[self.numbers] = levels
        grid = grid[self.cells]
        values = np.zeros(self.features.shape, np.int8)
        for level in np.unique(levels).tolist():
            values[grid == level] = self.values(level, rounding)[grid == level]
        return values, grid
