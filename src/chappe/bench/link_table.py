"""Units of the link benchmark to cells, Bjontegaard deltas, and Markdown.

Intervals are 95 % percentile bootstrap over pictures, all cells with the same draws: differences between schemes are
paired, since all meet the same fades on the same pictures. A lost picture counts as mid-grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from chappe.bench.link_bench import BD_SNRS
from chappe.bench.link_schemes import SCHEMES
from chappe.bench.table import class_iou, drawn_counts, mean_iou
from chappe.errors import InputError
from chappe.metrics.bd import bd_rate, shared, undominated

__all__ = ["METRICS", "Cell", "Delta", "aggregate", "cells_to_json", "deltas", "deltas_to_json", "markdown"]

METRICS = {"lost": ("lost", 0), "miou": ("mIoU", 1), "psnr": ("PSNR", 2), "ms_ssim": ("MS-SSIM", 3)}
SHOWN = (2.0, 6.0, 10.0)
"""SNRs in dB that the tables show; results.json has all."""
_PERCENT = ("miou", "lost")
_MEANS = ("psnr", "ms_ssim", "lost", "channel_uses", "cbr", "bytes")


@dataclass(frozen=True)
class Cell:
    """One scheme at one SNR and CBR: `pictures` of `of` have a file that fits; without all of them there are no values.

    values: psnr (mean of dB), ms_ssim, miou and lost in percent, channel_uses, cbr, bytes, rate (of the code, mean).
    low, high: 95 % limits. gain: name of another scheme -> metric -> (difference, low, high), paired. `drawn`: values
    of each bootstrap draw.
    """

    scheme: str
    snr_db: float
    cbr_wanted: float | None
    pictures: int
    of: int
    values: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    gain: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    drawn: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Delta:
    """BD-CBR in percent of a scheme against another at one SNR, for one metric. value: None where the curves share no
    range (`note` says how they lie); overlap: share of the metric's range that both have; without: share of bootstrap
    draws in which they share none, which no interval covers.
    """

    scheme: str
    against: str
    snr_db: float
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    overlap: float = 0.0
    without: float = 0.0
    note: str = ""


def aggregate(units: Sequence[dict], resamples: int = 1000, seed: int = 0) -> list[Cell]:
    """Cells in the order of `SCHEMES`, then CBR and SNR."""
    names = sorted({unit["picture"] for unit in units})
    if not names:
        raise InputError("there are no units to make a table of: measure a scheme first.")
    draws = drawn_counts(len(names), resamples, seed)
    groups: dict[tuple, dict[str, list]] = {}
    for unit in units:
        for row in unit["rows"]:
            key = (unit["scheme"], row.get("cbr_wanted"), row["snr_db"])
            view = unit["views"][row["view"]] if row["reached"] else None
            groups.setdefault(key, {}).setdefault(unit["picture"], []).append((row, view))
    order = {name: number for number, name in enumerate(SCHEMES)}
    keys = sorted(groups, key=lambda key: (order.get(key[0], len(order)), key[1] or 0, key[2]))
    cells = {key: _cell(key, groups[key], names, draws) for key in keys}
    for (scheme, cbr, snr), cell in cells.items():
        for other in SCHEMES[scheme].against if scheme in SCHEMES else ():
            rival = cells.get((other, cbr, snr))
            if other != scheme and rival is not None and cell.values and rival.values:
                cell.gain[other] = {metric: _difference(cell, rival, metric) for metric in METRICS}
    return list(cells.values())


def _cell(key: tuple, pictures: dict[str, list], names: list[str], draws: np.ndarray) -> Cell:
    scheme, cbr, snr = key
    met = [all(view is not None for _, view in pictures.get(name, [(None, None)])) for name in names]
    cell = Cell(scheme, snr, cbr, sum(met), len(names))
    if not all(met):
        return cell
    for name in _MEANS:
        each = np.array([np.mean([(row if name in row else view)[name] for row, view in pictures[n]]) for n in names])
        each = each * (100 if name == "lost" else 1)
        _put(cell, name, each.mean(), draws @ each / draws.sum(1))
    cell.values["rate"] = float(np.mean([_rate(row) for n in names for row, _ in pictures[n]]))
    stack = np.array([sum(np.array(view["confusion"], np.float64) for _, view in pictures[n]) for n in names])
    drawn = (draws @ stack.reshape(len(stack), -1)).reshape(-1, *stack.shape[1:])
    _put(cell, "miou", 100 * float(mean_iou(class_iou(stack.sum(0)[None]))[0]), 100 * mean_iou(class_iou(drawn)))
    return cell


def _rate(row: dict) -> float:
    from fractions import Fraction

    return float(Fraction(row.get("rate", 0)))


def _put(cell: Cell, name: str, value: float, drawn: np.ndarray) -> None:
    cell.values[name], cell.drawn[name] = float(value), drawn
    cell.low[name], cell.high[name] = _limits(drawn)


def _limits(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _difference(cell: Cell, rival: Cell, metric: str) -> tuple[float, float, float]:
    return (cell.values[metric] - rival.values[metric], *_limits(cell.drawn[metric] - rival.drawn[metric]))


def deltas(cells: Sequence[Cell], resamples: int = 200) -> list[Delta]:
    """BD-CBR of every scheme against those it names, at 6 and 10 dB, for mIoU and PSNR, from the first draws of the
    cells' bootstrap. Dominated points of a curve are left out, in every draw anew."""
    curves: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        if cell.cbr_wanted is not None and cell.values and cell.snr_db in BD_SNRS and cell.values["cbr"] > 0:
            curves.setdefault((cell.scheme, cell.snr_db), []).append(cell)
    out = []
    for (scheme, snr), mine in curves.items():
        for other in SCHEMES[scheme].against if scheme in SCHEMES else ():
            theirs = curves.get((other, snr))
            if theirs and other != scheme:
                out += [_delta(scheme, other, snr, metric, theirs, mine, resamples) for metric in ("miou", "psnr")]
    return out


