"""Confusion matrices and IoU against torchmetrics and against sets of pixels."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chappe.errors import InputError, UsageError
from chappe.metrics import confusion, miou, per_class_iou, pixel_accuracy
from chappe.metrics import semantic as module

labels = hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 4))


@given(pred=labels, true=labels, ignore=st.sampled_from([None, 0, 2, 4, 255]))
@settings(max_examples=60, deadline=None)
def test_matches_sets_of_pixels(pred, true, ignore):
    matrix = confusion(pred, true, 5, ignore)
    counted = [(int(t), int(p)) for t, p in zip(true.ravel(), pred.ravel(), strict=True) if t != ignore]
    assert matrix.dtype == np.int64
    assert [[counted.count((t, p)) for p in range(5)] for t in range(5)] == matrix.tolist()
    expected = []
    for c in range(5):
        said = {i for i, (_, p) in enumerate(counted) if p == c}
        is_so = {i for i, (t, _) in enumerate(counted) if t == c}
        expected.append(len(said & is_so) / len(said | is_so) if said | is_so else math.nan)
    np.testing.assert_allclose(per_class_iou(matrix), expected, rtol=1e-12)
    defined = [v for v in expected if not math.isnan(v)]
    assert miou(matrix) == pytest.approx(np.mean(defined) if defined else math.nan, nan_ok=True)
    if counted:
        assert pixel_accuracy(matrix) == pytest.approx(np.mean([t == p for t, p in counted]))


def test_matches_torchmetrics():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed (chappe[dev])")
    import torch
    from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

    rng = np.random.default_rng(3)
    pred, true = rng.integers(0, 11, (2, 40, 60), dtype=np.uint8)
    true[rng.random(true.shape) < 0.1] = 11
    pred[pred == 4] = true[pred == 4] % 11
    ours = confusion(pred, true, 11, ignore=11)
    p, t = torch.from_numpy(pred.astype(np.int64)), torch.from_numpy(true.astype(np.int64))
    assert (ours == multiclass_confusion_matrix(p, t, 11, ignore_index=11).numpy()).all()
    jaccard = multiclass_jaccard_index(p, t, 11, average=None, ignore_index=11).numpy()
    np.testing.assert_allclose(per_class_iou(ours), jaccard, rtol=1e-6)
    assert miou(ours) == pytest.approx(float(multiclass_jaccard_index(p, t, 11, ignore_index=11)), rel=1e-6)


def test_a_void_prediction_is_a_miss_and_void_is_no_class():
    true = np.array([0, 0, 1, 11], np.uint8)
    pred = np.array([0, 11, 1, 0], np.uint8)
    matrix = confusion(pred, true, 12, ignore=11)
    assert matrix.sum() == 3 and matrix[0, 11] == 1
    assert miou(matrix, ignore=11) == pytest.approx((0.5 + 1) / 2)
    with pytest.raises(InputError, match="predicted labels run from 0 to 11"):
        confusion(pred, true, 11, ignore=11)


def test_absent_classes_do_not_count():
    matrix = confusion(np.zeros(4, int), np.zeros(4, int), 3)
    assert miou(matrix) == 1
    assert np.isnan(per_class_iou(matrix)[1:]).all()
    empty = confusion(np.full(3, 1), np.full(3, 9), 3, ignore=9)
    assert empty.sum() == 0 and math.isnan(miou(empty)) and math.isnan(pixel_accuracy(empty))


def test_large_class_counts_do_not_overflow_bytes():
    matrix = confusion(np.full(300, 182, np.uint8), np.full(300, 182, np.uint8), 183)
    assert matrix[182, 182] == 300 == matrix.sum()


def test_unfit_input_is_refused():
    ok = np.zeros((2, 2), np.uint8)
    unfit = [(ok, np.zeros((2, 3), np.uint8)), (ok.astype(float), ok), (ok, ok + 5), (ok.astype(int) - 1, ok)]
    for pred, true in unfit:
        with pytest.raises(InputError):
            confusion(pred, true, 3)
    with pytest.raises(UsageError):
        confusion(ok, ok, 0)
    with pytest.raises(InputError):
        miou(np.zeros((2, 3)))


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
