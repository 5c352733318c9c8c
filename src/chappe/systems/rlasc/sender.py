"""One picture on its way into an RL-ASC file: map, allocation of the levels, and the rate that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chappe.bitstream.concepts import LEVELS, cell_concepts
from chappe.bitstream.container import Section, SectionType
from chappe.errors import RateError
from chappe.nn.tiling import pad_to_cells
from chappe.systems.mapstream import MapCoder, decode_map, file_size
from chappe.systems.rate import split_bytes
from chappe.systems.rlasc.allocate import LAMBDAS, best_that_fits, between, lagrangian, slope_path, uniform_levels
from chappe.systems.rlasc.picture import Concepts
from chappe.systems.rlasc.reward import Criterion, make_task

__all__ = ["ALLOCATORS", "Request", "Sender", "measured_losses", "raise_levels"]

ALLOCATORS = ("agent", "greedy", "uniform", "search")
LEAST_ROUNDING = 0.3  # how far the step around 0 may widen to meet a rate, see `quantizer.hard_values`
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Request:
    """What a call asks for. total: bytes of the file; else lam, loss a bit per pixel; else level, the same for all.

    weights (M,): how much each class matters to the caller; a class at 0 gets nothing.
    """

    total: float | None
    lam: float | None
    level: int | None
    map_mode: str
    map_share: float | None
    allocator: str
    task: str
    coder: str
    weights: np.ndarray | None


class Sender:
    """Every map is coded at most once, and the features of a picture are found once."""

    def __init__(self, codec, image: np.ndarray, labels: np.ndarray, request: Request):
        self.codec, self.request, self.shape = codec, request, labels.shape
        self.map = MapCoder(labels, codec.classes, codec.taxonomy, codec.settings.get("protect"))
        self.padded = pad_to_cells(image)
        self.features = codec.engine.analyse(self.padded)
        self._received: dict[bytes, tuple[np.ndarray, Concepts]] = {}
        self._measured: dict[bytes, np.ndarray] = {}

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    def sections(self) -> list[Section]:
        """The sections of the file, the map first, then the concepts, what saves most loss a bit in front."""
        request = self.request
        if request.total is not None:
            return self._fit(request.total)
        first = self._map_for(request.lam)
        _, concepts = self._on(first)
        if request.lam is None:
            levels = np.full(len(concepts.numbers), request.level)
        else:
            levels = self._at(concepts, self._losses(first), request.lam)
        return [first, *self._layers(concepts, self._losses(first), levels)]

    def _fit(self, target: float) -> list[Section]:
        """Map first within its share, then the dearest allocation that fits; what it cannot use goes to the map."""
        near = self.request.map_mode == "near"
        share = self.request.map_share or self.codec.map_share(target * 8 / self.pixels, self.request.map_mode)

        def attempt(budget: int | None) -> tuple[int, list[Section]]:
            first = self.map.lossless if budget is None or not near else self.map.within(budget)
            sections = [first, *self._fill(first, target - file_size(*self.shape, [first]))]
            return file_size(*self.shape, sections), sections

        gap, sections = split_bytes(target, share * target, attempt, rounds=ROUNDS if near else 1, ladder=near)
        if abs(gap) > 0.05 * target:
            self._refuse(target, sections)
        return sections

    def _refuse(self, target: float, nearest: list[Section]) -> None:
        near = self.request.map_mode == "near"
        ends = [[self.map.within(0) if near else self.map.lossless], [self.map.lossless]]
        _, concepts = self._on(ends[1][0])
        ends[1] += self._layers(concepts, self._losses(ends[1][0]), self._path(concepts, ends[1][0])[-1])
        low, high, found = (file_size(*self.shape, s) * 8 / self.pixels for s in (*ends, nearest))
        raise RateError(
            f"{target * 8 / self.pixels:.4f} bpp is out of reach for {self.codec.name} on this {self.shape[1]}x"
            f"{self.shape[0]} picture: it reaches {low:.4f} to {high:.4f} bpp (the nearest file has {found:.4f})"
        )

    def _fill(self, first: Section, room: float) -> list[Section]:
        """Layers of at most `room` bytes: the dearest allocation that fits, single concepts of the next one, and one
        more of these with a wider step at 0."""
        _, concepts = self._on(first)
        losses = self._losses(first)
        below, above = best_that_fits(self._path(concepts, first), concepts.total, room)
        if above is not None:
            if below is None:
                below = np.zeros_like(above)
            worth = np.zeros(len(below))  # uniform: in label order
            if self.request.allocator != "uniform":
                rows = np.arange(len(below))
                worth = (losses[rows, below] - losses[rows, above]) / np.maximum(concepts.rates[rows, above], 1e-9)
            below, above = best_that_fits(between(below, above, worth), concepts.total, room)
        if above is not None and concepts.total(above, LEAST_ROUNDING) <= room:
            low, high = LEAST_ROUNDING, 0.5
            for _ in range(5):
                middle = (low + high) / 2
                low, high = (middle, high) if concepts.total(above, middle) <= room else (low, middle)
            return self._layers(concepts, losses, above, low)
        if below is None:
            below = np.zeros(len(concepts.numbers), int)
        if self.request.allocator != "uniform":
            below = raise_levels(concepts, self._weigh(concepts, losses), below, room)
        return self._layers(concepts, losses, below)

    def _layers(self, concepts: Concepts, losses: np.ndarray, levels: np.ndarray, rounding: float = 0.5):
        """LAYER sections, ordered by the loss that each saves a byte, so that a file cut short keeps what matters."""
        sent = []
        for row, (number, level) in enumerate(zip(concepts.numbers, levels, strict=True)):
            if level > 0:
                payload = concepts.payload(number, int(level), rounding)
                saved = (losses[row, 0] - losses[row, level]) / len(payload)
                sent.append((-saved, row, Section(SectionType.LAYER, payload)))
        return [section for _, _, section in sorted(sent, key=lambda item: item[:2])]

    def _path(self, concepts: Concepts, first: Section) -> list[np.ndarray]:
        """The allocator's proposals for all rates."""
        if self.request.allocator == "uniform":
            return [np.full(len(concepts.numbers), level) for level in range(LEVELS)]
        losses = self._losses(first)
        if self.request.allocator == "agent":
            found = self._agent(concepts, losses, np.array(LAMBDAS))
            return [np.zeros(len(concepts.numbers), int), *found]
        return slope_path(concepts.rates, self._weigh(concepts, losses))

    def _at(self, concepts: Concepts, losses: np.ndarray, lam: float) -> np.ndarray:
        """The allocator's levels (T,) for one lambda."""
        if self.request.allocator == "agent":
            return self._agent(concepts, losses, np.array([lam]))[0]
        choose = uniform_levels if self.request.allocator == "uniform" else lagrangian
        return choose(concepts.rates, self._weigh(concepts, losses), lam)

    def _agent(self, concepts: Concepts, losses: np.ndarray, lams: np.ndarray) -> np.ndarray:
        """(K, T) levels; a class of weight w is decided as if its bits cost lambda / w."""
        weights = np.ones(len(concepts.numbers)) if self.request.weights is None else self._own(concepts)
        rows = lams[:, None] / np.maximum(weights, 1e-9)
        args = self.features, concepts.cells, concepts.numbers, rows, concepts.rates, losses
        return np.where(weights > 0, self.codec.engine.decide(self.request.task, *args), 0)

    def _weigh(self, concepts: Concepts, losses: np.ndarray) -> np.ndarray:
        return losses if self.request.weights is None else losses * self._own(concepts)[:, None]

    def _own(self, concepts: Concepts) -> np.ndarray:
        return self.request.weights[concepts.numbers]

    def _map_for(self, lam: float | None) -> Section:
        """Lossless, or as many bytes as the model's table gives the map at this lambda."""
        if self.request.map_mode == "lossless" or lam is None:
            return self.map.lossless
        table = np.asarray(self.codec.settings["map_bpp"], np.float64)
        bpp = float(np.interp(np.log(lam), np.log(table[:, 0]), table[:, 1]))
        return self.map.within(int(bpp * self.pixels / 8))

    def _on(self, first: Section) -> tuple[np.ndarray, Concepts]:
        """The map as the far end gets it, and the picture's concepts under it."""
        if first.payload not in self._received:
            codec = self.codec
            labels = decode_map({first.type: first.payload}, self.shape, codec.classes, codec.taxonomy)
            cells = cell_concepts(labels, codec.classes, codec.engine.config.vote)
            found = Concepts(self.features, cells, self.pixels, codec.classes, codec.prior, self.request.coder)
            self._received[first.payload] = labels, found
        return self._received[first.payload]

    def _losses(self, first: Section) -> np.ndarray:
        """(T, Q) what the levels lose, by the task's table, or measured."""
        labels, concepts = self._on(first)
        if self.request.allocator != "search":
            return concepts.losses(self.codec.sensitivity(self.request.task))
        if first.payload not in self._measured:
            criterion = Criterion(make_task(self.request.task, self.codec.segmenter()))
            args = self.codec.engine, self.padded, pad_to_cells(labels), concepts, criterion
            self._measured[first.payload] = measured_losses(*args)
        return self._measured[first.payload]


