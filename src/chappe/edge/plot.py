"""Power against delay at the task constraint, with the certified bound as a line (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from chappe.edge.camera import CameraStudy
from chappe.edge.tradeoff import Outcome
from chappe.errors import InputError, MissingDependency

__all__ = ["camera_png", "tradeoff_png"]

_COLOURS = ("#c2410c", "#2563eb", "#0f766e", "#7e22ce", "#a16207", "#be185d", "#4b5563", "#0e7490")
_MORE = ("#65a30d", "#f59e0b", "#8b5cf6", "#06b6d4", "#f43f5e", "#94a3b8", "#84cc16", "#78350f")


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
    """A PNG of two drawings: power in mW against the share of the ceiling really obtained, a dot a policy; and which
    points the adaptive one chooses on weak and strong channels. Raises MissingDependency without matplotlib.
    """
    figure, (axes, drawn), save = _drawings(title, dpi, (11.0, 6.2), width_ratios=(1.55, 1.0))
    chosen = dict(zip(study.runs[0].shares, _COLOURS + _MORE, strict=False))
    spare = iter(c for c in _COLOURS + _MORE if c not in chosen.values())
    axes.axvspan(study.goal, 10, color="#f0fdf4", zorder=0)
    for run in study.runs:
        first, on_time = run is study.runs[0], run.delay <= study.delay
        colour = "#111827" if first else chosen.get(run.name) or next(spare, "#9ca3af")
        axes.errorbar(run.perf, 1e3 * run.power, xerr=1.96 * run.perf_error, color=colour, marker="D" if first else "o",
                      markerfacecolor=colour if on_time else "white", markersize=9 if first else 6, linestyle="",
                      capsize=2, elinewidth=0.9, zorder=4 if first else 3,
                      label=f"{run.name}, {run.delay:.2f} s")  # fmt: skip
    axes.axvline(study.goal, color="#15803d", linewidth=1.2, linestyle=(0, (1, 2)), label="goal")
    axes.axhline(1e3 * study.assured, color="#111827", linewidth=1.2, linestyle=(0, (4, 3)),
                 label="certified bound, assured goal")  # fmt: skip
    low = min(run.perf - 2 * run.perf_error for run in study.runs)
    high = max(run.perf + 2 * run.perf_error for run in study.runs)
    axes.set_xlim(min(low, study.goal) - 0.02, max(high, study.goal) + 0.02)
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("mIoU of the frames sent / of the originals, with 95 % intervals")
    axes.set_ylabel("mean power in mW (hollow: too late on average)")
    bottom = [0.0] * len(study.runs[0].sent)
    for name, colour in chosen.items():
        pairs = zip(study.runs[0].quarters, study.runs[0].sent, strict=True)
        part = [100 * share * quarter.get(name, 0.0) for quarter, share in pairs]
        drawn.bar(range(len(part)), part, 0.7, bottom, color=colour, label=name)
        bottom = [a + b for a, b in zip(bottom, part, strict=True)]
    drawn.set_xticks(range(len(bottom)), ("weakest", "weak", "strong", "strongest"))
    drawn.set_xlabel("quarter of the channel's states")
    drawn.set_ylabel("% of all frames")
    drawn.set_title("what the adaptive policy sends when", loc="left", fontsize=10)
    drawn.legend(frameon=False, fontsize=8, loc="upper left")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, ncols=4, loc="outside lower left")
    return save()


def _plain_ticks(axis) -> None:
    """0.1, 0.2, 0.3, 0.5, ... on a logarithmic axis, rather than powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _figure(title: str, dpi: int):
    """(axes, save) of one drawing, its legend beside it."""
    _, axes, finish = _drawings(title, dpi, (8.0, 5.2))

    def save() -> bytes:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return finish()

    return axes, save


def _drawings(title: str, dpi: int, size: tuple[float, float], width_ratios: tuple[float, ...] = (1.0,)):
    """(figure, axes or an array of them, function that gives the PNG)."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'chappe[bench]'.") from error
    figure = Figure(figsize=size, dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    found = figure.subplots(1, len(width_ratios), width_ratios=width_ratios, squeeze=False)[0]
    for axes in found:
        axes.grid(True, which="both", color="#e5e7eb", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    found[0].set_title(title, loc="left", fontsize=11)

    def finish() -> bytes:
        out = io.BytesIO()
        figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.15)
        return out.getvalue()

    return figure, found if len(found) > 1 else found[0], finish
