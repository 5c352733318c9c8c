"""Bootstrap intervals, classification, depth, categories and accumulators against independent computations."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.errors import InputError, UsageError
from chappe.metrics import (
    Confusion,
    Mean,
    accumulate,
    align,
    bootstrap,
    category_confusion,
    category_iou,
    classification,
    confusion,
    delta,
    depth,
    interval,
    interval_of_sums,
    miou,
    psnr,
    rmse,
    smoothed_cross_entropy,
    top1,
    topk,
)
from chappe.metrics.semantic import CATEGORIES
from chappe.taxonomy import get_taxonomy, mapping


def test_interval_of_a_mean_matches_scipy_and_theory():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed (chappe[dev])")
    values = np.random.default_rng(0).normal(50, 10, 120)
    low, high = interval(values, resamples=4000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", random_state=1)
    half = 1.96 * values.std() / 120**0.5
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * half * 2)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * half * 2)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    narrow = interval(values, level=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high


def test_the_two_roads_agree_and_repeat():
    rng = np.random.default_rng(1)
    matrices = rng.integers(0, 50, (9, 4, 4))
    slow = interval(matrices, lambda drawn: miou(drawn.sum(0)), 200, seed=5)
    assert interval_of_sums(matrices, miou, 200, seed=5) == pytest.approx(slow, rel=1e-12)
    assert interval_of_sums(matrices, miou, 200, seed=6) != pytest.approx(slow, rel=1e-6)
    values = rng.normal(size=9)
    assert interval(values, np.mean, 200) == pytest.approx(interval(values, None, 200), rel=1e-12)
    assert interval([3.5]) == (3.5, 3.5)
    assert interval([1.0, np.nan], np.max) == (1.0, 1.0)  # draws without a number are left out
    assert all(map(math.isnan, interval([np.nan], np.max)))


def test_bootstrap_misuse():
    with pytest.raises(InputError, match="nothing to resample"):
        interval([])
    for options in ({"resamples": 0}, {"level": 1.0}):
        with pytest.raises(UsageError, match="bootstrap"):
            interval([1.0], **options)
    with pytest.raises(InputError, match="give a statistic"):
        interval(np.zeros((3, 2)))


def test_accuracy_matches_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not installed")
    rng = np.random.default_rng(2)
    scores, truth = rng.normal(size=(60, 7)), rng.integers(0, 7, 60)
    for k in (1, 3, 7):
        theirs = functional.multiclass_accuracy(torch.from_numpy(scores), torch.from_numpy(truth), 7, "micro", k)
        assert topk(scores, truth, k) == pytest.approx(float(theirs))
    assert top1(scores, truth) == top1(scores.argmax(1), truth) == topk(scores, truth, 1)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.6])
def test_smoothed_cross_entropy_matches_torch(epsilon):
    rng = np.random.default_rng(3)
    logits, truth = rng.normal(size=(20, 5)) * 9, rng.integers(0, 5, 20)
    theirs = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(truth), label_smoothing=epsilon * 5 / 4
    )
    assert smoothed_cross_entropy(logits, truth, epsilon, per_class=False) == pytest.approx(float(theirs))
    assert smoothed_cross_entropy(logits, truth, epsilon) == pytest.approx(float(theirs) / 5)  # eq. (9) prints 1/M
    # Equation (10) in words: a proper distribution, and its entropy is the least the loss can be.
    p = np.full(5, epsilon / 4)
    p[2] = 1 - epsilon
    least = -sum(v * math.log(v) for v in p if v)
    at_p = np.log(np.maximum(p, 1e-300))[None]
    assert smoothed_cross_entropy(at_p, np.array([2]), epsilon, per_class=False) == pytest.approx(least, abs=1e-12)


def test_classification_misuse():
    scores, truth = np.zeros((2, 3)), np.array([0, 2])
    for bad in ((scores, truth[:1]), (scores, truth + 1), (scores, truth * 1.0), (scores * np.nan, truth)):
        with pytest.raises(InputError):
            topk(*bad, 1)
    with pytest.raises(UsageError, match="found 4"):
        topk(scores, truth, 4)
    with pytest.raises(InputError, match="one answer"):
        top1(truth[:1], truth)
    with pytest.raises(UsageError, match="epsilon"):
        smoothed_cross_entropy(scores, truth, 1.0)


def test_depth_is_the_definition():
    rng = np.random.default_rng(4)
    truth = rng.uniform(1, 50, (8, 9))
    truth[0, :3] = 0, np.nan, np.inf  # holes
    pred = truth * rng.choice([0.75, 0.81, 1, 1.2, 1.3], truth.shape)
    pairs = [(p, t) for p, t in zip(pred.ravel(), truth.ravel(), strict=True) if 0 < t < math.inf]
    assert len(pairs) == 69
    assert rmse(pred, truth) == pytest.approx(math.sqrt(sum((p - t) ** 2 for p, t in pairs) / 69))
    assert delta(pred, truth) == pytest.approx(sum(max(p / t, t / p) < 1.25 for p, t in pairs) / 69)
    assert 0.3 < delta(pred, truth) < 0.9 and delta(pred, truth, 1.25**2) == 1.0
    solid = np.isfinite(truth) & (truth > 0)
    inverse = [1 / np.where(solid, v, 1) for v in (pred, truth)]
    assert delta(*inverse, valid=solid) == pytest.approx(delta(pred, truth))  # the same for inverse depth


def test_depth_matches_torchmetrics():
    regression = pytest.importorskip("torchmetrics.functional.regression", reason="torchmetrics is not installed")
    pred, truth = np.random.default_rng(5).uniform(1, 9, (2, 30))
    theirs = regression.mean_squared_error(torch.from_numpy(pred), torch.from_numpy(truth), squared=False)
    assert rmse(pred, truth) == pytest.approx(float(theirs))


def test_align_is_least_squares():
    rng = np.random.default_rng(6)
    pred, truth = rng.uniform(1, 9, (2, 6, 7))
    truth[0] = 0
    columns = np.stack((pred[1:].ravel(), np.ones(35)), 1)
    scale, shift = np.linalg.lstsq(columns, truth[1:].ravel(), rcond=None)[0]
    np.testing.assert_allclose(align(pred, truth), scale * pred + shift)
    np.testing.assert_allclose(align(5 - 2 * truth, truth)[1:], truth[1:])
    np.testing.assert_allclose(align(np.ones((6, 7)), truth), truth[1:].mean())


def test_depth_misuse():
    truth = np.ones((2, 2))
    with pytest.raises(InputError, match="two depth maps of one size"):
        rmse(truth[0], truth)
    with pytest.raises(InputError, match="no valid pixel"):
        delta(truth, truth * 0)
    with pytest.raises(InputError, match="NaN or infinite"):
        rmse(truth * np.nan, truth)
    with pytest.raises(InputError, match="are positive"):
        delta(truth, truth * 0, valid=truth > 0)
    with pytest.raises(UsageError, match="above 1"):
        delta(truth, truth, 1.0)


@pytest.mark.parametrize("taxonomy", ["street11", "cityscapes19", "cityscapes30", "cityscapes35"])
def test_categories_are_the_confusion_of_category_maps(taxonomy):
    """Count the categories' own maps instead of merging a matrix."""
    names = {
        "flat": "road sidewalk parking railtrack", "sky": "sky", "human": "person rider",
        "nature": "vegetation terrain",
        "construction": "building wall fence guardrail bridge tunnel",
        "object": "pole polegroup trafficlight trafficsign",
        "vehicle": "car truck bus caravan trailer train motorcycle bicycle licenseplate",
    }  # fmt: skip
    hub = [c.replace(" ", "") for c in get_taxonomy("cityscapes35").classes]
    table = [next((k for k, c in enumerate(names) if n in names[c].split()), 7) for n in hub]
    order = [CATEGORIES.index(c) for c in names] + [7]
    size = len(get_taxonomy(taxonomy))
    pred, true = np.random.default_rng(7).integers(0, size, (2, 50, 60))
    matrix = confusion(pred, true, size)
    expected = confusion(
        *(np.array(order)[np.array(table)[mapping(taxonomy, "cityscapes35")[v]]] for v in (pred, true)), 8
    )
    np.testing.assert_array_equal(category_confusion(matrix, taxonomy), expected)
    iou = category_iou(matrix, taxonomy)
    assert list(iou) == list(CATEGORIES[:7])
    hits = np.diagonal(expected)
    assert iou["flat"] == pytest.approx(hits[0] / (expected[0].sum() + expected[:, 0].sum() - hits[0]))


