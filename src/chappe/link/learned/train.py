"""`chappe train link`: SCSC, its rivals and its precoders, on the one training loop; weights to OUT/weights."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from chappe.errors import UsageError
from chappe.link.adaptation import parse_mcs
from chappe.link.learned.config import JSCC_PRESETS, PPEN_PRESETS, MutualConfig, PcenConfig
from chappe.link.learned.jscc import JsccNet
from chappe.link.learned.mutual import MutualPrecoder
from chappe.link.learned.pcen import PCEN
from chappe.link.learned.ppen import PPEN
from chappe.link.learned.recipes import EnhancerTask, JsccTask, LinkRecipe
from chappe.link.learned.store import SYSTEMS, save_folder
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, train
from chappe.training.street import StreetBatches, load_teacher

__all__ = ["QUALITIES", "main", "make_parts"]

# About 0.12 to 1.2 bpp of street pictures: what QPSK 1/2 to 16-QAM 3/4 on two streams carry at CBRs of 0.02 to 1/12.
QUALITIES = {"jpeg": (2, 5, 10, 20, 35, 50), "avif": (8, 20, 32, 44, 56, 66), "webp": (0, 2, 7, 20, 50, 75),
             "jpeg2000": (0.12, 0.2, 0.3, 0.5, 0.8, 1.2), "hevc": (46, 43, 40, 37, 34, 31, 28)}  # fmt: skip
_VOID = 11


def make_parts(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Fresh modules of a system, by the names under which a folder keeps them; "proxy" is not kept."""
    parts: dict[str, nn.Module] = {}
    if args.system in ("scsc", "proxynet"):
        if not args.no_ppen:
            parts["ppen"] = PPEN(replace(PPEN_PRESETS[args.preset], adaptive=not args.no_qa))
        modulation = parse_mcs(args.mcs).modulation
        shape = PcenConfig(modulation, base=args.base, form=args.form, target=args.goal, cen=args.cen)
        if args.enhancer == "pcen":
            parts["pcen"] = PCEN(shape)
        elif args.enhancer == "mutual" and args.system == "scsc":
            parts["mutual"] = MutualPrecoder(MutualConfig(modulation))
        if args.system == "scsc" and not parts:
            raise UsageError("SCSC without PPEN and without PCEN is the plain digital link: there is nothing to train.")
    if args.system != "scsc":
        kind = "proxy" if args.system == "proxynet" else args.system
        parts["net"] = JsccNet(JSCC_PRESETS[kind, args.preset])
    elif "ppen" in parts and args.gradient == "proxy":
        parts["proxy"] = JsccNet(JSCC_PRESETS["proxy", args.preset])
    return parts


def main(argv: list[str] | None = None) -> int:
    """`chappe train link --system S --data DIR --out DIR`."""
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    mcs = parse_mcs(args.mcs)
    recipe = LinkRecipe(
        batch=args.batch, lr=args.lr, size=tuple(args.size), snr=tuple(args.snr), task=args.task,
        task_weight=args.task_weight, labels=args.labels, seed=args.seed,
    )  # fmt: skip
    if any(side % 16 for side in recipe.size) or min(recipe.size) < 32 or recipe.snr[0] > recipe.snr[1]:
        raise UsageError("--size takes multiples of 16 from 32 on, and --snr the lower end first.")
    torch.manual_seed(args.seed)
    parts = make_parts(args)
    loop = LoopConfig(args.out, args.steps, args.seed, minutes=args.minutes)
    extra = {"codec": args.codec, "mcs": mcs.name, "recipe": asdict(recipe)}
    if args.system == "scsc" and "ppen" not in parts:
        ((name, module),) = parts.items()
        ema = train(EnhancerTask(module, recipe, float(mcs.rate)), loop)
        states = None if ema is None else {name: ema["enhancer"]}
    else:
        batches = _batches(args, recipe)
        weight = args.task_weight if args.system in ("scsc", "proxynet") or args.task_everywhere else 0.0
        segment = load_teacher("street11") if weight else None
        if args.system == "scsc":
            states = train(_joint(args, parts, recipe, batches, segment), loop)
        else:
            states = train(JsccTask(args.system, parts, recipe, batches, segment=segment, task_weight=weight), loop)
    if states is not None:  # None: stopped before its end; the same command goes on from here
        shipped = {name: module for name, module in parts.items() if name != "proxy"}
        save_folder(args.out / "weights", args.system, shipped, states=states, **extra)
    return 0


