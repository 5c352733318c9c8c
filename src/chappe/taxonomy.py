"""Label sets with their names and colours, the mappings between them, and relevance profiles.

Every label set is tied to one hub, `cityscapes35`: a table into it and a table out of it, so `mapping(a, b)` exists for
each pair. Class indices are the values a label map holds:

- `street11`: CamVid's eleven classes in its usual order, void 11.
- `cityscapes19`: the nineteen train ids, void 19 (255 in Cityscapes' own files).
- `cityscapes30`: RL-ASC's Table I, index = Cityscapes label id - 4. Its `static` (0) also takes what has no label.
- `cityscapes35`: GESCO's one-hot, index = Cityscapes label id 0..33; 34 is the licence plate, which has no id in files.
- `cocostuff183`: index = id in COCO-Stuff's labels.txt - 1, as in its pixel maps, removed ids included; void 182.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from .errors import InputError, UsageError

__all__ = ["PROFILES", "Taxonomy", "colorize", "get_taxonomy", "list_taxonomies", "mapping", "relevance"]

# Cityscapes: name | train id (- none) | colour | class in street11 | class in cocostuff183. The order is the label id.
# street11 follows CamVid's own merge of 32 classes (wall, bridge and tunnel are Building, parking is Pavement).
# Table I of RL-ASC prints "on rails" for train and "pole group" for polegroup.
_CITYSCAPES = """
unlabeled            | -  |   0   0   0 | Void       | unlabeled
ego vehicle          | -  |   0   0   0 | Void       | unlabeled
rectification border | -  |   0   0   0 | Void       | unlabeled
out of roi           | -  |   0   0   0 | Void       | unlabeled
static               | -  |   0   0   0 | Void       | unlabeled
dynamic              | -  | 111  74   0 | Void       | unlabeled
ground               | -  |  81   0  81 | Void       | ground-other
road                 | 0  | 128  64 128 | Road       | road
sidewalk             | 1  | 244  35 232 | Pavement   | pavement
parking              | -  | 250 170 160 | Pavement   | pavement
rail track           | -  | 230 150 140 | Void       | railroad
building             | 2  |  70  70  70 | Building   | building-other
wall                 | 3  | 102 102 156 | Building   | wall-other
fence                | 4  | 190 153 153 | Fence      | fence
guard rail           | -  | 180 165 180 | Fence      | railing
bridge               | -  | 150 100 100 | Building   | bridge
tunnel               | -  | 150 120  90 | Building   | unlabeled
pole                 | 5  | 153 153 153 | Pole       | unlabeled
polegroup            | -  | 153 153 153 | Pole       | unlabeled
traffic light        | 6  | 250 170  30 | SignSymbol | traffic light
traffic sign         | 7  | 220 220   0 | SignSymbol | stop sign
vegetation           | 8  | 107 142  35 | Tree       | tree
terrain              | 9  | 152 251 152 | Tree       | grass
sky                  | 10 |  70 130 180 | Sky        | sky-other
person               | 11 | 220  20  60 | Pedestrian | person
rider                | 12 | 255   0   0 | Bicyclist  | person
car                  | 13 |   0   0 142 | Car        | car
truck                | 14 |   0   0  70 | Car        | truck
bus                  | 15 |   0  60 100 | Car        | bus
caravan              | -  |   0   0  90 | Car        | truck
trailer              | -  |   0   0 110 | Car        | truck
train                | 16 |   0  80 100 | Car        | train
motorcycle           | 17 |   0   0 230 | Bicyclist  | motorcycle
bicycle              | 18 | 119  11  32 | Bicyclist  | bicycle
license plate        | -  |   0   0 142 | Void       | unlabeled
"""

# street11: name | colour | class in the hub. A Bicyclist is the rider *with* the bicycle; SignSymbol holds the lights.
_STREET11 = """
Sky        | 128 128 128 | sky
Building   | 128   0   0 | building
Pole       | 192 192 128 | pole
Road       | 128  64 128 | road
Pavement   |  60  40 222 | sidewalk
Tree       | 128 128   0 | vegetation
SignSymbol | 192 128 128 | traffic sign
Fence      |  64  64 128 | fence
Car        |  64   0 128 | car
Pedestrian |  64  64   0 | person
Bicyclist  |   0 128 192 | rider
Void       |   0   0   0 | unlabeled
"""

# COCO-Stuff's labels.txt, ids 1 to 182 in order. Ids 1..91 are things; eleven of them (street sign, hat, shoe,
# eye glasses, plate, mirror, window, desk, door, blender, hair brush) were removed and never occur in annotations.
_COCOSTUFF = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana,
apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, mirror,
dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster,
sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush, banner,
blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other,
floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill,
house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other,
plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other,
skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree,
vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
window-blind, window-other, wood
"""

