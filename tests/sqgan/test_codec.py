"""The codec around the networks: sizes, rates, exactness of symbols, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import container, tokens
from chappe.bitstream.container import Header, Section, SectionType
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.errors import ChappeError, InputError, ModelError, RateError, StreamError, UsageError
from chappe.nn.tiling import pad_to_cells
from chappe.systems.sqgan.engine import Analysis


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 5000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (65, 100), (131, 257), (256, 512)])
@pytest.mark.parametrize("point", ["low", "tokens"])
def test_any_size_comes_back_exactly_that_size(codec, size, point):
    point = OperatingPoint("p", {"map": "near" if point == "low" else point, "m_s": 0.5, "m_x": 0.3})
    decoded = codec.decode(codec.encode(_noise(*size), point=point))
    assert decoded.image.shape == (*size, 3) and decoded.image.dtype == np.uint8
    assert decoded.labels.shape == size and decoded.labels.max() < 12
    assert decoded.taxonomy == "street11"


def test_large_pictures_are_tiled_and_restored(codec):
    size = (1040, 2100)
    decoded = codec.decode(
        codec.encode(_noise(*size), point=OperatingPoint("p", {"map": "tokens", "m_s": 0.1, "m_x": 0.1}))
    )
    assert decoded.image.shape == (*size, 3) and decoded.labels.shape == size


@pytest.mark.parametrize("side", [(63, 64), (64, 4097), (1, 1)])
def test_other_sizes_are_refused_in_a_sentence(codec, side):
    with pytest.raises(InputError, match=r"sides from 64 to 4096"):
        codec.encode(np.zeros((*side, 3), np.uint8))


@pytest.mark.parametrize("bpp", [0.015, 0.02, 0.03, 0.04, 0.055, 0.08, 0.1])
def test_rate_is_met_within_five_percent_of_real_bytes(codec, picture, bpp):
    blob = codec.encode(picture, labels=render_scene(7).labels, bpp=bpp)
    assert len(blob) * 8 / (256 * 512) == pytest.approx(bpp, rel=0.05)
    assert codec.decode(blob).report.total == len(blob)


def test_a_rate_out_of_reach_says_what_can_be_reached(codec, picture):
    for bpp in (0.0005, 3.0):
        with pytest.raises(RateError, match=r"it reaches 0\.\d+ to 0\.\d+ bpp"):
            codec.encode(picture, bpp=bpp)


def test_given_labels_are_what_the_far_end_gets(codec, picture):
    labels = np.zeros((256, 512), np.uint8)
    labels[100:, 64:128] = 6
    blob = codec.encode(picture, labels=labels, point=OperatingPoint("p", {"map": "lossless", "m_x": 0.1}))
    assert np.array_equal(codec.decode(blob).labels, labels)
    with pytest.raises(InputError):
        codec.encode(picture, labels=labels[:-1])
    with pytest.raises(InputError):
        codec.encode(picture, labels=np.full((256, 512), 99, np.uint8))


def test_nominal_rate_is_equation_2(codec, picture):
    report = codec.decode(codec.encode(picture, point="tokens")).report
    m_s, m_x = int(0.55 * 512) / 512, int(0.35 * 512) / 512
    assert report.bpp_nominal == pytest.approx((10 * (m_x + m_s) + 2) / 256)
    assert codec.decode(codec.encode(picture, point="low")).report.bpp_nominal is None


def test_knobs_that_do_not_exist_or_are_out_of_range(codec, picture):
    for values, message in (
        ({"colour": 1}, "no setting 'colour'"),
        ({"m_x": 1.5}, "not a fraction"),
        ({"map": "svg"}, "not a way to send the map"),
    ):
        with pytest.raises(UsageError, match=message):
            codec.encode(picture, point=OperatingPoint("p", values))
    with pytest.raises(UsageError, match="not both"):
        codec.encode(picture, bpp=0.04, point="low")


def test_symbols_do_not_depend_on_threads_or_batch_or_layout(codec, picture):
    """The bytes carry symbols; whatever machine reads them finds the same ones."""
    blob = codec.encode(picture, point="tokens")
    payload = {s.type: s.payload for s in container.read(blob)[1]}
    before = torch.get_num_threads()
    try:
        seen = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            mask, indices = tokens.decode_grid(payload[SectionType.IMAGE_TOKENS], (16, 32), 1024)
            seen.append((mask.tobytes(), indices.tobytes()))
            pictures = codec.decode(blob).image.astype(int)
            if threads == 1:
                first = pictures
        assert seen[0] == seen[1]
        assert np.abs(first - pictures).max() <= 2
    finally:
        torch.set_num_threads(before)
    model = codec.engine.model
    grid = torch.from_numpy(np.stack([np.where(mask, 0, 0)] * 3))
    grid[:, torch.from_numpy(mask)] = torch.from_numpy(indices.astype(np.int64))
    masks = torch.from_numpy(np.stack([mask] * 3)).float()[:, None]
    labels = torch.from_numpy(codec.decode(blob).labels.astype(np.int64))[None].repeat(3, 1, 1)
    with torch.inference_mode():
        batch = model.image.from_indices(grid, masks, model.condition(labels))
        planar = model.to(memory_format=torch.contiguous_format)
        single = planar.image.from_indices(grid[:1], masks[:1], model.condition(labels[:1]))
        model.to(memory_format=torch.channels_last)
    assert (batch - single).abs().max() * 127.5 <= 2


def test_files_of_other_models_and_incomplete_files(codec, picture):
    blob = codec.encode(picture, point="low")
    header, sections = container.read(blob)
    with pytest.raises(ModelError, match="weights 1234"):
        codec.decode(container.write(Header(250, 0x1234, 512, 256), sections))
    with pytest.raises(StreamError, match="no image_tokens section"):
        codec.decode(container.write(header, sections[:1]))
    with pytest.raises(StreamError, match="no label-map section"):
        codec.decode(container.write(header, sections[1:]))
    with pytest.raises(StreamError, match="never writes"):
        codec.decode(container.write(Header(250, 0xBEEF, 16, 16), sections))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=300), st.sampled_from(["MAP_TOKENS", "MAP_NEAR", "MAP_LOSSLESS"]))
def test_any_payload_gives_a_picture_or_a_chappe_error(codec, first, second, kind):
    sections = [Section(SectionType[kind], first), Section(SectionType.IMAGE_TOKENS, second)]
    try:
        decoded = codec.decode(container.write(Header(250, 0xBEEF, 80, 64), sections))
    except ChappeError:
        return
    assert decoded.image.shape == (64, 80, 3) and decoded.labels.shape == (64, 80)


def test_best_tokens_are_the_highest_scores_in_raster_order():
    analysis = Analysis(np.array([[0.1, 0.9], [0.5, 0.5]], np.float32), np.array([[1, 2], [3, 4]]))
    mask, indices = analysis.best(2)
    assert mask.tolist() == [[False, True], [True, False]] and indices.tolist() == [2, 3]


def test_padding_repeats_the_edge():
    padded = pad_to_cells(np.arange(17 * 20).reshape(17, 20))
    assert padded.shape == (32, 32) and padded[31, 31] == 17 * 20 - 1
