"""What one picture costs and keeps: encode, decode, look at it. Every number is of a file that was decoded again.

Times are wall-clock seconds of one process with one torch thread. Every metric and every
judge sees the decoded 8-bit picture.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from chappe.bench.codecs import ORIGINAL, codec_version, parse_point, sends_labels
from chappe.bench.protocol import TAXONOMY, Frame
from chappe.codec import Codec
from chappe.errors import ChappeError, InputError, RateError
from chappe.taxonomy import mapping

__all__ = ["Instruments", "Sight", "look", "measure_frame", "measure_original", "open_instruments", "warm_up"]

CLASSES = 12  # street11 with void
VOID = 11
MIN_OBJECT = 2000  # an object is a component of at least 1 / MIN_OBJECT of the picture's pixels (65 at 256 x 512)


@dataclass(frozen=True)
class Instruments:
    """What looks at the pictures: `eyes` are segmenters by name, (H, W, 3) uint8 -> (H, W) uint8 of street11."""

    eyes: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    versions: Mapping[str, str] = field(default_factory=dict)  # of each eye, from its weights
    lpips: object | None = None  # chappe.metrics.lpips.LPIPS
    features: bool = False

    def name(self) -> str:
        """One text for all that decides the numbers of a row: part of its key."""
        parts = [f"{name}@{self.versions.get(name, '')}" for name in self.eyes]
        return "+".join([*parts, *(["lpips"] if self.lpips else []), *(["features"] if self.features else [])])


@dataclass(frozen=True, eq=False)
class Sight:
    """What the instruments see in an original, kept while its coded versions are measured."""

    labels: dict[str, np.ndarray]
    truth: np.ndarray | None
    lpips: list | None


def open_instruments(
    *, espnetv2: bool = False, segmenter: bool = False, features: bool = False, perceptual: bool = True
) -> Instruments:
    """The judge, other eyes if asked for, and LPIPS where its weights are at hand ($CHAPPE_DATA/weights).

    Raises InputError where `espnetv2` or `features` is asked for and their weights are not there.
    """
    eyes: dict[str, Callable] = {"judge": _judge()}
    if espnetv2:
        from chappe.bench.espnetv2 import load_espnetv2

        eyes["espnetv2"] = load_espnetv2()
    if segmenter:
        from chappe.segment.builtin import load_segmenter

        eyes["segmenter"] = load_segmenter()
    network = None
    if perceptual or features:
        import torch

        from chappe.metrics.lpips import SqueezeLPIPS, lpips_weights_path

        try:
            network = SqueezeLPIPS.from_file(lpips_weights_path()).to(
                memory_format=torch.channels_last
            )  # twice as fast
        except InputError:
            if features:
                raise
    return Instruments(eyes, {name: _weights(eye) for name, eye in eyes.items()}, network, features)


def _judge() -> Callable[[np.ndarray], np.ndarray]:
    from chappe.segment.builtin import load_judge

    return load_judge()


def _weights(eye: Callable) -> str:
    """8 hex digits over the parameters of a segmenter's network; empty for one without."""
    network = getattr(eye, "net", None) or getattr(eye, "network", None)
    if network is None:
        return ""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def look(frame: Frame, instruments: Instruments) -> Sight:
    """See an original once, for `measure_frame` of every codec."""
    labels = {name: eye(frame.image) for name, eye in instruments.eyes.items()}
    planes = None if instruments.lpips is None else _lpips_features(frame.image, instruments.lpips)
    return Sight(labels, frame.labels_in(TAXONOMY), planes)


