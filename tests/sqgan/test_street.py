"""Layers, slices and relevance, around networks with random weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import container, packets, slices
from chappe.bitstream.container import Header, Section, SectionType
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.errors import ChappeError, RateError, StreamError, UsageError
from chappe.systems import beside
from chappe.systems.mapstream import protect_weights
from chappe.systems.sqgan.sender import cell_relevance
from chappe.taxonomy import relevance

SCENE = render_scene(7)
SMALL = render_scene(9, size=(96, 160))


def _encode(street, scene=SCENE, **values) -> bytes:
    return street.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", values))


@pytest.fixture(scope="module")
def layered(street) -> bytes:
    return _encode(street, bpp=0.05, layers=5)


@pytest.fixture(scope="module")
def sliced(street) -> bytes:
    return _encode(street, bpp=0.05, slices=6)


@pytest.fixture(scope="module")
def small_files(street) -> dict[str, bytes]:
    return {
        "layers": _encode(street, SMALL, m_x=0.4, layers=3),
        "slices": _encode(street, SMALL, bpp=0.2, slices=4),
    }


# Rate


@pytest.mark.parametrize(
    ("bpp", "form"),
    [
        (0.03, {}),
        (0.04, {"layers": 4}),
        (0.02, {"layers": 16}),
        (0.08, {"slices": 8}),
        (0.02, {"slices": 8}),
        (0.04, {"relevance": "sign=1,person=1", "slices": 3}),
    ],
)
def test_rate_is_met_within_three_percent(street, bpp, form):
    blob = _encode(street, bpp=bpp, **form)
    assert len(blob) * 8 / (256 * 512) == pytest.approx(bpp, rel=0.03)
    assert street.decode(blob).missing is None


def test_tiny_pictures_and_low_rates_are_met_within_five_percent(street, small_files):
    assert len(small_files["slices"]) * 8 / (96 * 160) == pytest.approx(0.2, rel=0.05)
    blob = _encode(street, SMALL, bpp=0.15, layers=4)
    assert len(blob) * 8 / (96 * 160) == pytest.approx(0.15, rel=0.05)


def test_out_of_reach_names_the_form(street):
    with pytest.raises(RateError, match=r"in 16 slices: it reaches 0\.\d+ to 0\.\d+ bpp"):
        _encode(street, bpp=0.005, slices=16)


def test_few_codings_are_tried(street, monkeypatch):
    counted = []
    real = type(street).code_tokens
    monkeypatch.setattr(type(street), "code_tokens", lambda self, *a, **k: counted.append(1) or real(self, *a, **k))
    _encode(street, bpp=0.04)
    assert len(counted) <= 24


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 17}, "layers=17 is not a whole number from 1 to 16"),
        ({"layers": 2.5}, "whole number"),
        ({"slices": "many"}, "whole number"),
        ({"slices": 4, "layers": 4}, "not both"),
        ({"slices": 4, "map": "tokens"}, "map=near"),
        ({"relevance": "dragon=1"}, "no class for 'dragon'"),
        ({"relevance": 3}, "not a profile"),
        ({"colour": 1}, "no setting 'colour'"),
    ],
)
def test_settings_that_make_no_sense(street, values, message):
    with pytest.raises(UsageError, match=message):
        _encode(street, bpp=0.04, **values)


# Layers


def test_layers_have_about_equal_bytes(layered):
    sizes = [len(section.payload) for section in container.read(layered)[1][1:]]
    assert len(sizes) == 5
    assert max(sizes) < 1.3 * min(sizes)


def test_every_layer_adds_tokens_and_changes_none(street, layered):
    sizes = packets.prefix_sizes(layered)
    before = None
    for size in sizes:
        cut, short = layered[:size], packets.truncate(layered, size)
        symbols = street.symbols(short)
        assert np.array_equal(symbols.labels, street.symbols(layered).labels)
        assert np.array_equal(symbols.mask, street.symbols(cut).mask)
        grid = np.full(symbols.mask.shape, -1)
        grid[symbols.mask] = symbols.indices
        if before is not None:
            assert (grid[before >= 0] == before[before >= 0]).all() and (grid >= 0).sum() > (before >= 0).sum()
        before = grid
    one = _encode(street, m_x=float((before >= 0).sum()) / 512 + 1e-9)
    assert np.array_equal(street.kept_tokens(one), before >= 0)


def test_a_cut_file_says_so_and_a_truncated_one_is_whole(street, layered):
    size = packets.prefix_sizes(layered)[2]
    cut, short = street.decode(layered[:size]), street.decode(packets.truncate(layered, size))
    assert np.array_equal(cut.image, short.image)
    assert "after layer 2" in cut.missing and short.missing is None
    mask = np.kron(street.kept_tokens(short_file := packets.truncate(layered, size)), np.ones((16, 16), bool))
    assert (cut.received == np.where(mask, 255, 127)).all() and (short.received == 255).all()
    assert street.decode(short_file).report.total == size


def test_the_map_alone_decodes(street, layered):
    decoded = street.decode(packets.truncate(layered, packets.prefix_sizes(layered)[0]))
    assert not street.kept_tokens(layered[: packets.prefix_sizes(layered)[0]]).any()
    assert decoded.image.shape == (256, 512, 3)


def test_map_tokens_and_layers_go_together(street):
    blob = _encode(street, map="tokens", m_s=0.5, m_x=0.3, layers=3)
    decoded = street.decode(packets.truncate(blob, packets.prefix_sizes(blob)[2]))
    assert decoded.report.bpp_nominal is not None
    assert street.kept_tokens(blob).sum() == int(0.3 * 512)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["layers", "slices"]),
    length=st.floats(0, 1),
    flips=st.integers(0, 2),
    seed=st.integers(0, 999),
)
def test_any_cut_and_any_damage_gives_symbols_or_a_chappe_error(street, small_files, kind, length, flips, seed):
    blob = bytearray(small_files[kind])
    rng = np.random.default_rng(seed)
    for _ in range(flips):
        blob[rng.integers(len(blob))] ^= 1 << int(rng.integers(8))
    blob = bytes(blob[: round(length * len(blob))])
    try:
        symbols = street.symbols(blob)
    except ChappeError:
        return
    assert symbols.labels.shape == symbols.received.shape == (96, 160) and symbols.labels.max() < 12
    if blob != small_files[kind]:
        assert packets.loss_note(*container.scan(blob)) is not None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([2, 3, 4, 7, 8]), st.binary(max_size=60)), min_size=1, max_size=5))
def test_any_payloads_give_symbols_or_a_chappe_error(street, parts):
    sections = [Section(kind, payload) for kind, payload in parts]
    try:
        symbols = street.symbols(container.write(Header(4, 0xBEEF, 80, 64), sections))
    except ChappeError:
        return
    assert symbols.labels.shape == (64, 80) and len(symbols.indices) == symbols.mask.sum()


# Slices


@pytest.mark.parametrize("lost", [(0,), (5,), (1, 2, 3), (0, 1, 2, 3, 5)])
def test_any_slices_may_be_missing(street, sliced, lost):
    whole = street.symbols(sliced)
    sent = packets.split(sliced)
    blob = packets.join([packet for k, packet in enumerate(sent) if k not in lost])
    decoded, symbols = street.decode(blob), street.symbols(blob)
    assert decoded.missing.startswith(f"{len(lost)} of 6 slices missing: ")
    owner = slices.owners(16, 32, 6)
    gone = np.isin(owner, lost)
    assert np.array_equal(symbols.mask, whole.mask & ~gone)
    grid = np.zeros(whole.mask.shape, int)
    grid[whole.mask] = whole.indices
    assert np.array_equal(symbols.indices, grid[symbols.mask])
    tokens = np.kron(~gone, np.ones((16, 16), bool))
    assert set(np.unique(decoded.received)) <= {0, 127, 128, 255}
    assert np.array_equal(decoded.received >= 128, tokens)
    rows = (decoded.received % 128 == 127).all(1)
    assert f"{256 - rows.sum()} of 256 rows" in decoded.missing
    # Near a lost strip the vote of the cells around a pixel changes: one row of cells on each side.
    inner = rows & np.roll(rows, 31) & np.roll(rows, -31)
    assert np.array_equal(symbols.labels[inner], whole.labels[inner])


def test_a_damaged_slice_is_a_lost_one(street, sliced):
    bad = bytearray(sliced)
    _, found, _ = container.scan(sliced)
    bad[found[2].offset + 6] ^= 0x40
    expected = packets.join(p for k, p in enumerate(packets.split(sliced)) if k != 2)
    assert np.array_equal(street.decode(bytes(bad)).image, street.decode(expected).image)
    for status in found:
        bad[status.offset + status.size - 1] ^= 1
    bad[found[2].offset + 6] ^= 0x40
    with pytest.raises(StreamError, match="damaged"):
        street.decode(bytes(bad))


def test_slices_of_a_lossless_map_give_the_labels_exactly(street):
    blob = _encode(street, SMALL, map="lossless", m_x=0.3, slices=5)
    assert np.array_equal(street.symbols(blob).labels, SMALL.labels)


def test_a_slice_whose_strip_has_no_rows_leaves_the_map_void(street):
    # 64 rows at scale 31 are three rows of cells; of sixteen slices, thirteen hold none.
    part = slices.Slice(0, 16, 31, b"", b"")
    assert slices.strip(0, 16, 3) == slice(0, 0)
    blob = container.write(Header(4, 0xBEEF, 64, 64), [Section(SectionType.SLICE, slices.pack_slice(part))])
    symbols = street.symbols(blob)
    assert (symbols.labels == 11).all() and symbols.received.max() == 128


# Relevance


def test_a_relevant_class_keeps_more_of_its_tokens(street):
    wanted = np.isin(SCENE.labels, [6, 9]).reshape(16, 16, 32, 16).any((1, 3))
    assert wanted.any() and not wanted.all()
    kept = {
        profile: street.kept_tokens(_encode(street, m_x=0.15, map="lossless", relevance=profile))
        for profile in ("uniform", "person=1,sign=1", "person=0,sign=0,rest=1")
    }
    inside = {profile: int((mask & wanted).sum()) for profile, mask in kept.items()}
    assert inside["person=1,sign=1"] > inside["uniform"] > inside["person=0,sign=0,rest=1"]


def test_neutral_relevance_changes_nothing_and_tokens_stay_what_they_are(street):
    plain = _encode(street, SMALL, bpp=0.15)
    assert _encode(street, SMALL, bpp=0.15, relevance="uniform") == plain
    files = (_encode(street, SMALL, m_x=0.5, map="lossless", relevance=p) for p in ("uniform", "sky=1,tree=1"))
    one, other = (street.symbols(blob) for blob in files)
    grids = []
    for symbols in (one, other):
        grids.append(np.full(symbols.mask.shape, -1))
        grids[-1][symbols.mask] = symbols.indices
    both = one.mask & other.mask
    assert both.any() and (one.mask != other.mask).any()
    assert np.array_equal(grids[0][both], grids[1][both])


def test_a_cell_is_as_relevant_as_its_most_relevant_class():
    labels = np.zeros((16, 32), np.uint8)
    labels[:4, :4], labels[:4, 16:19] = 9, 9  # 16 pixels, and 12
    weights = relevance("person=1,sky=0.5", "street11")
    assert cell_relevance(labels, weights)[0].tolist() == pytest.approx([1.0, 0.02 + 0.98 * 0.5])
    assert (cell_relevance(labels, np.ones(12)) == 1).all()


def test_the_map_protects_relevant_classes():
    base = [1.0] * 11 + [0.0]
    raised = protect_weights(base, relevance("person=1", "street11"), 12)
    raised = np.array(raised)
    assert raised[9, 0] == raised[0, 9] > 1 > raised[0, 1] > 0  # a false alarm costs what a miss does
    assert not raised[11].any() and raised[0, 11] == raised[0, 1] and not raised.diagonal().any()
    twice = np.array(protect_weights([2.0, *base[1:]], relevance("person=1", "street11"), 12))
    np.testing.assert_allclose(twice[0], 2 * raised[0], atol=2e-3)  # the model's own weights stay in proportion
    assert protect_weights(base, np.ones(12), 12) == base


# Finer indices


def test_once_every_token_is_sent_their_finer_indices_follow_in_the_order_of_relevance(street):
    blob = _encode(street, SMALL, map="lossless", m_x=1.0, m_f=0.5)
    sections = container.read(blob)[1]
    assert [s.type for s in sections] == [SectionType.MAP_LOSSLESS, SectionType.IMAGE_TOKENS, SectionType.RESIDUAL]
    found, symbols = street.engine.analyse_image(SMALL.image, SMALL.labels), street.symbols(blob)
    sent = symbols.finer >= 0
    assert sent.sum() == 30 and symbols.mask.all()
    np.testing.assert_array_equal(symbols.finer[sent], found.finer[sent])
    assert found.scores[sent].min() >= found.scores[~sent].max()
    whole = street.decode(blob)
    short = street.decode(packets.truncate(blob, len(blob) - 1))
    assert short.missing is None and not np.array_equal(whole.image, short.image)
    plain = street.decode(_encode(street, SMALL, map="lossless", m_x=1.0))
    np.testing.assert_array_equal(short.image, plain.image)


def test_rates_above_all_tokens_are_filled_with_finer_indices(street):
    blob = _encode(street, bpp=0.12, layers=2)
    assert len(blob) * 8 / (256 * 512) == pytest.approx(0.12, rel=0.03)
    assert container.read(blob)[1][-1].type == SectionType.RESIDUAL
    symbols = street.symbols(blob)
    assert symbols.mask.all() and 100 < (symbols.finer >= 0).sum() <= 512


def test_files_are_the_same_bytes_with_one_thread_and_with_two(street, monkeypatch):
    for values in ({"bpp": 0.1}, {"bpp": 0.15, "layers": 2}, {"bpp": 0.12, "slices": 2}, {"m_x": 0.3},
                   {"bpp": 0.18, "map": "lossless"}, {"bpp": 0.1, "relevance": "sign=1,rest=0.3"}):  # fmt: skip
        files = []
        for threads in (1, 2):
            monkeypatch.setattr(beside, "allowed_threads", lambda count=threads: count)
            files.append(_encode(street, SMALL, **values))
        assert files[0] == files[1], values


def test_finer_indices_before_all_tokens_are_refused(street):
    with pytest.raises(UsageError, match="finer indices come last"):
        _encode(street, SMALL, m_x=0.5, m_f=0.5)


def test_a_file_in_layers_can_be_cut_to_half_its_rate_and_keeps_tokens():
    from chappe import load

    codec = load("sqgan-street")
    blob = codec.encode(SCENE.image, labels=SCENE.labels, point=OperatingPoint("p", {"bpp": 0.04, "layers": 4}))
    half = packets.truncate(blob, len(blob) / 2)
    assert 0 < codec.symbols(half).mask.sum() < codec.symbols(blob).mask.sum()
