"""Two small deterministic codecs for tests of the benchmark, opened as adapters: tests/shrink.py:plain and :labelled.

A picture is scaled down until its raw RGB bytes fit the rate, and scaled up again. SHRINK_SLEEP (seconds) slows the
encoder down, for tests that interrupt it.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from chappe.codec import Codec, Decoded, OperatingPoint, SectionReport, StreamReport
from chappe.errors import RateError, UsageError

__all__ = ["FILE", "Labelled", "Plain", "labelled", "make_data", "not_a_codec", "plain"]

FILE = Path(__file__)
HEAD = struct.Struct("<HHHHH")  # width, height, coded width, coded height, bytes of labels
LOWEST = 0.3  # bpp


class Rung(NamedTuple):
    quality: int
    blob: bytes
    seconds: float


class Plain(Codec):
    """Classical in kind: no labels, a ladder of qualities, every rate timed at the rung it takes."""

    name, codec_id, version = "shrink", 250, "shrink 1"

    def encode(self, image, *, labels=None, bpp=None, point=None):
        if point is not None:
            bpp = self.find_point(point).settings["bpp"]
        return self._encode(image, bpp)

    def rung(self, image, bpp):
        return Rung(int(1000 * bpp), self._encode(image, bpp), 0.125)

    def points(self):
        return (OperatingPoint("small", {"bpp": 0.5}),)

    def decode(self, blob):
        width, height, w, h, extra = HEAD.unpack_from(blob)
        small = np.frombuffer(blob, np.uint8, w * h * 3, HEAD.size + extra).reshape(h, w, 3)
        image = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))
        sections = (SectionReport("payload", 7, len(blob) - HEAD.size, w * h * 3, True),)
        report = StreamReport(self.name, self.codec_id, 0, width, height, HEAD.size, sections, bpp_nominal=0.25)
        labels = None
        if extra:
            flat = np.frombuffer(blob, np.uint8, extra, HEAD.size).reshape(-(-height // 8), -(-width // 8))
            labels = flat.repeat(8, 0).repeat(8, 1)[:height, :width].copy()
        return Decoded(image, labels, self.taxonomy, report)

    def _encode(self, image, bpp, labels=None):
        time.sleep(float(os.environ.get("SHRINK_SLEEP", 0)))
        height, width = image.shape[:2]
        if bpp < LOWEST or bpp > 20:
            raise RateError(f"shrink does not reach {bpp} bpp: it reaches {LOWEST} to 20.")
        extra = b"" if labels is None else np.ascontiguousarray(labels[::8, ::8]).tobytes()
        room = max(bpp * height * width / 8 - HEAD.size - len(extra), 3)
        scale = min(1.0, (room / (3 * height * width)) ** 0.5)
        w, h = max(1, int(width * scale)), max(1, int(height * scale))
        small = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BOX))
        return HEAD.pack(width, height, w, h, len(extra)) + extra + small.tobytes()


class Labelled(Plain):
    """Sends a label map at an eighth of the size; its own segmenter goes by brightness."""

    name, taxonomy, version, fingerprint, settings = "shrink-labels", "street11", None, 0xBEEF, {"grid": 8}
    rung = property()  # none: hasattr says no

    def encode(self, image, *, labels=None, bpp=None, point=None):
        if point is not None:
            settings = self.find_point(point).settings
            if set(settings) - {"bpp", "map"}:
                raise UsageError("shrink-labels has the settings bpp and map.")
            bpp = settings["bpp"]
        return self._encode(image, bpp, self.segment(image) if labels is None else labels)

    def segment(self, image):
        return (image.mean(2) // 24).astype(np.uint8)

    def kept_tokens(self, blob):
        return np.arange(32).reshape(4, 8) % 3 == 0


def make_data(root: Path, count: int = 4) -> Path:
    """A folder of street scenes of 96 x 64 pixels with their label maps: images/s0.png, labels/s0.png, ..."""
    from chappe.data.scenes import render_scene

    for k in range(count):
        scene = render_scene(k, size=(64, 96))
        for folder, array in (("images", scene.image), ("labels", scene.labels)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"s{k}.png")
    return root


def plain() -> Plain:
    return Plain()


def labelled() -> Labelled:
    return Labelled()


def not_a_codec() -> int:
    return 3
