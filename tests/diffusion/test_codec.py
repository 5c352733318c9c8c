"""SPIC, C-SPIC and GESCO as codecs around a network with random weights."""

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
from chappe.systems.diffusion import residual, wire
from chappe.systems.diffusion.codec import load_folder
from chappe.systems.diffusion.config import SAMPLERS, Sampling
from chappe.systems.diffusion.engine import map_planes

pytest.importorskip("diffusers")
QUICK = {"steps": 2}


def point(**values) -> OperatingPoint:
    return OperatingPoint("p", {**QUICK, **values})


def sections(blob: bytes) -> dict[int, bytes]:
    return {s.type: s.payload for s in container.read(blob)[1]}


def test_a_saved_folder_gives_both_codecs_with_their_ids(spic, gesco, folder):
    assert (spic.name, spic.codec_id, gesco.name, gesco.codec_id) == ("spic-street", 6, "gesco-street", 7)
    assert spic.fingerprint == gesco.fingerprint and (folder / "model.safetensors").is_file()
    with pytest.raises(UsageError, match="no diffusion system"):
        load_folder(folder, "jpeg")
    with pytest.raises(InputError):
        load_folder(folder / "nowhere", "spic")


def test_cspic_is_spic_with_classes_of_its_own_unless_told_otherwise(spic, cspic, scene):
    assert (cspic.name, cspic.codec_id, cspic.fingerprint) == ("cspic-street", spic.codec_id, spic.fingerprint)
    usual = cspic.encode(scene.image, labels=scene.labels, point=point(quality=10))
    assert SectionType.RESIDUAL in sections(usual)
    np.testing.assert_array_equal(spic.decode(usual).image, cspic.decode(usual).image)
    told = {"quality": 10, "classes": ""}
    assert cspic.encode(scene.image, labels=scene.labels, point=point(**told)) == spic.encode(
        scene.image, labels=scene.labels, point=point(**told)
    )


def test_a_residual_takes_no_more_than_its_share_and_leaves_out_what_does_not_fit(cspic, scene):
    shares, kept = [], []
    for bpp in (0.15, 0.3, 0.8):
        wanted = point(bpp=bpp, classes="Building+SignSymbol+Road")
        blob = cspic.encode(scene.image, labels=scene.labels, point=wanted)
        assert len(blob) * 8 / scene.labels.size == pytest.approx(bpp, rel=0.05)
        payload = sections(blob).get(SectionType.RESIDUAL)
        kept.append(() if payload is None else wire.unpack_classes(payload, 12)[0])
        shares.append(0 if payload is None else len(payload) / len(blob))
    assert max(shares) < 0.45 and shares[-1] > 0.05
    assert len(kept[0]) <= len(kept[-1]) and kept[-1]


