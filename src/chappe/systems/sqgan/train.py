"""SQ-GAN's three training stages: G_s, G_x on true maps, G_x on received maps with a frozen G_s (SQ-GAN IV); then the
receiver's own (`receiver.py`)."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.nn.condition import one_hot
from chappe.nn.discriminator import PatchDiscriminator, hinge_discriminator, hinge_generator
from chappe.segment.train import class_weights
from chappe.systems.sqgan.config import CODEC_DEFAULTS, SQGANConfig, preset
from chappe.systems.sqgan.model import SQGAN
from chappe.systems.sqgan.receiver import ReceiverConfig, ReceiverTask, residual_codebook
from chappe.training import losses
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, average_gradients, ema_state, train
from chappe.training.picture import STREET_RELEVANCE
from chappe.training.street import StreetBatches, load_perceptual, load_teacher, near_map

__all__ = ["STAGES", "SQGANTask", "TrainConfig", "export", "main", "stage_config"]

STAGES = ("map", "image", "finetune", "receiver")

# The street recipe: what a small picture loses first weighs most. Trees were drawn as walls until the last stage got
# the segmenter's reading of the picture as a loss: with it 59 picture mIoU on 12 training frames, without it 46; more
# weight on vegetation and a stronger discriminator instead scored lower.
_STREET_MAP = (
    "Sky=.3,Building=.5,Pole=1,Road=.5,Pavement=.6,Tree=.4,SignSymbol=1,Fence=.8,Car=.8,Pedestrian=1,Bicyclist=1,"
    "Void=.3"
)
_STREET_IMAGE = (
    "Sky=.15,Building=.3,Pole=.7,Road=.3,Pavement=.4,Tree=.2,SignSymbol=1,Fence=.5,Car=.5,Pedestrian=.9,Bicyclist=.9,"
    "Void=.2"
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything about training that is not a shape. Relevance entries are profiles `chappe.taxonomy` understands."""

    stage: str
    batch: int = 8
    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    warmup: int = 200
    size: tuple[int, int] = (256, 512)
    fraction_mu: float = -0.95  # log-normal masking fraction, one per picture
    fraction_sigma: float = 0.4
    fraction_snap: tuple[float, ...] = (0.05, 0.2875, 0.525, 0.7625, 1.0)  # (): continuous
    map_relevance: str = "sqgan-map"
    image_relevance: str = "sqgan-image"
    residual_relevance: str = "sqgan-residual"  # w_rel of the semantic-aware discriminator; "" turns it off
    pixel: str = "l2"  # paper: l2; code: l1
    pixel_weight: float = 1.0
    perceptual_weight: float = 1.0  # paper: 1; code: .15
    perceptual_crop: float = 1.0  # share of the width each step compares, at a random place
    vq_weight: float = 1.0
    gan_weight: float = 0.15
    gan_limit: float = 0.2
    gan_start: float = 0.0  # share of the steps before the discriminator begins
    meaning_weight: float = 0.0  # cross-entropy of the segmenter's reading of the decoded picture; not in the paper
    disc_width: int = 64
    disc_layers: int = 3
    paste_classes: tuple[str, ...] = ("traffic sign", "traffic light")
    paste_most: int = 25
    scene_share: float = 0.0
    segmented_share: float = 0.0  # share of the fine-tuning batches whose labels come from the segmenter
    token_map_share: float = 1.0  # share whose received map comes from G_s; the rest get a near-lossless map's cells
    seed: int = 0


def stage_config(name: str, stage: str) -> TrainConfig:
    """The recipe of a preset (`paper` or `street`) for one of the paper's stages."""
    if stage not in STAGES[:3]:
        raise UsageError(f"unknown stage {stage!r}; the paper's stages are {', '.join(STAGES[:3])}")
    if name == "paper":
        shared = TrainConfig(stage)
        return replace(shared, gan_weight=0.75, gan_limit=1.0) if stage == "map" else replace(shared, vq_weight=0.15)
    shared = TrainConfig(
        stage, batch=2, lr=3e-4, betas=(0.9, 0.99), fraction_mu=-1.35, fraction_sigma=0.65, fraction_snap=(),
        map_relevance=_STREET_MAP, image_relevance=_STREET_IMAGE, residual_relevance="sqgan-residual", pixel="l1",
        pixel_weight=5.0, perceptual_weight=1.5, perceptual_crop=0.5, vq_weight=0.15, gan_weight=0.1, gan_limit=0.15,
        gan_start=1.0, disc_width=24,
        paste_classes=("SignSymbol", "Pedestrian", "Bicyclist"), paste_most=8, scene_share=0.12,
    )  # fmt: skip
    if stage == "map":
        return replace(shared, lr=1e-3, gan_weight=0.05, gan_limit=0.1, gan_start=0.8)
    if stage == "finetune":
        return replace(
            shared, lr=2e-4, gan_weight=0.0, meaning_weight=0.25, image_relevance=STREET_RELEVANCE, segmented_share=0.4,
            token_map_share=0.25,
        )  # fmt: skip
    return shared