def measure_frame(
    frame: Frame,
    codec: Codec,
    points: Iterable[str],
    *,
    labels: str,
    instruments: Instruments,
    sight: Sight | None = None,
    keep: Callable[[str, bytes, object], None] | None = None,
) -> list[dict]:
    """One row for each point of `points` (text; see `bench.codecs.parse_point`) that the codec has.

    labels: "predicted" (the codec's own segmenter, timed apart), "true" (the frame's), or "none" for a codec that sends
    none. `sight`: of `look`, made here if absent. `keep(point, blob, decoded)` is called for each file.
    A point out of reach gives a row with `reached` false and `why`. Raises InputError for a picture the codec refuses.
    """
    sight = sight or look(frame, instruments)
    given, segment = _labels(frame, codec, labels)
    sent = None if given is None else _street(given, codec.taxonomy, sight.truth)
    rows = []
    for text in points:
        wanted = parse_point(codec, text)
        if wanted is None:
            continue
        row = _head(frame, codec.name, codec_version(codec), text, labels)
        try:
            blob, encode, extra = _encode(codec, frame.image, given, wanted)
        except RateError as error:
            rows.append(row | {"reached": False, "why": str(error)})
            continue
        start = time.perf_counter()
        decoded = codec.decode(blob)
        decode = time.perf_counter() - start
        if decoded.image.shape != frame.image.shape:
            raise InputError(
                f"{codec.name} decoded a picture of shape {decoded.image.shape} from one of {frame.image.shape}: "
                "an adapter must give back the size it was given."
            )
        report = decoded.report
        row |= {"reached": True, "bytes": len(blob), "bpp": len(blob) * 8 / _pixels(frame)} | extra
        row |= {"bpp_nominal": report.bpp_nominal, "sha256": hashlib.sha256(blob).hexdigest()}
        row["sections"] = {"header": report.header} | _sizes(report.sections)
        row |= _pixel_metrics(frame, decoded.image, instruments, sight)
        row["sent"] = sent
        row["map"] = None if decoded.labels is None else _street(decoded.labels, decoded.taxonomy, sight.truth)
        seen, judge = _judged(decoded.image, instruments, sight)
        row |= seen
        row["seconds"] = {"segment": segment, "encode": encode, "decode": decode, "judge": judge}
        rows.append(row)
        if keep is not None:
            keep(text, blob, decoded)
    return rows


def warm_up(frame: Frame, codec: Codec, point: str) -> None:
    """Code another picture than the frame once, so that what a process does only once is not in anybody's seconds."""
    other = np.ascontiguousarray(frame.image[:, ::-1])
    try:
        blob = codec.encode(other, labels=codec.segment(other), **(parse_point(codec, point) or {}))
        codec.decode(blob)
    except ChappeError:
        pass  # whatever is wrong is said where the frame itself is coded


def measure_original(frame: Frame, *, instruments: Instruments, sight: Sight | None = None) -> dict:
    """The row of the uncoded picture (24 bpp): what the judges see where nothing was lost."""
    sight = sight or look(frame, instruments)
    start = time.perf_counter()
    if "judge" in instruments.eyes:
        instruments.eyes["judge"](frame.image)
    judge = time.perf_counter() - start
    row = _head(frame, ORIGINAL, "", ORIGINAL, "none")
    data = np.ascontiguousarray(frame.image).tobytes()
    row |= {"reached": True, "bytes": len(data), "bpp": 24.0, "bpp_nominal": None}
    row |= {"sha256": hashlib.sha256(data).hexdigest(), "sections": {}, "psnr": None, "ssim": 1.0, "ms_ssim": None}
    if sight.lpips is not None:
        row["lpips"] = 0.0
    row["map"] = None
    for name, seen in sight.labels.items():
        row[f"eye:{name}"] = _matrix(seen, sight.truth)
        row[f"agree:{name}"] = _matrix(seen, seen)
        if name == "judge":
            row["objects"] = _objects(seen, seen)
    if instruments.features:
        row["feature"] = _feature(frame.image, instruments.lpips)
    row["seconds"] = {"segment": 0.0, "encode": 0.0, "decode": 0.0, "judge": judge}
    return row


def _head(frame: Frame, codec: str, version: str, point: str, labels: str) -> dict:
    height, width = frame.image.shape[:2]
    row = {"name": frame.name, "codec": codec, "codec_version": version, "point": point, "labels": labels}
    return row | {"width": width, "height": height}


