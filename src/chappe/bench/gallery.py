"""Pictures on a page: original against decoded under a divider, label maps beside them, kept tokens as a veil.

`scenes_from_folder` reads what `chappe evaluate --gallery N` writes; `chappe compare` makes its scenes in memory. Every
picture is embedded: photographs as WebP of quality 90 to keep the page small (the measured values are of the exact
pixels), label maps and token grids as PNG, exactly.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from chappe.bench.codecs import ORIGINAL
from chappe.bench.curves import codec_order
from chappe.bench.pictures import picture_stem
from chappe.bench.protocol import TAXONOMY

__all__ = [
    "MapShown",
    "Scene",
    "Shown",
    "facts",
    "gallery_html",
    "map_uri",
    "picture_uri",
    "scenes_from_folder",
    "veil_uri",
]

MAX_BYTES = 24_000_000  # of embedded pictures; a page of more is slow to open
VEIL = (14, 14, 18, 170)  # RGBA laid over the cells whose tokens were not sent


@dataclass(frozen=True)
class MapShown:
    """A label map, coloured, as a data URI, with what it is."""

    caption: str
    image: str


@dataclass(frozen=True)
class Shown:
    """One decoded picture: its codec (with the kind of labels sent), operating point, data URIs and figures.

    `facts` are short texts put under the picture; `tokens` is a veil as a data URI, `kept` the text '180 of 512'.
    """

    codec: str
    point: str
    image: str
    bytes: int
    bpp: float
    facts: tuple[str, ...] = ()
    sections: Mapping[str, int] = field(default_factory=dict)
    maps: tuple[MapShown, ...] = ()
    tokens: str | None = None
    kept: str | None = None


@dataclass(frozen=True)
class Scene:
    """One original, width x height pixels, and everything decoded from it; at least one `Shown`."""

    name: str
    width: int
    height: int
    image: str
    shown: tuple[Shown, ...]
    maps: tuple[MapShown, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its embedded pictures."""
        parts = [self.image, *(m.image for m in self.maps)]
        for view in self.shown:
            parts += [view.image, view.tokens or "", *(m.image for m in view.maps)]
        return sum(map(len, parts))


def picture_uri(image: np.ndarray, quality: int = 90) -> str:
    """(H, W, 3) uint8 as a data URI: WebP of that quality."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, "WEBP", quality=quality, method=2)
    return _uri(out.getvalue(), "image/webp")


def map_uri(labels: np.ndarray, taxonomy: str) -> str:
    """(H, W) uint8 class indices as a data URI: a PNG in the label set's colours."""
    from chappe.image import label_bytes

    return _uri(label_bytes(labels, taxonomy), "image/png")


