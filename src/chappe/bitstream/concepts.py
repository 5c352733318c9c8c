"""Semantic concepts (RL-ASC): the quantised features of one class, coded so that each concept stands alone.

The decoder has the label map, so it knows the cells of every concept. A payload is one byte, level * 32 + concept, and
a range coder stream under adaptive integer models; or, level 0 there, one more byte with the level and a canonical
Huffman code (RL-ASC's own). Level L has the 2 L + 1 centres -L / L ... L / L; a concept of level 0 is not sent.
Specification: docs/format.md, the chapter on semantic concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chappe.bitstream import concepts_python, huffman
from chappe.bitstream.concepts_python import CONTEXTS, SETS, slot_count
from chappe.bitstream.labelmap_engine import engine_name
from chappe.bitstream.labelmap_tables import tables
from chappe.bitstream.rangecoder import Decoder, Encoder
from chappe.errors import StreamError, UsageError

__all__ = ["CELL", "CODERS", "LEVELS", "MAX_CHANNELS", "MAX_CONCEPTS", "Concept", "ConceptPrior", "cell_concepts",
           "concept_bits", "decode_concept", "encode_concept", "train_prior"]  # fmt: skip

CELL = 8  # pixels a side
LEVELS = 6  # 0 (not sent) to 5
MAX_CONCEPTS = 32
MAX_CHANNELS = 64
MAX_CELLS = 512 * 512
CODERS = ("range", "huffman")
COLD_WEIGHT, COLD_RATES, WARM_RATES = 16000, (40, 500), (40, 200)
WARM_COUNT = 20  # events that a trained counter is trusted to have seen, at most


@dataclass(frozen=True, eq=False)
class Concept:
    """number: the concept. level: 1 to 5. values: (h, w, channels) int8 in -level ... level, 0 outside its cells."""

    number: int
    level: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class ConceptPrior:
    """What the coder starts from, a row a level: slots (5, slot_count), weights (5, SETS * CONTEXTS), seen (5, SETS),
    all int32. Made for one number of channels and of concepts."""

    channels: int
    concepts: int
    slots: np.ndarray
    weights: np.ndarray
    seen: np.ndarray
    rates: tuple[int, int] = WARM_RATES

    @classmethod
    def cold(cls, channels: int, concepts: int) -> ConceptPrior:
        """No knowledge."""
        rows = LEVELS - 1
        return cls(
            channels, concepts, np.full((rows, slot_count(channels, concepts)), 2097152 << 8, np.int32),
            np.full((rows, SETS * CONTEXTS), COLD_WEIGHT, np.int32), np.zeros((rows, SETS), np.int32), COLD_RATES,
        )  # fmt: skip

    def __post_init__(self):
        shapes = {"slots": slot_count(self.channels, self.concepts), "weights": SETS * CONTEXTS, "seen": SETS}
        for name, length in shapes.items():
            found = getattr(self, name)
            if found.shape != (LEVELS - 1, length) or found.dtype != np.int32:
                raise UsageError(f"a concept prior's {name} are int32 ({LEVELS - 1}, {length}), not {found.shape}")
        if min(self.slots.min(), self.seen.min()) < 0 or self.slots.max() >= 1 << 30 or self.seen.max() > 65535:
            raise UsageError("a concept prior's counters are out of range: the table is damaged")

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a model folder keeps."""
        return {"slots": self.slots, "weights": self.weights, "seen": self.seen}


