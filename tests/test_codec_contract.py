"""The registry, and the contract as seen by a caller, on a toy codec that sends the mean colour."""

from __future__ import annotations

import numpy as np
import pytest

import toys
from chappe.bitstream import container
from chappe.codec import (
    ModelEntry,
    OperatingPoint,
    SectionReport,
    StreamReport,
    codec_for,
    decode,
    describe,
    encode,
    list_models,
    load,
    model_entry,
    register,
)
from chappe.errors import MissingDependency, ModelError, StreamError, UsageError


@pytest.fixture
def registry(monkeypatch):
    """A registry of the test's own, with the toy codec in it."""
    toys.install(monkeypatch)


def test_permanent_ids():
    # These pairs are in files out there: this test only ever grows.
    ids = {
        1: ("sqgan-street-v1", 1), 2: ("spic-onepass-street-v1", 1), 3: ("sqgan-street-v2", 2), 4: ("sqgan-street", 3),
        5: ("spic-onepass-street", 2), 6: ("spic-street", 1), 7: ("gesco-street", 1), 8: ("rlasc-street", 1),
    }  # fmt: skip
    for codec_id, expected in ids.items():
        assert (codec_for(codec_id).name, codec_for(codec_id).version) == expected


def test_patterns_select_models(registry):
    assert list_models("toy-*") == ["toy-mean"]
    assert list_models("nothing*") == []
    assert list_models() == sorted(list_models())


def test_a_variant_writes_files_of_another_model_and_names_may_be_short(registry):
    register(ModelEntry("toy-street", 200, 1, "toys:make_toy", "", variant=True))
    assert codec_for(200).name == "toy-mean" and model_entry("toy").name == "toy-street"
    assert model_entry("spic") == model_entry("spic-street") != model_entry("cspic")
    with pytest.raises(UsageError, match="no model 'toys'"):
        model_entry("toys")


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (ModelEntry("toy-mean", 201, 1, "toy:f", ""), "already registered"),
        (ModelEntry("toy-other", 200, 1, "toy:f", ""), "belongs to 'toy-mean'"),
        (ModelEntry("toy-other", 256, 1, "toy:f", ""), "0 to 255"),
        (ModelEntry("toy-other", 201, 1, "toy.f", ""), "module:function"),
        (ModelEntry("toy-other", 201, 1, "toy:f", "", variant=True), "which there is not"),
    ],
)
def test_register_refuses(registry, entry, sentence):
    with pytest.raises(UsageError, match=sentence):
        register(entry)
    assert "toy-other" not in list_models()


def test_encode_decode_by_name_and_by_id(registry):
    image = np.full((64, 96, 3), (10, 20, 30), np.uint8)
    blob = encode(image, "toy-mean")
    out = decode(blob)
    assert np.array_equal(out.image, image)
    assert out.report.total == len(blob)
    assert out.report.bpp == pytest.approx(len(blob) * 8 / (64 * 96))


def test_a_model_is_loaded_once(registry):
    assert load("toy-mean") is load("toy-mean")


def test_describe_names_every_section_and_counts_every_byte(registry):
    blob = encode(np.zeros((64, 64, 3), np.uint8), "toy-mean")
    report, complete = describe(blob)
    assert complete
    assert (report.codec, report.codec_id, report.fingerprint) == ("toy-mean", 200, 0xABCD)
    assert [(s.name, s.payload, s.ok) for s in report.sections] == [("coarse_image", 3, True)]
    assert report.header <= 12
    assert report.header + report.sections[0].size == len(blob)


def test_describe_reports_damage_without_raising(registry):
    blob = bytearray(encode(np.zeros((64, 64, 3), np.uint8), "toy-mean"))
    blob[-1] ^= 1
    report, complete = describe(bytes(blob))
    assert not (complete and all(s.ok for s in report.sections))
    with pytest.raises(StreamError):
        decode(bytes(blob))


def test_describe_of_a_header_alone():
    whole = container.write(container.Header(1, 0, 64, 64), [container.Section(container.SectionType.NOISE_SEED, b"x")])
    report, complete = describe(whole[:10])
    assert (report.header, report.sections, complete) == (10, (), False)


def test_unknown_id_names_what_is_missing(registry):
    blob = container.write(
        container.Header(199, 0, 64, 64), [container.Section(container.SectionType.NOISE_SEED, b"x")]
    )
    with pytest.raises(ModelError, match="id 199"):
        decode(blob)


def test_unknown_name_lists_the_models():
    with pytest.raises(UsageError, match="sqgan-street"):
        load("sqgan-street-typo")


def test_a_missing_library_is_named(registry):
    register(ModelEntry("toy-broken", 202, 1, "chappe_no_such_library:f", ""))
    with pytest.raises(MissingDependency, match="chappe_no_such_library"):
        load("toy-broken")


def test_a_factory_must_make_what_is_registered(registry):
    register(ModelEntry("toy-alias", 203, 1, "toys:make_toy", ""))
    with pytest.raises(UsageError, match="id 200"):
        load("toy-alias")


def test_points_are_found_by_name():
    toy = toys.MeanColour()
    assert toy.find_point("only").settings == {"levels": 1}
    mine = OperatingPoint("mine", {"levels": 2})
    assert toy.find_point(mine) is mine
    with pytest.raises(UsageError, match="it has only"):
        toy.find_point("other")


def test_report_arithmetic():
    sections = (SectionReport("a", 1, 100, 96, True), SectionReport("b", 2, 50, 46, True))
    report = StreamReport("x", 9, 0, 512, 256, 10, sections)
    assert report.total == 160
    assert report.bpp == 160 * 8 / (512 * 256)
