"""Canonical Huffman code of a short run of small symbols, its code lengths in front (RL-ASC eq. 26).

Lengths are 4 bits a symbol of the alphabet (0: does not occur); then the codes, most significant bit first, filled up
with zero bits. Where a single symbol occurs its length is 1 and no codes follow. Specification: docs/format.md, the
chapter on semantic concepts.
"""

from __future__ import annotations

import heapq
from functools import lru_cache

import numpy as np

from chappe.errors import StreamError, UsageError

__all__ = ["MAX_ALPHABET", "code_lengths", "decode", "encode", "size"]

MAX_ALPHABET = 16  # then no code has more than 15 bits


def code_lengths(counts: np.ndarray) -> list[int]:
    """Bits of each symbol's code, 0 where it does not occur; 1 for a symbol alone. counts: (K,) whole numbers >= 0."""
    heap = [(int(count), symbol, (symbol,)) for symbol, count in enumerate(counts) if count]
    lengths = [0] * len(counts)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
        return lengths
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, left), (b, second, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (a + b, min(first, second), left + right))
    return lengths


def size(symbols: np.ndarray, alphabet: int) -> int:
    """Bytes that `encode` takes."""
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = np.asarray(code_lengths(counts))
    bits = int((counts * lengths).sum()) if np.count_nonzero(counts) > 1 else 0
    return -(-(4 * alphabet + bits) // 8)


def encode(symbols: np.ndarray, alphabet: int) -> bytes:
    """symbols: (N,) integers in [0, alphabet), N > 0, alphabet 2 to 16. Raises UsageError for anything else."""
    symbols = np.asarray(symbols)
    if not 2 <= alphabet <= MAX_ALPHABET or symbols.ndim != 1 or symbols.dtype.kind not in "iu" or not len(symbols):
        raise UsageError(f"Huffman coding takes a run of integers and 2 to {MAX_ALPHABET} kinds of them")
    if not (0 <= int(symbols.min()) and int(symbols.max()) < alphabet):
        raise UsageError(f"symbols must be 0 to {alphabet - 1}, not {symbols.min()} to {symbols.max()}")
    lengths = code_lengths(np.bincount(symbols, minlength=alphabet))
    head = "".join(f"{length:04b}" for length in lengths)
    body = ""
    if sum(length > 0 for length in lengths) > 1:
        words = {symbol: f"{code:0{length}b}" for symbol, (code, length) in _codes(tuple(lengths)).items()}
        body = "".join(map(words.__getitem__, symbols.tolist()))
    bits = head + body
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def decode(data: bytes, count: int, alphabet: int) -> np.ndarray:
    """(count,) int64 symbols. Raises StreamError unless `encode` could have written exactly these bytes."""
    bits = np.unpackbits(np.frombuffer(bytes(data), np.uint8))
    if len(bits) < 4 * alphabet:
        raise StreamError(f"a Huffman table of {alphabet} lengths does not fit {len(data)} bytes: the stream is cut")
    weights = np.array([8, 4, 2, 1])
    lengths = tuple(int(n) for n in bits[: 4 * alphabet].reshape(alphabet, 4) @ weights)
    used = [symbol for symbol, length in enumerate(lengths) if length]
    if len(used) == 1 and lengths[used[0]] == 1:
        _check_end(bits, 4 * alphabet)
        return np.full(count, used[0], np.int64)
    if sum(1 << MAX_ALPHABET >> length for length in lengths if length) != 1 << MAX_ALPHABET:
        raise StreamError("the lengths of a Huffman code do not fill the tree: the stream is damaged")
    table, longest = _lookup(lengths)
    text = np.concatenate([bits, np.zeros(longest, np.uint8)]).astype(np.int64)
    windows = np.zeros(len(bits), np.int64)
    for k in range(longest):
        windows = windows << 1 | text[k : k + len(bits)]
    entries = table[windows].tolist()
    out, at, end = [], 4 * alphabet, len(bits)
    for _ in range(count):
        if at >= end:
            raise StreamError("a Huffman stream ends before its symbols do: it is cut")
        entry = entries[at]
        out.append(entry >> 4)
        at += entry & 15
    if at > end:
        raise StreamError("a Huffman stream ends inside a code: it is cut")
    _check_end(bits, at)
    symbols = np.array(out, np.int64)
    if tuple(code_lengths(np.bincount(symbols, minlength=alphabet))) != lengths:
        raise StreamError("a Huffman table is not that of its own symbols: the stream is damaged")
    return symbols


def _codes(lengths: tuple[int, ...]) -> dict[int, tuple[int, int]]:
    """Symbol -> (code, length): increasing codes in the order of length, then symbol."""
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - before
        codes[symbol] = (code, length)
        code, before = code + 1, length
    return codes


@lru_cache(maxsize=64)
def _lookup(lengths: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """For each window of the longest code's bits: symbol * 16 + length."""
    longest = max(lengths)
    table = np.zeros(1 << longest, np.int64)
    for symbol, (code, length) in _codes(lengths).items():
        start = code << longest - length
        table[start : start + (1 << longest - length)] = symbol * 16 + length
    return table, longest


def _check_end(bits: np.ndarray, at: int) -> None:
    if len(bits) - at > 7 or bits[at:].any():
        raise StreamError("a Huffman stream goes on after its symbols: it is damaged")
