"""Trees, hedges and a distant skyline for procedural street scenes: fractal crowns and branching twigs."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from chappe.data.scene_canvas import BUILDING, TREE, Canvas, jitter, noise_tile

__all__ = ["Tree", "draw_hedge", "draw_skyline", "draw_tree", "make_tree"]

GREENS = ((70, 86, 40), (58, 76, 40), (84, 94, 50), (52, 64, 42), (96, 92, 48))
AUTUMN = ((150, 104, 44), (128, 76, 38), (142, 122, 56))


@dataclass(frozen=True)
class Tree:
    """Foot in street coordinates, metres; kind: leafy, conifer or bare."""

    s: float
    t: float
    height: float
    radius: float
    kind: str
    seed: int


def make_tree(rng: np.random.Generator, s: float, t: float, season: str) -> Tree:
    kind = "conifer" if rng.random() < 0.12 else ("bare" if season == "winter" and rng.random() < 0.8 else "leafy")
    height = rng.uniform(4.5, 11.0)
    return Tree(s, t, height, height * rng.uniform(0.24, 0.4), kind, int(rng.integers(1 << 31)))


def draw_tree(canvas: Canvas, tree: Tree, season: str, visible: float) -> None:
    rng = np.random.Generator(np.random.PCG64(tree.seed))
    foot = canvas.world(tree.s, tree.t)
    size = canvas.scale(foot)
    if size == 0.0:
        return
    bark = canvas.light.shade(jitter(rng, (74, 64, 54), 8), (-0.3, 0.1, -0.9), visible * 0.6)
    girth = 0.018 * tree.height + 0.05
    if tree.kind == "bare":
        _bare(canvas, rng, tree, foot, size, bark, girth)
        return
    clear = tree.height * (0.12 if tree.kind == "conifer" else rng.uniform(0.25, 0.4))
    canvas.capsule(foot, (foot[0], clear * 1.6, foot[2]), girth, girth * 0.7, bark, TREE, least=0.8)
    if girth * size > 3:
        canvas.capsule((foot[0] + girth * 0.4, 0, foot[2]), (foot[0] + girth * 0.3, clear * 1.5, foot[2]), girth * 0.3,
                       girth * 0.2, [c * 0.75 for c in bark], TREE)  # fmt: skip
    for angle in rng.uniform(-0.9, 0.9, 3):
        tip = (foot[0] + sin(angle) * tree.radius * 0.6, clear + tree.radius * 0.8 * cos(angle), foot[2])
        canvas.capsule((foot[0], clear, foot[2]), tip, girth * 0.5, girth * 0.2, bark, TREE)
    crown_h = tree.height - clear * 0.85
    palette = AUTUMN if season == "autumn" and rng.random() < 0.7 else GREENS
    green = jitter(rng, palette[rng.integers(len(palette))] if tree.kind != "conifer" else (44, 58, 40), 8)
    centre = (foot[0], clear * 0.85 + crown_h / 2, foot[2])
    _crown(canvas, rng, centre, tree.radius, crown_h / 2, green, visible, tree.kind == "conifer")


def _crown(canvas: Canvas, rng, centre, radius, half, green, visible, conifer: bool) -> None:
    """Foliage: a sum of blobs roughened by fractal noise, lit by blob and by leaf cluster."""
    at = canvas.pixel(centre)
    if at is None:
        return
    size = canvas.scale(centre)
    x0, x1 = int(at[0] - radius * 1.25 * size), int(at[0] + radius * 1.25 * size) + 1
    y0, y1 = int(at[1] - half * 1.2 * size), int(at[1] + half * 1.2 * size) + 1
    cx0, cx1, cy0, cy1 = max(0, x0), min(canvas.image.width, x1), max(0, y0), min(canvas.image.height, y1)
    if cx1 - cx0 < 2 or cy1 - cy0 < 2:
        return
    xs = ((np.arange(cx0, cx1, dtype=np.float32) + 0.5 - at[0]) / (radius * size))[None]
    ys = ((np.arange(cy0, cy1, dtype=np.float32) + 0.5 - at[1]) / (half * size))[:, None]
    if conifer:
        width = np.clip((ys + 1.02) * 0.5, 0.02, 1)
        shape = 1 - np.abs(xs) / width - np.clip(ys - 0.95, 0, 1) * 9
        relief = -xs / width
        high = -ys
    else:
        shape = np.full((ys.shape[0], xs.shape[1]), -9.0, np.float32)
        relief = np.zeros_like(shape)
        high = np.zeros_like(shape)
        blobs = [(0.0, 0.05, 0.72)] + [
            (0.62 * cos(a) * k, 0.6 * sin(a) * k, q)
            for a, k, q in zip(
                rng.uniform(0, 6.28, 9), rng.uniform(0.5, 1.05, 9), rng.uniform(0.24, 0.45, 9), strict=True
            )
        ]
        for bx, by, br in blobs:
            d = 1 - ((xs - bx) ** 2 + (ys - by) ** 2) / br**2
            top = d > shape
            shape = np.where(top, d, shape)
            relief = np.where(top, (xs - bx) / br, relief)
            high = np.where(top, (by - ys) / br, high)
    ox, oy = rng.integers(0, 512, 2)
    leaf_px = min(1.6, max(1.0, size * 0.05))  # coarser than this shows as squares
    iy = ((np.arange(cy0, cy1) - y0) / leaf_px + oy).astype(np.int64) & 511
    ix = ((np.arange(cx0, cx1) - x0) / leaf_px + ox).astype(np.int64) & 511
    fine = noise_tile(0.75)[iy[:, None], ix[None]]
    coarse = noise_tile(1.5)[(iy[:, None] * 2) & 511, (ix[None] * 2) & 511]
    dense = shape + 0.22 * fine + 0.3 * coarse + 0.06
    alpha = np.clip(dense * 5, 0, 1)
    # sun and sky by blob, then leaf by leaf
    light = canvas.light
    lx, ly, _ = light.direction
    sun = np.clip(0.35 + 0.5 * (relief * lx + high * ly), 0, 1) * visible
    sky = 0.62 + 0.3 * high + 0.1 * fine
    texture = np.clip(1 + 0.3 * fine + 0.2 * coarse, 0.25, 1.9)
    tone = np.array(light.ambient, np.float32) * sky[..., None] + np.array(light.sun, np.float32) * sun[..., None]
    colour = np.array(green, np.float32) * np.clip(tone, 0.12, 2) * texture[..., None]
    k = float(np.exp(-light.haze_density * canvas.depth(centre)))
    colour = colour * k + np.array(light.haze, np.float32) * (1 - k)
    patch = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))
    canvas.stamp(patch, Image.fromarray((alpha * 255).astype(np.uint8)), (cx0, cy0), None)
    # annotators outline a crown; small sky holes inside it are tree
    solid = np.maximum(alpha, (shape + 0.3 * coarse > 0.1).astype(np.float32))
    canvas.label_mask(Image.fromarray(((solid > 0.5) * 255).astype(np.uint8)), (cx0, cy0), TREE)


def _bare(canvas: Canvas, rng, tree: Tree, foot, size, bark, girth) -> None:
    """Winter tree: recursive branches; the twigs' hull is labelled tree as CamVid's annotators did."""
    at = canvas.pixel(foot)
    span = tree.height * size
    if span < 6:
        return
    image = canvas.image
    half = tree.height * 0.85 * size
    x0, y0 = max(0, int(at[0] - half)), max(0, int(at[1] - span * 1.5))
    x1, y1 = min(image.width, int(at[0] + half) + 1), min(image.height, int(at[1]) + 1)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    mask = Image.new("L", (x1 - x0, y1 - y0))
    pen = ImageDraw.Draw(mask)
    spread = tree.radius / tree.height
    stack = [(at[0] - x0, at[1] - y0, rng.normal(0, 0.04), span * rng.uniform(0.28, 0.36), girth * size * 2, 0)]
    depth_limit = 6 if span > 140 else (5 if span > 60 else 4)
    turns = rng.normal(0, 1, 4096)
    scales = rng.uniform(0.66, 0.9, 4096)
    i = 0
    while stack:
        x, y, angle, length, width, level = stack.pop()
        ex, ey = x + sin(angle) * length, y - cos(angle) * length
        pen.line((x, y, ex, ey), fill=255 if width > 0.8 else 120, width=max(1, round(width)))
        if level >= depth_limit:
            continue
        for k in range(2 if level < 2 else 3):
            i = (i + 1) % 4096
            side = (k - (0.5 if level < 2 else 1)) * (0.62 + spread)
            turn = side + 0.22 * turns[i]
            bent = (angle + turn) * 0.93
            stack.append((ex, ey, bent, length * scales[i], width * 0.62, level + 1))
            if level == 0 and k == 1:
                stack.append((ex, ey, angle + 0.1 * turns[i], length * 0.95, width * 0.75, 1))
    fill = canvas.light.air(bark, canvas.depth(foot))
    hull = mask.filter(ImageFilter.BoxBlur(max(1.5, 0.03 * span))).point([0] * 30 + [255] * 226)
    image.paste(fill, (x0, y0), mask)
    canvas.label_mask(hull, (x0, y0), TREE)


def draw_hedge(canvas: Canvas, rng: np.random.Generator, a, b, height: float, visible: float) -> None:
    """A clipped hedge along the street between two street points."""
    p0, p1 = canvas.world(*a), canvas.world(*b)
    length = ((p1[0] - p0[0]) ** 2 + (p1[2] - p0[2]) ** 2) ** 0.5
    scale = 12.0
    h, w = max(4, int((height + 0.3) * scale)), max(8, int(min(length, 60) * scale))
    oy, ox = rng.integers(0, 512, 2)
    fine = noise_tile(0.75)[(np.arange(h) + oy)[:, None] & 511, (np.arange(w) + ox)[None] & 511]
    coarse = noise_tile(1.4)[(np.arange(h) + ox)[:, None] & 511, (np.arange(w) + oy)[None] & 511]
    rise = 1 - np.arange(h, dtype=np.float32)[:, None] / h
    normal = (-0.8 if p0[0] > canvas.camera.position[0] else 0.8, 0.5, -0.3)
    green = np.array(canvas.light.shade(jitter(rng, GREENS[rng.integers(3)], 8), normal, visible), np.float32)
    gain = (0.5 + 0.6 * rise) * np.clip(1 + 0.3 * fine + 0.22 * coarse, 0.3, 1.8)
    patch = Image.fromarray(np.clip(green * gain[..., None], 0, 255).astype(np.uint8))
    ux, uz = (p1[0] - p0[0]) / length, (p1[2] - p0[2]) / length
    m, stretch = 1 / scale, length / (w / scale)
    n = max(6, min(60, int(length * 1.5)))
    crest = height + 0.12 * np.cumsum(rng.normal(0, 0.35, n + 1)).clip(-1.5, 1.5)
    region = (
        [p0]
        + [(p0[0] + ux * length * i / n, float(crest[i]), p0[2] + uz * length * i / n) for i in range(n + 1)]
        + [p1]
    )
    canvas.texture(
        (p0[0], height + 0.3, p0[2]), (ux * m * stretch, 0, uz * m * stretch), (0, -m, 0), patch, region, TREE
    )


def draw_skyline(canvas: Canvas, rng: np.random.Generator, distance: float, wooded: float) -> None:
    """What closes the view beyond the street: far roofs and far trees along the horizon."""
    cam, light = canvas.camera, canvas.light
    half = distance * cam.width / cam.focal
    x = -half
    while x < half:
        width = rng.uniform(12, 34)
        if rng.random() > wooded:
            h = rng.uniform(4, 13)
            colour = light.shade(jitter(rng, (140, 122, 104), 22), (0, 0, -1), 0.5)
            shape = [(x, 0, distance), (x, h, distance), (x + width * 0.5, h + rng.uniform(0, 2.5), distance),
                     (x + width, h, distance), (x + width, 0, distance)]  # fmt: skip
            canvas.polygon(shape, colour, BUILDING)
            for _ in range(int(width / 2)):
                wx, wy = x + rng.uniform(0.5, width - 1.5), rng.uniform(1, h - 1.4)
                canvas.polygon([(wx, wy, distance), (wx, wy + 1.2, distance), (wx + 0.9, wy + 1.2, distance),
                                (wx + 0.9, wy, distance)], [c * 0.55 for c in colour], BUILDING)  # fmt: skip
        else:
            h = rng.uniform(5, 11)
            green = jitter(rng, GREENS[rng.integers(len(GREENS))], 8)
            _crown(canvas, rng, (x + width / 2, h * 0.42, distance), width * 0.62, h * 0.62, green, 0.6, False)
        x += width * rng.uniform(0.5, 0.95)
