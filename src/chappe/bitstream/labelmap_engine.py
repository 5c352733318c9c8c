"""Padding, state and choice of engine for the label-map coder; the payload layout is in labelmap and labelmap_near."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chappe.errors import InputError, StreamError, UsageError

from . import labelmap_python as twin
from .labelmap_tables import tables

__all__ = ["MAX_PIXELS", "State", "check_labels", "check_shape", "decode_mixed", "encode_mixed", "engine_name"]

MAX_PIXELS = 4096 * 4096
ENGINE_VARIABLE = "CHAPPE_LABELMAP_ENGINE"  # "numba" or "python"; unset: numba where it is installed


@dataclass(frozen=True)
class State:
    """What the model knows before the first pixel, and how fast it learns.

    slots (CONTEXTS << BITS,), weights (SETS * CONTEXTS,), seen (SETS,): int32. rate, rate_first: see `twin.run`.
    """

    slots: np.ndarray
    weights: np.ndarray
    seen: np.ndarray
    rate: int
    rate_first: int

    @classmethod
    def cold(cls) -> State:
        """No knowledge: every counter mute, every weight alike."""
        return cls(
            np.full(twin.CONTEXTS << twin.BITS, twin.EMPTY, np.int32),
            np.full(twin.SETS * twin.CONTEXTS, twin.START, np.int32),
            np.zeros(twin.SETS, np.int32),
            rate=40,
            rate_first=500,
        )

    def copy(self) -> State:
        """An independent copy: coding changes the arrays in place."""
        return State(self.slots.copy(), self.weights.copy(), self.seen.copy(), self.rate, self.rate_first)


@functools.cache
def _engine(name: str) -> Callable[..., int]:
    if name == "python":
        return _interpreted
    from . import labelmap_numba

    return labelmap_numba.run


def engine_name() -> str:
    """The engine in use: "numba" or "python". Raises UsageError if the environment asks for another."""
    wanted = os.environ.get(ENGINE_VARIABLE, "")
    if wanted in ("numba", "python"):
        return wanted
    if wanted:
        raise UsageError(f"{ENGINE_VARIABLE} is numba or python, not {wanted!r}")
    return _preferred()


@functools.cache
def _preferred() -> str:
    try:
        from . import labelmap_numba  # noqa: F401  (the import is the question)
    except ImportError:
        return "python"
    return "numba"


@functools.cache
def _table_lists() -> tuple[list[int], ...]:
    t = tables()
    return t.squash.tolist(), t.stretch.tolist(), t.rate.tolist(), t.trust.tolist()


def _interpreted(decode, px, height, width, classes, slots, weights, seen, buf, cap, squash, stretch, rate, trust, *lr):
    """`twin.run` on lists, which the interpreter reads several times faster than arrays; results are copied back."""
    lists = [a.tolist() for a in (px, slots, weights, seen)]
    data = bytearray(buf.tobytes())
    scratch = [[0] * size for size in (twin.WORK, 6 * width, 6 * width, width, width)]
    used = twin.run(decode, lists[0], height, width, classes, *lists[1:], data, cap, *_table_lists(), *lr, *scratch)
    for array, values in zip((px, slots, weights, seen), lists, strict=True):
        array[:] = values
    buf[:] = np.frombuffer(data, np.uint8)
    return used


def _run(decode: int, px: np.ndarray, shape: tuple[int, int], classes: int, state: State, buf: np.ndarray, cap: int):
    t = tables()
    run = _engine(engine_name())
    return run(
        decode, px.reshape(-1), shape[0], shape[1], classes, state.slots, state.weights, state.seen, buf, cap,
        t.squash, t.stretch, t.rate, t.trust, state.rate, state.rate_first,
    )  # fmt: skip


def _canvas(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The padded map, all BORDER, and the view of its inside."""
    height, width = shape
    px = np.full((height + twin.TOP, width + twin.LEFT + twin.RIGHT), twin.BORDER, np.int16)
    return px, px[twin.TOP :, twin.LEFT : twin.LEFT + width]


def encode_mixed(labels: np.ndarray, classes: int, state: State, cap: int) -> bytes | None:
    """The mixed code of `labels` (H, W), or None if it needs more than `cap` bytes. `state` is changed."""
    px, inside = _canvas(labels.shape)
    inside[:] = labels
    buf = np.zeros(max(cap, 1), np.uint8)
    used = int(_run(0, px, labels.shape, classes, state, buf, cap))
    return None if used < 0 else buf[:used].tobytes()


def decode_mixed(data: bytes, shape: tuple[int, int], classes: int, state: State) -> np.ndarray:
    """The labels (H, W) uint8 in `data`. Raises StreamError if bytes are left over. `state` is changed."""
    if data.endswith(b"\0"):
        raise StreamError("the label map ends with a zero byte, which its encoder never writes: the stream is damaged")
    px, inside = _canvas(shape)
    buf = np.frombuffer(data or b"\0", np.uint8).copy()
    used = int(_run(1, px, shape, classes, state, buf, len(data)))
    if len(data) > used:
        raise StreamError(f"the label map ends after {used} bytes but {len(data)} were given: the stream is damaged")
    return inside.astype(np.uint8)


def check_shape(shape: tuple[int, int], classes: int, error: type[Exception]) -> tuple[int, int]:
    """`shape` as two ints. Raises `error` unless 1 <= sides, sides' product <= MAX_PIXELS, 2 <= classes <= 256."""
    if len(shape) != 2 or min(shape) < 1 or int(shape[0]) * int(shape[1]) > MAX_PIXELS:
        raise error(f"a label map has two sides of at least 1 and at most {MAX_PIXELS} pixels, not the shape {shape}")
    if not 2 <= classes <= 256:
        raise error(f"a label map has 2 to 256 classes, not {classes}")
    return int(shape[0]), int(shape[1])


def check_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """`labels` as a C-contiguous (H, W) uint8 array. Raises InputError for any other shape, type or class id."""
    array = np.asarray(labels)
    if array.dtype.kind not in "ui" or array.ndim != 2:
        raise InputError(f"a label map is a 2-D array of integers, not {array.ndim}-D of {array.dtype}")
    check_shape(array.shape, classes, InputError)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        raise InputError(f"class ids must be 0 to {classes - 1}, but the label map holds {low if low < 0 else high}")
    return np.ascontiguousarray(array, dtype=np.uint8)
