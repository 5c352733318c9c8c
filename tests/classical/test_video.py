"""HEVC and AV1: what is left out of a file is made again exactly, here and in another process."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys

import av
import numpy as np
import pytest

from chappe.classical import load
from chappe.classical.priority import same_scheduling
from chappe.classical.video import Av1, Hevc, obus, rgb_from_yuv, split_nals, yuv_from_rgb
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.errors import ModelError, StreamError

SCENE = render_scene(6, size=(96, 160)).image

FRESH = """
import hashlib, sys
from chappe.classical import load
from chappe.codec import OperatingPoint
import numpy as np
image = np.frombuffer(bytes.fromhex(sys.stdin.readline()), np.uint8).reshape(45, 51, 3)
for name, quality in (("hevc", 33), ("av1", 40.25), ("hevc-half", 20), ("av1-half", 20)):
    codec = load(name)
    blob = codec.encode(image, point=OperatingPoint("q", {"quality": quality}))
    theirs = codec.decode(bytes.fromhex(sys.stdin.readline())).image
    print(blob.hex(), hashlib.sha256(theirs.tobytes()).hexdigest())
assert "torch" not in sys.modules
"""


def test_a_fresh_process_writes_and_reads_the_same():
    image = np.ascontiguousarray(SCENE[20:65, 30:81])
    ours, lines = [], [image.tobytes().hex()]
    for name, quality in (("hevc", 33), ("av1", 40.25), ("hevc-half", 20), ("av1-half", 20)):
        codec = load(name)
        blob = codec.encode(image, point=OperatingPoint("q", {"quality": quality}))
        ours.append(f"{blob.hex()} {hashlib.sha256(codec.decode(blob).image.tobytes()).hexdigest()}")
        lines.append(blob.hex())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH], input="\n".join(lines), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:4] == ours
    assert done.stderr == ""  # neither encoder prints its banner


def _demuxed(data: bytes, kind: str) -> np.ndarray:
    """The one picture of a whole file, by FFmpeg's own demuxer and default decoder."""
    with av.open(io.BytesIO(data), format=kind) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 1
    return frames[0].to_ndarray()


@pytest.mark.parametrize("quality", [51, 22])
def test_hevc_slice_decodes_as_the_whole_annex_b_stream_does(quality):
    whole = Hevc().stream(yuv_from_rgb(SCENE), quality)
    blob = load("hevc").encode(SCENE, point=OperatingPoint("q", {"quality": quality}))
    np.testing.assert_array_equal(load("hevc").decode(blob).image, rgb_from_yuv(_demuxed(whole, "hevc")))
    slices = [nal for nal in split_nals(whole) if nal[0] >> 1 & 63 < 32]
    assert blob[4:] == slices[0] and len(slices) == 1  # config byte, one byte for 96, two for 160
    assert b"x265" not in blob and len(whole) > len(blob) + 70


@pytest.mark.parametrize("quality", [66.5, 20])
def test_av1_frame_decodes_as_the_whole_ivf_file_does(quality):
    whole = Av1().stream(yuv_from_rgb(SCENE), quality)
    header = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"AV01", 160, 96, 1, 1, 1, 0)
    ivf = header + struct.pack("<IQ", len(whole), 0) + whole
    blob = load("av1").encode(SCENE, point=OperatingPoint("q", {"quality": quality}))
    np.testing.assert_array_equal(load("av1").decode(blob).image, rgb_from_yuv(_demuxed(ivf, "ivf")))
    assert [kind for kind, _ in obus(whole)] == [2, 1, 6]
    assert blob[4:] == obus(whole)[2][1]


@pytest.mark.parametrize(("engine", "best", "worst"), [(Hevc(), 0, 51), (Av1(), 1, 70)])
def test_parameter_sets_depend_on_the_size_alone(engine, best, worst):
    noise = np.random.default_rng(0).integers(0, 256, (96 * 3 // 2, 160), dtype=np.uint8)
    text = np.where(np.add.outer(np.arange(144) // 4, np.arange(160) // 6) % 2, 235, 16).astype(np.uint8)
    for planar in (yuv_from_rgb(SCENE), noise, text):
        for quality in (best, worst):
            assert engine.split(engine.stream(planar, quality))[0] == engine.sets(160, 96)
    assert engine.sets(160, 96) != engine.sets(96, 160)


@pytest.mark.parametrize("name", ["hevc", "av1"])
def test_another_build_is_refused(name):
    blob = load(name).encode(SCENE)
    for other in range(1, 16):
        with pytest.raises(ModelError, match="another build"):
            load(name).decode(bytes([blob[0] ^ other << 4]) + blob[1:])


def test_a_file_cannot_bring_parameter_sets_of_its_own():
    blob = load("hevc").encode(SCENE)
    whole = Hevc().stream(yuv_from_rgb(SCENE), 30)
    with pytest.raises(StreamError, match="not one HEVC slice"):
        load("hevc").decode(blob + b"\0\0\1" + split_nals(whole)[1])
    with pytest.raises(StreamError, match="not one HEVC slice"):
        load("hevc").decode(blob[:4] + split_nals(whole)[1])


def test_colours_follow_the_jfif_formula():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)  # constant over each 2x2
    planar = yuv_from_rgb(image)
    rgb = image.astype(float)
    luma = rgb @ [0.299, 0.587, 0.114]
    assert np.abs(planar[:16].astype(float) - luma).max() <= 1
    blue, red = planar[16:].reshape(2, 8, 8).astype(float)
    assert np.abs(blue - (128 + (rgb[::2, ::2, 2] - luma[::2, ::2]) / 1.772)).max() <= 1.01
    assert np.abs(red - (128 + (rgb[::2, ::2, 0] - luma[::2, ::2]) / 1.402)).max() <= 1.01
    flat = np.full((16, 32, 3), (200, 90, 30), np.uint8)
    assert np.abs(rgb_from_yuv(yuv_from_rgb(flat)).astype(int) - flat).max() <= 2


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux")
def test_scheduling_is_given_back():
    before = os.sched_getscheduler(0)
    with same_scheduling():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
    load("av1").encode(SCENE)  # for root, SVT-AV1 asks for real time
    assert os.sched_getscheduler(0) == before
