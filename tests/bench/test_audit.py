"""An audit finds nothing wrong with honest rows, and every kind of lie in others."""

from __future__ import annotations

import copy
import json
import re

import pytest

from chappe.bench.audit import audit_cells, audit_rows, compare, open_results, remeasure, title
from chappe.bench.plan import SweepSpec
from chappe.bench.sweep import run_sweep
from chappe.bench.table import aggregate, cells_to_json, load_rows
from chappe.errors import InputError, UsageError
from shrink import FILE as SHRINK
from shrink import make_data


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHAPPE_DATA", raising=False)
        home = tmp_path_factory.mktemp("audit")
        data = str(make_data(home / "scenes", 2))
        spec = SweepSpec(data, (f"{SHRINK}:plain", f"{SHRINK}:labelled"), ("0.1", "2"), ("all",), taxonomy="street11")
        run_sweep(spec, home / "out", quiet=True)
        yield home


@pytest.fixture
def rows(home):
    return load_rows(home / "out" / "rows.jsonl")


@pytest.fixture
def results(rows):
    return {"frames": {"all": ["s0", "s1"]}, "cells": cells_to_json(aggregate(rows))}


def pick(rows, codec):
    return next(row for row in rows if row["codec"] == codec and row["reached"])


def test_honest_rows_hold(home, rows, results):
    assert audit_cells(rows, json.loads(json.dumps(results))) == []
    for row in rows:
        assert list(compare(row, remeasure(str(home / "scenes"), row))) == [], title(row)


def test_a_sample_is_measured_in_a_fresh_process(home, rows):
    lie = copy.deepcopy(rows)
    for row in lie:
        row |= {"sha256": "0" * 64} if row["reached"] else {}
    checks = list(audit_rows(lie, home / "scenes", 6, seed=1))
    assert [c.title for c in checks] == sorted(c.title for c in checks) and len(checks) == 6
    assert {c.row["reached"] for c in checks} == {True, False}
    for check in checks:
        assert ("sha256: published 0000" in check.mismatches[0]) if check.row["reached"] else not check.mismatches


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bytes": 1}, "bytes: published 1, measured"),
        ({"sha256": "ab"}, "sha256: published ab"),
        ({"bpp": 0.04}, "bpp: published 0.04, measured 1.9"),
        ({"bpp_nominal": None}, "bpp_nominal: published nothing, measured 0.25"),
        ({"psnr": 60.0}, "psnr: published 60"),
        ({"ssim": 0.999}, "ssim: published"),
        ({"lpips": 0.1}, "lpips: published 0.1, measured nothing"),
        ({"picture": "0" * 16}, "picture: published"),
        ({"codec_version": "shrink 0"}, "codec_version: published shrink 0, measured shrink 1"),
        ({"sections": {"header": 3}}, "sections: published"),
        ({"eye:judge": None}, "eye:judge: published nothing"),
        ({"eye:judge": [[0] * 12] * 12}, "eye:judge: .* pixels are counted elsewhere"),
        ({"objects": {"original": 9, "decoded": 9, "found": 9, "invented": 0}}, "objects: published"),
        ({"instruments": "judge@0"}, "instruments: published judge@0"),
        ({"reached": False}, "reached: published False"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_lie_is_found(home, rows, change, sentence):
    row = pick(rows, "shrink")
    again = remeasure(str(home / "scenes"), row)
    found = list(compare(row | change, again))
    assert any(re.match(sentence, line) for line in found), found


def test_small_differences_of_another_processor_pass(home, rows):
    row = pick(rows, "shrink-labels")
    again = copy.deepcopy(row) | {"psnr": row["psnr"] + 0.009}
    again["eye:judge"][3][3] -= 2
    again["eye:judge"][3][4] += 2
    assert list(compare(row, again)) == []


def test_arithmetic_and_cells_are_checked(rows, results):
    wrong = copy.deepcopy(rows)
    row = pick(wrong, "shrink")
    row["bytes"] += 100
    lines = audit_cells(wrong, None)
    assert len(lines) == 2 and "bytes are" in lines[0] and "add up to" in lines[1]
    cell = next(c for c in results["cells"] if c["codec"] == "shrink" and c["values"])
    cell["values"]["miou:judge"] += 5
    cell["low"].pop("psnr")
    results["cells"][0]["frames"] = 1
    results["cells"].append({**results["cells"][1], "codec": "invented"})
    lines = audit_cells(rows, results)
    assert len(lines) == 4 and sum("pictures reach it" in line for line in lines) == 2
    assert any("values[miou:judge]" in line for line in lines) and any("low[psnr]" in line for line in lines)


def test_what_is_opened(home, rows, results, tmp_path):
    assert len(open_results(home / "out")[0]) == len(rows) and open_results(home / "out")[1] is None
    (tmp_path / "rows.jsonl").write_bytes((home / "out" / "rows.jsonl").read_bytes())
    (tmp_path / "results.json").write_text(json.dumps(results | {"frames": {"all": ["s1"]}}))
    kept, said = open_results(tmp_path / "rows.jsonl")
    assert {row["name"] for row in kept} == {"s1"} and said["frames"] == {"all": ["s1"]}
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="not the result"):
        open_results(tmp_path)
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "results.json").unlink()
    with pytest.raises(InputError, match="holds no rows"):
        open_results(tmp_path)


def test_the_wrong_data_set_is_said(home, rows, tmp_path):
    row = pick(rows, "shrink")
    make_data(tmp_path / "scenes", 1)
    with pytest.raises(InputError, match="has no picture"):
        remeasure(str(tmp_path / "scenes"), row | {"name": "s9"})
    with pytest.raises(UsageError, match="no codec 'gone'"):
        remeasure(str(home / "scenes"), {**row, "codec": "gone", "adapter": "gone"})
