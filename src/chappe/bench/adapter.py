"""Other people's networks as codecs of the benchmark: two functions a quality, and this does the rest.

examples/add_codec.py adds CompressAI's models, MS-ILLM and HiFiC in that way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from chappe.bitstream.varint import read_varint, write_varint
from chappe.codec import Codec, Decoded, OperatingPoint, SectionReport, StreamReport
from chappe.errors import ChappeError, RateError, StreamError, UsageError
from chappe.image import read_image

__all__ = ["Pair", "TensorCodec", "pack", "unpack"]

Pair = tuple[Callable[[Tensor], bytes], Callable[[bytes], Tensor]]
"""compress: (1, 3, H', W') float32 RGB in [0, 1] -> bytes; decompress: those bytes -> such a tensor again."""

TOLERANCE = 1.1  # a file may be this many times as large as was asked for, as for the classical codecs


class TensorCodec(Codec):
    """A codec made of one `Pair` for each quality, which is opened when it is first used.

    qualities: name of the operating point -> function that loads its pair, lowest rate first; at most 256.
    multiple: both sides are padded to multiples of it by repeating the last row and column, and cropped after decoding.
    A file is one byte for the quality, width and height as varints, and what `compress` gave: all of it counts.
    """

    codec_id = 0
    taxonomy = None

    def __init__(
        self, name: str, qualities: Mapping[str, Callable[[], Pair]], *, multiple: int = 64, version: str = ""
    ):
        self.name, self.version, self._multiple = name, version, multiple
        self._loaders, self._pairs = dict(qualities), {}

    def points(self) -> tuple[OperatingPoint, ...]:
        return tuple(OperatingPoint(name) for name in self._loaders)

    def encode(self, image, *, labels=None, bpp=None, point=None) -> bytes:
        """See `Codec.encode`. With `bpp` all qualities are encoded and the file nearest in log size is taken.

        Raises RateError if that is more than 10 % away, but for a rate above all qualities, which gets the best.
        """
        if bpp is not None and point is not None:
            raise UsageError(f"{self.name} takes a rate or an operating point, not both.")
        pixels = read_image(image)
        if bpp is None:
            return self._encode(pixels, next(iter(self._loaders)) if point is None else self.find_point(point).name)
        wanted = bpp * pixels.shape[0] * pixels.shape[1] / 8
        files = [self._encode(pixels, name) for name in self._loaders]
        best = min(files, key=lambda blob: abs(np.log(len(blob) / wanted)))
        if len(best) > TOLERANCE * wanted or (len(best) * TOLERANCE < wanted and len(best) < max(map(len, files))):
            sizes = ", ".join(f"{len(b) * bpp / wanted:.4f}" for b in files)
            raise RateError(f"{self.name} has no file at {bpp:g} bpp on this picture: it reaches {sizes}.")
        return best

    def decode(self, blob: bytes) -> Decoded:
        """Rebuild the picture; labels are None. Raises StreamError for bytes that this codec did not write."""
        try:
            name = list(self._loaders)[blob[0]]
            width, start = read_varint(blob, 1)
            height, start = read_varint(blob, start)
            with torch.inference_mode():
                x = self._pair(name)[1](bytes(blob[start:]))
        except ChappeError:
            raise
        except Exception as error:  # a stranger's decoder may raise anything on damaged bytes
            raise StreamError(f"The file is not one of {self.name}, or damaged ({type(error).__name__}).") from error
        if x.ndim != 4 or x.shape[:2] != (1, 3) or x.shape[2] < height or x.shape[3] < width:
            raise StreamError(f"{self.name} decoded {tuple(x.shape)}, expected (1, 3, >= {height}, >= {width}).")
        image = x[0, :, :height, :width].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        payload = SectionReport("payload", 0, len(blob) - start, len(blob) - start, True)
        report = StreamReport(self.name, self.codec_id, 0, width, height, start, (payload,))
        return Decoded(np.ascontiguousarray(image), None, None, report)

    def _encode(self, pixels: np.ndarray, name: str) -> bytes:
        height, width = pixels.shape[:2]
        padding = ((0, -height % self._multiple), (0, -width % self._multiple), (0, 0))
        x = torch.from_numpy(np.pad(pixels, padding, mode="edge")).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            payload = self._pair(name)[0](x)
        head = bytes([list(self._loaders).index(name)]) + write_varint(width) + write_varint(height)
        return head + payload

    def _pair(self, name: str) -> Pair:
        if name not in self._pairs:
            self._pairs[name] = self._loaders[name]()
        return self._pairs[name]


def pack(numbers: Sequence[int], strings: Sequence[bytes]) -> bytes:
    """A few sizes and the strings of an entropy coder as bytes: counts and lengths as varints, nothing else."""
    parts = [write_varint(len(numbers)), *map(write_varint, numbers), write_varint(len(strings))]
    for string in strings:
        parts += [write_varint(len(string)), string]
    return b"".join(parts)


def unpack(data: bytes) -> tuple[list[int], list[bytes]]:
    """The reverse of `pack`. Raises StreamError for bytes that are cut, or longer than they say."""
    count, at = read_varint(data, 0)
    numbers = []
    for _ in range(count):
        number, at = read_varint(data, at)
        numbers.append(number)
    count, at = read_varint(data, at)
    strings = []
    for _ in range(count):
        length, at = read_varint(data, at)
        strings.append(data[at : at + length])
        at += length
    if at != len(data):
        raise StreamError(f"The strings end at byte {at} of {len(data)}: the file is damaged.")
    return numbers, strings
