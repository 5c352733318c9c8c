"""What every codec that sends a label map shares: the sender's side of the contract, the map's section, and the checks
of a file before it is decoded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chappe.bitstream import container, labelmap, labelmap_near
from chappe.bitstream.container import Header, Section, SectionType
from chappe.bitstream.labelmap_prior import CELLS, shipped
from chappe.codec import Codec, OperatingPoint
from chappe.errors import InputError, ModelError, StreamError, UsageError
from chappe.taxonomy import relevance

__all__ = [
    "GOALS",
    "MAP_RECEIVED",
    "SIDES",
    "MapCodec",
    "MapCoder",
    "check_header",
    "check_sides",
    "decode_map",
    "file_size",
    "protect_weights",
]

MAP_RECEIVED = 127
"""Of `Decoded.received`: the pixel's class arrived, and nothing else."""
GOALS = ("meaning", "looks")
"""What the bytes can be shared for: the best judge mIoU, or the best LPIPS, on training frames."""

SIDES = (64, 4096)  # pixels a side that the models take


class MapCodec(Codec):
    """The sender of a label map and something else. `settings` is the `codec` entry of the model's config.json:
    default map mode, shares of the map by rate, points. `segment` stands in for the built-in segmenter.
    """

    def __init__(self, name: str, codec_id: int, fingerprint: int, settings: dict, taxonomy: str, classes: int,
                 segment: Callable[[np.ndarray], np.ndarray] | None = None):  # fmt: skip
        self.name, self.codec_id, self.fingerprint = name, codec_id, fingerprint
        self.settings, self.taxonomy, self.classes = settings, taxonomy, classes
        self._segment = segment

    def points(self) -> tuple[OperatingPoint, ...]:
        return tuple(OperatingPoint(name, dict(values)) for name, values in self.settings["points"].items())

    def encode(self, image, *, labels=None, bpp=None, point=None) -> bytes:
        from chappe.image import read_image, read_labels

        image = read_image(image)
        height, width = image.shape[:2]
        check_sides(self.name, height, width)
        if bpp is not None and point is not None:
            raise UsageError("give either a rate (bpp) or an operating point, not both")
        rate = self._rate(height * width, bpp, point)
        if labels is None:
            labels = self.segment(image)
        else:
            labels = read_labels(labels, (height, width), taxonomy=self.taxonomy)
        sections = self._sections(image, labels, rate)
        return container.write(Header(self.codec_id, self.fingerprint, width, height), sections)

    def segment(self, image: np.ndarray) -> np.ndarray:
        """The sender's label map of a picture (H, W, 3) uint8."""
        if self._segment is None:
            from chappe.segment.builtin import load_segmenter

            self._segment = load_segmenter()
        return self._segment(image)

    def map_share(self, bpp: float, mode: str, goal: str | None = None) -> float:
        """Share of the file that the map gets at a rate, from the model's table (tuned on training frames).

        `goal`: "meaning" or "looks", see `GOALS`; None is the model's own balance.
        """
        shares = self.settings["map_share"]
        if goal is not None:
            shares = shares | self.settings.get("goals", {}).get(goal, {})
        table = np.asarray(shares[mode], dtype=np.float64)
        return float(np.interp(bpp, table[:, 0], table[:, 1]))

    def read_goal(self, values: Mapping) -> str | None:
        """The `goal` knob of a point. Raises UsageError for one that this model has no table for."""
        goal, known = values.get("goal"), tuple(self.settings.get("goals", ()))
        if goal is not None and goal not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{self.name} has no goal {goal!r} to share the bytes for; {have}")
        return goal

    def read_relevance(self, values: Mapping) -> np.ndarray | None:
        """The `relevance` knob of a point: (classes,) in [0, 1]; None where it is neutral. Raises UsageError."""
        profile = values.get("relevance")
        if profile is None:
            return None
        if not isinstance(profile, (str, Mapping)):
            raise UsageError(f'relevance={profile!r} is not a profile: write "person=1,sign=1,sky=0", for one')
        weights = relevance(profile, self.taxonomy)
        return None if (weights == 1).all() else weights

    @abstractmethod
    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None):
        """What a call asks for, in the codec's own terms. Raises UsageError for settings it does not have."""

    @abstractmethod
    def _sections(self, image: np.ndarray, labels: np.ndarray, rate) -> list[Section]:
        """The sections of the file."""


