"""Metrics: a pure function each. Importing this package imports no torch; names resolve on first use.

`lpips`, `ssim` and `objects.match` are taken from their modules: `from chappe.metrics.ssim import ssim`.
"""

from __future__ import annotations

from chappe.lazy import lazy_names

_HOMES = {
    "Boxes": "detection",
    "Confusion": "accumulate",
    "Curve": "bd",
    "Detections": "accumulate",
    "FeatureSet": "distribution",
    "Instance": "objects",
    "LPIPS": "lpips",
    "Mean": "accumulate",
    "ObjectCount": "objects",
    "Objects": "accumulate",
    "SqueezeLPIPS": "lpips",
    "VGGLPIPS": "lpips",
    "align": "depth",
    "average_precision": "detection",
    "bd_metric": "bd",
    "bd_rate": "bd",
    "box_iou": "detection",
    "category_confusion": "semantic",
    "category_iou": "semantic",
    "component_map": "objects",
    "components": "objects",
    "confusion": "semantic",
    "delta": "depth",
    "fid": "distribution",
    "frechet_distance": "distribution",
    "interval": "bootstrap",
    "interval_of_sums": "bootstrap",
    "kernel_distance": "distribution",
    "lpips_weights_path": "lpips",
    "mean_average_precision": "detection",
    "miou": "semantic",
    "ms_ssim": "ssim",
    "mse": "pixel",
    "per_class_iou": "semantic",
    "pixel_accuracy": "semantic",
    "psnr": "pixel",
    "rmse": "depth",
    "scales_for": "ssim",
    "smoothed_cross_entropy": "classification",
    "squeeze_features": "distribution",
    "top1": "classification",
    "topk": "classification",
    "undominated": "bd",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