def _labels(frame: Frame, codec: Codec, mode: str) -> tuple[np.ndarray | None, float]:
    """The label map handed to the encoder, and the seconds its segmenter took."""
    if mode == "none" or not sends_labels(codec):
        return None, 0.0
    if mode == "true":
        given = frame.labels_in(codec.taxonomy)
        if given is None:
            raise InputError(f"picture {frame.name} has no true labels to send: use --labels predicted.")
        return given, 0.0
    start = time.perf_counter()
    given = codec.segment(frame.image)
    return given, time.perf_counter() - start


def _encode(codec: Codec, image: np.ndarray, labels: np.ndarray | None, wanted: dict) -> tuple[bytes, float, dict]:
    """File, seconds of one encoding, and what else the row says. A codec with a ladder is timed at the rung it took."""
    if "bpp" in wanted and hasattr(codec, "rung"):
        rung = codec.rung(image, wanted["bpp"])
        return rung.blob, rung.seconds, {"quality": rung.quality}
    start = time.perf_counter()
    blob = codec.encode(image, labels=labels, **wanted)
    return blob, time.perf_counter() - start, {}


def _sizes(sections) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for section in sections:
        sizes[section.name] = sizes.get(section.name, 0) + section.size
    return sizes


def _pixels(frame: Frame) -> int:
    return frame.image.shape[0] * frame.image.shape[1]


def _pixel_metrics(frame: Frame, image: np.ndarray, instruments: Instruments, sight: Sight) -> dict:
    from chappe.metrics.pixel import psnr
    from chappe.metrics.ssim import ms_ssim, scales_for, ssim

    value = psnr(frame.image, image)
    out: dict = {"psnr": value if np.isfinite(value) else None}  # JSON has no infinity
    out["ssim"] = ssim(frame.image, image)
    # With fewer than five scales it would be another measure under the same name.
    out["ms_ssim"] = ms_ssim(frame.image, image) if scales_for(*image.shape[:2]) == 5 else None
    if instruments.lpips is not None:
        planes = _lpips_features(image, instruments.lpips)
        out["lpips"] = float(instruments.lpips.distance(planes, sight.lpips)[0])
    if instruments.features:
        out["feature"] = _feature(image, instruments.lpips)
    return out


def _lpips_features(image: np.ndarray, network) -> list:
    import torch

    with torch.inference_mode():
        # A transposed (H, W, 3) array lies in memory as channels_last does.
        x = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)
        return network.features(x.float() / 127.5 - 1)


def _feature(image: np.ndarray, network) -> str:
    """Base64 of float16: the 512 pooled features of `chappe.metrics.distribution.squeeze_features`."""
    from chappe.metrics.distribution import squeeze_features

    return base64.b64encode(squeeze_features([image], network)[0].astype("<f2").tobytes()).decode()


def _street(labels: np.ndarray, taxonomy: str, truth: np.ndarray | None) -> list | None:
    return _matrix(mapping(taxonomy, TAXONOMY)[labels], truth)


def _judged(image: np.ndarray, instruments: Instruments, sight: Sight) -> tuple[dict, float]:
    row, seconds = {}, 0.0
    for name, eye in instruments.eyes.items():
        start = time.perf_counter()
        seen = eye(image)
        if name == "judge":
            seconds = time.perf_counter() - start
            row["objects"] = _objects(sight.labels[name], seen)
        row[f"eye:{name}"] = _matrix(seen, sight.truth)
        row[f"agree:{name}"] = _matrix(seen, sight.labels[name])
    return row, seconds


def _objects(original: np.ndarray, seen: np.ndarray) -> dict[str, int]:
    """Counts of the things the judge sees in the original and in the decoded picture; see `chappe.metrics.objects`."""
    from chappe.metrics.objects import match

    return asdict(match(original, seen, taxonomy=TAXONOMY, min_pixels=max(4, seen.size // MIN_OBJECT)))


def _matrix(pred: np.ndarray, true: np.ndarray | None) -> list | None:
    """(12, 12) counts as lists, rows the true class; pixels whose truth is void are not counted."""
    from chappe.metrics import confusion

    return None if true is None else confusion(pred, true, CLASSES, ignore=VOID).tolist()
