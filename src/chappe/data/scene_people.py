"""Pedestrians and cyclists: jointed bodies of tapered limbs for procedural street scenes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin

import numpy as np

from chappe.data.scene_canvas import BICYCLIST, PEDESTRIAN, Canvas, jitter

__all__ = ["Person", "draw_person", "make_person"]

CLOTHES = (
    (32, 34, 40), (24, 24, 28), (44, 50, 66), (60, 56, 52), (92, 84, 74), (130, 36, 38), (40, 70, 110), (58, 74, 58),
    (150, 146, 140), (186, 60, 40), (200, 196, 188), (70, 44, 60), (170, 140, 50),
)  # fmt: skip
TROUSERS = ((28, 30, 36), (38, 46, 66), (54, 50, 46), (20, 20, 22), (86, 80, 70), (64, 74, 92))
SKIN = ((206, 164, 138), (184, 138, 110), (140, 98, 74), (96, 66, 50), (222, 184, 160))
HAIR = ((36, 28, 24), (70, 50, 34), (120, 92, 56), (20, 18, 18), (150, 146, 140))


@dataclass(frozen=True)
class Person:
    """Position in street coordinates; heading 0 walks away from the camera; phase of the step in radians."""

    s: float
    t: float
    heading: float
    height: float
    phase: float
    rides: bool
    seed: int


def make_person(
    rng: np.random.Generator, s: float, t: float, *, rides: bool = False, heading: float | None = None
) -> Person:
    if heading is None:
        heading = rng.choice([0.0, pi]) + rng.normal(0, 0.3)
    child = not rides and rng.random() < 0.08
    height = rng.uniform(1.05, 1.4) if child else float(np.clip(rng.normal(1.72, 0.08), 1.5, 1.95))
    return Person(s, t, float(heading), height, rng.uniform(0, 2 * pi), rides, int(rng.integers(1 << 31)))


def draw_person(canvas: Canvas, person: Person, visible: float) -> None:
    """Paint a walker or a rider with a contact shadow; `visible` is the share of the sun that reaches them."""
    rng = np.random.Generator(np.random.PCG64(person.seed))
    origin = canvas.world(person.s, person.t)
    size = canvas.scale(origin)
    if size == 0.0:
        return
    c, s = cos(person.heading), sin(person.heading)

    def place(forward, y, right):
        return (origin[0] + forward * s + right * c, y, origin[2] + forward * c - right * s)

    light = canvas.light
    towards = (canvas.camera.position[0] - origin[0], canvas.camera.position[2] - origin[2])
    norm = (towards[0] ** 2 + towards[1] ** 2) ** 0.5 or 1.0
    normal = (towards[0] / norm * 0.9, 0.43, towards[1] / norm * 0.9)

    def tint(colour, gain=1.0):
        return [q * gain for q in light.shade(colour, normal, visible)]

    reach = 0.95 if person.rides else 0.3
    foot = [place(reach * cos(a) * 1.0, 0, 0.3 * sin(a)) for a in np.linspace(0, 2 * pi, 9)[:-1]]
    canvas.darken(canvas.outline(foot)[0], 0.5, max(0.7, size * 0.06))
    lx, ly, lz = light.direction
    if visible > 0.3 and max(light.sun) > 0.1 and ly > 0.15:
        k = 1.6 / ly
        tip = (origin[0] - lx * k, 0.0, origin[2] - lz * k)
        quad = [place(0, 0, -0.18), place(0, 0, 0.18), (tip[0] + 0.2, 0, tip[2]), (tip[0] - 0.2, 0, tip[2])]
        canvas.darken(canvas.outline(quad)[0], 0.7, max(0.6, size * 0.03))
    coat = jitter(rng, CLOTHES[rng.integers(len(CLOTHES))], 8)
    if person.rides:
        hi_vis = rng.random() < 0.2
        coat = (208, 220, 60) if hi_vis else coat
        _rider(canvas, rng, person, place, tint, coat)
    else:
        _walker(canvas, rng, person, place, tint, coat)


def _walker(canvas: Canvas, rng, person: Person, place, tint, coat) -> None:
    h = person.height
    k = h / 1.75
    trousers = jitter(rng, TROUSERS[rng.integers(len(TROUSERS))], 6)
    skin, hair = jitter(rng, SKIN[rng.integers(len(SKIN))], 6), jitter(rng, HAIR[rng.integers(len(HAIR))], 5)
    swing = 0.42 * sin(person.phase) if rng.random() < 0.85 else 0.05
    long_coat, skirt, bare = rng.random() < 0.3, rng.random() < 0.15, rng.random() < 0.1
    hip, shoulder, neck = 0.9 * k, 1.42 * k, 1.5 * k
    bulk = rng.uniform(0.9, 1.2)

    def limb(a, b, ra, rb, colour):
        canvas.capsule(a, b, ra, rb, colour, PEDESTRIAN, least=0.55)

    def leg(side, angle, shade):
        bend = max(0.0, -angle) * 0.9
        knee = place(0.44 * k * sin(angle), hip - 0.44 * k * cos(angle), side * 0.09 * k)
        fx = 0.44 * k * sin(angle) + 0.42 * k * sin(angle - bend)
        fy = max(0.05, hip - 0.44 * k * cos(angle) - 0.42 * k * cos(angle - bend))
        limb(
            place(0, hip, side * 0.09 * k),
            knee,
            0.085 * k * bulk,
            0.065 * k,
            tint(skin if skirt or bare else trousers, shade),
        )
        limb(knee, place(fx, fy, side * 0.09 * k), 0.065 * k, 0.048 * k, tint(skin if bare else trousers, shade * 0.92))
        limb(
            place(fx, 0.05, side * 0.09 * k),
            place(fx + 0.15 * k, 0.045, side * 0.1 * k),
            0.05 * k,
            0.04 * k,
            tint((26, 24, 24)),
        )

    def arm(side, angle, shade):
        elbow = place(0.27 * k * sin(angle), shoulder - 0.27 * k * cos(angle), side * 0.23 * k * bulk)
        hand = place(0.27 * k * sin(angle) + 0.25 * k * sin(angle + 0.35), shoulder - 0.27 * k * cos(angle)
                     - 0.25 * k * cos(angle + 0.35), side * 0.22 * k * bulk)  # fmt: skip
        limb(place(0, shoulder - 0.02, side * 0.19 * k * bulk), elbow, 0.055 * k, 0.047 * k, tint(coat, shade))
        limb(elbow, hand, 0.047 * k, 0.038 * k, tint(coat, shade * 0.95))
        limb(hand, hand, 0.045 * k, 0.045 * k, tint(skin, shade))

    canvas_side = 1 if rng.random() < 0.5 else -1
    arm(-canvas_side, -swing, 0.8)
    leg(-canvas_side, swing, 0.8)
    leg(canvas_side, -swing, 1.0)
    low = 0.62 * k if long_coat else hip - 0.05
    if skirt:
        limb(place(0, hip, 0), place(0, 0.55 * k, 0), 0.15 * k, 0.2 * k, tint(trousers))
    for side in (-0.07, 0.07):
        limb(
            place(0, low, side * k),
            place(0.02, shoulder - 0.06, side * 1.5 * k),
            0.13 * k * bulk,
            0.115 * k * bulk,
            tint(coat),
        )
    limb(place(0.0, shoulder - 0.2, 0), place(0.0, shoulder - 0.03, 0), 0.15 * k * bulk, 0.1 * k, tint(coat, 1.08))
    if rng.random() < 0.3:  # rucksack
        limb(place(-0.17, shoulder - 0.35, 0), place(-0.17, shoulder - 0.06, 0), 0.13 * k, 0.11 * k,
             tint(CLOTHES[rng.integers(len(CLOTHES))], 0.9))  # fmt: skip
    arm(canvas_side, swing, 1.0)
    if rng.random() < 0.3:  # shopping bag
        bag = tint((196, 192, 182) if rng.random() < 0.5 else (90, 40, 40))
        limb(place(0.05, 0.55 * k, canvas_side * 0.27), place(0.05, 0.4 * k, canvas_side * 0.27), 0.09, 0.11, bag)
    limb(place(0.0, neck - 0.06, 0), place(0.02, neck + 0.03, 0), 0.05 * k, 0.05 * k, tint(skin, 0.85))
    _head(canvas, person, place, tint, 0.02, neck + 0.13 * k, k, skin, hair, PEDESTRIAN)


def _head(canvas: Canvas, person: Person, place, tint, forward, y, k, skin, hair, label, helmet=None) -> None:
    a, b = place(forward, y - 0.02, 0), place(forward, y + 0.03 * k, 0)
    canvas.capsule(a, b, 0.095 * k, 0.1 * k, tint(hair, 0.95), label, least=0.6)
    front = place(forward + 0.035, y - 0.035 * k, 0)
    if canvas.depth(front) < canvas.depth(place(forward - 0.035, y, 0)):
        canvas.capsule(front, front, 0.085 * k, 0.085 * k, tint(skin), label)
    if helmet is not None:
        top = place(forward - 0.01, y + 0.06 * k, 0)
        canvas.capsule(top, top, 0.12 * k, 0.12 * k, tint(helmet), label)


def _rider(canvas: Canvas, rng, person: Person, place, tint, coat) -> None:
    trousers = jitter(rng, TROUSERS[rng.integers(len(TROUSERS))], 6)
    skin, hair = jitter(rng, SKIN[rng.integers(len(SKIN))], 6), jitter(rng, HAIR[rng.integers(len(HAIR))], 5)
    frame = jitter(rng, ((120, 30, 30), (30, 60, 110), (40, 40, 44), (180, 180, 184), (30, 90, 60))[rng.integers(5)], 8)
    size = canvas.scale(place(0, 0.5, 0))

    def limb(a, b, ra, rb, colour):
        canvas.capsule(a, b, ra, rb, colour, BICYCLIST, least=0.5)

    tyre, r = tint((24, 24, 26)), 0.34
    for x in (-0.52, 0.54):  # wheels: rings of short strokes, see-through like the real ones
        ring = [place(x + r * cos(a), r + r * sin(a), 0) for a in np.linspace(0, 2 * pi, 17)]
        for a, b in pairwise(ring):
            limb(a, b, 0.026, 0.026, tyre)
        if size > 45:
            for a in np.linspace(0, pi, 5)[:-1]:
                canvas.stroke(place(x + r * cos(a), r + r * sin(a), 0), place(x - r * cos(a), r - r * sin(a), 0), 1,
                              tint((120, 120, 124)), BICYCLIST)  # fmt: skip
    crank, seat, head = (0.0, 0.30), (-0.2, 0.92), (0.42, 0.88)
    steel = tint(frame)
    for a, b in (
        (crank, seat),
        (seat, head),
        (crank, head),
        (crank, (-0.52, r)),
        (seat, (-0.52, r)),
        (head, (0.54, r)),
    ):
        limb(place(*a, 0), place(*b, 0), 0.02, 0.02, steel)
    limb(place(0.42, 1.02, -0.25), place(0.42, 1.02, 0.25), 0.018, 0.018, tint((30, 30, 32)))
    limb(place(0.42, 0.88, 0), place(0.42, 1.02, 0), 0.018, 0.018, steel)
    hip, shoulder = (-0.2, 1.02), (0.12, 1.46)
    for side, turn, shade in ((-1, person.phase, 0.82), (1, person.phase + pi, 1.0)):
        px, py = 0.17 * cos(turn), 0.30 + 0.17 * sin(turn)
        knee = (0.5 * (hip[0] + px) + 0.22, 0.5 * (hip[1] + py) + 0.1)
        limb(place(*hip, side * 0.09), place(*knee, side * 0.1), 0.085, 0.065, tint(trousers, shade))
        limb(place(*knee, side * 0.1), place(px, py, side * 0.11), 0.065, 0.045, tint(trousers, shade * 0.92))
        limb(place(px, py, side * 0.11), place(px + 0.14, py, side * 0.11), 0.045, 0.04, tint((28, 26, 26)))
        elbow = (0.5 * (shoulder[0] + 0.42), 1.2)
        limb(place(*shoulder, side * 0.19), place(*elbow, side * 0.24), 0.055, 0.048, tint(coat, shade))
        limb(place(*elbow, side * 0.24), place(0.42, 1.04, side * 0.22), 0.048, 0.04, tint(coat, shade))
    for side in (-0.06, 0.06):
        limb(place(*hip, side), place(shoulder[0], shoulder[1] - 0.04, side * 1.6), 0.14, 0.12, tint(coat))
    helmet = (
        ((200, 200, 200), (40, 40, 44), (160, 40, 40), (40, 80, 150))[rng.integers(4)] if rng.random() < 0.6 else None
    )
    _head(canvas, person, place, tint, shoulder[0] + 0.08, 1.66, 1.0, skin, hair, BICYCLIST, helmet)