# Hub class: the COCO-Stuff classes that mean it on a street. What is not listed has no counterpart and becomes void.
_COCO_TO_HUB = {
    "bicycle": "bicycle",
    "bridge": "bridge",
    "building": "building-other, house, skyscraper, roof, window, window-other, door, door-stuff",
    "bus": "bus",
    "car": "car",
    "fence": "fence",
    "ground": "ground-other, dirt, sand, mud, gravel, platform, playingfield",
    "guard rail": "railing",
    "motorcycle": "motorcycle",
    "person": "person",
    "rail track": "railroad",
    "road": "road",
    "sidewalk": "pavement",
    "sky": "sky-other, clouds",
    "static": "fire hydrant, parking meter, bench",
    "terrain": "grass, hill",
    "traffic light": "traffic light",
    "traffic sign": "street sign, stop sign",
    "train": "train",
    "truck": "truck",
    "vegetation": "tree, bush, branch, leaves, plant-other, flower, moss",
    "wall": "wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood",
}

_HUB_THINGS = "person rider car truck bus caravan trailer train motorcycle bicycle".split()

# Everyday words, and street11's names, as hub classes; used where a label set has no class of that very name.
_ALIASES = {
    "bicyclist": ("rider", "bicycle"),
    "bike": ("bicycle",),
    "cyclist": ("rider",),
    "human": ("person", "rider"),
    "light": ("traffic light",),
    "on rails": ("train",),
    "pavement": ("sidewalk",),
    "pedestrian": ("person",),
    "people": ("person",),
    "plants": ("vegetation",),
    "sign": ("traffic sign",),
    "sign symbol": ("traffic sign", "traffic light"),
    "street": ("road",),
    "tree": ("vegetation",),
    "vehicle": ("car", "truck", "bus", "caravan", "trailer", "train", "motorcycle"),
}

# The papers' class weights, by hub class; "rest" is every other class and, unless "void" is given, void as well.
# SQ-GAN, section IV: w of eq. (5) (pixel loss), w of the weighted cross-entropy, and w_rel of the residual correction
# before the discriminator. Void is our reading: its authors' code gives it .5 in the cross-entropy, like the rest.
# RL-ASC, SCSC and GESCO weight no classes.
PROFILES: Mapping[str, Mapping[str, float]] = {
    "uniform": {"rest": 1.0},
    "sqgan-image": {
        "traffic sign": 1.0, "traffic light": 1.0, "person": 0.55, "rider": 0.55,
        "sky": 0.0, "vegetation": 0.0, "rest": 0.15,
    },
    "sqgan-map": {
        "traffic sign": 1.0, "traffic light": 1.0, "person": 0.85, "rider": 0.85,
        "sky": 0.2, "vegetation": 0.2, "rest": 0.5, "void": 0.5,
    },
    "sqgan-residual": {"sky": 0.9, "vegetation": 0.8, "road": 0.4, "rest": 0.0},
}  # fmt: skip
_HAND_WRITTEN_REST = 0.15


def list_taxonomies() -> tuple[str, ...]:
    """Names of the label sets, in alphabetical order."""
    return tuple(sorted(_BUILDERS))


@cache
def get_taxonomy(name: str) -> Taxonomy:
    """The label set of that name; `UsageError` for an unknown one."""
    if name not in _BUILDERS:
        close = difflib.get_close_matches(str(name), _BUILDERS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(list_taxonomies())}."
        raise UsageError(f"there is no label set {name!r}: {hint}")
    return _BUILDERS[name](name)


@cache
def mapping(src: str, dst: str) -> np.ndarray:
    """(C_src,) uint8, read-only: the class of `dst` for each class of `src`; void where `dst` has no counterpart.

    Convert a label map with `mapping(src, dst)[labels]`. `UsageError` for an unknown label set.

    >>> mapping("cityscapes19", "street11")[[0, 3, 7, 12, 19]].tolist()  # road, wall, traffic sign, rider, void
    [3, 1, 6, 10, 11]
    """
    source, target = get_taxonomy(src), get_taxonomy(dst)
    if src == dst:
        table = np.arange(len(source.classes), dtype=np.uint8)
    else:
        table = np.asarray([target.from_hub[hub] for hub in source.to_hub], np.uint8)
    table.setflags(write=False)
    return table