def _delta(scheme: str, other: str, snr: float, metric: str, theirs: list, mine: list, resamples: int) -> Delta:
    def curve(cells: list[Cell], draw: int | None) -> tuple[np.ndarray, np.ndarray]:
        rate = np.array([cell.values["cbr"] for cell in cells])
        value = np.array([cell.values[metric] if draw is None else cell.drawn[metric][draw] for cell in cells])
        kept = undominated(rate, value)
        return rate[kept], value[kept]

    def rated(draw: int | None) -> float:
        try:
            return bd_rate(*curve(theirs, draw), *curve(mine, draw))
        except InputError:
            return math.nan

    value = rated(None)
    ours, others = curve(mine, None)[1], curve(theirs, None)[1]
    overlap = shared(ours, others) if min(len(ours), len(others)) > 1 else 0.0
    if math.isnan(value):
        short = min(len(ours), len(others)) < 2
        above = ours.min() > others.max()
        note = "too few points" if short else f"no overlap: every point lies {'above' if above else 'below'}"
        return Delta(scheme, other, snr, metric, None, overlap=overlap, without=1.0, note=note)
    drawn = np.array([rated(draw) for draw in range(min(resamples, len(mine[0].drawn[metric])))])
    known = drawn[~np.isnan(drawn)]
    low, high = _limits(known) if len(known) else (None, None)
    without = 1 - len(known) / len(drawn)
    note = f"the curves share {100 * overlap:.0f} % of their range" if overlap < 0.75 else ""
    return Delta(scheme, other, snr, metric, value, low, high, overlap, without, note)


def cells_to_json(cells: Sequence[Cell]) -> list[dict]:
    """Cells as small JSON: four digits, limits of the figures alone, differences in mIoU and PSNR, no draws."""
    out = []
    for cell in cells:
        entry = {"scheme": cell.scheme, "snr_db": cell.snr_db, "cbr_wanted": cell.cbr_wanted}
        entry |= {"pictures": cell.pictures, "of": cell.of, "values": cell.values}
        entry |= {name: {key: getattr(cell, name)[key] for key in METRICS if cell.values} for name in ("low", "high")}
        entry["gain"] = {other: {key: gain[key] for key in ("miou", "psnr")} for other, gain in cell.gain.items()}
        out.append(_short(entry))
    return out


