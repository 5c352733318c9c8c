"""Procedural street scenes: a picture and its exact labels from a seed.

    from chappe.data.scenes import render_scene
    sample = render_scene(7)             # 256×512 picture, street11 labels

A pinhole camera looks along a street planned in metres (cross-section, bend, side roads, building rows, traffic).
Ground and sky are ray cast, everything else is painted back to front at twice the size into a picture and a label map
at once; a small camera model (exposure, tone curve, lens, sensor) develops the picture. Labels follow CamVid's habits
where these differ from geometry: railings and tree crowns are filled outlines, grass belongs to Tree, garden walls to
Building, lane markings to Road, kerbs to Pavement, bollards to Pole. Pure numpy and Pillow; no file is read.
"""

from __future__ import annotations

from dataclasses import replace
from math import asin, cos, pi, radians, sin, tan

import numpy as np

from chappe.data.dataset import Sample
from chappe.data.scene_canvas import Camera, Canvas, Light
from chappe.data.scene_furniture import paint_road
from chappe.data.scene_ground import Street, backdrop
from chappe.data.scene_layout import building_items, building_rows, furniture, people, planting, traffic
from chappe.data.scene_lens import develop, shrink_labels
from chappe.data.scene_trees import draw_skyline
from chappe.errors import UsageError

__all__ = ["render_scene"]

KINDS = ("sunny", "bright", "overcast", "rain", "dusk", "fog")
ODDS = (0.27, 0.27, 0.24, 0.08, 0.09, 0.05)


