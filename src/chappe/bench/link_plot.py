"""Curves of the link benchmark as one PNG: judge mIoU and PSNR over SNR, and mIoU over CBR (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from chappe.bench.link_table import METRICS, Cell
from chappe.errors import InputError, MissingDependency

__all__ = ["PLOTTED", "link_png"]

# Scheme -> colour and dashes; the rest is in the table.
PLOTTED = {
    "hevc, water-filling": ("#2563eb", "-"),
    "hevc, min-MSE + DFT": ("#60a5fa", "-"),
    "hevc, no precoder, ML": ("#0f766e", "-"),
    "hevc, mutual information, ML": ("#15803d", "--"),
    "SCSC, hevc": ("#c2410c", "-"),
    "SCSC w/o PCEN, hevc": ("#fb923c", "--"),
    "jpeg2000, water-filling": ("#a16207", ":"),
    "ADJSCC": ("#7e22ce", "-"),
    "DeepJSCC-MIMO": ("#be185d", "-"),
    "ProxyNet": ("#86198f", "--"),
    "sqgan-street 0.04 bpp, filled": ("#111827", "-"),
    "spic-onepass-street 0.04 bpp, filled": ("#4b5563", "--"),
    "hevc-half 0.04 bpp, filled": ("#2563eb", ":"),
    "mean colour": ("#9ca3af", ":"),
}


def link_png(cells: Sequence[Cell], *, title: str = "", snr_db: float = 6.0, dpi: int = 120) -> bytes:
    """A PNG of four panels: mIoU over SNR at CBR 1/12 and 0.02, PSNR over SNR at 1/12, mIoU over CBR at `snr_db`.

    Bands are 95 % intervals over pictures. Raises MissingDependency without matplotlib, InputError without cells.
    """
    known = [cell for cell in cells if cell.scheme in PLOTTED and cell.values and cell.cbr_wanted is not None]
    if not known:
        raise InputError("there is no curve to draw: measure a scheme first.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullLocator
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'chappe[bench]'.") from error
    figure = Figure(figsize=(13, 8.4), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2).ravel()
    for axes, (metric, cbr, name) in zip(
        panels, (("miou", 1 / 12, "1/12"), ("miou", 0.02, "0.02"), ("psnr", 1 / 12, "1/12")), strict=False
    ):
        part = [cell for cell in known if abs(cell.cbr_wanted - cbr) < 1e-6]
        _draw(axes, part, metric, "snr_db")
        axes.set_xlabel("SNR of one transmit antenna (dB)")
        axes.set_title(f"CBR at most {name}", loc="left", fontsize=10)
    last = panels[3]
    _draw(last, [c for c in known if c.snr_db == snr_db and c.values["cbr"] > 0], "miou", "cbr")
    last.set_xscale("log")
    last.set_xticks([0.02, 0.04, 1 / 12, 1 / 6], ["0.02", "0.04", "1/12", "1/6"])
    last.xaxis.set_minor_locator(NullLocator())
    last.set_xlabel("CBR: channel uses by 3 x pixels")
    last.set_title(f"SNR {snr_db:g} dB", loc="left", fontsize=10)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    labels = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels, frameon=False, fontsize=8, loc="outside right center")
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _draw(axes, cells: Sequence[Cell], metric: str, by: str) -> None:
    for scheme, (colour, dashes) in PLOTTED.items():
        own = sorted(
            ((cell.snr_db if by == "snr_db" else cell.values["cbr"], cell) for cell in cells if cell.scheme == scheme),
            key=lambda pair: pair[0],
        )
        if not own:
            continue
        x = [place for place, _ in own]
        axes.plot(x, [c.values[metric] for _, c in own], dashes, color=colour, marker="o", markersize=3, label=scheme)
        axes.fill_between(x, [c.low[metric] for _, c in own], [c.high[metric] for _, c in own], color=colour, alpha=0.1,
                          linewidth=0)  # fmt: skip
    title = METRICS[metric][0]
    axes.set_ylabel(f"{title} ({'dB' if metric == 'psnr' else '%'})")
    axes.grid(True, color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