def relevance(profile: str | Mapping[str, float], taxonomy: str | Taxonomy) -> np.ndarray:
    """(C,) float64 weights in [0, 1], one for each class of `taxonomy`.

    `profile`: a name in `PROFILES`; or "name=weight" items, as "person=1,sign=1,sky=0", optionally after a profile's
    name ("sqgan-map,car=0.9"); or a mapping of names to weights. A name is a class of the label set (case, spaces,
    "-" and "_" do not matter), else a Cityscapes class or an everyday word (sign, light, tree, pedestrian, vehicle),
    which stands for all classes that mean it or contain it: on street11 both "sign" and "traffic light" are SignSymbol.
    "rest" sets every class not named (0.15 if not given, SQ-GAN's weight of all other classes), void included unless
    "void" is named. Later items win. Raises `UsageError` for unknown names and for weights outside 0..1.

    >>> relevance("sqgan-image", "street11")
    array([0.  , 0.15, 0.15, 0.15, 0.15, 0.  , 1.  , 0.15, 0.15, 0.55, 0.55,
           0.15])
    """
    taxonomy = taxonomy if isinstance(taxonomy, Taxonomy) else get_taxonomy(taxonomy)
    if isinstance(profile, str) and profile in PROFILES:
        return _weigh(dict(PROFILES[profile]), taxonomy, by_hub=True)
    base, items = _parse(profile) if isinstance(profile, str) else (None, dict(profile))
    if base is None:
        return _weigh({"rest": _HAND_WRITTEN_REST} | items, taxonomy)
    rest = {"rest": items["rest"]} if "rest" in items else {}
    return _weigh(items, taxonomy, _weigh(dict(PROFILES[base]) | rest, taxonomy, by_hub=True))


def colorize(labels: np.ndarray, taxonomy: str | Taxonomy) -> np.ndarray:
    """(H, W, 3) uint8 RGB picture of an (H, W) integer label map, in the label set's colours.

    Raises `InputError` for a value that is no class of the label set.
    """
    taxonomy = taxonomy if isinstance(taxonomy, Taxonomy) else get_taxonomy(taxonomy)
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 2:
        raise InputError(f"a label map is (H, W) of integers, found {labels.dtype} {labels.shape}: convert it first.")
    if labels.size and not (0 <= labels.min() and labels.max() < len(taxonomy.classes)):
        raise InputError(
            f"the label map runs from {labels.min()} to {labels.max()} and {taxonomy.name} has classes "
            f"0 to {len(taxonomy.classes) - 1}: convert it with mapping() or name its own label set."
        )
    return taxonomy.palette[labels]


@dataclass(frozen=True)
class Taxonomy:
    """A label set. `classes`: names by index; `palette`: (C, 3) uint8 RGB, read-only; `void`: the index of pixels that
    count nowhere; `things`: indices of countable objects.
    `to_hub`: the cityscapes35 class of each class; `from_hub`: the class here of each cityscapes35 class.
    """

    name: str
    classes: tuple[str, ...]
    palette: np.ndarray = field(repr=False, compare=False)
    void: int | None
    things: frozenset[int] = field(repr=False)
    to_hub: tuple[int, ...] = field(repr=False)
    from_hub: tuple[int, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.classes)

    def find(self, name: str, *, exact: bool = False, by_hub: bool = False) -> tuple[int, ...]:
        """Indices of the classes a name stands for (see `relevance`); empty if none.

        `exact`: own names only; `by_hub`: never own names.
        """
        key = _key(name)
        if key == "void" and self.void is not None:
            return (self.void,)
        own = tuple(i for i, c in enumerate(self.classes) if _key(c) == key)
        if exact or (own and not by_hub):
            return own
        hub = [i for i, c in enumerate(_hub_names()) if _key(c) in _alias_keys().get(key, (key,))]
        found = {i for i, h in enumerate(self.to_hub) if h in hub} | {self.from_hub[h] for h in hub}
        return tuple(sorted(found - {self.void}))


def _key(name: str) -> str:
    return "".join(c for c in str(name).casefold() if c not in " -_")


@cache
def _alias_keys() -> dict[str, tuple[str, ...]]:
    return {_key(alias): tuple(_key(name) for name in names) for alias, names in _ALIASES.items()}


