"""Training of the diffusion receivers: one network for SPIC (map and coarse picture) and GESCO (noisy map alone).

Every batch is made ahead, on other threads, from (seed, step) alone, so that resuming is exact and a GPU does not wait.
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.nn.unet import SemanticUNet
from chappe.segment.train import class_weights
from chappe.systems.diffusion.channel import CONDITIONS, fast_denoise, noise_sigma, plane_sigma
from chappe.systems.diffusion.config import GESCO_DEFAULTS, PRESETS, SPIC_DEFAULTS, DiffusionConfig, preset
from chappe.systems.diffusion.engine import enlarged, pixels
from chappe.systems.diffusion.first import hard_labels, load_first
from chappe.systems.diffusion.process import Diffusion
from chappe.systems.spic.coarse import decode_coarse, encode_coarse, shrink
from chappe.training import losses
from chappe.training.frames import Augment, Frames, to_tensors
from chappe.training.loop import LoopConfig, average_gradients, train
from chappe.training.street import StreetBatches, load_perceptual, load_teacher, near_map

_PLAIN = 8.0  # times the loss of batches of squared error alone: Adam's steps follow the others' larger gradients
_FIRST = 0.7  # of the process: from here on x_t is noise, less than a hundredth of it the picture

__all__ = ["DiffusionTask", "TrainConfig", "export", "main", "recipe"]


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. Shares are of the pictures of a batch, drawn for each."""

    batch: int = 2
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 200
    constant: bool = False  # learning rate: published, constant; else cosine to 1/200
    size: tuple[int, int] = (256, 512)
    zoom: tuple[float, float] = Augment.zoom  # what a crop shows of the frame's width, see `Augment`
    bound_weight: float = 1e-3  # lambda of GESCO eq. (10); its public code: 0
    null_share: float = 0.1  # null map, for guidance; the semantic diffusion model: 0.2, SPIC's documented recipe: 0
    coarse_share: float = 0.6  # of the pictures with a coarse picture, where the network may do without
    noisy_share: float = 2 / 3  # of those without one: maps over a noisy channel; 0 trains GESCO's ablation
    conditions: tuple[float, ...] = CONDITIONS[:-1]
    table: str = "formula"
    power: str = "unit"
    fds_share: float = 0.5  # of the noisy maps: through the fast denoising block; published: 0
    quality: tuple[int, int] = (5, 45)  # of the coarse AV1 picture
    speeds: tuple[int, ...] = (8, 10)
    near_share: float = 0.7  # maps in cells, as a near-lossless map comes back
    # Of the batches: x_t is made not of the picture but of what sampling has there, the first picture or what the
    # network itself named when x_t was noise, so that later passes correct earlier ones. A network that has only met
    # noised pictures takes its own errors for details that were sent, and every pass makes them larger.
    rollout_share: float = 0.0
    segmented_share: float = 0.0  # of the maps: what the segmenter reads in the picture
    simple_weight: float = 1.0  # of the squared error
    # The next four are of the picture that the network names at each x_t, beside the published loss: with squared error
    # alone a network trained briefly names blurred pictures, and few steps cannot sharpen them.
    perceptual_weight: float = 0.0
    perceptual_crop: float = 0.5
    spectrum_weight: float = 0.0
    meaning_weight: float = 0.0
    # None of these where x_t is noise: the first pass then names the mean of all pictures that fit, which has the least
    # squared error, and later passes one that looks like a street.
    mean_first: bool = False
    paste_classes: tuple[str, ...] = ("SignSymbol", "Pedestrian", "Bicyclist")
    paste_most: int = 8
    scene_share: float = 0.12
    precision: str = "fp32"  # or bf16, fp16: autocast; weights and losses stay float32
    workers: int = 2  # threads that make batches
    seed: int = 0

    def __post_init__(self):
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise UsageError(f"precision={self.precision!r} is none; use fp32, bf16 or fp16")


