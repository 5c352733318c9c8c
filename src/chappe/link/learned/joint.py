"""SCSC end to end: forward through the real codec and what the channel code does, backward around or through a proxy.

SCSC Algorithm 2. With `gradient="proxy"` a proxy network first learns to make of a picture what codec and channel made
of it (eq. 18); then PPEN and PCEN learn, and the proxy goes on learning beside them, so that it stays near the pictures
that PPEN makes. With `gradient="around"` there is no proxy: the codec's output is taken to move as its input does.
Where the code is lost depends on fade and file size: a measured model decides it (`fec`), every `full_every`-th step
the full chain does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.classical.base import ClassicalCodec
from chappe.codec import OperatingPoint
from chappe.errors import UsageError
from chappe.link.adaptation import MCS
from chappe.link.digital import DigitalLink
from chappe.link.learned.enhanced import EnhancedLink
from chappe.link.learned.fec import measure
from chappe.link.learned.pcen import linear_receiver, symbol_vectors
from chappe.link.learned.ppen import rounded
from chappe.link.learned.rate import rate_of
from chappe.link.learned.recipes import LinkRecipe, adamw, draw_fades, target_labels, through, update
from chappe.link.learned.scsc import strength_of
from chappe.link.learned.tasklosses import task_loss
from chappe.link.picture import LOST_GREY
from chappe.link.precoding import precoder
from chappe.taxonomy import relevance
from chappe.training.street import StreetBatches

__all__ = ["JointConfig", "ScscTask"]

_GREY = LOST_GREY / 127.5 - 1


@dataclass(frozen=True)
class JointConfig:
    """qualities: of the codec, one drawn for each picture. proxy_share: of the steps, for the proxy alone.

    rate_weight: of ln(bits a pixel), which eq. (19) leaves out: without it PPEN pays nothing for a larger file, and at
    a fixed quality it would make one. None: at each quality what the codec itself pays there, that is how much its loss
    falls for a unit of ln(bits), measured on `price_batches` batches before the first step; then PPEN is better exactly
    if it is better at equal bytes. learn_lost: take gradients of pictures that were lost, where the loss says nothing
    of PPEN.
    """

    qualities: tuple[float, ...]
    mcs: MCS
    base: str = "svd-minmse+dft"  # precoder where there is no PCEN
    proxy_share: float = 0.3
    full_every: int = 20
    rate_weight: float | None = None
    learn_lost: bool = False
    gradient: str = "around"
    price_batches: int = 6


class ScscTask:
    """parts: "ppen" and/or "pcen" (or "mutual"), and "proxy" where the gradient needs it, which is not shipped."""

    name = "scsc"

    def __init__(self, parts: dict[str, nn.Module], codec: ClassicalCodec, recipe: LinkRecipe, joint: JointConfig,
                 batches: StreetBatches, *, segment=None):  # fmt: skip
        self.modules, self.codec, self.recipe, self.joint = parts, codec, recipe, joint
        self.batches, self.segment = batches, segment
        self.enhancer = parts.get("pcen", parts.get("mutual"))
        self.ema = tuple(name for name in parts if name != "proxy")
        rates = {"pcen": recipe.pcen_lr, "mutual": recipe.pcen_lr}
        self.optimizers = {
            key: adamw([{"params": list(m.parameters()), "base": rates.get(key, recipe.lr)}], recipe)
            for key, m in parts.items()
        }
        self.fec = measure(joint.mcs)
        self.relevance = torch.tensor(relevance(recipe.relevance, "street11"), dtype=torch.float32)

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        self.relevance = self.relevance.to(self.device)
        for module in self.modules.values():
            module.to(self.device, memory_format=torch.channels_last)  # less time a step on CPUs
        if "ppen" in self.modules:
            self.prices = self._prices()

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        recipe, joint, proxy = self.recipe, self.joint, self.modules.get("proxy")
        ppen = self.modules.get("ppen")
        x_o, labels = self.batches.tensors(rng, self.device)
        quality = rng.choice(joint.qualities, len(x_o))
        strength = torch.tensor([strength_of(self.codec, q) for q in quality], dtype=torch.float32, device=self.device)
        h, sigma2 = draw_fades(recipe, len(x_o), self.device)
        training_ends = ppen is not None and (proxy is None or progress >= joint.proxy_share)
        x = x_o if not training_ends else rounded(ppen(x_o, strength))
        blobs, decoded = self._coded(x, quality)
        full = step % joint.full_every == joint.full_every - 1
        lost = self._lost(h, sigma2, blobs, rng, full)
        heard = torch.where(lost[:, None, None, None], torch.full_like(decoded, _GREY), decoded)
        kept = ~lost if bool((~lost).any()) else torch.ones_like(lost)
        figures, mimic = {"lost": lost.float().mean()}, x
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if proxy is not None:
            pcen = self.modules.get("pcen")
            mimic = through(proxy, x, h, sigma2, proxy.config.symbols, pcen=pcen, strength=strength)
            figures["proxy"] = F.mse_loss(mimic[kept], heard[kept])
        if training_ends:
            out = mimic + (heard - mimic).detach()  # the real picture, the other's gradient
            use = torch.ones_like(lost) if joint.learn_lost else kept
            loss, told = self._ends_loss(out[use], x_o[use], labels[use], rng)
            bits = torch.tensor([8.0 * len(blob) for blob in blobs], device=self.device)
            rate = rate_of(x, bits)
            price = torch.tensor([self.prices[q] for q in quality.tolist()], dtype=rate.dtype, device=self.device)
            loss = loss + (price * rate.log()).mean()
            figures |= {"bpp": rate.mean(), **told}
            _gradients(loss, [ppen, self.modules.get("pcen")])
        if self.enhancer is not None:
            fades = draw_fades(recipe, recipe.fades, self.device)
            figures["pcen"] = self.enhancer.loss(*fades).mean()
            _gradients(recipe.pcen_weight * figures["pcen"], [self.enhancer])
        if proxy is not None:
            _gradients(figures["proxy"], [proxy])
        for key, optimizer in self.optimizers.items():
            if key != "ppen" or training_ends:
                update(optimizer, progress, recipe.power, [self.modules[key]])
        return {k: float(v.detach()) for k, v in figures.items()}

    def _ends_loss(
        self, out: Tensor, original: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """SCSC eq. (19) without PCEN's term, and what it is made of."""
        recipe = self.recipe
        weight = self.relevance[labels][:, None]
        figures = {"mse": (weight * (out - original).square()).mean() / weight.mean()}
        loss = recipe.mse_weight * figures["mse"]
        if self.segment is not None and recipe.task_weight:
            truth = target_labels(recipe, original, labels, self.segment)
            weights = {recipe.task: recipe.task_weight}
            weighted, told = task_loss(out, truth, self.segment, weights, recipe.things, rng)
            loss, figures = loss + weighted, figures | told
        return loss, figures

    @torch.no_grad()
    def _prices(self) -> dict[float, float]:
        """Of ln(bits) at each quality, see `JointConfig.rate_weight`; draws of their own, the same in every run."""
        joint = self.joint
        if joint.rate_weight is not None:
            return dict.fromkeys(joint.qualities, joint.rate_weight)
        rng, points = np.random.default_rng(self.recipe.seed), []
        with torch.random.fork_rng(devices=[]):
            for _ in range(joint.price_batches):
                x, labels = self.batches.tensors(rng, self.device)
                noise = int(rng.integers(1 << 31))
                row = []
                for quality in joint.qualities:
                    torch.manual_seed(noise)
                    blobs, decoded = self._coded(x, np.array([quality] * len(x)))
                    loss, _ = self._ends_loss(decoded, x, labels, np.random.default_rng(noise))
                    row.append((np.mean([math.log(len(blob)) for blob in blobs]), float(loss)))
                points.append(row)
        rate, loss = np.mean(points, 0).T
        if len(rate) == 1:
            raise UsageError("What a codec pays for its bits shows at two qualities or more: give a rate weight.")
        order = np.argsort(rate)
        slopes = np.empty_like(rate)
        slopes[order] = np.maximum(-np.gradient(loss[order], rate[order]), 1e-3)
        return dict(zip(joint.qualities, slopes.tolist(), strict=True))

    @torch.no_grad()
    def _coded(self, x: Tensor, quality: np.ndarray) -> tuple[list[bytes], Tensor]:
        """Real files of the pictures, and what they decode to."""
        pictures = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        blobs, out = [], []
        for picture, q in zip(pictures, quality, strict=True):
            q = q.item() if isinstance(q, np.generic) else q
            blobs.append(self.codec.encode(picture, point=OperatingPoint("q", {"quality": q})))
            out.append(self.codec.decode(blobs[-1]).image)
        stacked = torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        return blobs, stacked.to(self.device)

    @torch.no_grad()
    def _lost(self, h: Tensor, sigma2: Tensor, blobs: list[bytes], rng: np.random.Generator, full: bool) -> Tensor:
        """(N,) bool: which pictures the channel loses."""
        joint = self.joint
        draws = rng.random(len(blobs))
        if not full:
            if self.enhancer is not None:
                table, x = self.enhancer.table(h, sigma2), self.enhancer.x
            else:
                x = symbol_vectors(joint.mcs.modulation, min(h.shape[1:])).to(h)
                table = precoder(joint.base, h, sigma2) @ x
            _, variance = linear_receiver(table, x, h, sigma2)
            sizes = np.array([len(blob) for blob in blobs])
            return torch.from_numpy(draws < self.fec.loss(variance.cpu().numpy(), sizes)).to(self.device)
        lost = []
        for i, blob in enumerate(blobs):
            link = self.full_link(-10 * float(sigma2[i].log10()))
            lost.append(not link.send_over(blob, h[i : i + 1].cpu(), seed=int(rng.integers(1 << 31))).ok)
        return torch.tensor(lost, device=self.device)

    def full_link(self, snr_db: float) -> DigitalLink:
        """The real chain at one SNR."""
        recipe, mcs = self.recipe, self.joint.mcs
        options = {"channel": f"{recipe.channel}{recipe.nt}x{recipe.nr}", "snr_db": snr_db,
                   "modulation": mcs.modulation, "rate": mcs.rate, "precoder": self.joint.base}  # fmt: skip
        if self.enhancer is None:
            return DigitalLink(**options)
        import copy

        return EnhancedLink(**options, enhancer=copy.deepcopy(self.enhancer).cpu().eval())


def _gradients(loss: Tensor, modules: list[nn.Module | None]) -> None:
    """Adds the gradients of a loss to these modules alone, whatever else it depends on."""
    parameters = [p for module in modules if module is not None for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