def render_scene(seed: int, size: tuple[int, int] = (256, 512)) -> Sample:
    """Render scene number `seed`.

    Args:
        seed: any integer ≥ 0; the same seed and size give the same bytes.
        size: (height, width) in pixels, each 64..2048.

    Returns:
        Sample named "scene-<seed>" with image (H, W, 3) uint8 RGB and labels (H, W) uint8, street11 indices 0..11.

    Raises:
        UsageError: a negative seed or a size out of range.
    """
    height, width = size
    if seed < 0 or not (64 <= height <= 2048 and 64 <= width <= 2048):
        raise UsageError(
            f"render_scene needs a seed >= 0 and a size of 64..2048 pixels a side, not seed {seed}, size {size}."
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    factor = 2 if height * width <= 512 * 1024 else 1  # supersampling
    light = _light(rng)
    styles = _styles(rng)
    street = _street(rng, styles)
    hand = -1 if rng.random() < 0.7 else 1
    camera, horizon = _camera(rng, street, hand, height * factor, width * factor)
    season = str(rng.choice(["summer", "winter", "winter", "autumn"]))

    rows = building_rows(rng, street, styles)
    street = replace(street, heights=(_profile(rows[0]), _profile(rows[1])))
    canvas = Canvas(camera, light, street.bend)
    items, trees = planting(rng, canvas, street, styles, season)
    if light.sun[0] > 0.05:
        lx, ly, lz = light.direction
        shade = [
            (t.s - lz / ly * t.height * 0.65, t.t - lx / ly * t.height * 0.65, t.radius) for t in trees if t.s < 60
        ]
        street = replace(street, dapples=tuple(shade))
    canvas.replace(*backdrop(rng, camera, light, street))
    paint_road(canvas, rng, street, hand)
    draw_skyline(canvas, rng, max(190.0, street.end + 40), rng.uniform(0.2, 0.9))
    items += building_items(canvas, street, rows)
    items += traffic(rng, canvas, street, hand)
    items += people(rng, canvas, street, styles, hand)
    items += furniture(rng, canvas, street, styles)
    for _, draw in sorted(items, key=lambda item: -item[0]):
        draw()

    labels = shrink_labels(np.asarray(canvas.labels), factor)
    picture = canvas.image.reduce(factor) if factor > 1 else canvas.image
    return Sample(f"scene-{seed}", develop(rng, picture, labels, light, horizon / factor), labels, "street11")


def _light(rng: np.random.Generator) -> Light:
    kind = str(rng.choice(KINDS, p=ODDS))
    low, high = {"sunny": (18, 55), "bright": (10, 32)}.get(kind, (20, 60))
    elevation, azimuth = radians(rng.uniform(low, high)), rng.uniform(-pi, pi)
    direction = (cos(elevation) * sin(azimuth), sin(elevation), cos(elevation) * cos(azimuth))
    ambient, sun = {
        "sunny": ((0.46, 0.49, 0.54), (0.82, 0.77, 0.68)), "bright": ((0.52, 0.53, 0.55), (0.62, 0.58, 0.52)),
        "overcast": ((0.76, 0.77, 0.79), (0, 0, 0)), "rain": ((0.64, 0.66, 0.69), (0, 0, 0)),
        "dusk": ((0.44, 0.45, 0.47), (0, 0, 0)), "fog": ((0.78, 0.79, 0.80), (0, 0, 0)),
    }[kind]  # fmt: skip
    haze = {"sunny": (206, 218, 230), "bright": (236, 238, 240), "overcast": (214, 217, 220), "rain": (186, 190, 194),
            "dusk": (140, 146, 148), "fog": (208, 210, 212)}[kind]  # fmt: skip
    density = {"fog": rng.uniform(0.012, 0.035), "rain": rng.uniform(0.003, 0.009)}.get(
        kind, rng.uniform(0.0003, 0.0032)
    )
    gain, strength = rng.uniform(0.9, 1.1), rng.uniform(0.8, 1.1)
    return Light(tuple(a * gain for a in ambient), tuple(s * strength for s in sun), direction, haze, density,
                 kind, kind == "dusk" or (kind in ("rain", "fog") and rng.random() < 0.6))  # fmt: skip


def _styles(rng: np.random.Generator) -> tuple[str, str]:
    names, odds = ("high", "terrace", "modern", "villas", "park"), (0.32, 0.19, 0.12, 0.17, 0.20)
    left = str(rng.choice(names, p=odds))
    right = left if rng.random() < 0.45 else str(rng.choice(names, p=odds))
    return left, right


def _street(rng: np.random.Generator, styles: tuple[str, str]) -> Street:
    width = rng.uniform(6.4, 11.5)
    left, right = -width / 2, width / 2
    pavement = [rng.uniform(1.6, 4.2) for _ in range(2)]
    verges = [0.0, 0.0]
    for i, style in enumerate(styles):
        if style in ("villas", "park") and rng.random() < 0.5:
            verges[i] = rng.uniform(1.0, 4.0)
        pavement[i] += verges[i] + (rng.uniform(1, 4) if style == "villas" else 0)
    end = float(rng.choice([rng.uniform(38, 80), rng.uniform(80, 140), 400.0], p=[0.25, 0.25, 0.5]))
    roads = []
    for side in (-1, 1):
        if rng.random() < 0.4:
            a = rng.uniform(7, 45)
            roads.append((side, a, a + rng.uniform(5.5, 8)))
        if end < 150:
            roads.append((side, end - 7.0, end))
    junction = rng.uniform(6, 26) if rng.random() < 0.35 else None
    patches = tuple((rng.uniform(4, 40), rng.uniform(left, right), rng.uniform(0.5, 5), rng.uniform(0.3, 1.2),
                     rng.uniform(0.78, 1.12)) for _ in range(int(rng.integers(0, 6))))  # fmt: skip
    manholes = tuple((rng.uniform(4, 26), rng.uniform(left + 0.6, right - 0.6)) for _ in range(int(rng.integers(0, 4))))
    return Street(
        left, right, left - pavement[0], right + pavement[1], rng.normal(0, 0.0011) if rng.random() < 0.6 else 0.0, end,
        (verges[0], verges[1]), tuple(roads),
        str(rng.choice(["dashed", "warning", "double", "lanes", "none"], p=[0.42, 0.18, 0.1, 0.1, 0.2])),
        str(rng.choice(["none", "white", "yellow"], p=[0.45, 0.2, 0.35])),
        rng.uniform(7, 25) if junction is None and rng.random() < 0.2 else None, junction,
        patches=patches, manholes=manholes,
    )  # fmt: skip


def _camera(rng: np.random.Generator, street: Street, hand: int, height: int, width: int) -> tuple[Camera, float]:
    """A dashboard or pavement camera; returns it and the row of the horizon."""
    focal = width / 2 / tan(radians(rng.uniform(46, 74)) / 2)
    lane = (street.right - street.left) / 4
    t = hand * lane * rng.uniform(0.5, 1.15)
    if rng.random() < 0.12:  # a pedestrian's view from the kerb
        t = hand * (street.right + 0.8)
    eye = rng.uniform(1.15, 1.75) if rng.random() < 0.85 else rng.uniform(1.8, 2.6)
    row = height * rng.uniform(0.38, 0.6)
    pitch = asin(float(np.clip((height / 2 - row) / focal, -0.5, 0.5)))  # half by tilting, the rest by the crop
    tilt = pitch * rng.uniform(0.3, 1.0)
    centre_y = row + focal * tan(tilt)
    yaw = rng.normal(0, 0.05) if rng.random() < 0.8 else rng.normal(0, 0.16)
    # looking up lowers the horizon in the picture: a positive pitch angle tilts the camera down
    camera = Camera.build(width, height, focal, (width / 2, centre_y), (t, eye, 0.0), yaw=yaw, pitch=tilt,
                          roll=rng.normal(0, 0.006))  # fmt: skip
    return camera, row


def _profile(row) -> np.ndarray:
    """Height of a building row by metre of s (0 in gaps), for shadows."""
    heights = np.zeros(200)
    for b in row:
        heights[max(0, int(b.a[0])) : max(0, int(b.b[0]))] = b.height + (b.roof_rise * 0.6 if b.roof == "gable" else 0)
    return heights
