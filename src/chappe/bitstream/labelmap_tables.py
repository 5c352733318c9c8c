"""Integer tables of the label-map coder, built by exact integer arithmetic: the same on every machine.

The logistic pair works in units of 1/256 nat. `squash[x + LIMIT]` is the 16-bit probability of the stretch value x in
[-LIMIT, LIMIT]; `stretch[p]` is its inverse for p in [0, 65535]. `rate[n]` is the 16-bit step of a counter that has
seen n events, `trust[n]` the 8-bit weight of its opinion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

__all__ = ["COUNT_MAX", "LIMIT", "Tables", "tables"]

LIMIT = 2815  # 11 nats: 1 / (1 + exp(11)) is just above 1 / 65536
COUNT_MAX = 255  # a counter's event count saturates here


@dataclass(frozen=True)
class Tables:
    """squash (2 LIMIT + 1,), stretch (65536,), rate (COUNT_MAX + 1,), trust (COUNT_MAX + 1,): all int32."""

    squash: np.ndarray
    stretch: np.ndarray
    rate: np.ndarray
    trust: np.ndarray


def _squash() -> list[int]:
    """round(65536 / (1 + exp(-x / 256))) for x = -LIMIT..LIMIT, held in [1, 65535]."""
    bits = 96
    one = 1 << bits
    ratio, term = 0, one
    for k in range(1, 40):  # exp(1/256) by its Taylor series
        ratio += term
        term //= 256 * k
    power = one  # exp(x / 256)
    upper = []
    for _ in range(LIMIT + 1):
        upper.append(min(65535, (2 * 65536 * power + one + power) // (2 * (one + power))))
        power = power * ratio >> bits
    return [65536 - p for p in reversed(upper[1:])] + upper


def _stretch(squash: list[int]) -> list[int]:
    """The inverse: the largest x >= 0 whose squash is at most p for p >= 1/2, mirrored below."""
    half, x = [], 0
    for p in range(32768, 65536):
        while x < LIMIT and squash[LIMIT + x + 1] <= p:
            x += 1
        half.append(x)
    return [-half[min(32767, 32768 - p)] for p in range(32768)] + half


@cache
def tables() -> Tables:
    """All tables, built once (a few milliseconds)."""
    squash = _squash()
    # With step 1 / (n + 1.3) a counter is close to the estimate (yes + 0.15) / (n + 0.3); one without events is mute.
    rate = [655360 // (10 * n + 13) for n in range(COUNT_MAX + 1)]
    trust = [512 * n // (2 * n + 1) for n in range(COUNT_MAX + 1)]
    return Tables(*(np.array(t, dtype=np.int32) for t in (squash, _stretch(squash), rate, trust)))
