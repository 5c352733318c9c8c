"""Cars, vans and buses as small polyhedra for procedural street scenes."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, sin

import numpy as np

from chappe.data.scene_canvas import CAR, Canvas, jitter

__all__ = ["Vehicle", "draw_vehicle", "make_vehicle"]

PAINTS = (
    (170, 174, 180), (120, 124, 130), (44, 46, 52), (26, 28, 34), (34, 54, 104), (120, 28, 34), (152, 34, 36),
    (210, 212, 212), (54, 76, 68), (142, 118, 80), (60, 96, 140), (150, 154, 160), (70, 74, 80), (90, 20, 40),
    (196, 190, 170),
)  # fmt: skip

# side silhouettes, front at x = 0: (x, y) as fractions of length and height, from the front bumper's foot over the
# roof; strip 3 is the windscreen, strip 6 the rear window of cars
PROFILES = {
    "hatch": ((0.0, 0.16), (0.0, 0.40), (0.03, 0.50), (0.24, 0.60), (0.40, 0.96), (0.50, 1.0), (0.82, 0.98),
              (0.96, 0.62), (1.0, 0.52), (1.0, 0.16)),
    "saloon": ((0.0, 0.17), (0.0, 0.42), (0.04, 0.53), (0.27, 0.62), (0.41, 0.97), (0.52, 1.0), (0.68, 0.97),
               (0.84, 0.68), (0.98, 0.64), (1.0, 0.18)),
    "estate": ((0.0, 0.17), (0.0, 0.42), (0.04, 0.53), (0.27, 0.62), (0.40, 0.96), (0.50, 1.0), (0.90, 0.97),
               (0.985, 0.62), (1.0, 0.5), (1.0, 0.18)),
    "suv": ((0.0, 0.2), (0.0, 0.46), (0.03, 0.58), (0.24, 0.64), (0.34, 0.96), (0.44, 1.0), (0.90, 0.98),
            (0.985, 0.62), (1.0, 0.52), (1.0, 0.2)),
    "van": ((0.0, 0.14), (0.0, 0.32), (0.02, 0.42), (0.12, 0.52), (0.24, 0.93), (0.30, 1.0), (0.98, 1.0),
            (1.0, 0.95), (1.0, 0.4), (1.0, 0.14)),
    "bus": ((0.0, 0.1), (0.0, 0.25), (0.0, 0.38), (0.005, 0.42), (0.02, 0.95), (0.04, 1.0), (0.98, 1.0),
            (1.0, 0.95), (1.0, 0.4), (1.0, 0.1)),
}  # fmt: skip
SIZES = {"hatch": (3.9, 1.70, 1.46), "saloon": (4.5, 1.76, 1.43), "estate": (4.6, 1.76, 1.48), "suv": (4.6, 1.85, 1.72),
         "van": (5.2, 2.0, 2.25), "bus": (10.8, 2.5, 3.0)}  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """Centre of the footprint in street coordinates; heading 0 looks up the street (away from the camera)."""

    s: float
    t: float
    heading: float
    kind: str
    paint: tuple[float, float, float]
    braking: bool
    seed: int


def make_vehicle(rng: np.random.Generator, s: float, t: float, heading: float, kinds=None) -> Vehicle:
    kinds = kinds or ("hatch", "hatch", "hatch", "saloon", "saloon", "estate", "suv", "suv", "van")
    kind = str(rng.choice(kinds))
    paint = PAINTS[rng.integers(len(PAINTS))]
    if kind == "van" and rng.random() < 0.6:
        paint = (216, 216, 214)
    if kind == "bus":
        paint = ((150, 26, 30), (40, 84, 150), (190, 190, 180), (30, 96, 74))[rng.integers(4)]
    return Vehicle(s, t, heading, kind, jitter(rng, paint, 8), rng.random() < 0.25, int(rng.integers(1 << 31)))


def draw_vehicle(canvas: Canvas, vehicle: Vehicle, visible: float) -> None:
    """Paint it with its shadow; `visible` is the share of the sun that reaches it."""
    rng = np.random.Generator(np.random.PCG64(vehicle.seed))
    length, width, height = SIZES[vehicle.kind]
    if vehicle.kind == "bus" and rng.random() < 0.35:
        height = 4.3
    length, height = length * rng.uniform(0.96, 1.05), height * rng.uniform(0.97, 1.04)
    c, s = cos(vehicle.heading), sin(vehicle.heading)
    origin = canvas.world(vehicle.s, vehicle.t)
    cam = canvas.camera.position
    light = canvas.light

    def place(x, y, z):  # x: from the nose (0) to the tail (length), y up, z to the vehicle's right
        along = length / 2 - x
        return (origin[0] + along * s + z * c, y, origin[2] + along * c - z * s)

    def turn(nx, ny, nz):  # same axes: nx towards the tail
        return (-nx * s + nz * c, ny, -nx * c - nz * s)

    half = width / 2
    to_cam = (cam[0] - origin[0], cam[2] - origin[2])
    ahead = to_cam[0] * s + to_cam[1] * c  # the camera in vehicle axes
    right = to_cam[0] * c - to_cam[1] * s
    size = canvas.scale((origin[0], 0.5, origin[2]))
    if size == 0.0 and canvas.depth(place(0, 0, 0)) < 0.5 and canvas.depth(place(length, 0, 0)) < 0.5:
        return
    _shadow(canvas, place, length, half, size, visible)
    floor = 0.16 * height if vehicle.kind != "bus" else 0.3
    profile = [(x * length, y * height) for x, y in PROFILES[vehicle.kind]]
    belt = _belt(vehicle.kind) * height
    roof_half = half * (0.80 if vehicle.kind not in ("van", "bus") else 0.95)

    bevel = 0.0 if vehicle.kind == "bus" else 0.11

    def z_at(y, x=length / 2):  # tumblehome above the belt line, rounded corners in plan
        k = min(1.0, max(0.0, (y - belt) / (height - belt)))
        corner = max(0.0, 1 - min(x, length - x) / (0.07 * length))
        return (half + (roof_half - half) * k - (0.04 if y <= floor + 0.02 else 0)) * (1 - bevel * corner)

    near = 1 if right > 0 else -1
    wheel = 0.31 if vehicle.kind not in ("van", "bus") else (0.36 if vehicle.kind == "van" else 0.48)
    axles = (0.18 * length, 0.80 * length) if vehicle.kind != "bus" else (0.22 * length, 0.74 * length)
    black = (20, 20, 22)
    for x in axles:  # far wheels and the dark underside first
        canvas.disc(place(x, wheel, -near * (half - 0.1)), turn(1, 0, 0), (0, 1, 0), wheel, black, CAR)
    keel, tail = near * half * 0.9, length - 0.1
    under = [place(0.1, floor, keel), place(tail, floor, keel), place(tail, 0.12, keel), place(0.1, 0.12, keel)]
    canvas.polygon(under, black, CAR)
    glass = jitter(rng, (26, 29, 33), 5)
    for i in range(len(profile) - 1):  # the strips over the top, those that face the camera
        (x0, y0), (x1, y1) = profile[i], profile[i + 1]
        run = hypot(x1 - x0, y1 - y0) or 1.0
        nx, ny = -(y1 - y0) / run, (x1 - x0) / run
        if nx * ((length / 2 - ahead) - x0) + ny * (cam[1] - y0) <= 0:
            continue
        normal = turn(nx, ny, 0)
        a, b = z_at(y0, x0), z_at(y1, x1)
        face = [place(x0, y0, -a), place(x1, y1, -b), place(x1, y1, b), place(x0, y0, a)]
        paint = _gloss(light.shade(vehicle.paint, normal, visible), light, ny)
        canvas.polygon(face, paint, CAR)
        pane = _pane(vehicle.kind, i)
        if pane:
            lo, hi = pane
            xa, ya, xb, yb = x0 + (x1 - x0) * lo, y0 + (y1 - y0) * lo, x0 + (x1 - x0) * hi, y0 + (y1 - y0) * hi
            za, zb = z_at(ya, xa) - 0.09, z_at(yb, xb) - 0.09
            rim = [
                place(xa, ya, -za - 0.03),
                place(xb, yb, -zb - 0.03),
                place(xb, yb, zb + 0.03),
                place(xa, ya, za + 0.03),
            ]
            canvas.polygon(rim, [q * 0.5 for q in paint], CAR)
            mirror = _gloss(glass, light, max(0.0, ny) * 0.55)
            canvas.polygon([place(xa, ya, -za), place(xb, yb, -zb), place(xb, yb, zb), place(xa, ya, za)], mirror, CAR)
            if size > 40:
                _cabin(canvas, rng, place, (xa, ya, za), (xb, yb, zb), mirror)
    _side(canvas, light, place, turn, near, profile, vehicle, z_at, visible, belt, height, length, glass, floor, size)
    for x in axles:  # near wheels: arch, tyre, rim
        hub = place(x, wheel, near * (half + 0.01))
        if size < 18:
            canvas.disc(hub, turn(1, 0, 0), (0, 1, 0), wheel, (30, 30, 32), CAR, 8)
            continue
        canvas.disc(place(x, wheel + 0.03, near * half), turn(1, 0, 0), (0, 1, 0), wheel + 0.05, (14, 14, 16), CAR)
        canvas.disc(hub, turn(1, 0, 0), (0, 1, 0), wheel, (30, 30, 32), CAR)
        rim = light.shade((120, 122, 126), turn(0, 0, near), visible)
        canvas.disc(hub, turn(1, 0, 0), (0, 1, 0), wheel * 0.62, rim, CAR, 10)
        canvas.disc(hub, turn(1, 0, 0), (0, 1, 0), wheel * 0.34, [q * 0.6 for q in rim], CAR, 8)
    if ahead > length / 2:
        _face(canvas, rng, place, vehicle, half, height, 0.0, front=True)
    elif ahead < -length / 2:
        _face(canvas, rng, place, vehicle, half, height, length, front=False)


def _belt(kind: str) -> float:
    return {"van": 0.5, "bus": 0.4}.get(kind, 0.6)


def _pane(kind: str, strip: int):
    """Share of a top strip that is glass (windscreen, rear window)."""
    if kind == "bus":
        return {3: (0.05, 0.8), 7: (0.1, 0.7)}.get(strip)
    if kind == "van":
        return {3: (0.08, 0.92)}.get(strip)
    rear = 6
    return {3: (0.06, 0.93), rear: (0.08, 0.9)}.get(strip)


def _gloss(colour, light, up: float):
    """Paint and glass mirror the sky: the more a face looks up, the more."""
    k = 0.10 + 0.34 * max(0.0, up) ** 2
    sky = [h * (0.9 if light.kind != "dusk" else 0.6) for h in light.haze]
    return [c * (1 - k) + h * k for c, h in zip(colour, sky, strict=True)]


def _cabin(canvas, rng, place, low, high, mirror) -> None:
    """A reflection across the pane and the heads or head-rests behind it."""
    if low[1] > high[1]:
        low, high = high, low

    def at(u, v):  # u across in -1..1, v up in 0..1
        x, y, z = (p + (q - p) * v for p, q in zip(low, high, strict=True))
        return place(x, y, u * z)

    canvas.polygon(
        [at(-0.96, 0.62), at(-0.96, 0.97), at(0.96, 0.97), at(0.96, 0.76)], [q * 0.72 + 26 for q in mirror], CAR
    )
    for u in (-0.45, 0.45):
        seat = [
            at(u - 0.2, 0.04),
            at(u - 0.17, 0.5),
            at(u - 0.09, 0.66),
            at(u + 0.09, 0.66),
            at(u + 0.17, 0.5),
            at(u + 0.2, 0.04),
        ]
        canvas.polygon(seat, [q * float(rng.uniform(0.45, 0.7)) for q in mirror], CAR)


def _side(canvas, light, place, turn, near, profile, vehicle, z_at, visible, belt, height, length, glass, floor, size):
    normal = turn(0, 0, near)
    paint = light.shade(vehicle.paint, normal, visible)
    body = [place(x, y, near * z_at(y, x)) for x, y in profile]
    canvas.polygon(body, _gloss(paint, light, 0.15), CAR)
    mid, nose, tail = belt * 0.62, 0.03 * length, 0.98 * length
    skirt = [
        place(nose, floor, near * z_at(floor, nose)),
        place(nose, mid, near * z_at(mid, nose)),
        place(tail, mid, near * z_at(mid, tail)),
        place(tail, floor, near * z_at(floor, tail)),
    ]
    canvas.polygon(skirt, [c * 0.78 for c in paint], CAR)  # the lower door mirrors the dark road  # fmt: skip
    for low_, high_, gain in ((0.93, 1.0, 1.22), (0.30, 0.36, 0.5)):  # shoulder line and rubbing strip
        y0, y1 = belt * low_, belt * high_
        strip = [place(0.04 * length, y0, near * z_at(y0)), place(0.04 * length, y1, near * z_at(y1)),
                 place(0.97 * length, y1, near * z_at(y1)), place(0.97 * length, y0, near * z_at(y0))]  # fmt: skip
        canvas.polygon(strip, [c * gain for c in paint], CAR)
    if vehicle.kind == "van":
        windows = [((0.145, 0.55), (0.25, 0.9), (0.36, 0.9), (0.36, 0.55))]
    elif vehicle.kind == "bus":
        starts = [0.03 + 0.157 * i for i in range(6)]
        windows = [((x, 0.42), (x, 0.78), (x + 0.145, 0.78), (x + 0.145, 0.42)) for x in starts]
        if height > 3.8:
            windows = [tuple((x, y * 0.62 + 0.02) for x, y in w) for w in windows]
            windows += [tuple((x, y + 0.32) for x, y in w) for w in windows]
    else:
        back, tail = profile[6][0] / length, profile[7][0] / length
        windows = [((0.30, 0.63), (0.415, 0.93), (0.575, 0.94), (0.575, 0.63)),
                   ((0.60, 0.63), (0.60, 0.94), (back - 0.02, 0.92), (tail - 0.06, 0.65))]  # fmt: skip
    mirror = _gloss(glass, light, 0.35)
    for outline in windows:
        canvas.polygon(
            [place(x * length, y * height, near * (z_at(y * height) + 0.005)) for x, y in outline], mirror, CAR
        )
    if size > 60:
        seam = [c * 0.6 for c in paint]
        for x in (0.30, 0.585, 0.80) if vehicle.kind not in ("van", "bus") else (0.36,):
            top, foot = place(x * length, belt, near * z_at(belt)), place(x * length, floor * 1.4, near * z_at(floor))
            canvas.stroke(top, foot, size * 0.012, seam, None)
    if vehicle.kind not in ("bus",):
        canvas.capsule(place(0.29 * length, belt + 0.06, near * z_at(belt)),
                       place(0.29 * length, belt + 0.06, near * (z_at(belt) + 0.16)), 0.08, 0.09,
                       [c * 0.85 for c in paint], CAR)  # fmt: skip


def _face(canvas, rng, place, vehicle, half, height, x, *, front: bool) -> None:
    """Lamps, plate, grille and bumper on the nose or tail."""
    light = canvas.light
    out = -0.02 if front else 0.02

    def panel(z0, y0, z1, y1, colour):
        corners = [place(x + out, y0, z0), place(x + out, y1, z0), place(x + out, y1, z1), place(x + out, y0, z1)]
        canvas.polygon(corners, colour, CAR)

    tall = vehicle.kind in ("van", "bus")
    edge = 1.0 if vehicle.kind == "bus" else 0.89
    low, top = 0.17 * height, (0.30 if tall else 0.47) * height
    dim = light.factor((0, 0, -1), 0.5)
    panel(-half * edge, low, half * edge, low + 0.13 * height * (0.6 if tall else 1), [c * 0.5 * d for c, d in
          zip(vehicle.paint, dim, strict=True)])  # fmt: skip
    if vehicle.kind == "bus":
        level = 0.36 if height < 3.8 else 0.27
        panel(-half * 0.9, level * height, half * 0.9, level * height + 1.15, (40, 46, 54))
        if height > 3.8:
            panel(-half * 0.9, 0.64 * height, half * 0.9, 0.88 * height, (44, 50, 58))
        panel(-half * 0.6, 0.9 * height, half * 0.6, 0.96 * height, (210, 150, 40) if front else (30, 30, 32))
    lamp_lo, lamp_hi = top - (0.10 if tall else 0.13) * height, top - 0.01 * height
    if vehicle.kind == "van" and not front:
        for side in (-1, 1):
            panel(side * half * 0.12, 0.56 * height, side * half * 0.76, 0.84 * height, (34, 38, 44))
        panel(-0.02, low + 0.2, 0.02, 0.93 * height, [c * 0.45 * d for c, d in zip(vehicle.paint, dim, strict=True)])
    if front:
        if not tall:
            panel(-half * 0.5, lamp_lo + 0.02, half * 0.5, lamp_hi - 0.03, [c * 0.25 + 8 for c in vehicle.paint])
        lamp = (252, 250, 236) if light.lamps_on or rng.random() < 0.15 else (186, 190, 194)
    else:
        bright = vehicle.braking or light.lamps_on
        lamp = (246, 44, 38) if bright else (128, 22, 24)
        lamp_lo, lamp_hi = (0.43 * height, 0.57 * height) if not tall else (0.22 * height, 0.33 * height)
    for side in (-1, 1):
        outer, inner = side * half * edge * 0.97, side * half * edge * (0.62 if front else 0.76)
        panel(outer, lamp_lo, inner, lamp_hi, lamp)
        if canvas.scale(place(x, lamp_lo, 0)) > 45:  # the two chambers of a lamp
            split = (lamp_lo + lamp_hi) / 2
            panel(outer, lamp_lo, inner, split, [c * 0.72 + (30 if front else 8) for c in lamp])
    plate = (226, 226, 218) if front else (214, 184, 70)
    y = 0.27 * height if front or tall else 0.36 * height
    y = min(y, 0.75)
    panel(-0.26, y, 0.26, y + 0.11, [c * (0.35 + 0.6 * d) for c, d in zip(plate, dim, strict=True)])
    panel(-0.2, y + 0.03, 0.2, y + 0.08, [c * (0.25 + 0.35 * d) for c, d in zip(plate, dim, strict=True)])


def _shadow(canvas, place, length, half, size, visible) -> None:
    """Contact shadow under the body, and the cast one when the sun is out."""
    foot = [place(-0.12, 0, -half - 0.1), place(-0.12, 0, half + 0.1), place(length + 0.12, 0, half + 0.1),
            place(length + 0.12, 0, -half - 0.1)]  # fmt: skip
    xy, _ = canvas.outline(foot)
    canvas.darken(xy, 0.38, max(0.7, size * 0.07))
    lx, ly, lz = canvas.light.direction
    if visible > 0.3 and max(canvas.light.sun) > 0.1 and ly > 0.1:
        reach = 1.1 / ly
        cast = [(p[0] - lx * reach, 0.0, p[2] - lz * reach) for p in foot]
        for quad in ([foot[0], foot[1], cast[1], cast[0]], [foot[1], foot[2], cast[2], cast[1]],
                     [foot[2], foot[3], cast[3], cast[2]], [foot[3], foot[0], cast[0], cast[3]]):  # fmt: skip
            xy, _ = canvas.outline(quad)
            canvas.darken(xy, 0.72, max(0.6, size * 0.03))
