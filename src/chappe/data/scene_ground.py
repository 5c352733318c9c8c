"""Sky and ground of a procedural street scene: per-pixel ray casting in numpy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from chappe.data.scene_canvas import PAVEMENT, ROAD, SKY, TREE, Camera, Light, noise_tile, sample_noise

__all__ = ["Street", "backdrop"]

KERB = 0.12  # metres


@dataclass(frozen=True)
class Street:
    """Cross-section and plan of the street; distances in metres, left side has negative t."""

    left: float  # t of the left kerb (< 0)
    right: float
    left_front: float  # t of the left building line
    right_front: float
    bend: float  # world x = t + bend·s²
    end: float  # s where the street ends
    verges: tuple[float, float]  # width of grass behind the kerb, left and right
    side_roads: tuple[tuple[int, float, float], ...]  # (side -1/+1, s0, s1)
    marking: str  # dashed, double, solid, none
    edge_lines: str  # none, white, yellow
    crossing: float | None  # s of a zebra crossing
    junction: float | None  # s of a stop line
    heights: tuple[np.ndarray, np.ndarray] = field(compare=False, default=(np.zeros(1), np.zeros(1)))  # by metre of s
    patches: tuple[tuple[float, float, float, float, float], ...] = ()  # s, t, ds, dt, tone
    manholes: tuple[tuple[float, float], ...] = ()
    dapples: tuple[tuple[float, float, float], ...] = ()  # tree shadows: s, t, radius


def backdrop(rng: np.random.Generator, camera: Camera, light: Light, street: Street):
    """(H, W, 3) uint8 picture and (H, W) uint8 labels of sky and ground."""
    h, w = camera.height, camera.width
    image = np.empty((h, w, 3), np.uint8)
    labels = np.full((h, w), SKY, np.uint8)
    dx, dy, dz = camera.rays(slice(0, h))
    image[:] = _sky(rng, light, dx, dy, dz)
    below = np.flatnonzero((dy < -1e-3).any(1))
    if below.size:
        rows = slice(int(below[0]), h)
        picture, classes, hit = _ground(rng, camera, light, street, dx[rows], dy[rows], dz[rows])
        image[rows][hit] = picture[hit]
        labels[rows][hit] = classes[hit]
    return image, labels


def _sky(rng, light: Light, dx, dy, dz) -> np.ndarray:
    """Gradient, sun glow and fractal clouds; made at a quarter of the canvas size, it is smooth."""
    step = 4
    u, v, d = dx[::step, ::step], dy[::step, ::step], dz[::step, ::step]
    up = np.clip(v, 0, None)
    zenith, horizon = _sky_colours(rng, light)
    k = (1 - np.exp(-up * 3.0))[..., None]
    sky = horizon + (zenith - horizon) * k
    cover = {"sunny": rng.uniform(-1.5, 0.9), "bright": rng.uniform(-0.3, 1.0), "overcast": rng.uniform(0.5, 1.5),
             "rain": 1.2, "dusk": rng.uniform(-0.5, 1.2), "fog": -3.0}[light.kind]  # fmt: skip
    # clouds lie on a plane overhead: perspective makes them flat towards the horizon
    flat = 1.0 / (up + 0.12)
    ou, ov = rng.uniform(0, 512, 2)
    field_ = sample_noise(u * flat * 60 + ou, d * flat * 60 + ov, 1.7)
    field_ += 0.35 * sample_noise(u * flat * 190 + ov, d * flat * 190 + ou, 1.4)
    density = np.clip((field_ + cover) * 0.6, 0, 1)
    lit = np.clip(0.75 + 0.25 * (1 - density) + 0.05 * field_, 0.4, 1.1)[..., None]
    white = np.array([252, 252, 253], np.float32) if light.kind in ("sunny", "bright") else horizon * 0.97 + 4
    sky += (white * lit - sky) * (density * rng.uniform(0.5, 0.95))[..., None]
    if light.kind in ("sunny", "bright", "dusk"):
        norm = 1 / np.sqrt(u * u + v * v + d * d)
        sun = np.clip((u * light.direction[0] + v * light.direction[1] + d * light.direction[2]) * norm, 0, 1)
        sky += (90 * sun**8 + 160 * sun**200)[..., None]
    small = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    return np.asarray(small.resize((dx.shape[1], dx.shape[0]), Image.Resampling.BICUBIC))


def _sky_colours(rng, light: Light) -> tuple[np.ndarray, np.ndarray]:
    pairs = {
        "sunny": ((110, 165, 225), (222, 236, 246)), "bright": ((215, 230, 245), (250, 251, 252)),
        "overcast": ((206, 211, 216), (240, 242, 243)), "rain": ((160, 166, 172), (206, 209, 212)),
        "dusk": ((96, 112, 128), (172, 176, 172)), "fog": ((206, 208, 210), (214, 216, 217)),
    }  # fmt: skip
    zenith, horizon = (np.array(c, np.float32) for c in pairs[light.kind])
    return zenith + rng.normal(0, 7, 3).astype(np.float32), horizon + rng.normal(0, 4, 3).astype(np.float32)


def _ground(rng, camera: Camera, light: Light, street: Street, dx, dy, dz):
    down = np.minimum(dy, -1e-4)
    reach = camera.position[1] / -down  # ray length to y = 0 in units of depth
    s0 = camera.position[2] + dz * reach
    hit = (dy < -1e-3) & (s0 > 0)
    t0 = camera.position[0] + dx * reach - street.bend * s0 * s0
    upper = (camera.position[1] - KERB) / -down
    s1 = camera.position[2] + dz * upper
    t1 = camera.position[0] + dx * upper - street.bend * s1 * s1
    high, kerb = _off_road(street, s1, t1), _off_road(street, s0, t0)
    paved = high
    face = kerb & ~high
    s, t = np.where(paved, s1, s0), np.where(paved, t1, t0)
    foot = reach / camera.focal  # metres a canvas pixel covers across the view
    along = foot * reach / camera.position[1]  # and along it

    tone = _grain(rng, s, t, along)
    road = np.array([104, 104, 107], np.float32) + rng.normal(0, 8) + rng.normal(0, 2, 3).astype(np.float32)
    slab = np.array([122, 119, 114], np.float32) + rng.normal(0, 10) + rng.normal(0, 3, 3).astype(np.float32)
    gain = 1 + 0.075 * tone
    tarmac = ~paved & ~face
    _wheel_tracks(rng, gain, street, s, t, tarmac)
    _repairs(rng, gain, street, s, t, tarmac, foot)
    _slabs(rng, gain, s, t, paved, along, foot)
    gain[face] *= 0.88
    gain[paved & ~_off_road(street, s1, t1, 0.14)] *= 1.1  # kerb stones
    # overlays: (flat indices, colour, share)
    overlays = _markings(rng, street, s, t, tarmac)
    classes = np.where(tarmac, ROAD, PAVEMENT).astype(np.uint8)
    grass = paved & _verge(street, s, t)
    if grass.any():
        overlays.append(_grass(rng, gain, grass, s, t, tone))
        classes[grass] = TREE
    visible = _sunlit(light, street, s, t)
    up = (0.0, 1.0, 0.0)
    lit, dark = light.factor(up), light.factor(up, 0.0)
    clear = np.exp(-light.haze_density * reach)
    picture = np.empty((*s.shape, 3), np.uint8)
    for c in range(3):
        channel = np.where(tarmac, road[c], slab[c])
        for index, rgb, share in overlays:
            flat = channel.reshape(-1)
            flat[index] += (rgb[c] - flat[index]) * share
        channel *= gain
        channel *= np.float32(dark[c]) + np.float32(lit[c] - dark[c]) * visible
        channel -= np.float32(light.haze[c])
        channel *= clear
        channel += np.float32(light.haze[c])
        picture[..., c] = np.clip(channel, 0, 255)
    return picture, classes, hit


def _off_road(street: Street, s, t, inset: float = 0.0):
    """True where the surface is raised; side roads cut through it."""
    off = (t < street.left - inset) | (t > street.right + inset) | (s > street.end + inset)
    for side, a, b in street.side_roads:
        # the kerb turns into the side road with a radius of about 3 m
        past = np.maximum(0.0, (t - street.right) if side > 0 else (street.left - t))
        flare = 3.0 * np.exp(-past / 1.3)
        off &= ~((s > a - flare + inset) & (s < b + flare - inset) & ((t > 0) == (side > 0)) & (s <= street.end))
    return off


def _verge(street: Street, s, t):
    left, right = street.verges
    grass = np.zeros(s.shape, bool)
    if left:
        grass |= (t < street.left - 0.3) & (t > street.left - 0.3 - left)
    if right:
        grass |= (t > street.right + 0.3) & (t < street.right + 0.3 + right)
    for side, a, b in street.side_roads:
        grass &= ~((s > a - 4) & (s < b + 4) & ((t > 0) == (side > 0)))
    return grass & (s < street.end)


def _grain(rng, s, t, along):
    """Three octaves of surface noise, each faded out where a pixel covers more than its wavelength."""
    total = np.zeros(s.shape, np.float32)
    for metres, gain in ((0.012, 0.75), (0.05, 0.7), (0.35, 0.7)):
        ou, ov = rng.uniform(0, 512, 2)
        fade = 1.0 / (1.0 + (along / (metres * 6)) ** 2)
        total += gain * fade * sample_noise(t / metres + ou, s / metres + ov, 0.7)
    return total


def _wheel_tracks(rng, gain, street: Street, s, t, tarmac) -> None:
    """Tyres polish two strips a lane; grime gathers at the kerb."""
    lane = (street.right - street.left) / 2
    x = t[tarmac] - np.float32(street.left)
    gutter = np.minimum(np.abs(x), np.abs(x - np.float32(2 * lane)))
    depth = rng.uniform(0.0, 0.06)
    gain[tarmac] *= 1 - depth * np.cos(x * np.float32(4 * np.pi / lane)) - 0.2 * np.exp(gutter * -4)


def _repairs(rng, gain, street: Street, s, t, tarmac, foot) -> None:
    """Patches with a tarred seam, manhole covers, a crack or two along the lane."""
    for ps, pt, ds, dt, change in street.patches:
        a, b = np.abs(s - ps) - ds, np.abs(t - pt) - dt
        inside = (a < 0) & (b < 0) & tarmac
        gain[inside] *= change
        gain[inside & ((a > -0.06) | (b > -0.04))] *= 0.84
    for ms, mt in street.manholes:
        near = (np.abs(s - ms) < 0.5) & tarmac
        r = np.hypot(s[near] - ms, t[near] - mt)
        gain[near] *= np.where(r < 0.34, 0.68, np.where(r < 0.42, 0.86, 1.0))
    for _ in range(int(rng.integers(0, 3))):
        at, sway, phase = (
            rng.uniform(street.left + 0.4, street.right - 0.4),
            rng.uniform(0.05, 0.3),
            rng.uniform(0, 500),
        )
        path = at + sway * noise_tile(1.7)[17, (s * 9 + phase).astype(np.int32) & 511]
        gain[(np.abs(t - path) < 0.012 + 0.35 * foot) & tarmac & (s < 30)] *= 0.8


def _markings(rng, street: Street, s, t, road) -> list:
    """Centre line, edge lines, zebra, stop line: worn paint, as overlays."""
    paint = np.zeros(s.shape, bool)
    middle = (street.left + street.right) / 2
    before = road & (s < street.end - 3)
    off = np.abs(t - middle)
    if street.junction is not None:
        before &= (s < street.junction - 1) | (s > street.junction + 8)
        paint |= (np.abs(s - street.junction) < 0.2) & (t < middle)
    if street.crossing is not None:
        before &= np.abs(s - street.crossing) > 3
        paint |= (np.abs(s - street.crossing) < 1.4) & (((t - street.left) % 1.2) < 0.6)
    if street.marking == "dashed":
        paint |= (off < 0.07) & (s % 6.0 < 2.6) & before
    elif street.marking == "warning":
        paint |= (off < 0.07) & (s % 6.0 < 4.0) & before
    elif street.marking == "double":
        paint |= (np.abs(off - 0.13) < 0.06) & before
    elif street.marking == "lanes":
        paint |= (np.abs(off - (street.right - street.left) / 6) < 0.06) & (s % 5.0 < 2.2) & before
    yellow = np.zeros(s.shape, bool)
    if street.edge_lines != "none":
        edge = (street.right - street.left) / 2 - off
        lines = np.abs(edge - 0.3) < 0.05
        if street.edge_lines == "yellow":
            lines |= np.abs(edge - 0.5) < 0.05
        for side, a, b in street.side_roads:
            lines &= ~((s > a - 2) & (s < b + 2) & ((t > 0) == (side > 0)))
        if street.edge_lines == "yellow":
            yellow = lines & road
        else:
            paint |= lines
    ou, ov = rng.uniform(0, 512, 2)
    overlays = []
    for mask, rgb in ((paint & road, (206, 206, 202)), (yellow, (190, 162, 72))):
        index = np.flatnonzero(mask)
        wear = 0.8 + 0.2 * sample_noise(t.ravel()[index] * 22 + ou, s.ravel()[index] * 22 + ov, 0.9)
        overlays.append((index, rgb, np.clip(wear, 0.2, 0.95)))
    return overlays


def _slabs(rng, gain, s, t, paved, along, foot) -> None:
    """Joints between paving stones, faded with distance; sometimes plain asphalt."""
    if rng.random() < 0.35:
        gain[paved] *= 0.84
        return
    size = float(rng.choice([0.45, 0.6, 0.9]))
    s, t, along, foot = s[paved], t[paved], along[paved], foot[paved]
    joint = ((s % size) < 0.02 + along * 0.4) & (along < 0.3 * size)
    row = np.floor(s / size)
    joint |= (((t + 0.5 * size * (row % 2)) % size) < 0.02 + foot * 0.4) & (foot < 0.3 * size)
    stone = sample_noise(np.floor(t / size) * 37, row * 61, 0.2)
    tone = 1 + 0.05 * stone / (1 + along / size)
    gain[paved] *= np.where(joint, tone * 0.86, tone)


def _grass(rng, gain, grass, s, t, tone):
    green = np.array([88, 98, 54], np.float32) + rng.normal(0, 9) + rng.normal(0, 5, 3)
    ou, ov = rng.uniform(0, 512, 2)
    patchy = sample_noise(t[grass] * 9 + ou, s[grass] * 9 + ov, 1.2)
    gain[grass] = 1 + 0.15 * tone[grass] + 0.1 * patchy
    index = np.flatnonzero(grass)
    return index, green, np.ones(index.size, np.float32)


def _sunlit(light: Light, street: Street, s, t) -> np.ndarray:
    """Share of the sun each ground point receives: building rows and tree crowns cast shadows."""
    lx, ly, lz = light.direction
    visible = np.ones(s.shape, np.float32)
    if max(light.sun) < 0.05:
        return visible
    if abs(lx) > 0.05:
        front, heights = (street.right_front, street.heights[1]) if lx > 0 else (street.left_front, street.heights[0])
        run = np.maximum((front - t) / lx, 0.0)
        at = np.clip(s + lz * run, 0, len(heights) - 1).astype(np.int32)
        visible = np.clip((run * ly - heights[at]) / 0.25 + 0.5, 0, 1).astype(np.float32)
    leaf = noise_tile(1.3)
    for ts, tt, radius in street.dapples:
        ds, dt = s - ts, t - tt
        near = (np.abs(ds) < radius * 2.2) & (np.abs(dt) < radius * 1.4)
        if not near.any():
            continue
        r = np.sqrt((ds[near] / 1.6) ** 2 + dt[near] ** 2) / radius
        speck = leaf[(s[near] * 60).astype(np.int32) & 511, (t[near] * 60).astype(np.int32) & 511]
        visible[near] *= np.clip(0.35 + 2.4 * (r - 0.85) + 0.35 * speck, 0.08, 1)
    return visible
