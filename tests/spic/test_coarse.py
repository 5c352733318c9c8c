"""The coarse picture: the same pixels as a whole AVIF file, at 270 bytes less, and nothing but errors from noise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chappe.data.scenes import render_scene
from chappe.errors import ModelError, StreamError
from chappe.systems.spic.coarse import decode_coarse, encode_coarse, setting, shrink


def _picture(height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(render_scene(3).image).resize((width, height)))


@pytest.mark.parametrize("size", [(16, 16), (64, 128), (180, 320), (17, 250)])
@pytest.mark.parametrize("speed", [4, 9])
def test_decodes_to_what_the_whole_file_decodes_to(size, speed):
    small = _picture(*size)
    file = io.BytesIO()
    Image.fromarray(small).save(file, "AVIF", quality=30, subsampling="4:2:0", speed=speed, max_threads=1)
    payload = encode_coarse(small, 30, speed)
    expected = np.asarray(Image.open(file).convert("RGB"))
    np.testing.assert_array_equal(decode_coarse(payload, *size), expected)
    assert payload[0] in (0, 1), "the sequence header was rebuilt, not sent"
    assert len(file.getvalue()) - len(payload) > 260


def test_a_sequence_header_that_travels_is_used(monkeypatch):
    from chappe.systems.spic import coarse

    small = _picture(64, 128)
    plain = encode_coarse(small, 30, 9)
    header = coarse._sequence_header(128, 64, 0)
    with_header = bytes([len(header)]) + header + plain[1:]
    np.testing.assert_array_equal(decode_coarse(with_header, 64, 128), decode_coarse(plain, 64, 128))
    monkeypatch.setattr(coarse, "_sequence_header", lambda *_: b"")
    assert encode_coarse(small, 30, 9) == with_header


def test_a_pillow_that_cannot_code_it_is_named(monkeypatch):
    def save(*args, **options):
        raise ValueError("Invalid codec")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(ModelError, match=r"libaom \(Invalid codec\): install Pillow's wheel"):
        encode_coarse(_picture(16, 16), 30)


def test_quality_buys_fidelity():
    small = _picture(64, 128)
    payloads = [encode_coarse(small, quality, 9) for quality in (5, 30, 80)]
    errors = [np.abs(decode_coarse(p, 64, 128).astype(int) - small).mean() for p in payloads]
    assert len(payloads[0]) < len(payloads[1]) < len(payloads[2])
    assert errors[0] > errors[1] > errors[2]


def test_another_size_is_refused():
    payload = encode_coarse(_picture(64, 128), 30, 9)
    header_travels = bytes([9]) + bytes.fromhex("18197ffed1010d0684") + payload[1:]
    with pytest.raises(StreamError):
        decode_coarse(header_travels, 32, 128)


SOUND = encode_coarse(np.random.default_rng(5).integers(0, 256, (32, 48, 3), dtype=np.uint8), 20, 10)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_give_a_picture_or_a_stream_error(noise, at, flip):
    good = bytearray(SOUND)
    good[at % len(good)] ^= flip
    for data in (noise, bytes(good), bytes(good[: at % len(good)])):
        try:
            picture = decode_coarse(data, 32, 48)
        except StreamError:
            continue
        assert picture.shape == (32, 48, 3) and picture.dtype == np.uint8


def test_shrinking_takes_a_quarter():
    assert shrink(np.zeros((64, 80, 3), np.uint8)).shape == (16, 20, 3)


def test_equal_settings_are_equal_bytes():
    """Two qualities share a setting just where they code a picture alike."""
    small = _picture(16, 32)
    codes = [encode_coarse(small, quality) for quality in range(15, 40)]
    settings_ = [setting(quality) for quality in range(15, 40)]
    pairs = [(i, j) for i in range(25) for j in range(i)]
    assert all((codes[i] == codes[j]) == (settings_[i] == settings_[j]) for i, j in pairs)
    assert 10 < len(set(settings_)) < 25
