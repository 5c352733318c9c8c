"""`chappe train rlasc`: the three stages, the tables that the sender needs, and the weights (RL-ASC III-C)."""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chappe.bitstream.concepts import LEVELS, Concept, ConceptPrior, cell_concepts, train_prior
from chappe.data import street_protocol
from chappe.data.street import STREET_SIZE
from chappe.errors import UsageError
from chappe.files import atomic_write_bytes, read_bytes
from chappe.modelfolder import CONFIG, PACKED, WEIGHTS, read_meta
from chappe.nn.tiling import pad_to_cells
from chappe.systems.rlasc.agent import AgentTask, FinetuneTask, agent_config
from chappe.systems.rlasc.codec import AGENT, load_networks
from chappe.systems.rlasc.config import CODEC_DEFAULTS, RLASCConfig, preset
from chappe.systems.rlasc.engine import Engine
from chappe.systems.rlasc.model import RLASC
from chappe.systems.rlasc.picture import Concepts
from chappe.systems.rlasc.policy import Policy
from chappe.systems.rlasc.reward import TASKS, Criterion, make_task
from chappe.systems.rlasc.sender import measured_losses
from chappe.systems.rlasc.training import AutoencoderTask, stage_config
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, ema_state, train
from chappe.training.street import load_perceptual, load_teacher

__all__ = ["STAGES", "add_agent", "concept_prior", "export", "fit_sensitivity", "main", "sensitivity_table"]

STAGES = ("autoencoder", "agent", "finetune")
PRIOR_FRAMES, SENSITIVITY_FRAMES = 120, 24


