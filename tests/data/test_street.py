"""The street protocol on CamVid's frame size and on others."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chappe.data import street_protocol
from chappe.data.street import street_rows
from chappe.errors import InputError


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (360, 480, (60, 300, 0, 480)),
        (720, 960, (120, 600, 0, 960)),
        (1024, 2048, (0, 1024, 0, 2048)),
        (100, 300, (0, 100, 50, 250)),
        (301, 401, (50, 250, 0, 401)),
    ],
)
def test_box(height, width, box):
    assert street_rows(height, width) == box


def test_camvid_frame_equals_a_direct_crop_and_resize():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (360, 480, 3), dtype=np.uint8)
    labels = rng.integers(0, 12, (360, 480), dtype=np.uint8)
    picture, classes = street_protocol(image, labels)
    assert picture.shape == (256, 512, 3) and classes.shape == (256, 512)
    box = (0, 60, 480, 300)
    assert np.array_equal(picture, np.asarray(Image.fromarray(image).crop(box).resize((512, 256), Image.BICUBIC)))
    # nearest, from its definition: the centre of each output pixel
    rows = 60 + ((np.arange(256) + 0.5) * 240 / 256).astype(int)
    cols = ((np.arange(512) + 0.5) * 480 / 512).astype(int)
    assert np.array_equal(classes, labels[rows[:, None], cols[None]])


def test_frame_of_the_target_size_is_unchanged_and_copied():
    image = np.random.default_rng(4).integers(0, 256, (256, 512, 3), dtype=np.uint8)
    picture, classes = street_protocol(image)
    assert np.array_equal(picture, image) and classes is None
    picture[0, 0] = 0
    assert picture is not image and not np.shares_memory(picture, image)


def test_shrinking_is_antialiased():
    image = np.zeros((1024, 2048, 3), np.uint8)
    image[:, ::4] = 255  # stripes far above what 512 columns can hold
    picture, _ = street_protocol(image)
    assert np.abs(picture[:, 8:-8].astype(int) - 64).max() < 12


def test_wrong_shapes_are_refused():
    image = np.zeros((360, 480, 3), np.uint8)
    with pytest.raises(InputError, match="labels of the picture's size"):
        street_protocol(image, np.zeros((359, 480), np.uint8))
    with pytest.raises(InputError, match="uint8 picture"):
        street_protocol(np.zeros((360, 480), np.uint8))
    with pytest.raises(InputError, match="uint8 picture"):
        street_protocol(np.zeros((360, 480, 3), np.float32))
