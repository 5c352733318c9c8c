"""Tasks: what a receiver does with the picture, and how well it does it. Importing this package imports no torch.

A `Task` looks at a picture and scores one answer against another. Its reference is either the truth or its own answer
on the original picture: the second asks what coding cost, whatever the network's own mistakes.
"""

from __future__ import annotations

from chappe.lazy import lazy_names

_HOMES = {
    "Classification": "classification",
    "ComponentDetector": "detection",
    "Depth": "depth",
    "Detection": "detection",
    "Reidentification": "reid",
    "Segmentation": "segmentation",
    "Task": "base",
    "load_transformers_classifier": "classification",
    "load_transformers_depth": "depth",
    "load_transformers_detector": "detection",
    "load_torchvision_detector": "detection",
    "rlasc_detection_loss": "detection",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
