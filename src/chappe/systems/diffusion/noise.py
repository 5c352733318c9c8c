"""The noise of diffusion decoders: the same numbers on every machine, from the seed in the file.

Sums of twelve 16-bit parts of a SplitMix64 stream: whole numbers until the last division by a power of two, so that
nothing is rounded. docs/format.md, chapter "Noise", is the specification.
"""

from __future__ import annotations

import numpy as np

from chappe.errors import StreamError, UsageError

__all__ = ["MAX_SEED", "normal_noise", "pack_seed", "unpack_seed", "words"]

MAX_SEED = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MASK = MAX_SEED


def words(state: int, first: int, count: int) -> np.ndarray:
    """Words `first`, ... of the SplitMix64 stream that starts from `state`: (count,) uint64.

    G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014. Word i is a function of
    state + (i + 1) times an odd constant, so that any part of the stream is as cheap as the first.
    """
    start = np.uint64((state + (first + 1) * _GAMMA) & _MASK)
    z = start + np.arange(count, dtype=np.uint64) * np.uint64(_GAMMA)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def normal_noise(seed: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """Field number `step` of `seed`: `shape` float32, mean 0, variance 1, from -6 to 6, multiples of 2^-16.

    seed: 0 to 2^64 - 1. step: 0 for the start, k for what the k-th pass adds. Raises UsageError outside.
    """
    if not 0 <= seed <= MAX_SEED or step < 0:
        raise UsageError(f"a seed is a number from 0 to 2^64 - 1, not {seed}")
    count = int(np.prod(shape))
    state = int(words(seed, 0, 1)[0])
    parts = words(state, 3 * count * step, 3 * count).reshape(count, 3)
    total = np.zeros(count, np.int64)
    for shift in (0, 16, 32, 48):
        total += ((parts >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64).sum(1)
    return ((total - 393210).astype(np.float32) / np.float32(65536)).reshape(shape)


def pack_seed(seed: int) -> bytes:
    """Payload of a NOISE_SEED section: big-endian, as few bytes as it takes, at least one."""
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"a seed is a number from 0 to 2^64 - 1, not {seed}")
    return seed.to_bytes(max(1, (seed.bit_length() + 7) // 8), "big")


def unpack_seed(payload: bytes) -> int:
    """The seed of a payload. Raises StreamError unless it is 1 to 8 bytes without a leading zero byte."""
    if not 1 <= len(payload) <= 8 or (len(payload) > 1 and payload[0] == 0):
        raise StreamError(f"the noise seed has {len(payload)} bytes and should be a number of 1 to 8: file is damaged")
    return int.from_bytes(payload, "big")
