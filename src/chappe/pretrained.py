"""Where weights made by others lie: `$CHAPPE_DATA/weights`. None of them is part of this package."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError

__all__ = ["pretrained_path"]


def pretrained_path(file: str, purpose: str) -> Path:
    """`$CHAPPE_DATA/weights/<file>`; raises `InputError` (beginning with `purpose`) if unset or not there.

    Nothing is ever downloaded.
    """
    root = os.environ.get("CHAPPE_DATA")
    if not root:
        raise InputError(
            f"{purpose} needs the file weights/{file} and CHAPPE_DATA is not set: "
            "set CHAPPE_DATA to the data folder that holds weights/, or pass the path of the file."
        )
    path = Path(root) / "weights" / file
    if not path.is_file():
        raise InputError(
            f"{purpose} needs its weights and {path} does not exist: put {file} there, or pass the path of the file."
        )
    return path
