"""Trained tables of the mixed token code: two small integer networks a stream, and their file.

A prior file is zlib data: "CTM1", the number of streams (1 byte), then for each stream its name (length byte and
ASCII), the fields of SIZES, and the arrays: vectors (levels x size, 1 byte, signed), cluster (levels, 1 byte), and for
the networks of positions and of indices the numbers v of `Net` as 16-bit 2 v for v >= 0, else -2 v - 1, all low
bytes before all high bytes. All little-endian.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from chappe.errors import ModelError

from .labelmap_tables import LIMIT, tables
from .tokenmix_python import GATES, inputs

__all__ = ["Net", "TokenPrior", "pack_priors", "power", "unpack_priors"]

MAGIC = b"CTM1"
MAX_FILE = 1 << 24
POWER_BITS = 16
SIZES = np.dtype(
    [("levels", "<u4"), ("classes", "u1"), ("size", "u1"), ("clusters", "u1"), ("hidden", "u1", 2), ("shifts", "u1", 4),
     ("steps", "u1", 4)]
)  # fmt: skip


@cache
def power() -> np.ndarray:
    """(LIMIT + 1,) int32: round(65536 exp(-d / 256)), at least 1, by exact integer arithmetic."""
    bits = 96
    one = 1 << bits
    ratio, term = 0, one
    for k in range(1, 40):  # exp(1/256) by its Taylor series
        ratio += term
        term //= 256 * k
    values, e = [], one
    for _ in range(LIMIT + 1):
        values.append(max(1, ((2 << (bits + POWER_BITS)) + e) // (2 * e)))
        e = e * ratio >> bits
    return np.array(values, np.int32)


def squash() -> np.ndarray:
    """(2 LIMIT + 1,) int32: the logistic function of the label-map coder."""
    return tables().squash


@dataclass(frozen=True, eq=False)
class Net:
    """One network, all its numbers in `values` (int32, flat), in the order the engine reads them.

    Inputs x units weights, units biases; then for every output `units` weights, behind each group of outputs its
    biases. Groups: one output (positions); gates, clusters, levels (indices). `steps`: the biases of the hidden layer
    and of the outputs are stored divided by 2**steps, `values` holds them whole.
    """

    units: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class TokenPrior:
    """What one stream's coder knows. vectors (levels, size) int8; cluster (levels,) uint8, every cluster non-empty."""

    levels: int
    classes: int
    vectors: np.ndarray
    cluster: np.ndarray
    position: Net
    index: Net
    shifts: tuple[int, int, int, int]
    steps: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        return self.vectors.shape[1]

    @property
    def clusters(self) -> int:
        return int(self.cluster.max()) + 1

    @cached_property
    def member(self) -> np.ndarray:
        """(levels,) int32: indices sorted by cluster."""
        return np.argsort(self.cluster, kind="stable").astype(np.int32)

    @cached_property
    def first(self) -> np.ndarray:
        """(clusters + 1,) int32: where each cluster begins in `member`."""
        return np.searchsorted(np.sort(self.cluster), np.arange(self.clusters + 1)).astype(np.int32)


