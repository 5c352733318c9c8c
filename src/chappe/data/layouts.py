"""How each data set lays out its files: a function from (root, split) to a `Dataset`, paths only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from chappe.data.dataset import Dataset, Entry
from chappe.errors import InputError

__all__ = ["LAYOUTS", "UNSEEN", "detect"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif")
UNSEEN = "0001TP"  # the CamVid sequence no model of this project is trained on

# COCO-Stuff: ids (from 0) that were never annotated; train ids count the other 171 without gaps
COCO_REMOVED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)


def detect(root: Path) -> str:
    """The layout whose landmark folders are here; a plain folder if none."""
    if (root / "leftImg8bit").is_dir():
        return "cityscapes"
    if any(
        (base / "annotations" / "training").is_dir() or (base / "images" / "training").is_dir() for base in _ade(root)
    ):
        return "ade20k"
    if any((root / "images" / f"{split}2017").is_dir() for split in ("train", "val", "test")):
        return "cocostuff"
    if any((root / split / "rgb").is_dir() and (root / split / "mask").is_dir() for split in ("train", "val", "test")):
        return "cvrg-pano"
    if (root / "trainannot").is_dir() or (root / "valannot").is_dir():
        return "camvid"
    if any(
        (root / f"{split}.txt").is_file() and (root / split / "images").is_dir() for split in ("train", "val", "test")
    ):
        return "camvid"
    return "folder"


def _pictures(folder: Path, *, deep: bool = False) -> list[Path]:
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())


def _split_folder(folder: Path, root: Path, split: str, known: Iterable[str]) -> Path:
    if not folder.is_dir():
        raise InputError(f"{root}: has no split {split!r} (no folder {folder}); this layout has {', '.join(known)}.")
    return folder


def _pair(name: str, image: Path, candidates: Iterable[Path]) -> Entry:
    """An entry with the first label map that exists; both files are named if none does."""
    candidates = list(candidates)
    for path in candidates:
        if path.is_file():
            return Entry(name, image, path)
    raise InputError(
        f"{image}: its label map {candidates[0]} is missing: add it, or move the picture out of the data set."
    )


def _folder(root: Path, split: str) -> Dataset:
    """`root/images[/split]` with `root/labels[/split]`, or all pictures under `root`; stems of a pair are equal."""
    base = root / "images" if (root / "images").is_dir() else root
    label_base = root / "labels"
    has_labels = base != root and label_base.is_dir()
    if base != root and (base / split).is_dir():
        base, label_base = base / split, label_base / split
        has_labels = label_base.is_dir()
    elif split not in ("train", "all"):
        raise InputError(f"{root}: has no split {split!r} (no folder {root / 'images' / split}).")
    entries = []
    for image in _pictures(base, deep=True):
        inside = image.relative_to(base).with_suffix("")
        if not has_labels:
            entries.append(Entry(inside.as_posix(), image, None))
            continue
        stem = label_base / inside
        entries.append(
            _pair(inside.as_posix(), image, (stem.with_name(stem.name + s) for s in (".png", ".bmp", ".tif")))
        )
    return Dataset(root, "folder", split, None, tuple(entries))


def _camvid(root: Path, split: str) -> Dataset:
    """CamVid with the SegNet splits, as `<split>.txt` + `<split>/{images,labels}` or as `<split>` + `<split>annot`."""
    known = ("train", "unseen", "train-all", "val", "test")
    if split not in known:
        raise InputError(f"{root}: CamVid has no split {split!r}, it has {', '.join(known)}.")
    part = "train" if split in ("train", "unseen", "train-all") else split
    if (root / part / "images").is_dir():
        images, labels, listing = root / part / "images", root / part / "labels", root / f"{part}.txt"
    else:
        images, labels, listing = _split_folder(root / part, root, split, known), root / f"{part}annot", None
    files = {p.stem: p for p in _pictures(images)}
    stems = sorted(files)
    if listing is not None and listing.is_file():
        stems = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    if split in ("train", "unseen"):
        stems = [s for s in stems if s.startswith(UNSEEN) == (split == "unseen")]
    missing = [s for s in stems if s not in files]
    if missing:
        raise InputError(f"{listing}: names {missing[0]}, but {images / missing[0]}.* does not exist.")
    entries = (
        _pair(s, files[s], [labels / f"{s}.png"]) if labels.is_dir() else Entry(s, files[s], None) for s in stems
    )
    return Dataset(root, "camvid", split, "street11", tuple(entries))


def _cityscapes(root: Path, split: str) -> Dataset:
    """Train ids if the split has them (either suffix), else label ids."""
    folder = _split_folder(root / "leftImg8bit" / split, root, split, ("train", "val", "test"))
    images = [p for p in _pictures(folder, deep=True) if p.stem.endswith("_leftImg8bit")]
    labels = root / "gtFine" / split
    stems = [p.relative_to(folder).parent / p.stem.removesuffix("_leftImg8bit") for p in images]
    pairs = list(zip(stems, images, strict=True))
    if not labels.is_dir():
        entries = tuple(Entry(s.as_posix(), p, None) for s, p in pairs)
        return Dataset(root, "cityscapes", split, "cityscapes19", entries)
    train_ids = ("_gtFine_trainIds.png", "_gtFine_labelTrainIds.png")
    numbered = ("_gtFine_labelIds.png",)
    by_train = any((labels / s.parent / (s.name + x)).is_file() for s in stems for x in train_ids)
    suffixes = train_ids if by_train else numbered
    entries = tuple(_pair(s.as_posix(), p, [labels / s.parent / (s.name + x) for x in suffixes]) for s, p in pairs)
    return Dataset(root, "cityscapes", split, "cityscapes19" if by_train else "cityscapes35", entries)


def _cocostuff(root: Path, split: str) -> Dataset:
    """Pixel maps with ids 0..181 and 255, or `*_labelTrainIds.png` with train ids 0..170, which are mapped back."""
    folder = _split_folder(root / "images" / f"{split}2017", root, split, ("train", "val", "test"))
    labels = root / "annotations" / f"{split}2017"
    images = _pictures(folder)
    if not labels.is_dir():
        return Dataset(root, "cocostuff", split, "cocostuff183", tuple(Entry(p.stem, p, None) for p in images))
    dense = any((labels / f"{p.stem}_labelTrainIds.png").is_file() for p in images)
    suffix = "_labelTrainIds.png" if dense else ".png"
    entries = tuple(_pair(p.stem, p, [labels / (p.stem + suffix)]) for p in images)
    remap = None
    if dense:
        kept = [i for i in range(182) if i not in COCO_REMOVED]
        remap = (*kept, *[182] * (256 - len(kept)))
    return Dataset(root, "cocostuff", split, "cocostuff183", entries, remap=remap)


def _ade(root: Path) -> tuple[Path, Path]:
    return root / "ADEChallengeData2016", root


def _ade20k(root: Path, split: str) -> Dataset:
    """The scene parsing challenge: indices 0 (void) and 1..150, of no label set of `chappe.taxonomy`."""
    base = next((b for b in _ade(root) if (b / "images").is_dir()), root)
    part = {"train": "training", "val": "validation"}.get(split, split)
    folder = _split_folder(base / "images" / part, root, split, ("train", "val"))
    labels = base / "annotations" / part
    entries = tuple(
        _pair(p.stem, p, [labels / f"{p.stem}.png"]) if labels.is_dir() else Entry(p.stem, p, None)
        for p in _pictures(folder)
    )
    return Dataset(root, "ade20k", split, None, entries, classes=151)


def _cvrg_pano(root: Path, split: str) -> Dataset:
    """CVRG-Pano as its authors' loader reads it: `<split>/rgb` and `<split>/mask`, equal names, splits train and test.

    Masks hold 0 = void and 7 categories, or 20 classes: any index below 21 is taken as it is. Some copies keep all
    pictures in one `all-rgb` folder; then the masks of the split say which belong to it.
    """
    masks = root / split / "mask"
    folder = root / split / "rgb"
    if not folder.is_dir() and masks.is_dir() and (root / "all-rgb").is_dir():
        pool = {p.stem: p for p in _pictures(root / "all-rgb")}
        lost = [m for m in _pictures(masks) if m.stem not in pool]
        if lost:
            raise InputError(f"{lost[0]}: its picture {root / 'all-rgb' / lost[0].stem}.* is missing.")
        entries = tuple(Entry(m.stem, pool[m.stem], m) for m in _pictures(masks))
        return Dataset(root, "cvrg-pano", split, None, entries, classes=21)
    images = _pictures(_split_folder(folder, root, split, ("train", "val", "test")))
    entries = tuple(
        _pair(p.stem, p, [masks / f"{p.stem}.png"]) if masks.is_dir() else Entry(p.stem, p, None) for p in images
    )
    return Dataset(root, "cvrg-pano", split, None, entries, classes=21)


LAYOUTS: dict[str, Callable[[Path, str], Dataset]] = {
    "folder": _folder,
    "camvid": _camvid,
    "cityscapes": _cityscapes,
    "cocostuff": _cocostuff,
    "ade20k": _ade20k,
    "cvrg-pano": _cvrg_pano,
}
