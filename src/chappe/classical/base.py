"""A standard codec behind the Codec contract: quality ladder, half-size variant, and the bookkeeping of both.

An `Engine` wraps one library; `ClassicalCodec` adds what all of them share. A blob carries no check of its own beyond
what the standard has: damage either fails to decode or decodes to another picture.
"""

from __future__ import annotations

import hashlib
import importlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from chappe.classical.ladder import nearest_rung, typical_sizes
from chappe.codec import Codec, Decoded, OperatingPoint, SectionReport, StreamReport
from chappe.errors import InputError, MissingDependency, RateError, StreamError, UsageError
from chappe.image import read_image

if TYPE_CHECKING:
    from chappe.codec import ImageSource

__all__ = ["MAX_SIDE", "MIN_SIDE", "ClassicalCodec", "Engine", "Rung", "halve", "library", "pad", "unhalve"]

MIN_SIDE = 16
MAX_SIDE = 4096


@dataclass(frozen=True, eq=False)
class Rung:
    """One file of a quality ladder: `quality` in the codec's own scale, wall-clock `seconds` of this one encode."""

    quality: float
    blob: bytes
    seconds: float


def library(name: str) -> Any:
    """Import an optional library of the extra `bench`, or raise MissingDependency."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            f"This codec needs the Python package {name!r}, which is not installed: pip install 'chappe[bench]'."
        ) from error


def pad(image: np.ndarray, multiple: int, least: int = 1) -> np.ndarray:
    """(H, W, 3) with its last row and column repeated until both sides are multiples and at least `least`."""
    height, width = (max(least, -(-side // multiple) * multiple) for side in image.shape[:2])
    below, right = height - image.shape[0], width - image.shape[1]
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else image


def halve(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 at half width and height, odd sides padded by repetition first; Lanczos (a = 3), antialiased."""
    even = pad(image, 2)
    size = (even.shape[1] // 2, even.shape[0] // 2)
    return np.asarray(Image.fromarray(even).resize(size, Image.Resampling.LANCZOS))


def unhalve(image: np.ndarray, odd_width: bool, odd_height: bool) -> np.ndarray:
    """(h, w, 3) uint8 at twice its size by Lanczos (a = 3), less the column and the row that padding had added."""
    size = (image.shape[1] * 2, image.shape[0] * 2)
    double = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    return double[: size[1] - odd_height, : size[0] - odd_width]


class Engine(ABC):
    """One library that turns pictures into bytes at a quality and back.

    `ladder`: qualities, lowest rate first. `curve`: (quality, typical bpp of a 256x512 street picture), a guess to
    start a search from. A `tag` of 0..15 travels with every file: 0 for a whole picture, else `_tag` of a half one.
    """

    name: str
    ladder: tuple[float, ...]
    curve: tuple[tuple[float, float], ...]
    default: float  # quality where neither rate nor point is asked for

    @abstractmethod
    def version(self) -> str:
        """Library, its version and the encoder's settings: whatever decides the bytes. Raises MissingDependency."""

    def prepare(self, image: np.ndarray) -> Any:
        """What `encode` takes, made once a picture of (H, W, 3) uint8."""
        return image

    @abstractmethod
    def encode(self, prepared: Any, quality: float, tag: int) -> bytes:
        """One file."""

    @abstractmethod
    def decode(self, blob: bytes, half: bool) -> tuple[np.ndarray, int, int]:
        """(H, W, 3) uint8, the tag, and the bytes in front of the payload. Raises StreamError or ModelError."""


@dataclass
class _Memory:
    """The files already made of one picture."""

    key: bytes = b""
    prepared: Any = None
    seconds: float = 0.0
    rungs: dict[float, Rung] = field(default_factory=dict)


class ClassicalCodec(Codec):
    """A standard codec. Its files hold a picture and no labels, and are not chappe files: `codec_id` is 0.

    `version` names library and settings; a file is decoded by the codec of the same name. One operating point a rung of
    the ladder: "q30" is quality 30 in the codec's own scale (docs/classical.md), and any other quality inside the
    ladder's range can be given as OperatingPoint("q", {"quality": 30}).
    """

    codec_id = 0
    taxonomy = None

    def __init__(self, engine: Engine, *, half: bool = False) -> None:
        self.name = f"{engine.name}-half" if half else engine.name
        self.half = half
        self.version = engine.version() + (", half size by Lanczos" if half else "")
        self.fingerprint = int.from_bytes(hashlib.sha256(f"{self.name} {self.version}".encode()).digest()[:2])
        self._engine = engine
        self._typical = typical_sizes(engine.ladder, engine.curve)
        self._memory = _Memory()

    def points(self) -> tuple[OperatingPoint, ...]:
        return tuple(OperatingPoint(f"q{quality:g}", {"quality": quality}) for quality in self._engine.ladder)

    def encode(
        self,
        image: ImageSource,
        *,
        labels: ImageSource | None = None,
        bpp: float | None = None,
        point: OperatingPoint | str | None = None,
    ) -> bytes:
        """Compress one picture; `labels` are not sent. See `Codec.encode`; `rung` says what `bpp` gives."""
        if bpp is not None and point is not None:
            raise UsageError(f"{self.name} takes a rate or an operating point, not both.")
        if bpp is not None:
            return self.rung(image, bpp).blob
        picture = self._picture(image)
        return self._rung(picture, self._engine.default if point is None else self._quality(point)).blob

    def rung(self, image: ImageSource, bpp: float) -> Rung:
        """The file of the ladder nearest to `bpp` bits per pixel in log size, at most 10 % above it.

        Where even the highest quality stays below `bpp`, the file of that quality. Raises RateError where the lowest
        is more than 10 % above it; the sentence says what is reachable. Files already made of the same picture are
        kept until another picture comes, so that several rates share their encodes.
        """
        if not (isinstance(bpp, (int, float)) and 0 < bpp < float("inf")):
            raise UsageError(f"{self.name}: {bpp!r} is not a rate: give bits per pixel above 0.")
        picture = self._picture(image)
        ladder = self._engine.ladder
        pixels = picture.shape[0] * picture.shape[1]
        index = nearest_rung(lambda i: len(self._rung(picture, ladder[i]).blob), self._typical, bpp * pixels / 8)
        if index is None:
            least = len(self._rung(picture, ladder[0]).blob)
            raise RateError(
                f"{self.name} reaches {least * 8 / pixels:.4f} bpp ({least} bytes) at its lowest quality on this "
                f"{picture.shape[1]}x{picture.shape[0]} picture, not {bpp:g} bpp: ask for more, or code it smaller."
            )
        return self._rung(picture, ladder[index])

    def decode(self, blob: bytes) -> Decoded:
        """Rebuild the picture; labels and taxonomy are None. Raises StreamError or ModelError, and nothing else."""
        if not isinstance(blob, (bytes, bytearray, memoryview)):
            raise StreamError(f"{self.name} decodes bytes, not {type(blob).__name__}.")
        data = bytes(blob)
        if not data:
            raise StreamError(f"The file is empty: expected one of {self.name}.")
        image, tag, header = self._engine.decode(data, self.half)
        if bool(tag) != self.half or tag & ~7 or (tag and not tag & 4):
            other = self._engine.name if self.half else f"{self._engine.name}-half"
            raise StreamError(f"The file is not one of {self.name} (tag {tag}): decode it with {other}.")
        if self.half:
            image = unhalve(image, bool(tag & 1), bool(tag & 2))
        height, width = image.shape[:2]
        if not (MIN_SIDE <= min(height, width) and max(height, width) <= MAX_SIDE):
            raise StreamError(
                f"The file holds a picture of {width}x{height} pixels; {self.name} has {MIN_SIDE} to {MAX_SIDE} a side."
            )
        section = SectionReport("payload", 0, len(data) - header, len(data) - header, True)
        report = StreamReport(self.name, self.codec_id, self.fingerprint, width, height, header, (section,))
        return Decoded(np.ascontiguousarray(image), None, None, report)

    def _picture(self, image: ImageSource) -> np.ndarray:
        picture = read_image(image)
        height, width = picture.shape[:2]
        if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
            raise InputError(
                f"The picture has {width}x{height} pixels; {self.name} takes {MIN_SIDE}x{MIN_SIDE} to "
                f"{MAX_SIDE}x{MAX_SIDE}: scale it."
            )
        return picture

    def _quality(self, point: OperatingPoint | str) -> float:
        settings = dict(self.find_point(point).settings)
        ends = sorted((self._engine.ladder[0], self._engine.ladder[-1]))
        scale = f"quality = {ends[0]:g} to {ends[1]:g}"
        if set(settings) != {"quality"} or not isinstance(settings["quality"], (int, float)):
            raise UsageError(f"An operating point of {self.name} sets {scale}, not {settings}.")
        quality = settings["quality"]
        whole = all(q == int(q) for q in self._engine.ladder)
        if not ends[0] <= quality <= ends[1] or (whole and quality != int(quality)):
            raise UsageError(f"{self.name} has {scale}{' in whole numbers' if whole else ''}, not {quality!r}.")
        return int(quality) if whole else quality

    def _rung(self, picture: np.ndarray, quality: float) -> Rung:
        """One file, from memory if it was made of this very picture before."""
        key = hashlib.blake2b(np.ascontiguousarray(picture), person=repr(picture.shape[:2]).encode()).digest()
        if key != self._memory.key:
            start = time.perf_counter()
            prepared = self._engine.prepare(halve(picture) if self.half else picture)
            self._memory = _Memory(key, prepared, time.perf_counter() - start)
        memory = self._memory
        if quality not in memory.rungs:
            start = time.perf_counter()
            blob = self._engine.encode(memory.prepared, quality, self._tag(picture))
            memory.rungs[quality] = Rung(quality, blob, memory.seconds + time.perf_counter() - start)
        return memory.rungs[quality]

    def _tag(self, picture: np.ndarray) -> int:
        """0 for a whole picture; for a half one 4, plus 1 where its width was odd and 2 where its height was."""
        return 4 + picture.shape[1] % 2 + 2 * (picture.shape[0] % 2) if self.half else 0
