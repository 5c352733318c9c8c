"""What a plot needs to know: metrics with their names and directions, colours of codecs, and curves made from cells.

A curve is a list of (rate, value) points with optional 95 % limits. Points that some pictures of the data set cannot
reach are left out, because a mean over the pictures that can is a mean over the easy ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "METRICS",
    "Curve",
    "Metric",
    "Style",
    "ceiling",
    "codec_order",
    "curves_from_cells",
    "metric",
    "rate_ticks",
    "splits",
    "style",
]


@dataclass(frozen=True)
class Metric:
    """How one value of a cell is called and printed; `unit` is empty for pure numbers, `better` is 'higher'/'lower'."""

    key: str
    title: str
    unit: str
    higher_better: bool
    digits: int

    @property
    def better(self) -> str:
        return "higher" if self.higher_better else "lower"

    def text(self, value: float | None) -> str:
        """'58.3', or a dash where there is no value."""
        return "–" if value is None or not math.isfinite(value) else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Style:
    """Colour on white, colour on black (both #rrggbb), marker filled or hollow."""

    light: str
    dark: str
    hollow: bool


@dataclass(frozen=True)
class Curve:
    """One line of a plot, rates ascending. `source` is set for published and imported numbers: they are drawn dashed.

    `codec` decides the colour; `low` and `high` are the 95 % limits of `value`, or None. `oracle`: the sender was told
    the true labels, which no real sender knows; drawn dotted.
    """

    codec: str
    label: str
    bpp: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    source: str | None = None
    oracle: bool = False


_LIST = (
    Metric("miou:judge", "mIoU, judge against truth", "%", True, 1),
    Metric("miou:espnetv2", "mIoU, ESPNetv2 against truth", "%", True, 1),
    Metric("miou:segmenter", "mIoU, sender's segmenter against truth", "%", True, 1),
    Metric("miou:map", "mIoU, delivered label map against truth", "%", True, 1),
    Metric("agree:judge", "mIoU, judge against judge on the original", "%", True, 1),
    Metric("agree:espnetv2", "mIoU, ESPNetv2 against ESPNetv2 on the original", "%", True, 1),
    Metric("miou_image:judge", "mean of per-picture mIoU, judge", "%", True, 1),
    Metric("lpips", "LPIPS (SqueezeNet)", "", False, 3),
    Metric("feature_distance", "feature distance (SqueezeNet)", "", False, 2),
    Metric("ms_ssim", "MS-SSIM", "", True, 4),
    Metric("ssim", "SSIM", "", True, 4),
    Metric("psnr", "PSNR", "dB", True, 2),
    Metric("hallucination", "hallucination rate", "", False, 3),
    Metric("recall", "object recall", "", True, 3),
    Metric("fid", "FID", "", False, 1),
    Metric("bpp", "rate", "bpp", False, 4),
    Metric("bytes", "size", "bytes", False, 0),
    Metric("encode_ms", "encode", "ms", False, 0),
    Metric("decode_ms", "decode", "ms", False, 0),
)
METRICS: dict[str, Metric] = {m.key: m for m in _LIST}

# Codec family: colour on light paper, colour on dark paper. A codec with -half shares the colour, with hollow markers.
_COLOURS = {
    "spic-onepass-street": ("#111827", "#f3f4f6"),
    "sqgan-street": ("#c2410c", "#fb923c"),
    "hevc": ("#2563eb", "#60a5fa"),
    "av1": ("#0f766e", "#2dd4bf"),
    "avif": ("#4d7c0f", "#a3e635"),
    "jxl": ("#7e22ce", "#c084fc"),
    "jpeg2000": ("#a16207", "#facc15"),
    "webp": ("#be185d", "#f472b6"),
    "jpeg": ("#4b5563", "#9ca3af"),
}
_SPARE = (
    ("#0e7490", "#22d3ee"),
    ("#4338ca", "#818cf8"),
    ("#15803d", "#4ade80"),
    ("#86198f", "#e879f9"),
    ("#92400e", "#fbbf24"),
)


def metric(key: str) -> Metric:
    """The metric of that key; an unknown key gets its own name, higher better for anything like mIoU or accuracy."""
    if key in METRICS:
        return METRICS[key]
    percent = key.startswith(("miou", "agree"))
    higher = not any(word in key for word in ("lpips", "fid", "kid", "distance", "loss", "rmse", "halluc", "_ms"))
    return Metric(key, key, "%" if percent else "", higher, 1 if percent else 3)


def style(codec: str) -> Style:
    """Colours of a codec: fixed for the known families, else one of the spare pairs chosen by the name."""
    half = codec.endswith("-half")
    family = codec.removesuffix("-half")
    light, dark = _COLOURS.get(family) or _SPARE[sum(map(ord, family)) % len(_SPARE)]
    return Style(light, dark, half)


def codec_order(codec: str) -> tuple[int, str]:
    """Sort key: learned codecs, then the classical families from strong to weak, each followed by its -half."""
    family = codec.removesuffix("-half")
    known = list(_COLOURS)
    rank = 2 * known.index(family) if family in known else 2 * known.index("hevc") - 1  # others: before the classical
    return (rank + (codec != family), codec)


def splits(cells: Iterable) -> list[str]:
    """The splits that occur, val before all others."""
    return sorted(dict.fromkeys(cell.split for cell in cells), key=lambda name: name != "val")


def curves_from_cells(cells: Iterable, key: str, split: str | None = None) -> list[Curve]:
    """One curve for each (codec, labels) that has `key` at a rate every picture reaches; `split` None takes all splits.

    Cells of codec "original" are no curve: see `ceiling`.
    """
    groups: dict[tuple[str, str, str], list] = {}
    several = len({cell.split for cell in cells}) > 1 and split is None
    for cell in cells:
        if cell.codec != "original" and split in (None, cell.split) and _usable(cell, key):
            groups.setdefault((cell.split, cell.codec, cell.labels), []).append(cell)
    curves = []
    for (part, codec, labels), group in groups.items():
        group.sort(key=lambda cell: cell.values["bpp"])
        label = codec + (" · true labels" if labels == "true" else "") + (f" · {part}" if several else "")
        banded = all(key in cell.low and key in cell.high for cell in group)
        curves.append(
            Curve(
                codec=codec,
                label=label,
                bpp=tuple(float(cell.values["bpp"]) for cell in group),
                value=tuple(float(cell.values[key]) for cell in group),
                low=tuple(float(cell.low[key]) for cell in group) if banded else None,
                high=tuple(float(cell.high[key]) for cell in group) if banded else None,
                oracle=labels == "true",
            )
        )
    return sorted(curves, key=lambda curve: (codec_order(curve.codec), curve.label))


def ceiling(cells: Iterable, key: str, split: str | None = None) -> float | None:
    """The value that the originals themselves get (codec "original"), if it was measured."""
    for cell in cells:
        if cell.codec == "original" and split in (None, cell.split) and _finite(cell.values.get(key)):
            return float(cell.values[key])
    return None


def rate_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic rate axis: ... 0.01, 0.02, 0.04, 0.08 ..., at least those inside [low, high]."""
    ticks = [0.01 * 2.0**k for k in range(-6, 13)]
    return [round(t, 6) for t in ticks if low * 0.999 <= t <= high * 1.001]


def _usable(cell, key: str) -> bool:
    return cell.frames >= cell.of and _finite(cell.values.get(key)) and _finite(cell.values.get("bpp"))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def spread(curves: Sequence[Curve], extra: Iterable[float] = ()) -> tuple[float, float, float, float]:
    """(lowest rate, highest rate, lowest value, highest value) over curves with their bands, and `extra` values."""
    rates = [r for c in curves for r in c.bpp]
    values = [v for c in curves for row in (c.value, c.low or (), c.high or ()) for v in row] + list(extra)
    return min(rates), max(rates), min(values), max(values)
