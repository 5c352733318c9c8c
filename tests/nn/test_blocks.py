"""Attention, SPADE, selection and de-masking against brute force and their defining properties."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from chappe.nn.blocks import SPADE, Attention, GroupNorm, groups_for, split_windows
from chappe.nn.condition import Condition, one_hot
from chappe.nn.demasking import Demask
from chappe.nn.masking import ScoreNet, select


def test_attention_matches_brute_force_and_the_mask_is_applied_after_the_softmax():
    torch.manual_seed(0)
    layer = Attention(8, heads=2).eval()
    x, weight = torch.randn(1, 8, 3, 5), torch.rand(1, 1, 3, 5)
    h = layer.norm(x)
    q, k, v = (conv(h)[0].reshape(8, 15).T.detach().double().numpy() for conv in (layer.q, layer.k, layer.v))
    mixed = np.zeros((15, 8))
    for head in range(2):
        part = slice(head * 4, head * 4 + 4)
        for i in range(15):
            logits = k[:, part] @ q[i, part] / math.sqrt(4)
            row = np.exp(logits - logits.max())
            row = row / row.sum() * weight.reshape(15).double().numpy()  # rows are not re-normalised
            mixed[i, part] = row @ v[:, part]
    want = x + layer.out(torch.tensor(mixed.T.reshape(1, 8, 3, 5), dtype=torch.float32))
    assert torch.allclose(layer(x, weight), want, atol=1e-5)


def test_attention_windows_cover_the_grid_and_are_exact_up_to_the_training_size():
    torch.manual_seed(0)
    layer = Attention(8, window=(4, 6)).eval()
    whole = Attention(8, window=(64, 64)).eval()
    whole.load_state_dict(layer.state_dict())
    x = torch.randn(1, 8, 4, 6)
    assert torch.equal(layer(x), whole(x))
    assert layer(torch.randn(1, 8, 9, 13)).shape == (1, 8, 9, 13)
    for length in (1, 4, 5, 17):
        cells = [i for s in split_windows(length, 4) for i in range(s.start, s.stop)]
        assert cells == list(range(length))
        assert all(1 <= s.stop - s.start <= 4 for s in split_windows(length, 4))


def test_spade_is_a_group_norm_scaled_and_shifted_by_the_map():
    torch.manual_seed(0)
    layer = SPADE(16, classes=3, hidden=8)
    labels = torch.randint(0, 4, (2, 8, 8))
    x = torch.randn(2, 16, 4, 4)
    condition = Condition(labels, 3, "area")
    h = F.relu(layer.shared(F.avg_pool2d(one_hot(labels, 3), 2)))
    want = F.group_norm(x, groups_for(16), eps=1e-6) * (1 + layer.scale(h)) + layer.shift(h)
    assert torch.allclose(layer(x, condition), want, atol=1e-5)


def test_void_is_the_zero_vector_and_area_keeps_what_nearest_loses():
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[0, 3, 3] = 2  # one pixel of a sign
    labels[0, 15, 15] = 9  # void
    full = one_hot(labels, 3)
    assert full[0, :, 15, 15].sum() == 0
    assert full.sum() == 255
    assert Condition(labels, 3, "nearest").at(1, 1)[0, 2].item() == 0
    assert Condition(labels, 3, "area").at(1, 1)[0, 2].item() == 1 / 256


def test_condition_resized_in_two_steps_equals_one():
    labels = torch.randint(0, 5, (2, 32, 64))
    direct = Condition(labels, 4).at(2, 4)
    staged = Condition(labels, 4)
    staged.at(8, 16)
    assert torch.allclose(direct, staged.at(2, 4), atol=1e-6)


def test_select_takes_the_floor_of_m_k_best_of_each_picture():
    torch.manual_seed(0)
    scores = torch.rand(3, 1, 16, 32)
    fraction = torch.tensor([0.05, 0.35, 1.0])
    mask = select(scores, fraction)
    for k, m in enumerate(fraction.tolist()):
        kept = mask[k].bool()
        assert int(kept.sum()) == math.floor(m * 512 + 1e-4)
        if m < 1:
            assert scores[k][kept].min() >= scores[k][~kept].max()
    assert select(torch.zeros(1, 1, 2, 2), torch.tensor([0.5])).flatten().tolist() == [1, 1, 0, 0]
    assert select(torch.zeros(1, 1, 2, 2), torch.tensor([1e-9])).sum() == 1


def test_scores_are_between_zero_and_one_with_and_without_spade():
    z, condition = torch.randn(1, 16, 4, 8), Condition(torch.randint(0, 4, (1, 64, 128)), 3)
    for spade in (None, {"classes": 3, "hidden": 8}):
        scores = ScoreNet(16, spade)(z, condition)
        assert scores.shape == (1, 1, 4, 8) and 0 < scores.min() and scores.max() < 1


def test_demasking_ignores_what_was_not_sent():
    torch.manual_seed(0)
    adm = Demask(code_dim=4, channels=16, blocks=3).eval()
    mask = (torch.rand(1, 1, 4, 8) > 0.5).float()
    codes = torch.randn(1, 4, 4, 8)
    garbage = codes * mask + 100 * torch.randn_like(codes) * (1 - mask)
    assert torch.equal(adm(codes * mask, mask), adm(garbage, mask))


def test_demasking_weights_follow_the_square_root_schedule(monkeypatch):
    adm = Demask(code_dim=4, channels=16, blocks=4).eval()
    seen = []
    for layer in adm.attend:
        monkeypatch.setattr(layer, "forward", lambda x, w: (seen.append(w.min().item()), x)[1])
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0] = 1
    adm(torch.randn(1, 4, 2, 2), mask)
    assert np.allclose(seen, [0.02, 0.1414, 0.3761, 0.6133], atol=1e-3)


def test_group_norm_groups_divide_every_width():
    for channels in (3, 12, 48, 80, 104, 256):
        assert channels % groups_for(channels) == 0
        assert GroupNorm(channels)(torch.randn(1, channels, 2, 2)).shape[1] == channels
    assert groups_for(256) == 32 and groups_for(128) == 32
