"""Operating points from made-up rows of a benchmark: means by hand, what is left out, dominated points, files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import madeup
from chappe.bench.table import aggregate, cells_to_json
from chappe.edge.gib import GaussianIB
from chappe.edge.operating import (
    CLOCK,
    OperatingPoint,
    OperatingPointTable,
    published_table,
    read_table,
    table_from_gib,
    table_from_rows,
)
from chappe.errors import InputError
from chappe.metrics import miou


def test_points_are_the_means_of_the_rows():
    rows = madeup.rows()
    table = table_from_rows(rows, split="unseen")
    here = [r for r in rows if r["split"] == "unseen" and r["codec"] == "hevc" and r["point"] == "0.08"]
    point = table.points[table.index("hevc@0.08")]
    assert point.bits == np.mean([8 * r["bytes"] for r in here])
    assert point.perf == pytest.approx(np.mean([miou(np.array(r["eye:judge"]), ignore=11) for r in here]))
    assert point.device_cycles == pytest.approx(0.12 * CLOCK) and point.server_cycles == pytest.approx(0.05 * CLOCK)
    assert point.images == 6 and point.metric == "miou_image:judge" and 0 < point.perf_ci < 0.1
    original = [r for r in rows if r["split"] == "unseen" and r["codec"] == "original"]
    assert table.ceiling == pytest.approx(np.mean([miou(np.array(r["eye:judge"]), ignore=11) for r in original]))
    column = table.index("hevc@0.08")
    assert table.image_bits[:, column].mean() == point.bits and table.image_perf[:, column].mean() == point.perf
    assert table.relative().points[column].perf == pytest.approx(point.perf / table.ceiling)
    assert table_from_rows(rows, split="val", task=False).points[0].server_cycles == pytest.approx(0.03 * CLOCK)


def test_points_that_some_pictures_do_not_reach_are_left_out_and_named():
    table = table_from_rows(madeup.rows(), split="val")
    names = [p.name for p in table.points]
    assert "hevc@0.02" not in names and "3 of 6" in table.left_out["hevc@0.02"]
    assert "sqgan-street@0.02" in names and "original@original" not in names
    only = table_from_rows(madeup.rows(), split="val", codecs=["sqgan-street"], labels="true")
    assert [p.name.split("@")[0] for p in only.points] == ["sqgan-street"] * 5 and only.ceiling


def test_a_picture_without_truth_is_left_out_of_every_point():
    rows = madeup.rows(splits=("val",))
    for row in rows:
        if row["name"] == "val-0" and "eye:judge" in row:
            row["eye:judge"] = np.zeros((12, 12), int).tolist()
    assert table_from_rows(rows).names == tuple(f"val-{k}" for k in range(1, 6))


def test_what_is_wrong_is_said():
    with pytest.raises(InputError, match="say which one"):
        table_from_rows(madeup.rows())
    with pytest.raises(InputError, match="no row of split 'test'"):
        table_from_rows(madeup.rows(), split="test")
    with pytest.raises(InputError, match="no operating point"):
        table_from_rows(madeup.rows(), split="val", codecs=["av1"])
    with pytest.raises(InputError, match="bits above 0"):
        OperatingPoint("a", 0.0, 1.0, 1.0, 0.5)
    with pytest.raises(InputError, match="same name"):
        OperatingPointTable((OperatingPoint("a", 1.0, 1.0, 1.0, 0.5),) * 2)
    with pytest.raises(InputError, match="ceiling"):
        published_table().relative()


def test_dominated_points_go_and_the_others_stay():
    make = lambda name, bits, cycles, perf: OperatingPoint(name, bits, cycles, 1.0, perf)  # noqa: E731
    table = OperatingPointTable(
        (make("good", 100.0, 5.0, 0.9), make("worse", 110.0, 5.0, 0.9), make("twin", 100.0, 5.0, 0.9),
         make("inside", 60.0, 5.0, 0.5), make("small", 20.0, 5.0, 0.4), make("lazy", 110.0, 1.0, 0.9))
    )  # fmt: skip
    assert [p.name for p in table.undominated().points] == ["good", "inside", "small", "lazy"]
    assert table.dominators() == {"worse": "good", "twin": "good"}
    assert len(published_table().undominated()) == 6 and published_table().dominators() == {}


@given(st.lists(st.tuples(*4 * [st.integers(1, 3)]), min_size=1, max_size=8))
def test_every_point_that_goes_has_one_that_stays_and_is_no_worse(rows):
    points = [OperatingPoint(str(k), *map(float, row)) for k, row in enumerate(rows)]
    table = OperatingPointTable(tuple(points))
    kept, beaten = {p.name: p for p in table.undominated().points}, table.dominators()
    assert {*kept, *beaten} == {p.name for p in points} and not kept.keys() & beaten.keys()
    for name, by in beaten.items():
        worse, better = rows[int(name)], rows[int(by)]
        assert by in kept and better[3] >= worse[3] and all(b <= w for b, w in zip(better[:3], worse[:3], strict=True))


def test_files_come_back(tmp_path):
    table = published_table()
    (tmp_path / "points.json").write_text(json.dumps(table.to_json()))
    assert read_table(tmp_path / "points.json").points == table.points
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in madeup.rows()))
    (tmp_path / "results.json").write_text(json.dumps({"cells": []}))
    assert read_table(rows, split="val").points == read_table(tmp_path / "results.json", split="val").points
    rows.unlink()
    for text, why in (('{"cells": []}', "no result of split"), ('{"cells": [{"split": "val"}]}', "its cells lack"),
                      ("[]", "neither"), ("{", "not a JSON"),
                      ('{"operating_points": [{"name": "a"}]}', "lack something")):  # fmt: skip
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(InputError, match=why):
            read_table(tmp_path / "results.json")


def test_results_alone_have_the_points_of_their_rows(tmp_path):
    table = madeup.rows()
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"cells": cells_to_json(aggregate(table))}))
    for split in ("val", "unseen"):
        whole, means = table_from_rows(table, split=split, task=False), read_table(results, split=split)
        assert {p.name for p in means.points} == {p.name for p in whole.points}
        assert means.ceiling == pytest.approx(whole.ceiling) and means.image_bits is None
        assert means.left_out == whole.left_out
        for point in means.points:
            other = whole.points[whole.index(point.name)]
            for name in ("bits", "device_cycles", "server_cycles", "perf", "images"):
                assert getattr(point, name) == pytest.approx(getattr(other, name)), (point.name, name)
            assert point.perf_ci == pytest.approx(other.perf_ci, rel=0.5, abs=1e-3)  # bootstrap against a normal law
    assert {p.name.split("@")[0] for p in read_table(results, split="val", codecs=["hevc"]).points} == {"hevc"}
    with pytest.raises(InputError, match="say which one"):
        read_table(results)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(6, 30))
@settings(max_examples=30, deadline=None)
def test_no_mixture_is_below_what_is_assured_of_it(seed, blocks, pictures):
    rng = np.random.default_rng(seed)
    ceiling, perf = rng.uniform(0.2, 0.8, pictures), rng.uniform(0.1, 0.9, (pictures, 3))
    points = tuple(OperatingPoint(n, 1.0 + i, 1.0, 1.0, float(perf[:, i].mean())) for i, n in enumerate("abc"))
    table = OperatingPointTable(points, float(ceiling.mean()), tuple(map(str, range(pictures))),
                                np.ones((pictures, 3)), perf, None, ceiling)  # fmt: skip
    sure = table.assured(blocks).column("perf")
    assert (sure <= table.relative().column("perf") + 1e-12).all()
    mix = rng.dirichlet(np.ones(3))
    worst = min((perf[i] @ mix).mean() / ceiling[i].mean() for i in np.array_split(np.arange(pictures), blocks))
    assert mix @ sure <= worst + 1e-12
    if blocks == 1:
        assert sure == pytest.approx(table.relative().column("perf"))


def test_a_further_stretch_is_rarely_below_the_worst_of_nineteen():
    rng = np.random.default_rng(5)
    below = 0
    for _ in range(500):
        perf = rng.gamma(2.0, 0.1, (20, 1))
        table = OperatingPointTable((OperatingPoint("a", 1.0, 1.0, 1.0, 0.2),), 1.0, tuple(map(str, range(19))),
                                    np.ones((19, 1)), perf[:19], None, np.ones(19))  # fmt: skip
        below += perf[19, 0] < table.assured(19).points[0].perf
    assert 0.02 < below / 500 < 0.08  # 1 in 20, whatever the law
    with pytest.raises(InputError, match="do not make 20"):
        table.assured(20)
    with pytest.raises(InputError, match="single pictures"):
        replace(published_table(), ceiling=1.0).assured()


def test_seconds_are_medians_so_that_one_slow_picture_changes_nothing():
    rows = madeup.rows(codecs=("hevc",))
    slow = [dict(row) for row in rows]
    for row in slow:
        if row["name"].endswith("-3") and row["reached"]:
            row["seconds"] = {part: 50 * value for part, value in row["seconds"].items()}
    assert table_from_rows(slow, split="val").points == table_from_rows(rows, split="val").points


def test_a_bottleneck_is_a_family_of_points():
    gib = GaussianIB.from_cov(np.eye(3), np.diag([0.9, 0.7, 0.2]), np.eye(3))
    table = table_from_gib(gib, np.geomspace(1.1, 1e3, 8))
    assert len(table) == 7  # the first beta is below the first critical one: no bits, no point
    bits, perf = table.column("bits"), table.column("perf")
    assert (np.diff(bits) > 0).all() and (np.diff(perf) > 0).all()
    assert perf[-1] == pytest.approx((0.81 + 0.49 + 0.04) / 3, rel=0.02)
    ideal = table_from_gib(gib, [50.0], ideal=True)
    assert ideal.points[0].bits == pytest.approx(gib.info(50.0).tx)
