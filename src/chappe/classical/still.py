"""JPEG, JPEG 2000, WebP and AVIF by Pillow, JPEG XL by imagecodecs: every byte of the file counts.

A half-size file is one byte, which says whether the sides were odd, and the standard's file.
"""

from __future__ import annotations

import io
import warnings
from abc import abstractmethod
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from chappe.classical.base import MAX_SIDE, Engine, library
from chappe.errors import MissingDependency, StreamError

__all__ = ["Avif", "Jpeg", "Jpeg2000", "Jxl", "Webp"]


class _Still(Engine):
    """Files of a standard that knows its own size."""

    title: str
    start: bytes = b""  # how every file of ours begins
    settings: str

    def encode(self, prepared: Any, quality: float, tag: int) -> bytes:
        return (bytes([tag]) if tag else b"") + self.compress(prepared, quality)

    def decode(self, blob: bytes, half: bool) -> tuple[np.ndarray, int, int]:
        tag, payload = (blob[0], blob[1:]) if half else (0, blob)
        if not payload.startswith(self.start):
            raise StreamError(f"The file does not begin like the {self.title} that {self.name} writes.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow, on damaged files
                return self.expand(payload), tag, int(half)
        except StreamError:
            raise
        except UnidentifiedImageError as error:
            raise StreamError(f"The file is not a {self.title}.") from error
        except Exception as error:  # parsers of damaged files raise nearly every type
            detail = " ".join(str(error).split())[:120] or type(error).__name__
            raise StreamError(f"The {self.title} is damaged or cut and cannot be decoded ({detail}).") from error

    @abstractmethod
    def compress(self, prepared: Any, quality: float) -> bytes:
        """The standard's file."""

    @abstractmethod
    def expand(self, payload: bytes) -> np.ndarray:
        """(H, W, 3) uint8 of the standard's file; may raise anything."""

    def check_size(self, width: int, height: int) -> None:
        """Refuse, on the header alone, what no file of ours claims."""
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise StreamError(f"The {self.title} claims {width}x{height} pixels; the most is {MAX_SIDE} a side.")


class _Pillow(_Still):
    """Files that Pillow reads and writes under the name `kind`, if it was built with its module or codec `feature`."""

    kind: str
    feature: str

    def version(self) -> str:
        if not features.check(self.feature):
            raise MissingDependency(
                f"This Pillow was built without {self.title}: install Pillow's own wheel (pip install -U pillow)."
            )
        return f"{self.title} {features.version(self.feature)} (Pillow), {self.settings}"

    def prepare(self, image: np.ndarray) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(image))

    def save(self, picture: Image.Image, **options: object) -> bytes:
        out = io.BytesIO()
        picture.save(out, self.kind, **options)
        return out.getvalue()

    def expand(self, payload: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(payload), formats=(self.kind,)) as picture:
            self.check_size(*picture.size)
            return np.array(picture.convert("RGB"))


class Jpeg(_Pillow):
    """Baseline or progressive, whichever is smaller; Huffman tables optimised, 4:2:0. Quality 1 to 95."""

    name, title, kind, feature = "jpeg", "JPEG", "JPEG", "jpg"
    start = b"\xff\xd8"
    settings = "optimised, smaller of baseline and progressive, 4:2:0"
    ladder = tuple(range(1, 96))
    default = 75
    curve = (
        (1, 0.105), (3, 0.118), (5, 0.172), (8, 0.256), (12, 0.350), (20, 0.510), (30, 0.675), (50, 0.944), (70, 1.29),
        (80, 1.63), (90, 2.37), (95, 3.29),
    )  # fmt: skip

    def compress(self, prepared: Image.Image, quality: float) -> bytes:
        files = (
            self.save(prepared, quality=int(quality), optimize=True, progressive=progressive, subsampling="4:2:0")
            for progressive in (False, True)
        )
        return min(files, key=len)


class Jpeg2000(_Pillow):
    """Raw codestream, 9/7 wavelet with colour transform, to a wanted rate: quality is bits per coded pixel."""

    name, title, kind, feature = "jpeg2000", "JPEG 2000 codestream", "JPEG2000", "jpg_2000"
    start = b"\xff\x4f\xff\x51"
    settings = "raw codestream, 9/7, ICT, one layer by rate"
    ladder = tuple(float(f"{0.01 * 2 ** (k / 8):.3g}") for k in range(86))  # 0.01 to 15.8 in steps of 9 %
    default = 1.0
    curve = tuple((quality, quality) for quality in ladder)

    def compress(self, prepared: Image.Image, quality: float) -> bytes:
        return self.save(
            prepared, no_jp2=True, irreversible=True, mct=1, quality_mode="rates", quality_layers=[24 / quality]
        )


