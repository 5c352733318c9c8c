"""One photo through several codecs at the bytes of the first: what `chappe compare` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chappe.bench.codecs import open_codec, sends_labels
from chappe.bench.curves import style
from chappe.bench.gallery import MapShown, Scene, Shown, facts, map_uri, picture_uri, veil_uri
from chappe.bench.measure import Instruments, look, measure_frame
from chappe.bench.protocol import TAXONOMY, Frame
from chappe.bench.sheet import Tile
from chappe.errors import RateError
from chappe.taxonomy import get_taxonomy

__all__ = ["Comparison", "agreement", "compare", "scene_of", "tiles_of"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One codec on the photo: its row (see `bench.measure`), and if it was reached the picture and the maps.

    `labels`: the judge's map of the decoded picture; `delivered`: the map in the file; `kept`: grid of kept tokens.
    """

    codec: str
    row: dict
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    delivered: np.ndarray | None = None
    taxonomy: str | None = None
    kept: np.ndarray | None = None


def compare(image: np.ndarray, codecs: Sequence[str], bpp: float, instruments: Instruments) -> Iterator[Comparison]:
    """Yield what each of `codecs` made of the photo, in their order.

    image: (H, W, 3) uint8. The first codec is asked for `bpp`; all others for the bytes that its file really has.
    Raises RateError if the first cannot reach `bpp`; another that cannot reach those bytes yields a row with
    `reached` false and `why`. Raises UsageError for an unknown codec, before anything is encoded.
    """
    opened = [open_codec(name) for name in codecs]
    frame = Frame("photo", image)
    sight = look(frame, instruments)
    rate = f"{bpp:.8f}"
    for number, codec in enumerate(opened):
        kept: dict = {}
        rows = measure_frame(
            frame,
            codec,
            [rate],
            labels="predicted" if sends_labels(codec) else "none",
            instruments=instruments,
            sight=sight,
            keep=lambda _, blob, decoded, kept=kept: kept.update(blob=blob, decoded=decoded),
        )
        row = rows[0]
        if not row["reached"]:
            if number == 0:
                raise RateError(row["why"])
            yield Comparison(codec.name, row)
            continue
        if number == 0:
            rate = f"{row['bpp']:.8f}"
        decoded = kept["decoded"]
        tokens = codec.kept_tokens(kept["blob"]) if hasattr(codec, "kept_tokens") else None
        labels = instruments.eyes["judge"](decoded.image)
        kept_tokens = None if tokens is None else np.asarray(tokens, bool)
        yield Comparison(codec.name, row, decoded.image, labels, decoded.labels, decoded.taxonomy, kept_tokens)


def agreement(row: dict) -> float | None:
    """mIoU in percent of the judge on the decoded picture against the judge on the original."""
    from chappe.metrics import miou

    void = get_taxonomy(TAXONOMY).void
    return 100 * miou(np.asarray(row["agree:judge"]), ignore=void) if row.get("agree:judge") else None


def tiles_of(image: np.ndarray, seen: np.ndarray, results: Sequence[Comparison]) -> list[Tile]:
    """The original and every result as tiles of a contact sheet."""
    height, width = image.shape[:2]
    tiles = [Tile("original", (f"{width}x{height}, {image.size:,} bytes of pixels", "below: what the judge sees"),
                  image, seen)]  # fmt: skip
    for result in results:
        colour = tuple(bytes.fromhex(style(result.codec).light[1:]))
        if result.image is None:
            why = f"Not at these bytes. {result.row['why']}"
            tiles.append(Tile(result.codec, ("out of reach",), None, why=why, colour=colour))
            continue
        row = result.row
        first = f"{row['bytes']:,} bytes, {row['bpp']:.4f} bpp"
        second = [f"PSNR {row['psnr']:.1f} dB"] if row["psnr"] is not None else ["exact"]
        second += [f"LPIPS {row['lpips']:.3f}"] if "lpips" in row else []
        second.append(f"judge agrees {agreement(row):.0f} %")
        tiles.append(Tile(result.codec, (first, ", ".join(second)), result.image, result.labels, colour=colour))
    return tiles


def scene_of(name: str, point: str, image: np.ndarray, seen: np.ndarray, results: Sequence[Comparison]) -> Scene:
    """The same for the viewer of an HTML page."""
    height, width = image.shape[:2]
    shown = []
    for result in results:
        if result.image is None:
            continue
        maps = [MapShown(f"what the judge sees, {result.codec}", map_uri(result.labels, TAXONOMY))]
        if result.delivered is not None:
            maps.append(MapShown("label map in the file", map_uri(result.delivered, result.taxonomy)))
        kept = result.kept
        shown.append(
            Shown(
                codec=result.codec,
                point=point,
                image=picture_uri(result.image),
                bytes=result.row["bytes"],
                bpp=result.row["bpp"],
                facts=facts(result.row),
                sections=result.row["sections"],
                maps=tuple(maps),
                tokens=None if kept is None else veil_uri(kept, (height, width)),
                kept=None if kept is None else f"{int(kept.sum())} of {kept.size}",
            )
        )
    original = (MapShown("what the judge sees, original", map_uri(seen, TAXONOMY)),)
    return Scene(name, width, height, picture_uri(image), tuple(shown), original)
