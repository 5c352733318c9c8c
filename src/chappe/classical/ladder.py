"""Which rung of a quality ladder comes nearest to a wanted file size, in as few encodes as possible.

A ladder is a list of qualities, lowest rate first. The search brackets the wanted size and guesses inside the bracket
from the codec's typical sizes, moved by the ratio that the last probe showed. Which rungs it looks at depends on the
picture and the wanted size alone, never on what was asked before: a sweep that is resumed finds the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log

__all__ = ["CLOSE", "SLACK", "nearest_rung", "typical_sizes"]

SLACK = 1.1
"""How far above the wanted size a file may be."""

CLOSE = 1.02
"""A file within this factor of the wanted size ends the search: finer than most ladders are."""

GUESSES = 5  # then halve the bracket, so that an odd picture still ends in log2(rungs) steps


def typical_sizes(ladder: Sequence[float], curve: Sequence[tuple[float, float]]) -> list[float]:
    """A typical rate for every rung: log-linear between the (quality, rate) points of `curve`.

    `curve` starts and ends with the first and the last quality of the ladder, in the ladder's order.
    """
    rates, at = [], 0
    sign = 1 if ladder[-1] > ladder[0] else -1
    for quality in ladder:
        while at < len(curve) - 2 and sign * quality > sign * curve[at + 1][0]:
            at += 1
        (x0, r0), (x1, r1) = curve[at], curve[at + 1]
        rates.append(exp(log(r0) + (log(r1) - log(r0)) * (quality - x0) / (x1 - x0)))
    return rates


def nearest_rung(size: Callable[[int], int], typical: Sequence[float], target: float) -> int | None:
    """Index of the rung whose file is nearest to `target` bytes in log size, or of one found within `CLOSE` of it.

    size: bytes of the file of a rung; it grows with the index, small dents apart. typical: a size for every rung in
    any unit, all positive. A file above SLACK x target is never chosen: None if that of the lowest rung is. The highest
    rung if even its file is below the target.
    """
    low, high = -1, len(typical)  # size(low) <= target < size(high), with nothing below and everything above
    shift = 0.0
    for step in range(len(typical) + 1):
        if high - low <= 1:
            break
        if step < GUESSES:
            wanted = log(target) - shift
            probe = min(range(low + 1, high), key=lambda i: (abs(log(typical[i]) - wanted), i))
        else:
            probe = (low + high) // 2
        found = size(probe)
        if max(found / target, target / found) <= CLOSE:
            return probe
        shift = log(found) - log(typical[probe])
        low, high = (probe, high) if found <= target else (low, probe)
    if high == len(typical):
        return low
    if low < 0:
        return high if size(high) <= SLACK * target else None
    above = size(high)
    return high if above <= SLACK * target and above / target < target / size(low) else low
