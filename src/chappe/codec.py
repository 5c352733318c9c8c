"""The Codec contract, what a decoder gives back, and the registry of models with their permanent ids.

bpp is always bytes of the whole file x 8 / pixels of the picture. A formula from a paper may be carried beside it
as `bpp_nominal`, never instead of it.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from chappe.errors import MissingDependency, ModelError, UsageError

if TYPE_CHECKING:
    import os

    import numpy as np
    from PIL.Image import Image

    ImageSource = str | os.PathLike[str] | bytes | Image | np.ndarray

__all__ = [
    "Codec",
    "Decoded",
    "ModelEntry",
    "OperatingPoint",
    "SectionReport",
    "StreamReport",
    "codec_for",
    "decode",
    "describe",
    "encode",
    "full_name",
    "list_models",
    "load",
    "model_entry",
    "register",
]

DEFAULT_MODEL = "spic-onepass-street"


@dataclass(frozen=True)
class OperatingPoint:
    """One named setting of a codec's knobs, e.g. masking fractions; the names of the knobs are the codec's own."""

    name: str
    settings: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class SectionReport:
    """One section of a file. `size` is in bytes with framing, `payload` without; `ok` says whether its check holds."""

    name: str
    type: int
    size: int
    payload: int
    ok: bool


@dataclass(frozen=True)
class StreamReport:
    """Where the bytes of one file went. `header` is in bytes; width and height are those of the picture."""

    codec: str
    codec_id: int
    fingerprint: int
    width: int
    height: int
    header: int
    sections: tuple[SectionReport, ...]
    bpp_nominal: float | None = None

    @property
    def total(self) -> int:
        """Bytes of the file: header and all sections with their framing."""
        return self.header + sum(section.size for section in self.sections)

    @property
    def bpp(self) -> float:
        """Bits of the file per pixel of the picture."""
        return self.total * 8 / (self.width * self.height)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the far end gets: `image` (H, W, 3) uint8 RGB, `labels` (H, W) uint8 class indices of `taxonomy` or None.

    `received` (H, W) uint8: 255 where all that was sent for a pixel arrived, 0 where nothing did and all is inferred,
    between where a part did; None stands for 255 everywhere. `missing`: what did not arrive, in one line, or None.
    """

    image: np.ndarray
    labels: np.ndarray | None
    taxonomy: str | None
    report: StreamReport
    received: np.ndarray | None = None
    missing: str | None = None


class Codec(ABC):
    """Picture to bytes and back. The decoder sees the bytes and the installed model, and nothing else."""

    name: str
    codec_id: int
    taxonomy: str | None = None

    @abstractmethod
    def encode(
        self,
        image: ImageSource,
        *,
        labels: ImageSource | None = None,
        bpp: float | None = None,
        point: OperatingPoint | str | None = None,
    ) -> bytes:
        """Compress one picture into one file.

        image: path, encoded file contents, PIL image or (H, W, 3) uint8; see `chappe.image.read_image`.
        labels: (H, W) class indices of `self.taxonomy`, or a path to an index PNG; without it the codec segments.
        bpp: wanted rate in bits of the whole file per pixel. point: a setting of the knobs instead; not both.
        Raises InputError for a picture that cannot be used, RateError for a rate out of reach, UsageError for
        an unknown point or for both bpp and point.
        """

    @abstractmethod
    def decode(self, blob: bytes) -> Decoded:
        """Rebuild the picture and its labels. Raises StreamError, VersionError or ModelError, and nothing else."""

    @abstractmethod
    def points(self) -> tuple[OperatingPoint, ...]:
        """The named operating points, lowest rate first."""

    def segment(self, image: np.ndarray) -> np.ndarray | None:
        """The label map that the sender itself makes of (H, W, 3) uint8: (H, W) uint8; None if it sends no labels."""
        return None

    def find_point(self, point: OperatingPoint | str) -> OperatingPoint:
        """A named point of `points()`, or `point` itself when it already is one. Raises UsageError if unknown."""
        if isinstance(point, OperatingPoint):
            return point
        known = {p.name: p for p in self.points()}
        if point not in known:
            raise UsageError(f"{self.name} has no operating point {point!r}; it has {', '.join(known) or 'none'}.")
        return known[point]