def veil_uri(kept: np.ndarray, size: tuple[int, int]) -> str:
    """(h, w) bool of token cells as a data URI: a PNG of `size` (H, W), dark where no token was sent, else clear.

    Cells are the smallest squares of 2^n pixels whose grid covers the picture with h x w cells; the last row and column
    may stick out of it.
    """
    height, width = size
    cell = next((c for c in (2**n for n in range(12)) if (-(-height // c), -(-width // c)) == kept.shape), None)
    rows, columns = (cell, cell) if cell else (-(-height // kept.shape[0]), -(-width // kept.shape[1]))
    full = np.repeat(np.repeat(kept, rows, 0), columns, 1)[:height, :width]
    picture = Image.fromarray(np.where(full, 1, 0).astype(np.uint8))
    picture.putpalette([*VEIL[:3], 255, 255, 255])
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True, bits=1, transparency=bytes((VEIL[3], 0)))
    return _uri(out.getvalue(), "image/png")


def scenes_from_folder(folder: Path, rows: Iterable[dict], max_bytes: int = MAX_BYTES) -> tuple[list[Scene], int]:
    """The scenes whose pictures lie in `folder` (see `bench.pictures`), and how many did not fit into `max_bytes`.

    `rows` are the sweep's, in their order; what has no row is not shown, for nothing could be said of its bytes.
    """
    by_name: dict[str, list[dict]] = {}
    for row in rows:
        if row.get("reached"):
            by_name.setdefault(row["name"], []).append(row)
    scenes, total, left = [], 0, 0
    for name, group in by_name.items():
        if not (Path(folder) / f"{picture_stem(name)}.png").is_file():
            continue
        scene = None if left else _scene(Path(folder), name, group)
        if left or (scene and total + scene.size > max_bytes):
            left += 1
        elif scene:
            scenes.append(scene)
            total += scene.size
    return scenes, left


def gallery_html(scenes: Sequence[Scene], taxonomy: str | None = TAXONOMY) -> str:
    """The viewer and its data, to stand in a page with the report's style and script; '' without scenes."""
    if not scenes:
        return ""
    thumbs = "".join(
        f'<button type="button" aria-pressed="{str(i == 0).lower()}" title="{escape(s.name)}">'
        f'<img alt="{escape(s.name)}" src="{_thumb(s.image)}"></button>'
        for i, s in enumerate(scenes)
    )
    first, view = scenes[0], _start(scenes[0])
    data = json.dumps([asdict(scene) for scene in scenes]).replace("</", "<\\/")
    return f"""<div class="viewer" data-point="{escape(view.point)}">
<div class="thumbs"{" hidden" if len(scenes) == 1 else ""}>{thumbs}</div>
<div class="stage" style="aspect-ratio:{first.width} / {first.height}">
<img class="decoded" alt="decoded by {escape(view.codec)}" src="{view.image}">
<img class="original" alt="original" src="{first.image}">
<img class="veil" alt="" hidden>
<span class="tag left">original</span><span class="tag right">{escape(view.codec)}</span>
<div class="divider" role="slider" tabindex="0" aria-label="Divider between original (left) and decoded (right)"
 aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"></div>
</div>
<p class="facts"><b>{view.bytes:,} bytes</b>{"".join(" · " + escape(fact) for fact in view.facts)}</p>
<div class="keys parts"></div>
<div class="choose">
<span>codec</span><div class="chips codecs"></div>
<span>rate</span><div class="chips points"></div>
<span>overlay</span>
<div class="chips"><button type="button" class="tokens" aria-pressed="false">kept tokens</button></div>
</div>
<div class="maps"></div>
{_palette(taxonomy)}
</div>
<script type="application/json" id="scenes">{data}</script>"""


def _scene(folder: Path, name: str, rows: Sequence[dict]) -> Scene | None:
    from chappe.image import read_image

    shown = []
    for row in rows:
        stem = picture_stem(name, row["codec"], row["labels"], str(row["point"]))
        if row["codec"] == ORIGINAL or not (folder / f"{stem}.png").is_file():
            continue
        image = read_image(folder / f"{stem}.png")
        maps, tokens, kept = (), None, None
        if (path := folder / f"{stem}.labels.png").is_file():
            maps = (MapShown("label map in the file", _uri(path.read_bytes(), "image/png")),)
        if (path := folder / f"{stem}.tokens.png").is_file():
            grid = read_image(path)[..., 0] > 0
            tokens, kept = veil_uri(grid, image.shape[:2]), f"{int(grid.sum())} of {grid.size}"
        shown.append(
            Shown(
                codec=row["codec"] + (" · true labels" if row["labels"] == "true" else ""),
                point=str(row["point"]),
                image=picture_uri(image),
                bytes=row["bytes"],
                bpp=row["bpp"],
                facts=facts(row),
                sections=row.get("sections") or {},
                maps=maps,
                tokens=tokens,
                kept=kept,
            )
        )
    if not shown:
        return None
    stem = picture_stem(name)
    original, path = read_image(folder / f"{stem}.png"), folder / f"{stem}.labels.png"
    maps = (MapShown("true labels", _uri(path.read_bytes(), "image/png")),) if path.is_file() else ()
    height, width = original.shape[:2]
    shown.sort(key=lambda view: (codec_order(view.codec.split(" · ")[0]), view.codec, view.bpp))
    return Scene(name, width, height, picture_uri(original), tuple(shown), maps)


def facts(row: Mapping) -> tuple[str, ...]:
    """What is said under a picture, from its row: rate, fidelity, and the mIoU of its judges, as far as measured."""
    said = [f"{row['bpp']:.4f} bpp"]
    if row.get("psnr") is not None:
        said.append(f"PSNR {row['psnr']:.2f} dB")
    if row.get("ms_ssim") is not None:
        said.append(f"MS-SSIM {row['ms_ssim']:.3f}")
    if row.get("lpips") is not None:
        said.append(f"LPIPS {row['lpips']:.3f}")
    for key, text in (("eye:judge", "judge mIoU"), ("agree:judge", "judge agrees")):
        if row.get(key):
            from chappe.metrics import miou

            said.append(f"{text} {100 * miou(np.asarray(row[key]), ignore=11):.1f} %")
    return tuple(said)


def _start(scene: Scene) -> Shown:
    """What is seen first: the first codec, at its rate nearest to 0.04 bpp."""
    mine = [view for view in scene.shown if view.codec == scene.shown[0].codec]
    return min(mine, key=lambda view: abs(view.bpp - 0.04))


def _thumb(uri: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    picture.thumbnail((224, 128))
    return picture_uri(np.asarray(picture.convert("RGB")), 75)


def _palette(taxonomy: str | None) -> str:
    if taxonomy is None:
        return ""
    from chappe.taxonomy import get_taxonomy

    table = get_taxonomy(taxonomy)
    entries = (
        f'<span><i style="background:rgb({r},{g},{b})"></i>{escape(name)}</span>'
        for name, (r, g, b) in zip(table.classes, table.palette.tolist(), strict=True)
    )
    return f'<div class="palette">{"".join(entries)}</div>'


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
