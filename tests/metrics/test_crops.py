"""Crops of objects: the cutting by properties, the embedding against LPIPS, the looking up against plain loops."""

from __future__ import annotations

import doctest
import importlib.util
import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chappe.bench.protocol import Frame
from chappe.data.scenes import render_scene
from chappe.errors import InputError, RateError, UsageError
from chappe.metrics import SqueezeLPIPS, components
from chappe.metrics import crops as module
from chappe.metrics.bootstrap import interval
from chappe.metrics.crops import Recognition, agreement, answers, cut, embed, object_boxes, recognise, rivals, widen

HEIGHT, WIDTH = 24, 40
TOOL = Path(__file__).resolve().parents[2] / "tools" / "crops.py"
SIGN, PEDESTRIAN, CAR = 6, 9, 8


@st.composite
def boxes(draw):
    """Any box of a 40 x 24 picture, single pixels and edges included."""
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return left, top, draw(st.integers(left + 1, WIDTH)), draw(st.integers(top + 1, HEIGHT))


@pytest.fixture(scope="module")
def network() -> SqueezeLPIPS:
    """Random weights and heads: enough for what must hold of any network."""
    torch.manual_seed(0)
    net = SqueezeLPIPS()
    for number in range(len(net.taps)):
        getattr(net, f"head{number}").uniform_(0, 1)
    return net


@pytest.fixture(scope="module")
def street() -> list[Frame]:
    scenes = [render_scene(seed, size=(128, 256)) for seed in range(1, 6)]
    return [Frame(f"a_{100 * k}", scene.image, scene.labels, "street11") for k, scene in enumerate(scenes)]


@given(box=boxes(), margin=st.floats(0, 3))
@settings(max_examples=80, deadline=None)
def test_a_wider_box_keeps_to_the_picture(box, margin):
    left, top, right, bottom = box
    wide = widen(box, (HEIGHT, WIDTH), margin)
    more = max(2, round(margin * max(right - left, bottom - top)))
    for edge, old, limit in zip(wide, box, (0, 0, WIDTH, HEIGHT), strict=True):
        assert edge == limit if abs(old - limit) <= more else abs(edge - old) == more
    assert wide[0] <= left < right <= wide[2] and wide[1] <= top < bottom <= wide[3]


@given(box=boxes(), side=st.sampled_from([1, 7, 32]), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_a_crop_is_its_box_and_nothing_else(box, side, seed):
    left, top, right, bottom = box
    image, other = np.random.default_rng(seed).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    crop = cut(image, box, side)
    assert crop.shape == (side, side, 3) and crop.dtype == np.uint8
    other[top:bottom, left:right] = image[top:bottom, left:right]
    assert (cut(other, box, side) == crop).all()
    if right - left == bottom - top:  # its own size: no pixel changes
        assert (cut(image, box, right - left) == image[top:bottom, left:right]).all()
    image[top:bottom, left:right] = (10, 200, 77)
    assert (cut(image, box, side) == (10, 200, 77)).all()


def test_objects_are_the_components_with_room_around(street):
    labels = street[0].labels
    found, bare = object_boxes(labels, {SIGN, CAR}, 30, 0.5), components(labels, {SIGN, CAR}, 30)
    assert [(f.label, f.area, f.index) for f in found] == [(b.label, b.area, b.index) for b in bare] and bare
    assert [f.box for f in found] == [widen(b.box, labels.shape, 0.5) for b in bare]
    dot = np.zeros((HEIGHT, WIDTH), np.uint8)
    dot[0, WIDTH - 1] = SIGN  # one pixel in a corner
    assert [f.box for f in object_boxes(dot, {SIGN}, 1)] == [(WIDTH - 3, 0, WIDTH, 3)]
    assert object_boxes(dot, {SIGN}) == []


def test_squared_distances_of_vectors_are_lpips(network):
    pictures = np.random.default_rng(0).integers(0, 256, (35, 20, 20, 3), dtype=np.uint8)  # more than one batch
    vectors = embed(pictures, network)
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
    for i, j in ((0, 1), (3, 34), (33, 2)):
        expected = float(network(x[i : i + 1], x[j : j + 1])[0])
        assert ((vectors[i] - vectors[j]) ** 2).sum() == pytest.approx(expected, rel=1e-4)
    assert vectors.dtype == np.float32 and embed(pictures[:1], network).shape == (1, vectors.shape[1])


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), m=st.integers(6, 9))
@settings(max_examples=60, deadline=None)
def test_looking_up_is_plain_sorting(seed, n, m):
    rng = np.random.default_rng(seed)
    # Small whole numbers, so that ties are many and exact.
    decoded, gallery = rng.integers(0, 3, (n, 4)), rng.integers(0, 3, (m, 4))
    own, places, apart = rng.permutation(m)[:n], rng.integers(0, 8, m), int(rng.integers(1, 5))
    known = recognise(decoded.astype(np.float32), gallery.astype(np.float32), own, rivals(own, places, apart))
    for i in range(n):
        who = [
            j
            for j in range(m)
            if j != own[i] and (places[j] == places[own[i]] or abs(places[j] - places[own[i]]) >= apart)
        ]
        far = {j: int(((decoded[i] - gallery[j]) ** 2).sum()) for j in [*who, int(own[i])]}
        mine = far[int(own[i])]
        ahead, equal = sum(d < mine for d in far.values()), sum(d == mine for d in far.values())
        ranks = np.arange(ahead + 1, ahead + equal + 1)  # all equally likely
        assert known.distance[i] == pytest.approx(mine) and known.gallery[i] == len(far)
        for k in (1, 5):
            assert known.top(k)[i] == pytest.approx((ranks <= k).mean())
            assert known.chance(k)[i] == pytest.approx(min(1, k / len(far)))
        assert known.reciprocal[i] == pytest.approx((1 / ranks).mean())


