"""The process and its loss against closed forms and diffusers; the noise against its specification."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chappe.errors import StreamError, UsageError
from chappe.systems.diffusion.config import SAMPLERS, DiffusionConfig, Sampling, guidance_code
from chappe.systems.diffusion.noise import MAX_SEED, normal_noise, pack_seed, unpack_seed, words
from chappe.systems.diffusion.process import Diffusion, gaussian_kl, learned_log_variance
from chappe.systems.diffusion.sampler import open_chain, trailing

schedulers = pytest.importorskip("diffusers.schedulers")
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def test_the_forward_process_is_that_of_diffusers_and_of_its_steps():
    process, oracle = Diffusion(), schedulers.DDPMScheduler(**LINEAR)
    x, noise, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.randn(4, 3, 8, 8), torch.tensor([0, 10, 500, 999])
    torch.testing.assert_close(process.noised(x, t, noise), oracle.add_noise(x, noise, t), atol=1e-5, rtol=1e-4)
    kept, variance = 1.0, 0.0  # one step after another: x <- sqrt(1 - beta) x + sqrt(beta) noise
    for beta in np.linspace(1e-4, 0.02, 1000)[:501]:
        kept, variance = kept * math.sqrt(1 - beta), variance * (1 - beta) + beta
    at = process.at("kept", torch.tensor([500])).item()
    assert (math.sqrt(at), 1 - at) == (pytest.approx(kept, rel=1e-5), pytest.approx(variance, rel=1e-5))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_clean_picture_comes_back_from_a_right_prediction(prediction):
    process = Diffusion(prediction=prediction)
    x, noise, t = torch.rand(3, 3, 4, 4), torch.randn(3, 3, 4, 4), torch.tensor([1, 300, 900])
    xt, said = process.noised(x, t, noise), process.target(x, t, noise)
    torch.testing.assert_close(process.clean(said, xt, t), x, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(process.said_for(x, xt, t), said, atol=2e-3, rtol=1e-3)
    if prediction == "v_prediction":
        oracle = schedulers.DDPMScheduler(**LINEAR).get_velocity(x, noise, t)
        torch.testing.assert_close(said, oracle, atol=1e-5, rtol=1e-4)


def test_a_prediction_of_the_picture_adds_the_coarse_one_and_lets_faint_noise_through():
    process, t = Diffusion(prediction="sample", mix=0.1), torch.tensor([0, 35, 900])
    said, coarse, x = torch.rand(3, 6, 4, 4), torch.rand(3, 3, 4, 4), torch.randn(3, 3, 4, 4)
    out = process.predict(lambda *_: said, x, t, None, coarse)
    torch.testing.assert_close(out[:, 3:], said[:, 3:])
    for i in range(3):
        kept = process.at("kept", t)[i].item()
        share = 0.01 / (0.01 + (1 - kept) / kept)
        expected = share * x[i] / math.sqrt(kept) + (1 - share) * (said[i, :3] + coarse[i])
        torch.testing.assert_close(out[i, :3], expected, atol=1e-5, rtol=1e-4)
    assert (Diffusion(prediction="epsilon").predict(lambda *_: said, x, t, None, coarse) == said).all()


def test_errors_of_the_picture_weigh_what_the_error_of_v_they_make_does_but_for_faint_noise():
    sample, v, t = Diffusion(prediction="sample"), Diffusion(prediction="v_prediction"), torch.tensor([100, 400, 999])
    x, noise, error = torch.rand(3, 3, 4, 4), torch.randn(3, 3, 4, 4), 0.1 * torch.randn(3, 3, 4, 4)
    xt = v.noised(x, t, noise)
    wrong = v.said_for(x + error, xt, t) - v.target(x, t, noise)
    torch.testing.assert_close(sample.weight(t) * error.square(), wrong.square(), atol=1e-4, rtol=1e-2)
    assert sample.weight(torch.tensor([0])).item() == pytest.approx(20)
    assert v.weight(t).tolist() == Diffusion().weight(t).tolist() == [[[[1.0]]]] * 3


def test_the_posterior_is_bayes_rule():
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): a product of two Gaussians."""
    process, t = Diffusion(), 400
    betas = np.linspace(1e-4, 0.02, 1000)
    before = np.cumprod(1 - betas)[t - 1]
    x0, xt = 0.3, -0.7
    precision = (1 - betas[t]) / betas[t] + 1 / (1 - before)
    mean = (math.sqrt(1 - betas[t]) * xt / betas[t] + math.sqrt(before) * x0 / (1 - before)) / precision
    found, log_variance = process.posterior(
        torch.full((1, 1, 1, 1), x0), torch.full((1, 1, 1, 1), xt), torch.tensor([t])
    )
    assert found.item() == pytest.approx(mean, rel=1e-5)
    assert log_variance.exp().item() == pytest.approx(1 / precision, rel=1e-5)


