"""Losses against their formulas, the paste augmentation's promises, packing, and where scenes come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe.errors import InputError
from chappe.training.frames import Augment, Frames, to_tensors
from chappe.training.losses import (
    adaptive_weight,
    meaning_loss,
    perceptual_loss,
    relevant_picture,
    spectrum_loss,
    weighted_cross_entropy,
    weighted_pixel_loss,
)
from chappe.training.pack import read_pack, write_pack
from chappe.training.paste import components, paste_rare


def test_weighted_pixel_loss_is_equation_5():
    torch.manual_seed(0)
    x, y, s, w = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5)), torch.rand(3)
    total = sum(
        w[s[n, i, j]] * ((x[n, :, i, j] - y[n, :, i, j]) ** 2).sum()
        for n in range(2)
        for i in range(4)
        for j in range(5)
    )
    assert weighted_pixel_loss(x, y, s, w, "l2") == pytest.approx(float(total / (2 * 3 * 4 * 5)), rel=1e-5)
    assert weighted_pixel_loss(x, y, s, torch.zeros(3), "l1") == 0


def test_meaning_loss_wants_the_picture_read_as_its_labels():
    labels = torch.zeros(1, 32, 48, dtype=torch.long)
    labels[:, 16:] = 1
    labels[:, :, :4] = 2  # void: three classes would be needed to count it
    picture = (2.0 * labels.clamp(max=1) - 1).unsqueeze(1).repeat(1, 3, 1, 1).requires_grad_()

    def read(x):  # bright is class 1
        return torch.stack([-x[:, 0], x[:, 0]], 1) * 4

    def loss(fake):
        torch.manual_seed(0)
        return meaning_loss(fake, labels, read, torch.ones(2), np.random.default_rng(3))

    right, wrong = loss(picture), loss(-picture)
    assert right < 0.5 < wrong
    right.backward()
    assert picture.grad[:, :, 24:, 20:].abs().sum() > 0
    weighted = meaning_loss(-picture, torch.ones_like(labels), read, torch.tensor([0.0, 1.0]), np.random.default_rng(3))
    assert torch.isfinite(weighted)


def test_spectrum_loss_sees_stripes_and_not_where_texture_lies():
    torch.manual_seed(0)
    rng = lambda: np.random.default_rng(0)  # noqa: E731
    texture = 0.1 * torch.randn(1, 1, 64, 96).expand(1, 3, 64, 96)
    striped = texture + 0.2 * torch.cos(torch.arange(96) * torch.pi / 2)
    assert spectrum_loss(texture, texture, rng()) == 0
    moved = spectrum_loss(torch.roll(texture, (16, 32), (2, 3)), texture, rng())
    other = spectrum_loss(0.1 * torch.randn(1, 1, 64, 96).expand(1, 3, 64, 96), texture, rng())
    blurred = spectrum_loss(torch.zeros_like(texture), texture, rng())
    assert moved == pytest.approx(float(other), rel=0.25)  # as far as any other piece of the same texture
    assert blurred > 1.4 * other
    # a stripe of amplitude a has |A| = a / 2 in its bin (luma), against texture of known strength around it
    flat = torch.zeros(1, 3, 31, 31)
    wave = flat + 0.2 * torch.cos(torch.arange(31) * torch.pi / 2)
    one = spectrum_loss(wave, flat, rng())
    hann = np.hanning(16)
    amplitude = np.abs(
        np.fft.rfft2(np.outer(hann, hann) * 0.2 * np.cos((np.arange(16) + rng().integers(0, 16, 2)[1]) * np.pi / 2))
    )
    amplitude = amplitude / hann.sum() ** 2
    assert float(one) == pytest.approx(np.log(amplitude / 0.002 + 1).mean() / 3, rel=1e-3)  # grey: no chroma
    assert spectrum_loss(striped, texture, rng()) > 0


def test_perceptual_loss_looks_at_equal_places_at_two_scales():
    seen = []

    def distance(a, b):
        assert torch.equal(a, b)
        seen.append(tuple(a.shape[2:]))
        return (a - b).flatten(1).mean(1)

    picture = torch.rand(2, 3, 64, 128)
    for seed in range(8):
        assert perceptual_loss(picture, picture, distance, 0.5, np.random.default_rng(seed)) == 0
    assert set(seen) == {(64, 64)}
    bright = torch.zeros(1, 3, 64, 128)
    bright[..., ::4] = 1.0  # at twice the size the stripes are eight pixels apart
    sums = set()

    def remember(a, b):
        sums.add(round(float(a.mean()), 2))
        return a.flatten(1).mean(1)

    for seed in range(8):
        perceptual_loss(bright, bright, remember, 0.5, np.random.default_rng(seed))
    assert all(abs(s - 0.25) < 0.03 for s in sums)


def test_weighted_cross_entropy_matches_the_sum():
    torch.manual_seed(0)
    logits, s, w = torch.randn(1, 3, 2, 2), torch.randint(0, 3, (1, 2, 2)), torch.tensor([0.2, 0.5, 1.0])
    p = logits.softmax(1)
    terms = [(w[s[0, i, j]], p[0, s[0, i, j], i, j].log()) for i in range(2) for j in range(2)]
    want = -sum(a * b for a, b in terms) / sum(a for a, _ in terms)
    assert torch.allclose(weighted_cross_entropy(logits, s, w), want)


def test_relevant_picture_repairs_what_does_not_matter():
    real, fake = torch.ones(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    shown = relevant_picture(fake, real, torch.tensor([[[0, 1]]]), torch.tensor([0.9, 0.0]))
    assert torch.allclose(shown[0, 0, 0], torch.tensor([0.9, 0.0]))


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    w = torch.ones(4, requires_grad=True)
    assert adaptive_weight((3 * w).sum(), (2 * w).sum(), w, 0.5, 10.0).item() == pytest.approx(0.75, rel=1e-3)
    assert adaptive_weight((3 * w).sum(), (2 * w).sum(), w, 0.5, 0.2).item() == pytest.approx(0.2)


def test_components_match_a_flood_fill_oracle():
    from skimage.measure import label

    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((17, 23)) < 0.35
        ours = sorted(tuple(sorted(zip(*c, strict=True))) for c in components(mask))
        marks = label(mask, connectivity=2)
        theirs = sorted(tuple(sorted(zip(*np.nonzero(marks == k), strict=True))) for k in range(1, marks.max() + 1))
        assert ours == theirs


def test_paste_adds_objects_and_never_covers_what_matters():
    rng = np.random.default_rng(3)
    labels = [np.zeros((40, 60), np.uint8) for _ in range(4)]
    for k in range(4):
        labels[k][4 : 4 + 8, 12 * k : 12 * k + 8] = 1  # a sign, elsewhere in each picture
    labels[0][:, 24:34] = 2  # a person who must not be covered
    images = [np.full((40, 60, 3), 10 * k, np.uint8) for k in range(4)]
    before = [y.copy() for y in labels]
    grown = 0
    for _ in range(10):
        some_i, some_l = [i.copy() for i in images], [y.copy() for y in before]
        paste_rare(some_i, some_l, (1,), (2,), rng)
        for k in range(4):
            changed = some_l[k] != before[k]
            grown += changed.sum()
            assert not changed[before[k] > 0].any()
            assert (some_l[k][changed] == 1).all()
            pasted = some_i[k][changed][:, 0]
            assert np.isin(pasted, [10 * j for j in range(4) if j != k]).all()  # pixels come from another picture
    assert grown > 0


def test_augmentation_is_a_function_of_its_seed_and_keeps_map_and_picture_together():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.integers(0, 11, (18, 24), dtype=np.uint8), 20, 0), 20, 1)
    image = np.stack([labels * 20] * 3, -1)
    augment = Augment(size=(64, 128), colour=0.0)
    for seed in range(5):
        x, y = augment(image, labels, np.random.default_rng(seed))
        again = augment(image, labels, np.random.default_rng(seed))
        assert np.array_equal(x, again[0]) and np.array_equal(y, again[1])
        assert x.shape == (64, 128, 3) and y.shape == (64, 128)
        inside = y != 11
        assert np.median(np.abs(x[..., 0].astype(int) - y * 20.0)[inside]) == 0
    a, b = to_tensors([x], [y])
    assert a.shape == (1, 3, 64, 128) and a.min() >= -1 and a.max() <= 1 and b.dtype == torch.int64


def test_pack_round_trip_and_error(tmp_path):
    rng = np.random.default_rng(0)
    frames = Frames(
        [np.full((32, 48, 3), k * 40, np.uint8) for k in range(3)], [rng.integers(0, 12, (32, 48), dtype=np.uint8)] * 3
    )
    size = write_pack(frames, tmp_path / "p.npz")
    back = read_pack(tmp_path / "p.npz")
    assert size == (tmp_path / "p.npz").stat().st_size and len(back) == 3
    for k in range(3):
        assert np.array_equal(back.labels[k], frames.labels[k])
        assert np.abs(back.images[k].astype(int) - frames.images[k]).max() <= 3
    (tmp_path / "bad.npz").write_text("no")
    with pytest.raises(InputError, match=r"bad\.npz: not a packed training set"):
        read_pack(tmp_path / "bad.npz")
