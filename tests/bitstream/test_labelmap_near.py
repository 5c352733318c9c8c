"""The near-lossless mode: close, small, in budget, exact between engines, and safe from any bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import maps
from chappe.bitstream import labelmap_engine, labelmap_simplify
from chappe.bitstream.container import SectionType
from chappe.bitstream.labelmap import encode_map
from chappe.bitstream.labelmap_near import LADDER, LEVELS, Ladder, decode_near, encode_near
from chappe.bitstream.labelmap_simplify import TAPS, enlarge, simplify
from chappe.data.scenes import render_scene
from chappe.errors import InputError, ModelError, RateError, StreamError
from chappe.systems.mapstream import MapCoder, decode_map
from chappe.systems.sqgan.strips import StripCoder


def test_levels_fall_in_size_and_stay_close():
    rng = np.random.default_rng(0)  # unsteady outlines, as hands and networks draw them
    labels = np.stack([np.roll(row, rng.integers(-1, 2)) for row in maps.street(128, 256)])
    sizes, agreement = [], []
    for level in range(len(LEVELS)):
        data = encode_near(labels, 12, level=level, prior="street11")
        back = decode_near(data, labels.shape, 12)
        assert back.shape == labels.shape and back.dtype == np.uint8
        sizes.append(len(data))
        agreement.append((back == labels).mean())
    assert sizes == sorted(sizes, reverse=True) and sizes[0] < len(encode_map(labels, 12, prior="street11"))
    assert agreement[0] > 0.98 and agreement[-1] > 0.9 and agreement[0] > agreement[-1]


def test_what_a_codec_sends_starts_from_the_prior_for_cells():
    labels = render_scene(5, size=(128, 256)).labels
    for budget in (60, 120, 240):
        section = MapCoder(labels, 12, "street11").within(budget)
        assert section.type == SectionType.MAP_NEAR and section.payload[0] >> 5 == 2
        strips = StripCoder(labels, 12, "street11", None, 4).within(2 * budget)
        assert strips.prior == 2
    other = MapCoder(labels, 12, "cityscapes30")  # a label set without a prior starts cold
    assert other.within(240).payload[0] >> 5 == 0
    back = decode_map({SectionType.MAP_LOSSLESS: other.lossless.payload}, labels.shape, 12, "cityscapes30")
    np.testing.assert_array_equal(back, labels)
    cold, primed = (Ladder(labels, 12, prior=prior).point(3, 1.0) for prior in (None, "street11-cells"))
    assert len(primed) < 0.95 * len(cold), "drawn streets are no CamVid, and yet"


def test_budget_is_kept_and_used():
    labels = maps.street(96, 160, seed=2)
    finest = len(encode_near(labels, 12, level=0))
    for budget in (finest, finest // 2, finest // 4):
        data = encode_near(labels, 12, max_bytes=budget)
        assert budget // 3 < len(data) <= budget
    with pytest.raises(RateError, match="coarsest"):
        encode_near(labels, 12, max_bytes=1)


@pytest.mark.parametrize(("shape", "classes"), [((1, 1), 2), ((1, 50), 3), ((33, 7), 256), ((67, 45), 12)])
@pytest.mark.parametrize("level", range(4))
def test_any_shape(shape, classes, level):
    labels = maps.noise(*shape, classes)
    back = decode_near(encode_near(labels, classes, level=level), shape, classes)
    assert back.shape == shape and back.max() < classes


def test_enlarge_is_the_stated_vote():
    cells = maps.noise(4, 6, 3)
    for scale in (2, 3, 8):
        shape = 4 * scale - 1, 6 * scale - scale + 1
        line = lambda u, d, s=scale: {-1: (s - u) ** 2, 0: 6 * s * s - 2 * u * u, 1: (s + u) ** 2}[d]  # noqa: E731
        expected = np.zeros(shape, np.uint8)
        for y, x in np.ndindex(shape):
            votes: dict[int, int] = {}
            for dy, dx in TAPS:
                label = int(cells[np.clip(y // scale + dy, 0, 3), np.clip(x // scale + dx, 0, 5)])
                weight = line(2 * (y % scale) + 1 - scale, dy) * line(2 * (x % scale) + 1 - scale, dx)
                votes[label] = votes.get(label, 0) + weight
            expected[y, x] = max(votes, key=lambda label: votes[label])  # the first of equals, in the order of TAPS
        np.testing.assert_array_equal(enlarge(cells, shape, scale), expected)


def test_enlarge_is_smoother_than_blocks():
    y, x = np.mgrid[0:128, 0:128]
    disc = ((y - 64) ** 2 + (x - 64) ** 2 < 50**2).astype(np.uint8)
    cells = simplify(disc, 2, 8, 0.0, np.ones(2))
    blocks = np.repeat(np.repeat(cells, 8, 0), 8, 1)
    assert (enlarge(cells, disc.shape, 8) != disc).sum() < 0.8 * (blocks != disc).sum()


def test_slope_zero_at_full_size_changes_nothing():
    labels = maps.noise(20, 20, 5)
    np.testing.assert_array_equal(simplify(labels, 5, 1, 0.0, np.ones(5)), labels)


def test_specks_go_and_protected_ones_stay():
    labels = np.zeros((64, 64), np.uint8)
    labels[32:] = 3
    labels[10:13, 10:13] = 9
    labels[10:13, 40:43] = 1
    cells = simplify(labels, 12, 1, 1.0, np.ones(12))
    assert set(np.unique(cells)) == {0, 3}
    protect = np.ones(12)
    protect[9] = 5
    assert set(np.unique(simplify(labels, 12, 1, 1.0, protect))) == {0, 3, 9}
    costs = np.maximum(protect[:, None], protect[None]) * (1 - np.eye(12))
    assert set(np.unique(simplify(labels, 12, 1, 1.0, costs))) == {0, 3, 9}
    thin = np.zeros((6, 40), np.uint8)
    thin[:, ::4] = 9  # a fence of a raised class: alone it grows, with false alarms as dear as misses it does not
    grown, held = (simplify(thin, 12, 2, 0.0, weights) == 9 for weights in (protect, costs))
    assert grown.mean() == 0.5 and not held.any()


def test_weightless_void_becomes_its_surroundings():
    labels = np.zeros((32, 32), np.uint8)
    labels[8:24, 8:24] = 11
    weights = np.ones(12)
    weights[11] = 0
    assert not simplify(labels, 12, 2, 0.5, weights).any()


def test_both_engines_agree(monkeypatch):
    pytest.importorskip("numba")
    labels, streams = maps.street(64, 96), []
    for engine in ("numba", "python"):
        monkeypatch.setenv(labelmap_engine.ENGINE_VARIABLE, engine)
        data = encode_near(labels, 12, level=1, prior="street11-cells")
        streams.append((data, decode_near(data, labels.shape, 12).tobytes()))
    assert streams[0] == streams[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(2, 31), st.integers(1, 12), st.integers(0, 1 << 30))
def test_the_compiled_vote_is_numpys(height, width, scale, classes, seed):
    pytest.importorskip("numba")
    cells = np.random.default_rng(seed).integers(0, classes, (-(-height // scale), -(-width // scale)), np.uint8)
    ours = enlarge(cells, (height, width), scale)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, labelmap_simplify._enlarge(cells, (height, width), scale))


def test_a_ladder_knows_what_its_receiver_sees():
    ladder = Ladder(maps.street(64, 96), 12)
    for point in LADDER[::5]:
        payload = ladder.point(*point)
        np.testing.assert_array_equal(ladder.received(payload), decode_near(payload, (64, 96), 12))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(6, 700), min_size=1, max_size=6), st.integers(0, 3))
def test_a_ladder_cuts_no_corners_by_coding_in_part(budgets, seed):
    """Whatever was asked of it before, it finds the rung that whole codes point to."""
    labels = maps.street(48, 64, seed=seed)
    ladder, plain = Ladder(labels, 12), Ladder(labels, 12)
    plain.is_within = lambda scale, slope, most: len(plain.point(scale, slope)) <= most
    for budget in budgets:
        if len(plain.coarsest) > budget:
            with pytest.raises(RateError):
                ladder.fit(budget)
        else:
            assert ladder.fit(budget) == plain.fit(budget)


def test_format_is_frozen():
    """A stored stream of version 1 decodes to the same map for ever."""
    labels = decode_near(FROZEN_STREAM, (64, 96), 12)
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == FROZEN_MAP


def test_bad_arguments_are_refused():
    labels = maps.street(16, 16)
    for arguments in ({}, {"level": 1, "max_bytes": 100}, {"level": 4}, {"level": 0, "protect": (1, 2)}):
        with pytest.raises(InputError):
            encode_near(labels, 12, **arguments)
    with pytest.raises(InputError):
        encode_near(labels, 12, level=0, protect=(-1.0,) * 12)
    with pytest.raises(InputError, match="diagonal"):
        encode_near(labels, 12, level=0, protect=np.ones((12, 12)))
    with pytest.raises(InputError):
        encode_near(labels, 12, level=0, prior="moon")


def test_any_bytes_give_a_map_or_a_stream_error():
    pytest.importorskip("numba")
    rng = np.random.default_rng(3)
    good = [encode_near(maps.street(40, 56, s), 12, level=s, prior="street11-cells") for s in range(4)]
    read = 0
    for i in range(200):
        data = rng.bytes(int(rng.integers(0, 40))) if i % 3 == 0 else maps.damaged(good[i % 4], rng)
        try:
            labels = decode_near(data, (40, 56), 12)
        except StreamError:
            continue
        read += 1
        assert labels.shape == (40, 56) and labels.max() < 12
    assert read > 20
    with pytest.raises(StreamError, match="scale 0"):
        decode_near(b"\0\1", (4, 4), 12)
    with pytest.raises(ModelError, match="prior number 5"):
        decode_near(bytes([5 * 32 + 4]), (4, 4), 12)


FROZEN_STREAM = bytes.fromhex("25fdad0835ed34325fa2cccd7802c5a38ae8cd48f849db32f5cf3d400e2ea47648")
FROZEN_MAP = "75e46e1e220a03de"
