"""Rate curves as PNG files (matplotlib): own results, CompressAI's files, and numbers from papers, dashed.

from chappe.bench.plot import read_source, save_plot
source = read_source("results.json")
save_plot("curves.png", curves_from_cells(source.cells, "miou:judge"), metric("miou:judge"))
"""

from __future__ import annotations

import io
import json
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from chappe.bench import compressai
from chappe.bench.curves import Curve, Metric, ceiling, curves_from_cells, rate_ticks, spread, style
from chappe.errors import InputError, MissingDependency
from chappe.files import atomic_write_bytes, read_bytes

__all__ = ["Source", "gather", "plot_png", "read_source", "save_plot"]


@dataclass(frozen=True)
class Source:
    """What one file held: cells of a sweep of ours, or results in CompressAI's form; one of the two is empty."""

    path: str
    cells: tuple = ()
    imported: tuple[compressai.Result, ...] = ()


def read_source(path: str | os.PathLike[str]) -> Source:
    """Read results.json or rows.jsonl of `chappe evaluate`, or a CompressAI result. Raises InputError if it is none."""
    name = os.fspath(path)
    if Path(name).suffix == ".jsonl":
        from chappe.bench.table import aggregate, load_rows

        if not (cells := tuple(aggregate(load_rows(Path(name))))):
            raise InputError(f"{name}: holds no rows.")
        return Source(name, cells=cells)
    try:
        data = json.loads(read_bytes(name))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: is not a JSON file ({error}).") from error
    if isinstance(data, dict) and isinstance(data.get("cells"), list):
        return Source(name, cells=_cells(data["cells"], name))
    return Source(name, imported=tuple(compressai.parse(data, name)))


def gather(sources: Sequence[Source], key: str, split: str | None = None) -> tuple[list[Curve], float | None]:
    """The curves of metric `key` in all sources, imported ones after our own, and the originals' value if measured.

    Raises InputError if no source has the metric, saying which metrics there are.
    """
    curves: list[Curve] = []
    for source in sources:
        curves += curves_from_cells(source.cells, key, split)
    for source in sources:
        found = (compressai.curve(result, key, source.path) for result in source.imported)
        curves += [curve for curve in found if curve is not None]
    if not curves:
        known = {k for s in sources for cell in s.cells for k in cell.values}
        known |= {k for s in sources for result in s.imported for k in result.results}
        where = f" for split {split!r}" if split else ""
        raise InputError(f"no curve of {key!r}{where} in {', '.join(s.path for s in sources)}: it has "
                         f"{', '.join(sorted(known)) or 'nothing'}.")  # fmt: skip
    tops = (ceiling(source.cells, key, split) for source in sources)
    return curves, next((top for top in tops if top is not None), None)


def save_plot(path: str | os.PathLike[str], curves: Sequence[Curve], metric: Metric, **options) -> None:
    """`plot_png` into a file, whole or not at all."""
    atomic_write_bytes(path, plot_png(curves, metric, **options))


def plot_png(curves: Sequence[Curve], metric: Metric, *, title: str = "", ceiling: float | None = None,
             dpi: int = 150) -> bytes:  # fmt: skip
    """A PNG of 1200 x 780 pixels at 150 dpi: rates on a logarithmic axis, 95 % bands, published curves dashed.

    Raises MissingDependency without matplotlib, InputError without curves.
    """
    if not curves:
        raise InputError("there is no curve to draw: measure at least one rate that every picture reaches.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullFormatter, NullLocator
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'chappe[bench]'.") from error
    figure = Figure(figsize=(8, 5.2), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        _draw(axes, curve)
    if ceiling is not None:
        axes.axhline(ceiling, color="#6b7280", linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(f"originals {metric.text(ceiling)}", (1, ceiling), xycoords=("axes fraction", "data"),
                      ha="right", va="bottom", fontsize=8, color="#6b7280", xytext=(-4, 2),
                      textcoords="offset points")  # fmt: skip
    x0, x1, _, _ = spread(curves)
    axes.set_xscale("log")
    axes.set_xlim(x0 / 1.15, x1 * 1.15)
    ticks = rate_ticks(x0 / 1.15, x1 * 1.15)
    if len(ticks) > 1:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bits per pixel, of the whole file")
    unit = f" ({metric.unit})" if metric.unit else ""
    axes.set_ylabel(f"{metric.title}{unit}, {metric.better} is better")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    sources = dict.fromkeys(c.source for c in curves if c.source)
    lines = [line for source in sources for line in textwrap.wrap(f"Dashed: {source}", 125)]
    figure.text(0.01, -0.01, "\n".join(lines), fontsize=7, color="#6b7280", va="top")
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.15)
    return out.getvalue()


def _draw(axes, curve: Curve) -> None:
    look = style(curve.codec)
    if curve.low and curve.high and len(curve.bpp) > 1:
        axes.fill_between(curve.bpp, curve.low, curve.high, color=look.light, alpha=0.12, linewidth=0)
    axes.plot(
        curve.bpp,
        curve.value,
        color=look.light,
        linestyle=(0, (4, 3)) if curve.source else (0, (1, 1.5)) if curve.oracle else "-",
        linewidth=2.4 if curve.codec.startswith("sqgan") else 1.5,
        marker="D" if curve.source else "o",
        markersize=5,
        markerfacecolor="white" if look.hollow or curve.source else look.light,
        label=curve.label,
    )


def _cells(entries: list, name: str) -> tuple:
    from chappe.bench.table import Cell

    known = {field.name for field in fields(Cell)}
    try:
        return tuple(Cell(**{key: value for key, value in entry.items() if key in known}) for entry in entries)
    except (TypeError, AttributeError) as error:
        raise InputError(f"{name}: 'cells' are not those of chappe evaluate ({error}): measure again.") from error
