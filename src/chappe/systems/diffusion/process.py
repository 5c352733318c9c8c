"""The forward process, what a network is taught to predict, and the hybrid loss with a learned variance.

Sources: J. Ho et al., Denoising diffusion probabilistic models, NeurIPS 2020 (DDPM); A. Nichol and P. Dhariwal,
Improved denoising diffusion probabilistic models, ICML 2021 (IDDPM); GESCO 3.3, 3.4, whose alpha_t is `kept` here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from chappe.errors import UsageError

__all__ = ["PREDICTIONS", "Diffusion", "gaussian_kl", "learned_log_variance"]

_LEAST_NOISE = 0.05  # of 1 - kept, in the weight of a prediction of the picture: no weight above 20

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def gaussian_kl(mean1: Tensor, log_var1: Tensor, mean2: Tensor, log_var2: Tensor) -> Tensor:
    """KL(N(mean1, var1) || N(mean2, var2)) for each element, in nats."""
    gap = (mean1 - mean2).square() * torch.exp(-log_var2)
    return 0.5 * (log_var2 - log_var1 + torch.exp(log_var1 - log_var2) + gap - 1)


def learned_log_variance(v: Tensor, beta: Tensor, posterior: Tensor) -> Tensor:
    """IDDPM eq. (15) with v from [-1, 1]: v = 1 gives ln beta, v = -1 gives ln of the posterior variance."""
    share = (v + 1) / 2
    return share * beta.log() + (1 - share) * posterior.clamp(min=1e-20).log()


@dataclass(frozen=True)
class Diffusion:
    """A linear schedule of `steps` variances. `prediction`: epsilon (published), v_prediction or sample.

    A narrow network on folded pixels cannot carry the noise of every pixel to its output, which epsilon and v ask for;
    it can name the picture (T. Li, K. He, Back to basics: let denoising generative models denoise, 2025). For `sample`
    the network's word is added to the coarse picture, and `mix` lets x_t itself through where its noise is below that.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction: str = "epsilon"
    mix: float = 0.1

    def __post_init__(self):
        if self.prediction not in PREDICTIONS:
            raise UsageError(f"{self.prediction!r} is nothing that a network predicts: {', '.join(PREDICTIONS)}")
        betas = torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)
        kept = torch.cumprod(1 - betas, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        posterior = betas * (1 - before) / (1 - kept)
        posterior[0] = posterior[1]  # the first is 0: its logarithm is clipped (IDDPM)
        tables = {
            "beta": betas, "kept": kept, "posterior": posterior,
            "from_x0": betas * before.sqrt() / (1 - kept), "from_xt": (1 - before) * (1 - betas).sqrt() / (1 - kept),
        }  # fmt: skip
        object.__setattr__(self, "_tables", tables)

    def at(self, name: str, t: Tensor) -> Tensor:
        """Entries of a table (`beta`, `kept` = alpha bar, `posterior`, ...) for steps (N,): (N, 1, 1, 1) float32."""
        return self._tables[name].to(t.device)[t].float()[:, None, None, None]

    def noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(kept) x_0 + sqrt(1 - kept) noise (DDPM eq. 4; GESCO eq. 4). x0 (N, C, H, W), t (N,)."""
        kept = self.at("kept", t)
        return kept.sqrt() * x0 + (1 - kept).sqrt() * noise

    def predict(self, model, xt: Tensor, t: Tensor, planes, coarse: Tensor | None) -> Tensor:
        """What `model` says at x_t in the terms of `prediction`: (N, 6, H, W), prediction and variance, float32."""
        out = model(xt, t, planes, coarse).float()
        if self.prediction != "sample":
            return out
        said, v = out.chunk(2, 1)
        said = said if coarse is None else said + coarse
        kept = self.at("kept", t)
        share = self.mix**2 / (self.mix**2 + (1 - kept) / kept)  # of x_t: 1/2 where its noise is `mix`
        return torch.cat([share * xt / kept.sqrt() + (1 - share) * said, v], 1)

    def target(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the network should say: the noise, x_0, or v = sqrt(kept) noise - sqrt(1 - kept) x_0."""
        if self.prediction != "v_prediction":
            return noise if self.prediction == "epsilon" else x0
        kept = self.at("kept", t)
        return kept.sqrt() * noise - (1 - kept).sqrt() * x0

    def clean(self, said: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """x_0 from what the network said at x_t."""
        if self.prediction == "sample":
            return said
        kept = self.at("kept", t)
        if self.prediction == "epsilon":
            return (xt - (1 - kept).sqrt() * said) / kept.sqrt()
        return kept.sqrt() * xt - (1 - kept).sqrt() * said

    def said_for(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """What the network would have to say at x_t for `clean` to give x_0."""
        if self.prediction == "sample":
            return x0
        kept = self.at("kept", t)
        if self.prediction == "epsilon":
            return (xt - kept.sqrt() * x0) / (1 - kept).sqrt()
        return (kept.sqrt() * xt - x0) / (1 - kept).sqrt()

    def posterior(self, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (N, C, H, W) and log variance (N, 1, 1, 1) of q(x_{t-1} | x_t, x_0) (DDPM eqs. 6 and 7)."""
        mean = self.at("from_x0", t) * x0 + self.at("from_xt", t) * xt
        return mean, self.at("posterior", t).log()

    def hybrid_loss(self, out: Tensor, x0: Tensor, xt: Tensor, t: Tensor, noise: Tensor, weight: float = 1e-3,
                    simple_weight: float = 1.0):  # fmt: skip
        """GESCO eq. (10): squared error of the prediction plus `weight` times the variational bound.

        out (N, 6, H, W): prediction, then v of the variance. The bound, in bits a dimension, is KL(q || p) of each step
        (GESCO eq. 9 prints its arguments the other way round; IDDPM and this: posterior first), for t = 0 the negative
        log-likelihood of the 8-bit picture. It trains the variance alone: the mean in it is detached (IDDPM 3.1).
        Returns (loss, figures).
        """
        said, v = out.float().chunk(2, 1)
        simple = (self.weight(t) * (said - self.target(x0, t, noise)).square()).mean()
        bound = self.bound(said.detach(), v, x0, xt, t).mean()
        return simple_weight * simple + weight * bound, {"simple": simple.detach(), "bound": bound.detach()}

    def weight(self, t: Tensor) -> Tensor:
        """Of the squared error, (N, 1, 1, 1): 1; for `sample` that of v, 1 / (1 - kept), as far as 20."""
        if self.prediction != "sample":
            return torch.ones_like(self.at("kept", t))
        return 1 / (1 - self.at("kept", t)).clamp(min=_LEAST_NOISE)

    def bound(self, said: Tensor, v: Tensor, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Terms of the variational bound (N,), bits a dimension."""
        log_variance = learned_log_variance(v, self.at("beta", t), self.at("posterior", t))
        mean = self.posterior(self.clean(said, xt, t).clamp(-1, 1), xt, t)[0]
        true_mean, true_log = self.posterior(x0, xt, t)
        kl = gaussian_kl(true_mean, true_log, mean, log_variance)
        nll = -_discrete_log_likelihood(x0, mean, 0.5 * log_variance)
        terms = torch.where(t[:, None, None, None] == 0, nll, kl)
        return terms.flatten(1).mean(1) / math.log(2)


def _discrete_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """ln P of 8-bit values in [-1, 1] under a Gaussian, integrated over their bins (DDPM eq. 13)."""
    inverse = torch.exp(-log_scale)
    above = torch.special.ndtr((x - mean + 1 / 255) * inverse)
    below = torch.special.ndtr((x - mean - 1 / 255) * inverse)
    inside = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return inside.clamp(min=1e-12).log()
