"""Shapes, sizes and costs of both presets, and that one code path serves them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from chappe.errors import UsageError
from chappe.nn.blocks import SPADE
from chappe.systems.sqgan.config import PRESETS, SQGANConfig, preset
from chappe.systems.sqgan.model import SQGAN


def _count(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_paper_preset_has_the_published_size_part_by_part():
    with torch.device("meta"):
        model = SQGAN(preset("paper"))
    assert _count(model) == pytest.approx(183, rel=0.01)
    published = {"encoder": (29.3, 29.3), "samm": (1.9, 1.9), "adm": (13.4, 13.4), "decoder": (42.5, 51.2)}
    for part, sizes in published.items():
        for stream, size in zip((model.map, model.image), sizes, strict=True):
            assert _count(getattr(stream, part)) == pytest.approx(size, rel=0.05)


def test_paper_preset_runs_forward_and_backward_at_reduced_size():
    torch.manual_seed(0)
    model = SQGAN(preset("paper"))
    x, y = torch.randn(1, 3, 32, 32), torch.randint(0, 20, (1, 32, 32))
    logits = model.code_map(y, torch.tensor([0.5]))
    picture = model.code_image(x, y, torch.tensor([0.5]), logits.y.argmax(1))
    assert logits.y.shape == (1, 20, 32, 32) and picture.y.shape == (1, 3, 32, 32)
    (logits.y.square().mean() + picture.y.square().mean()).backward()
    for stream in (model.map, model.image):
        assert stream.samm.out.weight.grad.abs().sum() > 0  # the score net learns through the tokens
        assert stream.encoder.stem.weight.grad.abs().sum() > 0


def test_street_preset_is_small_enough():
    model = SQGAN(preset("street")).eval()
    assert _count(model) <= 5.0
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in model.modules())
    x, y, m = torch.zeros(1, 3, 256, 512), torch.zeros(1, 256, 512, dtype=torch.long), torch.tensor([0.35])
    with torch.no_grad():
        with FlopCounterMode(display=False) as encode:
            sent = model.map.tokens(nn.functional.one_hot(y, 12).permute(0, 3, 1, 2).float(), model.condition(y), m)
            image = model.image.tokens(x, model.condition(y), m)
        assert sent.indices.shape == (1, 16, 32)
        with FlopCounterMode(display=False) as decode:
            model.map.reconstruct(sent.codes, sent.mask, None)
            model.image.reconstruct(image.codes, image.mask, model.condition(y))
    assert encode.get_total_flops() / 2e9 <= 6
    assert decode.get_total_flops() / 2e9 <= 6


def test_street_spade_never_runs_above_quarter_resolution():
    model = SQGAN(preset("street")).eval()
    seen = []
    for module in model.modules():
        if isinstance(module, SPADE):
            module.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[2]))
    with torch.no_grad():
        model.code_image(torch.zeros(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.long), torch.tensor([1.0]))
    assert seen and max(seen) <= 16


@pytest.mark.parametrize(
    "change",
    [
        {"samm_spade": False},
        {"sempe": False},
        {"downsample": "avg"},
        {"sempe_channels": 1},
        {"spade_resize": "nearest"},
    ],
)
def test_every_key_runs(change):
    model = SQGAN(replace(preset("street"), **change)).eval()
    with torch.no_grad():
        out = model.code_image(
            torch.zeros(2, 3, 64, 96), torch.zeros(2, 64, 96, dtype=torch.long), torch.tensor([0.2, 1])
        )
    assert out.y.shape == (2, 3, 64, 96)
    assert out.tokens.mask.sum((1, 2, 3)).tolist() == [4, 24]


def test_the_masking_fraction_changes_what_is_sent_not_what_a_token_says():
    torch.manual_seed(0)
    model = SQGAN(preset("street")).eval()
    x, y = torch.randn(1, 3, 64, 64), torch.randint(0, 12, (1, 64, 64))
    with torch.no_grad():
        few, many = (model.code_image(x, y, torch.tensor([m])).tokens for m in (0.25, 0.75))
    assert torch.equal(few.indices, many.indices)
    assert torch.all(many.mask >= few.mask)


def test_config_round_trip_and_errors():
    for config in PRESETS.values():
        assert SQGANConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UsageError, match="unknown SQ-GAN configuration keys"):
        SQGANConfig.from_dict({"classes": 3, "colour": 1})
    with pytest.raises(UsageError, match="unknown SQ-GAN preset"):
        preset("huge")
