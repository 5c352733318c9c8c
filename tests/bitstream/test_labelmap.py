"""The lossless label-map coder: exact, the same in both engines, small, and safe from any bytes."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import maps
from chappe.bitstream import labelmap_engine
from chappe.bitstream.labelmap import decode_map, encode_map
from chappe.bitstream.labelmap_near import decode_near
from chappe.bitstream.labelmap_sampling import find_source, source_index
from chappe.bitstream.labelmap_simplify import enlarge
from chappe.bitstream.labelmap_tables import LIMIT, tables
from chappe.errors import InputError, ModelError, StreamError, UsageError

VARIABLE = labelmap_engine.ENGINE_VARIABLE


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((1, 1), 2), ((1, 37), 2), ((41, 1), 3), ((2, 2), 256), ((17, 33), 11), ((40, 64), 12), ((9, 100), 200)],
)
@pytest.mark.parametrize("kind", ["constant", "noise", "street"])
def test_lossless(shape, classes, kind):
    if kind == "street":
        labels = np.minimum(maps.street(*shape), classes - 1)
    else:
        labels = maps.noise(*shape, classes) if kind == "noise" else np.full(shape, classes - 1)
    labels = labels.astype(np.uint8)
    back = decode_map(encode_map(labels, classes), shape, classes)
    assert back.dtype == np.uint8 and back.shape == shape
    np.testing.assert_array_equal(back, labels)


def test_every_class_of_256_survives():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode_map(encode_map(labels, 256), (16, 16), 256), labels)


@pytest.mark.parametrize("classes", [11, 12])
def test_prior_is_lossless_and_helps(classes):
    labels = np.minimum(maps.street(96, 128), classes - 1)
    cold, warm = encode_map(labels, classes), encode_map(labels, classes, prior="street11")
    np.testing.assert_array_equal(decode_map(warm, labels.shape, classes, prior="street11"), labels)
    np.testing.assert_array_equal(decode_map(warm, labels.shape, classes), labels)  # the payload names its prior
    assert len(warm) < len(cold)


@pytest.mark.parametrize("prior", [None, "street11", "street11-cells"])
def test_both_engines_write_and_read_the_same_bytes(monkeypatch, prior):
    pytest.importorskip("numba")
    for labels, classes in ((maps.street(48, 64), 12), (maps.noise(12, 16, 11), 11)):
        streams = {}
        for engine in ("numba", "python"):
            monkeypatch.setenv(VARIABLE, engine)
            streams[engine] = encode_map(labels, classes, prior=prior)
        assert streams["numba"] == streams["python"]
        np.testing.assert_array_equal(decode_map(streams["numba"], labels.shape, classes), labels)  # by the twin


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 12), st.integers(1, 3), st.integers(0, 1 << 30))
def test_a_limit_is_kept_or_nothing_comes(height, width, classes, repeat, seed):
    labels = np.random.default_rng(seed).integers(0, classes, (height, width))
    labels = labels.repeat(repeat, 0).repeat(repeat, 1)
    whole = encode_map(labels, classes)
    for limit in (-1, 0, len(whole) // 2, len(whole) - 1, len(whole), len(whole) + 1, 1 << 20):
        expected = whole if len(whole) <= limit else None
        assert encode_map(labels, classes, max_bytes=limit) == expected


def test_both_engines_learn_the_same_state(monkeypatch):
    pytest.importorskip("numba")
    labels, states = maps.street(20, 30), []
    for engine in ("numba", "python"):
        monkeypatch.setenv(VARIABLE, engine)
        state = labelmap_engine.State.cold()
        labelmap_engine.encode_mixed(labels, 12, state, 10000)
        states.append(state)
    for name in ("slots", "weights", "seen"):
        np.testing.assert_array_equal(getattr(states[0], name), getattr(states[1], name))


def test_engine_names(monkeypatch):
    monkeypatch.setenv(VARIABLE, "fortran")
    with pytest.raises(UsageError, match="fortran"):
        encode_map(np.zeros((2, 2), np.uint8), 2)


def test_format_is_frozen():
    """The bytes of version 1: a change here is a change of the format."""
    digests = [
        hashlib.sha256(encode_map(labels, classes, prior=prior)).hexdigest()[:16]
        for labels, classes, prior in (
            (maps.street(64, 96), 12, None),
            (maps.street(64, 96), 12, "street11"),
            (maps.noise(20, 20, 5), 5, None),
            (maps.street(64, 96), 12, "street11-cells"),
        )
    ]
    assert digests == FROZEN


def test_the_examples_of_the_format_page():
    page = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    rows = ("00000000", "00022000", "01222111", "31133333", "33334443")
    labels = np.array([[int(c) for c in row] for row in rows], np.uint8)
    assert f"map {' '.join(rows)} " in page
    for classes, prior in ((5, None), (12, "street11"), (12, "street11-cells")):
        data = encode_map(labels, classes, prior=prior)
        assert f"`{data.hex()}`" in page
        np.testing.assert_array_equal(decode_map(data, (5, 8), classes), labels)
    near = bytes([2]) + encode_map(labels, 5)[1:]
    assert f"`{near.hex()}`" in page
    np.testing.assert_array_equal(decode_near(near, (10, 16), 5), enlarge(labels, (10, 16), 2))


def test_streets_are_far_below_the_entropy_of_single_pixels():
    labels = maps.street(128, 256)
    share = np.bincount(labels.ravel()) / labels.size
    entropy = -sum(p * math.log2(p) for p in share if p) * labels.size / 8
    assert len(encode_map(labels, 12)) < entropy / 20


def test_noise_costs_no_more_than_packed_bits_and_a_byte():
    for classes, bits in ((2, 1), (16, 4), (256, 8)):
        assert len(encode_map(maps.noise(24, 40, classes), classes)) <= 1 + 24 * 40 * bits // 8


@pytest.mark.parametrize("rule", [1, 2])
def test_an_enlarged_map_costs_what_its_source_costs(rule):
    source = maps.street(60, 90, seed=3)
    big = source[source_index(64, 60, rule)][:, source_index(131, 90, rule)]
    data = encode_map(big, 12)
    assert data[0] in (1, 2) and len(data) <= len(encode_map(source, 12)) + 4
    np.testing.assert_array_equal(decode_map(data, big.shape, 12), big)
    found, (rows, columns) = find_source(big)
    assert found in (1, 2) and len(rows) <= 60 and len(columns) <= 90


def test_centre_rule_is_that_of_pillow():
    image = pytest.importorskip("PIL.Image")
    source = maps.noise(24, 48, 12)
    big = np.array(image.fromarray(source).resize((64, 32), image.Resampling.NEAREST))
    np.testing.assert_array_equal(big, source[source_index(32, 24, 1)][:, source_index(64, 48, 1)])


def test_tables_are_the_logistic_pair():
    t = tables()
    x = np.arange(-LIMIT, LIMIT + 1)
    exact = 65536 / (1 + np.exp(-x / 256))
    assert np.abs(t.squash - np.clip(exact, 1, 65535)).max() <= 0.500001
    assert (np.diff(t.stretch) >= 0).all() and (np.diff(t.squash) >= 0).all()
    p = np.arange(1, 65536)
    logit = np.clip(256 * np.log(p / (65536 - p)), -LIMIT, LIMIT)
    away = (p > 200) & (p < 65336)
    assert np.abs(t.stretch[1:] - logit)[away].max() <= 2


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.full((3, 3), 12, np.uint8), 12),
        (np.full((3, 3), -1, np.int32), 12),
        (np.zeros((3, 3), np.float32), 12),
        (np.zeros((3, 3, 3), np.uint8), 12),
        (np.zeros((0, 3), np.uint8), 12),
        (np.zeros((3, 3), np.uint8), 1),
        (np.zeros((3, 3), np.uint8), 257),
    ],
)
def test_bad_maps_are_refused(labels, classes):
    with pytest.raises(InputError):
        encode_map(labels, classes)


def test_priors_are_checked():
    labels = np.zeros((8, 8), np.uint8)
    with pytest.raises(InputError, match="no label-map prior"):
        encode_map(labels, 12, prior="moon")
    with pytest.raises(InputError, match="11 to 12 classes"):
        encode_map(labels, 19, prior="street11")
    warm = encode_map(maps.street(32, 32), 12, prior="street11")
    with pytest.raises(ModelError, match="does not fit"):
        decode_map(warm, (32, 32), 19)
    with pytest.raises(ModelError, match="street11"):
        decode_map(encode_map(maps.street(32, 32), 12), (32, 32), 12, prior="street11")
    with pytest.raises(ModelError, match="prior number 9"):
        decode_map(bytes([9 * 8]), (32, 32), 12)


def test_left_over_and_zero_bytes_are_refused():
    labels = maps.street(32, 48)
    data = encode_map(labels, 12)
    with pytest.raises(StreamError, match="zero byte"):
        decode_map(data + b"\0", labels.shape, 12)
    with pytest.raises(StreamError, match="were given"):
        decode_map(data + b"\1" * 20, labels.shape, 12)
    with pytest.raises(StreamError, match="empty"):
        decode_map(b"", labels.shape, 12)
    raw = encode_map(maps.noise(5, 5, 7), 7)
    assert raw[0] == 3
    for bad in (raw[:-1], raw + b"\1", raw[:-1] + bytes([raw[-1] | 1]), bytes([3]) + b"\xff" * (len(raw) - 1)):
        with pytest.raises(StreamError):
            decode_map(bad, (5, 5), 7)


def test_any_bytes_give_a_map_or_a_stream_error():
    pytest.importorskip("numba")  # a thousand decodings are for the compiled engine
    rng = np.random.default_rng(7)
    good = [encode_map(maps.street(24, 32, seed), 12) for seed in range(3)] + [encode_map(maps.noise(24, 32, 12), 12)]
    outcomes = {True: 0, False: 0}
    for i in range(400):
        data = rng.bytes(int(rng.integers(0, 60))) if i % 3 == 0 else maps.damaged(good[i % 4], rng)
        try:
            labels = decode_map(data, (24, 32), 12)
        except StreamError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1
            assert labels.shape == (24, 32) and labels.dtype == np.uint8 and labels.max() < 12
    assert min(outcomes.values()) > 20


def test_importing_the_coder_does_not_import_numba():
    code = "import sys, chappe.bitstream.labelmap_near; sys.exit('numba' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FROZEN = ["11ac941c97a331c7", "e92da2ba8475b28e", "c9a8232b089a6918", "0b8ca1a8a1e59497"]
