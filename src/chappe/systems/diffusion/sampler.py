"""Samplers of `diffusers` with our noise: the picture depends on the seed in the file, nothing is drawn here.

ddpm: ancestral, mean from `DDPMParallelScheduler`, the network's variance (IDDPM eq. 15, for the shorter chain);
ddim: deterministic (eta 0); dpm++: second-order multistep solver; sde-dpm++: its stochastic form. `consistency` is none
of diffusers': each pass names a picture, which meets fresh noise before the next (multistep consistency sampling,
Y. Song et al., Consistency models, 2023, algorithm 1): what `rollout_share` trains for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from chappe.errors import MissingDependency
from chappe.systems.diffusion.config import DiffusionConfig, Sampling
from chappe.systems.diffusion.process import Diffusion, learned_log_variance

__all__ = ["Chain", "open_chain"]


class Chain:
    """One shortened chain: `times`, the steps it visits, noisiest first, and how to go from one to the next.

    noise: (k) -> (N, 3, H, W), field 0 for the start, k + 1 for what step k adds.
    """

    def __init__(self, config: DiffusionConfig, sampling: Sampling, noise: Callable[[int], Tensor]):
        self.sampling, self.noise = sampling, noise
        self.process = Diffusion(config.steps, config.beta_start, config.beta_end, config.prediction, config.mix)
        # As many steps for the whole process as make `steps` for the part that is undone.
        total = min(config.steps, max(sampling.steps, round(sampling.steps * 1000 / sampling.begin)))
        self.times: list[int] = trailing(config.steps, total)[-sampling.steps :]
        self.scheduler = None if sampling.sampler == "consistency" else _scheduler(config, sampling.sampler)
        if self.scheduler is not None:
            self.scheduler.set_timesteps(total)
        if sampling.sampler.endswith("dpm++"):
            self.scheduler.set_begin_index(len(self.scheduler.timesteps) - len(self.times))

    def start(self, coarse: Tensor | None) -> Tensor:
        """x at the first time: noise, or the enlarged coarse picture (N, 3, H, W), noised to that time or clean."""
        noise = self.noise(0)
        if coarse is None or self.sampling.begin == 1000:
            return noise
        if self.sampling.start == "clean":
            return coarse.clone()
        return self.process.noised(coarse, torch.full((len(coarse),), self.times[0]), noise)

    def step(self, k: int, out: Tensor, x: Tensor) -> Tensor:
        """x after step k. out (N, 6, H, W): prediction and v of the variance; x (N, 3, H, W)."""
        said, v = out.chunk(2, 1)
        t, name = self.times[k], self.sampling.sampler
        if name == "ddpm":
            return self._ancestral(k, said, v, x)
        if name == "consistency":
            return self._renoised(k, said, x)
        if name == "ddim":
            return self.scheduler.step(said, t, x, eta=0.0).prev_sample
        extra = {"variance_noise": self.noise(k + 1)} if name.startswith("sde") else {}
        return self.scheduler.step(said, t, x, **extra).prev_sample

    def _renoised(self, k: int, said: Tensor, x: Tensor) -> Tensor:
        clean = self.process.clean(said, x, torch.full((len(x),), self.times[k], device=x.device)).clamp(-1, 1)
        if k + 1 == len(self.times):
            return clean
        following = torch.full((len(x),), self.times[k + 1], device=x.device)
        return self.process.noised(clean, following, self.noise(k + 1))

    def _ancestral(self, k: int, said: Tensor, v: Tensor, x: Tensor) -> Tensor:
        scheduler, t = self.scheduler, self.times[k]
        times = torch.full((len(x),), t, device=x.device)
        mean = scheduler.batch_step_no_noise(said, times, x)
        before = int(t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps)
        if before < 0:
            return mean
        kept, kept_before = (scheduler.alphas_cumprod[i].to(x) for i in (t, before))
        beta = 1 - kept / kept_before
        spread = learned_log_variance(v.clamp(-1, 1), beta, beta * (1 - kept_before) / (1 - kept))
        return mean + torch.exp(0.5 * spread) * self.noise(k + 1)


def trailing(process: int, steps: int) -> list[int]:
    """`steps` times of a process, the noisiest first, evenly spaced from its end: "trailing" in diffusers."""
    return [int(t) - 1 for t in np.round(np.arange(process, 0, -process / steps))]


def open_chain(config: DiffusionConfig, sampling: Sampling, seed: int, shape: tuple[int, int]) -> Chain:
    """The chain of one picture of `shape` (H, W), with the noise of `seed`."""
    from chappe.systems.diffusion.noise import normal_noise

    def noise(step: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(normal_noise(seed, step, (1, 3, *shape))))

    return Chain(config, sampling, noise)


def _scheduler(config: DiffusionConfig, sampler: str):
    try:
        from diffusers.schedulers import (
            DDIMScheduler,
            DDPMParallelScheduler,
            DPMSolverMultistepScheduler,
        )
    except ModuleNotFoundError as error:
        if error.name != "diffusers":
            raise
        raise MissingDependency(
            "Sampling needs the Python package 'diffusers': pip install 'chappe[diffusion]'."
        ) from error
    shared = {
        "num_train_timesteps": config.steps, "beta_start": config.beta_start, "beta_end": config.beta_end,
        "beta_schedule": "linear", "prediction_type": config.prediction, "timestep_spacing": "trailing",
    }  # fmt: skip
    if sampler == "ddpm":
        return DDPMParallelScheduler(**shared, clip_sample=True)
    if sampler == "ddim":
        return DDIMScheduler(**shared, clip_sample=True, set_alpha_to_one=True)
    kind = "sde-dpmsolver++" if sampler.startswith("sde") else "dpmsolver++"
    return DPMSolverMultistepScheduler(**shared, algorithm_type=kind, solver_order=2, lower_order_final=True)
