"""The standard picture codecs behind the Codec contract: the rivals of every figure, at their real bytes.

    from chappe.classical import load
    codec = load("hevc")
    blob = codec.encode("street.jpg", bpp=0.04)
    out = codec.decode(blob)          # out.image; out.labels is None

`NAMES` lists them; `-half` codes the picture at half its width and height and scales it back up. What each one is, its
encoder settings and which bytes are counted: docs/classical.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from chappe.errors import UsageError

if TYPE_CHECKING:
    from chappe.classical.base import ClassicalCodec

__all__ = ["NAMES", "load"]

_ENGINES = {
    "jpeg": "still:Jpeg",
    "jpeg2000": "still:Jpeg2000",
    "webp": "still:Webp",
    "avif": "still:Avif",
    "jxl": "still:Jxl",
    "hevc": "video:Hevc",
    "av1": "video:Av1",
}

NAMES: tuple[str, ...] = (*_ENGINES, *(f"{name}-half" for name in _ENGINES))


def load(name: str) -> ClassicalCodec:
    """The codec of that name: one of `NAMES`.

    Raises UsageError if there is none, MissingDependency if its library is not installed (`chappe[bench]`).
    """
    if name not in NAMES:
        raise UsageError(f"There is no classical codec {name!r}; there are {', '.join(NAMES)}.")
    from chappe.classical.base import ClassicalCodec

    module, engine = _ENGINES[name.removesuffix("-half")].split(":")
    factory = getattr(importlib.import_module(f"chappe.classical.{module}"), engine)
    return ClassicalCodec(factory(), half=name.endswith("-half"))