def test_categories_need_the_label_sets_size():
    assert category_iou(np.eye(11, dtype=int), "street11")["vehicle"] == 1.0  # without void
    for size in (10, 13):
        with pytest.raises(InputError, match="street11 has 12 classes"):
            category_iou(np.eye(size), "street11")


@given(seed=st.integers(0, 99), pictures=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_accumulators_are_sums_of_the_functions(seed, pictures):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, 4, (pictures, 2, 6, 5))
    tally, mean = Confusion(4, ignore=3), Mean(psnr)
    assert math.isnan(mean.value) and math.isnan(tally.miou) and math.isnan(tally.miou_image)
    for pred, true in pairs:
        tally.add(pred, true)
        mean.add(np.zeros((2, 2), np.uint8), np.full((2, 2), pred[0, 0] + 1, np.uint8))
    total = sum(confusion(p, t, 4, ignore=3) for p, t in pairs)
    np.testing.assert_array_equal(tally.matrix, total)
    assert tally.miou == miou(total, ignore=3) and tally.accuracy == pytest.approx(np.trace(total) / total.sum())
    assert tally.miou_image == pytest.approx(np.mean([miou(confusion(p, t, 4, ignore=3), ignore=3) for p, t in pairs]))
    assert tally.per_class.shape == (4,)
    assert mean.value == pytest.approx(np.mean([20 * math.log10(255 / (p[0, 0] + 1)) for p, _ in pairs]))


@pytest.mark.parametrize("module", [accumulate, bootstrap, classification, depth], ids=lambda m: m.__name__)
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.failed == 0