def test_kl_is_that_of_torch_distributions_and_not_symmetric():
    m1, l1, m2, l2 = torch.randn(4, 50)
    normal = lambda m, log: torch.distributions.Normal(m, (0.5 * log).exp())  # noqa: E731
    expected = torch.distributions.kl_divergence(normal(m1, l1), normal(m2, l2))
    torch.testing.assert_close(gaussian_kl(m1, l1, m2, l2), expected)
    assert (gaussian_kl(m2, l2, m1, l1) - expected).abs().max() > 0.1


def test_the_learned_variance_lies_between_its_bounds_as_in_diffusers():
    oracle = schedulers.DDPMScheduler(**LINEAR, variance_type="learned_range")
    process, t, v = Diffusion(), torch.tensor([321]), torch.linspace(-1, 1, 7)
    beta, posterior = (process.at(k, t).flatten() for k in ("beta", "posterior"))
    ours = learned_log_variance(v, beta, posterior)
    torch.testing.assert_close(ours, oracle._get_variance(321, predicted_variance=v), atol=1e-4, rtol=1e-4)
    assert ours[0].exp().item() == pytest.approx(posterior.item(), rel=1e-5)
    assert ours[-1].exp().item() == pytest.approx(beta.item(), rel=1e-5)
    assert ours[3].exp().item() == pytest.approx(math.sqrt(beta.item() * posterior.item()), rel=1e-5)


def test_the_hybrid_loss_is_its_two_parts_and_the_bound_trains_the_variance_alone():
    process = Diffusion(prediction="epsilon")
    x, noise, t = torch.rand(2, 3, 8, 8) - 0.5, torch.randn(2, 3, 8, 8), torch.tensor([200, 700])
    xt = process.noised(x, t, noise)
    said, v = (torch.randn(2, 3, 8, 8, requires_grad=True) for _ in range(2))
    loss, figures = process.hybrid_loss(torch.cat([said, v], 1), x, xt, t, noise, 0.5)
    simple = torch.nn.functional.mse_loss(said, noise)
    mean, log_variance = process.posterior(process.clean(said, xt, t).clamp(-1, 1), xt, t)
    learned = learned_log_variance(v, process.at("beta", t), process.at("posterior", t))
    normal = lambda m, log: torch.distributions.Normal(m, (0.5 * log).exp())  # noqa: E731
    kl = torch.distributions.kl_divergence(normal(process.posterior(x, xt, t)[0], log_variance), normal(mean, learned))
    torch.testing.assert_close(loss, simple + 0.5 * kl.mean() / math.log(2))
    torch.testing.assert_close(figures["bound"], kl.mean() / math.log(2))
    expected = torch.autograd.grad(simple, said)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, said, retain_graph=True)[0], expected)
    assert torch.autograd.grad(loss, v)[0].abs().sum() > 0


def test_the_last_term_of_the_bound_sums_to_one_over_the_values_of_a_byte():
    from chappe.systems.diffusion.process import _discrete_log_likelihood

    values = torch.arange(256) / 127.5 - 1
    for mean, scale in ((0.1, 0.05), (-0.99, 0.3), (0.9, 0.01)):
        log = _discrete_log_likelihood(values, torch.full((256,), mean), torch.full((256,), math.log(scale)))
        assert log.exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_splitmix_has_its_published_outputs():
    assert [int(w) for w in words(0, 0, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(w) for w in words(1234567, 0, 2)] == [6457827717110365317, 3203168211198807973]
    np.testing.assert_array_equal(words(99, 5, 10), words(99, 0, 15)[5:])


def noise_by_the_book(seed: int, step: int, count: int) -> list[float]:
    """docs/format.md, chapter 11, in Python's whole numbers."""
    mask = (1 << 64) - 1

    def mixed(z: int) -> int:
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        return z ^ z >> 31

    state, out = mixed(seed + 0x9E3779B97F4A7C15 & mask), []
    for i in range(count):
        place = 3 * (step * count + i)
        parts = [mixed(state + (place + k + 1) * 0x9E3779B97F4A7C15 & mask) for k in range(3)]
        out.append((sum(w >> s & 0xFFFF for w in parts for s in (0, 16, 32, 48)) - 393210) / 65536)
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, MAX_SEED), st.integers(0, 60))
def test_the_noise_is_the_specified_one_exactly(seed, step):
    field = normal_noise(seed, step, (3, 2, 4))
    assert field.dtype == np.float32 and field.flatten().tolist() == noise_by_the_book(seed, step, 24)


def test_the_noise_is_nearly_normal_and_its_fields_are_independent():
    a, b, c = (normal_noise(*key, (3, 128, 128)) for key in ((7, 0), (7, 1), (8, 0)))
    assert abs(a.mean()) < 0.015 and a.std() == pytest.approx(1, abs=0.01)
    assert stats.kstest(a.flatten(), "norm").statistic < 0.008
    for other in (b, c, np.roll(a, 1, 2), np.roll(a, 1, 1), np.roll(a, 1, 0)):
        assert abs(np.corrcoef(a.flatten(), other.flatten())[0, 1]) < 0.02


