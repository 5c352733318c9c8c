"""The tables of the report as HTML: results by rate, BD figures, IoU by class, bytes by section."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from chappe.bench.codecs import ORIGINAL
from chappe.bench.curves import Curve, codec_order, curves_from_cells, metric, splits, style
from chappe.bench.svg import colour_style
from chappe.errors import InputError

__all__ = ["ANCHORS", "bd_section", "class_section", "results_section", "sections_section"]

COLUMNS = (
    "bpp", "psnr", "ms_ssim", "lpips", "miou:judge", "miou:espnetv2", "miou:segmenter", "agree:judge", "miou:map",
    "feature_distance", "recall", "hallucination", "encode_ms", "decode_ms",
)  # fmt: skip
HEADS = {
    "miou:judge": "mIoU judge %", "miou:espnetv2": "mIoU ESPNetv2 %", "miou:segmenter": "mIoU segmenter %",
    "agree:judge": "judge agrees %",
    "miou:map": "mIoU map %", "lpips": "LPIPS", "psnr": "PSNR dB", "encode_ms": "encode ms", "decode_ms": "decode ms",
    "recall": "recall", "hallucination": "hallu­cination", "feature_distance": "feature distance", "bpp": "bpp",
}  # fmt: skip
BD_METRICS = ("miou:judge", "lpips", "ms_ssim", "psnr")
ANCHORS = ("hevc", "av1", "avif", "jpeg2000", "webp", "jpeg")


def results_section(cells: Sequence) -> str:
    """All cells, a table for each split, grouped by the rate asked for.

    The best of a group is set in bold; a sender that was told the true labels takes no part in that.
    """
    parts = []
    for part in splits(cells):
        mine = [cell for cell in cells if cell.split == part]
        keys = [key for key in COLUMNS if any(key in cell.values for cell in mine)]
        head = "".join(f"<th>{HEADS.get(key, escape(metric(key).title))}</th>" for key in keys)
        body = "".join(_group(point, mine, keys) for point in _points(mine))
        parts.append(f'<div class="scroll"><table><caption>Split {escape(part)}</caption><thead><tr><th>codec</th>'
                     f"{head}</tr></thead><tbody>{body}</tbody></table></div>")  # fmt: skip
    return f"""<section><h2>Results by rate</h2><p class="quiet">A dash: some pictures cannot reach the rate; the
count says how many can. Small figures are 95 % limits. mIoU is of summed confusion matrices.</p>{"".join(parts)}
</section>"""


def bd_section(cells: Sequence) -> str:
    """BD-rate of every codec against the first classical one there is, at equal value of each metric."""
    present = {cell.codec for cell in cells}
    anchor = next((name for name in ANCHORS if name in present), None)
    if anchor is None:
        return ""
    parts = []
    for part in splits(cells):
        by_metric = {key: curves_from_cells(cells, key, part) for key in BD_METRICS}
        keys = [key for key in BD_METRICS if any(c.label == anchor for c in by_metric[key])]
        names = {c.label: c.codec for key in keys for c in by_metric[key] if c.label != anchor}
        rows = []
        for label, codec in names.items():
            figures = []
            for key in keys:
                lines = {c.label: c for c in by_metric[key]}
                figures.append(_bd(lines[anchor], lines.get(label), metric(key).higher_better))
            rows.append(f"<tr>{_name(codec, label)}{''.join(f'<td>{figure}</td>' for figure in figures)}</tr>")
        if rows:
            head = "".join(
                f"<th>at equal {HEADS.get(key, metric(key).title).removesuffix(' %').removesuffix(' dB')}</th>"
                for key in keys
            )
            parts.append(f'<div class="scroll"><table><caption>Split {escape(part)}</caption><thead><tr><th>codec</th>'
                         f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>")  # fmt: skip
    if not parts:
        return ""
    return f"""<section><h2>Bjøntegaard rates against {escape(anchor)}</h2><p class="quiet">Mean difference in rate over
the values both curves reach: −50 % says half the bytes. Points with a better one at a lower rate are dropped. In
grey: both curves share less than three quarters of their values.</p>{"".join(parts)}</section>"""


def class_section(cells: Sequence, eye: str = "judge") -> str:
    """IoU of each class as the judge sees it, one table a rate and split."""
    from chappe.taxonomy import get_taxonomy

    table = get_taxonomy("street11")
    names = [name for i, name in enumerate(table.classes) if i != table.void]
    parts = []
    for part in splits(cells):
        mine = [cell for cell in cells if cell.split == part and _classes(cell, eye)]
        top = [cell for cell in mine if cell.codec == ORIGINAL]
        for point in _points(mine):
            group = [cell for cell in mine if cell.point == point and cell.codec != ORIGINAL and cell.values]
            if not group:
                continue
            rows = "".join(
                f"<tr>{_name(cell.codec, _label(cell))}{''.join(map(_heat, _classes(cell, eye)))}</tr>"
                for cell in [*sorted(group, key=_order), *top[:1]]
            )
            head = "".join(f"<th>{escape(name)}</th>" for name in names)
            title = f"{_rate(point)}, {part}"
            shown = " open" if not parts else ""
            parts.append(f'<details{shown}><summary>{escape(title)}</summary><div class="scroll"><table><thead><tr>'
                         f"<th>codec</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>")  # fmt: skip
    if not parts:
        return ""
    return f"""<section><h2>IoU by class</h2><p class="quiet">In percent, of the judge on the decoded pictures against
