"""The coarse picture at the quality that fills a number of bytes, looked for in one thread or in two.

AV1 takes most of an encoder's time, so the search begins where trials at AV1's fastest setting point to, a thirtieth as
dear. Where a second thread is allowed, a first coding runs beside the map's coder, for the room that the map should
leave, and each further one together with the quality on the other side of where the search expects the room to be full.
What is found depends on the room alone, and so do the bytes of the file.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property

import numpy as np

from chappe.bitstream import container
from chappe.bitstream.container import Section, SectionType
from chappe.systems.beside import allowed_threads, start
from chappe.systems.spic.coarse import FASTEST, encode_coarse, setting

__all__ = ["CoarseCoder", "best_quality"]

_FIRST = 25  # the quality of the first trial
_SLOPE = 0.04  # of the logarithm of the bytes, a unit of quality: about 4 %


class CoarseCoder:
    """A coarse picture's sections by quality, each coded at most once, by whichever thread comes to it first.

    `make()` gives the picture (h, w, 3) uint8.
    """

    def __init__(self, make: Callable[[], np.ndarray]):
        self._make = make
        self._coded: dict[bytes, Future[Section]] = {}
        self._trials: dict[int, int] = {}
        self._lock = threading.Lock()

    @cached_property
    def small(self) -> np.ndarray:
        """The picture."""
        return self._make()

    def section(self, quality: int) -> Section:
        """The picture's section at one quality; waits where another thread is at it."""
        future, is_mine = self._claim(quality)
        if is_mine:
            self._code(quality, future)
        return future.result()

    def begin(self, room: float) -> None:
        """In a second thread, where one is allowed: code the quality that should fill `room` bytes."""
        if allowed_threads() > 1:
            start(lambda: self.section(round(self.expected(room))))

    def fill(self, room: float) -> Section:
        """The section of highest quality whose framed size stays within `room` bytes, or the next where that is nearer.
        See `best_quality`."""

        def size(quality: int, other: int | None = None) -> int:
            if other is not None and allowed_threads() > 1 and not self._is_ready(quality):
                self._ahead(_unlike(quality, other))
            return container.section_size(len(self.section(quality).payload))

        return self.section(best_quality(size, room, self.expected(room)))

    def expected(self, room: float) -> float:
        """The quality 0 ... 100 that should fill `room` bytes, to about one and a half: from up to three trials."""
        quality = float(_FIRST)
        for _ in range(3):
            size = self._trial(round(quality))
            last, quality = quality, min(100.0, max(0.0, round(quality) + _step(size, room)))
            if round(quality) == round(last):
                break
        return quality

    def _trial(self, quality: int) -> int:
        """Framed size at AV1's fastest setting, which is seldom more than a tenth from the size of the section."""
        if quality not in self._trials:
            self._trials[quality] = container.section_size(len(encode_coarse(self.small, quality, FASTEST)))
        return self._trials[quality]

    def _ahead(self, quality: int) -> None:
        """Code a quality in a second thread, unless it is known or one is at it."""
        future, is_mine = self._claim(quality)
        if is_mine:
            start(lambda: self._code(quality, future))

    def _is_ready(self, quality: int) -> bool:
        with self._lock:
            future = self._coded.get(setting(quality))
        return future is not None and future.done()

    def _claim(self, quality: int) -> tuple[Future[Section], bool]:
        """What will hold the section, and whether it is the caller's to code."""
        key = setting(quality)
        with self._lock:
            future = self._coded.get(key)
            if future is not None:
                return future, False
            future = self._coded[key] = Future()
            return future, True

    def _code(self, quality: int, future: Future[Section]) -> None:
        try:
            future.set_result(Section(SectionType.COARSE_IMAGE, encode_coarse(self.small, quality)))
        except BaseException as error:
            future.set_exception(error)


def best_quality(size: Callable[..., int], room: float, begin: float) -> int:
    """The highest quality 0 ... 100 whose size is within `room`, or the next where its size is nearer.

    size(quality, other): bytes at one quality, and the one that is likely to be asked for next, where that is known.
    Sizes grow nearly exponentially with quality: a bracket is narrowed from `begin` by interpolating their logarithms.
    """
    low, high = 0, 100
    goal = begin
    while high - low > 1:
        quality = min(high - 1, max(low + 1, round(goal)))
        found = size(quality, min(100, max(0, quality + (1 if goal > quality else -1))))
        if found <= room:
            low = quality
            if found > 0.985 * room:
                break
        else:
            high = quality
        goal = quality + _step(found, room)
    if low < 10 and size(0) >= room:  # dear to find out, and in no doubt where a better quality fits easily
        return 0
    if size(low) < 0.97 * room and size(low + 1) - room < room - size(low):
        low += 1
    return low


def _step(size: int, room: float) -> float:
    """Units of quality from what takes `size` bytes to what should fill `room`."""
    return math.log(max(room, 1) / size) / _SLOPE


def _unlike(quality: int, other: int) -> int:
    """The first quality from `other` on, away from `quality`, that codes differently; 0 or 100 if there is none."""
    while 0 < other < 100 and setting(other) == setting(quality):
        other += 1 if other > quality else -1
    return other
