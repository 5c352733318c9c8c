"""One picture of a transmission: the received constellation, what was decoded, and the original (matplotlib)."""

from __future__ import annotations

import io

import numpy as np

from chappe.errors import MissingDependency
from chappe.link.picture import Received
from chappe.link.qam import constellation

__all__ = ["transmission_png"]


def transmission_png(
    original: np.ndarray, received: Received, modulation: str | None, *, title: str, dpi: int = 120
) -> bytes:
    """A PNG: constellation, resource map where the link has one (`received.resources`), picture received, original.

    original: (H, W, 3) uint8. modulation: None for symbols of no constellation. Raises
    MissingDependency without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("figures need matplotlib: pip install 'chappe[bench]'.") from error
    aspect = original.shape[1] / original.shape[0]
    resources = getattr(received, "resources", None)
    wide = 2 + (resources is not None)
    figure = Figure(figsize=(4 + wide * 3.4 * aspect, 4.2), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, *maps, middle, right = figure.subplots(1, 1 + wide, width_ratios=(3.4, *wide * (3.4 * aspect,)))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    heard = received.receptions[0].constellation
    if len(heard):
        reach = 1.1 * max(1.3, float(np.quantile(np.abs(np.concatenate([heard.real, heard.imag])), 0.99)))
        left.scatter(heard.real, heard.imag, s=3, color="#2563eb", alpha=0.35, linewidths=0)
        if modulation is not None:
            points = constellation(modulation).numpy()
            left.scatter(points.real, points.imag, s=22, color="#c2410c", marker="+", linewidths=1.2)
        left.set_xlim(-reach, reach)
        left.set_ylim(-reach, reach)
        left.set_title(f"after equalising: {modulation or 'learned symbols'}", fontsize=9)
    else:
        left.text(
            0.5,
            0.5,
            "bits, packets or\nanalog planes:\nno constellation",
            ha="center",
            va="center",
            transform=left.transAxes,
        )
    left.set_aspect("equal")
    left.tick_params(labelsize=7)
    left.grid(True, color="#e5e7eb", linewidth=0.6)
    middle.imshow(received.image)
    size = f": {received.sent_bytes} bytes" if received.sent_bytes else ""
    middle.set_title("lost" if received.lost else f"received{size}", fontsize=9)
    right.imshow(original)
    right.set_title("original", fontsize=9)
    for axes in maps:
        shown = axes.imshow(resources, cmap="viridis", extent=(0, original.shape[1], original.shape[0], 0))
        axes.set_title(f"{received.resource_unit}: {len(resources)} x {resources.shape[1]} cells", fontsize=9)
        figure.colorbar(shown, ax=axes, location="bottom", fraction=0.05).ax.tick_params(labelsize=7)
    for axes in (*maps, middle, right):
        axes.set_axis_off()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