class Webp(_Pillow):
    """Lossy WebP, method 6. Quality 0 to 100."""

    name, title, kind, feature = "webp", "WebP", "WEBP", "webp"
    start = b"RIFF"
    settings = "method 6"
    ladder = tuple(range(101))
    default = 75
    curve = (
        (0, 0.125), (1, 0.188), (2, 0.211), (4, 0.245), (7, 0.281), (12, 0.340), (20, 0.422), (35, 0.567), (50, 0.714),
        (65, 0.854), (80, 1.18), (90, 1.89), (100, 3.65),
    )  # fmt: skip

    def compress(self, prepared: Image.Image, quality: float) -> bytes:
        return self.save(prepared, quality=int(quality), method=6)


class Avif(_Pillow):
    """AVIF file by libaom, speed 4, 4:2:0, one thread. Quality 0 to 100."""

    name, title, kind, feature = "avif", "AVIF", "AVIF", "avif"
    settings = "speed 4, 4:2:0"
    ladder = tuple(range(101))
    default = 60
    curve = (
        (0, 0.094), (3, 0.105), (8, 0.128), (15, 0.163), (22, 0.220), (30, 0.293), (40, 0.432), (50, 0.637),
        (60, 0.913), (70, 1.24), (80, 1.64), (90, 2.35), (100, 5.60),
    )  # fmt: skip

    def compress(self, prepared: Image.Image, quality: float) -> bytes:
        return self.save(prepared, quality=int(quality), speed=4, subsampling="4:2:0", max_threads=1, autotiling=False)


class Jxl(_Still):
    """JPEG XL codestream without container; quality is the distance, 25 to 0.1 (less is better).

    Effort 7, and 8 from distance 19 on: only there does libjxl go on shrinking the file, from 0.18 to 0.13 bpp.
    """

    name, title = "jxl", "JPEG XL codestream"
    start = b"\xff\x0a"
    settings = "codestream, effort 7, 8 from distance 19 on"
    ladder = (
        *(25 - k / 4 for k in range(25)), 18.5, *(18 - k / 2 for k in range(21)), *(7.75 - k / 4 for k in range(20)),
        *(round(2.9 - k / 10, 1) for k in range(29)),
    )  # fmt: skip
    default = 1.0
    curve = (
        (25, 0.132), (22, 0.148), (19, 0.180), (18, 0.199), (15, 0.225), (12, 0.282), (9, 0.365), (7, 0.452),
        (5, 0.588), (4, 0.719), (3, 0.907), (2, 1.22), (1, 1.97), (0.5, 3.06), (0.1, 6.95),
    )  # fmt: skip

    def version(self) -> str:
        return f"{library('imagecodecs').jpegxl_version()}, {self.settings}"

    def compress(self, prepared: np.ndarray, quality: float) -> bytes:
        effort = 8 if quality >= 19 else 7
        return bytes(
            library("imagecodecs").jpegxl_encode(
                np.ascontiguousarray(prepared), distance=quality, effort=effort, usecontainer=False, numthreads=1
            )
        )

    def expand(self, payload: bytes) -> np.ndarray:
        width, height = self.check_header(payload)
        image = library("imagecodecs").jpegxl_decode(payload, numthreads=1)
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise StreamError(f"The {self.title} holds {image.dtype} {image.shape}, not 8-bit RGB.")
        return image

    def check_header(self, payload: bytes) -> tuple[int, int]:
        """(width, height) of a codestream, ISO/IEC 18181-1 SizeHeader, before the library allocates anything.

        The image metadata behind it must be the default ones, one set bit: no extra channel, animation or preview.
        """
        bits = int.from_bytes(payload[2:16], "little")
        small, bits = bits & 1, bits >> 1

        def side() -> int:
            nonlocal bits
            if small:
                value, bits = (bits & 31) + 1 << 3, bits >> 5
                return value
            length, bits = (9, 13, 18, 30)[bits & 3], bits >> 2
            value, bits = (bits & (1 << length) - 1) + 1, bits >> length
            return value

        height = side()
        ratio, bits = bits & 7, bits >> 3
        above, below = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
        width = height * above // below if ratio else side()
        self.check_size(width, height)
        if not bits & 1:
            raise StreamError(f"The {self.title} has features that {self.name} does not write.")
        return width, height
