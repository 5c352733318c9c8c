"""`chappe train`: hands its options to the trainer of the model named."""

from __future__ import annotations

import argparse
import importlib

from chappe.errors import MissingDependency

__all__ = ["TRAINERS", "add_parser", "run"]

TRAINERS = {
    "diffusion": "chappe.systems.diffusion.train:main",
    "judge": "chappe.segment.train:judge_main",
    "link": "chappe.link.learned.train:main",
    "onepass": "chappe.systems.spic.train:main",
    "rlasc": "chappe.systems.rlasc.train:main",
    "segmenter": "chappe.segment.train:main",
    "sqgan": "chappe.systems.sqgan.train:main",
}


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "train",
        help="train a model",
        description="Train a model. Everything after its name goes to its trainer: "
        "'chappe train sqgan --help' lists the options.",
        epilog="example: chappe train sqgan --data CamVid --out runs/sqgan --preset street",
        allow_abbrev=False,
    )
    parser.add_argument("model", choices=sorted(TRAINERS), help="what to train")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="options of the trainer")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        module, function = TRAINERS[args.model].split(":")
        trainer = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] == "chappe":
            raise
        raise MissingDependency(f"Training needs the Python package {error.name!r}: install it.") from error
    return trainer(args.options) or 0