def recipe(name: str) -> TrainConfig:
    """The training of a preset: the published one for `paper` and `paper-gesco`, else ours."""
    if name == "street":
        return TrainConfig(
            lr=4e-4, warmup=100, size=(192, 384), zoom=(0.56, 0.84), rollout_share=0.6, segmented_share=0.4,
            mean_first=True, simple_weight=5.0, perceptual_weight=1.5, spectrum_weight=0.3, meaning_weight=0.25,
        )  # fmt: skip
    if not name.startswith("paper"):
        return TrainConfig()
    shared = TrainConfig(lr=1e-4, warmup=1, constant=True, fds_share=0.0, paste_most=0, paste_classes=(),
                         scene_share=0.0, null_share=0.2, precision="fp16")  # fmt: skip
    return replace(shared, batch=8, coarse_share=1.0) if name == "paper" else replace(shared, batch=4, coarse_share=0.0)


@dataclass
class _Batch:
    x: Tensor  # (N, 3, H, W) in [-1, 1]
    planes: Tensor  # (N, C, H, W) as the receiver has them
    coarse: Tensor | None  # (N, 3, H, W), enlarged; all zero where dropped; or the first picture drawn from both
    labels: Tensor  # (N, H, W), the true ones


class DiffusionTask:
    """See the module."""

    name = "diffusion"
    ema = ("net",)
    _SCALE = 1024.0  # of the loss with fp16: fixed, so no state to resume; steps that overflow are skipped

    def __init__(self, model: SemanticUNet, shape: DiffusionConfig, config: TrainConfig, frames: Frames, *,
                 scenes: Frames | None = None, perceptual: nn.Module | None = None, segment=None):  # fmt: skip
        from chappe.taxonomy import get_taxonomy, relevance

        self.model, self.shape, self.config = model, shape, config
        self.perceptual, self.segment = perceptual, segment
        self.first = load_first(shape.first) if shape.first else None
        self.class_weights = class_weights(frames, shape.classes) if config.meaning_weight else torch.zeros(0)
        self.process = Diffusion(shape.steps, shape.beta_start, shape.beta_end, shape.prediction, shape.mix)
        self.modules = {"net": model}
        self.optimizers = {"net": torch.optim.AdamW(model.parameters(), config.lr, config.betas, weight_decay=0.0)}
        classes = get_taxonomy(shape.taxonomy).classes
        self.batches = StreetBatches(
            frames, config.batch, shape.classes, config.size, scenes, config.scene_share,
            paste=tuple(classes.index(c) for c in config.paste_classes),
            protected=tuple(int(k) for k in np.nonzero(relevance("sqgan-image", shape.taxonomy) >= 0.55)[0])
            if config.paste_most else (),
            paste_most=config.paste_most, zoom=config.zoom,
        )  # fmt: skip
        self.rank, self.device = 0, torch.device("cpu")
        self._pool = ThreadPoolExecutor(config.workers) if config.workers else None
        self._ahead: dict[int, Future] = {}

    def prepare(self, accelerator) -> None:
        self.device, self.rank = accelerator.device, accelerator.process_index
        self.model.to(self.device, memory_format=torch.channels_last)
        if isinstance(self.perceptual, nn.Module):
            self.perceptual.to(self.device)
        self.class_weights = self.class_weights.to(self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        cfg, optimizer = self.config, self.optimizers["net"]
        decay = 1.0 if cfg.constant else 0.5 * (1 + math.cos(math.pi * progress)) + 0.005
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * min(1.0, (step + 1) / cfg.warmup) * decay
        batch = self._batch(step)
        x, planes = (a.to(self.device, non_blocking=True) for a in (batch.x, batch.planes))
        coarse = None if batch.coarse is None else batch.coarse.to(self.device, non_blocking=True)
        plain = cfg.mean_first and rng.random() < 1 - _FIRST  # one kind a batch
        border = int(_FIRST * self.shape.steps)
        low, high = border if plain else 0, border if cfg.mean_first and not plain else self.shape.steps
        t = torch.from_numpy(rng.integers(low, high, len(x))).to(self.device)
        noise = torch.randn(x.shape).to(self.device)  # drawn on the CPU: the same on any device
        self.model.train()
        shown, kind = x, rng.random()
        if kind < cfg.rollout_share:
            begun = self.first is not None and kind < 0.5 * cfg.rollout_share
            shown = coarse if begun else self._rolled(x, planes, coarse, rng)
        noisy = self.process.noised(shown, t, noise).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            out = self.process.predict(self.model, noisy, t, planes, coarse)
        loss, figures = self.process.hybrid_loss(out, x, noisy, t, noise, cfg.bound_weight, cfg.simple_weight)
        if plain:
            loss = _PLAIN * loss
        else:
            clean = self.process.clean(out[:, :3], noisy, t)
            for name, weight, value in self._seen(clean, x, batch.labels.to(self.device), rng):
                loss, figures[name] = loss + weight * value, value.detach()
        optimizer.zero_grad(set_to_none=True)
        scale = self._SCALE if cfg.precision == "fp16" else 1.0
        (loss * scale).backward()
        if scale != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(scale)
        average_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        finite = bool(torch.isfinite(norm))
        if finite:
            optimizer.step()
        return {k: float(v) for k, v in figures.items()} | {"skipped": 0.0 if finite else 1.0}

    @torch.no_grad()
    def _rolled(self, x: Tensor, planes: Tensor, coarse: Tensor | None, rng: np.random.Generator) -> Tensor:
        """What the network names in a first pass, (N, 3, H, W) in [-1, 1]."""
        t = torch.from_numpy(rng.integers(int(_FIRST * self.shape.steps), self.shape.steps, len(x))).to(self.device)
        noisy = self.process.noised(x, t, torch.randn(x.shape).to(self.device))
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            out = self.process.predict(self.model, noisy, t, planes, coarse)
        return self.process.clean(out[:, :3], noisy, t).clamp(-1, 1)

    def _seen(self, clean: Tensor, x: Tensor, labels: Tensor, rng: np.random.Generator):
        """(name, weight, loss) of what eyes and segmenters make of the picture that the network names."""
        cfg = self.config
        if self.perceptual is not None and cfg.perceptual_weight:
            distance = losses.perceptual_loss(clean, x, self.perceptual, cfg.perceptual_crop, rng)
            yield "lpips", cfg.perceptual_weight, distance
        if cfg.spectrum_weight:
            yield "spectrum", cfg.spectrum_weight, losses.spectrum_loss(clean, x, rng)
        if self.segment is not None and cfg.meaning_weight:
            meaning = losses.meaning_loss(clean, labels, self.segment, self.class_weights, rng)
            yield "meaning", cfg.meaning_weight, meaning

    def _autocast(self):
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, kinds[self.config.precision])

    def _batch(self, step: int) -> _Batch:
        """The batch of a step; those of the next ones are begun."""
        if self._pool is None:
            return self.make_batch(step)
        for k in range(step, step + self.config.workers + 1):
            if k not in self._ahead:
                self._ahead[k] = self._pool.submit(self.make_batch, k)
        return self._ahead.pop(step).result()

    def make_batch(self, step: int) -> _Batch:
        """A function of (seed, step) and of the process's number."""
        cfg, shape = self.config, self.shape
        rng = np.random.default_rng([cfg.seed, step, self.rank, 1])
        images, labels = self.batches.arrays(rng)
        x, y = to_tensors(images, labels)
        planes = torch.zeros(len(x), shape.unet.planes, *x.shape[2:])
        kind = shape.unet.coarse
        coarse = None if kind == "none" else torch.zeros_like(x)
        for i in range(len(x)):
            may = kind == "optional" or self.first is not None
            has = rng.random() < cfg.coarse_share if may else kind == "always"
            small = None
            if has:
                quality, speed = int(rng.integers(*cfg.quality)), int(rng.choice(cfg.speeds))
                small = shrink(images[i])
                small = decode_coarse(encode_coarse(small, quality, speed), *small.shape[:2])
            sent = y[i : i + 1]
            if self.segment is not None and rng.random() < cfg.segmented_share:
                with torch.no_grad():  # on the device where the steps read with it: it follows its pictures there
                    sent = self.segment(x[i : i + 1].to(self.device)).argmax(1).cpu()
            sent = near_map(sent, shape.classes + 1, rng)[0] if rng.random() < cfg.near_share else sent[0]
            null = rng.random() < cfg.null_share
            heard = self._received(sent, not has and rng.random() < cfg.noisy_share, rng)
            if not null:
                planes[i, : shape.classes] = heard
            if self.first is not None:
                coarse[i] = pixels(self.first(hard_labels(heard.numpy(), shape.classes), small))[0]
            elif small is not None:
                coarse[i] = enlarged(small, tuple(x.shape[2:]))[0]
        return _Batch(x, planes, coarse, y)

    def _received(self, labels: Tensor, noisy: bool, rng: np.random.Generator) -> Tensor:
        """Planes (classes, H, W) of a map (H, W), over a channel of random condition where `noisy`."""
        from chappe.nn.condition import one_hot

        cfg = self.config
        planes = one_hot(labels[None], self.shape.classes)[0]
        there = planes.flatten(1).any(1)
        if not noisy or not there.any():
            return planes
        sent = planes[there].numpy()
        sigma = noise_sigma(float(rng.choice(cfg.conditions)), cfg.table)
        sigma = np.float32(plane_sigma(sigma, float(np.square(sent).mean()), cfg.power))
        heard = sent + sigma * rng.standard_normal(sent.shape, dtype=np.float32)
        planes[there] = torch.from_numpy(fast_denoise(heard) if rng.random() < cfg.fds_share else heard)
        return planes


