"""Who stands where: fills a procedural street with buildings, trees, traffic and people."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import numpy as np

from chappe.data.scene_buildings import Building, draw_building, make_building
from chappe.data.scene_canvas import Canvas, Light
from chappe.data.scene_furniture import (
    draw_bin,
    draw_bollard,
    draw_fence,
    draw_lamp,
    draw_sign,
    draw_traffic_light,
    draw_wall,
)
from chappe.data.scene_ground import Street
from chappe.data.scene_people import draw_person, make_person
from chappe.data.scene_trees import Tree, draw_hedge, draw_tree, make_tree
from chappe.data.scene_vehicles import draw_vehicle, make_vehicle

__all__ = ["Item", "building_rows", "furniture", "people", "planting", "sun_share", "traffic"]

Item = tuple[float, Callable[[], None]]  # s of its far end; painted from far to near


def sun_share(light: Light, street: Street, s: float, t: float, y: float = 0.8) -> float:
    """Scalar twin of the ground shadow test: 1 in the sun, 0 behind a building row."""
    lx, ly, lz = light.direction
    if max(light.sun) < 0.05:
        return 0.0
    if abs(lx) < 0.05:
        return 1.0
    front, heights = (street.right_front, street.heights[1]) if lx > 0 else (street.left_front, street.heights[0])
    run = max((front - t) / lx, 0.0)
    at = min(max(int(s + lz * run), 0), len(heights) - 1)
    return 1.0 if y + run * ly > heights[at] else 0.0


def building_rows(rng: np.random.Generator, street: Street, styles: tuple[str, str]) -> list[list[Building]]:
    """The two rows (left, right); a park side has none. The last list closes the end of the street."""
    rows: list[list[Building]] = []
    for side, style, front in ((-1, styles[0], street.left_front), (1, styles[1], street.right_front)):
        row: list[Building] = []
        s = -4.0
        while style != "park" and s < min(street.end - 1, 170):
            width = rng.uniform(5, 9) if style == "terrace" else rng.uniform(6, 17)
            width = min(width, max(4.0, street.end - s)) if street.end < 170 else width
            blocked = [(a, b) for k, a, b in street.side_roads if k == side and s < b + 3 and s + width > a - 3]
            if blocked:
                a, b = blocked[0]
                if a - 3 - s < 4:
                    s = b + 3
                    continue
                width = a - 3 - s
            setback = side * rng.uniform(0, 1.5) if style == "villas" else 0.0
            row.append(make_building(rng, (s, front + setback), (s + width, front + setback), style))
            s += width + (
                rng.uniform(1.5, 6) if style == "villas" else (rng.uniform(1, 8) if rng.random() < 0.08 else 0)
            )
        rows.append(row)
    closing: list[Building] = []
    if street.end < 150:
        t, style = -60.0, "high" if "park" in styles else styles[0]
        while t < 60:
            width = rng.uniform(7, 16)
            closing.append(make_building(rng, (street.end + 4, t), (street.end + 4, t + width), style))
            t += width + (rng.uniform(2, 9) if rng.random() < 0.25 else 0)
    rows.append(closing)
    return rows


def building_items(canvas: Canvas, street: Street, rows: list[list[Building]]) -> list[Item]:
    light, items = canvas.light, []
    lx, ly, lz = light.direction
    gap = street.right_front - street.left_front
    sunny = max(light.sun) > 0.05
    for index, row in enumerate(rows):
        for b in row:
            shadow: float | None = None
            if index == 2 and sunny and lz < -0.1:
                shadow = 0.0
            elif index < 2 and sunny and (lx > 0.08) == (index == 0) and abs(lx) > 0.08:
                heights = street.heights[1 - index]
                run = gap / abs(lx)
                at = min(max(int((b.a[0] + b.b[0]) / 2 + lz * run), 0), len(heights) - 1)
                shadow = float(heights[at] - run * ly)
            far = max(b.a[0], b.b[0]) + (2.0 if index == 2 else 0.0)
            items.append((far, lambda b=b, shadow=shadow: draw_building(canvas, b, shadow)))
    return items


def planting(rng, canvas: Canvas, street: Street, styles, season: str) -> tuple[list[Item], list[Tree]]:
    """Street trees, parks, front hedges, fences and walls along the building line."""
    items: list[Item] = []
    trees: list[Tree] = []
    for side, style, kerb, front in ((-1, styles[0], street.left, street.left_front),
                                     (1, styles[1], street.right, street.right_front)):  # fmt: skip
        roads = [(a, b) for k, a, b in street.side_roads if k == side]

        def clear(s, roads=roads):
            return all(not a - 3 < s < b + 3 for a, b in roads) and s < street.end - 2

        depth = abs(front - kerb)
        if style == "park":
            for _ in range(int(rng.integers(6, 13))):
                trees.append(make_tree(rng, rng.uniform(7, 90), front + side * rng.uniform(0.5, 14), season))
            kind = str(rng.choice(["iron", "rail", "hedge", "hedge", "board", "wall"]))
            _boundary(rng, canvas, street, items, kind, front - side * 0.4, clear, rng.uniform(1.0, 1.9))
        elif depth > 2.3 and rng.random() < 0.6:
            s, step = rng.uniform(5, 18), rng.uniform(8, 18)
            while s < 90:
                tree = make_tree(rng, s, kerb + side * rng.uniform(0.9, 1.4), season)
                trees.append(Tree(tree.s, tree.t, min(tree.height, 8.5), min(tree.radius, 2.6), tree.kind, tree.seed))
                s += step * rng.uniform(0.7, 1.4)
        if style == "villas":
            kind = str(rng.choice(["iron", "hedge", "wall", "wall", "board"]))
            _boundary(rng, canvas, street, items, kind, front - side * 0.7, clear, rng.uniform(0.7, 1.5))
        trees[:] = [tree for tree in trees if tree.t * side < 0 or clear(tree.s)]
    for tree in trees:
        share = sun_share(canvas.light, street, tree.s, tree.t, tree.height * 0.7)
        items.append((tree.s, lambda tree=tree, share=share: draw_tree(canvas, tree, season, share)))
    return items, trees


def _boundary(rng, canvas, street, items: list[Item], kind: str, t: float, clear, height: float) -> None:
    """A run of 8 m panels along the street, interrupted by side roads."""
    seed = int(rng.integers(1 << 31))
    s = -1.0 + rng.uniform(0, 3)
    while s < 80:
        if clear(s) and clear(s + 8):
            share = sun_share(canvas.light, street, s + 4, t)

            def draw(s=s, share=share):
                own = np.random.Generator(np.random.PCG64(seed))  # every panel in one colour
                a, b = (max(s, 0.6), t), (s + 8, t)
                if kind == "hedge":
                    draw_hedge(canvas, own, a, b, height, share)
                elif kind == "wall":
                    draw_wall(canvas, own, a, b, height * 0.8)
                else:
                    draw_fence(canvas, own, a, b, height, kind)

            items.append((s + 8, draw))
        s += 8


def traffic(rng, canvas: Canvas, street: Street, hand: int) -> list[Item]:
    """Parked and moving vehicles. `hand` -1: traffic keeps left."""
    placed = []
    width = street.right - street.left
    middle = (street.left + street.right) / 2
    parked = [False, False]
    for side in (0, 1):
        if width < 6.5 or rng.random() > 0.5:
            continue
        parked[side] = True
        t = street.left + 1.05 if side == 0 else street.right - 1.05
        heading = 0.0 if (side == 0) == (hand < 0) else pi
        s = rng.uniform(3.5, 16)
        while s < 95:
            roads = [1 for k, a, b in street.side_roads if (k > 0) == (side == 1) and a - 5 < s < b + 5]
            near_stop = street.junction is not None and abs(s - street.junction) < 9
            if not roads and not near_stop and rng.random() < 0.75 and s < street.end - 9:
                kinds = ("van",) if rng.random() < 0.08 else None
                placed.append(make_vehicle(rng, s, t + rng.normal(0, 0.08), heading + rng.normal(0, 0.03), kinds))
            s += rng.uniform(5.4, 7.5)
    lane = width / 4
    own, other = middle + hand * lane, middle - hand * lane
    if parked[0 if hand < 0 else 1]:
        own -= hand * 0.7
    if parked[1 if hand < 0 else 0]:
        other += hand * 0.7
    s = rng.uniform(7, 26)
    for _ in range(int(rng.integers(0, 4))):
        kinds = ("bus",) if rng.random() < 0.12 and s > 12 else None
        placed.append(make_vehicle(rng, s, own + rng.normal(0, 0.15), rng.normal(0, 0.02), kinds))
        s += rng.uniform(8, 25)
    s = rng.uniform(6, 30)
    for _ in range(int(rng.integers(0, 5))):
        kinds = ("bus",) if rng.random() < 0.15 and s > 10 else None
        placed.append(make_vehicle(rng, s, other + rng.normal(0, 0.15), pi + rng.normal(0, 0.03), kinds))
        s += rng.uniform(7, 25)
    for side, a, b in street.side_roads:  # cars that turn out of a side road
        if rng.random() < 0.4 and a > 8:
            t = (street.right + rng.uniform(0.5, 4)) if side > 0 else (street.left - rng.uniform(0.5, 4))
            placed.append(make_vehicle(rng, (a + b) / 2, t, (-1 if side > 0 else 1) * pi / 2 + rng.normal(0, 0.2)))
    if rng.random() < 0.12:  # one crosses the street
        placed.append(make_vehicle(rng, rng.uniform(12, 30), middle + rng.uniform(-1, 1), pi / 2 + rng.normal(0, 0.5)))
    kept = []
    for v in placed:  # no two in one place, none in the lens
        if v.s > street.end - 3 or v.s < 3.4:
            continue
        reach = 7.5 if v.kind == "bus" else 5.0
        if all(abs(v.s - o.s) > max(reach, 7.5 if o.kind == "bus" else 0) or abs(v.t - o.t) > 2.1 for o in kept):
            if v.kind == "bus" and v.s < 11:
                continue
            kept.append(v)
    items: list[Item] = []
    for v in kept:
        share = sun_share(canvas.light, street, v.s, v.t)
        items.append((v.s, lambda v=v, share=share: draw_vehicle(canvas, v, share)))
    return items


def people(rng, canvas: Canvas, street: Street, styles, hand: int) -> list[Item]:
    """Walkers on the pavements (alone and in groups), some crossing; cyclists on the carriageway."""
    persons = []
    for _ in range(int(rng.poisson(4.5 if "high" in styles or "modern" in styles else 3.0)) + 1):
        side = 0 if rng.random() < 0.5 else 1
        a, b = (
            (street.left_front + 0.5, street.left - 0.35)
            if side == 0
            else (street.right + 0.35, street.right_front - 0.5)
        )
        if b <= a:
            continue
        s, t = 5 + 42 * rng.random() ** 1.5, rng.uniform(a, b)
        heading = float(rng.choice([0.0, pi]) + rng.normal(0, 0.25))
        for k in range(1 + (rng.random() < 0.35) + (rng.random() < 0.12)):
            persons.append(
                make_person(rng, s + 0.5 * k * rng.normal(), float(np.clip(t + 0.55 * k, a, b)), heading=heading)
            )
    if rng.random() < 0.4:
        s = street.crossing or (street.junction + 1.5 if street.junction else rng.uniform(9, 28))
        for _ in range(int(rng.integers(1, 4))):
            t = rng.uniform(street.left, street.right)
            persons.append(
                make_person(rng, s + rng.normal(0, 0.5), t, heading=rng.choice([-1, 1]) * pi / 2 + rng.normal(0, 0.2))
            )
    if rng.random() < 0.85:
        for _ in range(int(rng.integers(1, 4))):
            own = rng.random() < 0.65
            edge = street.left if (hand < 0) == own else street.right
            t = edge + (1 if edge < (street.left + street.right) / 2 else -1) * rng.uniform(0.5, 2.6)
            heading = (0.0 if own else pi) + rng.normal(0, 0.08)
            if rng.random() < 0.2:
                heading += rng.choice([-1, 1]) * rng.uniform(0.6, 1.6)
            persons.append(make_person(rng, 5 + 28 * rng.random() ** 1.3, t, rides=True, heading=heading))
    items: list[Item] = []
    for p in persons:
        if p.s > street.end + 3 or p.s < 3.5:
            continue
        share = sun_share(canvas.light, street, p.s, p.t)
        items.append((p.s, lambda p=p, share=share: draw_person(canvas, p, share)))
    return items


def furniture(rng, canvas: Canvas, street: Street, styles) -> list[Item]:
    """Lamps, signs, traffic lights, bollards, guard rails, bins."""
    items: list[Item] = []

    def add(s, draw, *args):
        if 2.5 < s < street.end + 3:
            seed = int(rng.integers(1 << 31))
            items.append((s, lambda: draw(canvas, np.random.Generator(np.random.PCG64(seed)), *args)))

    kerbs = ((-1, street.left, street.left_front), (1, street.right, street.right_front))
    for side, kerb, _ in kerbs:
        if rng.random() < 0.8:
            s, step = rng.uniform(4, 24), rng.uniform(18, 30)
            while s < 120:
                add(s, draw_lamp, s, kerb + side * 0.5, -side)
                s += step
        for _ in range(int(rng.integers(1, 4))):
            s = rng.uniform(5, 45)
            add(s, draw_sign, s, kerb + side * rng.uniform(0.4, 1.2))
        if rng.random() < 0.3:
            s, step = rng.uniform(4, 14), rng.uniform(1.3, 2.2)
            for k in range(int(rng.integers(3, 9))):
                add(s + k * step, draw_bollard, s + k * step, kerb + side * 0.35)
        if rng.random() < 0.45:  # guard rail at the kerb
            start, run = rng.uniform(2.6, 22), rng.uniform(5, 16)
            roads = any(k == side and a - 3 < start + run and b + 3 > start for k, a, b in street.side_roads)
            if not roads and start + run < street.end:
                pieces = max(1, int(run / 3))
                kind = "rail" if rng.random() < 0.8 else "iron"
                seed = int(rng.integers(1 << 31))
                for k in range(pieces):
                    a, b = (start + 3 * k, kerb + side * 0.3), (start + 3 * k + 3, kerb + side * 0.3)
                    items.append((b[0], lambda a=a, b=b, kind=kind, seed=seed: draw_fence(
                        canvas, np.random.Generator(np.random.PCG64(seed)), a, b, 1.05, kind)))  # fmt: skip
        if rng.random() < 0.25:
            s = rng.uniform(6, 30)
            add(s, draw_bin, s, kerb + side * 0.6)
        if styles[0 if side < 0 else 1] in ("high", "modern") and rng.random() < 0.4:
            s = rng.uniform(8, 40)
            add(s, draw_sign, s, kerb + side * 1.0)
    if street.junction is not None or rng.random() < 0.25:
        s = (street.junction or rng.uniform(10, 30)) + 0.8
        state = int(rng.choice([0, 0, 2, 2, 1]))
        for side, kerb, _ in kerbs:
            add(s, draw_traffic_light, s, kerb + side * 0.5, state, False)
            if rng.random() < 0.6:
                add(s + 11, draw_traffic_light, s + 11, kerb + side * 0.5, state, rng.random() < 0.3)
    return items