def main(argv: list[str] | None = None) -> int:
    """`chappe train rlasc --data DIR --out DIR`: autoencoder, agent, both; then the weights in OUT/weights."""
    parser = argparse.ArgumentParser(prog="chappe train rlasc", description=main.__doc__)
    parser.add_argument("--data", required=True, type=Path, help="data set folder (CamVid layout or any other)")
    parser.add_argument("--out", required=True, type=Path, help="folder for checkpoints, logs and the weights")
    parser.add_argument("--preset", default="street", help="street, or the paper's: paper, paper-low, paper-high")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all", help="run one stage only")
    parser.add_argument(
        "--steps", type=int, nargs=3, default=(9000, 1500, 1500), metavar="N", help="of the three stages; 0: left out"
    )
    parser.add_argument("--task", choices=TASKS, default="segmentation", help="what the agent is rewarded for")
    parser.add_argument("--eta", type=float, help="weight of looks in the agent's reward (default: the recipe's)")
    parser.add_argument(
        "--start", type=Path, metavar="FOLDER", help="with --stage agent: a model folder that gets one agent more"
    )
    parser.add_argument("--batch", type=int, help="pictures a step (default: the recipe's)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="training size (default 256 512)")
    parser.add_argument("--gan", type=float, metavar="WEIGHT", help="weight of the adversarial loss")
    parser.add_argument("--scenes", type=int, default=200, help="procedural scenes to mix in (0: none)")
    parser.add_argument("--lpips", type=Path, help="LPIPS SqueezeNet weights (default: $CHAPPE_DATA/weights)")
    parser.add_argument("--no-lpips", action="store_true", help="train without a perceptual loss (for tests)")
    parser.add_argument("--minutes", type=float, help="stop the running stage, resumably, after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: leave as is)")
    args = parser.parse_args(argv)
    if args.start and args.stage != "agent":
        raise UsageError(f"--start takes the autoencoder as it is: it goes with --stage agent, not {args.stage}")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return _Run(args).stages()


class _Run:
    """The stages in turn, each from the checkpoints of those before it."""

    def __init__(self, args: argparse.Namespace):
        from chappe.segment.builtin import load_segmenter
        from chappe.training.corpus import load_frames, load_scenes

        self.args = args
        self.prior: ConceptPrior | None = None
        if args.start:
            self.model, self.prior, _ = load_networks(args.start)
            self.shape = self.model.config
            if args.task in self.shape.tasks:
                raise UsageError(
                    f"{args.start}: its own agent, on which its files depend, is for {args.task!r}: give another --task"
                )
        else:
            self.shape = replace(preset(args.preset), tasks=(args.task,))
            self.model = RLASC(self.shape)
        self.policy = Policy(self.shape)
        self.frames = load_frames(args.data)
        self.scenes = load_scenes(args.scenes) if args.scenes else None
        self.perceptual = None if args.no_lpips else load_perceptual(args.lpips)
        own = {"batch": args.batch, "size": tuple(args.size) if args.size else None, "seed": args.seed}
        own["gan_weight"] = args.gan
        self.recipe = replace(stage_config(args.preset), **{k: v for k, v in own.items() if v is not None})
        self.agent_recipe = replace(agent_config(args.preset), size=self.recipe.size, seed=args.seed)
        if args.eta is not None:
            self.agent_recipe = replace(self.agent_recipe, eta=args.eta)
        reader = copy.deepcopy(load_segmenter())  # the teacher may move to another device
        self.criterion = Criterion(make_task(args.task, reader), self.agent_recipe.eta, self.perceptual)
        self.sensitivity: np.ndarray | None = None

    def stages(self) -> int:
        args = self.args
        for stage, steps in zip(STAGES, args.steps, strict=True):
            if args.stage not in (stage, "all") or not steps:
                continue
            self._begin(stage)
            ema = train(self._task(stage), LoopConfig(args.out / stage, steps, args.seed, minutes=args.minutes))
            if ema is None:  # stopped before its end: the same command goes on from here
                return 0
            for part, module in (("net", self.model), ("policy", self.policy)):
                if part in ema:
                    module.load_state_dict(ema[part])
            if "net" in ema:
                self.prior = self.sensitivity = None
        if args.start:
            add_agent(args.start, args.out / "weights", args.task, self.policy, self.sensitivity)
        elif args.stage in ("all", "agent", "finetune"):
            self._tables()
            agents, tables = {args.task: self.policy}, {args.task: self.sensitivity}
            export(args.out, self.model, agents, self.prior, tables, args.preset)
        return 0

    def _begin(self, stage: str) -> None:
        """Weights of the stages before, and for an agent the tables that go with them."""
        for before in STAGES[: STAGES.index(stage)]:
            if (self.args.out / before / "state.pt").is_file():
                ema = ema_state(self.args.out / before)
                for part, module in (("net", self.model), ("policy", self.policy)):
                    if part in ema:
                        module.load_state_dict(ema[part])
        if stage != "autoencoder":
            self._tables()

    def _tables(self) -> None:
        """What goes with the autoencoder's weights: found once, the same whenever a stage is taken up again."""
        if self.sensitivity is not None:
            return
        engine = Engine(self.model)
        if self.prior is None:
            self.prior = concept_prior(engine, self.frames)
        self.sensitivity = fit_sensitivity(engine, self.frames, self.criterion, self.prior)

    def _task(self, stage: str):
        common = {"scenes": self.scenes, "perceptual": self.perceptual, "segment": load_teacher(self.shape.taxonomy)}
        autoencoder = AutoencoderTask(self.model, self.recipe, self.frames, **common)
        if stage == "autoencoder":
            return autoencoder
        engine, batches = Engine(self.model), replace(autoencoder.batches, batch=1)
        tables = self.sensitivity, self.prior
        agent = AgentTask(self.policy, engine, self.agent_recipe, batches, self.criterion, *tables)
        if stage == "agent":
            self.model.requires_grad_(False)
            return agent
        self.model.requires_grad_(True)
        autoencoder.config = replace(autoencoder.config, lr=0.1 * self.recipe.lr)
        return FinetuneTask(autoencoder, agent)


def concept_prior(engine: Engine, frames: Frames, limit: int | None = None) -> ConceptPrior:
    """What the concept coder starts from, learnt over evenly chosen frames at every level."""
    config, samples = engine.config, []
    for image, labels in _spread(frames, limit or PRIOR_FRAMES):
        concepts = Concepts(engine.analyse(image), _cells(labels, config), labels.size, config.concepts)
        for number in concepts.numbers.tolist():
            inside = concepts.cells == number
            for level in range(1, LEVELS):
                values = concepts.values(level) * inside[..., None]
                samples.append((Concept(number, level, values), inside))
    return train_prior(samples, config.channels, config.concepts)


def fit_sensitivity(engine: Engine, frames: Frames, criterion: Criterion, prior: ConceptPrior,
                    limit: int | None = None) -> np.ndarray:  # fmt: skip
    """(M, Q) loss at each level a unit of the squared error that dropping a concept makes, from measured losses.

    `sensitivity_table` of evenly chosen frames: one decode for each concept and level.
    """
    config, samples = engine.config, []
    for image, labels in _spread(frames, limit or SENSITIVITY_FRAMES):
        concepts = Concepts(engine.analyse(image), _cells(labels, config), labels.size, config.concepts, prior)
        measured = measured_losses(engine, image, labels, concepts, criterion)
        samples.append((concepts.numbers, concepts.errors, measured))
    return sensitivity_table(*(np.concatenate(part) for part in zip(*samples, strict=True)), config.concepts)


def sensitivity_table(numbers: np.ndarray, errors: np.ndarray, measured: np.ndarray, concepts: int) -> np.ndarray:
    """(M, Q) from samples: concept (N,), squared error at each level (N, Q), measured loss less that at one level.

    A slope for each class times one shape for all: the rank-1 least squares fit of the losses to slope x error of
    dropping x shape, in turn the slopes and the shape, so that the classes that lose most say most about the shape. It
    never rises, and to a tenth it is that of the squared error, so that every level is worth something. (The squared
    error alone, as a shape, leaves a third at level 1; measured is a tenth or less, and an allocator that believes the
    former drops some concepts to refine others.) Classes that were not met get the median slope of the others, and none
    less than a twentieth of it.
    """
    error = errors.mean(0) / max(float(errors[:, 0].mean()), 1e-30)
    base = int(np.abs(measured).sum(0).argmin())
    left, dropped = _falling(measured.mean(0)), errors[:, :1]

    def slopes_for(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = dropped * (shape - shape[base])
        product = np.bincount(numbers, (x * measured).sum(1), concepts)
        square = np.bincount(numbers, (x * x).sum(1), concepts)
        return np.maximum(product / np.maximum(square, 1e-30), 0), square > 0

    for _ in range(30):
        weight = slopes_for(left)[0][numbers, None] * dropped
        left = _falling((weight * measured).sum(0) / max(float((weight**2).sum()), 1e-30))
    shape = 0.9 * left + 0.1 * np.minimum.accumulate(error)
    slopes, met = slopes_for(shape)
    positive = slopes[slopes > 0]
    usual = float(np.median(positive)) if len(positive) else 1.0
    return np.where(met, np.maximum(slopes, 0.05 * usual), usual)[:, None] * shape


def _falling(losses: np.ndarray) -> np.ndarray:
    """(Q,) -> from 1 down to 0, never rising."""
    losses = np.minimum.accumulate(losses)
    return (losses - losses[-1]) / max(float(losses[0] - losses[-1]), 1e-30)


def export(out: Path, model: RLASC, agents: dict[str, Policy], prior: ConceptPrior,
           sensitivity: dict[str, np.ndarray], name: str) -> None:  # fmt: skip
    """Write OUT/weights: float16 networks, integer tables of the concept coder, codec settings, recipe of `name`."""
    from chappe.training.export import save_model

    state: dict[str, Tensor] = {f"net.{k}": v for k, v in model.state_dict().items()}
    for task, agent in agents.items():
        state |= {f"agent.{task}.{k}": v for k, v in agent.state_dict().items()}
    state |= {f"prior.{k}": torch.from_numpy(v) for k, v in prior.arrays.items()}
    tables = {task: np.round(table, 6).tolist() for task, table in sensitivity.items()}
    codec = CODEC_DEFAULTS | {"sensitivity": tables}
    if len(codec["protect"]) != model.config.concepts:
        codec = codec | {"protect": [1] * model.config.concepts}
    recipe = {"autoencoder": asdict(stage_config(name)), "agent": asdict(agent_config(name))}
    config = {"kind": "rlasc", **replace(model.config, tasks=tuple(agents)).to_dict()}
    save_model(out / "weights", state, config, codec=codec, recipe=recipe)


def add_agent(start: Path, out: Path, task: str, agent: Policy, sensitivity: np.ndarray) -> None:
    """Write to `out` the model of folder `start` with one agent more (or another one for that task).

    The decoder's weights stay the same bytes, so the model's files and fingerprint do."""
    from safetensors.torch import save

    meta = read_meta(start)
    out.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, PACKED, *(AGENT.format(other) for other in meta["codec"]["sensitivity"])):
        if (start / name).is_file():
            atomic_write_bytes(out / name, read_bytes(start / name))
    atomic_write_bytes(out / AGENT.format(task), save({k: v.half() for k, v in agent.state_dict().items()}))
    meta["codec"]["sensitivity"][task] = np.round(sensitivity, 6).tolist()
    atomic_write_bytes(out / CONFIG, (json.dumps(meta, indent=1, sort_keys=True) + "\n").encode())


def _spread(frames: Frames, limit: int):
    """Evenly chosen frames in the street protocol; smaller ones as they are. Sides are multiples of 16."""
    for k in np.unique(np.linspace(0, len(frames) - 1, min(limit, len(frames))).astype(int)):
        image, labels = frames.images[k], frames.labels[k]
        if min(labels.shape) >= STREET_SIZE[0] // 2:
            image, labels = street_protocol(image, labels)
        yield pad_to_cells(image), pad_to_cells(labels)


def _cells(labels: np.ndarray, config: RLASCConfig) -> np.ndarray:
    return cell_concepts(labels, config.concepts, config.vote)
