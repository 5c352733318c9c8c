"""`chappe doctor`: what is installed, what is missing, and whether the bundled weights are whole."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any

from chappe import __version__
from chappe.errors import ChappeError

__all__ = ["add_parser", "check_weights", "examine", "run"]

_REQUIRED = ("torch", "numpy", "pillow", "safetensors", "numba", "accelerate", "tqdm")
_WEIGHTS = (".safetensors", ".packed")
_OPTIONAL = {
    "imagecodecs": "bench",
    "transformers": "hf",
    "segmentation-models-pytorch": "smp",
    "torchmetrics": "dev",
    "scikit-image": "dev",
}
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "bf16",
)


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "doctor",
        help="check the installation",
        description="Show versions, codecs, threads and CPU, and check the bundled weights. Exits with 1 if something "
        "that chappe needs is missing or broken.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    report = examine()
    if args.json:
        print(json.dumps(report))
    else:
        for group, values in report.items():
            if group == "problems":
                continue
            print(group)
            for key, value in values.items():
                print(f"  {key:28} {value}")
    if count := len(report["problems"]):
        raise ChappeError(f"{count} problem{'s' if count > 1 else ''} found: {' '.join(report['problems'])}")
    return 0


def examine() -> dict[str, Any]:
    """Groups of name -> value in words, and 'problems', a list of sentences that is empty when all is well."""
    problems: list[str] = []
    versions = {"chappe": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _REQUIRED:
        versions[name] = _version(name) or "MISSING"
        if versions[name] == "MISSING":
            problems.append(f"{name} is not installed: pip install {name}.")
    for name, extra in _OPTIONAL.items():
        versions[name] = _version(name) or f"not installed (optional: pip install 'chappe[{extra}]')"
    return {
        "versions": versions,
        "codecs": _codecs(),
        "machine": _machine(problems),
        "weights": check_weights(Path(__file__).parents[1] / "weights", problems),
        "problems": problems,
    }


def check_weights(folder: Path, problems: list[str]) -> dict[str, str]:
    """State of every file named in SHA256SUMS ('<hex digest>  <path>' a line) and of weights it does not name."""
    states: dict[str, str] = {}
    sums = folder / "SHA256SUMS"
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    for line in filter(None, map(str.strip, lines)):
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file():
            states[name] = "MISSING"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            states[name] = "DAMAGED: its SHA-256 differs"
        else:
            states[name] = f"ok, {path.stat().st_size / 1e6:.1f} MB"
            continue
        problems.append(f"weights file {name} is missing or damaged: install chappe again.")
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _WEIGHTS):
        name = path.relative_to(folder).as_posix()
        if name not in states:
            states[name] = "not listed in SHA256SUMS"
            problems.append(f"weights file {name} has no checksum in SHA256SUMS.")
    if not any(name.endswith(_WEIGHTS) for name in states):
        problems.append("no weights are installed: install chappe again.")
    return states


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _codecs() -> dict[str, str]:
    found: dict[str, str] = {}
    if util.find_spec("PIL"):
        from PIL import features

        for label, name in (("JPEG", "jpg"), ("JPEG 2000", "jpg_2000"), ("WebP", "webp"), ("AVIF", "avif")):
            found[label] = f"yes, Pillow ({features.version(name)})" if features.check(name) else "no"
    if util.find_spec("imagecodecs"):
        import imagecodecs

        for label, name in (("JPEG XL", "JPEGXL"), ("HEIF / HEVC intra", "HEIF")):
            found[label] = "yes, imagecodecs" if getattr(imagecodecs, name).available else "no"
    else:
        found["JPEG XL"] = found["HEIF / HEVC intra"] = "no (needs imagecodecs)"
    found["video (PyAV)"] = f"yes, av {_version('av')}" if util.find_spec("av") else "no (optional: av)"
    return found


def _machine(problems: list[str]) -> dict[str, str]:
    affinity = getattr(os, "sched_getaffinity", None)
    flags = _cpu_flags()
    machine = {
        "processor": platform.machine(),
        "CPU flags": " ".join(f for f in _FLAGS if f in flags) or "none known",
        "cores": f"{os.cpu_count()}, usable {len(affinity(0)) if affinity else os.cpu_count()}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "label-map engine": _label_engine(),
    }
    try:
        import torch

        machine["torch threads"] = str(torch.get_num_threads())
        machine["torch CPU capability"] = torch.backends.cpu.get_cpu_capability()
        machine["GPU"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    except Exception as error:
        machine["torch"] = f"BROKEN: {type(error).__name__}: {error}"
        problems.append("torch is installed but cannot be imported." if "torch" not in str(error) else f"{error}.")
    return machine


def _cpu_flags() -> frozenset[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass  # not Linux
    return frozenset()


def _label_engine() -> str:
    if "numba" not in sys.modules and not util.find_spec("numba"):
        return "pure Python (slow; numba is missing)"
    try:
        import numba
    except Exception as error:
        return f"pure Python (slow; numba cannot be imported: {type(error).__name__})"
    return f"numba {numba.__version__}"
