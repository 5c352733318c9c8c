"""Lamp posts, signs, traffic lights, bollards, railings and walls of procedural street scenes."""

from __future__ import annotations

from math import cos, sin

import numpy as np
from PIL import Image, ImageDraw

from chappe.data.scene_canvas import BUILDING, FENCE, POLE, ROAD, SIGN, VOID, Canvas, jitter
from chappe.data.scene_ground import Street

__all__ = ["draw_bin", "draw_bollard", "draw_fence", "draw_lamp", "draw_sign", "draw_traffic_light", "draw_wall",
           "paint_road"]  # fmt: skip

STEEL, BLACK = (108, 112, 112), (30, 32, 32)
# CamVid draws poles a little wider than they are; a pole is never thinner than this in canvas pixels (half width)
THIN = 1.1


def _pole(canvas: Canvas, s, t, height, radius, colour) -> None:
    a, b = canvas.world(s, t), canvas.world(s, t, height)
    tone = canvas.light.shade(colour, (-0.5, 0.2, -0.84), 0.7)
    canvas.capsule(a, b, radius, radius * 0.8, tone, POLE, least=THIN)
    size = canvas.scale(a)
    if radius * size > 2.5:  # a lit flank on a near pole
        k = radius * 0.45
        shift = -k if canvas.light.direction[0] < 0 else k
        canvas.capsule(canvas.world(s, t + shift), canvas.world(s, t + shift, height), radius * 0.3, radius * 0.25,
                       [c * 1.25 for c in tone], POLE)  # fmt: skip


def draw_lamp(canvas: Canvas, rng: np.random.Generator, s: float, t: float, towards: int) -> None:
    """A street lamp whose arm reaches over the road (`towards` +1 = to larger t)."""
    height, arm = rng.uniform(6.5, 9.5), rng.uniform(0.9, 2.0)
    colour = jitter(rng, STEEL if rng.random() < 0.75 else (40, 56, 46), 8)
    _pole(canvas, s, t, height, rng.uniform(0.06, 0.1), colour)
    tone = canvas.light.shade(colour, (0, -0.3, -0.9), 0.5)
    tip = canvas.world(s, t + towards * arm, height + rng.uniform(0.1, 0.6))
    canvas.capsule(canvas.world(s, t, height), tip, 0.05, 0.04, tone, POLE, least=THIN * 0.8)
    head = canvas.world(s, t + towards * (arm + 0.6), tip[1] + 0.03)
    bulb = (255, 226, 170) if canvas.light.lamps_on else [c * 0.9 for c in tone]
    canvas.capsule(tip, head, 0.08, 0.09, bulb, POLE, least=THIN)


def draw_bollard(canvas: Canvas, rng: np.random.Generator, s: float, t: float) -> None:
    colour = jitter(rng, BLACK if rng.random() < 0.7 else (120, 118, 112), 6)
    _pole(canvas, s, t, rng.uniform(0.85, 1.1), rng.uniform(0.06, 0.09), colour)


def _plate(canvas: Canvas, s, t, y, size, patch_kind, rng, facing: int) -> None:
    """A sign plate of `size` metres (width, height) centred at (s, t, y), facing the camera, or showing its back."""
    w, h = size
    centre = canvas.world(s, t, y)
    yaw = rng.normal(0, 0.15)
    u = (cos(yaw), 0.0, sin(yaw))

    def at(x, dy):
        return (centre[0] + u[0] * x, centre[1] + dy, centre[2] + u[2] * x - 0.05)

    outline = _outline(patch_kind, w, h)
    if not facing:
        canvas.polygon([at(*p) for p in outline], canvas.light.shade((104, 106, 108), (0, 0, -1), 0.4), SIGN)
        return
    n = int(np.clip(canvas.scale(centre) * max(w, h), 6, 96))
    patch = _artwork(rng, patch_kind, n, round(n * h / w) if h <= w else n, w, h)
    gain = np.array(canvas.light.factor((0.0, 0.0, -1.0), 0.6))
    pixels = np.clip(np.asarray(patch, np.float32) * (0.15 + 0.85 * gain), 0, 255).astype(np.uint8)
    patch = Image.fromarray(pixels)
    px, py = w / patch.width, h / patch.height
    origin = at(-w / 2, h / 2)
    canvas.texture(origin, (u[0] * px, 0, u[2] * px), (0, -py, 0), patch, [at(*p) for p in outline], SIGN)


