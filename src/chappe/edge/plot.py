"""Power against delay at the task constraint, with the certified bound as a line (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from chappe.edge.camera import CameraStudy
from chappe.edge.tradeoff import Outcome
from chappe.errors import InputError, MissingDependency

__all__ = ["camera_png", "tradeoff_png"]

_COLOURS = ("#c2410c", "#2563eb", "#0f766e", "#7e22ce", "#a16207", "#be185d", "#4b5563", "#0e7490")


def tradeoff_png(outcomes: Sequence[Outcome], *, title: str = "", dpi: int = 150) -> bytes:
    """A PNG: one line a policy through its runs, mean delay in s and charged power in mW on logarithmic axes.

    Runs without a finite delay are not drawn. Raises InputError where none has one, MissingDependency without
    matplotlib.
    """
    drawn = [o for o in outcomes if o.report.delay_little is not None]
    if not drawn:
        raise InputError("no run was stable: there is no delay to draw; lower the rate or run longer.")
    axes, save = _figure(title, dpi)
    for number, name in enumerate(dict.fromkeys(o.policy for o in drawn)):
        found = sorted((o.report.delay_little, 1e3 * o.charged) for o in drawn if o.policy == name)
        axes.plot(*zip(*found, strict=True), marker="o", markersize=5, linewidth=1.5,
                  color=_COLOURS[number % len(_COLOURS)], label=name)  # fmt: skip
    axes.axhline(1e3 * drawn[0].bound, color="#111827", linewidth=1.2, linestyle=(0, (4, 3)), label="certified bound")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("mean delay in s")
    axes.set_ylabel("mean power in mW a device")
    return save()


def camera_png(study: CameraStudy, *, title: str = "", dpi: int = 150) -> bytes:
    """A PNG: power in mW against the share of the ceiling really obtained, a dot a policy. Raises MissingDependency."""
    axes, save = _figure(title, dpi)
    for number, run in enumerate(study.runs):
        axes.errorbar(run.perf, 1e3 * run.power, xerr=1.96 * run.perf_error, color=_COLOURS[number % len(_COLOURS)],
                      marker="D" if run.name == "adaptive" else "o", linestyle="", capsize=2,
                      label=f"{run.name} ({run.delay:.2f} s)")  # fmt: skip
    axes.axvline(study.goal, color="#6b7280", linewidth=1, linestyle=(0, (1, 2)))
    if study.bound is not None:
        axes.axhline(1e3 * study.bound, color="#111827", linewidth=1.2, linestyle=(0, (4, 3)), label="certified bound")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("mIoU of the frames sent, as a share of what the originals get")
    axes.set_ylabel("mean power in mW")
    return save()


def _plain_ticks(axis) -> None:
    """0.1, 0.2, 0.3, 0.5, ... on a logarithmic axis, rather than powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _figure(title: str, dpi: int):
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'chappe[bench]'.") from error
    figure = Figure(figsize=(8, 5.2), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="both", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

    def save() -> bytes:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        out = io.BytesIO()
        figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.15)
        return out.getvalue()

    return axes, save
