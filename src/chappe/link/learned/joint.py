"""SCSC end to end: forward through the real codec and what the channel code does, backward through a proxy network.

SCSC Algorithm 2. First the proxy learns to make of a picture what codec and channel made of it (eq. 18); then PPEN and
PCEN learn, and the proxy goes on learning beside them, so that it stays near the pictures that PPEN makes. Where the
code is lost depends on fade and file size: a measured model decides it (`fec`), every `full_every`-th step the full
chain does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.classical.base import ClassicalCodec
from chappe.codec import OperatingPoint
from chappe.link.adaptation import MCS
from chappe.link.digital import DigitalLink
from chappe.link.learned.enhanced import EnhancedLink
from chappe.link.learned.fec import measure
from chappe.link.learned.pcen import linear_receiver, symbol_vectors
from chappe.link.learned.ppen import rounded
from chappe.link.learned.rate import rate_of
from chappe.link.learned.recipes import LinkRecipe, adamw, draw_fades, through, update
from chappe.link.learned.scsc import strength_of
from chappe.link.learned.tasklosses import task_loss
from chappe.link.picture import LOST_GREY
from chappe.link.precoding import precoder
from chappe.training.street import StreetBatches

__all__ = ["JointConfig", "ScscTask"]

_GREY = LOST_GREY / 127.5 - 1


@dataclass(frozen=True)
class JointConfig:
    """qualities: of the codec, one drawn for each picture. proxy_share: of the steps, for the proxy alone.

    rate_weight: of ln(bits a pixel), which eq. (19) leaves out: without it PPEN pays nothing for a larger file, and at
    a fixed quality it would make one. learn_lost: take gradients of pictures that were lost, where the loss says
    nothing of PPEN.
    """

    qualities: tuple[float, ...]
    mcs: MCS
    base: str = "svd-minmse+dft"  # precoder where there is no PCEN
    proxy_share: float = 0.3
    full_every: int = 20
    rate_weight: float = 0.02
    learn_lost: bool = False


class ScscTask:
    """parts: "ppen" and/or "pcen" (or "mutual"), and "proxy", which is not shipped. See the module."""

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

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        for module in self.modules.values():
            module.to(self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        recipe, joint, proxy = self.recipe, self.joint, self.modules["proxy"]
        ppen = self.modules.get("ppen")
        x_o, _ = self.batches.tensors(rng, self.device)
        quality = rng.choice(joint.qualities, len(x_o))
        strength = torch.tensor([strength_of(self.codec, q) for q in quality], dtype=torch.float32, device=self.device)
        h, sigma2 = draw_fades(recipe, len(x_o), self.device)
        training_ends = progress >= joint.proxy_share and ppen is not None
        x = x_o if not training_ends else rounded(ppen(x_o, strength))
        blobs, decoded = self._coded(x, quality)
        full = step % joint.full_every == joint.full_every - 1
        lost = self._lost(h, sigma2, blobs, rng, full)
        heard = torch.where(lost[:, None, None, None], torch.full_like(decoded, _GREY), decoded)
        pcen = self.modules.get("pcen")
        mimic = through(proxy, x, h, sigma2, proxy.config.symbols, pcen=pcen, strength=strength)
        kept = ~lost if bool((~lost).any()) else torch.ones_like(lost)
        figures = {"proxy": F.mse_loss(mimic[kept], heard[kept]), "lost": lost.float().mean()}
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        ends = sum(p.numel() for p in ppen.parameters()) if training_ends else 0
        if ends:
            out = mimic + (heard - mimic).detach()  # the real picture, the proxy's gradient
            used = out if joint.learn_lost else out[kept]
            original = x_o if joint.learn_lost else x_o[kept]
            figures["mse"] = F.mse_loss(used, original)
            loss = recipe.mse_weight * figures["mse"]
            if joint.rate_weight:
                bits = torch.tensor([8.0 * len(blob) for blob in blobs], device=self.device)
                rate = rate_of(x, bits)
                figures["bpp"] = rate.mean()
                loss = loss + joint.rate_weight * rate.log().mean()
            if self.segment is not None and recipe.task_weight:
                with torch.no_grad():
                    labels = self.segment(original).argmax(1)
                weights = {recipe.task: recipe.task_weight}
                weighted, told = task_loss(used, labels, self.segment, weights, recipe.things, rng)
                loss, figures = loss + weighted, figures | told
            _gradients(loss, [ppen, pcen])
        if self.enhancer is not None:
            fades = draw_fades(recipe, recipe.fades, self.device)
            figures["pcen"] = self.enhancer.loss(*fades).mean()
            _gradients(recipe.pcen_weight * figures["pcen"], [self.enhancer])
        _gradients(figures["proxy"], [proxy])
        for key, optimizer in self.optimizers.items():
            if key != "ppen" or ends:
                update(optimizer, progress, recipe.power, [self.modules[key]])
        return {k: float(v.detach()) for k, v in figures.items()}

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