@pytest.mark.parametrize("size", [(64, 64), (65, 100)])
def test_any_size_comes_back_exactly_that_size(spic, gesco, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for codec, more in ((spic, {"quality": 20}), (gesco, {"map": "lossless"})):
        decoded = codec.decode(codec.encode(image, point=point(**more)))
        assert decoded.image.shape == (*size, 3) and decoded.image.dtype == np.uint8
        assert decoded.labels.shape == size and decoded.taxonomy == "street11"


@pytest.mark.parametrize("bpp", [0.2, 0.5])
def test_spic_meets_its_rate_with_seed_residual_and_all(spic, scene, bpp):
    plain = spic.encode(scene.image, labels=scene.labels, bpp=bpp)
    assert len(plain) * 8 / scene.labels.size == pytest.approx(bpp, rel=0.05)
    if bpp > 0.3:
        wanted = point(bpp=bpp, classes="Car+Building", residual_quality=5, seed=77)
        blob = spic.encode(scene.image, labels=scene.labels, point=wanted)
        assert SectionType.RESIDUAL in sections(blob) and sections(blob)[SectionType.NOISE_SEED] == b"\x4d"
        assert len(blob) * 8 / scene.labels.size == pytest.approx(bpp, rel=0.05)


def test_spic_is_the_one_pass_file_but_for_seed_and_id(spic, scene):
    from chappe.systems.spic.codec import Sender, _Rate

    base = Sender(spic, scene.image, scene.labels).sections(_Rate(None, "lossless", None, 30))
    blob = spic.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", {"map": "lossless", "quality": 30}))
    assert container.read(blob)[1] == [*base, Section(SectionType.NOISE_SEED, b"\0")]


def test_gesco_sends_the_map_and_a_seed(gesco, scene):
    blob = gesco.encode(scene.image, labels=scene.labels, point="max")
    assert set(sections(blob)) == {SectionType.MAP_LOSSLESS, SectionType.NOISE_SEED}
    near = gesco.encode(scene.image, labels=scene.labels, bpp=0.12)
    assert len(near) * 8 / scene.labels.size <= 0.12 * 1.05 and len(near) < len(blob)
    for bpp in (0.001, 3.0):
        with pytest.raises(RateError, match="out of reach"):
            gesco.encode(scene.image, labels=scene.labels, bpp=bpp)


def test_the_same_seed_gives_the_same_picture_on_any_thread_count(spic, scene):
    wanted = OperatingPoint("p", {"quality": 30, "sampler": "ddpm", "steps": 2, "guidance": 2, "seed": 5})
    blob = spic.encode(scene.image[:, :64], labels=scene.labels[:, :64], point=wanted)
    before, pictures = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(threads)  # nothing is drawn from torch
            pictures.append(spic.decode(blob).image.astype(int))
    finally:
        torch.set_num_threads(before)
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
    assert pictures[0].std() > 5


def test_seed_start_steps_and_guidance_travel_and_matter(spic, scene):
    def drawn(**values):
        settings = {"quality": 30, "begin": 400, **values}
        return spic.decode(spic.encode(scene.image, labels=scene.labels, point=point(**settings))).image.astype(int)

    usual = drawn()
    for other in (
        {"seed": 1},
        {"start": "clean"},
        {"begin": 700},
        {"steps": 3},
        {"guidance": 3},
        {"sampler": "sde-dpm++"},
    ):
        assert np.abs(usual - drawn(**other)).mean() > 0.05, other
    far, near = drawn(begin=900), drawn(begin=50)
    up = np.asarray(spic.decode(spic.encode(scene.image, labels=scene.labels, point=point(quality=30))).image)
    assert np.abs(near - scene.image).mean() < np.abs(far - scene.image).mean() and up.dtype == np.uint8


def test_default_sampling_costs_no_bytes_and_other_sampling_few(spic, scene):
    usual = Sampling(**spic.settings["sampling"])
    plain = spic.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", {"quality": 30}))
    told = spic.encode(scene.image, labels=scene.labels, point=point(quality=30, steps=3))
    assert SectionType.PARAMETERS not in sections(plain) and len(told) - len(plain) == 9
    assert wire.unpack_sampling(sections(told)[SectionType.PARAMETERS]) == usual.with_settings({"steps": 3})


def test_cspic_returns_the_pixels_of_its_classes(spic, scene):
    names = "Building+Road"
    from chappe.taxonomy import get_taxonomy

    classes = [get_taxonomy("street11").classes.index(n) for n in names.split("+")]
    with_it = spic.encode(scene.image, labels=scene.labels,
                          point=point(map="lossless", quality=10, classes=names, residual_quality=90))  # fmt: skip
    without = spic.encode(scene.image, labels=scene.labels, point=point(map="lossless", quality=10))
    none = spic.encode(scene.image, labels=np.full_like(scene.labels, 3),
                       point=point(map="lossless", quality=10, classes="Bicyclist"))  # fmt: skip
    assert SectionType.RESIDUAL in sections(with_it) and SectionType.RESIDUAL not in sections(none)
    inside = np.isin(scene.labels, classes)
    gap = [np.abs(spic.decode(b).image.astype(int) - scene.image)[inside].mean() for b in (with_it, without)]
    assert gap[0] < 4 and gap[0] < gap[1] / 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3), st.integers(1, 6), st.integers(1, 9))
def test_sheets_hold_every_box_once_and_fit(seed, share, rows, columns):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((rows * 2, columns * 2)) < share, np.ones((8, 8), bool))
    sheet = residual.lay_out(mask)
    if not mask.any():
        assert sheet is None
        return
    covered, used = np.zeros(mask.shape, int), np.zeros(sheet.size, int)
    for (top, left, tall, wide), (y, x) in zip(sheet.boxes, sheet.places, strict=True):
        covered[top : top + tall, left : left + wide] += 1
        used[y : y + tall, x : x + wide] += 1
    assert covered.max() == 1 and used.max() == 1
    assert used.sum() == covered.sum() and covered[mask].all()


