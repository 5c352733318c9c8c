"""The one-pass codec around its network: sizes, rates, determinism, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import container
from chappe.bitstream.container import Header, Section, SectionType
from chappe.codec import OperatingPoint
from chappe.errors import ChappeError, InputError, RateError, StreamError, UsageError
from chappe.systems.spic.coarse import imagine
from chappe.systems.spic.config import OnePassConfig
from chappe.systems.spic.onepass import OnePass
from chappe.training.street import near_map


def test_the_shipped_shape_is_within_its_budget():
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = OnePass()
    assert sum(p.numel() for p in model.parameters()) <= 2_000_000
    model = OnePass().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 128), torch.zeros(1, 256, 512, dtype=torch.long))
    assert counter.get_total_flops() / 2 < 5e9


def test_untrained_it_is_the_enlarged_coarse_picture():
    coarse = torch.rand(1, 3, 16, 16) * 2 - 1
    y = OnePass(OnePassConfig())(coarse, torch.zeros(1, 64, 64, dtype=torch.long))
    torch.testing.assert_close(y, torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear"))


@pytest.mark.parametrize("size", [(64, 64), (65, 100), (131, 257)])
def test_any_size_comes_back_exactly_that_size(codec, size):
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    decoded = codec.decode(codec.encode(image, point=OperatingPoint("p", {"quality": 20})))
    assert decoded.image.shape == (*size, 3) and decoded.image.dtype == np.uint8
    assert decoded.labels.shape == size and decoded.taxonomy == "street11"


def test_large_pictures_are_tiled_and_restored(codec):
    image = np.zeros((1040, 2100, 3), np.uint8)
    blob = codec.encode(image, point=OperatingPoint("p", {"quality": 5}))
    assert codec.decode(blob).image.shape == image.shape


@pytest.mark.parametrize("bpp", [0.015, 0.04, 0.16])
def test_rate_is_met_within_five_percent_of_real_bytes(codec, scene, bpp):
    blob = codec.encode(scene.image, labels=scene.labels, bpp=bpp)
    assert len(blob) * 8 / (256 * 512) == pytest.approx(bpp, rel=0.05)
    assert codec.decode(blob).report.total == len(blob)


def test_a_rate_out_of_reach_says_what_can_be_reached(codec, scene):
    for bpp in (0.0005, 3.0):
        with pytest.raises(RateError, match=r"it reaches 0\.\d+ to 0\.\d+ bpp"):
            codec.encode(scene.image, bpp=bpp)


def test_a_lossless_map_is_what_the_far_end_gets(codec, scene):
    blob = codec.encode(scene.image, labels=scene.labels, point="max")
    np.testing.assert_array_equal(codec.decode(blob).labels, scene.labels)


def test_the_picture_depends_on_the_map_and_on_the_coarse_picture(codec, scene):
    blob = codec.encode(scene.image, labels=scene.labels, point="max")
    flat = codec.encode(scene.image, labels=np.zeros_like(scene.labels), point="max")
    dark = codec.encode(scene.image // 3, labels=scene.labels, point="max")
    picture = codec.decode(blob).image.astype(int)
    assert np.abs(picture - codec.decode(flat).image).mean() > 0.5
    assert np.abs(picture - codec.decode(dark).image).mean() > 10


def test_pixels_agree_across_threads_and_the_bytes_do_exactly(codec, scene):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            blob = codec.encode(scene.image, labels=scene.labels, bpp=0.04)
            results.append((blob, codec.decode(blob).image.astype(int)))
    finally:
        torch.set_num_threads(before)
    assert results[0][0] == results[1][0]
    assert np.abs(results[0][1] - results[1][1]).max() <= 2


@pytest.mark.parametrize(
    ("settings_", "message"),
    [({"tokens": 3}, "no setting"), ({"map": "tokens"}, "near or lossless"), ({"quality": 101}, "0 to 100"),
     ({"map_share": 2}, "between 0 and 1")],
)  # fmt: skip
def test_wrong_knobs_are_refused(codec, scene, settings_, message):
    with pytest.raises(UsageError, match=message):
        codec.encode(scene.image, point=OperatingPoint("p", settings_))


def test_small_pictures_are_refused(codec):
    with pytest.raises(InputError, match="sides from 64 to 4096"):
        codec.encode(np.zeros((63, 64, 3), np.uint8))


def test_a_file_without_its_sections_is_refused(codec, scene):
    header = Header(codec.codec_id, codec.fingerprint, 512, 256)
    _, sections = container.read(codec.encode(scene.image, labels=scene.labels, bpp=0.04))
    for left in sections:
        with pytest.raises(StreamError, match=r"no (coarse_image|label-map) section"):
            codec.decode(container.write(header, [left]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=120))
def test_any_sections_give_a_picture_or_a_chappe_error(codec, first, second):
    header = Header(codec.codec_id, codec.fingerprint, 64, 64)
    blob = container.write(header, [Section(SectionType.MAP_NEAR, first), Section(SectionType.COARSE_IMAGE, second)])
    try:
        assert codec.decode(blob).image.shape == (64, 64, 3)
    except ChappeError:
        pass


def test_near_maps_of_training_keep_the_size_and_the_classes():
    labels = torch.randint(0, 12, (2, 64, 96))
    for seed in range(8):
        out = near_map(labels, 12, np.random.default_rng(seed))
        assert out.shape == labels.shape and int(out.max()) < 12


def test_a_dropped_coarse_picture_is_imagined_from_the_map(scene):
    from chappe import load
    from chappe.bitstream import packets

    codec = load("spic-onepass-street")
    blob = codec.encode(scene.image, labels=scene.labels, bpp=0.04)
    whole, short = codec.decode(blob), codec.decode(packets.truncate(blob, len(blob) - 1))
    assert whole.missing is None and "no coarse picture" in short.missing
    np.testing.assert_array_equal(whole.labels, short.labels)
    assert short.received.max() < 255
    sky, road = (short.image[short.labels == k].mean() for k in (0, 3))
    assert sky > 200 > 130 > road  # in the colours that the classes have


def test_version_1_does_not_decode_without_its_coarse_picture(scene):
    from chappe import load

    codec = load("spic-onepass-street-v1")
    header, sections = container.read(codec.encode(scene.image, labels=scene.labels, bpp=0.04))
    with pytest.raises(StreamError, match="no coarse_image section"):
        codec.decode(container.write(header, sections[:1]))


def test_relevance_moves_the_bytes_to_its_classes(codec, scene):
    share = lambda **v: codec.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", {"quality": 40, **v}))  # noqa: E731
    assert len(share(relevance="rest=0,sign=1")) < 0.8 * len(share())
    assert share(relevance="rest=1") == share()
    with pytest.raises(UsageError, match="is not a profile"):
        share(relevance=3)


def test_goals_share_the_bytes_differently(scene):
    from chappe import load

    codec = load("spic-onepass-street")
    files = {g: codec.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", {"bpp": 0.04, "goal": g}))
             for g in ("meaning", "looks")}  # fmt: skip
    maps = {g: len(container.read(blob)[1][0].payload) for g, blob in files.items()}
    assert maps["meaning"] > maps["looks"]
    with pytest.raises(UsageError, match="no goal 'speed' to share the bytes for; it has looks, meaning"):
        codec.encode(scene.image, point=OperatingPoint("p", {"goal": "speed"}))


def test_imagined_colours_are_the_means_of_the_cells():
    labels = np.zeros((8, 8), np.uint8)
    labels[:4, 2:4] = 1
    out = imagine(labels, [[0, 0, 0], [100, 200, 50]])
    assert out.shape == (2, 2, 3)
    np.testing.assert_array_equal(out[0, 0], [50, 100, 25])
    assert not out[1].any() and not out[0, 1].any()
