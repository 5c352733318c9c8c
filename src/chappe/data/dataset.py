"""Data set folders as sequences of samples: each item is read when it is asked for.

| layout     | tree                                                                          | label set      |
|------------|-------------------------------------------------------------------------------|----------------|
| folder     | images anywhere in `root`, or `images/` (+ `labels/`), optionally `/<split>`  | as given       |
| camvid     | `<split>.txt`, `<split>/images`, `<split>/labels`; or `<split>`, `<split>annot` | street11     |
| cityscapes | `leftImg8bit/<split>/<city>`, `gtFine/<split>/<city>`                         | cityscapes19/35 |
| cocostuff  | `images/<split>2017`, `annotations/<split>2017`                               | cocostuff183   |
| ade20k     | `images/{training,validation}`, `annotations/{training,validation}`           | none, 0 = void |
| cvrg-pano  | `<split>/rgb`, `<split>/mask`                                                 | none, 0 = void |

How each tree is read is in `layouts.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np

from chappe.errors import InputError, UsageError

__all__ = ["Dataset", "Entry", "Sample", "open_dataset"]


@dataclass(frozen=True)
class Sample:
    """One picture: image (H, W, 3) uint8 RGB, labels (H, W) uint8 indices or None, name of the label set or None."""

    name: str
    image: np.ndarray
    labels: np.ndarray | None
    taxonomy: str | None


@dataclass(frozen=True)
class Entry:
    """Where one sample lies."""

    name: str
    image: Path
    labels: Path | None


@dataclass(frozen=True)
class Dataset(Sequence):
    """The samples of one split. Indexing reads files; a slice gives a `Dataset` and reads none.

    `taxonomy` is None where the indices belong to no label set of `chappe.taxonomy`; `classes` is then the exclusive
    bound of valid indices (None: any). `remap` (256 values) is applied to file values before anything else.
    """

    root: Path
    layout: str
    split: str
    taxonomy: str | None
    entries: tuple[Entry, ...] = field(repr=False)
    classes: int | None = None
    remap: tuple[int, ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return replace(self, entries=self.entries[index])
        return self._read(self.entries[index])

    def __iter__(self) -> Iterator[Sample]:
        return (self._read(entry) for entry in self.entries)

    def names(self) -> list[str]:
        """Sample names, without reading anything."""
        return [entry.name for entry in self.entries]

    def _read(self, entry: Entry) -> Sample:
        from chappe.image import read_image, read_labels

        image = read_image(entry.image)
        if entry.labels is None:
            return Sample(entry.name, image, None, self.taxonomy)
        if self.remap is None:
            labels = read_labels(entry.labels, classes=self.classes, taxonomy=self.taxonomy)
        else:
            labels = np.array(self.remap, np.uint8)[read_labels(entry.labels)]
        if labels.shape != image.shape[:2]:
            raise InputError(
                f"{entry.labels}: the label map has {labels.shape[1]}x{labels.shape[0]} pixels, its picture "
                f"{entry.image} has {image.shape[1]}x{image.shape[0]}: they must be the same."
            )
        return Sample(entry.name, image, labels, self.taxonomy)


def open_dataset(
    root: str | os.PathLike[str], *, layout: str = "auto", split: str = "train", taxonomy: str | None = None
) -> Dataset:
    """Open one split of a data set folder.

    Args:
        root: the folder that holds the tree of the table above.
        layout: a name of that table, or "auto" to recognise the tree.
        split: "train", "val" or "test" (whichever the data set has). CamVid: "train" leaves out sequence 0001TP, which
            is the "unseen" split; "train-all" is both. A plain folder without split folders is one split, "train" (or
            "all").
        taxonomy: label set of a plain folder's label maps; the other layouts know theirs.

    Returns:
        A `Dataset`, in the order of the file names (CamVid: of its list). Labels are None where the split has no label
        folder at all.

    Raises:
        InputError: no such folder, no pictures, a picture whose label map is missing, an unknown tree; and on access:
            a file that is no picture, labels of another size, an index out of range.
        UsageError: an unknown layout.
    """
    from chappe.data.layouts import LAYOUTS, detect

    path = Path(root)
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder: give the folder that holds the data set.")
    if layout != "auto" and layout not in LAYOUTS:
        raise UsageError(f"Layout {layout!r} is unknown: use auto, {', '.join(LAYOUTS)}.")
    name = detect(path) if layout == "auto" else layout
    if taxonomy is not None and name != "folder":
        raise UsageError(f"The {name} layout has its own label set: leave taxonomy={taxonomy!r} out.")
    dataset = LAYOUTS[name](path, split)
    if not dataset.entries:
        raise InputError(f"{path}: holds no pictures for split {split!r} in the {name} layout.")
    return dataset if taxonomy is None else replace(dataset, taxonomy=taxonomy)