def _joint(args: argparse.Namespace, parts: dict[str, nn.Module], recipe: LinkRecipe, batches, segment):
    from chappe import classical
    from chappe.link.learned.joint import JointConfig, ScscTask

    mcs = parse_mcs(args.mcs)
    joint = JointConfig(QUALITIES[args.codec], mcs, rate_weight=args.rate_weight, gradient=args.gradient)
    return ScscTask(parts, classical.load(args.codec), recipe, joint, batches, segment=segment)


def _batches(args: argparse.Namespace, recipe: LinkRecipe) -> StreetBatches:
    from chappe.training.corpus import load_frames, load_scenes

    if args.data is None and not args.scenes:
        raise UsageError("Give --data, or procedural scenes alone with --scenes N.")
    scenes = load_scenes(args.scenes) if args.scenes else None
    frames: Frames = load_frames(args.data) if args.data else scenes
    share = recipe.scene_share if args.data else 0.0
    return StreetBatches(frames, recipe.batch, _VOID, recipe.size, scenes, share, zoom=recipe.zoom)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chappe train link", description=main.__doc__)
    add = parser.add_argument
    add("--system", required=True, choices=SYSTEMS)
    add("--data", type=Path, help="data set folder (CamVid layout or any other), or a packed file")
    add("--out", required=True, type=Path, help="folder for the checkpoint, the log and the weights")
    add("--preset", choices=("street", "paper"), default="street")
    add("--steps", type=int, default=6000)
    add("--batch", type=int, default=4)
    add("--size", type=int, nargs=2, metavar=("H", "W"), default=(128, 256), help="training size (default 128 256)")
    add("--lr", type=float, default=5e-4)
    add("--snr", type=float, nargs=2, metavar=("LOW", "HIGH"), default=(2.0, 12.0), help="dB (default 2 12)")
    add("--codec", choices=sorted(QUALITIES), default="jpeg", help="of SCSC; hevc needs PyAV (default %(default)s)")
    add("--mcs", default="qpsk-1/2", help="modulation and code rate of SCSC (default %(default)s)")
    add("--enhancer", choices=("pcen", "mutual", "none"), default="pcen", help="what moves the symbols of SCSC")
    add("--base", default="svd-minmse+dft", help="precoder under PCEN; the paper's is svd-waterfill")
    add("--form", choices=("literal", "gated"), default="gated", help="of PCEN (default %(default)s)")
    add("--goal", choices=("x_p", "x_e"), default="x_e", help="target of PCEN's error; the paper's is x_p")
    add("--cen", choices=("mmse", "hyper", "fixed"), default="mmse", help="PCEN's combiner (default %(default)s)")
    add("--no-ppen", action="store_true", help="train the precoder alone: seconds, and no data")
    add("--no-qa", action="store_true", help="PPEN without quantisation-adaptive layers")
    add("--task", choices=("segmentation", "detection", "classification"), default="segmentation")
    add("--task-weight", type=float, default=0.25, help="of the task loss (default %(default)g)")
    add("--task-everywhere", action="store_true", help="the task loss for adjscc and deepjscc-mimo too")
    add("--rate-weight", type=float, help="of ln bpp in SCSC's loss (default: what the codec itself pays)")
    add("--gradient", choices=("around", "proxy"), default="around", help="past SCSC's codec (default %(default)s)")
    add("--labels", choices=("true", "read"), default="true", help="of the task (default %(default)s)")
    add("--scenes", type=int, default=200, help="procedural scenes to mix in (0: none)")
    add("--minutes", type=float, help="stop, resumably, after this long")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="torch threads (0: leave as is)")
    return parser
