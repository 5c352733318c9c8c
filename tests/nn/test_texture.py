"""The last stages: noise that is the same everywhere, and no pattern where there is nothing to draw."""

from __future__ import annotations

import numpy as np
import torch

from chappe.nn.condition import Condition
from chappe.nn.texture import FineHead, noise_field


def test_the_noise_is_about_normal_white_and_fixed():
    field = noise_field(4, 128, 128).astype(np.float64)
    assert abs(field.mean()) < 0.02 and abs(field.std() - 1) < 0.02
    assert abs(np.corrcoef(field.reshape(4, -1)) - np.eye(4)).max() < 0.03
    for axis in (1, 2):
        assert abs((field * np.roll(field, 1, axis)).mean()) < 0.03
    np.testing.assert_array_equal(noise_field(2, 8, 9), noise_field(4, 20, 20)[:2, :8, :9])
    # the hash by hand in exact Python integers, for channel 0 at row 3, column 5
    h = 0x9E3779B1
    for place in (3, 5):
        h = (h ^ place) * 0x85EBCA6B % 2**32
        h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
        h ^= h >> 16
    total = sum(h.to_bytes(4, "big"))
    assert np.float32((total - 510) / np.float32(147.8)) == noise_field(1, 8, 8)[0, 3, 5]


def test_untrained_it_draws_nothing_and_in_evaluation_the_same_every_time():
    head, labels = FineHead(8, 3, 4, 4, 1), torch.zeros(1, 32, 64, dtype=torch.long)
    h = torch.randn(1, 8, 8, 16)
    assert not head(h, Condition(labels, 3)).any()
    torch.nn.init.normal_(head.out.weight)
    head.eval()
    assert torch.equal(head(h, Condition(labels, 3)), head(h, Condition(labels, 3)))
    head.train()
    torch.manual_seed(1)
    assert not torch.equal(head(h, Condition(labels, 3)), head(h, Condition(labels, 3)))


def test_without_noise_flat_features_give_no_pattern():
    torch.manual_seed(0)
    head = FineHead(8, 3, 4, 4, 1).eval()
    torch.nn.init.normal_(head.out.weight)
    head.field.zero_()
    flat = torch.randn(1, 8, 1, 1).expand(1, 8, 16, 16)
    y = head(flat, Condition(torch.ones(1, 64, 64, dtype=torch.long), 3))[..., 16:-16, 16:-16]
    assert y.flatten(2).std(-1).max() < 1e-5 and y.abs().max() > 0.01  # a pixel shuffle would repeat 4 x 4 weights here
