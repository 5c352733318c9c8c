"""One self-contained HTML page of a sweep: curves, gallery, table, BD figures, IoU by class, bits by section.

The page makes no request of any kind (its own content policy forbids it), follows the reader's light or dark setting,
and works on a phone. Everything in it is computed from the cells and rows it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from chappe.bench.curves import Curve, ceiling, curves_from_cells, metric, splits
from chappe.bench.gallery import Scene, gallery_html, scenes_from_folder
from chappe.bench.published import curves as published_curves
from chappe.bench.report_tables import bd_section, class_section, results_section, sections_section
from chappe.bench.svg import chart, colour_style, marks
from chappe.files import atomic_write_bytes

__all__ = ["page", "write_gallery_page", "write_report"]

TEMPLATES = Path(__file__).parent / "templates"
MAIN = ("miou:judge", "lpips")
MORE = (
    "agree:judge", "miou:espnetv2", "miou:map", "miou_image:judge", "ms_ssim", "ssim", "psnr", "feature_distance",
    "recall", "hallucination",
)  # fmt: skip


def write_report(
    cells: Sequence,
    rows: Sequence[dict],
    out_dir: Path,
    *,
    title: str,
    command: str,
    pictures: Path | None = None,
    versions: Mapping[str, str] | None = None,
    sentences: Sequence[str] | None = None,
    published: Sequence[str] = (),
) -> Path:
    """Write `out_dir`/report.html and return its path.

    cells: `bench.table.Cell`s; rows: JSON lines of the same sweep (for the gallery). pictures: folder with the kept
    pictures, by default `out_dir`/pictures where it exists. sentences: the words on top, by default those of
    `bench.table.sentence`. published: items of `bench.published` to draw, dashed, where their metric and rate fit.
    """
    folder = Path(out_dir) / "pictures" if pictures is None else Path(pictures)
    scenes, left = scenes_from_folder(folder, rows) if folder.is_dir() else ([], 0)
    words = _sentences(cells) if sentences is None else list(sentences)
    lead = "".join(f'<p class="lead">{escape(text)}</p>' for text in words)
    frames = ", ".join(f"{part}: {max(c.of for c in cells if c.split == part)} pictures" for part in splits(cells))
    body = "".join(
        (
            _curves_section(cells, published),
            _gallery_section(scenes, left),
            results_section(cells),
            bd_section(cells),
            class_section(cells),
            sections_section(cells),
        )
    )
    path = Path(out_dir) / "report.html"
    lead += f'<p class="quiet">{escape(frames)}. bpp is always bytes of the whole file × 8 / pixels.</p>'
    atomic_write_bytes(path, page(title, lead, body, _footer(command, versions)).encode())
    return path


def write_gallery_page(path: Path, scenes: Sequence[Scene], *, title: str, command: str, lead: str = "") -> None:
    """A page with the viewer alone, for `chappe compare --html`."""
    body = gallery_html(scenes)
    text = page(title, f'<p class="quiet">{escape(lead)}</p>', body, _footer(command, None))
    atomic_write_bytes(path, text.encode())


def page(title: str, lead: str, body: str, footer: str) -> str:
    """The whole HTML document; `title` is plain text, the other three are HTML."""
    parts = {"title": escape(title), "lead": lead, "body": body, "footer": footer}
    parts |= {kind: (TEMPLATES / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")}
    template = (TEMPLATES / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _curves_section(cells: Sequence, published: Sequence[str]) -> str:
    names = splits(cells)
    drawn: dict[str, Curve] = {}

    def figures(key: str) -> str:
        kind, parts = metric(key), []
        outside = [curve for item in published for curve in published_curves(item, key)]
        if not any(curves_from_cells(cells, key, part) for part in names):
            return ""
        for part in names:
            curves = curves_from_cells(cells, key, part) + outside
            drawn.update((curve.label, curve) for curve in curves)
            top = ceiling(cells, key, part) if kind.unit == "%" else None
            heading = f"{kind.title} · {part}" if len(names) > 1 else kind.title
            parts.append(f"<div>{chart(curves, kind, title=heading, ceiling=top)}</div>")
        return "".join(parts)

    first = "".join(figures(key) for key in MAIN)
    more = "".join(figures(key) for key in MORE)
    if not first + more:
        return ""
    sources = dict.fromkeys(curve.source for curve in drawn.values() if curve.source)
    notes = "".join(f'<p class="quiet">Dashed, or a lone diamond: {escape(source)}.</p>' for source in sources)
    details = f'<details><summary>More curves</summary><div class="charts">{more}</div></details>' if more else ""
    return f"""<section><h2>Rate and meaning</h2>
<p class="quiet">Rates that some pictures cannot reach are not drawn. Bands are 95 % bootstrap intervals over the
pictures. Hollow markers: coded at half size. Dotted: the sender was told the true labels. Touch a point for its
numbers, a name to hide its curve.</p>
{_legend(list(drawn.values()))}<div class="charts">{first}</div>{notes}{details}</section>"""


def _legend(curves: Sequence[Curve]) -> str:
    entries = []
    for curve in curves:
        entries.append(
            f'<li><button type="button" class="{marks(curve)}" aria-pressed="true" '
            f'data-series="{escape(curve.label)}" style="{colour_style(curve.codec)}"><i></i>{escape(curve.label)}'
            "</button></li>"
        )
    return f'<ul class="legend" aria-label="Curves; press to hide">{"".join(entries)}</ul>'


def _gallery_section(scenes: Sequence[Scene], left: int) -> str:
    if not scenes:
        return ""
    more = f" {left} more pictures of the sweep are left out to keep this page small." if left else ""
    return f"""<section><h2>Gallery</h2>
<p class="quiet">Drag the divider, or focus it and use the arrow keys. Pictures are embedded as WebP of quality 90;
every number is of the exact pixels.{more}</p>
{gallery_html(scenes)}</section>"""


def _sentences(cells: Sequence) -> list[str]:
    from chappe.bench.table import sentence

    have = {cell.split for cell in cells if cell.codec == "sqgan-street" and cell.point == "0.04" and cell.values}
    return [line for part in splits(cells) if part in have for line in sentence(cells, part).splitlines()]


def _footer(command: str, versions: Mapping[str, str] | None) -> str:
    rows = "".join(f"<li>{escape(name)}: {escape(str(text))}</li>" for name, text in (versions or {}).items())
    listed = f"<p>Made with</p><ul>{rows}</ul>" if rows else ""
    return f"<p>This page was written by</p><pre>{escape(command)}</pre>{listed}"
