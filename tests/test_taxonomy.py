"""Label sets, their mappings and the relevance profiles: exact names and colours, and the relations between tables."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chappe import taxonomy as module
from chappe.errors import InputError, UsageError
from chappe.taxonomy import PROFILES, colorize, get_taxonomy, list_taxonomies, mapping, relevance

SIZES = {"cityscapes19": 20, "cityscapes30": 30, "cityscapes35": 35, "cocostuff183": 183, "street11": 12}
DATA = Path(os.environ.get("CHAPPE_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data")


def names(taxonomy: str, weights: np.ndarray, value: float) -> set[str]:
    return {c for c, w in zip(get_taxonomy(taxonomy).classes, weights, strict=True) if w == value}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_every_label_set_is_complete(name, size):
    t = get_taxonomy(name)
    assert len(t) == len(t.classes) == len(set(t.classes)) == size
    assert t.palette.shape == (size, 3) and t.palette.dtype == np.uint8 and not t.palette.flags.writeable
    assert 0 <= t.void < size and t.void not in t.things and t.things <= set(range(size))
    assert t is get_taxonomy(name)


def test_list_is_what_can_be_had():
    assert set(list_taxonomies()) == set(SIZES)
    with pytest.raises(UsageError, match="did you mean cityscapes19"):
        get_taxonomy("cityscape19")


def test_street11_is_camvid():
    t = get_taxonomy("street11")
    assert t.classes == ("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
                         "Pedestrian", "Bicyclist", "Void")  # fmt: skip
    assert t.palette[4].tolist() == [60, 40, 222] and t.palette[10].tolist() == [0, 128, 192]
    assert t.void == 11 and t.things == {8, 9, 10}


@pytest.mark.skipif(not (DATA / "camvid" / "README.md").is_file(), reason="camvid/README.md is not in $CHAPPE_DATA")
def test_street11_agrees_with_the_data_sets_own_table():
    rows = re.findall(r"^\| (\d+) \| (\w+)[^|]*\| (\d+,\d+,\d+) \|", (DATA / "camvid" / "README.md").read_text(), re.M)
    t = get_taxonomy("street11")
    assert [(int(i), name) for i, name, _ in rows] == list(enumerate(t.classes))
    assert [[int(v) for v in colour.split(",")] for *_, colour in rows] == t.palette.tolist()


def test_cityscapes_ids_and_colours():
    """Against the published table of train ids and label ids, written out once more."""
    train = {"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
             "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
             "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33}  # fmt: skip
    t19, t30, t35 = (get_taxonomy(f"cityscapes{n}") for n in (19, 30, 35))
    assert t19.classes == (*train, "void") and t19.void == 19
    assert mapping("cityscapes19", "cityscapes35").tolist() == [*train.values(), 0]
    assert t30.classes == t35.classes[4:34] and t30.classes[0] == "static" and t35.classes[33] == "bicycle"
    assert t35.classes[:4] == ("unlabeled", "ego vehicle", "rectification border", "out of roi")
    assert t35.palette[7].tolist() == [128, 64, 128] and t35.palette[20].tolist() == [220, 220, 0]
    assert t19.palette[18].tolist() == [119, 11, 32] and t35.palette[29].tolist() == [0, 0, 90]
    assert {t19.classes[i] for i in t19.things} == {
        "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"
    }  # fmt: skip


def test_cityscapes30_is_table_one_of_rl_asc():
    table = """road sidewalk parking rail-track person rider car truck bus on-rails motorcycle bicycle caravan trailer
    building wall fence guard-rail bridge tunnel pole pole-group traffic-sign traffic-light vegetation terrain sky
    ground dynamic static""".split()
    t = get_taxonomy("cityscapes30")
    assert len(table) == 30
    assert sorted(i for name in table for i in (t.find(name) or (t.void,))) == list(range(30))


def test_cocostuff_ids_are_labels_txt_minus_one():
    t = get_taxonomy("cocostuff183")
    official = {1: "person", 12: "street sign", 26: "hat", 45: "plate", 68: "window", 90: "toothbrush",
                91: "hair brush", 92: "banner", 96: "building-other", 106: "clouds", 140: "pavement", 149: "road",
                157: "sky-other", 169: "tree", 171: "wall-brick", 182: "wood"}  # fmt: skip
    assert {i: t.classes[i - 1] for i in official} == official
    assert t.void == 182 and t.things == set(range(91))
    assert len({tuple(c) for c in t.palette.tolist()}) == 183
    # Colours 1, 2, 3 and 15 of the PASCAL VOC map, and black for void.
    assert t.palette[[0, 1, 2, 14]].tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0], [192, 128, 128]]
    assert t.palette[t.void].tolist() == [0, 0, 0]


@pytest.mark.parametrize("src", SIZES)
@pytest.mark.parametrize("dst", SIZES)
def test_every_pair_maps_and_void_stays_void(src, dst):
    table = mapping(src, dst)
    assert table.shape == (SIZES[src],) and table.dtype == np.uint8 and table.max() < SIZES[dst]
    assert not table.flags.writeable
    if src == dst:
        assert table.tolist() == list(range(SIZES[src]))
    elif (src, dst) != ("cityscapes30", "cityscapes35"):  # there void is `static`, a label id of its own
        assert table[get_taxonomy(src).void] == get_taxonomy(dst).void


def test_cityscapes19_to_street11_is_the_documented_merge():
    merge = {
        "Road": "road", "Pavement": "sidewalk", "Building": "building wall", "Fence": "fence", "Pole": "pole",
        "SignSymbol": "traffic_light traffic_sign", "Tree": "vegetation terrain", "Sky": "sky", "Pedestrian": "person",
        "Bicyclist": "rider motorcycle bicycle", "Car": "car truck bus train", "Void": "void",
    }  # fmt: skip
    expected = {old.replace("_", " "): new for new, olds in merge.items() for old in olds.split()}
    t19, t11, table = get_taxonomy("cityscapes19"), get_taxonomy("street11"), mapping("cityscapes19", "street11")
    assert {c: t11.classes[table[i]] for i, c in enumerate(t19.classes)} == expected


def test_finer_sets_agree_with_coarser_ones_and_round_trips_hold():
    # Every label id of the 19 evaluated classes goes to the same street11 class directly and through the train ids.
    direct, by19 = mapping("cityscapes35", "street11"), mapping("cityscapes19", "street11")
    to19 = mapping("cityscapes35", "cityscapes19")
    evaluated = to19 != 19
    assert evaluated.sum() == 19 and (direct[evaluated] == by19[to19[evaluated]]).all()
    for fine, coarse in [("cityscapes35", "cityscapes19"), ("cityscapes30", "cityscapes19"),
                         ("cityscapes35", "cityscapes30"), ("cityscapes19", "street11")]:  # fmt: skip
        back_and_forth = mapping(fine, coarse)[mapping(coarse, fine)]
        assert back_and_forth.tolist() == list(range(SIZES[coarse])), (fine, coarse)
    assert mapping("cityscapes35", "cityscapes30")[:5].tolist() == [0] * 5
    assert mapping("cityscapes30", "cityscapes35").tolist() == list(range(4, 34))


def test_cocostuff_to_street11():
    t, s, table = get_taxonomy("cocostuff183"), get_taxonomy("street11"), mapping("cocostuff183", "street11")
    where = {c: s.classes[table[i]] for i, c in enumerate(t.classes)}
    expected = {"person": "Pedestrian", "bus": "Car", "bicycle": "Bicyclist", "stop sign": "SignSymbol",
                "street sign": "SignSymbol", "clouds": "Sky", "skyscraper": "Building", "railing": "Fence",
                "bush": "Tree", "pavement": "Pavement", "road": "Road", "pizza": "Void", "light": "Void"}  # fmt: skip
    assert {c: where[c] for c in expected} == expected


def test_papers_class_weights_on_their_own_label_set():
    """SQ-GAN section IV: class names and numbers as printed."""
    image, labels, residual = (relevance(f"sqgan-{p}", "cityscapes19") for p in ("image", "map", "residual"))
    assert names("cityscapes19", image, 1) == names("cityscapes19", labels, 1) == {"traffic light", "traffic sign"}
    assert names("cityscapes19", image, 0.55) == names("cityscapes19", labels, 0.85) == {"person", "rider"}
    assert names("cityscapes19", image, 0) == names("cityscapes19", labels, 0.2) == {"sky", "vegetation"}
    assert (image == 0.15).sum() == (labels == 0.5).sum() == 20 - 6
    assert labels[19] == 0.5  # void, as the authors' code has it
    assert {c: residual[get_taxonomy("cityscapes19").classes.index(c)] for c in ("sky", "vegetation", "road")} == {
        "sky": 0.9, "vegetation": 0.8, "road": 0.4
    }  # fmt: skip
    assert np.count_nonzero(residual) == 3


@pytest.mark.parametrize("taxonomy", SIZES)
@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_resolve_on_every_label_set(profile, taxonomy):
    weights = relevance(profile, taxonomy)
    assert weights.shape == (SIZES[taxonomy],) and weights.dtype == np.float64
    assert (weights >= 0).all() and (weights <= 1).all()
    named = {v for k, v in PROFILES[profile].items() if k != "void"}
    assert set(weights.tolist()) == named
    weights[:] = 7  # a caller's own array: the profile must not change with it
    assert relevance(profile, taxonomy).max() <= 1


def test_profiles_on_street11_and_coco():
    image = relevance("sqgan-image", "street11")
    assert names("street11", image, 1) == {"SignSymbol"} and names("street11", image, 0) == {"Sky", "Tree"}
    assert names("street11", image, 0.55) == {"Pedestrian", "Bicyclist"}
    assert names("cocostuff183", relevance("sqgan-map", "cocostuff183"), 1) == {
        "traffic light", "street sign", "stop sign"
    }  # fmt: skip
    assert names("cocostuff183", relevance("sqgan-residual", "cocostuff183"), 0.9) == {"sky-other", "clouds"}


def test_hand_written_weights_and_aliases():
    weights = relevance("person=1,sign=1,sky=0", "street11")
    assert names("street11", weights, 1) == {"Pedestrian", "SignSymbol"} and names("street11", weights, 0) == {"Sky"}
    assert (weights == 0.15).sum() == 9
    assert names("cityscapes19", relevance("SignSymbol=1", "cityscapes19"), 1) == {"traffic sign", "traffic light"}
    assert names("cityscapes19", relevance("vehicle=1, rest=0", "cityscapes19"), 1) == {
        "car", "truck", "bus", "train", "motorcycle"
    }  # fmt: skip
    assert names("street11", relevance({"traffic-light": 0.7}, "street11"), 0.7) == {"SignSymbol"}
    assert names("cocostuff183", relevance("light=1", "cocostuff183"), 1) == {"light"}  # its own class comes first
    assert relevance("rest=0.4", "street11").tolist() == [0.4] * 12
    assert relevance("rest=0.4,void=0", "street11")[11] == 0
    assert relevance("car=0.2,car=0.9", "street11")[8] == 0.9


def test_a_profile_can_be_amended():
    base, amended = relevance("sqgan-map", "street11"), relevance("sqgan-map,car=0.9", "street11")
    assert amended[8] == 0.9 and (np.delete(amended, 8) == np.delete(base, 8)).all()
    rest = relevance("sqgan-image,rest=0.3", "street11")
    assert rest[1] == 0.3 and rest[6] == 1 and rest[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "no relevance profile 'foo'"),
        ("unicorn=1", "no class for 'unicorn'"),
        ("person=2", "between 0 and 1"),
        ("person=nan", "between 0 and 1"),
        ("person=-0.1", "between 0 and 1"),
        ("person=much", "are written as"),
        ("sqgan-map,car", "are written as"),
        ("", "no relevance profile"),
    ],
)
def test_unfit_profiles_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        relevance(text, "street11")


def test_colorize():
    labels = np.array([[0, 11], [3, 8]], np.uint8)
    picture = colorize(labels, "street11")
    assert picture.dtype == np.uint8 and picture.shape == (2, 2, 3)
    assert picture[0, 0].tolist() == [128, 128, 128] and picture[1, 1].tolist() == [64, 0, 128]
    picture[:] = 1  # a new array, not a view of the palette
    assert colorize(labels, get_taxonomy("street11"))[0, 0, 0] == 128
    for bad in (labels + 1, labels.astype(np.int64) - 1, labels[0], labels.astype(float)):
        with pytest.raises(InputError):
            colorize(bad, "street11")


def test_numpy_only():
    code = "import sys, chappe.taxonomy; assert not {'torch', 'PIL', 'numba'} & set(sys.modules)"
    source = Path(module.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(source)})


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted
