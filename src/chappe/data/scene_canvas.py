"""Camera, light and a supersampled canvas that paints picture and labels together (procedural street scenes).

World axes: x right, y up, z forward, metres. Street axes: s along the street, t to the right of its centre line; the
street may bend, so world x = t + bend(s). Colours are float RGB in 0..255, clipped when painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, exp, hypot, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["BICYCLIST", "BUILDING", "CAR", "FENCE", "PAVEMENT", "PEDESTRIAN", "POLE", "ROAD", "SIGN", "SKY", "TREE",
           "VOID", "Camera", "Canvas", "Light", "jitter", "noise_tile", "sample_noise"]  # fmt: skip

# street11 indices (CamVid's order)
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)
NEAR = 0.35  # metres; nothing closer to the lens is painted
Point = tuple[float, float, float]
Colour = Sequence[float]


@lru_cache(maxsize=16)
def noise_tile(power: float = 1.1, size: int = 512, seed: int = 7) -> np.ndarray:
    """(size, size) float32 tileable fractal noise with spectrum 1/f**power, zero mean, unit deviation."""
    rng = np.random.Generator(np.random.PCG64(seed))
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    radius = np.sqrt(fx * fx + fy * fy)
    radius[0, 0] = 1.0
    spectrum *= radius**-power
    spectrum[0, 0] = 0.0
    tile = np.fft.irfft2(spectrum, s=(size, size))
    tile = (tile / tile.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


def sample_noise(u: np.ndarray, v: np.ndarray, power: float = 1.1, seed: int = 7) -> np.ndarray:
    """Nearest lookup of `noise_tile` at float coordinates in tile pixels (they wrap)."""
    tile = noise_tile(power, 512, seed)
    return tile[v.astype(np.int32) & 511, u.astype(np.int32) & 511]


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 10.0) -> tuple[float, float, float]:
    """The colour with a common and a small separate random shift."""
    common = rng.normal(0, spread)
    r, g, b = (float(np.clip(c + common + rng.normal(0, spread * 0.35), 4, 250)) for c in colour)
    return r, g, b


@dataclass(frozen=True)
class Light:
    """Ambient and sun radiance (RGB factors on albedo), direction to the sun, haze."""

    ambient: Point
    sun: Point
    direction: Point
    haze: Point
    haze_density: float  # 1/m
    kind: str
    lamps_on: bool = False

    def factor(self, normal: Point, visible: float = 1.0) -> tuple[float, float, float]:
        """RGB factor for a surface with this unit normal; `visible` is the unshadowed share of the sun."""
        nx, ny, nz = normal
        dx, dy, dz = self.direction
        direct = max(0.0, nx * dx + ny * dy + nz * dz) * visible
        sky = 0.78 + 0.22 * ny
        r, g, b = (a * sky + s * direct for a, s in zip(self.ambient, self.sun, strict=True))
        return r, g, b

    def shade(self, colour: Colour, normal: Point, visible: float = 1.0) -> tuple[float, float, float]:
        r, g, b = (c * f for c, f in zip(colour, self.factor(normal, visible), strict=True))
        return r, g, b

    def air(self, colour: Colour, distance: float) -> tuple[int, int, int]:
        """Aerial perspective, rounded to a paintable colour."""
        k = exp(-self.haze_density * max(distance, 0.0))
        r, g, b = (min(255, max(0, round(c * k + h * (1 - k)))) for c, h in zip(colour, self.haze, strict=True))
        return r, g, b


@dataclass(frozen=True)
class Camera:
    """Pinhole camera; angles in radians, focal and centre in canvas pixels."""

    width: int
    height: int
    focal: float
    centre: tuple[float, float]
    position: Point
    rotation: tuple[Point, Point, Point]  # rows: camera right, up, forward in world axes

    @classmethod
    def build(cls, width, height, focal, centre, position, *, yaw=0.0, pitch=0.0, roll=0.0) -> Camera:
        cy, sy, cp, sp, cr, sr = cos(yaw), sin(yaw), cos(pitch), sin(pitch), cos(roll), sin(roll)
        yaw_m = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        pitch_m = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll_m = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        matrix = roll_m @ pitch_m @ yaw_m
        return cls(width, height, focal, centre, position, tuple(tuple(map(float, row)) for row in matrix))

    def view(self, p: Point) -> Point:
        """World point in camera axes (right, up, depth)."""
        x, y, z = p[0] - self.position[0], p[1] - self.position[1], p[2] - self.position[2]
        a, b, c = self.rotation
        return (a[0] * x + a[1] * y + a[2] * z, b[0] * x + b[1] * y + b[2] * z, c[0] * x + c[1] * y + c[2] * z)

    def pixel(self, v: Point) -> tuple[float, float]:
        """Canvas pixel of a point in camera axes with positive depth."""
        k = self.focal / v[2]
        return self.centre[0] + v[0] * k, self.centre[1] - v[1] * k

    def rays(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World directions (dx, dy, dz), each (rows, width) float32, through pixel centres; depth component 1."""
        u = ((np.arange(self.width, dtype=np.float32) + 0.5 - self.centre[0]) / self.focal)[None]
        v = -((np.arange(self.height, dtype=np.float32)[rows] + 0.5 - self.centre[1]) / self.focal)[:, None]
        a, b, c = self.rotation
        dx, dy, dz = (np.float32(a[i]) * u + np.float32(b[i]) * v + np.float32(c[i]) for i in range(3))
        return dx, dy, dz


