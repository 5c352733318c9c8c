"""Laws of gains and arrivals: means, correlation, burstiness; what a scenario refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import j0

from chappe.edge.bounds import channel_law, dual_certificate
from chappe.edge.policies import DriftPlusPenalty
from chappe.edge.scenario import Arrivals, Channel, Server
from chappe.edge.simulation import simulate
from chappe.edge.tdl import doppler, tdl_gains
from chappe.edge.traces import ArrivalTrace, GainTrace, device_gains, rayleigh_bins
from chappe.errors import UsageError
from edge.worlds import world


def gains(channel: Channel, slots: int = 300, devices: int = 2000) -> np.ndarray:
    trace = GainTrace(world(channel=channel, devices=devices))
    return np.stack([trace.next() for _ in range(slots)]) / channel.gain


def test_rayleigh_is_exponential_and_rician_has_its_factor():
    draws = gains(Channel("rayleigh"))
    assert draws.mean() == pytest.approx(1, rel=0.01) and draws.var() == pytest.approx(1, rel=0.02)
    k = 3.0
    draws = gains(Channel("rician", k_factor=k))
    assert draws.mean() == pytest.approx(1, rel=0.01)
    assert draws.var() == pytest.approx((1 + 2 * k) / (1 + k) ** 2, rel=0.02)


@pytest.mark.parametrize("kind", ["rayleigh", "bins"])
def test_correlation_keeps_the_law_and_squares_in_power(kind):
    draws = gains(Channel(kind, correlation=0.9), 200)
    assert draws[150:].mean() == pytest.approx(1, rel=0.02)
    if kind == "rayleigh":
        corr = np.corrcoef(draws[100:-1].ravel(), draws[101:].ravel())[0, 1]
        assert corr == pytest.approx(0.81, abs=0.02)
    else:
        assert set(np.unique(draws.round(9))) <= set(rayleigh_bins(8).round(9))


def test_bins_are_equally_likely_and_traces_are_read_cyclically():
    levels, count = np.unique(gains(Channel("bins", bins=4)).round(9), return_counts=True)
    np.testing.assert_allclose(levels, rayleigh_bins(4), atol=1e-8)
    np.testing.assert_allclose(count / count.sum(), 0.25, atol=0.003)
    draws = gains(Channel("trace", trace=(1.0, 2.0, 4.0)), 7, 50)
    assert np.array_equal(draws[:3], draws[3:6]) and len(np.unique(draws[0])) == 3


def test_shadowing_has_mean_one_and_its_spread_in_db():
    found = device_gains(world(channel=Channel(shadowing_db=6), devices=200_000)) / 1e-12
    assert found.mean() == pytest.approx(1, rel=0.03)
    assert (10 * np.log10(found)).std() == pytest.approx(6, rel=0.01)


def test_tapped_delay_lines_fade_as_jakes_says():
    channel, slot = Channel("tdl-a", gain=1.0, speed=1.0), 0.005
    draws = np.concatenate([tdl_gains(channel, slot=slot, bandwidth=180e3, seed=s, fades=25, slots=800)
                            for s in range(2)]) - 1  # fmt: skip
    np.testing.assert_allclose(draws.mean(1), 0, atol=1e-9)
    lags = np.array([0, 1, 2, 4, 6, 8, 11, 14, 18, 25])
    found = [(draws[:, : 800 - k] * draws[:, k:]).mean() / draws.var() for k in lags]
    # The power of a complex Gaussian of autocorrelation J0 has its square (Siegert).
    np.testing.assert_allclose(found, j0(2 * math.pi * doppler(channel) * slot * lags) ** 2, atol=0.06)
    assert doppler(channel) == pytest.approx(3.5e9 / 299_792_458)


def test_tapped_delay_lines_average_over_the_band_and_lose_by_it_what_jensen_takes():
    # RMS delay spread 300 ns over 2.5 MHz against next to none: frequency diversity narrows the law.
    wide = Channel("tdl-c", gain=1.0, delay_spread=300e-9)
    options = {"slot": 0.05, "bandwidth": 2.5e6, "seed": 4, "fades": 4, "slots": 1500}
    flat = tdl_gains(replace(wide, delay_spread=0.0), **options)
    mean, effective = tdl_gains(wide, **options), tdl_gains(replace(wide, snr_db=20.0), **options)
    assert flat.var() == pytest.approx(1.0, abs=0.15) and mean.var() < 0.7 * flat.var()
    assert (effective < mean).all() and 0.7 < effective.mean() < 0.95
    low = tdl_gains(replace(wide, snr_db=-40.0), **options)
    np.testing.assert_allclose(low, mean, rtol=2e-3)  # at low SNR what counts is the energy
    even = tdl_gains(replace(wide, delay_spread=0.0, snr_db=20.0), **options)
    np.testing.assert_allclose(even, flat, rtol=1e-5)  # nothing to average
    with pytest.raises(UsageError, match="found 'rayleigh'"):
        tdl_gains(Channel(), slot=0.05, bandwidth=1e6, seed=0)
    with pytest.raises(UsageError, match="1 to 256"):
        tdl_gains(wide, slot=0.05, bandwidth=1e6, seed=0, fades=257)


def test_a_scenario_takes_tapped_delay_lines():
    channel = Channel("tdl-c", speed=3.0)
    here = gains(channel, 200, 40)
    assert np.array_equal(here, gains(channel, 200, 40)) and (here > 0).all()
    assert here.mean() == pytest.approx(1.0, abs=0.1)
    assert abs(np.corrcoef(here[:, 0], here[:, 16])[0, 1]) < 0.5  # the same fade, from another slot on
    levels, probability = channel_law(world(channel=channel))
    assert probability @ levels / channel.gain == pytest.approx(1.0) and len(levels) == 64
    scenario = world(channel=channel, devices=16)
    certificate = dual_certificate(scenario, samples=4000)
    run = simulate(scenario, DriftPlusPenalty(30, "plain"), 800)
    assert run.verdict == "stable"
    charged = run.charged(float(certificate.item.mean()), float(certificate.perf.mean()))
    assert 16 * charged >= certificate.bound - 3 * 16 * run.power_error


@pytest.mark.parametrize(("kind", "rate"), [("poisson", 1.3), ("bernoulli", 0.4), ("periodic", 0.25), ("bursty", 0.8)])
def test_arrivals_have_their_rate(kind, rate):
    trace = ArrivalTrace(world(arrivals=Arrivals(rate, kind), devices=500))
    draws = np.stack([trace.next() for _ in range(800)])
    assert draws.mean() == pytest.approx(rate, rel=0.02)
    assert np.array_equal(draws, np.floor(draws))
    spread = draws.var() / draws.mean()
    # Poisson 1, Bernoulli 1 - p, bursty: 1 + rate (burst - 1)
    expected = {"poisson": 1, "bernoulli": 0.6, "periodic": 0.75, "bursty": 1 + 0.8 * 3}[kind]
    assert spread == pytest.approx(expected, rel=0.05)
    if kind == "periodic":
        assert (draws.reshape(200, 4, 500).sum(1) == 1).all()
    if kind == "bursty":
        on = draws[:, :] > 0
        assert (on[1:] & on[:-1]).mean() > 1.5 * on.mean() ** 2  # bursts last


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Channel("awgn"), "one of rayleigh"),
        (lambda: Channel(gain=0.0), "above 0"),
        (lambda: Channel(correlation=1.0), r"\[0, 1\)"),
        (lambda: Channel("trace"), "at least one gain"),
        (lambda: Channel("tdl-a", correlation=0.5), "its own"),
        (lambda: Channel("tdl-a", speed=-1.0), "from 0 on"),
        (lambda: Arrivals(math.inf), "finite"),
        (lambda: Arrivals(2.0, "periodic"), "at most one item"),
        (lambda: Arrivals(1.0, "bursty", burst=1.05, length=2), "this short"),
        (lambda: Server(speed=0.0), "above 0"),
        (lambda: world(goal=0.99), "no point reaches"),
        (lambda: world(delay=0.01), "at least the slot"),
        (lambda: world(max_items=0.5), "1 or more"),
        (lambda: replace(world(), devices=0), "at least one device"),
    ],
)
def test_what_cannot_be_is_refused(build, text):
    with pytest.raises(UsageError, match=text):
        build()


def test_a_scenario_describes_itself_in_json():
    import json

    told = json.loads(json.dumps(world(server=Server()).describe()))
    assert told["points"] == ["0", "1", "2", "3", "4", "5"] and told["channel"]["kind"] == "bins"
    assert world(delay=0.2).backlog_goal == pytest.approx(4.0)
