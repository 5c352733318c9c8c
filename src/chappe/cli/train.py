"""`chappe train`: hands its options to the trainer of the model named."""

from __future__ import annotations

import argparse
import importlib

from chappe.errors import MissingDependency

__all__ = ["TRAINERS", "add_parser", "run"]

TRAINERS = {
    "segmenter": "chappe.segment.train",
    "sqgan": "chappe.systems.sqgan.train",
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
        trainer = importlib.import_module(TRAINERS[args.model])
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] == "chappe":
            raise
        raise MissingDependency(f"Training needs the Python package {error.name!r}: install it.") from error
    return trainer.main(args.options) or 0
