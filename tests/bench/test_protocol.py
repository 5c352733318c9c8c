"""Which frames a benchmark sees, and one clear sentence for each kind of bad input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chappe.bench.protocol import Frame, default_split, frames
from chappe.data import street_protocol
from chappe.errors import InputError, UsageError


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def noise(seed: int, shape=(90, 120)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def labels(seed: int, shape=(90, 120)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 12, shape, np.uint8)


@pytest.fixture
def camvid(tmp_path):
    for k in range(5):
        save(tmp_path / "val" / f"f{k}.png", noise(k))
        save(tmp_path / "valannot" / f"f{k}.png", labels(k))
    return tmp_path


def test_camvid_goes_through_the_street_protocol(camvid):
    got = frames(camvid, "val")
    assert got.protocol == "street" and got.names() == [f"f{k}" for k in range(5)]
    image, truth = street_protocol(noise(2), labels(2))
    frame = got[2]
    assert (frame.image == image).all() and (frame.labels == truth).all() and frame.taxonomy == "street11"
    plain = frames(camvid, "val", "none")
    assert plain.protocol == "none" and (plain[1].image == noise(1)).all()


def test_every_then_limit(camvid):
    assert frames(camvid, "val", every=2, limit=2).names() == ["f0", "f2"]
    for wrong in ({"limit": 0}, {"every": 0}, {"protocol": "fast"}):
        with pytest.raises(UsageError):
            frames(camvid, "val", **wrong)


def test_a_folder_without_labels_is_allowed(tmp_path):
    save(tmp_path / "a.png", noise(0))
    got = frames(tmp_path, default_split(tmp_path))
    assert got.protocol == "none" and got[0].labels is None and got[0].labels_in("street11") is None


def test_labels_of_a_folder_need_a_label_set(tmp_path, camvid):
    save(tmp_path / "own" / "images" / "a.png", noise(0))
    save(tmp_path / "own" / "labels" / "a.png", labels(0))
    with pytest.raises(UsageError, match="--taxonomy"):
        frames(tmp_path / "own", "all")
    frame = frames(tmp_path / "own", "all", taxonomy="cityscapes19")[0]
    assert frame.labels_in("street11")[labels(0) == 7].tolist() == [6] * int((labels(0) == 7).sum())  # traffic sign
    assert default_split(tmp_path / "own") == "all" and default_split(camvid) == "val"


def test_the_fingerprint_is_of_pixels_and_labels():
    image, truth = noise(0), labels(0)
    same = Frame("a", image.copy(), truth.copy(), "street11").fingerprint()
    assert same == Frame("b", image, truth, "street11").fingerprint()
    changed = image.copy()
    changed[3, 4, 1] ^= 1
    others = [Frame("a", changed, truth, "street11"), Frame("a", image, truth ^ 1, "street11"), Frame("a", image)]
    assert len({same, *(frame.fingerprint() for frame in others)}) == 4


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "val" / "f3.png").write_text("not a picture"), r"f3\.png: is not a picture"),
        (lambda root: [p.unlink() for p in (root / "val").iterdir()], "holds no pictures"),
        (lambda root: save(root / "valannot" / "f3.png", labels(3, (45, 60))), r"60x45 pixels.*120x90"),
        (lambda root: save(root / "valannot" / "f3.png", labels(3) + 40), "class index 51"),
        (lambda root: [save(root / s / "f3.png", a) for s, a in (("val", noise(3, (1, 1))),
                                                                 ("valannot", labels(3, (1, 1))))], r"f3.*1x1 pixels"),
    ],
    ids=["text-as-png", "empty", "label-size", "class-id", "one-pixel"],
)  # fmt: skip
def test_bad_input_is_one_sentence(camvid, spoil, sentence):
    spoil(camvid)
    with pytest.raises(InputError, match=sentence) as caught:
        list(frames(camvid, "val"))
    assert "\n" not in str(caught.value)