def _groups(levels: int, clusters: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (1,), (2 * GATES, clusters, levels)


def _biases(width: int, units: int, groups: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where in a net's values the hidden layer's biases lie, and those of the outputs."""
    at = width * units
    hidden = np.arange(at, at + units)
    at += units
    outputs = []
    for group in groups:
        outputs.append(np.arange(at + group * units, at + group * (units + 1)))
        at += group * (units + 1)
    return hidden, np.concatenate(outputs)


def _length(width: int, units: int, groups: tuple[int, ...]) -> int:
    return (width + 1) * units + sum(groups) * (units + 1)


def _planes(values: np.ndarray) -> bytes:
    if values.size and not -32768 <= int(values.min()) <= int(values.max()) <= 32767:
        raise ModelError("a number of the token prior does not fit 16 bits: choose larger shifts and steps")
    folded = (values << 1) ^ (values >> 63)  # 0, -1, 1, -2, 2: small numbers have an empty high byte
    return np.ascontiguousarray(folded.astype("<u2")).view(np.uint8).reshape(-1, 2).T.tobytes()


def pack_priors(priors: dict[str, TokenPrior]) -> bytes:
    """The file of the priors, by stream name."""
    parts = [MAGIC, bytes([len(priors)])]
    for name, prior in priors.items():
        sizes = np.zeros(1, SIZES)
        hidden = (prior.position.units, prior.index.units)
        sizes[0] = (prior.levels, prior.classes, prior.size, prior.clusters, hidden, prior.shifts, prior.steps)
        label = name.encode("ascii")
        parts += [bytes([len(label)]), label, sizes.tobytes()]
        parts += [prior.vectors.astype(np.int8).tobytes(), prior.cluster.astype(np.uint8).tobytes()]
        width = inputs(prior.size, prior.classes)
        groups = _groups(prior.levels, prior.clusters)
        for number, net in enumerate((prior.position, prior.index)):
            stored = net.values.astype(np.int64)
            for part, places in enumerate(_biases(width, net.units, groups[number])):
                stored[places] >>= prior.steps[2 * number + part]
            parts.append(_planes(stored))
    return zlib.compress(b"".join(parts), 9)


def unpack_priors(data: bytes) -> dict[str, TokenPrior]:
    """The priors in a file of `pack_priors`. Raises ModelError if it is of another kind or damaged."""
    try:
        raw = zlib.decompressobj().decompress(data, MAX_FILE)
    except zlib.error:
        raise ModelError("the token prior is not zlib data: install the model again") from None
    if raw[:4] != MAGIC:
        raise ModelError("the token prior is of another kind or version: install the model again")
    reader = _Reader(raw)
    reader.at = 4
    return {name: prior for name, prior in (_unpack_one(reader) for _ in range(reader.byte()))}


class _Reader:
    """Cuts pieces off; a missing one is a ModelError."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, count: int) -> bytes:
        piece = self.raw[self.at : self.at + count]
        if len(piece) < count:
            raise ModelError("the token prior ends too early: install the model again")
        self.at += count
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def numbers(self, count: int) -> np.ndarray:
        planes = np.frombuffer(self.take(2 * count), np.uint8).reshape(2, count)
        folded = np.ascontiguousarray(planes.T).view("<u2").reshape(-1).astype(np.int32)
        return (folded >> 1) ^ -(folded & 1)


def _unpack_one(reader: _Reader) -> tuple[str, TokenPrior]:
    name = reader.take(reader.byte()).decode("ascii", "replace")
    sizes = np.frombuffer(reader.take(SIZES.itemsize), SIZES)[0]
    levels, classes, size, clusters = (int(sizes[key]) for key in ("levels", "classes", "size", "clusters"))
    shifts, steps = tuple(sizes["shifts"].tolist()), tuple(sizes["steps"].tolist())
    if not 2 <= levels <= 65536 or max(shifts) > 31 or max(steps) > 15:
        raise ModelError(f"the token prior {name} is for {levels} levels with shifts {shifts}: install the model again")
    vectors = np.frombuffer(reader.take(levels * size), np.int8).reshape(levels, size).copy()
    cluster = np.frombuffer(reader.take(levels), np.uint8).copy()
    if not np.array_equal(np.unique(cluster), np.arange(clusters)):
        raise ModelError(f"the token prior {name} has an empty cluster: install the model again")
    nets, width = [], inputs(size, classes)
    for number, groups in enumerate(_groups(levels, clusters)):
        units = int(sizes["hidden"][number])
        values = reader.numbers(_length(width, units, groups))
        for part, places in enumerate(_biases(width, units, groups)):
            values[places] <<= steps[2 * number + part]
        nets.append(Net(units, values))
    return name, TokenPrior(levels, classes, vectors, cluster, *nets, shifts, steps)
