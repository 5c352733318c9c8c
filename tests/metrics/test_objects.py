"""Components against scikit-image, scipy; matching against sets of pixels and torchmetrics."""

from __future__ import annotations

import doctest
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chappe.data.scenes import render_scene
from chappe.errors import InputError, UsageError
from chappe.metrics import ObjectCount, Objects, component_map, components
from chappe.metrics import objects as module
from chappe.metrics.objects import match

THINGS = frozenset({8, 9, 10})
maps = hnp.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 8, 9, 255]))


def street_map(seed: int, size: tuple[int, int] = (128, 256)) -> np.ndarray:
    """A scene's labels, roughened so that components are many and ragged."""
    labels = render_scene(seed, size=size).labels.copy()
    rng = np.random.default_rng(seed)
    holes = rng.random(labels.shape) < 0.25
    labels[holes] = rng.integers(0, 12, holes.sum())
    return labels


def by_skimage(labels: np.ndarray, classes, min_pixels: int) -> set:
    measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed (chappe[dev])")
    found = set()
    for c in classes:
        for region in measure.regionprops(measure.label(labels == c, connectivity=2)):
            if region.area >= min_pixels:
                top, left, bottom, right = region.bbox
                found.add((c, (left, top, right, bottom), int(region.area)))
    return found


@given(labels=maps, min_pixels=st.sampled_from([1, 2, 5]))
@settings(max_examples=60, deadline=None)
def test_components_match_scikit_image(labels, min_pixels):
    found = components(labels, {8, 9, 255}, min_pixels)
    assert {(i.label, i.box, i.area) for i in found} == by_skimage(labels, (8, 9, 255), min_pixels)
    assert len({(i.label, i.box, i.area, i.index) for i in found}) == len(found)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_whole_street_matches_scikit_image_and_scipy(seed):
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is not installed (chappe[dev])")
    labels = street_map(seed)
    marks, found = component_map(labels, THINGS, 20)
    assert {(i.label, i.box, i.area) for i in found} == by_skimage(labels, THINGS, 20)
    for c in THINGS:
        theirs, n = ndimage.label(labels == c, np.ones((3, 3)))
        sizes = np.bincount(theirs.ravel(), minlength=n + 1)
        kept = (theirs > 0) & (sizes[theirs] >= 20)
        assert ((marks > 0) & (labels == c) == kept).all()
        pairs = np.unique(np.stack((theirs[kept], marks[kept])), axis=1)  # one mark of ours for each of theirs
        assert pairs.shape[1] == len(set(pairs[0])) == len(set(pairs[1]))


@given(labels=maps)
@settings(max_examples=30, deadline=None)
def test_the_map_holds_each_instance(labels):
    marks, found = component_map(labels, {8, 9}, 3)
    assert [i.index for i in found] == list(range(1, len(found) + 1)) == sorted(set(marks.ravel().tolist()) - {0})
    first = [int(np.argmax(marks == i.index)) for i in found]
    assert first == sorted(first)  # in scan order
    for instance in found:
        y, x = np.nonzero(marks == instance.index)
        assert instance.area == len(y) and set(labels[y, x]) == {instance.label}
        assert instance.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_every_pixel_its_own_component():
    labels = np.indices((40, 60)).sum(0) % 7 * 3 + np.indices((40, 60))[0] % 2  # no equal neighbours in a row
    assert len(components(labels, set(range(30)), 1)) == len(by_skimage_all(labels))
    board = np.arange(2400).reshape(40, 60)
    assert len(components(board, set(range(2400)), 1)) == 2400


def by_skimage_all(labels):
    measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed (chappe[dev])")
    marks = measure.label(labels + 1, connectivity=2)
    return np.unique(marks)


def plain_match(original, decoded, iou, classes, least):
    """The definition again, with sets of pixels; exact for iou >= .5, where matches are unique."""

    def pieces(labels):
        out = []
        for c in classes:
            todo = {(int(y), int(x)) for y, x in zip(*np.nonzero(labels == c), strict=True)}
            while todo:
                piece, edge = set(), [todo.pop()]
                while edge:
                    y, x = edge.pop()
                    piece.add((y, x))
                    near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & todo
                    todo -= near
                    edge += near
                out.append((c, piece))
        return out

    before, after = pieces(original), pieces(decoded)
    real = [(c, p) for c, p in before if len(p) >= least]
    found = sum(any(c == d and len(p & q) > iou * len(p | q) for d, q in after) for c, p in real)
    shown = [(c, p) for c, p in after if len(p) >= least]
    invented = sum(2 * sum(original[y, x] == c for y, x in p) <= len(p) for c, p in shown)
    return ObjectCount(len(real), len(shown), found, invented)


