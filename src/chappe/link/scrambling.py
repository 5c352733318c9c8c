"""5G's scrambling: coded bits XOR a pseudo-random sequence, so that equal payloads' bits give no equal symbols.

Source: 3GPP TS 38.211, sections 5.2.1 (Gold sequence of length 31) and 7.3.1.1 (PDSCH).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["C_INIT", "gold", "scrambling_init"]

_SKIPPED = 1600  # N_C
_LONG = 1 << 20


def scrambling_init(n_rnti: int = 1, n_id: int = 1, q: int = 0) -> int:
    """c_init = n_RNTI 2^15 + q 2^14 + n_ID: user (16 bits), codeword (0 or 1) and cell (10 bits)."""
    return n_rnti << 15 | q << 14 | n_id


C_INIT = scrambling_init()
"""Of the one user, one codeword and one cell of a `DigitalLink`: 2^15 + 1."""


def gold(c_init: int, length: int) -> np.ndarray:
    """(length,) uint8, read-only: c(n) = x1(n + 1600) + x2(n + 1600) mod 2, from c_init of 31 bits."""
    if length > _LONG:
        return _long(c_init, length)
    return _short(c_init, 1 << max(10, (length - 1).bit_length()))[:length]


def _gold(c_init: int, length: int) -> np.ndarray:
    out = _register(1, (0, 3), length + _SKIPPED)[_SKIPPED:]
    out ^= _register(c_init, (0, 1, 2, 3), length + _SKIPPED)[_SKIPPED:]
    out.setflags(write=False)
    return out


_short, _long = lru_cache(maxsize=8)(_gold), lru_cache(maxsize=1)(_gold)  # a long one is as large as what it scrambles


def _register(state: int, taps: tuple[int, ...], count: int) -> np.ndarray:
    """(count,) bits of x(n + 31) = sum of x(n + t) over the taps, mod 2; bit i of `state` is x(i).

    Squaring a polynomial over GF(2) doubles its exponents, so x(n + 31 s) = sum of x(n + t s) for every power of two
    s: what is known grows by 28 s bits at a time.
    """
    x = np.empty(max(count, 31), np.uint8)
    x[:31] = state >> np.arange(31) & 1
    known, step = 31, 1
    while known < count:
        while 62 * step <= known:
            step *= 2
        start, more = known - 31 * step, min((31 - taps[-1]) * step, count - known)
        for t in taps:
            part = x[start + t * step : start + t * step + more]
            x[known : known + more] = part if t == taps[0] else x[known : known + more] ^ part
        known += more
    return x[:count]
