"""YUV4MPEG2: colours against BT.601's own numbers and against libswscale, every chroma format, hostile streams."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.data.scenes import render_scene
from chappe.errors import ChappeError, InputError
from chappe.video.y4m import (
    MAGIC,
    Y4MHeader,
    frame_bytes,
    header_bytes,
    read_frames,
    read_header,
    to_rgb,
    to_yuv,
)

CHROMAS = ("420", "422", "444", "mono")


def video(*images: np.ndarray, **options) -> bytes:
    header = Y4MHeader(images[0].shape[1], images[0].shape[0], **options)
    return header_bytes(header) + b"".join(frame_bytes(image, header) for image in images)


def pictures(data: bytes) -> list[np.ndarray]:
    file = io.BytesIO(data)
    return list(read_frames(file, read_header(file)))


@pytest.mark.parametrize(
    ("rgb", "limited"),
    [((255, 255, 255), (235, 128, 128)), ((0, 0, 0), (16, 128, 128)), ((255, 0, 0), (81, 90, 240)),
     ((0, 255, 0), (145, 54, 34)), ((0, 0, 255), (41, 240, 110))],
)  # fmt: skip
def test_the_corners_of_bt601(rgb, limited):
    image = np.full((2, 2, 3), rgb, np.uint8)
    header = Y4MHeader(2, 2, "444")
    assert to_yuv(image, header) == bytes(np.repeat(np.array(limited, np.uint8), 4))
    assert np.abs(to_rgb(to_yuv(image, header), header).astype(int) - image).max() <= 2


@pytest.mark.parametrize("chroma", CHROMAS)
@pytest.mark.parametrize("full", [False, True])
def test_there_and_back(chroma, full):
    y, x = np.mgrid[0:37, 0:51]
    image = np.stack([4 * x, 6 * y, 255 - 2 * x - 2 * y], -1).astype(np.uint8)  # odd sides, smooth colours
    data = video(image, image[::-1], chroma=chroma, full=full, rate=(30, 1))
    header = read_header(io.BytesIO(data))
    assert header == Y4MHeader(51, 37, chroma, (30, 1), full)
    first, second = pictures(data)
    if chroma == "mono":
        assert np.ptp(first.astype(int), axis=2).max() == 0
        image = np.repeat(np.rint(image @ [0.299, 0.587, 0.114])[..., None], 3, 2)
    error = np.abs(first.astype(int) - image)
    assert error.mean() < 1.5 and np.abs(second.astype(int) - image[::-1]).mean() < 1.5
    assert error.max() <= (2 if chroma in ("444", "mono") else 6)


@pytest.mark.parametrize(
    ("chroma", "pixels"), [("420", "yuv420p"), ("422", "yuv422p"), ("444", "yuv444p"), ("mono", "gray")]
)
def test_libav_reads_ours_and_we_read_its(chroma, pixels):
    av = pytest.importorskip("av", reason="needs PyAV: pip install 'chappe[bench]'")
    image = render_scene(3, size=(64, 96)).image
    with av.open(
        io.BytesIO(video(image, chroma=chroma, rate=(25, 1), full=chroma == "mono")), format="yuv4mpegpipe"
    ) as container:
        (frame,) = container.decode(video=0)
        assert (frame.width, frame.height, frame.format.name) == (96, 64, pixels)
        theirs = frame.to_ndarray(
            format="rgb24", src_color_range="MPEG", dst_color_range="JPEG", src_colorspace="ITU601"
        )
    ours = pictures(video(image, chroma=chroma, full=chroma == "mono"))[0]
    assert np.abs(ours.astype(int) - theirs).mean() < 2.5
    file = io.BytesIO()
    with av.open(file, "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format=pixels, dst_colorspace="ITU601", src_color_range="JPEG", dst_color_range="MPEG"
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(pictures(file.getvalue())[0].astype(int) - ours).mean() < 2.5


def test_what_is_refused():
    whole = video(np.zeros((4, 4, 3), np.uint8))
    for change, sentence in (
        ((b"C420jpeg", b"C420p10"), "-pix_fmt yuv420p"),
        ((b" Ip", b" It"), "interlaced"),
        ((b" W4", b" W0"), "sides are 1 to"),
        ((b"YUV4MPEG2", b"YUV4MPEG3"), "not YUV4MPEG2"),
        ((b"FRAME", b"FRAM"), "no frame where frame 1"),
    ):
        with pytest.raises(InputError, match=sentence):
            pictures(whole.replace(*change))
    with pytest.raises(InputError, match="ends inside frame 1, after 23 of 24 bytes"):
        pictures(whole[:-1])
    with pytest.raises(InputError, match="all must be of one size"):
        frame_bytes(np.zeros((4, 4, 3), np.uint8), Y4MHeader(4, 2))


LINE = st.lists(
    st.sampled_from([b"W4", b"H2", b"C444", b"Cmono", b"F25:1", b"F0:0", b"Ip", b"XYZ", b"W99999"]), max_size=6
)


@given(st.binary(max_size=80) | st.tuples(LINE, st.binary(max_size=80)).map(
    lambda v: MAGIC + b"".join(b" " + word for word in v[0]) + b"\nFRAME\n" + v[1]))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_pictures_or_an_error(data):
    try:
        for image in pictures(data):
            assert image.dtype == np.uint8 and image.shape[2] == 3
    except ChappeError as error:
        assert len(str(error)) < 300
