"""Add golden files: streams that every later release must decode to the same symbols (and the same picture, nearly).

    python tools/make_golden.py NAME        # writes tests/golden/NAME.* for what is missing; never rewrites a file

Everything is made of procedural scenes. `index.json` maps each file to what it must decode to.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from chappe import load
from chappe.bitstream import labelmap, labelmap_near, tokens
from chappe.codec import OperatingPoint, model_entry
from chappe.data.scenes import render_scene
from chappe.image import image_bytes

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


# (seed, size, knobs) of the files of each system.
SETTINGS = {
    "sqgan": (
        (31, (96, 160), {"map": "near", "bpp": 0.08}),
        (32, (101, 173), {"map": "tokens", "m_s": 0.55, "m_x": 0.35}),
        (33, (256, 512), {"map": "lossless", "m_x": 0.2}),
    ),
    "sqgan-street": (
        (31, (96, 160), {"map": "near", "bpp": 0.08}),
        (32, (101, 173), {"map": "tokens", "m_s": 0.55, "m_x": 0.35}),
        (33, (256, 512), {"map": "lossless", "m_x": 0.2}),
        (34, (128, 256), {"map": "near", "bpp": 0.06, "layers": 3}),
        (35, (128, 256), {"map": "near", "bpp": 0.08, "slices": 4}),
    ),
    "spic-street": (
        (51, (96, 160), {"map": "near", "bpp": 0.08}),
        (52, (101, 173), {"map": "lossless", "quality": 20, "classes": "Car+SignSymbol", "residual_quality": 20}),
    ),
    "gesco-street": ((53, (96, 160), {"map": "near", "bpp": 0.06}),),
    "rlasc-street": (
        (54, (96, 160), {"map": "near", "bpp": 0.1}),
        (55, (101, 173), {"map": "lossless", "lambda": 3.0, "coder": "huffman"}),
    ),
    "spic": (
        (41, (96, 160), {"map": "near", "bpp": 0.08}),
        (42, (101, 173), {"map": "lossless", "quality": 20}),
        (43, (256, 512), {"map": "near", "bpp": 0.03}),
    ),
}


def digest(array: np.ndarray) -> str:
    """SHA-256 of shape and little-endian int64 values."""
    values = np.ascontiguousarray(array, "<i8")
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def grids() -> dict[str, tuple[bytes, dict]]:
    rng = np.random.default_rng(1794)
    out = {}
    for h, w, m, levels in (
        (16, 32, 0.35, 1024),
        (16, 32, 1.0, 1024),
        (1, 1, 1.0, 2),
        (7, 5, 0.0, 300),
        (40, 30, 0.1, 4096),
    ):
        mask = rng.random((h, w)) < m
        indices = (rng.random(mask.sum()) ** 3 * levels).astype(np.int64)
        data = tokens.encode_grid(mask, indices, levels)
        expected = {
            "kind": "tokens",
            "shape": [h, w],
            "levels": levels,
            "mask": digest(mask),
            "indices": digest(indices),
        }
        out[f"tokens-{h}x{w}-{levels}-{m}"] = (data, expected)
    return out


def maps() -> dict[str, tuple[bytes, dict]]:
    out = {}
    for seed, size in ((21, (96, 160)), (22, (256, 512))):
        labels = render_scene(seed, size=size).labels
        for prior in (None, "street11", "street11-cells"):
            shape = {"shape": list(size), "classes": 12, "prior": prior}
            data = labelmap.encode_map(labels, 12, prior=prior)
            out[f"map-{seed}-{prior or 'cold'}"] = (data, {"kind": "map", "labels": digest(labels), **shape})
            for level in (1, 3):
                data = labelmap_near.encode_near(labels, 12, level=level, prior=prior)
                got = labelmap_near.decode_near(data, size, 12, prior=prior)
                out[f"near-{seed}-{level}-{prior or 'cold'}"] = (data, {"kind": "near", "labels": digest(got), **shape})
    return out


def files(model: str) -> dict[str, tuple[bytes, dict]]:
    codec = load(model)
    out = {}
    for seed, size, settings in SETTINGS.get(model) or SETTINGS[model.split("-")[0]]:
        blob = codec.encode(render_scene(seed, size=size).image, point=OperatingPoint("golden", settings))
        decoded = codec.decode(blob)
        name = f"{model}-v{model_entry(model).version}-{seed}"
        expected = {"kind": "file", "model": model, "labels": digest(decoded.labels), "picture": f"{name}.png"}
        expected["exact_labels"] = settings["map"] != "tokens"
        out[name] = (blob, expected)
        (GOLDEN / f"{name}.png").write_bytes(image_bytes(decoded.image, ".png"))
    return out


def main(what: str) -> None:
    makers = {"grids": grids, "maps": maps}
    index_path = GOLDEN / "index.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else {}
    made = makers[what]() if what in makers else files(what)
    for name, (data, expected) in made.items():
        if name not in index:
            (GOLDEN / f"{name}.bin").write_bytes(data)
            index[name] = expected
    index_path.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    print(f"{len(index)} golden files")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
