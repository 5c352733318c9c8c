"""The semantic U-Net: published size, budget of the small one, conditioning, both directions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from chappe.errors import UsageError
from chappe.nn.unet import Planes, SemanticUNet, UNetConfig, time_embedding, unet_preset


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def by_hand(planes: int, given: int) -> dict[str, int]:
    """Parameters of the published network from its description alone: base 256, six levels, two blocks a level."""
    conv = lambda a, b, k=3: a * b * k * k + b  # noqa: E731
    spade = lambda c: conv(planes, 128) + 2 * conv(128, c)  # noqa: E731
    emb = 1024

    def block(a: int, b: int, semantic: bool) -> int:
        norms = spade(a) + spade(b) if semantic else 2 * a + 2 * b
        return norms + conv(a, b) + conv(b, b) + emb * 2 * b + 2 * b + (conv(a, b, 1) if a != b else 0)

    attention = lambda c: 2 * c + conv(c, 3 * c, 1) + conv(c, c, 1)  # noqa: E731
    widths, kept, width = [256, 256, 512, 512, 1024, 1024], [256], 256
    encoder = 0
    for level, target in enumerate(widths):
        for _ in range(2):
            encoder += block(width, target, False) + (attention(target) if level > 2 else 0)
            width = target
            kept.append(width)
        if level < 5:
            encoder += block(width, width, False)
            kept.append(width)
    middle = 2 * block(width, width, True) + attention(width)
    decoder = 0
    for level in range(5, -1, -1):
        for _ in range(3):
            decoder += block(width + kept.pop(), widths[level], True) + (attention(widths[level]) if level > 2 else 0)
            width = widths[level]
        decoder += block(width, width, True) if level else 0
    return {"time": 257 * emb + 1025 * emb, "stem": conv(given, 256), "encoder": encoder, "middle": middle,
            "decoder": decoder, "norm": 512, "out": conv(256, 6)}  # fmt: skip


@pytest.mark.parametrize(("name", "planes", "given", "total"), [
    ("paper", 19, 6, 653_012_230), ("paper-gesco", 36, 3, 653_984_518),
])  # fmt: skip
def test_the_published_presets_have_their_published_size_part_by_part(name, planes, given, total):
    with torch.device("meta"):
        model = SemanticUNet(unet_preset(name))
    assert {key: count(part) for key, part in model.named_children()} == by_hand(planes, given)
    assert count(model) == total


def test_the_published_shape_runs_forward_and_backward_at_reduced_size():
    torch.manual_seed(0)
    model = SemanticUNet(unet_preset("paper", width=8, head=8, spade_hidden=4))
    x, coarse = torch.randn(2, 3, 32, 64), torch.randn(2, 3, 32, 64)
    out = model(x, torch.tensor([0, 999]), torch.rand(2, 19, 32, 64), coarse)
    assert out.shape == (2, 6, 32, 64)
    torch.nn.init.normal_(model.out.weight)
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d) and not part.weight.any():
            torch.nn.init.normal_(part.weight, std=0.1)
    model.zero_grad()
    model(x, torch.tensor([0, 999]), torch.rand(2, 19, 32, 64), coarse).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(any(p.grad.any() for p in part.parameters()) for part in model.children())


def test_the_small_one_is_within_its_budget_and_has_no_full_size_spade():
    from torch.utils.flop_counter import FlopCounterMode

    from chappe.nn.blocks import SPADE

    model = SemanticUNet().eval()
    assert count(model) <= 5_000_000
    seen = []
    for part in model.modules():
        if isinstance(part, SPADE):
            part.register_forward_hook(lambda _, args, out: seen.append(args[0].shape[2]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 128, 256), torch.tensor([5]), torch.zeros(1, 11, 128, 256))
    assert seen and max(seen) == 64
    assert counter.get_total_flops() / 2 < 10e9 / 4


def tiny(**changes) -> SemanticUNet:
    torch.manual_seed(1)
    shape = {"width": 8, "multipliers": (1, 2), "head": 8, "attention": 1, "spade_hidden": 8, "planes": 5}
    model = SemanticUNet(UNetConfig(**(shape | changes))).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_map_time_and_coarse_picture_reach_the_output_and_the_coarse_picture_can_be_dropped():
    model = tiny()
    x, t, planes, coarse = (
        torch.randn(1, 3, 16, 32),
        torch.tensor([9]),
        torch.rand(1, 5, 16, 32),
        torch.rand(1, 3, 16, 32),
    )
    with torch.no_grad():
        out = model(x, t, planes, coarse)
        for other in (model(x, t + 300, planes, coarse), model(x, t, planes * 0, coarse), model(x, t, planes)):
            assert (out - other).abs().max() > 1e-3
        torch.testing.assert_close(model(x, t, planes), model(x, t, planes, torch.zeros_like(coarse)))
        both = model(x.repeat(2, 1, 1, 1), t.repeat(2), planes.repeat(2, 1, 1, 1), torch.cat([coarse, coarse * 0]))
        torch.testing.assert_close(both[:1], out)  # dropped picture by picture
        torch.testing.assert_close(both[1:], model(x, t, planes))


def test_the_encoder_does_not_see_the_map():
    model = tiny()
    seen = []
    model.encoder[-1].register_forward_hook(lambda _, args, out: seen.append(out))
    x, t = torch.randn(1, 3, 16, 32), torch.tensor([9])
    with torch.no_grad():
        model(x, t, torch.zeros(1, 5, 16, 32))
        model(x, t, torch.ones(1, 5, 16, 32))
    torch.testing.assert_close(seen[0], seen[1])


def test_attention_is_softmax_attention():
    block = tiny().middle[0].attention
    x = torch.randn(1, 16, 3, 4)
    with torch.no_grad():
        q, k, v = block.qkv(block.norm(x)).flatten(2)[0].chunk(3)
        heads = []
        for a in range(block.heads):
            rows = slice(8 * a, 8 * a + 8)
            weights = ((q[rows].T @ k[rows]) / 8**0.5).softmax(1)
            heads.append((weights @ v[rows].T).T)
        expected = x + block.out(torch.cat(heads).reshape(1, 16, 3, 4))
        torch.testing.assert_close(block(x), expected)


def test_time_embedding_is_that_of_diffusers():
    oracle = pytest.importorskip("diffusers.models.embeddings")
    t = torch.tensor([0, 1, 37, 999])
    expected = oracle.get_timestep_embedding(t, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(time_embedding(t, 32), expected)


def test_planes_keep_the_share_of_each_class():
    planes = torch.rand(1, 2, 8, 8)
    torch.testing.assert_close(Planes(planes).at(4, 4), torch.nn.functional.avg_pool2d(planes, 2))
    torch.testing.assert_close(Planes(planes, "nearest").at(4, 4), planes[..., ::2, ::2])


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="coarse="):
        UNetConfig(coarse="sometimes")
    with pytest.raises(UsageError, match="attention at 9"):
        UNetConfig(attention=9)
    with pytest.raises(UsageError, match="no U-Net preset"):
        unet_preset("huge")
    with pytest.raises(UsageError, match="needs a coarse picture"):
        tiny(coarse="always")(torch.zeros(1, 3, 16, 16), torch.tensor([1]), torch.zeros(1, 5, 16, 16))
    assert UNetConfig.from_dict(UNetConfig().to_dict()) == UNetConfig()
    assert replace(UNetConfig(), fold=4).multiple == 64
