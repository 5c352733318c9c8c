"""Every rule of docs/images.md about what comes in and what goes out."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from chappe.errors import ChappeError, InputError, UsageError
from chappe.files import atomic_write_bytes, read_bytes
from chappe.image import label_bytes, read_image, read_labels, write_image, write_labels

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def _file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(width: int, height: int) -> bytes:
    """A sound grey PNG of that size, all zero, in a few kilobytes."""
    squeeze = zlib.compressobj(9)
    row = bytes(width // 8 + 1)
    rows = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


# What comes in: kinds of source


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_files_come_back_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read_image(_file(Image.fromarray(RGB), kind, **options)), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "GIF"])
def test_lossy_files_come_back_nearly(kind):
    smooth = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 64, 3))
    got = read_image(_file(Image.fromarray(np.ascontiguousarray(smooth)), kind))
    assert np.abs(got.astype(int) - smooth).mean() < 4


def test_path_bytes_pillow_and_array_agree(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), RGB):
        assert np.array_equal(read_image(source), RGB)


def test_result_is_contiguous_rgb_uint8():
    got = read_image(RGB[:, ::-1])
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert np.array_equal(got, RGB[:, ::-1])


# Grey, alpha, 16 bits, palette, CMYK, orientation, animation


def test_grey_is_repeated():
    grey = RGB[..., 0]
    want = np.repeat(grey[..., None], 3, axis=2)
    for source in (grey, grey[..., None], Image.fromarray(grey), _file(Image.fromarray(grey))):
        assert np.array_equal(read_image(source), want)


def test_one_bit_becomes_black_and_white():
    bits = RGB[..., 0] > 127
    want = np.repeat(np.where(bits, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(read_image(bits), want)
    assert np.array_equal(read_image(_file(Image.fromarray(bits))), want)


def test_alpha_is_laid_over_white():
    alpha = RNG.integers(0, 256, (6, 9, 1), dtype=np.uint8)
    alpha[0, :3, 0] = 0, 255, 128
    rgba = np.concatenate([RGB, alpha], axis=2)
    exact = RGB * (alpha / 255.0) + 255 * (1 - alpha / 255.0)
    for source in (rgba, Image.fromarray(rgba), _file(Image.fromarray(rgba))):
        got = read_image(source)
        assert np.abs(got - exact).max() <= 0.5 + 1e-9
        assert tuple(got[0, 0]) == (255, 255, 255)
        assert tuple(got[0, 1]) == tuple(RGB[0, 1])


@pytest.mark.parametrize("mode", ["LA", "RGBa"])
def test_other_alpha_modes_are_laid_over_white(mode):
    assert (read_image(Image.new("RGBA", (4, 4), (0, 0, 0, 255)).convert(mode)) == 0).all()
    assert (read_image(Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)) == 255).all()


def test_palette_with_alpha_is_laid_over_white():
    picture = Image.new("PA", (2, 1))
    picture.putpalette([10, 20, 30])
    picture.putpixel((0, 0), (0, 255))
    picture.putpixel((1, 0), (0, 0))
    assert read_image(picture).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_transparent_palette_entry_and_transparent_colour():
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert read_image(_file(palette, transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    keyed = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert read_image(_file(keyed, transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_palette_colours_are_used():
    picture = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(read_image(_file(picture)), np.asarray(picture.convert("RGB")))


def test_sixteen_bits_are_rounded_exactly():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = np.rint(values.astype(np.float64) * 255 / 65535).astype(np.uint8)
    sources = [values, Image.fromarray(values), _file(Image.fromarray(values)), _file(Image.fromarray(values), "TIFF")]
    for source in sources:
        assert np.array_equal(read_image(source)[..., 1], want)
    colour = np.stack([values, values[::-1], values.T], axis=2)
    assert np.array_equal(read_image(colour)[..., 0], want)


def test_sixteen_bit_colour_png_is_within_one_level():
    wide = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    assert np.abs(read_image(png) - wide * (255 / 65535)).max() <= 1


def test_32_bit_values_beyond_16_are_refused():
    with pytest.raises(InputError, match="0 to 65535"):
        read_image(Image.fromarray(np.array([[0, 70000]], np.int32)))


def test_cmyk_is_converted():
    cmyk = Image.merge("CMYK", [Image.new("L", (16, 16), v) for v in (0, 255, 255, 0)])
    assert (read_image(cmyk) == (255, 0, 0)).all()
    got = read_image(_file(cmyk, "JPEG", quality=95))
    assert np.abs(got.astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_other_colour_spaces_are_converted(mode):
    grey = Image.new("RGB", (4, 4), (90, 90, 90)).convert(mode)
    assert np.abs(read_image(grey).astype(int) - 90).max() <= 1


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_kinds_without_agreed_range_are_refused(mode):
    with pytest.raises(InputError, match="convert it to RGB"):
        read_image(Image.new(mode, (4, 4)))


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(_file(Image.fromarray(RGB), exif=exif)), turn(RGB))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), c) for c in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    blob = _file(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (read_image(blob) == (255, 0, 0)).all()


# What is refused


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((4, 4, 3), np.float32), "multiply values in 0..1 by 255"),
        (np.zeros((4, 4, 3), np.int64), "scale to 0..255"),
        (np.zeros((3, 4, 5), np.uint8), "move the channels last"),
        (np.zeros((4, 4, 2), np.uint8), "expected"),
        (np.zeros((2, 4, 4, 3), np.uint8), "one picture"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros(7, np.uint8), "no two dimensions"),
    ],
)
def test_arrays_that_are_refused(array, sentence):
    with pytest.raises(InputError, match=sentence):
        read_image(array)


def test_other_types_are_refused():
    with pytest.raises(InputError, match="not list"):
        read_image([[1, 2], [3, 4]])


def test_missing_file_and_folder_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no such file") as caught:
        read_image(tmp_path / "none.png")
    assert str(tmp_path / "none.png") in str(caught.value)
    with pytest.raises(InputError, match="is a directory"):
        read_image(tmp_path)


def test_not_a_picture():
    for data in (b"hello world", b"", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        with pytest.raises(InputError):
            read_image(data)


def test_kinds_outside_the_list_are_refused():
    # Pillow reads ICO; this package does not.
    with pytest.raises(InputError, match="of a kind that is read"):
        read_image(_file(Image.fromarray(RGB), "ICO"))


def test_cut_and_damaged_files_raise_input_error_only():
    whole = {
        kind: _file(Image.fromarray(np.tile(RGB, (8, 8, 1))), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP")
    }
    refused = 0
    for blob in whole.values():
        for cut in range(0, len(blob), max(1, len(blob) // 25)):
            for data in (blob[:cut], blob[:cut] + bytes([RNG.integers(256)]) + blob[cut + 1 :]):
                try:
                    assert read_image(data).dtype == np.uint8
                except InputError:
                    refused += 1
    assert refused > 50


def test_a_chappe_file_is_recognised():
    from chappe.bitstream import container

    with pytest.raises(InputError, match="chappe decode"):
        read_image(container.MAGIC + bytes(20))


@pytest.mark.parametrize(("width", "height"), [(10000, 10000), (12000, 12000), (20000, 20000)])
def test_bomb_is_refused_from_its_header(width, height):
    bomb = _bomb(width, height)
    assert len(bomb) < 100_000
    read_image(RGB)  # loads the codecs, which is not what is timed
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(InputError, match="pixels"):
        read_image(bomb)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.05
    assert peak < 5_000_000


def test_pixel_limit_is_a_parameter_and_holds_for_all_sources():
    for source in (RGB, Image.fromarray(RGB), _file(Image.fromarray(RGB))):
        assert read_image(source, max_pixels=54).shape == (6, 9, 3)
        with pytest.raises(InputError, match="limit"):
            read_image(source, max_pixels=53)


# Label maps


LABELS = RNG.integers(0, 12, (6, 9), dtype=np.uint8)


def test_label_maps_round_trip(tmp_path):
    write_labels(tmp_path / "l.png", LABELS, "street11")
    assert np.array_equal(read_labels(tmp_path / "l.png", (6, 9), taxonomy="street11"), LABELS)
    with Image.open(tmp_path / "l.png") as stored:
        assert stored.mode == "P"
        from chappe.taxonomy import colorize

        assert np.array_equal(np.asarray(stored.convert("RGB")), colorize(LABELS, "street11"))


def test_label_maps_of_every_single_channel_kind():
    sources = (LABELS, LABELS[..., None], LABELS.astype(np.int64), Image.fromarray(LABELS))
    for source in (*sources, _file(Image.fromarray(LABELS.astype(np.uint16))), label_bytes(LABELS)):
        got = read_labels(source)
        assert got.dtype == np.uint8
        assert np.array_equal(got, LABELS)


def test_colour_maps_need_a_label_set():
    from chappe.taxonomy import colorize

    picture = colorize(LABELS, "street11")
    with pytest.raises(InputError, match="single-channel PNG"):
        read_labels(picture)
    assert np.array_equal(read_labels(picture, taxonomy="street11"), LABELS)
    assert np.array_equal(read_labels(_file(Image.fromarray(picture)), taxonomy="street11"), LABELS)
    with pytest.raises(InputError, match="not in the palette of street11"):
        read_labels(RGB, taxonomy="street11")


def test_ignore_value_becomes_void():
    labels = LABELS.copy()
    labels[0, 0] = 255
    assert read_labels(labels, taxonomy="street11")[0, 0] == 11
    assert read_labels(labels)[0, 0] == 255


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (LABELS, {"shape": (9, 6)}, "9x6 pixels, the picture has 6x9"),
        (np.full((2, 2), 12, np.uint8), {"classes": 12}, "class index 12"),
        (np.full((2, 2), 12, np.uint8), {"taxonomy": "street11"}, "class index 12"),
        (np.full((2, 2), 300, np.int32), {}, "outside 0 to 255"),
        (np.full((2, 2), -1, np.int32), {}, "outside 0 to 255"),
        (np.zeros((2, 2), np.float32), {}, "integers"),
        (np.zeros((2, 2, 2), np.uint8), {}, "integers"),
    ],
)
def test_label_maps_that_are_refused(source, options, sentence):
    with pytest.raises(InputError, match=sentence):
        read_labels(source, **options)


def test_lossy_label_maps_are_refused():
    with pytest.raises(InputError, match="lossless"):
        read_labels(_file(Image.fromarray(LABELS), "JPEG"))


# What goes out


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".ppm", ".PNG"])
def test_pictures_round_trip(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", RGB)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), RGB)


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.chp"])
def test_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.png"):
        write_image(tmp_path / name, RGB)
    assert os.listdir(tmp_path) == []
    with pytest.raises(UsageError, match=r"\.png"):
        write_labels(tmp_path / name, LABELS)


def test_atomic_write_replaces_keeps_permissions_and_links(tmp_path):
    target, link = tmp_path / "t.bin", tmp_path / "link.bin"
    atomic_write_bytes(target, b"one")
    target.chmod(0o640)
    link.symlink_to(target)
    atomic_write_bytes(link, b"two")
    assert target.read_bytes() == b"two"
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.bin", "t.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    target = tmp_path / "t.bin"
    target.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(ChappeError, match="no space left"):
        atomic_write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["t.bin"]


def test_an_interrupt_during_a_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_bytes(tmp_path / "t.bin", b"new")
    assert os.listdir(tmp_path) == []


def test_devices_and_folders(tmp_path):
    atomic_write_bytes(os.devnull, b"x")
    assert not os.path.isfile(os.devnull)
    with pytest.raises(ChappeError, match="folder"):
        atomic_write_bytes(tmp_path, b"x")
    with pytest.raises(ChappeError, match="no such file"):
        atomic_write_bytes(tmp_path / "none" / "t.bin", b"x")


def test_read_bytes_has_a_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", max_bytes=5) == b"12345"
    with pytest.raises(InputError, match="larger than 4 bytes"):
        read_bytes(tmp_path / "a", max_bytes=4)
