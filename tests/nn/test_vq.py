"""The quantiser: nearest by brute force, straight-through, a codebook that stays alive, and one that stays put."""

from __future__ import annotations

import torch

from chappe.nn.vq import VectorQuantizer


def test_search_is_the_nearest_codeword():
    torch.manual_seed(0)
    vq = VectorQuantizer(32, 4)
    vq.codebook.data.normal_()
    tokens = torch.randn(100, 4)
    assert torch.equal(vq.search(tokens), torch.cdist(tokens, vq.codebook).argmin(1))


def test_gradient_passes_straight_through_and_commitment_pulls_the_token():
    torch.manual_seed(0)
    vq = VectorQuantizer(8, 4).eval()
    vq.codebook.data.normal_()
    z = torch.randn(1, 4, 2, 2, requires_grad=True)
    mask = torch.ones(1, 1, 2, 2)
    out = vq(z, mask)
    out.codes.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))
    assert torch.allclose(out.codes, vq.lookup(out.indices), atol=1e-6)
    gap = (z.detach() - vq.lookup(out.indices)).square().mean()
    assert torch.allclose(out.loss, 0.25 * gap, atol=1e-6)


def test_only_selected_tokens_count():
    torch.manual_seed(0)
    vq = VectorQuantizer(8, 4).train()
    z = torch.randn(1, 4, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    vq(z, mask)
    assert vq.usage.sum() == 8


def test_codebook_stays_alive_on_drifting_data():
    torch.manual_seed(0)
    vq = VectorQuantizer(64, 4).train()
    mask = torch.ones(4, 1, 8, 8)
    for step in range(400):
        z = torch.randn(4, 4, 8, 8) * (1 + step / 100) + step / 200
        perplexity = vq(z, mask).perplexity
    assert perplexity > 0.6 * 64


def test_frozen_means_frozen_in_train_mode():
    torch.manual_seed(0)
    vq = VectorQuantizer(8, 4).train()
    vq(torch.randn(1, 4, 8, 8), torch.ones(1, 1, 8, 8))
    vq.frozen = True
    before = {k: v.clone() for k, v in vq.state_dict().items()}
    for _ in range(60):
        vq(torch.randn(1, 4, 8, 8) + 3, torch.ones(1, 1, 8, 8))
    assert all(torch.equal(before[k], v) for k, v in vq.state_dict().items())


def test_gradient_codebook_learns_by_gradient():
    torch.manual_seed(0)
    vq = VectorQuantizer(8, 4, update="gradient").train()
    z = torch.randn(1, 4, 8, 8)
    out = vq(z, torch.ones(1, 1, 8, 8))
    out.loss.backward()
    assert vq.codebook.grad.abs().sum() > 0
