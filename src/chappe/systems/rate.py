"""Hitting a file size: how the bytes are split between the label map and the picture, and how many tokens fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["most_that_fit", "split_bytes"]

Result = TypeVar("Result")


def split_bytes(
    target: float, budget: float, attempt: Callable[[int | None], tuple[int, Result]], *, rounds: int, ladder: bool
) -> tuple[float, Result]:
    """Try map budgets until the whole file is near `target` bytes: (bytes too many, result) of the nearest file.

    `attempt(b)` makes the file whose map takes at most b bytes (None: the exact map; 0: the smallest) and whose picture
    takes the rest, and says its size. A file too long takes from the map, one too short gives to it. `ladder`: the map
    has a finest and a coarsest version that are worth a try at the ends.
    """
    tried: list[tuple[float, Result]] = []

    def gap(at: int | None) -> float:
        size, result = attempt(at)
        tried.append((size - target, result))
        return tried[-1][0]

    for _ in range(rounds):
        over = gap(int(budget))
        grown = budget - over * 1.05
        if abs(over) <= 0.02 * target or grown < 8 or int(grown) == int(budget):
            break
        budget = grown
    if ladder and over < -0.02 * target:
        gap(None)
    elif ladder and over > 0.05 * target:
        gap(0)
    return min(tried, key=lambda item: abs(item[0]))


def most_that_fit(size_of: Callable[[int], int], most: int, room: float, guess: int) -> int:
    """About the largest n in 1 ... most with size_of(n) <= room; 1 where even that is too long.

    For sizes that grow nearly linearly and are dear to find out: a secant from `guess`, stopped at 0.4 % or 2 bytes
    below `room`, or after eight looks.
    """
    slack = max(2.0, 0.004 * room)
    low, high = (0, 0.0), (most + 1, float("inf"))
    n = min(max(1, guess), most)
    for _ in range(8):
        size = size_of(n)
        if size <= room:
            low = (n, size)
            if room - size <= slack or n == most:
                break
        else:
            high = (n, size)
        if high[0] - low[0] < 2:
            break
        known = low[0] > 0 and high[0] <= most
        slope = (high[1] - low[1]) / (high[0] - low[0]) if known else size / n
        step = (room - 0.4 * slack - size) / max(slope, 1e-6)
        n = min(high[0] - 1, max(low[0] + 1, n + round(step)))
    return max(1, low[0])
