"""The LDPC code of 5G: base graphs, lifting, encoding, rate matching to any length, and decoding.

Source: 3GPP TS 38.212 sections 5.2.2, 5.3.2, 5.4.2 (redundancy version 0, no limited buffer). The tables beside this
file are its tables 5.3.2-2 and 5.3.2-3: row, column and the shifts of the eight lifting sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np

from chappe.errors import UsageError

__all__ = ["MIN_SUM", "LDPCCode", "base_graph", "ldpc_code", "lifting_size"]

_SEEDS = (2, 3, 5, 7, 9, 11, 13, 15)
SIZES = sorted((a << j, s) for s, a in enumerate(_SEEDS) for j in range(8) if a << j <= 384)  # (Z, its set)
MOST_BITS = {1: 8448, 2: 3840}  # of one code block
_SYSTEMATIC = {1: 22, 2: 10}  # columns of information
_COLUMNS = {1: 68, 2: 52}
_KNOWN = 1e4  # LLR of a filler bit: certain, and small enough for float32 sums
_LARGEST = 1e3  # LLR of a received bit
# Min-sum overstates what a check says; chosen among 0.65 to 0.9 on words at the waterfall (ldpc_speed.py --scales).
MIN_SUM = 0.7


def base_graph(bits: int, rate: float) -> int:
    """1 or 2: the base graph for a payload of `bits` (without its check) at a code rate; TS 38.212 section 7.2.2."""
    return 2 if bits <= 292 or (bits <= 3824 and rate <= 0.67) or rate <= 0.25 else 1


def lifting_size(bits: int, graph: int, whole: int | None = None) -> int:
    """Z: the least lifting size whose graph holds a code block of `bits`; `whole`: bits of all blocks, if several."""
    whole = bits if whole is None else whole
    wide = 22 if graph == 1 else 10 if whole > 640 else 9 if whole > 560 else 8 if whole > 192 else 6
    return next(z for z, _ in SIZES if wide * z >= bits)


@lru_cache(maxsize=2)
def _table(graph: int) -> np.ndarray:
    text = files("chappe.link").joinpath(f"tables/bg{graph}.csv").read_text("ascii")
    return np.array([line.split(",") for line in text.splitlines()[1:]], dtype=np.int64)


@dataclass(frozen=True)
class LDPCCode:
    """A code of `k` information bits and `n` transmitted bits, interleaved for `m` bits a symbol.

    n may be anything from k to many times the mother code: longer than the circular buffer means repetition.
    graph: 1 or 2, z: lifting size; `ldpc_code` chooses them. Arrays are (B, k) and (B, n), uint8 bits or float32 LLRs
    ln P(0) / P(1).
    """

    k: int
    n: int
    m: int
    graph: int
    z: int

    def __post_init__(self) -> None:
        if not 1 <= self.k <= min(MOST_BITS[self.graph], _SYSTEMATIC[self.graph] * self.z):
            raise UsageError(f"A code block of base graph {self.graph} with Z = {self.z} cannot hold {self.k} bits.")
        if self.n < self.k or self.n % self.m:
            raise UsageError(f"{self.n} coded bits cannot carry {self.k} bits with {self.m} bits a symbol.")

    @cached_property
    def _positions(self) -> np.ndarray:
        """(n,): the variable that each transmitted bit comes from; circular buffer, fillers skipped, interleaved."""
        systematic, columns = _SYSTEMATIC[self.graph] * self.z, _COLUMNS[self.graph] * self.z
        buffer = np.concatenate([np.arange(2 * self.z, max(self.k, 2 * self.z)), np.arange(systematic, columns)])
        chosen = np.resize(buffer, self.n)
        return chosen.reshape(self.m, -1).T.reshape(-1)

    @cached_property
    def repeats(self) -> bool:
        """Whether some bits are sent more than once: n exceeds the circular buffer."""
        return len(np.unique(self._positions)) < self.n

    @cached_property
    def rows(self) -> int:
        """Base-graph rows that take part: a row whose own parity bits are never sent says nothing."""
        last = int(self._positions.max()) // self.z
        return max(4, last + 1 - _SYSTEMATIC[self.graph])

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row pointers, columns, shifts of the rows that take part, without columns that hold fillers only."""
        table = _table(self.graph)
        first = -(-self.k // self.z)  # fillers are zeros, and a zero changes no check
        column = table[:, 1]
        keep = (table[:, 0] < self.rows) & ((column < first) | (column >= _SYSTEMATIC[self.graph]))
        pointers = np.concatenate([[0], np.cumsum(np.bincount(table[keep, 0], minlength=self.rows))])
        return pointers, np.ascontiguousarray(column[keep]), table[keep, 2 + dict(SIZES)[self.z]] % self.z

    def encode(self, bits: np.ndarray) -> np.ndarray:
        """(B, k) -> (B, n)."""
        words = np.asarray(bits, np.uint8)
        if words.ndim != 2 or words.shape[1] != self.k:
            raise UsageError(f"expected (B, {self.k}) bits to encode, got {words.shape}.")
        return self._variables(words)[:, self._positions]

    def _variables(self, words: np.ndarray) -> np.ndarray:
        """(B, k) -> (B, columns * Z): all variables, fillers and punctured ones included.

        The first four parity columns are dual diagonal: the sum of the first four rows holds the first of them alone;
        the others follow one by one. Each further row has one parity column of its own.
        """
        systematic = _SYSTEMATIC[self.graph]
        grid = np.zeros((len(words), _COLUMNS[self.graph], self.z), np.uint8)
        grid[:, :systematic].reshape(len(words), -1)[:, : self.k] = words
        pointers, columns, shifts = self._edges
        core, known = systematic, np.zeros((4, len(words), self.z), np.uint8)
        links = [{} for _ in range(4)]  # parity column -> shift, of the first four rows
        for row in range(4):
            for e in range(pointers[row], pointers[row + 1]):
                if columns[e] < core:
                    known[row] ^= np.roll(grid[:, columns[e]], -shifts[e], axis=1)
                else:
                    links[row][int(columns[e])] = int(shifts[e])
        turns = [link[core] for link in links if core in link]
        odd = next(t for t in turns if turns.count(t) % 2)  # two of the three cancel
        grid[:, core] = np.roll(np.bitwise_xor.reduce(known), odd, axis=1)
        solved = {core}
        while len(solved) < 4:
            for row, link in enumerate(links):
                missing = [c for c in link if c not in solved]
                if len(missing) == 1:
                    value = known[row].copy()
                    for column in link.keys() & solved:
                        value ^= np.roll(grid[:, column], -link[column], axis=1)
                    grid[:, missing[0]] = np.roll(value, link[missing[0]], axis=1)
                    solved.add(missing[0])
        for row in range(4, self.rows):
            own = core + row
            for e in range(pointers[row], pointers[row + 1]):
                if columns[e] != own:
                    grid[:, own] ^= np.roll(grid[:, columns[e]], -shifts[e], axis=1)
        return grid.reshape(len(words), -1)

    def decode(self, llr: np.ndarray, iterations: int = 20, scale: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """(B, n) LLRs -> bits (B, k) uint8 and iterations used (B,). Repeated bits are summed first.

        scale: 0 for the corrected rule of `chappe.link.layered`, else the factor of normalised min-sum (`MIN_SUM`).
        """
        from chappe.link.layered import decode_layered

        received = np.asarray(llr, np.float32)
        if received.ndim != 2 or received.shape[1] != self.n:
            raise UsageError(f"expected (B, {self.n}) LLRs to decode, got {received.shape}.")
        pointers, columns, shifts = self._edges
        systematic = _SYSTEMATIC[self.graph] * self.z
        width = systematic + self.rows * self.z
        if self.repeats:
            post = np.stack([np.bincount(self._positions, values, width) for values in received]).astype(np.float32)
        else:
            post = np.zeros((len(received), width), np.float32)
            post[:, self._positions] = received
        np.clip(post, -_LARGEST, _LARGEST, out=post)
        post[:, self.k : systematic] = _KNOWN
        used = decode_layered(post, pointers, columns, shifts, self.z, np.float32(scale), iterations)
        return (post[:, : self.k] < 0).astype(np.uint8), used

    def satisfies(self, bits: np.ndarray) -> bool:
        """Whether the words that `encode` makes of (B, k) bits satisfy every parity check (for tests)."""
        pointers, columns, shifts = self._edges
        grid = self._variables(np.asarray(bits, np.uint8)).reshape(len(bits), -1, self.z)
        for row in range(self.rows):
            edges = range(pointers[row], pointers[row + 1])
            total = sum(np.roll(grid[:, columns[e]], -shifts[e], axis=1).astype(np.int64) for e in edges)
            if (total % 2).any():
                return False
        return True


@lru_cache(maxsize=64)
def ldpc_code(k: int, n: int, m: int = 1, graph: int | None = None, z: int | None = None) -> LDPCCode:
    """The 5G code of k information bits and n coded bits, `m` bits a symbol. UsageError where it cannot exist."""
    if not 1 <= k <= MOST_BITS[1]:
        raise UsageError(f"One code block holds 1 to {MOST_BITS[1]} bits, not {k}.")
    if graph is None:
        graph = base_graph(k, k / n) if k <= MOST_BITS[2] else 1
    return LDPCCode(k, n, m, graph, lifting_size(k, graph) if z is None else z)