def cell_concepts(labels: np.ndarray, concepts: int, votes: Sequence[int] = ()) -> np.ndarray:
    """Down-scaled masks (RL-ASC II-A) as one map: labels (H, W) uint8 -> (h, w) uint8, cells of 8x8 pixels.

    The picture is extended to multiples of 16 by its last row and column: h = 2 ceil(H / 16). A pixel of class k votes
    with votes[k], a whole number from 1 to 255 (all 1 without `votes`); of equals the lowest class wins.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.size == 0 or int(labels.max()) >= concepts:
        raise UsageError(
            f"a map of {concepts} concepts is 2-D uint8 below {concepts}, not {labels.dtype} {labels.shape}"
        )
    labels = np.pad(labels, [(0, -side % (2 * CELL)) for side in labels.shape], mode="edge")
    h, w = labels.shape[0] // CELL, labels.shape[1] // CELL
    rows, cols = np.arange(labels.shape[0]) // CELL, np.arange(labels.shape[1]) // CELL
    place = (rows[:, None] * w + cols) * concepts + labels
    counts = np.bincount(place.ravel(), minlength=h * w * concepts).reshape(h, w, concepts)
    weights = np.asarray(votes or [1] * concepts)
    return (counts * weights).argmax(2).astype(np.uint8)


def encode_concept(
    values: np.ndarray, inside: np.ndarray, number: int, level: int, concepts: int, *,
    prior: ConceptPrior | None = None, coder: str = "range",
) -> bytes:  # fmt: skip
    """Payload of concept `number` at `level` (1 to 5). values: (h, w, channels) integers; inside: (h, w) bool, its
    cells. Raises UsageError for arguments that do not fit."""
    values, inside = _checked(values, inside, number, level, concepts)
    if coder == "huffman":
        kinds = 2 * level + 1
        return bytes([number, level]) + huffman.encode(values[inside].astype(np.int64).ravel() + level, kinds)
    if coder != "range":
        raise UsageError(f"coder={coder!r} is not one of {', '.join(CODERS)}")
    state = _start(prior, values.shape[2], concepts)
    out = _run(values.copy(), inside, number, level, concepts, state, None, None)
    encoder = Encoder()
    for decision in out.tolist():
        encoder.encode_bit(decision & 1, decision >> 1)
    return bytes([level << 5 | number]) + encoder.finish()


def concept_bits(
    values: np.ndarray, inside: np.ndarray, number: int, level: int, concepts: int, *,
    prior: ConceptPrior | None = None, coder: str = "range",
) -> float:  # fmt: skip
    """About the bits of that payload: the range coder's information content, or Huffman's exact size."""
    values, inside = _checked(values, inside, number, level, concepts)
    if coder == "huffman":
        return 8.0 * (2 + huffman.size(values[inside].astype(np.int64).ravel() + level, 2 * level + 1))
    out = _run(values.copy(), inside, number, level, concepts, _start(prior, values.shape[2], concepts), None, None)
    return 8.0 + _information(out)


def decode_concept(
    data: bytes, cells: np.ndarray, channels: int, concepts: int, *, prior: ConceptPrior | None = None
) -> Concept:
    """The concept in a payload. cells: (h, w) uint8, the concept of each cell. Raises StreamError."""
    if not 1 <= concepts <= MAX_CONCEPTS or not 1 <= channels <= MAX_CHANNELS or cells.size > MAX_CELLS:
        raise UsageError(f"{concepts} concepts of {channels} channels in {cells.shape} cells are not coded")
    if len(data) < 1 + (data[:1] < b"\x20"):
        raise StreamError("a concept's payload has no room for its number and level: it is cut")
    number, level, coder, at = data[0] & 31, data[0] >> 5, "range", 1
    if level == 0:
        level, coder, at = data[1], "huffman", 2
    inside = np.asarray(cells) == number
    if number >= concepts or not 1 <= level < LEVELS or not inside.any():
        raise StreamError(f"no concept {number} of level {level} can be in this picture: the stream is damaged")
    values = np.zeros((*cells.shape, channels), np.int32)
    if coder == "huffman":
        symbols = huffman.decode(data[at:], int(inside.sum()) * channels, 2 * level + 1)
        values[inside] = symbols.reshape(-1, channels) - level
        return Concept(number, level, values.astype(np.int8))
    decoder = Decoder(data[at:])
    state = np.array(decoder.state(), np.int64)
    buf = np.frombuffer(data[at:] or b"\0", np.uint8).copy()  # read-only would be another type to the compiler
    _run(values, inside, number, level, concepts, _start(prior, channels, concepts), buf, state)
    decoder.resume(*(int(v) for v in state))
    decoder.finish()
    return Concept(number, level, values.astype(np.int8))


def train_prior(samples: Sequence[tuple[Concept, np.ndarray]], channels: int, concepts: int) -> ConceptPrior:
    """Counters and weights after coding all `samples`, pairs of a concept and its cells (h, w) bool, one by one."""
    cold = ConceptPrior.cold(channels, concepts)
    for concept, inside in samples:
        row = slice(concept.level - 1, concept.level)
        rows = (cold.slots[row].reshape(-1), cold.weights[row].reshape(-1), cold.seen[row].reshape(-1), *COLD_RATES)
        values = np.ascontiguousarray(concept.values, np.int32)
        _run(values, inside, concept.number, concept.level, concepts, lambda level, kept=rows: kept, None, None)
    slots = cold.slots & ~255 | np.minimum(cold.slots & 255, WARM_COUNT)
    return ConceptPrior(channels, concepts, slots, cold.weights, cold.seen)


def _start(prior: ConceptPrior | None, channels: int, concepts: int):
    """level -> (slots, weights, seen, rates) to code with, copies."""
    prior = ConceptPrior.cold(channels, concepts) if prior is None else prior
    if (prior.channels, prior.concepts) != (channels, concepts):
        raise UsageError(
            f"the prior is for {prior.channels} channels and {prior.concepts} concepts, not {channels} and {concepts}"
        )
    return lambda level: (*(a[level - 1].copy() for a in prior.arrays.values()), *prior.rates)


def _run(values, inside, number, level, concepts, start, buf, state) -> np.ndarray:
    """One call of the engine; the decisions (2 p + bit) when encoding. `values` (int32) and `state` are changed."""
    h, w, channels = values.shape
    decode = buf is not None
    out = np.zeros(0 if decode else int(inside.sum()) * channels * (level + 1), np.int64)
    buf = np.zeros(1, np.uint8) if buf is None else buf
    state = np.zeros(3, np.int64) if state is None else state
    slots, weights, seen, *rates = start(level)
    t = tables()
    flat = values.reshape(-1)
    head = (h, w, channels, concepts, number, level)
    mask, constant = inside.astype(np.uint8).reshape(-1), (t.squash, t.stretch, t.rate, t.trust)
    changed = (slots, weights, seen)
    if engine_name() == "numba":
        from . import concepts_numba

        used = concepts_numba.run(int(decode), flat, mask, *head, *changed, buf, state, out, *constant, *rates)
        return out[:used]
    plain = [a.tolist() for a in (flat, mask, *changed, buf, state, out, *constant)]
    used = concepts_python.run(int(decode), plain[0], plain[1], *head, *plain[2:], *rates)
    for array, found in zip((flat, *changed, state, out), (plain[0], *plain[2:5], plain[6], plain[7]), strict=True):
        array[:] = found
    return out[:used]


def _checked(values, inside, number, level, concepts) -> tuple[np.ndarray, np.ndarray]:
    values, inside = np.asarray(values), np.asarray(inside)
    if values.ndim != 3 or inside.shape != values.shape[:2] or inside.dtype != bool or values.dtype.kind not in "iu":
        raise UsageError(f"a concept is (h, w, channels) integers and (h, w) bool, not {values.shape}, {inside.shape}")
    fits = 1 <= concepts <= MAX_CONCEPTS and 0 <= number < concepts and 1 <= level < LEVELS
    if not fits or not 1 <= values.shape[2] <= MAX_CHANNELS or inside.size > MAX_CELLS:
        raise UsageError(f"no concept {number} of {concepts} at level {level} has {values.shape} values")
    if not inside.any() or int(np.abs(values[inside]).max()) > level:
        raise UsageError(f"concept {number} needs a cell at least, and values of size {level} at most")
    return np.ascontiguousarray(np.where(inside[..., None], values, 0), np.int32), inside


def _information(out: np.ndarray) -> float:
    p, bit = out >> 1, out & 1
    return float(-np.log2(np.where(bit == 1, p, 65536 - p) / 65536).sum())
