from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe.bitstream.tokenmix import cost, decode_tokens, encode_tokens
from chappe.bitstream.tokenmix_prior import pack_priors, unpack_priors
from chappe.systems.sqgan.priors import token_material
from chappe.systems.sqgan.token_training import Material, code_vectors, split_codes, train_prior
from chappe.training.corpus import load_scenes


def striped(count: int, seed: int) -> Material:
    """Grids of 6 x 8 whose index is given by class and column, and whose most relevant cells are those of class 1."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, (count, 6, 8))
    indices = (classes * 5 + np.arange(8)) % 16
    scores = np.where(classes == 1, 1.0, 0.0) + rng.random(classes.shape) * 0.1
    cells = np.repeat(classes[:, None, ..., None], 16, -1).astype(np.uint8)
    return Material(scores.astype(np.float32), indices, cells)


def test_training_finds_what_can_be_known() -> None:
    torch.set_num_threads(1)
    codes = np.random.default_rng(0).normal(size=(16, 3))
    told = []
    prior = train_prior(
        striped(60, 1),
        codes,
        3,
        clusters=4,
        hidden=(8, 24),
        steps=200,
        batch=4,
        rate=2.5e-2,
        report=lambda *a: told.append(a),
    )
    assert [step for step, _, _ in told] == [100, 200]
    assert told[1][2] < told[0][2]
    prior = unpack_priors(pack_priors({"image": prior}))["image"]
    fresh, spent, plain = striped(10, 2), np.zeros(2), np.zeros(2)
    for scores, grid, cells in zip(fresh.scores, fresh.indices, fresh.cells, strict=True):
        mask = scores > 1
        spent += cost(mask, grid[mask], 16, classes=cells[0], prior=prior)
        plain += 48 * 0.91, 4 * int(mask.sum())  # h2(1/3) bits a cell, log2 16 an index
        data = encode_tokens(mask, grid[mask], 16, classes=cells[0], prior=prior)
        assert np.array_equal(decode_tokens(data, mask.shape, 16, classes=cells[0], prior=prior)[1], grid[mask])
    assert spent[0] < 0.6 * plain[0]
    assert spent[1] < 0.5 * plain[1]


def test_training_is_repeatable() -> None:
    torch.set_num_threads(1)
    codes = np.random.default_rng(0).normal(size=(16, 3))
    one, two = (train_prior(striped(4, 1), codes, 3, clusters=4, hidden=(4, 4), steps=3, batch=2) for _ in range(2))
    assert pack_priors({"map": one}) == pack_priors({"map": two})


@pytest.mark.parametrize(("levels", "clusters"), [(16, 4), (1000, 32), (40, 3)])
def test_clusters_are_of_equal_size_and_close_together(levels: int, clusters: int) -> None:
    vectors = code_vectors(np.random.default_rng(1).normal(size=(levels, 12)))
    assert vectors.shape == (levels, 8)
    cluster = split_codes(vectors, clusters)
    sizes = np.bincount(cluster, minlength=clusters)
    assert len(sizes) == clusters
    assert sizes.max() - sizes.min() <= 2
    spread = sum(vectors[cluster == c].astype(float).var(0).sum() * n for c, n in enumerate(sizes)) / levels
    assert spread < 0.95 * vectors.astype(float).var(0).sum()


def test_material_holds_every_way_a_frame_is_seen(engine) -> None:
    frames = load_scenes(1, size=(360, 480))
    material = token_material(engine, frames, copies=2)
    assert material["image"].scores.shape == (4, 16, 32)  # true labels, the segmenter's, two changed ones
    assert material["image"].cells.shape == (4, 2, 16, 32, 16)
    assert (material["map"].cells == 255).all()
    assert not np.array_equal(material["image"].cells[0, 0], material["image"].cells[0, 1])
    assert np.array_equal(material["image"].cells[2, 0], material["image"].cells[2, 1])
    assert material["map"].indices.max() < 1024
