"""Pictures and label maps in and out: one form inside, (H, W, 3) uint8 RGB and (H, W) uint8 class indices.

The rules, also in docs/images.md and each with a test: grey is repeated over the three channels; alpha is laid over
white; 16 bits become 8 by exact rounding, (v * 255 + 32767) // 65535; CMYK, YCbCr and HSV are converted by Pillow,
colour profiles are not applied; the EXIF orientation is applied; of an animation the first frame is taken; more
pixels than the limit are refused from the header alone, before any pixel is decoded.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from chappe.errors import ChappeError, InputError, UsageError
from chappe.files import MAX_BYTES, atomic_write_bytes, read_bytes

if TYPE_CHECKING:
    from chappe.codec import ImageSource
    from chappe.taxonomy import Taxonomy

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "atomic_write_bytes",
    "check_suffix",
    "image_bytes",
    "label_bytes",
    "read_image",
    "read_labels",
    "write_image",
    "write_labels",
]

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "GIF")
LABEL_FORMATS = ("PNG", "BMP", "TIFF", "PPM", "GIF")

_PLAIN = frozenset({"1", "L", "P", "RGB", "RGBA", "RGBX", "RGBa", "LA", "PA", "CMYK", "YCbCr", "HSV"})
_WRITERS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {"compress_level": 3}),  # a tenth of the time of the smallest file, 6 % longer
    ".webp": ("WEBP", {"lossless": True}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".ppm": ("PPM", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Any picture as (H, W, 3) uint8 RGB, contiguous; it may share memory with an array given.

    source: path ('-' for standard input), the contents of an image file as bytes, PIL image, or array of shape
    (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA and type uint8, uint16 (full range) or bool.
    Raises InputError for anything else, for damaged files, and for more than `max_pixels` pixels.
    """
    if isinstance(source, np.ndarray):
        _check_size(source.shape[1::-1], max_pixels, "the array")
        return _rgb_from_array(source)
    image, name = _open(source, FORMATS, max_pixels)
    return _pillow(name, lambda: _rgb_from_pillow(image, name))


def read_labels(
    source: ImageSource,
    shape: tuple[int, int] | None = None,
    classes: int | None = None,
    *,
    taxonomy: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """A label map as (H, W) uint8 class indices.

    source: as for `read_image`, but with one channel that holds class indices (mode L, P, 1 or 16 bits with values
    below 256); of a palette file the indices are taken and its colours ignored. With `taxonomy` a colour map in
    exactly that label set's palette is accepted too, and the usual 'ignore' value 255 becomes its void class.
    Raises InputError if the size is not `shape` (H, W), an index is not below `classes` (by default the number of
    classes of the taxonomy), a colour is unknown, or the format is lossy.
    """
    table = _taxonomy(taxonomy) if taxonomy else None
    if isinstance(source, np.ndarray):
        name, raw = "the array", source
        _check_size(raw.shape[1::-1], max_pixels, name)
    else:
        image, name = _open(source, LABEL_FORMATS, max_pixels)
        raw = _pillow(name, lambda: np.asarray(ImageOps.exif_transpose(image)))
    raw = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    if raw.ndim == 3 and raw.shape[2] in (3, 4) and raw.dtype == np.uint8:
        if table is None:
            raise InputError(
                f"{name}: is a colour picture, but a label map holds one class index a pixel: save it as a "
                "single-channel PNG, or name the label set whose palette it uses."
            )
        labels = _from_colours(raw[..., :3], table, name)
    else:
        labels = _from_indices(raw, table, name)
    if shape is not None and labels.shape != tuple(shape):
        raise InputError(
            f"{name}: the label map has {labels.shape[1]}x{labels.shape[0]} pixels, the picture has "
            f"{shape[1]}x{shape[0]}: they must be the same."
        )
    limit = len(table.classes) if classes is None and table is not None else classes
    if limit is not None and (top := int(labels.max())) >= limit:
        raise InputError(f"{name}: holds class index {top}, but there are {limit} classes (0 to {limit - 1}).")
    return labels


def check_suffix(path: str | os.PathLike[str], *, labels: bool = False) -> str:
    """The suffix of an output in lower case, or UsageError if pictures (label maps: .png alone) do not come in it."""
    suffix = Path(path).suffix.lower()
    known = (".png",) if labels else tuple(_WRITERS)
    if suffix not in known and not (labels and os.fspath(path) == "-"):
        what = "label maps" if labels else "pictures"
        raise UsageError(f"{path}: {what} are written as {', '.join(known)}: end the name in one of these.")
    return suffix


def image_bytes(image: np.ndarray, suffix: str = ".png") -> bytes:
    """(H, W, 3) uint8 as the contents of a file of that kind; lossless but for .jpg. Raises UsageError if unknown."""
    kind, options = _WRITERS[check_suffix(f"picture{suffix}")]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, kind, **options)
    return out.getvalue()


