"""A second decoder, written from docs/format.md alone, reads what the package writes and the page's own examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from bitstream.grids import grids
from chappe.bitstream import container
from chappe.bitstream.container import Header, Section
from chappe.bitstream.tokens import decode_grid, encode_grid

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


class Stranger:
    """Chapter 4, decoding."""

    def __init__(self, data: bytes) -> None:
        self.rest = iter(data)
        self.code = 0
        for _ in range(6):
            self.code = self.code * 256 + next(self.rest, 0)
        self.range = 2**48

    def _shift(self) -> None:
        while self.range < 2**40:
            self.code = self.code * 256 + next(self.rest, 0)
            self.range *= 256

    def symbol(self, freqs: list[int]) -> int:
        total = sum(freqs)
        step = self.range // total
        target = min(self.code // step, total - 1)
        cum = index = 0
        while cum + freqs[index] <= target:
            cum += freqs[index]
            index += 1
        self.code -= step * cum
        self.range = step * freqs[index] if cum + freqs[index] < total else self.range - step * cum
        self._shift()
        return index

    def uniform(self, total: int) -> int:
        step = self.range // total
        value = min(self.code // step, total - 1)
        self.code -= step * value
        self.range = step if value + 1 < total else self.range - step * value
        self._shift()
        return value

    def decision(self, p1: int) -> int:
        split = (self.range // 65536) * p1
        if self.code < split:
            self.range, bit = split, 1
        else:
            self.code, self.range, bit = self.code - split, self.range - split, 0
        self._shift()
        return bit

    def counted(self, context: list[int]) -> int:
        ones, seen = context
        bit = 1 - self.symbol([2 * ones + 1, 2 * seen + 2 - (2 * ones + 1)])
        context[0] += bit
        context[1] += 1
        return bit


def stranger_grid(data: bytes, shape: tuple[int, int], levels: int, prior: list[int] | None) -> tuple[dict, int, bool]:
    """Chapter 5: {(y, x): index} of the selected cells, and the choices of index model and copying."""
    coder = Stranger(data)
    cells = [(y, x) for y in range(shape[0]) for x in range(shape[1])]
    small = len(cells) <= 1024
    positions = coder.symbol([1, 1, 6, 8] if small else [1, 1, 60, 2])
    bits: dict[tuple[int, int], int] = {}
    everywhere, contexts = [0, 0], [[0, 0] for _ in range(7)]
    for y, x in cells:
        if positions < 2:
            bits[y, x] = positions
        elif positions == 2:
            bits[y, x] = coder.counted(everywhere)
        else:
            around = [bits.get(cell, 0) for cell in ((y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1))]
            c = 2 * around[0] + 2 * around[1] + around[2] + around[3]
            share = ((2 * everywhere[0] + 1) << 16) // (2 * everywhere[1] + 2)
            start = (share + 10922 * c) >> 1
            p1 = ((contexts[c][0] << 16) + 4 * start) // (contexts[c][1] + 4)
            bits[y, x] = coder.decision(min(max(p1, 64), 65472))
            for counter in (everywhere, contexts[c]):
                counter[0] += bits[y, x]
                counter[1] += 1
    if not any(bits.values()):
        return {}, 0, False
    model = coder.symbol([6, 4, 2, 2, 1, 1] if small else [59, 1, 1, 1, 1, 1])
    copying = coder.symbol([11, 5] if small else [60, 4])
    weights = [1 + (2**20 // levels if prior is None else p * 2**20 // sum(prior)) for p in prior or [0] * levels]
    increment = [0, 0, 2**9, 2**11, 2**13, 2**15][model]
    counters = [[0, 0] for _ in range(6)]
    grid: dict[tuple[int, int], int] = {}
    previous = None
    for y, x in cells:
        if not bits[y, x]:
            continue
        left, up = grid.get((y, x - 1)), grid.get((y - 1, x))
        if left is not None and up is not None:
            questions = [(left, 1)] if left == up else [(left, 2), (up, 3)]
        elif left is not None:
            questions = [(left, 0)]
        elif up is not None:
            questions = [(up, 4)]
        else:
            questions = [] if previous is None else [(previous, 5)]
        index = next((r for r, context in questions if coder.counted(counters[context])), None) if copying else None
        if index is None:
            index = coder.uniform(levels) if model == 0 else coder.symbol(weights)
            if model and sum(weights) + increment <= 2**26:
                weights[index] += increment
        grid[y, x] = previous = index
    return grid, model, bool(copying)


@settings(max_examples=60, deadline=None)
@given(grids(side=9, top=700))
def test_the_page_describes_the_token_coder(grid) -> None:
    mask, indices, levels, prior = grid
    data = encode_grid(mask, indices, levels, prior)
    found, _, _ = stranger_grid(data, mask.shape, levels, None if prior is None else prior.tolist())
    assert sorted(found) == [tuple(cell) for cell in np.argwhere(mask).tolist()]
    assert [found[cell] for cell in sorted(found)] == indices.tolist()


def test_the_page_describes_large_grids() -> None:
    rng = np.random.default_rng(0)
    score = np.hypot(np.arange(40)[:, None] - 20, np.arange(40) - 25) + rng.normal(size=(40, 40))
    mask = score < 14
    indices = np.minimum(rng.geometric(0.2, int(mask.sum())), 64) - 1
    found, model, _ = stranger_grid(encode_grid(mask, indices, 64), mask.shape, 64, None)
    assert [found[cell] for cell in sorted(found)] == indices.tolist()
    assert model >= 2


PRIOR = np.zeros(1024, np.int64)
PRIOR[[5, 9, 900]] = [600, 300, 100]
SMALL = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], np.bool_)
SCATTERED = np.array([list(row) for row in ("100101", "001010", "010100", "101001")]) == "1"
PATCH = np.zeros((16, 32), np.bool_)
PATCH[5:12, 3:20] = True

GRIDS = {
    "": (np.zeros((4, 6), np.bool_), [], None),
    "4b7e67f7069684c0adb52d975bfe00b0": (SCATTERED, np.arange(10) * 371 % 1024, None),
    "551825d2035998": (SMALL, [5, 5, 9, 5, 900], None),
    "551869": (SMALL, [5, 5, 9, 5, 900], PRIOR),
    "c3e14956da19f3599c5361577ecd55f654f3": (PATCH, np.arange(119) // 17 * 100, None),
    "1f000160582b667dd5a9bf9cb3e8a9b194321b140a3134": (np.ones((4, 8), np.bool_), np.arange(32) ** 2 % 11, None),
}


@pytest.mark.parametrize("encoded", GRIDS)
def test_token_examples_stay_what_the_page_says(encoded: str) -> None:
    mask, indices, prior = GRIDS[encoded]
    assert f"`{encoded}`" in PAGE or encoded == ""
    assert encode_grid(mask, np.array(indices, np.int64), 1024, prior).hex() == encoded
    found_mask, found = decode_grid(bytes.fromhex(encoded), mask.shape, 1024, prior)
    assert np.array_equal(found_mask, mask)
    assert found.tolist() == list(indices)
    grid, _, _ = stranger_grid(bytes.fromhex(encoded), mask.shape, 1024, None if prior is None else prior.tolist())
    assert [grid[cell] for cell in sorted(grid)] == list(indices)


def test_range_coder_example() -> None:
    assert "`4ccc9594`" in PAGE
    coder = Stranger(bytes.fromhex("4ccc9594"))
    assert coder.symbol([1, 2, 2]) == 1
    assert coder.decision(16384) == 1
    assert coder.decision(60000) == 0
    assert coder.uniform(1000) == 999
    assert coder.uniform(65536) == 40000


@pytest.mark.parametrize(
    ("encoded", "header", "sections"),
    [
        ("c3682001beef1ff0fff701028f670102c10250bc6869", Header(1, 0xBEEF, 512, 256),
         [Section(1, b"\x01\x02"), Section(0x81, b"hi")]),
        ("c3682101beef138700ff5349010c7607", Header(1, 0xBEEF, 5000, 256), [Section(9, b"\x07")]),
    ],
)  # fmt: skip
def test_file_examples(encoded: str, header: Header, sections: list[Section]) -> None:
    assert encoded in PAGE
    assert container.write(header, sections).hex() == encoded
    assert container.read(bytes.fromhex(encoded)) == (header, sections)
