"""What the camera does to a rendered street: weather in the air, lens, sensor, tone curve, compression softness."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from chappe.data.scene_canvas import ROAD, SKY, Light, noise_tile

__all__ = ["develop", "shrink_labels"]


def shrink_labels(labels: np.ndarray, factor: int) -> np.ndarray:
    """Majority of each factor×factor block (factor 1 or 2); ties keep the upper left pixel."""
    if factor == 1:
        return np.ascontiguousarray(labels)
    a, b, c, d = labels[::2, ::2], labels[::2, 1::2], labels[1::2, ::2], labels[1::2, 1::2]
    out = a.copy()
    minority = (a != b) & (a != c) & (a != d)
    out = np.where(minority & ((b == c) | (b == d)), b, out)
    return np.where(minority & (c == d), c, out)


# relative strength by street11 class
SHEEN = (0.0, 0.05, 0.06, 0.04, 0.05, 0.06, 0.04, 0.06, 0.08, 0.08, 0.08, 0.06)


def _grey(image: np.ndarray, power: float, oy: int, ox: int, step: float, across: float | None = None) -> np.ndarray:
    """Noise of the picture's size, `step` tile pixels a row and `across` a column."""
    h, w = image.shape[:2]
    across = step if across is None else across
    rows = (np.arange(h) * step + oy).astype(np.int64) & 511
    cols = (np.arange(w) * across + ox).astype(np.int64) & 511
    return noise_tile(power)[rows[:, None], cols[None]]


