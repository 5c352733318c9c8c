"""Training of the links that send learned symbols, and of PCEN and the mutual-information precoder alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.link.channels import ChannelSpec, Fading
from chappe.link.learned.analog import condition, linear_precoder, over_air
from chappe.link.learned.jscc import JsccNet, pack, unpack
from chappe.link.learned.tasklosses import task_loss
from chappe.training.loop import average_gradients
from chappe.training.picture import STREET_RELEVANCE
from chappe.training.street import StreetBatches

__all__ = ["EnhancerTask", "JsccTask", "LinkRecipe", "adamw", "target_labels", "through", "update"]


@dataclass(frozen=True)
class LinkRecipe:
    """SCSC section IV-A where it says something. snr: dB, drawn evenly; least: smallest share of the symbols sent.

    weights: L_pcen, the task and the mean square error, SCSC eq. (19), which has .1 for the last and does not state its
    units. task: segmentation, detection or classification, against the data's own labels ("true") or, as in eq. (20),
    what the reader reads in the original ("read"). relevance: weights of the classes in SCSC's mean square error, a
    profile `chappe.taxonomy` understands: what matters gets the bits, for any reader and not only the one in the loss.
    fades: channels a step for PCEN, whose weights are few: they learn at their own rate. zoom: of the crops, see
    `chappe.training.frames.Augment`; half the width of a frame at half its size is what a network meets later.
    """

    batch: int = 4
    lr: float = 5e-4
    power: float = 0.9  # of the polynomial decay
    size: tuple[int, int] = (128, 256)
    zoom: tuple[float, float] = (0.4, 0.9)
    channel: str = "rayleigh"
    nt: int = 2
    nr: int = 2
    snr: tuple[float, float] = (2.0, 12.0)
    least: float = 0.1
    pcen_weight: float = 0.1
    task_weight: float = 0.25
    mse_weight: float = 10.0
    task: str = "segmentation"
    labels: str = "true"
    relevance: str = STREET_RELEVANCE
    things: tuple[int, ...] = (6, 8, 9, 10)  # of street11: signs, cars, pedestrians, bicyclists
    fades: int = 256
    pcen_lr: float = 0.02
    scene_share: float = 0.12
    seed: int = 0

    def channel_of(self) -> Fading:
        """The channel that is trained on: one fade a picture."""
        return Fading(ChannelSpec(self.channel, self.nt, self.nr))


def adamw(groups: list[dict], recipe: LinkRecipe) -> torch.optim.Optimizer:
    """AdamW over parameter groups, each with its own first rate `base`."""
    return torch.optim.AdamW([{**group, "lr": group["base"]} for group in groups], recipe.lr, weight_decay=1e-4)


def update(optimizer: torch.optim.Optimizer, progress: float, power: float, modules: list[nn.Module]) -> None:
    """One step at the polynomial schedule's rate, with clipped gradients, the mean over all processes."""
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * max(1e-3, (1 - progress) ** power)
    for module in modules:
        average_gradients(module)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()


