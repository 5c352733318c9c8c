"""The integer models behind tokens.py: where selected cells lie, how often an index occurs, what a neighbour suggests.

Both sides of the coder run the same models, so encoder and decoder cannot drift apart. Specification:
docs/format.md, chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np

from chappe.bitstream.rangecoder import Decoder, Encoder

__all__ = ["COPY_CONTEXTS", "INCREMENTS", "MASS", "IndexModel", "clustered", "rivals", "start_weights"]

MASS = 1 << 20
"""Weight that a start table spreads over the alphabet."""
LIMIT = 1 << 26
"""A table stops learning before its total would pass this, so that a step wastes at most LIMIT / 2**40 of the range."""
INCREMENTS = {1: 0, 2: 1 << 9, 3: 1 << 11, 4: 1 << 13, 5: 1 << 15}
"""Weight added per occurrence, by index model; MASS / increment is the number of tokens the start table is worth."""
COPY_CONTEXTS = 6


def clustered(height: int, width: int) -> Generator[int, int, None]:
    """Position model for masks that come in patches: yields p1 (of 65536) a cell, raster order, is sent its bit.

    The context is 2 left + 2 up + up-left + up-right (0 to 6, outside the grid counts as 0). Its estimate starts,
    with the weight of four cells, half from the share of ones so far and half from context / 6.
    """
    above = [0] * (width + 2)
    ones, cells = [0] * 7, [0] * 7
    all_ones = seen = 0
    for _ in range(height):
        row = [0] * (width + 2)
        for x in range(1, width + 1):
            context = 2 * (row[x - 1] + above[x]) + above[x - 1] + above[x + 1]
            share = ((2 * all_ones + 1) << 16) // (2 * seen + 2)
            start = (share + 10922 * context) >> 1
            p1 = ((ones[context] << 16) + 4 * start) // (cells[context] + 4)
            bit = yield min(max(p1, 64), 65472)
            row[x] = bit
            ones[context] += bit
            cells[context] += 1
            all_ones += bit
            seen += 1
        above = row


def start_weights(levels: int, prior: np.ndarray | None) -> np.ndarray:
    """(levels,) int64 weights, at least 1, in proportion to `prior` (equal without one); sum about MASS + levels."""
    if prior is None:
        return np.full(levels, 1 + MASS // levels, np.int64)
    return 1 + prior * MASS // int(prior.sum())


class IndexModel:
    """Frequencies of `levels` symbols in a Fenwick tree; every symbol met adds `increment` to its own weight."""

    def __init__(self, weights: np.ndarray, increment: int) -> None:
        prefix = np.concatenate([[0], np.cumsum(weights)])
        nodes = np.arange(1, len(weights) + 1)
        self._tree = [0, *(prefix[nodes] - prefix[nodes - (nodes & -nodes)]).tolist()]
        self._weights = weights.tolist()
        self._total = int(prefix[-1])
        self._increment = increment
        self._top = 1 << (len(weights).bit_length() - 1)

    def encode(self, coder: Encoder, symbol: int) -> None:
        cum, node, tree = 0, symbol, self._tree
        while node:
            cum += tree[node]
            node &= node - 1
        coder.encode(cum, self._weights[symbol], self._total)
        self._learn(symbol)

    def decode(self, coder: Decoder) -> int:
        target = rest = coder.decode_target(self._total)
        symbol, step, tree = 0, self._top, self._tree
        while step:
            node = symbol + step
            if node < len(tree) and tree[node] <= rest:
                symbol = node
                rest -= tree[node]
            step >>= 1
        coder.advance(target - rest, self._weights[symbol], self._total)
        self._learn(symbol)
        return symbol

    def _learn(self, symbol: int) -> None:
        increment, tree = self._increment, self._tree
        if increment == 0 or self._total + increment > LIMIT:
            return
        self._total += increment
        self._weights[symbol] += increment
        node = symbol + 1
        while node < len(tree):
            tree[node] += increment
            node += node & -node

    @staticmethod
    def cost(weights: np.ndarray, increment: int, symbols: np.ndarray) -> float:
        """Upper bound, close, of the bits that coding `symbols` (N,) in this order takes, without coding them."""
        count = len(symbols)
        total = int(weights.sum())
        rounding = count * LIMIT / (1 << 40) / math.log(2)
        if increment == 0:
            return rounding + count * math.log2(total) - float(np.log2(weights[symbols]).sum())
        learnt = min(count, (LIMIT - total) // increment)
        order = np.argsort(symbols, kind="stable")
        ranked = symbols[order]
        starts = np.searchsorted(ranked, ranked)
        earlier = np.empty(count, np.int64)
        earlier[order] = np.arange(count) - starts
        if learnt < count:
            earlier = np.minimum(earlier, np.bincount(symbols[:learnt], minlength=len(weights))[symbols])
        totals = total + increment * np.minimum(np.arange(count), learnt)
        return rounding + float(np.log2(totals).sum() - np.log2(weights[symbols] + increment * earlier).sum())


def rivals(grid: list[int], at: int, stride: int, last: int) -> tuple[tuple[int, int], ...]:
    """Indices that cell `at` may repeat, with the context of each question: left, then up, else the one coded last.

    `grid` holds an index a cell, -1 where nothing was selected, padded by a row above and a column on the left; `last`
    is -1 before the first token.
    """
    left, up = grid[at - 1], grid[at - stride]
    if left >= 0:
        if up < 0:
            return ((left, 0),)
        return ((left, 1),) if left == up else ((left, 2), (up, 3))
    if up >= 0:
        return ((up, 4),)
    return ((last, 5),) if last >= 0 else ()
