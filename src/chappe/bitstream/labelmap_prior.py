"""Shipped priors: integer tables of the label-map model, learned once on training maps (tools/train_map_prior.py).

A prior file is zlib data: the bytes "CLP1", prior id, fewest and most classes, number of tables; then for each table
scale (1 byte), learning rates (2 x 2 bytes), number of slots (4), number of weight sets (4), and the planes written by
`pack_table`. All integers little-endian.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass
from importlib import resources

import numpy as np

from chappe.errors import InputError, ModelError

from . import labelmap_python as twin
from .labelmap_engine import State
from .labelmap_tables import LIMIT, tables

__all__ = ["CELLS", "NAMES", "Prior", "pack_prior", "pack_table", "prior_by_id", "prior_id", "shipped", "unpack_prior"]

NAMES = {1: "street11", 2: "street11-cells"}  # permanent; ids 1 to 7
CELLS = "-cells"  # ends the name of a prior for maps reduced by the near-lossless coder
MAGIC = b"CLP1"
STRETCH_STEP = 22  # a stored probability is a stretch value in these units, one signed byte
WEIGHT_STEP = 16
SIZES = np.dtype([("scale", "u1"), ("rate", "<u2"), ("rate_first", "<u2"), ("slots", "<u4"), ("sets", "<u4")])


@dataclass(frozen=True)
class Prior:
    """One state for each scale, for maps of `fewest` to `most` classes."""

    number: int
    fewest: int
    most: int
    states: dict[int, State]

    def state(self, scale: int) -> State:
        """A copy of the tables for the largest scale learned that is not above `scale`."""
        return self.states[max(s for s in self.states if s <= scale)].copy()


def shipped(name: str) -> str | None:
    """`name` if there is a prior of that name, else None."""
    return name if name in NAMES.values() else None


def prior_id(name: str | None, classes: int) -> int:
    """The permanent number of a prior, 0 for None. Raises InputError if it is unknown or made for other classes."""
    if name is None:
        return 0
    number = next((n for n, known in NAMES.items() if known == name), None)
    if number is None:
        raise InputError(f"there is no label-map prior {name!r}: the shipped ones are {', '.join(NAMES.values())}")
    prior = prior_by_id(number)
    if not prior.fewest <= classes <= prior.most:
        raise InputError(f"the prior {name} is for {prior.fewest} to {prior.most} classes, not {classes}")
    return number


@functools.cache
def _load(number: int) -> Prior:
    return unpack_prior((resources.files(__package__) / "priors" / f"{NAMES[number]}.bin").read_bytes())


def prior_by_id(number: int, classes: int | None = None, *, wanted: str | None = None) -> Prior | None:
    """Prior of that number, None for 0. Raises ModelError if unknown, unfit for `classes`, or not the `wanted` one."""
    name = NAMES.get(number)
    if number and name is None:
        raise ModelError(f"the label map needs prior number {number}, which this version does not have: update chappe")
    if wanted is not None and wanted != name:
        raise ModelError(f"the label map was coded with the prior {name}, not {wanted}")
    if name is None:
        return None
    prior = _load(number)
    if classes is not None and not prior.fewest <= classes <= prior.most:
        raise ModelError(f"the label map was coded with the prior {name}, which does not fit {classes} classes")
    return prior


def _planes(values: np.ndarray, width: int) -> bytes:
    """Integers as `width` planes, the low bytes of all first: zlib likes it better."""
    return np.ascontiguousarray(values.astype("<u4")).view(np.uint8).reshape(-1, 4)[:, :width].T.tobytes()


def _from_planes(data: bytes, count: int, width: int) -> np.ndarray:
    wide = np.zeros((count, 4), np.uint8)
    wide[:, :width] = np.frombuffer(data, np.uint8, count * width).reshape(width, count).T
    return wide.view("<u4").reshape(-1).astype(np.int64)


def pack_table(
    scale: int, state: State, *, slots: int, count_cap: int, seen_cap: int, rates: tuple[int, int], grain: int = 1
) -> bytes:
    """One table: the `slots` counters with most events, to `grain` steps, and every weight set that was used."""
    events = state.slots & 255
    keep = np.sort(np.argsort(-events, kind="stable")[: min(slots, int((events > 0).sum()))])
    packed = state.slots[keep].astype(np.int64)
    stretched = tables().stretch[packed >> 14].astype(np.int64)
    step = grain * STRETCH_STEP
    coarse = grain * ((stretched + step * 128 + step // 2) // step - 128)
    used = np.flatnonzero(state.seen)
    weights = state.weights.reshape(twin.SETS, twin.CONTEXTS)[used].astype(np.int64) // WEIGHT_STEP
    head = np.array([(scale, *rates, len(keep), len(used))], SIZES).tobytes()
    return b"".join(
        (
            head,
            _planes(np.diff(keep, prepend=0), 3),
            _planes(np.clip(coarse, -(127 // grain) * grain, 127 // grain * grain) + 128, 1),
            _planes(np.minimum(packed & 255, count_cap), 1),
            _planes(np.diff(used, prepend=0), 2),
            _planes(np.minimum(state.seen[used], seen_cap), 2),
            _planes(np.clip(weights, -32768, 32767).T.reshape(-1) + 32768, 2),
        )
    )


def pack_prior(number: int, fewest: int, most: int, packed_tables: list[bytes]) -> bytes:
    """The file of a prior."""
    head = MAGIC + bytes([number, fewest, most, len(packed_tables)])
    return zlib.compress(head + b"".join(packed_tables), 9)


def unpack_prior(data: bytes) -> Prior:
    """The prior in a file of `pack_prior`. Raises ModelError if it is of another kind."""
    raw = zlib.decompress(data)
    if raw[:4] != MAGIC:
        raise ModelError("the label-map prior is of another version: install chappe again")
    number, fewest, most, count = raw[4:8]
    states, at = {}, 8
    for _ in range(count):
        sizes = np.frombuffer(raw, SIZES, 1, at)[0]
        at += SIZES.itemsize
        slots, sets = int(sizes["slots"]), int(sizes["sets"])
        planes = []
        for amount, width in ((slots, 3), (slots, 1), (slots, 1), (sets, 2), (sets, 2), (sets * twin.CONTEXTS, 2)):
            planes.append(_from_planes(raw[at : at + amount * width], amount, width))
            at += amount * width
        keep, coarse, events, used, seen, weights = planes
        state = State.cold()
        stretched = np.clip((coarse - 128) * STRETCH_STEP, -LIMIT, LIMIT)
        probability = (tables().squash[stretched + LIMIT].astype(np.int64) << 6) + 32
        state.slots[np.cumsum(keep)] = (probability << 8) | events
        rows = np.cumsum(used)
        learned = (weights - 32768).reshape(twin.CONTEXTS, sets).T * WEIGHT_STEP
        state.weights.reshape(twin.SETS, twin.CONTEXTS)[rows] = learned
        state.seen[rows] = seen
        states[int(sizes["scale"])] = State(
            state.slots, state.weights, state.seen, int(sizes["rate"]), int(sizes["rate_first"])
        )
    return Prior(number, fewest, most, states)