def main(argv: list[str] | None = None) -> int:
    """`chappe train diffusion --data DIR --out DIR`: a network for SPIC and GESCO, then its weights in OUT/weights."""
    parser = argparse.ArgumentParser(prog="chappe train diffusion", description=main.__doc__)
    parser.add_argument("--data", required=True, type=Path, help="data set folder, or a packed file")
    parser.add_argument("--out", required=True, type=Path, help="folder for the checkpoint, the log and the weights")
    parser.add_argument("--preset", default="street", choices=sorted(PRESETS))
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch", type=int, help="pictures a step (default: the recipe's)")
    parser.add_argument("--lr", type=float, help="learning rate (default: the recipe's)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="training size (default: the recipe's)")
    parser.add_argument("--scenes", type=int, default=200, help="procedural scenes to mix in (0: none)")
    parser.add_argument("--start", type=Path, help="model folder whose weights to begin with")
    parser.add_argument("--lpips", type=Path, help="LPIPS SqueezeNet weights (default: $CHAPPE_DATA/weights)")
    parser.add_argument("--no-lpips", action="store_true", help="train without a perceptual loss (for tests)")
    parser.add_argument("--clean-maps", action="store_true", help="no channel noise in training (GESCO's ablation)")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--workers", type=int, help="threads that make batches (default 2)")
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights (published: 0.9999)")
    parser.add_argument("--minutes", type=float, help="stop, resumably, after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: leave as is)")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    from chappe.training.corpus import load_frames, load_scenes

    overrides = {
        "batch": args.batch, "lr": args.lr, "size": tuple(args.size) if args.size else None, "seed": args.seed,
        "precision": args.precision, "workers": args.workers, "noisy_share": 0.0 if args.clean_maps else None,
    }  # fmt: skip
    config = replace(recipe(args.preset), **{k: v for k, v in overrides.items() if v is not None})
    shape = preset(args.preset)
    if any(side % shape.unet.multiple for side in config.size):
        raise UsageError(f"--size {config.size[0]} {config.size[1]}: both should be multiples of {shape.unet.multiple}")
    torch.manual_seed(args.seed)
    see, read = config.perceptual_weight and not args.no_lpips, config.meaning_weight or config.segmented_share
    model = SemanticUNet(shape.unet)
    if args.start:
        from chappe.training.export import load_model

        model.load_state_dict(load_model(args.start)[0])
    task = DiffusionTask(
        model, shape, config, load_frames(args.data),
        scenes=load_scenes(args.scenes) if args.scenes else None,
        perceptual=load_perceptual(args.lpips) if see else None, segment=load_teacher(shape.taxonomy) if read else None,
    )  # fmt: skip
    loop = LoopConfig(args.out, args.steps, args.seed, ema_decay=args.ema, minutes=args.minutes)
    ema = train(task, loop)
    if ema is not None:  # None: stopped before its end; the same command goes on from here
        export(args.out, ema["net"], shape, config)
    return 0


def export(out: Path, state: dict[str, Tensor], shape: DiffusionConfig, config: TrainConfig) -> None:
    """Write OUT/weights: float16 network, settings of both codecs, recipe."""
    from chappe.training.export import save_model

    settings = {"spic": SPIC_DEFAULTS, "gesco": GESCO_DEFAULTS}
    save_model(out / "weights", state, {"kind": "diffusion", **shape.to_dict()}, codec=settings, recipe=asdict(config))