def _short(value):
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_short(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def deltas_to_json(found: Sequence[Delta]) -> list[dict]:
    """Deltas as JSON, four digits."""
    return [_short(asdict(delta)) for delta in found]


def markdown(cells: Sequence[Cell], found: Sequence[Delta], missing: dict[str, str]) -> str:
    """Tables: all metrics at 2, 6, 10 dB for CBR 1/12 and 0.02, low SNRs, schemes with rates of their own, BD-CBR."""
    parts = []
    for cbr, title in ((1 / 12, "1/12"), (0.02, "0.02")):
        here = [c for c in cells if c.cbr_wanted is not None and abs(c.cbr_wanted - cbr) < 1e-6]
        parts += _figures([c for c in here if c.snr_db in SHOWN], f"CBR {title} at most")
        parts += _over_snr([c for c in here if c.snr_db <= 0], f"at CBR {title} and low SNR", uses=False)
    own = [c for c in cells if c.cbr_wanted is None]
    parts += _over_snr(own, "of files of 0.04 bpp at most, code rate adapted to the SNR", uses=True)
    parts += _delta_lines(found)
    if missing:
        parts += ["", "Not measured:", "", *(f"- {name}: {sentence}" for name, sentence in missing.items())]
    return "\n".join(parts).strip() + "\n"


def _figures(cells: list[Cell], where: str) -> list[str]:
    """A line a scheme with every metric at the SNRs of `SHOWN`."""
    if not cells:
        return []
    snrs = [snr for snr in SHOWN if any(cell.snr_db == snr for cell in cells)]
    heads = [f"{title}{_unit(metric)} {snr:g} dB" for metric, (title, _) in METRICS.items() for snr in snrs]
    lines = ["", f"**{where}**", "", f"| scheme | CBR used | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for scheme, own in _by_scheme(cells):
        texts = [_text(own.get(snr), metric) for metric in METRICS for snr in snrs]
        if not any(cell.values for cell in own.values()):
            texts = [texts[0], *[""] * (len(texts) - 1)]
        lines.append(f"| {scheme} | {_span(own)} | {' | '.join(texts)} |")
    return lines


def _over_snr(cells: list[Cell], where: str, *, uses: bool) -> list[str]:
    """A line a scheme with its mIoU and share lost at every SNR."""
    if not cells:
        return []
    snrs = sorted({cell.snr_db for cell in cells})
    lines = ["", f"**judge mIoU (%) {where}, share lost (%) in brackets{', channel uses' if uses else ''}**", ""]
    lines += [f"| scheme | CBR used | {' | '.join(f'{snr:g} dB' for snr in snrs)} |", "|---" * (2 + len(snrs)) + "|"]
    for scheme, own in _by_scheme(cells):
        texts = []
        for snr in snrs:
            cell = own.get(snr)
            more = f" ({cell.values['lost']:.0f})" if cell and cell.values else ""
            more += f", {cell.values['channel_uses']:.0f}" if more and uses else ""
            texts.append(_text(cell, "miou") + more)
        lines.append(f"| {scheme} | {_span(own)} | {' | '.join(texts)} |")
    return lines


def _by_scheme(cells: list[Cell]) -> list[tuple[str, dict[float, Cell]]]:
    names = dict.fromkeys(cell.scheme for cell in cells)
    return [(name, {cell.snr_db: cell for cell in cells if cell.scheme == name}) for name in names]


def _span(own: dict[float, Cell]) -> str:
    used = sorted(cell.values["cbr"] for cell in own.values() if cell.values)
    if not used:
        return "–"
    return f"{used[0]:.4f}" if used[-1] < 1.01 * used[0] + 1e-9 else f"{used[0]:.4f} to {used[-1]:.4f}"


def _unit(metric: str) -> str:
    return " (%)" if metric in _PERCENT else " (dB)" if metric == "psnr" else ""


def _text(cell: Cell | None, metric: str) -> str:
    """Value with half the width of its interval; the share lost without."""
    if cell is None:
        return ""
    if not cell.values:
        return f"no file ({cell.of - cell.pictures} of {cell.of})"
    digits = METRICS[metric][1]
    half = (cell.high[metric] - cell.low[metric]) / 2
    return f"{cell.values[metric]:.{digits}f} ± {half:.{digits}f}"


def _delta_lines(found: Sequence[Delta]) -> list[str]:
    if not found:
        return []
    lines = ["", "**BD-CBR (%), negative: fewer channel uses for the same figure; 95 % interval**", "",
             "| scheme | against | SNR | for judge mIoU | for PSNR |", "|---|---|---|---|---|"]  # fmt: skip
    for scheme, against, snr in dict.fromkeys((d.scheme, d.against, d.snr_db) for d in found):
        own = {d.metric: d for d in found if (d.scheme, d.against, d.snr_db) == (scheme, against, snr)}
        lines.append(f"| {scheme} | {against} | {snr:g} dB | {_said(own['miou'])} | {_said(own['psnr'])} |")
    return lines


def _said(delta: Delta) -> str:
    if delta.value is None:
        return delta.note
    text = f"{delta.value:+.1f}"
    if delta.low is not None:
        text += f" [{delta.low:+.1f}, {delta.high:+.1f}]"
    notes = [delta.note] if delta.note else []
    if delta.without > 0.025:
        notes.append(f"no overlap in {100 * delta.without:.0f} % of draws")
    return text + (f" ({'; '.join(notes)})" if notes else "")