the truth.</p>{"".join(parts)}</section>"""


def sections_section(cells: Sequence) -> str:
    """Mean bytes of each section of the files, for codecs whose files have several."""
    shown = [c for c in cells if c.sections and c.values and len([k for k in c.sections if k != "header"]) > 1]
    if not shown:
        return ""
    names = list(dict.fromkeys(name for cell in shown for name in cell.sections))
    most = max(sum(cell.sections.values()) for cell in shown)
    keys = "".join(f'<span><i class="p{i % 6}"></i>{escape(name)}</span>' for i, name in enumerate(names))
    parts = []
    for part in splits(shown):
        bars = []
        for cell in sorted((c for c in shown if c.split == part), key=lambda c: (_order(c), c.values["bpp"])):
            total = sum(cell.sections.values())
            pieces = "".join(
                f'<i class="p{i % 6}" style="width:{100 * cell.sections.get(name, 0) / total:.2f}%" '
                f'title="{escape(name)} {cell.sections.get(name, 0):.0f} B"></i>'
                for i, name in enumerate(names)
            )
            split = " + ".join(f"{cell.sections[name]:.0f}" for name in names if name in cell.sections)
            bars.append(
                f'<div class="what">{escape(_label(cell))} at {escape(_rate(cell.point))}</div>'
                f'<div class="bar"><span style="width:{62 * total / most:.1f}%">{pieces}</span>'
                f"<small>{split} = {total:.0f} B</small></div>"
            )
        heading = f"<h3>Split {escape(part)}</h3>" if len(splits(shown)) > 1 else ""
        parts.append(f'{heading}<div class="bars">{"".join(bars)}</div>')
    return f"""<section><h2>Where the bytes go</h2><p class="quiet">Mean bytes of each section of a file, framing
included. Files of the classical codecs are one section.</p><div class="keys">{keys}</div>{"".join(parts)}</section>"""


def _group(point: str, cells: Sequence, keys: Sequence[str]) -> str:
    group = sorted((cell for cell in cells if cell.point == point), key=_order)
    full = [cell for cell in group if cell.frames >= cell.of and cell.values]
    best = {}
    for key in keys:
        values = [cell.values[key] for cell in full if cell.labels != "true" and _is_number(cell.values.get(key))]
        if key != "bpp" and len(set(values)) > 1:
            best[key] = (max if metric(key).higher_better else min)(values)
    rows = [f'<tr class="group"><th colspan="{len(keys) + 1}">{escape(_rate(point))}</th></tr>']
    for cell in group:
        if cell not in full:
            gone = f'<td class="gone" colspan="{len(keys)}" style="text-align:left">– &nbsp;{cell.frames} of {cell.of} '
            rows.append(f"<tr>{_name(cell.codec, _label(cell))}{gone}pictures reach it</td></tr>")
            continue
        rows.append(f"<tr>{_name(cell.codec, _label(cell))}{''.join(_value(cell, key, best) for key in keys)}</tr>")
    return "".join(rows)


def _value(cell, key: str, best: dict[str, float]) -> str:
    value = cell.values.get(key)
    text = metric(key).text(value)
    if _is_number(value) and best.get(key) == value:
        text = f"<b>{text}</b>"
    if key.startswith("miou:judge") and key in cell.low and key in cell.high:
        text += f" <small>{metric(key).text(cell.low[key])}–{metric(key).text(cell.high[key])}</small>"
    return f"<td>{text}</td>"


def _bd(anchor: Curve, other: Curve | None, higher: bool) -> str:
    from chappe.metrics.bd import bd_rate, shared, undominated

    if other is None:
        return "–"
    lines = []
    for curve in (anchor, other):
        kept = undominated(curve.bpp, curve.value, higher)
        lines.append([[v for v, k in zip(row, kept, strict=True) if k] for row in (curve.bpp, curve.value)])
    try:
        figure = bd_rate(*lines[0], *lines[1], higher_better=higher)
    except InputError:
        return '<span class="quiet">no overlap</span>'
    text = f"{figure:+.1f} %".replace("-", "−")
    return text if shared(lines[0][1], lines[1][1]) >= 0.75 else f'<span class="quiet">{text}</span>'


def _classes(cell, eye: str) -> Sequence[float]:
    return cell.classes.get(f"miou:{eye}") or cell.classes.get(eye) or ()


def _heat(value: float | None) -> str:
    if not _is_number(value):
        return '<td class="gone">–</td>'
    return f'<td class="heat" style="--v:{value / 100:.3f}">{value:.1f}</td>'


def _name(codec: str, label: str) -> str:
    hollow = " hollow" if style(codec).hollow else ""
    dot = "" if codec == ORIGINAL else f'<i class="dot{hollow}" style="{colour_style(codec)}"></i>'
    return f"<th>{dot}{escape(label)}</th>"


def _label(cell) -> str:
    return cell.codec + (" · true labels" if cell.labels == "true" else "")


def _order(cell) -> tuple:
    return (codec_order(cell.codec) if cell.codec != ORIGINAL else (99, ""), cell.labels)


def _points(cells: Iterable) -> list[str]:
    """Operating points, rates first and ascending, then names; that of the originals last."""

    def key(point: str) -> tuple:
        return (0, float(point), "") if _is_rate(point) else (1 + (point == ORIGINAL), 0.0, point)

    return sorted({str(cell.point) for cell in cells}, key=key)


def _rate(point: str) -> str:
    return f"{point} bpp" if _is_rate(point) else point


def _is_rate(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
