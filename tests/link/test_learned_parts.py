"""Parts of the learned links against brute force, closed forms and published sizes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from chappe.errors import UsageError
from chappe.link.adaptation import parse_mcs
from chappe.link.channels import propagate
from chappe.link.detection import linear
from chappe.link.digital import DigitalLink
from chappe.link.learned.config import JSCC_PRESETS, PPEN_PRESETS, MutualConfig, PcenConfig
from chappe.link.learned.deform import StripGate, deform_conv2d, strip_pool
from chappe.link.learned.enhanced import EnhancedLink
from chappe.link.learned.fec import measure
from chappe.link.learned.jscc import GDN, JsccNet, pack, unpack
from chappe.link.learned.mutual import MutualPrecoder, bit_information_of, fades
from chappe.link.learned.pcen import PCEN, linear_receiver, symbol_vectors
from chappe.link.learned.ppen import PPEN, rounded
from chappe.link.learned.rate import block_bits, coefficients, fit_step, rate_of
from chappe.link.learned.tasklosses import classification_loss, detection_loss, log_odds, segmentation_loss
from chappe.link.precoding import precoder


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


def naive_deform(x, offset, weight):
    n, channels, height, width = x.shape
    out, _, k, _ = weight.shape
    result = np.zeros((n, out, height, width))

    def value(b, c, y, u):
        total = 0.0
        for yy in (math.floor(y), math.floor(y) + 1):
            for uu in (math.floor(u), math.floor(u) + 1):
                if 0 <= yy < height and 0 <= uu < width:
                    total += (1 - abs(y - yy)) * (1 - abs(u - uu)) * x[b, c, yy, uu]
        return total

    for b, i, j, tap in np.ndindex(n, height, width, k * k):
        y = i + tap // k - k // 2 + offset[b, 2 * tap, i, j]
        u = j + tap % k - k // 2 + offset[b, 2 * tap + 1, i, j]
        for c in range(channels):
            result[b, :, i, j] += weight[:, c, tap // k, tap % k] * value(b, c, y, u)
    return result


def test_deformable_convolution_is_the_loop_and_has_its_gradient():
    x, weight = torch.randn(2, 3, 5, 7), torch.randn(4, 3, 3, 3)
    offset = 2.5 * torch.randn(2, 18, 5, 7)
    ours = deform_conv2d(x, offset, weight)
    np.testing.assert_allclose(ours, naive_deform(x.numpy(), offset.numpy(), weight.numpy()), atol=1e-4)
    plain = torch.nn.functional.conv2d(x, weight, torch.ones(4), padding=1)
    torch.testing.assert_close(deform_conv2d(x, 0 * offset, weight, torch.ones(4)), plain, atol=1e-5, rtol=1e-4)
    small = [t.double().requires_grad_() for t in (x[:1, :2, :3, :3], 0.37 * offset[:1, :, :3, :3], weight[:2, :2])]
    assert torch.autograd.gradcheck(deform_conv2d, small)
    with pytest.raises(UsageError, match="do not fit"):
        deform_conv2d(x, offset[:, :16], weight)


def test_strips_are_rows_and_columns():
    x = torch.randn(2, 3, 4, 6)
    rows, columns = strip_pool(x)
    loop_rows = [[[max(x[b, c, i].tolist()) for i in range(4)] for c in range(3)] for b in range(2)]
    loop_columns = [[[max(x[b, c, :, j].tolist()) for j in range(6)] for c in range(3)] for b in range(2)]
    assert torch.equal(rows, torch.tensor(loop_rows)) and torch.equal(columns, torch.tensor(loop_columns))
    torch.testing.assert_close(strip_pool(x, "avg")[0], torch.stack([x[..., j] for j in range(6)]).sum(0) / 6)
    gate = StripGate(3, 4)
    with torch.no_grad():
        for layer in (gate.rows, gate.columns, gate.out):
            layer.weight.zero_(), layer.bias.zero_()
    torch.testing.assert_close(gate(x), x / 2)


def test_presets_have_their_sizes():
    with torch.device("meta"):
        sizes = {name: sum(p.numel() for p in PPEN(shape).parameters()) for name, shape in PPEN_PRESETS.items()}
        nets = {key: sum(p.numel() for p in JsccNet(shape).parameters()) for key, shape in JSCC_PRESETS.items()}
    assert sizes["paper"] == pytest.approx(12.68e6, abs=5e3)  # SCSC IV-E
    assert sizes["street"] <= 1e6
    assert all(size <= 5e5 for (_, preset), size in nets.items() if preset == "street")


@pytest.mark.parametrize("adaptive", [True, False])
def test_ppen_starts_as_the_identity_and_learns_in_every_layer(adaptive):
    shape = replace(PPEN_PRESETS["paper"], widths=(8, 10, 12), adaptive=adaptive)
    net, x, strength = PPEN(shape), torch.rand(2, 3, 18, 22) * 2 - 1, torch.tensor([0.1, 0.9])
    torch.testing.assert_close(net(x, strength), x)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    out = net(0.5 * x, strength)
    out.square().sum().backward()
    assert out.shape == x.shape and out.abs().max() <= 1
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert torch.allclose(net(x, strength), net(x, 1 - strength)) != adaptive
    steps = (rounded(0.5 * x) + 1) * 127.5
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_symbols_pack_and_unpack():
    for channels, streams in ((4, 2), (5, 2), (3, 1), (6, 4)):
        s = torch.randn(2, channels, 3, 4)
        x = pack(s, streams)
        assert x.shape == (2, streams, -(-channels // streams) * 6)
        torch.testing.assert_close(unpack(x, channels, (3, 4)), s)
        assert x[0, 1 % streams, 0] == torch.complex(s[0, 1 % streams, 0, 0], s[0, 1 % streams, 0, 1])


def test_gdn_is_its_formula():
    layer, x = GDN(3), torch.randn(1, 3, 2, 2)
    torch.nn.init.normal_(layer.gamma)
    weight = layer.gamma.detach().square()
    norm = (1.0001 + sum(weight[:, j, None, None] * x[0, j] ** 2 for j in range(3))).sqrt()
    torch.testing.assert_close(layer(x)[0], x[0] / norm, atol=1e-5, rtol=1e-4)
    layer.inverse = True
    torch.testing.assert_close(layer(x)[0], x[0] * norm, atol=1e-5, rtol=1e-4)


def test_a_linear_table_gives_the_linear_detector():
    h, sigma2 = fades(20, 2, 2, 0, 12)
    g, x = precoder("svd-minmse+dft", h, sigma2), symbol_vectors("qpsk", 2)
    w, variance = linear_receiver(g @ x, x, h, sigma2)
    y = propagate(g @ x[:, :5], h, sigma2)
    symbols, theirs = linear("lmmse", y, h @ g, sigma2)
    torch.testing.assert_close(w @ y, symbols, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(variance, theirs, atol=2e-3, rtol=2e-3)


def test_the_combiner_is_least_squares():
    """SCSC eq. (12), corrected, against the normal equations of many noisy draws."""
    pcen = PCEN(PcenConfig(form="gated", target="x_e"))
    h, sigma2 = fades(1, 2, 2, 8, 8)
    z = pcen.table(h, sigma2).detach()
    u = pcen.combiner(z, pcen.x[None], h, sigma2)[0].detach()
    index = torch.randint(0, 16, (40000,))
    y = propagate(z[:, :, index], h, sigma2)[0]
    fitted = torch.linalg.lstsq(y.mT, pcen.x[:, index].mT).solution.mT
    torch.testing.assert_close(u, fitted, atol=0.02, rtol=0.05)


@pytest.mark.parametrize("options", [{}, {"cen": "hyper"}, {"cen": "fixed"}, {"soft": False, "alphabet_bits": 3},
                                     {"form": "gated"}, {"form": "gated", "target": "x_e"}])  # fmt: skip
def test_pcen_keeps_the_power_and_learns(options):
    pcen = PCEN(PcenConfig(**options))
    h, sigma2 = fades(64, 2, 2, 2, 12)
    table = pcen.table(h, sigma2)
    torch.testing.assert_close(table.abs().square().mean((1, 2)), torch.ones(64))
    if options.get("form") == "gated":  # untrained: exactly the standard precoder
        torch.testing.assert_close(table, pcen.base(h, sigma2), atol=1e-3, rtol=1e-3)
    optimizer, losses = torch.optim.Adam(pcen.parameters(), 0.01), []
    for _ in range(20):
        loss = pcen.loss(h, sigma2).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in pcen.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 1e-3


def test_the_alphabet():
    coarse, fine = PCEN(PcenConfig(soft=False)), PCEN(PcenConfig(soft=False, alphabet_bits=3))
    z = torch.randn(50, 2, 4, dtype=torch.complex64)
    sharp = coarse.project(z)
    torch.testing.assert_close(sharp.real, z.real.sign() * math.sqrt(0.5))
    assert (fine.project(z) - z).abs().mean() < (sharp - z).abs().mean()


def test_trained_for_information():
    h, sigma2 = fades(200, 2, 2, 6, 6)
    net = MutualPrecoder(MutualConfig(base="minmse"))
    g = net.precoder(h, sigma2)
    torch.testing.assert_close(g, precoder("svd-minmse+dft", h, sigma2), atol=1e-3, rtol=1e-3)
    assert bit_information_of(precoder("svd-equal", h, sigma2), h, sigma2 * 1e-5, "qpsk").min() > 0.99
    torch.nn.init.normal_(net.net[-1].weight)
    torch.testing.assert_close(net.precoder(h, sigma2).abs().square().sum((1, 2)), torch.full((200,), 2.0))
    # One stream: what the waterfall's own curve says of AWGN.
    one, x = torch.ones(1, 1, 1, dtype=torch.complex64), torch.tensor([1.0])
    got = bit_information_of(one, one, x, "qpsk", 40000)
    assert float(got) == pytest.approx(0.4859, abs=0.01)  # BPSK at Es/N0 = -3 dB an axis, Gauss-Hermite


def test_the_enhanced_link_is_the_digital_link_where_nothing_is_learned():
    payload, options = bytes(range(200)), {"channel": "rayleigh2x2", "snr_db": 5.0, "precoder": "svd-minmse+dft"}
    pcen = PCEN(PcenConfig(form="gated", base="svd-minmse+dft"))
    for detector in ("lmmse", "ml"):
        for seed in (1, 2):
            plain = DigitalLink(**options, detector=detector).send(payload, seed=seed)
            ours = EnhancedLink(**options, detector=detector, enhancer=pcen).send(payload, seed=seed)
            assert abs(plain.raw_ber - ours.raw_ber) < 2e-3 and plain.channel_uses == ours.channel_uses
    over = DigitalLink(**options)
    h, _, _ = over.response(1, seed=1)
    assert over.send_over(payload, h, seed=1).raw_ber == over.send(payload, seed=1).raw_ber
    with pytest.raises(UsageError, match="was made for"):
        EnhancedLink("rayleigh4x4", enhancer=pcen)


def test_the_model_of_the_code_says_what_the_code_does():
    model = measure(parse_mcs("qpsk-1/2"), 300, 12)
    assert model.bler[0] == 1 and model.bler[-1] == 0 and (np.diff(model.bler) <= 0).all()
    assert model.effective_snr(np.array([[0.5, 0.5]])) == pytest.approx(10 * math.log10(2), abs=0.1)
    lost, told, payload = [], [], np.random.default_rng(0).bytes(300)
    for seed in range(60):
        link = DigitalLink("rayleigh2x2", 1.0)
        _, known, _ = link.response(1, seed)
        _, a, sigma2 = link.equivalent(known)
        _, variance = linear("lmmse", a.new_zeros(1, 2, 1), a, sigma2)
        told.append(float(model.loss(variance.numpy(), 300)[0]))
        lost.append(not link.send(payload, seed=seed).ok)
    assert 0.1 < np.mean(lost) < 0.9
    assert np.mean(told) == pytest.approx(np.mean(lost), abs=0.08)
    assert np.mean([abs(a - b) < 0.5 for a, b in zip(told, lost, strict=True)]) > 0.9


def test_bits_of_blocks_add_up_and_have_a_gradient():
    from scipy.fft import dctn

    x = (torch.rand(2, 3, 20, 28) * 2 - 1).requires_grad_()
    bits = torch.tensor([900.0, 4000.0])
    where = block_bits(x, bits)
    assert where.shape == (2, 3, 4)
    torch.testing.assert_close(where.sum((1, 2)), bits, rtol=1e-3, atol=1.0)
    assert (rate_of(x, bits) * 560 - bits).abs().max() < 3
    rate_of(x, bits).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    luma = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), x.detach()[0])[8:16, 8:16]
    theirs = np.abs(dctn(luma.numpy(), norm="ortho")).ravel()[1:]
    np.testing.assert_allclose(coefficients(x.detach())[0, 1, 1, 1:64], theirs, atol=1e-5)
    flat = torch.zeros(1, 3, 16, 16)
    assert float(fit_step(coefficients(flat), torch.tensor([10.0]))) < 1e-6


def test_the_gradient_of_the_rate_leads_to_smaller_files():
    from chappe import classical
    from chappe.data.scenes import render_scene
    from chappe.link.learned.analog import to_picture, to_tensor

    codec, sizes = classical.load("jpeg"), []
    x = to_tensor(render_scene(2, size=(128, 192)).image)
    for _ in range(6):
        blob = codec.encode(to_picture(x), point="q40")
        sizes.append(len(blob))
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(rate_of(x, torch.tensor([8.0 * sizes[-1]])).sum(), x)
        x = (x - 0.01 * slope / slope.square().mean().sqrt()).detach().clamp(-1, 1)
    assert sizes[-1] < 0.93 * sizes[0]


def test_task_losses_say_what_is_wrong():
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 8:16, 8:24] = 2
    right = 8 * torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    blind = 8 * torch.nn.functional.one_hot(0 * labels, 3).permute(0, 3, 1, 2).float()
    for loss in (segmentation_loss, lambda a, b: detection_loss(a, b, (2,)), classification_loss):
        assert 0 <= loss(right, labels) < 0.2 * loss(blind, labels)
    p = right.softmax(1)
    torch.testing.assert_close(log_odds(right).sigmoid(), p, atol=1e-5, rtol=1e-4)
