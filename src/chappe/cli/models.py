"""`chappe models`: the registered models and the ids they write into files."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from chappe.cli._common import columns
from chappe.codec import list_models, model_entry

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser("models", help="list the models", description="List the models.", allow_abbrev=False)
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of names (default all)")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    entries = [model_entry(name) for name in list_models(args.pattern)]
    if args.json:
        keys = ("name", "codec_id", "version", "summary")
        print(json.dumps([{key: asdict(entry)[key] for key in keys} for entry in entries]))
        return 0
    rows = [(e.name, str(e.codec_id), str(e.version), e.summary) for e in entries]
    for line in columns(("name", "id", "version", "summary"), rows, left=(0, 3)):
        print(line)
    return 0