def _parse(text: str) -> tuple[str | None, dict[str, float]]:
    """Split `profile,name=weight,...` into the profile (or None) and the items."""
    first, *others = [part.strip() for part in text.split(",")]
    base = None
    if "=" not in first:
        if first not in PROFILES:
            raise UsageError(
                f"there is no relevance profile {first!r}: choose one of {', '.join(PROFILES)}, "
                'or write class weights as "person=1,sign=1,sky=0".'
            )
        base = first
    else:
        others.insert(0, first)
    items: dict[str, float] = {}
    for part in others:
        name, _, weight = part.partition("=")
        try:
            items.pop(name.strip(), None)  # a repeated name counts where it stands last
            items[name.strip()] = float(weight)
        except ValueError:
            raise UsageError(f'class weights are written as "person=1,sign=0.5", found {part!r} in {text!r}.') from None
    return base, items


def _weigh(
    items: dict[str, float], taxonomy: Taxonomy, start: np.ndarray | None = None, *, by_hub: bool = False
) -> np.ndarray:
    for name, weight in items.items():
        if not (math.isfinite(weight) and 0 <= weight <= 1):
            raise UsageError(f"class weights lie between 0 and 1, found {name}={weight}.")
    weights = np.full(len(taxonomy.classes), items.get("rest", 0.0)) if start is None else start
    for name, weight in items.items():
        if name == "rest":
            continue
        found = taxonomy.find(name, by_hub=by_hub)
        if not found and not by_hub:
            known = ", ".join(taxonomy.classes)
            raise UsageError(f"{taxonomy.name} has no class for {name!r}: its classes are {known}.")
        weights[list(found)] = weight
    return weights


@cache
def _hub_rows() -> tuple[tuple[str, ...], ...]:
    return _rows(_CITYSCAPES)


@cache
def _hub_names() -> tuple[str, ...]:
    return tuple(row[0] for row in _hub_rows())


def _rows(table: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(cell.strip() for cell in line.split("|")) for line in table.strip().splitlines())


def _colours(texts: list[str]) -> np.ndarray:
    palette = np.asarray([[int(v) for v in text.split()] for text in texts], np.uint8)
    palette.setflags(write=False)
    return palette


def _street11(name: str) -> Taxonomy:
    rows = _rows(_STREET11)
    names = tuple(row[0] for row in rows)
    return Taxonomy(
        name, names, _colours([row[1] for row in rows]), names.index("Void"),
        frozenset(names.index(n) for n in ("Car", "Pedestrian", "Bicyclist")),
        tuple(_hub_names().index(row[2]) for row in rows), tuple(names.index(row[3]) for row in _hub_rows()),
    )  # fmt: skip


def _cityscapes(name: str) -> Taxonomy:
    rows, hub = _hub_rows(), _hub_names()
    if name == "cityscapes35":
        kept, void = list(range(35)), 0
    elif name == "cityscapes30":
        kept, void = list(range(4, 34)), 0
    else:
        kept, void = [i for i, row in enumerate(rows) if row[1] != "-"], 19
    to_hub = kept if void == 0 else [*kept, 0]
    names = tuple(hub[i] for i in kept) if void == 0 else (*(hub[i] for i in kept), "void")
    return Taxonomy(
        name, names, _colours([rows[i][2] for i in to_hub]), void,
        frozenset(i for i, n in enumerate(names) if n in _HUB_THINGS), tuple(to_hub),
        tuple(kept.index(h) if h in kept else void for h in range(35)),
    )  # fmt: skip


def _cocostuff183(name: str) -> Taxonomy:
    names = (*(n.strip() for n in _COCOSTUFF.replace("\n", " ").split(",")), "unlabeled")
    hub = _hub_names()
    into = {coco.strip(): hub.index(h) for h, group in _COCO_TO_HUB.items() for coco in group.split(",")}
    # COCO-Stuff prescribes no colours: id n gets colour n of PASCAL VOC's map (the bits of n dealt to R, G, B in turn).
    ids = np.arange(1, len(names) + 1) % len(names)
    palette = np.zeros((len(names), 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    palette.setflags(write=False)
    return Taxonomy(
        name, names, palette, names.index("unlabeled"), frozenset(range(91)),
        tuple(into.get(n, 0) for n in names), tuple(names.index(row[4]) for row in _hub_rows()),
    )  # fmt: skip


_BUILDERS = {
    "cityscapes19": _cityscapes,
    "cityscapes30": _cityscapes,
    "cityscapes35": _cityscapes,
    "cocostuff183": _cocostuff183,
    "street11": _street11,
}