def test_hostile_maps_take_bounded_time_and_boxes():
    mask = np.zeros((4096, 4096), bool)
    mask[::32, ::32] = True
    sheet = residual.lay_out(mask)
    assert len(sheet.boxes) == 64 and sheet.size[0] * sheet.size[1] <= mask.size


def test_shapes_grow_by_two_pixels():
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 6
    expected = np.zeros((9, 9), bool)
    expected[2:7, 2:7] = True
    np.testing.assert_array_equal(residual.shape_mask(labels, (6,)), expected)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SAMPLERS), st.integers(1, 250), st.integers(1, 1000), st.sampled_from(("noised", "clean")),
       st.integers(0, 255))  # fmt: skip
def test_sampling_comes_back_from_its_bytes(sampler, steps, begin, start, guidance):
    if steps <= begin:
        sampling = Sampling(sampler, steps, begin, start, guidance / 16)
        assert wire.unpack_sampling(wire.pack_sampling(sampling)) == sampling


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=12))
def test_bytes_that_are_no_parameters_are_refused(payload):
    for read in (wire.unpack_sampling, lambda p: wire.unpack_classes(p, 12)):
        try:
            read(payload)
        except StreamError:
            pass


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=60), st.binary(max_size=9), st.binary(max_size=60))
def test_any_sections_give_a_picture_or_a_chappe_error(spic, gesco, first, second, seed, rest):
    kinds = (SectionType.MAP_NEAR, SectionType.COARSE_IMAGE, SectionType.NOISE_SEED, SectionType.RESIDUAL)
    parts = [Section(kind, payload) for kind, payload in zip(kinds, (first, second, seed, rest), strict=True)]
    for codec in (spic, gesco):
        blob = container.write(Header(codec.codec_id, codec.fingerprint, 64, 64), parts)
        try:
            assert codec.decode(blob).image.shape == (64, 64, 3)
        except ChappeError:
            pass


def test_files_without_their_sections_are_refused(spic, gesco, scene):
    for codec, values in ((spic, {"quality": 30}), (gesco, {"map": "lossless"})):
        _, parts = container.read(codec.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", values)))
        header = Header(codec.codec_id, codec.fingerprint, 128, 64)
        for k in range(len(parts)):
            left = [*parts[:k], *parts[k + 1 :]]
            with pytest.raises(StreamError, match=r"has no .* section"):
                codec.decode(container.write(header, left))


@pytest.mark.parametrize("values", [
    {"sampler": "euler"}, {"steps": "many"}, {"classes": "Unicorn"}, {"tokens": 1}, {"residual_quality": 101},
    {"steps": 300, "begin": 400}, {"seed": "x"},
])  # fmt: skip
def test_wrong_knobs_are_refused(spic, scene, values):
    with pytest.raises(UsageError):
        spic.encode(scene.image, labels=scene.labels, point=OperatingPoint("p", {"quality": 30, **values}))


def test_gesco_has_no_coarse_picture_to_begin_from(gesco, scene):
    with pytest.raises(UsageError, match="begin"):
        gesco.encode(scene.image, labels=scene.labels, point=point(begin=400, map="lossless"))
    with pytest.raises(UsageError, match="coarse picture"):
        gesco.engine.draw(map_planes(scene.labels, gesco.engine.config), Sampling(steps=2, begin=400), 0)


def test_guidance_is_the_straight_line_through_both_predictions(spic):
    engine = spic.engine
    x, planes, t = torch.randn(1, 3, 64, 64), torch.rand(1, 11, 64, 64), torch.tensor([300])
    with torch.inference_mode():
        both = [engine._guided(x, planes, None, t, s)[:, :3] for s in (0.0, 1.0, 2.5)]
        null = engine.process.predict(engine.model, x, t, planes * 0, None)[:, :3]
    torch.testing.assert_close(both[0], null)
    torch.testing.assert_close(both[2], null + 2.5 * (both[1] - null), atol=1e-5, rtol=1e-4)


def test_large_pictures_run_in_tiles_that_cover_them_once():
    from chappe.systems.diffusion.engine import _tiles

    for size in ((64, 96), (1024, 2048), (1056, 4096)):
        seen = np.zeros(size, int)
        for outer, inner, core in _tiles(*size):
            seen[core] += 1
            assert seen[outer][inner].shape == seen[core].shape
            assert all(s.start % 32 == 0 for s in outer)
        assert (seen == 1).all()
