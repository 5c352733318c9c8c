"""Modulation, precoding, detection and channels against closed forms, brute force and a convex solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chappe.errors import UsageError
from chappe.link.channels import Fading, complex_normal, disturb, parse_channel, propagate
from chappe.link.detection import detect, linear, linear_filter
from chappe.link.precoding import PRECODERS, dft, min_mse, precoder, waterfill
from chappe.link.qam import BITS, constellation, demap, hard_bits, map_bits
from chappe.link.tdl import TAPS, tdl_response


def q(x):
    return 0.5 * torch.erfc(torch.as_tensor(x, dtype=torch.float64) / math.sqrt(2)).numpy()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uncoded(modulation: str, snr_db: float, bits: int, fading: bool = False) -> float:
    g = generator(int(10 * snr_db) + bits % 97)
    sent = torch.randint(0, 2, (bits,), generator=g, dtype=torch.uint8)
    x = map_bits(sent, modulation)
    sigma2 = 10 ** (-snr_db / 10)
    h = complex_normal((len(x),), g) if fading else torch.ones(len(x), dtype=torch.complex64)
    y = h * x + complex_normal((len(x),), g) * math.sqrt(sigma2)
    llr = demap(y / h, sigma2 / h.abs() ** 2, modulation, "maxlog")
    return float((hard_bits(llr).reshape(-1) != sent).float().mean())


@pytest.mark.parametrize(("snr", "bits"), [(0, 200_000), (4, 400_000), (8, 3_000_000)])
def test_qpsk_on_awgn(snr, bits):
    assert uncoded("qpsk", snr, bits) == pytest.approx(q(math.sqrt(10 ** (snr / 10))), rel=0.03)


@pytest.mark.parametrize("snr", [4, 10])
def test_16qam_on_awgn(snr):
    s = 10 ** (snr / 10)
    wanted = 0.75 * q(math.sqrt(s / 5)) + 0.5 * q(3 * math.sqrt(s / 5)) - 0.25 * q(5 * math.sqrt(s / 5))
    assert uncoded("16qam", snr, 400_000) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("snr", [0, 10])
def test_qpsk_on_rayleigh(snr):
    each = 10 ** (snr / 10) / 2
    assert uncoded("qpsk", snr, 400_000, fading=True) == pytest.approx(
        0.5 * (1 - math.sqrt(each / (1 + each))), rel=0.03
    )


@pytest.mark.parametrize("modulation", BITS)
def test_llrs_are_those_of_all_points(modulation):
    m, points = BITS[modulation], constellation(modulation)
    assert (points.abs() ** 2).mean() == pytest.approx(1, abs=1e-6) and len(set(points.tolist())) == 2**m
    y = complex_normal((200,), generator(0))
    metric = -((y[:, None] - points).abs() ** 2) / 0.2
    for method, best in (("app", torch.logsumexp), ("maxlog", torch.amax)):
        llr = demap(y, 0.2, modulation, method)
        for bit in range(m):
            one = (torch.arange(2**m) >> (m - 1 - bit) & 1).bool()
            assert torch.allclose(llr[:, bit], best(metric[:, ~one], -1) - best(metric[:, one], -1), atol=1e-4)
    nearest = ((points[:, None] - points).abs() + 9 * torch.eye(2**m)).argmin(1)  # Gray: neighbours differ in one bit
    assert all(bin(i ^ int(j)).count("1") == 1 for i, j in enumerate(nearest))


def test_powers_are_optimal():
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    for sigma2 in (0.05, 0.5, 4.0):
        gains = rng.rayleigh(size=4)
        p = cvxpy.Variable(4, nonneg=True)
        snr = gains**2 / sigma2
        for ours, goal in (
            (waterfill, cvxpy.Maximize(cvxpy.sum(cvxpy.log1p(cvxpy.multiply(snr, p))))),
            (min_mse, cvxpy.Minimize(cvxpy.sum(cvxpy.inv_pos(1 + cvxpy.multiply(snr, p))))),
        ):
            cvxpy.Problem(goal, [cvxpy.sum(p) == 4]).solve(solver="CLARABEL")
            found = ours(torch.tensor(gains)[None], torch.tensor([sigma2], dtype=torch.float64), 4.0)[0].numpy()
            assert found.sum() == pytest.approx(4, rel=1e-9) and np.abs(found - p.value).max() < 2e-3


@pytest.mark.parametrize("name", PRECODERS)
def test_precoders_keep_the_power(name):
    h = complex_normal((50, 2, 3), generator(1))
    g = precoder(name, h, torch.full((50,), 0.5))
    assert g.shape == (50, 3, 3 if name == "none" else 2)
    assert torch.allclose((g.abs() ** 2).sum((1, 2)), torch.full((50,), 3.0), rtol=1e-4)
    assert torch.allclose(dft(4) @ dft(4).mH, torch.eye(4, dtype=torch.complex64), atol=1e-6)


def test_lmmse_has_the_error_of_theory():
    h, sigma2 = complex_normal((6, 3, 2), generator(2)), torch.linspace(0.05, 2, 6)
    x = map_bits(torch.randint(0, 2, (6, 2, 40_000), generator=generator(3)), "qpsk")
    y = propagate(x, h, sigma2, generator(4))
    gram = h.mH @ h / sigma2[:, None, None]
    wanted = torch.diagonal(torch.linalg.inv(torch.eye(2) + gram), dim1=1, dim2=2).real
    error = (linear_filter("lmmse", h, sigma2) @ y - x).abs().square().mean(2)
    assert torch.allclose(error, wanted, rtol=0.05)
    symbols, variance = linear("lmmse", y, h, sigma2)
    assert torch.allclose(variance, wanted / (1 - wanted), rtol=1e-3)
    for kind in ("lmmse", "zf", "mf"):
        symbols, variance = linear(kind, y, h, sigma2)
        assert torch.allclose((symbols - x).abs().square().mean(2), variance, rtol=0.05)


def test_maximum_likelihood_is_best_and_exact_on_one_stream():
    h, sigma2 = complex_normal((400, 2, 2), generator(5)), torch.full((400,), 0.2)
    bits = torch.randint(0, 2, (400, 2, 64), generator=generator(6))
    y = propagate(map_bits(bits, "qpsk"), h, sigma2, generator(7))
    wrong = {}
    for kind in ("ml", "lmmse", "zf", "mf"):
        llr, _ = detect(kind, y, h, sigma2, "qpsk")
        assert llr.shape == (400, 2, 32, 2)
        wrong[kind] = float((hard_bits(llr).reshape(400, 2, 64) != bits).float().mean())
    assert wrong["ml"] < wrong["lmmse"] < wrong["zf"] and wrong["lmmse"] < wrong["mf"]
    one = h[:, :, :1]
    y = propagate(map_bits(bits[:, :1], "16qam"), one, sigma2, generator(8))
    assert torch.allclose(*(detect(kind, y, one, sigma2, "16qam")[0] for kind in ("ml", "lmmse")), rtol=1e-3, atol=1e-2)
    with pytest.raises(UsageError, match="symbol vectors"):
        detect("ml", y, complex_normal((400, 2, 3), None), sigma2, "64qam")


def test_equal_power_svd_is_the_wishart_integral():
    """QPSK on the two eigenmodes of a 2x2 Rayleigh channel: E Q(sqrt(SNR x)), x an eigenvalue of H^H H."""
    x = np.linspace(0, 60, 200_001)
    density = 0.5 * (1 + (1 - x) ** 2) * np.exp(-x)
    h = complex_normal((20_000, 2, 2), generator(9))
    bits = torch.randint(0, 2, (20_000, 2, 32), generator=generator(10))
    for snr in (4, 8):
        sigma2 = torch.full((20_000,), 10 ** (-snr / 10))
        a = h @ precoder("svd-equal", h, sigma2)
        y = propagate(precoder("svd-equal", h, sigma2) @ map_bits(bits, "qpsk"), h, sigma2, generator(11))
        llr, _ = detect("lmmse", y, a, sigma2, "qpsk", "maxlog")
        found = float((hard_bits(llr).reshape(bits.shape) != bits).float().mean())
        assert found == pytest.approx(np.trapezoid(density * q(np.sqrt(10 ** (snr / 10) * x)), x), rel=0.03)


def test_a_stream_without_power_says_nothing():
    h = torch.diag(torch.tensor([2.0, 0.05])).to(torch.complex64)[None]
    sigma2 = torch.ones(1)
    g = precoder("svd-waterfill", h, sigma2)
    assert torch.allclose((g.abs() ** 2).sum(1)[0], torch.tensor([2.0, 0.0]))
    y = propagate(g @ map_bits(torch.ones(1, 2, 8).long(), "qpsk"), h, sigma2, generator(0))
    for kind in ("lmmse", "zf", "mf", "ml"):
        llr, _ = detect(kind, y, h @ g, sigma2, "qpsk")
        assert llr.isfinite().all() and llr[0, 1].abs().max() < 1e-3 < llr[0, 0].abs().min()


def test_fading_laws():
    for name, share in (("rayleigh2x3", 0.0), ("rician2x3", 10**0.6 / (1 + 10**0.6))):
        h = Fading(parse_channel(name)).draw_blocks(20_000, generator(1))
        assert h.shape == (20_000, 3, 2) and (h.abs() ** 2).mean((0,)).sub(1).abs().max() < 0.05
        spread = (h.abs() ** 2).var() / (h.abs() ** 2).mean() ** 2  # 1 - share^2 for Rice's law
        assert float(spread) == pytest.approx(1 - share**2, abs=0.03)
    drawn = Fading(parse_channel("rayleigh2x2", fade_every=7)).draw(20, generator(1))
    assert drawn.h.shape == (3, 2, 2) and drawn.per == 7
    wrong = disturb(torch.zeros(20_000, 1, 1, dtype=torch.complex64), 0.1, generator(2))
    assert float((wrong.abs() ** 2).mean()) == pytest.approx(0.1, rel=0.03)


def test_tapped_delay_lines_have_their_correlations():
    for law in TAPS:
        spec = parse_channel(f"{law}8x8", subcarriers=24, speed=30.0)
        drawn = [tdl_response(spec, 24 * 14, generator(seed)).reshape(14, 24, 64) for seed in range(10)]
        h = torch.cat(drawn, 2).permute(2, 0, 1)  # 640 independent pairs of antennas
        delays, powers = (np.array(values) for values in TAPS[law])
        powers = 10 ** (powers / 10) / (10 ** (powers / 10)).sum()
        assert np.sqrt((powers * delays**2).sum() - (powers * delays).sum() ** 2) == pytest.approx(1, abs=1e-3)
        found = complex((h[:, 0, 20] * h[:, 0, 0].conj()).mean())
        assert abs(found - (powers * np.exp(-2j * np.pi * 20 * 30e3 * 100e-9 * delays)).sum()) < 0.12
        shift = 2 * np.pi * 30 * 3.5e9 / 299_792_458 * 13 * 0.5e-3 / 14  # Jakes: J0 of the Doppler phase
        bessel = np.trapezoid(np.cos(shift * np.sin(np.linspace(0, np.pi, 1001))), dx=1 / 1000)
        assert abs(complex((h[:, 13, 5] * h[:, 0, 5].conj()).mean()) - bessel) < 0.12


def test_gradients_pass_through_the_whole_chain():
    """What a learned precoder needs: a loss on LLRs reaches the transmitted signal and the channel."""
    spec = parse_channel("rayleigh2x2")
    channel = Fading(spec)
    h = channel.draw_blocks(5, generator(1)).requires_grad_()
    x = map_bits(torch.randint(0, 2, (5, 2, 8), generator=generator(2)), "16qam").requires_grad_()
    sigma2 = torch.full((5,), 0.3)
    g = precoder("svd-minmse+dft", h, sigma2)
    llr, _ = detect("lmmse", channel(g @ x, h, sigma2, generator(3)), h @ g, sigma2, "16qam")
    llr.square().mean().backward()
    assert x.grad.isfinite().all() and x.grad.abs().min() > 0 and h.grad.isfinite().all() and h.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("name", "text"),
    [("lora", "no channel"), ("awgn2x3", "equal numbers"), ("rayleigh0x2", "1 to 16"), ("bsc2x2", "no antennas")],
)
def test_channels_that_are_none(name, text):
    with pytest.raises(UsageError, match=text):
        parse_channel(name)
