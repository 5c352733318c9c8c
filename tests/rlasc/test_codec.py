"""The RL-ASC codec around its networks: rates, allocations, damage, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import container
from chappe.bitstream.container import Header, Section, SectionType
from chappe.bitstream.packets import truncate
from chappe.codec import OperatingPoint
from chappe.errors import ChappeError, InputError, ModelError, RateError, StreamError, UsageError


def _encode(codec, scene, **values) -> bytes:
    return codec.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", values))


def _rate(blob: bytes, scene) -> float:
    return len(blob) * 8 / scene.labels.size


@pytest.mark.parametrize("size", [(64, 64), (65, 100), (131, 257)])
def test_any_size_comes_back_exactly_that_size(codec, size):
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    decoded = codec.decode(codec.encode(image, point="max"))
    assert decoded.image.shape == (*size, 3) and decoded.image.dtype == np.uint8
    assert decoded.labels.shape == size and decoded.taxonomy == "street11" and decoded.missing is None


@pytest.mark.parametrize("allocator", ["agent", "greedy", "uniform"])
@pytest.mark.parametrize("bpp", [0.06, 0.12, 0.3])
def test_rate_is_met_within_five_percent_of_real_bytes(codec, scene, allocator, bpp):
    blob = _encode(codec, scene, bpp=bpp, allocator=allocator)
    assert _rate(blob, scene) == pytest.approx(bpp, rel=0.05)
    assert codec.decode(blob).report.total == len(blob)


def test_a_rate_out_of_reach_says_what_can_be_reached(codec, scene):
    for bpp in (0.001, 9.0):
        with pytest.raises(RateError, match=r"it reaches 0\.\d+ to \d\.\d+ bpp"):
            codec.encode(scene.image, labels=scene.labels, bpp=bpp)


@pytest.mark.parametrize("allocator", ["agent", "greedy", "uniform"])
def test_one_set_of_weights_traces_the_curve_with_lambda(codec, scene, allocator):
    sizes = [_rate(_encode(codec, scene, allocator=allocator, **{"lambda": v}), scene) for v in (100.0, 3.0, 0.1, 0.01)]
    assert sizes == sorted(sizes) and sizes[-1] > 3 * sizes[0]


def test_the_account_of_an_allocation_is_complete(codec, scene):
    blob = _encode(codec, scene, bpp=0.2, allocator="greedy")
    found = codec.allocation(blob)
    report = codec.decode(blob).report
    layers = [s for s in report.sections if s.type == SectionType.LAYER]
    assert sum(size for _, size in found.values()) == sum(s.size for s in layers)
    assert sum(level > 0 for level, _ in found.values()) == len(layers) > 2
    assert all((level == 0) == (size == 0) for level, size in found.values())
    same = codec.allocation(_encode(codec, scene, level=3, map="lossless", allocator="uniform"))
    assert {level for level, _ in same.values()} == {3}


def test_relevance_moves_the_bits(codec, scene):
    lam = {"lambda": 1.0, "map": "lossless"}
    plain = codec.allocation(_encode(codec, scene, allocator="greedy", **lam))
    for allocator in ("greedy", "agent"):
        found = codec.allocation(_encode(codec, scene, allocator=allocator, relevance="car=1,tree=0", **lam))
        assert found["Tree"] == (0, 0)
        assert found["Car"][0] >= plain["Car"][0] >= found["Building"][0]


def test_both_coders_carry_the_same_values(codec, scene):
    decoded = [codec.decode(_encode(codec, scene, coder=c, level=4, map="lossless")) for c in ("range", "huffman")]
    np.testing.assert_array_equal(decoded[0].image, decoded[1].image)
    assert decoded[0].report.total < decoded[1].report.total


def test_measured_slopes_are_a_rival_too(codec, scene):
    tiny = scene.image[:64, :80].copy(), scene.labels[:64, :80].copy()
    for task in ("segmentation", "soft", "detection"):
        point = OperatingPoint("p", {"allocator": "search", "task": task, "lambda": 0.05})
        blob = codec.encode(tiny[0], labels=tiny[1], point=point)
        assert codec.decode(blob).image.shape == (64, 80, 3)


def test_features_change_the_picture_and_cost_nothing_where_dropped(codec, scene):
    bare, full = (codec.decode(_encode(codec, scene, level=q, map="lossless")) for q in (0, 5))
    assert [s.name for s in bare.report.sections] == ["map_lossless"]
    assert np.abs(bare.image.astype(int) - full.image).mean() > 1


def test_a_wrong_bit_costs_one_concept_and_not_the_picture(codec, scene):
    blob = _encode(codec, scene, level=3, map="lossless")
    whole = codec.symbols(blob)
    rng = np.random.default_rng(0)
    start = container.scan(blob)[1][1].offset
    for at in rng.integers(8 * start, 8 * len(blob), 25).tolist():
        damaged = bytearray(blob)
        damaged[at // 8] ^= 1 << at % 8
        found = codec.symbols(bytes(damaged))
        assert len(found.concepts) == len(whole.concepts) - 1 and "damaged" in found.missing
        for number, concept in found.concepts.items():
            np.testing.assert_array_equal(concept.values, whole.concepts[number].values)
    decoded = codec.decode(bytes(damaged))
    (lost,) = set(whole.concepts) - set(found.concepts)
    cells = np.repeat(np.repeat(whole.cells == lost, 8, 0), 8, 1)[: scene.labels.shape[0], : scene.labels.shape[1]]
    np.testing.assert_array_equal(decoded.received, np.where(cells, 127, 255))


def test_a_file_may_be_cut_in_front_of_any_concept(codec, scene):
    blob = _encode(codec, scene, level=3, map="lossless", allocator="greedy")
    short = truncate(blob, 0.85 * len(blob))
    kept, whole = codec.symbols(short).concepts, codec.symbols(blob).concepts
    assert 0 < len(kept) < len(whole) and codec.decode(short).image.shape == scene.image.shape
    cut = codec.decode(blob[: len(blob) * 8 // 10])
    assert cut.missing and set(np.unique(cut.received)) == {127, 255}


def test_a_file_without_its_map_is_refused(codec, scene):
    blob = _encode(codec, scene, level=2)
    damaged = bytearray(blob)
    damaged[20] ^= 1
    with pytest.raises(StreamError, match="label-map"):
        codec.decode(bytes(damaged))
    with pytest.raises(ModelError):
        codec.decode(container.write(Header(250, 1, 64, 64), [Section(SectionType.MAP_NEAR, b"x")]))


def test_twice_the_same_concept_is_refused(codec, scene):
    header, sections = container.read(_encode(codec, scene, level=2))
    with pytest.raises(StreamError, match="twice"):
        codec.decode(container.write(header, [*sections, sections[-1]]))


@pytest.mark.parametrize(
    ("values", "message"),
    [({"tokens": 3}, "no setting"), ({"map": "tokens"}, "near, lossless"), ({"bpp": 0.1, "lambda": 1}, "each fix"),
     ({"lambda": 0}, "price"), ({"level": 6}, "0 to 5"), ({"allocator": "luck"}, "agent, greedy"),
     ({"task": "sleep"}, "segmentation"), ({"coder": "morse"}, "range, huffman"), ({"map_share": 2}, "between 0 and 1"),
     ({"relevance": 3}, "profile")],
)  # fmt: skip
def test_wrong_knobs_are_refused(codec, scene, values, message):
    with pytest.raises(UsageError, match=message):
        _encode(codec, scene, **values)


def test_small_pictures_are_refused(codec):
    with pytest.raises(InputError, match="sides from 64 to 4096"):
        codec.encode(np.zeros((63, 64, 3), np.uint8))


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=30), max_size=3), st.binary(max_size=60))
def test_any_sections_give_a_picture_or_a_chappe_error(codec, layers, label_map):
    header = Header(codec.codec_id, codec.fingerprint, 64, 64)
    parts = [Section(SectionType.MAP_NEAR, label_map), *(Section(SectionType.LAYER, p) for p in layers)]
    try:
        assert codec.decode(container.write(header, parts)).image.shape == (64, 64, 3)
    except ChappeError:
        pass
