"""Every classical codec under the one contract."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from chappe.classical import NAMES, load
from chappe.classical.base import halve, unhalve
from chappe.classical.ladder import SLACK
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.errors import InputError, MissingDependency, RateError, StreamError, UsageError
from chappe.metrics.pixel import psnr

SCENE = render_scene(5, size=(64, 128)).image


@pytest.fixture(scope="module", params=NAMES)
def codec(request):
    return load(request.param)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (33, 17), (16, 50), (49, 64)])
def test_any_size_comes_back(codec, height, width):
    image = SCENE[:height, :width]
    # Not the default: at 1 bpp the headers of a JPEG 2000 codestream alone fill so small a file.
    blob = codec.encode(image, point=codec.points()[-1])
    decoded = codec.decode(blob)
    assert decoded.image.shape == image.shape and decoded.image.dtype == np.uint8
    assert decoded.labels is None and decoded.taxonomy is None
    report = decoded.report
    assert (report.width, report.height, report.total) == (width, height, len(blob))
    assert [section.name for section in report.sections] == ["payload"]
    # The headers of JPEG 2000 alone are more than 24 bpp of 8x8 pixels.
    if not (codec.name == "jpeg2000-half" and image.size == 16 * 16 * 3):
        assert psnr(image, decoded.image) > (20 if codec.half else 26)


def test_more_bytes_give_a_better_picture(codec):
    points = codec.points()
    chosen = [points[i] for i in (len(points) // 8, len(points) // 2, -1)]
    blobs = [codec.encode(SCENE, point=point) for point in chosen]
    quality = [psnr(SCENE, codec.decode(blob).image) for blob in blobs]
    assert sorted(map(len, blobs)) == list(map(len, blobs)) and len(blobs[0]) < len(blobs[-1])
    assert quality == sorted(quality)
    # What 4:2:0 (or half size) loses is all that the best quality loses.
    assert quality[-1] > (24 if codec.half else 34)


@pytest.mark.parametrize("bpp", [1.1, 2.5])
def test_rung_is_within_slack_and_a_neighbour_is_farther(codec, bpp):
    try:
        rung = codec.rung(SCENE, bpp)
    except RateError as error:
        least = len(codec.encode(SCENE, point=codec.points()[0]))
        assert least > SLACK * bpp * SCENE.shape[0] * SCENE.shape[1] / 8
        assert f"({least} bytes)" in str(error)
        return
    target = bpp * SCENE.shape[0] * SCENE.shape[1] / 8
    qualities = [point.settings["quality"] for point in codec.points()]
    at = qualities.index(rung.quality)
    assert len(rung.blob) <= SLACK * target and rung.seconds > 0
    assert codec.encode(SCENE, point=OperatingPoint("q", {"quality": rung.quality})) == rung.blob
    if at == len(qualities) - 1:
        return  # the best there is
    above = len(codec.encode(SCENE, point=codec.points()[at + 1]))
    close = abs(np.log(len(rung.blob) / target))
    assert close <= np.log(1.02) or close <= abs(np.log(above / target)) + 1e-9 or above > SLACK * target


def test_a_rate_gives_the_same_file_whatever_was_asked_before(codec):
    alone = load(codec.name).encode(SCENE, bpp=2.0) if _reaches(codec, 2.0) else None
    again = load(codec.name)
    for bpp in (4.0, 3.0, 2.0):
        if _reaches(again, bpp) and bpp == 2.0:
            assert again.encode(SCENE, bpp=bpp) == alone
    other = SCENE[::-1].copy()
    assert again.encode(other) != codec.encode(SCENE)
    assert again.encode(other) == load(codec.name).encode(other)


def _reaches(codec, bpp) -> bool:
    try:
        codec.rung(SCENE, bpp)
    except RateError:
        return False
    return True


def test_wrong_calls_are_told(codec):
    with pytest.raises(UsageError, match="not both"):
        codec.encode(SCENE, bpp=1.0, point="q30")
    with pytest.raises(UsageError, match="no operating point 'best'"):
        codec.encode(SCENE, point="best")
    with pytest.raises(UsageError, match="sets quality"):
        codec.encode(SCENE, point=OperatingPoint("q", {"speed": 3}))
    with pytest.raises(UsageError, match="not 1000"):
        codec.encode(SCENE, point=OperatingPoint("q", {"quality": 1000}))
    with pytest.raises(UsageError, match="not a rate"):
        codec.encode(SCENE, bpp=0.0)
    with pytest.raises(InputError, match="15x40 pixels"):
        codec.encode(SCENE[:40, :15], bpp=1.0)
    with pytest.raises(InputError, match="4097x16"):
        codec.encode(np.zeros((16, 4097, 3), np.uint8))
    with pytest.raises(StreamError, match="empty"):
        codec.decode(b"")


def test_halves_and_wholes_are_not_mixed_up(codec):
    blob = codec.encode(SCENE)
    other = codec.name.removesuffix("-half") if codec.half else f"{codec.name}-half"
    with pytest.raises(StreamError):
        load(other).decode(blob)


def test_versions_tell_library_and_settings_apart():
    codecs = [load(name) for name in NAMES]
    assert len({codec.version for codec in codecs}) == len({codec.fingerprint for codec in codecs}) == len(NAMES)
    for name, start in (("hevc", "x265 "), ("av1", "SVT-AV1 "), ("jxl", "libjxl "), ("webp", "WebP ")):
        assert load(name).version.startswith(start) and any(c.isdigit() for c in load(name).version)


@pytest.mark.parametrize(("name", "package"), [("hevc", "av"), ("av1-half", "av"), ("jxl", "imagecodecs")])
def test_a_missing_library_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"'{package}'.*chappe\[bench\]"):
        load(name)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match="no classical codec 'bpg'; there are jpeg, "):
        load("bpg")


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "webp", "avif"])
def test_files_are_plain_files_of_their_standard(name):
    blob = load(name).encode(SCENE)
    with Image.open(io.BytesIO(blob)) as picture:
        assert picture.size == (128, 64)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), load(name).decode(blob).image)


def test_jpeg_takes_the_smaller_of_both_kinds():
    codec, smaller = load("jpeg"), set()
    image = render_scene(5).image
    for quality in (5, 95):
        sizes = {}
        for progressive in (False, True):
            out = io.BytesIO()
            options = {"quality": quality, "optimize": True, "progressive": progressive, "subsampling": "4:2:0"}
            Image.fromarray(image).save(out, "JPEG", **options)
            sizes[progressive] = len(out.getvalue())
        point = OperatingPoint("q", {"quality": quality})
        assert len(codec.encode(image, point=point)) == min(sizes.values())
        smaller.add(min(sizes, key=sizes.get))
    assert smaller == {False, True}


@pytest.mark.parametrize(("height", "width"), [(64, 32), (63, 31), (16, 17)])
def test_halving_undone_keeps_ramps_in_their_place(height, width):
    y, x = np.mgrid[:height, :width]
    image = np.stack([4 * y, 255 - 4 * y, 7 * x], 2).astype(np.uint8)
    half = halve(image)
    assert half.shape == (-(-height // 2), -(-width // 2), 3)
    back = unhalve(half, bool(width % 2), bool(height % 2))
    assert back.shape == image.shape
    # Half a pixel to the side would be 2 to 3.5 levels; rounding alone is less than one.
    error = (back.astype(float) - image)[5:-5, 5:-5]
    assert np.abs(error.mean((0, 1))).max() < 1 and np.abs(error).max() <= 3
