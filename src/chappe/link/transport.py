"""A payload of any size as one transport block: check, segmentation into code blocks, coding and rate matching.

Source: 3GPP TS 38.212 sections 5.2.2, 5.4.2 and 7.2, with two choices of our own, both where 5G's scheduler decides
instead: a payload that does not divide into equal code blocks is filled up with at most one zero bit a block; and all
checks are sent inverted, so that the word of zeros, which the decoder finds where nothing was received, never passes.
The receiver is told the payload's size and the modulation and coding scheme, as 5G's control channel tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from chappe.errors import UsageError
from chappe.link.crc import CRC16, CRC24A, CRC24B, check_crc, crc
from chappe.link.ldpc import MOST_BITS, LDPCCode, base_graph, ldpc_code, lifting_size

__all__ = ["MAX_PAYLOAD", "BlockResult", "TransportBlock", "parse_rate"]

MAX_PAYLOAD = 1 << 26  # bytes
_HIGHEST, _LOWEST = Fraction(5, 6), Fraction(1, 1000)
_BATCH = 32  # code blocks worked on at once: bounds the memory


def parse_rate(rate: str | float | Fraction) -> Fraction:
    """A code rate as a fraction: '1/2', 0.5. Raises UsageError outside 1/1000 to 5/6."""
    try:
        value = Fraction(rate).limit_denominator(10_000)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        value = Fraction(0)
    if not _LOWEST <= value <= _HIGHEST:
        raise UsageError(f"{rate!r} is not a code rate: give one from 1/1000 to 5/6, such as 1/2.")
    return value


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What came out of the decoder: payload None where a check failed; block_ok, iterations: one a code block.

    bits: (A + check,) uint8, the decoded payload bits and their check, right or wrong.
    """

    payload: bytes | None
    block_ok: np.ndarray
    iterations: np.ndarray
    bits: np.ndarray


@dataclass(frozen=True)
class TransportBlock:
    """How a payload of `size` bytes becomes coded bits at a `rate` for symbols of `m` bits on `streams` streams.

    The rate is information bits of the code blocks, their checks included, by coded bits; `coded_bits` is the next
    multiple of m * streams. Rates below those of the mother codes (1/3 and 1/5) repeat bits.
    """

    size: int
    rate: Fraction
    m: int
    streams: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_PAYLOAD:
            raise UsageError(f"A payload has 1 to {MAX_PAYLOAD} bytes, not {self.size}.")

    @property
    def graph(self) -> int:
        """Base graph of every code block."""
        return base_graph(8 * self.size, float(self.rate))

    @property
    def check(self) -> tuple[int, int]:
        """The check of the payload: CRC-24A, or CRC-16 up to 3824 bits."""
        return CRC24A if 8 * self.size > 3824 else CRC16

    @property
    def blocks(self) -> int:
        """Number of code blocks."""
        bits, most = 8 * self.size + self.check[1], MOST_BITS[self.graph]
        return 1 if bits <= most else -(-bits // (most - 24))

    @property
    def k(self) -> int:
        """Bits of a code block, with its check where there are several."""
        bits = 8 * self.size + self.check[1]
        return bits if self.blocks == 1 else -(-bits // self.blocks) + 24

    @cached_property
    def lengths(self) -> np.ndarray:
        """(blocks,): coded bits of each code block; multiples of m * streams that differ by one at most."""
        unit = self.m * self.streams
        total = -(-self.blocks * self.k * self.rate.denominator // (self.rate.numerator * unit))
        each, more = divmod(total, self.blocks)
        units = np.full(self.blocks, each)
        units[self.blocks - more :] += 1
        return units * unit

    @property
    def coded_bits(self) -> int:
        return int(self.lengths.sum())

    def batches(self):
        """(first block, last, first coded bit, code) of runs of blocks with one code."""
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        first = 0
        while first < self.blocks:
            last = first + 1
            while last < min(self.blocks, first + _BATCH) and self.lengths[last] == self.lengths[first]:
                last += 1
            yield first, last, int(starts[first]), self._code(int(self.lengths[first]))
            first = last

    def _code(self, length: int) -> LDPCCode:
        z = lifting_size(self.k, self.graph, 8 * self.size + self.check[1])
        return ldpc_code(self.k, length, self.m, self.graph, z)

    def block_bits(self, payload: bytes) -> np.ndarray:
        """(blocks, k) uint8: the code blocks before encoding."""
        if len(payload) != self.size:
            raise UsageError(f"This transport block is for {self.size} bytes, not {len(payload)}.")
        bits = np.unpackbits(np.frombuffer(payload, np.uint8))
        bits = np.concatenate([bits, 1 - crc(bits[None], self.check)[0]])
        if self.blocks == 1:
            return bits[None]
        rows = np.zeros(self.blocks * (self.k - 24), np.uint8)
        rows[: len(bits)] = bits
        rows = rows.reshape(self.blocks, -1)
        return np.concatenate([rows, 1 - crc(rows, CRC24B)], axis=1)

    def encode(self, payload: bytes) -> np.ndarray:
        """(coded_bits,) uint8."""
        rows = self.block_bits(payload)
        parts = [code.encode(rows[first:last]).reshape(-1) for first, last, _, code in self.batches()]
        return np.concatenate(parts)

    def decode(self, llr: np.ndarray, *, iterations: int = 20, scale: float = 0.0) -> BlockResult:
        """(coded_bits,) float32 LLRs ln P(0) / P(1) -> the payload if every check holds. See `LDPCCode.decode`."""
        if llr.shape != (self.coded_bits,):
            raise UsageError(f"expected {self.coded_bits} LLRs, got {llr.shape}.")
        rows = np.empty((self.blocks, self.k), np.uint8)
        used = np.empty(self.blocks, np.int64)
        for first, last, start, code in self.batches():
            received = llr[start : start + (last - first) * code.n].reshape(last - first, -1)
            rows[first:last], used[first:last] = code.decode(received, iterations, scale)
        size = 8 * self.size + self.check[1]
        if self.blocks > 1:
            ok = _holds(rows, CRC24B)
            bits = rows[:, :-24].reshape(-1)[:size]
        else:
            bits, ok = rows[0], np.zeros(1, bool)
        whole = bool(_holds(bits[None], self.check)[0])
        if self.blocks == 1:
            ok[0] = whole
        data = bits[: 8 * self.size]
        payload = np.packbits(data).tobytes() if whole and ok.all() else None
        return BlockResult(payload, ok, used, bits)


def _holds(rows: np.ndarray, kind: tuple[int, int]) -> np.ndarray:
    """(B,): whether inverted checks hold."""
    turned = rows.copy()
    turned[:, -kind[1] :] ^= 1
    return check_crc(turned, kind)
