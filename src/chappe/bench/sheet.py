"""One picture that shows one photo through many codecs: what came back, and what a judge sees in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from chappe.errors import UsageError
from chappe.taxonomy import colorize, get_taxonomy

__all__ = ["Tile", "contact_sheet"]

_WIDTH, _GAP, _MARGIN, _HEAD, _TEXT = 540, 20, 28, 88, 58
_PAPER, _INK, _SOFT, _LINE = (251, 250, 247), (29, 28, 26), (106, 103, 95), (230, 227, 219)


@dataclass(frozen=True, eq=False)
class Tile:
    """One codec: picture (H, W, 3) uint8 and label map (H, W) uint8, or None for both and `why` instead.

    `notes`: up to two lines of figures under the title. `colour`: (R, G, B) of the mark before the title, or None.
    """

    title: str
    notes: tuple[str, ...]
    image: np.ndarray | None
    labels: np.ndarray | None = None
    why: str = ""
    colour: tuple[int, int, int] | None = None


def contact_sheet(
    tiles: Sequence[Tile], *, title: str, subtitle: str = "", taxonomy: str = "street11", columns: int = 3
) -> np.ndarray:
    """(H, W, 3) uint8: all tiles in a grid of `columns`, each picture above its map; the colours' names at the foot.

    Pictures are shown 540 pixels wide, scaled from any size. The first tile must have a picture: it gives the shape of
    all. Raises UsageError if it has none.
    """
    if not tiles or tiles[0].image is None:
        raise UsageError("a contact sheet needs a first tile with a picture.")
    height, width = tiles[0].image.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    columns = max(1, min(columns, len(tiles)))
    maps = any(tile.labels is not None for tile in tiles)
    cell = _TEXT + size[1] * (2 if maps else 1) + (6 if maps else 0) + _GAP
    rows = -(-len(tiles) // columns)
    total = (2 * _MARGIN + columns * (_WIDTH + _GAP) - _GAP, _HEAD + rows * cell + (44 if maps else 0) + _MARGIN)
    sheet = Image.new("RGB", total, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 22), _clip(draw, title, _font(26), total[0] - 2 * _MARGIN), _INK, font=_font(26))
    draw.text((_MARGIN, 56), _clip(draw, subtitle, _font(15), total[0] - 2 * _MARGIN), _SOFT, font=_font(15))
    for i, tile in enumerate(tiles):
        corner = (_MARGIN + (i % columns) * (_WIDTH + _GAP), _HEAD + (i // columns) * cell)
        _draw_tile(sheet, draw, tile, corner, size, taxonomy)
    if maps:
        _draw_palette(draw, taxonomy, (_MARGIN, _HEAD + rows * cell + 6), total[0] - _MARGIN)
    return np.asarray(sheet)


def _draw_tile(sheet, draw, tile: Tile, corner: tuple[int, int], size: tuple[int, int], taxonomy: str) -> None:
    x, y = corner
    left = x
    if tile.colour is not None:
        draw.ellipse((x, y + 4, x + 11, y + 15), fill=tile.colour)
        left += 18
    draw.text((left, y - 1), _clip(draw, tile.title, _font(18), _WIDTH - 18), _INK, font=_font(18))
    for k, note in enumerate(tile.notes[:2]):
        draw.text((x, y + 22 + 16 * k), _clip(draw, note, _font(13), _WIDTH), _SOFT, font=_font(13))
    y += _TEXT
    if tile.image is None:
        draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), outline=_LINE)
        for k, line in enumerate(_wrap(draw, tile.why, _font(15), size[0] - 40)):
            draw.text((x + 20, y + 20 + 20 * k), line, _SOFT, font=_font(15))
        return
    sheet.paste(_fit(tile.image, size, Image.Resampling.LANCZOS), (x, y))
    if tile.labels is not None:
        sheet.paste(_fit(colorize(tile.labels, taxonomy), size, Image.Resampling.NEAREST), (x, y + size[1] + 6))


def _draw_palette(draw, taxonomy: str, corner: tuple[int, int], right: int) -> None:
    table = get_taxonomy(taxonomy)
    x, y = corner
    for name, colour in zip(table.classes, table.palette.tolist(), strict=True):
        wide = 20 + draw.textlength(name, _font(13))
        if x + wide > right:
            x, y = corner[0], y + 20
        draw.rounded_rectangle((x, y + 1, x + 12, y + 13), 3, fill=tuple(colour))
        draw.text((x + 18, y - 1), name, _SOFT, font=_font(13))
        x += wide + 16


def _fit(image: np.ndarray, size: tuple[int, int], kind: Image.Resampling) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image)).resize(size, kind)


def _font(size: int):
    return ImageFont.load_default(size)


def _clip(draw, text: str, font, width: float) -> str:
    while text and draw.textlength(text, font) > width:
        text = text[:-2].rstrip(" .") + "…" if len(text) > 2 else ""
    return text


def _wrap(draw, text: str, font, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
