"""`chappe export`: the networks of some codecs and of the segmenter, in fp32 and if wanted in int8, into one folder."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from chappe.backends.bundle import SEGMENTER, Bundle, write_bundle
from chappe.errors import InputError, RateError
from chappe.files import PICTURE_SUFFIXES

__all__ = ["PICTURES", "calibration_pictures", "export", "prepared"]

PICTURES = 16  # pictures a network is calibrated on
SIZE = (256, 512)


def export(
    names: Sequence[str], folder: Path, *, int8: bool = False, pictures: Iterable[np.ndarray] = (),
    say: Callable[[str], None] = lambda text: None,
) -> None:  # fmt: skip
    """Write the networks of the codecs `names` and of the segmenter to `folder`.

    With `int8` also quantised ones, calibrated on `pictures` (256, 512, 3) uint8. `say` is told what was written.
    Raises UsageError for a codec without networks, MissingDependency without torch, onnx or (int8) onnxruntime.
    """
    from chappe.backends.export import export_codec, export_segmenter
    from chappe.codec import load

    made_with = {name: metadata.version(name) for name in ("chappe", "torch")}
    pictures = list(pictures)
    fingerprint, networks = export_segmenter()
    whole = {(key, "fp32"): data for key, data in networks.items()}
    _write(folder, SEGMENTER, fingerprint, whole, made_with)
    segment = _recorded_segmenter(folder) if int8 else None
    if segment:
        for picture in pictures:
            segment(picture)
        whole |= _quantised(networks, segment.run.seen)
        _write(folder, SEGMENTER, fingerprint, whole, made_with)
    say(_line(SEGMENTER, whole))
    for name in names:
        codec = load(name)
        networks = export_codec(codec)
        whole = {(key, "fp32"): data for key, data in networks.items()}
        if segment:
            whole |= _quantised(networks, _record(codec, segment, pictures))
        _write(folder, name, codec.fingerprint, whole, made_with)
        say(_line(name, whole))


def calibration_pictures(folder: str | None, count: int = PICTURES) -> list[np.ndarray]:
    """`count` pictures (256, 512, 3) uint8: evenly spaced ones of a folder, or procedural scenes where it is None.

    A picture is cut to its middle 2:1 box and resized. Raises InputError for a folder without pictures.
    """
    from chappe.data.scenes import render_scene
    from chappe.data.street import street_protocol
    from chappe.image import read_image

    if folder is None:
        return [render_scene(1_000 + seed, size=SIZE).image for seed in range(count)]
    paths = picture_files(Path(folder))
    if not paths:
        raise InputError(f"{folder}: holds no pictures: name the folder with the frames themselves.")
    chosen = [paths[i * len(paths) // min(count, len(paths))] for i in range(min(count, len(paths)))]
    return [street_protocol(read_image(path), None)[0] for path in chosen]


def picture_files(folder: Path) -> list[Path]:
    """The files of a folder whose names end like pictures', by name. Raises InputError if it is no folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder.")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())


def _recorded_segmenter(folder: Path):
    from chappe.backends.calibrate import Recorder
    from chappe.backends.runtime import OnnxSegmenter, Sessions

    return OnnxSegmenter(Recorder(Sessions(Bundle(folder, SEGMENTER)), PICTURES))


def _record(codec, segment, pictures: Sequence[np.ndarray]) -> dict[str, list]:
    """What the networks of `codec` see when it codes `pictures` at its operating points in turn."""
    from chappe.backends.calibrate import Recorder

    codec = copy.copy(codec)
    codec.engine = copy.copy(codec.engine)
    codec.engine.run = recorder = Recorder(codec.engine.run, PICTURES)
    points = codec.points()
    for number, picture in enumerate(pictures):
        labels = segment(picture)
        for step in range(len(points)):  # the next point where one is out of reach of this picture
            try:
                blob = codec.encode(picture, labels=labels, point=points[(number + step) % len(points)])
            except RateError:
                continue
            codec.decode(blob)
            break
    return recorder.seen


def _quantised(networks: dict[str, bytes], seen: dict[str, list]) -> dict[tuple[str, str], bytes]:
    from chappe.backends.calibrate import quantise

    return {(name, "int8"): quantise(data, seen[name]) for name, data in networks.items() if seen.get(name)}


def _write(folder: Path, name: str, fingerprint: int, networks: dict[tuple[str, str], bytes], made_with: dict) -> None:
    ready = {key: prepared(data) for key, data in networks.items()}
    write_bundle(folder, name, fingerprint, ready, made_with)


def prepared(network: bytes) -> bytes:
    """The network as ONNX Runtime rewrites it before it chooses layouts for a processor: it opens in two thirds of the
    time and computes the same. As it is where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return network
    with tempfile.TemporaryDirectory(prefix="chappe-onnx-") as temporary:
        target = Path(temporary) / "prepared.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        return target.read_bytes()


def _line(name: str, networks: dict[tuple[str, str], bytes]) -> str:
    parts = [f"{network} {precision} {len(data) / 1e6:.1f} MB" for (network, precision), data in networks.items()]
    return f"{name}: {', '.join(parts)}"
