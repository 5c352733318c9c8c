"""Segmenters made by others behind one call: Hugging Face `transformers` and `segmentation-models-pytorch` models.

A segmenter is any callable from an image (H, W, 3) uint8 RGB to labels (H, W) uint8 with a `taxonomy` attribute; see
`Segmenter`. Models load from a local folder; only `download_transformers` ever touches the network.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InputError, MissingDependency, UsageError
from ..taxonomy import get_taxonomy, mapping

__all__ = ["Segmenter", "class_table", "download_transformers", "load_smp", "load_transformers"]

# Where a model's class name stands in no label set under that name: ADE20K's words, by Cityscapes class.
_OTHER_NAMES = {
    "earth": "ground", "lamp post": "pole", "minibike": "motorcycle", "plant": "vegetation",
    "signboard": "traffic sign", "streetlight": "pole", "van": "car",
}  # fmt: skip
_LOOKED_UP_IN = ("cityscapes35", "street11", "cocostuff183")


@runtime_checkable
class Segmenter(Protocol):
    """What an encoder asks for its eye. `taxonomy` names the label set of the result."""

    taxonomy: str

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W) uint8 class indices of `taxonomy`."""
        ...


def load_transformers(
    path: str | Path, *, taxonomy: str = "street11", classes: str | Sequence[str] | None = None, device: str = "cpu"
) -> Segmenter:
    """A `transformers` semantic-segmentation model (Segformer, UPerNet, BEiT, DPT, ...) saved in a local folder.

    The folder holds config.json, model.safetensors and preprocessor_config.json, as `save_pretrained` writes them or
    `download_transformers` fetches them. Its classes are translated to `taxonomy` with `class_table`; `classes`
    replaces the names in its config (a sequence of names, or the label set it was trained on). Nothing is downloaded,
    no code from the folder is run, and only safetensors are read.

    Raises `MissingDependency` without transformers, `InputError` for a folder that cannot be loaded, `UsageError` if
    its classes do not match.
    """
    transformers = _import("transformers", "hf")
    folder = _folder(path, "a transformers model: save_pretrained() or download_transformers() makes one")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForSemanticSegmentation.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except ImportError as error:
        raise MissingDependency(
            f"{folder} needs a library that transformers does not bring ({_first_line(error)}): "
            "install what it names beside chappe[hf]."
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{folder} cannot be loaded as a semantic-segmentation model of transformers ({_first_line(error)}): "
            "it should hold config.json, model.safetensors and preprocessor_config.json."
        ) from error
    names = model.config.id2label if classes is None else classes
    return _TransformersSegmenter(model, processor, names, taxonomy, device)


def download_transformers(name: str, dest: str | Path) -> Path:
    """Fetch model `name` ("owner/model" of the Hugging Face Hub) into the folder `dest`; the one function here that
    downloads.

    Takes configuration and safetensors files only, and returns `dest`, ready for `load_transformers`. Mind the model's
    licence. Raises `MissingDependency` without huggingface_hub, `InputError` if the model cannot be had.
    """
    hub = _import("huggingface_hub", "hf")
    dest = Path(dest)
    try:
        hub.snapshot_download(name, local_dir=dest, allow_patterns=["*.json", "*.safetensors"])
    except Exception as error:  # the hub raises its own, requests', httpx's and the system's errors
        raise InputError(f"the model {name!r} could not be downloaded to {dest} ({_first_line(error)}).") from error
    if not any(dest.glob("*.safetensors")):
        raise InputError(f"the model {name!r} has no safetensors file, the only kind read: choose another model.")
    return dest


def load_smp(
    path: str | Path,
    *,
    classes: str | Sequence[str],
    taxonomy: str = "street11",
    size: tuple[int, int] | None = None,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    device: str = "cpu",
) -> Segmenter:
    """A `segmentation-models-pytorch` model that its `save_pretrained` wrote into a local folder.

    Such a folder names no classes: `classes` are its channels' names in order, or the label set it was trained on
    (with or without a void channel at the end). `size` is the (height, width) it sees, multiples of 32; by default the
    image's own, rounded. `mean`, `std`: its normalisation of RGB in 0..1. Nothing is downloaded.

    Raises `MissingDependency`, `InputError`, `UsageError` as `load_transformers` does.
    """
    smp = _import("segmentation_models_pytorch", "smp")
    folder = _folder(path, "a segmentation-models-pytorch model: its save_pretrained() makes one")
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(f"{folder} holds no {file}: give a folder that save_pretrained() wrote.")
    try:
        # The stored configuration may name encoder weights, which would be downloaded only to be overwritten.
        model = smp.from_pretrained(str(folder), encoder_weights=None)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{folder} cannot be loaded as a segmentation-models-pytorch model ({_first_line(error)})."
        ) from error
    return _SMPSegmenter(model, classes, taxonomy, device, size, mean, std)


