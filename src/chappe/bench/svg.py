"""A rate curve as inline SVG: logarithmic rate axis, 95 % bands, hollow markers for downscaled codecs, dashes for
published numbers. Colours are CSS variables, so that one drawing serves light and dark paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from chappe.bench.curves import Curve, Metric, rate_ticks, spread, style

__all__ = ["chart", "colour_style", "marks", "value_ticks"]

_WIDTH, _HEIGHT = 460, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 40


def chart(curves: Sequence[Curve], metric: Metric, *, title: str, ceiling: float | None = None) -> str:
    """One figure of 460 x 320 units that scales with its box. An empty list of curves gives a line saying so."""
    if not curves:
        return f'<p class="quiet">{escape(title)}: no rate that every picture reaches.</p>'
    plane = _Plane(curves, ceiling)
    parts = [_axes(plane, metric, title)]
    if ceiling is not None:
        y = plane.y(ceiling)
        parts.append(
            f'<line class="ceiling" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="note" x="{_WIDTH - _RIGHT - 4}" y="{y - 5:.1f}" text-anchor="end">'
            f"originals {metric.text(ceiling)}</text>"
        )
    parts += [_curve(curve, plane, metric) for curve in curves]
    label = f"{title}: {metric.title} over rate, {len(curves)} curves, {metric.better} is better"
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def value_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers inside [low, high], about `count` of them."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step *= min((1, 2, 2.5, 5, 10), key=lambda m: abs(span / (m * step) - count))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def colour_style(codec: str) -> str:
    """The inline CSS variables of a codec's colours."""
    colours = style(codec)
    return f"--l:{colours.light};--d:{colours.dark}"


def marks(curve: Curve) -> str:
    """The CSS classes that say how a curve is drawn."""
    hollow, published, oracle = style(curve.codec).hollow, curve.source is not None, curve.oracle
    kinds = {"hollow": hollow and not published, "published": published, "oracle": oracle}
    return " ".join(name for name, on in kinds.items() if on)


class _Plane:
    """The mapping of rates (logarithmic) and values to units of the drawing."""

    def __init__(self, curves: Sequence[Curve], ceiling: float | None) -> None:
        x0, x1, y0, y1 = spread(curves, [] if ceiling is None else [ceiling])
        pad = 0.06 * (y1 - y0) or max(abs(y0), 1.0) * 0.05
        self.x0, self.x1 = x0 / 1.12, x1 * 1.12
        self.y0, self.y1 = y0 - pad, y1 + pad

    def x(self, rate: float) -> float:
        share = math.log(rate / self.x0) / math.log(self.x1 / self.x0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(plane: _Plane, metric: Metric, title: str) -> str:
    bottom, parts = _HEIGHT - _BOTTOM, []
    for value in value_ticks(plane.y0, plane.y1):
        y = plane.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for rate in rate_ticks(plane.x0, plane.x1):
        x = plane.x(rate)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{rate:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    unit = f" ({metric.unit})" if metric.unit else ""
    parts.append(f'<text class="axis" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">bits per pixel</text>')
    parts.append(f'<text class="name" x="0" y="13">{escape(title)}{unit}</text>')
    parts.append(f'<text class="note" x="{_WIDTH - _RIGHT}" y="13" text-anchor="end">{metric.better} is better</text>')
    return "".join(parts)


def _curve(curve: Curve, plane: _Plane, metric: Metric) -> str:
    points = [(plane.x(r), plane.y(v)) for r, v in zip(curve.bpp, curve.value, strict=True)]
    parts = []
    if curve.low and curve.high and len(points) > 1:
        edge = [(plane.x(r), plane.y(v)) for r, v in zip(curve.bpp, curve.high, strict=True)]
        edge += [(plane.x(r), plane.y(v)) for r, v in zip(curve.bpp[::-1], curve.low[::-1], strict=True)]
        parts.append(f'<polygon class="band" points="{_join(edge)}"/>')
    if len(points) > 1:
        parts.append(f'<polyline class="line" points="{_join(points)}"/>')
    for i, (x, y) in enumerate(points):
        limits = ""
        if curve.low and curve.high:
            limits = f" ({metric.text(curve.low[i])} to {metric.text(curve.high[i])})"
        text = f"{curve.label}: {metric.text(curve.value[i])} {metric.unit}{limits} at {curve.bpp[i]:.4f} bpp"
        tip = f'class="pt" data-tip="{escape(" ".join(text.split()))}"'
        if curve.source:
            parts.append(f'<path d="M{x:.1f} {y - 4.5:.1f}l4.5 4.5-4.5 4.5-4.5-4.5z" {tip}/>')
        else:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" {tip}/>')
    return (
        f'<g class="series {marks(curve)}" data-series="{escape(curve.label)}" style="{colour_style(curve.codec)}">'
        f"{''.join(parts)}</g>"
    )


def _join(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
