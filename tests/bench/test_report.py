"""The HTML report: complete, self-contained, and true to the cells it is made of."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from bench import madeup
from chappe.bench import gallery
from chappe.bench.report import write_gallery_page, write_report
from chappe.bench.table import aggregate
from chappe.metrics.bd import bd_rate


class Page(HTMLParser):
    """Every attribute that could fetch something, the tags left open, and the text of each table row."""

    VOID = ("meta", "img", "br", "link", "input", "circle", "line", "path", "polygon", "polyline")

    def __init__(self, text: str):
        super().__init__()
        self.links, self.open, self.rows, self.ids, self.tags = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.links += [found[k] for k in ("src", "href", "srcset", "action", "data") if found.get(k)]
        self.ids += [found["id"]] if "id" in found else []
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "tr" in self.open and data.strip():
            self.rows[-1].append(data.strip())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rows = madeup.rows(frames=3)
    madeup.write_pictures(folder / "pictures", rows, "val-0", (64, 128))
    madeup.write_pictures(folder / "pictures", rows, "unseen-0", (64, 128))
    cells = aggregate(rows, resamples=20)
    path = write_report(
        cells, rows, folder, title="A <title> & more", command="chappe evaluate X --bpp 0.04",
        versions={"x265": "4.3"}, published=("sqgan-fig12",),
    )  # fmt: skip
    return cells, rows, folder, path.read_text(encoding="utf-8")


def test_nothing_is_fetched_and_every_tag_is_closed(made):
    text = made[3]
    page = Page(text)
    assert page.open == []
    assert page.links and all(link.startswith("data:") for link in page.links)
    assert not re.search(r"url\(|@import|https?://|<link|XMLHttpRequest|fetch\(", text)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert len(page.ids) == len(set(page.ids))
    assert "{{" not in text and "A &lt;title&gt; &amp; more" in text
    assert "chappe evaluate X --bpp 0.04" in text and "x265: 4.3" in text


def test_every_part_is_there(made):
    text = made[3]
    for heading in (
        "Rate and meaning",
        "Gallery",
        "Results by rate",
        "Bjøntegaard",
        "IoU by class",
        "Where the bytes go",
    ):
        assert f"<h2>{heading}" in text
    assert "at the judge mIoU that sqgan-street" in text
    assert "Pezone" in text and text.count('class="chart"') >= 8


def test_the_table_holds_the_cells(made):
    cells, _, _, text = made
    rows = Page(text).rows
    cell = next(c for c in cells if (c.split, c.codec, c.point) == ("val", "hevc-half", "0.16"))
    row = next(r for r in rows if r[0] == "hevc-half" and f"{cell.values['bpp']:.4f}" in r)
    assert f"{cell.values['miou:judge']:.1f}" in row and f"{cell.values['lpips']:.3f}" in row
    gone = next(c for c in cells if (c.split, c.codec, c.point) == ("val", "jpeg", "0.02"))
    assert any(r[0] == "jpeg" and f"{gone.frames} of 3" in r[1] for r in rows if len(r) == 2)


def test_bd_figures_are_those_of_the_library(made):
    cells, _, _, text = made

    def line(codec):
        mine = [c for c in cells if (c.split, c.codec) == ("val", codec) and "lpips" in c.values]
        return zip(*sorted((c.values["bpp"], c.values["lpips"]) for c in mine), strict=True)

    expected = bd_rate(*line("hevc"), *line("av1-half"), higher_better=False)
    section = text[text.index("<h2>Bjøntegaard") : text.index("<section><h2>IoU by class")].removesuffix("</section>")
    row = next(r for r in Page(section).rows if r[0] == "av1-half")
    assert f"{expected:+.1f} %".replace("-", "−") in row


def test_class_table_gives_the_judges_iou(made):
    cells, _, _, text = made
    cell = next(
        c for c in cells if (c.split, c.codec, c.point, c.labels) == ("val", "sqgan-street", "0.04", "predicted")
    )
    section = text[text.index("<h2>IoU") : text.index("<section><h2>Where")].removesuffix("</section>")
    assert ["sqgan-street", *(f"{v:.1f}" for v in cell.classes["miou:judge"])] in Page(section).rows


def test_gallery_has_pictures_maps_tokens_and_bytes(made):
    _, rows, _, text = made
    data = json.loads(re.search(r'id="scenes">(.*?)</script>', text, re.DOTALL)[1])
    assert [scene["name"] for scene in data] == ["val-0", "unseen-0"]
    scene = data[0]
    assert (scene["width"], scene["height"], scene["maps"][0]["caption"]) == (128, 64, "true labels")
    reached = [r for r in rows if r["name"] == "val-0" and r["reached"] and r["codec"] != "original"]
    assert len(scene["shown"]) == len(reached)
    view = next(v for v in scene["shown"] if (v["codec"], v["point"]) == ("sqgan-street", "0.04"))
    row = next(r for r in reached if (r["codec"], r["point"], r["labels"]) == ("sqgan-street", "0.04", "predicted"))
    assert view["bytes"] == row["bytes"] and view["sections"] == row["sections"]
    assert view["facts"][0] == f"{row['bpp']:.4f} bpp" and view["kept"].endswith("of 32")
    assert view["tokens"] and view["maps"][0]["image"].startswith("data:image/png")
    classical = next(v for v in scene["shown"] if v["codec"] == "hevc-half")
    assert classical["tokens"] is None and classical["maps"] == []
    slider = next(a for tag, a in Page(text).tags if a.get("role") == "slider")
    assert slider["tabindex"] == "0" and slider["aria-valuenow"] == "50"


def test_the_budget_leaves_whole_scenes_out(made):
    _, rows, folder, _ = made
    scenes, left = gallery.scenes_from_folder(folder / "pictures", rows)
    assert (len(scenes), left) == (2, 0)
    fewer, left = gallery.scenes_from_folder(folder / "pictures", rows, max_bytes=scenes[0].size + 1)
    assert ([s.name for s in fewer], left) == (["val-0"], 1)


def test_the_veil_is_clear_where_tokens_were_kept():
    kept = np.zeros((4, 5), bool)
    kept[1, 3] = True
    uri = gallery.veil_uri(kept, (50, 75))  # cells of 16: the last row and column stick out
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))[..., 3]
    assert alpha.shape == (50, 75)
    expected = np.full((50, 75), gallery.VEIL[3])
    expected[16:32, 48:64] = 0
    assert (alpha == expected).all()


def test_embedded_pictures_are_close_and_maps_exact():
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), np.uint8), 8, 0), 8, 1)

    def load(uri, mode):
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert(mode))

    assert np.abs(load(gallery.picture_uri(image), "RGB").astype(int) - image).mean() < 12
    labels = rng.integers(0, 12, (16, 16), np.uint8)
    from chappe.taxonomy import colorize

    assert (load(gallery.map_uri(labels, "street11"), "RGB") == colorize(labels, "street11")).all()


def test_a_report_without_pictures_or_our_codec(tmp_path):
    rows = madeup.rows(("val",), 2, ("hevc-half", "av1-half"))
    path = write_report(aggregate(rows, resamples=5), rows, tmp_path, title="t", command="c")
    text = path.read_text(encoding="utf-8")
    assert Page(text).open == [] and "<h2>Gallery" not in text and "<h2>Where the bytes go" not in text
    assert "at the judge mIoU" not in text


def test_a_page_cannot_be_broken_by_names(tmp_path, made):
    _, rows, folder, _ = made
    scene = gallery.scenes_from_folder(folder / "pictures", rows)[0][0]
    nasty = "</script><b>\"'&"
    broken = gallery.Scene(nasty, scene.width, scene.height, scene.image, scene.shown, scene.maps)
    write_gallery_page(tmp_path / "p.html", [broken], title=nasty, command=nasty, lead=nasty)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert Page(text).open == [] and text.count("</script>") == 2
    assert json.loads(re.search(r'id="scenes">(.*?)</script>', text, re.DOTALL)[1])[0]["name"] == nasty
