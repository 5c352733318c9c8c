"""Files of every release decode for ever: symbols to the same bits, pictures within 2/255."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from chappe import decode
from chappe.bitstream import labelmap, labelmap_near, tokens
from chappe.image import read_image

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())


def _digest(array: np.ndarray) -> str:
    values = np.ascontiguousarray(array, "<i8")
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def test_every_golden_file_is_indexed():
    assert {path.stem for path in GOLDEN.glob("*.bin")} == set(INDEX)
    assert {expected["kind"] for expected in INDEX.values()} == {"tokens", "map", "near", "file"}


@pytest.mark.parametrize("name", sorted(INDEX))
def test_golden_file_decodes(name):
    data, expected = (GOLDEN / f"{name}.bin").read_bytes(), INDEX[name]
    if expected["kind"] == "tokens":
        mask, indices = tokens.decode_grid(data, tuple(expected["shape"]), expected["levels"])
        assert (_digest(mask), _digest(indices)) == (expected["mask"], expected["indices"])
    elif expected["kind"] in ("map", "near"):
        read = labelmap.decode_map if expected["kind"] == "map" else labelmap_near.decode_near
        labels = read(data, tuple(expected["shape"]), expected["classes"], prior=expected["prior"])
        assert _digest(labels) == expected["labels"]
    else:
        decoded = decode(data)
        reference = read_image(GOLDEN / expected["picture"]).astype(int)
        if expected["exact_labels"]:
            assert _digest(decoded.labels) == expected["labels"]
        gap = np.abs(decoded.image.astype(int) - reference)
        # A map that came through a float network may flip a pixel on another machine, and the picture with it.
        assert (gap.max() if expected["exact_labels"] else np.percentile(gap, 99.9)) <= 2