def class_table(names: str | Sequence[str] | Mapping[int | str, str], taxonomy: str) -> np.ndarray:
    """(K,) uint8: the class of `taxonomy` for each of a model's K classes; void where it has none.

    `names`: class names in order, an `id2label` mapping, or the name of a label set. A name (or one of several
    separated by commas or semicolons, as in ADE20K) is taken from `taxonomy` itself, else translated by `mapping` from
    the first of cityscapes35, street11, cocostuff183 that has it, else read as an everyday word. Raises `UsageError`
    if fewer than two classes of `taxonomy` are reached: such a model answers another question.

    >>> class_table(["road", "van", "car", "ceiling", "plant, flora"], "street11").tolist()
    [3, 8, 8, 11, 5]
    """
    target = get_taxonomy(taxonomy)
    if isinstance(names, str):
        return mapping(names, taxonomy)
    if isinstance(names, Mapping):
        by_id = {int(i): name for i, name in names.items()}
        if sorted(by_id) != list(range(len(by_id))):
            raise UsageError(f"the model's class ids should run from 0 without gaps, found {sorted(by_id)}.")
        names = [by_id[i] for i in range(len(by_id))]
    void = target.void if target.void is not None else 0
    table = np.array([_translate(str(name), taxonomy, void) for name in names], np.uint8)
    if len(set(table.tolist()) - {void}) < min(2, len(target) - 1):
        shown = ", ".join(str(name) for name in names[:5])
        raise UsageError(
            f"the model's classes ({shown}, ...) do not match {taxonomy}: pass classes= with their names or label set."
        )
    return table


def _translate(name: str, taxonomy: str, void: int) -> int:
    target = get_taxonomy(taxonomy)
    words = [word.strip() for word in re.split("[,;]", name) if word.strip()]
    for word in words:
        if own := target.find(word, exact=True):
            return own[0]
    for word in words:
        for source in _LOOKED_UP_IN:
            if own := get_taxonomy(source).find(word, exact=True):
                return int(mapping(source, taxonomy)[own[0]])
    for word in words:
        if found := target.find(_OTHER_NAMES.get(word.casefold(), word)):
            return found[0]
    return void


class _TorchSegmenter(ABC):
    """Shared end of both adapters: checks, logits at the image's size, argmax, translation."""

    def __init__(self, model: Any, names: Any, taxonomy: str, device: str) -> None:
        self.taxonomy = taxonomy
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        self._table = class_table(names, taxonomy)
        # A label set ends in void, for which most models have no channel.
        self._channels = {len(self._table), len(self._table) - 1} if isinstance(names, str) else {len(self._table)}

    @abstractmethod
    def _logits(self, image: np.ndarray) -> Any:
        """(1, C, h, w) scores of a picture (H, W, 3) uint8."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        import torch

        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
            raise InputError(f"a segmenter looks at (H, W, 3) uint8 pictures, found {found}: convert it first.")
        with torch.inference_mode():
            logits = self._logits(image).float()
            if logits.shape[1] not in self._channels:
                raise UsageError(
                    f"the model answers {logits.shape[1]} classes and {len(self._table)} names were given: "
                    "pass classes= in full."
                )
            logits = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
            return self._table[logits.argmax(1)[0].cpu().numpy()]


class _TransformersSegmenter(_TorchSegmenter):
    def __init__(self, model: Any, processor: Any, names: Any, taxonomy: str, device: str) -> None:
        super().__init__(model, names, taxonomy, device)
        self._processor = processor
        # A centre crop would shift the labels against the picture.
        self._options = {"do_center_crop": False} if getattr(processor, "do_center_crop", False) else {}

    def _logits(self, image: np.ndarray) -> Any:
        inputs = self._processor(images=image, return_tensors="pt", **self._options)
        return self._model(pixel_values=inputs["pixel_values"].to(self._device)).logits


class _SMPSegmenter(_TorchSegmenter):
    def __init__(
        self, model: Any, names: Any, taxonomy: str, device: str, size: Any, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(model, names, taxonomy, device)
        self._size, self._mean, self._std = size, mean, std

    def _logits(self, image: np.ndarray) -> Any:
        import torch

        size = self._size or tuple(max(32, round(side / 32) * 32) for side in image.shape[:2])
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)[None].float() / 255
        x = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (self._mean, self._std))
        answer = self._model((x - mean) / std)
        return answer[0] if isinstance(answer, tuple) else answer  # a second head classifies the whole picture


def _import(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision built for another torch raises RuntimeError
        raise MissingDependency(
            f"this needs {module}, which is not usable here ({_first_line(error)}): "
            f"install it with pip install 'chappe[{extra}]'."
        ) from error


def _folder(path: str | Path, what: str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{path} is not a local folder with {what}.")
    return folder


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