def raise_levels(concepts: Concepts, losses: np.ndarray, levels: np.ndarray, room: float) -> np.ndarray:
    """(T,) levels raised one by one, where most loss (T, Q) is saved a byte, until nothing more fits into `room` bytes.

    A large concept that does not fit leaves room for smaller ones. What nothing is lost by (a weight of 0) stays.
    """
    levels, total = levels.copy(), concepts.total(levels)
    worth = losses.max(1) > losses.min(1)
    while True:
        best, chosen = 0.0, None
        for row, number in enumerate(concepts.numbers):
            level = int(levels[row])
            if level + 1 < LEVELS and worth[row]:
                extra = concepts.size(number, level + 1) - concepts.size(number, level)
                gain = (losses[row, level] - losses[row, level + 1] + 1e-12) / max(extra, 1)
                if total + extra <= room and gain > best:
                    best, chosen = gain, (row, extra)
        if chosen is None:
            return levels
        levels[chosen[0]] += 1
        total += chosen[1]


def measured_losses(engine, image: np.ndarray, labels: np.ndarray, concepts: Concepts, criterion: Criterion,
                    base: int = 2) -> np.ndarray:  # fmt: skip
    """(T, Q) loss when one concept takes each level and all others keep `base`, less the loss with all at `base`.

    image, labels: whole cells of 16x16 pixels. One decode for each entry: slow, and the fairest rival of an agent.
    """
    reference = criterion.reference(image)

    def quality(levels: np.ndarray) -> float:
        return criterion.quality(engine.restore(*concepts.received(levels), concepts.cells, labels), reference)

    out = np.zeros((len(concepts.numbers), LEVELS))
    usual = np.full(len(concepts.numbers), base)
    at_base = quality(usual)
    for row in range(len(out)):
        for level in range(LEVELS):
            if level != base:
                levels = usual.copy()
                levels[row] = level
                out[row, level] = quality(levels) - at_base
    return out
