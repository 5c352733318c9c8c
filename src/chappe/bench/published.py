"""Numbers that papers print, as data with their place: `published/*.json`.

Only what stands in a text or a table is here. A curve that a paper shows as a figure alone is not read off by eye: its
item says so in `note` and has no points. Values keep the paper's own scale (mIoU as a share of 1) and its own meaning:
`lpips:vgg` is never drawn with LPIPS (SqueezeNet).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from chappe.bench.curves import Curve
from chappe.errors import UsageError

__all__ = ["Fact", "Item", "Point", "curves", "item_names", "load_item"]

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Point:
    """One codec at one setting: `rates` holds bpp, bpp_map, cbr or channel_psnr; `values` maps a metric to a number."""

    codec: str
    where: str
    rates: Mapping[str, float] = field(default_factory=dict)
    setting: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact:
    """One printed number that is no point of a curve; `rival` names our codec that stands in for the paper's."""

    what: str
    value: float
    unit: str
    where: str
    rival: str | None = None


@dataclass(frozen=True)
class Item:
    """One figure or table of a paper."""

    name: str
    paper: str
    data: str
    title: str
    note: str
    points: tuple[Point, ...]
    facts: tuple[Fact, ...]


def item_names() -> list[str]:
    """Names of all items: sqgan-fig8, rlasc-table2, ..."""
    return list(_items())


def load_item(name: str) -> Item:
    """The item of that name. Raises UsageError for an unknown one."""
    if name not in _items():
        raise UsageError(f"there is no published item {name!r}: the items are {', '.join(_items())}.")
    return _items()[name]


def curves(name: str, key: str) -> list[Curve]:
    """The item's points that have a rate in bpp and the metric `key`, one curve a codec, with its source.

    A key of the form 'miou:<judge>' takes the paper's mIoU, in percent. An item without such points gives [].
    """
    item = load_item(name)
    printed, scale = ("miou", 100.0) if key.startswith("miou:") else (key, 1.0)
    groups: dict[str, list[tuple[float, float]]] = {}
    for point in item.points:
        if "bpp" in point.rates and printed in point.values:
            groups.setdefault(point.codec, []).append((point.rates["bpp"], scale * point.values[printed]))
    return [
        Curve(
            codec,
            f"{codec} ({name})",
            *map(tuple, zip(*sorted(pairs), strict=True)),
            source=f"{item.paper} ({item.data})",
        )
        for codec, pairs in groups.items()
    ]


@cache
def _items() -> dict[str, Item]:
    found: dict[str, Item] = {}
    for path in sorted(FOLDER.glob("*.json")):
        paper = json.loads(path.read_text(encoding="utf-8"))
        for name, item in paper["items"].items():
            found[name] = Item(
                name=name,
                paper=paper["paper"],
                data=paper["data"],
                title=item["title"],
                note=item["note"],
                points=tuple(_point(entry) for entry in item["points"]),
                facts=tuple(Fact(**entry) for entry in item["facts"]),
            )
    return found


def _point(entry: dict) -> Point:
    rates = {k: float(entry[k]) for k in ("bpp", "bpp_map", "cbr", "channel_psnr") if k in entry}
    return Point(entry["codec"], entry["where"], rates, entry.get("setting", {}), entry["values"])