def looked_up(decode, street, network, classes=(CAR, PEDESTRIAN)) -> dict[int, Recognition]:
    """Recognition of each class in what `decode` makes of the pictures."""
    out = {}
    for label in classes:
        things = [(k, thing.box) for k, f in enumerate(street) for thing in object_boxes(f.labels, {label}, 20)]
        originals = embed([cut(street[k].image, box) for k, box in things], network)
        decoded = embed([cut(decode(street[k].image), box) for k, box in things], network)
        allowed = rivals(range(len(things)), [100 * k for k, _ in things], 100)
        out[label] = recognise(decoded, originals, range(len(things)), allowed)
    return out


def test_an_identity_codec_is_recognised_and_a_grey_one_is_not(street, network):
    for known in looked_up(lambda image: image, street, network).values():
        assert len(known.top()) > 5 and (known.gallery == len(known.gallery)).all()
        assert (known.top() == 1).all() and (known.reciprocal == 1).all() and known.distance.max() < 1e-4
    for known in looked_up(lambda image: np.full_like(image, 128), street, network).values():
        n = len(known.gallery)
        # One original is the nearest to grey, whoever is asked for: of n answers one is right. That is chance.
        assert known.top().mean() == pytest.approx(1 / n) == known.chance().mean()
        assert known.top(5).mean() == pytest.approx(min(1, 5 / n))
        assert known.reciprocal.mean() == pytest.approx((1 / np.arange(1, n + 1)).mean())


def test_a_blurred_picture_lies_between(street, network):
    def blur(image):
        small = Image.fromarray(image).resize((image.shape[1] // 4, image.shape[0] // 4), Image.Resampling.BOX)
        return np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BICUBIC))

    for known in looked_up(blur, street, network).values():
        assert known.chance().mean() < known.reciprocal.mean() < 1 and known.distance.mean() > 1e-3


def test_answers_of_a_classifier():
    pictures = [np.full((8, 8, 3), v, np.uint8) for v in (0, 60, 130, 250)]

    def classifier(picture):
        return -np.abs(np.array([0, 128, 255]) - int(picture[0, 0, 0]))

    given_, truth = answers(pictures, classifier), [0, 0, 1, 1]
    assert given_.tolist() == [0, 0, 1, 2]
    share, chance = agreement(given_, truth)
    shuffled = [
        (np.array(truth)[rng.permutation(4)] == given_).mean() for rng in map(np.random.default_rng, range(2000))
    ]
    assert share == 0.75 and chance == pytest.approx(np.mean(shuffled), abs=0.02)
    assert agreement([7, 7], [7, 7]) == (1.0, 1.0)


def test_misuse_is_one_sentence(network):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for box in ((0, 0, 0, 5), (5, 5, 4, 9), (0, 0, WIDTH + 1, 5), (-1, 0, 5, 5), (0, HEIGHT, 5, HEIGHT + 1)):
        for call in (lambda box=box: cut(image, box), lambda box=box: widen(box, image.shape)):
            with pytest.raises(InputError, match=f"of its {WIDTH}x{HEIGHT} picture"):
                call()
    for margin in (-0.1, math.nan):
        with pytest.raises(UsageError, match="margin"):
            widen((0, 0, 5, 5), image.shape, margin)
    for bad in (image[..., 0], image.astype(float), [[0]]):
        with pytest.raises(InputError, match="uint8 pictures"):
            cut(bad, (0, 0, 1, 1))
    for bad in ([], [image[:20, :20], image[:21, :21]], [image[:20, :20, 0]], [image.astype(float)]):
        with pytest.raises(InputError, match="embedded as"):
            embed(bad, network)
    with pytest.raises(InputError, match="at least 17"):
        embed([image[:16, :16]], network)
    with pytest.raises(UsageError, match="apart=0"):
        rivals([0], [1, 2], 0)
    x, y = np.zeros((2, 3)), np.zeros((4, 3))
    for crops, originals, own, allowed in ((x, y[:, :2], [0, 1], (2, 4)), (x, y, [0], (2, 4)), (x, y, [0, 1], (2, 3))):
        with pytest.raises(InputError, match="recognition takes"):
            recognise(crops, originals, own, np.ones(allowed, bool))
    for pair in (([], []), ([1], [1, 2])):
        with pytest.raises(InputError, match="one by one"):
            agreement(*pair)


