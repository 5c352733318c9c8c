"""The contract of a task, and what the adapters to `transformers` models share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InputError, MissingDependency

__all__ = ["Task", "checked_image", "load_pretrained"]


@runtime_checkable
class Task(Protocol):
    """What a receiver does with a picture: `score(run(decoded), run(original))` is what coding cost the task."""

    name: str

    def run(self, image: np.ndarray) -> Any:
        """(H, W, 3) uint8 RGB -> the prediction, of the task's own type."""
        ...

    def score(self, prediction: Any, reference: Any) -> dict[str, float]:
        """Figures of merit of a prediction against a reference: the truth, or the prediction on the original."""
        ...


def checked_image(image: np.ndarray) -> np.ndarray:
    """`image` itself, (H, W, 3) uint8 with a pixel at least; `InputError` for anything else."""
    fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not fits or image.size == 0:
        found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise InputError(f"a task looks at (H, W, 3) uint8 pictures, found {found}: convert it first.")
    return image


def load_pretrained(auto: str, path: str | Path, what: str, device: str) -> tuple[Any, Any]:
    """(model, image processor) of `transformers` from a local folder that `save_pretrained` wrote, safetensors only.

    `auto`: the name of the Auto class. Nothing is downloaded and no code from the folder is run. Raises
    `MissingDependency` without transformers or what the model needs beside it, `InputError` for an unfit folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{path} is not a local folder with {what}: save_pretrained() makes one.")
    try:
        import transformers

        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, auto).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except ImportError as error:
        raise MissingDependency(
            f"{what} needs a library that is not installed ({first_line(error)}): "
            "install chappe[hf], and what the message names."
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{folder} cannot be loaded as {what} ({first_line(error)}): "
            "it should hold config.json, model.safetensors and preprocessor_config.json."
        ) from error
    return model.to(device).eval().requires_grad_(False), processor


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, without a full stop; its type's name if it has none."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
