"""Facades, roofs and rows of buildings for procedural street scenes."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import numpy as np
from PIL import Image, ImageDraw

from chappe.data.scene_canvas import BUILDING, Canvas, Light, jitter, noise_tile

__all__ = ["Building", "draw_building", "make_building"]

WALLS = {
    "stock brick": (158, 138, 104), "red brick": (132, 82, 62), "brown brick": (104, 76, 58), "render": (206, 200, 184),
    "white": (222, 220, 212), "stone": (168, 156, 132), "concrete": (138, 136, 132), "glass": (92, 104, 112),
    "pastel": (186, 172, 150), "dark": (78, 72, 68),
}  # fmt: skip
FASCIAS = ((28, 60, 120), (130, 22, 30), (24, 84, 52), (34, 34, 38), (214, 208, 190), (180, 120, 30), (96, 44, 96),
           (20, 96, 120), (222, 222, 222), (60, 40, 30))  # fmt: skip


@dataclass(frozen=True)
class Building:
    """A block with its front on a vertical plane from `a` to `b` (street coordinates s, t), metres."""

    a: tuple[float, float]
    b: tuple[float, float]
    height: float
    depth: float  # of the block behind its front
    roof: str  # gable, flat
    roof_rise: float
    wall: str
    storeys: int
    shop: bool
    seed: int


def make_building(rng: np.random.Generator, a, b, style: str) -> Building:
    """A random building for one of the street styles: terrace, high street, modern, villas."""
    walls = {
        "terrace": ["stock brick", "red brick", "stock brick", "render", "white"],
        "high": ["stock brick", "red brick", "white", "render", "stone", "concrete", "brown brick", "pastel", "dark"],
        "modern": ["concrete", "glass", "brown brick", "stone", "white"],
        "villas": ["stock brick", "red brick", "render", "white", "stone"],
    }[style]
    storeys = int(rng.integers(*{"terrace": (2, 4), "high": (2, 5), "modern": (2, 7), "villas": (2, 4)}[style]))
    rise = rng.uniform(2.8, 3.5)
    return Building(
        a, b, storeys * rise + rng.uniform(0.3, 1.0), rng.uniform(7, 12),
        "flat" if style == "modern" or rng.random() < 0.25 else "gable", rng.uniform(1.8, 3.6),
        str(rng.choice(walls)), storeys, style in ("high", "modern") and rng.random() < 0.75,
        int(rng.integers(1 << 31)),
    )  # fmt: skip


def draw_building(canvas: Canvas, building: Building, shadow: float | None) -> None:
    """Roof, end walls and facade. `shadow`: height below which the facade lies in shadow, None = no direct sun."""
    rng = np.random.Generator(np.random.PCG64(building.seed))
    (s0, t0), (s1, t1) = building.a, building.b
    light, cam = canvas.light, canvas.camera.position
    p0, p1 = canvas.world(s0, t0), canvas.world(s1, t1)
    along = (p1[0] - p0[0], p1[2] - p0[2])
    width = hypot(*along)
    ux, uz = along[0] / width, along[1] / width
    nx, nz = -uz, ux  # one of the two normals; the front faces the camera
    if (cam[0] - p0[0]) * nx + (cam[2] - p0[2]) * nz < 0:
        nx, nz = -nx, -nz
    back = (-nx * building.depth, -nz * building.depth)
    h, base = building.height, jitter(rng, WALLS[building.wall], 9)
    tile = jitter(rng, (112, 74, 58) if rng.random() < 0.4 else (84, 84, 90), 8)

    def at(p, y, k=0.0):
        return (p[0] + back[0] * k, y, p[2] + back[1] * k)

    if building.roof == "gable":
        _roof(canvas, rng, at, p0, p1, h, building, tile, (nx, nz))
    for end, sign in ((p0, -1), (p1, 1)):  # end walls: visible where a block is taller or stands out
        if ((cam[0] - end[0]) * ux + (cam[2] - end[2]) * uz) * sign > 0:
            side = (ux * sign, 0.0, uz * sign)
            sunny = shadow is not None or sum(s * n for s, n in zip(light.direction, side, strict=True)) > 0.1
            edge = rng.uniform(0.0, 0.9) * h if sunny and max(light.sun) > 0.05 else None
            if building.roof == "gable":
                tone = light.shade(base, side, 0.0 if edge is None else 1.0)
                canvas.polygon([at(end, h), at(end, h + building.roof_rise, 0.5), at(end, h, 1.0)], tone, BUILDING)
            _wall(
                canvas, rng, building, base, end, at(end, 0, 1.0), side, edge, "side" if rng.random() < 0.6 else "blank"
            )
    _wall(canvas, rng, building, base, p0, p1, (nx, 0.0, nz), shadow, "front")


def _wall(canvas: Canvas, rng, building: Building, base, p0, p1, normal, shadow, kind: str) -> None:
    """One textured wall of the block between two ground points."""
    cam = canvas.camera
    views = [cam.view(p) for p in (p0, p1)]
    aspect = cam.width / 2 / cam.focal
    if (
        max(v[2] for v in views) < 0.5
        or min(v[0] - aspect * v[2] for v in views) > 0
        or max(v[0] + aspect * v[2] for v in views) < 0
    ):
        return  # behind the lens or outside the view
    # the part beside the camera is out of sight: what is seen is at least |x| / aspect away
    depths = [max(2.0, v[2], min(abs(q[0]) for q in views) / aspect) for v in views]
    width, h = hypot(p1[0] - p0[0], p1[2] - p0[2]), building.height
    # texels a metre: enough for the nearest corner, but no more texels than the wall can ever show
    scale = float(np.clip(cam.focal / min(depths) * 0.62, 4, 40))
    scale = min(scale, 600 / width, 400 / h)
    patch = _facade(rng, building, base, width, scale, kind)
    patch = _shaded(rng, patch, canvas.light, normal, shadow, h, scale, sum(depths) / 2)
    m = 1 / scale
    ux, uz = (p1[0] - p0[0]) / width * m, (p1[2] - p0[2]) / width * m
    region = [p0, (p0[0], h, p0[2]), (p1[0], h, p1[2]), p1]
    canvas.texture((p0[0], h, p0[2]), (ux, 0, uz), (0, -m, 0), patch, region, BUILDING)


def _roof(canvas: Canvas, rng, at, p0, p1, h, building: Building, tile, normal) -> None:
    light, rise = canvas.light, building.roof_rise
    slope = hypot(rise, building.depth / 2)
    n = (normal[0] * rise / slope, building.depth / 2 / slope, normal[1] * rise / slope)
    colour = light.shade(tile, n)
    canvas.polygon([at(p0, h), at(p1, h), at(p1, h + rise, 0.5), at(p0, h + rise, 0.5)], colour, BUILDING)
    for i in range(1, 7):  # courses of tiles
        k = i / 14
        canvas.stroke(at(p0, h + rise * 2 * k, k), at(p1, h + rise * 2 * k, k), 1, [c * 0.9 for c in colour], None)
    gutter = [at(p0, h - 0.12), at(p1, h - 0.12), at(p1, h + 0.12), at(p0, h + 0.12)]
    canvas.polygon(gutter, [c * 0.55 for c in colour], BUILDING)
    for k in (rng.uniform(0.0, 0.2), rng.uniform(0.75, 0.95))[: int(rng.integers(0, 3))]:  # chimneys on the ridge
        x, z = p0[0] + (p1[0] - p0[0]) * k, p0[2] + (p1[2] - p0[2]) * k
        foot, top = at((x, 0, z), h + rise - 0.6, 0.5), at((x, 0, z), h + rise + rng.uniform(0.9, 1.6), 0.5)
        brick = light.shade((122, 92, 70), (0, 0, -1), 0.7)
        dark = [c * 0.7 for c in brick]
        for dz, c in ((0.45, dark), (-0.45, brick)):
            face = [(foot[0] - 0.35, foot[1], foot[2] + dz), (foot[0] - 0.35, top[1], top[2] + dz),
                    (foot[0] + 0.35, top[1], top[2] + dz), (foot[0] + 0.35, foot[1], foot[2] + dz)]  # fmt: skip
            canvas.polygon(face, c, BUILDING)
        for dx in (-0.35, 0.35):
            face = [(foot[0] + dx, foot[1], foot[2] - 0.45), (foot[0] + dx, top[1], top[2] - 0.45),
                    (foot[0] + dx, top[1], top[2] + 0.45), (foot[0] + dx, foot[1], foot[2] + 0.45)]  # fmt: skip
            canvas.polygon(face, dark, BUILDING)
        for dz in (-0.2, 0.2):
            pot = (top[0], top[1], top[2] + dz)
            canvas.capsule(pot, (pot[0], pot[1] + 0.35, pot[2]), 0.12, 0.1, (140, 96, 74), BUILDING)


def _shaded(rng, patch: Image.Image, light: Light, normal, shadow, height, scale, distance) -> Image.Image:
    """Light the albedo: sun above the shadow edge, ambient below, grime near the ground, stains, haze; one pass."""
    lit, dark = (np.array(light.factor(normal, k), np.float32) for k in (1.0, 0.0))
    pixels = np.asarray(patch, np.float32)
    h, w = pixels.shape[:2]
    rows = height - (np.arange(h, dtype=np.float32)[:, None] + 0.5) / scale  # metres above ground
    oy, ox = (int(v) for v in rng.integers(0, 512, 2))
    k = 20 / scale
    tile = noise_tile(1.5)
    stain = tile[
        ((np.arange(h) * k + oy).astype(np.int64) & 511)[:, None],
        ((np.arange(w) * k + ox).astype(np.int64) & 511)[None],
    ]
    gain = (0.8 + 0.2 * np.clip(rows / 3.0, 0, 1)) * (1 + 0.045 * stain)
    if shadow is None:
        tone = gain[..., None] * dark
    else:
        slant = (np.arange(w, dtype=np.float32)[None] + 0.5) / scale - w / scale / 2
        share = np.clip((rows - shadow - 0.12 * slant) / 0.2, 0, 1)
        tone = gain[..., None] * (dark + (lit - dark) * share[..., None])
    clear = float(np.exp(-light.haze_density * max(1.0, distance)))
    pixels = pixels * (tone * clear)
    if clear < 0.99:
        pixels += np.array(light.haze, np.float32) * (1 - clear)
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))


def _facade(rng, building: Building, base, width: float, scale: float, kind: str) -> Image.Image:
    """Unlit wall, `scale` pixels a metre; kind front, side (few windows) or blank."""
    w, h = max(4, round(width * scale)), max(4, round(building.height * scale))
    patch = Image.new("RGB", (w, h), tuple(round(c) for c in base))
    pen = ImageDraw.Draw(patch)
    brick = "brick" in building.wall
    if brick and scale > 13:
        _courses(pen, rng, base, w, h, scale)
    ground = building.height / building.storeys * (1.12 if building.shop else 1.0)
    rest = (building.height - ground) / max(1, building.storeys - 1)
    bay = rng.uniform(1.9, 3.2) if building.wall not in ("glass", "concrete") else rng.uniform(1.4, 2.4)
    bays = max(1, round(width / bay))
    bay = width / bays
    trim = jitter(rng, (226, 224, 216) if rng.random() < 0.7 else (60, 56, 52), 6)
    wide = building.wall in ("glass", "concrete") or rng.random() < 0.15
    window_w = bay * (rng.uniform(0.62, 0.9) if wide else rng.uniform(0.36, 0.5))
    window_h = rest * (rng.uniform(0.5, 0.75) if wide else rng.uniform(0.5, 0.62))
    skip = {"front": 0.04, "side": 0.45, "blank": 1.0}[kind]
    sills, lintels, bars = rng.random() < 0.75, rng.random() < 0.6, int(rng.integers(1, 4))

    def box(x0, y0, x1, y1, colour):  # metres; y up from the ground
        ax, ay, bx, by = x0 * scale, h - y1 * scale, x1 * scale, h - y0 * scale
        if bx - ax >= 0.5 and by - ay >= 0.5:
            pen.rectangle((round(ax), round(ay), max(round(ax), round(bx) - 1), max(round(ay), round(by) - 1)),
                          fill=tuple(int(min(255, max(0, c))) for c in colour))  # fmt: skip

    for floor in range(1, building.storeys):
        y = ground + (floor - 1) * rest + rest * rng.uniform(0.2, 0.26)
        shrink = 1.0 if floor < 3 else 0.85
        for i in range(bays):
            x = (i + 0.5) * bay - window_w / 2
            if rng.random() < skip:
                continue
            _window(box, rng, x, y, window_w, window_h * shrink, trim, base, sills, lintels, bars, wide, scale < 9)
    if rng.random() < 0.5:
        box(0, ground - 0.1, width, ground + 0.08, [c * 1.12 for c in base])
    if kind != "front":
        box(0, 0, width, 0.35, [c * 0.72 for c in base])
    elif building.shop:
        _shop(box, rng, width, ground, base)
    else:
        for i in range(bays):
            x = (i + 0.5) * bay - window_w / 2
            if i == bays // 2 or (bays > 3 and i % 3 == 2):
                _door(box, rng, (i + 0.5) * bay - 0.5, trim, base)
            else:
                _window(
                    box,
                    rng,
                    x,
                    ground * 0.27,
                    window_w,
                    ground * 0.5,
                    trim,
                    base,
                    sills,
                    lintels,
                    bars,
                    wide,
                    scale < 9,
                )
        box(0, 0, width, 0.35, [c * 0.72 for c in base])
    top = building.height
    if building.roof == "flat":
        box(0, top - 0.35, width, top, [c * 1.1 for c in base])
        box(0, top - 0.5, width, top - 0.35, [c * 0.6 for c in base])
    else:
        box(0, top - 0.22, width, top, [c * 0.62 for c in base])
    if rng.random() < 0.6:
        x = rng.choice([0.12, width - 0.2])
        box(x, 0, x + 0.1, top, [c * 0.45 for c in base])
    return patch


def _courses(pen, rng, base, w, h, scale) -> None:
    """Mortar lines and odd bricks."""
    step = max(2.0, 0.075 * scale)
    line = tuple(int(c * 0.88 + 6) for c in base)
    y = 0.0
    while y < h:
        pen.line((0, int(y), w, int(y)), fill=line)
        y += step if step > 3 else 2 * step
    for x, y, tone in zip(rng.uniform(0, w, 90), rng.uniform(0, h, 90), rng.uniform(0.78, 1.2, 90), strict=True):
        y = int(y / step) * step
        pen.rectangle((int(x), int(y) + 1, int(x + 0.22 * scale), int(y + step) - 1),
                      fill=tuple(int(min(255, c * tone)) for c in base))  # fmt: skip


def _glass(rng):
    """What a pane shows: mostly dark room, sometimes sky, blind or curtain."""
    k = rng.random()
    if k < 0.62:
        return jitter(rng, (44, 48, 54), 10)
    if k < 0.82:
        return jitter(rng, (108, 122, 136), 20)
    return jitter(rng, (168, 162, 150), 16)


def _window(box, rng, x, y, w, h, trim, base, sill, lintel, bars, wide, coarse) -> None:
    if coarse:  # a far window is a dark pane in a frame
        box(x, y, x + w, y + h, trim)
        box(x + 0.09, y + 0.09, x + w - 0.09, y + h - 0.09, _glass(rng))
        return
    if lintel:
        box(x - 0.12, y + h, x + w + 0.12, y + h + 0.2, [c * 1.14 + 8 for c in base])
    box(x - 0.03, y - 0.02, x + w + 0.03, y + h + 0.03, [c * 0.5 for c in base])  # reveal
    box(x, y, x + w, y + h, trim)
    pane = _glass(rng)
    f = 0.07
    columns = bars if wide else 1 + (bars > 2)
    pane_w = (w - f) / columns
    for i in range(columns):
        for lower, upper in ((0.0, 0.5), (0.5, 1.0)) if not wide else ((0.0, 1.0),):
            x0, x1 = x + f + i * pane_w, x + (i + 1) * pane_w
            y0, y1 = y + f * 0.7 + lower * h, y + upper * h - f * 0.7
            tone = pane if rng.random() < 0.8 else _glass(rng)
            box(x0, y0, x1, y1, tone)
            box(x0, y0 + (y1 - y0) * 0.55, x1, y1, [c * 0.78 for c in tone])  # the reveal shades the top
    if sill:
        box(x - 0.1, y - 0.12, x + w + 0.1, y, [c * 1.15 + 10 for c in base])
        box(x - 0.1, y - 0.2, x + w + 0.1, y - 0.12, [c * 0.68 for c in base])


def _door(box, rng, x, trim, base) -> None:
    colour = jitter(rng, ((110, 30, 30), (30, 50, 90), (34, 70, 48), (36, 34, 34), (190, 188, 180))[rng.integers(5)], 8)
    box(x - 0.14, 0, x + 1.14, 2.7, trim)
    box(x, 0.1, x + 1, 2.1, colour)
    box(x + 0.12, 1.2, x + 0.45, 1.95, [c * 0.8 for c in colour])
    box(x + 0.55, 1.2, x + 0.88, 1.95, [c * 0.8 for c in colour])
    box(x, 2.18, x + 1, 2.58, (52, 56, 60))
    box(x - 0.2, 0, x + 1.2, 0.12, [c * 1.2 for c in base])


def _shop(box, rng, width, ground, base) -> None:
    """Shop fronts: pilasters, fascia with lettering, display windows, doors, awnings."""
    units = max(1, round(width / rng.uniform(4.5, 7.5)))
    unit = width / units
    for i in range(units):
        x0, x1 = i * unit, (i + 1) * unit
        fascia = jitter(rng, FASCIAS[rng.integers(len(FASCIAS))], 8)
        frame = fascia if rng.random() < 0.5 else jitter(rng, (70, 66, 62), 12)
        top = ground - 0.25
        box(x0, 0, x1, top, frame)
        box(x0, 0, x0 + 0.22, top, [c * 0.9 for c in base])
        box(x1 - 0.22, 0, x1, top, [c * 0.9 for c in base])
        board = rng.uniform(0.5, 0.8)
        box(x0 + 0.1, top - board, x1 - 0.1, top, fascia)
        ink = (236, 232, 214) if sum(fascia) < 380 else (40, 36, 40)
        x = x0 + unit * rng.uniform(0.12, 0.35)
        for _ in range(int(rng.integers(4, 13))):  # strokes that read as lettering
            stroke = rng.uniform(0.06, 0.2)
            if x + stroke > x1 - 0.4:
                break
            box(x, top - board * rng.uniform(0.68, 0.8), x + stroke, top - board * rng.uniform(0.2, 0.4), ink)
            x += stroke + rng.uniform(0.04, 0.22)
        glass_top, sill = top - board - 0.12, rng.uniform(0.15, 0.6)
        panes = max(2, round((unit - 0.6) / rng.uniform(1.1, 1.9)))
        pane = (unit - 0.6) / panes
        door = int(rng.integers(panes))
        inside = jitter(rng, (40, 40, 44), 8)
        for j in range(panes):
            a = x0 + 0.3 + j * pane
            low = 0.1 if j == door else sill
            box(a + 0.05, low, a + pane - 0.05, glass_top, inside)
            for _ in range(int(rng.integers(2, 7))):  # goods and posters behind the glass
                gx, gy = rng.uniform(a + 0.08, a + pane * 0.75), rng.uniform(low, low + 1.3)
                goods = jitter(rng, rng.uniform(30, 190, 3) * rng.uniform(0.4, 1.0), 6)
                box(gx, gy, min(a + pane - 0.08, gx + rng.uniform(0.1, 0.6)), gy + rng.uniform(0.1, 0.6), goods)
            if rng.random() < 0.3:
                box(a + 0.05, glass_top * 0.5, a + pane - 0.05, glass_top, (112, 124, 134))
        if rng.random() < 0.22:
            awning = jitter(rng, FASCIAS[rng.integers(len(FASCIAS))], 10)
            stripes = max(4, round(unit / 0.35))
            for j in range(stripes):
                tone = awning if j % 2 else [min(255, c * 0.5 + 110) for c in awning]
                a = x0 + j * unit / stripes
                box(a, glass_top - 0.75, a + unit / stripes, glass_top, tone)
            box(x0, glass_top - 0.95, x1, glass_top - 0.75, [c * 0.6 for c in awning])
