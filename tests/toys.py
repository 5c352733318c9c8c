"""A complete codec in twenty lines, for tests of everything around codecs: it sends the mean colour."""

from __future__ import annotations

import numpy as np

import chappe.codec as codec_module
from chappe.bitstream import container
from chappe.codec import Codec, Decoded, ModelEntry, OperatingPoint, describe, register
from chappe.errors import RateError
from chappe.image import read_image

__all__ = ["MeanColour", "install", "make_toy"]


class MeanColour(Codec):
    """Three bytes a picture, and its label map as one index; remembers the last call in `seen`."""

    name, codec_id, taxonomy = "toy-mean", 200, "street11"

    def encode(self, image, *, labels=None, bpp=None, point=None):
        self.seen = {"labels": labels, "bpp": bpp, "point": point}
        if bpp is not None and bpp > 10:
            raise RateError("toy-mean reaches no more than 10 bpp.")
        pixels = read_image(image)
        mean = bytes(int(v) for v in pixels.reshape(-1, 3).mean(0))
        header = container.Header(self.codec_id, 0xABCD, pixels.shape[1], pixels.shape[0])
        sections = [container.Section(container.SectionType.COARSE_IMAGE, mean)]
        if labels is not None:
            most = int(np.bincount(np.asarray(labels).ravel()).argmax())
            sections.append(container.Section(container.SectionType.MAP_TOKENS, bytes([most])))
        return container.write(header, sections)

    def decode(self, blob):
        header, sections = container.read(blob)
        shape = (header.height, header.width)
        image = np.broadcast_to(np.frombuffer(sections[0].payload, np.uint8), (*shape, 3)).copy()
        labels = np.full(shape, sections[1].payload[0], np.uint8) if len(sections) > 1 else None
        return Decoded(image, labels, self.taxonomy, describe(blob)[0])

    def segment(self, image):
        return np.full(image.shape[:2], 3, np.uint8)

    def points(self):
        return (OperatingPoint("only", {"levels": 1}),)


def make_toy() -> MeanColour:
    return MeanColour()


def install(monkeypatch) -> None:
    """Give the test a registry of its own, with the toy codec in it."""
    monkeypatch.setattr(codec_module, "_BY_NAME", dict(codec_module._BY_NAME))
    monkeypatch.setattr(codec_module, "_BY_ID", dict(codec_module._BY_ID))
    monkeypatch.setattr(codec_module, "_LOADED", {})
    register(ModelEntry("toy-mean", 200, 1, "toys:make_toy", "sends the mean colour"))
