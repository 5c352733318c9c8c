"""The search for the coarse picture's quality: the same bytes in one thread and in two, nothing coded twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import container
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.errors import ModelError
from chappe.systems.spic import search
from chappe.systems.spic.coarse import encode_coarse, setting, shrink
from chappe.systems.spic.search import CoarseCoder, best_quality

SMALL = shrink(render_scene(3, size=(128, 192)).image)


@pytest.fixture
def coded(monkeypatch) -> list[tuple[str, int]]:
    """(thread, quality) of each coding of a coarse picture."""
    calls = []

    def counted(small, quality, *speed):
        if not speed:  # not a trial
            calls.append((threading.current_thread().name, quality))
        return encode_coarse(small, quality, *speed)

    monkeypatch.setattr(search, "encode_coarse", counted)
    return calls


def _threads(monkeypatch, count: int) -> None:
    monkeypatch.setattr(search, "allowed_threads", lambda: count)


def test_files_are_the_same_bytes_with_one_thread_and_with_two(codec, monkeypatch, coded):
    points = [{"bpp": 0.06}, {"bpp": 0.16}, {"bpp": 0.4, "map": "lossless"}, {"quality": 30},
              {"bpp": 0.1, "relevance": "sign=1,rest=0.2"}]  # fmt: skip
    ahead = 0
    for scene in (render_scene(7, size=(96, 192)), render_scene(8, size=(98, 130))):
        for values in points:
            files = []
            for threads in (1, 2):
                _threads(monkeypatch, threads)
                coded.clear()
                files.append(codec.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", values)))
                others = [quality for name, quality in coded if name == "chappe-beside"]
                assert threads == 2 or not others
                ahead += len(others)
            assert files[0] == files[1], values
    assert ahead > 6


def test_no_quality_is_coded_twice_by_however_many_threads(monkeypatch, coded):
    _threads(monkeypatch, 2)
    coder = CoarseCoder(lambda: SMALL)
    rooms = [60, 90, 130, 200] * 3
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(coder.fill, rooms))
    keys = [setting(quality) for name, quality in coded]
    assert len(keys) == len(set(keys)) > 4
    payload = cache(lambda quality: encode_coarse(SMALL, quality))
    for room, section in zip(rooms, found, strict=True):
        best = best_quality(
            lambda quality, other=None: container.section_size(len(payload(quality))), room, coder.expected(room)
        )
        assert section.payload == payload(best)


def test_what_goes_wrong_in_the_other_thread_reaches_who_asks(monkeypatch):
    def fails(small, quality, *speed):
        raise ModelError("no AVIF here")

    _threads(monkeypatch, 2)
    monkeypatch.setattr(search, "encode_coarse", fails)
    coder = CoarseCoder(lambda: SMALL)
    coder.begin(100)
    for _ in range(2):
        with pytest.raises(ModelError, match="no AVIF here"):
            coder.fill(100)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.02, 0.09), min_size=100, max_size=100), st.floats(1, 3), st.floats(0, 1), st.floats(0, 100))
def test_the_search_finds_what_a_look_at_all_qualities_finds(steps, start, at, begin):
    """For sizes that grow by 2 % or more a step: the largest that fits, or the next where it is nearer and the largest
    leaves more than 3 % over."""
    sizes = np.exp(start + 3 + np.concatenate([[0], np.cumsum(steps)]))
    room = float(np.exp(np.log(sizes[0]) + at * (np.log(sizes[-1]) - np.log(sizes[0]))))
    asked = []

    def size(quality: int, other: int | None = None) -> int:
        assert other is None or 0 <= other <= 100
        asked.append(quality)
        return sizes[quality]

    best = best_quality(size, room, begin)
    fits = max((q for q in range(101) if sizes[q] <= room), default=0)
    if fits < 100 and sizes[fits] < 0.97 * room and sizes[fits + 1] - room < room - sizes[fits]:
        fits += 1
    assert best in (fits, min(fits, 99))  # 100 is tried only beside 99
    assert len(set(asked)) <= 40


def test_a_search_begins_near_its_end(coded):
    coder = CoarseCoder(lambda: SMALL)
    for room in (80, 120, 180, 260):
        end = next(q for q in range(100, -1, -1) if container.section_size(len(coder.section(q).payload)) <= room)
        assert abs(coder.expected(room) - end) <= 4, room


def test_a_rate_that_the_splits_step_over_is_met(codec):
    """At the lowest rates neither map nor coarse picture comes in every size; no rate between two others is refused."""
    scene = render_scene(7, size=(96, 192))
    smallest = len(
        codec.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", {"map": "near", "bpp": 0.03}))
    )
    for wanted in range(smallest, 2 * smallest, 3):
        size = len(codec.encode(scene.image, labels=scene.labels, bpp=wanted * 8 / scene.labels.size))
        assert 0.8 * wanted < size <= 1.05 * wanted, (wanted, size)
