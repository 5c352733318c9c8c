"""Curves, their drawings, CompressAI's files and the papers' numbers."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bench import madeup
from chappe.bench import compressai, published
from chappe.bench.curves import Curve, ceiling, codec_order, curves_from_cells, metric, splits, style
from chappe.bench.plot import gather, plot_png, read_source
from chappe.bench.svg import chart, value_ticks
from chappe.bench.table import aggregate, cells_to_json
from chappe.errors import InputError, MissingDependency, UsageError


@pytest.fixture(scope="module")
def cells():
    return aggregate(madeup.rows(frames=4), resamples=20)


def test_curves_take_only_rates_that_every_picture_reaches(cells):
    curves = {c.label: c for c in curves_from_cells(cells, "miou:judge", "val")}
    assert list(curves)[:2] == ["sqgan-street", "sqgan-street · true labels"]
    assert "original" not in curves and curves["sqgan-street · true labels"].oracle
    assert len(curves["hevc-half"].bpp) == 5 and len(curves["jpeg"].bpp) == 2 and len(curves["hevc"].bpp) == 4
    assert curves["hevc"].bpp == tuple(sorted(curves["hevc"].bpp))
    for curve in curves.values():
        assert all(low <= value <= high for low, value, high in zip(curve.low, curve.value, curve.high, strict=True))
    both = {c.label for c in curves_from_cells(cells, "miou:judge")}
    assert {"hevc · val", "hevc · unseen"} <= both


def test_the_ceiling_is_the_original_and_val_comes_first(cells):
    found = next(c.values["miou:judge"] for c in cells if (c.codec, c.split) == ("original", "unseen"))
    assert ceiling(cells, "miou:judge", "unseen") == found
    assert ceiling(cells, "psnr") is None
    assert splits(cells) == ["val", "unseen"]


def test_half_size_codecs_share_the_colour_and_follow_their_family():
    assert style("hevc").light == style("hevc-half").light
    assert style("hevc-half").hollow and not style("hevc").hollow
    assert style("a:b") == style("a:b")
    assert sorted(["jpeg", "hevc-half", "x", "sqgan-street", "hevc"], key=codec_order) == [
        "sqgan-street", "x", "hevc", "hevc-half", "jpeg",
    ]  # fmt: skip


def test_unknown_metrics_get_a_direction():
    assert metric("miou:other").higher_better and metric("miou:other").unit == "%"
    assert not metric("lpips:vgg").higher_better
    assert metric("psnr").text(float("nan")) == "–"


def test_ticks_are_round_and_inside():
    assert value_ticks(0.21, 0.52) == [0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
    assert value_ticks(31, 68) == [40, 50, 60]
    assert value_ticks(3, 3) == [3]


def test_chart_places_points_on_a_logarithmic_axis():
    curve = Curve("hevc", "hevc", (0.02, 0.04, 0.08), (30.0, 40.0, 50.0), (29.0, 39.0, 49.0), (31.0, 41.0, 51.0))
    root = ElementTree.fromstring(chart([curve], metric("miou:judge"), title="a < b", ceiling=60.0))
    points = [(float(p.get("cx")), float(p.get("cy"))) for p in root.iter("circle")]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.11)
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.11) and points[0][1] > 200
    assert len(list(root.iter("polygon"))) == 1
    assert next(root.iter("circle")).get("data-tip") == "hevc: 30.0 % (29.0 to 31.0) at 0.0200 bpp"
    assert "no rate that every picture reaches" in chart([], metric("psnr"), title="x")


def test_published_curves_are_dashed_and_in_our_units():
    found = {c.codec: c for c in published.curves("sqgan-fig12", "miou:judge")}
    assert found["HiFiC"].bpp == (0.142,) and found["HiFiC"].value == pytest.approx((56.5,))
    assert found["SQ-GAN"].bpp == (0.018,) and "Cityscapes" in found["SQ-GAN"].source
    assert published.curves("sqgan-fig12", "lpips") == []  # printed is LPIPS (VGG), another quantity
    assert published.curves("scsc-table1", "miou:judge") == []  # channel uses, not bits per pixel
    assert 'class="series published"' in chart([found["HiFiC"]], metric("miou:judge"), title="x")
    with pytest.raises(UsageError, match="sqgan-fig12"):
        published.load_item("sqgan-fig99")


def test_every_published_number_says_where_it_stands():
    assert {"sqgan-fig8", "sqgan-fig9", "sqgan-fig10", "rlasc-fig5", "rlasc-fig8", "rlasc-fig9"} <= set(
        published.item_names()
    )
    for name in published.item_names():
        item = published.load_item(name)
        assert item.paper and item.data and item.note
        assert all(re.search("Section|Table|caption", entry.where) for entry in (*item.points, *item.facts))
        assert item.points or item.facts or "only as a figure" in item.note


def test_the_printed_numbers_agree_with_each_other():
    """Ratios that the papers print follow from rates that they print."""
    facts = {fact.what: fact.value for fact in published.load_item("sqgan-fig12").facts}
    assert facts["rate factor, FCC over SQ-GAN at FID 93"] == pytest.approx(0.061 / 0.017, abs=0.05)
    assert facts["rate factor, HiFiC over SQ-GAN at mIoU 0.565"] == pytest.approx(0.142 / 0.018, abs=0.1)
    bits = {fact.what: fact.value for fact in published.load_item("gesco-bits").facts}
    assert 1 - bits["bits sent for a picture"] / bits["bits of 'the full image'"] == pytest.approx(0.92, abs=0.005)
    for point in published.load_item("sqgan-fig9").points:  # eq. (2), the map's half
        assert point.rates["bpp_map"] == pytest.approx((10 * point.setting["m_s"] + 1) / 256, abs=1e-3)


def test_compressai_round_trip(tmp_path, cells):
    result = next(r for r in compressai.from_cells(cells) if r.name == "hevc-half" and "val" in r.description)
    assert result.results["bpp"] == sorted(result.results["bpp"]) and len(result.results["bpp"]) == 5
    assert result.results["encoding_time"][0] == pytest.approx(0.12)
    compressai.write(tmp_path / "a.json", result)
    (back,) = compressai.read(tmp_path / "a.json")
    assert back == result
    ours = next(c for c in curves_from_cells(cells, "psnr", "val") if c.codec == "hevc-half")
    theirs = compressai.curve(back, "psnr", "a.json")
    assert (theirs.bpp, theirs.value, theirs.source) == (ours.bpp, pytest.approx(ours.value), "a.json")
    assert compressai.curve(back, "miou:map", "a.json") is None


def test_old_compressai_files_are_read_too():
    old = {
        "name": "AV1",
        "description": "",
        "results": {"bpp": [0.2, 0.1], "psnr": [31.0, 29.0], "ms-ssim": [0.9, 0.8]},
    }
    (result,) = compressai.parse(old)
    assert compressai.curve(result, "psnr", "f").value == (29.0, 31.0)
    assert compressai.curve(result, "ms_ssim", "f").bpp == (0.1, 0.2)


@pytest.mark.parametrize(
    "data", [b"no json", b"[1]", b"{}", b'{"results": {"psnr": [1]}}', b'{"results": {"bpp": [1], "psnr": [1, 2]}}']
)
def test_other_files_are_refused_in_one_sentence(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.json"):
        compressai.read(tmp_path / "a.json")


def test_sources_of_all_kinds_meet_in_one_plot(tmp_path, cells):
    (tmp_path / "results.json").write_text(json.dumps({"cells": cells_to_json(cells), "command": "chappe evaluate"}))
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in madeup.rows(("val",), 2, ("hevc-half",)))
    )
    other = {"name": "mbt2018", "description": "", "results": {"bpp": [0.1, 0.2], "psnr-rgb": [28.0, 29.6]}}
    (tmp_path / "mbt.json").write_text(json.dumps(other))
    sources = [read_source(tmp_path / name) for name in ("results.json", "rows.jsonl", "mbt.json")]
    assert [len(s.cells) > 0 for s in sources] == [True, True, False]
    assert asdict(sources[0].cells[0])["split"] == cells[0].split
    curves, top = gather(sources, "psnr", "val")
    assert top is None and [c.codec for c in curves].count("hevc-half") == 2
    assert curves[-1].label == "mbt2018" and curves[-1].source.endswith("mbt.json")
    assert gather(sources, "miou:judge", "val")[1] == pytest.approx(ceiling(cells, "miou:judge", "val"))
    with pytest.raises(InputError, match="psnr-rgb"):
        gather(sources, "nonsense")


def test_plot_is_a_picture_with_the_colours_of_its_curves(cells):
    pytest.importorskip("matplotlib")
    data = plot_png(
        curves_from_cells(cells, "miou:judge", "val"), metric("miou:judge"), title="val", ceiling=70, dpi=60
    )
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert image.shape[0] > 250 and image.shape[1] > 400
    orange = np.frombuffer(bytes.fromhex(style("sqgan-street").light[1:]), np.uint8)
    assert (np.abs(image - orange).max(-1) < 8).sum() > 60
    with pytest.raises(InputError):
        plot_png([], metric("psnr"))


def test_without_matplotlib_the_extra_is_named(monkeypatch, cells):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"chappe\[bench\]"):
        plot_png(curves_from_cells(cells, "psnr", "val"), metric("psnr"))