def draw_fades(recipe: LinkRecipe, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Channels (B, Nr, Nt) and noise variances (B,)."""
    h = recipe.channel_of().draw_blocks(batch).to(device)
    snr = torch.empty(batch).uniform_(*recipe.snr)
    return h, (10 ** (-snr / 10)).to(device)


@torch.no_grad()
def target_labels(recipe: LinkRecipe, original: Tensor, labels: Tensor, segment) -> Tensor:
    """What a task's loss compares with, (N, H, W): the labels of the data, or of the reader on the originals."""
    return labels if recipe.labels == "true" else segment(original).argmax(1)


def through(
    net: JsccNet, x: Tensor, h: Tensor, sigma2: Tensor, count: int, *, pcen=None, strength: Tensor | float = 0.0
) -> Tensor:
    """A batch of pictures (N, 3, H, W) through a network and a fade each: (N, 3, H, W)."""
    g = linear_precoder(pcen, h, sigma2)
    a = h @ g
    with torch.no_grad():
        variance = over_air(a.new_zeros(len(h), g.shape[2], 1), g, h, a, sigma2)[2]
    told = condition(sigma2, variance, count / net.config.symbols, strength)
    sent = pack(net.encode(x, told, count), g.shape[2])
    heard = over_air(sent, g, h, a, sigma2)[1]
    return net.decode(unpack(heard, count, net.grid(*x.shape[2:])), told, tuple(x.shape[2:]))


class JsccTask:
    """ADJSCC, DeepJSCC-MIMO and ProxyNet: mean square error over random fades, SNRs and rates.

    parts: "net", and for ProxyNet "ppen" and "pcen". segment: the frozen reader of the task loss, or None.
    """

    def __init__(self, name: str, parts: dict[str, nn.Module], recipe: LinkRecipe, batches: StreetBatches, *,
                 segment=None, task_weight: float = 0.0):  # fmt: skip
        self.name, self.modules, self.recipe, self.batches = name, parts, recipe, batches
        self.segment, self.task_weight = segment, task_weight
        self.ema = tuple(parts)
        rates = {"pcen": recipe.pcen_lr}
        self.optimizers = {
            key: adamw([{"params": list(m.parameters()), "base": rates.get(key, recipe.lr)}], recipe)
            for key, m in parts.items()
        }

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        for module in self.modules.values():
            module.to(self.device, memory_format=torch.channels_last)  # a third less time a step on CPUs

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        recipe, net = self.recipe, self.modules["net"]
        ppen, pcen = self.modules.get("ppen"), self.modules.get("pcen")
        x, labels = self.batches.tensors(rng, self.device)
        h, sigma2 = draw_fades(recipe, len(x), self.device)
        share = float(np.exp(rng.uniform(np.log(recipe.least), 0.0)))
        count = max(1, round(share * net.config.symbols / 2)) * 2
        given = x if ppen is None else ppen(x, x.new_zeros(len(x)))
        fake = through(net, given, h, sigma2, min(count, net.config.symbols), pcen=pcen)
        figures = {"mse": F.mse_loss(fake, x)}
        loss = figures["mse"]
        if self.segment is not None and self.task_weight:
            truth = target_labels(recipe, x, labels, self.segment)
            weighted, told = task_loss(fake, truth, self.segment, {recipe.task: self.task_weight}, recipe.things, rng)
            loss, figures = loss + weighted, figures | told
        if pcen is not None:
            figures["pcen"] = pcen.loss(*draw_fades(recipe, recipe.fades, self.device)).mean()
            loss = loss + recipe.pcen_weight * figures["pcen"]
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for key, optimizer in self.optimizers.items():
            update(optimizer, progress, recipe.power, [self.modules[key]])
        return {k: float(v.detach()) for k, v in figures.items()}


class EnhancerTask:
    """A PCEN or a MutualPrecoder alone, on fades and symbols: no pictures. Takes seconds."""

    name = "precoder"

    def __init__(self, module: nn.Module, recipe: LinkRecipe, rate: float = 0.5):
        self.modules, self.recipe, self.rate = {"enhancer": module}, recipe, rate
        self.ema = ("enhancer",)
        self.optimizers = {"enhancer": adamw([{"params": list(module.parameters()), "base": recipe.pcen_lr}], recipe)}

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        self.modules["enhancer"].to(self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        module = self.modules["enhancer"]
        fades = draw_fades(self.recipe, self.recipe.fades, self.device)
        mutual = hasattr(module, "precoder")
        loss = (module.loss(*fades, rate=self.rate) if mutual else module.loss(*fades)).mean()
        self.optimizers["enhancer"].zero_grad(set_to_none=True)
        loss.backward()
        update(self.optimizers["enhancer"], progress, self.recipe.power, [module])
        return {"loss": float(loss.detach())}