class SQGANTask:
    """One stage over a `SQGAN`; hand the trained model of the stage before it to the next.

    `perceptual`: (fake, real) -> (N,) distances; `segment`: pictures (N, 3, H, W) -> logits (N, C, H, W).
    """

    def __init__(self, model: SQGAN, config: TrainConfig, frames: Frames, *, scenes: Frames | None = None,
                 perceptual: nn.Module | None = None, segment=None):  # fmt: skip
        self.model, self.config, self.frames, self.scenes = model, config, frames, scenes
        self.perceptual, self.segment = perceptual, segment
        shape: SQGANConfig = model.config
        self.void = shape.classes
        self.name = f"sqgan-{config.stage}"
        on_map = config.stage == "map"
        self.trained = model.map if on_map else model.image
        channels = shape.map_channels if on_map else 3
        self.disc = PatchDiscriminator(channels, config.disc_width, config.disc_layers)
        self.modules = {"net": self.trained, "disc": self.disc}
        self.ema = ("net",)
        self.optimizers = {
            "net": torch.optim.Adam([p for p in self.trained.parameters() if p.requires_grad], config.lr, config.betas),
            "disc": torch.optim.Adam(self.disc.parameters(), config.lr, config.betas),
        }
        if not on_map:  # truly frozen: no gradient, no EMA codebook, no train mode
            model.map.requires_grad_(False).eval()
            model.map.quantizer.frozen = True
        self.class_weights = class_weights(frames, self.void)
        self._read_taxonomy(shape.taxonomy)

    def _read_taxonomy(self, name: str) -> None:
        from chappe.taxonomy import get_taxonomy, relevance

        taxonomy, cfg = get_taxonomy(name), self.config
        as_tensor = lambda profile: torch.tensor(relevance(profile, name), dtype=torch.float32)  # noqa: E731
        self.map_weights, self.image_weights = as_tensor(cfg.map_relevance), as_tensor(cfg.image_relevance)
        self.residual = as_tensor(cfg.residual_relevance) if cfg.residual_relevance else torch.zeros(self.void + 1)
        self.batches = StreetBatches(
            self.frames, cfg.batch, self.void, cfg.size, self.scenes, cfg.scene_share,
            paste=tuple(taxonomy.classes.index(c) for c in cfg.paste_classes),
            protected=tuple(int(k) for k in np.nonzero(relevance("sqgan-image", name) >= 0.55)[0]),
            paste_most=cfg.paste_most,
        )  # fmt: skip

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        for module in (self.model, self.disc, self.perceptual, self.segment):
            if isinstance(module, nn.Module):
                module.to(self.device)
        for key in ("map_weights", "image_weights", "residual", "class_weights"):
            setattr(self, key, getattr(self, key).to(self.device))

    def fractions(self, count: int, rng: np.random.Generator) -> Tensor:
        """Masking fractions (count,) in [.05, 1]."""
        cfg = self.config
        m = np.clip(np.exp(rng.normal(cfg.fraction_mu, cfg.fraction_sigma, count)), 0.03, 1.0)
        if cfg.fraction_snap:  # as the code does: one value for the whole batch
            steps = np.asarray(cfg.fraction_snap)
            m = np.full(count, steps[np.abs(steps - m[0]).argmin()])
        return torch.tensor(m, dtype=torch.float32, device=self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        cfg = self.config
        rate = cfg.lr * min(1.0, (step + 1) / cfg.warmup) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        x, y = self.batches.tensors(rng, self.device)
        self.trained.train()
        adversarial = progress >= cfg.gan_start and cfg.gan_weight > 0
        if cfg.stage == "map":
            loss, real, fake, figures = self._map_losses(y, rng)
        else:
            loss, real, fake, figures = self._image_losses(x, y, rng)
        if adversarial:
            self.disc.train().requires_grad_(False)
            g = hinge_generator(self.disc(fake))
            weight = losses.adaptive_weight(
                figures.pop("reconstruction"), g, self.trained.decoder.last_weight, cfg.gan_weight, cfg.gan_limit
            )
            loss = loss + weight * g
        figures.pop("reconstruction", None)
        self._descend("net", loss, self.trained)
        if adversarial:
            self.disc.requires_grad_(True)
            d = hinge_discriminator(self.disc(real.detach()), self.disc(fake.detach()))
            self._descend("disc", d, self.disc)
            figures |= {"disc": d.detach(), "gan_weight": weight}
        return {k: float(v) for k, v in figures.items()}

    def _descend(self, name: str, loss: Tensor, module: nn.Module) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(module)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        self.optimizers[name].step()

    def _map_losses(self, y: Tensor, rng: np.random.Generator):
        out = self.model.code_map(y, self.fractions(len(y), rng))
        ce = losses.weighted_cross_entropy(out.y, y, self.map_weights)
        loss = ce + self.config.vq_weight * out.tokens.loss
        right = (out.y.argmax(1) == y).float().mean()
        figures = {"ce": ce.detach(), "agree": right, "vq": out.tokens.loss.detach(),
                   "perplexity": out.tokens.perplexity, "reconstruction": ce}  # fmt: skip
        return loss, one_hot(y, self.void + 1), out.y.softmax(1), figures

    def _image_losses(self, x: Tensor, y: Tensor, rng: np.random.Generator):
        cfg = self.config
        sent, received = y, None
        if cfg.stage == "finetune":
            with torch.no_grad():
                if self.segment is not None and rng.random() < cfg.segmented_share:
                    sent = self.segment(x).argmax(1)
                received = self.received_map(sent, rng)
        out = self.model.code_image(x, sent, self.fractions(len(y), rng), received)
        pixel = losses.weighted_pixel_loss(out.y, x, y, self.image_weights, cfg.pixel)
        reconstruction = cfg.pixel_weight * pixel
        figures = {"pixel": pixel.detach(), "vq": out.tokens.loss.detach(), "perplexity": out.tokens.perplexity,
                   "score": out.tokens.scores.detach().mean()}  # fmt: skip
        if self.perceptual is not None:
            width = int(x.shape[3] * cfg.perceptual_crop)
            left = int(rng.integers(0, x.shape[3] - width + 1))
            lpips = self.perceptual(out.y[..., left : left + width], x[..., left : left + width]).mean()
            reconstruction = reconstruction + cfg.perceptual_weight * lpips
            figures["lpips"] = lpips.detach()
        if self.segment is not None and cfg.meaning_weight:
            meaning = losses.meaning_loss(out.y, y, self.segment, self.class_weights, rng)
            reconstruction = reconstruction + cfg.meaning_weight * meaning
            figures["meaning"] = meaning.detach()
        figures["reconstruction"] = reconstruction
        shown = losses.relevant_picture(out.y, x, y, self.residual)
        return reconstruction + cfg.vq_weight * out.tokens.loss, x, shown, figures

    def received_map(self, sent: Tensor, rng: np.random.Generator) -> Tensor:
        """s^ as a receiver has it: from G_s at a random fraction, or in cells of 1 to 6 pixels (near-lossless)."""
        if rng.random() < self.config.token_map_share:
            return self.model.code_map(sent, self.fractions(len(sent), rng)).y.argmax(1)
        return near_map(sent, self.void + 1, rng)


def main(argv: list[str] | None = None) -> int:
    """`chappe train sqgan --data DIR --out DIR`: the stages in turn, then the weights in OUT/weights."""
    parser = argparse.ArgumentParser(prog="chappe train sqgan", description=main.__doc__)
    parser.add_argument(
        "--data", required=True, type=Path, help="data set folder (CamVid layout or any other chappe reads)"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for checkpoints, logs and the weights")
    parser.add_argument("--preset", default="street", choices=("street", "paper"))
    parser.add_argument("--stage", default="all", choices=(*STAGES, "all"))
    parser.add_argument(
        "--steps", type=int, nargs=4, default=(3000, 8000, 1500, 2000), metavar=tuple(s.upper() for s in STAGES)
    )
    parser.add_argument(
        "--token-prior", action="store_true", help="train the token coder's starting point too (about half an hour)"
    )
    parser.add_argument("--start", metavar="MODEL", help="begin with a bundled model's weights, as far as they fit")
    parser.add_argument("--batch", type=int, help="pictures a step (default: the recipe's)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="training size (default 256 512)")
    parser.add_argument("--scenes", type=int, default=200, help="procedural scenes to mix in (0: none)")
    parser.add_argument("--lpips", type=Path, help="LPIPS SqueezeNet weights (default: $CHAPPE_DATA/weights)")
    parser.add_argument(
        "--no-lpips", action="store_true", help="train without a perceptual loss (grey streets: for tests)"
    )
    parser.add_argument("--minutes", type=float, help="stop the running stage, resumably, after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: leave as is)")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    from chappe.training.corpus import load_frames, load_scenes

    torch.manual_seed(args.seed)
    model = SQGAN(preset(args.preset))
    frames = load_frames(args.data)
    scenes = load_scenes(args.scenes) if args.scenes else None
    perceptual = None if args.no_lpips else load_perceptual(args.lpips)
    if args.start:
        take_over(model, args.start)
    stages = [stage for stage in STAGES if args.stage in (stage, "all")]
    if args.preset == "paper" and args.stage == "all":
        stages.remove("receiver")
    for stage in stages:
        for done, part in () if args.start else _parents(stage):
            getattr(model, part).load_state_dict(ema_state(args.out / done)["net"])
        config = ReceiverConfig() if stage == "receiver" else stage_config(args.preset, stage)
        overrides = {"batch": args.batch, "size": tuple(args.size) if args.size else None, "seed": args.seed}
        config = replace(config, **{k: v for k, v in overrides.items() if v is not None})
        segment = load_teacher(model.config.taxonomy) if config.segmented_share or config.meaning_weight else None
        steps = args.steps[STAGES.index(stage)]
        make = SQGANTask
        if stage == "receiver":
            make = ReceiverTask
            model.image.residual.codebook.data.copy_(residual_codebook(model, frames))
        task = make(model, config, frames, scenes=scenes, perceptual=perceptual, segment=segment)
        loop = LoopConfig(args.out / stage, steps, args.seed, minutes=args.minutes)
        ema = train(task, loop)
        if ema is None:  # stopped before its end: the same command goes on from here
            return 0
        if stage == "receiver":
            model.image.adm.load_state_dict(ema["adm"])
            model.image.decoder.load_state_dict(ema["decoder"])
        else:
            getattr(model, "map" if stage == "map" else "image").load_state_dict(ema["net"])
    if stages[-1] in ("finetune", "receiver"):
        export(args.out, model, frames, args.preset, args.token_prior)
    return 0


def take_over(model: SQGAN, name: str) -> None:
    """Copy the weights of the bundled model `name` into `model`, all that have the same names and shapes."""
    from chappe.codec import load

    own = model.state_dict()
    found = load(name).engine.model.state_dict()
    model.load_state_dict(own | {k: v for k, v in found.items() if k in own and own[k].shape == v.shape})


def export(out: Path, model: SQGAN, frames: Frames, name: str, token_prior: bool = False) -> None:
    """Write OUT/weights: float16 generator, index statistics over `frames`, codec settings, recipe of preset `name`.

    `token_prior`: with the starting point of the mixed token code (`tokens.bin`), trained on `frames`.
    """
    from chappe.files import atomic_write_bytes
    from chappe.modelfolder import TOKENS
    from chappe.systems.sqgan.engine import Engine
    from chappe.systems.sqgan.priors import token_priors, train_token_prior
    from chappe.training.export import save_model

    state = {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state)  # the statistics must be those of the weights that ship
    priors = token_priors(Engine(model), frames)
    state |= {f"prior.{which}": torch.from_numpy(table) for which, table in priors.items()}
    recipe = {stage: asdict(stage_config(name, stage)) for stage in STAGES[:3]} | {"receiver": asdict(ReceiverConfig())}
    config = {"kind": "sqgan", **model.config.to_dict()}
    save_model(out / "weights", state, config, codec=CODEC_DEFAULTS, recipe=recipe)
    if token_prior:
        atomic_write_bytes(out / "weights" / TOKENS, train_token_prior(Engine(model), frames))


def _parents(stage: str) -> tuple[tuple[str, str], ...]:
    """Checkpoints a stage starts from: (stage folder, pipeline)."""
    return {
        "map": (),
        "image": (),
        "finetune": (("map", "map"), ("image", "image")),
        "receiver": (("map", "map"), ("finetune", "image")),
    }[stage]
