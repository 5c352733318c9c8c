"""Cells against brute force, and the sentence against curves whose crossing is known in closed form."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from chappe.bench.table import Cell, aggregate, cells_to_json, format_table, load_rows, needed_bpp, sentence
from chappe.errors import InputError
from chappe.metrics import confusion, miou
from chappe.metrics.bootstrap import interval, interval_of_sums


def row(name: str, codec: str = "a", point: str = "0.04", seed: int = 0, **changes) -> dict:
    rng = np.random.default_rng([seed, *name.encode()])
    truth, seen = rng.integers(0, 12, (2, 40, 50))
    seen = np.where(rng.random(truth.shape) < 0.5, truth, seen)
    found = {
        "key": f"{name}{codec}{point}", "data": "d", "split": "val", "name": name, "codec": codec, "point": point,
        "labels": "none", "reached": True, "bytes": 100 + len(name), "bpp": float(rng.random()), "ssim": 0.5,
        "psnr": float(20 + rng.random()), "sections": {"header": 10, "payload": int(rng.integers(9, 99))},
        "map": None, "eye:judge": confusion(seen, truth, 12, ignore=11).tolist(),
        "agree:judge": confusion(seen, truth, 12).tolist(),
        "objects": {"original": 4, "decoded": 2 + len(name), "found": 1, "invented": int(rng.integers(0, 3))},
        "seconds": {"segment": 0.25, "encode": 0.5, "decode": 0.125, "judge": 0.1},
    }  # fmt: skip
    return found | changes


@pytest.fixture
def rows() -> list[dict]:
    return [row("p" * k) for k in range(1, 9)]


def test_values_by_brute_force(rows):
    (cell,) = aggregate(rows)
    assert (cell.frames, cell.of) == (8, 8)
    assert cell.values["psnr"] == pytest.approx(np.mean([r["psnr"] for r in rows]))
    assert cell.values["bytes"] == 104.5 and cell.values["encode_ms"] == 750 and cell.values["decode_ms"] == 125
    total = np.sum([r["eye:judge"] for r in rows], 0)
    assert cell.values["miou:judge"] == pytest.approx(100 * miou(total, ignore=11))
    assert cell.values["miou_image:judge"] == pytest.approx(
        100 * np.mean([miou(np.array(r["eye:judge"]), ignore=11) for r in rows])
    )
    assert cell.classes["miou:judge"] == pytest.approx(
        [100 * total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c]) for c in range(11)]
    )
    invented = sum(r["objects"]["invented"] for r in rows)
    assert cell.values["hallucination"] == invented / sum(r["objects"]["decoded"] for r in rows)
    assert cell.values["recall"] == 0.25
    assert cell.sections == {"header": 10, "payload": np.mean([r["sections"]["payload"] for r in rows])}
    assert "miou:map" not in cell.values and "lpips" not in cell.values


def test_intervals_are_those_of_the_metrics_package(rows):
    (cell,) = aggregate(rows, resamples=300, seed=7)
    ordered = sorted(rows, key=lambda r: r["name"])
    low, high = interval([r["psnr"] for r in ordered], resamples=300, seed=7)
    assert (cell.low["psnr"], cell.high["psnr"]) == pytest.approx((low, high))
    stack = np.array([r["eye:judge"] for r in ordered])
    low, high = interval_of_sums(stack, lambda m: 100 * miou(m, ignore=11), resamples=300, seed=7)
    assert (cell.low["miou:judge"], cell.high["miou:judge"]) == pytest.approx((low, high))


def test_the_order_of_rows_does_not_matter(rows):
    rows += [row(r["name"], "b", "0.08", 3) for r in rows]
    before = cells_to_json(aggregate(rows))
    random.Random(1).shuffle(rows)
    assert cells_to_json(aggregate(rows)) == before


def test_a_cell_that_some_do_not_reach_has_no_values(rows):
    rows[2] = {k: v for k, v in rows[2].items() if k in ("key", "split", "name", "codec", "point", "labels")}
    rows[2]["reached"] = False
    (cell,) = aggregate(rows)
    assert (cell.frames, cell.of, cell.values, cell.classes) == (7, 8, {}, {})
    table = format_table([cell, *aggregate([row("x", "b")])]).splitlines()
    assert "7/8" in table[1] and table[1].count("–") == 6 and "–" not in table[2]


def test_what_was_not_measured_on_all_is_absent(rows):
    rows[0]["psnr"] = None  # a lossless picture
    for r in rows:
        r["objects"]["decoded"] = r["objects"]["invented"] = 0
    (cell,) = aggregate(rows)
    assert "psnr" not in cell.values and "hallucination" not in cell.values and cell.values["recall"] == 0.25
    json.dumps(cells_to_json([cell]), allow_nan=False)


def test_a_class_that_never_occurs_is_nan_and_null():
    only = [[0] * 12 for _ in range(12)]
    only[3][3] = 7
    (cell,) = aggregate([row("a", **{"eye:judge": only})])
    assert math.isnan(cell.classes["miou:judge"][0]) and cell.values["miou:judge"] == 100
    assert cells_to_json([cell])[0]["classes"]["miou:judge"][:4] == [None, None, None, 100.0]


def test_feature_distance_is_the_frechet_distance_to_the_originals():
    import base64

    from chappe.metrics.distribution import frechet_distance

    sets = np.random.default_rng(0).normal(size=(2, 6, 512)).astype("<f2")
    text = [[base64.b64encode(v.tobytes()).decode() for v in s] for s in sets]
    rows = [row(f"p{k}", "original", "original", feature=text[0][k]) for k in range(6)]
    rows += [row(f"p{k}", "b", feature=text[1][k]) for k in range(6)]
    first, second = aggregate(rows)
    assert second.values["feature_distance"] == pytest.approx(frechet_distance(sets[1].astype(float), sets[0]))
    assert first.values["feature_distance"] == pytest.approx(0, abs=1e-6)


def curve(codec: str, *points: tuple[float, float], labels: str = "none", split: str = "val") -> list[Cell]:
    return [Cell(split, codec, labels, f"{b:g}", 5, 5, {"bpp": b, "miou:judge": m}) for b, m in points]


def test_needed_rate_is_log_linear():
    cells = curve("h", (0.02, 10), (0.08, 30), (0.32, 40))
    assert needed_bpp(cells, "h", "val", 20) == pytest.approx(0.04)
    assert needed_bpp(cells, "h", "val", 35) == pytest.approx(0.16)
    assert needed_bpp(cells, "h", "val", 5) == 0.02 and needed_bpp(cells, "h", "val", 41) is None
    assert needed_bpp(cells, "h", "unseen", 20) is None and needed_bpp(cells, "none", "val", 20) is None
    bumpy = curve("h", (0.02, 25), (0.04, 10), (0.08, 30))
    assert needed_bpp(bumpy, "h", "val", 20) == 0.02
    both = curve("s", (0.02, 10), (0.08, 30), labels="predicted") + curve("s", (0.01, 10), (0.04, 30), labels="true")
    assert needed_bpp(both, "s", "val", 20) == pytest.approx(0.02)
    assert needed_bpp(both, "s", "val", 20, labels="predicted") == pytest.approx(0.04)


def test_the_sentence():
    mine = curve("sqgan-street", (0.04, 20), labels="predicted")
    cells = mine + curve("hevc", (0.02, 10), (0.08, 30)) + curve("av1", (0.02, 5), (0.08, 10))
    cells += curve("avif-half", (0.08, 30), (0.16, 40)) + curve("original", (24, 60))
    assert sentence(cells, "val") == (
        "val: at the judge mIoU that sqgan-street with predicted labels reaches at 0.0400 bpp (20.0 %), "
        "HEVC intra (x265) needs 0.0400 bpp (× 1.00), "
        "the best of {av1, avif-half} (avif-half) needs at most 0.0800 bpp (× 2.00)."
    )
    poor = mine + curve("hevc", (0.02, 5), (0.08, 10)) + curve("av1", (0.02, 5))
    assert sentence(poor, "val").endswith(
        "HEVC intra (x265) does not reach it up to 0.0800 bpp, none of {av1} reaches it at any rate measured."
    )
    assert "no other codec" in sentence(mine, "val")
    assert "has no judge mIoU at 0.08 bpp" in sentence(mine, "val", at="0.08")


def test_rows_are_read_back_the_last_of_each(tmp_path):
    path = tmp_path / "rows.jsonl"
    old, new, other = row("a", psnr=1.0, key="old"), row("a", psnr=2.0, key="new"), row("b")
    path.write_text("".join(json.dumps(r) + "\n" for r in (old, new, other)) + '{"key": "to')
    assert [r["psnr"] for r in load_rows(path)] == [2.0, other["psnr"]]
    assert len(load_rows(path, latest=False)) == 3
    assert [r["key"] for r in load_rows(path, keys={"old"})] == ["old"]
    path.write_text('{"key": "x", "reached": true}\nnonsense\n')
    with pytest.raises(InputError, match="line 2"):
        load_rows(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_rows(tmp_path / "none.jsonl")