@given(st.integers(0, MAX_SEED))
def test_seeds_come_back(seed):
    assert unpack_seed(pack_seed(seed)) == seed


def test_payloads_that_are_no_seed_are_refused():
    for payload in (b"", b"\0\1", b"123456789"):
        with pytest.raises(StreamError):
            unpack_seed(payload)
    with pytest.raises(UsageError):
        pack_seed(-1)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_sampler_lands_on_the_picture_when_the_network_knows_it(sampler, prediction):
    """A network that always names x_0: the chain has to end there, whatever the noise."""
    config, goal = DiffusionConfig(prediction=prediction), torch.rand(1, 3, 8, 8) * 1.6 - 0.8
    process = Diffusion(prediction=prediction)
    for begin, steps in ((1000, 5), (400, 10), (200, 20), (300, 7)):
        chain = open_chain(config, Sampling(sampler, steps, begin), 3, (8, 8))
        assert len(chain.times) == steps and abs(chain.times[0] + 1 - begin) <= 1000 / (steps * 1000 / begin)
        x = chain.start(goal)
        for k, t in enumerate(chain.times):
            said = process.said_for(goal, x, torch.tensor([t]))
            x = chain.step(k, torch.cat([said, torch.zeros_like(said)], 1), x)
        assert (x - goal).abs().max() < 0.05, (begin, steps)


def test_times_are_those_of_diffusers():
    for steps in (1, 2, 3, 7, 10, 50, 333, 1000):
        oracle = schedulers.DDIMScheduler(**LINEAR, timestep_spacing="trailing")
        oracle.set_timesteps(steps)
        assert trailing(1000, steps) == oracle.timesteps.tolist()


def test_consistency_names_a_picture_and_meets_fresh_noise():
    config, process = DiffusionConfig(), Diffusion(prediction="sample")
    chain = open_chain(config, Sampling("consistency", 4), 9, (8, 8))
    assert chain.times == [999, 749, 499, 249]
    x, said = chain.start(None), torch.full((1, 3, 8, 8), 0.25)
    out = torch.cat([said, torch.zeros_like(said)], 1)
    expected = process.noised(said, torch.tensor([749]), chain.noise(1))
    torch.testing.assert_close(chain.step(0, out, x), expected)
    torch.testing.assert_close(chain.step(3, out, x), said)


def test_ddpm_steps_have_the_mean_and_variance_of_diffusers():
    config = DiffusionConfig(prediction="epsilon")
    chain = open_chain(config, Sampling("ddpm", 10), 5, (8, 8))
    x, said, v = chain.start(None), 0.3 * torch.randn(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.4)
    oracle = schedulers.DDPMScheduler(**LINEAR, variance_type="learned_range", timestep_spacing="trailing")
    oracle.set_timesteps(10)
    t = chain.times[3]
    drawn = torch.Generator().manual_seed(1)
    there = oracle.step(torch.cat([said, v], 1), t, x, generator=drawn).prev_sample
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    spread = torch.exp(0.5 * oracle._get_variance(t, predicted_variance=v))
    ours = chain.step(3, torch.cat([said, v], 1), x)
    torch.testing.assert_close(ours - spread * chain.noise(4), there - spread * noise, atol=1e-4, rtol=1e-4)


def test_the_start_is_on_the_forward_marginal_or_clean():
    config, coarse = DiffusionConfig(), torch.full((1, 3, 16, 16), 0.5)
    noised = open_chain(config, Sampling(begin=400), 1, (16, 16))
    kept = Diffusion().at("kept", torch.tensor(noised.times[:1])).item()
    expected = math.sqrt(kept) * coarse + math.sqrt(1 - kept) * torch.from_numpy(normal_noise(1, 0, (1, 3, 16, 16)))
    torch.testing.assert_close(noised.start(coarse), expected, atol=1e-5, rtol=1e-5)
    clean = open_chain(config, Sampling(begin=400, start="clean"), 1, (16, 16))
    torch.testing.assert_close(clean.start(coarse), coarse)


def test_guidance_of_the_paper_is_one_more_than_that_of_the_code():
    e, e0, s = 0.7, 0.2, 2.0
    code = guidance_code(s, "paper")
    assert e0 + code * (e - e0) == pytest.approx(e + s * (e - e0))
    assert guidance_code(1.5, "code") == 1.5
    with pytest.raises(UsageError):
        guidance_code(1, "other")


@pytest.mark.parametrize("wrong", [{"sampler": "euler"}, {"start": "dirty"}, {"steps": 0}, {"begin": 1001},
                                   {"steps": 30, "begin": 20}, {"guidance": 16}])  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        Sampling(**wrong)
