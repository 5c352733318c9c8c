"""A contact sheet: pictures of one size in a grid, each with two lines of caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Panel", "contact_sheet"]

_GAP, _CAPTION, _MAX_WIDTH = 12, 48, 640
_PAPER, _INK, _GREY = (250, 250, 247), (24, 24, 24), (96, 96, 96)


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture, (H, W, 3) uint8, with its title and a line of figures."""

    title: str
    note: str
    image: np.ndarray


def contact_sheet(panels: Sequence[Panel], columns: int) -> np.ndarray:
    """All panels as one (H, W, 3) uint8 picture; wide ones are shown scaled down to 640 columns."""
    height, width = panels[0].image.shape[:2]
    if width > _MAX_WIDTH:
        height, width = max(1, round(height * _MAX_WIDTH / width)), _MAX_WIDTH
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    cell = (width + _GAP, height + _CAPTION + _GAP)
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title_font, note_font = ImageFont.load_default(18), ImageFont.load_default(14)
    for i, panel in enumerate(panels):
        x, y = _GAP + (i % columns) * cell[0], _GAP + (i // columns) * cell[1]
        draw.text((x, y), panel.title, _INK, font=title_font)
        draw.text((x, y + 24), panel.note, _GREY, font=note_font)
        picture = Image.fromarray(np.ascontiguousarray(panel.image))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x, y + _CAPTION))
    return np.asarray(sheet)
