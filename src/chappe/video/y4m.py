"""YUV4MPEG2, the uncompressed video of pipes (`ffmpeg -f yuv4mpegpipe -`): read and written a frame at a time.

8 bits, 4:2:0, 4:2:2, 4:4:4 or grey. Colours: BT.601, limited range (16 to 235, chroma 16 to 240) unless the header says
XCOLORRANGE=FULL; grey is full range unless it says LIMITED, as ffmpeg has it. Chroma is
enlarged bilinearly and reduced by averaging, both as if it sat between its pixels (4:2:0 "jpeg"); where it sits on the
left column (MPEG-2) that is a quarter of a pixel off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from chappe.errors import InputError

__all__ = ["MAGIC", "Y4MHeader", "frame_bytes", "header_bytes", "read_frames", "read_header", "to_rgb", "to_yuv"]

MAGIC = b"YUV4MPEG2"
MAX_LINE = 1024  # bytes of a header line
MAX_SIDE = 16384
_SHAPES = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "mono": (0, 0)}  # rows and columns of luma for one of chroma
_NAMES = {"420jpeg": "420", "420mpeg2": "420", "420paldv": "420"} | {name: name for name in _SHAPES}


@dataclass(frozen=True)
class Y4MHeader:
    """What a stream says of itself. `chroma` is 420, 422, 444 or mono; `rate` (numerator, denominator) or None."""

    width: int
    height: int
    chroma: str = "420"
    rate: tuple[int, int] | None = None
    full: bool = False

    @property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of Y, and of Cb and Cr where there are any."""
        down, across = _SHAPES[self.chroma]
        luma = (self.height, self.width)
        return (luma,) if not down else (luma, *[(-(-self.height // down), -(-self.width // across))] * 2)

    @property
    def size(self) -> int:
        """Bytes of one frame's samples."""
        return sum(rows * columns for rows, columns in self.planes)


def read_header(file: BinaryIO) -> Y4MHeader:
    """The first line of a stream. Raises InputError if it is none, or of a kind that is not read."""
    line = _line(file, "the video's first line")
    words = line.split(" ")
    if words[0].encode("latin-1") != MAGIC:
        raise InputError(f"the video begins with {words[0][:20]!r}, not YUV4MPEG2: use ffmpeg -f yuv4mpegpipe.")
    values = {word[0]: word[1:] for word in words[1:] if word and word[0] != "X"}
    extra = [word[1:].upper() for word in words[1:] if word[:1] == "X"]
    width, height = (_number(values.get(key, "")) for key in "WH")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InputError(f"the video says {values.get('W')!r} x {values.get('H')!r} pixels: sides are 1 to {MAX_SIDE}.")
    chroma = _NAMES.get(values.get("C", "420").lower())
    if chroma is None:
        raise InputError(
            f"the video's samples are of kind {values['C'][:20]!r}, and 8-bit 420, 422, 444 and mono are read: "
            "add -pix_fmt yuv420p."
        )
    if values.get("I", "p") not in ("p", "?"):
        raise InputError("the video is interlaced: add -vf yadif to make whole pictures of it.")
    # libswscale writes and reads grey in full range, and ffmpeg then says nothing of it
    full = "COLORRANGE=FULL" in extra or (chroma == "mono" and "COLORRANGE=LIMITED" not in extra)
    return Y4MHeader(width, height, chroma, _rate(values.get("F", "")), full)


def read_frames(file: BinaryIO, header: Y4MHeader) -> Iterator[np.ndarray]:
    """The pictures (H, W, 3) uint8 behind the first line, one at a time. Raises InputError where the stream is cut."""
    number = 0
    while first := file.read(1):
        number += 1
        if first != b"F" or _line(file, f"frame {number}", b"F").split(" ")[0] != "FRAME":
            raise InputError(f"the video has no frame where frame {number} should begin: its size or kind is wrong.")
        data = _exactly(file, header.size)
        if len(data) < header.size:
            raise InputError(f"the video ends inside frame {number}, after {len(data)} of {header.size} bytes.")
        yield to_rgb(data, header)


def header_bytes(header: Y4MHeader) -> bytes:
    """The first line of a stream."""
    rate = f" F{header.rate[0]}:{header.rate[1]}" if header.rate else ""
    chroma = "420jpeg" if header.chroma == "420" else header.chroma
    colours = "FULL" if header.full else "LIMITED"
    return f"YUV4MPEG2 W{header.width} H{header.height}{rate} Ip A1:1 C{chroma} XCOLORRANGE={colours}\n".encode()


def frame_bytes(image: np.ndarray, header: Y4MHeader) -> bytes:
    """One picture (H, W, 3) uint8 as a frame of the stream. Raises InputError for another size."""
    if image.shape != (header.height, header.width, 3):
        raise InputError(
            f"a picture has {image.shape[1]}x{image.shape[0]} pixels, the video {header.width}x{header.height}: "
            "all must be of one size."
        )
    return b"FRAME\n" + to_yuv(image, header)


def to_rgb(data: bytes, header: Y4MHeader) -> np.ndarray:
    """Samples of one frame -> (H, W, 3) uint8 (BT.601-7, table 3)."""
    planes, at = [], 0
    for rows, columns in header.planes:
        planes.append(np.frombuffer(data, np.uint8, rows * columns, at).reshape(rows, columns))
        at += rows * columns
    y = planes[0].astype(np.float32)
    if not header.full:
        y = (y - 16) * np.float32(255 / 219)
    if header.chroma == "mono":
        rgb = np.repeat(y[..., None], 3, 2)
    else:
        size = (header.width, header.height)
        scale = np.float32(1 if header.full else 255 / 224)
        cb, cr = ((_enlarge(plane, size) - 128) * scale for plane in planes[1:])
        rgb = np.stack([y + 1.402 * cr, y - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587, y + 1.772 * cb], -1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def to_yuv(image: np.ndarray, header: Y4MHeader) -> bytes:
    """(H, W, 3) uint8 -> the samples of one frame (BT.601-7, table 3)."""
    r, g, b = (image[..., k].astype(np.float32) for k in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    light = y if header.full else y * np.float32(219 / 255) + 16
    parts = [_byte(light)]
    down, across = _SHAPES[header.chroma]
    if down:
        scale = np.float32(1 if header.full else 224 / 255)
        parts += [_byte(_reduce(c, down, across) * scale + 128) for c in ((b - y) / 1.772, (r - y) / 1.402)]
    return b"".join(part.tobytes() for part in parts)


def _byte(plane: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def _enlarge(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8 -> (H, W) float32, bilinear; an odd side's last chroma sample covers one pixel only."""
    height, width = size[1], size[0]
    if plane.shape == (height, width):
        return plane.astype(np.float32)
    whole = tuple(side if side == wanted else 2 * side for side, wanted in zip(plane.shape[::-1], size, strict=True))
    big = Image.fromarray(plane.astype(np.float32)).resize(whole, Image.Resampling.BILINEAR)
    return np.asarray(big)[:height, :width]


def _reduce(plane: np.ndarray, down: int, across: int) -> np.ndarray:
    """Means over `down` x `across` pixels; an odd side's last row or column is repeated."""
    pad = ((0, -plane.shape[0] % down), (0, -plane.shape[1] % across))
    plane = np.pad(plane, pad, mode="edge")
    return plane.reshape(plane.shape[0] // down, down, -1, across).mean((1, 3))


def _exactly(file: BinaryIO, size: int) -> bytes:
    """`size` bytes, or what there is where the stream ends before."""
    parts, left = [], size
    while left and (part := file.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _line(file: BinaryIO, what: str, begun: bytes = b"") -> str:
    line = begun + file.readline(MAX_LINE)
    if not line.endswith(b"\n"):
        raise InputError(f"{what} has no end within {MAX_LINE} bytes: this is no YUV4MPEG2 video, or it is cut.")
    return line[:-1].decode("latin-1")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _rate(text: str) -> tuple[int, int] | None:
    above, _, below = text.partition(":")
    pair = (_number(above), _number(below))
    return pair if all(0 < n < 1 << 28 for n in pair) else None
