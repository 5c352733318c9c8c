"""Pictures with labels: data set folders, procedural street scenes, and the street protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chappe.data.dataset import Dataset, Sample, open_dataset
from chappe.data.street import street_protocol

if TYPE_CHECKING:
    from chappe.data.scenes import render_scene

__all__ = ["Dataset", "Sample", "open_dataset", "render_scene", "street_protocol"]


def __getattr__(name: str):
    if name == "render_scene":  # Pillow is imported only when a scene is wanted
        from chappe.data.scenes import render_scene

        return render_scene
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
