"""One intra picture by a video encoder, without what can be made again: HEVC by x265, AV1 by SVT-AV1, through PyAV.

    byte 0   bits 7-4: check of the parameter sets; bits 3-0: tag, 0 or 4 + odd width + 2 x odd height of a half picture
    varints  width and height of the coded picture before padding
    payload  HEVC: the one slice NAL unit, without start code. AV1: contents of the one frame OBU, without its header

VPS, SPS and PPS (HEVC) and the sequence header (AV1) depend on size, preset and build only. The decoder makes them
again with the installed encoder; the check refuses another build whose sets differ. Chroma is 4:2:0, 8 bits, full-range
BT.601 (as in JPEG), averaged 2x2 and brought back by bicubic interpolation.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import abstractmethod
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from chappe.bitstream.varint import read_varint, write_varint
from chappe.classical.base import MAX_SIDE, Engine, library, pad
from chappe.classical.priority import same_scheduling
from chappe.errors import MissingDependency, ModelError, StreamError

__all__ = ["Av1", "Hevc", "coded_size", "obus", "rgb_from_yuv", "split_nals", "yuv_from_rgb"]

GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: x265 then shows its parameter sets on opening
HEVC_PRESET = "slow"
AV1_PRESET = 3


def coded_size(width: int, height: int) -> tuple[int, int]:
    """Sides that are coded: even, for 4:2:0, and at least 16, the least that x265 takes."""
    return max(16, width + width % 2), max(16, height + height % 2)


def yuv_from_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, sides even, as planar 4:2:0 (H * 3 / 2, W) uint8: full-range BT.601, chroma averaged 2x2."""
    height, width = image.shape[:2]
    luma, *chroma = Image.fromarray(np.ascontiguousarray(image)).convert("YCbCr").split()
    planes = [luma, *(plane.reduce(2) for plane in chroma)]
    return np.concatenate([np.asarray(plane).ravel() for plane in planes]).reshape(height * 3 // 2, width)


def rgb_from_yuv(planar: np.ndarray) -> np.ndarray:
    """The inverse of `yuv_from_rgb`, chroma by bicubic interpolation: (H, W, 3) uint8."""
    height, width = planar.shape[0] * 2 // 3, planar.shape[1]
    luma, chroma = np.split(planar.ravel(), [height * width])
    planes = [Image.fromarray(luma.reshape(height, width))]
    for plane in chroma.reshape(2, height // 2, width // 2):
        planes.append(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray(Image.merge("YCbCr", planes).convert("RGB"))


def split_nals(stream: bytes) -> list[bytes]:
    """NAL units of an Annex-B byte stream, without start codes (ITU-T H.265 annex B)."""
    return [nal for nal in re.split(b"\x00\x00\x00\x01|\x00\x00\x01", stream) if nal]


def nal_type(nal: bytes) -> int:
    """nal_unit_type of H.265 7.3.1.2; below 32 it is a slice."""
    return nal[0] >> 1 & 63


def obus(stream: bytes) -> list[tuple[int, bytes]]:
    """(obu_type, contents) of an AV1 low-overhead stream, section 5.3 of the AV1 specification."""
    found, at = [], 0
    while at < len(stream):
        kind, at = stream[at] >> 3 & 15, at + 1
        size, at = read_varint(stream, at)
        found.append((kind, stream[at : at + size]))
        at += size
    return found


class _Intra(Engine):
    """A PyAV encoder and decoder of one picture."""

    encoder: str
    decoder: str
    title: str

    def version(self) -> str:
        av = library("av")
        for name, mode in ((self.encoder, "w"), (self.decoder, "r")):
            try:
                av.codec.Codec(name, mode)
            except av.error.FFmpegError as error:
                raise MissingDependency(
                    f"This PyAV was built without {name}: install its own wheel (pip install 'chappe[bench]')."
                ) from error
        return f"{self.library_version()}, {self.settings()}"

    @abstractmethod
    def library_version(self) -> str:
        """Name and version of the encoder."""

    @abstractmethod
    def settings(self) -> str:
        """The encoder's settings in words."""

    @abstractmethod
    def options(self, quality: float) -> dict[str, str]:
        """Options of the encoder."""

    @abstractmethod
    def sets(self, width: int, height: int) -> bytes:
        """Parameter sets of this coded size, as they stand in a stream."""

    @abstractmethod
    def split(self, stream: bytes) -> tuple[bytes, bytes]:
        """Parameter sets and payload of a whole stream. Raises ModelError if it holds anything else of weight."""

    @abstractmethod
    def join(self, sets: bytes, payload: bytes) -> bytes:
        """A whole stream again. Raises StreamError if the payload is none of ours."""

    def prepare(self, image: np.ndarray) -> tuple[int, int, np.ndarray]:
        height, width = image.shape[:2]
        return width, height, yuv_from_rgb(pad(image, 2, 16))

    def encode(self, prepared: tuple[int, int, np.ndarray], quality: float, tag: int) -> bytes:
        width, height, planar = prepared
        sets, payload = self.split(self.stream(planar, quality))
        if sets != self.sets(*coded_size(width, height)):
            raise ModelError(
                f"{self.name}: this build of the encoder wrote parameter sets that depend on more than the picture's "
                "size, so they cannot be left out: use the PyAV of chappe[bench]."
            )
        return bytes([_check(sets) << 4 | tag]) + write_varint(width) + write_varint(height) + payload

    def stream(self, planar: np.ndarray, quality: float) -> bytes:
        """The whole stream of one picture, planar 4:2:0 as `yuv_from_rgb` makes it."""
        av = library("av")
        context = self.context(planar.shape[1], planar.shape[0] * 2 // 3, quality)
        with same_scheduling():
            context.open()
        frame = av.VideoFrame.from_ndarray(planar, format="yuv420p")
        return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])

    def context(self, width: int, height: int, quality: float) -> Any:
        """An encoder of one picture, not yet opened."""
        context = library("av").CodecContext.create(self.encoder, "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, 1), Fraction(1, 1)
        context.thread_count = 1
        context.options = self.options(quality)
        return context

    def decode(self, blob: bytes, half: bool) -> tuple[np.ndarray, int, int]:
        width, at = read_varint(blob, 1)
        height, at = read_varint(blob, at)
        least = 8 if half else 16
        most = MAX_SIDE // 2 if half else MAX_SIDE
        if not (least <= min(width, height) and max(width, height) <= most):
            raise StreamError(
                f"The file claims {width}x{height} coded pixels; {self.name} has {least} to {most} a side."
            )
        coded = coded_size(width, height)
        sets = self.sets(*coded)
        if _check(sets) != blob[0] >> 4:
            raise ModelError(
                "The file is damaged, or was written by another build of the encoder: its parameter sets are not those "
                f"of the {self.library_version()} that is installed."
            )
        planar = self.picture(self.join(sets, blob[at:]))
        if planar.shape != (coded[1] * 3 // 2, coded[0]):
            raise StreamError(f"The {self.title} holds a picture of another size than the file says: it is damaged.")
        return rgb_from_yuv(planar)[:height, :width], blob[0] & 15, at

    def picture(self, stream: bytes) -> np.ndarray:
        """The one picture of a whole stream, planar 4:2:0."""
        av = library("av")
        try:
            context = av.CodecContext.create(self.decoder, "r")
            context.thread_count = 1
            frames = [*context.decode(av.Packet(stream)), *context.decode(None)]
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise StreamError(f"The {self.title} is damaged or cut and cannot be decoded.") from error
        if len(frames) != 1 or frames[0].format.name not in ("yuv420p", "yuvj420p"):
            raise StreamError(f"The {self.title} does not decode to one 8-bit 4:2:0 picture: it is damaged or cut.")
        return frames[0].to_ndarray()


def _check(sets: bytes) -> int:
    return hashlib.sha256(sets).digest()[0] >> 4


class Hevc(_Intra):
    """HEVC intra by x265 at a constant quantiser; quality is QP, 51 to 0 (less is better)."""

    name, title = "hevc", "HEVC slice"
    encoder, decoder = "libx265", "hevc"
    ladder = tuple(range(51, -1, -1))
    default = 30
    curve = (
        (51, 0.026), (48, 0.047), (45, 0.082), (42, 0.137), (39, 0.223), (36, 0.341), (33, 0.490), (30, 0.684),
        (25, 1.09), (20, 1.64), (15, 2.42), (10, 3.50), (5, 4.89), (0, 6.27),
    )  # fmt: skip

    def library_version(self) -> str:
        return _x265_version()

    def settings(self) -> str:
        return f"preset {HEVC_PRESET}, tune psnr, 4:2:0, slice payload"

    def options(self, quality: float) -> dict[str, str]:
        # ipratio=1: without it x265 codes an intra picture three steps finer than the QP it is asked for.
        # One thread and no wavefronts: the same bytes on every machine, and no entry points to pay for.
        fixed = "keyint=1:ipratio=1:wpp=0:pools=none:frame-threads=1:log-level=none:info=0"
        return {"preset": HEVC_PRESET, "tune": "psnr", "x265-params": f"qp={int(quality)}:{fixed}"}

    def sets(self, width: int, height: int) -> bytes:
        return _hevc_sets(width, height)

    def split(self, stream: bytes) -> tuple[bytes, bytes]:
        nals = split_nals(stream)
        slices = [nal for nal in nals if nal_type(nal) < 32]
        if len(slices) != 1:
            raise ModelError(f"{self.name}: the encoder wrote {len(slices)} slices for one picture, not 1.")
        return _annex_b(nal for nal in nals if 32 <= nal_type(nal) <= 34), slices[0]

    def join(self, sets: bytes, payload: bytes) -> bytes:
        # A start code inside the payload would let a file bring parameter sets of its own, of any size.
        if len(payload) < 3 or nal_type(payload) >= 32 or b"\0\0\0" in payload or b"\0\0\1" in payload:
            raise StreamError("The payload is not one HEVC slice: the file is damaged or cut.")
        return sets + _annex_b([payload])


def _annex_b(nals: Any) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


@lru_cache(maxsize=64)
def _hevc_extradata(width: int, height: int) -> bytes:
    """What x265 says on opening, before any picture: parameter sets and an SEI with its version."""
    context = Hevc().context(width, height, 30)
    context.flags |= GLOBAL_HEADER
    context.open()
    return bytes(context.extradata)


@lru_cache(maxsize=64)
def _hevc_sets(width: int, height: int) -> bytes:
    return _annex_b(nal for nal in split_nals(_hevc_extradata(width, height)) if 32 <= nal_type(nal) <= 34)


@lru_cache(maxsize=1)
def _x265_version() -> str:
    context = Hevc().context(16, 16, 30)
    context.options = context.options | {"x265-params": context.options["x265-params"].replace("info=0", "info=1")}
    context.flags |= GLOBAL_HEADER
    context.open()
    found = re.search(rb"x265 \(build (\d+)\) - ([^:]+):", bytes(context.extradata))
    return f"x265 {found[2].decode()} (build {found[1].decode()})" if found else "x265 of an unknown version"


class Av1(_Intra):
    """AV1 still picture by SVT-AV1; quality is CRF, 70 to 1 in quarters (less is better)."""

    name, title = "av1", "AV1 frame"
    encoder, decoder = "libsvtav1", "libdav1d"
    ladder = (*(70 - k / 4 for k in range(48)), *(58 - k / 2 for k in range(115)))
    default = 35
    curve = (
        (70, 0.0082), (68, 0.009), (66, 0.0116), (65, 0.0142), (64, 0.0169), (63, 0.0233), (62, 0.0346), (60, 0.0562),
        (58, 0.0768), (55, 0.117), (50, 0.188), (45, 0.280), (40, 0.402), (35, 0.558), (30, 0.745), (20, 1.15),
        (10, 1.81), (5, 2.61), (1, 4.60),
    )  # fmt: skip

    def library_version(self) -> str:
        return _svt_version()

    def settings(self) -> str:
        return f"preset {AV1_PRESET}, still picture, tune PSNR, 4:2:0, frame payload"

    def options(self, quality: float) -> dict[str, str]:
        return {"preset": str(AV1_PRESET), "svtav1-params": f"avif=1:tune=1:lp=1:crf={quality:g}"}

    def context(self, width: int, height: int, quality: float) -> Any:
        os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints its banner to stderr by itself
        return super().context(width, height, quality)

    def sets(self, width: int, height: int) -> bytes:
        return _av1_sets(width, height)

    def split(self, stream: bytes) -> tuple[bytes, bytes]:
        units = obus(stream)
        headers = [contents for kind, contents in units if kind == 1]
        frames = [contents for kind, contents in units if kind == 6]
        if len(headers) != 1 or len(frames) != 1 or any(kind not in (1, 2, 6) for kind, _ in units):
            raise ModelError(
                f"{self.name}: the encoder wrote OBUs of types {[kind for kind, _ in units]}, not 2, 1, 6."
            )
        return _obu(1, headers[0]), frames[0]

    def join(self, sets: bytes, payload: bytes) -> bytes:
        if not payload:
            raise StreamError("The file ends before its AV1 frame: it is cut.")
        return _obu(2, b"") + sets + _obu(6, payload)


def _obu(kind: int, contents: bytes) -> bytes:
    return bytes([kind << 3 | 2]) + write_varint(len(contents)) + contents


@lru_cache(maxsize=64)
def _av1_sets(width: int, height: int) -> bytes:
    """The sequence header, from a grey picture of that size."""
    engine = Av1()
    return engine.split(engine.stream(np.full((height * 3 // 2, width), 128, np.uint8), 70))[0]


@lru_cache(maxsize=1)
def _svt_version() -> str:
    """SVT-AV1's version as its file in PyAV's wheel is named, and PyAV's own, which decides it in any case."""
    av = library("av")
    package = Path(av.__file__).parent
    folders = (package.with_name("av.libs"), package / ".dylibs")
    names = " ".join(file.name for folder in folders if folder.is_dir() for file in folder.iterdir())
    found = re.search(r"libSvtAv1Enc\S*?\.(\d+\.\d+\.\d+)", names)
    return f"SVT-AV1 {found[1] + ' ' if found else ''}(PyAV {av.__version__})"