def _outline(kind: str, w: float, h: float):
    if kind in ("round", "blue"):
        return [(w / 2 * cos(a), h / 2 * sin(a)) for a in np.linspace(0, 6.2832, 17)[:-1]]
    if kind == "triangle":
        return [(-w / 2, -h / 2), (0, h / 2), (w / 2, -h / 2)]
    if kind == "yield":
        return [(-w / 2, h / 2), (w / 2, h / 2), (0, -h / 2)]
    return [(-w / 2, -h / 2), (-w / 2, h / 2), (w / 2, h / 2), (w / 2, -h / 2)]


def _artwork(rng, kind: str, w: int, h: int, mw: float, mh: float) -> Image.Image:
    red, blue, white = (188, 30, 36), (26, 66, 150), (232, 232, 228)
    if kind == "board":
        ground = (blue, (24, 96, 60), white, (220, 190, 50), red, (40, 40, 44), (36, 50, 110))[rng.integers(7)]
        patch = Image.new("RGB", (w, max(4, h)), ground)
        pen = ImageDraw.Draw(patch)
        ink = white if sum(ground) < 420 else (34, 34, 38)
        pen.rectangle((0, 0, w - 1, patch.height - 1), outline=ink)
        y = 0.14 * patch.height
        while y < 0.8 * patch.height:
            x, line = 0.1 * w, patch.height * rng.uniform(0.08, 0.16)
            while x < 0.85 * w:
                word = w * rng.uniform(0.03, 0.09)
                pen.rectangle((x, y, min(0.92 * w, x + word), y + line * 0.7), fill=ink)
                x += word + w * float(rng.choice([0.02, 0.02, 0.06]))
            y += line * 1.5
        return patch
    patch = Image.new("RGB", (w, max(4, h)), red if kind in ("round", "triangle", "yield") else blue)
    pen, (w, h) = ImageDraw.Draw(patch), patch.size
    if kind == "round":
        if rng.random() < 0.25:
            pen.rectangle((0.16 * w, 0.42 * h, 0.84 * w, 0.58 * h), fill=white)
        else:
            pen.ellipse((0.14 * w, 0.14 * h, 0.86 * w, 0.86 * h), fill=white)
            for x in (0.32, 0.53):
                pen.rectangle((x * w, 0.36 * h, (x + 0.14) * w, 0.66 * h), fill=(30, 30, 34))
    elif kind == "triangle":
        pen.polygon([(0.17 * w, 0.9 * h), (0.5 * w, 0.24 * h), (0.83 * w, 0.9 * h)], fill=white)
        pen.rectangle((0.45 * w, 0.46 * h, 0.55 * w, 0.82 * h), fill=(30, 30, 34))
    elif kind == "yield":
        pen.polygon([(0.17 * w, 0.1 * h), (0.83 * w, 0.1 * h), (0.5 * w, 0.76 * h)], fill=white)
    else:
        pen.polygon([(0.3 * w, 0.3 * h), (0.72 * w, 0.72 * h), (0.45 * w, 0.75 * h)], fill=white)
        pen.line((0.3 * w, 0.3 * h, 0.75 * w, 0.75 * h), fill=white, width=max(1, w // 9))
    return patch


def draw_sign(canvas: Canvas, rng: np.random.Generator, s: float, t: float) -> None:
    """A post with one or two traffic signs or a board."""
    height = rng.uniform(2.3, 3.1)
    kind = str(rng.choice(["round", "triangle", "blue", "board", "board", "yield", "round"]))
    facing = int(rng.random() < 0.8)
    w = rng.uniform(0.55, 0.85)
    size = (w, w * (0.9 if kind in ("triangle", "yield") else 1.0))
    if kind == "board":
        size = (rng.uniform(0.6, 2.2), rng.uniform(0.5, 1.3))
    colour = jitter(rng, STEEL if rng.random() < 0.7 else BLACK, 8)
    for shift in (0.0,) if size[0] < 1.4 else (-0.3 * size[0], 0.3 * size[0]):
        _pole(canvas, s, t + shift, height, 0.04, colour)
    _plate(canvas, s, t, height - size[1] / 2 + 0.1, size, kind, rng, facing)
    if rng.random() < 0.35 and kind != "board":
        _plate(canvas, s, t, height - size[1] - 0.2, (w * 0.9, w * 0.5), "board", rng, facing)


def draw_traffic_light(canvas: Canvas, rng: np.random.Generator, s: float, t: float, state: int, high: bool) -> None:
    """Three lamps in a black box on a pole; `state` 0 red, 1 amber, 2 green."""
    top = rng.uniform(3.0, 3.5) if not high else rng.uniform(4.2, 5.2)
    _pole(canvas, s, t, top, 0.06, jitter(rng, (70, 74, 74) if rng.random() < 0.6 else BLACK, 8))
    facing = rng.random() < 0.8
    w, h = 0.36, 1.0
    y = top - 0.25
    c = canvas.world(s, t, y)

    def at(x, dy, dz=-0.12):
        return (c[0] + x, c[1] + dy, c[2] + dz)

    board = [at(-w * 0.72, -h * 0.58), at(-w * 0.72, h * 0.58), at(w * 0.72, h * 0.58), at(w * 0.72, -h * 0.58)]
    if rng.random() < 0.5:
        canvas.polygon(board, canvas.light.shade((46, 48, 48), (0, 0, -1), 0.4), SIGN)
    box = [at(-w / 2, -h / 2), at(-w / 2, h / 2), at(w / 2, h / 2), at(w / 2, -h / 2)]
    canvas.polygon(box, canvas.light.shade((26, 28, 28), (0, 0, -1), 0.4), SIGN)
    if facing:
        lamps = (((255, 70, 50), (70, 16, 14)), ((255, 180, 50), (64, 48, 14)), ((90, 255, 190), (14, 54, 42)))
        for i, (on, off) in enumerate(lamps):
            canvas.disc(at(0, (1 - i) * 0.31, -0.14), (1, 0, 0), (0, 1, 0), 0.12, on if i == state else off, SIGN, 12)
            y1 = (1 - i) * 0.31
            hood = [at(-0.13, y1 + 0.12), at(0.13, y1 + 0.12), at(0.1, y1 + 0.07, -0.3), at(-0.1, y1 + 0.07, -0.3)]
            canvas.polygon(hood, (12, 12, 12), SIGN)


def draw_fence(canvas: Canvas, rng: np.random.Generator, a, b, height: float, kind: str) -> None:
    """Railings, boards or mesh from street point a to b. As annotators do, the whole panel is fence, gaps included."""
    p0, p1 = canvas.world(*a), canvas.world(*b)
    xy, _ = canvas.outline([p0, (p0[0], height, p0[2]), (p1[0], height, p1[2]), p1])
    if len(xy) < 3:
        return
    mask = Image.new("L", canvas.image.size)
    ImageDraw.Draw(mask).polygon(xy, fill=255)
    canvas.label_mask(mask, (0, 0), FENCE)
    length = ((p1[0] - p0[0]) ** 2 + (p1[2] - p0[2]) ** 2) ** 0.5
    normal = (-0.8 if p0[0] > 0 else 0.8, 0.0, -0.6)
    colour = canvas.light.shade(jitter(rng, {"rail": (128, 132, 132), "iron": (34, 36, 38), "board": (112, 88, 62),
                                             "mesh": (90, 104, 92)}[kind], 10), normal, 0.6)  # fmt: skip

    def along(k, y):
        return (p0[0] + (p1[0] - p0[0]) * k, y, p0[2] + (p1[2] - p0[2]) * k)

    if kind == "board":
        n = max(2, int(length / 0.35))
        for i in range(min(n, 160)):
            tone = float(rng.uniform(0.85, 1.12))
            canvas.polygon([along(i / n, 0), along(i / n, height), along((i + 1) / n, height), along((i + 1) / n, 0)],
                           [c * tone for c in colour], FENCE)  # fmt: skip
        return
    step = {"rail": 0.14, "iron": 0.13, "mesh": 0.3}[kind]
    for i in range(min(int(length / step), 320) + 1):
        k = i * step / length
        at = along(k, 0.0)
        size = canvas.scale(at)
        if size == 0.0 or (size < 22 and i % 2) or (size < 11 and i % 4):
            continue
        post = i % max(1, round(2.0 / step)) == 0
        canvas.stroke(along(k, 0.02), along(k, height), size * (0.07 if post else 0.02), colour, FENCE)
    for y in (0.15, height) if kind != "mesh" else (0.3, 0.6, 0.9, 1.2, height):
        canvas.stroke(along(0, y), along(1, y), canvas.scale(along(0.3, y)) * 0.05 or 1, colour, FENCE)


def draw_wall(canvas: Canvas, rng: np.random.Generator, a, b, height: float) -> None:
    """A low garden wall (street11: Building)."""
    p0, p1 = canvas.world(*a), canvas.world(*b)
    normal = (-1.0, 0.0, 0.0) if p0[0] > canvas.camera.position[0] else (1.0, 0.0, 0.0)
    brick = jitter(rng, (128, 96, 74) if rng.random() < 0.6 else (150, 144, 132), 10)
    face = [p0, (p0[0], height, p0[2]), (p1[0], height, p1[2]), p1]
    tone = canvas.light.shade(brick, normal, 0.5)
    canvas.polygon(face, tone, BUILDING)
    for i in range(1, 8):
        y = height * i / 8
        canvas.stroke((p0[0], y, p0[2]), (p1[0], y, p1[2]), 1, [c * 0.88 for c in tone], None)
    cap = [(p0[0], height, p0[2]), (p0[0], height - 0.1, p0[2]), (p1[0], height - 0.1, p1[2]), (p1[0], height, p1[2])]
    canvas.polygon(cap, [c * 1.15 for c in tone], BUILDING)


def draw_bin(canvas: Canvas, rng: np.random.Generator, s: float, t: float) -> None:
    """A litter bin: one of the few things on a street that are none of the eleven classes."""
    tone = canvas.light.shade(jitter(rng, (30, 34, 36) if rng.random() < 0.6 else (40, 70, 52), 6), (0, 0.3, -0.9), 0.5)
    canvas.capsule(canvas.world(s, t, 0.25), canvas.world(s, t, 0.85), 0.26, 0.28, tone, VOID, least=0.6)
    canvas.capsule(canvas.world(s, t, 0.95), canvas.world(s, t, 1.0), 0.3, 0.28, [c * 1.3 for c in tone], VOID)


def paint_road(canvas: Canvas, rng: np.random.Generator, street: Street, hand: int) -> None:
    """Paint beyond lines: lane arrows, lettering, a yellow box, give-way dashes at side roads."""
    middle, lane = (street.left + street.right) / 2, (street.right - street.left) / 4
    tone = canvas.light.shade(jitter(rng, (176, 176, 172), 8), (0, 1, 0), 0.3)

    def patch(*corners):
        if all(2.0 < s < street.end - 8 for s, _ in corners):
            canvas.polygon([canvas.world(s, t) for s, t in corners], tone, ROAD)

    def bar(s0, t0, s1, t1, width=0.07):
        ds, dt = s1 - s0, t1 - t0
        n = (ds * ds + dt * dt) ** 0.5
        ks, kt = -dt / n * width, ds / n * width
        patch((s0 + ks, t0 + kt), (s1 + ks, t1 + kt), (s1 - ks, t1 - kt), (s0 - ks, t0 - kt))

    t = middle + hand * lane
    if rng.random() < 0.35:  # an arrow in the own lane
        s = rng.uniform(5, 16)
        bar(s, t, s + 2.6, t)
        turn = float(rng.choice([-0.9, 0.0, 0.9]))
        if turn:
            bar(s + 1.4, t, s + 2.4, t + turn * 0.6)
            patch((s + 2.0, t + turn * 0.9), (s + 3.0, t + turn * 0.75), (s + 2.7, t + turn * 0.2))
        patch((s + 2.4, t - 0.3), (s + 3.8, t), (s + 2.4, t + 0.3))
    if rng.random() < 0.22:  # tall letters, foreshortened to a few strokes
        s, x = rng.uniform(6, 18), t - 0.9
        for _ in range(int(rng.integers(3, 6))):
            for k in range(int(rng.integers(1, 4))):
                bar(s + 0.7 * k, x, s + 0.7 * k + 0.12, x + 0.3, 0.09)
            bar(s, x, s + 1.8, x + float(rng.choice([0.0, 0.12])), 0.05)
            x += 0.48
    for side, a, b in street.side_roads:
        edge, sign = (street.right, 1) if side > 0 else (street.left, -1)
        for k in range(int((b - a) / 1.0)):
            bar(a + k * 1.0, edge + sign * 0.4, a + k * 1.0 + 0.6, edge + sign * 0.4, 0.08)
        if rng.random() < 0.25 and a > 6:
            tone = canvas.light.shade(jitter(rng, (168, 140, 62), 6), (0, 1, 0), 0.3)
            low, high = street.left + 0.4, street.right - 0.4
            for k in np.arange(-(high - low), b - a, 1.5):
                for flip in (1, -1):
                    s0, s1 = max(a, a + k), min(b, a + k + high - low)
                    if s1 - s0 > 0.3:
                        t0, t1 = low + (s0 - a - k), low + (s1 - a - k)
                        bar(s0, t0 if flip > 0 else low + high - t0, s1, t1 if flip > 0 else low + high - t1, 0.05)