@given(
    original=maps, decoded=maps, keep=st.floats(0, 1), iou=st.sampled_from([0.5, 0.7]), least=st.sampled_from([1, 3])
)
@settings(max_examples=80, deadline=None)
def test_match_is_the_definition(original, decoded, keep, iou, least):
    # Part of the original survives: otherwise nothing would ever match.
    decoded = np.where(np.random.default_rng(0).random(original.shape) < keep, original, decoded)
    ours = match(original, decoded, iou, classes={8, 9}, min_pixels=least)
    assert ours == plain_match(original, decoded, iou, (8, 9), least)


def test_found_agrees_with_panoptic_quality():
    detection = pytest.importorskip("torchmetrics.functional.detection", reason="torchmetrics is not installed")
    import torch

    original = render_scene(5, size=(128, 256)).labels
    decoded = np.roll(original, 2, axis=1)
    decoded[:, 100:130] = 0
    for c in sorted(THINGS):
        count = match(original, decoded, classes={c}, min_pixels=1)
        maps = []
        for labels in (decoded, original):
            marks, _ = component_map(labels, {c}, 1)
            maps.append(torch.from_numpy(np.stack((np.where(marks > 0, 1, 0), marks), -1).astype(np.int64))[None])
        if not count.original + count.decoded:
            continue
        quality = detection.panoptic_quality(
            *maps, things={1}, stuffs={0}, return_sq_and_rq=True, return_per_class=True
        )
        # Recognition quality = TP / (TP + FP/2 + FN/2) of the thing class, which torchmetrics lists first.
        recognition = float(quality[0, 2])
        assert recognition == pytest.approx(2 * count.found / (count.original + count.decoded), abs=1e-6)


def test_a_hand_made_street():
    original, decoded = np.zeros((2, 40, 80), np.uint8)
    original[5:15, 5:25] = 8  # stays, a little smaller
    decoded[5:14, 5:25] = 8
    original[5:15, 40:60] = 8  # breaks in two: lost, and nothing invented
    decoded[5:15, 40:49] = decoded[5:15, 51:60] = 8
    decoded[25:35, 5:25] = 9  # invented where there was nothing
    original[25:35, 40:60] = 8  # a car taken for a pedestrian: lost, and a pedestrian invented
    decoded[25:35, 40:60] = 9
    original[20:25, 70:75] = 10  # too small to count, drawn larger than it was: it existed, so it is not invented
    decoded[20:28, 70:75] = 10
    count = match(original, decoded, taxonomy="street11", min_pixels=30)
    assert count == ObjectCount(original=3, decoded=6, found=1, invented=2)
    assert (count.recall, count.hallucination) == (1 / 3, 2 / 6)
    # A looser threshold: each object is found once, whatever the number of its pieces.
    assert match(original, decoded, 0.3, min_pixels=30).found == 2
    # An object found as one that is too small to count.
    tiny = np.zeros_like(original)
    tiny[:6, :6] = 8
    shrunk = np.where(np.indices(tiny.shape)[0] < 5, tiny, 0)
    assert match(tiny, shrunk, min_pixels=36) == ObjectCount(1, 0, 1, 0)


def test_counts_add_up_and_are_undefined_without_objects():
    empty = np.zeros((8, 8), np.uint8)
    nothing = match(empty, empty)
    assert nothing == ObjectCount() and np.isnan(nothing.recall) and np.isnan(nothing.hallucination)
    tally = Objects(taxonomy="street11")
    scenes = [render_scene(seed, size=(128, 256)).labels for seed in (1, 2)]
    for labels in scenes:
        tally.add(labels, labels)
    kept = sum(len(components(labels, THINGS)) for labels in scenes)
    assert tally.count == ObjectCount(kept, kept, kept, 0) and kept > 0
    assert tally.count.recall == 1 and tally.count.hallucination == 0


def test_misuse_is_one_sentence():
    labels = np.zeros((8, 8), np.uint8)
    with pytest.raises(InputError, match="two label maps of one size"):
        match(labels, labels[:4])
    for bad in (labels.astype(float), labels[0], labels[:0]):
        with pytest.raises(InputError, match="map of integer labels"):
            components(bad, THINGS)
    for iou in (-0.1, 1.0):
        with pytest.raises(UsageError, match="IoU"):
            match(labels, labels, iou)
    assert components(labels, ()) == [] == components(labels, {3})


def test_a_street_frame_takes_a_few_milliseconds():
    original, decoded = street_map(3, (256, 512)), street_map(4, (256, 512))
    times = []
    for _ in range(8):
        started = time.process_time()
        match(original, decoded)
        times.append(time.process_time() - started)
    assert min(times) < 0.04  # processor time: others share the core


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
