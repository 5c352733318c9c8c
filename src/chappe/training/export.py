"""Weights as they ship: float16 safetensors beside a config.json, with a fingerprint over both."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from chappe.modelfolder import WEIGHTS, fingerprint, has_weights, read_meta, read_weights

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
    atomic_write_bytes(folder / WEIGHTS, save(keep))
    text = json.dumps({"config": config, **extra}, indent=1, sort_keys=True)
    atomic_write_bytes(folder / "config.json", (text + "\n").encode())


# Quantiser statistics that only the EMA update needs.
TRAINING_ONLY = (
    *(f"{book}.{key}" for book in ("quantizer", "residual") for key in ("size", "total", "usage", "seen", "ready")),
    "num_batches_tracked",
)


def load_model(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """State dict in float32 and the parsed config.json of a model folder."""
    from safetensors.torch import load

    meta = read_meta(folder)
    state = load(read_weights(folder)) if has_weights(folder) else {}
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    return state, meta