def test_doctests():
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted


@pytest.fixture
def tool(monkeypatch, street, network):
    """tools/crops.py with five scenes for a data set, random weights, and three codecs: exact, grey, never in reach."""
    spec = importlib.util.spec_from_file_location("chappe_tools_crops", TOOL)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chappe_tools_crops", script)
    spec.loader.exec_module(script)

    def encode(image, bpp=None):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        return out.getvalue()

    def never(image, bpp=None):
        if bpp is not None:
            raise RateError("out of reach")
        return encode(image)

    def exact(blob):
        return SimpleNamespace(image=np.asarray(Image.open(io.BytesIO(blob))))

    def grey(blob):
        return SimpleNamespace(image=np.full_like(exact(blob).image, 128))

    codecs = {"exact": (encode, exact), "grey": (encode, grey), "never": (never, exact)}
    monkeypatch.setattr(
        script, "open_codec", lambda name: SimpleNamespace(encode=codecs[name][0], decode=codecs[name][1])
    )
    monkeypatch.setattr(
        script, "frames", lambda data, split, every: (street[:3] if split == "val" else street[3:])[::every]
    )
    monkeypatch.setattr(script, "lpips_weights_path", lambda: "nowhere")
    monkeypatch.setattr(script.SqueezeLPIPS, "from_file", lambda path: network)
    monkeypatch.setattr(script, "load_transformers_classifier", lambda folder: lambda p: [p.mean(), 128.0])
    return script


def test_the_tool_prints_its_table(tool, monkeypatch, capsys, tmp_path):
    options = "crops.py DATA --split val --codecs grey exact never --base exact --bpp 0.5 --every 1 --rivals-every 1 "
    options += f"--classes Car sign --min-pixels 20 --apart 100 --classifier FOLDER --sheet {tmp_path}/sheet.png"
    monkeypatch.setattr(sys, "argv", options.split())
    tool.main()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    heads, rows = lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[2:-1]]
    assert heads[-2:] == ["same answer %", "chance %"] and {row["class"] for row in rows} == {"Car", "SignSymbol"}
    for row in rows:
        same = row["codec"] != "grey"
        assert (row["top-1 %"] == "100.0") == same == (row["PSNR dB"] == "inf") and int(row["crops"]) >= 3
        assert row["asked bpp"] == ("0.5, usual" if row["codec"] == "never" else "0.5") and float(row["bpp"]) > 1
        if row["codec"] == "exact":
            assert row["- base"] == "" and row["same answer %"] == "100.0"
        else:
            low, high = (float(end) for end in row["- base"].split(" … "))
            assert (low, high) == (0, 0) if same else -100 <= low <= high < 0
    picture = np.asarray(Image.open(tmp_path / "sheet-val.png"))
    assert picture.shape[1] == 4 * 64 and (picture[:, :64] == picture[:, 64:128]).all()
    assert (picture[:, 128:192] == 128).all()


def test_the_tool_numbers_frames_and_pairs_them(tool, street, monkeypatch):
    seen: dict[str, int] = {}
    numbers = [
        tool.place(name, k, seen) for k, name in enumerate(("0016E5_07959", "0001TP_07959", "0016E5_07961", "x"))
    ]
    assert numbers[2] - numbers[0] == 2 and min(abs(numbers[0] - numbers[k]) for k in (1, 3)) > 10**8
    assert numbers[3] % tool.RECORDING == 3  # no digits: its position
    # The interval is that of the mean over crops, frames redrawn whole.
    rng = np.random.default_rng(0)
    things = [SimpleNamespace(frame=int(k)) for k in (0, 0, 2, 3, 3, 3, 7, 7)]
    ahead = rng.integers(0, 2, (2, len(things))).astype(float)
    a, b = (Recognition(x, x * 0, x * 0 + 9, x) for x in ahead)
    frames = [[k for k, t in enumerate(things) if t.frame == f] for f in (0, 2, 3, 7)]
    gain = 100 * (a.top() - b.top())

    def statistic(drawn):
        return np.concatenate([gain[frames[k]] for k in drawn]).mean()

    low, high = interval(np.arange(4), statistic)
    assert tool.difference(a, b, things) == f"{low:+.1f} … {high:+.1f}"
    monkeypatch.setattr(sys, "argv", "crops.py DATA --classes unicorn".split())
    with pytest.raises(SystemExit):
        tool.main()
    with pytest.raises(UsageError, match="has no labels"):
        tool.find([Frame("a", street[0].image)], [SIGN], 64, {})
