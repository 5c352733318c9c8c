"""The coarse picture at the quality that fills a number of bytes, looked for in one thread or in two.

AV1 takes most of an encoder's time. Where a second thread is allowed, the first trial runs beside the map's coder, for
it is the same whatever room the map leaves, and each further one together with the quality below it, which the search
asks for next more often than not. The search is the same in one thread, and so are the bytes.
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
from chappe.systems.beside import allowed_threads
from chappe.systems.spic.coarse import encode_coarse, setting

__all__ = ["FIRST", "CoarseCoder", "best_quality"]

FIRST = 25  # the quality that every search begins with


class CoarseCoder:
    """A coarse picture's sections by quality, each coded at most once, by whichever thread comes to it first.

    `make()` gives the picture (h, w, 3) uint8.
    """

    def __init__(self, make: Callable[[], np.ndarray]):
        self._make = make
        self._coded: dict[bytes, Future[Section]] = {}
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

    def begin(self, quality: int) -> None:
        """Code a quality in a second thread, where one is allowed and it is not known yet."""
        if allowed_threads() < 2:
            return
        future, is_mine = self._claim(quality)
        if is_mine:
            threading.Thread(target=self._code, args=(quality, future), name="chappe-coarse").start()

    def fill(self, room: float) -> Section:
        """The section of highest quality whose framed size stays within `room` bytes, or the next where that is nearer.
        See `best_quality`."""

        def size(quality: int) -> int:
            if not self._is_known(quality):
                self.begin(_below(quality))
            return container.section_size(len(self.section(quality).payload))

        return self.section(best_quality(size, room))

    def _is_known(self, quality: int) -> bool:
        with self._lock:
            return setting(quality) in self._coded

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


def best_quality(size: Callable[[int], int], room: float) -> int:
    """The highest quality 0 ... 100 with size(quality) <= room, or the next where its size is nearer.

    Sizes grow nearly exponentially with quality, so the bracket is narrowed by interpolating their logarithms.
    """
    low, high = 0, 100
    quality = FIRST
    while high - low > 1:
        if size(quality) <= room:
            low = quality
            if size(quality) > 0.985 * room:
                break
        else:
            high = quality
        step = math.log(max(room, 1) / size(quality)) / 0.035  # about 3.5 % of bytes a unit
        quality = min(high - 1, max(low + 1, round(quality + step)))
    if low < 10 and size(0) >= room:  # dear to find out, and in no doubt where a better quality fits easily
        return 0
    if size(low) < 0.97 * room and size(low + 1) - room < room - size(low):
        low += 1
    return low


def _below(quality: int) -> int:
    """The next lower quality that codes differently, 0 if there is none."""
    lower = quality
    while lower > 0 and setting(lower) == setting(quality):
        lower -= 1
    return lower
