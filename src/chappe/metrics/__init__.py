"""Metrics: a pure function each. Importing this package imports no torch; names resolve on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "LPIPS": "lpips",
    "SqueezeLPIPS": "lpips",
    "VGGLPIPS": "lpips",
    "confusion": "semantic",
    "lpips_weights_path": "lpips",
    "miou": "semantic",
    "mse": "pixel",
    "per_class_iou": "semantic",
    "pixel_accuracy": "semantic",
    "psnr": "pixel",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
