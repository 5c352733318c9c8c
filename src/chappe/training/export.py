"""Weights as they ship: float16 safetensors beside a config.json, with a fingerprint over both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from chappe.errors import InputError

__all__ = ["TRAINING_ONLY", "fingerprint", "load_model", "save_model"]


def save_model(folder: Path, state: dict[str, torch.Tensor], config: dict, **extra) -> None:
    """Write `model.safetensors` (floats as float16, training-only buffers dropped) and `config.json` to `folder`."""
    from safetensors.torch import save

    from chappe.files import atomic_write_bytes

    folder.mkdir(parents=True, exist_ok=True)
    keep = {}
    for key, value in state.items():
        if key.endswith(TRAINING_ONLY):
            continue
        keep[key] = (value.half() if value.is_floating_point() else value).contiguous()
    atomic_write_bytes(folder / "model.safetensors", save(keep))
    text = json.dumps({"config": config, **extra}, indent=1, sort_keys=True)
    atomic_write_bytes(folder / "config.json", (text + "\n").encode())


# Quantiser statistics that only the EMA update needs.
TRAINING_ONLY = (
    "quantizer.size", "quantizer.total", "quantizer.usage", "quantizer.seen", "quantizer.ready", "num_batches_tracked",
)  # fmt: skip


def load_model(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """State dict in float32 and the parsed config.json of a model folder."""
    from safetensors.torch import load_file

    for name in ("model.safetensors", "config.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}; a model folder holds model.safetensors and config.json")
    state = load_file(folder / "model.safetensors")
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    return state, json.loads((folder / "config.json").read_text(encoding="utf-8"))


def fingerprint(folder: Path) -> int:
    """First two bytes, big-endian, of SHA-256 over the weight file and then the `config` entry of config.json."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
    digest.update(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    return int.from_bytes(digest.digest()[:2], "big")