@dataclass(frozen=True)
class ModelEntry:
    """A codec that can be loaded. `codec_id` is written into files and belongs to this model version for ever.

    variant: another way to write the files of a model that is registered already; that one reads them.
    """

    name: str
    codec_id: int
    version: int
    factory: str  # "package.module:function", imported on load only
    summary: str
    variant: bool = False


_BY_NAME: dict[str, ModelEntry] = {}
_BY_ID: dict[int, ModelEntry] = {}
_LOADED: dict[tuple[str, str | None, str | None], Codec] = {}


def register(entry: ModelEntry) -> ModelEntry:
    """Add a model. Raises UsageError if its name or id is taken, its id is not in 0..255 or its factory malformed."""
    if not 0 <= entry.codec_id <= 255:
        raise UsageError(f"Model {entry.name!r} has id {entry.codec_id}; a file has one byte for it (0 to 255).")
    if entry.name in _BY_NAME:
        raise UsageError(f"Model name {entry.name!r} is already registered.")
    if entry.variant and entry.codec_id not in _BY_ID:
        raise UsageError(f"{entry.name!r} is a variant of the model with id {entry.codec_id}, which there is not.")
    if entry.codec_id in _BY_ID and not entry.variant:
        raise UsageError(
            f"Model id {entry.codec_id} of {entry.name!r} already belongs to {_BY_ID[entry.codec_id].name!r}, for ever."
        )
    if entry.factory.count(":") != 1:
        raise UsageError(f"Factory {entry.factory!r} of model {entry.name!r} is not of the form 'module:function'.")
    _BY_NAME[entry.name] = entry
    _BY_ID.setdefault(entry.codec_id, entry)
    return entry


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell pattern, sorted."""
    return sorted(name for name in _BY_NAME if fnmatchcase(name, pattern))


def full_name(name: str) -> str:
    """`name`, or the registered `name`-street that it may be short for: spic, gesco, ..."""
    return f"{name}-street" if name not in _BY_NAME and f"{name}-street" in _BY_NAME else name


def model_entry(name: str) -> ModelEntry:
    """The registry entry of a model; "-street" may be left out. Raises UsageError if there is none of that name."""
    name = full_name(name)
    if name not in _BY_NAME:
        raise UsageError(f"There is no model {name!r}; the models are {', '.join(list_models()) or 'none'}.")
    return _BY_NAME[name]


def codec_for(codec_id: int) -> ModelEntry:
    """The model that wrote files with this id. Raises ModelError if this version of chappe does not have it."""
    if codec_id not in _BY_ID:
        have = ", ".join(f"{i} ({e.name})" for i, e in sorted(_BY_ID.items()))
        raise ModelError(f"The file needs the model with id {codec_id}; this chappe has {have}: install a newer one.")
    return _BY_ID[codec_id]


def load(
    name: str = DEFAULT_MODEL, *, backend: str | None = None, folder: str | os.PathLike[str] | None = None
) -> Codec:
    """The codec of that name with its bundled weights, read once a process, no network.

    backend: what runs its networks: "torch" (the default), "onnx" or "onnx-int8", for which `chappe export` has written
    them to `folder` (default: $CHAPPE_ONNX, else chappe/onnx in the user's cache folder).
    Raises UsageError if the model or backend is unknown, InputError for exported networks that are missing or do not
    belong to the installed weights.
    """
    entry = model_entry(name)
    name = entry.name
    key = (name, None if backend == "torch" else backend, folder and str(folder))
    if key not in _LOADED:
        module, function = entry.factory.split(":")
        try:
            factory = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] == "chappe":
                raise
            raise MissingDependency(f"Model {name!r} needs the Python package {error.name!r}: install it.") from error
        codec = _make(factory, name, backend, folder)
        if (codec.name, codec.codec_id) != (entry.name, entry.codec_id):
            raise UsageError(
                f"{entry.factory} made {codec.name!r} with id {codec.codec_id}, registered is {name!r} with id "
                f"{entry.codec_id}."
            )
        _LOADED[key] = codec
    return _LOADED[key]


def _make(factory, name: str, backend: str | None, folder: str | os.PathLike[str] | None) -> Codec:
    from chappe.backends import open_backend

    opened = open_backend(backend, folder)
    try:
        if opened is None:
            return factory()
        if "backend" not in inspect.signature(factory).parameters:
            raise UsageError(f"Model {name!r} runs no networks that backend {backend!r} could run.")
        return factory(backend=opened)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] == "chappe":
            raise
        hint = "export its networks elsewhere and ask for the backend onnx" if error.name == "torch" else "install it"
        raise MissingDependency(f"Model {name!r} needs the Python package {error.name!r}: {hint}.") from error


def encode(
    image: ImageSource,
    codec: str = DEFAULT_MODEL,
    *,
    labels: ImageSource | None = None,
    bpp: float | None = None,
    point: OperatingPoint | str | None = None,
) -> bytes:
    """Compress one picture with the model named `codec`; see `Codec.encode`."""
    return load(codec).encode(image, labels=labels, bpp=bpp, point=point)


def decode(blob: bytes, *, backend: str | None = None, folder: str | os.PathLike[str] | None = None) -> Decoded:
    """Rebuild a picture from a file of any installed model. Raises StreamError, VersionError or ModelError.

    backend, folder: see `load`.
    """
    from chappe.bitstream import container

    header, _ = container.read_header(blob)
    return load(codec_for(header.codec_id).name, backend=backend, folder=folder).decode(blob)


def describe(blob: bytes) -> tuple[StreamReport, bool]:
    """Report on a file without decoding it, and whether it is whole and undamaged.

    Works on damaged and cut files as far as their header is sound, else raises StreamError. When bytes are missing
    or cannot be assigned to a section, `report.total` differs from len(blob).
    """
    from chappe.bitstream import container

    header, statuses, complete = container.scan(blob)
    entry = _BY_ID.get(header.codec_id)
    sections = tuple(SectionReport(_section_name(s.type), int(s.type), s.size, len(s.payload), s.ok) for s in statuses)
    report = StreamReport(
        codec=entry.name if entry else f"unknown model {header.codec_id}",
        codec_id=header.codec_id,
        fingerprint=header.fingerprint,
        width=header.width,
        height=header.height,
        header=container.header_size(header.width, header.height),
        sections=sections,
    )
    return report, complete


def _section_name(kind: int) -> str:
    from chappe.bitstream.container import SectionType

    try:
        return SectionType(kind).name.lower()
    except ValueError:
        return f"{'ancillary' if kind & 0x80 else 'critical'} 0x{kind:02x}"


for _entry in (
    ModelEntry(
        name="sqgan-street-v1",
        codec_id=1,
        version=1,
        factory="chappe.systems.sqgan.load:load_street_v1",
        summary="The first weights of sqgan-street, for the files they wrote.",
    ),
    ModelEntry(
        name="spic-onepass-street-v1",
        codec_id=2,
        version=1,
        factory="chappe.systems.spic.codec:load_onepass_v1",
        summary="The first weights of spic-onepass-street, for the files they wrote.",
    ),
    ModelEntry(
        name="sqgan-street-v2",
        codec_id=3,
        version=2,
        factory="chappe.systems.sqgan.load:load_street_v2",
        summary="The second weights of sqgan-street, for the files they wrote.",
    ),
    ModelEntry(
        name="sqgan-street",
        codec_id=4,
        version=3,
        factory="chappe.systems.sqgan.load:load_street",
        summary="SQ-GAN for street scenes: a label map and the most relevant tokens, in layers or slices if wanted.",
    ),
    ModelEntry(
        name="spic-onepass-street",
        codec_id=5,
        version=2,
        factory="chappe.systems.spic.codec:load_onepass",
        summary="SPIC's one-pass receiver for street scenes: a label map and a coarse picture.",
    ),
    ModelEntry(
        name="spic-street",
        codec_id=6,
        version=1,
        factory="chappe.systems.diffusion.codec:load_spic",
        summary="SPIC for street scenes: a label map and a coarse picture, restored by a diffusion network.",
    ),
    ModelEntry(
        name="cspic-street",
        codec_id=6,
        version=1,
        factory="chappe.systems.diffusion.codec:load_cspic",
        summary="C-SPIC: files of spic-street that also carry the pixels of chosen classes (signs, people, cyclists).",
        variant=True,
    ),
    ModelEntry(
        name="gesco-street",
        codec_id=7,
        version=1,
        factory="chappe.systems.diffusion.codec:load_gesco",
        summary="GESCO for street scenes: the label map alone, drawn by a diffusion network.",
    ),
    ModelEntry(
        name="rlasc-street",
        codec_id=8,
        version=1,
        factory="chappe.systems.rlasc.codec:load_street",
        summary="RL-ASC for street scenes: a label map and per-class features, the bits allotted by an agent.",
    ),
):
    register(_entry)
