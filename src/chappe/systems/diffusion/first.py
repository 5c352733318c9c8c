"""The picture that a feed-forward receiver draws first; the diffusion network restores what it left out.

SPIC's network sees the enlarged coarse picture. A small one learns the street faster from the picture that the one-pass
receiver makes of the same bytes, and starts as good as that: its last layer begins at zero and its word is added.
"""

from __future__ import annotations

import numpy as np

from chappe.errors import InputError
from chappe.nn.tiling import pad_to_cells

__all__ = ["FirstLook", "hard_labels", "load_first"]


class FirstLook:
    """`restore`: coarse picture and labels -> picture, as `spic.restore.Restorer` does; colours (classes + 1, 3)."""

    def __init__(self, restore, colours):
        self.restore, self.colours = restore, colours

    def __call__(self, labels: np.ndarray, coarse: np.ndarray | None = None) -> np.ndarray:
        """Labels (H, W) uint8 and the coarse picture of the sides padded to multiples of 16, or None where none was
        sent (each class then begins in its mean colour) -> picture (H, W, 3) uint8."""
        from chappe.systems.spic.coarse import imagine

        padded = pad_to_cells(labels)
        small = imagine(padded, self.colours) if coarse is None else coarse
        return np.ascontiguousarray(self.restore(small, padded)[: labels.shape[0], : labels.shape[1]])


def load_first(name: str) -> FirstLook:
    """The receiver of a bundled one-pass model, e.g. `spic-onepass-street-v2`. Raises InputError for another name."""
    from chappe.systems.spic.codec import WEIGHTS, load_folder

    folder = WEIGHTS / name
    if not name.startswith("spic-onepass-") or not folder.is_dir():
        raise InputError(
            f"the diffusion model begins with the pictures of {name!r}, which is no bundled one-pass model"
        )
    codec = load_folder(folder, name, 0)
    return FirstLook(codec.engine.restore, codec.settings["colours"])


def hard_labels(planes: np.ndarray, classes: int) -> np.ndarray:
    """Planes (C, H, W), one-hot or noisy -> labels (H, W) uint8: the strongest of the first `classes`, void (`classes`)
    where none reaches half of what was sent."""
    planes = planes[:classes]
    strongest = planes.argmax(0)
    heard = np.take_along_axis(planes, strongest[None], 0)[0] >= 0.5
    return np.where(heard, strongest, classes).astype(np.uint8)
