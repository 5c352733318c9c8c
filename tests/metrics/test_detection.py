"""Boxes and mAP: figures of pycocotools, a second implementation written from the definition, and hand-made cases."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from chappe.errors import InputError, UsageError
from chappe.metrics import Boxes, Detections, average_precision, box_iou, mean_average_precision
from chappe.metrics import detection as module


def scene(seed: int, pictures: int = 30, classes: int = 3) -> tuple[list[Boxes], list[Boxes]]:
    """(detections, truth): boxes on a coarse grid, so that equal IoUs and ties occur; scores are distinct."""
    rng = np.random.Generator(np.random.PCG64(seed))
    pred, truth = [], []
    for _ in range(pictures):
        n = int(rng.integers(0, 7))
        corner, side = rng.integers(0, 80, (n, 2)), rng.integers(20, 60, (n, 2))
        boxes, labels = np.hstack((corner, corner + side)).astype(float), rng.integers(0, classes, n)
        truth.append(Boxes(boxes, labels))
        again = np.repeat(np.arange(n), rng.integers(0, 4, n))  # each seen 0 to 3 times, jittered
        moved = boxes[again] + rng.integers(-5, 6, (len(again), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        seen = np.where(rng.random(len(again)) < 0.9, labels[again], (labels[again] + 1) % classes)
        pred.append(Boxes(moved, seen, rng.permutation(10_000)[: len(again)] / 10_000 + rng.random() / 1e6))
    return pred, truth


# COCOeval of pycocotools on the same boxes, area ranges and crowds left at their defaults.
PYCOCOTOOLS = {
    1: (0.5267907865949404, 0.2746814560926445, [0.18950540887422074, 0.24819570491156512, 0.24630228328955345]),
    2: (0.5882261554724124, 0.2919872179873479, [0.21367994420082237, 0.39540918726309404, 0.18433179723502305]),
    3: (0.6201791905426249, 0.3130734376076409, [0.3670367036703669, 0.16668639419519368, 0.2551539478272151]),
}


@pytest.mark.parametrize("seed", PYCOCOTOOLS)
def test_matches_pycocotools(seed):
    pred, truth = scene(seed)
    at_half, at_all, classes = PYCOCOTOOLS[seed]
    assert mean_average_precision(pred, truth, 0.5) == pytest.approx(at_half, abs=1e-12)
    assert mean_average_precision(pred, truth, ".5:.95") == pytest.approx(at_all, abs=1e-12)
    assert list(average_precision(pred, truth, 0.75).values()) == pytest.approx(classes, abs=1e-12)


def plain_ap(pred, truth, label, threshold):
    """The definition in words, with sets and loops."""
    found = [(s, i, tuple(b)) for i, p in enumerate(pred) for b, c, s in zip(p.boxes, p.labels, p.scores, strict=True)
             if c == label]  # fmt: skip
    free = [[tuple(b) for b, c in zip(t.boxes, t.labels, strict=True) if c == label] for t in truth]
    total, marks = sum(map(len, free)), []
    for _, i, box in sorted(found, key=lambda f: -f[0]):

        def overlap(other, box=box):
            w = min(box[2], other[2]) - max(box[0], other[0])
            h = min(box[3], other[3]) - max(box[1], other[1])
            inner = max(w, 0) * max(h, 0)
            return inner / (
                (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - inner
            )

        best = max(reversed(free[i]), key=overlap, default=None)
        marks.append(best is not None and overlap(best) >= threshold)
        if marks[-1]:
            free[i].remove(best)
    points = [(sum(marks[:k]) / total, sum(marks[:k]) / k) for k in range(1, len(marks) + 1)]
    return np.mean([max((p for r, p in points if r >= level), default=0) for level in np.linspace(0, 1, 101)])


def test_matches_the_definition():
    pred, truth = scene(11, pictures=12)
    for threshold in (0.3, 0.5, 0.8):
        ours = average_precision(pred, truth, threshold)
        expected = {c: plain_ap(pred, truth, c, threshold) for c in ours}
        assert ours == pytest.approx(expected, abs=1e-9)


def test_closed_forms():
    box = [[0, 0, 10, 10]]
    one = Boxes(box, [2])
    assert mean_average_precision([one], [one], ".5:.95") == 1.0
    # A false alarm above the hit halves the precision at every recall; below it, it costs nothing.
    above = Boxes([[50, 50, 60, 60], *box], [2, 2], [0.9, 0.8])
    below = Boxes([[50, 50, 60, 60], *box], [2, 2], [0.7, 0.8])
    assert (mean_average_precision([above], [one]), mean_average_precision([below], [one])) == (0.5, 1.0)
    # One of two objects found: recall ends at 1/2, so 51 of the 101 levels are reached.
    assert mean_average_precision([one, Boxes([], [])], [one, one]) == pytest.approx(51 / 101)
    # A second box on one object is a false alarm; a class without truth counts nowhere; no truth at all is no figure.
    twice, late = Boxes(box * 2, [2, 2], [0.9, 0.8]), Boxes(box, [2], [0.1])
    assert mean_average_precision([twice, late], [one, one]) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert mean_average_precision([Boxes(box * 2, [2, 5])], [one]) == 1.0
    assert np.isnan(mean_average_precision([one], [Boxes([], [])]))
    # IoU of exactly the threshold is a hit, of 80 / 100 here.
    near = Boxes([[0, 0, 10, 8]], [2])
    assert (mean_average_precision([near], [one], 0.8), mean_average_precision([near], [one], 0.81)) == (1.0, 0.0)


def test_only_the_best_hundred_of_a_picture_count():
    real = Boxes([[0, 0, 10, 10]], [0])
    wrong = [[20, 20, 30, 30]] * 100
    lost = Boxes([*wrong, [0, 0, 10, 10]], [0] * 101, [*np.linspace(1, 0.5, 100), 0.1])
    kept = Boxes([*wrong[1:], [0, 0, 10, 10]], [0] * 100, [*np.linspace(1, 0.5, 99), 0.1])
    assert mean_average_precision([lost], [real]) == 0
    assert mean_average_precision([kept], [real]) == pytest.approx(0.01)


def test_box_iou_counts_pixels():
    rng = np.random.default_rng(0)
    corner, side = rng.integers(0, 12, (2, 9, 2))
    boxes = np.hstack((corner, corner + side))
    masks = np.zeros((9, 25, 25), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    inner = (masks[:, None] & masks[None]).sum((2, 3))
    union = (masks[:, None] | masks[None]).sum((2, 3))
    np.testing.assert_allclose(box_iou(boxes, boxes), inner / np.maximum(union, 1))


def test_the_accumulator_is_the_function():
    pred, truth = scene(5, pictures=8)
    tally = Detections(iou=".5:.95")
    assert np.isnan(tally.value)
    for p, t in zip(pred, truth, strict=True):
        tally.add(p, t)
    assert tally.value == mean_average_precision(pred, truth, ".5:.95")


def test_misuse_is_one_sentence():
    one = Boxes([[0, 0, 1, 1]], [0])
    with pytest.raises(InputError, match="2 boxes, 1 labels"):
        Boxes([[0, 0, 1, 1]] * 2, [0])
    with pytest.raises(InputError, match="left <= right"):
        Boxes([[3, 0, 1, 1]], [0])
    with pytest.raises(InputError, match="found 1 and 2 pictures"):
        mean_average_precision([one], [one, one])
    for bad in ("0.5", 0, 1.2, []):
        with pytest.raises(UsageError, match="IoU threshold"):
            mean_average_precision([one], [one], bad)


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
