"""What a sweep will do, known before it does it: its units of work, and the key of every row.

A unit is one picture with one codec, all points together, so that ladders and label maps are made once. A row's key is
a hash of everything that decides its numbers; what has a key already is never measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from chappe.bench.codecs import ORIGINAL, canonical_point, codec_version, open_codec, parse_point, sends_labels
from chappe.bench.measure import open_instruments
from chappe.bench.protocol import Frames, frames
from chappe.errors import UsageError

__all__ = ["ROW_FORMAT", "Plan", "SweepSpec", "Unit", "make_plan"]

ROW_FORMAT = 1


@dataclass(frozen=True)
class SweepSpec:
    """What to measure. `points` as in `bench.codecs.parse_point`; `labels`: "predicted" and/or "true", for the codecs
    that send a label map; `knobs`: "key=value" settings added to every point of codecs other than the classical ones;
    `pictures`: of the first so many of each split, keep the decoded pictures too.
    """

    data: str
    codecs: tuple[str, ...]
    points: tuple[str, ...]
    splits: tuple[str, ...] = ("val",)
    labels: tuple[str, ...] = ("predicted",)
    knobs: tuple[str, ...] = ()
    protocol: str = "auto"
    taxonomy: str | None = None
    limit: int | None = None
    every: int = 1
    espnetv2: bool = False
    segmenter: bool = False
    features: bool = False
    pictures: int = 0

    def frames(self, split: str) -> Frames:
        """The frames of one split. Raises InputError or UsageError as `bench.protocol.frames` does."""
        return frames(self.data, split, self.protocol, self.limit, self.every, self.taxonomy)


@dataclass(frozen=True)
class Unit:
    """One picture with one codec. `codec` is the name to open it by, `title` the name it gives itself; `keep`: hand
    back the pictures too; `plan`: which plan it belongs to, so that a process that serves several mixes nothing up.
    """

    plan: str
    split: str
    index: int
    name: str
    fingerprint: str
    protocol: str
    codec: str
    title: str
    version: str
    labels: str
    instruments: str
    points: tuple[str, ...]
    keep: bool = False

    def key(self, point: str) -> str:
        """16 hex digits over all that decides the numbers of the row."""
        parts = [ROW_FORMAT, self.split, self.name, self.fingerprint, self.protocol, self.title, self.version]
        return _digest([*parts, self.labels, self.instruments, point])


@dataclass(frozen=True)
class Plan:
    """All units of a sweep; `versions` of the codecs by the names they give themselves, and of the instruments."""

    spec: SweepSpec
    units: tuple[Unit, ...]
    versions: dict[str, str]

    def keys(self) -> set[str]:
        """The keys of all rows."""
        return {unit.key(point) for unit in self.units for point in unit.points}


def make_plan(spec: SweepSpec) -> Plan:
    """Open and check everything once: all pictures are read, all codecs opened, all points understood.

    So a file that is no picture, labels of another size or an unknown codec end a sweep before it starts. Raises
    InputError, UsageError or MissingDependency, one sentence each.
    """
    modes = _modes(spec)
    pictures = list(_pictures(spec))
    seen = open_instruments(espnetv2=spec.espnetv2, segmenter=spec.segmenter, features=spec.features).name()
    token = _digest([repr(spec), [picture[:4] for picture in pictures]])
    units = tuple(
        Unit(token, split, index, name, fingerprint, protocol, *mode[:4], seen, mode[4], index < spec.pictures)
        for split, index, name, fingerprint, protocol in pictures
        for mode in modes
    )
    return Plan(spec, units, {mode[1]: mode[2] for mode in modes[1:]} | {"instruments": seen})


def _pictures(spec: SweepSpec) -> Iterable[tuple[str, int, str, str, str]]:
    """(split, index, name, fingerprint, protocol) of every picture, each read and checked."""
    for split in dict.fromkeys(spec.splits):
        sequence = spec.frames(split)
        for index, name in enumerate(sequence.names()):
            frame = sequence[index]
            if "true" in spec.labels and frame.labels is None:
                raise UsageError(f"{spec.data}: picture {name} has no true labels: leave 'true' out of --labels.")
            yield split, index, name, frame.fingerprint(), sequence.protocol


def _modes(spec: SweepSpec) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
    """(name, title, version, labels, points) of every kind of unit; the original comes first."""
    if not (spec.codecs and spec.points and spec.splits and spec.labels):
        raise UsageError("A sweep needs at least one codec, point, split and kind of labels.")
    modes, used = [(ORIGINAL, ORIGINAL, "", "none", (ORIGINAL,))], set()
    for name in dict.fromkeys(spec.codecs):
        codec = open_codec(name)
        if codec.name in {mode[1] for mode in modes}:
            raise UsageError(f"Codec {name!r} calls itself {codec.name!r}, and so does another of this sweep.")
        knobs = () if hasattr(codec, "rung") else spec.knobs
        points = {
            text: canonical_point(",".join((text, *knobs)))
            for text in spec.points
            if parse_point(codec, text) is not None
        }
        for point in points.values():
            parse_point(codec, point)  # a knob may be malformed
        used |= points.keys()
        kinds = dict.fromkeys(spec.labels) if sends_labels(codec) else ("none",)
        texts = tuple(dict.fromkeys(points.values()))
        modes += [(name, codec.name, codec_version(codec), kind, texts) for kind in kinds if texts]
    unknown = [text for text in spec.points if text not in used]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is neither a rate nor an operating point of {', '.join(spec.codecs)}.")
    return modes


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