def develop(
    rng: np.random.Generator, picture: Image.Image, labels: np.ndarray, light: Light, horizon: float
) -> np.ndarray:
    """(H, W, 3) uint8 photograph from the reduced rendering; `horizon` is its row in the picture."""
    image = np.asarray(picture, np.float32)
    h, w = labels.shape
    unit = h / 256
    oy, ox = (int(v) for v in rng.integers(0, 512, 2))
    solid = (labels != SKY)[..., None]
    # what flat painting lacks: blotchy light, and on cars and glass the blurred mirror of the street
    amplitude = np.take(np.array(SHEEN, np.float32), labels)
    image = image * (1 + amplitude * _grey(image, 1.6, oy, ox, 5 / unit, 2.2 / unit))[..., None]
    image = image * np.where(solid, 1 + 0.02 * _grey(image, 1.0, ox, oy, 1 / unit)[..., None], 1.0)
    if light.kind == "rain":
        image = _wet(rng, image, labels, horizon)
    exposure = {
        "sunny": rng.uniform(1.0, 1.5),
        "bright": rng.uniform(1.0, 1.6),
        "overcast": rng.uniform(1.0, 1.5),
        "rain": rng.uniform(0.95, 1.3),
        "dusk": rng.uniform(0.85, 1.3),
        "fog": rng.uniform(0.9, 1.15),
    }[light.kind]
    if rng.random() < 0.1 and light.kind in ("sunny", "bright"):
        exposure *= 1.3  # overexposed
    # the sky is far brighter than the street: gain moves it less, and it whitens rather than turning cyan
    gain = np.where(solid, np.float32(exposure), np.float32(min(exposure, 1.0 + 0.25 * max(0.0, exposure - 1.0))))
    image = image * gain
    # bloom: the brightest parts spill over their edges
    glow = Image.fromarray(np.clip((image - 205) * 2.2, 0, 255).astype(np.uint8))
    small = glow.resize((max(1, w // 4), max(1, h // 4)), Image.Resampling.BOX)
    small = small.filter(ImageFilter.BoxBlur(2.2 * unit)).filter(ImageFilter.BoxBlur(2.2 * unit))
    image = image + np.asarray(small.resize((w, h), Image.Resampling.BILINEAR), np.float32) * rng.uniform(0.04, 0.16)
    # tone curve: deep shadows, highlights that clip, as small video cameras do
    x = np.clip(image / 255, 0, 1.6)
    gamma = rng.uniform(0.88, 1.12)
    strength = rng.uniform(0.25, 0.6)
    x = np.minimum(x, 1.0) ** gamma
    x = x * (1 - strength) + (x * x * (3 - 2 * x)) * strength
    balance = 1 + rng.normal(0, 0.022, 3).astype(np.float32)
    x = x * balance
    luma = x @ np.array([0.299, 0.587, 0.114], np.float32)
    x = luma[..., None] + (x - luma[..., None]) * rng.uniform(0.6, 1.05)
    ys = (np.arange(h, dtype=np.float32)[:, None] - h / 2) / (h / 2)
    xs = (np.arange(w, dtype=np.float32)[None] - w / 2) / (w / 2)
    vignette = 1 - rng.uniform(0.0, 0.2) * (0.35 * ys**2 + 0.65 * xs**2)
    x = x * vignette[..., None] + rng.uniform(0, 0.025)
    out = Image.fromarray(np.clip(x * 255, 0, 255).astype(np.uint8))
    if light.kind == "rain":
        out = _drops(rng, out, unit)
    softness = rng.uniform(0.0, 0.55) * unit
    if softness > 0.15:
        out = out.filter(ImageFilter.BoxBlur(softness)).filter(ImageFilter.BoxBlur(softness * 0.6))
    return _sensor(rng, out, unit)


def _sensor(rng: np.random.Generator, picture: Image.Image, unit: float) -> np.ndarray:
    """Chroma at half resolution, a little sharpening, noise that grows in the shadows."""
    w, h = picture.size
    y, cb, cr = picture.convert("YCbCr").split()
    half = (max(1, w // 2), max(1, h // 2))
    cb, cr = (p.resize(half, Image.Resampling.BOX).resize((w, h), Image.Resampling.BILINEAR) for p in (cb, cr))
    if rng.random() < 0.6:
        y = y.filter(ImageFilter.UnsharpMask(1.2 * unit, int(rng.integers(30, 110)), 2))
    out = np.asarray(Image.merge("YCbCr", (y, cb, cr)).convert("RGB"), np.float32)
    level = rng.uniform(0.4, 2.0)
    noise = rng.standard_normal((h, w), np.float32) * level
    noise = noise * (1.25 - out[..., 1] / 300)
    out = out + noise[..., None]
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _wet(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, horizon: float) -> np.ndarray:
    """A wet road mirrors what stands above it, smeared downwards."""
    h, w = labels.shape
    source = np.clip(2 * horizon - np.arange(h), 0, h - 1).astype(np.int64)
    mirror = Image.fromarray(np.clip(image[source], 0, 255).astype(np.uint8))
    mirror = mirror.resize((w, max(1, h // 10)), Image.Resampling.BOX).resize((w, h), Image.Resampling.BILINEAR)
    road = Image.fromarray(((labels == ROAD) * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(1))
    rows, cols = (np.arange(h) * 3 + 99) & 511, (np.arange(w) * 0.6).astype(np.int64) & 511
    puddle = np.clip(0.6 + 0.4 * noise_tile(1.6)[rows[:, None], cols[None]], 0.2, 1)
    k = np.asarray(road, np.float32) / 255 * rng.uniform(0.2, 0.42) * puddle
    return (
        image * (1 - 0.25 * (k > 0.05)[..., None]) * (1 - k[..., None]) + np.asarray(mirror, np.float32) * k[..., None]
    )


def _drops(rng: np.random.Generator, picture: Image.Image, unit: float) -> Image.Image:
    """Blurred discs of water on the lens and faint streaks in the air."""
    w, h = picture.size
    soft = picture.filter(ImageFilter.BoxBlur(5 * unit))
    mask = Image.new("L", (w, h))
    pen = ImageDraw.Draw(mask)
    for x, y, r in zip(rng.uniform(0, w, 24), rng.uniform(0, h, 24), rng.uniform(1, 7, 24) * unit, strict=True):
        pen.ellipse((x - r, y - r, x + r, y + r * 1.2), fill=200)
    out = Image.composite(soft, picture, mask.filter(ImageFilter.BoxBlur(1.2 * unit)))
    streaks = Image.new("L", (w, h))
    pen = ImageDraw.Draw(streaks)
    for x, y, n in zip(rng.uniform(0, w, 160), rng.uniform(0, h, 160), rng.uniform(4, 14, 160) * unit, strict=True):
        pen.line((x, y, x - n * 0.12, y + n), fill=38)
    out.paste((206, 210, 214), (0, 0), streaks)
    return out