class Canvas:
    """Picture and label map painted in one stroke, back to front."""

    def __init__(self, camera: Camera, light: Light, bend: float = 0.0):
        size = (camera.width, camera.height)
        self.camera, self.light, self.bend = camera, light, bend
        self.image, self.labels = Image.new("RGB", size), Image.new("L", size, VOID)
        self._pen, self._label_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)

    def replace(self, image: np.ndarray, labels: np.ndarray) -> None:
        """Take a whole (H, W, 3) picture and (H, W) label array (the backdrop)."""
        self.image, self.labels = Image.fromarray(image), Image.fromarray(labels)
        self._pen, self._label_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)

    def world(self, s: float, t: float, y: float = 0.0) -> Point:
        return (t + self.bend * s * s, y, s)

    def depth(self, p: Point) -> float:
        return self.camera.view(p)[2]

    def scale(self, p: Point) -> float:
        """Canvas pixels a metre at this point, 0 behind the camera."""
        depth = self.depth(p)
        return self.camera.focal / depth if depth > NEAR else 0.0

    def pixel(self, p: Point) -> tuple[float, float] | None:
        v = self.camera.view(p)
        return self.camera.pixel(v) if v[2] > NEAR else None

    def outline(self, points: Sequence[Point]) -> tuple[list[tuple[float, float]], float]:
        """Projected polygon clipped at the near plane, and its mean depth."""
        views = [self.camera.view(p) for p in points]
        kept: list[Point] = []
        for i, (x, y, z) in enumerate(views):
            px, py, pz = views[i - 1]
            if (z > NEAR) != (pz > NEAR):
                k = (NEAR - pz) / (z - pz)
                kept.append((px + (x - px) * k, py + (y - py) * k, NEAR))
            if z > NEAR:
                kept.append((x, y, z))
        depth = sum(v[2] for v in kept) / len(kept) if kept else 0.0
        return [self.camera.pixel(v) for v in kept], depth

    def paint(self, xy: Sequence[tuple[float, float]], colour: Colour, label: int, depth: float = 0.0) -> None:
        """A polygon given in canvas pixels."""
        if len(xy) < 3:
            return
        self._pen.polygon(xy, fill=self.light.air(colour, depth))
        self._label_pen.polygon(xy, fill=label)

    def polygon(self, points: Sequence[Point], colour: Colour, label: int) -> None:
        xy, depth = self.outline(points)
        self.paint(xy, colour, label, depth)

    def capsule(self, a: Point, b: Point, ra: float, rb: float, colour: Colour, label: int, *, least: float = 0.0):
        """A round-ended limb from a to b with radii in metres; `least` is the smallest painted half width in pixels."""
        va, vb = self.camera.view(a), self.camera.view(b)
        if va[2] <= NEAR or vb[2] <= NEAR:
            return
        (ax, ay), (bx, by) = self.camera.pixel(va), self.camera.pixel(vb)
        wa, wb = max(least, ra * self.camera.focal / va[2]), max(least, rb * self.camera.focal / vb[2])
        fill = self.light.air(colour, (va[2] + vb[2]) / 2)
        length = hypot(bx - ax, by - ay)
        pens = ((self._pen, fill), (self._label_pen, label))
        if length > 0.3:
            nx, ny = (by - ay) / length, -(bx - ax) / length
            quad = [(ax + nx * wa, ay + ny * wa), (bx + nx * wb, by + ny * wb),
                    (bx - nx * wb, by - ny * wb), (ax - nx * wa, ay - ny * wa)]  # fmt: skip
            for pen, value in pens:
                pen.polygon(quad, fill=value)
        for x, y, w in ((ax, ay, wa), (bx, by, wb)):
            if w > 0.8:
                for pen, value in pens:
                    pen.ellipse((x - w, y - w, x + w, y + w), fill=value)

    def stroke(self, a: Point, b: Point, width: float, colour: Colour, label: int | None) -> None:
        """A thin line, width in pixels; `label` None leaves the labels alone."""
        va, vb = self.camera.view(a), self.camera.view(b)
        if va[2] <= NEAR or vb[2] <= NEAR:
            return
        line = (*self.camera.pixel(va), *self.camera.pixel(vb))
        width = max(1, round(width))
        self._pen.line(line, fill=self.light.air(colour, (va[2] + vb[2]) / 2), width=width)
        if label is not None:
            self._label_pen.line(line, fill=label, width=width)

    def disc(self, centre: Point, u: Point, v: Point, radius: float, colour: Colour, label: int, n: int = 14) -> None:
        """A filled circle in the plane of the unit vectors u and v."""
        ring = []
        for i in range(n):
            a, b = radius * cos(6.2832 * i / n), radius * sin(6.2832 * i / n)
            ring.append(tuple(c + a * p + b * q for c, p, q in zip(centre, u, v, strict=True)))
        self.polygon(ring, colour, label)

    def stamp(self, patch: Image.Image, mask: Image.Image, corner: tuple[int, int], label: int | None):
        """Paste a picture patch through an 'L' mask; the class goes where the mask is over a half (None: nowhere)."""
        self.image.paste(patch, corner, mask)
        if label is not None:
            self.labels.paste(label, corner, mask.point(_HALF))

    def label_mask(self, mask: Image.Image, corner: tuple[int, int], label: int) -> None:
        self.labels.paste(label, corner, mask)

    def darken(self, xy: Sequence[tuple[float, float]], keep: float, blur: float) -> None:
        """A soft shadow: multiply the picture by `keep` inside a canvas polygon blurred by `blur` pixels."""
        if len(xy) < 3:
            return
        pad = int(3 * blur) + 1
        x0, y0 = max(0, int(min(p[0] for p in xy)) - pad), max(0, int(min(p[1] for p in xy)) - pad)
        x1 = min(self.image.width, int(max(p[0] for p in xy)) + pad)
        y1 = min(self.image.height, int(max(p[1] for p in xy)) + pad)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        ImageDraw.Draw(mask).polygon([(x - x0, y - y0) for x, y in xy], fill=round(255 * (1 - keep)))
        if blur > 0.6:
            mask = mask.filter(ImageFilter.BoxBlur(blur))
        self.image.paste((6, 7, 10), (x0, y0), mask)

    def texture(self, origin: Point, eu: Point, ev: Point, patch: Image.Image, region: Sequence[Point], label: int):
        """Map a patch onto a plane: its pixel (u, v) lies at origin + u·eu + v·ev (metres), seen inside `region`."""
        xy, _ = self.outline(region)
        if len(xy) < 3:
            return
        x0, y0 = max(0, int(min(p[0] for p in xy)) - 1), max(0, int(min(p[1] for p in xy)) - 1)
        x1 = min(self.image.width, int(max(p[0] for p in xy)) + 2)
        y1 = min(self.image.height, int(max(p[1] for p in xy)) + 2)
        if x1 <= x0 or y1 <= y0:
            return
        cam = self.camera
        intrinsics = np.array([[cam.focal, 0, cam.centre[0] - x0], [0, -cam.focal, cam.centre[1] - y0], [0, 0, 1]])
        plane = np.stack([eu, ev, np.subtract(origin, cam.position)], 1)
        forward = intrinsics @ np.array(cam.rotation) @ plane
        if abs(np.linalg.det(forward)) < 1e-12:
            return
        back = np.linalg.inv(forward)
        if abs(back[2, 2]) < 1e-12:
            return
        coefficients = tuple((back / back[2, 2]).ravel()[:8])
        size = (x1 - x0, y1 - y0)
        warped = patch.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([(x - x0, y - y0) for x, y in xy], fill=255)
        self.stamp(warped, mask, (x0, y0), label)


_HALF = [0] * 128 + [255] * 128
