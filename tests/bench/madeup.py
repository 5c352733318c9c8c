"""Made-up rows of a sweep, with the fields that `chappe evaluate` writes, and pictures to go with them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from chappe.bench.pictures import picture_stem
from chappe.data.scenes import render_scene
from chappe.image import image_bytes, label_bytes

RATES = (0.02, 0.04, 0.08, 0.16, 0.32)
# codec: mIoU at 0.02 bpp and what a doubling of the rate adds; LPIPS likewise; lowest rate that every picture reaches
CODECS = {
    "sqgan-street": (38.0, 4.5, 0.34, -0.045, 0.0),
    "hevc": (22.0, 8.5, 0.52, -0.075, 0.04),
    "hevc-half": (27.0, 6.4, 0.47, -0.055, 0.0),
    "av1-half": (28.0, 6.6, 0.46, -0.058, 0.0),
    "jpeg": (10.0, 9.0, 0.62, -0.07, 0.16),
}


def matrix(rng: np.random.Generator, percent: float) -> list[list[int]]:
    """12 x 12 counts of 131072 pixels whose IoU is about `percent`, void (11) empty."""
    share = rng.dirichlet(np.full(11, 2.0)) * 131072
    hit = min(0.98, percent / 100 + 0.18)
    counts = np.zeros((12, 12))
    counts[:11, :11] = np.outer(share, share / share.sum()) * (1 - hit)
    counts[np.arange(11), np.arange(11)] += share * hit
    return counts.round().astype(int).tolist()


def rows(splits=("val", "unseen"), frames: int = 6, codecs=tuple(CODECS), seed: int = 3) -> list[dict]:
    """JSON lines of a sweep over `frames` pictures of each split; jpeg does not reach the low rates on some of them."""
    rng = np.random.default_rng(seed)
    out = []
    for number, split in enumerate(splits):
        for k in range(frames):
            name = f"{split}-{k}"
            head = {"data": "scenes", "split": split, "name": name, "width": 512, "height": 256}
            objects = {"original": 6, "decoded": 6, "found": 6, "invented": 0}
            out.append(
                head | {"key": _key(name, "original"), "codec": "original", "codec_version": "", "point": "original",
                        "labels": "none", "reached": True, "bytes": 393216, "bpp": 24.0, "sections": {}, "psnr": None,
                        "ssim": 1.0, "ms_ssim": 1.0, "lpips": 0.0, "map": None,
                        "eye:judge": matrix(rng, 68 - 6 * number), "agree:judge": matrix(rng, 79),
                        "objects": objects, "seconds": _seconds(0, 0)}
            )  # fmt: skip
            for codec in codecs:
                kinds = ("predicted", "true") if codec == "sqgan-street" else ("none",)
                for labels in kinds:
                    for step, rate in enumerate(RATES):
                        row = head | {"key": _key(name, codec, labels, rate), "codec": codec, "codec_version": "1",
                                      "point": f"{rate:g}", "labels": labels}  # fmt: skip
                        out.append(row | _numbers(rng, codec, labels, rate, step, k, 6 * number))
    return out


def write_pictures(folder: Path, table: list[dict], name: str, size: tuple[int, int] = (256, 512)) -> None:
    """What a sweep keeps of one frame: the picture, its labels, and a blurred one for each row with map and tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = render_scene(7 + len(name) + ord(name[-1]), size=size)
    stem = picture_stem(name)
    (folder / f"{stem}.png").write_bytes(image_bytes(scene.image))
    (folder / f"{stem}.labels.png").write_bytes(label_bytes(scene.labels, "street11"))
    rng = np.random.default_rng(1)
    scores = rng.random((size[0] // 16, size[1] // 16)) + np.linspace(0, 1, size[0] // 16)[:, None]
    for row in table:
        if row["name"] != name or row["codec"] == "original" or not row["reached"]:
            continue
        stem = picture_stem(name, row["codec"], row["labels"], row["point"])
        factor = max(2, round(6 / (RATES.index(float(row["point"])) + 1)))
        small = Image.fromarray(scene.image).resize((size[1] // factor, size[0] // factor))
        (folder / f"{stem}.png").write_bytes(image_bytes(np.asarray(small.resize(size[::-1]))))
        if row["codec"] == "sqgan-street":
            coarse = np.repeat(np.repeat(scene.labels[::8, ::8], 8, 0), 8, 1)
            (folder / f"{stem}.labels.png").write_bytes(label_bytes(coarse, "street11"))
            kept = scores > np.quantile(scores, 1 - min(1, float(row["point"]) * 6))
            out = io.BytesIO()
            Image.fromarray(kept.astype(np.uint8) * 255).convert("1", dither=Image.Dither.NONE).save(out, "PNG")
            (folder / f"{stem}.tokens.png").write_bytes(out.getvalue())


def _numbers(rng, codec: str, labels: str, rate: float, step: int, frame: int, drop: float) -> dict:
    start, gain, lpips, fall, floor = CODECS[codec]
    if rate < floor and frame % 2:
        return {"reached": False, "why": f"the lowest rate on this picture is {floor} bpp"}
    level = start + gain * step - drop + 2 * rng.standard_normal() + (5 if labels == "true" else 0)
    size = round(rate * 16384 * (1 + 0.02 * rng.standard_normal()))
    sections = {"header": 9, "payload": size - 9}
    if codec == "sqgan-street":
        share = round(size * (0.6 - 0.1 * step))
        sections = {"header": 9, "map_near": share, "image_tokens": size - 9 - share}
    return {
        "reached": True,
        "bytes": size,
        "bpp": size * 8 / 131072,
        "bpp_nominal": None,
        "sha256": "0" * 64,
        "psnr": 19 + 1.6 * step + rng.standard_normal() * 0.3 + (2 if codec != "sqgan-street" else 0),
        "ssim": 0.5 + 0.06 * step,
        "ms_ssim": 0.7 + 0.05 * step,
        "lpips": lpips + fall * step + 0.01 * rng.standard_normal(),
        "seconds": _seconds(0.04 if codec == "sqgan-street" else 0, 0.12),
        "sections": sections,
        "map": matrix(rng, level + 8) if codec == "sqgan-street" else None,
        "eye:judge": matrix(rng, level),
        "agree:judge": matrix(rng, level + 6),
        "objects": {"original": 6, "decoded": 5, "found": min(5, 1 + step), "invented": max(0, 3 - step)},
    }


def _seconds(segment: float, encode: float) -> dict:
    return {"segment": segment, "encode": encode, "decode": 0.03, "judge": 0.02}


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
