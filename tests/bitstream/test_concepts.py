"""The concept code: exact, alone readable, shorter than Huffman where there is structure, closed under any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import concepts
from chappe.bitstream.concepts import (
    LEVELS,
    Concept,
    ConceptPrior,
    cell_concepts,
    concept_bits,
    decode_concept,
    encode_concept,
    train_prior,
)
from chappe.errors import StreamError, UsageError

CLASSES = 5
GOLDEN = {"range": "6156823edbf36b13917385b7", "huffman": "0103433242326bcf26fa909af3c9bea4"}


def _grid(seed: int, level: int, shape=(6, 9), channels=4, smooth: bool = False):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, CLASSES, shape).astype(np.uint8)
    if smooth:
        cells[:] = seed % CLASSES
        values = np.clip(np.rint(np.cumsum(rng.normal(0, 0.4, (*shape, channels)), 1)), -level, level)
    else:
        values = rng.integers(-level, level + 1, (*shape, channels))
    return values.astype(np.int8), cells


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, LEVELS - 1), st.sampled_from(concepts.CODERS), st.booleans())
def test_every_concept_comes_back_alone(seed, level, coder, smooth):
    values, cells = _grid(seed, level, smooth=smooth)
    for number in np.unique(cells).tolist():
        data = encode_concept(values, cells == number, number, level, CLASSES, coder=coder)
        out = decode_concept(data, cells, values.shape[2], CLASSES)
        assert (out.number, out.level) == (number, level)
        np.testing.assert_array_equal(out.values, values * (cells == number)[..., None])
        estimate = concept_bits(values, cells == number, number, level, CLASSES, coder=coder)
        assert 8 * len(data) == estimate if coder == "huffman" else abs(8 * len(data) - estimate) < 10


def test_both_engines_write_the_same_bytes(monkeypatch):
    values, cells = _grid(3, 4)
    written = []
    for engine in ("python", "numba"):
        monkeypatch.setenv("CHAPPE_LABELMAP_ENGINE", engine)
        written.append(encode_concept(values, cells == 2, 2, 4, CLASSES))
        np.testing.assert_array_equal(
            decode_concept(written[0], cells, 4, CLASSES).values, values * (cells == 2)[..., None]
        )
    assert written[0] == written[1]


def test_golden_payloads():
    y, x, c = np.mgrid[:4, :5, :3]
    values, cells = ((y * 7 + x * 3 + c * 5) % 7 - 3).astype(np.int8), (np.mgrid[:4, :5].sum(0) % 2).astype(np.uint8)
    for coder, expected in GOLDEN.items():
        assert encode_concept(values, cells == 1, 1, 3, 2, coder=coder).hex() == expected


def test_what_training_saw_makes_files_shorter_than_huffman_and_than_a_cold_start():
    samples = []
    for seed in range(5, 45):
        values, cells = _grid(seed, 2, smooth=True)
        samples.append((Concept(int(cells[0, 0]), 2, values), np.ones(cells.shape, bool)))
    prior = train_prior(samples[:30], 4, CLASSES)
    sizes = {"huffman": 0, "cold": 0, "warm": 0}
    for concept, inside in samples[30:]:
        args = concept.values, inside, concept.number, concept.level, CLASSES
        sizes["huffman"] += len(encode_concept(*args, coder="huffman"))
        sizes["cold"] += len(encode_concept(*args))
        data = encode_concept(*args, prior=prior)
        sizes["warm"] += len(data)
        cells = np.full(inside.shape, concept.number, np.uint8)
        np.testing.assert_array_equal(decode_concept(data, cells, 4, CLASSES, prior=prior).values, concept.values)
    assert sizes["warm"] < 0.97 * sizes["cold"] and sizes["cold"] < 0.97 * sizes["huffman"]


@settings(max_examples=150)
@given(st.binary(max_size=40))
def test_any_bytes_are_one_concept_or_refused(data):
    _, cells = _grid(1, 1)
    try:
        out = decode_concept(data, cells, 4, CLASSES)
    except StreamError:
        return
    coder = "huffman" if data[0] >> 5 == 0 else "range"
    assert encode_concept(out.values, cells == out.number, out.number, out.level, CLASSES, coder=coder) == data
    assert np.abs(out.values).max() <= out.level


@pytest.mark.parametrize("data", [b"", b"\x05\x01", b"\x3f", b"\xc0", b"\x01\x06"])
def test_concepts_that_no_picture_holds_are_refused(data):
    with pytest.raises(StreamError):
        decode_concept(data, _grid(1, 1)[1], 4, CLASSES)


def test_arguments_that_do_not_fit_are_refused():
    values, cells = _grid(1, 2)
    for bad in (
        (values, cells == 1, 1, 1, CLASSES), (values, cells == 9, 1, 2, CLASSES), (values, cells == 1, 1, 6, CLASSES),
        (values, cells, 1, 2, CLASSES), (values, cells == 1, 7, 2, CLASSES),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            encode_concept(*bad)
    with pytest.raises(UsageError, match="prior is for"):
        encode_concept(values, cells == 1, 1, 2, CLASSES, prior=ConceptPrior.cold(3, CLASSES))


def test_cells_take_the_majority_of_their_pixels():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (21, 35)).astype(np.uint8)
    votes = (1, 3, 1, 2)
    for weights in ((), votes):
        found = cell_concepts(labels, 4, weights)
        assert found.shape == (4, 6)
        padded = np.pad(labels, ((0, 11), (0, 13)), mode="edge")
        for i, j in np.ndindex(found.shape):
            counts = np.bincount(padded[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].ravel(), minlength=4)
            assert found[i, j] == int(np.argmax(counts * np.array(weights or [1] * 4)))
    with pytest.raises(UsageError):
        cell_concepts(labels, 3)
