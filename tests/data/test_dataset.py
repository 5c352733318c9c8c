"""Every layout on a miniature tree, and every way such a tree can be wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chappe.data import open_dataset
from chappe.errors import InputError, UsageError

SHAPE = (6, 8)


def picture(path: Path, value: int = 90, shape=SHAPE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), value, np.uint8)).save(path)


def label_map(path: Path, *values: int, shape=SHAPE) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.resize(np.array(values, np.uint8), shape)
    Image.fromarray(array).save(path)
    return array


def camvid(root: Path) -> None:
    for part, stems in (("train", ("0016E5_2", "0001TP_1", "0006R0_9")), ("val", ("0016E5_7",))):
        (root / f"{part}.txt").parent.mkdir(parents=True, exist_ok=True)
        (root / f"{part}.txt").write_text("\n".join(stems) + "\n")
        for k, stem in enumerate(stems):
            picture(root / part / "images" / f"{stem}.webp", 10 * k)
            label_map(root / part / "labels" / f"{stem}.png", k, 11)


def test_camvid_splits_keep_the_unseen_sequence_apart(tmp_path):
    camvid(tmp_path)
    names = {s: open_dataset(tmp_path, split=s).names() for s in ("train", "unseen", "train-all", "val")}
    assert names == {
        "train": ["0016E5_2", "0006R0_9"],
        "unseen": ["0001TP_1"],
        "train-all": ["0016E5_2", "0001TP_1", "0006R0_9"],
        "val": ["0016E5_7"],
    }
    data = open_dataset(tmp_path)
    assert (data.layout, data.taxonomy, len(data)) == ("camvid", "street11", 2)
    sample = data[0]
    assert sample.name == "0016E5_2" and sample.taxonomy == "street11"
    assert sample.image.shape == (*SHAPE, 3) and sample.labels.dtype == np.uint8
    assert set(np.unique(sample.labels)) == {0, 11}
    with pytest.raises(InputError, match="no split 'holdout'"):
        open_dataset(tmp_path, split="holdout")


def test_camvid_as_the_tutorial_ships_it(tmp_path):
    for stem in ("0001TP_1", "0016E5_2"):
        picture(tmp_path / "train" / f"{stem}.png")
        label_map(tmp_path / "trainannot" / f"{stem}.png", 3)
    data = open_dataset(tmp_path)
    assert data.layout == "camvid" and data.names() == ["0016E5_2"] and data[0].labels[0, 0] == 3
    assert open_dataset(tmp_path, split="unseen").names() == ["0001TP_1"]


def test_camvid_list_that_names_a_lost_frame(tmp_path):
    camvid(tmp_path)
    (tmp_path / "train" / "images" / "0006R0_9.webp").unlink()
    with pytest.raises(InputError, match=r"train\.txt: names 0006R0_9"):
        open_dataset(tmp_path)


def test_plain_folder_of_pictures(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.webp", ".hidden.png", "notes.txt"):
        (picture if not name.endswith("txt") else lambda p: p.write_text("x"))(tmp_path / name)
    data = open_dataset(tmp_path)
    assert data.layout == "folder" and data.names() == ["a", "b", "sub/c"]
    assert data[0].labels is None and data[0].taxonomy is None
    with pytest.raises(InputError, match="no split 'val'"):  # never the training pictures under another name
        open_dataset(tmp_path, split="val")


@pytest.mark.parametrize("split", ["", "val"])
def test_plain_folder_with_labels(tmp_path, split):
    picture(tmp_path / "images" / split / "a.jpg")
    label_map(tmp_path / "labels" / split / "a.png", 4, 255)
    data = open_dataset(tmp_path, split=split or "train", taxonomy="street11")
    sample = data[0]
    assert sample.taxonomy == "street11" and set(np.unique(sample.labels)) == {4, 11}  # 255 is void
    raw = open_dataset(tmp_path, split=split or "train")[0]
    assert raw.taxonomy is None and set(np.unique(raw.labels)) == {4, 255}


@pytest.mark.parametrize(
    ("suffix", "taxonomy", "values", "expected"),
    [
        ("_gtFine_trainIds.png", "cityscapes19", (0, 18, 255), {0, 18, 19}),
        ("_gtFine_labelTrainIds.png", "cityscapes19", (0, 18, 255), {0, 18, 19}),
        ("_gtFine_labelIds.png", "cityscapes35", (0, 7, 33), {0, 7, 33}),
    ],
)
def test_cityscapes(tmp_path, suffix, taxonomy, values, expected):
    for city in ("ulm", "aachen"):
        picture(tmp_path / "leftImg8bit" / "val" / city / f"{city}_000001_000019_leftImg8bit.png")
        label_map(tmp_path / "gtFine" / "val" / city / f"{city}_000001_000019{suffix}", *values)
        # label ids lie beside train ids in every copy of the data set
        if "rainIds" in suffix:
            label_map(tmp_path / "gtFine" / "val" / city / f"{city}_000001_000019_gtFine_labelIds.png", 1)
    data = open_dataset(tmp_path, split="val")
    assert (data.layout, data.taxonomy) == ("cityscapes", taxonomy)
    assert data.names() == ["aachen/aachen_000001_000019", "ulm/ulm_000001_000019"]
    assert set(np.unique(data[1].labels).tolist()) == expected
    with pytest.raises(InputError, match=r"no split 'train'.*train, val, test"):
        open_dataset(tmp_path)


def test_cityscapes_missing_label_names_both_files(tmp_path):
    for k in (1, 2):
        picture(tmp_path / "leftImg8bit" / "train" / "ulm" / f"ulm_{k}_leftImg8bit.png")
    label_map(tmp_path / "gtFine" / "train" / "ulm" / "ulm_1_gtFine_labelTrainIds.png", 1)
    with pytest.raises(InputError, match=r"ulm_2_leftImg8bit\.png.*ulm_2_gtFine_trainIds\.png is missing"):
        open_dataset(tmp_path)


def test_cityscapes_without_labels(tmp_path):
    picture(tmp_path / "leftImg8bit" / "test" / "bonn" / "bonn_1_leftImg8bit.png")
    assert open_dataset(tmp_path, split="test")[0].labels is None


def test_cocostuff_pixel_maps(tmp_path):
    picture(tmp_path / "images" / "val2017" / "000001.jpg")
    label_map(tmp_path / "annotations" / "val2017" / "000001.png", 0, 181, 255)
    data = open_dataset(tmp_path, split="val")
    assert (data.layout, data.taxonomy) == ("cocostuff", "cocostuff183")
    assert set(np.unique(data[0].labels).tolist()) == {0, 181, 182}


def test_cocostuff_train_ids_are_mapped_back_over_the_removed_ids(tmp_path):
    picture(tmp_path / "images" / "train2017" / "1.jpg")
    label_map(tmp_path / "annotations" / "train2017" / "1_labelTrainIds.png", 10, 11, 79, 80, 170, 255)
    # fire hydrant, stop sign (12 was removed), toothbrush, banner, wood
    assert set(np.unique(open_dataset(tmp_path)[0].labels).tolist()) == {10, 12, 89, 91, 181, 182}


@pytest.mark.parametrize("base", ["", "ADEChallengeData2016"])
def test_ade20k(tmp_path, base):
    root = tmp_path / base
    picture(root / "images" / "training" / "ADE_train_1.jpg")
    label_map(root / "annotations" / "training" / "ADE_train_1.png", 0, 150)
    data = open_dataset(tmp_path)
    assert data.layout == "ade20k" and data.taxonomy is None
    assert set(np.unique(data[0].labels).tolist()) == {0, 150}
    label_map(root / "annotations" / "training" / "ADE_train_1.png", 151)
    with pytest.raises(InputError, match="151"):
        data[0]


def test_cvrg_pano(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / "rgb" / f"{split}1.png")
        label_map(tmp_path / split / "mask" / f"{split}1.png", 0, 7)
    data = open_dataset(tmp_path, split="test")
    assert data.layout == "cvrg-pano" and data.names() == ["test1"]
    assert set(np.unique(data[0].labels).tolist()) == {0, 7}


def test_cvrg_pano_with_one_pool_of_pictures(tmp_path):
    for name in ("p1", "p2"):
        picture(tmp_path / "all-rgb" / f"{name}.jpg")
    label_map(tmp_path / "test" / "mask" / "p2.png", 1)
    assert open_dataset(tmp_path, layout="cvrg-pano", split="test").names() == ["p2"]
    label_map(tmp_path / "test" / "mask" / "p3.png", 1)
    with pytest.raises(InputError, match=r"p3\.png.*missing"):
        open_dataset(tmp_path, layout="cvrg-pano", split="test")


def test_label_of_another_size_names_both_files(tmp_path):
    picture(tmp_path / "images" / "a.png")
    label_map(tmp_path / "labels" / "a.png", 1, shape=(6, 9))
    with pytest.raises(InputError, match=r"labels.a\.png.*9x6.*images.a\.png.*8x6"):
        open_dataset(tmp_path)[0]


def test_missing_label_in_a_plain_folder(tmp_path):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match=r"images.a\.png.*labels.a\.png is missing"):
        open_dataset(tmp_path)


def test_a_text_file_named_png(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"a\.png"):
        open_dataset(tmp_path)[0]


def test_empty_and_absent_folders(tmp_path):
    with pytest.raises(InputError, match="holds no pictures"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset(tmp_path / "nowhere")


def test_unknown_layout_and_misplaced_taxonomy(tmp_path):
    camvid(tmp_path)
    with pytest.raises(UsageError, match="use auto, folder, camvid"):
        open_dataset(tmp_path, layout="voc")
    with pytest.raises(UsageError, match="own label set"):
        open_dataset(tmp_path, taxonomy="cityscapes19")


def test_a_slice_reads_nothing_and_negative_indices_work(tmp_path):
    camvid(tmp_path)
    data = open_dataset(tmp_path, split="train-all")
    (tmp_path / "train" / "images" / "0016E5_2.webp").write_text("broken since")
    tail = data[1:]
    assert tail.names() == ["0001TP_1", "0006R0_9"] and tail[-1].name == data[-1].name == "0006R0_9"
    assert [s.name for s in tail] == tail.names()
    with pytest.raises(IndexError):
        data[3]


def test_the_package_is_light_to_import():
    code = "import sys, chappe.data; print(sorted({'PIL', 'torch', 'numba'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
