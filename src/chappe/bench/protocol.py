"""The pictures of a benchmark: which frames of a data set, in which geometry, with which labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chappe.data.dataset import Dataset, Sample, open_dataset
from chappe.data.street import street_protocol
from chappe.errors import InputError, UsageError
from chappe.taxonomy import mapping

__all__ = ["MIN_SIDE", "PROTOCOLS", "TAXONOMY", "Frame", "Frames", "default_split", "frames"]

PROTOCOLS = ("auto", "street", "none")
TAXONOMY = "street11"  # the label set all judging is done in
MIN_SIDE = 32  # pixels; below, neither LPIPS nor a structural similarity is defined
STREETS = ("camvid", "cityscapes")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture as it is measured: image (H, W, 3) uint8, labels (H, W) uint8 of `taxonomy`, or both None."""

    name: str
    image: np.ndarray
    labels: np.ndarray | None = None
    taxonomy: str | None = None

    def labels_in(self, taxonomy: str | None) -> np.ndarray | None:
        """The true labels in another label set; None without labels."""
        if self.labels is None or taxonomy is None:
            return None
        return mapping(self.taxonomy, taxonomy)[self.labels]

    def fingerprint(self) -> str:
        """16 hex digits over size, pixels and labels: what a row's key and an audit hold on to."""
        digest = hashlib.sha256(repr((self.image.shape, self.taxonomy)).encode())
        digest.update(np.ascontiguousarray(self.image))
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Frames(Sequence):
    """The frames of one split; each is read when it is asked for. `protocol` is "street" or "none", never "auto"."""

    dataset: Dataset
    protocol: str

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Frames(self.dataset[index], self.protocol)
        return self._frame(self.dataset[index])

    def names(self) -> list[str]:
        """Names of the frames, without reading anything."""
        return self.dataset.names()

    def _frame(self, sample: Sample) -> Frame:
        image, labels = sample.image, sample.labels if sample.taxonomy else None
        where = f"{self.dataset.root}, picture {sample.name}"
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise InputError(
                f"{where}: has {width}x{height} pixels and the benchmark measures pictures of at least "
                f"{MIN_SIDE} a side: take it out of the data set."
            )
        if self.protocol == "street":
            image, labels = street_protocol(image, labels)
        return Frame(sample.name, image, labels, sample.taxonomy if labels is not None else None)


def frames(
    data: str | os.PathLike[str],
    split: str,
    protocol: str = "auto",
    limit: int | None = None,
    every: int = 1,
    taxonomy: str | None = None,
) -> Frames:
    """The frames of one split of a data set folder (see `chappe.data.open_dataset`), in its order.

    protocol: "street" crops to the middle 2:1 box and resizes to 256 x 512; "none" takes pictures as they are;
    "auto" is "street" for CamVid and Cityscapes, else "none".
    every: each `every`-th frame, of these the first `limit`. taxonomy: label set of a plain folder's label maps.
    A folder without labels is allowed: no truth, so no mIoU against it.
    Raises InputError for a folder that cannot be used (and on access for a file in it), UsageError for a wrong option.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"Protocol {protocol!r} is unknown: use {', '.join(PROTOCOLS)}.")
    if every < 1 or (limit is not None and limit < 1):
        raise UsageError(f"A benchmark takes at least one picture, found limit={limit} and every={every}.")
    dataset = open_dataset(data, split=split, taxonomy=taxonomy)
    if dataset.layout == "folder" and dataset.taxonomy is None and any(entry.labels for entry in dataset.entries):
        raise UsageError(f"{data}: holds label maps of an unknown label set: name it, e.g. --taxonomy {TAXONOMY}.")
    if protocol == "auto":
        protocol = "street" if dataset.layout in STREETS else "none"
    return Frames(dataset[::every][:limit], protocol)


def default_split(data: str | os.PathLike[str]) -> str:
    """The split measured where none is named: "val" where the data set has splits, "all" for a plain folder."""
    from chappe.data.layouts import detect

    root = Path(data)
    return "all" if detect(root) == "folder" and not (root / "images" / "val").is_dir() else "val"
