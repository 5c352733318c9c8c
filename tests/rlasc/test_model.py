"""Quantiser, networks and agent: their equations, their sizes, and who may change which pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chappe.bitstream.concepts import cell_concepts
from chappe.errors import UsageError
from chappe.nn.condition import Condition, one_hot
from chappe.systems.rlasc.config import LEVELS, PRESETS, AgentConfig, RLASCConfig, preset
from chappe.systems.rlasc.discriminator import MultiScaleDiscriminator, discriminator_loss, generator_loss
from chappe.systems.rlasc.model import RLASC, concept_cells
from chappe.systems.rlasc.picture import Concepts
from chappe.systems.rlasc.policy import Facts, Policy
from chappe.systems.rlasc.quantizer import RateTable, hard_values, quantise, soft_shares
from rlasc_toys import PAPER, TINY


def _centres(level: int) -> torch.Tensor:
    return torch.arange(-level, level + 1).double() / max(1, level)


def test_hard_forward_is_the_nearest_centre_and_soft_backward_eq_25():
    torch.manual_seed(0)
    f = (torch.rand(1, 3, 4, 5) * 2 - 1).double().requires_grad_(True)
    level = torch.randint(0, LEVELS, (1, 4, 5))
    for scaled in (False, True):
        out, shares = quantise(f, level, 2.0, scaled)
        probe = torch.randn_like(f)
        (gradient,) = torch.autograd.grad((out * probe).sum(), f)
        for c, i, j in np.ndindex(3, 4, 5):
            table = _centres(int(level[0, i, j]))
            value = f[0, c, i, j].detach().requires_grad_(True)
            assert out[0, c, i, j] == table[(value - table).abs().argmin()]
            weights = torch.exp(-2.0 * (value - table).abs() * (max(1, int(level[0, i, j])) if scaled else 1))
            soft = (weights * table).sum() / weights.sum()
            slope = torch.autograd.grad(soft, value)[0] if soft.requires_grad else 0.0
            assert float(gradient[0, c, i, j]) == pytest.approx(float(slope * probe[0, c, i, j]), abs=1e-9)
            np.testing.assert_allclose(shares[0, c, i, j].sum().item(), 1)


def test_sender_and_training_quantise_alike():
    f = np.random.default_rng(0).uniform(-1, 1, (4, 6, 3)).astype(np.float32)
    concepts = Concepts(f, np.zeros((4, 6), np.uint8), 100, 2)
    for level in range(LEVELS):
        for rounding in (0.5, 0.35):
            expected = hard_values(torch.from_numpy(f), torch.tensor(level), rounding)
            np.testing.assert_array_equal(concepts.values(level, rounding), expected.numpy())


def test_the_rate_stand_in_is_the_cross_entropy():
    table = RateTable(2)
    level = torch.tensor([[[0, 1, 4]]])
    f = torch.tensor([0.9, 0.9, -0.4])[None, None, None].expand(1, 2, 1, 3)
    shares = soft_shares(f, level, 1e4, True)  # so hard that one centre has it all
    expected = 0.0
    for q, k in ((1, 1), (4, -2)):
        log = table.logits[q, 0, LEVELS - 1 - q : LEVELS + q].log_softmax(0)
        expected -= 2 * log[k + q] / math.log(2)
    torch.testing.assert_close(table(shares, level), expected[None])


@pytest.mark.parametrize(
    ("name", "most"), [("street", 3e6), ("paper", 25e6), ("paper-low", 25e6), ("paper-high", 25e6)]
)
def test_presets_are_within_their_budgets(name, most):
    with torch.device("meta"):
        model, agent = RLASC(preset(name)), Policy(preset(name))
    assert most / 3 < sum(p.numel() for m in (model, agent) for p in m.parameters()) <= most
    assert preset(name) == RLASCConfig.from_dict(preset(name).to_dict())


def test_the_papers_networks_have_the_papers_shapes():
    with torch.device("meta"):
        model = RLASC(preset("paper-high"))
        labels = torch.zeros(1, 256, 512, dtype=torch.long)
        f = model.encoder(torch.zeros(1, 3, 256, 512))
    assert f.shape == (1, 64, 32, 64) and model.classifier.out_features == 30
    assert len(model.generator.local.heads) == 30 and len(model.generator.globally.blocks) == 3
    assert labels.shape == (1, 256, 512)
    assert [PRESETS[p].channels for p in ("paper-low", "paper-medium", "paper-high")] == [16, 32, 64]


@pytest.mark.parametrize("config", [TINY, PAPER])
def test_every_weight_of_the_autoencoder_learns(config):
    torch.manual_seed(0)
    model = RLASC(config)
    for head in [m for m in model.modules() if type(m).__name__ == "FineHead"]:
        torch.nn.init.normal_(head.out.weight)
    labels = torch.arange(12).repeat_interleave(8)[None, None].expand(2, 32, -1).contiguous()
    x = torch.rand(2, 3, 32, 96) * 2 - 1
    cells = concept_cells(labels, config)
    y, f, _ = model(x, cells, torch.full_like(cells, 5), labels, 2.0)
    assert y.shape == x.shape and f.abs().max() < 1
    (y.square().mean() + model.classification_loss(f, cells)).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # instance normalisation takes a bias away
    assert all(name.endswith("bias") and config.encoder_norm == "instance" for name in idle), idle


def test_a_concept_changes_no_pixel_of_the_local_picture_outside_its_region():
    torch.manual_seed(0)
    local = RLASC(PAPER).generator.local
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, :, 13:] = 3
    cells = concept_cells(labels, PAPER)
    z = torch.randn(1, 4, 4, 4)
    changed = z + torch.randn_like(z) * (cells == 3)[:, None]
    args = one_hot(cells, 12), Condition(labels, 12, "nearest")
    gap = (local(z, *args) - local(changed, *args)).abs().sum(1)
    assert gap[labels == 0].max() == 0 and gap[labels == 3].min() > 0


def test_the_pictures_are_fused_by_weights_that_add_up_to_one():
    torch.manual_seed(0)
    generator = RLASC(PAPER).generator
    labels = torch.randint(0, 12, (1, 16, 16))
    z = torch.randn(1, 4, 2, 2)
    masks, condition = one_hot(concept_cells(labels, PAPER), 12), Condition(labels, 12, "nearest")
    weights = generator.attention(z, (16, 16))
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 16, 16))
    expected = weights[:, :1] * generator.local(z, masks, condition) + weights[:, 1:] * generator.globally(z, condition)
    torch.testing.assert_close(generator(z, masks, condition), expected)


def test_the_classification_loss_counts_present_concepts():
    model = RLASC(TINY)
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    cells = torch.tensor([[[0, 3], [3, 5]]])
    assert model.classification_loss(torch.randn(1, 4, 2, 2), cells).item() == pytest.approx(math.log(12))
    model.classifier.bias.data[3] = 2.0  # three concepts are present, one of them is the favourite
    expected = math.log(11 + math.exp(2)) - 2 / 3
    assert model.classification_loss(torch.randn(1, 4, 2, 2), cells).item() == pytest.approx(expected)


def test_training_and_files_vote_alike():
    labels = np.random.default_rng(0).integers(0, 12, (32, 48)).astype(np.uint8)
    for config in (TINY, PAPER):
        found = concept_cells(torch.from_numpy(labels)[None].long(), config)[0].numpy()
        weights = np.array(config.vote or [1] * 12)
        for i, j in np.argwhere(found != cell_concepts(labels, 12, config.vote)):  # only where two classes are equal
            score = np.bincount(labels[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].ravel(), minlength=12) * weights
            assert np.sort(score)[-1] == np.sort(score)[-2]


def test_an_untrained_agent_is_uniform_or_greedy_as_its_config_says():
    rng = np.random.default_rng(0)
    rates = torch.from_numpy(np.sort(rng.uniform(0, 1, (3, LEVELS)))).float()
    losses = torch.from_numpy(-np.sort(-rng.uniform(0, 1, (3, LEVELS)))).float()
    lam = torch.tensor([0.2, 1.0, 5.0])
    f, cells, numbers = torch.rand(4, 8, 16), torch.randint(0, 12, (8, 16)), torch.tensor([1, 4, 7])
    greedy = Policy(TINY).eval()
    logits = greedy(greedy.look(f, cells, numbers), numbers, lam, Facts(rates, losses))
    assert logits.argmax(1).tolist() == (lam[:, None] * rates + losses).argmin(1).tolist()
    paper = Policy(PAPER).eval()
    logits = paper(paper.look(f, cells, numbers), numbers, lam, Facts(rates, losses))
    assert logits.shape == (3, LEVELS) and (logits == 0).all()


def test_the_agent_sees_only_its_concept_and_any_picture():
    torch.manual_seed(0)
    policy = Policy(PAPER).eval()
    f, cells = torch.rand(4, 9, 14), torch.zeros(9, 14, dtype=torch.long)
    cells[:, 5:] = 2
    other = f + (cells == 0) * torch.rand(4, 9, 14)
    seen, again = (policy.look(g, cells, torch.tensor([2, 0])) for g in (f, other))
    assert torch.equal(seen[0], again[0]) and not torch.equal(seen[1], again[1])


def test_the_discriminator_judges_pairs_at_two_scales():
    torch.manual_seed(0)
    disc = MultiScaleDiscriminator(12, width=4)
    x, s = torch.rand(2, 3, 64, 96), one_hot(torch.randint(0, 12, (2, 64, 96)), 12)
    real, fake = disc(x, s), disc(-x, s)
    assert len(real) == 2 and real[0].shape[2] > real[1].shape[2] >= 5
    expected = [(1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean() for r, f in zip(real, fake, strict=True)]
    torch.testing.assert_close(discriminator_loss(real, fake), sum(expected) / 4)
    torch.testing.assert_close(generator_loss(fake), -sum(f.mean() for f in fake) / 2)


@pytest.mark.parametrize(
    "bad",
    [{"patch": 2}, {"trunk": "none"}, {"vote": (1, 2)}, {"channels": 65}, {"attention": (4,)}, {"fine": (4, 4, 1)},
     {"upsampling": "nearest"}],
)  # fmt: skip
def test_shapes_that_cannot_be_are_refused(bad):
    with pytest.raises(UsageError):
        RLASCConfig(**bad)
    with pytest.raises(UsageError):
        AgentConfig(start="clever")
    with pytest.raises(UsageError):
        preset("avenue")
