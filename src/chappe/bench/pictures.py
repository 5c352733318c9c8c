"""The pictures a sweep keeps for the gallery of its report, as files by name.

`<name>.png` is the original and `<name>.labels.png` its true map; `<name>--<codec>--<labels>--<point>.png` a decoded
picture, beside it `.labels.png` the delivered map (palette PNG) and `.tokens.png` the grid of kept tokens (1 bit each).
"""

from __future__ import annotations

import io

import numpy as np

from chappe.bench.protocol import Frame
from chappe.codec import Codec, Decoded

__all__ = ["files_of", "original_files", "picture_stem"]


def picture_stem(name: str, codec: str = "", labels: str = "", point: str = "") -> str:
    """The file name, without suffix, under which a kept picture lies in `pictures/`; the original has no codec."""
    stem = "--".join(filter(None, (name, codec, labels, point)))
    return "".join(c if c.isalnum() or c in "-_.,=" else "_" for c in stem)


def original_files(frame: Frame) -> dict[str, bytes]:
    """The original and, where there is one, its true label map."""
    from chappe.image import image_bytes, label_bytes

    stem = picture_stem(frame.name)
    files = {f"{stem}.png": image_bytes(frame.image)}
    if frame.labels is not None:
        files[f"{stem}.labels.png"] = label_bytes(frame.labels, frame.taxonomy)
    return files


def files_of(frame: Frame, codec: Codec, labels: str, point: str, blob: bytes, decoded: Decoded) -> dict[str, bytes]:
    """The decoded picture, the delivered label map, and the kept tokens of a codec with `kept_tokens(blob)`."""
    from chappe.image import image_bytes, label_bytes

    stem = picture_stem(frame.name, codec.name, labels, point)
    files = {f"{stem}.png": image_bytes(decoded.image)}
    if decoded.labels is not None:
        files[f"{stem}.labels.png"] = label_bytes(decoded.labels, decoded.taxonomy)
    if hasattr(codec, "kept_tokens"):
        files[f"{stem}.tokens.png"] = _bits(codec.kept_tokens(blob))
    return files


def _bits(grid: np.ndarray) -> bytes:
    """1-bit PNG of a (h, w) boolean grid, white where true."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.asarray(grid, np.uint8) * 255).convert("1", dither=Image.Dither.NONE).save(buffer, "PNG")
    return buffer.getvalue()