class MapCoder:
    """One label map (H, W) uint8 on its way into a file; each version of it is coded at most once.

    `classes` counts void; `protect` weighs a wrong pixel of each class, see `labelmap_near.encode_near`.
    """

    def __init__(self, labels: np.ndarray, classes: int, taxonomy: str, protect: Sequence[float] | None = None):
        self.labels, self.classes, self.taxonomy = labels, classes, taxonomy
        self._near = labelmap_near.Ladder(labels, classes, prior=shipped(taxonomy + CELLS), protect=protect)
        self._lossless: Section | None = None
        self._exact_over = -1  # bytes that the exact map is known to need more than, unless it is there

    @property
    def lossless(self) -> Section:
        """The map, exactly."""
        if self._lossless is None:
            self._lossless = self._exactly(None)
        return self._lossless

    def within(self, max_bytes: int) -> Section:
        """The finest near-lossless map of at most `max_bytes` (the coarsest if none), the exact one if it fits too."""
        near = self._near.coarsest if len(self._near.coarsest) > max_bytes else self._near.fit(max_bytes)
        if len(near) > 0.7 * max_bytes or not self._is_exact_within(max_bytes):
            return Section(SectionType.MAP_NEAR, near)
        return self.lossless

    def _is_exact_within(self, max_bytes: int) -> bool:
        """Whether the exact map takes at most `max_bytes`; where it does not it is coded only so far."""
        if self._lossless is None and max_bytes > self._exact_over:
            self._lossless = self._exactly(max_bytes)
            self._exact_over = max_bytes
        return self._lossless is not None and len(self._lossless.payload) <= max_bytes

    def _exactly(self, max_bytes: int | None) -> Section | None:
        payload = labelmap.encode_map(self.labels, self.classes, prior=shipped(self.taxonomy), max_bytes=max_bytes)
        return None if payload is None else Section(SectionType.MAP_LOSSLESS, payload)

    def received(self, section: Section) -> np.ndarray:
        """Labels (H, W) uint8 as `decode_map` will read them from a section of this coder."""
        return self._near.received(section.payload) if section.type == SectionType.MAP_NEAR else self.labels


def decode_map(by_type: dict[int, bytes], shape: tuple[int, int], classes: int, taxonomy: str) -> np.ndarray | None:
    """Labels (H, W) uint8 from a lossless or near-lossless section; None where the file has neither."""
    if SectionType.MAP_LOSSLESS in by_type:
        return labelmap.decode_map(by_type[SectionType.MAP_LOSSLESS], shape, classes, prior=shipped(taxonomy))
    if SectionType.MAP_NEAR in by_type:
        return labelmap_near.decode_near(by_type[SectionType.MAP_NEAR], shape, classes)
    return None


def protect_weights(protect: Sequence[float] | None, weights: np.ndarray, classes: int) -> list:
    """What a wrong pixel of the near-lossless map costs where classes matter: (classes,) weights as they are for all 1,
    else (classes, classes), raised where a pixel is *or becomes* a relevant class.

    With the class's own pixels alone raised it spreads over its neighbours, and its IoU falls the higher it is raised.
    """
    base = np.ones(classes) if protect is None else np.asarray(protect, float)
    if (weights[:classes] == 1).all():
        return base.tolist()
    factor = 1 + 3 * weights[:classes]
    cost = base[:, None] * np.maximum(factor[:, None], factor[None]) / factor.mean()
    return (np.round(1024 * cost) / 1024 * (1 - np.eye(classes))).tolist()  # rounded: sums are exact in any order


def file_size(height: int, width: int, sections: Sequence[Section]) -> int:
    """Bytes of a file with these sections."""
    return container.header_size(width, height) + sum(container.section_size(len(s.payload)) for s in sections)


def check_sides(name: str, height: int, width: int) -> None:
    """Raise InputError for a picture whose sides the models do not take."""
    if not all(SIDES[0] <= side <= SIDES[1] for side in (height, width)):
        raise InputError(
            f"the picture is {width}x{height} pixels; {name} takes sides from {SIDES[0]} to {SIDES[1]}: resize it first"
        )


def check_header(codec: Codec, fingerprint: int, header: Header) -> None:
    """Raise ModelError for a file of another model or weights, StreamError for a size that none writes."""
    if (header.codec_id, header.fingerprint) != (codec.codec_id, fingerprint):
        raise ModelError(
            f"the file was made by model id {header.codec_id} with weights {header.fingerprint:04x}; {codec.name} "
            f"has id {codec.codec_id} and weights {fingerprint:04x}: install the chappe release that made it"
        )
    if not all(SIDES[0] <= side <= SIDES[1] for side in (header.height, header.width)):
        raise StreamError(f"the file says {header.width}x{header.height} pixels, which {codec.name} never writes")