def label_bytes(labels: np.ndarray, taxonomy: str | None = None) -> bytes:
    """(H, W) uint8 as an index PNG: pixel values are class indices, colours are those of the label set (else grey)."""
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    if taxonomy:
        colours = np.asarray(_taxonomy(taxonomy).palette, dtype=np.uint8)
        palette[: len(colours)] = colours
    picture = Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint8))
    picture.putpalette(palette.tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True, bits=8)
    return out.getvalue()


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write (H, W, 3) uint8, whole or not at all; the suffix says the kind, '-' is a PNG on standard output."""
    atomic_write_bytes(path, image_bytes(image, ".png" if os.fspath(path) == "-" else check_suffix(path)))


def write_labels(path: str | os.PathLike[str], labels: np.ndarray, taxonomy: str | None = None) -> None:
    """Write (H, W) uint8 class indices as an index PNG, whole or not at all. Raises UsageError for another suffix."""
    check_suffix(path, labels=True)
    atomic_write_bytes(path, label_bytes(labels, taxonomy))


def _taxonomy(name: str) -> Taxonomy:
    from chappe.taxonomy import get_taxonomy

    return get_taxonomy(name)


def _check_size(size: tuple[int, ...], max_pixels: int, name: str) -> None:
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"{name}: has no pixels or no two dimensions: a picture is (height, width, channels).")
    if size[0] * size[1] > max_pixels:
        raise InputError(
            f"{name}: has {size[0]}x{size[1]} = {size[0] * size[1] / 1e6:.1f} megapixels, the limit is "
            f"{max_pixels / 1e6:g}: scale it down or raise max_pixels."
        )


def _pillow(name: str, call):
    """Run a step of Pillow; whatever it raises on a hostile file becomes one sentence."""
    try:
        with warnings.catch_warnings():
            # Pillow's own size warning: our limit is lower and is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return call()
    except ChappeError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{name}: is not a picture of a kind that is read ({', '.join(FORMATS)}).") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: has far more pixels than the limit: scale it down.") from error
    except Exception as error:  # parsers of damaged files raise nearly every type
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{name}: is damaged or cut and cannot be decoded ({detail}).") from error


def _open(source: ImageSource, formats: tuple[str, ...], max_pixels: int) -> tuple[Image.Image, str]:
    """A Pillow image whose header alone has been read and whose size is within the limit, and a name for messages."""
    if isinstance(source, Image.Image):
        _check_size(source.size, max_pixels, "the image")
        return source, "the image"
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = "the picture", bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        name = "standard input" if os.fspath(source) == "-" else os.fspath(source)
        data = read_bytes(source, max_bytes=MAX_BYTES)
    else:
        raise InputError(
            f"A picture is a path, bytes, PIL image or numpy array (H, W, 3) uint8, not {type(source).__name__}."
        )
    if not data:
        raise InputError(f"{name}: is empty.")
    try:
        image = _pillow(name, lambda: Image.open(io.BytesIO(data), formats=FORMATS))
    except InputError:
        _refuse_chappe_file(data, name)
        raise
    # An AVIF file of one frame is decoded when opened by some versions of Pillow, so the order here is all there is.
    _check_size(image.size, max_pixels, name)
    if image.format not in formats and image.format != "MPO":
        raise InputError(f"{name}: is a {image.format} file; a label map needs a lossless one: save it as PNG.")
    return image, name


def _refuse_chappe_file(data: bytes, name: str) -> None:
    from chappe.bitstream import container

    if data[:2] == container.MAGIC:
        raise InputError(f"{name}: is already a chappe file: use 'chappe decode' or 'chappe info'.")


def _round16(values: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, the nearest."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 with straight alpha, laid over white: round((c a + 255 (255 - a)) / 255)."""
    colour, alpha = rgba[..., :3].astype(np.uint32), rgba[..., 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _rgb_from_pillow(image: Image.Image, name: str) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name}: holds values outside 0 to 65535: convert it to 8 or 16 bits.")
        return _rgb_from_array(values.astype(np.uint16))
    if image.mode not in _PLAIN:
        raise InputError(f"{name}: has pixels of kind {image.mode}, which have no agreed range: convert it to RGB.")
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _rgb_from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = _round16(array)
    elif array.dtype != np.uint8:
        hint = "multiply values in 0..1 by 255, round" if array.dtype.kind == "f" else "scale to 0..255"
        raise InputError(f"The array is {array.dtype}, expected uint8 (or uint16, bool): {hint} and convert it.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = "move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else "give one picture"
        raise InputError(f"The array has shape {array.shape}, expected (H, W), (H, W, 3) or (H, W, 4): {hint}.")
    if array.shape[2] == 4:
        return _over_white(array)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _from_indices(raw: np.ndarray, table: Taxonomy | None, name: str) -> np.ndarray:
    if raw.ndim != 2 or raw.dtype.kind not in "uib":
        raise InputError(f"{name}: a label map is (H, W) integers, found {raw.dtype} of shape {raw.shape}.")
    if raw.min() < 0 or raw.max() > 255:
        raise InputError(f"{name}: holds class indices outside 0 to 255: map them to a label set first.")
    labels = np.ascontiguousarray(raw, dtype=np.uint8)
    if table is not None and table.void is not None:
        labels = np.where(labels == 255, np.uint8(table.void), labels)
    return labels


def _from_colours(rgb: np.ndarray, table: Taxonomy, name: str) -> np.ndarray:
    key = rgb.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, inverse = np.unique(key, return_inverse=True)
    palette = np.asarray(table.palette, dtype=np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    index = {int(k): i for i, k in reversed(list(enumerate(palette)))}
    unknown = [int(c) for c in colours if int(c) not in index]
    if unknown:
        raise InputError(
            f"{name}: holds {len(unknown)} colours that are not in the palette of {table.name}, e.g. "
            f"#{unknown[0]:06x}: save class indices as a single-channel PNG."
        )
    lookup = np.array([index[int(c)] for c in colours], dtype=np.uint8)
    return lookup[inverse].reshape(rgb.shape[:2])
